//! Stages 6 to 10: the parts of the module, one a unit, and the files that they become.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::affected::Target;
use crate::audit::landing;
use crate::check;
use crate::closure::{Closure, Scope};
use crate::finding::{
    DATA_ADDED, DATA_DISSOLVED, DATA_DUPLICATED, Error, Finding, INIT_REFERRED, KERNEL_INVALID, MODULE_UNIDENTIFIED,
    NAME_TWICE, Result, io, refuse,
};
use crate::judge;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::link::symbols_file::{self, VMLINUX};
use crate::linkage::includes::{self, Include};
use crate::linkage::pointers::{self, Access, Features, Symbols, Wanted};
use crate::linkage::{self, External, Resolver, Running};
use crate::object::statics::base_name;
use crate::parallel::{join, try_map};
use crate::patch::Overlay;
use crate::render::{self, ObjectFile, Replacement, Scaffold};
use crate::rewrite::{self, Item, Naming, Sources, wrappers};
use crate::unit::changes::Changes;
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::worker::{self, Usage};

use super::access;
use super::names;
use super::statics::{self, Statics};
use super::{Livepatch, Options, Plan, UnitPlan, Written, whole};

/// A unit and its closure.
pub struct UnitClosure<'a> {
    pub unit: &'a UnitPlan,
    pub closure: Closure,
    pub(super) naming: Naming,
    /// Static variables of copied functions.
    pub statics: Statics,
    /// Its C file in a module of several, without `.c`.
    stem: String,
    resolver: Resolver<'a>,
    usage: Usage,
    /// What other files of the module refer to, beside its targets.
    shared: BTreeSet<String>,
    of_headers: OfHeaders,
}

/// What is copied of public headers.
#[derive(Clone, Default)]
pub(super) struct OfHeaders {
    /// Functions that must be.
    functions: BTreeSet<String>,
    /// What they hide from modules.
    hidden: BTreeSet<String>,
}

/// What one unit gives to the module.
pub struct Part<'a> {
    pub(super) unit: &'a UnitPlan,
    pub(super) closure: Closure,
    pub(super) naming: Naming,
    usage: Usage,
    /// Its C file, without `.c`.
    pub(super) stem: String,
    pub(super) command: CompileCommand,
    items: Vec<Item>,
    includes: Vec<Include>,
    pub(super) externals: Vec<External>,
    pub(super) access: Access,
    /// Of names that the other files of the module see.
    suffix: String,
    pub(super) findings: Vec<Finding>,
}

/// The file with shadow variables.
const SHADOW: &str = "shadow.h";

/// The rendered files, and which of them are compiled with which part's command.
pub struct Module {
    pub(super) files: Vec<(String, String)>,
}

