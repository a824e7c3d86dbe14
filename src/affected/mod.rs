//! Which functions a livepatch must replace: patched, affected and target functions, each with its chain of reasons.
//!
//! Takes one TU in both versions. What carries old code comes from the clone report; what GCC changed without a line there
//! comes from comparing the objects; who calls what can't be hooked comes from the object code. Nothing is decided here about
//! what a target needs in order to compile.

pub mod clones;
pub mod forest;
pub mod origin;
mod reason;
mod search;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::finding::{
    CODE_CHANGED, COLD_PART, DATA_CHANGED, DATA_READ_ONLY, DATA_RESIZED, FOLDED_FUNCTION, Finding, INIT_CODE,
    INIT_ONLY, NO_CODE_CHANGE, NO_FTRACE_SITE, NOT_EMITTED, Severity, WEAK_OVERRIDDEN,
};
use crate::kernel::symbols::SymbolTable;
use crate::object::compare::{self, Difference};
use crate::object::facts::{Facts, Holder, Role};
use crate::object::layout::Layout;
use crate::object::statics::base_name;

use clones::{CloneReport, Step};
pub use reason::{Obstacle, Reason};
use search::Search;

/// One version of a TU, compiled.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    pub facts: &'a Facts,
    pub clones: &'a CloneReport,
}

impl<'a> From<&'a crate::object::Compiled> for Version<'a> {
    fn from(compiled: &'a crate::object::Compiled) -> Version<'a> {
        Version { facts: &compiled.facts, clones: &compiled.clones }
    }
}

/// What is known of one TU before its affected set is looked for. Names are those of the C source.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Functions in both versions whose expanded tokens differ.
    pub patched: &'a BTreeSet<String>,
    /// Functions that only the version after the patch defines.
    pub added: &'a BTreeSet<String>,
    /// Functions that only the version before the patch defines.
    pub removed: &'a BTreeSet<String>,
    /// All functions that the version after the patch defines; what else is a function's name is an alias.
    pub defined: &'a BTreeSet<String>,
    pub before: Version<'a>,
    pub after: Version<'a>,
    /// Of the kernel object that the TU is part of.
    pub symbols: &'a SymbolTable,
    /// Where `before` lies in it.
    pub layout: &'a Layout,
    /// Its name as livepatch spells it (`vmlinux`, `kvm_amd`).
    pub object: &'a str,
}

/// A function that has the old code, or depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AffectedFunction {
    pub name: String,
    /// From the patched function to this one.
    pub chain: Vec<Reason>,
}

/// A function that the module replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    pub name: String,
    pub object: String,
    /// 0 where the name is unique in the object, else its place among the symbols of that name, from 1.
    pub sympos: u32,
    /// From the patched function to this one.
    pub chain: Vec<Reason>,
}

/// An object of the running kernel whose initial contents or size the patch changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedData {
    /// As the object file before the patch names it (`table`, `limits.3`).
    pub name: String,
    /// Functions whose code uses it.
    pub users: Vec<String>,
    /// Data objects (or sections, where no object covers the place) that hold its address.
    pub holders: Vec<String>,
    /// In bytes, before and after the patch.
    pub size: (u64, u64),
}

impl ChangedData {
    fn of(name: &str, facts: &Facts, after: &Facts) -> ChangedData {
        let mut users = BTreeSet::new();
        let mut holders = BTreeSet::new();
        let size = |facts: &Facts| facts.object_named(name).map(|object| object.size);
        for reference in facts.data_references.iter().filter(|r| facts.objects[r.object].name == name) {
            match &reference.holder {
                Holder::Code(by) => users.insert(facts.function(facts.whole(*by)).name.clone()),
                Holder::Data { object: Some(object), .. } => holders.insert(object.clone()),
                Holder::Data { section, .. } | Holder::BareCode { section } | Holder::Initcall { section } => {
                    holders.insert(section.clone())
                }
            };
        }
        ChangedData {
            name: name.to_string(),
            users: users.into_iter().collect(),
            holders: holders.into_iter().collect(),
            // An object that goes has no size to differ.
            size: (size(facts).unwrap_or(0), size(after).or(size(facts)).unwrap_or(0)),
        }
    }

