//! Where a TU's sections lie in the running kernel, and with that, which of several symbols of one name is the TU's own.
//!
//! The linker places an input section as one piece, so `address(symbol) - offset(symbol)` is one constant a section. Names
//! that occur once on both sides yield the constant; it then picks the right one among symbols that share a name.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{AMBIGUOUS_SYMBOL, Result, SYMBOL_MISSING, WEAK_OVERRIDDEN, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::SymbolTable;

use super::facts::{Binding, Facts, Place, Role};
use super::running::{Running, Spot};

/// A symbol of the running kernel that can't be mistaken for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sympos {
    pub symbol: String,
    /// As livepatch counts it: 0 where the name is unique, else 1 for the first (struct klp_func, include/linux/livepatch.h).
    pub position: u32,
    /// As in [`crate::kernel::symbols::Symbol::address`].
    pub address: u64,
}

/// Where one section of the object lies: section of the running object (0 for vmlinux) and its first byte's address.
pub type Base = (u32, i64);

/// The places of all sections that can be told, by the object's section index.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    bases: BTreeMap<usize, Base>,
    /// Sections whose symbols don't lie together in the running kernel as they do here.
    scattered: BTreeSet<usize>,
}

impl Layout {
    /// Of a unit of a kernel's object, by all that the prepared kernel has.
    pub fn in_kernel(facts: &Facts, kernel: &Kernel, object: &str) -> Result<Layout> {
        let layout = Layout::of(facts, kernel.symbols(object)?);
        Ok(match Running::open(kernel, object)? {
            Some(running) => layout.followed(facts, &running),
            None => layout,
        })
    }

    /// The base that most of a section's unambiguous names agree on; a section without a majority has none.
    pub fn of(facts: &Facts, table: &SymbolTable) -> Layout {
        let mut occurrences: BTreeMap<&str, u32> = BTreeMap::new();
        let symbols = || own_symbols(facts);
        for (name, ..) in symbols() {
            *occurrences.entry(name).or_default() += 1;
        }
        let mut votes: BTreeMap<usize, BTreeMap<Base, u32>> = BTreeMap::new();
        for (name, is_function, binding, section, offset) in symbols() {
            let mut named = table.named(name);
            let (Some(symbol), None) = (named.next(), named.next()) else { continue };
            // A weak function may be another object's: it has no vote.
            if occurrences[name] == 1 && symbol.is_function() == is_function && binding != Binding::Weak {
                let base = (symbol.section, symbol.address.wrapping_sub(offset) as i64);
                *votes.entry(section).or_default().entry(base).or_default() += 1;
            }
        }
        let mut layout = Layout::default();
        for (section, votes) in votes {
            let all: u32 = votes.values().sum();
            if let Some((base, count)) = votes.into_iter().max_by_key(|(_, count)| *count)
                && count * 2 > all
            {
                layout.bases.insert(section, base);
            } else {
                layout.scattered.insert(section);
            }
        }
        for index in 0..facts.sections.len() {
            if !layout.bases.contains_key(&index)
                && let Some(base) = fitting_base(facts, index, table)
            {
                layout.bases.insert(index, base);
            }
        }
        layout
    }

    /// Places the sections that no symbol tells of: where the running code and data lead at the fields that this object has
    /// for them. All of those must agree.
    pub fn followed(mut self, facts: &Facts, running: &Running) -> Layout {
        // A table that code has led to may lead to functions.
        while self.follow(facts, running) {}
        self
    }

    fn follow(&mut self, facts: &Facts, running: &Running) -> bool {
        let mut led: BTreeMap<usize, BTreeSet<Option<Base>>> = BTreeMap::new();
        let leads = |role: Role| matches!(role, Role::Text | Role::Data | Role::Const);
        for (index, section) in facts.sections.iter().enumerate().filter(|(_, section)| leads(section.role)) {
            for (offset, relocation) in &section.relocations {
                let Place::Here(target, addend) = relocation.place else { continue };
                let (Some(at), true, None) =
                    (self.place(index, *offset), leads(facts.sections[target].role), self.base(target))
                else {
                    continue;
                };
                let base = match running.leads(at, relocation) {
                    Some(Spot::At((section, address))) => Some((section, address.wrapping_sub(addend as u64) as i64)),
                    _ => None,
                };
                led.entry(target).or_default().insert(base);
            }
        }
        let before = self.bases.len();
        for (section, bases) in led {
            if let (Some(Some(base)), 1, false) = (bases.first(), bases.len(), self.is_scattered(section))
                && (facts.sections[section].role != Role::Text || fits(facts, section, running.symbols, base))
            {
                self.bases.insert(section, *base);
            }
        }
        self.bases.len() > before
    }

