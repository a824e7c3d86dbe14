//! Finds the diffs in a message and reads them.
//!
//! `diffy` reads file names and the lines of each hunk. Where the hunks are is found here, because `diffy` skips what it
//! doesn't understand without a word (junk behind a hunk hides the hunks after it) and tells no line numbers; a hunk that
//! gets lost is a livepatch that lacks half of its fix.

use super::header::Message;
use super::{FilePatch, Hunk, Line, Operation};
use crate::finding::{Finding, PATCH_INVALID, Result};

/// Folders of the kernel's top level; a name that begins with one of them has no prefix to strip.
const TOP: [&str; 22] = [
    "arch",
    "block",
    "certs",
    "crypto",
    "Documentation",
    "drivers",
    "fs",
    "include",
    "init",
    "io_uring",
    "ipc",
    "kernel",
    "lib",
    "mm",
    "net",
    "rust",
    "samples",
    "scripts",
    "security",
    "sound",
    "tools",
    "virt",
];

struct Parser<'a> {
    source: String,
    first_line: u32,
    lines: Vec<&'a [u8]>,
    at: usize,
    strip: Option<usize>,
    /// What was stripped from the first file; all files of a message are written alike.
    stripped: Option<usize>,
}

/// Names and operation of a file, as far as its headers have told.
#[derive(Default)]
struct Head {
    git: Option<(String, String)>,
    old: Option<Name>,
    new: Option<Name>,
    created: bool,
    deleted: bool,
}

struct Name {
    text: String,
    /// GNU diff dates a file that doesn't exist to the epoch.
    epoch: bool,
}

/// The files that a message's diffs change.
pub(super) fn files(message: &Message, strip: Option<usize>) -> Result<Vec<FilePatch>> {
    let mut source = message.header.source.clone();
    if message.decoded {
        source.push_str(" (decoded mail)");
    }
    let unix = without_transport_cr(&message.body, &source)?;
    let lines = unix.split_inclusive(|b| *b == b'\n').collect();
    let mut parser = Parser { source, first_line: message.first_line, lines, at: 0, strip, stripped: None };
    let mut files = Vec::new();
    while let Some(line) = parser.line() {
        if line.starts_with(b"diff --git ") {
            files.push(parser.git_file()?);
        } else if line.starts_with(b"--- ") && parser.ahead(1).starts_with(b"+++ ") {
            let start = parser.at;
            let head = parser.names(Head::default())?;
            files.push(parser.file(head, start)?);
        } else if line.starts_with(b"diff --cc ") || line.starts_with(b"diff --combined ") || line.starts_with(b"@@@") {
            return parser.invalid("this is the combined diff of a merge; make one against a single parent");
        } else if line.starts_with(b"@@ -") {
            return parser
                .invalid("this hunk belongs to no file: the lines `---` and `+++` are missing, or it is damaged");
        } else if !files.is_empty() && is_damaged_hunk(line) {
            return parser.invalid(
                "this looks like the header of a hunk, but isn't `@@ -LINE,COUNT +LINE,COUNT @@`: it would get lost",
            );
        } else if line.starts_with(b"*** ") && parser.ahead(1).starts_with(b"--- ") {
            return parser.invalid("this is a context diff; make a unified one (`diff -u`)");
        } else if line.starts_with(b"Binary files ") && line.trim_ascii_end().ends_with(b" differ") {
            return parser.invalid("the patch changes a binary file");
        } else {
            parser.at += 1;
        }
    }
    Ok(files)
}

/// A hunk's header that a mail program has quoted, indented or taken apart: `> @@ -1,2 +1,3 @@`, `=@@ -1 +1 @@`, `@@-1 +1@@`.
fn is_damaged_hunk(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let rest = text.trim_start_matches(|c: char| c.is_whitespace() || ">|=".contains(c));
    let Some(rest) = rest.strip_prefix("@@") else { return false };
    let mut numbers = rest.trim_start().splitn(3, |c: char| c.is_whitespace() || c == '@');
    let is_range = |word: Option<&str>, sign: char| {
        let digits = word.and_then(|word| word.strip_prefix(sign));
        digits.is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
    };
    is_range(numbers.next(), '-') && is_range(numbers.next(), '+')
}

