//! Static variables of copied functions that become the running kernel's.

use std::ops::Range;

use crate::closure::statics::{StaticEdit, WrittenOut};
use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::{FRONT_END, Result, refuse};
use crate::unit::place::Position;

use super::{Naming, Sources, declaration, layout};

/// The edits of a copied function's text, as (offset in the text, bytes, new text), and their words. The text begins at
/// `start` of its file.
pub fn edit(
    closure: &Closure,
    sources: &mut Sources,
    node: &Node,
    naming: &Naming,
    start: usize,
    replacements: &mut Vec<(usize, usize, String)>,
    words: &mut Vec<String>,
) -> Result<()> {
    let is_chosen = |name: &str| naming.statics.contains_key(name);
    let range = |sources: &mut Sources, (from, to): (Position, Position)| -> Result<Range<usize>> {
        let range = sources.offset(closure, from)?..sources.offset(closure, to)?;
        if from.file != node.position.file || range.start < start {
            let path = &closure.files[from.file as usize].path;
            return refuse(FRONT_END, format!("{path}:{}: a function spans two files", from.line));
        }
        Ok(range.start - start..range.end - start)
    };
    let edits = node.static_edits(is_chosen);
    let outs = node.written_out(is_chosen);
    for out in &outs {
        let range = range(sources, (out.start, out.end))?;
        let blanks = sources.blanks_before(closure, out.start)?;
        let column = out.start.column as usize;
        let depth = if blanks >= column { column } else { 1 };
        replacements.push((range.start, range.len(), expansion(closure, node, out, &edits, depth)));
        words.push(format!("{} is written out, for its static variables are the running kernel's", out.name));
    }
    let is_inside = |edit: &StaticEdit| outs.iter().any(|o| (o.tokens.0..o.tokens.1).contains(&edit.tokens.start));
    for edit in edits.iter().filter(|edit| !is_inside(edit)) {
        let Some(text) = edit.text else { continue };
        let mut range = range(sources, text)?;
        if edit.new.is_empty() {
            range.start -= sources.blanks_before(closure, text.0)?;
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
