//! The text filter: from the names whose meaning a patch to headers may change to the units whose text can reach one.
//!
//! The set of names is closed over the raw text of all headers: an inline function, macro or type whose text mentions a
//! name of the set joins it. What can't be followed by names makes its file *hot*: every unit that may include the file
//! is kept. That is the answer to all that isn't understood (see [`declared`]), to what emits code by itself, to a changed
//! `#include`, `#if` or `#pragma`, and to an `#if` that asks for a changed macro. Names that `##` makes are found by their
//! parts (see [`super::pasting`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::parallel;
use crate::unit::lex::Kind;
use crate::unit::{live, names as words_of};

use super::declares::{Declared, declared};
use super::macros::{Definition, Id, Macros, Word, definition, id, words};
use super::outline::{self, Item, Outline, Piece, Pieces, Shape, outline};
use super::pasting::Pasting;
use super::tree::Node;

/// A file that units are made of, as raw text.
#[derive(Debug)]
pub struct File {
    pub node: Node,
    pub text: Vec<u8>,
    /// Is it part of several units (a header), or the source of one?
    pub shared: bool,
}

/// Two versions of a patched file; nothing where there is none.
#[derive(Debug)]
pub struct Patched {
    pub node: Node,
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
}

/// Kinds of names, as bits.
const MACRO: u8 = 1;
/// Enumerators, typedefs, prototypes and variables.
const ORDINARY: u8 = 2;
const TAG: u8 = 4;
/// An inline function with its body.
const FUNCTION: u8 = 8;

/// Where a name stands, as the kinds that it can then be.
fn context(previous: &[u8]) -> u8 {
    match previous {
        b"." | b"->" => MACRO,
        b"struct" | b"union" | b"enum" => MACRO | TAG,
        _ => MACRO | ORDINARY | TAG | FUNCTION,
    }
}

/// An item of a shared file and its place among all.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: u32,
    item: u32,
}

/// A name whose meaning may change.
#[derive(Debug, Default)]
struct Reached {
    kinds: u8,
    /// May a macro's value change, and not only what its expansion means?
    value: bool,
    /// Files that give it the changed meaning.
    origins: BTreeSet<Node>,
}

/// What the patch may change the meaning of.
#[derive(Debug)]
pub struct Names {
    reached: FxHashMap<Id, Reached>,
    /// Files all of whose includers are kept, with the first reason.
    pub hot: BTreeMap<Node, String>,
}

/// The shared files, searchable.
struct Index<'a, 'o> {
    files: &'a [File],
    outlines: &'o [Outline],
    places: Vec<Place>,
    /// Sorted: name, item (index into `places`), kinds that the place allows.
    mentions: Vec<(Id, u32, u8)>,
    /// Sorted: name, file, whether it is only asked for being defined.
    conditions: Vec<(Id, u32, bool)>,
}

fn range(item: &Item) -> Range<usize> {
    item.text.start as usize..item.text.end as usize
}

/// The tokens of a statement, without directives inside of it.
fn statement_words(text: &[u8], range: Range<usize>) -> Vec<Word<'_>> {
    let offset = range.start;
    let mut found = Vec::new();
    for piece in Pieces::new(&text[range]) {
        if let Piece::Token(range, kind) = piece {
            found.push(Word::new(&text[range.start + offset..range.end + offset], kind));
        }
    }
    found
}

/// The definitions of all macros of a file.
fn definitions<'a>(text: &'a [u8], outline: &Outline) -> Vec<Definition<'a>> {
    let macros = outline.items.iter().filter(|item| item.shape == Shape::Macro);
    macros.filter_map(|item| definition(text, range(item))).collect()
}

/// The names that an item mentions, with the kinds that they can be there.
fn mentions(text: &[u8], item: &Item) -> Vec<(Id, u8)> {
    let mut mentions = Vec::new();
    match item.shape {
        Shape::Macro => {
            if let Some(definition) = definition(text, range(item)) {
                let own = |word: &Word| definition.parameters.iter().flatten().any(|name| *name == word.text);
                mentions_of(&definition.body, &own, &mut mentions);
            }
        }
        // Directives inside of it count as text: `#define`s are items of their own.
        Shape::Statement => mentions_of(&words(text, range(item)), &|_| false, &mut mentions),
        Shape::Directive => {
            let words = words(text, range(item));
            let names_file = words.get(2).is_some_and(|word| word.text == b"<" || word.kind == Kind::String);
            if words.get(1).is_some_and(|word| matches!(word.text, b"include" | b"pragma" | b"line")) && !names_file {
                mentions_of(&words[2..], &|_| false, &mut mentions);
                // Nothing but a macro's value can change it.
                mentions.iter_mut().for_each(|(_, kinds)| *kinds = MACRO);
            }
        }
    }
    mentions.sort_unstable();
    mentions.dedup();
    mentions
}

