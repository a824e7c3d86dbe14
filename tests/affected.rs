//! Affected sets of small programs: `testdata/affected/NAME/{before.c,after.c,expect.txt}`, compiled as the kernel's build
//! would; every folder is a test. Lines of `expect.txt`:
//!
//! ```text
//! flags FLAG...                further flags of the compiler, which come last
//! patched NAME, removed NAME, added NAME   what the token comparison would say
//! defined NAME                 that the patched source defines it, where that matters (aliases)
//! duplicate NAME               the kernel has another symbol of this name, at a lower address
//! elsewhere NAME               the kernel's symbol of this name is another object's
//! target NAME [SYMPOS]         exactly these targets; sympos 0 unless told
//! affected NAME                among others
//! chain NAME: TEXT             one reason of that target's chain
//! finding ID                   exactly these kinds of findings
//! message ID: TEXT             words in that finding's message
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use klp_extract::affected::{Affected, Input, affected};
use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::symbols::{Symbol, SymbolTable};
use klp_extract::object::facts::Facts;
use klp_extract::object::layout::Layout;
use klp_extract::object::{Compiled, compile};
use libtest_mimic::{Arguments, Trial};

/// Address at which the symbol table puts section `index` of the object.
fn base(index: usize) -> u64 {
    0x1000_0000 + index as u64 * 0x10_0000
}

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/affected").join(case)
}

/// What distribution kernels (6.1, x86-64) are compiled with, as far as it shapes the code.
fn compile_c(source: &Path, more: &[&str], build: &Path, out: &Path) -> Compiled {
    const FLAGS: &str = "-std=gnu11 -O2 -pg -mfentry -mrecord-mcount -fno-PIE -mcmodel=kernel -mno-red-zone -mno-sse \
        -fno-jump-tables -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fno-common \
        -mpreferred-stack-boundary=3 -fno-stack-protector -falign-loops=1";
    let command = CompileCommand {
        source: "unit.c".into(),
        output: "unit.o".into(),
        compiler: "gcc".into(),
        args: FLAGS.split_whitespace().chain(more.iter().copied()).map(String::from).collect(),
        object: "vmlinux".into(),
    };
    compile(&command, source, build, out).unwrap_or_else(|error| panic!("{error}"))
}

fn symbol(name: &str, address: u64, kind: char) -> Symbol {
    Symbol { name: name.into(), address, kind, section: 0 }
}

/// The symbols that a kernel linked from this object would have.
fn table(facts: &Facts, duplicates: &[&str], elsewhere: &[&str]) -> SymbolTable {
    let mut symbols = Vec::new();
    for name in duplicates.iter().chain(elsewhere) {
        symbols.push(symbol(name, 0x100, 't'));
    }
    for function in &facts.functions {
        let names = std::iter::once(&function.name).chain(function.aliases.iter().map(|(name, _)| name));
        for name in names.filter(|name| !elsewhere.contains(&name.as_str())) {
            symbols.push(symbol(name, base(function.section) + function.offset, 't'));
        }
    }
    for object in &facts.objects {
        symbols.push(symbol(&object.name, base(object.section) + object.offset, 'd'));
    }
    SymbolTable::new(symbols)
}

/// Words after a directive, in the file's order.
fn lines<'t>(expect: &'t str, directive: &str) -> Vec<&'t str> {
    expect.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix(' ')).collect()
}

fn names(expect: &str, directive: &str) -> BTreeSet<String> {
    lines(expect, directive).into_iter().map(String::from).collect()
}

fn run(case: &str) {
    let folder = folder(case);
    let expect = fs::read_to_string(folder.join("expect.txt")).unwrap();
    let flags: Vec<&str> = lines(&expect, "flags").into_iter().flat_map(str::split_whitespace).collect();
    let scratch = tempfile::tempdir().unwrap();
    // One name for both versions, in two folders: the file's name may be in the code.
    let compiled = ["before", "after"].map(|version| {
        let source = scratch.path().join(version).join("unit.c");
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::copy(folder.join(format!("{version}.c")), &source).unwrap();
        compile_c(&source, &flags, scratch.path(), &scratch.path().join(format!("{version}.out")))
    });
    let [before, after] = &compiled;
    let symbols = table(&before.facts, &lines(&expect, "duplicate"), &lines(&expect, "elsewhere"));
    let layout = Layout::of(&before.facts, &symbols);
    let result = affected(&Input {
        patched: &names(&expect, "patched"),
        added: &names(&expect, "added"),
        removed: &names(&expect, "removed"),
        defined: &names(&expect, "defined"),
        before: before.into(),
        after: after.into(),
        symbols: &symbols,
        layout: &layout,
        object: "vmlinux",
    });
    check(&expect, &result);
}

fn check(expect: &str, result: &Affected) {
    let targets: BTreeSet<String> = result
        .targets
        .iter()
        .map(|t| if t.sympos == 0 { t.name.clone() } else { format!("{} {}", t.name, t.sympos) })
        .collect();
    assert_eq!(targets, names(expect, "target"), "targets; {result:#?}");
    for line in lines(expect, "chain") {
        let (name, text) = line.split_once(": ").unwrap();
        let target = result.targets.iter().find(|t| t.name == name).unwrap();
        assert!(target.chain.iter().any(|reason| reason.to_string() == text), "{line}; {:#?}", target.chain);
    }
    for name in lines(expect, "affected") {
        assert!(result.affected.iter().any(|affected| affected.name == name), "{name}; {:#?}", result.affected);
    }
    let findings: BTreeSet<String> = result.findings.iter().map(|f| f.id.0.id.to_string()).collect();
    assert_eq!(findings, names(expect, "finding"), "findings; {result:#?}");
    for line in lines(expect, "message") {
        let (id, text) = line.split_once(": ").unwrap();
        let found = result.findings.iter().any(|f| f.id.0.id == id && f.message.contains(text));
        assert!(found, "{line}; {:#?}", result.findings);
    }
    // Every chain begins with the patch, not with another function.
    for chain in result.targets.iter().map(|t| &t.chain).chain(result.affected.iter().map(|a| &a.chain)) {
        assert!(!chain.is_empty() && !chain[0].to_string().contains(" calls "), "{chain:?}");
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut cases: Vec<String> =
        fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "testdata/affected has lost cases");
    let trial = |case: String| {
        Trial::test(case.clone(), move || {
            run(&case);
            Ok(())
        })
    };
    libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect()).exit_code()
}
