//! `klp-extract extract`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::command_line;
use crate::finding::{Result, USAGE, io, refuse};
use crate::pipeline::copy;
use crate::scratch;
use crate::unit::program::Includes;

#[derive(Args)]
pub(super) struct Request {
    /// Functions to copy, separated by commas
    #[arg(long, required = true, value_delimiter = ',', value_name = "F")]
    function: Vec<String>,
    /// Name them as a livepatch does: klpp_F
    #[arg(long)]
    rename: bool,
    /// Which #include lines stay
    #[arg(long, value_enum, default_value_t = Includes::System)]
    includes: Includes,
    /// Functions and data that are declared only, not copied
    #[arg(long, value_delimiter = ',', value_name = "S")]
    externalize: Vec<String>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The command that compiles the unit, as the build prints it, to be run in the current folder
    #[arg(last = true, required = true, value_name = "GCC ARGS")]
    command: Vec<String>,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let folder = std::env::current_dir().map_err(io("find", Path::new(".")))?;
    let command = command_line::parse(&request.command, &folder)?;
    if let Some(output) = &request.output
        && same_file(output, &folder.join(&command.source))
    {
        return refuse(USAGE, format!("-o {} is the source itself", output.display()));
    }
    let named = |names: &[String]| names.iter().map(|name| name.trim().to_string()).filter(|n| !n.is_empty()).collect();
    let copy_request = copy::Request {
        command,
        functions: named(&request.function),
        externalize: named(&request.externalize),
        rename: request.rename,
        includes: request.includes,
    };
    let scratch = scratch::Folder::new()?;
    let copy = copy::copy(&copy_request, &folder, scratch.path())?;
    match &request.output {
        Some(file) => write(file, &copy.text)?,
        None => super::print(&copy.text),
    }
    super::report(&copy.findings);
    Ok(super::status(&copy.findings))
}

fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Writes the file whole or not at all; what is no file, such as a terminal, is written to.
fn write(file: &Path, text: &str) -> Result<()> {
    let followed = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
    if followed.exists() && !followed.is_file() {
        return std::fs::write(&followed, text).map_err(io("write", file));
    }
    let file = followed.as_path();
    scratch::write(file, text.as_bytes(), 0o666 & !umask())
}

/// Of this process (proc(5), Umask).
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|value| u32::from_str_radix(value.trim(), 8).ok()).unwrap_or(0o077)
}
