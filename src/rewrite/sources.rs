//! The patched source files, cut by file, line and column.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::closure::{Closure, MacroDefinition};
use crate::finding::{FRONT_END, Result, io, refuse};
use crate::unit::lex;
use crate::unit::place::Position;

/// A range of a file.
pub struct Text {
    /// Offset in the file.
    pub start: usize,
    pub text: String,
}

struct File {
    bytes: Vec<u8>,
    /// By line, from 0: its offset.
    lines: Vec<usize>,
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
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
            let lines = std::iter::once(0).chain(ends).collect();
            self.files.insert(id, File { bytes, lines });
        }
        Ok(&self.files[&id])
    }

    /// The byte offset of a position in its file.
    pub fn offset(&mut self, closure: &Closure, position: Position) -> Result<usize> {
        let file = self.file(closure, position.file)?;
        let line = file.lines.get(position.line.saturating_sub(1) as usize);
        let offset = line.map(|start| start + position.column as usize);
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
