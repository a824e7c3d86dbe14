//! Static variables of copied functions that become the running kernel's.

use std::ops::Range;

use crate::closure::statics::{StaticEdit, WrittenOut};
use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::Result;
use crate::unit::place::Position;

use super::{Naming, Sources, declaration, layout};

/// Tells where in a text a position is.
type Place<'a> = &'a dyn Fn(&mut Sources, Position) -> Result<usize>;

/// The edits of a copied function's text, as (offset in the text, bytes, new text), and their words.
pub fn edit(
    closure: &Closure,
    sources: &mut Sources,
    node: &Node,
    naming: &Naming,
    (text, place): (&str, Place),
    replacements: &mut Vec<(usize, usize, String)>,
    words: &mut Vec<String>,
) -> Result<()> {
    let is_chosen = |name: &str| naming.statics.contains_key(name);
    let range = |sources: &mut Sources, (from, to): (Position, Position)| -> Result<Range<usize>> {
        Ok(place(sources, from)?..place(sources, to)?)
    };
    let blanks = |at: usize| text.as_bytes()[..at].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    let edits = node.static_edits(is_chosen);
    let outs = node.written_out(is_chosen);
    for out in &outs {
        let range = range(sources, (out.start, out.end))?;
        let column = out.start.column as usize;
        let depth = if blanks(range.start) >= column { column } else { 1 };
        replacements.push((range.start, range.len(), expansion(closure, node, out, &edits, depth)));
        words.push(format!("{} is written out, for its static variables are the running kernel's", out.name));
    }
    let is_inside = |edit: &StaticEdit| outs.iter().any(|o| (o.tokens.0..o.tokens.1).contains(&edit.tokens.start));
    for edit in edits.iter().filter(|edit| !is_inside(edit)) {
        let Some(positions) = edit.text else { continue };
        let mut range = range(sources, positions)?;
        if edit.new.is_empty() {
            range.start -= blanks(range.start);
        }
        replacements.push((range.start, range.len(), declaration::joined(&edit.new)));
    }
    for local in &node.static_locals {
        if let Some(symbol) = naming.statics.get(&local.new_name) {
            let name = &local.name;
            words.push(format!("{name} is the running kernel's {symbol}, by the name {}", local.new_name));
        }
    }
    Ok(())
}

/// An expansion, edited, a statement a line; `depth`: of the line, in tabs.
fn expansion(closure: &Closure, node: &Node, out: &WrittenOut, edits: &[&StaticEdit], depth: usize) -> String {
    let mut words = Vec::new();
    let mut at = out.tokens.0;
    while at < out.tokens.1 {
        match edits.iter().find(|edit| edit.tokens.start == at) {
            Some(edit) => {
                words.extend(edit.new.iter().cloned());
                at = edit.tokens.end;
            }
            None => {
                words.push(closure.texts[(node.tokens[at] & !WILDCARD) as usize].clone());
                at += 1;
            }
        }
    }
    layout::laid_out(&words, depth)
}