/// Stages 3 and 6 on every patched unit that has targets or that others need something new of.
pub fn closures<'a>(
    kernel: &'a Kernel,
    options: &Options,
    plan: &'a Plan,
    scratch: &Path,
) -> Result<Vec<UnitClosure<'a>>> {
    let mut shared: Vec<BTreeSet<String>> = vec![BTreeSet::new(); plan.units.len()];
    let indices: Vec<usize> = (0..plan.units.len()).collect();
    let distinct = names::distinct(&plan.units, &options.house.prefix);
    let stems = names::stems(&plan.units);
    let closure = |index: &usize, shared: &BTreeSet<String>| {
        let unit = &plan.units[*index];
        if unit.affected.targets.is_empty() && shared.is_empty() {
            return Ok(None);
        }
        let naming = Naming {
            prefix: options.house.prefix.clone(),
            targets: unit.affected.targets.iter().map(|target| target.name.clone()).collect(),
            distinct: distinct[*index].clone(),
            statics: BTreeMap::new(),
            pointers: BTreeMap::new(),
            switches: false,
            events: BTreeMap::new(),
            builtins: BTreeSet::new(),
            shared: false,
            everywhere: false,
        };
        let sets = (shared, &OfHeaders::default());
        front_end(kernel, plan, unit, (naming, stems[*index].clone()), sets, scratch).map(Some)
    };
    let mut found = try_map(&indices, |index| closure(index, &BTreeSet::new()))?;
    // What is new in one unit and used by another alone is in nobody's closure yet.
    loop {
        let mut again = Vec::new();
        for (index, unit) in plan.units.iter().enumerate() {
            let others = found.iter().enumerate().filter(|(other, _)| *other != index).filter_map(|(_, c)| c.as_ref());
            let named: BTreeSet<String> = others
                .flat_map(|other| other.closure.graph.node_weights())
                .flat_map(|node| &node.names)
                .filter(|(_, role)| matches!(role, Role::Prototype | Role::Variable))
                .map(|(name, _)| name.clone())
                .filter(|name| unit.changes.added_globals.contains(name))
                .collect();
            if !named.is_subset(&shared[index]) {
                shared[index].extend(named);
                again.push(index);
            }
        }
        if again.is_empty() {
            let mut found: Vec<UnitClosure> = found.into_iter().flatten().collect();
            let several = found.len() > 1;
            found.iter_mut().for_each(|part| part.naming.shared = several);
            return Ok(found);
        }
        for index in again {
            found[index] = closure(&index, &shared[index])?;
        }
    }
}

fn front_end<'a>(
    kernel: &'a Kernel,
    plan: &Plan,
    unit: &'a UnitPlan,
    (naming, stem): (Naming, String),
    (shared, of_headers): (&BTreeSet<String>, &OfHeaders),
    scratch: &Path,
) -> Result<UnitClosure<'a>> {
    let resolver = Resolver::new(Running::kernel(kernel, &unit.command.object)?, &unit.before.facts, &unit.layout);
    let overlay = &plan.applied.overlay;
    let place = UnitPlace {
        command: overlay.command(&unit.command, kernel.build())?,
        build: kernel.build(),
        roots: roots(kernel.source(), overlay),
    };
    let again = UnitPlace { command: place.command.clone(), build: place.build, roots: place.roots.clone() };
    let (mut closure, mut usage) = closed(unit, &resolver, place, &naming, (shared, of_headers))?;
    whole::outside(&closure, &again.command)?;
    let mut of_headers = of_headers.clone();
    let inline = access::users_of_this_module(&closure);
    if !inline.is_empty() {
        of_headers.functions.extend(inline);
        (closure, usage) = closed(unit, &resolver, again, &naming, (shared, &of_headers))?;
    }
    let folder = scratch.join(format!("statics-{stem}"));
    let before = kernel.absolute(&unit.command);
    let statics = statics::resolve(unit, &closure, &resolver, &before, kernel.build(), &folder)?;
    let naming = Naming { statics: statics.symbols(), ..naming };
    let shared = shared.clone();
    Ok(UnitClosure { unit, closure, naming, statics, stem, resolver, usage, shared, of_headers })
}

/// The patched version of a unit, as the front end is to read it.
pub(super) struct UnitPlace<'a> {
    /// In the overlay.
    pub command: CompileCommand,
    pub build: &'a Path,
    /// As [`roots`] gives them.
    pub roots: Vec<String>,
}

