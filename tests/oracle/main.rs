//! The oracle: random C programs, a random function changed, and the code that the library extracts linked against the old
//! program. Its output must equal a full rebuild's. No kernel is needed.
//!
//! `KLP_ORACLE_CSMITH=N` and `KLP_ORACLE_OWN=N` say how many programs of csmith and of the generator here are tried,
//! `KLP_ORACLE_SEED=S` which seed is the first one. `make oracle N=2000` is the long run.

mod change;
mod own;
mod program;
mod random;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};

use change::Change;
use klp_extract::unit::worker;
use program::Program;
use run::{Mode, Outcome, Plain};

fn main() {
    // The library starts the program itself for its front end.
    if std::env::args().nth(1).as_deref() == Some(worker::SUBCOMMAND) {
        worker::serve().unwrap_or_else(|error| panic!("{error}"));
        return;
    }
    let mut arguments = Arguments::from_args();
    // Each group uses all cores by itself.
    arguments.test_threads = Some(1);
    let csmith = number("KLP_ORACLE_CSMITH", 50);
    let own = number("KLP_ORACLE_OWN", 70);
    let group = |name: &'static str, count: u64, mode: Mode, make: Make| {
        Trial::test(name, move || {
            let figures = tried(name, count, mode, make);
            figures.print(name);
            figures.judged(name)
        })
    };
    let mut trials = cases();
    trials.extend([
        group("csmith::stock", csmith, Mode::Stock, program::csmith),
        group("csmith::live-patching", csmith, Mode::LivePatching, program::csmith),
        group("own::stock", own, Mode::Stock, own::program),
        group("own::live-patching", own, Mode::LivePatching, own::program),
        Trial::test("naive", naive),
    ]);
    libtest_mimic::run(&arguments, trials).exit();
}

type Make = fn(u64, u32) -> Option<Program>;

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}

/// What came out of a group.
#[derive(Default)]
struct Figures {
    programs: u64,
    /// Outputs that the change makes different, and that were right.
    observable: u64,
    skipped: BTreeMap<String, u64>,
    /// Seed and what is wrong.
    wrong: Vec<(u64, String)>,
    /// Seeds on which the oracle, or the tool, panics: in no mode a catch.
    panicked: Vec<u64>,
    seconds: f64,
}

impl Figures {
    fn print(&self, name: &str) {
        let skipped: u64 = self.skipped.values().sum();
        let reasons: Vec<String> = self.skipped.iter().map(|(why, count)| format!("{why} {count}")).collect();
        eprintln!(
            "oracle {name}: {} programs, {} mismatches, {} observable and right, {skipped} skipped{}{}, {:.0} s",
            self.programs,
            self.wrong.len(),
            self.observable,
            if reasons.is_empty() { "" } else { ": " },
            reasons.join(", "),
            self.seconds
        );
    }

    fn unpanicked(&self) -> Result<(), Failed> {
        match self.panicked.first() {
            Some(seed) => {
                Err(format!("{} programs end in a panic (see above); the first: seed {seed}", self.panicked.len())
                    .into())
            }
            None => Ok(()),
        }
    }

    fn judged(&self, name: &str) -> Result<(), Failed> {
        self.unpanicked()?;
        if let Some((seed, why)) = self.wrong.first() {
            return Err(format!("{} mismatches; the first: seed {seed}: {why}", self.wrong.len()).into());
        }
        let skipped: u64 = self.skipped.values().sum();
        // Of csmith's programs under 10 % may be skipped; the generator here makes what is refused on purpose.
        let most = if name.starts_with("csmith") { 10 } else { 20 };
        if self.programs >= 50 && skipped * 100 >= self.programs * most {
            return Err(format!("{skipped} of {} programs are skipped", self.programs).into());
        }
        Ok(())
    }
}

