//! All checks again, of a module that a person may have edited: the stages run anew on what the folder was made from, and
//! their results are held against what is there now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::audit::tables::{self, Fields, Hook, Sizes};
use crate::audit::{sources, symbols};
use crate::check::{self, Compiled, Difference, agreement};
use crate::edits;
use crate::finding::{
    AMBIGUOUS_SYMBOL, CODE_EDITED, Error, Finding, INCLUDE_OUTSIDE, KLP_OBJECT_NOT_PATCHED, KLP_SYMBOL_UNUSED,
    MODULE_DOES_NOT_COMPILE, MODULE_OUTDATED, READINGS_DIFFER, Result, SYMBOL_KIND, SYMBOL_UNRESOLVED,
    SYMBOL_UNVERIFIED, Severity, TARGETS_EDITED, TARGETS_UNKNOWN, TOKENS_DIFFER, io,
};
use crate::folder::Folder;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::Symbol;
use crate::link::symbols_file::{self, Entry, VMLINUX};
use crate::object::layout;
use crate::parallel::{join, try_map};
use crate::unit;
use crate::unit::expand::Expanded;
use crate::unit::groups::Outline;
use crate::unit::live::Extent;
use crate::unit::names::Role;

use super::parts::{self, Part};
use super::{Options, Plan, Progress, settle};
use super::{closures, module};

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
    let mut units = commands(kernel, &parts, folder, &edited, &options)?;
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
        let old = generated_externals(kernel, folder, &units, &scratch.join("pristine"))?;
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

/// A C file of the module, and the part that it is of; none for the tables' file and for what a person has added.
struct Unit<'p, 'a> {
    part: Option<&'p Part<'a>>,
    file: String,
    command: CompileCommand,
}

fn commands<'p, 'a>(
    kernel: &Kernel,
    parts: &'p [Part<'a>],
    folder: &Folder,
    scratch: &Path,
    options: &Options,
) -> Result<Vec<Unit<'p, 'a>>> {
    let of_part = |part: &'p Part<'a>| {
        let file = format!("{}.c", part.stem);
        let source = scratch.join(&file).to_string_lossy().into_owned();
        Unit { part: Some(part), command: CompileCommand { source, ..part.command.clone() }, file }
    };
    let mut units: Vec<Unit> = parts.iter().map(of_part).collect();
    let known: BTreeSet<String> = units.iter().map(|unit| unit.file.clone()).collect();
    let main = (parts.len() > 1).then(|| format!("{}-main.c", options.name));
    let others = folder.edited.keys().filter(|file| file.ends_with(".c") && !known.contains(*file)).cloned();
    let others: BTreeSet<String> = others.chain(main).collect();
    for file in others {
        let command = check::plain_command(kernel, &options.name, &scratch.join(&file))?;
        units.push(Unit { part: None, command, file });
    }
    Ok(units)
}

/// What is known of one C file.
struct Built {
    /// Nothing where it doesn't compile.
    object: Option<(Compiled, Vec<u8>)>,
    compared: usize,
    differences: Vec<Difference>,
    second: agreement::Agreement,
    findings: Vec<Finding>,
}

