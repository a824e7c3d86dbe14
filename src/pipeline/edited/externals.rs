//! What an edited module leaves to the running kernel, and whether its klp.symbols says so rightly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::audit::symbols;
use crate::check::{self, Compiled};
use crate::finding::{
    AMBIGUOUS_SYMBOL, Error, Finding, KLP_SYMBOL_UNUSED, Result, SYMBOL_KIND, SYMBOL_UNRESOLVED, SYMBOL_UNVERIFIED, io,
};
use crate::folder::Folder;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::Symbol;
use crate::link::symbols_file::{self, Entry, SYMBOLS};
use crate::object::layout;
use crate::parallel::try_map;
use crate::pipeline::Plan;
use crate::pipeline::parts::Part;

use super::Checked;
use super::units::Unit;

/// What the module as it was generated leaves to the running kernel: the compiler is asked.
pub fn generated(kernel: &Kernel, folder: &Folder, units: &[Unit], scratch: &Path) -> Result<BTreeSet<String>> {
    std::fs::create_dir_all(scratch).map_err(io("create", scratch))?;
    for (name, text) in &folder.pristine {
        let to = scratch.join(name);
        std::fs::write(&to, text).map_err(io("write", &to))?;
    }
    let generated: Vec<&Unit> = units.iter().filter(|unit| folder.pristine.contains_key(&unit.file)).collect();
    let compiled = try_map(&generated, |unit| {
        let source = scratch.join(&unit.file).to_string_lossy().into_owned();
        let command = CompileCommand { source, ..unit.command.clone() };
        check::compile(&command, check::NO_WARNING, kernel.build(), &scratch.join(format!("{}.o", unit.file)))
    })?;
    let defined: BTreeSet<&String> = compiled.iter().flat_map(|compiled| &compiled.defined).collect();
    let undefined = compiled.iter().flat_map(|compiled| &compiled.undefined);
    Ok(undefined.filter(|name| !defined.contains(name)).cloned().collect())
}

/// Says of each undefined symbol who provides it. Yields the lines of klp.symbols.
pub fn externals(
    kernel: &Kernel,
    folder: &Folder,
    plan: &Plan,
    parts: &[Part],
    objects: &[(Compiled, Vec<u8>)],
    (old, renamed): (&BTreeSet<String>, &BTreeMap<String, String>),
    checked: &mut Checked,
) -> Result<Vec<Entry>> {
    let empty = String::new();
    let text = folder.edited.get(SYMBOLS).unwrap_or(&empty);
    let (entries, invalid) = symbols_file::parse(text, SYMBOLS);
    checked.findings.extend(invalid);
    if let Err(Error::Refused(findings)) = symbols_file::symvers(&entries, &exported(kernel)?) {
        checked.findings.extend(findings);
    }
    let generated: Vec<Entry> = parts.iter().flat_map(|part| part.externals.iter().filter_map(|e| e.entry())).collect();
    for entry in &entries {
        let known = generated.iter().find(|known| {
            let name = renamed.get(&known.c_name).unwrap_or(&known.c_name);
            *name == entry.c_name
        });
        checked.findings.extend(verified(kernel, plan, entry, known)?);
    }
    let defined: BTreeSet<&String> = objects.iter().flat_map(|(compiled, _)| &compiled.defined).collect();
    let undefined = objects.iter().flat_map(|(compiled, _)| &compiled.undefined);
    let undefined: BTreeSet<&String> = undefined.filter(|name| !defined.contains(name)).collect();
    let was = |name: &String| old.iter().any(|old| old == name || renamed.get(old) == Some(name));
    let found = &mut checked.externals;
    for name in &undefined {
        let place = if let Some(entry) = entries.iter().find(|entry| entry.c_name == **name) {
            found.relocations += 1;
            format!("{entry}, by klp relocation")
        } else {
            match kernel.exports()?.get(*name) {
                Some(export) if export.is_of_vmlinux() => {
                    found.exports += 1;
                    "export of vmlinux".into()
                }
                other => {
                    let why = other.map_or_else(
                        || "nothing provides it: vmlinux doesn't export it, and klp.symbols doesn't list it".into(),
                        |export| {
                            format!(
                                "module {} exports it: list it in klp.symbols, or the livepatch depends on that module",
                                export.object
                            )
                        },
                    );
                    checked.findings.push(Finding::new(SYMBOL_UNRESOLVED, format!("{name}: {why}")));
                    found.missing.push(name.to_string());
                    continue;
                }
            }
        };
        if !was(name) {
            found.new.push((name.to_string(), place));
        }
    }
    let gone = old.iter().filter(|name| !undefined.contains(renamed.get(*name).unwrap_or(name)));
    found.gone = gone.cloned().collect();
    for entry in entries.iter().filter(|entry| !undefined.contains(&entry.c_name)) {
        found.unused.push(entry.c_name.clone());
        let message = format!("nothing in the module refers to {} ({entry})", entry.c_name);
        checked.findings.push(Finding::new(KLP_SYMBOL_UNUSED, message).at(SYMBOLS, None));
    }
    Ok(entries)
}

