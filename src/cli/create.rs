//! `klp-extract create`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::finding::Result;
use crate::folder;
use crate::kernel::Kernel;
use crate::pipeline;
use crate::render::{json, output};
use crate::scratch;
use crate::unit::worker;

use super::plan::plan_text;
use super::{next_command, print, progress, report, request, status};

#[derive(Args)]
pub(super) struct Request {
    #[command(flatten)]
    request: request::Request,
    /// Folder to write [default: livepatch-PATCH]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print where the time and memory of the front end went
    #[arg(long)]
    timings: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let options = request::options(&request.request, request.output.as_deref())?;
    let path = request.output.clone().unwrap_or_else(|| PathBuf::from(&options.name));
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    let plan = pipeline::plan(&kernel, &options, scratch.path(), &mut progress)?;
    let mut livepatch = pipeline::create(&kernel, &options, &plan, scratch.path(), &mut progress)?;
    let report_text = json::render(&kernel, &options, &plan, &livepatch)?;
    livepatch.files.push((json::FILE.into(), report_text));
    let written = output::write(&path, &folder::contents(&livepatch.files, &options))?;
    print(&plan_text(&plan));
    report(&livepatch.findings);
    let state = match written {
        output::Written::New => "written",
        output::Written::Replaced => "written anew",
        output::Written::Unchanged => "unchanged",
    };
    for (name, text) in livepatch.files.iter().filter(|(name, _)| name.ends_with(".c")) {
        print(&format!("{}/{name} {state}: {} lines\n", path.display(), text.lines().count()));
    }
    if request.timings {
        livepatch.usage.iter().for_each(|(source, usage)| print(&timings(source, usage)));
    }
    eprintln!("next: {}", next_command(&path));
    Ok(status(&livepatch.findings))
}

fn timings(source: &str, usage: &worker::Usage) -> String {
    let fallback = usage.fallback.as_ref().map(|why| format!(", the whole unit parsed: {why}"));
    format!(
        "front end of {source}: expand {:.2} s, libclang {:.2} s, closure {:.2} s, gcc -E {:.2} s, peak memory {} MB{}\n",
        usage.expand,
        usage.libclang,
        usage.closure,
        usage.gcc,
        usage.peak_memory >> 20,
        fallback.unwrap_or_default()
    )
}
