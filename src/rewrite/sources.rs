//! The patched source files, cut by file, line and column.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::closure::{Closure, MacroDefinition};
use crate::finding::{FRONT_END, LINE_DIRECTIVE, Result, io, refuse};
use crate::unit::lex;
use crate::unit::place::Position;

/// A range of a file.
pub struct Text {
    /// Offset in the file, as UTF-8.
    pub start: usize,
    pub text: String,
}

struct File {
    /// As UTF-8, see [`converted`].
    bytes: Vec<u8>,
    /// By line, from 0: its offset in the file.
    lines: Vec<usize>,
    /// Offsets in the file behind which `bytes` is ahead of it, and by how much.
    ahead: Vec<(usize, usize)>,
}

/// A file's text as UTF-8, in which the module is written: bytes that are none are Latin-1 in comments, and octal escapes in
/// strings. Yields [`File::ahead`] too.
fn converted(original: Vec<u8>) -> (Vec<u8>, Vec<(usize, usize)>) {
    if std::str::from_utf8(&original).is_ok() {
        return (original, Vec::new());
    }
    let (mut bytes, mut ahead, mut at) = (Vec::with_capacity(original.len()), Vec::new(), 0);
    while at < original.len() {
        let gap = lex::gap(&original, at).end;
        let end = match original.get(gap) {
            Some(b'\n') => gap + 1,
            Some(_) => lex::token(&original, gap).0.min(original.len()),
            None => gap,
        };
        for chunk in original[at..gap].utf8_chunks() {
            bytes.extend_from_slice(chunk.valid().as_bytes());
            bytes.extend(chunk.invalid().iter().flat_map(|byte| char::from(*byte).to_string().into_bytes()));
        }
        bytes.extend_from_slice(lex::readable(&original[gap..end]).as_bytes());
        if bytes.len() > end + ahead.last().map_or(0, |(_, by)| *by) {
            ahead.push((end, bytes.len() - end));
        }
        at = end;
    }
    (bytes, ahead)
}

/// Does a line say that the ones behind it are others? Then GCC's places aren't the file's.
fn line_directive(bytes: &[u8]) -> Option<usize> {
    let number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
    let is_directive = |line: &[u8]| {
        let Some(rest) = line.trim_ascii_start().strip_prefix(b"#").map(<[u8]>::trim_ascii_start) else { return false };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let marker = digits > 0 && rest[digits..].trim_ascii_start().starts_with(b"\"");
        marker || rest.strip_prefix(b"line").is_some_and(|rest| number(rest.trim_ascii_start()))
    };
    bytes.split(|byte| *byte == b'\n').position(is_directive).map(|line| line + 1)
}

/// Reads the files of a unit once each.
pub struct Sources {
    /// The overlay, which has the patched files.
    source: PathBuf,
    /// The kernel's own tree.
    original: PathBuf,
    /// Files that the patch changes.
    patched: Vec<String>,
    build: PathBuf,
    files: BTreeMap<u32, File>,
}

impl Sources {
    pub fn new(source: PathBuf, original: PathBuf, build: PathBuf, patched: Vec<String>) -> Sources {
        Sources { source, original, build, patched, files: BTreeMap::new() }
    }

    /// Does the patch change or add this definition? An equal one in the original file is the same.
    pub fn is_changed(&mut self, closure: &Closure, definition: &MacroDefinition) -> Result<bool> {
        let place = &closure.files[definition.position.file as usize];
        if place.generated || !self.patched.contains(&place.path) {
            return Ok(false);
        }
        let text = self.directive(closure, definition.position)?;
        let original = std::fs::read(self.original.join(&place.path)).unwrap_or_default();
        Ok(!String::from_utf8_lossy(&original).contains(&text))
    }

    fn file(&mut self, closure: &Closure, id: u32) -> Result<&File> {
        if !self.files.contains_key(&id) {
            let place = &closure.files[id as usize];
            let path = if place.generated { &self.build } else { &self.source }.join(&place.path);
            let bytes = std::fs::read(&path).map_err(io("read", &path))?;
            if let Some(line) = line_directive(&bytes) {
                let message =
                    format!("{}:{line}: #line hides where text is; copy from the file that it names", place.path);
                return refuse(LINE_DIRECTIVE, message);
            }
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
            let lines = std::iter::once(0).chain(ends).collect();
            let (bytes, ahead) = converted(bytes);
            self.files.insert(id, File { bytes, lines, ahead });
        }
        Ok(&self.files[&id])
    }

