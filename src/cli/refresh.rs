//! `klp-extract refresh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use similar::TextDiff;

use crate::finding::{Finding, MERGE_CONFLICT, Result, USAGE, refuse};
use crate::folder::{self, Folder};
use crate::kernel::Kernel;
use crate::pipeline::{self, counted};
use crate::refresh::{self, Merged, merge::Outcome};
use crate::scratch;

use super::{hint, next_command, print, progress, report, request, status};

#[derive(Args)]
pub(super) struct Request {
    /// The module's folder
    folder: PathBuf,
    /// A new version of the patch; several are applied in order [default: the folder's own]
    #[arg(long, value_name = "PATCH")]
    patch: Vec<PathBuf>,
    /// Another prepared kernel [default: the folder's own]
    #[arg(short, long)]
    kernel: Option<String>,
    /// A finding that a person has judged and allows, beside those of the folder
    #[arg(long, value_name = "ID=REASON")]
    allow: Vec<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let folder = Folder::read(&request.folder)?;
    if let Some((name, _)) = folder.edited.iter().find(|(_, text)| has_conflict(text)) {
        return refuse(USAGE, format!("{name} has conflicts of an earlier refresh in it; resolve them first"));
    }
    let mut options = folder.options();
    if !request.patch.is_empty() {
        options.patches = request::patches(&request.patch)?;
    }
    if let Some(kernel) = &request.kernel {
        options.kernel.clone_from(kernel);
    }
    for pair in &request.allow {
        let (id, reason) = request::allowed(pair)?;
        options.allow.insert(id, reason);
    }
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    let plan = pipeline::plan(&kernel, &options, scratch.path(), &mut progress)?;
    let mut livepatch = pipeline::create(&kernel, &options, &plan, scratch.path(), &mut progress)?;
    let new: BTreeMap<String, String> = livepatch.files.iter().cloned().collect();
    super::create::add_account(&kernel, &options, &plan, &mut livepatch)?;
    let merged = refresh::merged(&folder, &new);
    let broken = refresh::compiled(&kernel, &livepatch.written, &merged, scratch.path())?;
    if request.dry_run {
        print(&dry(&folder, &merged));
    } else {
        refresh::write(&folder, &merged, &folder::contents(&livepatch.files, &options))?;
    }
    print(&summary(&request.folder, &merged, request.dry_run));
    let mut findings = livepatch.findings;
    findings.extend(conflict(&merged));
    findings.extend(broken);
    report(&findings);
    if !request.dry_run && merged.conflicts() == 0 {
        hint(&format!("next: klp-extract check {0} && {1}", request.folder.display(), next_command(&request.folder)));
    }
    Ok(status(&findings))
}

fn has_conflict(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("<<<<<<< ")) && text.lines().any(|line| line.starts_with(">>>>>>> "))
}

fn conflict(merged: &Merged) -> Option<Finding> {
    let of = |outcome: &Outcome| matches!(outcome, Outcome::Conflicts(_));
    let files: Vec<&str> =
        merged.files.iter().filter(|(_, (_, outcome))| of(outcome)).map(|(name, _)| name.as_str()).collect();
    let count = merged.conflicts();
    (count > 0).then(|| {
        let message = format!(
            "{} in {}, changed by hand and by the new module: choose there between the three texts",
            counted(count, "place"),
            files.join(", ")
        );
        Finding::new(MERGE_CONFLICT, message)
    })
}

/// What is there now against what would be.
fn dry(folder: &Folder, merged: &Merged) -> String {
    let mut text = String::new();
    for (name, (new, _)) in &merged.files {
        let (old, new) = (folder.edited.get(name).map_or("", String::as_str), new.as_deref().unwrap_or(""));
        if old != new {
            let diff = TextDiff::from_lines(old, new);
            let names = (format!("now/{name}"), format!("then/{name}"));
            text.push_str(&diff.unified_diff().header(&names.0, &names.1).to_string());
        }
    }
    text
}

fn summary(path: &Path, merged: &Merged, dry: bool) -> String {
    let mut text = String::new();
    for (name, (contents, outcome)) in &merged.files {
        let became = match (outcome, contents) {
            (_, None) => "goes".into(),
            (Outcome::Unchanged, _) => "unchanged".into(),
            (Outcome::New, _) => "written anew".into(),
            (Outcome::Edited, _) => "kept as edited".into(),
            (Outcome::Merged, _) => "merged with the edits".into(),
            (Outcome::Conflicts(count), _) => counted(*count, "conflict"),
        };
        text.push_str(&format!("{}/{name}: {became}\n", path.display()));
    }
    if dry {
        text.push_str("nothing was written\n");
    }
    text
}