/// A mail whose every line ends in CR LF was converted in transport. One where only the contents do changes a file that
/// has them.
fn without_transport_cr(body: &[u8], source: &str) -> Result<Vec<u8>> {
    let (mut with, mut without) = (0, 0);
    for line in
        body.split_inclusive(|b| *b == b'\n').filter(|l| l.starts_with(b"+++ ") || l.starts_with(b"diff --git "))
    {
        if line.ends_with(b"\r\n") { with += 1 } else { without += 1 }
    }
    if with > 0 && without > 0 {
        let message = "some file headers end in CR LF and some don't: the patch was damaged on its way";
        return Err(Finding::new(PATCH_INVALID, message).at(source, None).into());
    }
    if with == 0 {
        return Ok(body.to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            None => out.extend_from_slice(line),
        }
    }
    Ok(out)
}

impl<'a> Parser<'a> {
    fn line(&self) -> Option<&'a [u8]> {
        self.lines.get(self.at).copied()
    }

    fn ahead(&self, n: usize) -> &'a [u8] {
        self.lines.get(self.at + n).copied().unwrap_or_default()
    }

    fn number(&self, at: usize) -> u32 {
        self.first_line + at as u32
    }

    fn invalid<T>(&self, message: impl Into<String>) -> Result<T> {
        self.invalid_at(self.at, message)
    }

    fn invalid_at<T>(&self, at: usize, message: impl Into<String>) -> Result<T> {
        Err(Finding::new(PATCH_INVALID, message).at(self.source.as_str(), Some(self.number(at))).into())
    }

    /// A file with git's extended headers (git-diff(1), "Generating patch text with -p").
    fn git_file(&mut self) -> Result<FilePatch> {
        let start = self.at;
        let mut head = Head { git: self.git_names()?, ..Head::default() };
        self.at += 1;
        while let Some(line) = self.line() {
            let text = line.trim_ascii_end();
            if text.starts_with(b"rename ") || text.starts_with(b"copy ") {
                return self.invalid("the patch renames or copies a file; make it with `git diff --no-renames`");
            } else if text == b"GIT binary patch" || text.starts_with(b"Binary files ") {
                return self.invalid("the patch changes a binary file");
            } else if text.contains_mode(b"120000") || text.contains_mode(b"160000") {
                return self.invalid("the patch changes a symbolic link or a submodule, not a file");
            } else if text.starts_with(b"new file mode ") {
                head.created = true;
            } else if text.starts_with(b"deleted file mode ") {
                head.deleted = true;
            } else if line.starts_with(b"--- ") && self.ahead(1).starts_with(b"+++ ") {
                head = self.names(head)?;
                break;
            } else if !GIT_HEADERS.iter().any(|h| text.starts_with(h)) {
                break;
            }
            self.at += 1;
        }
        self.file(head, start)
    }

    /// `diff --git a/X b/X`: needed where no `---` line follows (mode changes, empty files). Names with blanks aren't
    /// quoted, so the line is cut where both halves name the same file.
    fn git_names(&self) -> Result<Option<(String, String)>> {
        let line = self.lines[self.at].trim_ascii_end();
        let names = line.strip_prefix(b"diff --git ").unwrap_or_default();
        let Ok(text) = std::str::from_utf8(names) else { return Ok(None) };
        // Two names of PATH_MAX bytes; each blank is a place to cut at.
        if text.starts_with('"') || text.len() > 2 * 4096 + 1 {
            return Ok(None);
        }
        let same = |a: &str, b: &str| a == b || Some(after(a, 1)) == Some(after(b, 1)) && !after(a, 1).is_empty();
        let cut = text.match_indices(' ').find(|(i, _)| same(&text[..*i], &text[i + 1..]));
        Ok(cut.map(|(i, _)| (text[..i].to_string(), text[i + 1..].to_string())))
    }

    /// The lines `---` and `+++`.
    fn names(&mut self, mut head: Head) -> Result<Head> {
        for side in 0..2 {
            let line = self.lines[self.at];
            if line.contains(&0) {
                return self.invalid("the file name contains a NUL byte");
            }
            let patch = match diffy::Patch::from_bytes(line) {
                Ok(patch) => patch,
                Err(e) => return self.invalid(format!("the file name can't be read: {e}")),
            };
            let name = if side == 0 { patch.original() } else { patch.modified() };
            let Some(Ok(text)) = name.map(|n| std::str::from_utf8(n)) else {
                return self.invalid("the file name is not UTF-8");
            };
            // Without a tab, git means the whole line, and GNU diff always writes one before the time.
            let time = line.split(|b| *b == b'\t').nth(1).unwrap_or_default();
            let epoch = time.starts_with(b"1970-01-01 ") || time.starts_with(b"1969-12-31 ");
            let name = Some(Name { text: text.to_string(), epoch });
            if side == 0 {
                head.old = name
            } else {
                head.new = name
            }
            self.at += 1;
        }
        Ok(head)
    }

    /// The hunks that follow, and what they are done to. `start` is the index of the file's first line.
    fn file(&mut self, head: Head, start: usize) -> Result<FilePatch> {
        let mut hunks: Vec<Hunk> = Vec::new();
        while let Some(line) = self.line()
            && line.starts_with(b"@@ ")
        {
            let at = self.at;
            let hunk = self.hunk()?;
            if let Some(last) = hunks.last()
                && (last.old_start + last.old().len() > hunk.old_start + usize::from(hunk.old().is_empty())
                    || last.new_start + last.new_lines().len()
                        > hunk.new_start + usize::from(hunk.new_lines().is_empty()))
            {
                return self.invalid_at(at, "the hunk overlaps the one before it, or they are out of order");
            }
            hunks.push(hunk);
        }
        if head.old.is_some() && hunks.is_empty() {
            return self.invalid("a hunk (`@@ -...`) is expected after `---` and `+++`");
        }
        let (operation, path) = self.target(&head, &hunks, start)?;
        Ok(FilePatch { path, operation, hunks, source: self.source.clone(), line: self.number(start) })
    }

    /// One hunk; its extent is what its header says, and everything must be accounted for.
    fn hunk(&mut self) -> Result<Hunk> {
        let start = self.at;
        let Some((mut old, mut new)) = counts(self.lines[start]) else {
            return self.invalid("the hunk's header is not `@@ -LINE,COUNT +LINE,COUNT @@`");
        };
        self.at += 1;
        while old > 0 || new > 0 {
            let Some(line) = self.line() else {
                return self
                    .invalid_at(start, format!("the hunk ends too early: {old} old and {new} new lines are missing"));
            };
            let (o, n) = match line[0] {
                b' ' | b'\n' => (1, 1),
                b'-' => (1, 0),
                b'+' => (0, 1),
                b'\\' => (0, 0),
                _ => {
                    return self
                        .invalid("this is no line of a hunk: it was wrapped or damaged, or the counts are wrong");
                }
            };
            if o > old || n > new {
                return self
                    .invalid(format!("the hunk of line {} has other lines than its header says", self.number(start)));
            }
            (old, new) = (old - o, new - n);
            self.at += 1;
        }
        if self.line().is_some_and(|l| l.starts_with(b"\\")) {
            self.at += 1;
        }
        let text = self.lines[start..self.at].concat();
        if let Some(i) = (start..self.at)
            .find(|i| self.lines[*i].starts_with(b"\\") && !self.lines[*i].starts_with(b"\\ No newline at end of file"))
        {
            return self.invalid_at(
                i,
                "a line with `\\` must say `\\ No newline at end of file` (make the diff with LC_ALL=C)",
            );
        }
        if let Some(line) = self.line()
            && matches!(line[0], b'+' | b'-' | b' ')
            && !matches!(line.trim_ascii_end(), b"--" | b"")
            && !(line.starts_with(b"--- ") && self.ahead(1).starts_with(b"+++ "))
        {
            return self
                .invalid(format!("the hunk of line {} has more lines than its header says", self.number(start)));
        }
        let patch = match diffy::Patch::from_bytes(&text) {
            Ok(patch) => patch,
            Err(e) => return self.invalid_at(start, format!("the hunk can't be read: {e}")),
        };
        let [hunk] = patch.hunks() else { return self.invalid_at(start, "the hunk can't be read") };
        let lines = hunk.lines().iter().map(|line| match line {
            diffy::Line::Context(t) => Line::Context(t.to_vec()),
            diffy::Line::Delete(t) => Line::Delete(t.to_vec()),
            diffy::Line::Insert(t) => Line::Insert(t.to_vec()),
        });
        Ok(Hunk {
            old_start: hunk.old_range().start(),
            new_start: hunk.new_range().start(),
            section: String::from_utf8_lossy(hunk.function_context().unwrap_or_default()).trim().to_string(),
            line: self.number(start),
            lines: lines.collect(),
        })
    }

    /// Which file, and whether it is new or goes away.
    fn target(&mut self, head: &Head, hunks: &[Hunk], start: usize) -> Result<(Operation, String)> {
        let none = |n: &Name| n.text == "/dev/null";
        let (old, new) = match (&head.old, &head.new, &head.git) {
            (Some(old), Some(new), _) => {
                let no_old = none(old) || old.epoch && hunks.iter().all(|h| h.old().is_empty());
                let no_new = none(new) || new.epoch && hunks.iter().all(|h| h.new_lines().is_empty());
                let name = |n: &Name, other: &Name| if none(n) { other.text.clone() } else { n.text.clone() };
                if none(old) && none(new) {
                    return self.invalid_at(start, "the diff names no file: both sides are /dev/null");
                }
                ((name(old, new), !no_old && !head.created), (name(new, old), !no_new && !head.deleted))
            }
            (_, _, Some((old, new))) => ((old.clone(), !head.created), (new.clone(), !head.deleted)),
            _ => return self.invalid_at(start, "the names in this line can't be told apart"),
        };
        let operation = match (old.1, new.1) {
            (true, true) => Operation::Modify,
            (false, true) => Operation::Create,
            (true, false) => Operation::Delete,
            (false, false) => return self.invalid_at(start, "the file is both created and deleted"),
        };
        // A created or deleted file has one name; git's header line has the prefix of the other side.
        let path = self.strip_names(&old.0, &new.0, start)?;
        check_name(&path)
            .or_else(|why| self.invalid_at(start, format!("`{path}` can't be a file of the kernel: {why}")))?;
        Ok((operation, path))
    }

    fn strip_names(&mut self, old: &str, new: &str, start: usize) -> Result<String> {
        for name in [old, new] {
            if name.starts_with('/') {
                return self.invalid_at(start, format!("`{name}` is an absolute path"));
            }
        }
        let backup = old.strip_suffix(".orig").unwrap_or(old);
        let strip = self.strip.unwrap_or_else(|| {
            let first = new.split('/').next().unwrap_or_default();
            let prefixed = old != new && after(backup, 1) == after(new, 1);
            usize::from(prefixed || !TOP.contains(&first) && new.contains('/'))
        });
        if *self.stripped.get_or_insert(strip) != strip {
            return self.invalid_at(start, "file names of one patch have different prefixes; say which with -p");
        }
        let (from, to) = (after(backup, strip), after(new, strip));
        if from != to {
            let message =
                format!("`{old}` and `{new}` are different files (with -p{strip}); renames are not supported");
            return self.invalid_at(start, message);
        }
        Ok(to.to_string())
    }
}

