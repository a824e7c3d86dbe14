//! Static variables of copied functions that become the running kernel's.

use crate::closure::{Closure, Node};
use crate::finding::{FRONT_END, Result, refuse};

use super::{Naming, Sources, declaration};

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
    for edit in node.static_edits(|name| naming.statics.contains_key(name)) {
        let mut range = sources.offset(closure, edit.start)?..sources.offset(closure, edit.end)?;
        if edit.new.is_empty() {
            range.start -= sources.blanks_before(closure, edit.start)?;
        }
        if edit.start.file != node.position.file || range.start < start {
            let path = &closure.files[edit.start.file as usize].path;
            return refuse(FRONT_END, format!("{path}:{}: a function spans two files", edit.start.line));
        }
        replacements.push((range.start - start, range.len(), declaration::joined(&edit.new)));
    }
    for local in &node.static_locals {
        if let Some(symbol) = naming.statics.get(&local.new_name) {
            let name = &local.name;
            words.push(format!("{name} is the running kernel's {symbol}, by the name {}", local.new_name));
        }
    }
    Ok(())
}