    /// Is it a constant of a function's own, of which only functions that are replaced know? The new ones have their own.
    fn is_replaced(&self, facts: &Facts, replaced: &BTreeSet<String>) -> bool {
        let object = facts.object_named(&self.name);
        let is_constant = object.is_some_and(|object| facts.sections[object.section].role == Role::Const);
        base_name(&self.name).is_some()
            && is_constant
            && self.holders.is_empty()
            && self.users.iter().all(|user| replaced.contains(user))
    }

    fn finding(&self) -> Finding {
        let list = |names: &[String]| if names.is_empty() { "nobody".to_string() } else { names.join(", ") };
        let (users, holders) = (list(&self.users), list(&self.holders));
        let uses = format!("functions that use it: {users}; data that points to it: {holders}");
        if self.size.0 != self.size.1 {
            let (before, after) = self.size;
            let message = format!(
                "the patch changes the size of {}, {before} -> {after} bytes; {uses}\n  new code would reach beyond the running \
                 kernel's object: keep its size, and put what is new into an object of its own",
                self.name
            );
            return Finding::new(DATA_RESIZED, message);
        }
        let message = format!(
            "the patch changes the contents of {}; {uses}\n  the running kernel has long read them: change them in a pre-patch \
             callback, or patch the functions that use them",
            self.name
        );
        Finding::new(DATA_CHANGED, message)
    }
}

/// The result for one TU; all lists by name, findings in the order in which they were found.
#[derive(Debug, Default, Serialize)]
pub struct Affected {
    pub patched: Vec<String>,
    pub affected: Vec<AffectedFunction>,
    pub targets: Vec<Target>,
    pub changed_data: Vec<ChangedData>,
    pub findings: Vec<Finding>,
}

impl Affected {
    /// Patched, affected and target functions.
    pub fn names(&self) -> BTreeSet<String> {
        let affected = self.affected.iter().map(|function| &function.name);
        self.patched.iter().chain(affected).chain(self.targets.iter().map(|target| &target.name)).cloned().collect()
    }
}

/// First reason why each function is looked at, and the function that led there.
#[derive(Debug, Default)]
struct Reasons(BTreeMap<String, (Option<String>, Reason)>);

impl Reasons {
    /// Keeps the first reason; says whether this was it.
    fn add(&mut self, name: &str, from: Option<&str>, reason: Reason) -> bool {
        if self.0.contains_key(name) {
            return false;
        }
        self.0.insert(name.to_string(), (from.map(str::to_string), reason));
        true
    }

    /// What is known of `name` holds for `other` too.
    fn share(&mut self, name: &str, other: &str) {
        if let (Some(reason), false) = (self.0.get(name).cloned(), self.0.contains_key(other)) {
            self.0.insert(other.to_string(), reason);
        }
    }

    fn chain(&self, name: &str) -> Vec<Reason> {
        let mut chain = Vec::new();
        let mut at = Some(name.to_string());
        // First reasons form a forest: every function was reached from one that was there earlier.
        while let Some((from, reason)) = at.and_then(|name| self.0.get(&name)) {
            chain.push(reason.clone());
            at = from.clone();
        }
        chain.reverse();
        chain
    }
}

/// Finds the targets of one TU.
pub fn affected(input: &Input<'_>) -> Affected {
    let mut reasons = Reasons::default();
    let mut findings = Vec::new();
    let difference = compare::compare(input.before.facts, input.after.facts, input.patched);
    let holders = old_code(input, &mut reasons, &mut findings);
    let changed = silently_changed(input, &difference, &holders, &mut reasons);
    note_silent(&changed, &reasons, &mut findings);
    note_unchanged(input, &difference, &holders, &mut findings);
    let changed_data: Vec<ChangedData> =
        difference.data.iter().map(|name| ChangedData::of(name, input.before.facts, input.after.facts)).collect();
    let candidates: BTreeSet<String> = holders.union(&changed).cloned().collect();
    let matters = |data: &&ChangedData| !data.is_replaced(input.before.facts, &candidates);
    findings.extend(changed_data.iter().filter(matters).map(ChangedData::finding));
    findings.extend(difference.made_writable.iter().map(|name| made_writable(name)));
    let mut search = Search::new(input, reasons);
    search.run(&candidates);
    findings.append(&mut search.findings);
    note_overridden(&mut search, &mut findings);
    if !search.blocked.is_empty() {
        findings.push(blocked_finding(&search));
    }
    note_boot(&search, &mut findings);
    for target in search.targets.keys() {
        check_target(input, target, &mut findings);
    }
    collect(input, &search, changed_data, findings)
}