/// Runs the front end on a unit. `shared`: what other files of the module refer to, beside its targets.
pub(super) fn closed(
    unit: &UnitPlan,
    resolver: &Resolver,
    place: UnitPlace,
    naming: &Naming,
    (shared, of_headers): (&BTreeSet<String>, &OfHeaders),
) -> Result<(Closure, Usage)> {
    let affected = unit.affected.affected.iter().map(|function| function.name.clone());
    let old: BTreeSet<String> = affected.chain(unit.affected.patched.iter().cloned()).collect();
    let copied: BTreeSet<String> = old.difference(&naming.targets).cloned().collect();
    let Changes { functions, added_functions, added, declarations, .. } = &unit.changes;
    let added = added.iter().chain(added_functions).chain(declarations.iter().map(|declaration| &declaration.name));
    let dropped = wrappers::WRAPPERS.iter().flat_map(|wrapper| wrapper.dropped);
    let scope = Scope {
        targets: naming.targets.iter().cloned().collect(),
        shared: shared.iter().cloned().collect(),
        changed: functions.iter().chain(&of_headers.functions).cloned().collect(),
        hidden: of_headers.hidden.clone(),
        added: added.cloned().collect(),
        provided: resolver.provided(&copied),
        objects: unit.before.facts.objects.iter().map(|o| &o.name).chain(&unit.after_objects).cloned().collect(),
        static_locals: statics::names(&unit.before.facts, &unit.after_objects),
        dropped_macros: dropped.map(|name| name.to_string()).collect(),
        redefined_macros: wrappers::WRAPPERS.iter().map(|wrapper| wrapper.macro_name.to_string()).collect(),
        as_written: false,
    };
    let UnitPlace { command, build, roots } = place;
    let parse = worker::Parse::chosen();
    let request = worker::Request {
        command,
        build: build.to_path_buf(),
        roots,
        headers: None,
        scope,
        parse,
        preprocessed: Some(unit.texts.after.clone()),
    };
    let worker::Answer { closure, usage } = worker::run(&request)?;
    Ok((closure, usage))
}

/// Prefixes of the files of a patched tree, the overlay's first.
pub(super) fn roots(source: &Path, overlay: &Overlay) -> Vec<String> {
    let root = |path: &Path| format!("{}/", path.display());
    vec![root(overlay.root()), root(source)]
}

/// Copied data: what the patch adds is new, what the kernel already has must not be doubled.
pub fn copy_findings(unit: &UnitPlan, closure: &Closure, naming: &Naming) -> Vec<Finding> {
    let changes = &unit.changes;
    let objects = &unit.before.facts.objects;
    let exists = |name: &str| objects.iter().any(|object| object.name == name || base_name(&object.name) == Some(name));
    let mut findings = judge::escapes::findings(closure, &naming.targets);
    let copied = closure.graph.node_weights().filter(|node| node.extent == Extent::Whole && node.copied);
    let variables = copied.flat_map(|node| node.names.iter().map(move |(name, role)| (node, name, role)));
    for (node, name, _) in variables.filter(|(_, _, role)| **role == Role::Variable) {
        let word = |text: &str| {
            let mut words = node.tokens[..node.signature_tokens].iter();
            words.any(|token| closure.texts.get(*token as usize).is_some_and(|known| known == text))
        };
        if word("extern") && node.signature_tokens == node.tokens.len() {
            continue;
        }
        let finding = if changes.added.contains(name) {
            Finding::new(DATA_ADDED, format!("the patch adds {name}, which lives in the livepatch"))
        } else if word("static") && !exists(name) && !unit.after_objects.contains(name) {
            let message =
                format!("GCC has done away with {name}, with the patch and without it; the copy is the only one");
            Finding::new(DATA_DISSOLVED, message)
        } else if !word("const") {
            Finding::new(DATA_DUPLICATED, format!("{name} would be copied, but the running kernel has its own"))
        } else {
            continue;
        };
        let file = &closure.files[node.position.file as usize];
        findings.push(finding.at(file.path.as_str(), Some(node.position.line)));
    }
    findings
}