/// Git's extended header lines that need no action of ours.
const GIT_HEADERS: [&[u8]; 5] = [b"index ", b"old mode ", b"new mode ", b"similarity index ", b"dissimilarity index "];

trait ModeLine {
    fn contains_mode(&self, mode: &[u8]) -> bool;
}

impl ModeLine for [u8] {
    fn contains_mode(&self, mode: &[u8]) -> bool {
        let named = [&b"index "[..], b"old mode ", b"new mode ", b"new file mode ", b"deleted file mode "];
        named.iter().any(|n| self.starts_with(n)) && self.ends_with(&[b" ", mode].concat())
    }
}

/// The path without its first `n` components.
fn after(path: &str, n: usize) -> &str {
    let mut rest = path;
    for _ in 0..n {
        match rest.split_once('/') {
            // `a//x` has one separator, as for patch(1).
            Some((_, tail)) => rest = tail.trim_start_matches('/'),
            None => return "",
        }
    }
    rest
}

fn counts(header: &[u8]) -> Option<(usize, usize)> {
    let text = String::from_utf8_lossy(header);
    let (ranges, _) = text.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let count = |range: &str| match range.split_once(',') {
        Some((line, count)) => line.parse::<u32>().ok().and(count.parse::<u32>().ok()),
        None => range.parse::<u32>().ok().and(Some(1)),
    };
    Some((count(old)? as usize, count(new)? as usize))
}

/// Refuses every name that could leave the tree; whether a folder of it is a symlink is asked when it is opened.
pub(super) fn check_name(path: &str) -> std::result::Result<(), String> {
    if path.is_empty() {
        return Err("the name is empty".into());
    }
    if path.chars().any(char::is_control) {
        return Err("it contains a control character".into());
    }
    // No source of the kernel's has these. Names stand in comments, makefiles and command lines.
    let is_source = path.ends_with(".c") || path.ends_with(".h");
    if is_source && let Some(odd) = path.chars().find(|c| "*\"\\`$<>|;&'(){}".contains(*c)) {
        return Err(format!("it contains `{odd}`"));
    }
    for part in path.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(format!("it contains the component `{part}`"));
        }
        if part.eq_ignore_ascii_case(".git") {
            return Err("it is inside of git's own folder".into());
        }
    }
    Ok(())
}
