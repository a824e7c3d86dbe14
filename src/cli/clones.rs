//! `klp-extract clones`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::affected::forest::{self, Forest};
use crate::finding::Result;

use super::print;

#[derive(Args)]
pub(super) struct Request {
    /// Clone reports, or folders that have some anywhere below
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// Only where this function's code is
    #[arg(long)]
    symbol: Option<String>,
    /// Functions of one name and place are one, whatever unit they are in
    #[arg(long)]
    group: bool,
    /// Leave functions that GCC removed out, but for the symbol and in the trees
    #[arg(long)]
    ignore_removed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "json")]
    dot: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let forest = Forest::of(forest::read(&request.reports)?, request.group);
    let view = forest::View { symbol: request.symbol.as_deref(), ignore_removed: request.ignore_removed };
    print(&match (request.json, request.dot) {
        (true, _) => forest.json(view)?,
        (_, true) => forest.dot(view)?,
        _ => forest.text(view)?,
    });
    Ok(ExitCode::SUCCESS)
}
