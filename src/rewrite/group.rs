//! Copied groups, as items.

use std::collections::BTreeSet;
use std::ops::Range;

use petgraph::graph::NodeIndex;

use crate::closure::statics::WrittenOut;
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
    (nodes, section): (&[NodeIndex], Section),
) -> Result<Item> {
    let mut editing = Editing::of(closure, sources, naming, group, nodes)?;
    for index in nodes {
        editing.edit(sources, &closure.graph[*index])?;
    }
    let comment = sources.comment_above(closure, group.start)?;
    let first = &closure.graph[nodes[0]];
    let (name, kind) = editing.named();
    Ok(Item {
        section,
        order: group.start.order,
        behind_headers: false,
        name,
        kind,
        file: closure.files[first.position.file as usize].path.clone(),
        line: group.start.line,
        reason: reason(closure, nodes[0]),
        preamble: editing.redefinitions.take().unwrap_or_default(),
        text: comment + &editing.edited()?,
        edits: editing.edits,
    })
}

/// The text of a group while it is edited.
struct Editing<'a> {
    closure: &'a Closure,
    naming: &'a Naming,
    group: &'a CopiedGroup,
    nodes: &'a [NodeIndex],
    text: String,
    /// Offset in the file, as UTF-8.
    start: usize,
    /// Is the text what the compiler takes of it?
    cut: bool,
    /// Offset in the text, bytes, and the new text.
    replacements: Vec<(usize, usize, String)>,
    /// What is done, in words.
    edits: Vec<String>,
    redefinitions: Option<String>,
}