fn tried(name: &str, count: u64, mode: Mode, make: Make) -> Figures {
    let first = number("KLP_ORACLE_SEED", 1);
    let next = AtomicU64::new(first);
    let figures = Mutex::new(Figures::default());
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = one(name, seed, mode, make);
                    let mut figures = figures.lock().unwrap_or_else(|e| e.into_inner());
                    figures.programs += 1;
                    match outcome {
                        Outcome::Equal { observable } => figures.observable += u64::from(observable),
                        Outcome::Skipped(why) => *figures.skipped.entry(why).or_default() += 1,
                        Outcome::Wrong(why) => figures.wrong.push((seed, why)),
                        Outcome::Panicked => figures.panicked.push(seed),
                    }
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap_or_else(|e| e.into_inner());
    figures.wrong.sort();
    figures.panicked.sort();
    figures.seconds = started.elapsed().as_secs_f64();
    figures
}

/// What the oracle has found, as small programs: `testdata/oracle/NAME/{before.c,after.c}`. The change shows in the output,
/// and the livepatched program's is that of the rebuild.
fn cases() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oracle");
    let entries = std::fs::read_dir(&folder).expect("the cases are there");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    cases.sort();
    let trial = |case: PathBuf| {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(format!("case::{name}"), move || {
            let read = |name: &str| std::fs::read_to_string(case.join(name)).expect("a case has both versions");
            let program = Program::of_case(read("before.c"));
            let change = Change { file: program::MAIN.into(), text: read("after.c"), what: "the case".into() };
            let folder = tempfile::tempdir()?;
            match run::run(&program, &change, Mode::Stock, folder.path()) {
                Outcome::Equal { observable: true } => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        })
    };
    cases.into_iter().map(trial).collect()
}

/// Following nothing but inlining must be caught: of those changes that the output shows, most come out wrong.
fn naive() -> Result<(), Failed> {
    const PROGRAMS: u64 = 15;
    let mut caught = 0;
    let mut passed = 0;
    for (name, make) in [("csmith::naive", program::csmith as Make), ("own::naive", own::program as Make)] {
        let figures = tried(name, PROGRAMS, Mode::Naive, make);
        figures.print(name);
        figures.unpanicked()?;
        caught += figures.wrong.len();
        passed += figures.observable;
    }
    eprintln!("oracle naive: {caught} of {} observable changes are caught", caught as u64 + passed);
    if (caught as u64) * 4 < caught as u64 + passed {
        return Err("the oracle catches too few of the livepatches that only follow inlining".into());
    }
    Ok(())
}

/// One seed's program. Its folder is kept where something is wrong.
fn one(name: &str, seed: u64, mode: Mode, make: Make) -> Outcome {
    let folder = tempfile::Builder::new().prefix(&format!("oracle-{seed}-")).tempdir().expect("a folder can be made");
    let (program, change) = match chosen(seed, make, &folder.path().join("plain")) {
        Ok(chosen) => chosen,
        Err(why) => return Outcome::Skipped(why.into()),
    };
    let went = std::panic::catch_unwind(|| run::run(&program, &change, mode, folder.path()));
    let outcome = went.unwrap_or(Outcome::Panicked);
    if let Outcome::Wrong(why) = &outcome
        && mode != Mode::Naive
    {
        let kept: PathBuf = folder.keep();
        eprintln!("oracle {name}: seed {seed}: {}\n  {why}\n  kept in {}", change.what, kept.display());
    } else if std::env::var_os("KLP_ORACLE_VERBOSE").is_some() {
        eprintln!("oracle {name}: seed {seed}: {}: {outcome:?}", change.what);
    }
    outcome
}

/// A program that ends soon, and a change of it. Most changes reach code that never runs, so that a few are tried for one
/// that the output shows; every fourth seed takes what comes.
fn chosen(seed: u64, make: Make, folder: &Path) -> Result<(Program, Change), &'static str> {
    const ATTEMPTS: u32 = 4;
    let programs = (0..ATTEMPTS).filter_map(|attempt| make(seed, attempt));
    let mut ending = programs.filter_map(|program| match run::plain(&program, None, folder) {
        Plain::Output(output) => Some((output, program)),
        _ => None,
    });
    let (output, program) = ending.next().ok_or("no program ends in time")?;
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        let Some(change) = change::change(&program, seed, attempt) else { continue };
        let shown = match run::plain(&program, Some(&change), folder) {
            Plain::Broken => continue,
            Plain::Endless => false,
            Plain::Output(new) => new != output,
        };
        last = Some(change);
        if shown || seed.is_multiple_of(4) {
            break;
        }
    }
    last.map(|change| (program, change)).ok_or("no change fits")
}
