//! The raw text of a file cut into items: macro definitions, and pieces at file scope that no statement crosses.
//!
//! No `#if` is run and no macro expanded, so braces are only counted: where the branches of a conditional or a macro make
//! that unsure, the item says so ([`Item::unsure`]) and nobody relies on what it seems to be.

use std::ops::Range;

use crate::unit::lex::{self, Kind};

/// Conditionals that are never true in C code of the kernel.
const NEVER: &[&[u8]] = &[b"__cplusplus", b"__ASSEMBLY__"];

/// What an item is, as far as its text alone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shape {
    /// `#define`; the range of its name.
    Macro,
    Statement,
    /// Any other directive that isn't inside of a statement.
    Directive,
}

/// A piece of a file.
#[derive(Debug, Clone)]
pub struct Item {
    pub shape: Shape,
    pub text: Range<u32>,
    /// Is where it ends, or what belongs to it, not sure?
    pub unsure: bool,
}

/// A name in an `#if`.
#[derive(Debug, Clone)]
pub struct Condition {
    pub name: Range<u32>,
    /// Is only asked whether it is defined?
    pub defined: bool,
}

/// A file's items, in order.
#[derive(Debug, Default)]
pub struct Outline {
    pub items: Vec<Item>,
    pub conditions: Vec<Condition>,
    /// Braces don't match: what items seem to be says nothing.
    pub unbalanced: bool,
}

/// A token of raw text, or a directive as a whole.
#[derive(Debug, Clone)]
pub enum Piece {
    Token(Range<usize>, Kind),
    /// The range of the whole line, and where its name ends.
    Directive(Range<usize>, Range<usize>),
}

/// Reads raw text piece by piece.
#[derive(Debug, Clone)]
pub struct Pieces<'a> {
    text: &'a [u8],
    at: usize,
    line_start: bool,
    /// Did the last piece begin its line?
    pub first_of_line: bool,
}

impl<'a> Pieces<'a> {
    pub fn new(text: &'a [u8]) -> Pieces<'a> {
        Pieces { text, at: 0, line_start: true, first_of_line: true }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            self.at = lex::gap(self.text, self.at).end;
            let byte = *self.text.get(self.at)?;
            if byte == b'\n' {
                self.at += 1;
                self.line_start = true;
                continue;
            }
            let start = self.at;
            self.first_of_line = self.line_start;
            if byte == b'#' && self.line_start {
                let end = directive_end(self.text, start);
                let name = lex::gap(&self.text[..end], start + 1).end;
                let name_end = if name < end { lex::token(&self.text[..end], name).0.min(end) } else { end };
                self.at = end;
                return Some(Piece::Directive(start..end, name..name_end));
            }
            self.line_start = false;
            let (end, kind) = lex::token(self.text, start);
            self.at = end.min(self.text.len());
            return Some(Piece::Token(start..self.at, kind));
        }
    }
}

/// End of the directive that starts at `at`: its newline, splices, comments and strings taken into account.
fn directive_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while end < text.len() && text[end] != b'\n' {
        let next = text.get(end + 1).copied().unwrap_or(0);
        end = match text[end] {
            b'\\' if next == b'\n' => end + 2,
            b'/' if next == b'*' || next == b'/' => lex::gap(text, end).end,
            b'"' | b'\'' => lex::token(text, end).0.min(text.len()),
            _ => end + 1,
        };
    }
    end.min(text.len())
}

/// The tokens of a directive behind its name, or of any text without directives.
pub fn tokens(text: &[u8], range: Range<usize>) -> impl Iterator<Item = (Range<usize>, Kind)> + '_ {
    let inner = &text[..range.end];
    let mut at = range.start;
    std::iter::from_fn(move || {
        loop {
            at = lex::gap(inner, at).end;
            if *inner.get(at)? == b'\n' {
                at += 1;
                continue;
            }
            let start = at;
            let (end, kind) = lex::token(inner, at);
            at = end.min(inner.len());
            return Some((start..at, kind));
        }
    })
}

