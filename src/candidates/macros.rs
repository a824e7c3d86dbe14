//! What the macros of all files can do to the text around them, by name and over all definitions of a name.
//!
//! Names are compared by a 64-bit hash: an accident makes something look used that isn't, in a set of some 10^6 names.

use std::hash::{Hash as _, Hasher as _};
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::unit::groups::is_identifier;
use crate::unit::lex::Kind;
use crate::unit::live::EMITTING;

use super::outline;
use super::tree::Node;

/// A name, hashed.
pub type Id = u64;

pub fn id(text: &[u8]) -> Id {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A token of raw text.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    pub id: Id,
    pub text: &'a [u8],
    pub kind: Kind,
}

impl<'a> Word<'a> {
    pub fn new(text: &'a [u8], kind: Kind) -> Word<'a> {
        Word { id: id(text), text, kind }
    }

    /// Can it be a part of a name that `##` makes?
    pub fn is_part(&self) -> bool {
        matches!(self.kind, Kind::Identifier | Kind::Number)
    }
}

/// The tokens of a range without directives.
pub fn words(text: &[u8], range: Range<usize>) -> Vec<Word<'_>> {
    outline::tokens(text, range).map(|(range, kind)| Word::new(&text[range], kind)).collect()
}

/// A `#define`.
#[derive(Debug)]
pub struct Definition<'a> {
    pub name: Word<'a>,
    /// `None` for an object-like macro.
    pub parameters: Option<Vec<&'a [u8]>>,
    pub body: Vec<Word<'a>>,
}

/// Takes a `#define` directive apart; nothing where it has no name.
pub fn definition(text: &[u8], range: Range<usize>) -> Option<Definition<'_>> {
    let mut tokens = outline::tokens(text, range.start + 1..range.end).skip(1);
    let (name, kind) = tokens.next()?;
    let function_like = text[..range.end].get(name.end) == Some(&b'(');
    let mut words: Vec<Word> = tokens.map(|(range, kind)| Word::new(&text[range], kind)).collect();
    let mut parameters = None;
    if function_like {
        let close = words.iter().position(|word| word.text == b")")?;
        let mut named: Vec<&[u8]> = Vec::new();
        for (index, word) in words[1..close].iter().enumerate() {
            if is_identifier(word.text) {
                named.push(word.text);
            } else if word.text == b"..." && (index == 0 || words[index].text == b",") {
                named.push(b"__VA_ARGS__");
            }
        }
        parameters = Some(named);
        words.drain(..=close);
    }
    Some(Definition { name: Word::new(&text[name], kind), parameters, body: words })
}

/// Which arguments of a macro become parts of names. Those behind the last one known are like the last.
type Positions = Vec<bool>;

/// What is known of all macros.
#[derive(Debug, Default)]
pub struct Macros {
    /// Names that some `#define` defines, and whether with parameters.
    object_like: FxHashSet<Id>,
    function_like: FxHashSet<Id>,
    /// Macros that are nothing but attributes, or nothing at all, in every definition.
    attributes: FxHashSet<Id>,
    /// Macros that may end a statement or begin a block: the text's statements are not the compiler's.
    breaking: FxHashSet<Id>,
    /// Macros that may make GCC emit a function that nothing calls.
    emitting: FxHashSet<Id>,
    /// Object-like macros that stand for themselves alone (`#define name name`).
    itself: FxHashSet<Id>,
    pasting: FxHashMap<Id, Positions>,
}

impl Macros {
    pub fn new(defined: &[(Node, Definition)]) -> Macros {
        let definitions: Vec<&Definition> = defined.iter().map(|(_, definition)| definition).collect();
        let mut macros = Macros::default();
        let mut other: FxHashSet<Id> = FxHashSet::default();
        for definition in &definitions {
            let name = definition.name.id;
            match definition.parameters {
                None => macros.object_like.insert(name),
                Some(_) => macros.function_like.insert(name),
            };
            match definition.body.as_slice() {
                [word] if word.id == name => macros.itself.insert(name),
                _ => other.insert(name),
            };
        }
        macros.itself.retain(|name| !other.contains(name));
        // Constants, most of all macros by far, have none of the properties.
        let telling: Vec<&Definition> = definitions
            .iter()
            .copied()
            .filter(|definition| !matches!(definition.body.as_slice(), [word] if word.kind == Kind::Number))
            .collect();
        macros.find_breaking(&telling);
        macros.find_attributes(&definitions);
        macros.find_pasting(&telling);
        macros
    }

    pub fn is_function_like(&self, name: Id) -> bool {
        self.function_like.contains(&name)
    }

    /// Is it an object-like macro that stands for something else?
    pub fn is_alias(&self, name: Id) -> bool {
        self.object_like.contains(&name) && !self.itself.contains(&name)
    }

    pub fn is_attribute(&self, name: Id) -> bool {
        self.attributes.contains(&name)
    }

    pub fn is_breaking(&self, name: Id) -> bool {
        self.breaking.contains(&name)
    }

