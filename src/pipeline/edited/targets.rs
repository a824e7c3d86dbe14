//! What the tables of an edited module replace, against what has to be replaced.

use std::collections::BTreeMap;
use std::path::Path;

use crate::audit::symbols;
use crate::audit::tables::{self, Fields, Hook, Sizes};
use crate::check::Compiled;
use crate::finding::{AMBIGUOUS_SYMBOL, Finding, KLP_OBJECT_NOT_PATCHED, Result, TARGETS_EDITED, TARGETS_UNKNOWN};
use crate::kernel::Kernel;
use crate::kernel::symbols::VMLINUX;
use crate::link::symbols_file::{Entry, SYMBOLS};
use crate::pipeline::parts::Part;

use super::Checked;

/// Reads the tables from the compiled objects, and says where they are wrong.
pub fn targets(
    kernel: &Kernel,
    parts: &[Part],
    objects: &[(Compiled, Vec<u8>)],
    (entries, renamed): (&[Entry], &BTreeMap<String, String>),
    scratch: &Path,
    checked: &mut Checked,
) -> Result<()> {
    let sizes = Sizes::of(kernel, scratch)?;
    for (_, bytes) in objects {
        let Ok(file) = object::read::elf::ElfFile64::parse(&**bytes) else { continue };
        let tables = tables::read(&Fields::of(&file), sizes);
        checked.hooks.extend(tables.unwrap_or_default().hooks);
    }
    if checked.hooks.is_empty() {
        let message = "no struct klp_patch with its tables is in the module: what it replaces can't be told";
        checked.findings.push(Finding::new(TARGETS_UNKNOWN, message));
        return Ok(());
    }
    let wanted =
        parts.iter().flat_map(|part| part.unit.affected.targets.iter().map(|t| (t, part.naming.new_name(&t.name))));
    let wanted: Vec<Hook> = wanted
        .map(|(target, new)| Hook {
            object: target.object.clone(),
            old: target.name.clone(),
            sympos: target.sympos.into(),
            new: renamed.get(&new).unwrap_or(&new).clone(),
        })
        .collect();
    let same = |one: &Hook, other: &Hook| (&one.object, &one.old) == (&other.object, &other.old);
    let is_exact = |one: &Hook, other: &Hook| same(one, other) && one.sympos == other.sympos;
    for hook in &wanted {
        let named = || checked.hooks.iter().filter(|found| same(found, hook));
        // Namesakes may all have to be replaced: each has a line of its own.
        let is_other = |found: &&Hook| wanted.iter().any(|other| is_exact(other, found));
        let found = named().find(|found| is_exact(found, hook)).or_else(|| named().find(|found| !is_other(found)));
        match found {
            None => {
                let message = format!(
                    "{} of {} has to be replaced for this patch, and the tables don't name it",
                    hook.old, hook.object
                );
                checked.findings.push(Finding::new(TARGETS_EDITED, message));
            }
            Some(found) if found.sympos != hook.sympos => {
                let message = format!(
                    "{} of {} is the one of sympos {}, and the tables say {}",
                    hook.old, hook.object, hook.sympos, found.sympos
                );
                checked.findings.push(Finding::new(AMBIGUOUS_SYMBOL, message));
            }
            Some(found) if found.new != hook.new => {
                let message = format!(
                    "{} of {} is replaced by {}, and what the patch makes of it is {}",
                    hook.old, hook.object, found.new, hook.new
                );
                checked.findings.push(Finding::new(TARGETS_EDITED, message));
            }
            Some(_) => {}
        }
    }
    let is_patched = |entry: &&Entry| {
        entry.patched_object == VMLINUX || checked.hooks.iter().any(|hook| hook.object == entry.patched_object)
    };
    for entry in entries.iter().filter(|entry| !is_patched(entry)) {
        let message = format!(
            "{} ({entry}) is to be resolved when {} is loaded, which the tables don't name",
            entry.c_name, entry.patched_object
        );
        checked.findings.push(Finding::new(KLP_OBJECT_NOT_PATCHED, message).at(SYMBOLS, None));
    }
    for (index, hook) in checked.hooks.iter().enumerate() {
        let is_it = |other: &&Hook| same(other, hook) && other.sympos == hook.sympos;
        if let Some(first) = checked.hooks[..index].iter().find(is_it) {
            // The core adds each to the stack of its function, and the last one runs (klp_ftrace_handler() in
            // kernel/livepatch/patch.c).
            let message = format!(
                "the tables name {} of {} twice, replaced by {} and by {}",
                hook.old, hook.object, first.new, hook.new
            );
            checked.findings.push(Finding::new(TARGETS_EDITED, message));
        }
        let known = wanted.iter().any(|wanted| same(wanted, hook));
        match symbols::hookable(kernel, &hook.object, &hook.old, hook.sympos)? {
            Some(finding) => checked.findings.push(finding),
            None if !known => {
                let message = format!("the tables replace {} of {} too, by {}", hook.old, hook.object, hook.new);
                checked.findings.push(Finding::new(TARGETS_EDITED, message));
            }
            None => {}
        }
    }
    Ok(())
}
