//! What expansion yields: the unit's tokens, with where they are from.

use crate::unit::lex::{Interner, Kind, Symbol};
use crate::unit::text::{MacroId, Reader};

/// No id: the token is not from a macro.
pub const NONE: u32 = u32::MAX;

/// A token of the expanded unit.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub symbol: Symbol,
    pub kind: Kind,
    /// White space before it (only stringifying needs it).
    pub space: bool,
    /// Its macro was being expanded when it was met: never expanded any more (C11 6.10.3.4).
    pub painted: bool,
    /// Its text depends on `__LINE__`, `__FILE__`, `__COUNTER__` and the like: compares as a wildcard.
    pub builtin: bool,
    /// Outermost invocation in whose output it stands, or [`NONE`].
    pub invocation: u32,
    /// Expansion whose macro body spells it; [`NONE`] where the source text spells it, be it in a macro's argument.
    pub expansion: u32,
    /// Offset in the unit's text, or [`NONE`] for tokens of macro bodies.
    pub source: u32,
}

impl Token {
    pub(super) fn end() -> Token {
        Token {
            symbol: Symbol(0),
            kind: Kind::End,
            space: false,
            painted: false,
            builtin: false,
            invocation: NONE,
            expansion: NONE,
            source: NONE,
        }
    }
}

/// A macro invocation that the source text spells outside of any other one.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    /// Range in the unit's text, up to the closing parenthesis.
    pub start: u32,
    pub end: u32,
    /// Its expansions, nested ones included, are those from here to the next invocation's first.
    pub first_expansion: u32,
}

/// One replacement of one macro name.
#[derive(Debug, Clone, Copy)]
pub struct Expansion {
    pub macro_id: MacroId,
    /// The expansion whose body spells the name; [`NONE`] where the source does.
    pub parent: u32,
}

/// The expanded unit.
#[derive(Debug)]
pub struct Expanded {
    pub tokens: Vec<Token>,
    pub invocations: Vec<Invocation>,
    pub expansions: Vec<Expansion>,
    pub reader: Reader,
}

impl Expanded {
    pub fn interner(&self) -> &Interner {
        &self.reader.interner
    }

    pub fn text(&self, token: usize) -> &[u8] {
        self.reader.interner.text(self.tokens[token].symbol)
    }

    /// Offset in the unit's text of what spells a token: itself, or the outermost invocation.
    pub fn start_of(&self, token: u32) -> u32 {
        let token = &self.tokens[token as usize];
        match self.invocations.get(token.invocation as usize) {
            Some(invocation) => invocation.start,
            None => token.source,
        }
    }

    /// The expansions of the invocations that begin in this range of the unit's text.
    pub fn expansions_in(&self, start: u32, end: u32) -> std::ops::Range<usize> {
        let at = |offset: u32| {
            let index = self.invocations.partition_point(|invocation| invocation.start < offset);
            self.invocations.get(index).map_or(self.expansions.len(), |i| i.first_expansion as usize)
        };
        at(start)..at(end)
    }

    /// May the same text have another token here in another unit? `__LINE__` and the like, and what the build calls it.
    pub fn varies(&self, token: &Token) -> bool {
        let name = |id: MacroId| self.interner().text(self.reader.macros[id.0 as usize].name);
        token.builtin || self.chain(token).any(|id| NAMES.contains(&name(id)))
    }

    /// The macros by whose bodies the token came, innermost first.
    pub fn chain(&self, token: &Token) -> impl Iterator<Item = MacroId> + '_ {
        let mut next = token.expansion;
        std::iter::from_fn(move || {
            let expansion = self.expansions.get(next as usize)?;
            next = expansion.parent;
            Some(expansion.macro_id)
        })
    }
}

/// What the build calls a unit and its module (scripts/Makefile.lib, name-fix and modname_flags).
const NAMES: [&[u8]; 4] = [b"KBUILD_MODNAME", b"__KBUILD_MODNAME", b"KBUILD_BASENAME", b"KBUILD_MODFILE"];