fn mentions_of(words: &[Word], left_out: &dyn Fn(&Word) -> bool, found: &mut Vec<(Id, u8)>) {
    let mut previous: &[u8] = b"";
    for word in words {
        if word.kind == Kind::Identifier && !left_out(word) {
            found.push((word.id, context(previous)));
        } else if word.kind == Kind::String
            && let Some(name) = live::aliased(previous, word.text)
        {
            found.push((id(name), context(b"")));
        }
        previous = word.text;
    }
}

impl<'a, 'o> Index<'a, 'o> {
    fn new(files: &'a [File], outlines: &'o [Outline]) -> Index<'a, 'o> {
        let shared: Vec<u32> = (0..files.len() as u32).filter(|file| files[*file as usize].shared).collect();
        let scanned = parallel::map(&shared, |file| {
            let (text, outline) = (&files[*file as usize].text, &outlines[*file as usize]);
            outline.items.iter().map(|item| mentions(text, item)).collect::<Vec<_>>()
        });
        let mut index = Index { files, outlines, places: Vec::new(), mentions: Vec::new(), conditions: Vec::new() };
        for (file, items) in shared.iter().zip(scanned) {
            for (item, mentions) in items.into_iter().enumerate() {
                let place = index.places.len() as u32;
                index.places.push(Place { file: *file, item: item as u32 });
                index.mentions.extend(mentions.into_iter().map(|(name, kinds)| (name, place, kinds)));
            }
            let (text, outline) = (&files[*file as usize].text, &outlines[*file as usize]);
            for condition in &outline.conditions {
                let name = &text[condition.name.start as usize..condition.name.end as usize];
                index.conditions.push((id(name), *file, condition.defined));
            }
        }
        index.mentions.sort_unstable();
        index.conditions.sort_unstable();
        index
    }

    fn mentions(&self, name: Id) -> &[(Id, u32, u8)] {
        let start = self.mentions.partition_point(|(known, ..)| *known < name);
        let rest = &self.mentions[start..];
        &rest[..rest.partition_point(|(known, ..)| *known == name)]
    }

    fn conditions(&self, name: Id) -> &[(Id, u32, bool)] {
        let start = self.conditions.partition_point(|(known, ..)| *known < name);
        let rest = &self.conditions[start..];
        &rest[..rest.partition_point(|(known, ..)| *known == name)]
    }
}

/// The search under way.
struct Search<'a, 'o> {
    index: Index<'a, 'o>,
    names: Names,
    macros: Macros,
    pasting: Pasting<'a>,
    queue: Vec<(&'a [u8], Id)>,
    /// Macros that come or go.
    redefined: FxHashSet<Id>,
    /// By item: what it was reached by.
    touched: Vec<Touched>,
}

/// What an item was reached by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Touched {
    any: bool,
    /// A macro whose value may change.
    value: bool,
    /// Anything but functions.
    not_called: bool,
}

/// Finds the names whose meaning a patch may change. `files` are those that the units in question may be made of, as they
/// are before the patch.
pub fn names(files: &[File], patched: &[Patched]) -> Names {
    let outlines = parallel::map(files, |file| outline(&file.text));
    let new: Vec<(&Patched, &[u8], Outline)> =
        patched.iter().filter_map(|p| p.after.as_deref().map(|text| (p, text, outline(text)))).collect();
    let numbers: Vec<usize> = (0..files.len()).collect();
    let of_file = |file: &usize| definitions(&files[*file].text, &outlines[*file]);
    let old = numbers.iter().zip(parallel::map(&numbers, of_file)).map(|(file, list)| (files[*file].node, list));
    let added = new.iter().map(|(patched, text, outline)| (patched.node, definitions(text, outline)));
    let defined: Vec<(Node, Definition)> =
        old.chain(added).flat_map(|(node, list)| list.into_iter().map(move |definition| (node, definition))).collect();
    let macros = Macros::new(&defined);
    let statements = parallel::map(&numbers, |file| {
        let items = outlines[*file].items.iter().filter(|item| item.shape == Shape::Statement);
        let mut parts = Vec::new();
        for item in items {
            let words = statement_words(&files[*file].text, range(item));
            macros.parts(&words, &|_| false, &mut |user, word| parts.push((user, word.id)));
        }
        parts.sort_unstable();
        parts.dedup();
        parts
    });
    let pasting = Pasting::new(&macros, &defined, &statements);
    let index = Index::new(files, &outlines);
    let touched = vec![Touched::default(); index.places.len()];
    let names = Names { reached: FxHashMap::default(), hot: BTreeMap::new() };
    let mut search =
        Search { index, names, macros, pasting, queue: Vec::new(), redefined: FxHashSet::default(), touched };
    for file in files.iter().zip(&outlines).filter(|(file, _)| file.shared) {
        search.redefined_words(file.0, file.1);
    }
    for patched in patched {
        let after = new.iter().find(|(other, ..)| other.node == patched.node);
        search.seed(patched, after.map(|(_, text, outline)| (*text, outline)));
    }
    while let Some((text, name)) = search.queue.pop() {
        search.follow(text, name);
    }
    search.names
}

