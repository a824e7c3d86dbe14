//! Checks that a person can rely on: the module compiles, and what the compiler sees of it is what it sees of the patched
//! kernel (translation validation), for everything that was copied and everything that an `#include` brings.

pub mod agreement;
mod compile;
pub mod reading;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::closure::{Closure, Node, switches};
use crate::finding::{Finding, Result, TOKENS_DIFFER};
use crate::kernel::command::CompileCommand;
use crate::linkage::events;
use crate::rewrite::{Naming, before_macros};
use crate::unit;
use crate::unit::expand::Expanded;
use crate::unit::groups::{Outline, StatementId};
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::pragmas;

pub use compile::{Compiled, DECLARED, NO_WARNING, builtins, compile, module_command, plain_command, unused};
use words::{difference, expected, found, invocation, texts, type_alone};

/// Is what the compiler sees of the module what it sees of the patched kernel? One finding for each name that differs.
pub fn validate(command: &CompileCommand, build: &Path, closure: &Closure, naming: &Naming) -> Result<Validation> {
    let mut module = unit::expanded(command, build)?;
    let outline = Outline::new(&mut module);
    Ok(compare(&module, &outline, closure, naming, &BTreeMap::new()))
}

/// As [`validate`], of a module that was read; `by_hand` are the names that it gives to things by other names than the
/// source's (or than ours).
pub fn compare(
    module: &Expanded,
    outline: &Outline,
    closure: &Closure,
    naming: &Naming,
    by_hand: &BTreeMap<String, String>,
) -> Validation {
    let mut by_name: BTreeMap<(String, bool), Vec<StatementId>> = BTreeMap::new();
    for (index, names) in outline.names.iter().enumerate() {
        for name in names {
            let key = (module.interner().string(name.symbol), name.role.is_tag());
            by_name.entry(key).or_default().push(StatementId(index as u32));
        }
    }
    let packs = pragmas::pragmas(module, outline).packs;
    let mut renamed = naming.renamed(closure);
    renamed.extend(by_hand.iter().map(|(old, new)| (old.clone(), new.clone())));
    let tracepoints = events::groups(closure);
    let before_macros = before_macros(closure, &tracepoints);
    let calls = closure.renamed_calls();
    let mut validation = Validation::default();
    for index in closure.graph.node_indices() {
        let node = &closure.graph[index];
        let Some((name, role)) = node.names.first() else { continue };
        if naming.events.contains_key(name) {
            // Another function stands in for it.
            continue;
        }
        if *role == Role::Prototype && node.extent == Extent::Whole && naming.targets.contains(name) {
            // Declared again beside its definition, which is compared.
            continue;
        }
        let target = *role == Role::Function && naming.targets.contains(name) && node.extent == Extent::Whole;
        let new_name = if target {
            let new_name = naming.new_name(name);
            by_hand.get(&new_name).cloned().unwrap_or(new_name)
        } else {
            renamed.get(name).filter(|_| !role.is_tag()).unwrap_or(name).clone()
        };
        // Elsewhere its name is not renamed.
        let alone = target && !naming.everywhere;
        let key = (new_name, role.is_tag());
        let candidates = by_name.get(&key).map_or(&[][..], Vec::as_slice);
        if candidates.is_empty() && tracepoints.contains(&node.group) && !is_used(closure, index) {
            // Modules get no trace_X_rcuidle() (include/linux/tracepoint.h); who calls it would miss it.
            continue;
        }
        let new = alone.then_some((name.as_str(), key.0.as_str()));
        let below = node.copied && !before_macros.contains(&index);
        let mut expected = expected(closure, (node, below), new, &renamed, (naming, &calls));
        if node.copied && node.extent == Extent::Signature && node.is_mixed && !closure.has_used_objects(index) {
            expected = type_alone(expected);
        }
        let place = || {
            let file = &closure.files[node.position.file as usize].path;
            (file.clone(), Some(node.position.line))
        };
        let mut nearest = None;
        let equal = candidates.iter().any(|candidate| {
            let range = outline.statements[candidate.0 as usize].tokens();
            let switches = if naming.switches && below { switches::found(module, range) } else { Vec::new() };
            let mut found = found(module, outline, *candidate, node);
            if node.extent == Extent::Whole {
                for switch in switches.iter().rev() {
                    let new = invocation(&switch.name, &switch.trampolines, found[switch.argument.clone()].to_vec());
                    found.splice(switch.tokens.clone(), new);
                }
            }
            let at = difference(&expected, &found, target);
            let at = at.or_else(|| packing(node, packs[candidate.0 as usize]));
            nearest = nearest.take().or_else(|| at.clone().map(|why| (why, texts(&found, target))));
            at.is_none()
        });
        validation.compared += 1;
        if !equal {
            let (why, found) =
                nearest.map_or(("the emitted C does not have it".into(), None), |(why, found)| (why, Some(found)));
            let (file, line) = place();
            let message = format!("{name} is not the same in the emitted C as in the source: {why}");
            validation.findings.push(Finding::new(TOKENS_DIFFER, message).at(file.as_str(), line));
            validation.differences.push(Difference {
                name: name.clone(),
                role: *role,
                extent: node.extent,
                target,
                file,
                line,
                expected: texts(&expected, target),
                found,
                why,
            });
        }
    }
    validation
}

/// Does anything of another group refer to it?
fn is_used(closure: &Closure, index: NodeIndex) -> bool {
    let users = closure.graph.neighbors_directed(index, Direction::Incoming);
    users.into_iter().any(|user| closure.graph[user].group != closure.graph[index].group)
}

/// A type under another `#pragma pack` has another layout, with the same tokens.
fn packing(node: &Node, pack: Option<u32>) -> Option<String> {
    let differs = (node.extent == Extent::Whole || node.is_mixed) && node.copied && node.pack != pack;
    differs.then(|| format!("the source has it under #pragma pack {:?}, the emitted C under {pack:?}", node.pack))
}

/// What [`validate`] found.
#[derive(Debug, Default)]
pub struct Validation {
    /// Functions, types and objects compared.
    pub compared: usize,
    pub findings: Vec<Finding>,
    /// What the findings are about, in their order.
    pub differences: Vec<Difference>,
}

/// Something that the compiler sees otherwise in the module than in the source.
#[derive(Debug)]
pub struct Difference {
    pub name: String,
    pub role: Role,
    /// Is it copied (`Whole`), or referred to?
    pub extent: Extent,
    /// Is it a function that the module replaces?
    pub target: bool,
    pub file: String,
    pub line: Option<u32>,
    pub expected: Vec<String>,
    /// Nothing where the module doesn't have it at all.
    pub found: Option<Vec<String>>,
    pub why: String,
}
