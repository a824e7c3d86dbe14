//! The text of a unit as `gcc -E -fdirectives-only` prints it: conditionals run, includes in place, macros unexpanded,
//! `#define`, `#undef` and comments kept, line markers between (GCC manual, "Preprocessor Output").
//!
//! Owns the table of macros and the map from an offset in that text to a source file and line.

use std::rc::Rc;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::expand::{NONE, Token};
use super::lex::{self, Interner, Kind, Symbol};

/// Index into [`Reader::macros`]: one definition (a name may have several in turn).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacroId(pub u32);

/// Index into [`Reader::files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// One token of a macro's replacement list.
#[derive(Debug, Clone, Copy)]
pub struct BodyToken {
    pub symbol: Symbol,
    pub kind: Kind,
    pub space: bool,
    /// Index of the parameter that it names.
    pub parameter: Option<u16>,
    /// `#` stands before it.
    pub stringify: bool,
    /// `##` stands behind it.
    pub paste: bool,
}

/// One `#define`.
#[derive(Debug)]
pub struct Macro {
    pub name: Symbol,
    pub function_like: bool,
    pub parameters: Vec<Symbol>,
    pub variadic: bool,
    pub body: Rc<Vec<BodyToken>>,
    /// Range of the directive in the unit's text.
    pub start: u32,
    pub end: u32,
    pub file: FileId,
    /// Line of its `#`, counted from 1.
    pub line: u32,
    /// Offset of the `#undef` that ended it, or [`NONE`].
    pub undefined_at: u32,
    /// Position of each `__VA_OPT__ ( ... )` in the body: (name, closing parenthesis).
    optional: Vec<(usize, usize)>,
}

impl Macro {
    /// The replacement list with every `__VA_OPT__` resolved (C23 6.10.5.2).
    pub fn body_for(&self, has_variable: bool) -> Rc<Vec<BodyToken>> {
        if self.optional.is_empty() {
            return self.body.clone();
        }
        let mut dropped = vec![false; self.body.len()];
        // Groups follow one another, so that what is in none is skipped once.
        let mut done = 0;
        for (name, close) in &self.optional {
            dropped[*name..(name + 2).min(close + 1)].fill(true);
            dropped[*close] = true;
            if !has_variable {
                dropped[done.max(*name)..=done.max(*close)].fill(true);
                done = done.max(*close);
            }
        }
        Rc::new(self.body.iter().zip(dropped).filter(|(_, dropped)| !dropped).map(|(token, _)| *token).collect())
    }
}

/// A line marker: the text behind it belongs to this file and line.
#[derive(Debug, Clone, Copy)]
pub struct Marker {
    /// Offset of the first byte behind the marker.
    pub offset: u32,
    pub file: FileId,
    pub line: u32,
}

/// One `#include` that GCC followed.
#[derive(Debug, Clone, Copy)]
pub struct Include {
    pub parent: FileId,
    /// Line of the text in the parent that the marker follows; the directive is on it or on the line before.
    pub line: u32,
    pub file: FileId,
    pub offset: u32,
}

/// Reads the unit's text token by token, and takes its directives in.
#[derive(Debug)]
pub struct Reader {
    pub source: Vec<u8>,
    pub interner: Interner,
    pub macros: Vec<Macro>,
    pub files: Vec<String>,
    by_name: FxHashMap<String, FileId>,
    pub markers: Vec<Marker>,
    pub includes: Vec<Include>,
    /// Line of the current position.
    pub line: u32,
    /// What could not be understood, if anything.
    pub problem: Option<String>,
    file: FileId,
    at: usize,
    line_start: bool,
    /// Offsets of all newlines, found when they are first asked for.
    newlines: OnceLock<Vec<u32>>,
    /// By symbol: its current definition.
    table: Vec<u32>,
    variable: Symbol,
    optional: Symbol,
}

impl Reader {
    pub fn new(source: Vec<u8>, mut interner: Interner) -> Reader {
        let variable = interner.intern(b"__VA_ARGS__");
        let optional = interner.intern(b"__VA_OPT__");
        Reader {
            source,
            interner,
            macros: Vec::new(),
            files: vec![String::new()],
            by_name: FxHashMap::from_iter([(String::new(), FileId(0))]),
            markers: Vec::new(),
            includes: Vec::new(),
            line: 1,
            problem: None,
            file: FileId(0),
            at: 0,
            line_start: true,
            newlines: OnceLock::new(),
            table: Vec::new(),
            variable,
            optional,
        }
    }

    /// The macro that a name stands for here.
    pub fn defined(&self, symbol: Symbol) -> Option<MacroId> {
        self.table.get(symbol.0 as usize).copied().filter(|id| *id != NONE).map(MacroId)
    }

    fn set(&mut self, symbol: Symbol, id: u32) {
        let index = symbol.0 as usize;
        if self.table.len() <= index {
            self.table.resize(index + 1024, NONE);
        }
        self.table[index] = id;
    }

    pub fn file_name(&self) -> &str {
        &self.files[self.file.0 as usize]
    }