impl<'a> Search<'a, '_> {
    fn heat(&mut self, node: Node, why: &str) {
        self.names.hot.entry(node).or_insert_with(|| why.to_string());
    }

    /// A file that makes `static` or `inline` another word: nothing in it, or behind it, is what it seems to be.
    fn redefined_words(&mut self, file: &File, outline: &Outline) {
        for definition in definitions(&file.text, outline) {
            let word = definition.name.text;
            let shaping = matches!(word, b"static" | b"extern" | b"typedef" | b"struct" | b"union" | b"enum")
                || live::INLINE.contains(&word)
                || word == b"__always_inline";
            let keeps = definition.body.iter().any(|w| w.text == word || live::INLINE.contains(&w.text));
            if shaping && !keeps {
                self.heat(file.node, "it redefines a word of the language");
            }
        }
    }

    /// The names that a patched file changes.
    fn seed(&mut self, patched: &'a Patched, after: Option<(&'a [u8], &Outline)>) {
        let (Some(before), Some((after, new))) = (&patched.before, after) else {
            self.heat(patched.node, "the patch adds or removes it");
            return;
        };
        let old = outline(before);
        if old.unbalanced || new.unbalanced {
            self.heat(patched.node, "its braces can't be matched");
            return;
        }
        let texts = |text: &'a [u8], outline: &Outline| -> Vec<(Shape, Vec<&'a [u8]>)> {
            let tokens = |item: &Item| outline::tokens(text, range(item)).map(|(range, _)| &text[range]).collect();
            outline.items.iter().map(|item| (item.shape, tokens(item))).collect()
        };
        let (old_texts, new_texts) = (texts(before, &old), texts(after, new));
        for operation in capture_diff_slices(Algorithm::Myers, &old_texts, &new_texts) {
            if matches!(operation, DiffOp::Equal { .. }) {
                continue;
            }
            let (old_range, new_range) = (operation.old_range(), operation.new_range());
            for item in &old.items[old_range] {
                self.seed_item(patched.node, before, item);
            }
            for item in &new.items[new_range] {
                self.seed_item(patched.node, after, item);
            }
        }
        self.redefinitions(definitions(before, &old), definitions(after, new));
    }

    /// Macros that come or go: who asks whether they are defined gets another answer.
    fn redefinitions(&mut self, before: Vec<Definition<'a>>, after: Vec<Definition<'a>>) {
        let counts = |list: &[Definition<'a>]| {
            let mut counts: BTreeMap<&'a [u8], usize> = BTreeMap::new();
            for definition in list {
                *counts.entry(definition.name.text).or_default() += 1;
            }
            counts
        };
        let (before, after) = (counts(&before), counts(&after));
        for name in before.keys().chain(after.keys()) {
            if before.get(name) != after.get(name) {
                let name = id(name);
                self.redefined.insert(name);
                self.ask(name, true);
            }
        }
    }

    fn seed_item(&mut self, node: Node, text: &'a [u8], item: &Item) {
        match item.shape {
            Shape::Macro => match definition(text, range(item)) {
                Some(definition) => self.join(definition.name, MACRO, node, true),
                None => self.heat(node, "a changed #define isn't understood"),
            },
            Shape::Statement => self.statement(node, text, item, false),
            Shape::Directive => self.heat(node, "a directive of it changes"),
        }
    }

    /// Joins what a statement declares. `called_only`: it mentions nothing but functions of the set, which a declaration
    /// can only do in `typeof` and the like; what has the function's name there is a member or a parameter.
    fn statement(&mut self, node: Node, text: &'a [u8], item: &Item, called_only: bool) {
        let words = statement_words(text, range(item));
        let found = if item.unsure { None } else { declared(&words, &self.macros) };
        let Some(found) = found else {
            let words: Vec<_> = words.iter().take(8).map(|word| String::from_utf8_lossy(word.text)).collect();
            self.heat(node, &format!("`{} ...` may make code by itself", words.join(" ")));
            return;
        };
        let body = found.iter().any(|declared| declared.body);
        if called_only && !body && !names_expressions(&words, &self.macros) {
            return;
        }
        for declared in found {
            let kind = match declared {
                Declared { tag: true, .. } => TAG,
                Declared { body: true, .. } => FUNCTION,
                _ => ORDINARY,
            };
            self.join(declared.name, kind, node, false);
        }
    }

    fn join(&mut self, name: Word<'a>, kind: u8, origin: Node, value: bool) {
        let reached = self.names.reached.entry(name.id).or_default();
        let news = reached.kinds & kind == 0 || (value && !reached.value);
        reached.kinds |= kind;
        reached.value |= value;
        reached.origins.insert(origin);
        if news {
            self.queue.push((name.text, name.id));
        }
    }

    /// Files with an `#if` that asks for a macro.
    fn ask(&mut self, name: Id, redefined: bool) {
        let files: Vec<u32> = self.index.conditions(name).iter().filter(|c| redefined || !c.2).map(|c| c.1).collect();
        for file in files {
            self.heat(self.index.files[file as usize].node, "an #if of it asks for a changed macro");
        }
    }

    fn follow(&mut self, text: &'a [u8], name: Id) {
        let Some(reached) = self.names.reached.get(&name) else { return };
        let (kinds, value) = (reached.kinds, reached.value);
        if value {
            self.ask(name, self.redefined.contains(&name));
        }
        let places: Vec<u32> =
            self.index.mentions(name).iter().filter(|(_, _, allowed)| kinds & allowed != 0).map(|m| m.1).collect();
        for place in places {
            self.touch(place, value, kinds == FUNCTION);
        }
        // A macro that may make the name mentions it.
        for (maker, origin) in self.pasting.makers(text) {
            self.join(maker, MACRO, origin, value);
        }
    }

    fn touch(&mut self, place: u32, value: bool, called_only: bool) {
        let touched = &mut self.touched[place as usize];
        let before = *touched;
        touched.any = true;
        touched.value |= value;
        touched.not_called |= !called_only;
        if *touched == before {
            return;
        }
        let Place { file, item } = self.index.places[place as usize];
        let source: &'a File = &self.index.files[file as usize];
        let outline = &self.index.outlines[file as usize];
        let item = outline.items[item as usize].clone();
        if outline.unbalanced {
            self.heat(source.node, "its braces can't be matched");
        }
        match item.shape {
            Shape::Macro => {
                if let Some(definition) = definition(&source.text, range(&item)) {
                    self.join(definition.name, MACRO, source.node, value);
                }
            }
            Shape::Statement => self.statement(source.node, &source.text, &item, called_only),
            Shape::Directive => self.heat(source.node, "a directive of it uses a changed macro"),
        }
    }
}

