//! Stage 5's evidence for what a person has to judge: both versions' tokens, and their types where those may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use crate::finding::{Error, Finding, Result, io};
use crate::judge::{self, Context, File, Unit};
use crate::kernel::Kernel;
use crate::kernel::callers::Callers;
use crate::kernel::symbols::{Exports, VMLINUX};
use crate::object::facts::Binding;
use crate::object::types;
use crate::unit::listing::Listing;

use super::{Applied, UnitPlan};
use crate::parallel::{join, try_map};

/// Reads the units once more, with the places of their tokens, one at a time; those of the patched tree are the patched files'
/// own.
pub fn judged(kernel: &Kernel, applied: &Applied, units: &[UnitPlan], scratch: &Path) -> Result<Vec<Finding>> {
    static NONE: Exports = Exports::new();
    let exports = if kernel.descriptor.symvers.is_some() { kernel.exports()? } else { &NONE };
    let text = |root: &Path, file: &str| {
        let bytes = std::fs::read(root.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let overlay = &applied.overlay;
    let files = applied.files.iter().map(|file| File {
        name: file.clone(),
        before: text(kernel.source(), file),
        after: text(overlay.root(), file),
    });
    let source = kernel.source().to_path_buf();
    let context = Context {
        files: files.collect(),
        exports: exports.keys().map(String::as_str).collect(),
        assembly: LazyLock::new(Box::new(move || assembly(&source))),
    };
    let indices: Vec<usize> = (0..units.len()).collect();
    let seen = try_map(&indices, |index| {
        let folder = scratch.join(format!("unit{index}"));
        let unit = unit(kernel, applied, &units[*index], &folder)?;
        Ok(judge::unit(&unit, &context))
    })?;
    let mut findings = judge::findings(&context, seen);
    let targets: Vec<(&str, &str)> = units
        .iter()
        .flat_map(|unit| unit.affected.targets.iter().map(|t| (unit.command.source.as_str(), t.name.as_str())))
        .collect();
    findings.extend(judge::boot_only(&targets, &boot_callers(kernel, units, exports)?));
    Ok(findings)
}

fn unit<'a>(kernel: &Kernel, applied: &Applied, plan: &'a UnitPlan, scratch: &Path) -> Result<Unit<'a>> {
    let overlay = &applied.overlay;
    let roots = [overlay.root(), kernel.source()].map(|root| format!("{}/", root.display()));
    let commands = [kernel.absolute(&plan.command), overlay.command(&plan.command, kernel.build())?];
    let listing = |text: &Path| {
        let text = std::fs::read(text).map_err(io("read", text))?;
        Ok::<_, Error>(Listing::new(&text, &roots))
    };
    let (before, after) = (listing(&plan.texts.before)?, listing(&plan.texts.after)?);
    let types = if judge::needs_types(&plan.changes, &before, &after) {
        let read = |at: usize, name: &str| types::read(&commands[at], kernel.build(), &scratch.join(name));
        let (before, after) = join(|| read(0, "types-before"), || read(1, "types-after"));
        Some((before?, after?))
    } else {
        None
    };
    Ok(Unit {
        source: &plan.command.source,
        object: &plan.command.object,
        changes: &plan.changes,
        affected: &plan.affected,
        facts: &plan.before.facts,
        clones: &plan.before.clones,
        before,
        after,
        types,
    })
}

/// The kernel's assembly files with their texts.
fn assembly(source: &Path) -> Vec<(String, String)> {
    let files = ["arch/x86", "lib"].map(|folder| walkdir::WalkDir::new(source.join(folder)).sort_by_file_name());
    let files = files.into_iter().flatten().flatten().filter(|entry| entry.path().extension() == Some("S".as_ref()));
    let read = |entry: walkdir::DirEntry| {
        let name = entry.path().strip_prefix(source).unwrap_or(entry.path()).to_string_lossy().into_owned();
        (name, String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned())
    };
    files.map(read).collect()
}

/// Global targets of vmlinux that only `__init` code reaches. Local ones are settled within their unit.
fn boot_callers(kernel: &Kernel, units: &[UnitPlan], exports: &Exports) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let is_global = |unit: &UnitPlan, name: &str| {
        let facts = &unit.before.facts;
        facts.named(name).is_some_and(|id| facts.function(id).binding != Binding::Local)
    };
    let names: BTreeSet<&str> = units
        .iter()
        .filter(|unit| unit.command.object == VMLINUX)
        .flat_map(|unit| unit.affected.targets.iter().map(|t| t.name.as_str()).filter(|name| is_global(unit, name)))
        .filter(|name| !exports.contains_key(*name))
        .collect();
    let (false, Some(memory)) = (names.is_empty(), kernel.memory()?) else { return Ok(BTreeMap::new()) };
    let Some(callers) = Callers::read(memory, kernel.symbols(VMLINUX)?, exports) else { return Ok(BTreeMap::new()) };
    let found = names.into_iter().filter_map(|name| Some((name.to_string(), callers.boot_callers(name)?)));
    Ok(found.collect())
}
