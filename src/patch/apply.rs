//! Applies patches to bytes in memory.
//!
//! Unlike patch(1): fuzz only on request, context lines in the result come from the source, and a hunk that fits two
//! places equally well is refused instead of taking one.

use std::collections::BTreeMap;
use std::path::Path;

use super::overlay::FileState;
use super::{FilePatch, Hunk, Line, Operation, PatchSet};
use crate::finding::{
    Error, Finding, PATCH_DOES_NOT_APPLY, PATCH_FUZZ, PATCH_INVALID, PATCH_OFFSET, PATCH_PLACE_UNSURE, Result, io,
};

/// Where one hunk went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedHunk {
    /// Kernel file, relative to the source.
    pub path: String,
    /// First line of the hunk in the file before the patch, counted from 1.
    pub line: usize,
    /// Lines between where the patch says and where it went, without the shift by the patch's own earlier hunks.
    pub offset: i64,
    /// Context lines ignored at the ends; 0 unless asked for.
    pub fuzz: u8,
    /// Other lines at which the hunk would fit as well; empty for a hunk that went where the patch says without fuzz.
    pub also_at: Vec<usize>,
}

/// One file after its patch.
#[derive(Debug, Clone)]
pub struct AppliedFile {
    pub state: FileState,
    pub hunks: Vec<AppliedHunk>,
}

/// All files after all patches.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub files: BTreeMap<String, FileState>,
    /// In the order of the patches.
    pub hunks: Vec<AppliedHunk>,
    /// `patch-fuzz`, `patch-offset`, `patch-place-unsure`.
    pub findings: Vec<Finding>,
}

/// Applies patches in order to the files of a kernel tree, which is only read. A later patch sees what an earlier one
/// made. `fuzz` is the number of context lines that may differ at the ends of a hunk (0 to 2).
///
/// # Errors
///
/// `patch-does-not-apply`, one finding per file that fails; `patch-invalid` for a file behind a symbolic link; `io`.
pub fn apply_all(sets: &[PatchSet], source: &Path, fuzz: u8) -> Result<Applied> {
    let mut applied = Applied::default();
    let mut failed = Vec::new();
    for file in sets.iter().flat_map(|set| &set.files) {
        let old = match applied.files.get(&file.path) {
            Some(FileState::Content(bytes)) => Some(bytes.clone()),
            Some(FileState::Deleted) => None,
            None => read_inside(source, file)?,
        };
        match apply(file, old.as_deref(), fuzz) {
            Ok(done) => {
                applied.findings.extend(done.hunks.iter().flat_map(remarks));
                applied.hunks.extend(done.hunks);
                // A mode change leaves the file as it is; it must not look patched.
                if !file.hunks.is_empty() || file.operation != Operation::Modify {
                    applied.files.insert(file.path.clone(), done.state);
                }
            }
            Err(Error::Refused(findings)) => failed.extend(findings),
        }
    }
    if failed.is_empty() { Ok(applied) } else { Err(Error::Refused(failed)) }
}

/// Reads a file of the tree. A symbolic link on the way is refused: what the patch names is then not what would change,
/// and it may lie outside of the tree.
fn read_inside(source: &Path, file: &FilePatch) -> Result<Option<Vec<u8>>> {
    let mut path = source.to_path_buf();
    for part in file.path.split('/') {
        path.push(part);
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let message = format!("`{}` can't be patched: {} is a symbolic link", file.path, path.display());
                return Err(Finding::new(PATCH_INVALID, message).at(file.source.as_str(), Some(file.line)).into());
            }
            Ok(_) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(io("read", &path)(e)),
        }
    }
    std::fs::read(&path).map(Some).map_err(io("read", &path))
}

fn remarks(hunk: &AppliedHunk) -> Vec<Finding> {
    let line = Some(hunk.line as u32);
    let mut all = Vec::new();
    if hunk.fuzz > 0 {
        let message =
            format!("a hunk was applied with fuzz {}: its context differs from the source; read it", hunk.fuzz);
        all.push(Finding::new(PATCH_FUZZ, message).at(hunk.path.as_str(), line));
    }
    if hunk.offset != 0 {
        let message = format!("a hunk was applied at line {} (offset {:+} lines)", hunk.line, hunk.offset);
        all.push(Finding::new(PATCH_OFFSET, message).at(hunk.path.as_str(), line));
    }
    if !hunk.also_at.is_empty() {
        let others: Vec<String> = hunk.also_at.iter().map(usize::to_string).collect();
        let message = format!(
            "a hunk was applied at line {}, the nearest place, but the same lines are also at line {}; check that it is \
             the right one, or make the patch with more context (`diff -U10`)",
            hunk.line,
            others.join(", ")
        );
        all.push(Finding::new(PATCH_PLACE_UNSURE, message).at(hunk.path.as_str(), line));
    }
    all
}

