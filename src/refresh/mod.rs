//! A module made anew, for another patch or kernel, with what a hand has changed in the old one.

pub mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::check;
use crate::finding::{Error, Finding, MERGE_BROKEN, Result, USAGE, io, refuse};
use crate::folder::{Folder, PRISTINE};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::parallel::try_map;
use crate::pipeline::Written;
use crate::render::output;
use crate::scratch;

use merge::Outcome;

/// What [`merged`] yields.
#[derive(Debug)]
pub struct Merged {
    /// By name: the contents, and what became of it. A file without contents goes.
    pub files: BTreeMap<String, (Option<String>, Outcome)>,
}

impl Merged {
    pub fn conflicts(&self) -> usize {
        let count = |outcome: &Outcome| if let Outcome::Conflicts(count) = outcome { *count } else { 0 };
        self.files.values().map(|(_, outcome)| count(outcome)).sum()
    }
}

/// Merges the files that people edit; `new` are those of the new module.
pub fn merged(folder: &Folder, new: &BTreeMap<String, String>) -> Merged {
    let names: BTreeSet<&String> = folder.pristine.keys().chain(folder.edited.keys()).chain(new.keys()).collect();
    let text = |texts: &BTreeMap<String, String>, name: &String| texts.get(name).cloned();
    let files = names.into_iter().map(|name| {
        let (pristine, edited, new) = (text(&folder.pristine, name), text(&folder.edited, name), text(new, name));
        (name.clone(), merge::merge(name, pristine.as_deref(), edited.as_deref(), new.as_deref()))
    });
    Merged { files: files.collect() }
}

/// Where a hand's edits live on: do they and the new text compile together, as the build will compile them? With conflicts
/// in it nobody asks.
pub fn compiled(kernel: &Kernel, written: &[Written], merged: &Merged, scratch: &Path) -> Result<Vec<Finding>> {
    let by_hand = |(_, outcome): &(_, Outcome)| matches!(outcome, Outcome::Merged | Outcome::Edited);
    let Some(first) = written.first() else { return Ok(Vec::new()) };
    if merged.conflicts() > 0 || !merged.files.values().any(by_hand) {
        return Ok(Vec::new());
    }
    let folder = scratch.join("merged");
    for (name, (text, _)) in &merged.files {
        if let Some(text) = text {
            put(&folder.join(name), text.as_bytes())?;
        }
    }
    let is_there = |name: &&String| name.ends_with(".c") && merged.files[*name].0.is_some();
    let sources: Vec<&String> = merged.files.keys().filter(is_there).collect();
    let broken = try_map(&sources, |name| {
        let of = written.iter().find(|written| written.output == **name).unwrap_or(first);
        let source = folder.join(name).to_string_lossy().into_owned();
        let command = CompileCommand { source, ..of.command.clone() };
        match check::compile(&command, check::NO_WARNING, kernel.build(), &folder.join(format!("{name}.o"))) {
            Ok(_) => Ok(Vec::new()),
            Err(Error::Refused(findings)) => Ok(findings),
        }
    })?;
    // The scratch folder's name says nothing to anybody.
    let prefix = format!("{}/", folder.display());
    let finding = |finding: Finding| {
        let why = finding.message.replace(&prefix, "");
        Finding::new(MERGE_BROKEN, format!("the edits and the new module don't compile together:\n  {why}"))
    };
    Ok(broken.into_iter().flatten().map(finding).collect())
}

/// What `make` and `test` leave in a folder; of the old module.
fn is_product(name: &str) -> bool {
    let names = ["modules.order", "Module.symvers", "klp.symvers", "test-transcript.txt", ".tmp_versions"];
    let ends = [".o", ".ko", ".mod", ".mod.c", ".cmd", ".symvers.tmp"];
    names.contains(&name) || ends.iter().any(|end| name.ends_with(end))
}

/// Replaces the folder in one step: `contents` (of a new folder, pristine text included) with the merged files in their
/// place. What else a person keeps there stays; what was built goes.
pub fn write(folder: &Folder, merged: &Merged, contents: &[(String, Vec<u8>)]) -> Result<()> {
    let path = folder.path.canonicalize().map_err(io("find", &folder.path))?;
    let parent = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let scratch = scratch::Folder::within(&parent, output::BESIDE)?;
    let made = scratch.path().join("new");
    copy_others(&path, &made, folder)?;
    for (name, bytes) in contents {
        let bytes = match merged.files.get(name) {
            Some((None, _)) => continue,
            Some((Some(text), _)) => text.as_bytes(),
            None => bytes,
        };
        put(&made.join(name), bytes)?;
    }
    for (name, (text, _)) in &merged.files {
        let known = contents.iter().any(|(known, _)| known == name);
        if let (Some(text), false) = (text, known) {
            put(&made.join(name), text.as_bytes())?;
        }
    }
    // Never is there a moment in which the hand's edits are nowhere but in a scratch folder.
    scratch::swap(&made, &path)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io("create", parent))?;
    std::fs::write(path, bytes).map_err(io("write", path))
}

/// Copies what is neither generated nor built.
fn copy_others(from: &Path, to: &Path, folder: &Folder) -> Result<()> {
    std::fs::create_dir_all(to).map_err(io("create", to))?;
    let generated = |name: &str| {
        name == PRISTINE || folder.is_generated(name) || folder.edited.contains_key(name) || is_product(name)
    };
    let walk = walkdir::WalkDir::new(from).min_depth(1).sort_by_file_name().into_iter();
    let kept = walk.filter_entry(|entry| entry.depth() > 1 || !generated(&entry.file_name().to_string_lossy()));
    for entry in kept {
        let entry = entry.map_err(|error| io("read", from)(error.into()))?;
        let inner = entry.path().strip_prefix(from).unwrap_or(entry.path());
        let target = to.join(inner);
        let kind = entry.file_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&target).map_err(io("create", &target))?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).map_err(io("read", entry.path()))?;
            std::os::unix::fs::symlink(link, &target).map_err(io("create", &target))?;
        } else if !kind.is_file() {
            return refuse(
                USAGE,
                format!("{} is a pipe, a socket or a device: move it", folder.path.join(inner).display()),
            );
        } else {
            std::fs::copy(entry.path(), &target).map_err(io("copy", entry.path()))?;
        }
    }
    Ok(())
}
