//! A second reading of a C file, by lang-c, which shares no code with the front end and knows nothing of libclang.
//!
//! It reads the text of the file itself as `gcc -E` leaves it. Of headers it has to know only which names are types.
//! Where lang-c doesn't know an extension of GCC, the words are overwritten, so that places in the text hold.

use std::collections::BTreeSet;

use lang_c::ast::{
    Declarator, DeclaratorKind, Enumerator, Expression, ExternalDeclaration, ForStatement, FunctionDefinition,
    Statement, StructField,
};
use lang_c::driver::{Config, Flavor, parse_preprocessed};
use lang_c::span::{Node, Span};
use lang_c::visit::{self, Visit};

/// Brackets within brackets; libclang refuses more as well (-fbracket-depth). lang-c's time grows with the square of them.
const NESTING: u32 = 256;

/// Signs in a row (`- - -x`): lang-c tries each of them as a half of `--` and alone, one within the other.
const SIGNS: u32 = 16;

/// Bytes of stack: lang-c's parser is recursive, and macros of the kernel nest a hundred deep.
const STACK: usize = 512 << 20;

/// A function that a file defines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Of its first word and of its last one, from 1.
    pub lines: (u32, u32),
    /// Ordinary names in it that it doesn't declare itself (C11 6.2.3).
    pub free: BTreeSet<String>,
}

