//! A preprocessed unit with the place of each token: what the rules of [`crate::judge`] read.

use std::collections::BTreeMap;
use std::ops::Range;

use super::groups::{self, Statement};
use super::lex::{self, Interner, Symbol};
use super::names::{self, Name, Role};

/// A file and a line of it, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    file: u32,
    line: u32,
}

/// One version of a unit.
#[derive(Debug)]
pub struct Listing {
    interner: Interner,
    tokens: Vec<Symbol>,
    places: Vec<Place>,
    /// As GCC's line markers name them, without the tree's own folder.
    files: Vec<String>,
    statements: Vec<Statement>,
    names: Vec<Vec<Name>>,
    functions: BTreeMap<String, usize>,
}

/// A statement's tokens.
#[derive(Debug, Clone)]
pub struct Body<'a> {
    listing: &'a Listing,
    range: Range<usize>,
}

impl Listing {
    /// Reads the output of `gcc -E`; `roots` are the prefixes of the kernel tree in file names, with trailing `/`.
    pub fn new(text: &[u8], roots: &[String]) -> Listing {
        let mut interner = Interner::default();
        let tokens = lex::preprocessed(text, &mut interner);
        let (places, files) = places(text, tokens.len(), roots);
        let statements = groups::statements(&tokens, &mut interner);
        let names: Vec<Vec<Name>> = statements.iter().map(|s| names::declared(&tokens, &interner, s)).collect();
        let mut functions = BTreeMap::new();
        for (index, names) in names.iter().enumerate() {
            if let Some(name) = names.first().filter(|name| name.role == Role::Function) {
                functions.insert(interner.string(name.symbol), index);
            }
        }
        Listing { interner, tokens, places, files, statements, names, functions }
    }

    /// All functions with bodies, by name.
    pub fn functions(&self) -> impl Iterator<Item = (&str, Body<'_>)> {
        self.functions.iter().map(|(name, index)| (name.as_str(), self.body(*index)))
    }

    /// The names of all functions and objects that the unit declares.
    pub fn objects(&self) -> impl Iterator<Item = String> {
        let is_object = |name: &&Name| name.role.is_object();
        self.names.iter().flatten().filter(is_object).map(|name| self.interner.string(name.symbol))
    }

    pub fn function(&self, name: &str) -> Option<Body<'_>> {
        self.functions.get(name).map(|index| self.body(*index))
    }

    /// Statements that declare a name in a role.
    pub fn declarations(&self, name: &str, role: Role) -> impl Iterator<Item = Body<'_>> {
        let symbol = self.interner.find(name.as_bytes());
        let is = move |names: &Vec<Name>| names.iter().any(|n| Some(n.symbol) == symbol && n.role == role);
        (0..self.statements.len()).filter(move |index| is(&self.names[*index])).map(|index| self.body(index))
    }

    /// Is there a function, macro-made or not, with this name in the unit?
    pub fn declares_function(&self, name: &str) -> bool {
        self.functions.contains_key(name) || self.declarations(name, Role::Prototype).next().is_some()
    }

    fn body(&self, statement: usize) -> Body<'_> {
        Body { listing: self, range: self.statements[statement].tokens() }
    }

    fn text(&self, token: usize) -> &str {
        std::str::from_utf8(self.interner.text(self.tokens[token])).unwrap_or("")
    }
}

