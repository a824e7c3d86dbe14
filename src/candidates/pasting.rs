//! Which macros may make a name by `##`.
//!
//! Each run of `##` in a macro's body is a pattern of literal words and holes (`Page ## name`, `a ## b`). It may make a
//! name if every hole can be filled with a word that somewhere is an argument to be pasted, or a part of one. Holes are
//! filled with pasted names in turn only for macros that are anywhere called with a macro that pastes among the arguments.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::macros::{Definition, Id, Macros, Word, id};
use super::tree::Node;

/// How often a pasted name may be an argument of the next paste: `__UNIQUE_ID()` has two (include/linux/compiler.h).
const DEPTH: usize = 3;

/// A run of `##`: words, and `None` for what an argument gives.
type Pattern<'a> = Vec<Option<&'a [u8]>>;

/// A pattern's macros, where they are defined, and whether a hole may be a pasted name.
#[derive(Debug, Default)]
struct Makers<'a> {
    of: Vec<(Word<'a>, Node)>,
    nested: bool,
}

/// All that is pasted in a set of files.
#[derive(Debug)]
pub struct Pasting<'a> {
    patterns: Vec<(Pattern<'a>, Makers<'a>)>,
    /// Patterns by the word that they begin with; of those that begin with a hole, by the word that they end with; and those
    /// with a hole at both ends.
    by_first: FxHashMap<Id, Vec<usize>>,
    by_last: FxHashMap<Id, Vec<usize>>,
    open: Vec<usize>,
    /// Words that are pasted somewhere.
    parts: FxHashSet<Id>,
    /// By name and depth: can it be made?
    known: FxHashMap<(Id, usize), bool>,
}

