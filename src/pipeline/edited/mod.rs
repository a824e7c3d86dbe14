//! All checks again, of a module that a person may have edited: the stages run anew on what the folder was made from, and
//! their results are held against what is there now.

mod externals;
mod targets;
mod units;

use std::collections::BTreeSet;
use std::path::Path;

use crate::audit::sources;
use crate::audit::tables::Hook;
use crate::check::{Difference, agreement};
use crate::edits;
use crate::finding::{CODE_EDITED, Finding, MODULE_OUTDATED, READINGS_DIFFER, Result, Severity, TOKENS_DIFFER, io};
use crate::folder::Folder;
use crate::kernel::Kernel;
use crate::parallel::try_map;
use crate::unit::live::Extent;
use crate::unit::names::Role;

use super::parts::{self, Part};
use super::{Progress, settle};
use super::{closures, module};

use externals::externals;
use targets::targets;
use units::{built, units};

/// What a check of a folder found.
#[derive(Debug, Default)]
pub struct Checked {
    pub changes: Vec<edits::Change>,
    /// Things that were held against the patched kernel.
    pub compared: usize,
    pub differences: Vec<Difference>,
    pub externals: Externals,
    pub hooks: Vec<Hook>,
    pub second: agreement::Agreement,
    /// Names of all functions and objects that the module may contain, those of headers included.
    pub known: BTreeSet<String>,
    pub findings: Vec<Finding>,
}

/// What the module leaves to the running kernel.
#[derive(Debug, Default)]
pub struct Externals {
    pub exports: usize,
    pub relocations: usize,
    /// Those that the generated module didn't have; where each is.
    pub new: Vec<(String, String)>,
    /// Those that the generated module had and this one hasn't.
    pub gone: Vec<String>,
    /// Those that nothing provides.
    pub missing: Vec<String>,
    /// Those that `klp.symbols` lists and nothing refers to.
    pub unused: Vec<String>,
}

/// Checks a folder, and the module `ko` that was built in it, against a kernel. What is wrong is among the findings; an error
/// means that nothing could be told.
pub fn check(
    kernel: &Kernel,
    folder: &Folder,
    ko: Option<&Path>,
    scratch: &Path,
    progress: Progress,
) -> Result<Checked> {
    let options = folder.options();
    let (changes, renamed) = edits::changes(&folder.pristine, &folder.edited);
    let mut checked = Checked { changes, ..Checked::default() };
    let plan = super::plan(kernel, &options, scratch, progress)?;
    let mut findings = plan.findings.clone();
    settle(&mut findings, &options.allow)?;
    progress("closure: expand, parse, follow");
    let closures = closures::closures(kernel, &options, &plan, scratch)?;
    findings.extend(closures.iter().flat_map(|part| part.statics.findings.iter().cloned()));
    findings.extend(closures.iter().flat_map(|part| closures::copy_findings(part.unit, &part.closure, &part.naming)));
    progress("linkage and rewrite");
    let parts = parts::parts(kernel, &options, &plan, closures, scratch)?;
    let again = module::rendered(kernel, &options, &plan, &parts, &mut findings)?;
    settle(&mut findings, &options.allow)?;
    findings.extend(outdated(folder, &again.files));
    checked.findings = findings;
    checked.known = known(folder, &parts);
    progress("check: compile, compare, read a second time");
    let edited = scratch.join("edited");
    write(folder, &edited)?;
    let ko = match ko {
        Some(path) => Some((path, std::fs::read(path).map_err(io("read", path))?)),
        None => None,
    };
    let mut units = units(kernel, &parts, folder, &edited, &options)?;
    for unit in &mut units {
        // So that `__FILE__` is the same text.
        if let Some(at) = ko.as_ref().and_then(|(_, bytes)| sources::folder_of(bytes, &unit.file)) {
            unit.command.args.push(format!("-fmacro-prefix-map={}/={at}", edited.display()));
        }
    }
    let built = try_map(&units, |unit| built(kernel, unit, &edited, &renamed))?;
    let mut objects = Vec::new();
    for one in built {
        checked.compared += one.compared;
        checked.differences.extend(one.differences);
        checked.findings.extend(one.findings);
        checked.second.functions += one.second.functions;
        checked.second.names += one.second.names;
        checked.second.disagreements.extend(one.second.disagreements);
        objects.extend(one.object);
    }
    checked.findings.extend(checked.differences.iter().map(difference_finding));
    let disagreements = checked.second.disagreements.iter();
    checked.findings.extend(disagreements.map(|why| Finding::new(READINGS_DIFFER, why.clone())));
    // Without all objects nobody knows what is undefined, or what the tables hold.
    if objects.len() == units.len() {
        progress("externals and targets");
        let old = externals::generated(kernel, folder, &units, &scratch.join("pristine"))?;
        let entries = externals(kernel, folder, &plan, &parts, &objects, (&old, &renamed), &mut checked)?;
        targets(kernel, &parts, &objects, (&entries, &renamed), scratch, &mut checked)?;
        if let Some((path, bytes)) = ko {
            let objects = units.iter().zip(&objects).map(|(unit, (_, bytes))| (unit.file.as_str(), bytes.as_slice()));
            let objects: Vec<(&str, &[u8])> = objects.collect();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            checked.findings.extend(sources::differences(&bytes, &name, &objects, &entries)?);
        }
    }
    checked.findings.sort_by_key(|finding| finding.severity);
    Ok(checked)
}

