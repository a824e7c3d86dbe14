//! A source file as it is written: its macros and file-scope statements, with no `#if` run and no macro expanded.
//!
//! What it says of names is an over-approximation, or nothing at all.

use std::ops::Range;

use super::groups::{self, Shape, Statement};
use super::lex::{self, Interner, Symbol};
use super::live;
use super::names::{self, Name};

/// Words that make a function's code although nobody uses it, where headers spell attributes by macros
/// (include/linux/compiler_attributes.h, include/linux/init.h); beside those of [`live::EMITTING`].
const EMITTED: &[&[u8]] =
    &[b"__used", b"__visible", b"__section", b"__init", b"__attribute__", b"__attribute", b"__alias"];

/// Words by which headers say `inline`, beside those of [`live::INLINE`] (include/linux/compiler_types.h).
const ALWAYS_INLINE: &[u8] = b"__always_inline";

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Function,
    Macro,
}

/// A `#define`.
#[derive(Debug)]
pub struct MacroText {
    pub name: Symbol,
    /// The `...` too.
    pub parameters: Vec<Symbol>,
    /// Is it without parentheses?
    pub is_object: bool,
    pub body: Vec<Symbol>,
}

/// The text of one file.
#[derive(Debug)]
pub struct Written {
    pub interner: Interner,
    tokens: Vec<Symbol>,
    /// By token, from 1.
    lines: Vec<u32>,
    statements: Vec<Statement>,
    /// By statement: does a condition begin or end in it, outside of its brackets?
    mixed: Vec<bool>,
    pub macros: Vec<MacroText>,
    /// See [`Written::conditions`].
    conditions: Vec<Symbol>,
    /// Do the brackets match in every branch of every condition?
    even: bool,
}

/// What of a file has certain names in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Macros, and inline functions that make no code by themselves.
    pub by: Vec<(Vec<u8>, Kind)>,
    /// Is it mentioned by anything else?
    pub by_root: bool,
}

impl Written {
    pub fn read(text: &[u8]) -> Written {
        let mut reader = Reader::default();
        reader.read(text);
        let Reader { mut interner, tokens, lines, macros, conditions, branches } = reader;
        let statements = groups::statements(&tokens, &mut interner);
        let depths = depths(&tokens, &interner);
        let even = is_even(&branches, &depths);
        let at_top = |at: usize| depths[at] == 0;
        let mixed = statements.iter().map(|statement| {
            let inside = |(at, _): &&(usize, Branch)| statement.start < *at as u32 && (*at as u32) < statement.end;
            branches.iter().filter(inside).any(|(at, _)| at_top(*at))
        });
        let mixed = mixed.collect();
        Written { interner, tokens, lines, statements, mixed, macros, conditions, even }
    }

    /// All tokens outside of directives.
    pub fn tokens(&self) -> &[Symbol] {
        &self.tokens
    }

    /// Tokens of conditions, and of `#include` lines that a macro completes.
    pub fn conditions(&self) -> &[Symbol] {
        &self.conditions
    }

    /// Who mentions one of the wanted names, but for the declaration of a function of that name.
    pub fn mentions(&self, wanted: &dyn Fn(&[u8]) -> Option<Kind>) -> Mentions {
        let kind = |token: &Symbol| match self.interner.text(*token) {
            // Assembly names functions in strings.
            text if text.starts_with(b"\"") => words(text).find_map(wanted),
            text => wanted(text),
        };
        let mut found = Mentions { by: Vec::new(), by_root: self.conditions.iter().any(|token| kind(token).is_some()) };
        for definition in &self.macros {
            // A function under another name, where it isn't `#define f f`.
            let renames = wanted(self.interner.text(definition.name)) == Some(Kind::Function);
            found.by_root |= renames && definition.body != [definition.name];
            if definition.body.iter().any(|token| kind(token).is_some()) {
                found.by.push((self.interner.text(definition.name).to_vec(), Kind::Macro));
            }
        }
        for (index, statement) in self.statements.iter().enumerate() {
            let tokens = &self.tokens[statement.tokens()];
            let strongest = tokens.iter().filter_map(kind).max();
            let Some(strongest) = strongest else { continue };
            match self.inline_function(index) {
                Some(name) => found.by.push((name.to_vec(), Kind::Function)),
                None if strongest == Kind::Function && (self.only_declares(index) || self.only_type(index)) => {}
                None => found.by_root = true,
            }
        }
        found
    }

