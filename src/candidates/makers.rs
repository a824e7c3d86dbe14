//! Where names come from that no text spells: macros that put them together by `##`, followed to where they are called.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use rustc_hash::FxHashSet;

use crate::parallel::map;
use crate::unit::pasted::{self, Known, Pasting, Pattern};
use crate::unit::written::{MacroText, Written};

use super::mentions::Files;
use super::tree::Node;

/// Calls within macros are followed so deep (the kernel's go 14 deep: initcalls and exports).
const DEEPEST: usize = 30;

/// Macros of the preprocessor's own that an argument may be (GCC manual, "Predefined Macros").
const BUILT_IN: &[&[u8]] = &[b"__INCLUDE_LEVEL__", b"linux", b"unix"];

/// Where a name is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Maker {
    Macro(Vec<u8>),
    /// Something else in this file.
    Root(Node),
}

/// All names that macros make.
#[derive(Default)]
pub(super) struct Makers {
    exact: BTreeMap<Vec<u8>, BTreeSet<Maker>>,
    patterns: BTreeSet<(Pattern, Maker)>,
}

impl Makers {
    /// Reads all files. `defined`: macros of the command lines. Nothing where calls go too deep.
    pub fn read(files: &Files<'_>, defined: &BTreeSet<String>) -> Option<Makers> {
        let mut makers = Makers::default();
        let mut objects: FxHashSet<Vec<u8>> = BUILT_IN.iter().map(|name| name.to_vec()).collect();
        objects.extend(defined.iter().map(|name| name.clone().into_bytes()));
        let (mut seen, mut called) = (BTreeSet::new(), Pasting::new());
        let mut functions: FxHashSet<Vec<u8>> = FxHashSet::default();
        for found in map(&files.nodes, |node| definitions(&files.read(*node))) {
            objects.extend(found.objects);
            functions.extend(found.functions);
            makers.take(found.made, &mut seen, &mut called);
        }
        let mut known = Known { pasting: Pasting::new(), objects, functions };
        for _ in 0..DEEPEST {
            if called.is_empty() {
                return Some(makers);
            }
            for (name, patterns) in &called {
                known.pasting.entry(name.clone()).or_default().extend(patterns.iter().cloned());
            }
            let searcher = AhoCorasick::new(called.keys()).ok()?;
            let calls = map(&files.nodes, |node| {
                let text = files.read(*node);
                if searcher.is_match(&text) { calls(&text, &called, &known) } else { Default::default() }
            });
            let mut next = Pasting::new();
            for (node, (inside, outside)) in files.nodes.iter().zip(calls) {
                makers.take(inside, &mut seen, &mut next);
                outside.into_iter().for_each(|pattern| makers.add(Maker::Root(*node), pattern));
            }
            called = next;
        }
        None
    }

    /// Those that may make a name.
    pub fn of(&self, name: &[u8]) -> impl Iterator<Item = &Maker> {
        let open = self.patterns.iter().filter(|(pattern, _)| pasted::may_be(pattern, name)).map(|(_, maker)| maker);
        self.exact.get(name).into_iter().flatten().chain(open)
    }

    /// Takes what macros make; what their arguments complete goes to `open`.
    fn take(&mut self, made: Vec<Made>, seen: &mut BTreeSet<Made>, open: &mut Pasting) {
        for (name, pattern) in made.into_iter().filter(|made| seen.insert(made.clone())) {
            match pasted::is_open(&pattern) {
                true => open.entry(name).or_default().push(pattern),
                false => self.add(Maker::Macro(name), pattern),
            }
        }
    }

    fn add(&mut self, maker: Maker, pattern: Pattern) {
        match pasted::exact(&pattern) {
            Some(name) => drop(self.exact.entry(name).or_default().insert(maker)),
            None => drop(self.patterns.insert((pattern, maker))),
        }
    }
}

/// A macro, and what it makes.
type Made = (Vec<u8>, Pattern);

/// A file's macros.
struct Definitions {
    objects: Vec<Vec<u8>>,
    functions: Vec<Vec<u8>>,
    /// What their bodies join.
    made: Vec<Made>,
}

fn definitions(text: &[u8]) -> Definitions {
    let written = Written::read(text);
    let name = |definition: &MacroText| written.interner.text(definition.name).to_vec();
    let (objects, functions): (Vec<&MacroText>, _) = written.macros.iter().partition(|definition| definition.is_object);
    let runs = written.macros.iter().flat_map(|definition| {
        pasted::runs(definition, &written).into_iter().map(move |pattern| (name(definition), pattern))
    });
    Definitions {
        objects: objects.into_iter().map(name).collect(),
        functions: functions.into_iter().map(name).collect(),
        made: runs.collect(),
    }
}

/// What a file's calls of these macros make: within its macros, and elsewhere.
fn calls(text: &[u8], called: &Pasting, known: &Known) -> (Vec<Made>, BTreeSet<Pattern>) {
    let written = Written::read(text);
    let inside = written.macros.iter().flat_map(|definition| {
        let made = pasted::calls_in(definition, &written, called, known);
        let name = written.interner.text(definition.name).to_vec();
        made.into_iter().map(move |pattern| (name.clone(), pattern))
    });
    (inside.collect(), pasted::calls(&written, called, known).into_iter().collect())
}
