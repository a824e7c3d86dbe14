//! What copied text reaches through pointers: its names become macros, so that the text stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::{Closure, Node, WILDCARD};
use crate::unit::live::Extent;
use crate::unit::names::{Attribute, Role};

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

/// The words from a token on, without those that static keys and calls are made of, which the module asks otherwise.
fn words<'a>(closure: &'a Closure, node: &'a Node, from: usize) -> impl Iterator<Item = &'a str> {
    let is_switch = |at: &usize| node.switches.iter().any(|switch| switch.tokens.contains(at));
    let tokens = node.tokens.iter().enumerate().skip(from).filter(move |(at, _)| !is_switch(at));
    tokens.map(|(_, token)| closure.texts[(token & !WILDCARD) as usize].as_str())
}

/// Does copied data have its address from the start? What a pointer leads to is no constant.
pub fn is_in_initialiser(closure: &Closure, name: &str) -> bool {
    let copied = closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    copied.filter(|node| node.names.iter().any(|(_, role)| matches!(role, Role::Function | Role::Variable))).any(
        |node| {
            let words: Vec<&str> = words(closure, node, node.signature_tokens).collect();
            match node.names.iter().any(|(_, role)| *role == Role::Variable) {
                true => words.contains(&name),
                // A function's static variables.
                false => in_static(&words, name),
            }
        },
    )
}

/// Does a macro of the source's make a string of the name where the program runs (fortify's messages)? The string would
/// have the pointer's.
pub fn is_stringified(closure: &Closure, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let groups: BTreeMap<_, _> = closure.groups.iter().map(|group| (group.id, group)).collect();
    let copied = closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    copied.filter(|node| !node.objects.is_empty()).any(|node| {
        let mut attribute = Attribute::default();
        words(closure, node, 0).any(|word| {
            let inside = attribute.step(word);
            let spelled = || groups.get(&node.group).is_some_and(|group| group.taken.contains(word));
            word.starts_with('"') && !inside && word.split(|c| !is_part(c)).any(|part| part == name) && !spelled()
        })
    })
}

/// Does the initialiser of a static variable in this body have the name?
fn in_static(words: &[&str], name: &str) -> bool {
    let mut begins = words.iter().enumerate().filter(|(_, word)| **word == "static").map(|(at, _)| at);
    begins.any(|at| {
        let mut depth = 0;
        let end = words[at..].iter().position(|word| {
            match *word {
                "{" | "(" => depth += 1,
                "}" | ")" => depth -= 1,
                _ => {}
            }
            *word == ";" && depth <= 0
        });
        let declaration = &words[at..end.map_or(words.len(), |end| at + end)];
        let value = declaration.iter().position(|word| *word == "=");
        value.is_some_and(|value| declaration[value..].contains(&name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialisers_of_static_variables_end_with_them() {
        let has = |text: &str| in_static(&text.split(' ').collect::<Vec<_>>(), "x");
        assert!(has("{ static int * p = & x ; }"));
        assert!(has("{ static struct a p [ ] = { { . f = ( 1 ) } , { . f = x } } ; }"));
        assert!(has("{ static int * p = ( { int y ; & x ; } ) ; }"));
        assert!(!has("{ static int p [ ] = { ( 1 ) } ; q = x ; }"));
        assert!(!has("{ static int p [ x ] ; int q = x ; }"));
        assert!(!has("{ int * p = & x ; static int q = 1 ; }"));
    }
}