fn exported(kernel: &Kernel) -> Result<BTreeSet<String>> {
    let exports = kernel.exports()?.iter().filter(|(_, export)| export.is_of_vmlinux());
    Ok(exports.map(|(name, _)| name.clone()).collect())
}

/// Is a line of klp.symbols right? `known` is what the generated file has of that name.
fn verified(kernel: &Kernel, plan: &Plan, entry: &Entry, known: Option<&Entry>) -> Result<Option<Finding>> {
    let Entry { c_name, object, symbol, sympos, .. } = entry;
    let (found, count) = match symbols::find(kernel, object, symbol, *sympos)? {
        Ok(found) => found,
        Err(finding) => return Ok(Some(Finding { message: format!("{c_name}: {}", finding.message), ..finding })),
    };
    if known.is_some_and(|known| (&known.object, &known.symbol, known.sympos) == (object, symbol, *sympos)) {
        return Ok(None);
    }
    if let Some(known) = known.filter(|known| (&known.object, &known.symbol) == (object, symbol)) {
        let message = format!("{c_name} is {known} by the layout of the object, and not {entry}");
        return Ok(Some(Finding::new(AMBIGUOUS_SYMBOL, message)));
    }
    if let Some(known) = known {
        let was = symbols::find(kernel, &known.object, &known.symbol, known.sympos)?.ok().map(|(was, _)| was);
        let kind = |symbol: &Symbol| if symbol.is_function() { "a function" } else { "data" };
        return Ok(Some(match was.filter(|was| was.is_function() != found.is_function()) {
            Some(was) => {
                let message = format!("{c_name} is {}, and {entry} is {}", kind(was), kind(found));
                Finding::new(SYMBOL_KIND, message)
            }
            None => {
                let message = format!(
                    "{c_name} was {known} of the running kernel when the module was made, and now it is {entry}; nothing \
                     here tells that this is what the code means"
                );
                Finding::new(SYMBOL_UNVERIFIED, message)
            }
        }));
    }
    if count == 1 {
        return Ok(None);
    }
    let derived = plan.units.iter().filter(|unit| unit.command.object == *object).filter_map(|unit| {
        let facts = &unit.before.facts;
        let own = facts.symbol(symbol)?;
        let table = kernel.symbols(object).ok()?;
        let found = layout::sympos(symbol, own.is_function, facts, &unit.layout, table).ok()?;
        Some(u64::from(found.position))
    });
    let derived: Vec<u64> = derived.collect();
    Ok(match derived.as_slice() {
        [] => {
            let message =
                format!("{c_name}: {object} has {count} symbols {symbol}; nothing here tells that {sympos} is meant");
            Some(Finding::new(SYMBOL_UNVERIFIED, message))
        }
        positions if positions.contains(sympos) => None,
        positions => {
            let message = format!(
                "{c_name}: by the layout of the object, {symbol} of the patched unit is {}, not {sympos}",
                positions[0]
            );
            Some(Finding::new(AMBIGUOUS_SYMBOL, message))
        }
    })
}
