//! The C file of functions copied out of a program: everything in the order of the unit, for any of it may need what
//! stands before.

use std::collections::BTreeSet;

use tera::Context;

use crate::finding::Result;
use crate::rewrite::Item;

use super::{Unit, grouped, render};

/// A line of the file, or a piece of it.
enum Piece<'a> {
    Include(String),
    Item(&'a Item),
}

/// The text.
pub fn extract(unit: &Unit) -> Result<String> {
    let mut pieces: Vec<(u32, Piece)> = Vec::new();
    for include in unit.includes {
        let (open, close) = if include.quoted { ('"', '"') } else { ('<', '>') };
        pieces.push((include.order, Piece::Include(format!("#include {open}{}{close}\n", include.name))));
    }
    let mut seen = BTreeSet::new();
    // A macro that several sections of a module need is needed once.
    let items = unit.items.iter().filter(|item| item.kind != "macro" || seen.insert((item.order, &item.text)));
    pieces.extend(items.map(|item| (item.order, Piece::Item(item))));
    pieces.sort_by_key(|(order, _)| *order);
    let mut blocks: Vec<String> = Vec::new();
    for run in pieces.chunk_by(|(_, a), (_, b)| matches!(a, Piece::Item(_)) == matches!(b, Piece::Item(_))) {
        let includes = run.iter().filter_map(|(_, piece)| match piece {
            Piece::Include(line) => Some(line.as_str()),
            Piece::Item(_) => None,
        });
        let includes: String = includes.collect();
        blocks.extend(Some(includes).filter(|text| !text.is_empty()));
        let items: Vec<&Item> = run
            .iter()
            .filter_map(|(_, piece)| match piece {
                Piece::Item(item) => Some(*item),
                Piece::Include(_) => None,
            })
            .collect();
        blocks.extend(grouped(&items));
    }
    // The template ends each block's last line.
    if let Some(last) = blocks.last_mut() {
        last.truncate(last.trim_end().len());
    }
    let mut context = Context::new();
    context.insert("source", unit.source);
    context.insert("blocks", &blocks);
    render("extract.c", &context, unit.house)
}
