//! GCC's own torture programs (gcc.c-torture/execute): `main` and all it reaches is extracted from each, compiled and run.
//!
//! The programs are those of Debian's package gcc-12-source, which `scripts/torture` downloads. A program counts where GCC
//! compiles it as it is and it exits with 0. `KLP_TORTURE=N` says how many are tried (`all`: every one), and
//! `KLP_TORTURE_SEED=S` which; `make torture` tries all. What doesn't pass and why is in `testdata/torture/known.txt`; what
//! isn't there has to pass, and what is there must not.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use support::{in_ci, root, sample};

/// Programs that are tried unless KLP_TORTURE says how many.
const SAMPLE: usize = 100;

/// Longest time for one command, in seconds.
const LIMIT: &str = "120";

const PROGRAM: &str = env!("CARGO_BIN_EXE_klp-extract");

/// How the programs are compiled. Many were written before prototypes were.
const FLAGS: &[&str] = &["-O2", "-w"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = vec![Trial::test("torture", || run().map_err(Failed::from))];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One program.
struct Torture {
    /// Relative to the folder of all.
    name: String,
    /// The function that is extracted, and the other files that make the program.
    function: &'static str,
    others: Vec<String>,
    /// The ways that are tried.
    includes: &'static [&'static str],
}

/// Both ends of what `--includes` can be.
const INCLUDES: &[&str] = &["none", "keep"];

/// How it went.
enum Outcome {
    Passed,
    /// GCC doesn't compile it, or it doesn't exit with 0.
    Unfit(String),
    /// The program refuses it, with the finding.
    Refused(String),
    /// The tool says that it failed, or the extracted program is not what it was.
    Failed(String),
}

fn run() -> Result<(), String> {
    let Some(folder) = folder()? else { return Ok(()) };
    let programs = chosen(&folder)?;
    let known = known()?;
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<BTreeMap<(usize, &str), Outcome>> = Mutex::default();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(program) = programs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let index = programs.iter().position(|other| other.name == program.name).unwrap_or_default();
                    for (includes, outcome) in tried(&folder, program) {
                        outcomes.lock().unwrap_or_else(|e| e.into_inner()).insert((index, includes), outcome);
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut wrong = Vec::new();
    let (mut passed, mut unfit, mut refused) = (0, Vec::new(), Vec::new());
    for ((index, includes), outcome) in &outcomes {
        let name = &programs[*index].name;
        let why = known.get(name.as_str()).or_else(|| known.get(&format!("{name}:{includes}")));
        match outcome {
            Outcome::Unfit(why) => unfit.push(format!("{name}: left out, GCC's own program {why}")),
            Outcome::Passed if why.is_some() => wrong.push(format!("{name} ({includes}) passes: known.txt has it")),
            Outcome::Passed => passed += 1,
            Outcome::Refused(finding) => {
                let id = finding.split(['[', ']']).nth(1).unwrap_or_default();
                if why.is_none_or(|why| why != id) {
                    wrong.push(format!("{name} ({includes}) is refused: {finding}"));
                }
                refused.push(format!("{name} ({includes}): {id}"));
            }
            Outcome::Failed(_) if why.is_some_and(|why| why == "fails") => {
                refused.push(format!("{name} ({includes}): fails"))
            }
            Outcome::Failed(text) => wrong.push(format!("{name} ({includes}): {text}")),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "torture: {} programs, {passed} extractions pass, {} are refused or fail as known, {} programs are not for GCC here, \
         {} wrong, {seconds:.0} s",
        programs.len(),
        refused.len(),
        unfit.len(),
        wrong.len()
    );
    refused.iter().chain(&unfit).for_each(|line| eprintln!("  {line}"));
    match wrong.is_empty() {
        true if passed == 0 => Err("nothing was tried".into()),
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

/// Where the programs are; nothing where they can't be fetched.
fn folder() -> Result<Option<PathBuf>, String> {
    let output = Command::new(root().join("scripts/torture")).output().map_err(|error| error.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        if in_ci() || std::env::var_os("KLP_TORTURE").is_some() {
            return Err(format!("scripts/torture: {errors}"));
        }
        eprintln!("skipped: gcc-12-source can't be had: {errors}");
        return Ok(None);
    }
    Ok(Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())))
}

/// The programs of a run, a part of all unless all are asked for.
fn chosen(folder: &Path) -> Result<Vec<Torture>, String> {
    let mut all = Vec::new();
    for (below, function) in [("", "main"), ("ieee/", "main"), ("builtins/", "main_test")] {
        let entries = std::fs::read_dir(folder.join(below)).map_err(|error| format!("{below}: {error}"))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|n| n.ends_with(".c"))
            .collect();
        names.sort();
        for name in names.iter().filter(|name| !name.ends_with("-lib.c")) {
            let library = format!("{}-lib.c", name.trim_end_matches(".c"));
            let mut others = Vec::new();
            if function != "main" {
                if !names.contains(&library) {
                    continue;
                }
                others = vec![format!("{below}{library}"), format!("{below}lib/main.c")];
            }
            all.push(Torture { name: format!("{below}{name}"), function, others, includes: INCLUDES });
        }
    }
    let wanted = match std::env::var("KLP_TORTURE") {
        Err(_) => SAMPLE,
        Ok(text) if text == "all" => return Ok(all),
        Ok(text) => match text.parse() {
            Ok(number) => number,
            // A name, or a part of one.
            Err(_) => {
                all.retain(|program| program.name.contains(&text));
                return Ok(all);
            }
        },
    };
    let seed = sample::number("KLP_TORTURE_SEED", 1);
    sample::shuffle(&mut all, seed);
    let chosen = all.into_iter().take(wanted);
    // Each in one of the ways only, for the time that it takes.
    let one = |(index, program): (usize, Torture)| Torture { includes: &INCLUDES[index % 2..index % 2 + 1], ..program };
    Ok(chosen.enumerate().map(one).collect())
}

/// By program (with `:none` or `:keep` where only that way doesn't pass): the finding that refuses it, or `fails`. A line:
/// NAME, that, and the cause in words.
fn known() -> Result<BTreeMap<String, String>, String> {
    let path = root().join("testdata/torture/known.txt");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, why) = (words.next()?, words.next()?);
        words.next().map(|_| (name.to_string(), why.to_string()))
    };
    lines.map(|line| row(line).ok_or(format!("known.txt: {line}: NAME, finding or `fails`, cause"))).collect()
}

