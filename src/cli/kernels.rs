//! `klp-extract kernels`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::finding::Result;
use crate::kernel::Kernel;
use crate::prepare::kernels;

use super::print;

#[derive(Subcommand)]
pub(super) enum Request {
    /// Names, releases and disk use
    List,
    /// Free a prepared kernel's disk space
    Remove { name: String },
    /// Print the build folder of a kernel (called by the module's Makefile)
    BuildDir { name: String },
}

pub(super) fn run(request: Request) -> Result<ExitCode> {
    match request {
        Request::List => {
            for kernel in kernels::list()? {
                print(&format!(
                    "{:<32} {:<28} {:>6} MB\n",
                    kernel.name,
                    kernel.release.as_deref().unwrap_or("unfinished"),
                    kernel.size >> 20
                ));
            }
        }
        Request::Remove { name } => {
            let freed = kernels::remove(&name)?;
            print(&format!("{name} removed, {} MB freed\n", freed >> 20));
        }
        Request::BuildDir { name } => print(&format!("{}\n", Kernel::open(&name)?.build().display())),
    }
    Ok(ExitCode::SUCCESS)
}
