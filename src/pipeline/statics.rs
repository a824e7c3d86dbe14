//! Static variables of copied functions: which object of the running kernel each one is, or why it may start anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::closure::Closure;
use crate::closure::statics::StaticLocal;
use crate::finding::{DATA_ADDED, DATA_DISSOLVED, Error, Finding, Result, STATIC_LOCAL};
use crate::kernel::command::CompileCommand;
use crate::linkage::{External, Resolver};
use crate::object::facts::Facts;
use crate::object::statics::{self, StaticVariables, Stored, base_name};
use crate::unit::live::Extent;

use super::UnitPlan;

/// What is known of the static variables of a unit's copied functions.
#[derive(Debug, Default)]
pub struct Statics {
    /// Those that are the running kernel's, by the names that the module gives them.
    pub externals: BTreeMap<String, External>,
    pub findings: Vec<Finding>,
}

impl Statics {
    /// By their names in the module: the symbols.
    pub fn symbols(&self) -> BTreeMap<String, String> {
        self.externals.iter().map(|(name, external)| (name.clone(), external.symbol.clone())).collect()
    }

    /// What the module means by a name: such a variable, or what `other` says.
    pub fn resolve(&self, name: &str, other: impl Fn(&str) -> Result<External>) -> Result<External> {
        self.externals.get(name).cloned().map_or_else(|| other(name), Ok)
    }
}

/// The C names of the static variables of functions that an object file has, those left out of which the patched version
/// has more (`after` are its symbols): the patch may add one.
pub fn names(before: &Facts, after: &BTreeSet<String>) -> BTreeSet<String> {
    let mut counts: BTreeMap<&str, isize> = BTreeMap::new();
    for name in before.objects.iter().filter_map(|object| base_name(&object.name)) {
        *counts.entry(name).or_default() += 1;
    }
    let has = |name: &str, count: isize| after.iter().filter(|o| base_name(o) == Some(name)).count() as isize <= count;
    counts.into_iter().filter(|(name, count)| has(name, *count)).map(|(name, _)| name.to_string()).collect()
}

/// Finds the static variables of all copied functions. `before` is the command that compiles the unpatched unit, `scratch` a
/// folder of this call's own.
pub fn resolve(
    unit: &UnitPlan,
    closure: &Closure,
    resolver: &Resolver,
    before: &CompileCommand,
    build: &Path,
    scratch: &Path,
) -> Result<Statics> {
    let copied = closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    let all: Vec<&StaticLocal> = copied.flat_map(|node| &node.static_locals).collect();
    let locals: Vec<&StaticLocal> = all.iter().copied().filter(|local| !local.fresh).collect();
    let mut found = Statics::default();
    if locals.is_empty() {
        return Ok(found);
    }
    let known = statics::read(before, build, scratch, &unit.before.facts)?;
    // By function and declaration: does something in it start anew?
    let mut anew: BTreeSet<(&str, &str)> =
        all.iter().filter(|local| local.fresh).map(|local| (&*local.function, &*local.declaration)).collect();
    for local in &locals {
        let count = all.iter().filter(|other| (&other.function, &other.name) == (&local.function, &local.name));
        let fate = match fate(unit, &known, local, count.count()) {
            Fate::Kernels(symbol) => resolver.static_local(&local.new_name, &symbol).map_err(refused),
            Fate::Fresh(finding) if local.unread => Err(format!("{finding}, but its initialiser was not followed")),
            Fate::Fresh(finding) => {
                found.findings.extend((!local.constant).then_some(finding));
                anew.insert((&local.function, &local.declaration));
                continue;
            }
            Fate::Unknown(why) => Err(why),
        };
        let spelled = fate.and_then(|external| match &local.edits {
            Ok(_) => Ok(external),
            Err(why) => Err(format!("the copy can't be made to use the running kernel's: {why}")),
        });
        match spelled {
            // What happens to its address is judged (see `judge::escapes`).
            Err(_) if local.constant => drop(anew.insert((&local.function, &local.declaration))),
            Ok(external) if found.externals.contains_key(&local.new_name) => {
                anew.insert((&local.function, &local.declaration));
                found.findings.push(finding(local, &format!("{} is the name of another one's too", external.name)));
            }
            Ok(external) => drop(found.externals.insert(local.new_name.clone(), external)),
            Err(why) => {
                // A person may allow that it starts anew.
                anew.insert((&local.function, &local.declaration));
                found.findings.push(finding(local, &why));
            }
        }
    }
    for local in &locals {
        let together = anew.contains(&(&*local.function, &*local.declaration));
        if together && found.externals.remove(&local.new_name).is_some() && !local.constant {
            found.findings.push(finding(local, "it is declared together with one that starts anew"));
        }
    }
    Ok(found)
}