impl<'a> Body<'a> {
    pub fn len(&self) -> usize {
        self.range.len()
    }

    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The text of a token; nothing behind the end.
    pub fn word(&self, index: usize) -> &'a str {
        if index < self.range.len() { self.listing.text(self.range.start + index) } else { "" }
    }

    pub fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let listing = self.listing;
        self.range.clone().map(move |index| listing.text(index))
    }

    pub fn file(&self) -> &'a str {
        let place = self.listing.places[self.range.start];
        &self.listing.files[place.file as usize]
    }

    /// Line of a token.
    pub fn line(&self, index: usize) -> u32 {
        let last = self.range.len().saturating_sub(1);
        self.listing.places[self.range.start + index.min(last)].line
    }

    /// First and last line of its text; those of other files, which an included piece brings, aside.
    pub fn lines(&self) -> Range<u32> {
        let places = &self.listing.places[self.range.clone()];
        let own = places.iter().filter(|place| place.file == places[0].file).map(|place| place.line);
        own.clone().min().unwrap_or(0)..own.max().unwrap_or(0) + 1
    }

    /// Where the body of a function begins: its `{`.
    pub fn opening(&self) -> usize {
        self.words().position(|word| word == "{").unwrap_or(self.len())
    }

    /// Index behind the bracket that closes the one at `index`.
    pub fn behind(&self, index: usize) -> usize {
        let mut depth = 0;
        for at in index..self.len() {
            match self.word(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        self.len()
    }

    /// The calls by name in a function's body, in order.
    pub fn calls(&self) -> Vec<Call<'a>> {
        let start = self.opening();
        let is_call = |at: &usize| {
            let word = self.word(*at);
            let before = self.word(at.wrapping_sub(1));
            self.word(at + 1) == "("
                && groups::is_identifier(word.as_bytes())
                && !matches!(before, "." | "->")
                && !is_keyword(word)
        };
        (start..self.len()).filter(is_call).map(|at| Call { name: self.word(at), at }).collect()
    }

    /// The arguments of a call, each as a range of tokens.
    pub fn arguments(&self, call: Call<'_>) -> Vec<Range<usize>> {
        let end = self.behind(call.at + 1).saturating_sub(1);
        let mut found = Vec::new();
        let (mut start, mut at) = (call.at + 2, call.at + 2);
        while at < end {
            match self.word(at) {
                "(" | "[" | "{" => at = self.behind(at),
                "," => {
                    found.push(start..at);
                    at += 1;
                    start = at;
                }
                _ => at += 1,
            }
        }
        if start < end {
            found.push(start..end);
        }
        found
    }

    /// The tokens of a range in one line.
    pub fn shown(&self, range: Range<usize>) -> String {
        let mut text = String::new();
        for index in range {
            let word = self.word(index);
            let glued = |text: &str| text.is_empty() || text.ends_with(['(', '[', '>', '.', '&', '*', '!', '~']);
            let called = word == "(" && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            if !glued(&text) && !called && !matches!(word, ")" | "]" | "," | "->" | "." | "[" | ";") {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }
}

/// A call by name.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub name: &'a str,
    /// Of its name, in the body's tokens.
    pub at: usize,
}

/// Words that a parenthesis follows although nothing is called.
fn is_keyword(word: &str) -> bool {
    matches!(word, "if" | "while" | "for" | "switch" | "return" | "sizeof" | "do" | "else" | "case" | "goto")
        || matches!(
            word,
            "_Alignof" | "__alignof__" | "__alignof" | "__builtin_offsetof" | "_Static_assert" | "_Generic"
        )
        || matches!(word, "volatile" | "__volatile__" | "__builtin_types_compatible_p" | "__builtin_constant_p")
        || names::is_typeof(word.as_bytes())
        || names::is_attribute_word(word.as_bytes())
        || names::is_specifier(word.as_bytes())
}

/// The place of every token, from the line markers: `# LINE "FILE" FLAGS` (GCC's manual, Preprocessor Output).
fn places(text: &[u8], count: usize, roots: &[String]) -> (Vec<Place>, Vec<String>) {
    let mut places = Vec::with_capacity(count);
    let mut files: Vec<String> = vec![String::new()];
    let mut by_name: BTreeMap<String, u32> = BTreeMap::new();
    let mut place = Place { file: 0, line: 1 };
    for line in text.split(|byte| *byte == b'\n') {
        let mut at = lex::gap(line, 0).end;
        if line.get(at) == Some(&b'#') {
            let rest = &line[lex::gap(line, at + 1).end..];
            if rest.starts_with(b"pragma") {
                places.push(place);
            } else if let Some((number, name)) = marker(rest) {
                let name = roots.iter().find_map(|root| name.strip_prefix(root.as_str())).unwrap_or(&name);
                let next = files.len() as u32;
                let file = *by_name.entry(name.to_string()).or_insert(next);
                if file == next {
                    files.push(name.to_string());
                }
                place = Place { file, line: number };
                continue;
            }
            place.line += 1;
            continue;
        }
        while at < line.len() {
            let (end, _) = lex::token(line, at);
            places.push(place);
            at = lex::gap(line, end).end;
        }
        place.line += 1;
    }
    (places, files)
}

fn marker(rest: &[u8]) -> Option<(u32, String)> {
    let text = std::str::from_utf8(rest).ok()?;
    let (number, rest) = text.split_once(' ')?;
    let name = rest.strip_prefix('"')?.split('"').next()?;
    Some((number.parse().ok()?, name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# 1 \"/k/a.c\"\nint g(int);\nint f(int a)\n{\n# 7 \"/k/a.c\"\n return g(a + (1, 2),\n  h->k(3));\n}\n\
        #pragma pack(1)\n# 3 \"/k/include/b.h\" 1\nint c;\n";

    #[test]
    fn tokens_have_their_places() {
        let listing = Listing::new(TEXT.as_bytes(), &["/k/".into()]);
        assert_eq!(listing.places.len(), listing.tokens.len());
        let body = listing.function("f").unwrap();
        assert_eq!((body.file(), body.line(0), body.lines()), ("a.c", 2, 2..10));
        let c = listing.declarations("c", Role::Variable).next().unwrap();
        assert_eq!((c.file(), c.line(0)), ("include/b.h", 3));
    }

    #[test]
    fn calls_by_name_and_their_arguments() {
        let listing = Listing::new(TEXT.as_bytes(), &[]);
        let body = listing.function("f").unwrap();
        let calls = body.calls();
        assert_eq!(calls.iter().map(|call| call.name).collect::<Vec<_>>(), ["g"]);
        let arguments: Vec<_> = body.arguments(calls[0]).into_iter().map(|range| body.shown(range)).collect();
        assert_eq!(arguments, ["a + (1, 2)", "h->k(3)"]);
        assert_eq!(body.line(calls[0].at), 7);
    }
}
