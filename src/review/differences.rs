//! Texts held against each other: two versions word by word, and a patch's hunks against the emitted function.

use serde::Serialize;
use similar::{ChangeTag, DiffOp, TextDiff};

use crate::patch::{self, Line as HunkLine, PatchSet};

use super::lines::Line;

/// A line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `same`, `old`, `new`; `gap` stands for lines that are the same.
    pub what: &'static str,
    pub old: Option<u32>,
    pub new: Option<u32>,
    /// The text in pieces; those that differ are marked.
    pub words: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Word {
    pub text: String,
    pub differs: bool,
}

/// Equal lines shown on either side of a difference.
const CONTEXT: usize = 4;

/// Compares two texts whose first lines have the given numbers.
pub fn words(old: (&str, u32), new: (&str, u32)) -> Vec<Row> {
    let diff = TextDiff::from_lines(old.0, new.0);
    let mut rows = Vec::new();
    for op in diff.ops() {
        // Without a deadline, so that the same input gives the same bytes.
        for change in diff.iter_inline_changes_deadline(op, None) {
            let word = |(differs, text): (bool, std::borrow::Cow<str>)| Word {
                text: text.trim_end_matches('\n').to_string(),
                differs,
            };
            let what = match change.tag() {
                ChangeTag::Equal => "same",
                ChangeTag::Delete => "old",
                ChangeTag::Insert => "new",
            };
            rows.push(Row {
                what,
                old: change.old_index().map(|index| index as u32 + old.1),
                new: change.new_index().map(|index| index as u32 + new.1),
                words: change.iter_strings_lossy().map(word).filter(|word| !word.text.is_empty()).collect(),
            });
        }
    }
    folded(rows)
}

/// Without the equal lines that are far from any difference.
fn folded(rows: Vec<Row>) -> Vec<Row> {
    let near = |at: usize| {
        let range = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(rows.len());
        rows[range].iter().any(|row| row.what != "same")
    };
    let shown: Vec<bool> = (0..rows.len()).map(near).collect();
    let mut folded = Vec::new();
    for run in shown.iter().zip(rows.iter().cloned()).collect::<Vec<_>>().chunk_by(|a, b| a.0 == b.0) {
        // A gap is worth it where it saves some lines.
        if *run[0].0 || run.len() < 3 {
            folded.extend(run.iter().map(|(_, row)| row.clone()));
            continue;
        }
        let words = vec![Word { text: format!("{} equal lines", run.len()), differs: false }];
        folded.push(Row { what: "gap", old: None, new: None, words });
    }
    folded
}

/// The lines of the old file that became a range of the new one (both from 0, the end excluded).
pub fn before(old: &[String], new: &[String], range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let (mut start, mut end) = (usize::MAX, 0);
    for op in similar::capture_diff_slices(similar::Algorithm::Myers, &old, &new) {
        let (was, is) = (op.old_range(), op.new_range());
        let inside = match op {
            DiffOp::Delete { .. } => range.start < is.start && is.start < range.end,
            _ => is.start < range.end && range.start < is.end,
        };
        if !inside {
            continue;
        }
        let (from, to) = match op {
            DiffOp::Equal { .. } => {
                let from = was.start + range.start.saturating_sub(is.start);
                (from, was.end - is.end.saturating_sub(range.end))
            }
            _ => (was.start, was.end),
        };
        (start, end) = (start.min(from), end.max(to));
    }
    start.min(end)..end
}

/// A hunk of the patch beside the emitted lines that it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hunk {
    pub patch: String,
    pub file: String,
    /// As diff writes it.
    pub header: String,
    pub rows: Vec<HunkRow>,
    /// A later patch changes these lines again, or their context was allowed to differ.
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HunkRow {
    /// `same`, `old` or `new`, on the patch's side.
    pub what: &'static str,
    pub text: String,
    /// Number and text of the emitted line.
    pub number: Option<u32>,
    pub emitted: Option<String>,
    /// Is it, word for word, what the patch says?
    pub equal: bool,
}