/// Emitted functions of the version before that contain the code of a patched or removed function.
fn old_code(input: &Input<'_>, reasons: &mut Reasons, findings: &mut Vec<Finding>) -> BTreeSet<String> {
    for name in input.patched {
        reasons.add(name, None, Reason::Patched { function: name.clone() });
    }
    for name in input.removed {
        reasons.add(name, None, Reason::Removed { function: name.clone() });
    }
    let roots = || input.patched.iter().chain(input.removed).map(String::as_str);
    let steps = input.before.clones.holders(roots());
    for Step { from, to, tag } in &steps {
        let reason = Reason::Clone { from: from.clone(), to: to.clone(), tag: tag.clone(), after: false };
        reasons.add(to, Some(from), reason);
    }
    let facts = input.before.facts;
    for name in input.patched {
        let holders = input.before.clones.holders([name.as_str()]);
        let mut places = std::iter::once(name).chain(holders.iter().map(|step| &step.to));
        if !places.any(|name| facts.named(name).is_some()) {
            findings.push(Finding::new(NOT_EMITTED, format!("{name} has no code in this object: nothing uses it")));
        }
    }
    // A removed function has no new version, and whoever called it has changed.
    let names = input.patched.iter().map(String::as_str).chain(steps.iter().map(|step| step.to.as_str()));
    names.filter(|name| facts.named(name).is_some() && !input.removed.contains(*name)).map(str::to_string).collect()
}

/// Functions whose code differs although they have none of the old code: GCC decided otherwise about them.
fn silently_changed(
    input: &Input<'_>,
    difference: &Difference,
    holders: &BTreeSet<String>,
    reasons: &mut Reasons,
) -> BTreeSet<String> {
    // An alias of a function that has the old code is that function.
    let facts = input.before.facts;
    let held: BTreeSet<_> =
        holders.iter().filter(|name| input.defined.contains(*name)).filter_map(|name| facts.named(name)).collect();
    let is_held = |name: &str| {
        holders.contains(name)
            || (!input.defined.contains(name) && facts.named(name).is_some_and(|id| held.contains(&id)))
    };
    let changed: BTreeSet<String> =
        difference.changed.iter().filter(|n| !is_held(n) && !input.removed.contains(*n)).cloned().collect();
    let roots = input.patched.iter().chain(input.added).map(String::as_str);
    let steps = input.after.clones.holders(roots);
    let by_target: BTreeMap<&str, &Step> = steps.iter().map(|step| (step.to.as_str(), step)).collect();
    for name in &changed {
        let mut path: Vec<&Step> = Vec::new();
        let mut at = name.as_str();
        while let Some(step) = by_target.get(at) {
            path.push(step);
            at = &step.from;
        }
        if path.is_empty() {
            reasons.add(name, None, Reason::Changed { function: name.clone() });
            continue;
        }
        if input.added.contains(at) {
            reasons.add(at, None, Reason::Added { function: at.to_string() });
        }
        for step in path.iter().rev() {
            let (from, to) = (step.from.clone(), step.to.clone());
            reasons.add(&step.to, Some(&step.from), Reason::Clone { from, to, tag: step.tag.clone(), after: true });
        }
    }
    changed
}

fn note_silent(changed: &BTreeSet<String>, reasons: &Reasons, findings: &mut Vec<Finding>) {
    for name in changed {
        if matches!(reasons.chain(name).as_slice(), [Reason::Changed { .. }]) {
            findings.push(Finding::new(CODE_CHANGED, format!("the code of {name} changes with the patch")));
        }
    }
}