    /// Do a section's symbols contradict each other about its place? Then it is another build's.
    pub fn is_scattered(&self, section: usize) -> bool {
        self.scattered.contains(&section)
    }

    /// Where the running kernel has a place of the object, as (section, address); nothing where that can't be told.
    pub fn place(&self, section: usize, offset: u64) -> Option<(u32, u64)> {
        self.base(section).map(|(index, base)| (index, base.wrapping_add(offset as i64) as u64))
    }

    pub fn base(&self, section: usize) -> Option<Base> {
        self.bases.get(&section).copied()
    }
}

/// For a section without an unambiguous name (`.data..once`, `__dyndbg`): the only place at which the running kernel has
/// every one of its symbols, at least two, at the right distances.
fn fitting_base(facts: &Facts, section: usize, table: &SymbolTable) -> Option<Base> {
    let symbols: Vec<_> = own_symbols(facts).filter(|s| s.3 == section && s.2 != Binding::Weak).collect();
    let (rarest, _, _, _, offset) = symbols.iter().min_by_key(|s| table.named(s.0).count())?;
    let bases = table.named(rarest).map(|s| (s.section, s.address.wrapping_sub(*offset) as i64));
    let mut fitting = bases.filter(|base| fits(facts, section, table, base));
    match (fitting.next(), fitting.next()) {
        (Some(base), None) if symbols.len() >= 2 => Some(base),
        _ => None,
    }
}

/// Does the running kernel have all of a section's symbols at their distances from this place? A weak one may be another's.
fn fits(facts: &Facts, section: usize, table: &SymbolTable, (index, base): &Base) -> bool {
    own_symbols(facts).filter(|s| s.3 == section && s.2 != Binding::Weak).all(|(name, _, _, _, offset)| {
        let address = base.wrapping_add(offset as i64) as u64;
        table.named(name).any(|symbol| (symbol.section, symbol.address) == (*index, address))
    })
}

fn own_symbols(facts: &Facts) -> impl Iterator<Item = (&str, bool, Binding, usize, u64)> {
    let functions = facts.functions.iter().flat_map(|f| {
        let names = std::iter::once((f.name.as_str(), f.binding))
            .chain(f.aliases.iter().map(|(name, binding)| (name.as_str(), *binding)));
        names.map(move |(name, binding)| (name, true, binding, f.section, f.offset))
    });
    functions.chain(facts.objects.iter().map(|o| (o.name.as_str(), false, o.binding, o.section, o.offset)))
}

/// The running kernel's symbol for a function, variable or static local (`name.NNN`) that this object defines.
///
/// Refused: no such symbol; several, and none or more than one fits the object's layout; a weak function whose name belongs
/// to another object's code.
pub fn sympos(name: &str, is_function: bool, facts: &Facts, layout: &Layout, table: &SymbolTable) -> Result<Sympos> {
    let own: Vec<_> = own_symbols(facts).filter(|s| s.0 == name && s.1 == is_function).collect();
    let Some((_, _, binding, section, offset)) = own.first().copied() else {
        return refuse(SYMBOL_MISSING, format!("the recompiled object does not define {name}"));
    };
    let named: Vec<_> = table.named(name).collect();
    if named.is_empty() {
        return refuse(SYMBOL_MISSING, format!("the running kernel has no symbol {name}"));
    }
    let expected = layout.place(section, offset);
    let fits: Vec<usize> =
        (0..named.len()).filter(|i| Some((named[*i].section, named[*i].address)) == expected).collect();
    if binding == Binding::Weak && expected.is_some() && fits.is_empty() {
        return refuse(
            WEAK_OVERRIDDEN,
            format!(
                "{name} is weak here, and the running kernel has another object's {name}; hooking the name would replace \
                     that one, so make the change there (an architecture's version lies under arch/)"
            ),
        );
    }
    let position = |index: usize| if named.len() == 1 { 0 } else { index as u32 + 1 };
    match (named.as_slice(), fits.as_slice(), own.len()) {
        ([only], _, 1) if only.is_function() == is_function => {
            Ok(Sympos { symbol: name.into(), position: 0, address: only.address })
        }
        (_, [index], 1) => {
            Ok(Sympos { symbol: name.into(), position: position(*index), address: named[*index].address })
        }
        _ => refuse(
            AMBIGUOUS_SYMBOL,
            format!(
                "the running kernel has {} symbols {name}, this object {}, and {} lie where this object's layout puts it",
                named.len(),
                own.len(),
                fits.len()
            ),
        ),
    }
}