/// The hunks that reach into an item. `lines` are the item's, `after` is its file with the patch.
pub fn hunks(sets: &[PatchSet], file: &str, after: &[String], lines: &[&Line]) -> Vec<Hunk> {
    let patches = sets.iter().flat_map(|set| &set.files).filter(|patch| patch.path == file);
    let hunks = patches.flat_map(|patch| patch.hunks.iter().map(move |hunk| (patch, hunk)));
    hunks.filter_map(|(patch, hunk)| held(&patch.source, file, hunk, after, lines)).collect()
}

fn held(source: &str, file: &str, hunk: &patch::Hunk, after: &[String], lines: &[&Line]) -> Option<Hunk> {
    let text = |line: &[u8]| String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_string();
    let new: Vec<String> = hunk.new_lines().iter().map(|line| text(line)).collect();
    let fits = |at: &usize| after[*at..].iter().zip(&new).all(|(a, b)| a == b);
    let last = (after.len() + 1).saturating_sub(new.len());
    let place = (0..last).filter(fits).min_by_key(|at| at.abs_diff(hunk.new_start.saturating_sub(1)));
    let mut number = place.unwrap_or(hunk.new_start.saturating_sub(1)) as u32 + 1;
    let of = |number: u32| lines.iter().find(|line| line.source == Some(number));
    let mut rows = Vec::new();
    // A line that goes is inside where its neighbours are.
    let (mut inside, mut before) = (false, false);
    for line in &hunk.lines {
        let (what, is_new) = match line {
            HunkLine::Context(_) => ("same", true),
            HunkLine::Delete(_) => ("old", false),
            HunkLine::Insert(_) => ("new", true),
        };
        let emitted = if is_new { of(number) } else { None };
        let text = text(line.text());
        let equal = emitted.is_some_and(|line| line.text == text);
        inside |= match line {
            HunkLine::Insert(_) => emitted.is_some(),
            HunkLine::Delete(_) => before && of(number).is_some(),
            HunkLine::Context(_) => false,
        };
        if is_new {
            before = emitted.is_some();
            number += 1;
        }
        let (number, emitted) = (emitted.map(|line| line.number), emitted.map(|line| line.text.clone()));
        rows.push(HunkRow { what, text, number, emitted, equal });
    }
    inside.then(|| Hunk {
        patch: source.to_string(),
        file: file.to_string(),
        header: hunk.header(),
        rows,
        lost: place.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        text.lines().map(str::to_string).collect()
    }

    #[test]
    fn words_are_marked() {
        let rows = words(("a(b);\nsame\n", 7), ("a(c);\nsame\n", 9));
        let whats: Vec<_> = rows.iter().map(|row| (row.what, row.old, row.new)).collect();
        assert_eq!(whats, [("old", Some(7), None), ("new", None, Some(9)), ("same", Some(8), Some(10))]);
        let marked: String = rows[1].words.iter().filter(|word| word.differs).map(|word| word.text.as_str()).collect();
        assert!(marked.contains('c') && !marked.contains("a("), "{rows:?}");
    }

    #[test]
    fn equal_lines_far_from_differences_are_folded() {
        let many: String = (0..30).map(|line| format!("{line}\n")).collect();
        let rows = words((&many, 1), (&format!("{many}end\n"), 1));
        let whats: Vec<_> = rows.iter().map(|row| row.what).collect();
        assert_eq!(whats, ["gap", "same", "same", "same", "same", "new"]);
        assert_eq!(rows[0].words[0].text, "26 equal lines");
    }

    #[test]
    fn a_function_before_the_patch_is_found() {
        let old = texts("x\nf\n{\n1\n}\ny\n");
        let new = texts("x\nadded\nf\n{\n1\n2\n}\ny\n");
        assert_eq!(before(&old, &new, 2..7), 1..5);
        assert_eq!(before(&new, &old, 1..5), 2..7);
        assert_eq!(before(&old, &new, 1..2).len(), 0);
    }
}