/// Stages 7 and 8: includes, texts and externals of every part.
pub fn parts<'a>(
    kernel: &'a Kernel,
    options: &Options,
    plan: &Plan,
    closures: Vec<UnitClosure<'a>>,
    scratch: &Path,
) -> Result<Vec<Part<'a>>> {
    let several = closures.len() > 1;
    if options.scaffold.contains(&Scaffold::Shadow) {
        write(&scratch.join(SHADOW), &render::shadow(&options.name, &options.house)?)?;
    }
    let new = closures.iter().map(|part| &part.unit.changes);
    let new = new.flat_map(|changes| changes.added_functions.iter().chain(&changes.added_globals));
    let new: BTreeSet<String> = new.cloned().collect();
    let again = |closure: UnitClosure<'a>, of_headers: OfHeaders| {
        let naming = Naming { statics: BTreeMap::new(), ..closure.naming };
        front_end(kernel, plan, closure.unit, (naming, closure.stem), (&closure.shared, &of_headers), scratch)
    };
    let part = |closure: &UnitClosure<'a>| part(kernel, options, plan, closure, (several, &new), scratch);
    let settled = |mut closure: UnitClosure<'a>| -> Result<Part<'a>> {
        let (first, functions) = match part(&closure)? {
            Drafted::Compiled(first, functions) => (*first, functions),
            Drafted::Lacks(hidden, error) if hidden.is_subset(&closure.of_headers.hidden) => return Err(error),
            Drafted::Lacks(hidden, _) => {
                let of_headers = OfHeaders { hidden, ..closure.of_headers.clone() };
                closure = again(closure, of_headers)?;
                match part(&closure)? {
                    Drafted::Compiled(second, functions) => (*second, functions),
                    Drafted::Lacks(_, error) => return Err(error),
                }
            }
        };
        if functions.is_subset(&closure.of_headers.functions) {
            return Ok(first);
        }
        // What headers name plainly is copied, where it can be: a tracepoint's functions can't.
        let OfHeaders { functions: known, hidden } = closure.of_headers.clone();
        let functions = known.union(&functions).cloned().collect();
        match part(&again(closure, OfHeaders { functions, hidden })?) {
            Ok(Drafted::Compiled(second, _)) => Ok(*second),
            _ => Ok(first),
        }
    };
    closures.into_iter().map(settled).collect()
}

/// What became of the first text of a part.
enum Drafted<'a> {
    /// With the functions of headers that would have to be copied for more pointers.
    Compiled(Box<Part<'a>>, BTreeSet<String>),
    /// Headers hide these names from modules.
    Lacks(BTreeSet<String>, Error),
}

