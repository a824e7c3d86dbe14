//! Every reader (`targets.rs`) on mutated seeds: no panic, no hang, no memory out of proportion, no stack overflow. A few
//! seconds each in every run; `make fuzz` runs the same functions under libFuzzer for as long as wanted.
//!
//! Each target runs in a process of its own with little memory. The input under way lies in a file, so that it is there
//! when the process is gone.

mod macros;
mod mutate;
mod seeds;
mod targets;

#[path = "../oracle/random.rs"]
#[allow(dead_code, reason = "the oracle uses more of it")]
mod random;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeVal;

use mutate::Mutator;
use targets::{TARGETS, Target};

/// Names the target in the child's environment.
const CHILD: &str = "KLP_FUZZ_CHILD";
/// Where its input under way is kept.
const INPUT: &str = "KLP_FUZZ_INPUT";
/// Writes the seeds of all targets below this folder, for libFuzzer, and does nothing else.
const WRITE_SEEDS: &str = "KLP_FUZZ_WRITE_SEEDS";

/// Seconds for each target, unless KLP_FUZZ_SECONDS says how many.
const SECONDS: u64 = 6;

/// Programs of macros that are expanded by GCC too, unless KLP_MACROS says how many.
const MACROS: u64 = 300;

/// The longest that one input may take; the slowest of them take some milliseconds.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Address space of a target's process, in bytes. The second reading alone asks for half a gigabyte of stack.
const MEMORY: u64 = 3 << 29;

fn main() -> ExitCode {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seconds, seed) = (number("KLP_FUZZ_SECONDS", SECONDS), number("KLP_FUZZ_SEED", 1));
    if let Some(folder) = std::env::var_os(WRITE_SEEDS) {
        return write_seeds(Path::new(&folder));
    }
    if let Ok(name) = std::env::var(CHILD) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
        return child(target, seconds, seed);
    }
    let trial = |target: &'static Target| Trial::test(target.name, move || parent(target, seed).map_err(Failed::from));
    let mut trials: Vec<Trial> = TARGETS.iter().map(trial).collect();
    let programs = number("KLP_MACROS", MACROS);
    trials.push(Trial::test("macros-like-gcc", move || macros::compare(seed, programs).map_err(Failed::from)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn parent(target: &Target, seed: u64) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let input = folder.path().join("input");
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.env(CHILD, target.name).env(INPUT, &input).env("RUST_BACKTRACE", "0");
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Ok(());
    }
    let kept = std::env::temp_dir().join(format!("fuzz-{}-{seed}", target.name));
    std::fs::copy(&input, &kept).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.lines().take(12).collect::<Vec<_>>().join("\n");
    Err(format!("{} on {}:\n{text}", output.status, kept.display()))
}

fn child(target: &Target, seconds: u64, seed: u64) -> ExitCode {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).expect("the limit can be set");
    let path = PathBuf::from(std::env::var_os(INPUT).expect("a file for the input"));
    let mut file = std::fs::File::create(path).expect("the file can be made");
    let seeds = seeds::of(target.name);
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    let mut mutator = Mutator::new(target.name, seed, &seeds);
    let mut slowest = Duration::ZERO;
    let mut count = 0u64;
    let started = Instant::now();
    let mut run = |data: &[u8]| {
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.set_len(0))
            .and_then(|()| file.write_all(data))
            .expect("written");
        let before = cpu();
        (target.run)(data);
        let took = cpu().saturating_sub(before);
        assert!(took < TIME_LIMIT, "{} bytes took {:.1} s", data.len(), took.as_secs_f64());
        slowest = slowest.max(took);
        count += 1;
    };
    seeds.iter().for_each(|seed| run(seed));
    seeds::hard(target.name).iter().for_each(|input| run(input));
    while started.elapsed().as_secs() < seconds {
        run(&mutator.next());
    }
    eprintln!("{}: {count} inputs, the slowest took {} ms", target.name, slowest.as_millis());
    ExitCode::SUCCESS
}

/// Time of the processor that this process has used: a busy machine is no fault of a reader's.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the use of resources");
    let spent = |time: TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    spent(usage.user_time()) + spent(usage.system_time())
}

fn write_seeds(folder: &Path) -> ExitCode {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).expect("a folder for the seeds");
        for (number, seed) in seeds::of(target.name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed can be written");
        }
        let words: String = seeds::words(target.name).iter().map(|word| mutate::dictionary_line(word)).collect();
        std::fs::write(folder.with_extension("dict"), words).expect("the dictionary can be written");
    }
    ExitCode::SUCCESS
}
