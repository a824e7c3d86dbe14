//! What copied text reaches through pointers: its names become macros, so that the text stays as it is.

use std::collections::BTreeSet;

use crate::closure::{Closure, Node, WILDCARD};
use crate::unit::live::Extent;
use crate::unit::names::Role;

use super::Naming;

/// Prefix of the pointers.
const PREFIX: &str = "klpe_";

/// What a macro of such a name begins with: `(*klpe_name)`.
pub const MACRO_START: &str = "(*klpe_";

/// The pointer of a name in C. Static variables of functions have a prefix already.
pub fn of(name: &str) -> String {
    format!("{PREFIX}{}", name.strip_prefix("klpl_").unwrap_or(name))
}

/// The changes that such macros make to a copied statement, in words.
pub fn edits(closure: &Closure, node: &Node, naming: &Naming) -> Vec<String> {
    let text = |at: &u32| closure.texts[(node.tokens[*at as usize] & !WILDCARD) as usize].as_str();
    let objects = node.objects.iter().map(text);
    let locals = node.static_locals.iter().map(|local| local.new_name.as_str());
    let named: BTreeSet<&str> = objects.chain(locals).collect();
    let pointers = named.iter().filter_map(|name| Some((name, naming.pointers.get(*name)?)));
    let mut edits: Vec<String> =
        pointers.map(|(name, pointer)| format!("{name} is reached through the pointer {pointer}")).collect();
    let words = node.tokens.iter().map(|token| closure.texts[(token & !WILDCARD) as usize].as_str());
    let events: BTreeSet<&str> = words.filter(|word| naming.events.contains_key(*word)).collect();
    edits.extend(events.iter().map(|name| format!("{name}() asks the tracepoint itself, without code patching")));
    if naming.switches {
        let switches: BTreeSet<&str> = node.switches.iter().map(|switch| switch.name.as_str()).collect();
        edits
            .extend(switches.iter().map(|name| format!("{name}() asks the key or call itself, without code patching")));
    }
    edits
}

/// Does copied data have its address from the start? What a pointer leads to is no constant.
pub fn is_in_initialiser(closure: &Closure, name: &str) -> bool {
    let is_data = |(_, role): &(String, Role)| *role == Role::Variable;
    let copied = closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    copied.filter(|node| node.names.iter().any(is_data)).any(|node| {
        let words = node.tokens[node.signature_tokens..].iter();
        words.map(|token| closure.texts[(token & !WILDCARD) as usize].as_str()).any(|word| word == name)
    })
}

/// Does copied text have the name for something else too (a member, a parameter, a variable of a function)? A macro of that
/// name would change that as well.
pub fn is_shadowed(closure: &Closure, name: &str) -> bool {
    let is_code = |node: &&Node| node.names.iter().any(|(_, role)| matches!(role, Role::Function | Role::Variable));
    let copied = closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    copied.filter(is_code).any(|node| {
        let named =
            (0u32..).zip(&node.tokens).filter(|(_, token)| closure.texts[(**token & !WILDCARD) as usize] == name);
        let others = named.filter(|(at, _)| node.objects.binary_search(at).is_err());
        // A target's own name becomes another one where it is defined.
        let defines = node.names.iter().any(|(defined, _)| defined == name);
        others.count() > usize::from(defines)
    })
}