    /// The next token and its end.
    pub fn token(&mut self) -> (Token, u32) {
        let mut space = false;
        loop {
            let gap = lex::gap(&self.source, self.at);
            space |= gap.end > self.at;
            self.at = gap.end;
            self.line += gap.newlines;
            let template = Token {
                symbol: Symbol(0),
                kind: Kind::End,
                space,
                painted: false,
                builtin: false,
                invocation: NONE,
                expansion: NONE,
                source: self.at as u32,
            };
            let Some(byte) = self.source.get(self.at) else { return (template, self.at as u32) };
            if *byte == b'\n' {
                self.at += 1;
                self.line += 1;
                self.line_start = true;
                space = true;
                continue;
            }
            if *byte == b'#' && self.line_start {
                if let Some(pragma) = self.directive() {
                    return (Token { symbol: pragma, kind: Kind::Pragma, ..template }, self.at as u32);
                }
                space = true;
                continue;
            }
            self.line_start = false;
            let (end, kind) = lex::token(&self.source, self.at);
            let end = end.min(self.source.len());
            let text = &self.source[self.at..end];
            if kind == Kind::String {
                self.line += text.iter().filter(|byte| **byte == b'\n').count() as u32;
            }
            let symbol = self.interner.intern(text);
            self.at = end;
            return (Token { symbol, kind, ..template }, end as u32);
        }
    }

    /// End of the directive that starts at `at`: its newline, splices, comments and strings taken into account.
    fn directive_end(&self, at: usize) -> usize {
        let bytes = &self.source;
        let mut end = at;
        while end < bytes.len() && bytes[end] != b'\n' {
            let next = bytes.get(end + 1).copied().unwrap_or(0);
            end = match bytes[end] {
                b'\\' if next == b'\n' => end + 2,
                b'/' if next == b'*' || next == b'/' => lex::gap(bytes, end).end,
                b'"' | b'\'' => lex::token(bytes, end).0.min(bytes.len()),
                _ => end + 1,
            };
        }
        end
    }

    /// Takes in the directive at the current position; a `#pragma` is yielded as a token.
    fn directive(&mut self) -> Option<Symbol> {
        let start = self.at;
        let end = self.directive_end(start);
        let newlines = self.source[start..end].iter().filter(|byte| **byte == b'\n').count() as u32;
        let mut at = lex::gap(&self.source[..end], start + 1).end;
        if at < end && self.source[at].is_ascii_digit() {
            self.marker(at, end);
            return None;
        }
        let mut pragma = None;
        if at < end {
            let (name_end, _) = lex::token(&self.source[..end], at);
            let name = &self.source[at..name_end];
            at = lex::gap(&self.source[..end], name_end).end;
            match name {
                b"define" => self.define(at, end, start),
                b"undef" if at < end => {
                    let (name_end, _) = lex::token(&self.source[..end], at);
                    let symbol = self.interner.intern(&self.source[at..name_end]);
                    if let Some(id) = self.defined(symbol) {
                        self.macros[id.0 as usize].undefined_at = start as u32;
                        self.set(symbol, NONE);
                    }
                }
                b"pragma" => {
                    let text = lex::pragma_text(&self.source[at..end]);
                    if [&b"#pragma push_macro"[..], b"#pragma pop_macro"].iter().any(|p| text.starts_with(p)) {
                        self.problem = Some("#pragma push_macro is not supported".into());
                    }
                    pragma = Some(self.interner.intern(&text));
                }
                _ => {}
            }
        }
        self.at = end;
        self.line += newlines;
        pragma
    }

    /// `# LINE "FILE" FLAGS`; flag 1 enters an included file.
    fn marker(&mut self, mut at: usize, end: usize) {
        let bytes = &self.source[..end];
        let mut line = 0u32;
        while at < end && bytes[at].is_ascii_digit() {
            line = line.saturating_mul(10).saturating_add(u32::from(bytes[at] - b'0'));
            at += 1;
        }
        // The largest that there is (C11 6.10.4).
        line = line.min(i32::MAX as u32);
        at = lex::gap(bytes, at).end;
        let offset = (end + 1).min(self.source.len()) as u32;
        if at < end && bytes[at] == b'"' {
            let (string_end, _) = lex::token(bytes, at);
            let name = String::from_utf8_lossy(&bytes[at + 1..string_end.max(at + 2) - 1]).into_owned();
            let enters = bytes[string_end..].split(|byte| *byte == b' ').any(|flag| flag == b"1");
            let next = FileId(self.files.len() as u32);
            let file = *self.by_name.entry(name.clone()).or_insert(next);
            if file == next {
                self.files.push(name);
            }
            if enters {
                self.includes.push(Include { parent: self.file, line: self.line, file, offset });
            }
            self.file = file;
        }
        self.at = offset as usize;
        self.line = line;
        self.line_start = true;
        self.markers.push(Marker { offset, file: self.file, line });
    }