impl<'a> Editing<'a> {
    fn of(
        closure: &'a Closure,
        sources: &mut Sources,
        naming: &'a Naming,
        group: &'a CopiedGroup,
        nodes: &'a [NodeIndex],
    ) -> Result<Editing<'a>> {
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
        let (start, text, replacements) = (text.start, text.text, Vec::new());
        Ok(Editing { closure, naming, group, nodes, text, start, cut, replacements, edits, redefinitions: None })
    }

    /// Where a position is in the text.
    fn place(&self, sources: &mut Sources, position: Position) -> Result<usize> {
        let at = match self.cut {
            true => position.order.checked_sub(self.group.start.order).map(|at| at as usize),
            false if position.file != self.group.start.file => None,
            false => sources.offset(self.closure, position)?.checked_sub(self.start),
        };
        match at.filter(|at| *at <= self.text.len()) {
            Some(at) => Ok(at),
            None => {
                let path = &self.closure.files[position.file as usize].path;
                refuse(FRONT_END, format!("{path}:{}: a function spans two files", position.line))
            }
        }
    }

    fn is_target(&self, declared: &str, role: Role) -> bool {
        let is_function = role == Role::Function || (self.naming.everywhere && role == Role::Prototype);
        is_function && self.naming.targets.contains(declared)
    }

    /// What the group is called, and what it is: its target, else its function, else what comes first.
    fn named(&self) -> (String, &'static str) {
        let (mut name, mut kind) = (String::new(), "type");
        for index in self.nodes {
            let Some((declared, role)) = self.closure.graph[*index].names.first() else { continue };
            let target = self.is_target(declared, *role);
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
        }
        (name, kind)
    }

    fn edit(&mut self, sources: &mut Sources, node: &Node) -> Result<()> {
        let Some((declared, role)) = node.names.first() else { return Ok(()) };
        let (mut replacements, mut edits) = (Vec::new(), Vec::new());
        let place = |sources: &mut Sources, position| self.place(sources, position);
        let text = (self.text.as_str(), &place as _);
        statics::edit(self.closure, sources, node, self.naming, text, &mut replacements, &mut edits)?;
        self.replacements.extend(replacements);
        self.edits.extend(edits);
        if is_code(node) {
            self.edits.extend(pointers::edits(self.closure, node, self.naming));
        }
        if self.is_target(declared, *role) {
            let new_name = self.naming.new_name(declared);
            if let Some(at) = self.rename(sources, node, declared, &new_name)? {
                let range = self.place(sources, node.position)?..at;
                self.specifiers(node, &new_name, range);
            }
        }
        Ok(())
    }

    /// Gives a target its new name. Yields where the text has it, if it has words before it.
    fn rename(&mut self, sources: &mut Sources, node: &Node, declared: &str, new_name: &str) -> Result<Option<usize>> {
        match (node.name_position, wrappers::of(&node.origin)) {
            (Some(position), _) => {
                let at = self.place(sources, position)?;
                if new_name != declared {
                    self.replacements.push((at, declared.len(), new_name.to_string()));
                    self.edits.push(format!("{declared} is named {new_name}"));
                }
                Ok(Some(at))
            }
            (None, Some(_)) if self.naming.distinct.contains_key(declared) => refuse(
                NAME_TWICE,
                format!(
                    "two units have {declared} to replace, and its name is made by a macro: it can't be told apart"
                ),
            ),
            (None, Some(wrapper)) => {
                self.redefinitions = Some(wrapper.text(self.naming));
                self.edits.push(format!("{declared} is named {new_name} by a redefined {}", wrapper.macro_name));
                Ok(None)
            }
            (None, None) if new_name == declared => Ok(None),
            (None, None) => match node.made_by.as_ref().filter(|_| node.is_made) {
                Some(out) => self.write_out(sources, out, declared, new_name),
                None => {
                    let macros = node.origin.join(" in ");
                    refuse(
                        TARGET_NOT_SPELLED,
                        format!(
                            "{declared} is to be replaced, but its name is made by the macro {macros}; copy it by hand"
                        ),
                    )
                }
            },
        }
    }

    /// Puts what an invocation makes in its place.
    fn write_out(
        &mut self,
        sources: &mut Sources,
        out: &WrittenOut,
        declared: &str,
        new_name: &str,
    ) -> Result<Option<usize>> {
        let (at, end) = (self.place(sources, out.start)?, self.place(sources, out.end)?);
        let Some(made) = made(self.closure, self.nodes, out, self.naming, &self.text[end..]) else {
            return refuse(
                TARGET_NOT_SPELLED,
                format!(
                    "{declared} is to be replaced, and what {}() makes of it can't be told from what it makes beside; copy it by hand",
                    out.name
                ),
            );
        };
        // The targets that one invocation makes are written out together: the text is the same for each.
        self.replacements.push((at, end - at, made));
        let name = &out.name;
        self.edits.push(format!("{name} is written out, for it makes {declared}, which is named {new_name}"));
        Ok((out.tokens.0 > 0).then_some(at))
    }

    /// What becomes of the words before a target's name, which stand in `range` of the text.
    fn specifiers(&mut self, node: &Node, new_name: &str, range: Range<usize>) {
        for (_, word, what) in names::OF_ORIGINALS {
            self.leave_out(word, range.clone(), format!("{new_name} is not {what}"));
        }
        match (is_static(self.closure, node), self.naming.shared) {
            (false, false) => {
                self.replacements.push((range.start, 0, "static ".into()));
                self.edits.push(format!("{new_name} is static"));
            }
            (true, true) => {
                // Nothing is emitted of a function that is `inline` and not `static` (C11 6.7.4).
                for word in ["static", "inline", "__inline", "__inline__"] {
                    self.leave_out(word, range.clone(), format!("{new_name} is not {}", word.trim_matches('_')));
                }
            }
            _ => {}
        }
    }

    fn leave_out(&mut self, word: &str, range: Range<usize>, edit: String) {
        if let Some(found) = word_in(&self.text, range, word) {
            self.replacements.push((found.start, found.len(), String::new()));
            self.edits.push(edit);
        }
    }

    /// The text with all edits.
    fn edited(&mut self) -> Result<String> {
        self.replacements.sort();
        self.replacements.dedup();
        if self.replacements.windows(2).any(|pair| pair[1].0 < pair[0].0 + pair[0].1) {
            let (name, _) = self.named();
            return refuse(
                TARGET_NOT_SPELLED,
                format!("{name}: a macro takes for one text what has to be changed in two ways; copy it by hand"),
            );
        }
        let mut text = std::mem::take(&mut self.text);
        for (at, length, new) in self.replacements.drain(..).rev() {
            text.replace_range(at..at + length, &new);
        }
        if self.cut {
            text = conditions::without_markers(&text);
        }
        if let Some(bytes) = self.group.pack {
            text = format!("#pragma pack(push, {bytes})\n{text}#pragma pack(pop)\n");
            self.edits.push(format!("under the source's #pragma pack({bytes})"));
        }
        Ok(text)
    }
}

/// Does a statement define a function or object, or declare one first?
pub(super) fn is_code(node: &Node) -> bool {
    // `struct s { ... } table[] = { f };` names functions that are declared behind the types.
    let initialised = node.signature_tokens < node.tokens.len() && node.extent == Extent::Whole;
    let is_data = |(_, role): &(String, Role)| *role == Role::Variable;
    let first = node.names.first().map(|(_, role)| *role);
    matches!(first, Some(Role::Function | Role::Variable)) || (initialised && node.names.iter().any(is_data))
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
fn word_in(text: &str, range: Range<usize>, word: &str) -> Option<Range<usize>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_in_their_range() {
        let text = "static int statically, static  x";
        assert_eq!(word_in(text, 0..text.len(), "static"), Some(0..7));
        assert_eq!(word_in(text, 3..text.len(), "static"), Some(23..31));
        assert_eq!(word_in(text, 7..20, "static"), None);
        assert_eq!(word_in(text, 0..99, "static"), None);
    }
}
