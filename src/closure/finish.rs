//! The closure of what was reached.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::unit::expand::{Expansion, NONE};
use crate::unit::groups::GroupId;
use crate::unit::lex::{self, Symbol};
use crate::unit::live::Extent;
use crate::unit::names::UNDECLARED;
use crate::unit::text::Macro;

use super::walk::Walk;
use super::{Closure, CopiedGroup, Entered, MacroDefinition, asked};

impl Walk<'_, '_> {
    pub(super) fn finish(self) -> Closure {
        let mut used: BTreeSet<u32> = BTreeSet::new();
        let mut groups: BTreeMap<GroupId, CopiedGroup> = BTreeMap::new();
        let written_out = self.written_out();
        for node in self.graph.node_weights() {
            if node.extent == Extent::Signature || !node.copied {
                continue;
            }
            let copied = groups.entry(node.group).or_insert_with(|| self.copied(node.group, &written_out));
            used.extend(&copied.macros);
        }
        // Signatures become declarations, whose macros must be there too: those that the source spells, for others are declared by
        // their tokens.
        let mut declaring = BTreeSet::new();
        for node in self.graph.node_weights().filter(|node| node.extent == Extent::Signature && node.copied) {
            let Some(end) = node.signature_end.filter(|_| node.name_position.is_some()) else { continue };
            let spelled = &self.unit.expansions[self.unit.expansions_in(node.position.order, end.order)];
            used.extend(spelled.iter().map(|expansion| expansion.macro_id.0));
            let stay = spelled.iter().filter(|expansion| !self.is_left_out(expansion));
            declaring.extend(stay.map(|expansion| expansion.macro_id.0));
        }
        let mut public: FxHashMap<Symbol, usize> = FxHashMap::default();
        for (index, definition) in self.unit.reader.macros.iter().enumerate() {
            if self.places.is_public(definition.file.0) {
                public.entry(definition.name).or_insert(index);
            }
        }
        let free = self.undefined();
        let macros =
            self.unit.reader.macros.iter().enumerate().filter(|(index, definition)| {
                used.contains(&(*index as u32)) || !self.places.is_public(definition.file.0)
            });
        let macros = macros.map(|(index, definition)| {
            let undefined = (definition.undefined_at != NONE).then(|| self.places.position(definition.undefined_at));
            let name = self.unit.interner().string(definition.name);
            let file = definition.file.0;
            let hidden = !self.places.is_compiler(file) && self.scope.hidden.contains(&name);
            let copied = !self.places.is_public(file) || hidden || free.contains(&definition.name);
            let definition = MacroDefinition {
                name,
                copied,
                position: self.places.position(definition.start),
                undefined,
                redefines: public.get(&definition.name).is_some_and(|first| *first < index),
            };
            (index as u32, definition)
        });
        let asked = if self.scope.as_written { BTreeSet::new() } else { self.asked(&used) };
        let all = self.unit.reader.includes.iter();
        let all = all.map(|include| Entered { file: include.file.0, parent: include.parent.0, order: include.offset });
        let (entered, entered_again) = entered(all);
        Closure {
            late: self.late,
            asked,
            macros: macros.collect(),
            entered,
            entered_again,
            directives: self.places.directives(),
            declaring,
            files: self.places.all(),
            texts: self.texts.texts,
            groups: groups.into_values().collect(),
            undefined: free.iter().map(|symbol| self.unit.interner().string(*symbol)).collect(),
            mentions: self.mentions.finish(self.unit, self.outline, self.places),
            renamed: self.renamed,
            graph: self.graph,
        }
    }

    /// Does a declaration lack what this macro, or the one that it is in, stands for?
    fn is_left_out(&self, expansion: &Expansion) -> bool {
        let name = |of: &Expansion| self.unit.interner().text(self.unit.reader.macros[of.macro_id.0 as usize].name);
        let parent = |of: &&Expansion| self.unit.expansions.get(of.parent as usize);
        let mut around = std::iter::successors(Some(expansion), parent);
        around.any(|of| UNDECLARED.iter().any(|word| word.as_bytes() == name(of)))
    }

