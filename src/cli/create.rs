//! `klp-extract create`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::finding::Result;
use crate::kernel::Kernel;
use crate::pipeline;
use crate::render::{self, json, output};
use crate::review;
use crate::scratch;
use crate::unit::worker;

use super::plan::plan_text;
use super::{hint, next_command, print, progress, report, reported, request, status, terminal};

#[derive(Args)]
pub(super) struct Request {
    #[command(flatten)]
    request: request::Request,
    /// Folder to write [default: livepatch-PATCH]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Say where the time and memory went
    #[arg(long)]
    timings: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let options = request::options(&request.request, request.output.as_deref())?;
    let folder = request.output.clone().unwrap_or_else(|| PathBuf::from(&options.name));
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    terminal::sources(kernel.source(), kernel.build(), scratch.path());
    // Reported while the patched tree is there.
    Ok(reported(create(request, &options, &kernel, &folder, scratch.path())))
}

fn create(
    request: &Request,
    options: &pipeline::Options,
    kernel: &Kernel,
    folder: &Path,
    scratch: &Path,
) -> Result<ExitCode> {
    let plan = pipeline::plan(kernel, options, scratch, &mut progress)?;
    let mut livepatch = pipeline::create(kernel, options, &plan, scratch, &mut progress)?;
    progress("review");
    let review = review::review(kernel, options, &plan, &livepatch)?;
    livepatch.files.push((render::REVIEW.into(), render::review(&review, &livepatch.files)?));
    livepatch.files.push((json::FILE.into(), json::render(kernel, &plan, &livepatch, &review)?));
    let written = output::write(folder, &livepatch.files)?;
    print(&plan_text(&plan));
    report(&livepatch.findings);
    let state = match written {
        output::Written::New => "written",
        output::Written::Replaced => "written anew",
        output::Written::Unchanged => "unchanged",
    };
    for (name, text) in livepatch.files.iter().filter(|(name, _)| name.ends_with(".c")) {
        print(&format!("{}/{name} {state}: {} lines\n", folder.display(), text.lines().count()));
    }
    if request.timings {
        terminal::timings();
        livepatch.usage.iter().for_each(|(source, usage)| terminal::say(&timings(source, usage)));
    }
    hint(&format!("review: {}", folder.join(render::REVIEW).display()));
    hint(&format!("next: {}", next_command(folder)));
    Ok(status(&livepatch.findings))
}

/// The front end's share, which runs in processes of its own.
fn timings(source: &str, usage: &worker::Usage) -> String {
    let fallback = usage.fallback.as_ref().map(|why| format!(", the whole unit parsed: {why}"));
    format!(
        "front end of {source}: expand {:.2} s, libclang {:.2} s, closure {:.2} s, gcc -E {:.2} s, peak memory {} MB{}",
        usage.expand,
        usage.libclang,
        usage.closure,
        usage.gcc,
        usage.peak_memory >> 20,
        fallback.unwrap_or_default()
    )
}
