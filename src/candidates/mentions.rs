//! Which units can reach a change of a header, by the text of the files that they may include alone: seconds for thousands
//! of units, where a run of the preprocessor for each takes minutes.
//!
//! A change of an inline function or a macro reaches a unit's code by its name only. Inline functions and macros that mention
//! it hand it on; whatever else mentions a name so found, in a file that the unit may include, concerns the unit.
//! An over-approximation, or no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aho_corasick::AhoCorasick;

use crate::kernel::command::CompileCommand;
use crate::parallel::map;
use crate::patch::FileState;
use crate::unit::contained::{self, Edit};
use crate::unit::lex;
use crate::unit::written::{Kind, Written};

use super::makers::{Maker, Makers};
use super::tree::{Node, Tree};

/// More names than this aren't followed: then nearly every unit has one.
const MOST_NAMES: usize = 400;

/// The sources of the units that may reach a change of one of the files. Nothing where it can't be told.
pub fn reaching(
    tree: &Tree,
    (source, build): (&Path, &Path),
    units: &[&CompileCommand],
    changes: &BTreeMap<&String, &FileState>,
) -> Option<BTreeSet<String>> {
    let mut names = BTreeMap::new();
    for (file, state) in changes {
        let FileState::Content(new) = state else { return None };
        let old = std::fs::read(source.join(file)).unwrap_or_default();
        names.extend(changed_names(file, &old, new)?);
    }
    let nodes: Vec<Node> = units.iter().map(|unit| tree.node(&unit.source)).collect::<Option<_>>()?;
    let options = units.iter().flat_map(|unit| &unit.args).filter(|arg| arg.starts_with("-D"));
    let words = |option: &'_ String| {
        option.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_string).collect::<Vec<_>>()
    };
    let defined: BTreeSet<String> = options.flat_map(words).collect();
    let files = Files { tree, source, build, nodes: tree.included_by(&nodes) };
    let mut search = Search { makers: Makers::read(&files, &defined)?, known: BTreeMap::new(), roots: BTreeSet::new() };
    let mut fresh = names;
    while !fresh.is_empty() {
        if fresh.keys().any(|name| defined.contains(&*String::from_utf8_lossy(name))) {
            return None;
        }
        fresh = search.round(&files, fresh)?;
    }
    let reached = tree.includers_of(&search.roots);
    let concerned = units.iter().zip(nodes).filter(|(_, node)| reached[*node as usize]);
    Some(concerned.map(|(unit, _)| unit.source.clone()).collect())
}

/// Macros and inline functions that differ, and what is new. Nothing where anything else differs.
fn changed_names(file: &str, old: &[u8], new: &[u8]) -> Option<BTreeMap<Vec<u8>, Kind>> {
    let Edit { regions, macros, .. } = contained::edit(file, old, new)?;
    let mut names: BTreeMap<Vec<u8>, Kind> = macros.into_iter().map(|name| (name, Kind::Macro)).collect();
    let (old, new) = (Written::read(old), Written::read(new));
    for region in regions {
        let functions = old.functions_between(region.old)?;
        let found = if functions.is_empty() { new.declared_in(region.new)? } else { functions };
        for name in found {
            names.entry(name).or_insert(Kind::Function);
        }
    }
    Some(names)
}

/// The files that the units may include, themselves too.
pub(super) struct Files<'a> {
    tree: &'a Tree,
    source: &'a Path,
    build: &'a Path,
    pub nodes: Vec<Node>,
}

impl Files<'_> {
    pub fn read(&self, node: Node) -> Vec<u8> {
        let path = self.tree.path(node);
        std::fs::read(self.source.join(path)).or_else(|_| std::fs::read(self.build.join(path))).unwrap_or_default()
    }
}

struct Search {
    makers: Makers,
    known: BTreeMap<Vec<u8>, Kind>,
    /// Files in which something else than a macro or an inline function mentions a name.
    roots: BTreeSet<Node>,
}

impl Search {
    /// Looks for these names in all files; yields those that hand them on and are new.
    fn round(&mut self, files: &Files<'_>, names: BTreeMap<Vec<u8>, Kind>) -> Option<BTreeMap<Vec<u8>, Kind>> {
        let mut found = Vec::new();
        for name in names.keys() {
            for maker in self.makers.of(name) {
                match maker {
                    Maker::Macro(by) => found.push((by.clone(), Kind::Macro)),
                    Maker::Root(node) => drop(self.roots.insert(*node)),
                }
            }
        }
        let searcher = AhoCorasick::new(names.keys()).ok()?;
        let looked = map(&files.nodes, |node| {
            let text = files.read(*node);
            let is_word =
                |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|byte| lex::continues_identifier(*byte));
            let stands_alone = |start: usize, end: usize| !is_word(start.checked_sub(1)) && !is_word(Some(end));
            let mut hits = searcher.find_overlapping_iter(&text);
            if !hits.any(|hit| stands_alone(hit.start(), hit.end())) {
                return None;
            }
            let written = Written::read(&text);
            if files.tree.path(*node).ends_with(".h") {
                let mentions = written.mentions(&|word| names.get(word).copied());
                return Some((mentions.by, mentions.by_root.then_some(*node)));
            }
            let has = written.has(&|word| names.contains_key(word));
            Some((Vec::new(), has.then_some(*node)))
        });
        for (by, root) in looked.into_iter().flatten() {
            found.extend(by);
            self.roots.extend(root);
        }
        self.known.extend(names);
        // A function that becomes a macro's name too is looked for once more.
        let is_new = |(name, kind): &(Vec<u8>, Kind)| self.known.get(name).is_none_or(|known| known < kind);
        let mut fresh: BTreeMap<Vec<u8>, Kind> = BTreeMap::new();
        for (name, kind) in found.into_iter().filter(is_new) {
            let entry = fresh.entry(name).or_insert(kind);
            *entry = (*entry).max(kind);
        }
        (self.known.len() + fresh.len() <= MOST_NAMES).then_some(fresh)
    }
}