    /// See [`Closure::asked`].
    fn asked(&self, used: &BTreeSet<u32>) -> BTreeSet<u32> {
        let candidates = asked::candidates(self.unit, self.places, used);
        if candidates.is_empty() {
            return BTreeSet::new();
        }
        let of_headers = self.graph.node_weights().filter(|node| !node.copied).flat_map(|node| &node.names);
        let declared = of_headers.filter(|(_, role)| role.is_object()).map(|(name, _)| name.as_str());
        let macros = used.iter().map(|id| &self.unit.reader.macros[*id as usize]);
        let macros = macros.filter(|definition| self.places.is_public(definition.file.0));
        let macros: Vec<String> = macros.map(|definition| self.unit.interner().string(definition.name)).collect();
        // Hidden ones are copied, and wanted of no header.
        let macros = macros.iter().filter(|name| !self.scope.hidden.contains(*name)).map(String::as_str);
        asked::asked(self.unit, self.places, &candidates, &declared.chain(macros).collect())
    }

    /// See [`Closure::undefined`].
    fn undefined(&self) -> BTreeSet<Symbol> {
        // One that its own header undefines is nothing to anybody.
        let lasts = |definition: &Macro| {
            let Macro { file, undefined_at, .. } = definition;
            *undefined_at == NONE || self.places.file(*undefined_at) != file.0
        };
        let mut lives: FxHashMap<Symbol, Vec<&Macro>> = FxHashMap::default();
        for definition in &self.unit.reader.macros {
            lives.entry(definition.name).or_default().push(definition);
        }
        lives.retain(|_, all| {
            all.iter().any(|definition| self.places.is_public(definition.file.0) && lasts(definition))
        });
        let mut found = BTreeSet::new();
        for node in self.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole) {
            for index in self.outline.statements[node.statement.0 as usize].tokens() {
                let symbol = self.unit.tokens[index].symbol;
                let Some(lives) = lives.get(&symbol) else { continue };
                let at = self.unit.start_of(index as u32);
                let is_called = || self.unit.tokens.get(index + 1).is_some_and(|_| self.unit.text(index + 1) == b"(");
                let is_free = |definition: &&Macro| at < definition.start || definition.undefined_at < at;
                let matters = |definition: &&Macro| {
                    self.places.is_public(definition.file.0)
                        && lasts(definition)
                        && (!definition.function_like || is_called())
                };
                // One that is renamed is renamed by a macro.
                let is_renamed = || self.renamed.contains(&self.unit.interner().string(symbol));
                if lives.iter().all(is_free) && lives.iter().any(matters) && !is_renamed() {
                    found.insert(symbol);
                }
            }
        }
        found
    }

    /// Expansions within invocations that are written out: of their macros the module has nothing.
    fn written_out(&self) -> BTreeSet<usize> {
        let made = self.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole && node.is_made);
        let made = made.filter_map(|node| node.made_by.as_ref());
        made.flat_map(|out| self.unit.expansions_in(out.start.order, out.end.order)).collect()
    }

    /// `written_out`: expansions that the text no longer has.
    fn copied(&self, id: GroupId, written_out: &BTreeSet<usize>) -> CopiedGroup {
        let (start, end) = self.outline.groups[id.0 as usize].text;
        let mut macros = BTreeSet::new();
        let mut direct_macros = BTreeSet::new();
        let stay = self.unit.expansions_in(start, end).filter(|index| !written_out.contains(index));
        for expansion in stay.map(|index| &self.unit.expansions[index]) {
            macros.insert(expansion.macro_id.0);
            let by_copied = self.unit.expansions.get(expansion.parent as usize).is_none_or(|parent| {
                let parent = &self.unit.reader.macros[parent.macro_id.0 as usize];
                !self.places.is_public(parent.file.0)
            });
            if by_copied {
                direct_macros.insert(expansion.macro_id.0);
            }
        }
        let pack = self.pragmas.packs[self.outline.groups[id.0 as usize].first.0 as usize];
        CopiedGroup {
            id,
            pack,
            start: self.places.position(start),
            end: self.places.position(end),
            taken: lex::readable(&self.unit.reader.source[start as usize..end as usize]).into_owned(),
            macros,
            direct_macros,
        }
    }
}

/// The first times, and the later ones that may bring something: a file that is entered while it is being read has a guard.
fn entered(all: impl Iterator<Item = Entered>) -> (Vec<Entered>, Vec<Entered>) {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut open: Vec<u32> = Vec::new();
    for entered in all {
        while open.last().is_some_and(|file| *file != entered.parent) {
            open.pop();
        }
        let circular = open.contains(&entered.file);
        open.push(entered.file);
        if seen.insert(entered.file) {
            first.push(entered);
        } else if !circular {
            again.push(entered);
        }
    }
    (first, again)
}
