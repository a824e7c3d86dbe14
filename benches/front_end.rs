//! Time and memory of the front end and of `create`, in units of `gcc -fsyntax-only` on the same translation unit in the
//! same run: `make bench`. Medians of three runs. Uses the prepared kernel of the tests; real fixes where they are
//! (`../shared/cases` or `$KLP_CASES`), the demonstration's patch otherwise. With `LIBCLANG_PATH` unset, every
//! libclang that is installed is tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use klp_extract::kernel::Kernel;
use klp_extract::unit::library;
use nix::sys::resource::{UsageWho, getrusage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_klp-extract");
const RUNS: usize = 3;

/// Real fixes with the one unit that each concerns.
const CASES: [(&str, &str); 4] = [
    ("unix-siocatmark", "net/unix/af_unix.c"),
    ("tcp-attach-filter", "net/core/sock.c"),
    ("fsmount-nouser", "fs/namespace.c"),
    ("vsock-bufsize", "net/vmw_vsock/af_vsock.c"),
];

/// CPU seconds and peak memory in MB, and what was printed.
struct Measured {
    seconds: f64,
    megabytes: u64,
    output: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--measure") {
        return measure_here(&arguments[at + 1..]);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/kernel")).output().expect("scripts/kernel runs");
    let release = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let prepared = Command::new(PROGRAM).args(["prepare", "debian", &release]).status();
    assert!(prepared.is_ok_and(|status| status.success()), "{release} can't be prepared");
    let kernel = Kernel::open(&release).unwrap_or_else(|error| panic!("{error}"));
    let shared = std::env::var_os("KLP_CASES").map_or_else(|| root.join("../shared/cases"), PathBuf::from);
    let mut cases: Vec<(String, PathBuf, &str)> = CASES
        .iter()
        .map(|(name, unit)| (name.to_string(), shared.join(name).join("fix.patch"), *unit))
        .filter(|(_, patch, _)| patch.is_file())
        .collect();
    cases.push(("proc-version".into(), root.join("demo/proc-version.patch"), "fs/proc/version.c"));
    let libraries = match library::find().filter(|_| std::env::var_os("LIBCLANG_PATH").is_some()) {
        Some(chosen) => vec![chosen],
        None => library::all(),
    };
    println!(
        "CPU seconds, medians of {RUNS}; x: of gcc -fsyntax-only on the unit; front end: expand, libclang, closure"
    );
    for library in libraries {
        println!("\n{}", library.display());
        println!(
            "{:<20} {:>6} {:>6} | {:>15} {:>7} {:>7} {:>7} {:>7} | {:>7} {:>15} {:>7}",
            "case", "gcc", "MB", "front end", "expand", "clang", "closure", "MB", "gcc -E", "create", "MB"
        );
        for (name, patch, unit) in &cases {
            row(&kernel, &library, name, patch, unit);
        }
    }
}

fn row(kernel: &Kernel, library: &Path, name: &str, patch: &Path, unit: &str) {
    let command = kernel.commands_for(unit).unwrap_or_else(|error| panic!("{error}")).remove(0);
    let source = kernel.source().join(unit).to_string_lossy().into_owned();
    let mut gcc = vec![command.compiler.clone()];
    gcc.extend(command.args.iter().cloned().chain(["-w".into(), "-fsyntax-only".into(), source]));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let folder = scratch.path().join("livepatch-bench").to_string_lossy().into_owned();
    let patch = patch.to_string_lossy();
    let create = [PROGRAM, "create", &patch, "-k", &kernel.descriptor.name, "--timings", "-o", &folder];
    let create: Vec<String> = create.iter().map(|word| word.to_string()).collect();
    let mut syntax = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        syntax.push(measure(&gcc, kernel.build(), library));
        let run = measure(&create, scratch.path(), library);
        let Some(line) = run.output.lines().find(|line| line.starts_with("front end of ")) else {
            println!("{name:<20} create fails: {}", run.output.lines().last().unwrap_or_default());
            return;
        };
        runs.push((numbers(line), run.seconds, run.megabytes));
    }
    let gcc = median(syntax.iter().map(|run| run.seconds));
    let part = |index: usize| median(runs.iter().map(|run| run.0[index]));
    let front_end = median(runs.iter().map(|run| run.0[..3].iter().sum()));
    let whole = median(runs.iter().map(|run| run.1));
    println!(
        "{name:<20} {gcc:>6.2} {:>6} | {front_end:>6.2} ({:>5.2}x) {:>7.2} {:>7.2} {:>7.2} {:>7.0} | {:>7.2} {whole:>6.2} ({:>5.2}x) {:>7}",
        syntax.iter().map(|run| run.megabytes).max().unwrap_or_default(),
        front_end / gcc,
        part(0),
        part(1),
        part(2),
        part(4),
        part(3),
        whole / gcc,
        runs.iter().map(|run| run.2).max().unwrap_or_default(),
    );
}

/// The figures of `create --timings`: expand, libclang, closure, gcc -E, megabytes.
fn numbers(line: &str) -> Vec<f64> {
    let found: Vec<f64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!(found.len(), 5, "{line}");
    found
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a command under a process of its own, so that its use is told apart from that of others.
fn measure(command: &[String], folder: &Path, library: &Path) -> Measured {
    let mut helper = Command::new(std::env::current_exe().expect("this program"));
    let output = helper.arg("--measure").args(command).current_dir(folder).env("LIBCLANG_PATH", library).output();
    let output = String::from_utf8_lossy(&output.expect("a command runs").stdout).into_owned();
    let mut last = output.lines().next_back().unwrap_or_default().split(' ');
    let mut number = || last.next().and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
    let (seconds, megabytes) = (number(), number() as u64);
    Measured { seconds, megabytes, output }
}

fn measure_here(command: &[String]) {
    let output = Command::new(&command[0]).args(&command[1..]).output().expect("the command runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        println!("{}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the system counts");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    println!("{:.3} {}", seconds(usage.user_time()) + seconds(usage.system_time()), usage.max_rss() / 1024);
}