    /// The byte offset of a position in its file, as UTF-8.
    pub fn offset(&mut self, closure: &Closure, position: Position) -> Result<usize> {
        let file = self.file(closure, position.file)?;
        let line = file.lines.get(position.line.saturating_sub(1) as usize);
        let ahead = |at: usize| file.ahead.iter().rev().find(|(from, _)| *from <= at).map_or(0, |(_, by)| *by);
        let offset = line.map(|start| start + position.column as usize);
        let offset = offset.map(|at| at + ahead(at));
        match offset.filter(|offset| *offset <= file.bytes.len()) {
            Some(offset) => Ok(offset),
            None => {
                let path = &closure.files[position.file as usize].path;
                refuse(FRONT_END, format!("{path} has no line {}: did it change meanwhile?", position.line))
            }
        }
    }

    /// The text between two positions of one file, ending in a newline.
    pub fn text(&mut self, closure: &Closure, start: Position, end: Position) -> Result<Text> {
        let path = closure.files[start.file as usize].path.clone();
        let (from, to) = (self.offset(closure, start)?, self.offset(closure, end)?);
        if start.file != end.file || to < from {
            return refuse(FRONT_END, format!("{path}:{}: a declaration spans two files", start.line));
        }
        let mut text = String::from_utf8_lossy(&self.file(closure, start.file)?.bytes[from..to]).into_owned();
        text.push('\n');
        Ok(Text { start: from, text })
    }

    /// [`Sources::directive`] as a text.
    pub fn pragma(&mut self, closure: &Closure, position: Position) -> Result<Text> {
        Ok(Text { start: self.offset(closure, position)?, text: self.directive(closure, position)? })
    }

    /// The directive that starts at a position, with its continuation lines and a newline.
    pub fn directive(&mut self, closure: &Closure, position: Position) -> Result<String> {
        let offset = self.offset(closure, position)?;
        let bytes = &self.file(closure, position.file)?.bytes;
        let mut end = offset;
        while end < bytes.len() && bytes[end] != b'\n' {
            let pair = &bytes[end..(end + 2).min(bytes.len())];
            end = match pair {
                b"\\\n" => end + 2,
                b"/*" => lex::gap(bytes, end).end,
                _ => end + 1,
            };
        }
        Ok(format!("{}\n", String::from_utf8_lossy(&bytes[offset..end]).trim_end()))
    }

    /// The comment that stands directly above a position, with its newline; empty where there is none.
    pub fn comment_above(&mut self, closure: &Closure, position: Position) -> Result<String> {
        let offset = self.offset(closure, position)?;
        let bytes = &self.file(closure, position.file)?.bytes;
        let before = String::from_utf8_lossy(&bytes[..offset]).into_owned();
        let Some(trimmed) = before.strip_suffix('\n').filter(|text| text.ends_with("*/")) else {
            return Ok(String::new());
        };
        let start = trimmed.rfind("/*").unwrap_or(trimmed.len());
        let line_start = trimmed[..start].rfind('\n').map_or(0, |at| at + 1);
        if !trimmed[line_start..start].trim().is_empty() {
            return Ok(String::new());
        }
        Ok(format!("{}\n", &trimmed[line_start..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directives_move_lines() {
        assert_eq!(line_directive(b"a\n # line 3\n"), Some(2));
        assert_eq!(line_directive(b"#line 3 \"x\"\n"), Some(1));
        assert_eq!(line_directive(b"# 1 \"x.y\"\n"), Some(1));
        assert_eq!(line_directive(b" # lines\n# 1 of 2\n#define line 3\n#if 1\n"), None);
    }

    #[test]
    fn converted_texts_know_where_they_are_ahead() {
        let (bytes, ahead) = converted(b"/* \xe9 */ \"\xe9\"; x\n".to_vec());
        assert_eq!(String::from_utf8_lossy(&bytes), "/* \u{e9} */ \"\\351\"; x\n");
        assert_eq!(ahead.last(), Some(&(11, 4)));
        assert_eq!(converted("a \u{e9}".into()), ("a \u{e9}".into(), Vec::new()));
    }
}
