//! One program's way: both versions compiled, the change extracted by the library, linked against the old object, hooked as
//! ftrace does, and run beside a full rebuild.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use klp_extract::affected::clones::Tag;
use klp_extract::affected::{Affected, Target};
use klp_extract::finding::{Error, Finding, Result, Severity};
use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::symbols::{Export, Exports, Symbol, SymbolTable};
use klp_extract::linkage::{External, Running};
use klp_extract::object::OBJECT;
use klp_extract::patch::FileState;
use klp_extract::pipeline::extract::{self, Compared, Extraction, Project};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use crate::change::Change;
use crate::program::{MAIN, Program};

/// What the programs' code is compiled with: what distribution kernels (6.1, x86-64) are, as far as user space allows.
const FLAGS: &str = "-std=gnu11 -O2 -pg -mfentry -mrecord-mcount -mnop-mcount -fno-PIE -fno-jump-tables \
    -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing -fno-common -fno-stack-protector \
    -falign-loops=1 -fno-strict-overflow";

/// The added option of kernels that are built for livepatching.
const LIVE_PATCHING: &str = "-flive-patching=inline-clone";

/// How long a program may run; most end within a few milliseconds.
const LIMIT: Duration = Duration::from_secs(4);

/// How long one without optimisation may run before another program or change is taken.
const SOON: Duration = Duration::from_secs(1);

/// How the targets are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The library, on what is compiled without `-flive-patching`.
    Stock,
    /// The library, on what is compiled with it.
    LivePatching,
    /// The patched functions and those that the clone report says they were inlined into. Must be caught.
    Naive,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The output is that of the rebuild. `observable`: the old program's isn't.
    Equal { observable: bool },
    /// Why there is nothing to compare.
    Skipped(String),
    /// What differs, or which fault of the tool came up.
    Wrong(String),
    /// The oracle itself, or the tool, has panicked.
    Panicked,
}

/// Findings that say that the tool itself failed, not that it refuses.
const FAULTS: &[&str] = &[
    "front-end",
    "missing-definition",
    "tokens-differ",
    "module-does-not-compile",
    "symbol-unresolved",
    "symbol-missing",
    "io",
    "tool-failed",
    "object-invalid",
    "report-invalid",
    "template",
];

/// What a run printed, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Behaviour {
    stdout: Vec<u8>,
    status: String,
}

/// What a program does without optimisation.
pub enum Plain {
    /// What it prints, and how it ends.
    Output(Vec<u8>),
    /// It doesn't end soon.
    Endless,
    /// The change doesn't compile.
    Broken,
}

/// Runs the program without optimisation, as it is or with a change.
pub fn plain(program: &Program, change: Option<&Change>, folder: &Path) -> Plain {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let changed = change.map(|change| (&change.file, &change.text));
    for (name, text) in program.files.iter().chain(changed) {
        std::fs::write(folder.join(name), text).expect("the program can be written");
    }
    let binary = folder.join("program");
    let mut gcc = Command::new("gcc");
    gcc.args(["-w", "-std=gnu11", "-O0", "-fno-strict-aliasing", "-o"]).args([&binary, &folder.join(MAIN)]);
    let compiled = gcc.output().expect("gcc runs");
    if !compiled.status.success() {
        let errors = String::from_utf8_lossy(&compiled.stderr);
        assert!(change.is_some(), "the generator's program doesn't compile: {errors}");
        return Plain::Broken;
    }
    match limited(&binary, &[], SOON) {
        Some(output) => Plain::Output([output.stdout, output.status.to_string().into_bytes()].concat()),
        None => Plain::Endless,
    }
}

/// The program in both versions, in a folder of its own, which is left behind.
pub fn run(program: &Program, change: &Change, mode: Mode, folder: &Path) -> Outcome {
    match steps(program, change, mode, folder) {
        Ok(outcome) => outcome,
        Err(Error::Refused(findings)) => {
            let refusing: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Refuse).collect();
            match refusing.iter().find(|finding| FAULTS.contains(&finding.id.0.id)) {
                Some(fault) => Outcome::Wrong(fault.to_string()),
                None => {
                    if std::env::var_os("KLP_ORACLE_VERBOSE").is_some() {
                        refusing.iter().for_each(|finding| eprintln!("  {finding}"));
                    }
                    Outcome::Skipped(refusing.first().map_or("refused".into(), |f| f.id.0.id.to_string()))
                }
            }
        }
    }
}