/// An open conditional.
struct Level {
    /// Nesting at its beginning, and at the end of its first branch.
    depth: (i32, i32),
    first_end: Option<(i32, i32)>,
    /// Is this branch never compiled?
    dead: bool,
    /// Does the next `#else` end (or begin) what is never compiled?
    known: Option<bool>,
}

struct Scan<'a> {
    text: &'a [u8],
    outline: Outline,
    levels: Vec<Level>,
    /// Open braces; open parentheses and brackets.
    depth: (i32, i32),
    /// The statement under way: its start, the number of conditionals around it, whether it is unsure.
    start: Option<usize>,
    level: usize,
    unsure: bool,
    end: usize,
    /// Tokens at depth 0 of the statement under way.
    top: Vec<Range<usize>>,
    /// Does its open brace begin a function's body?
    body: bool,
}

/// Cuts a file into items.
pub fn outline(text: &[u8]) -> Outline {
    let mut scan = Scan {
        text,
        outline: Outline::default(),
        levels: Vec::new(),
        depth: (0, 0),
        start: None,
        level: 0,
        unsure: false,
        end: 0,
        top: Vec::new(),
        body: false,
    };
    let mut pieces = Pieces::new(text);
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Directive(range, name) => scan.directive(range, name),
            Piece::Token(range, kind) if !scan.dead() => scan.token(range, kind, pieces.first_of_line),
            Piece::Token(..) => {}
        }
    }
    scan.outline.unbalanced |= scan.depth != (0, 0) || !scan.levels.is_empty();
    scan.unsure |= scan.start.is_some();
    scan.finish();
    scan.outline
}

