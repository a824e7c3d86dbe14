//! Structs and unions that copied text only points to: which need a declaration of the module's own?

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::unit::expand::{Expanded, NONE};
use crate::unit::groups::Outline;
use crate::unit::lex::Symbol;
use crate::unit::place::Places;

/// A struct or union that is mentioned but need not be complete.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mention {
    pub name: String,
    pub union: bool,
    /// The files that an `#include` may bring and that name it before the copied text does. Does the module include none of
    /// them, it must declare it.
    pub headers: BTreeSet<u32>,
    /// Is it a parameter's type before its own definition? Then it must be declared before.
    pub early: bool,
}

/// Mentions as they are found.
#[derive(Default)]
pub(super) struct Mentions(FxHashMap<Symbol, Mentioned>);

struct Mentioned {
    union: bool,
    early: bool,
    /// The first token that mentions it.
    first: u32,
}

impl Mentions {
    pub fn add(&mut self, name: Symbol, union: bool, early: bool, token: u32) {
        let known = self.0.entry(name).or_insert(Mentioned { union, early, first: token });
        known.early |= early;
        known.first = known.first.min(token);
    }

    pub fn finish(self, unit: &Expanded, outline: &Outline, places: &Places) -> BTreeSet<Mention> {
        let words = [&b"struct"[..], b"union"].map(|word| unit.interner().find(word));
        let mut headers: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (index, pair) in (1u32..).zip(outline.symbols.windows(2)) {
            if words.contains(&Some(pair[0])) && self.0.get(&pair[1]).is_some_and(|known| index < known.first) {
                let source = unit.tokens[index as usize].source;
                if source != NONE && places.is_public(places.file(source)) {
                    headers.entry(pair[1].0).or_default().insert(places.file(source));
                }
            }
        }
        let mention = |(name, known): (Symbol, Mentioned)| Mention {
            name: unit.interner().string(name),
            union: known.union,
            headers: headers.remove(&name.0).unwrap_or_default(),
            early: known.early,
        };
        self.0.into_iter().map(mention).collect()
    }
}
