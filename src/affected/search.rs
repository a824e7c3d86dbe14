//! From functions that carry old code up to functions that can be hooked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::finding::{Error, Finding, WEAK_OVERRIDDEN};
use crate::object::facts::{Binding, Facts, FunctionId, Holder};
use crate::object::layout;

use super::{Input, Obstacle, Reason, Reasons};

/// The search and what it found.
pub(super) struct Search<'a> {
    input: &'a Input<'a>,
    pub reasons: Reasons,
    pub seen: BTreeSet<String>,
    /// Targets with their sympos.
    pub targets: BTreeMap<String, u32>,
    /// Functions with callers that can't be followed: where.
    pub blocked: BTreeMap<String, Vec<String>>,
    /// Functions that only run at boot, load or unload.
    pub boot: BTreeSet<String>,
    /// Functions whose code here never runs, for the running kernel has another object's: what forbids to hook them.
    pub overridden: BTreeMap<String, Vec<Finding>>,
    pub findings: Vec<Finding>,
    queue: VecDeque<String>,
}

impl<'a> Search<'a> {
    pub fn new(input: &'a Input<'a>, reasons: Reasons) -> Search<'a> {
        Search {
            input,
            reasons,
            seen: BTreeSet::new(),
            targets: BTreeMap::new(),
            blocked: BTreeMap::new(),
            boot: BTreeSet::new(),
            overridden: BTreeMap::new(),
            findings: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    /// Follows the callers of each candidate until there is somebody to hook, or nobody.
    pub fn run(&mut self, candidates: &BTreeSet<String>) {
        self.queue.extend(candidates.iter().cloned());
        while let Some(name) = self.queue.pop_front() {
            if self.seen.insert(name.clone()) {
                self.visit(&name);
            }
        }
    }

    fn facts(&self) -> &'a Facts {
        self.input.before.facts
    }

    fn visit(&mut self, name: &str) {
        let facts = self.facts();
        let Some(id) = facts.named(name).map(|id| facts.whole(id)) else { return };
        let function = facts.function(id);
        if runs_only_at_boot(facts, id) {
            self.boot.insert(name.to_string());
            return;
        }
        // A name with a dot is GCC's: the symbol may be there, but with another signature.
        let obstacle = if name.contains('.') { Obstacle::Clone } else { Obstacle::NoSite };
        if function.ftrace_site && obstacle == Obstacle::NoSite {
            match layout::sympos(name, true, facts, self.input.layout, self.input.symbols) {
                Ok(sympos) => {
                    let name = self.defined_name(id, name);
                    self.targets.insert(name, sympos.position);
                }
                Err(Error::Refused(findings)) if !self.input.patched.contains(name) && self.never_runs(id) => {
                    self.overridden.insert(name.to_string(), findings);
                }
                Err(Error::Refused(findings)) => self.findings.extend(findings),
            }
            return;
        }
        self.climb(name, id, obstacle);
    }

    /// Is all that a function is called by another object's in the running kernel? A local name would be this object's own way
    /// to it: GCC makes one where it lets a function that is equal jump there.
    fn never_runs(&self, id: FunctionId) -> bool {
        let Input { layout, symbols, .. } = self.input;
        self.facts().function(id).names().all(|name| match layout::sympos(name, true, self.facts(), layout, symbols) {
            Ok(_) => false,
            Err(Error::Refused(findings)) => findings.iter().all(|finding| finding.id == WEAK_OVERRIDDEN),
        })
    }

    /// Of several names of one address, the one that the patched source defines a function by: a patched one first, then
    /// in the order of the alphabet. They are one target.
    fn defined_name(&mut self, id: FunctionId, name: &str) -> String {
        let Input { patched, defined, .. } = self.input;
        let function = self.facts().function(id);
        let aliases = function.aliases.iter().map(|(alias, _)| alias);
        let names: BTreeSet<&String> = std::iter::once(&function.name).chain(aliases).collect();
        let is_patched = names.iter().find(|other| patched.contains(**other));
        let chosen = is_patched.or_else(|| names.iter().find(|other| defined.contains(**other)));
        let chosen = chosen.map_or(name, |chosen| chosen.as_str()).to_string();
        self.reasons.share(name, &chosen);
        chosen
    }

    fn climb(&mut self, name: &str, id: FunctionId, obstacle: Obstacle) {
        let facts = self.facts();
        let callers = callers(facts, id);
        for caller in &callers {
            let caller = &facts.function(*caller).name;
            let reason = Reason::Calls { caller: caller.clone(), callee: name.to_string(), obstacle };
            self.reasons.add(caller, Some(name), reason);
            self.queue.push_back(caller.clone());
        }
        let mut why = unknown_callers(facts, id);
        if callers.is_empty() && why.is_empty() {
            why.push("nothing in this object calls it".into());
        }
        if !why.is_empty() {
            let what = match obstacle {
                Obstacle::Clone => "it is a clone made by GCC",
                Obstacle::NoSite => "it has no ftrace site",
            };
            why.insert(0, what.into());
            self.blocked.insert(name.to_string(), why);
        }
    }
}

/// Functions that call this one, `.cold` parts counted as their owners, in code order; without itself.
fn callers(facts: &Facts, id: FunctionId) -> BTreeSet<FunctionId> {
    let calls = facts.calls.iter().filter(|call| facts.whole(call.callee) == id);
    calls.map(|call| facts.whole(call.caller)).filter(|caller| *caller != id).collect()
}

/// Ways into a function that don't show up as a call in this object, each as words.
fn unknown_callers(facts: &Facts, id: FunctionId) -> Vec<String> {
    let function = facts.function(id);
    let mut ways: Vec<String> = Vec::new();
    let bindings = std::iter::once(&function.binding).chain(function.aliases.iter().map(|(_, binding)| binding));
    if bindings.into_iter().any(|binding| *binding != Binding::Local) {
        ways.push("it is global, so that other files may call it".into());
    }
    for reference in facts.references.iter().filter(|r| r.function == id) {
        let way = match &reference.holder {
            Holder::Code(by) => format!("its address is taken by {}", facts.function(facts.whole(*by)).name),
            Holder::BareCode { section } => format!("assembly in {section} refers to it"),
            Holder::Data { section, object: Some(object) } => format!("its address is in {object} ({section})"),
            Holder::Data { section, object: None } => format!("its address is in {section}"),
            Holder::Initcall { .. } => continue,
        };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// Does a function run only while booting, loading or unloading? It lies in such a section, or it is only called from
/// functions for which the same holds.
fn runs_only_at_boot(facts: &Facts, id: FunctionId) -> bool {
    let mut seen: BTreeSet<FunctionId> = BTreeSet::from([id]);
    let mut queue = vec![id];
    while let Some(id) = queue.pop() {
        let function = facts.function(id);
        if facts.sections[function.section].is_boot() {
            continue;
        }
        let callers = callers(facts, id);
        let is_initcall =
            facts.references.iter().any(|r| r.function == id && matches!(r.holder, Holder::Initcall { .. }));
        if !unknown_callers(facts, id).is_empty() || (callers.is_empty() && !is_initcall) {
            return false;
        }
        queue.extend(callers.into_iter().filter(|caller| seen.insert(*caller)));
    }
    true
}