    pub fn is_emitting(&self, name: Id) -> bool {
        self.emitting.contains(&name)
    }

    fn find_breaking(&mut self, definitions: &[&Definition]) {
        loop {
            let known = self.breaking.len() + self.emitting.len();
            for Definition { name, body, .. } in definitions {
                let breaks = |word: &Word| {
                    matches!(word.text, b";" | b"{" | b"}" | b"=" | b"##") || self.breaking.contains(&word.id)
                };
                if !self.breaking.contains(&name.id) && body.iter().any(breaks) {
                    self.breaking.insert(name.id);
                }
                let emits = |word: &Word| EMITTING.contains(&word.text) || self.emitting.contains(&word.id);
                if !self.emitting.contains(&name.id) && body.iter().any(emits) {
                    self.emitting.insert(name.id);
                }
            }
            if known == self.breaking.len() + self.emitting.len() {
                return;
            }
        }
    }

    fn find_attributes(&mut self, definitions: &[&Definition]) {
        // Names with a definition that can't be one whatever others are.
        let plain = |definition: &&&Definition| {
            let first = definition.body.first();
            first.is_some_and(|word| !is_identifier(word.text))
        };
        let mut out: FxHashSet<Id> = definitions.iter().filter(plain).map(|definition| definition.name.id).collect();
        let left: Vec<&Definition> = definitions.iter().copied().filter(|d| !out.contains(&d.name.id)).collect();
        self.attributes = left.iter().map(|definition| definition.name.id).collect();
        // The greatest set in which every body is made of attributes and other members.
        loop {
            let wrong = left.iter().filter(|definition| self.attributes.contains(&definition.name.id));
            let wrong: Vec<Id> = wrong.filter(|d| !self.only_attributes(d)).map(|d| d.name.id).collect();
            if wrong.is_empty() {
                return;
            }
            for name in wrong {
                self.attributes.remove(&name);
                out.insert(name);
            }
        }
    }

    fn only_attributes(&self, definition: &Definition) -> bool {
        let mut at = 0;
        let body = &definition.body;
        while at < body.len() {
            let attribute = body[at].text.starts_with(b"__attribute");
            // A macro that mentions itself stands for a plain name.
            if body[at].id == definition.name.id || !(attribute || self.attributes.contains(&body[at].id)) {
                return false;
            }
            at += 1;
            if body.get(at).is_some_and(|word| word.text == b"(") {
                at = behind(body, at);
            }
        }
        true
    }