/// Can a declaration depend on what an expression in it means?
fn names_expressions(words: &[Word], macros: &Macros) -> bool {
    words.iter().enumerate().any(|(index, word)| {
        let called = words.get(index + 1).is_some_and(|next| next.text == b"(");
        let operator = words_of::is_typeof(word.text) || matches!(word.text, b"sizeof" | b"_Alignof" | b"__alignof__");
        let hidden = macros.is_alias(word.id) && macros.is_breaking(word.id);
        operator || hidden || (called && macros.is_function_like(word.id) && !macros.is_attribute(word.id))
    })
}

impl Names {
    /// May a unit whose source has this text be concerned? `includes` says whether it may include a file.
    pub fn reached_by(&self, text: &[u8], includes: &dyn Fn(Node) -> bool) -> bool {
        if self.hot.keys().any(|node| includes(*node)) {
            return true;
        }
        // All tokens, those of directives too.
        let mut mentions = Vec::new();
        mentions_of(&words(text, 0..text.len()), &|_| false, &mut mentions);
        mentions.into_iter().any(|(name, allowed)| {
            let reached = self.reached.get(&name).filter(|reached| reached.kinds & allowed != 0);
            reached.is_some_and(|reached| reached.origins.iter().any(|origin| includes(*origin)))
        })
    }
}
