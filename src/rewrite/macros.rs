//! Macros that the module defines or takes away, as items.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::Closure;
use crate::finding::Result;
use crate::linkage::reading::Brought;
use crate::unit::lex;
use crate::unit::place::{Class, Position};

use super::{BEHIND_ALL, Item, Section, Sources};

/// Definitions of macros, with those that they mention, as items of their own.
pub fn macros(closure: &Closure, sources: &mut Sources, ids: &BTreeSet<u32>) -> Result<Vec<Item>> {
    let mut all = ids.clone();
    for item in macro_items(closure, sources, ids, (&BTreeMap::new(), None))? {
        declared_macros(closure, sources, &item, &mut all)?;
    }
    macro_items(closure, sources, &all, (&BTreeMap::new(), None))
}

/// Macros of source files and private headers that a declaration spells, at any depth.
pub(super) fn declared_macros(
    closure: &Closure,
    sources: &mut Sources,
    item: &Item,
    macros: &mut BTreeSet<u32>,
) -> Result<()> {
    let mut texts = vec![item.text.clone()];
    while let Some(text) = texts.pop() {
        let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for (id, definition) in &closure.macros {
            let file = &closure.files[definition.position.file as usize];
            let is_own = matches!(file.class, Class::Source | Class::Private);
            let ended = definition.undefined.is_some_and(|position| position.order < item.order);
            let lives = definition.position.order < item.order && !ended;
            if is_own && lives && words.contains(definition.name.as_str()) && macros.insert(*id) {
                texts.push(sources.directive(closure, definition.position)?);
            }
        }
    }
    Ok(())
}

/// Names in a copied `#if` are macro references too, undefined ones included: the module must take the same branch.
pub(super) fn conditional_macros(closure: &Closure, items: &[Item], macros: &mut BTreeSet<u32>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for line in items.iter().flat_map(|item| item.text.lines()) {
        let line = line.trim_start();
        if let Some(directive) = line.strip_prefix('#').map(str::trim_start)
            && (directive.starts_with("if") || directive.starts_with("elif"))
        {
            names.extend(directive.split(|c: char| !(c.is_alphanumeric() || c == '_')).skip(1));
        }
    }
    for (id, definition) in &closure.macros {
        let file = &closure.files[definition.position.file as usize];
        if names.contains(definition.name.as_str()) && matches!(file.class, Class::Source | Class::Private) {
            macros.insert(*id);
        }
    }
}

/// Those macros that must stand among the text, as in the source: they end, there are several of the name, or text before them
/// has the name for something else (kernel/locking/qspinlock.c, which includes itself).
pub(super) fn in_place(closure: &Closure, items: &[Item], macros: &BTreeSet<u32>) -> BTreeSet<u32> {
    let is_copied = |file: u32| matches!(closure.files[file as usize].class, Class::Source | Class::Private);
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for definition in macros.iter().map(|id| &closure.macros[id]).filter(|definition| definition.copied) {
        *times.entry(&definition.name).or_default() += 1;
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let behind_types = items.iter().filter(|item| item.section > Section::Types);
    let words: Vec<(u32, BTreeSet<&str>)> =
        behind_types.map(|item| (item.order, item.text.split(|c| !is_part(c)).collect())).collect();
    let placed = macros.iter().filter(|id| {
        let definition = &closure.macros[*id];
        let (name, order) = (definition.name.as_str(), definition.position.order);
        let ends = definition.undefined.is_some_and(|position| is_copied(position.file));
        let before = || words.iter().any(|(at, words)| *at < order && words.contains(name));
        definition.copied && (ends || times[name] > 1 || before())
    });
    placed.copied().collect()
}

/// Definitions of macros that no header brings, or not as the patch has them. Those that must stand among the text that uses
/// them are in its sections (`users`). A header of the module's may define the name
/// too (`brought`), be it that none of the unit's did.
pub(super) fn macro_items(
    closure: &Closure,
    sources: &mut Sources,
    macros: &BTreeSet<u32>,
    (users, brought): (&BTreeMap<u32, BTreeSet<Section>>, Option<&Brought>),
) -> Result<Vec<Item>> {
    let inside = |order: u32| closure.groups.iter().any(|group| group.start.order <= order && order < group.end.order);
    let mut items = Vec::new();
    for id in macros {
        let definition = &closure.macros[id];
        let file = &closure.files[definition.position.file as usize];
        let copied = definition.copied;
        let changed = file.class == Class::Public && sources.is_changed(closure, definition)?;
        if !copied && !changed {
            continue;
        }
        let reason = if closure.asked.contains(id) { "a header asks for it" } else { "used by copied text" };
        let item = |section: Section, position: Position, text: String| Item {
            section,
            order: position.order,
            behind_headers: definition.copied && file.class == Class::Public,
            name: definition.name.clone(),
            kind: "macro",
            file: file.path.clone(),
            line: position.line,
            reason: reason.into(),
            preamble: String::new(),
            text,
            edits: Vec::new(),
        };
        let is_copied = |file: u32| matches!(closure.files[file as usize].class, Class::Source | Class::Private);
        let ends = definition.undefined.filter(|position| copied && is_copied(position.file));
        let sections = users.get(id).cloned().unwrap_or(BTreeSet::from([Section::Types]));
        for section in sections {
            if !inside(definition.position.order) {
                let text = sources.directive(closure, definition.position)?;
                let known = brought.and_then(|brought| brought.macros.get(&definition.name));
                let other = known.is_some_and(|known| !defines(&text, &definition.name, known));
                let before = changed || definition.redefines || other;
                let undefine = if before { format!("#undef {}\n", definition.name) } else { String::new() };
                items.push(item(section, definition.position, undefine + &text));
            }
            if let Some(undefined) = ends.filter(|position| !inside(position.order)) {
                items.push(item(section, undefined, format!("#undef {}\n", definition.name)));
            }
        }
    }
    Ok(items)
}

/// Is this `#define` of the name the same as GCC's line of it, but for white space and comments?
fn defines(directive: &str, name: &str, line: &str) -> bool {
    let from = directive.find("define").map_or(0, |at| at + "define".len());
    let definition = directive[from..].trim_start();
    lex::texts(definition.as_bytes()).eq(lex::texts(format!("{name}{line}").as_bytes()))
}

/// Copied text has the name of something that a header of the module makes a macro of, and another one of the unit's not.
pub(super) fn undefined(name: &str) -> Item {
    Item {
        section: Section::Types,
        order: BEHIND_ALL,
        behind_headers: true,
        name: name.into(),
        kind: "macro",
        file: String::new(),
        line: 0,
        reason: "no macro where copied text has the name".into(),
        preamble: String::new(),
        text: format!("#undef {name} /* a header's macro, and a name of the text below */\n"),
        edits: Vec::new(),
    }
}
