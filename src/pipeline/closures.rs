//! Stages 3 and 6: each unit's closure, and its judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::closure::{Closure, Scope};
use crate::finding::{DATA_ADDED, DATA_DISSOLVED, DATA_DUPLICATED, Finding, Result};
use crate::judge;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::linkage::{Resolver, Running};
use crate::object::statics::base_name;
use crate::parallel::try_map;
use crate::patch::Overlay;
use crate::rewrite::{Naming, wrappers};
use crate::unit::changes::Changes;
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::worker::{self, Usage};

use super::statics::{self, Statics};
use super::{Options, Plan, UnitPlan, access, names, whole};

/// A unit and its closure.
pub struct UnitClosure<'a> {
    pub unit: &'a UnitPlan,
    pub closure: Closure,
    pub(super) naming: Naming,
    /// Static variables of copied functions.
    pub(super) statics: Statics,
    /// Its C file in a module of several, without `.c`.
    pub(super) stem: String,
    pub(super) resolver: Resolver<'a>,
    pub(super) usage: Usage,
    /// What other files of the module refer to, beside its targets.
    pub(super) shared: BTreeSet<String>,
    pub(super) of_headers: OfHeaders,
}

/// What is copied of public headers.
#[derive(Clone, Default)]
pub(super) struct OfHeaders {
    /// Functions that must be.
    pub functions: BTreeSet<String>,
    /// What they hide from modules.
    pub hidden: BTreeSet<String>,
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

pub(super) fn front_end<'a>(
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
        renames_shared: false,
        changed: functions.iter().chain(&of_headers.functions).cloned().collect(),
        hidden: of_headers.hidden.clone(),
        added: added.cloned().collect(),
        provided: resolver.provided(&copied),
        elsewhere: resolver.elsewhere(),
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
    let mut findings = judge::escapes::findings(closure, &naming.targets, &naming.statics);
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
