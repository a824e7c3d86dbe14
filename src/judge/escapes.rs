//! What of the livepatch may be used after it is gone: addresses of its functions, strings and objects that it hands out.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::statics::StaticLocal;
use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::{ADDRESS_ESCAPES, Finding};
use crate::unit::live::Extent;
use crate::unit::names::Role;

use super::list;
use super::tables::{CALL_BACK_AT_ONCE, KEEPS_STRINGS};

/// A copied statement's tokens as words.
struct Words<'a> {
    closure: &'a Closure,
    node: &'a Node,
}

impl<'a> Words<'a> {
    fn at(&self, index: usize) -> &'a str {
        let token = self.node.tokens.get(index);
        token.and_then(|token| self.closure.texts.get((token & !WILDCARD) as usize)).map_or("", String::as_str)
    }

    /// The function whose argument list holds a token, the innermost one.
    fn call_around(&self, index: usize) -> Option<&'a str> {
        let mut depth = 0;
        for at in (self.node.signature_tokens..index).rev() {
            match self.at(at) {
                ")" => depth += 1,
                "(" if depth > 0 => depth -= 1,
                "(" => {
                    let name = self.at(at.wrapping_sub(1));
                    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                    // A parenthesis of an expression: what is around that?
                    if is_name && !matches!(name, "if" | "while" | "return" | "sizeof" | "switch") {
                        return Some(name);
                    }
                }
                ";" | "{" | "}" if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// `->member =` or `.member =` before a token that is stored as a whole.
    fn stored_in(&self, index: usize) -> Option<&'a str> {
        let mut at = index.checked_sub(1)?;
        while matches!(self.at(at), "&" | "(" | ")" | "*") {
            at = at.checked_sub(1)?;
        }
        let member = self.at(at.checked_sub(1)?);
        let access = matches!(self.at(at.checked_sub(2)?), "->" | ".");
        (self.at(at) == "=" && access).then_some(member)
    }
}

/// How each thing gets out, by its name, and the first place.
type Found<'a> = BTreeMap<(&'a str, &'static str), (BTreeSet<String>, &'a Node)>;

/// Looks through all that the module copies. `targets` are replaced functions: their address is the original's.
/// `statics` are static variables of functions that are the running kernel's, by their names in the module.
pub fn findings<V>(closure: &Closure, targets: &BTreeSet<String>, statics: &BTreeMap<String, V>) -> Vec<Finding> {
    let copied = || closure.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
    let named = |role: Role| {
        let names = copied().flat_map(|node| &node.names).filter(move |(_, r)| *r == role);
        names.map(|(name, _)| name.as_str()).filter(|name| !targets.contains(*name)).collect::<BTreeSet<&str>>()
    };
    let functions = named(Role::Function);
    let objects: BTreeSet<&str> = copied().filter(|node| is_own_object(closure, node)).map(first_name).collect();
    let mut found: Found = BTreeMap::new();
    for index in closure.graph.node_indices() {
        let node = &closure.graph[index];
        if !(node.copied && node.extent == Extent::Whole) {
            continue;
        }
        // A parameter or local variable may have the name of a function: only what libclang resolved to it counts.
        let reached: BTreeSet<&str> = closure
            .graph
            .neighbors(index)
            .flat_map(|other| &closure.graph[other].names)
            .map(|(name, _)| name.as_str())
            .collect();
        let words = Words { closure, node };
        let is_own = |local: &&StaticLocal| local.constant && !local.fresh && !statics.contains_key(&local.new_name);
        let constants: BTreeSet<&str> =
            node.static_locals.iter().filter(is_own).map(|local| local.name.as_str()).collect();
        // The signature names the function itself, as do prototypes.
        for index in node.signature_tokens..node.tokens.len() {
            let word = words.at(index);
            let mut note = |what: &'static str, how: String| {
                found.entry((word, what)).or_insert_with(|| (BTreeSet::new(), node)).0.insert(how);
            };
            // Members and tags may have a function's name.
            let is_other = index > 0 && matches!(words.at(index - 1), "." | "->" | "struct" | "union" | "enum");
            if functions.contains(word) && reached.contains(word) && words.at(index + 1) != "(" && !is_other {
                if let Some(how) = function_way(&words, index) {
                    note("function", how);
                }
            } else if objects.contains(word)
                && reached.contains(word)
                && !is_other
                && !matches!(words.at(index + 1), "[" | "." | "->")
            {
                if let Some(member) = words.stored_in(index) {
                    note("object", format!("{} stores it in {member}", holder(node)));
                }
            } else if constants.contains(word) && !is_other {
                if let Some(how) = constant_way(&words, index) {
                    note("constant", how);
                }
            } else if word.starts_with('"')
                && let Some(how) = string_way(&words, index)
            {
                note("string", how);
            }
        }
    }
    let finding = |((name, what), (ways, node)): ((&str, &str), (BTreeSet<String>, &Node))| {
        let what = if what == "string" { "string of the livepatch" } else { what };
        let message = match what {
            "function" => {
                format!("the address of {name}, which is the livepatch's own copy, is handed out: {}", list(ways))
            }
            _ => format!("the {what} {name} is handed out: {}", list(ways)),
        };
        let file = closure.files[node.position.file as usize].path.as_str();
        Finding::new(ADDRESS_ESCAPES, message).at(file, Some(node.position.line))
    };
    found.into_iter().map(finding).collect()
}

