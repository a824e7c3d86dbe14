//! Stage 1: the patch. Reads patch files, says which kernel files they change, applies them in memory, and lays out the
//! overlay that the patched kernel is compiled from.
//!
//! Owns everything about the text of a patch. It reads the kernel tree and **never writes to it**; it doesn't know what
//! is compiled, or how a function is found.

mod apply;
mod classify;
mod header;
mod lines;
mod overlay;
mod parse;

pub use apply::{Applied, AppliedFile, AppliedHunk, apply, apply_all};
pub use classify::{Class, classify, livepatchable, relevant_files};
pub use header::Header;
pub use lines::keep_lines;
pub use overlay::{FileState, Overlay, Real};

use crate::finding::{PATCH_INVALID, Result, refuse};

/// One change set: a mail, a commit as `git show` prints it, or a plain diff.
#[derive(Debug, Clone)]
pub struct PatchSet {
    pub header: Header,
    /// In the order of the patch; a file may occur more than once.
    pub files: Vec<FilePatch>,
}

/// What a patch does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Modify,
    Create,
    Delete,
}

/// The change of one file.
#[derive(Debug, Clone)]
pub struct FilePatch {
    /// Relative to the kernel source, checked: no `..`, not absolute, not in `.git`.
    pub path: String,
    pub operation: Operation,
    /// Empty where only the mode changes, or where an empty file is made or deleted.
    pub hunks: Vec<Hunk>,
    /// The patch file as the user named it.
    pub source: String,
    /// Line of the file's header in `source`, counted from 1.
    pub line: u32,
}

/// One hunk of a unified diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// First line on the old side, counted from 1; the line before where the old side is empty.
    pub old_start: usize,
    pub new_start: usize,
    /// The text behind the second `@@`: usually the function.
    pub section: String,
    /// Line of the hunk's header in the patch file, counted from 1.
    pub line: u32,
    pub lines: Vec<Line>,
}

/// One line of a hunk, with its newline unless the file ends without one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Context(Vec<u8>),
    Delete(Vec<u8>),
    Insert(Vec<u8>),
}

impl Hunk {
    /// The lines that the old file must have.
    pub fn old(&self) -> Vec<&[u8]> {
        self.lines.iter().filter_map(|l| if let Line::Insert(_) = l { None } else { Some(l.text()) }).collect()
    }

    /// The lines that the new file has.
    pub fn new_lines(&self) -> Vec<&[u8]> {
        self.lines.iter().filter_map(|l| if let Line::Delete(_) = l { None } else { Some(l.text()) }).collect()
    }

    /// The header as diff writes it: `@@ -1,3 +1,4 @@ function`.
    pub fn header(&self) -> String {
        let range = |start: usize, len: usize| if len == 1 { start.to_string() } else { format!("{start},{len}") };
        let old = range(self.old_start, self.old().len());
        let new = range(self.new_start, self.new_lines().len());
        format!("@@ -{old} +{new} @@ {}", self.section).trim_end().to_string()
    }

    /// The hunk that undoes this one.
    pub fn reverse(&self) -> Hunk {
        let lines = self.lines.iter().map(|line| match line {
            Line::Context(t) => Line::Context(t.clone()),
            Line::Delete(t) => Line::Insert(t.clone()),
            Line::Insert(t) => Line::Delete(t.clone()),
        });
        Hunk { old_start: self.new_start, new_start: self.old_start, lines: lines.collect(), ..self.clone() }
    }
}

impl Line {
    pub fn text(&self) -> &[u8] {
        match self {
            Line::Context(t) | Line::Delete(t) | Line::Insert(t) => t,
        }
    }
}

impl FilePatch {
    /// The patch that undoes this one.
    pub fn reverse(&self) -> FilePatch {
        let operation = match self.operation {
            Operation::Modify => Operation::Modify,
            Operation::Create => Operation::Delete,
            Operation::Delete => Operation::Create,
        };
        FilePatch { operation, hunks: self.hunks.iter().map(Hunk::reverse).collect(), ..self.clone() }
    }
}

/// Reads patch files: git diffs, `git format-patch` mails (one or many in a file), `git show`, `diff -u`.
///
/// `inputs` are names (for messages) and contents, in the order in which they apply. `strip` is the number of leading
/// path components to drop (`patch -pN`); `None` takes 1 where names begin with `a/` and `b/` or with two folders that
/// differ, 0 where they begin with a folder of the kernel.
///
/// # Errors
///
/// `patch-invalid`, with the patch file and line, for anything that isn't understood to the last line of a diff, and for
/// names that point out of the kernel tree.
pub fn read(inputs: &[(String, Vec<u8>)], strip: Option<usize>) -> Result<Vec<PatchSet>> {
    let mut sets = Vec::new();
    for (name, bytes) in inputs {
        let before = sets.len();
        for message in header::messages(name, bytes)? {
            let files = parse::files(&message, strip)?;
            // A series has a cover letter, and a file of patches may have prose between them.
            if !files.is_empty() {
                sets.push(PatchSet { header: message.header, files });
            }
        }
        if sets.len() == before {
            return refuse(
                PATCH_INVALID,
                format!("{name} contains no diff: no `---`, `+++` and `@@` lines were found"),
            );
        }
    }
    Ok(sets)
}