    /// `#define` with its name at `at`.
    fn define(&mut self, at: usize, end: usize, start: usize) {
        if at >= end {
            return;
        }
        let source = std::mem::take(&mut self.source);
        let bytes = &source[..end];
        let (mut at, name_start) = (lex::token(bytes, at).0, at);
        let name = self.interner.intern(&bytes[name_start..at]);
        let mut parameters = Vec::new();
        let mut variadic = false;
        let function_like = bytes.get(at) == Some(&b'(');
        if function_like {
            (at, variadic) = self.parameters(bytes, at + 1, &mut parameters);
        }
        if parameters.len() > usize::from(u16::MAX) {
            // As GCC does.
            self.problem.get_or_insert_with(|| "a macro has more than 65535 parameters".into());
            parameters.clear();
        }
        let body = self.body(bytes, at, function_like, &parameters);
        let optional = self.optional_groups(&body);
        self.source = source;
        let id = self.macros.len() as u32;
        self.macros.push(Macro {
            name,
            function_like,
            parameters,
            variadic,
            body: Rc::new(body),
            start: start as u32,
            end: end as u32,
            file: self.file,
            line: self.line,
            undefined_at: NONE,
            optional,
        });
        self.set(name, id);
    }

    /// The parameter list behind the `(`; yields the offset behind the `)` and whether it ends in `...`.
    fn parameters(&mut self, bytes: &[u8], mut at: usize, parameters: &mut Vec<Symbol>) -> (usize, bool) {
        let mut variadic = false;
        let mut named = false;
        loop {
            at = lex::gap(bytes, at).end;
            if at >= bytes.len() {
                return (at, variadic);
            }
            let (end, kind) = lex::token(bytes, at);
            let text = &bytes[at..end];
            at = end;
            match text {
                b")" => return (at, variadic),
                b"," => named = false,
                b"..." => {
                    variadic = true;
                    // `args...` names the variable arguments, `...` alone calls them __VA_ARGS__.
                    if !named {
                        parameters.push(self.variable);
                    }
                }
                _ if kind == Kind::Identifier => {
                    parameters.push(self.interner.intern(text));
                    named = true;
                }
                _ => {}
            }
        }
    }

    fn body(&mut self, bytes: &[u8], mut at: usize, function_like: bool, parameters: &[Symbol]) -> Vec<BodyToken> {
        let mut body: Vec<BodyToken> = Vec::new();
        let index_of: FxHashMap<Symbol, u16> = parameters.iter().copied().zip(0u16..).collect();
        let mut hash_pending = false;
        loop {
            let gap = lex::gap(bytes, at);
            let mut space = gap.end > at;
            at = gap.end;
            if at >= bytes.len() {
                return body;
            }
            if bytes[at] == b'\n' {
                at += 1;
                continue;
            }
            let (end, kind) = lex::token(bytes, at);
            let text = &bytes[at..end.min(bytes.len())];
            at = end;
            if text == b"##" {
                if let Some(last) = body.last_mut() {
                    last.paste = true;
                }
                continue;
            }
            let symbol = if text.windows(2).any(|pair| pair == b"\\\n") {
                self.interner.intern(&unspliced(text))
            } else {
                self.interner.intern(text)
            };
            let parameter = match kind {
                Kind::Identifier => index_of.get(&symbol).copied(),
                _ => None,
            };
            let stringify = hash_pending && parameter.is_some();
            if stringify && let Some(hash) = body.pop() {
                space = hash.space;
            }
            hash_pending = function_like && text == b"#";
            body.push(BodyToken { symbol, kind, space, parameter, stringify, paste: false });
        }
    }

    fn optional_groups(&self, body: &[BodyToken]) -> Vec<(usize, usize)> {
        let mut groups = Vec::new();
        let mut open = Vec::new();
        for (index, token) in body.iter().enumerate() {
            match self.interner.text(token.symbol) {
                b"(" => open.push(index),
                b")" => {
                    let name = open.pop().and_then(|open: usize| open.checked_sub(1));
                    groups.extend(name.filter(|name| body[*name].symbol == self.optional).map(|name| (name, index)));
                }
                _ => {}
            }
        }
        groups.sort_unstable();
        groups
    }

    /// The file that an offset in the unit's text belongs to.
    pub fn file_at(&self, offset: u32) -> FileId {
        self.marker_before(offset).map_or(FileId(0), |marker| marker.file)
    }

    fn marker_before(&self, offset: u32) -> Option<&Marker> {
        let index = self.markers.partition_point(|marker| marker.offset <= offset);
        self.markers[..index].last()
    }

    /// File and line (counted from 1) of an offset in the unit's text, and the offset at which that line starts.
    pub fn location(&self, offset: u32) -> (FileId, u32, u32) {
        let Some(marker) = self.marker_before(offset) else { return (FileId(0), 0, 0) };
        let newlines = self.newlines.get_or_init(|| {
            let all = (0..).zip(&self.source).filter(|(_, byte)| **byte == b'\n');
            all.map(|(at, _)| at).collect()
        });
        let [first, behind] = [marker.offset, offset].map(|offset| newlines.partition_point(|at| *at < offset));
        let start = newlines[first..behind].last().map_or(marker.offset, |newline| newline + 1);
        (marker.file, marker.line + (behind - first) as u32, start)
    }
}

fn unspliced(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\\' && text.get(at + 1) == Some(&b'\n') {
            at += 2;
        } else {
            plain.push(text[at]);
            at += 1;
        }
    }
    plain
}