    fn find_pasting(&mut self, definitions: &[&Definition]) {
        loop {
            let mut changed = false;
            for definition in definitions {
                let Some(parameters) = &definition.parameters else {
                    // An alias of a pasting macro pastes what that one does.
                    if let [word] = definition.body.as_slice()
                        && let Some(positions) = self.pasting.get(&word.id).cloned()
                    {
                        changed |= self.add_positions(definition.name.id, &positions);
                    } else if definition.body.iter().any(|word| self.pasting.contains_key(&word.id)) {
                        changed |= self.add_positions(definition.name.id, &[true]);
                    }
                    continue;
                };
                let mut pasted = FxHashSet::default();
                self.parts_of_body(definition, &mut |_, word| {
                    pasted.insert(word.id);
                });
                if !pasted.is_empty() {
                    let positions: Positions =
                        parameters.iter().map(|parameter| pasted.contains(&id(parameter))).collect();
                    changed |= self.add_positions(definition.name.id, &positions);
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn add_positions(&mut self, name: Id, positions: &[bool]) -> bool {
        let known = self.pasting.entry(name).or_default();
        let mut changed = false;
        let length = known.len().max(positions.len());
        for index in 0..length {
            let at = |list: &[bool]| list.get(index).or(list.last()).copied().unwrap_or(false);
            let new = at(known) || at(positions);
            if index == known.len() {
                known.push(new);
                changed = true;
            } else if known[index] != new {
                known[index] = new;
                changed = true;
            }
        }
        changed
    }

    pub fn is_pasting(&self, name: Id) -> bool {
        self.pasting.contains_key(&name)
    }

    /// The words of a macro's body that may become parts of names, each with the macro that pastes it: next to `##`, or in
    /// an argument that is.
    pub fn parts_of_body<'a>(&self, definition: &Definition<'a>, part: &mut dyn FnMut(Id, Word<'a>)) {
        let body = &definition.body;
        for (index, word) in body.iter().enumerate() {
            if word.text != b"##" {
                continue;
            }
            // `, ## args` only takes the comma away.
            let before = index.checked_sub(1).map(|before| body[before]);
            if before.is_some_and(|word| word.text == b",") {
                continue;
            }
            let around = before.into_iter().chain(body.get(index + 1).copied());
            around.filter(Word::is_part).for_each(|word| part(definition.name.id, word));
        }
        // A parameter that is called may be any macro.
        let called = |word: &Word| definition.parameters.iter().flatten().any(|name| *name == word.text);
        self.parts(body, &called, part);
    }

    /// The words of a text that may become parts of names, each with the macro that pastes it.
    pub fn parts<'a>(&self, words: &[Word<'a>], any_macro: &dyn Fn(&Word) -> bool, part: &mut dyn FnMut(Id, Word<'a>)) {
        for (index, word) in words.iter().enumerate() {
            if word.kind != Kind::Identifier {
                continue;
            }
            let positions = self.pasting.get(&word.id);
            let called = words.get(index + 1).is_some_and(|next| next.text == b"(");
            if called && any_macro(word) {
                let given = words[index + 1..behind(words, index + 1)].iter().copied().filter(Word::is_part);
                given.for_each(|given| part(word.id, given));
            }
            let Some(positions) = positions else { continue };
            if called {
                for (argument, given) in arguments(words, index + 1) {
                    let pasted = positions.get(argument).or(positions.last()).copied().unwrap_or(false);
                    if pasted && given.is_part() {
                        part(word.id, given);
                    }
                }
            } else {
                // Its name is handed on: whatever is handed on with it may be its argument.
                let around = around(words, index);
                words[around].iter().copied().filter(Word::is_part).for_each(|given| part(word.id, given));
            }
        }
    }
}

/// The index behind the bracket that closes the one at `open`.
pub fn behind(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (index, word) in words.iter().enumerate().skip(open) {
        match word.text {
            b"(" | b"[" | b"{" => depth += 1,
            b")" | b"]" | b"}" => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    words.len()
}

/// The words between the parentheses from `open`, each with the number of its argument.
fn arguments<'a>(words: &[Word<'a>], open: usize) -> Vec<(usize, Word<'a>)> {
    let (mut depth, mut argument) = (0, 0);
    let mut found = Vec::new();
    for word in &words[open..] {
        match word.text {
            b"(" => depth += 1,
            b")" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            b"," if depth == 1 => argument += 1,
            _ => found.push((argument, *word)),
        }
    }
    found
}

/// The outermost parentheses around a word, or the word alone.
fn around(words: &[Word], at: usize) -> Range<usize> {
    let mut found = at..at + 1;
    let mut depth = 0;
    for index in (0..at).rev() {
        match words[index].text {
            b")" => depth += 1,
            b"(" if depth == 0 => found = index..behind(words, index),
            b"(" => depth -= 1,
            // Text of another statement.
            b";" | b"}" if depth == 0 => break,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros(text: &str) -> Macros {
        let bytes = text.as_bytes();
        let outline = outline::outline(bytes);
        let ranges = outline.items.iter().map(|item| item.text.start as usize..item.text.end as usize);
        let definitions: Vec<_> = ranges.filter_map(|range| Some((0, definition(bytes, range)?))).collect();
        Macros::new(&definitions)
    }

    fn parts(macros: &Macros, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut part = |_: Id, word: Word| found.push(String::from_utf8_lossy(word.text).into_owned());
        macros.parts(&words(text.as_bytes(), 0..text.len()), &|_| false, &mut part);
        found
    }

    #[test]
    fn attributes_are_known_in_every_definition() {
        let macros = macros(
            "#define __cold __attribute__((cold))\n#define __empty(x)\n#define __both __cold __empty(1)\n\
             #define __mixed __cold\n#define __mixed int\n#define self self\n#define __used2 __attribute__((used))\n",
        );
        for (name, expected) in
            [("__cold", true), ("__empty", true), ("__both", true), ("__mixed", false), ("self", false)]
        {
            assert_eq!(macros.is_attribute(id(name.as_bytes())), expected, "{name}");
        }
        assert!(macros.is_emitting(id(b"__used2")));
        assert!(!macros.is_alias(id(b"self")) && macros.is_alias(id(b"__mixed")));
    }

    #[test]
    fn statements_in_macros_break() {
        let macros = macros("#define A int a;\n#define B A\n#define C 1\n");
        assert!(macros.is_breaking(id(b"B")) && !macros.is_breaking(id(b"C")));
    }

    #[test]
    fn pasted_arguments_are_followed_through_macros() {
        let macros = macros(
            "#define PASTE_(a, b) a ## b\n#define PASTE(a, b) PASTE_(a, b)\n#define UNIQUE(p) PASTE(p, 1)\n\
             #define min(x, y) once(x, y, UNIQUE(x_))\n#define once(x, y, u) ({ int u = x; u < y; })\n\
             #define SHOW(n) int n##_open(int unused)\n#define ALIAS SHOW\n#define APPLY(m, x) m(x)\n\
             #define LOG(f, ...) print(f, ##__VA_ARGS__)\n",
        );
        assert_eq!(parts(&macros, "PASTE(foo, bar) + min(a, b)"), ["foo", "bar"]);
        assert_eq!(parts(&macros, "SHOW(one); ALIAS(two);"), ["one", "two"]);
        assert_eq!(parts(&macros, "APPLY(SHOW, three);"), ["three", "SHOW", "three"]);
        assert_eq!(parts(&macros, "LOG(a, b);"), [""; 0]);
    }
}
