//! `klp-extract create`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::differ::Meaning;
use crate::finding::{Result, USAGE, refuse};
use crate::folder;
use crate::kernel::Kernel;
use crate::linkage::pointers::Symbols;
use crate::pipeline::{self, Livepatch, Options, Plan};
use crate::render::folder::Module;
use crate::render::{self, Scaffold, json, output};
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
    /// How symbols that the kernel doesn't export are reached
    #[arg(long, value_name = "HOW", default_value = "klp-reloc")]
    symbols: Symbols,
    /// Refer to a patched module's symbols by their names, although it can't be loaded a second time then
    #[arg(long)]
    no_reload: bool,
    /// Folder of a livepatch that is loaded already (create wrote it); may be given several times, the oldest first
    #[arg(long, value_name = "DIR")]
    base: Vec<PathBuf>,
    /// Make a cumulative module, which has the patches of all --base too and takes their place
    #[arg(long, requires = "base")]
    replace: bool,
    /// Write code that compiles and does nothing, for people to fill in
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    scaffold: Vec<Scaffold>,
    /// Say where the time and memory went
    #[arg(long)]
    timings: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    match request.request.kernel.as_slice() {
        [kernel] => {
            let options = options(request, kernel)?.built_on(&request.base, request.replace)?;
            let folder = request.output.clone().unwrap_or_else(|| PathBuf::from(&options.name));
            one(request, &options, &Kernel::open(kernel)?, &folder)
        }
        kernels => several(request, kernels),
    }
}

fn options(request: &Request, kernel: &str) -> Result<Options> {
    Ok(Options {
        symbols: request.symbols,
        reload: !request.no_reload,
        scaffold: request.scaffold.clone(),
        ..request::options(&request.request, kernel, request.output.as_deref())?
    })
}

fn one(request: &Request, options: &Options, kernel: &Kernel, folder: &Path) -> Result<ExitCode> {
    let scratch = scratch::Folder::new()?;
    terminal::sources(kernel.source(), kernel.build(), scratch.path());
    // Reported while the patched tree is there.
    Ok(reported(create(request, options, kernel, folder, scratch.path())))
}

/// A folder a kernel, and which of them are equal: those need one review.
fn several(request: &Request, kernels: &[String]) -> Result<ExitCode> {
    if !request.base.is_empty() {
        return refuse(USAGE, "--base is a livepatch of one kernel: name that kernel alone with -k");
    }
    let mut all: Vec<Options> = Vec::new();
    for kernel in kernels {
        // Standard input can be read once.
        all.push(match all.first() {
            None => options(request, kernel)?,
            Some(first) => Options { kernel: kernel.clone(), ..first.clone() },
        });
    }
    let opened = kernels.iter().map(|kernel| Kernel::open(kernel)).collect::<Result<Vec<_>>>()?;
    let names: BTreeSet<&str> = opened.iter().map(|kernel| kernel.descriptor.name.as_str()).collect();
    if names.len() < opened.len() {
        return refuse(USAGE, "-k names a kernel twice");
    }
    let mut worst = ExitCode::SUCCESS;
    let mut groups: Vec<(Meaning, Vec<PathBuf>)> = Vec::new();
    let mut without: Vec<&str> = Vec::new();
    for (options, kernel) in all.iter().zip(&opened) {
        let parent = request.output.clone().unwrap_or_else(|| PathBuf::from(&options.name));
        let folder = parent.join(&kernel.descriptor.name);
        print(&format!("{}:\n", kernel.descriptor.name));
        let code = one(request, options, kernel, &folder)?;
        if code == ExitCode::from(2) {
            worst = code;
            without.push(&kernel.descriptor.name);
            continue;
        }
        if worst == ExitCode::SUCCESS {
            worst = code;
        }
        let meaning = Meaning::of(&Module::read(&folder)?, &BTreeSet::new())?;
        match groups.iter_mut().find(|(known, _)| known.differences(&meaning).is_empty()) {
            Some((_, folders)) => folders.push(folder),
            None => groups.push((meaning, vec![folder])),
        }
    }
    print(&grouped(&groups));
    without.iter().for_each(|kernel| print(&format!("no module for {kernel}: its findings say why\n")));
    Ok(worst)
}

fn grouped(groups: &[(Meaning, Vec<PathBuf>)]) -> String {
    let mut text = String::new();
    for (index, (meaning, folders)) in groups.iter().enumerate() {
        let shown: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let equal = if folders.len() > 1 { ", equal but for comments and line numbers" } else { "" };
        text.push_str(&format!("to review {} of {}: {}{equal}\n", index + 1, groups.len(), shown.join(", ")));
        if let Some((first, others)) = groups.first().filter(|_| index > 0) {
            text.push_str(&format!("  against {}:\n", others[0].display()));
            first.differences(meaning).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
    }
    text
}

fn create(request: &Request, options: &Options, kernel: &Kernel, folder: &Path, scratch: &Path) -> Result<ExitCode> {
    let plan = pipeline::plan(kernel, options, scratch, &mut progress)?;
    let mut livepatch = pipeline::create(kernel, options, &plan, scratch, &mut progress)?;
    progress("review");
    add_account(kernel, options, &plan, &mut livepatch)?;
    let written = output::write(folder, &folder::contents(&livepatch.files, options))?;
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

/// Adds the files that say why: the review page and livepatch.json.
pub(super) fn add_account(kernel: &Kernel, options: &Options, plan: &Plan, livepatch: &mut Livepatch) -> Result<()> {
    let review = review::review(kernel, options, plan, livepatch)?;
    livepatch.files.push((render::REVIEW.into(), render::review(&review, &livepatch.files, &options.house)?));
    livepatch.files.push((json::FILE.into(), json::render(kernel, options, plan, livepatch, &review)?));
    Ok(())
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
