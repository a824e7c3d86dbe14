//! Invocations that make targets, written out.

use petgraph::graph::NodeIndex;

use crate::closure::statics::WrittenOut;
use crate::closure::{Closure, Node, WILDCARD};
use crate::unit::live::Extent;
use crate::unit::names::{self, Role};

use super::group::is_static;
use super::{Naming, layout};

/// What an invocation makes of the statements that the module has of it, targets under their new names. `behind` is the text
/// behind it, in which the last of them may go on. Nothing where that can't be told.
pub(super) fn made(
    closure: &Closure,
    nodes: &[NodeIndex],
    invocation: &WrittenOut,
    naming: &Naming,
    behind: &str,
) -> Option<String> {
    let mut statements = Vec::new();
    let mut ends = true;
    for node in nodes.iter().map(|index| &closure.graph[*index]) {
        let Some(out) = node.made_by.as_ref().filter(|out| out.start == invocation.start) else { continue };
        // One that goes on behind the invocation is its last; one that begins before it is its only one.
        let is_target = node.names.iter().any(|(name, _)| naming.targets.contains(name));
        if !ends
            || node.extent == Extent::Signature
            || (out.tokens.0 > 0 && !node.is_made)
            || (is_target && !node.is_made)
        {
            return None;
        }
        ends = out.tokens.1 == node.tokens.len();
        statements.push(expansion(closure, (node, out), naming));
    }
    let goes_on = !behind.trim_start_matches([';', ' ', '\t', '\n']).is_empty();
    (ends != goes_on && !statements.is_empty()).then(|| statements.join("\n\n"))
}

/// `inline` is a macro that adds attributes (include/linux/compiler_types.h), and would do it once more.
fn without_inlines_own(words: &mut Vec<String>) {
    const ADDED: &[&str] = &["gnu_inline", "unused", "no_instrument_function"];
    let adds =
        |words: &[String]| names::attribute(words.iter().map(String::as_str)).is_some_and(|name| ADDED.contains(&name));
    let mut at = 0;
    while at < words.len() {
        at += 1;
        while words[at - 1] == "inline" && adds(&words[at..]) {
            words.drain(at..at + names::ATTRIBUTE);
        }
    }
}

/// The words that the invocation makes of a statement.
fn expansion(closure: &Closure, (node, out): (&Node, &WrittenOut), naming: &Naming) -> String {
    let words = node.tokens[out.tokens.0..out.tokens.1].iter();
    let words = words.map(|token| closure.texts[(token & !WILDCARD) as usize].clone());
    let mut words: Vec<String> = words.collect();
    without_inlines_own(&mut words);
    let declared = node.names.first().filter(|_| node.is_made).map(|(name, _)| name.as_str());
    let Some(declared) = declared else { return laid_out(node, &words) };
    let mut body = words.iter().position(|word| word == "{").unwrap_or(words.len());
    while let Some(at) = (0..body).find(|at| names::is_of_originals(words[*at..].iter().map(String::as_str))) {
        words.drain(at..at + names::ATTRIBUTE);
        body -= names::ATTRIBUTE;
    }
    if let Some(name) = words.iter_mut().take(body).find(|word| *word == declared) {
        *name = naming.new_name(declared);
    }
    match (is_static(closure, node), naming.shared) {
        (false, false) if out.tokens.0 == 0 => words.insert(0, "static".into()),
        (true, true) => {
            let mut at = 0;
            words.retain(|word| {
                at += 1;
                at > body || !matches!(word.as_str(), "static" | "inline" | "__inline" | "__inline__")
            });
        }
        _ => {}
    }
    laid_out(node, &words)
}

/// A function's body begins on a line of its own (Documentation/process/coding-style.rst).
fn laid_out(node: &Node, words: &[String]) -> String {
    let is_function = node.names.first().is_some_and(|(_, role)| *role == Role::Function);
    let body = words.iter().position(|word| word == "{").filter(|at| is_function && *at > 0);
    let (before, body) = words.split_at(body.unwrap_or(0));
    let before = if before.is_empty() { String::new() } else { layout::laid_out(before, 0) + "\n" };
    before + &layout::laid_out(body, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_inline_adds_is_left_out_behind_it() {
        let of = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_string).collect();
            without_inlines_own(&mut words);
            words.join(" ")
        };
        let added = "__attribute__ ( ( __gnu_inline__ ) ) __attribute__ ( ( __unused__ ) )";
        assert_eq!(of(&format!("static inline {added} int f ( void )")), "static inline int f ( void )");
        let other = "static inline __attribute__ ( ( __always_inline__ ) ) int f ( void )";
        assert_eq!(of(other), other);
        let apart = format!("static {added} int f ( void ) inline");
        assert_eq!(of(&apart), apart);
    }
}
