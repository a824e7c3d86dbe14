//! The front end's process: expands a unit, parses it with libclang and computes the closure.
//!
//! libclang runs in a process of its own, so that a crash of it, its memory and its global state stay away from the rest.
//! The request comes as JSON on standard input, the answer leaves as JSON on standard output; both are private to one
//! version of the program.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::closure::{self, Closure, Scope};
use crate::finding::{Error, FRONT_END, Finding, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use super::clang;
use super::groups::Outline;
use super::place::Places;
use super::program::Headers;

/// The hidden subcommand that runs [`serve`].
pub const SUBCOMMAND: &str = "front-end";

/// The longest that a unit may take; the largest of the kernel take a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub command: CompileCommand,
    pub build: PathBuf,
    /// Prefixes of the kernel source in GCC's file names, with trailing `/`, the overlay's first.
    pub roots: Vec<String>,
    /// Of a program, whose headers aren't told apart by the folders of `roots`.
    pub headers: Option<Headers>,
    pub scope: Scope,
}

/// What the front end used, in seconds of CPU and bytes; GCC's own runs apart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Usage {
    pub expand: f64,
    pub libclang: f64,
    pub closure: f64,
    pub gcc: f64,
    pub peak_memory: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub closure: Closure,
    pub usage: Usage,
}

/// Runs the front end in a process of its own.
pub fn run(request: &Request) -> Result<Answer> {
    let program = std::env::current_exe().map_err(io("find", std::path::Path::new("/proc/self/exe")))?;
    let input = serde_json::to_vec(request).map_err(broken)?;
    let mut worker = Program::new(program).arg(SUBCOMMAND).input(input).time_limit(TIME_LIMIT);
    if let Some(library) = super::library::find() {
        worker = worker.env("LIBCLANG_PATH", library);
    }
    let output = worker.output()?;
    if !output.success {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or("it was killed");
        return refuse(FRONT_END, format!("the front end failed on {}: {last}", request.command.source));
    }
    let answer: std::result::Result<Answer, Vec<Finding>> = serde_json::from_slice(&output.stdout).map_err(broken)?;
    answer.map_err(Error::Refused)
}

fn broken(error: serde_json::Error) -> Error {
    Finding::new(FRONT_END, format!("the front end's answer can't be read: {error}")).into()
}

/// The worker's side: answers the request on standard input.
pub fn serve() -> Result<()> {
    let request: Request = serde_json::from_reader(std::io::stdin().lock()).map_err(broken)?;
    let answer = answer(&request).map_err(|error| match error {
        Error::Refused(findings) => findings,
    });
    serde_json::to_writer(std::io::stdout().lock(), &answer).map_err(broken)
}

/// CPU seconds of this process, or of its ended children.
fn cpu(who: UsageWho) -> f64 {
    let Ok(usage) = getrusage(who) else { return 0.0 };
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Of this process since it was started, in bytes (proc(5), VmHWM). getrusage() would count what the process was before
/// it became this program: a copy of the one that started it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn answer(request: &Request) -> Result<Answer> {
    let clock = || cpu(UsageWho::RUSAGE_SELF);
    let started = clock();
    let mut unit = super::expanded(&request.command, &request.build)?;
    let outline = Outline::new(&mut unit);
    let expanded = clock();
    clang::load()?;
    let parsed = clang::Parsed::new(&unit, &outline, &request.command.args)?;
    let has_parsed = clock();
    let places = Places::new(&unit, request);
    let closure = closure::close(&unit, &outline, &parsed, &places, &request.scope)?;
    let usage = Usage {
        expand: expanded - started,
        libclang: has_parsed - expanded,
        closure: clock() - has_parsed,
        gcc: cpu(UsageWho::RUSAGE_CHILDREN),
        peak_memory: peak_memory(),
    };
    Ok(Answer { closure, usage })
}