fn part<'a>(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    UnitClosure { unit, closure, naming, statics, stem, resolver, usage, .. }: &UnitClosure<'a>,
    (several, new): (bool, &BTreeSet<String>),
    scratch: &Path,
) -> Result<Drafted<'a>> {
    let stem = if several { stem.clone() } else { options.name.clone() };
    let source = scratch.join(format!("{stem}.c"));
    let command = check::module_command(&unit.command, &options.name, &source, kernel.source());
    let roots = roots(kernel.source(), &plan.applied.overlay);
    let path = Path::to_path_buf;
    let overlay = plan.applied.overlay.root();
    let mut sources =
        Sources::new(path(overlay), path(kernel.source()), path(kernel.build()), plan.applied.files.clone());
    let reading = includes::Reading {
        command: &command,
        source: kernel.source(),
        build: kernel.build(),
        roots: &roots,
        scratch,
        macros: rewrite::early_macros(closure, &mut sources)?,
    };
    let includes = includes::choose(closure, &reading)?;
    let own = if several { &[] } else { render::OWN_INCLUDES };
    let mut brought = includes::brought(closure, &includes, own, &reading)?;
    let items = rewrite::items(closure, &mut sources, naming, Some(&brought))?;
    let mut part = Part {
        unit,
        closure: closure.clone(),
        naming: naming.clone(),
        usage: usage.clone(),
        suffix: if several { format!("_{}", names::c_name(&stem)) } else { String::new() },
        stem,
        command: command.clone(),
        items,
        includes,
        externals: Vec::new(),
        access: Access::default(),
        findings: Vec::new(),
    };
    let mut draft = |part: &Part| draft(kernel, options, plan, part, several, scratch);
    let mut compiled = draft(&part);
    if let Err(error) = &compiled {
        part.naming.builtins = check::builtins(error);
        if !part.naming.builtins.is_empty() {
            part.items = rewrite::items(closure, &mut sources, &part.naming, Some(&brought))?;
            compiled = draft(&part);
        }
    }
    if compiled.is_err()
        && let Some(more) = includes::completed(closure, (&part.includes, own), &reading)?
    {
        part.includes = more;
        brought = includes::brought(closure, &part.includes, own, &reading)?;
        compiled = draft(&part);
    }
    if let Err(error) = compiled {
        let hidden = includes::hidden(closure, &part.includes, own, &reading)?;
        return Ok(Drafted::Lacks(hidden, error));
    }
    let aliases = part.closure.aliases();
    let external = |name: &String| statics.resolve(name, |name| resolver.resolve_alias(name, &aliases));
    let externals = |compiled: &check::Compiled| -> Result<Vec<External>> {
        compiled.undefined.iter().filter(|name| !new.contains(*name)).map(external).collect()
    };
    let wanted = Wanted { symbols: options.symbols, reload: options.reload, features: Features::of(kernel.source()) };
    let reach = access::Reach { kernel, wanted, resolver, externals: &externals };
    let more = access::settle(&mut part, &reach, compiled?, &mut draft)?;
    part.items = rewrite::items(&part.closure, &mut sources, &part.naming, Some(&brought))?;
    let freed =
        part.externals.iter().filter(|external| resolver.is_init(external)).map(|external| external.name.as_str());
    let freed = freed.collect::<Vec<_>>().join(", ");
    if !freed.is_empty() {
        let message = format!("the module refers to {freed}, which the running kernel has freed after boot");
        part.findings.push(Finding::new(INIT_REFERRED, message).at(unit.command.source.as_str(), None));
    }
    Ok(Drafted::Compiled(Box::new(part), more))
}

/// What the module leaves undefined, the compiler knows best: a first text is compiled to ask it.
fn draft(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    part: &Part,
    several: bool,
    scratch: &Path,
) -> Result<check::Compiled> {
    let text = if several {
        render::unit(&unit_text(options, part))?
    } else {
        let replacements = replacements(part.unit, &part.naming);
        render::module(
            &tables(kernel, options, plan, (&[], &[reached(part)]), &replacements, &BTreeMap::new()),
            Some(&unit_text(options, part)),
        )?
    };
    write(&scratch.join(format!("{}.c", part.stem)), &text)?;
    // Nobody debugs a draft, and describing the types is a third of GCC's time.
    let mut command = part.command.clone();
    command.args.push("-g0".into());
    check::compile(&command, check::NO_WARNING, kernel.build(), &scratch.join(format!("{}-draft.o", part.stem)))
}

fn unit_text<'a>(options: &'a Options, part: &'a Part) -> render::Unit<'a> {
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

fn reached<'a>(part: &'a Part) -> render::Reached<'a> {
    render::Reached { object: &part.unit.command.object, suffix: &part.suffix, access: &part.access }
}

fn write(path: &Path, text: &str) -> Result<()> {
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
    if let Some(pair) = externals.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return refuse(
            NAME_TWICE,
            format!("{} stands for two symbols of the running kernel in two units of the module", pair[0].name),
        );
    }
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
    findings.extend(whole::clashes(parts.iter().flat_map(|part| &part.items), &own));
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
        files.push(("klp.symbols".into(), symbols_file::render(&entries)));
    }
    Ok(Module { files })
}

/// A unit's targets with their new names.
fn replacements<'a>(unit: &'a UnitPlan, naming: &Naming) -> Vec<Replacement<'a>> {
    let replacement = |target: &'a Target| Replacement { target, new_name: naming.new_name(&target.name) };
    unit.affected.targets.iter().map(replacement).collect()
}

fn tables<'a>(
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
        let pointed = part.externals.iter().filter(|external| taken.contains(&external.name));
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
