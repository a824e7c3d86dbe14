//! `klp-extract prepare`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::finding::Result;
use crate::prepare;

use super::{print, progress};

#[derive(Subcommand)]
pub(super) enum Request {
    /// From Debian's packages, fetched by apt as an ordinary user
    Debian {
        /// The kernel's release, as `uname -r` prints it
        release: String,
        /// Use only what was downloaded before
        #[arg(long)]
        offline: bool,
    },
    /// From your own source tree and build folder
    Local {
        /// Name of the prepared kernel
        name: String,
        /// Kernel source tree
        #[arg(long)]
        source: PathBuf,
        /// Build folder: configuration and generated headers
        #[arg(long)]
        build: PathBuf,
        /// vmlinuz or vmlinux of the running kernel
        #[arg(long)]
        image: Option<PathBuf>,
        /// Folder that has the running kernel's Module.symvers
        #[arg(long)]
        headers: Option<PathBuf>,
        /// Folder of the running kernel's modules
        #[arg(long)]
        modules: Option<PathBuf>,
    },
}

pub(super) fn run(request: Request) -> Result<ExitCode> {
    let descriptor = match request {
        Request::Debian { release, offline } => prepare::debian(&release, offline, &mut progress)?,
        Request::Local { name, source, build, image, headers, modules } => {
            prepare::local(&prepare::LocalOptions { name, source, build, image, headers, modules }, &mut progress)?
        }
    };
    print(&format!("{} is ready: use it with -k {}\n", descriptor.name, descriptor.name));
    Ok(ExitCode::SUCCESS)
}
