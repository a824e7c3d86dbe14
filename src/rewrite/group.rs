//! Copied groups, as items.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use crate::closure::{Closure, CopiedGroup, Node, WILDCARD};
use crate::finding::{FRONT_END, NAME_TWICE, Result, TARGET_NOT_SPELLED, refuse};
use crate::unit::live::Extent;
use crate::unit::names::{self, Role};
use crate::unit::place::{Class, Position, classify};

use super::made::made;
use super::{Item, Naming, Section, Sources, conditions, pointers, reason, statics, wrappers};

/// A copied group: its text with the targets renamed.
pub(super) fn copied(
    closure: &Closure,
    sources: &mut Sources,
    naming: &Naming,
    group: &CopiedGroup,
    nodes: &[NodeIndex],
) -> Result<Item> {
    let mut text = match pragma(closure, &nodes[0]) {
        true => sources.pragma(closure, group.start)?,
        false => sources.text(closure, group.start, group.end)?,
    };
    let mut edits = Vec::new();
    // A condition that begins or ends elsewhere can't be cut out with its `#if`.
    let whole = conditions::are_whole(&text.text);
    if !whole {
        edits.push("only the branch taken of conditions that reach beyond it".into());
    }
    let inner = included_inside(closure, group);
    edits.extend(inner.iter().map(|path| format!("the text of {path} in the place of its #include")));
    let cut = !whole || !inner.is_empty();
    if cut {
        text.text = format!("{}\n", group.taken);
    }
    let start = text.start;
    let length = text.text.len();
    let place = |sources: &mut Sources, position: Position| -> Result<usize> {
        let at = match cut {
            true => position.order.checked_sub(group.start.order).map(|at| at as usize),
            false if position.file != group.start.file => None,
            false => sources.offset(closure, position)?.checked_sub(start),
        };
        match at.filter(|at| *at <= length) {
            Some(at) => Ok(at),
            None => {
                let path = &closure.files[position.file as usize].path;
                refuse(FRONT_END, format!("{path}:{}: a function spans two files", position.line))
            }
        }
    };
    let mut kind = "type";
    let mut section = Section::Types;
    let mut name = String::new();
    let mut redefinitions = None;
    let mut replacements: Vec<(usize, usize, String)> = Vec::new();
    let first = &closure.graph[nodes[0]];
    for index in nodes {
        let node = &closure.graph[*index];
        let Some((declared, role)) = node.names.first() else { continue };
        // `struct s { ... } table[] = { f };` names functions that are declared behind the types.
        let initialised = node.signature_tokens < node.tokens.len() && node.extent == Extent::Whole;
        let is_data = |(_, role): &(String, Role)| *role == Role::Variable;
        if matches!(role, Role::Function | Role::Variable) || (initialised && node.names.iter().any(is_data)) {
            section = Section::Code;
        }
        statics::edit(closure, sources, node, naming, (&text.text, &place), &mut replacements, &mut edits)?;
        edits.extend(pointers::edits(closure, node, naming));
        let is_function = *role == Role::Function || (naming.everywhere && *role == Role::Prototype);
        let target = is_function && naming.targets.contains(declared);
        let found = match role {
            Role::Function if target => "target",
            Role::Function => "function",
            Role::Variable => "data",
            Role::Prototype => "declaration",
            _ => "type",
        };
        if name.is_empty() || (target && kind != "target") || (kind != "target" && found == "function") {
            name = declared.clone();
            kind = found;
        }
        if !target {
            continue;
        }
        let new_name = naming.new_name(declared);
        // Where the text has words before the name.
        let mut named_at = None;
        match (node.name_position, wrappers::of(&node.origin)) {
            (Some(position), _) => {
                let at = place(sources, position)?;
                if new_name != *declared {
                    replacements.push((at, declared.len(), new_name.clone()));
                    edits.push(format!("{declared} is named {new_name}"));
                }
                named_at = Some(at);
            }
            (None, Some(_)) if naming.distinct.contains_key(declared) => {
                return refuse(
                    NAME_TWICE,
                    format!(
                        "two units have {declared} to replace, and its name is made by a macro: it can't be told apart"
                    ),
                );
            }
            (None, Some(wrapper)) => {
                redefinitions = Some(wrapper.text(naming));
                edits.push(format!("{declared} is named {new_name} by a redefined {}", wrapper.macro_name));
            }
            (None, None) if new_name == *declared => {}
            (None, None) if node.is_made && node.made_by.is_some() => {
                let Some(out) = &node.made_by else { continue };
                let (at, end) = (place(sources, out.start)?, place(sources, out.end)?);
                if replacements.iter().any(|(other, length, _)| *other < end && at < other + length) {
                    // The targets that one invocation makes are written out together.
                    continue;
                }
                let Some(made) = made(closure, nodes, out, naming, &text.text[end..]) else {
                    return refuse(
                        TARGET_NOT_SPELLED,
                        format!(
                            "{declared} is to be replaced, and what {}() makes of it can't be told from what it makes beside; copy it by hand",
                            out.name
                        ),
                    );
                };
                replacements.push((at, end - at, made));
                edits.push(format!("{} is written out, for it makes {declared}, which is named {new_name}", out.name));
                named_at = (out.tokens.0 > 0).then_some(at);
            }
            (None, None) => {
                let macros = node.origin.join(" in ");
                return refuse(
                    TARGET_NOT_SPELLED,
                    format!(
                        "{declared} is to be replaced, but its name is made by the macro {macros}; copy it by hand"
                    ),
                );
            }
        }
        if let Some(at) = named_at {
            let range = place(sources, node.position)?..at;
            specifiers(closure, (node, &new_name), naming.shared, &text.text, range, &mut replacements, &mut edits);
        }
    }
    replacements.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    replacements.dedup();
    for (at, length, new) in replacements {
        text.text.replace_range(at..at + length, &new);
    }
    if cut {
        text.text = conditions::without_markers(&text.text);
    }
    let comment = sources.comment_above(closure, group.start)?;
    if let Some(bytes) = group.pack {
        text.text = format!("#pragma pack(push, {bytes})\n{}#pragma pack(pop)\n", text.text);
        edits.push(format!("under the source's #pragma pack({bytes})"));
    }
    Ok(Item {
        preamble: redefinitions.unwrap_or_default(),
        section,
        order: group.start.order,
        behind_headers: false,
        name,
        kind,
        file: closure.files[first.position.file as usize].path.clone(),
        line: group.start.line,
        reason: reason(closure, nodes[0]),
        text: comment + &text.text,
        edits,
    })
}

