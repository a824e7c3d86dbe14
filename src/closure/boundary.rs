//! Where the closure ends: what the running kernel's own function or object is referred to for, and what the module takes
//! with its definition. Known before libclang has read anything, so that it need not read what lies beyond.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::declared::Declaration;
use crate::unit::expand::Expanded;
use crate::unit::groups::{Outline, Shape, StatementId};
use crate::unit::lex::Symbol;
use crate::unit::live::{self, Extent, Selection};
use crate::unit::names::{self, Role};
use crate::unit::place::Places;

use super::Scope;
use super::late::{self, Behind};

/// The boundary of one unit's closure.
pub struct Boundary<'a> {
    pub(super) unit: &'a Expanded,
    pub(super) outline: &'a Outline,
    pub(super) places: &'a Places<'a>,
    scope: &'a Scope,
    /// Names of static data that no object file has.
    dissolved: BTreeSet<Symbol>,
    /// See [`late::behind`]; of the kernel alone.
    pub(super) behind: BTreeMap<u32, Behind>,
}

impl<'a> Boundary<'a> {
    pub fn new(unit: &'a Expanded, outline: &'a Outline, places: &'a Places<'a>, scope: &'a Scope) -> Boundary<'a> {
        let behind = if scope.as_written { BTreeMap::new() } else { late::behind(unit, outline, places) };
        Boundary { unit, outline, places, scope, dissolved: dissolved(unit, outline, scope), behind }
    }

    /// Is the running kernel's own function or object referred to? `definition` is the unit's, where it has one.
    pub fn refers(&self, name: &str, definition: Option<StatementId>) -> bool {
        let must_be_copied = |d: StatementId| self.is_header_inline(d) || self.uses_dissolved(d);
        self.scope.targets.iter().any(|target| target == name)
            || self.scope.elsewhere.contains(name)
            || (self.scope.provided.contains(name) && !definition.is_some_and(must_be_copied))
    }

    /// What libclang has to read so that the closure can be computed: all that it can reach, going by names.
    pub fn selection(&self) -> Selection {
        let roots = self.scope.targets.iter().chain(&self.scope.shared);
        let mut roots: BTreeSet<StatementId> =
            roots.filter_map(|name| self.outline.definition_named(self.unit, name)).collect();
        let extent = |symbol: Symbol, declaration: Declaration| {
            let name = || String::from_utf8_lossy(self.unit.interner().text(symbol));
            let signature = declaration.role == Role::Function && self.refers(&name(), Some(declaration.statement));
            if signature { Extent::Signature } else { Extent::Whole }
        };
        let together = |statement: StatementId| {
            let group = &self.outline.groups[self.outline.group_of[statement.0 as usize].0 as usize];
            group.first.0..group.end.0
        };
        let mut found = loop {
            let found = live::reachable(self.outline.unit(self.unit), roots.iter().copied(), extent, together);
            let reached = |statement: &StatementId| found[statement.0 as usize].is_some();
            let all = (0..found.len() as u32).map(StatementId).filter(reached);
            let whole = |statement: &StatementId| found[statement.0 as usize] == Some(Extent::Whole);
            let known = roots.len();
            roots.extend(self.types_for_headers_of(all).into_iter().filter(|statement| !whole(statement)));
            if roots.len() == known {
                break found;
            }
        };
        for (statement, extent) in self.outline.statements.iter().zip(&mut found) {
            let assembly = || names::is_asm_word(self.unit.text(statement.start as usize));
            if statement.shape == Shape::Pragma || assembly() {
                *extent = Some(Extent::Whole);
            }
        }
        Selection::Some(found)
    }

    /// See [`Scope::hidden`].
    pub fn is_hidden(&self, statement: StatementId) -> bool {
        let mut names = self.outline.names[statement.0 as usize].iter();
        names.any(|name| self.scope.hidden.contains(&self.unit.interner().string(name.symbol)))
    }

    /// Will an `#include` bring the statement?
    pub fn is_public(&self, statement: StatementId) -> bool {
        let start = self.outline.statements[statement.0 as usize].start;
        self.places.is_public(self.places.file(self.unit.start_of(start))) && !self.is_hidden(statement)
    }

    /// Does the body of a function mention data that no object file has?
    fn uses_dissolved(&self, statement: StatementId) -> bool {
        let statement = &self.outline.statements[statement.0 as usize];
        let symbols = &self.outline.symbols[statement.tokens()];
        matches!(statement.shape, Shape::Function(_)) && symbols.iter().any(|symbol| self.dissolved.contains(symbol))
    }

    /// A function of a header that every unit has for itself: the running kernel's out-of-line copy is another unit's.
    fn is_header_inline(&self, statement: StatementId) -> bool {
        let Shape::Function(_) = self.outline.statements[statement.0 as usize].shape else { return false };
        let start = self.outline.statements[statement.0 as usize].start;
        let end = self.outline.signature_end(self.unit, statement);
        let word = |index: u32| self.unit.text(index as usize);
        !self.places.is_main(self.places.file(self.unit.start_of(start)))
            && (start..end).any(|index| word(index) == b"static" || live::INLINE.contains(&word(index)))
    }
}

/// Static variables that are in no object file. Functions that mention one are copied with it, never referred to: the
/// running code's may have forwarded its value, or dropped the store.
fn dissolved(unit: &Expanded, outline: &Outline, scope: &Scope) -> BTreeSet<Symbol> {
    let Some(is_static) = unit.interner().find(b"static").filter(|_| !scope.as_written) else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for (statement, names) in outline.statements.iter().zip(&outline.names) {
        let mut variables = names.iter().filter(|name| name.role == Role::Variable).peekable();
        if variables.peek().is_none() || !outline.symbols[statement.tokens()].contains(&is_static) {
            continue;
        }
        for name in variables {
            let text = unit.interner().string(name.symbol);
            if !(scope.objects.contains(&text) || scope.provided.contains(&text) || scope.added.contains(&text)) {
                found.insert(name.symbol);
            }
        }
    }
    found
}