fn first_name(node: &Node) -> &str {
    node.names.first().map_or("", |(name, _)| name.as_str())
}

fn holder(node: &Node) -> &str {
    match first_name(node) {
        "" => "a declaration",
        name => name,
    }
}

/// A variable that the module has of its own, not one that it refers to.
fn is_own_object(closure: &Closure, node: &Node) -> bool {
    let words = Words { closure, node };
    let is_variable = node.names.first().is_some_and(|(_, role)| *role == Role::Variable);
    let is_extern = (0..node.signature_tokens).any(|at| words.at(at) == "extern");
    is_variable && !(is_extern && node.signature_tokens == node.tokens.len())
}

/// What happens to the address of a constant of a function's own, or nothing where it is only looked at.
fn constant_way(words: &Words, index: usize) -> Option<String> {
    let by = holder(words.node);
    let before = words.at(index.wrapping_sub(1));
    if matches!(words.at(index + 1), "[" | "." | "->") {
        return None;
    }
    let first = if before == "&" { index - 1 } else { index };
    if matches!(words.at(first.wrapping_sub(1)), "==" | "!=") || matches!(words.at(index + 1), "==" | "!=") {
        return Some(format!("{by} compares with it, though objects of the running kernel have the original's"));
    }
    match (words.stored_in(index), words.call_around(index)) {
        (Some(member), _) => Some(format!("{by} stores it in {member}")),
        (None, Some(call)) if before == "&" => Some(format!("{by} passes it to {call}()")),
        _ if before == "return" || (before == "&" && words.at(index.wrapping_sub(2)) == "return") => {
            Some(format!("{by} returns it"))
        }
        _ => None,
    }
}

/// What happens to a string, or nothing where it is only read.
fn string_way(words: &Words, index: usize) -> Option<String> {
    let by = holder(words.node);
    let is_stored = words.at(index.wrapping_sub(1)) == "=" && words.at(index.wrapping_sub(3)) == "->";
    match words.stored_in(index).filter(|_| is_stored) {
        Some(member) => Some(format!("{by} stores it in {member}")),
        None => {
            let call = words.call_around(index).filter(|call| KEEPS_STRINGS.contains(call))?;
            Some(format!("{by} passes it to {call}(), which keeps it"))
        }
    }
}

/// What happens to a function's address, or nothing where it is only called back before the call returns.
fn function_way(words: &Words, index: usize) -> Option<String> {
    let by = holder(words.node);
    let before = words.at(index.wrapping_sub(1));
    if matches!(before, "==" | "!=") || matches!(words.at(index + 1), "==" | "!=") {
        // Equal to nothing that the kernel has stored: the original's address is another.
        return Some(format!("{by} compares with it, though objects of the running kernel have the original's"));
    }
    if let Some(call) = words.call_around(index) {
        return (!CALL_BACK_AT_ONCE.contains(&call)).then(|| format!("{by} passes it to {call}()"));
    }
    match words.stored_in(index) {
        Some(member) => Some(format!("{by} stores it in {member}")),
        None => Some(format!("{by} uses it")),
    }
}