/// What becomes of the words before a target's name, which stand in `range` of the text.
fn specifiers(
    closure: &Closure,
    (node, new_name): (&Node, &str),
    shared: bool,
    text: &str,
    range: std::ops::Range<usize>,
    replacements: &mut Vec<(usize, usize, String)>,
    edits: &mut Vec<String>,
) {
    for (_, word, what) in names::OF_ORIGINALS {
        if let Some(found) = word_in(text, range.clone(), word) {
            replacements.push((found.start, found.len(), String::new()));
            edits.push(format!("{new_name} is not {what}"));
        }
    }
    match (is_static(closure, node), shared) {
        (false, false) => {
            replacements.push((range.start, 0, "static ".into()));
            edits.push(format!("{new_name} is static"));
        }
        (true, true) => {
            // Nothing is emitted of a function that is `inline` and not `static` (C11 6.7.4).
            for word in ["static", "inline", "__inline", "__inline__"] {
                if let Some(found) = word_in(text, range.clone(), word) {
                    replacements.push((found.start, found.len(), String::new()));
                    edits.push(format!("{new_name} is not {}", word.trim_matches('_')));
                }
            }
        }
        _ => {}
    }
}

/// Files that a group's text includes in its midst and that no module can include.
fn included_inside<'a>(closure: &'a Closure, group: &CopiedGroup) -> BTreeSet<&'a str> {
    let times = closure.entered.iter().chain(&closure.entered_again);
    let inside = times.filter(|entered| group.start.order < entered.order && entered.order < group.end.order);
    let files = inside.map(|entered| closure.files[entered.file as usize].path.as_str());
    // By its path: what is in it may be the unit's own all the same (`asm/syscalls_32.h`).
    files.filter(|path| matches!(classify(path, &[]).class, Class::Source | Class::Private)).collect()
}

/// Is the statement a `#pragma` line?
fn pragma(closure: &Closure, node: &NodeIndex) -> bool {
    let first = closure.graph[*node].tokens.first();
    first.is_some_and(|token| closure.texts[(token & !WILDCARD) as usize].starts_with("#pragma"))
}

/// Where a word stands in a range of the text, with the space behind it.
fn word_in(text: &str, range: std::ops::Range<usize>, word: &str) -> Option<std::ops::Range<usize>> {
    let part = text.get(range.clone())?;
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let alone =
        |at: &usize| !is_part(part[..*at].chars().next_back()) && !is_part(part[at + word.len()..].chars().next());
    let start = part.match_indices(word).map(|(at, _)| at).find(alone)?;
    let behind = &part[start + word.len()..];
    let space = behind.len() - behind.trim_start().len();
    Some(range.start + start..range.start + start + word.len() + space)
}

pub(super) fn is_static(closure: &Closure, node: &Node) -> bool {
    node.tokens[..node.signature_tokens].iter().any(|token| {
        let text = closure.texts.get(*token as usize);
        text.is_some_and(|text| text == "static")
    })
}