fn limited(program: impl AsRef<std::ffi::OsStr>, args: &[String], folder: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(program).args(args).current_dir(folder);
    command.output().expect("timeout runs")
}

fn tried(folder: &Path, program: &Torture) -> Vec<(&'static str, Outcome)> {
    let scratch = tempfile::tempdir().expect("a folder can be made");
    let text = std::fs::read(folder.join(&program.name)).unwrap_or_default();
    let flags: Vec<String> =
        FLAGS.iter().map(|flag| flag.to_string()).chain(options(&String::from_utf8_lossy(&text))).collect();
    let built = |source: &str, name: &str| -> Result<(), String> {
        let binary = scratch.path().join(name);
        let mut args = flags.clone();
        // What quotes include lies beside the source, and the extracted file doesn't.
        args.extend([
            "-iquote".into(),
            Path::new(&program.name).parent().map_or(".".into(), |p| format!("./{}", p.display())),
        ]);
        args.extend([source.to_string()].into_iter().chain(program.others.iter().cloned()));
        args.extend(["-o".into(), binary.display().to_string(), "-lm".into()]);
        let compiled = limited("gcc", &args, folder);
        if !compiled.status.success() {
            return Err(format!("does not compile: {}", last(&compiled.stderr)));
        }
        let ran = limited(&binary, &[], scratch.path());
        if ran.status.success() { Ok(()) } else { Err(format!("does not run: {}", ran.status)) }
    };
    if let Err(why) = built(&program.name, "original") {
        return vec![("", Outcome::Unfit(why))];
    }
    let outcome = |includes: &'static str| {
        let file = scratch.path().join(format!("{includes}.c"));
        let file = file.display().to_string();
        let mut args: Vec<String> =
            ["extract", "--function", program.function, "--includes", includes, "-o", &file, "--", "gcc"]
                .map(String::from)
                .to_vec();
        args.extend(flags.iter().cloned().chain([program.name.clone()]));
        let output = limited(PROGRAM, &args, folder);
        match output.status.code() {
            Some(0) => match built(&file, includes) {
                Ok(()) => Outcome::Passed,
                Err(why) => Outcome::Failed(why),
            },
            Some(2) => Outcome::Refused(String::from_utf8_lossy(&output.stderr).trim().to_string()),
            _ => Outcome::Failed(format!("{}: {}", output.status, last(&output.stderr))),
        }
    };
    program.includes.iter().map(|includes| (*includes, outcome(includes))).collect()
}

fn last(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let errors = text.lines().find(|line| line.contains("error") || line.contains("undefined"));
    errors.or(text.lines().last()).unwrap_or_default().to_string()
}

/// What a program says it has to be compiled with (DejaGnu), on every target.
fn options(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.contains("target")) {
        let rest = line.split_once("dg-options").or_else(|| line.split_once("dg-additional-options"));
        if let Some(words) = rest.and_then(|(_, rest)| rest.split('"').nth(1)) {
            found.extend(words.split_whitespace().map(str::to_string));
        }
    }
    found
}
