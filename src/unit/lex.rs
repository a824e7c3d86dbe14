//! C tokens: one lexer for GCC's output, for the expander's input and for the modules that people edit.
//!
//! Tokens are preprocessing tokens (C11 6.4) with GCC's extensions (`$` in identifiers). Every byte of the input belongs
//! to a token or to the gap before one, so that texts and gaps concatenate to the source.

use std::borrow::Cow;
use std::hash::{Hash as _, Hasher as _};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// An interned token text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub u32);

/// What a preprocessing token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Identifier,
    Number,
    String,
    Character,
    Punctuator,
    /// A whole `#pragma` line, also where `_Pragma` made it.
    Pragma,
    /// Left where `##` has an empty operand (C11 6.10.3.3); never in a result.
    Placemarker,
    End,
}

/// Owns the texts of all tokens of a unit; a [`Symbol`] is an index into it.
#[derive(Debug, Default)]
pub struct Interner {
    bytes: Vec<u8>,
    /// End of each text in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
    table: HashTable<Symbol>,
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Interner {
    pub fn intern(&mut self, text: &[u8]) -> Symbol {
        let (bytes, ends) = (&self.bytes, &self.ends);
        if let Some(found) = self.table.find(hash(text), |symbol| slice(bytes, ends, *symbol) == text) {
            return *found;
        }
        let symbol = Symbol(self.ends.len() as u32);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
        let (bytes, ends) = (&self.bytes, &self.ends);
        self.table.insert_unique(hash(text), symbol, |symbol| hash(slice(bytes, ends, *symbol)));
        symbol
    }

    pub fn find(&self, text: &[u8]) -> Option<Symbol> {
        self.table.find(hash(text), |symbol| self.text(*symbol) == text).copied()
    }

    pub fn text(&self, symbol: Symbol) -> &[u8] {
        slice(&self.bytes, &self.ends, symbol)
    }

    pub fn string(&self, symbol: Symbol) -> String {
        readable(self.text(symbol)).into_owned()
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], symbol: Symbol) -> &'a [u8] {
    let index = symbol.0 as usize;
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &bytes[start..ends[index] as usize]
}

fn starts_identifier(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// By byte: may an identifier or number go on with it?
static CONTINUES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let letter = (byte as u8).is_ascii_alphanumeric();
        table[byte] = letter || byte == b'_' as usize || byte == b'$' as usize || byte >= 0x80;
        byte += 1;
    }
    table
};

pub fn continues_identifier(byte: u8) -> bool {
    CONTINUES[byte as usize]
}

/// Lexes the token at `at`, which must not be white space; yields its end and kind.
pub fn token(bytes: &[u8], at: usize) -> (usize, Kind) {
    let first = bytes[at];
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    if starts_identifier(first) {
        let length = bytes[at..].iter().position(|byte| !continues_identifier(*byte));
        let end = length.map_or(bytes.len(), |length| at + length);
        if matches!(byte(end), b'"' | b'\'') && matches!(&bytes[at..end], b"L" | b"u" | b"U" | b"u8") {
            return quoted(bytes, end);
        }
        return (end, Kind::Identifier);
    }
    if first.is_ascii_digit() || (first == b'.' && byte(at + 1).is_ascii_digit()) {
        let mut end = at + 1;
        while end < bytes.len() {
            let sign = matches!(bytes[end], b'+' | b'-') && matches!(bytes[end - 1], b'e' | b'E' | b'p' | b'P');
            if !(continues_identifier(bytes[end]) || bytes[end] == b'.' || sign) {
                break;
            }
            end += 1;
        }
        return (end, Kind::Number);
    }
    if first == b'"' || first == b'\'' {
        return quoted(bytes, at);
    }
    let length = match (first, byte(at + 1), byte(at + 2)) {
        (b'.', b'.', b'.') | (b'<', b'<', b'=') | (b'>', b'>', b'=') => 3,
        (b'-', b'>', _)
        | (b'+', b'+', _)
        | (b'-', b'-', _)
        | (b'<', b'<', _)
        | (b'>', b'>', _)
        | (b'&', b'&', _)
        | (b'|', b'|', _)
        | (b'#', b'#', _) => 2,
        (b'<' | b'>' | b'=' | b'!' | b'*' | b'/' | b'%' | b'+' | b'-' | b'&' | b'^' | b'|', b'=', _) => 2,
        _ => 1,
    };
    (at + length, Kind::Punctuator)
}