fn steps(program: &Program, change: &Change, mode: Mode, folder: &Path) -> Result<Outcome> {
    let (source, build) = (folder.join("source"), folder.join("build"));
    for path in [&source, &build] {
        std::fs::create_dir_all(path).expect("the folder can be made");
    }
    for (name, text) in &program.files {
        std::fs::write(source.join(name), text).expect("the program can be written");
    }
    let command = command(program, mode);
    let project = Project { source: &source, build: &build, command: &command };
    let files = BTreeMap::from([(change.file.clone(), FileState::Content(change.text.clone().into_bytes()))]);
    let compared = extract::compared(project, files, folder)?;
    let (before, after) = (folder.join("before").join(OBJECT), folder.join("after").join(OBJECT));
    let (old, new) = (folder.join("old"), folder.join("new"));
    link(&[&before], &old);
    link(&[&after], &new);
    let Some(was) = behaviour(&old) else { return Ok(Outcome::Skipped("program does not end in time".into())) };
    let Some(expected) = behaviour(&new) else {
        return Ok(Outcome::Skipped("changed program does not end in time".into()));
    };
    let observable = was != expected;
    let table = symbols(&old);
    let empty = SymbolTable::default();
    let running = Running {
        name: "the program",
        object: "program",
        table: &table,
        base: "libc",
        base_table: &empty,
        exports: exports(),
    };
    let allow = BTreeMap::new();
    let affected = match mode {
        Mode::Naive => Ok(naive(&compared)),
        _ => extract::affected(&compared, running, &allow, &mut Vec::new()),
    };
    let affected = match affected {
        Err(Error::Refused(findings)) if findings.iter().all(|f| f.id.0.id == "nothing-changed") => {
            return Ok(verdict(program, change, &was, &expected, observable, folder));
        }
        other => other?,
    };
    let targets: Vec<String> = affected.targets.iter().map(|target| target.name.clone()).collect();
    let extraction = extract::extracted(project, compared, affected, running, &allow, folder)?;
    let hooked = hooked(&before, &extraction, &targets, folder);
    let found = behaviour(&hooked).unwrap_or(Behaviour { stdout: Vec::new(), status: "does not end".into() });
    Ok(verdict(program, change, &found, &expected, observable, folder))
}

fn command(program: &Program, mode: Mode) -> CompileCommand {
    let flags = FLAGS.split_whitespace().chain(program.flags.iter().copied());
    let added = (mode == Mode::LivePatching).then_some(LIVE_PATCHING);
    CompileCommand {
        source: MAIN.into(),
        output: "program.o".into(),
        compiler: "gcc".into(),
        args: flags.chain(added).map(str::to_string).collect(),
        object: "program".into(),
    }
}

fn verdict(
    program: &Program,
    change: &Change,
    found: &Behaviour,
    expected: &Behaviour,
    observable: bool,
    folder: &Path,
) -> Outcome {
    if found == expected {
        return Outcome::Equal { observable };
    }
    if let Some(why) = undefined(program, change, folder) {
        return Outcome::Skipped(format!("undefined behaviour ({why})"));
    }
    let text = |behaviour: &Behaviour| {
        format!("{} {}", behaviour.status, String::from_utf8_lossy(&behaviour.stdout).trim_end())
    };
    Outcome::Wrong(format!("the rebuild gives `{}`, the livepatched program `{}`", text(expected), text(found)))
}

