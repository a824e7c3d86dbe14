//! What a person has to judge, and what replacing functions can't do although each function could be replaced.
//!
//! Every rule reads both versions of the changed units: expanded tokens with their places ([`Listing`]), GCC's own layouts
//! where types or prototypes change ([`Types`]), and the object code. The names that rules go by are tables, each with its
//! source. A rule never changes what is replaced; it only says what it sees.

mod constants;
mod contracts;
pub mod escapes;
mod initialisation;
mod layouts;
mod pairs;
mod prototypes;
mod tables;
mod transition;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::affected::Affected;
use crate::affected::clones::CloneReport;
use crate::finding::{Finding, INIT_CODE, INIT_ONLY};
use crate::object::facts::Facts;
use crate::object::types::Types;
use crate::unit::changes::{Changes, What};
use crate::unit::listing::{Body, Listing};

/// Names shown in a list before it says how many more there are.
const SHOWN: usize = 12;

/// One changed unit.
#[derive(Debug)]
pub struct Unit<'a> {
    pub source: &'a str,
    /// `vmlinux` or a module's name.
    pub object: &'a str,
    pub changes: &'a Changes,
    pub affected: &'a Affected,
    /// Of the object before the patch.
    pub facts: &'a Facts,
    /// GCC's report on it.
    pub clones: &'a CloneReport,
    pub before: Listing,
    pub after: Listing,
    /// Both versions' types, where a declaration or a function's signature changes.
    pub types: Option<(Types, Types)>,
}

/// Assembly files of the kernel, with their texts.
pub type Assembly = LazyLock<Vec<(String, String)>, Box<dyn FnOnce() -> Vec<(String, String)> + Send>>;

/// What is the same for all units.
#[derive(Debug)]
pub struct Context<'a> {
    /// Files of the kernel that the patch changes.
    pub files: Vec<File>,
    /// Names that the kernel or its modules export.
    pub exports: BTreeSet<&'a str>,
    /// Read where a prototype changes.
    pub assembly: Assembly,
}

/// A changed file, both versions as a whole.
#[derive(Debug)]
pub struct File {
    pub name: String,
    pub before: String,
    pub after: String,
}

/// What the rules saw of one unit. It doesn't hold on to the unit: a patch to a header may concern hundreds.
#[derive(Debug, Default)]
pub struct Seen {
    types: layouts::Types,
    pairs: pairs::Changes,
    constants: constants::Users,
    findings: Vec<Finding>,
}

/// The rules' first half: one unit by itself.
pub fn unit(unit: &Unit, context: &Context) -> Seen {
    let mut findings = layouts::names(unit);
    findings.extend(prototypes::findings(unit, context));
    findings.extend(contracts::findings(unit));
    findings.extend(initialisation::findings(unit));
    findings.extend(transition::findings(unit));
    Seen {
        types: layouts::types(unit),
        pairs: pairs::changes(unit),
        constants: constants::users(unit, context),
        findings,
    }
}

/// The second half: all findings, in an order that depends on the input only. What many units have is told once.
pub fn findings(context: &Context, seen: Vec<Seen>) -> Vec<Finding> {
    let (mut types, mut pairs, mut constants) = (Vec::new(), Vec::new(), Vec::new());
    let mut findings: Vec<Finding> = Vec::new();
    for unit in seen {
        types.push(unit.types);
        pairs.push(unit.pairs);
        constants.push(unit.constants);
        for finding in unit.findings {
            if !findings.iter().any(|known| known.id == finding.id && known.message == finding.message) {
                findings.push(finding);
            }
        }
    }
    let mut all = layouts::findings(types);
    all.extend(findings);
    all.extend(pairs::findings(pairs));
    all.extend(constants::findings(context, constants));
    all
}

/// Targets that only `__init` code of other files calls: that code is gone when a livepatch is loaded. `targets` are all of
/// the livepatch, as source and name; `callers` has those in question, with who calls them.
pub fn boot_only(targets: &[(&str, &str)], callers: &BTreeMap<String, BTreeSet<String>>) -> Vec<Finding> {
    let all = targets.iter().all(|(_, name)| callers.contains_key(*name));
    let id = if all { INIT_ONLY } else { INIT_CODE };
    let boot = targets.iter().filter_map(|(source, name)| Some((source, name, callers.get(*name)?)));
    boot.map(|(source, name, callers)| {
        let message = format!("{name} is only called at boot, by __init code of other files: {}", list(callers));
        Finding::new(id, message).at(*source, None)
    })
    .collect()
}

/// Do both versions' types have to be compared? Reading them costs a compilation each.
pub fn needs_types(changes: &Changes, before: &Listing, after: &Listing) -> bool {
    let typed = |what: What| matches!(what, What::Type | What::Typedef | What::Prototype);
    changes.declarations.iter().any(|declaration| typed(declaration.what))
        || changes.functions.iter().any(|name| signature_differs(before, after, name))
}

fn signature_differs(before: &Listing, after: &Listing, name: &str) -> bool {
    let (Some(old), Some(new)) = (before.function(name), after.function(name)) else { return false };
    let words = |body: &Body| body.words().take(body.opening()).map(str::to_string).collect::<Vec<_>>();
    words(&old) != words(&new)
}

impl Unit<'_> {
    /// Functions that both versions define and the patch changes, with both bodies.
    fn changed(&self) -> impl Iterator<Item = (&str, Body<'_>, Body<'_>)> {
        self.changes.functions.iter().filter_map(|name| {
            let (before, after) = (self.before.function(name)?, self.after.function(name)?);
            Some((name.as_str(), before, after))
        })
    }

    /// Does the livepatch bring this function's new code, be it within another function?
    fn is_replaced(&self, name: &str) -> bool {
        let affected = self.affected;
        affected.targets.iter().any(|target| target.name == name)
            || affected.patched.iter().any(|patched| patched == name)
            || affected.affected.iter().any(|function| function.name == name)
    }

    /// Functions of the object before the patch that have a function's code: itself, clones, those that it is inlined into.
    fn places(&self, name: &str) -> BTreeSet<String> {
        let holders = self.clones.holders([name]);
        let names = std::iter::once(name).chain(holders.iter().map(|step| step.to.as_str()));
        names.filter(|name| self.facts.named(name).is_some()).map(str::to_string).collect()
    }

    /// Functions of this version before the patch that call another and that the patch doesn't edit.
    fn unpatched_callers(&self, callee: &str) -> BTreeSet<String> {
        let edited = |name: &str| self.changes.functions.iter().any(|changed| changed == name);
        let others = self.before.functions().filter(|(name, _)| *name != callee && !edited(name));
        let calls = |body: &Body| body.calls().iter().any(|call| call.name == callee);
        others.filter(|(_, body)| calls(body)).map(|(name, _)| name.to_string()).collect()
    }
}

/// `a, b and 3 more`.
fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_string()).collect();
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