impl<'a> Pasting<'a> {
    /// `statements` are the parts in all other text: the macro that pastes, and the part.
    pub fn new(macros: &Macros, defined: &[(Node, Definition<'a>)], statements: &[Vec<(Id, Id)>]) -> Pasting<'a> {
        let mut given: Vec<(Id, Id)> = statements.iter().flatten().copied().collect();
        for (_, definition) in defined {
            macros.parts_of_body(definition, &mut |user, word| given.push((user, word.id)));
        }
        given.sort_unstable();
        given.dedup();
        let mut bodies: FxHashMap<Id, Vec<&Definition>> = FxHashMap::default();
        for (_, definition) in defined {
            bodies.entry(definition.name.id).or_default().push(definition);
        }
        // An argument may be a macro: then what it stands for is pasted.
        let mut parts: FxHashSet<Id> = FxHashSet::default();
        let mut queue: Vec<Id> = given.iter().map(|(_, part)| *part).collect();
        while let Some(part) = queue.pop() {
            if parts.insert(part) {
                let bodies = bodies.get(&part).into_iter().flatten();
                queue.extend(bodies.flat_map(|d| &d.body).filter(|word| word.is_part()).map(|word| word.id));
            }
        }
        let nested = nested(macros, &given, &bodies);
        let mut patterns: BTreeMap<Pattern, Makers> = BTreeMap::new();
        for (node, definition) in defined {
            for pattern in self::patterns(definition) {
                let makers = patterns.entry(pattern).or_default();
                makers.of.push((definition.name, *node));
                makers.nested |= nested.contains(&definition.name.id);
            }
        }
        let patterns: Vec<(Pattern, Makers)> = patterns.into_iter().collect();
        let (mut by_first, mut by_last) =
            (FxHashMap::<Id, Vec<usize>>::default(), FxHashMap::<Id, Vec<usize>>::default());
        let mut open = Vec::new();
        for (index, (pattern, _)) in patterns.iter().enumerate() {
            match (pattern.first().copied().flatten(), pattern.last().copied().flatten()) {
                (Some(first), _) => by_first.entry(id(first)).or_default().push(index),
                (None, Some(last)) => by_last.entry(id(last)).or_default().push(index),
                (None, None) => open.push(index),
            }
        }
        Pasting { patterns, by_first, by_last, open, parts, known: FxHashMap::default() }
    }

    /// Patterns whose ends are those of a name.
    fn fitting(&self, name: &[u8]) -> Vec<usize> {
        let heads = (1..=name.len()).filter_map(|end| self.by_first.get(&id(&name[..end])));
        let tails = (0..name.len()).filter_map(|start| self.by_last.get(&id(&name[start..])));
        heads.chain(tails).flatten().chain(&self.open).copied().collect()
    }

    /// The macros that may make a name, and where they are defined.
    pub fn makers(&mut self, name: &[u8]) -> Vec<(Word<'a>, Node)> {
        let fitting = self.fitting(name);
        let found: Vec<usize> = fitting.into_iter().filter(|pattern| self.makes(*pattern, name, DEPTH)).collect();
        found.into_iter().flat_map(|pattern| self.patterns[pattern].1.of.iter().copied()).collect()
    }

    fn makes(&mut self, pattern: usize, name: &[u8], depth: usize) -> bool {
        let mut reached = vec![0];
        for operand in 0..self.patterns[pattern].0.len() {
            let (operand, nested) = (self.patterns[pattern].0[operand], self.patterns[pattern].1.nested);
            let mut next = Vec::new();
            for start in reached {
                let rest = &name[start..];
                match operand {
                    Some(word) if rest.starts_with(word) => next.push(start + word.len()),
                    Some(_) => {}
                    None => {
                        let lengths = (1..=rest.len()).filter(|length| *length < name.len());
                        next.extend(lengths.filter(|l| self.fills(&rest[..*l], nested, depth)).map(|l| start + l));
                    }
                }
            }
            next.sort_unstable();
            next.dedup();
            if next.is_empty() {
                return false;
            }
            reached = next;
        }
        reached.contains(&name.len())
    }

    fn fills(&mut self, part: &[u8], nested: bool, depth: usize) -> bool {
        self.parts.contains(&id(part)) || (nested && depth > 1 && self.is_made(part, depth - 1))
    }

    fn is_made(&mut self, name: &[u8], depth: usize) -> bool {
        let key = (id(name), depth);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let fitting = self.fitting(name);
        let made = fitting.into_iter().any(|pattern| self.makes(pattern, name, depth));
        self.known.insert(key, made);
        made
    }
}

/// Macros that are given pasted names, at any depth.
fn nested(macros: &Macros, given: &[(Id, Id)], bodies: &FxHashMap<Id, Vec<&Definition>>) -> FxHashSet<Id> {
    let mut queue: Vec<Id> = given.iter().filter(|(_, part)| macros.is_pasting(*part)).map(|(user, _)| *user).collect();
    let mut found = FxHashSet::default();
    while let Some(name) = queue.pop() {
        if found.insert(name) {
            let bodies = bodies.get(&name).into_iter().flatten();
            queue.extend(bodies.flat_map(|d| &d.body).map(|word| word.id).filter(|id| macros.is_pasting(*id)));
        }
    }
    found
}

/// The runs of `##` in a macro's body.
fn patterns<'a>(definition: &Definition<'a>) -> Vec<Pattern<'a>> {
    let body = &definition.body;
    let operand = |word: &Word<'a>| {
        let parameter = definition.parameters.iter().flatten().any(|name| *name == word.text);
        (!parameter).then_some(word.text)
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + 2 < body.len() {
        if body[at + 1].text != b"##" || body[at].text == b"," {
            at += 1;
            continue;
        }
        let mut pattern = vec![operand(&body[at])];
        while at + 2 < body.len() && body[at + 1].text == b"##" {
            at += 2;
            pattern.push(operand(&body[at]));
        }
        at += 1;
        found.push(pattern);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::macros::{definition, words};
    use super::super::outline::outline;
    use super::*;

    fn makers(defines: &str, text: &str, name: &str) -> Vec<String> {
        let bytes = defines.as_bytes();
        let outline = outline(bytes);
        let ranges = outline.items.iter().map(|item| item.text.start as usize..item.text.end as usize);
        let defined: Vec<_> = ranges.filter_map(|range| Some((0, definition(bytes, range)?))).collect();
        let macros = Macros::new(&defined);
        let mut parts = Vec::new();
        macros.parts(&words(text.as_bytes(), 0..text.len()), &|_| false, &mut |user, word| parts.push((user, word.id)));
        let mut pasting = Pasting::new(&macros, &defined, &[parts]);
        pasting.makers(name.as_bytes()).iter().map(|(m, _)| String::from_utf8_lossy(m.text).into_owned()).collect()
    }

    #[test]
    fn names_are_made_of_what_is_given() {
        let show = "#define SHOW(n) int n##_open(void)\n";
        assert_eq!(makers(show, "SHOW(one)", "one_open"), ["SHOW"]);
        assert_eq!(makers(show, "SHOW(one)", "two_open"), [""; 0]);
        assert_eq!(makers(show, "SHOW(one)", "one_close"), [""; 0]);
        let alias = "#define PASTE_(a, b) a##b\n#define PASTE(a, b) PASTE_(a, b)\n#define END _open\n";
        assert_eq!(makers(alias, "PASTE(one, END)", "one_open"), ["PASTE_"]);
        let through = "#define MAKE(x) INNER(get_, x)\n#define INNER(a, b) a##b\n";
        assert_eq!(makers(through, "MAKE(it)", "get_it"), ["INNER"]);
        assert_eq!(makers(through, "MAKE(it)", "it"), [""; 0]);
        let handed = "#define SHOW(n) int n##_open(void)\n#define EACH(m) m(one)\n#define APPLY(m, x) m(x)\n";
        assert_eq!(makers(handed, "APPLY(SHOW, two)", "two_open"), ["SHOW"]);
        assert_eq!(makers(handed, "EACH(SHOW)", "one_open"), ["SHOW"]);
    }

    #[test]
    fn pasted_names_are_pasted_again() {
        let twice = "#define P_(a, b) a##b\n#define P(a, b) P_(a, b)\n#define U(p) P(P(id_, p), 7)\n";
        assert_eq!(makers(twice, "U(x)", "id_x7"), ["P_"]);
        assert_eq!(makers(twice, "U(x)", "id_y7"), [""; 0]);
    }
}