/// Applies one file's change. `old` is its content, `None` where it doesn't exist.
///
/// # Errors
///
/// `patch-does-not-apply`, with the hunk, the best partial match and the first line that differs.
pub fn apply(file: &FilePatch, old: Option<&[u8]>, fuzz: u8) -> Result<AppliedFile> {
    try_apply(file, old, fuzz).map_err(|(line, message)| {
        let mut message = format!("{} does not apply to {}: {message}", file.source, file.path);
        let undo = file.reverse();
        if !file.hunks.is_empty() && try_apply(&undo, old, 0).is_ok() {
            message = format!(
                "{} seems to be applied already: {} has its result, and the reverse applies. This kernel has the fix, or \
                 the source tree is not the one that it was built from",
                file.source, file.path
            );
        }
        Finding::new(PATCH_DOES_NOT_APPLY, message).at(file.source.as_str(), Some(line)).into()
    })
}

/// As [`apply`]; the error is the line in the patch file, and why.
fn try_apply(file: &FilePatch, old: Option<&[u8]>, fuzz: u8) -> std::result::Result<AppliedFile, (u32, String)> {
    let fail = |message: &str| Err((file.line, message.to_string()));
    let old = match (file.operation, old) {
        (Operation::Create, Some(_)) => return fail("the patch creates the file, but it exists"),
        (Operation::Create, None) => &[][..],
        (_, None) => return fail("there is no such file in this kernel's source"),
        (_, Some(bytes)) => bytes,
    };
    let source: Vec<&[u8]> = old.split_inclusive(|b| *b == b'\n').collect();
    let mut out = Vec::with_capacity(old.len() + 1024);
    let mut hunks = Vec::new();
    let (mut done, mut drift) = (0, 0i64);
    for hunk in &file.hunks {
        let place = find(hunk, &source, done, drift, fuzz).map_err(|why| (hunk.line, why))?;
        let at = place.at;
        drift = place.drift;
        source[done..at].iter().for_each(|line| out.extend_from_slice(line));
        done = at;
        for line in &hunk.lines[place.drop_front..hunk.lines.len() - place.drop_back] {
            let text = match line {
                Line::Insert(text) => text.as_slice(),
                Line::Delete(_) => {
                    done += 1;
                    continue;
                }
                Line::Context(_) => {
                    done += 1;
                    source[done - 1]
                }
            };
            if out.last().is_some_and(|b| *b != b'\n') {
                return Err((hunk.line, "a line would be added after one that has no newline at its end".into()));
            }
            out.extend_from_slice(text);
        }
        if out.last().is_some_and(|b| *b != b'\n') && done < source.len() {
            let message = "the patch says `\\ No newline at end of file`, but the file goes on there";
            return Err((hunk.line, message.into()));
        }
        hunks.push(AppliedHunk {
            path: file.path.clone(),
            line: at + 1,
            offset: place.offset,
            fuzz: place.fuzz,
            also_at: place.also_at,
        });
    }
    source[done..].iter().for_each(|line| out.extend_from_slice(line));
    match file.operation {
        Operation::Delete if !out.is_empty() => {
            fail("the patch deletes the file, but not all of its lines are in the patch")
        }
        Operation::Delete => Ok(AppliedFile { state: FileState::Deleted, hunks }),
        _ => Ok(AppliedFile { state: FileState::Content(out), hunks }),
    }
}

struct Place {
    /// Index of the first line that is kept or replaced.
    at: usize,
    /// Offset for the next hunk to begin its search with.
    drift: i64,
    offset: i64,
    fuzz: u8,
    drop_front: usize,
    drop_back: usize,
    also_at: Vec<usize>,
}