/// What begins the names that __UNIQUE_ID() makes with `__COUNTER__` (include/linux/compiler.h).
const COUNTED: &str = "__UNIQUE_ID_";

enum Fate {
    /// The running kernel has it, under this name in the unit's object file.
    Kernels(String),
    /// The copy is the only one there is.
    Fresh(Finding),
    Unknown(String),
}

/// `count`: how many static ones of this name the function has.
fn fate(unit: &UnitPlan, known: &StaticVariables, local: &StaticLocal, count: usize) -> Fate {
    let StaticLocal { name, function, .. } = local;
    if name.starts_with(COUNTED) {
        return Fate::Unknown("its name has a number that the patch may move".into());
    }
    let old = known.of(function, name);
    let is_old = unit.changes.old_statics.get(function).is_some_and(|old| old.contains(&local.declaration));
    if unit.changes.functions.contains(function) && !is_old && old.iter().any(|stored| *stored != Stored::Nowhere) {
        return Fate::Unknown(
            "the patch changes its declaration, and the running kernel's stays as it was initialised".into(),
        );
    }
    let objects: Vec<&Stored> = old.iter().filter(|stored| **stored != Stored::Nowhere).collect();
    let (ordinal, all) = local.namesakes;
    // Debug information doesn't tell which variables are static; those with an address are.
    let stored = match (objects.len() == count, old.len() == all) {
        (true, _) => objects.get(local.ordinal).copied(),
        (false, true) => old.get(ordinal),
        (false, false) if objects.is_empty() => None,
        (false, false) => {
            return Fate::Unknown(format!("{function} had {} of this name before the patch", objects.len()));
        }
    };
    let has_changed = |symbol: &String| unit.affected.changed_data.iter().any(|data| data.name == *symbol);
    let after = unit.after_objects.iter().filter(|object| base_name(object) == Some(name) || *object == name).count();
    match stored {
        Some(Stored::As(symbol)) if local.constant && has_changed(symbol) => {
            Fate::Unknown("the patch changes what it holds".into())
        }
        Some(Stored::As(symbol)) => Fate::Kernels(symbol.clone()),
        Some(Stored::Unknown) => Fate::Unknown("its symbol can't be told from others".into()),
        _ if known.has_unclaimed(name) => Fate::Unknown(format!("{function}'s {name} can't be told from others")),
        _ if !is_old && unit.changes.functions.contains(function) || old.is_empty() => {
            let message = format!("the patch adds {name} in {function}, which lives in the livepatch");
            Fate::Fresh(Finding::new(DATA_ADDED, message))
        }
        _ if after > known.count(name) => Fate::Unknown(
            "GCC has done away with it in the running kernel, and with the patch it has a use for it".into(),
        ),
        _ => {
            let message = format!(
                "GCC has done away with {name} of {function}, with the patch and without it; the copy is the only one"
            );
            Fate::Fresh(Finding::new(DATA_DISSOLVED, message))
        }
    }
}

fn finding(local: &StaticLocal, why: &str) -> Finding {
    let StaticLocal { function, name, .. } = local;
    let message = format!(
        "{function} has the static variable {name}, whose value the running kernel's function keeps; a copy would start \
         anew: {why}"
    );
    Finding::new(STATIC_LOCAL, message)
}

fn refused(error: Error) -> String {
    let Error::Refused(findings) = error;
    findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ")
}
