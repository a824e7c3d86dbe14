//! CPU, wall time and memory of every stage in units of `gcc -fsyntax-only` on the same translation unit in the same run:
//! `make bench`. Thirty units of the prepared kernel of the tests; words behind `--` choose among them by their names.
//!
//! The front end runs on functions spread over each unit, with what they reach parsed, and on the middle one with all of it.
//! One function of each unit then goes all the way to a module, as in a sweep.

#[path = "../tests/support/own.rs"]
mod own;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use klp_extract::closure::Scope;
use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use klp_extract::pipeline::{self, Options};
use klp_extract::sweep;
use klp_extract::unit::groups::Outline;
use klp_extract::unit::live::Extent;
use klp_extract::unit::place::Places;
use klp_extract::unit::worker::{self, Parse, Request};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

const PROGRAM: &str = env!("CARGO_BIN_EXE_klp-extract");

/// Runs of gcc, and functions of each unit that the front end runs on; the medians count.
const RUNS: usize = 3;

const UNITS: [&str; 30] = [
    "arch/x86/kernel/process.c",
    "arch/x86/kvm/x86.c",
    "block/blk-mq.c",
    "crypto/algapi.c",
    "drivers/base/core.c",
    "drivers/block/loop.c",
    "drivers/net/virtio_net.c",
    "drivers/nvme/host/core.c",
    "drivers/scsi/sd.c",
    "drivers/tty/tty_io.c",
    "fs/btrfs/inode.c",
    "fs/ext4/inode.c",
    "fs/namespace.c",
    "fs/nfs/dir.c",
    "fs/proc/version.c",
    "io_uring/io_uring.c",
    "ipc/msg.c",
    "kernel/bpf/verifier.c",
    "kernel/fork.c",
    "kernel/sched/core.c",
    "kernel/time/timer.c",
    "kernel/trace/trace.c",
    "mm/mmap.c",
    "mm/slub.c",
    "net/core/sock.c",
    "net/ipv4/tcp_input.c",
    "net/netfilter/nf_tables_api.c",
    "net/unix/af_unix.c",
    "net/vmw_vsock/af_vsock.c",
    "security/keys/keyctl.c",
];

/// What something cost: seconds of CPU and of wall time, and bytes at its peak.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Cost {
    cpu: f64,
    wall: f64,
    memory: f64,
}

impl Cost {
    fn of(&self, gcc: &Cost) -> String {
        format!("{:>5.2}x {:>5.2}x {:>4.1}x", self.cpu / gcc.cpu, self.wall / gcc.wall, self.memory / gcc.memory)
    }
}

/// One run of the front end.
struct Run {
    /// Statements in the closure.
    nodes: usize,
    /// Seconds of CPU, GCC's own apart.
    expand: f64,
    libclang: f64,
    closure: f64,
    gcc: f64,
    wall: f64,
    memory: f64,
    fallback: bool,
}

impl Run {
    fn own(&self) -> f64 {
        self.expand + self.libclang + self.closure
    }

    fn cost(&self) -> Cost {
        Cost { cpu: self.own(), wall: self.wall, memory: self.memory }
    }
}

/// What was measured of a unit.
struct Unit {
    gcc: Cost,
    /// By function, what it reaches parsed.
    reached: Vec<Run>,
    /// The whole unit parsed.
    whole: Run,
    /// By stage of `create`.
    stages: Vec<(String, Cost)>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some(worker::SUBCOMMAND) => return worker::serve().unwrap_or_else(|error| panic!("{error}")),
        Some("--measure") => return print_cost(&measure_here(&arguments[1..])),
        Some("--create") => return create(&arguments[1], &arguments[2], Path::new(&arguments[3])),
        _ => {}
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("scripts/kernel")).output().expect("scripts/kernel runs");
    let release = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let prepared = Command::new(PROGRAM).args(["prepare", "debian", &release]).status();
    assert!(prepared.is_ok_and(|status| status.success()), "{release} can't be prepared");
    let kernel = Kernel::open(&release).unwrap_or_else(|error| panic!("{error}"));
    let wanted = |unit: &&&str| arguments.is_empty() || arguments.iter().any(|word| unit.contains(word.as_str()));
    println!("in units of gcc -fsyntax-only (CPU s, MB): CPU, wall, memory; then seconds of CPU");
    println!(
        "{:<32} {:>5} {:>4} | {:^19} | {:^19} | {:>6} {:>8} {:>7} {:>6}",
        "", "gcc", "MB", "reached", "whole unit", "expand", "libclang", "closure", "gcc -E"
    );
    let mut units = Vec::new();
    for name in UNITS.iter().filter(wanted) {
        let Some(unit) = unit(&kernel, name) else {
            println!("{name:<32} this kernel doesn't build it");
            continue;
        };
        print_unit(name, &unit);
        units.push(unit);
    }
    print_medians(&units);
    print_growth(&units);
    print_stages(&units);
}

