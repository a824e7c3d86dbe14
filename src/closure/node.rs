//! What is known of a statement when the closure takes it in.

use std::collections::BTreeMap;

use crate::unit::expand::{Expanded, NONE, Token};
use crate::unit::groups::StatementId;
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::text::MacroId;

use super::statics::WrittenOut;
use super::walk::Walk;
use super::{Node, Scope, WILDCARD};

/// The texts of tokens, each once.
#[derive(Default)]
pub(super) struct Texts {
    by_symbol: BTreeMap<u32, u32>,
    pub texts: Vec<String>,
}

impl Texts {
    fn index(&mut self, unit: &Expanded, token: &Token, varies: bool) -> u32 {
        let next = self.texts.len() as u32;
        let index = *self.by_symbol.entry(token.symbol.0).or_insert(next);
        if index == next {
            self.texts.push(unit.interner().string(token.symbol));
        }
        if varies { index | WILDCARD } else { index }
    }
}

impl Walk<'_, '_> {
    pub(super) fn node(&mut self, id: StatementId, extent: Extent) -> Node {
        let statement = &self.outline.statements[id.0 as usize];
        let tokens = &self.unit.tokens[statement.tokens()];
        let group = self.outline.group_of[id.0 as usize];
        let names = &self.outline.names[id.0 as usize];
        let position = self.places.position(self.unit.start_of(statement.start));
        let changed = names.iter().find(|name| {
            let text = self.unit.interner().string(name.symbol);
            self.scope.added.contains(&text) || (name.role == Role::Function && self.scope.changed.contains(&text))
        });
        let public = self.places.is_public(position.file);
        if let Some(name) = changed.filter(|name| public && name.role == Role::Function) {
            let text = self.unit.interner().string(name.symbol);
            if self.scope.changed.contains(&text) {
                self.renamed.insert(text);
            }
        }
        let signature_end = self.outline.signature_end(self.unit, id);
        let array = names.iter().find(|name| name.role == Role::Variable).or(names.first());
        let spelled =
            |index: u32| self.is_spelled(index).then(|| self.places.position(self.unit.tokens[index as usize].source));
        let copied =
            !public || self.boundary.is_hidden(id) || (changed.is_some() && !self.places.is_compiler(position.file));
        // What is copied keeps the names that the build has given to the unit.
        let varies = |token: &Token| if copied { token.builtin } else { self.unit.varies(token) };
        Node {
            statement: id,
            group,
            extent,
            copied,
            first: None,
            names: names.iter().map(|name| (self.unit.interner().string(name.symbol), name.role)).collect(),
            position,
            name_position: names.first().and_then(|name| spelled(name.token)),
            signature_end: spelled(statement.start).and(spelled(signature_end.min(statement.end - 1))),
            tokens: tokens.iter().map(|token| self.texts.index(self.unit, token, varies(token))).collect(),
            signature_tokens: (signature_end - statement.start) as usize,
            origin: self.origin(statement.start),
            is_mixed: self.is_mixed(id),
            made_by: self.made_by(id),
            is_made: self.is_made(id),
            static_locals: Vec::new(),
            objects: Vec::new(),
            switches: Vec::new(),
            array_length: array.and_then(|name| self.parsed.array_length(name.symbol)).map(|n| n.to_string()),
            pack: self.pragmas.packs[id.0 as usize],
        }
    }

    /// Does the source spell a token outside of macros?
    fn is_spelled(&self, token: u32) -> bool {
        let token = self.unit.tokens.get(token as usize);
        token.is_some_and(|token| token.invocation == NONE && token.source != NONE)
    }

    pub(super) fn origin(&self, token: u32) -> Vec<String> {
        let token = &self.unit.tokens[token as usize];
        let name = |id: MacroId| self.unit.interner().string(self.unit.reader.macros[id.0 as usize].name);
        self.unit.chain(token).map(name).collect()
    }

    /// See [`Node::made_by`].
    fn made_by(&self, id: StatementId) -> Option<WrittenOut> {
        let statement = &self.outline.statements[id.0 as usize];
        let name = self.outline.names[id.0 as usize].first()?;
        let token = match name.role {
            Role::Function => name.token,
            _ => statement.start,
        };
        let number = self.unit.tokens[token as usize].invocation;
        let invocation = self.unit.invocations.get(number as usize)?;
        let is_own = |index: &usize| self.unit.tokens[*index].invocation == number;
        let first = statement.tokens().find(is_own)?;
        let end = (first..statement.end as usize).take_while(is_own).last()? + 1;
        let whole = statement.tokens().filter(is_own).count() == end - first;
        let start = statement.start as usize;
        whole.then(|| WrittenOut {
            name: self.origin(token).last().cloned().unwrap_or_default(),
            tokens: (first - start, end - start),
            start: self.places.position(invocation.start),
            end: self.places.position(invocation.end),
        })
    }

    /// See [`Node::is_made`].
    fn is_made(&self, id: StatementId) -> bool {
        let names = self.outline.names[id.0 as usize].first().filter(|name| name.role == Role::Function);
        let Scope { targets, shared, renames_shared, .. } = self.scope;
        let is_renamed = |name: &String| targets.contains(name) || (*renames_shared && shared.contains(name));
        names.is_some_and(|name| {
            self.unit.tokens[name.token as usize].invocation != NONE
                && is_renamed(&self.unit.interner().string(name.symbol))
                && !self.origin(name.token).iter().any(|name| self.scope.redefined_macros.contains(name))
        })
    }

    /// See [`Node::is_mixed`].
    pub(super) fn is_mixed(&self, id: StatementId) -> bool {
        let names = &self.outline.names[id.0 as usize];
        let statement = &self.outline.statements[id.0 as usize];
        let end = self.outline.signature_end(self.unit, id).min(statement.end - 1);
        let tagged = names.first().is_some_and(|name| name.role.is_tag());
        let anonymous = || {
            let words: Vec<&[u8]> = (statement.start..end).map(|token| self.unit.text(token as usize)).collect();
            words.windows(2).any(|words| matches!(words, [b"struct" | b"union" | b"enum", b"{"]))
        };
        names.iter().any(|name| name.role == Role::Variable)
            && self.is_spelled(statement.start)
            && self.is_spelled(end)
            && (tagged || anonymous())
    }
}