/// Reads `file` in the output of `gcc -E`; `types` are the names that `typedef` makes. The error has line and reason.
pub fn functions(
    preprocessed: &[u8],
    file: &str,
    types: BTreeSet<String>,
) -> Result<(Vec<Function>, BTreeSet<String>), String> {
    let mut own = Own::of(preprocessed, file);
    let overwritten = overwrite(&mut own.text);
    let (mut depth, mut signs) = (0u32, 0u32);
    for (start, end) in words(&own.text) {
        let word = &own.text[start..end];
        signs = if matches!(word, b"-" | b"+") { signs + 1 } else { 0 };
        if signs > SIGNS {
            return Err(format!("line {}: more than {SIGNS} signs in a row", own.line(start)));
        }
        match word {
            b"(" | b"[" | b"{" => depth += 1,
            b")" | b"]" | b"}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING {
            return Err(format!("line {}: brackets are nested more than {NESTING} deep", own.line(start)));
        }
    }
    let read = move || {
        let typedefs: String = types.iter().map(|name| format!("typedef int {name};")).collect();
        own.before = typedefs.len();
        let text = typedefs + std::str::from_utf8(&own.text).map_err(|error| error.to_string())?;
        let config = Config { flavor: Flavor::GnuC11, ..Config::with_gcc() };
        let unit = parse_preprocessed(&config, text).map(|parse| parse.unit).map_err(|error| {
            let near: String = error.source[error.offset..].chars().take(40).collect();
            format!("line {}: lang-c can't read `{}`", own.line(error.offset), near.trim_end())
        })?;
        let functions = unit.0.iter().filter_map(|external| match &external.node {
            ExternalDeclaration::FunctionDefinition(definition) => Some(function(definition, &own)),
            _ => None,
        });
        Ok((functions.collect(), overwritten))
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(read).map_err(|error| error.to_string())?;
    thread.join().unwrap_or_else(|_| Err("lang-c ended in a panic".into()))
}

/// The lines of one file in the output of `gcc -E`.
struct Own {
    text: Vec<u8>,
    /// By line of `text`: the line in the file.
    lines: Vec<u32>,
    /// Bytes that stand before the text when it is read.
    before: usize,
}

impl Own {
    fn of(preprocessed: &[u8], file: &str) -> Own {
        let quoted = format!("\"{}\"", file.replace('\\', "\\\\").replace('"', "\\\""));
        let mut own = Own { text: Vec::new(), lines: Vec::new(), before: 0 };
        let (mut inside, mut number) = (false, 0);
        for line in preprocessed.split(|byte| *byte == b'\n') {
            if let Some(marker) = line.strip_prefix(b"# ").and_then(|marker| std::str::from_utf8(marker).ok())
                && let Some((at, rest)) = marker.split_once(' ')
            {
                number = at.parse::<u32>().unwrap_or(0).min(i32::MAX as u32);
                inside = rest.starts_with(&quoted);
                continue;
            }
            // What is left of #pragma is for the compiler proper.
            let pragma = line.trim_ascii_start().starts_with(b"#");
            if inside && !pragma {
                own.text.extend_from_slice(line);
                own.text.push(b'\n');
                own.lines.push(number);
            }
            number = number.saturating_add(1);
        }
        own
    }

    fn line(&self, offset: usize) -> u32 {
        let offset = offset.saturating_sub(self.before).min(self.text.len());
        let before = self.text[..offset].iter().filter(|byte| **byte == b'\n').count();
        self.lines.get(before).or(self.lines.last()).copied().unwrap_or(0)
    }
}

/// A word of the text: where it begins and ends.
type Word = (usize, usize);

fn words(text: &[u8]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let start = at;
        match text[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < text.len() && text[at] != quote {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80 => {
                let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80;
                at += text[at..].iter().take_while(|byte| inside(byte)).count();
            }
            b'&' if text.get(at + 1) == Some(&b'&') => at += 2,
            _ => at += 1,
        }
        words.push((start, at.min(text.len())));
    }
    words
}

/// Overwrites what lang-c doesn't know; yields the names that are gone by that.
fn overwrite(text: &mut [u8]) -> BTreeSet<String> {
    let words = words(text);
    let copy = text.to_vec();
    let word = |at: usize| words.get(at).map_or(&b""[..], |(start, end)| &copy[*start..*end]);
    let mut gone = BTreeSet::new();
    let mut blank = |text: &mut [u8], first: usize, last: usize, new: &str| {
        let (start, end) = (words[first].0, words[last.min(words.len() - 1)].1);
        for at in first..=last.min(words.len() - 1) {
            gone.insert(String::from_utf8_lossy(word(at)).into_owned());
        }
        for byte in text[start..end].iter_mut().filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
        text[start..start + new.len()].copy_from_slice(new.as_bytes());
    };
    let mut at = 0;
    while at < words.len() {
        let close = |open: usize| closing(open, word, words.len());
        at = match word(at) {
            b"__attribute__" | b"__attribute" | b"_Alignas" => {
                let end = close(at + 1);
                blank(text, at, end, "");
                end + 1
            }
            b"asm" | b"__asm__" | b"__asm" => {
                let mut open = at + 1;
                while matches!(
                    word(open),
                    b"volatile" | b"__volatile__" | b"goto" | b"inline" | b"__inline__" | b"__inline"
                ) {
                    open += 1;
                }
                let end = close(open);
                blank(text, at, end, "");
                end + 1
            }
            // Types in the place of values.
            b"__builtin_types_compatible_p" => {
                let end = close(at + 1);
                blank(text, at, end, "0");
                end + 1
            }
            b"__auto_type" => {
                blank(text, at, at, "int");
                at + 1
            }
            b"__int128" => {
                blank(text, at, at, "");
                // `unsigned __int128` has a type left; without such a word there would be none.
                if !matches!(word(at.wrapping_sub(1)), b"unsigned" | b"signed" | b"__signed__") {
                    blank(text, at, at, "int");
                }
                at + 1
            }
            b"__extension__" | b"__seg_gs" | b"__seg_fs" | b"__thread" => {
                blank(text, at, at, "");
                at + 1
            }
            b"__label__" => {
                let end = (at..words.len()).find(|end| word(*end) == b";").unwrap_or(at);
                blank(text, at, end, ";");
                end + 1
            }
            // `a ?: b`; any binary operator will do.
            b"?" if word(at + 1) == b":" => {
                blank(text, at, at + 1, "+");
                at + 2
            }
            // The address of a label.
            b"&&" if !is_operand(word(at.wrapping_sub(1))) => {
                blank(text, at, at + 1, "0");
                at + 2
            }
            _ => at + 1,
        };
    }
    gone
}

fn closing<'a>(open: usize, word: impl Fn(usize) -> &'a [u8], count: usize) -> usize {
    let mut depth = 0;
    for at in open..count {
        match word(at) {
            b"(" => depth += 1,
            b")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    count - 1
}

/// Can a binary operator stand behind this word?
fn is_operand(word: &[u8]) -> bool {
    let last = word.last().copied().unwrap_or(b';');
    let keyword = matches!(word, b"return" | b"case" | b"goto" | b"else" | b"do");
    !keyword && (last.is_ascii_alphanumeric() || matches!(last, b'_' | b')' | b']' | b'"' | b'\''))
}

fn function(definition: &Node<FunctionDefinition>, own: &Own) -> Function {
    let Span { start, end } = definition.span;
    let mut names = Names::default();
    names.scopes.push(BTreeSet::new());
    names.visit_function_definition(&definition.node, &definition.span);
    let name = name(&definition.node.declarator.node).unwrap_or_default();
    // Where there was an attribute, it begins the function.
    Function { name, lines: (own.line(start), own.line(end.saturating_sub(1))), free: names.free }
}

fn name(declarator: &Declarator) -> Option<String> {
    match &declarator.kind.node {
        DeclaratorKind::Abstract => None,
        DeclaratorKind::Identifier(identifier) => Some(identifier.node.name.clone()),
        DeclaratorKind::Declarator(inner) => name(&inner.node),
    }
}

/// Follows the scopes of ordinary names (C11 6.2.1).
#[derive(Default)]
struct Names {
    scopes: Vec<BTreeSet<String>>,
    free: BTreeSet<String>,
}

impl Names {
    fn scoped(&mut self, inside: impl FnOnce(&mut Names)) {
        self.scopes.push(BTreeSet::new());
        inside(self);
        self.scopes.pop();
    }

    fn declare(&mut self, name: Option<String>) {
        if let (Some(name), Some(scope)) = (name, self.scopes.last_mut()) {
            scope.insert(name);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_function_definition(&mut self, definition: &'ast FunctionDefinition, span: &'ast Span) {
        // Its parameters are in the scope of its body.
        self.scoped(|names| visit::visit_function_definition(names, definition, span));
    }

    fn visit_declarator(&mut self, declarator: &'ast Declarator, span: &'ast Span) {
        self.declare(name(declarator));
        visit::visit_declarator(self, declarator, span);
    }

    fn visit_struct_field(&mut self, field: &'ast StructField, span: &'ast Span) {
        self.scoped(|names| visit::visit_struct_field(names, field, span));
    }

    fn visit_enumerator(&mut self, enumerator: &'ast Enumerator, span: &'ast Span) {
        visit::visit_enumerator(self, enumerator, span);
        self.declare(Some(enumerator.identifier.node.name.clone()));
    }

    fn visit_statement(&mut self, statement: &'ast Statement, span: &'ast Span) {
        match statement {
            Statement::Compound(_) => self.scoped(|names| visit::visit_statement(names, statement, span)),
            _ => visit::visit_statement(self, statement, span),
        }
    }

    fn visit_for_statement(&mut self, statement: &'ast ForStatement, span: &'ast Span) {
        self.scoped(|names| visit::visit_for_statement(names, statement, span));
    }

    fn visit_expression(&mut self, expression: &'ast Expression, span: &'ast Span) {
        if let Expression::Identifier(identifier) = expression {
            let name = &identifier.node.name;
            let builtin = name.starts_with("__builtin_")
                || matches!(name.as_str(), "__func__" | "__FUNCTION__" | "__PRETTY_FUNCTION__");
            if !builtin && !self.scopes.iter().any(|scope| scope.contains(name)) {
                self.free.insert(name.clone());
            }
        }
        visit::visit_expression(self, expression, span);
    }
}
