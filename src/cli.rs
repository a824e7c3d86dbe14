//! The command line: arguments first, action later; results on standard output, all else on standard error.

mod bundle;
mod check;
mod clones;
mod create;
mod diff;
mod doctor;
mod explain;
mod extract;
mod generate;
mod house;
mod kernels;
mod link;
mod plan;
mod prepare;
mod refresh;
mod request;
mod sweep;
mod terminal;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::finding::{Error, Finding, Result, Severity, USAGE, refuse};
use crate::scratch;
use crate::unit::worker;

use terminal::{hint, print, progress, report};

/// Makes reviewable Linux kernel livepatch modules from a patch.
///
/// Exit status: 0 done, 1 done but a person has to look, 2 could not, 130 interrupted.
#[derive(Parser)]
#[command(name = "klp-extract", disable_version_flag = true, arg_required_else_help = true)]
struct Arguments {
    /// Print versions of this program, gcc and libclang
    #[arg(long)]
    version: bool,
    #[command(flatten)]
    terminal: terminal::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what is missing on this machine, and how to get it
    Doctor,
    /// Make a kernel ready to be patched
    #[command(subcommand)]
    Prepare(prepare::Request),
    /// Show which functions a patch, or a change of one function, concerns and why; writes nothing
    Plan(plan::Request),
    /// Write the livepatch module for a patch
    Create(create::Request),
    /// Say what a finding means, or why something is in a module
    Explain(explain::Request),
    /// Say what differs between two modules by meaning
    Diff(diff::Request),
    /// Check a module again that was edited by hand, and say what the hand changed
    Check(check::Request),
    /// Make a module anew, for a new patch or another kernel, and keep what was edited in it by hand
    Refresh(refresh::Request),
    /// Copy functions out of any C project, with all that they need, into one C file
    Extract(extract::Request),
    /// Show where GCC put the code of functions, from its clone reports (-fdump-ipa-clones)
    Clones(clones::Request),
    /// Boot the kernel in a virtual machine and try the built module
    Test(test::Request),
    /// List the templates of the module's files, or write them out to be changed
    Templates(house::Templates),
    /// Show what klp-extract.toml sets: that of the project, found upwards from here, and the user's
    Config(house::Config),
    /// List or remove prepared kernels
    #[command(subcommand)]
    Kernels(kernels::Request),
    /// Do a `create` or `plan` and keep all that it reads: a bug report that another machine can do again
    Bundle(bundle::Record),
    /// Do the run of a bundle again, and say what differs
    Replay(bundle::Replay),
    /// Try random functions of a kernel, each pretended patched; a smoke test for a new kernel
    Sweep(sweep::Request),
    /// Make man pages and shell completions
    #[command(subcommand)]
    Generate(generate::Request),
    /// Write klp relocations into a built module (called by its Makefile)
    Link(link::Request),
    /// Print a klp.symbols as modpost reads it (called by the module's Makefile)
    Symvers {
        /// The klp.symbols file
        file: PathBuf,
    },
    #[command(name = worker::SUBCOMMAND, hide = true)]
    FrontEnd,
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    terminal::set_up(&arguments.terminal);
    let _ = ctrlc::set_handler(|| {
        crate::process::end_all();
        scratch::remove_all();
        std::process::exit(130);
    });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| s.as_str()));
        let message = text.unwrap_or("no message");
        eprintln!("error: klp-extract itself failed{place}: {message}; please report this, with what it was given");
    }));
    let code = std::panic::catch_unwind(|| {
        reported(match arguments.command {
            _ if arguments.version => version(),
            Some(command) => run(command),
            None => refuse(USAGE, "no command given; `klp-extract --help` lists them"),
        })
    });
    terminal::finish();
    code.unwrap_or(ExitCode::from(2))
}

/// Shows what refuses; the exit status.
fn reported(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|Error::Refused(findings)| {
        report(&findings);
        ExitCode::from(2)
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Doctor => doctor::run(),
        Command::Prepare(request) => prepare::run(request),
        Command::Plan(request) => plan::run(&request),
        Command::Create(request) => create::run(&request),
        Command::Explain(request) => explain::run(&request),
        Command::Diff(request) => diff::run(&request),
        Command::Check(request) => check::run(&request),
        Command::Refresh(request) => refresh::run(&request),
        Command::Extract(request) => extract::run(&request),
        Command::Clones(request) => clones::run(&request),
        Command::Test(request) => test::run(&request),
        Command::Templates(request) => house::templates(&request),
        Command::Config(request) => house::config(&request),
        Command::Kernels(request) => kernels::run(request),
        Command::Bundle(request) => bundle::record(&request),
        Command::Replay(request) => bundle::replay(&request),
        Command::Sweep(request) => sweep::run(&request),
        Command::Generate(request) => generate::run(&request),
        Command::Link(request) => link::run(&request),
        Command::Symvers { file } => link::symvers(&file),
        Command::FrontEnd => worker::serve().map(|()| ExitCode::SUCCESS),
    }
}

fn status(findings: &[Finding]) -> ExitCode {
    ExitCode::from(match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Refuse) => 2,
        Some(Severity::Judge) => 1,
        _ => 0,
    })
}

fn version() -> Result<ExitCode> {
    print(&versions());
    Ok(ExitCode::SUCCESS)
}

/// Of this program, GCC and libclang.
fn versions() -> String {
    let gcc = crate::process::Program::new("gcc").arg("--version").output();
    let gcc = gcc.ok().map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_string());
    let library = crate::unit::library::find().map(|path| path.display().to_string());
    format!(
        "klp-extract {}\n{}\nlibclang: {}\n",
        env!("CARGO_PKG_VERSION"),
        gcc.as_deref().unwrap_or("gcc: missing"),
        library.as_deref().unwrap_or("missing")
    )
}

/// The make command; it names the program where it isn't on the user's path.
fn next_command(folder: &Path) -> String {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let same = |folder: PathBuf| folder.join("klp-extract").canonicalize().ok() == std::env::current_exe().ok();
        std::env::split_paths(&path).any(same)
    });
    let program = std::env::current_exe().unwrap_or_default();
    let variable = if found { String::new() } else { format!(" KLP_EXTRACT={}", program.display()) };
    format!("make -C {}{variable}", folder.display())
}
