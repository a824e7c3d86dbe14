//! What a program's text says of a name beside the declaration that is used: redeclarations with more in them, aliases,
//! assembly at file scope. Of the kernel, symbols are referred to, and all this is the running code's business.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use crate::unit::expand::Expanded;
use crate::unit::groups::{Outline, Shape, StatementId, is_identifier};
use crate::unit::lex::{Kind, Symbol};
use crate::unit::live::Extent;
use crate::unit::names;
use crate::unit::{live, pragmas};

use super::walk::Walk;
use super::{Edge, EdgeKind};

/// What gives a function or object another symbol (`int f(void) asm("g")`; GCC manual, "Asm Labels"): wherever it stands, it
/// holds for the unit.
#[derive(Default)]
pub(super) struct Labels {
    /// By name: the statements at file scope.
    pub declarations: BTreeMap<Symbol, Vec<StatementId>>,
    /// The words of declarations within functions (`extern int f(void) asm("g");`), with the label's token.
    pub inside: BTreeMap<Symbol, u32>,
}

impl Labels {
    pub fn new(unit: &Expanded, outline: &Outline) -> Labels {
        let words = [&b"asm"[..], b"__asm__", b"__asm"].map(|word| unit.interner().find(word));
        let external = unit.interner().find(b"extern");
        let mut found = Labels::default();
        for at in (1..unit.tokens.len()).filter(|at| words.contains(&Some(unit.tokens[*at].symbol))) {
            let index = outline.statements.partition_point(|statement| statement.end as usize <= at);
            let id = StatementId(index as u32);
            let Some(statement) = outline.statements.get(index) else { break };
            if at < outline.signature_end(unit, id) as usize {
                let names = outline.names[index].iter().filter(|_| (statement.start as usize) < at);
                for name in names.filter(|name| name.role.is_object()) {
                    found.declarations.entry(name.symbol).or_default().push(id);
                }
                continue;
            }
            if !matches!(unit.text(at - 1), b")" | b"]") && !is_identifier(unit.text(at - 1)) {
                continue;
            }
            let declaration = (statement.start as usize..at).rev();
            let declaration = declaration.take_while(|at| !matches!(unit.text(*at), b";" | b"{" | b"}"));
            let declaration: Vec<Symbol> = declaration.map(|at| unit.tokens[at].symbol).collect();
            if external.is_some_and(|external| declaration.contains(&external)) {
                found.inside.extend(declaration.into_iter().map(|symbol| (symbol, at as u32)));
            }
        }
        found
    }
}

/// The unit's statements by what they say.
#[derive(Default)]
pub(super) struct Written {
    /// By function or object: the statements that declare it, in order.
    declarations: BTreeMap<Symbol, Vec<StatementId>>,
    /// Assembly at file scope, with the words of its text.
    assembly: Vec<(StatementId, Vec<Symbol>)>,
    /// Pragmas that are about names (`weak`, `redefine_extname`), with these.
    pragmas: Vec<(StatementId, Vec<Symbol>)>,
}

impl Written {
    pub fn new(unit: &Expanded, outline: &Outline) -> Written {
        let mut found = Written::default();
        for (index, statement) in outline.statements.iter().enumerate() {
            let id = StatementId(index as u32);
            for name in &outline.names[index] {
                if name.role.is_object() {
                    found.declarations.entry(name.symbol).or_default().push(id);
                }
            }
            let words = |text: &[u8]| -> Vec<Symbol> {
                let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')));
                words.filter(|word| is_identifier(word)).filter_map(|word| unit.interner().find(word)).collect()
            };
            let first = unit.text(statement.start as usize);
            if statement.shape == Shape::Pragma && pragmas::names_symbols(&String::from_utf8_lossy(first)) {
                found.pragmas.push((id, words(first)));
            }
            if statement.shape == Shape::Declaration && names::is_asm_word(first) {
                let strings = statement.tokens().filter(|token| unit.tokens[*token].kind == Kind::String);
                found.assembly.push((id, strings.flat_map(|token| words(unit.text(token))).collect()));
            }
        }
        found
    }
}

impl Walk<'_, '_> {
    /// The declarations of a function or object that a mention needs beside the first one and the definition.
    ///
    /// Where what is used is only declared before, each declaration may add to the type that its callers see
    /// (C11 6.2.7, composite types). Wherever it stands, one with an attribute or an assembler name holds for all, and
    /// `extern` makes an `inline` function one that is emitted (C11 6.7.4).
    pub(super) fn redeclarations(
        &self,
        from: NodeIndex,
        name: &str,
        definition: Option<StatementId>,
    ) -> Vec<StatementId> {
        let symbol = self.unit.interner().find(name.as_bytes());
        let Some(all) = symbol.and_then(|symbol| self.written.declarations.get(&symbol)) else { return Vec::new() };
        if self.scope.provided.contains(name) {
            return Vec::new();
        }
        let user = self.graph[from].statement;
        let late = definition.is_none_or(|definition| user < definition);
        let signature = |id: StatementId| {
            let start = self.outline.statements[id.0 as usize].start;
            (start..self.outline.signature_end(self.unit, id)).map(|token| self.unit.text(token as usize))
        };
        let inline = definition.is_some_and(|id| signature(id).any(|word| live::INLINE.contains(&word)));
        let says_more = |id: &StatementId| {
            let attributes = signature(*id).any(names::is_attribute_word);
            (late && *id < user) || attributes || inline
        };
        all.iter().copied().filter(|id| Some(*id) != definition).filter(says_more).collect()
    }

    /// Follows the names in the strings of `alias("name")` and the like.
    pub(super) fn aliased(&mut self, node: NodeIndex) {
        if !self.scope.as_written {
            return;
        }
        let statement = self.graph[node].statement;
        let tokens = self.outline.statements[statement.0 as usize].tokens();
        let text = |token: usize| self.unit.text(token);
        let mut named: BTreeSet<Symbol> = BTreeSet::new();
        for token in tokens.clone().skip(2) {
            if live::ALIASING.contains(&text(token - 2)) {
                let symbol =
                    live::aliased(text(token - 1), text(token)).and_then(|name| self.unit.interner().find(name));
                named.extend(symbol);
            }
        }
        for symbol in named {
            let name = self.unit.interner().string(symbol);
            for statement in self.written.declarations.get(&symbol).cloned().unwrap_or_default() {
                let edge = Edge { kind: EdgeKind::Body, name: name.clone() };
                self.reach(statement, Extent::Whole, Some((node, edge)));
            }
        }
    }

    /// Takes in assembly and pragmas at file scope that mention something that is copied.
    pub(super) fn assembly(&mut self) {
        let all: Vec<(StatementId, Vec<Symbol>)> =
            self.written.assembly.iter().chain(&self.written.pragmas).cloned().collect();
        if all.is_empty() {
            return;
        }
        let mut users: BTreeMap<String, NodeIndex> = BTreeMap::new();
        for node in self.graph.node_indices() {
            let names = self.graph[node].names.iter().filter(|(_, role)| !role.is_tag());
            users.extend(names.map(|(name, _)| (name.clone(), node)));
        }
        for (statement, words) in all {
            let mut words = words.iter().map(|word| self.unit.interner().string(*word));
            let user = words.find_map(|word| users.get(&word).map(|node| (*node, word)));
            if let Some((node, name)) = user.filter(|_| !self.by_statement.contains_key(&statement)) {
                self.reach(statement, Extent::Whole, Some((node, Edge { kind: EdgeKind::Declaration, name })));
            }
        }
    }
}
