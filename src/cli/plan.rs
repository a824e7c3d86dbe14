//! `klp-extract plan`.

use std::process::ExitCode;

use clap::Args;

use crate::affected::Affected;
use crate::finding::Result;
use crate::impact::{self, Level};
use crate::kernel::Kernel;
use crate::pipeline::{self, Plan};
use crate::scratch;

use super::{print, progress, report, reported, request, status, terminal};

#[derive(Args)]
pub(super) struct Request {
    #[command(flatten)]
    request: request::Request,
    /// Instead of a patch: a function that is to change
    #[arg(long, requires = "file", conflicts_with = "patches")]
    function: Option<String>,
    /// The C file of that function
    #[arg(long, requires = "function")]
    file: Option<String>,
    /// What it would be in a kernel built with GCC's -flive-patching=LEVEL
    #[arg(long, requires = "function")]
    level: Option<Level>,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    if let (Some(function), Some(file)) = (&request.function, &request.file) {
        return impacted(request, function, file);
    }
    let options = request::options(&request.request, request::only_kernel(&request.request)?, None)?;
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    terminal::sources(kernel.source(), kernel.build(), scratch.path());
    // Reported while the patched tree is there.
    Ok(reported(pipeline::plan(&kernel, &options, scratch.path(), &mut progress).map(|plan| {
        print(&plan_text(&plan));
        report(&plan.findings);
        status(&plan.findings)
    })))
}

pub(super) fn plan_text(plan: &Plan) -> String {
    let mut text: String = plan.searches.iter().map(|search| format!("{search}\n")).collect();
    for unit in &plan.units {
        text.push_str(&format!("{} ({})\n", unit.command.source, unit.command.object));
        text.push_str(&format!("  clone report: {}\n", unit.report));
        text.push_str(&targets_text(&unit.affected));
    }
    text
}

fn targets_text(affected: &Affected) -> String {
    let mut text = String::new();
    for name in &affected.patched {
        text.push_str(&format!("  patched  {name}\n"));
    }
    for target in &affected.targets {
        text.push_str(&format!("  replace  {}\n", target.name));
        for reason in &target.chain {
            text.push_str(&format!("             {reason}\n"));
        }
    }
    text
}

/// `plan --function`: the impacted list without a patch.
fn impacted(request: &Request, function: &str, file: &str) -> Result<ExitCode> {
    let kernel = Kernel::open(request::only_kernel(&request.request)?)?;
    let scratch = scratch::Folder::new()?;
    let mut findings = Vec::new();
    for impact in impact::impact(&kernel, file, function, request.level, scratch.path())? {
        let statement = impact.statement().replace('\n', "\n  ");
        print(&format!("{} ({})\n  {statement}\n", impact.command.source, impact.command.object));
        print(&targets_text(&impact.affected));
        findings.extend(impact.affected.findings);
    }
    report(&findings);
    Ok(status(&findings))
}
