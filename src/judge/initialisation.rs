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
        let fresh: Vec<&(String, u32)> =
            new.iter().filter(|(what, _)| !old.iter().any(|(known, _)| known == what)).collect();
        let Some((_, line)) = fresh.first() else { continue };
        let message = format!(
            "{name} now sets up {}; objects that exist when the livepatch is loaded never had it done",
            list(fresh.iter().map(|(what, _)| what))
        );
        findings.push(Finding::new(EXISTING_OBJECTS, message).at(after.file(), Some(*line)));
    }
    findings
}

/// What a function sets up in objects that outlive it: members given to an initialiser, and members of what it allocates.
fn set_up(body: &Body) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for call in body.calls() {
        if !INITIALISERS.contains(&call.name) {
            continue;
        }
        if let Some(argument) = body.arguments(call).first()
            && argument.clone().any(|at| body.word(at) == "->")
        {
            found.push((format!("{} ({})", member_of(&body.shown(argument.clone())), call.name), body.line(call.at)));
        }
    }
    let made = allocated(body);
    for at in body.opening()..body.len() {
        let assigned = body.word(at) == "=" && body.word(at.wrapping_sub(2)) == "->";
        if assigned && made.contains(body.word(at.wrapping_sub(3))) {
            found.push((format!("{}->{}", body.word(at - 3), body.word(at - 1)), body.line(at)));
        }
    }
    found
}

/// `&(&ep->lock)->rlock` is about `ep->lock`.
fn member_of(argument: &str) -> String {
    argument.trim_start_matches(['&', '(', '*', ' ']).trim_end_matches([')', ' ']).to_string()
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
