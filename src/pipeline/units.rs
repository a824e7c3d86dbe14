//! Stages 1 to 5 for each unit: the patched trees, the units that may change, those that do, and their affected sets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::affected::{self, Affected, origin};
use crate::candidates::{Candidates, Search};
use crate::finding::{ASSEMBLY_CHANGED, DATA_CHANGED, Finding, Result, io};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::SymbolTable;
use crate::object::layout::Layout;
use crate::object::{self, Compiled};
use crate::parallel::{join, try_map};
use crate::patch::{self, FileState, Overlay, Real};
use crate::unit::changes::{self, Changes, What};
use crate::unit::contained::{self, Edit};
use crate::unit::gcc;

use super::{Applied, Options, Patched, Texts, UnitPlan, whole};

/// `3 units`, `1 unit`.
pub fn counted(count: usize, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// Stage 1: the patch, applied to the files that it names.
pub fn patched(kernel: &Kernel, options: &Options, findings: &mut Vec<Finding>) -> Result<Patched> {
    let sets = patch::read(&options.patches, None)?;
    let (files, ignored) = patch::relevant_files(&sets)?;
    findings.extend(ignored);
    let patched = patch::apply_all(&sets, kernel.source(), options.fuzz)?;
    findings.extend(patched.findings);
    let states = patched.files.into_iter().filter(|(path, _)| files.contains(path)).collect();
    let headers = sets.into_iter().map(|set| set.header).collect();
    Ok(Patched { headers, files, states })
}

/// Where in the scratch folder the patched tree is laid out.
pub const PATCHED_TREE: &str = "patched";

/// The trees that show a source tree with the patch; `real` as in [`Overlay::new`].
pub(super) fn overlaid(source: &Path, patched: Patched, real: Real, scratch: &Path) -> Result<Applied> {
    let kept = patched.states.iter().map(|(path, state)| {
        let old = std::fs::read(source.join(path)).unwrap_or_default();
        let state = match state {
            FileState::Content(new) => FileState::Content(patch::keep_lines(&old, new)),
            FileState::Deleted => FileState::Deleted,
        };
        (path.clone(), state)
    });
    let comparable = Overlay::new(source, &scratch.join("comparable"), &kept.collect(), &real)?;
    let overlay = Overlay::new(source, &scratch.join(PATCHED_TREE), &patched.states, &real)?;
    let Patched { headers, files, states } = patched;
    Ok(Applied { headers, files, states, comparable, overlay })
}

/// The units that a patch changes.
pub struct Changed {
    pub units: Vec<ChangedUnit>,
    /// How many of the candidates were looked at.
    pub looked_at: usize,
}

/// A unit that differs after the patch.
pub struct ChangedUnit {
    pub command: CompileCommand,
    pub changes: Changes,
    /// In the scratch folder: what `gcc -E` makes of it before the patch.
    pub preprocessed: PathBuf,
}

/// So many units are looked at before it is asked whether too many differ.
const AT_A_TIME: usize = 96;

/// Stage 3: the units whose tokens change, with what changes. Ends early where more than `most` do.
pub fn changed(
    kernel: &Kernel,
    applied: &Applied,
    candidates: &Candidates,
    most: usize,
    scratch: &Path,
) -> Result<Changed> {
    let edits = edits(kernel.source(), &applied.states, &candidates.searches);
    let compare = |(index, command): &(usize, &CompileCommand)| -> Result<Option<ChangedUnit>> {
        let absolute = kernel.absolute(command);
        if let Some(edits) = edits.as_ref().filter(|_| !applied.states.contains_key(&command.source))
            && !contained::may_concern(&gcc::with_macros(&absolute, kernel.build())?, edits)
        {
            return Ok(None);
        }
        let patched = applied.comparable.command(command, kernel.build())?;
        let (before, after) =
            join(|| gcc::expanded(&absolute, kernel.build()), || gcc::comparable(&patched, kernel.build()));
        let before = before?;
        let changes = changes::compare(&before, &after?);
        if !changes.concerns_code() {
            return Ok(None);
        }
        let preprocessed = scratch.join(format!("before-{index}.i"));
        std::fs::write(&preprocessed, before).map_err(io("write", &preprocessed))?;
        Ok(Some(ChangedUnit { command: (*command).clone(), changes, preprocessed }))
    };
    let mut changed = Changed { units: Vec::new(), looked_at: 0 };
    let indexed: Vec<(usize, &CompileCommand)> = candidates.commands.iter().enumerate().collect();
    for commands in indexed.chunks(AT_A_TIME) {
        changed.units.extend(try_map(commands, compare)?.into_iter().flatten());
        changed.looked_at += commands.len();
        if changed.units.len() > most {
            break;
        }
    }
    Ok(changed)
}

/// What the patch changes in files that are included, where all of it is inside of function bodies and macro definitions.
fn edits(source: &Path, states: &BTreeMap<String, FileState>, searches: &[Search]) -> Option<Vec<Edit>> {
    let included = states.iter().filter(|(path, _)| searches.iter().any(|search| search.file == **path));
    let edit = |(path, state): (&String, &FileState)| match (std::fs::read(source.join(path)), state) {
        (Ok(old), FileState::Content(new)) => contained::edit(path, &old, new),
        _ => None,
    };
    included.map(edit).collect()
}

/// Stages 4 and 5: both versions compiled, and the affected set.
pub fn compiled(
    kernel: &Kernel,
    options: &Options,
    applied: &Applied,
    changed: Vec<ChangedUnit>,
    scratch: &Path,
) -> Result<Vec<UnitPlan>> {
    let versions: Vec<(usize, bool)> = (0..changed.len()).flat_map(|unit| [(unit, false), (unit, true)]).collect();
    let expanded_to = |unit: usize| scratch.join(format!("after-{unit}.i"));
    let compile = |(unit, patched): &(usize, bool)| {
        let ChangedUnit { command, preprocessed, .. } = &changed[*unit];
        if !*patched {
            let text = std::fs::read(preprocessed).map_err(io("read", preprocessed))?;
            return original_of(kernel, command, &text);
        }
        let overlaid = applied.overlay.command(command, kernel.build())?;
        let path = expanded_to(*unit);
        let text = || {
            let text = gcc::expanded(&overlaid, kernel.build())?;
            std::fs::write(&path, text).map_err(io("write", &path))
        };
        let command = applied.comparable.command(command, kernel.build())?;
        let source = kernel.build().join(&command.source);
        let (text, compiled) =
            join(text, || object::compile(&command, &source, kernel.build(), &scratch.join(format!("unit{unit}"))));
        text.and(compiled)
    };
    let mut objects = try_map(&versions, compile)?.into_iter();
    let mut units = Vec::new();
    for (index, ChangedUnit { command, changes, preprocessed }) in changed.into_iter().enumerate() {
        let (Some(before), Some(after)) = (objects.next(), objects.next()) else { break };
        let trees = origin::Trees { source: kernel.source(), build: kernel.build() };
        let report = origin::origin(&options.ipa_clones, &command, trees, &before.clones)?;
        let layout = Layout::in_kernel(&before.facts, kernel, &command.object)?;
        let symbols = kernel.symbols(&command.object)?;
        let affected = affected_set(&changes, (&before, &after), (symbols, &layout), &command.object);
        let texts = Texts { before: preprocessed, after: expanded_to(index) };
        let mut unit = UnitPlan::new((command, changes), (before, layout, report), &after, affected, texts);
        let told = whole::elsewhere(kernel, &unit)?;
        unit.affected.findings.extend(told);
        unit.affected.findings.extend(whole::modinfo(&unit.command, &unit.before.facts, &after.facts));
        units.push(unit);
    }
    Ok(units)
}

/// The unit as the kernel has it, compiled; once for all runs.
pub fn original(kernel: &Kernel, command: &CompileCommand) -> Result<Compiled> {
    original_of(kernel, command, &gcc::expanded(&kernel.absolute(command), kernel.build())?)
}

/// As [`original`], of which `gcc -E` has made this text.
fn original_of(kernel: &Kernel, command: &CompileCommand, preprocessed: &[u8]) -> Result<Compiled> {
    let command = kernel.absolute(command);
    let source = kernel.build().join(&command.source);
    object::compile_once(&command, &source, kernel.build(), preprocessed)
}

/// Stage 5 for one unit, compiled before and after the patch.
pub(super) fn affected_set(
    changes: &Changes,
    (before, after): (&Compiled, &Compiled),
    (symbols, layout): (&SymbolTable, &Layout),
    object: &str,
) -> Affected {
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    affected::affected(&affected::Input {
        patched: &set(&changes.functions),
        added: &set(&changes.added_functions),
        removed: &set(&changes.removed_functions),
        defined: &changes.defined,
        before: before.into(),
        after: after.into(),
        symbols,
        layout,
        object,
    })
}

/// Is the recompiled code the running kernel's? What it says of the functions that matter.
pub fn provenance(kernel: &Kernel, units: &[UnitPlan]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for unit in units {
        let names = unit.affected.names();
        findings.extend(object::provenance::findings(
            kernel,
            &unit.command,
            (&unit.before.facts, &unit.layout),
            &names,
        )?);
    }
    Ok(findings)
}

/// What the comparison of two versions says beyond functions.
pub fn declaration_findings(changes: &Changes, affected: &Affected, file: Option<&str>) -> Vec<Finding> {
    let finding = |declaration: &changes::Declaration| {
        let name = &declaration.name;
        let (id, message) = match declaration.what {
            What::Initialiser => (
                DATA_CHANGED,
                format!(
                    "the initial value of {name} changes, which the running kernel has long read\n  change it in a pre-patch \
                     callback, or patch the functions that use it"
                ),
            ),
            What::Variable => (
                DATA_CHANGED,
                format!(
                    "the declaration of {name} changes, but the running kernel's object stays as it is\n  keep it, and give the \
                     fix an object of its own"
                ),
            ),
            What::Assembly => (
                ASSEMBLY_CHANGED,
                "assembly at file scope changes or goes; replace the C functions that use what it defines".to_string(),
            ),
            // [`crate::judge`] compares both versions' types.
            What::Type | What::Typedef | What::Prototype => return None,
        };
        let finding = Finding::new(id, message);
        Some(match file {
            Some(file) => finding.at(file, None),
            None => finding,
        })
    };
    let said = |name: &str| affected.changed_data.iter().any(|data| data.name == name);
    changes.declarations.iter().filter(|declaration| !said(&declaration.name)).filter_map(finding).collect()
}