/// A string or character constant from its opening quote at `at`. A quote that isn't closed on its line is a token of its
/// own, as in GCC (it is only a warning in text that is skipped or in assembly).
fn quoted(bytes: &[u8], at: usize) -> (usize, Kind) {
    let quote = bytes[at];
    let mut end = at + 1;
    while end < bytes.len() {
        match bytes[end] {
            b'\\' => end += 2,
            b'\n' => break,
            byte if byte == quote => {
                return (end + 1, if quote == b'"' { Kind::String } else { Kind::Character });
            }
            _ => end += 1,
        }
    }
    // On a very long line all that follows is one token, or each quote would look through it again.
    (if end - at > LONG_LINE { end.min(bytes.len()) } else { at + 1 }, Kind::Punctuator)
}

/// Bytes of a line behind a quote that isn't closed.
const LONG_LINE: usize = 4096;

/// A token as UTF-8, in which files are written: a byte of a string that is none becomes the octal escape of the same
/// meaning, which no digit behind it can lengthen (C11 6.4.4.4).
pub fn readable(token: &[u8]) -> Cow<'_, str> {
    let mut text = String::new();
    let mut rest = token;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) if text.is_empty() => return valid.into(),
            Ok(valid) => return (text + valid).into(),
            Err(error) => {
                let (valid, invalid) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                // An escape that C doesn't have means the byte itself.
                if text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
                    text.pop();
                }
                let length = error.error_len().unwrap_or(invalid.len());
                invalid[..length].iter().for_each(|byte| text.push_str(&format!("\\{byte:03o}")));
                rest = &invalid[length..];
            }
        }
    }
}

/// What lies before the next token.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// Offset of the token, newline or end of input behind the gap.
    pub end: usize,
    /// Newlines inside comments and line splices.
    pub newlines: u32,
}

/// Skips horizontal white space, comments and line splices; stops at a newline.
pub fn gap(bytes: &[u8], at: usize) -> Gap {
    let mut end = at;
    let mut newlines = 0;
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    while end < bytes.len() {
        match bytes[end] {
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => end += 1,
            b'\\' if byte(end + 1) == b'\n' => {
                end += 2;
                newlines += 1;
            }
            b'/' if byte(end + 1) == b'*' => {
                end += 2;
                while end < bytes.len() && !(bytes[end] == b'*' && byte(end + 1) == b'/') {
                    newlines += u32::from(bytes[end] == b'\n');
                    end += 1;
                }
                end = (end + 2).min(bytes.len());
            }
            b'/' if byte(end + 1) == b'/' => {
                while end < bytes.len() && bytes[end] != b'\n' {
                    if bytes[end] == b'\\' && byte(end + 1) == b'\n' {
                        end += 1;
                        newlines += 1;
                    }
                    end += 1;
                }
            }
            _ => break,
        }
    }
    Gap { end, newlines }
}

/// The text of a `#pragma` with its white space folded, so that equal pragmas are equal tokens.
pub fn pragma_text(line: &[u8]) -> Vec<u8> {
    let mut text = b"#pragma".to_vec();
    let mut at = 0;
    loop {
        at = gap(line, at).end;
        if at >= line.len() {
            return text;
        }
        if line[at] == b'\n' {
            at += 1;
            continue;
        }
        let (end, _) = token(line, at);
        let end = end.min(line.len());
        text.push(b' ');
        text.extend_from_slice(&line[at..end]);
        at = end;
    }
}

/// The tokens of preprocessed text (`gcc -E`): line markers are skipped, `#pragma` lines are tokens.
pub fn preprocessed(text: &[u8], interner: &mut Interner) -> Vec<Symbol> {
    let mut tokens = Vec::with_capacity(text.len() / 6);
    tokens.extend(texts(text).map(|token| interner.intern(&token)));
    tokens
}

/// The texts of the tokens that [`preprocessed`] yields.
pub fn texts(text: &[u8]) -> Texts<'_> {
    Texts { text, at: 0, line_start: true }
}

pub struct Texts<'a> {
    text: &'a [u8],
    at: usize,
    line_start: bool,
}

impl<'a> Iterator for Texts<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let text = self.text;
        loop {
            let at = gap(text, self.at).end;
            let first = *text.get(at)?;
            if first == b'\n' {
                self.line_start = true;
                self.at = at + 1;
                continue;
            }
            if first == b'#' && self.line_start {
                let end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length);
                let rest = &text[gap(&text[..end], at + 1).end..end];
                self.at = end;
                if let Some(pragma) = rest.strip_prefix(b"pragma") {
                    return Some(Cow::Owned(pragma_text(pragma)));
                }
                continue;
            }
            self.line_start = false;
            let (end, _) = token(text, at);
            self.at = end;
            return Some(Cow::Borrowed(&text[at..end]));
        }
    }
}
