//! Functions whose parameters or result change their types.
//!
//! Whoever calls such a function must be replaced together with it. A direct call in a unit that was looked at is safe: the
//! unit is compiled with the new prototype, and a caller whose code differs then becomes a target, while one whose code is the
//! same passes the same bits. Calls from elsewhere and calls through pointers aren't seen that way.

use std::collections::BTreeSet;

use crate::finding::{EXPORTED_PROTOTYPE_CHANGED, Finding, PROTOTYPE_CHANGED};
use crate::object::facts::Holder;
use crate::unit::names::Role;

use super::{Context, Unit, list};

pub fn findings(unit: &Unit, context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some((before, after)) = &unit.types else { return findings };
    for (name, old) in &before.functions {
        let Some(new) = after.functions.get(name).filter(|new| *new != old) else { continue };
        let Some(body) = unit.before.function(name) else { continue };
        let change = format!("\n  before: {}\n  after:  {}", old.text(name), new.text(name));
        if let Some(finding) = finding(context, unit, name, old.external, &change) {
            findings.push(finding.at(body.file(), Some(body.line(0))));
        }
    }
    findings
}

fn finding(context: &Context, unit: &Unit, name: &str, external: bool, change: &str) -> Option<Finding> {
    let exported = context.exports.contains(name) || unit.facts.exports.contains(name);
    if external && exported {
        let message = format!(
            "{name} is exported and changes its prototype; modules call it as it was{change}\n  keep it as it is, and let its \
             users in the fix call a new function"
        );
        return Some(Finding::new(EXPORTED_PROTOTYPE_CHANGED, message));
    }
    let mut unseen = pointers(unit, name);
    if external && !is_declared_in_patched_header(context, unit, name) {
        let why =
            "it is global, and its prototype is in no header that the patch changes: not all callers were looked at";
        unseen.push(why.into());
    }
    let assembly = if external { assembly(context, name) } else { Vec::new() };
    if !assembly.is_empty() {
        unseen.push(format!("assembly names it, and goes on as it was: {}", list(assembly)));
    }
    if unseen.is_empty() {
        return None;
    }
    let message = format!(
        "{name} changes its prototype, and there may be callers that aren't replaced{change}\n  {}\n  let the fix call a new \
         function with the new prototype",
        unseen.join("\n  ")
    );
    Some(Finding::new(PROTOTYPE_CHANGED, message))
}

/// Where its address is held by something other than code that the livepatch replaces.
fn pointers(unit: &Unit, name: &str) -> Vec<String> {
    let Some(id) = unit.facts.named(name) else { return Vec::new() };
    let mut places = BTreeSet::new();
    for reference in unit.facts.references.iter().filter(|reference| reference.function == id) {
        match &reference.holder {
            Holder::Code(by) => {
                let by = &unit.facts.function(unit.facts.whole(*by)).name;
                // New code takes the address with the new type; what old code took stays where it was put.
                places.insert(by.clone());
            }
            Holder::Data { object: Some(object), .. } => drop(places.insert(object.clone())),
            Holder::Data { section, .. } | Holder::BareCode { section } => drop(places.insert(section.clone())),
            Holder::Initcall { .. } => {}
        }
    }
    if places.is_empty() { Vec::new() } else { vec![format!("its address is in or taken by: {}", list(places))] }
}

/// Assembly files that have the name as a word.
fn assembly<'a>(context: &'a Context, name: &str) -> Vec<&'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let names = |text: &str| text.split(|c: char| !is_part(c)).any(|word| word == name);
    context.assembly.iter().filter(|(_, text)| names(text)).map(|(file, _)| file.as_str()).collect()
}

fn is_declared_in_patched_header(context: &Context, unit: &Unit, name: &str) -> bool {
    let mut prototypes = unit.before.declarations(name, Role::Prototype).peekable();
    let patched = |file: &str| !file.ends_with(".c") && context.files.iter().any(|known| known.name == file);
    prototypes.peek().is_some() && prototypes.any(|body| patched(body.file()))
}
