//! Members that only objects made after the livepatch was loaded will have set up.

use std::collections::BTreeSet;

use crate::finding::{EXISTING_OBJECTS, Finding};
use crate::unit::listing::{Body, Call};

use super::tables::{ALLOCATORS, CONSTRUCTORS, INITIALISERS};
use super::{Unit, list};

pub fn findings(unit: &Unit) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, before, after) in unit.changed() {
        let (old, new) = (set_up(&before), set_up(&after));
        let had = allocated(&before);
        // What the patch itself allocates has no older siblings.
        let is_new = |root: &str| allocated(&after).contains(root) && !had.contains(root);
        let known = |what: &str| old.iter().any(|known| known.what == what);
        let fresh: Vec<&SetUp> = new.iter().filter(|item| !known(&item.what) && !is_new(&item.root)).collect();
        let Some(first) = fresh.first() else { continue };
        let message = format!(
            "{name} now sets up {}; objects that exist when the livepatch is loaded never had it done",
            list(fresh.iter().map(|item| &item.what))
        );
        findings.push(Finding::new(EXISTING_OBJECTS, message).at(after.file(), Some(first.line)));
    }
    findings
}

/// One member that a function sets up.
struct SetUp {
    what: String,
    /// The variable that it is reached through.
    root: String,
    line: u32,
}

/// What a function sets up in objects that outlive it: members given to an initialiser, and members of what it allocates.
fn set_up(body: &Body) -> Vec<SetUp> {
    let mut found = Vec::new();
    for call in body.calls() {
        if !INITIALISERS.contains(&call.name) {
            continue;
        }
        if let Some(argument) = body.arguments(call).first()
            && argument.clone().any(|at| body.word(at) == "->")
        {
            // `&(&ep->lock)->rlock`, without what macros put around it.
            let words = argument.clone().map(|at| body.word(at)).filter(|word| !matches!(*word, "(" | ")" | "&" | "*"));
            let words: Vec<&str> = words.collect();
            let root = words.first().unwrap_or(&"").to_string();
            found.push(SetUp { what: format!("{} ({})", words.concat(), call.name), root, line: body.line(call.at) });
        }
    }
    let made = allocated(body);
    for at in body.opening()..body.len() {
        let assigned = body.word(at) == "=" && body.word(at.wrapping_sub(2)) == "->";
        let root = body.word(at.wrapping_sub(3));
        if assigned && made.contains(root) {
            let what = format!("{root}->{}", body.word(at - 1));
            found.push(SetUp { what, root: root.into(), line: body.line(at) });
        }
    }
    found
}

/// Variables that take the result of an allocation.
fn allocated<'a>(body: &Body<'a>) -> BTreeSet<&'a str> {
    let is_allocation =
        |call: &Call| ALLOCATORS.iter().any(|(name, _)| *name == call.name) || CONSTRUCTORS.contains(&call.name);
    let calls = body.calls();
    let taken = calls.iter().filter(|call| is_allocation(call)).map(|call| {
        // `p = f(...)`, `(p = f(...))`: a cast may stand between.
        let mut at = call.at.wrapping_sub(1);
        while at > 0 && at < body.len() && matches!(body.word(at), ")" | "*" | "(") {
            at = at.wrapping_sub(1);
        }
        if body.word(at) == "=" { body.word(at.wrapping_sub(1)) } else { "" }
    });
    taken.filter(|name| !name.is_empty()).collect()
}