/// Is the pristine text what this program makes of the same patch?
fn outdated(folder: &Folder, files: &[(String, String)]) -> Option<Finding> {
    let differ = files.iter().filter(|(name, text)| folder.pristine.get(name).is_some_and(|old| old != text));
    let names: Vec<&str> = differ.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "{}: this program and kernel make another text of the same patch than {} did, beside what the hand has \
             changed; `klp-extract refresh` merges it",
            names.join(", "),
            folder.record.tool
        );
        Finding::new(MODULE_OUTDATED, message)
    })
}

fn known(folder: &Folder, parts: &[Part]) -> BTreeSet<String> {
    let nodes = parts.iter().flat_map(|part| part.closure.graph.node_weights());
    let names = nodes.flat_map(|node| {
        let statics = node.static_locals.iter().map(|local| local.name.clone());
        node.names.iter().map(|(name, _)| name.clone()).chain(statics)
    });
    let sources = folder.edited.iter().filter(|(name, _)| name.ends_with(".c"));
    let own = sources.flat_map(|(_, text)| edits::pieces::pieces(text)).map(|piece| piece.name);
    let pointers = parts.iter().flat_map(|part| part.access.pointers.iter().map(|pointer| pointer.pointer.clone()));
    names.chain(own).chain(pointers).chain(MADE.iter().map(|name| name.to_string())).collect()
}

/// What module_init() and module_exit() make (include/linux/module.h).
const MADE: &[&str] = &["init_module", "cleanup_module", "__inittest", "__exittest"];

fn write(folder: &Folder, scratch: &Path) -> Result<()> {
    std::fs::create_dir_all(scratch).map_err(io("create", scratch))?;
    for name in folder.edited.keys() {
        let to = scratch.join(name);
        let parent = to.parent().unwrap_or(scratch);
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        std::fs::copy(folder.path.join(name), &to).map_err(io("write", &to))?;
    }
    Ok(())
}

/// A changed body is what people edit for; another type or prototype than the kernel's is never right.
fn difference_finding(difference: &Difference) -> Finding {
    let Difference { name, file, line, expected, found, why, .. } = difference;
    let at = |finding: Finding| finding.at(file.as_str(), *line);
    let Some(found) = found else {
        return at(Finding::new(CODE_EDITED, format!("{name} of the kernel's source is no longer in the module")));
    };
    let body = |words: &[String]| words.iter().position(|word| word == "{").unwrap_or(words.len());
    let signature = expected[..body(expected)] != found[..body(found)];
    if difference.role != Role::Function || difference.extent != Extent::Whole || (difference.target && signature) {
        let message = format!("{name} is not what the kernel has: {why}");
        return at(Finding::new(TOKENS_DIFFER, message));
    }
    let places = edits::word_diff(expected, found);
    at(Finding::new(
        CODE_EDITED,
        format!("{name} is no longer the kernel's, word for word:\n  {}", places.join("\n  ")),
    ))
}

/// The status of a check: 0 nothing changed and all is valid, 1 a person must look, 2 invalid.
pub fn status(checked: &Checked) -> u8 {
    match checked.findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Refuse) => 2,
        Some(Severity::Judge) => 1,
        _ => u8::from(!checked.changes.is_empty()),
    }
}