    /// Does any part of the file have one of the names, in code, directives or strings?
    pub fn has(&self, wanted: &dyn Fn(&[u8]) -> bool) -> bool {
        let has = |token: &Symbol| match self.interner.text(*token) {
            text if text.starts_with(b"\"") => words(text).any(wanted),
            text => wanted(text),
        };
        let bodies = self.macros.iter().flat_map(|macro_| macro_.body.iter().chain(std::iter::once(&macro_.name)));
        self.tokens.iter().chain(&self.conditions).chain(bodies).any(has)
    }

    /// The inline functions whose bodies hold the lines between two others. Nothing where it can't be told; empty where no
    /// statement is there.
    pub fn functions_between(&self, (before, behind): (u32, u32)) -> Option<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for (index, statement) in self.statements.iter().enumerate() {
            let lines = &self.lines[statement.tokens()];
            if !(lines.iter().any(|line| *line < behind) && lines.iter().any(|line| *line > before)) {
                continue;
            }
            let name = self.inline_function(index)?;
            let opens = statement.tokens().find(|at| self.interner.text(self.tokens[*at]) == b"{")?;
            if !(self.lines[opens] <= before && behind <= *lines.last()?) {
                return None;
            }
            found.push(name.to_vec());
        }
        self.even.then_some(found)
    }

    /// The names that the statements in a range of lines declare, where they are whole, and nothing but inline functions,
    /// declarations of functions and types.
    pub fn declared_in(&self, range: Range<u32>) -> Option<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        for (index, statement) in self.statements.iter().enumerate() {
            let lines = &self.lines[statement.tokens()];
            let inside = lines.iter().filter(|line| range.contains(*line)).count();
            if inside == 0 {
                continue;
            }
            if inside < lines.len() || self.mixed[index] || self.conditional(statement) {
                return None;
            }
            let declared = names::declared(&self.tokens, &self.interner, statement);
            let is_type = |name: &Name| !name.role.is_object();
            let harmless = match statement.shape {
                Shape::Function(_) => self.inline_function(index).is_some(),
                Shape::Declaration => {
                    self.only_declares(index) || (self.only_type(index) && declared.iter().all(is_type))
                }
                Shape::Empty => true,
                Shape::Pragma => false,
            };
            if !harmless || (declared.is_empty() && statement.shape != Shape::Empty) {
                return None;
            }
            found.extend(declared.iter().map(|name| self.interner.text(name.symbol).to_vec()));
        }
        self.even.then_some(found)
    }

    /// The name of a function that makes no code by itself.
    fn inline_function(&self, index: usize) -> Option<&[u8]> {
        let statement = &self.statements[index];
        let Shape::Function(name) = statement.shape else { return None };
        let end = statement.signature_end(&self.tokens, &self.interner);
        let signature = &self.tokens[statement.start as usize..end as usize];
        let has = |wanted: &dyn Fn(&[u8]) -> bool| signature.iter().any(|token| wanted(self.interner.text(*token)));
        let inline = has(&|word| word == ALWAYS_INLINE || live::INLINE.contains(&word));
        let emitted = has(&|word| EMITTED.contains(&word) || live::EMITTING.contains(&word));
        let plain = self.even && !self.mixed[index] && inline && has(&|word| word == b"static") && !emitted;
        plain.then(|| self.interner.text(self.tokens[name as usize]))
    }

    /// Is it `int name(...);`, with at least a word before the name?
    fn only_declares(&self, index: usize) -> bool {
        let statement = &self.statements[index];
        let tokens = &self.tokens[statement.tokens()];
        let text = |at: usize| tokens.get(at).map_or(&b""[..], |token| self.interner.text(*token));
        let Some(open) = (0..tokens.len()).find(|at| matches!(text(*at), b"(" | b"[" | b"{" | b"=")) else {
            return false;
        };
        let words = (0..open).filter(|at| groups::is_identifier(text(*at))).count();
        self.even
            && !self.mixed[index]
            && statement.shape == Shape::Declaration
            && text(open) == b"("
            && words > 1
            && text(0) != b"static"
            && groups::is_identifier(text(open - 1))
            && !(open..tokens.len()).any(|at| matches!(text(at), b"{" | b"="))
    }

    /// Is it a type, or objects of one without initialisers?
    fn only_type(&self, index: usize) -> bool {
        let statement = &self.statements[index];
        let first = self.interner.text(self.tokens[statement.start as usize]);
        let begins = matches!(first, b"struct" | b"union" | b"enum" | b"typedef");
        self.even && !self.mixed[index] && begins && !self.has_initialiser(statement)
    }

    fn has_initialiser(&self, statement: &Statement) -> bool {
        let mut depth = 0;
        self.tokens[statement.tokens()].iter().any(|token| {
            match self.interner.text(*token) {
                b"(" | b"[" | b"{" => depth += 1,
                b")" | b"]" | b"}" => depth -= 1,
                b"=" => return depth == 0,
                _ => {}
            }
            false
        })
    }

    /// Nothing closes the last statement of a file whose end is missing.
    fn conditional(&self, statement: &Statement) -> bool {
        let last = self.tokens[statement.end as usize - 1];
        !matches!(self.interner.text(last), b";" | b"}")
    }
}