fn unit(kernel: &Kernel, name: &str) -> Option<Unit> {
    let command = kernel.absolute(kernel.commands_for(name).ok()?.first()?);
    let mut gcc = vec![command.compiler.clone()];
    gcc.extend(command.args.iter().cloned().chain(["-w".into(), "-fsyntax-only".into(), command.source.clone()]));
    let gcc = median_by((0..RUNS).map(|_| measure(&gcc, kernel.build())).collect(), |cost| cost.cpu);
    let mut requests = requests(kernel, &command);
    let reached = requests.iter().map(run).collect();
    let middle = requests.swap_remove(requests.len() / 2);
    let whole = run(&Request { parse: Parse::All, ..middle });
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let mut helper = Command::new(std::env::current_exe().expect("this program"));
    let output =
        helper.args(["--create", &kernel.descriptor.name, name]).arg(scratch.path()).output().expect("it runs");
    let stages = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
        println!("{name}: create fails: {}", String::from_utf8_lossy(&output.stderr).trim());
        Vec::new()
    });
    Some(Unit { gcc, reached, whole, stages })
}

/// Requests of the front end for functions spread over a unit.
fn requests(kernel: &Kernel, command: &CompileCommand) -> Vec<Request> {
    let mut unit = klp_extract::unit::expanded(command, kernel.build()).unwrap_or_else(|error| panic!("{error}"));
    let outline = Outline::new(&mut unit);
    let request = |scope| Request {
        command: command.clone(),
        build: kernel.build().to_path_buf(),
        roots: vec![format!("{}/", kernel.source().display())],
        headers: None,
        scope,
        parse: Parse::Closure,
        preprocessed: None,
    };
    let none = request(Scope::default());
    let places = Places::new(&unit, &none);
    let provided = own::provided(kernel, &command.object, &unit, &outline).unwrap_or_else(|error| panic!("{error}"));
    let functions = own::functions(&unit, &outline, &places, RUNS);
    let scope =
        |name| Scope { targets: vec![name], provided: provided.clone(), objects: provided.clone(), ..Scope::default() };
    functions.into_iter().map(|name| request(scope(name))).collect()
}

fn run(request: &Request) -> Run {
    let started = Instant::now();
    let worker::Answer { closure, usage } = worker::run(request).unwrap_or_else(|error| panic!("{error}"));
    Run {
        nodes: closure.graph.node_weights().filter(|node| node.extent == Extent::Whole).count(),
        expand: usage.expand,
        libclang: usage.libclang,
        closure: usage.closure,
        gcc: usage.gcc,
        wall: started.elapsed().as_secs_f64(),
        memory: usage.peak_memory as f64,
        fallback: usage.fallback.is_some(),
    }
}

/// From a patch of one function to the module, in this process: prints the stages with their costs.
fn create(kernel: &str, unit: &str, scratch: &Path) {
    let kernel = Kernel::open(kernel).unwrap_or_else(|error| panic!("{error}"));
    let command = kernel.commands_for(unit).unwrap_or_else(|error| panic!("{error}")).remove(0);
    let drawn = sweep::functions(&kernel, &command, 1, 1).unwrap_or_else(|error| panic!("{error}"));
    let Some(drawn) = drawn.first() else {
        // The tracer's own files are built without ftrace sites (kernel/trace/Makefile).
        return println!("[]");
    };
    let options = Options {
        patches: vec![("bench.patch".into(), sweep::patch(&kernel, drawn).unwrap_or_else(|error| panic!("{error}")))],
        kernel: kernel.descriptor.name.clone(),
        fuzz: 0,
        ipa_clones: Vec::new(),
        name: "livepatch-bench".into(),
        allow: BTreeMap::new(),
        max_units: usize::MAX,
        symbols: Default::default(),
        reload: true,
        bases: Vec::new(),
        scaffold: Vec::new(),
        replace: false,
        house: Default::default(),
    };
    let mut marks: Vec<(String, Cost, Instant)> = Vec::new();
    let mut progress = |stage: &str| {
        // What a stage is called, without how many of what it is done to.
        let name: String = stage.chars().filter(|c| !c.is_ascii_digit()).collect();
        marks.push((name, used(), Instant::now()));
    };
    let plan = pipeline::plan(&kernel, &options, scratch, &mut progress).unwrap_or_else(|error| panic!("{error}"));
    pipeline::create(&kernel, &options, &plan, scratch, &mut progress).unwrap_or_else(|error| panic!("{error}"));
    progress("end");
    let stages = marks.windows(2).map(|pair| {
        let [(name, before, started), (_, after, ended)] = pair else { unreachable!("windows of two") };
        let wall = ended.duration_since(*started).as_secs_f64();
        (name.clone(), Cost { cpu: after.cpu - before.cpu, wall, memory: after.memory })
    });
    let stages: Vec<(String, Cost)> = stages.collect();
    println!("{}", serde_json::to_string(&stages).expect("names and numbers"));
}

fn print_unit(name: &str, unit: &Unit) {
    let reached = median_by(unit.reached.iter().collect(), |run| run.own());
    let fallbacks = unit.reached.iter().filter(|run| run.fallback).count();
    println!(
        "{name:<32} {:>5.2} {:>4.0} | {} | {} | {:>6.2} {:>8.2} {:>7.2} {:>6.2}{}",
        unit.gcc.cpu,
        unit.gcc.memory / 1e6,
        reached.cost().of(&unit.gcc),
        unit.whole.cost().of(&unit.gcc),
        reached.expand,
        reached.libclang,
        reached.closure,
        reached.gcc,
        if fallbacks > 0 { format!("  {fallbacks} fell back") } else { String::new() },
    );
}

