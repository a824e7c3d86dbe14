//! Public headers that use types of the private ones that the unit includes before them (include/trace/events/ext4.h those of
//! fs/ext4/ext4.h): those that their text has must be there, whatever of it is used.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use rustc_hash::FxHashMap;

use crate::unit::expand::Expanded;
use crate::unit::groups::{GroupId, Outline, StatementId};
use crate::unit::lex::Symbol;
use crate::unit::names::Role;
use crate::unit::place::Places;

use super::boundary::Boundary;
use super::walk::Walk;
use super::{Edge, EdgeKind};

/// What a header has in its text that only files which are copied from have declared before.
#[derive(Default)]
pub(super) struct Behind {
    /// Its statements that stand behind some of such a file.
    statements: Vec<StatementId>,
    tags: Vec<Tag>,
}

/// A struct or union that a header names in a parameter list first, where that declares another type than the callers' (C11
/// 6.2.1).
struct Tag {
    name: Symbol,
    is_union: bool,
    token: u32,
    /// Has text that is copied named it first of all?
    is_own: bool,
}

/// By public header that stands behind some of a file that is copied from.
pub(super) fn behind(unit: &Expanded, outline: &Outline, places: &Places) -> BTreeMap<u32, Behind> {
    let mut found: BTreeMap<u32, Behind> = BTreeMap::new();
    let files = outline.statements.iter().map(|statement| places.file(unit.start_of(statement.start)));
    let files: Vec<u32> = files.collect();
    let begins = files.iter().position(|file| !places.is_public(*file));
    let ends = files.iter().rposition(|file| places.is_public(*file));
    // Most units include everything before they say anything themselves; all of their tokens are a lot to look at.
    let Some((begins, ends)) = begins.zip(ends).filter(|(begins, ends)| begins < ends) else { return found };
    let words = [&b"struct"[..], b"union"].map(|word| unit.interner().find(word));
    let is_tag = |pair: &[Symbol]| words.contains(&Some(pair[0]));
    // By tag: has text that is copied named it first?
    let mut own: FxHashMap<Symbol, bool> = FxHashMap::default();
    let mut seen: BTreeSet<(u32, Symbol)> = BTreeSet::new();
    for (index, file) in files[..=ends].iter().copied().enumerate() {
        let statement = StatementId(index as u32);
        let (is_public, begun) = (places.is_public(file), index > begins);
        let tokens = outline.statements[index].tokens();
        let mentions = (tokens.start + 1..tokens.end).filter(|at| is_tag(&outline.symbols[at - 1..=*at]));
        for at in mentions {
            let name = outline.symbols[at];
            let is_own = *own.entry(name).or_insert(!is_public);
            let is_first = is_public && begun && seen.insert((file, name));
            if is_first && outline.is_parameter(unit, statement, at as u32) {
                let is_union = Some(outline.symbols[at - 1]) == words[1];
                found.entry(file).or_default().tags.push(Tag { name, is_union, token: at as u32, is_own });
            }
        }
        if is_public && begun {
            found.entry(file).or_default().statements.push(statement);
        }
    }
    found
}

impl Boundary<'_> {
    /// Does any header stand behind text that is copied?
    pub(super) fn has_late_headers(&self) -> bool {
        !self.behind.is_empty()
    }

    /// What a header must find before it, with the words that name it; nothing, where other public headers have it all.
    pub(super) fn types_for(&self, header: u32) -> BTreeMap<StatementId, Symbol> {
        let mut found = BTreeMap::new();
        for statement in self.behind.get(&header).into_iter().flat_map(|behind| &behind.statements) {
            for index in self.outline.statements[statement.0 as usize].tokens() {
                let symbol = self.outline.symbols[index];
                let is_type = |role: Role| matches!(role, Role::Typedef | Role::Enumerator);
                let declared = self.outline.declared.ordinary(symbol).iter();
                let declared = declared.filter(|d| is_type(d.role) && d.statement < *statement);
                found.extend(declared.map(|d| (d.statement, symbol)));
            }
        }
        if found.keys().all(|statement| self.is_public(*statement)) { BTreeMap::new() } else { found }
    }

    /// The files whose macros a group's text uses, in the order of the macros.
    pub(super) fn files_of_macros(&self, group: GroupId) -> impl Iterator<Item = u32> {
        let (start, end) = self.outline.groups[group.0 as usize].text;
        let expansions = &self.unit.expansions[self.unit.expansions_in(start, end)];
        let macros: BTreeSet<u32> = expansions.iter().map(|expansion| expansion.macro_id.0).collect();
        macros.into_iter().map(|id| self.unit.reader.macros[id as usize].file.0)
    }

    /// What the headers need that a module with these statements may include.
    pub(super) fn types_for_headers_of(&self, statements: impl Iterator<Item = StatementId>) -> BTreeSet<StatementId> {
        let mut files = BTreeSet::new();
        if self.has_late_headers() {
            for statement in statements {
                let start = self.outline.statements[statement.0 as usize].start;
                files.insert(self.places.file(self.unit.start_of(start)));
                files.extend(self.files_of_macros(self.outline.group_of[statement.0 as usize]));
            }
        }
        files.into_iter().flat_map(|file| self.types_for(file).into_keys()).collect()
    }
}

impl Walk<'_, '_> {
    /// Takes in what the headers need that a module with what was reached will include.
    pub(super) fn types_for_headers(&mut self) {
        if !self.boundary.has_late_headers() {
            return;
        }
        let mut included: Vec<(u32, NodeIndex)> = Vec::new();
        for node in self.graph.node_indices() {
            if self.graph[node].copied {
                let files = self.boundary.files_of_macros(self.graph[node].group);
                included.extend(files.map(|file| (file, node)));
            } else {
                included.push((self.graph[node].position.file, node));
            }
        }
        for (file, user) in included {
            if !self.looked_at.insert(file) {
                continue;
            }
            let types = self.boundary.types_for(file);
            let tags = self.boundary.behind.get(&file).map_or(&[][..], |behind| &behind.tags);
            if types.is_empty() && !tags.iter().any(|tag| tag.is_own) {
                continue;
            }
            self.late.insert(file);
            // Those of other headers too: the module may include none that names it.
            for tag in tags {
                self.mentions.add(tag.name, tag.is_union, true, tag.token);
            }
            // Those that other headers have come with them.
            for (statement, symbol) in types {
                if !self.by_statement.contains_key(&statement) {
                    let edge = Edge { kind: EdgeKind::Type, name: self.unit.interner().string(symbol) };
                    self.reach(statement, self.extent_of_type(statement), Some((user, edge)));
                }
            }
        }
    }
}