/// The identifiers in a string.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !lex::continues_identifier(*byte)).filter(|word| !word.is_empty())
}

/// By number of tokens read: how many brackets are open.
fn depths(tokens: &[Symbol], interner: &Interner) -> Vec<i32> {
    let mut depth = 0;
    let step = |token: &Symbol| {
        match interner.text(*token) {
            b"(" | b"[" | b"{" => depth += 1,
            b")" | b"]" | b"}" => depth -= 1,
            _ => {}
        }
        depth
    };
    std::iter::once(0).chain(tokens.iter().map(step)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Branch {
    If,
    Else,
    End,
}

fn is_even(branches: &[(usize, Branch)], depths: &[i32]) -> bool {
    let mut open: Vec<i32> = Vec::new();
    for (at, branch) in branches {
        let depth = depths[*at];
        match branch {
            Branch::If => open.push(depth),
            Branch::Else if open.last() != Some(&depth) => return false,
            Branch::Else => {}
            Branch::End if open.pop() != Some(depth) => return false,
            Branch::End => {}
        }
    }
    open.is_empty() && depths.iter().all(|depth| *depth >= 0) && depths.last() == Some(&0)
}

#[derive(Default)]
struct Reader {
    interner: Interner,
    tokens: Vec<Symbol>,
    lines: Vec<u32>,
    macros: Vec<MacroText>,
    conditions: Vec<Symbol>,
    branches: Vec<(usize, Branch)>,
}

impl Reader {
    fn read(&mut self, text: &[u8]) {
        let (mut at, mut line, mut line_start) = (0, 1, true);
        while at < text.len() {
            let gap = lex::gap(text, at);
            (at, line) = (gap.end, line + gap.newlines);
            match text.get(at) {
                None => break,
                Some(b'\n') => {
                    (at, line, line_start) = (at + 1, line + 1, true);
                }
                Some(b'#') if line_start => {
                    let end = self.directive(text, at + 1);
                    line += memchr::memchr_iter(b'\n', &text[at..end]).count() as u32;
                    at = end;
                }
                Some(_) => {
                    let end = lex::token(text, at).0.min(text.len());
                    self.tokens.push(self.interner.intern(&text[at..end]));
                    self.lines.push(line);
                    line += memchr::memchr_iter(b'\n', &text[at..end]).count() as u32;
                    (at, line_start) = (end, false);
                }
            }
        }
    }

    /// Reads a directive from behind its `#`; yields the offset of the newline that ends it.
    fn directive(&mut self, text: &[u8], mut at: usize) -> usize {
        let mut tokens: Vec<Range<usize>> = Vec::new();
        loop {
            at = lex::gap(text, at).end;
            if text.get(at).is_none_or(|byte| *byte == b'\n') {
                break;
            }
            let end = lex::token(text, at).0.min(text.len());
            tokens.push(at..end);
            at = end;
        }
        let word = |index: usize| tokens.get(index).map_or(&b""[..], |range| &text[range.clone()]);
        match word(0) {
            b"define" if tokens.len() > 1 => self.definition(text, &tokens[1..]),
            b"undef" => {}
            b"if" | b"ifdef" | b"ifndef" => self.branches.push((self.tokens.len(), Branch::If)),
            b"elif" | b"else" | b"elifdef" | b"elifndef" => self.branches.push((self.tokens.len(), Branch::Else)),
            b"endif" => self.branches.push((self.tokens.len(), Branch::End)),
            _ => {}
        }
        // A name of a file has no names of functions in it, be it spelled alike.
        let is_plain = matches!(word(0), b"include" | b"include_next") && matches!(word(1).first(), Some(b'<' | b'"'));
        if !(is_plain || matches!(word(0), b"define" | b"undef" | b"error" | b"warning")) {
            self.conditions.extend(tokens.iter().skip(1).map(|range| self.interner.intern(&text[range.clone()])));
        }
        at
    }

    fn definition(&mut self, text: &[u8], tokens: &[Range<usize>]) {
        let symbols: Vec<Symbol> = tokens.iter().map(|range| self.interner.intern(&text[range.clone()])).collect();
        let is_function = tokens.get(1).is_some_and(|next| next.start == tokens[0].end && &text[next.clone()] == b"(");
        let close = tokens.iter().position(|range| &text[range.clone()] == b")").filter(|_| is_function);
        let (parameters, body) = match close {
            Some(close) => {
                let parts = symbols[2..close].split(|symbol| self.interner.text(*symbol) == b",");
                (parts.filter_map(|part| part.first().copied()).collect(), symbols[close + 1..].to_vec())
            }
            None => (Vec::new(), symbols[1..].to_vec()),
        };
        self.macros.push(MacroText { name: symbols[0], parameters, is_object: close.is_none(), body });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mentions(text: &str, name: &'static str, kind: Kind) -> Mentions {
        Written::read(text.as_bytes()).mentions(&|word| (word == name.as_bytes()).then_some(kind))
    }

    fn by(text: &str, name: &'static str) -> Option<String> {
        let found = mentions(text, name, Kind::Function);
        let names: Vec<_> = found.by.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        (!found.by_root).then(|| names.join(" "))
    }

    #[test]
    fn only_what_makes_no_code_hands_a_mention_on() {
        assert_eq!(by("static inline int g(void) { return f(1); }", "f").as_deref(), Some("g"));
        assert_eq!(by("#define G(x) \\\n\tf(x)\nint f(int);", "f").as_deref(), Some("G"));
        assert_eq!(by("extern int f(int a); /* f */", "f").as_deref(), Some(""));
        assert_eq!(by("#define f f\n#include <f.h>", "f").as_deref(), Some("f"));
        for root in [
            "int g(void) { return f(1); }",
            "DEFINE_THING(f);",
            "#define f g",
            "#include f",
            "static DEFINE_THING(f);",
            "static int (*p)(int) = f;",
            "#if f\n#endif",
            "static inline __used int g(void) { return f(1); }",
            "#ifdef A\nstatic inline int g(void)\n#else\nstatic inline int h(void)\n#endif\n{ return f(1); }",
            "static inline int g(void) {\n#ifdef A\nif (a) {\n#else\nif (b) {\n#endif\nf(1); } }",
        ] {
            assert_eq!(by(root, "f"), None, "{root}");
        }
        let text = "static inline int g(void)\n{\n#ifdef A\n\tf(1);\n#endif\n}\nstruct s { int f; };";
        assert_eq!(by(text, "f").as_deref(), Some("g"));
        assert_eq!(by("static inline void g(void) { asm(\"call f\"); }", "f").as_deref(), Some("g"));
        assert!(mentions("extern int g(int) F;", "F", Kind::Macro).by_root);
    }

    #[test]
    fn lines_lie_in_functions_or_between() {
        let text = "static inline int g(void)\n{\n\tint a;\n\n\treturn a;\n}\n\nint h(void);\n";
        let written = Written::read(text.as_bytes());
        assert_eq!(written.functions_between((2, 4)), Some(vec![b"g".to_vec()]));
        assert_eq!(written.functions_between((6, 8)), Some(Vec::new()));
        assert_eq!(written.functions_between((7, 9)), None);
        assert_eq!(written.declared_in(1..9), Some(vec![b"g".to_vec(), b"h".to_vec()]));
        assert_eq!(written.declared_in(2..9), None);
        assert_eq!(Written::read(b"static inline int f(void) { return 1; }\nDEFINE(x);").declared_in(1..3), None);
        assert_eq!(Written::read(b"struct s { int a; };\n").declared_in(1..2), Some(vec![b"s".to_vec()]));
    }
}