/// Does one of the versions do what C doesn't define? Then neither output is right. Asked only where they differ.
fn undefined(program: &Program, change: &Change, folder: &Path) -> Option<String> {
    for (version, text) in [("old", &program.files[&change.file]), ("changed", &change.text)] {
        let sources = folder.join(format!("sanitized-{version}"));
        std::fs::create_dir_all(&sources).expect("the folder can be made");
        for (name, text) in &program.files {
            std::fs::write(sources.join(name), text).expect("the program can be written");
        }
        std::fs::write(sources.join(&change.file), text).expect("the program can be written");
        let binary = sources.join("program");
        let status = Command::new("gcc")
            .args(["-w", "-std=gnu11", "-O1", "-fno-strict-aliasing", "-fno-common"])
            .args(["-fsanitize=undefined,address", "-fno-sanitize=alignment", "-fno-sanitize-recover=all", "-o"])
            .args([&binary, &sources.join(MAIN)])
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "the sanitizers' build fails in {}", folder.display());
        let output =
            limited(&binary, &[("ASAN_OPTIONS", "detect_leaks=0"), ("UBSAN_OPTIONS", "print_stacktrace=0")], LIMIT)?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let line =
            errors.lines().find(|line| line.contains("runtime error") || line.contains("ERROR: AddressSanitizer"));
        if let Some(line) = line {
            let words = line.split(": ").last().unwrap_or_default();
            return Some(format!("{version}: {}", words.split_whitespace().take(3).collect::<Vec<_>>().join(" ")));
        }
    }
    None
}

fn tool(program: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {errors}", shown.join(" "));
}

fn link(objects: &[&Path], binary: &Path) {
    link_with(&[], objects, binary);
}

fn link_with(options: &[String], objects: &[&Path], binary: &Path) {
    let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-no-pie", &"-Wl,-z,noexecstack", &"-o", &binary];
    args.extend(objects.iter().map(|object| object as &dyn AsRef<std::ffi::OsStr>));
    args.extend(options.iter().map(|option| option as &dyn AsRef<std::ffi::OsStr>));
    tool("gcc", &args);
}

fn limited(binary: &Path, environment: &[(&str, &str)], limit: Duration) -> Option<std::process::Output> {
    let mut child = Command::new(binary)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    // The programs print one line: no pipe fills up before they end.
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return child.wait_with_output().ok(),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// `None` where it doesn't end in time.
fn behaviour(binary: &Path) -> Option<Behaviour> {
    let output = limited(binary, &[], LIMIT)?;
    Some(Behaviour { stdout: output.stdout, status: output.status.to_string() })
}

/// The program's symbols in the order of their addresses, as kallsyms has a kernel's.
fn symbols(binary: &Path) -> SymbolTable {
    let bytes = std::fs::read(binary).expect("the program can be read");
    let file = object::File::parse(&*bytes).expect("the linker writes ELF");
    let mut symbols: Vec<Symbol> = Vec::new();
    for symbol in file.symbols() {
        let Some(section) = symbol.section_index().and_then(|index| file.section_by_index(index).ok()) else {
            continue;
        };
        let letter = match section.kind() {
            SectionKind::Text => 't',
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => 'r',
            SectionKind::UninitializedData => 'b',
            _ => 'd',
        };
        let name = symbol.name().unwrap_or_default().to_string();
        let is_named = !name.is_empty() && matches!(symbol.kind(), object::SymbolKind::Text | object::SymbolKind::Data);
        if is_named {
            let kind = if symbol.is_global() { letter.to_ascii_uppercase() } else { letter };
            symbols.push(Symbol { name, address: symbol.address(), kind, section: 0 });
        }
    }
    symbols.sort_by_key(|symbol| symbol.address);
    SymbolTable::new(symbols)
}

/// What the C library exports, whatever the program uses of it.
fn exports() -> &'static Exports {
    static EXPORTS: OnceLock<Exports> = OnceLock::new();
    EXPORTS.get_or_init(|| {
        let named = Command::new("gcc").arg("-print-file-name=libc.so.6").output().expect("gcc runs");
        let path = PathBuf::from(String::from_utf8_lossy(&named.stdout).trim());
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = object::File::parse(&*bytes).expect("the C library is ELF");
        let names = file.dynamic_symbols().filter(|symbol| !symbol.is_undefined()).filter_map(|s| s.name().ok());
        let export = || Export { object: "libc".into(), crc: 0, gpl_only: false, namespace: None };
        names.map(|name| (name.to_string(), export())).collect()
    })
}

