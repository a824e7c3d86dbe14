//! Stages 9 and 10: the files that the parts become, and what is checked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::affected::Target;
use crate::audit::landing;
use crate::check;
use crate::closure::Closure;
use crate::finding::{Finding, KERNEL_INVALID, MODULE_UNIDENTIFIED, Result, io, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::VMLINUX;
use crate::link::symbols_file::{self, SYMBOLS};
use crate::linkage::pointers::{self, Features, Symbols};
use crate::linkage::{self, External};
use crate::parallel::{join, try_map};
use crate::render::{self, ObjectFile, Replacement, Scaffold};
use crate::rewrite::Naming;

use super::parts::Part;
use super::{Livepatch, Options, Plan, UnitPlan, Written, whole};

/// The file with shadow variables.
pub(super) const SHADOW: &str = "shadow.h";

/// The rendered files, and which of them are compiled with which part's command.
pub struct Module {
    pub(super) files: Vec<(String, String)>,
}

pub(super) fn unit_text<'a>(options: &'a Options, part: &'a Part) -> render::Unit<'a> {
    render::Unit {
        module: &options.name,
        house: &options.house,
        source: &part.unit.command.source,
        items: &part.items,
        includes: &part.includes,
        kbuild_modname: kbuild_modname(&part.closure, &part.unit.command),
        externals: &part.externals,
        naming: &part.naming,
        closure: &part.closure,
        access: &part.access,
        shadow: options.scaffold.contains(&Scaffold::Shadow),
        suffix: &part.suffix,
    }
}

pub(super) fn reached<'a>(part: &'a Part) -> render::Reached<'a> {
    render::Reached { object: &part.unit.command.object, suffix: &part.suffix, access: &part.access }
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(io("write", path))
}

/// Stage 9: the files. One unit gives one C file; several keep a file each, beside one with the tables.
pub fn rendered(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    parts: &[Part],
    findings: &mut Vec<Finding>,
) -> Result<Module> {
    let name = &options.name;
    let replacements: Vec<Replacement> = parts.iter().flat_map(|part| replacements(part.unit, &part.naming)).collect();
    let srcversions = srcversions(kernel, &replacements, findings)?;
    let mut externals: Vec<External> = parts.iter().flat_map(|part| part.externals.iter().cloned()).collect();
    externals.sort_by(|a, b| a.name.cmp(&b.name));
    externals.dedup();
    let features = Features::of(kernel.source());
    findings.extend(linkage::findings(&externals, features));
    if options.symbols == Symbols::Kallsyms {
        findings.extend(pointers::unsupported(kernel, features));
    }
    let reached: Vec<render::Reached> = parts.iter().map(reached).collect();
    findings.extend(parts.iter().flat_map(|part| part.findings.iter().cloned()));
    let tables = tables(kernel, options, plan, (&externals, &reached), &replacements, &srcversions);
    // Alone, the tables are what no text was copied into.
    let own = render::module(&tables, None)?;
    for part in parts {
        findings.extend(whole::clashes(part.items.iter(), &own, &part.header_macros));
    }
    let mut files = Vec::new();
    let mut objects = Vec::new();
    match parts {
        [part] => files.push((format!("{name}.c"), render::module(&tables, Some(&unit_text(options, part)))?)),
        _ => {
            for part in parts {
                files.push((format!("{}.c", part.stem), render::unit(&unit_text(options, part))?));
            }
            files.push((format!("{name}-main.c"), render::module(&tables, None)?));
            files.push(("shared.h".into(), render::shared(&tables)?));
            objects.push(ObjectFile { name: format!("{name}-main.o"), cflags: String::new() });
        }
    }
    for part in parts {
        let cflags = own_flags(kernel, &part.unit.command)?;
        objects.push(ObjectFile { name: format!("{}.o", part.stem), cflags });
    }
    let entries: Vec<_> = externals.iter().filter_map(External::entry).collect();
    if options.scaffold.contains(&Scaffold::Shadow) {
        files.push((SHADOW.into(), render::shadow(name, &options.house)?));
    }
    files.push(("Kbuild".into(), render::kbuild(name, &objects, &options.house)?));
    let compiler = parts.first().map(|part| part.unit.command.compiler.as_str());
    // A path is of this machine; the kernel's make then takes its own default, and warns where that is another version.
    let compiler = compiler.filter(|compiler| !compiler.contains('/'));
    files
        .push(("Makefile".into(), render::makefile(name, &options.kernel, compiler, options.symbols, &options.house)?));
    if options.symbols == Symbols::KlpReloc {
        files.push((SYMBOLS.into(), symbols_file::render(&entries)));
    }
    Ok(Module { files })
}

/// A unit's targets with their new names.
pub(super) fn replacements<'a>(unit: &'a UnitPlan, naming: &Naming) -> Vec<Replacement<'a>> {
    let replacement = |target: &'a Target| Replacement { target, new_name: naming.new_name(&target.name) };
    unit.affected.targets.iter().map(replacement).collect()
}

pub(super) fn tables<'a>(
    kernel: &'a Kernel,
    options: &'a Options,
    plan: &'a Plan,
    (externals, reached): (&'a [External], &'a [render::Reached<'a>]),
    replacements: &'a [Replacement<'a>],
    srcversions: &'a BTreeMap<String, String>,
) -> render::Tables<'a> {
    render::Tables {
        name: &options.name,
        house: &options.house,
        headers: &plan.applied.headers,
        release: &kernel.descriptor.release,
        kernel_version: kernel.descriptor.version.as_deref().unwrap_or_default(),
        externals,
        reached,
        replacements,
        srcversions,
        symbols: options.symbols,
        replace: options.replace,
        scaffold: &options.scaffold,
        allowed: &options.allow,
    }
}

