//! What a person has to judge in small programs: `testdata/judge/NAME/{before.c,after.c,expect.txt}`, each version compiled and
//! preprocessed as the kernel's build would. Lines of `expect.txt`:
//!
//! ```text
//! # a comment
//! exported NAME          the kernel exports it
//! boot-caller NAME BY    of another file's __init code, as the linked image would tell
//! target NAME            hooked, besides what the affected set finds
//! finding ID             exactly these findings of the rules, sorted; none without such lines
//! message ID: TEXT       words in one finding of that kind
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use klp_extract::affected::{Affected, Input, Target, affected};
use klp_extract::finding::Finding;
use klp_extract::judge::{self, Context, File, Unit};
use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::symbols::{Symbol, SymbolTable};
use klp_extract::object::facts::Facts;
use klp_extract::object::layout::Layout;
use klp_extract::object::{Compiled, compile, types};
use klp_extract::unit::listing::Listing;
use klp_extract::unit::{changes, gcc};

/// What distribution kernels (6.1, x86-64) are compiled with, as far as it shapes the code.
const FLAGS: &str = "-std=gnu11 -O2 -pg -mfentry -mrecord-mcount -fno-PIE -mcmodel=kernel -mno-red-zone -mno-sse -fno-jump-tables \
    -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fno-common -fno-stack-protector";

/// One version, in a folder in which it has the name that both have.
struct Version {
    command: CompileCommand,
    compiled: Compiled,
    text: Vec<u8>,
}

fn version(case: &Path, file: &str, scratch: &Path) -> Version {
    let folder = scratch.join(file.trim_end_matches(".c"));
    fs::create_dir(&folder).unwrap();
    fs::copy(case.join(file), folder.join("unit.c")).unwrap();
    let command = CompileCommand {
        source: folder.join("unit.c").to_string_lossy().into_owned(),
        output: "unit.o".into(),
        compiler: "gcc".into(),
        args: FLAGS.split_whitespace().map(String::from).collect(),
        object: "vmlinux".into(),
    };
    let compiled = compile(&command, Path::new(&command.source), &folder, &folder.join("out")).unwrap();
    let text = gcc::expanded(&command, &folder).unwrap();
    Version { command, compiled, text }
}

fn symbols(facts: &Facts) -> SymbolTable {
    let at = |section: usize, offset: u64| 0x1000_0000 + section as u64 * 0x10_0000 + offset;
    let symbol = |name: &str, address: u64, kind: char| Symbol { name: name.into(), address, kind, section: 0 };
    let functions = facts.functions.iter().map(|f| symbol(&f.name, at(f.section, f.offset), 't'));
    let objects = facts.objects.iter().map(|o| symbol(&o.name, at(o.section, o.offset), 'd'));
    SymbolTable::new(functions.chain(objects).collect())
}

fn words<'t>(expect: &'t str, directive: &str) -> Vec<&'t str> {
    expect.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix(' ')).collect()
}

fn findings(case: &Path, expect: &str) -> Vec<Finding> {
    let scratch = tempfile::tempdir().unwrap();
    let (before, after) = (version(case, "before.c", scratch.path()), version(case, "after.c", scratch.path()));
    let changes = changes::compare(&before.text, &after.text);
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let symbols = symbols(&before.compiled.facts);
    let layout = Layout::of(&before.compiled.facts, &symbols);
    let mut affected: Affected = affected(&Input {
        patched: &set(&changes.functions),
        added: &set(&changes.added_functions),
        removed: &set(&changes.removed_functions),
        defined: &changes.defined,
        before: (&before.compiled).into(),
        after: (&after.compiled).into(),
        symbols: &symbols,
        layout: &layout,
        object: "vmlinux",
    });
    for name in words(expect, "target") {
        affected.targets.push(Target { name: name.into(), object: "vmlinux".into(), sympos: 0, chain: Vec::new() });
    }
    let roots = ["before", "after"].map(|name| format!("{}/", scratch.path().join(name).display()));
    let listings = [Listing::new(&before.text, &roots), Listing::new(&after.text, &roots)];
    let types = judge::needs_types(&changes, &listings[0], &listings[1]).then(|| {
        let read = |version: &Version, name: &str| {
            types::read(&version.command, scratch.path(), &scratch.path().join(name)).unwrap()
        };
        (read(&before, "types-before"), read(&after, "types-after"))
    });
    let [old, new] = listings;
    let unit = Unit {
        source: "unit.c",
        object: "vmlinux",
        changes: &changes,
        affected: &affected,
        facts: &before.compiled.facts,
        clones: &before.compiled.clones,
        before: old,
        after: new,
        types,
    };
    let source = |name: &str| fs::read_to_string(case.join(name)).unwrap();
    let mut boot_callers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in words(expect, "boot-caller") {
        let (name, by) = line.split_once(' ').unwrap();
        boot_callers.entry(name.into()).or_default().insert(by.into());
    }
    let owned = |(file, text): (&str, &str)| (file.to_string(), text.to_string());
    let assembly = words(expect, "assembly").into_iter().filter_map(|line| line.split_once(' ')).map(owned).collect();
    let context = Context {
        files: vec![File { name: "unit.c".into(), before: source("before.c"), after: source("after.c") }],
        exports: words(expect, "exported").into_iter().collect(),
        assembly: LazyLock::new(Box::new(move || assembly)),
    };
    let mut found = judge::findings(&context, vec![judge::unit(&unit, &context)]);
    let targets: Vec<(&str, &str)> = affected.targets.iter().map(|target| ("unit.c", target.name.as_str())).collect();
    found.extend(judge::boot_only(&targets, &boot_callers));
    found
}

#[test]
fn every_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/judge");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() > 20);
    let mut failed = Vec::new();
    for case in &cases {
        let expect = fs::read_to_string(case.join("expect.txt")).unwrap();
        let found = findings(case, &expect);
        let mut ids: Vec<&str> = found.iter().map(|finding| finding.id.0.id).collect();
        ids.sort();
        let mut expected = words(&expect, "finding");
        expected.sort();
        let missing: Vec<&str> = words(&expect, "message")
            .into_iter()
            .filter(|line| {
                let (id, text) = line.split_once(": ").unwrap();
                !found.iter().any(|finding| finding.id.0.id == id && finding.message.contains(text))
            })
            .collect();
        if ids != expected || !missing.is_empty() {
            let shown: String = found.iter().map(|finding| format!("{finding}\n")).collect();
            failed.push(format!("{}: expected {expected:?}, without the words {missing:?}:\n{shown}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
