//! `klp-extract diff`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::differ::{self, Meaning};
use crate::finding::Result;
use crate::render::folder::Module;

use super::print;

#[derive(Args)]
pub(super) struct Request {
    /// A module's folder
    old: PathBuf,
    /// Another one
    new: PathBuf,
}

/// Status 1 where something differs, as diff(1) has it.
pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let (old, new) = (Module::read(&request.old)?, Module::read(&request.new)?);
    let whole = &differ::edited(&old)? | &differ::edited(&new)?;
    let differences = Meaning::of(&old, &whole)?.differences(&Meaning::of(&new, &whole)?);
    if old.kernel.version != new.kernel.version || old.kernel.release != new.kernel.release {
        let kernel = |module: &Module| format!("{} {}", module.kernel.release, module.kernel.version);
        print(&format!("kernel:\n  - {}\n  + {}\n", kernel(&old), kernel(&new)));
    }
    if differences.is_empty() {
        print("equal but for comments and line numbers\n");
        return Ok(ExitCode::SUCCESS);
    }
    print(&differences);
    Ok(ExitCode::from(1))
}