/// Stage 10: every C file compiles, and the compiler sees of each part what it sees of the patched unit.
pub fn checked(
    kernel: &Kernel,
    parts: &[Part],
    module: &Module,
    scratch: &Path,
    findings: &mut Vec<Finding>,
) -> Result<usize> {
    for (name, text) in &module.files {
        write(&scratch.join(name), text)?;
    }
    let checked = try_map(parts, |part| {
        let object = scratch.join(format!("{}.o", part.stem));
        let (compiled, validation) = join(
            || check::compile(&part.command, check::NO_WARNING, kernel.build(), &object),
            || check::validate(&part.command, kernel.build(), &part.closure, &part.naming),
        );
        compiled.and(validation)
    })?;
    findings.extend(landing::check(kernel, &pointed(parts, scratch)?)?);
    let mut compared = 0;
    for validation in checked {
        compared += validation.compared;
        findings.extend(validation.findings);
    }
    if let ([first, _, ..], Some((name, _))) = (parts, module.files.iter().find(|(name, _)| name.ends_with("-main.c")))
    {
        let source: PathBuf = scratch.join(name);
        let command = CompileCommand { source: source.to_string_lossy().into_owned(), ..first.command.clone() };
        check::compile(&command, check::NO_WARNING, kernel.build(), &scratch.join("main.o"))?;
    }
    Ok(compared)
}

/// The running kernel's functions whose addresses the compiled parts take.
fn pointed(parts: &[Part], scratch: &Path) -> Result<BTreeSet<landing::Function>> {
    let mut functions = BTreeSet::new();
    for part in parts {
        let object = scratch.join(format!("{}.o", part.stem));
        let taken = landing::taken_by(&object)?;
        let pointed = part.externals.iter().filter(|external| taken.contains(external.linked_name()));
        functions.extend(pointed.map(landing::Function::of));
    }
    Ok(functions)
}

/// The stage's value, put together.
pub fn livepatch(
    options: &Options,
    parts: Vec<Part>,
    module: Module,
    findings: Vec<Finding>,
    compared: usize,
) -> Livepatch {
    let mut livepatch = Livepatch {
        name: options.name.clone(),
        written: Vec::new(),
        files: module.files,
        items: Vec::new(),
        includes: Vec::new(),
        externals: Vec::new(),
        findings,
        compared,
        usage: Vec::new(),
    };
    for part in parts {
        livepatch.items.extend(part.items.iter().cloned());
        livepatch.includes.extend(part.includes.iter().cloned());
        livepatch.externals.extend(part.externals.iter().cloned());
        livepatch.usage.push((part.unit.command.source.clone(), part.usage));
        livepatch.written.push(Written {
            source: part.unit.command.source.clone(),
            object: part.unit.command.object.clone(),
            output: format!("{}.c", part.stem),
            command: part.command,
            report: part.unit.report.to_string(),
            targets: part.unit.affected.targets.clone(),
            closure: part.closure,
            naming: part.naming,
            items: part.items,
            includes: part.includes,
            externals: part.externals,
        });
    }
    livepatch.externals.sort_by(|a, b| a.name.cmp(&b.name));
    livepatch.externals.dedup();
    livepatch
}

/// `KBUILD_MODNAME` of the unit, if copied text uses it.
fn kbuild_modname<'a>(closure: &Closure, command: &'a CompileCommand) -> Option<&'a str> {
    let used = closure.groups.iter().flat_map(|group| &group.macros);
    let mut names = used.map(|id| closure.macros[id].name.as_str());
    if !names.any(|name| name == "KBUILD_MODNAME") {
        return None;
    }
    let define = command.args.iter().find_map(|arg| arg.strip_prefix("-DKBUILD_MODNAME="))?;
    Some(define.trim_matches('"'))
}

/// What tells the builds of the target modules apart.
fn srcversions(
    kernel: &Kernel,
    replacements: &[Replacement],
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<String, String>> {
    let objects: BTreeSet<&str> = replacements.iter().map(|replacement| replacement.target.object.as_str()).collect();
    let mut versions = BTreeMap::new();
    for object in objects.into_iter().filter(|object| *object != VMLINUX) {
        match kernel.modules()?.open(object)?.srcversion {
            Some(version) => drop(versions.insert(object.to_string(), version)),
            None => {
                let message = format!("{object} has no srcversion: the livepatch can't tell another build of it");
                findings.push(Finding::new(MODULE_UNIDENTIFIED, message));
            }
        }
    }
    Ok(versions)
}

/// An argument as a makefile has it for the shell.
fn quoted(arg: &str) -> Result<String> {
    match shlex::try_quote(arg) {
        Ok(word) => Ok(word.replace('$', "$$").replace('#', "\\#")),
        Err(_) => refuse(KERNEL_INVALID, format!("the kernel compiles with {arg:?}, which no makefile can hold")),
    }
}

/// Flags that only this unit has: most units share all of theirs, and Kbuild gives those to modules too.
fn own_flags(kernel: &Kernel, command: &CompileCommand) -> Result<String> {
    let common = kernel.commands()?.common();
    let own = |arg: &&String| {
        let matters = ["-D", "-f", "-m", "-O", "-W"].iter().any(|prefix| arg.starts_with(prefix));
        let named = ["-DKBUILD_", "-D__KBUILD_", "-DMODULE"].iter().any(|prefix| arg.starts_with(prefix));
        matters && !named && !arg.contains('/') && !common.contains(arg.as_str())
    };
    let own = command.args.iter().filter(own);
    own.map(|arg| quoted(arg)).collect::<Result<Vec<_>>>().map(|args| args.join(" "))
}