impl Scan<'_> {
    fn dead(&self) -> bool {
        self.levels.iter().any(|level| level.dead)
    }

    fn finish(&mut self) {
        if let Some(start) = self.start.take() {
            let item = Item { shape: Shape::Statement, text: start as u32..self.end as u32, unsure: self.unsure };
            self.outline.items.push(item);
        }
        self.unsure = false;
        self.body = false;
        self.top.clear();
    }

    fn token(&mut self, range: Range<usize>, kind: Kind, first_of_line: bool) {
        let text = &self.text[range.clone()];
        let flat = self.depth == (0, 0);
        if self.start.is_some() && flat && first_of_line && kind == Kind::Identifier && self.is_invocation() {
            self.finish();
        }
        if self.start.is_none() {
            self.start = Some(range.start);
            self.level = self.levels.len();
        }
        self.end = range.end;
        if flat {
            self.top.push(range.clone());
        }
        let mut ends = false;
        match text {
            b"{" => {
                if flat {
                    self.body = self.opens_body();
                }
                self.depth.0 += 1;
            }
            b"}" => {
                self.depth.0 -= 1;
                ends = self.depth == (0, 0) && self.body;
                if self.depth == (0, 0) {
                    self.top.push(range);
                }
            }
            b"(" | b"[" => self.depth.1 += 1,
            b")" | b"]" => {
                self.depth.1 -= 1;
                if self.depth == (0, 0) {
                    self.top.push(range);
                }
            }
            b";" => ends = flat,
            _ => {}
        }
        if self.depth.0 < 0 || self.depth.1 < 0 {
            self.outline.unbalanced = true;
            self.depth = (self.depth.0.max(0), self.depth.1.max(0));
        }
        if ends && self.levels.len() == self.level {
            self.finish();
        }
    }

    fn top_text(&self, index: usize) -> &[u8] {
        self.top.get(index).map_or(&b""[..], |range| &self.text[range.clone()])
    }

    /// Is the statement so far `NAME(...)`, as of a macro that needs no `;`?
    fn is_invocation(&self) -> bool {
        self.top.len() == 3 && self.top_text(1) == b"(" && self.top_text(2) == b")"
    }

    /// Does the `{` that was just taken in begin a function's body, by the tokens at depth 0 before it?
    fn opens_body(&self) -> bool {
        let before = &self.top[..self.top.len() - 1];
        if before.iter().any(|range| self.text[range.clone()] == *b"=") {
            return false;
        }
        let texts: Vec<&[u8]> = before.iter().map(|range| &self.text[range.clone()]).collect();
        let Some(close) = texts.iter().rposition(|text| *text == b")") else { return false };
        let record = |text: &&[u8]| matches!(*text, b"struct" | b"union" | b"enum");
        if texts[close..].iter().any(record) {
            return false;
        }
        // `struct __aligned(8) name {` and `struct name __packed {`: an attribute, no parameters.
        let named = close.checked_sub(2).map_or(&b""[..], |index| texts[index]);
        !(named.starts_with(b"__attribute") || named == b"__aligned") || !texts.iter().any(record)
    }

    fn directive(&mut self, range: Range<usize>, name: Range<usize>) {
        let text = self.text;
        let word = &text[name.clone()];
        let rest = name.end..range.end;
        match word {
            b"if" | b"ifdef" | b"ifndef" => {
                let (dead, known) = if self.dead() { (true, None) } else { self.opened(word, rest) };
                if !self.dead() {
                    self.conditional();
                }
                self.levels.push(Level { depth: self.depth, first_end: None, dead, known });
            }
            b"elif" | b"else" => {
                if word == b"elif" && !self.dead() {
                    self.conditions(rest, false);
                }
                self.branch(word == b"else");
            }
            b"endif" => self.closed(),
            _ if self.dead() => {}
            b"define" => {
                let item = Item { shape: Shape::Macro, text: range.start as u32..range.end as u32, unsure: false };
                self.outline.items.push(item);
            }
            _ if self.start.is_some() => {}
            _ => {
                let item = Item { shape: Shape::Directive, text: range.start as u32..range.end as u32, unsure: false };
                self.outline.items.push(item);
            }
        }
        // Conditionals around statements are items too: moving one changes what is compiled.
        let conditional = matches!(word, b"if" | b"ifdef" | b"ifndef" | b"elif" | b"else" | b"endif");
        if conditional {
            let item = Item { shape: Shape::Directive, text: range.start as u32..range.end as u32, unsure: false };
            self.outline.items.push(item);
            if self.start.is_some() {
                self.end = range.end;
            }
        }
    }

    /// Is the branch that opens here never compiled, and is that known of its `#else`?
    fn opened(&mut self, word: &[u8], rest: Range<usize>) -> (bool, Option<bool>) {
        let first: Vec<&[u8]> = tokens(self.text, rest.clone()).map(|(range, _)| &self.text[range]).take(2).collect();
        let never = first.first().is_some_and(|name| NEVER.contains(name));
        match (word, first.as_slice()) {
            (b"ifdef", _) if never => return (true, Some(false)),
            (b"ifndef", _) if never => return (false, Some(true)),
            (b"if", [b"0"]) => return (true, Some(false)),
            _ => {}
        }
        self.conditions(rest, word != b"if");
        (false, None)
    }

    /// Takes in the names of a condition.
    fn conditions(&mut self, rest: Range<usize>, mut defined: bool) {
        let whole = defined;
        for (range, kind) in tokens(self.text, rest) {
            let text = &self.text[range.clone()];
            if text == b"defined" {
                defined = true;
            } else if kind == Kind::Identifier {
                self.outline.conditions.push(Condition { name: range.start as u32..range.end as u32, defined });
                defined = whole;
            }
        }
    }

    /// A conditional inside of a statement, outside of all its braces, makes it unsure.
    fn conditional(&mut self) {
        if self.start.is_some() && self.depth == (0, 0) {
            self.unsure = true;
        }
    }

    fn branch(&mut self, is_else: bool) {
        let outer_dead = self.levels.split_last().is_some_and(|(_, outer)| outer.iter().any(|level| level.dead));
        let depth = self.depth;
        let open = self.start.is_some();
        let inside = self.level;
        let count = self.levels.len();
        let Some(level) = self.levels.last_mut() else {
            self.outline.unbalanced = true;
            return;
        };
        if outer_dead {
            return;
        }
        if !level.dead {
            level.first_end.get_or_insert(depth);
        }
        level.dead = if is_else { level.known == Some(true) } else { false };
        if !is_else {
            level.known = None;
        }
        self.depth = level.depth;
        if open && count <= inside {
            // The statement began in the branch that ends here.
            self.unsure = true;
            self.level = count - 1;
        }
        self.conditional();
    }

    fn closed(&mut self) {
        let Some(level) = self.levels.pop() else {
            self.outline.unbalanced = true;
            return;
        };
        if self.dead() {
            return;
        }
        if let Some(first) = level.first_end {
            self.depth = first;
        } else if level.dead {
            self.depth = level.depth;
        }
        self.conditional();
        if self.start.is_some() && self.levels.len() < self.level {
            self.unsure = true;
            self.level = self.levels.len();
        }
        let ended = matches!(self.text.get(self.end.wrapping_sub(1)), Some(b';' | b'}'));
        if self.start.is_some() && self.depth == (0, 0) && self.levels.len() == self.level && ended {
            self.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<(String, bool)> {
        let outline = outline(text.as_bytes());
        assert!(!outline.unbalanced, "{text}");
        let shown = outline.items.iter().filter(|item| item.shape != Shape::Directive);
        shown.map(|i| (text[i.text.start as usize..i.text.end as usize].replace('\n', " "), i.unsure)).collect()
    }

    fn sure(list: &[&str]) -> Vec<(String, bool)> {
        list.iter().map(|text| (text.to_string(), false)).collect()
    }

    #[test]
    fn statements_and_macros_are_told_apart() {
        let text = "#ifndef H\n#define H\nstatic inline int f(int a)\n{ if (a) { return 1; } return 0; }\n\
                    struct s { int a; } __packed;\nstruct t x(int a) { }\nextern int e;\n#define M(a) \\\n a;\nMAKE(a, b)\n\
                    int p(void);\nstruct s *q = { 1, };\n#endif\n";
        let expected = [
            "#define H",
            "static inline int f(int a) { if (a) { return 1; } return 0; }",
            "struct s { int a; } __packed;",
            "struct t x(int a) { }",
            "extern int e;",
            "#define M(a) \\  a;",
            "MAKE(a, b)",
            "int p(void);",
            "struct s *q = { 1, };",
        ];
        assert_eq!(items(text), sure(&expected));
    }

    #[test]
    fn branches_that_open_one_body_are_one_unsure_item() {
        let text = "#ifdef A\nint f(int a) {\n#else\nint g(int a) {\n#endif\nreturn a; }\nint h;\n";
        let found = items(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1 && found[0].0.starts_with("int f") && found[0].0.ends_with("return a; }"));
        assert_eq!(found[1], ("int h;".to_string(), false));
    }

    #[test]
    fn conditionals_inside_of_braces_change_nothing() {
        let text =
            "static inline int f(int a) {\n#ifdef A\nif (a) {\n#else\nif (!a) {\n#endif\n} return 1; }\nint h;\n";
        assert_eq!(items(text).iter().map(|(_, unsure)| *unsure).collect::<Vec<_>>(), [false, false]);
        let tail = "int a\n#ifdef X\n= 1;\n#else\n= 2;\n#endif\nint b;\n";
        assert_eq!(items(tail).iter().map(|(_, unsure)| *unsure).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_no_c_code_sees_is_left_out() {
        let text = "#ifdef __cplusplus\nextern \"C\" {\n#endif\nint a;\n#ifdef __ASSEMBLY__\n.macro x {\n#else\nint b;\n#endif\n\
                    #if 0\n{\n#endif\n#ifdef __cplusplus\n}\n#endif\n";
        assert_eq!(items(text), sure(&["int a;", "int b;"]));
    }
}
