//! `klp-extract bundle` and `klp-extract replay`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser as _};

use crate::bundle;
use crate::finding::{BUNDLE_DIFFERS, Finding, Result, USAGE, io, refuse};

use super::{Arguments, print, report, status, versions};

#[derive(Args)]
pub(super) struct Record {
    /// Folder to write
    folder: PathBuf,
    /// A command with its arguments: `create` or `plan`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Args)]
pub(super) struct Replay {
    /// Folder that `bundle` wrote
    folder: PathBuf,
    /// Folder for what the run writes and prints
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn record(request: &Record) -> Result<ExitCode> {
    let words = std::iter::once("klp-extract".to_string()).chain(request.command.iter().cloned());
    if let Err(error) = Arguments::try_parse_from(words) {
        return refuse(USAGE, error.to_string().trim_end().trim_start_matches("error: ").to_string());
    }
    let mut stdin = || {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(io("read", Path::new("-")))?;
        Ok(bytes)
    };
    let recorded = bundle::record(&request.command, &mut stdin, &versions(), &request.folder)?;
    eprint!("{}", recorded.messages);
    print(&format!(
        "{} written: {} files read, {:.1} MB; exit status {}\n",
        request.folder.display(),
        recorded.files,
        recorded.size as f64 / 1e6,
        recorded.bundle.status
    ));
    if recorded.findings.is_empty() {
        print(&format!("done again from it: the same; elsewhere: klp-extract replay {}\n", request.folder.display()));
    }
    report(&recorded.findings);
    Ok(status(&recorded.findings))
}

pub(super) fn replay(request: &Replay) -> Result<ExitCode> {
    let replayed = bundle::replay(&request.folder, request.output.as_deref())?;
    eprint!("{}", replayed.messages);
    let mut findings: Vec<Finding> = Vec::new();
    if replayed.differing.is_empty() {
        let (outputs, code) = (replayed.outputs, replayed.bundle.status);
        print(&format!("the same as there: exit status {code}, {outputs} files, and what was printed\n"));
    } else {
        let mut message = format!("the run differs in {}", replayed.differing.join(", "));
        let (here, there) = (versions(), &replayed.bundle.versions);
        if here != *there {
            message.push_str(&format!("\nhere:\n{here}there:\n{there}"));
        }
        findings.push(Finding::new(BUNDLE_DIFFERS, message));
    }
    report(&findings);
    Ok(status(&findings))
}