fn print_medians(units: &[Unit]) {
    let reached: Vec<_> = units.iter().flat_map(|unit| unit.reached.iter().map(move |run| (unit, run))).collect();
    let whole: Vec<_> = units.iter().map(|unit| (unit, &unit.whole)).collect();
    println!();
    for (name, runs) in [("reached", reached), ("whole unit", whole)] {
        let mut ratios: Vec<f64> = runs.iter().map(|(unit, run)| run.own() / unit.gcc.cpu).collect();
        let most = runs.iter().map(|(_, run)| run.memory).fold(0.0, f64::max);
        ratios.sort_by(f64::total_cmp);
        let at = |share: f64| ratios.get((ratios.len() as f64 * share) as usize).copied().unwrap_or_default();
        println!(
            "{name:<10} {:>3} functions: median {:.2}x, p90 {:.2}x, most {:.2}x of gcc's CPU; {:.0} MB at most",
            runs.len(),
            at(0.5),
            at(0.9),
            ratios.last().copied().unwrap_or_default(),
            most / 1e6
        );
    }
}

/// Functions in four parts by the size of their closures.
fn print_growth(units: &[Unit]) {
    let mut runs: Vec<_> = units.iter().flat_map(|unit| unit.reached.iter().map(move |run| (unit, run))).collect();
    runs.sort_by_key(|(_, run)| run.nodes);
    println!(
        "\nby statements in the closure (what is reached parsed): CPU ms of libclang and closure, of gcc's CPU in all"
    );
    for part in runs.chunks(runs.len().div_ceil(4).max(1)) {
        let median = |value: &dyn Fn(&Unit, &Run) -> f64| {
            median_by(part.iter().map(|(unit, run)| value(unit, run)).collect(), |value| *value)
        };
        println!(
            "  {:>6} to {:>6}: {:>6.0} {:>6.0}  {:.2}x",
            part.first().map_or(0, |(_, run)| run.nodes),
            part.last().map_or(0, |(_, run)| run.nodes),
            median(&|_, run| run.libclang * 1e3),
            median(&|_, run| run.closure * 1e3),
            median(&|unit, run| run.own() / unit.gcc.cpu),
        );
    }
}

fn print_stages(units: &[Unit]) {
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in units.iter().flat_map(|unit| &unit.stages) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return println!("\nstages of create: no unit has a function that can be patched");
    }
    println!("\nstages of create, medians in units of gcc -fsyntax-only: CPU, wall, largest process so far");
    let median = |of: &dyn Fn(&Unit) -> Option<f64>| median_by(units.iter().filter_map(of).collect(), |value| *value);
    let print = |name: &str, cost: &dyn Fn(&Unit) -> Option<Cost>| {
        println!(
            "  {:>6.2}x {:>6.2}x {:>5.1}x  {name}",
            median(&|unit| Some(cost(unit)?.cpu / unit.gcc.cpu)),
            median(&|unit| Some(cost(unit)?.wall / unit.gcc.wall)),
            median(&|unit| Some(cost(unit)?.memory / unit.gcc.memory)),
        );
    };
    for name in names {
        print(name, &|unit| unit.stages.iter().find(|(known, _)| known == name).map(|(_, cost)| *cost));
    }
    print("in all", &|unit| {
        let costs = unit.stages.iter().map(|(_, cost)| *cost);
        costs.reduce(|a, b| Cost { cpu: a.cpu + b.cpu, wall: a.wall + b.wall, memory: a.memory.max(b.memory) })
    });
}

/// The value in the middle.
fn median_by<T>(mut values: Vec<T>, key: impl Fn(&T) -> f64) -> T {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(|a, b| key(a).total_cmp(&key(b)));
    values.swap_remove(values.len() / 2)
}

/// CPU of this process and its ended children, and the largest of them.
fn used() -> Cost {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let mut cost = Cost::default();
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).expect("the system counts");
        cost.cpu += seconds(usage.user_time()) + seconds(usage.system_time());
        cost.memory = cost.memory.max(usage.max_rss() as f64 * 1024.0);
    }
    cost
}

/// Runs a command under a process of its own, so that its use is told apart from that of others.
fn measure(command: &[String], folder: &Path) -> Cost {
    let mut helper = Command::new(std::env::current_exe().expect("this program"));
    let output = helper.arg("--measure").args(command).current_dir(folder).output().expect("a command runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn measure_here(command: &[String]) -> Cost {
    let started = Instant::now();
    let status = Command::new(&command[0]).args(&command[1..]).status().expect("the command runs");
    assert!(status.success(), "{command:?} fails");
    Cost { wall: started.elapsed().as_secs_f64(), ..used() }
}

fn print_cost(cost: &Cost) {
    println!("{}", serde_json::to_string(cost).expect("numbers"));
}
