//! `klp-extract link` and `symvers`, which the module's Makefile calls.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::finding::Result;
use crate::link;
use crate::link::symbols_file;

use super::{print, report, status};

#[derive(Args)]
pub(super) struct Request {
    /// The built module
    module: PathBuf,
    /// Its klp.symbols
    #[arg(long)]
    symbols: PathBuf,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let linked = link::link(&request.module, &request.symbols)?;
    report(&linked.findings);
    Ok(status(&linked.findings))
}

pub(super) fn symvers(file: &Path) -> Result<ExitCode> {
    let entries = symbols_file::read(file)?;
    print(&symbols_file::symvers(&entries, &Default::default())?);
    Ok(ExitCode::SUCCESS)
}
