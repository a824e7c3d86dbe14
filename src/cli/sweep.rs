//! `klp-extract sweep`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::finding::{Result, io};
use crate::scratch;
use crate::sweep;

use super::{hint, print};

#[derive(Args)]
pub(super) struct Request {
    /// A prepared kernel: its name, or the path of its kernel.json
    #[arg(short, long)]
    kernel: String,
    /// How many functions to try
    #[arg(long, default_value_t = 60)]
    functions: usize,
    /// Another seed draws other functions
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File with the sources to draw from, one a line [default: all]
    #[arg(long, value_name = "LIST")]
    tus: Option<PathBuf>,
    /// How many functions of one unit: 1 tries the most units
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    per_unit: u16,
    /// Functions tried side by side [default: one a core]
    #[arg(short, long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// File of JSON lines, one a function; one that is there is gone on with [default: sweep-KERNEL-SEED.jsonl]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also build each module that refers to the running kernel, and load and remove it in a virtual machine, many a boot
    #[arg(long)]
    load: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let units = match &request.tus {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(io("read", path))?;
            Some(text.split_whitespace().map(str::to_string).collect())
        }
    };
    let default = || PathBuf::from(format!("sweep-{}-{}.jsonl", request.kernel.replace('/', "-"), request.seed));
    let rows = request.output.clone().unwrap_or_else(default);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request = sweep::Request {
        kernel: request.kernel.clone(),
        functions: request.functions,
        seed: request.seed,
        units,
        per_unit: request.per_unit.into(),
        jobs: request.jobs.map_or(cores, usize::from),
        rows,
        load: request.load,
    };
    let scratch = scratch::Folder::new()?;
    let bar = indicatif::ProgressBar::new(0);
    let tick = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let rows = sweep::sweep(&request, scratch.path(), &tick)?;
    bar.finish_and_clear();
    print(&sweep::table(&rows));
    hint(&format!("rows: {}", request.rows.display()));
    let failed = rows.iter().any(|row| row.status == sweep::Status::Failed);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