fn built(kernel: &Kernel, unit: &Unit, scratch: &Path, renamed: &BTreeMap<String, String>) -> Result<Built> {
    let Unit { part, file, command } = unit;
    let path = scratch.join(format!("{file}.o"));
    let mut built = Built {
        object: None,
        compared: 0,
        differences: Vec::new(),
        second: agreement::Agreement::default(),
        findings: Vec::new(),
    };
    if !scratch.join(file).is_file() {
        built.findings.push(Finding::new(MODULE_DOES_NOT_COMPILE, format!("{file} is missing")));
        return Ok(built);
    }
    let roots = vec![format!("{}/", scratch.display()), format!("{}/", kernel.source().display())];
    let read = || -> Result<(check::Validation, agreement::Agreement, Vec<Finding>)> {
        let mut module = unit::expanded(command, kernel.build())?;
        let outside = outside(&module, unit, kernel, scratch);
        let outline = Outline::new(&mut module);
        let validation = part.map(|part| check::compare(&module, &outline, &part.closure, &part.naming, renamed));
        let second = agreement::agree(&module, &outline, command, kernel.build(), roots)?;
        Ok((validation.unwrap_or_default(), second, outside))
    };
    // The scratch folder's name says nothing to anybody.
    let prefix = format!("{}/", scratch.display());
    let own = |finding: Finding| Finding {
        message: finding.message.replace(&prefix, ""),
        file: finding.file.map(|file| file.replace(&prefix, "")),
        ..finding
    };
    match check::compile(command, check::NO_WARNING, kernel.build(), &path) {
        Err(Error::Refused(findings)) => built.findings.extend(findings.into_iter().map(own)),
        Ok(compiled) => {
            let (bytes, read) = join(|| std::fs::read(&path).map_err(io("read", &path)), read);
            built.object = Some((compiled, bytes?));
            match read {
                Err(Error::Refused(findings)) => built.findings.extend(findings.into_iter().map(own)),
                Ok((validation, second, outside)) => {
                    built.findings.extend(outside);
                    built.compared = validation.compared;
                    built.differences = validation.differences;
                    built.second = second;
                    let named = built.second.disagreements.iter_mut();
                    named.for_each(|why| *why = format!("{file}: {why}"));
                }
            }
        }
    }
    Ok(built)
}

/// What a file includes must be the kernel's, GCC's own, or be signed with the folder's files.
fn outside(module: &Expanded, unit: &Unit, kernel: &Kernel, scratch: &Path) -> Vec<Finding> {
    let pairs = unit.command.args.windows(2).filter(|pair| pair[0] == "-isystem");
    let system = pairs.map(|pair| Path::new(pair[1].as_str()));
    let trees: Vec<PathBuf> = [kernel.source(), kernel.build(), scratch].into_iter().chain(system).map(real).collect();
    let is_outside = |path: &&String| {
        let file = real(&kernel.build().join(path));
        // `<built-in>`, `<command-line>`, and GCC's working folder.
        !path.starts_with('<') && !path.ends_with('/') && !trees.iter().any(|tree| file.starts_with(tree))
    };
    let files = module.reader.files.iter().filter(is_outside);
    let finding = |path: &String| {
        let message = format!("{} includes {path}, which is neither the kernel's nor beside it", unit.file);
        Finding::new(INCLUDE_OUTSIDE, message)
    };
    files.map(finding).collect()
}

/// Without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
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

/// What the module as it was generated leaves to the running kernel: the compiler is asked.
fn generated_externals(kernel: &Kernel, folder: &Folder, units: &[Unit], scratch: &Path) -> Result<BTreeSet<String>> {
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

fn externals(
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
                Some(export) if export.object == VMLINUX => {
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

/// The module's list of symbols.
const SYMBOLS: &str = "klp.symbols";

fn exported(kernel: &Kernel) -> Result<BTreeSet<String>> {
    let exports = kernel.exports()?.iter().filter(|(_, export)| export.object == VMLINUX);
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
        let is_function = facts.named(symbol).is_some();
        (is_function || facts.object_named(symbol).is_some())
            .then(|| layout::sympos(symbol, is_function, facts, &unit.layout, kernel.symbols(object)?))
    });
    let derived: Vec<u64> = derived.filter_map(|found| found.ok()).map(|found| found.position.into()).collect();
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

/// What the tables replace, against what has to be replaced.
fn targets(
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
    for hook in &wanted {
        match checked.hooks.iter().find(|found| same(found, hook)) {
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

/// The status of a check: 0 nothing changed and all is valid, 1 a person must look, 2 invalid.
pub fn status(checked: &Checked) -> u8 {
    match checked.findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Refuse) => 2,
        Some(Severity::Judge) => 1,
        _ => u8::from(!checked.changes.is_empty()),
    }
}