/// Finds a hunk's place at or after line index `done`: least fuzz first, then the nearest place.
fn find(hunk: &Hunk, source: &[&[u8]], done: usize, drift: i64, max_fuzz: u8) -> std::result::Result<Place, String> {
    let old = hunk.old();
    // An empty old side names the line before it.
    let stated = if old.is_empty() { hunk.old_start } else { hunk.old_start.saturating_sub(1) } as i64;
    if old.is_empty() && !source.is_empty() {
        return Err(format!(
            "hunk {} has no context, so its place can't be checked; make it with `diff -u`",
            hunk.header()
        ));
    }
    let is_context = |line: &Line| matches!(line, Line::Context(_));
    let front = hunk.lines.iter().take_while(|l| is_context(l)).count();
    let back = hunk.lines.iter().rev().take_while(|l| is_context(l)).count();
    for fuzz in 0..=max_fuzz.min(2) as usize {
        // As patch(1): the longer end loses lines first.
        let drop = |here: usize| (fuzz + here).saturating_sub(front.max(back)).min(here);
        let (drop_front, drop_back) = (drop(front), drop(back));
        if fuzz > 0 && drop_front + drop_back + 1 > old.len() || fuzz > front.max(back) {
            break;
        }
        let wanted = &old[drop_front..old.len() - drop_back];
        let expected = stated + drift + drop_front as i64;
        let fits = |at: usize| source.get(at..at + wanted.len()).is_some_and(|lines| lines == wanted);
        let at = if usize::try_from(expected).is_ok_and(|at| at >= done && fits(at)) {
            expected as usize
        } else {
            let all: Vec<usize> = (done..source.len()).filter(|at| fits(*at)).collect();
            let distance = |at: usize| (at as i64 - expected).unsigned_abs();
            let Some(nearest) = all.iter().copied().min_by_key(|at| distance(*at)) else { continue };
            if let Some(twin) = all.iter().find(|at| **at != nearest && distance(**at) == distance(nearest)) {
                return Err(format!(
                    "hunk {} fits line {} and line {} equally well; make the patch with more context (`diff -U10`)",
                    hunk.header(),
                    nearest + 1,
                    twin + 1
                ));
            }
            nearest
        };
        let offset = at as i64 - (stated + drop_front as i64);
        let also_at = if offset == 0 && fuzz == 0 {
            Vec::new()
        } else {
            (0..source.len()).filter(|other| *other != at && fits(*other)).map(|other| other + 1).collect()
        };
        return Ok(Place { at, drift: offset, offset, fuzz: fuzz as u8, drop_front, drop_back, also_at });
    }
    Err(explain(hunk, source, stated + drift))
}

/// Why a hunk fits nowhere: the place where most of its lines are, and the first one that differs there.
fn explain(hunk: &Hunk, source: &[&[u8]], expected: i64) -> String {
    let old = hunk.old();
    let header = hunk.header();
    let show = |line: Option<&&[u8]>| match line {
        Some(line) => format!("`{}`", String::from_utf8_lossy(line).trim_end_matches('\n').replace('\r', "\\r")),
        None => "the end of the file".into(),
    };
    // The places are ranked line by line; so large a hunk wasn't made by hand, nor will it be read by one.
    if old.len().saturating_mul(source.len()) > 50_000_000 {
        return format!("hunk {header} matches nowhere");
    }
    let count = |at: usize| (0..old.len()).filter(|i| source.get(at + i) == Some(&old[*i])).count();
    let rank = |at: &usize| (count(*at), std::cmp::Reverse((*at as i64 - expected).unsigned_abs()));
    let bare = |line: &[u8]| line.strip_suffix(b"\n").map(|l| l.strip_suffix(b"\r").unwrap_or(l).to_vec());
    let Some(at) = (0..source.len()).max_by_key(rank).filter(|at| count(*at) > 0) else {
        let mut message = format!("no line of hunk {header} is in the file at its place");
        if old.iter().any(|o| source.iter().any(|s| o != s && bare(o).is_some() && bare(o) == bare(s))) {
            message.push_str("; patch and source differ in their line ends (CR LF)");
        }
        return message;
    };
    let differs = (0..old.len()).find(|i| source.get(at + i) != Some(&old[*i])).unwrap_or(0);
    let (wanted, found) = (old.get(differs), source.get(at + differs));
    let mut message = format!(
        "hunk {header} matches nowhere\n  best place: line {}, where {} of its {} lines match\n  first difference: line {}\n    \
         expected {}\n    found    {}",
        at + 1,
        count(at),
        old.len(),
        at + differs + 1,
        show(wanted),
        show(found)
    );
    if let (Some(wanted), Some(found)) = (wanted, found) {
        let squeeze = |l: &[u8]| l.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<u8>>();
        if squeeze(wanted) == squeeze(found) {
            message.push_str(
                "\n  the lines differ only in white space: the patch was damaged on its way, or made for another tree",
            );
        }
    }
    let new = hunk.new_lines();
    if !new.is_empty() && new != old && source.windows(new.len()).any(|lines| lines == new) {
        message.push_str("\n  this hunk's result is in the file: it seems to be applied already");
    }
    message
}