/// Only inlining is followed.
fn naive(compared: &Compared) -> Affected {
    let mut holders: BTreeSet<String> = compared.changes.functions.iter().cloned().collect();
    let graph = &compared.before.clones.graph;
    loop {
        let grown: Vec<String> = graph
            .edge_indices()
            .filter(|edge| graph[*edge] == Tag::Inlined)
            .filter_map(|edge| graph.edge_endpoints(edge))
            .filter(|(from, _)| holders.contains(&*graph[*from].name))
            .map(|(_, to)| graph[to].name.to_string())
            .filter(|name| !holders.contains(name))
            .collect();
        if grown.is_empty() {
            break;
        }
        holders.extend(grown);
    }
    let facts = &compared.before.facts;
    let hookable = |name: &&String| facts.named(name).is_some_and(|id| facts.function(id).ftrace_site);
    let target = |name: &String| Target { name: name.clone(), object: "program".into(), sympos: 0, chain: Vec::new() };
    let targets = holders.iter().filter(hookable).filter(|name| !name.contains('.')).map(target).collect();
    Affected { patched: compared.changes.functions.clone(), targets, ..Affected::default() }
}

/// The old object with the extracted code beside it: a constructor turns the entry of every target into a jump.
fn hooked(before: &Path, extraction: &Extraction, targets: &[String], folder: &Path) -> PathBuf {
    let own: Vec<&External> = extraction.externals.iter().filter(|external| external.object == "program").collect();
    let mut reached: BTreeSet<&str> = targets.iter().map(String::as_str).collect();
    reached.extend(own.iter().map(|external| external.symbol.as_str()));
    let names: String = reached.iter().map(|name| format!("{name}\n")).collect();
    let renamed = own.iter().filter(|external| external.name != external.symbol);
    let renamed: Vec<String> = renamed.map(|e| format!("-Wl,--defsym={}={}", e.name, e.symbol)).collect();
    let mut table = String::from("\t.section .data\n\t.globl oracle_hooks\n\t.balign 8\noracle_hooks:\n");
    for target in targets {
        table.push_str(&format!("\t.quad {target}, {}\n", extraction.naming.new_name(target)));
    }
    table.push_str("\t.quad 0, 0\n\t.section .note.GNU-stack,\"\",@progbits\n");
    let path = |name: &str| folder.join(name);
    for (name, text) in [("globals", &names), ("hooks.s", &table)] {
        std::fs::write(path(name), text).expect("the list can be written");
    }
    assert!(own.iter().all(|external| external.sympos == 0), "one unit's symbols are unique");
    // objcopy takes no empty list, as it is where only inlining is followed and no holder can be hooked.
    let globals = format!("--globalize-symbols={}", path("globals").display());
    let globals: &[&dyn AsRef<std::ffi::OsStr>] = if names.is_empty() { &[] } else { &[&globals] };
    tool("objcopy", &[globals, &[&before, &path("old.o")]].concat());
    let kept = "--keep-global-symbol=klpp_*";
    tool("objcopy", &[&"--wildcard", &kept, &path("extract.o"), &path("new.o")]);
    let binary = path("hooked");
    link_with(&renamed, &[&path("old.o"), &path("new.o"), &path("hooks.s"), hooking()], &binary);
    binary
}

/// The constructor, compiled once.
fn hooking() -> &'static Path {
    const TEXT: &str = r#"
#include <stdint.h>
#include <sys/mman.h>

struct hook { unsigned char *old; unsigned char *new; };
extern struct hook oracle_hooks[];

__attribute__((constructor)) static void oracle_hook(void)
{
	for (struct hook *hook = oracle_hooks; hook->old; hook++) {
		int32_t distance = hook->new - (hook->old + 5);
		uintptr_t page = (uintptr_t)hook->old & ~(uintptr_t)4095;

		if (mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC))
			__builtin_trap();
		hook->old[0] = 0xe9;
		__builtin_memcpy(hook->old + 1, &distance, 4);
	}
}
"#;
    static OBJECT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, object) = OBJECT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (source, object) = (folder.path().join("hooking.c"), folder.path().join("hooking.o"));
        std::fs::write(&source, TEXT).expect("the source can be written");
        tool("gcc", &[&"-O2", &"-fno-PIE", &"-c", &"-o", &object, &source]);
        (folder, object)
    });
    object
}