fn note_unchanged(input: &Input<'_>, difference: &Difference, holders: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    for name in holders {
        let is_gone = input.after.facts.named(name).is_none();
        if !difference.changed.contains(name) && !difference.gone.contains(name) && !is_gone {
            findings.push(Finding::new(
                NO_CODE_CHANGE,
                format!("the object code of {name} itself is the same after the patch"),
            ));
        }
    }
}

fn made_writable(name: &str) -> Finding {
    let message = format!(
        "the patch writes to {name}, to which nothing wrote before: the running kernel has it in read-only memory, where a write \
         is a fault\n  give the fix an object of its own, and patch all functions that read {name}"
    );
    Finding::new(DATA_READ_ONLY, message)
}

fn blocked_finding(search: &Search<'_>) -> Finding {
    let mut message = String::from("no function can be hooked for a part of the change:");
    for (name, why) in &search.blocked {
        message.push_str(&format!("\n  {name}: {}", why.join("; ")));
        for reason in search.reasons.chain(name) {
            message.push_str(&format!("\n    because {reason}"));
        }
    }
    message.push_str(
        "\n  make the change by hand in functions on the way that can be hooked, or in those that install the pointers",
    );
    Finding::new(NO_FTRACE_SITE, message)
}

/// What never runs needs no replacement, beside something that does.
fn note_overridden(search: &mut Search<'_>, findings: &mut Vec<Finding>) {
    for (name, refused) in std::mem::take(&mut search.overridden) {
        if search.targets.is_empty() {
            findings.extend(refused);
            continue;
        }
        let message = format!(
            "{name} has the old code too and is weak here; the running kernel has another object's {name}, so that this one never runs"
        );
        findings.push(Finding { severity: Severity::Note, ..Finding::new(WEAK_OVERRIDDEN, message) });
    }
}

fn note_boot(search: &Search<'_>, findings: &mut Vec<Finding>) {
    if search.boot.is_empty() {
        return;
    }
    let names = search.boot.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let refused = findings.iter().any(|finding| finding.severity == Severity::Refuse);
    if search.targets.is_empty() && !refused {
        findings.push(Finding::new(INIT_ONLY, format!(
                "all changed code runs only at boot, load or unload: {names}\n  what it has set up can only be mended in a \
                 pre-patch callback, or by a new kernel"
            )));
    } else {
        findings.push(Finding::new(INIT_CODE, format!("this code runs only at boot, load or unload: {names}")));
    }
}

fn check_target(input: &Input<'_>, target: &str, findings: &mut Vec<Finding>) {
    let (before, after) = (input.before.facts, input.after.facts);
    let Some(id) = before.named(target) else { return };
    if before.parts(id).len() > 1 {
        findings.push(Finding::new(
            COLD_PART,
            format!("{target} has the part {target}.cold: a task asleep in it may be switched while it runs old code"),
        ));
    }
    let function = before.function(id);
    let names = function.names();
    for other in names.filter(|name| name.as_str() != target && !input.removed.contains(*name)) {
        // One address in both versions is an alias of the source; one in the old version only is GCC's folding.
        if after.named(other) != after.named(target) {
            findings.push(Finding::new(
                FOLDED_FUNCTION,
                format!(
                    "the running kernel has one function for {target} and {other}; hooking it replaces both\n  \
                     patch the functions that call {target} instead"
                ),
            ));
        }
    }
}

fn collect(input: &Input<'_>, search: &Search<'_>, changed_data: Vec<ChangedData>, findings: Vec<Finding>) -> Affected {
    let targets = search.targets.iter().map(|(name, sympos)| Target {
        name: name.clone(),
        object: input.object.to_string(),
        sympos: *sympos,
        chain: search.reasons.chain(name),
    });
    let affected = search
        .seen
        .iter()
        .filter(|name| !input.patched.contains(*name))
        .map(|name| AffectedFunction { name: name.clone(), chain: search.reasons.chain(name) });
    Affected {
        patched: input.patched.iter().cloned().collect(),
        affected: affected.collect(),
        targets: targets.collect(),
        changed_data,
        findings,
    }
}
