//! Three-way merge of one file: as it was written, as a hand has left it, and as it would be written now.

use std::collections::BTreeMap;

use similar::{ConflictStyle, MergeResolution, TextMerge};

use crate::edits::pieces::{self, Kind};
use crate::link::symbols_file::{self, Entry, SYMBOLS};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Neither the hand nor the new module has another text.
    Unchanged,
    /// The hand had not changed it.
    New,
    /// The new module has the text that the hand has started from.
    Edited,
    Merged,
    /// That many places are left to the person.
    Conflicts(usize),
}

/// Merges; `None` is a file that isn't there.
pub fn merge(name: &str, pristine: Option<&str>, edited: Option<&str>, new: Option<&str>) -> (Option<String>, Outcome) {
    let text = |text: Option<&str>| text.map(str::to_string);
    if edited == pristine {
        return (text(new), if new == pristine { Outcome::Unchanged } else { Outcome::New });
    }
    if new == pristine {
        return (text(edited), Outcome::Edited);
    }
    if edited == new {
        return (text(new), Outcome::Unchanged);
    }
    let (base, ours, theirs) = (pristine.unwrap_or(""), edited.unwrap_or(""), new.unwrap_or(""));
    if name == SYMBOLS
        && let Some(merged) = symbols(base, ours, theirs)
    {
        return (Some(merged), Outcome::Merged);
    }
    let (base, ours) = moved(base, ours, theirs);
    let mut merge = TextMerge::from_lines(&*base, &*ours, theirs);
    merge.conflict_style(ConflictStyle::Diff3).labels("as it was written", "as it was edited", "as it is written now");
    let conflicts = merge.regions().iter().filter(|region| region.resolution() == MergeResolution::Conflict).count();
    (Some(merge.to_string()), if conflicts == 0 { Outcome::Merged } else { Outcome::Conflicts(conflicts) })
}

/// The entries of klp.symbols, whose columns are as wide as the widest of them, so that lines say little. Nothing where two
/// entries disagree, or where a person has written comments.
fn symbols(base: &str, ours: &str, theirs: &str) -> Option<String> {
    let read = |text: &str| {
        let (entries, findings) = symbols_file::parse(text, SYMBOLS);
        (findings.is_empty() && comments(text) == comments(theirs)).then(|| {
            let map: BTreeMap<String, Entry> = entries.into_iter().map(|entry| (entry.c_name.clone(), entry)).collect();
            map
        })
    };
    let (base, ours, theirs) = (read(base)?, read(ours)?, read(theirs)?);
    let names: std::collections::BTreeSet<&String> = base.keys().chain(ours.keys()).chain(theirs.keys()).collect();
    let mut merged = Vec::new();
    for name in names {
        let (base, ours, theirs) = (base.get(name), ours.get(name), theirs.get(name));
        merged.extend(match () {
            () if ours == base => theirs,
            () if theirs == base || ours == theirs => ours,
            () => return None,
        });
    }
    Some(symbols_file::render(&merged.into_iter().cloned().collect::<Vec<_>>()))
}

fn comments(text: &str) -> Vec<&str> {
    // The last one is the heads of the columns.
    let lines = text.lines().filter(|line| line.contains('#') && !line.starts_with("# C name"));
    lines.collect()
}

/// The comments that say where something is from, as the new text has them: a line that was moved in the kernel's source is
/// nothing that a hand's edit beside it could be in conflict with.
fn moved(base: &str, ours: &str, theirs: &str) -> (String, String) {
    let places = |text: &str| -> BTreeMap<(Kind, String), String> {
        let pieces = pieces::pieces(text).into_iter();
        let place = |piece: pieces::Piece| {
            let line = piece.text.lines().rev().find(|line| line.starts_with(FROM))?.to_string();
            Some(((piece.kind, piece.name), line))
        };
        pieces.filter_map(place).collect()
    };
    let now = places(theirs);
    let olds = places(base);
    let lines: BTreeMap<&str, &str> =
        olds.iter().filter_map(|(key, old)| Some((old.as_str(), now.get(key)?.as_str()))).collect();
    let replaced = |text: &str| -> String {
        let line = |line: &str| {
            let (bare, end) = line.strip_suffix('\n').map_or((line, ""), |bare| (bare, "\n"));
            format!("{}{end}", lines.get(bare).copied().unwrap_or(bare))
        };
        text.split_inclusive('\n').map(line).collect()
    };
    (replaced(base), replaced(ours))
}

/// Begins a comment that says where a piece is from.
const FROM: &str = "/* from ";

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str =
        "/* from a.c:1 */\nint f(void)\n{\n\treturn 1;\n}\n\n/* from a.c:9 */\nint g(void)\n{\n\treturn 2;\n}\n";

    fn merged(ours: &str, theirs: &str) -> (String, Outcome) {
        let (text, outcome) = merge("m.c", Some(BASE), Some(ours), Some(theirs));
        (text.unwrap(), outcome)
    }

    #[test]
    fn an_edit_survives_or_is_a_conflict() {
        let ours = BASE.replace("return 1", "return 10");
        assert_eq!(merged(&ours, BASE), (ours.clone(), Outcome::Edited));
        assert_eq!(merged(BASE, &ours), (ours.clone(), Outcome::New));
        let theirs = BASE.replace("return 2", "return 20");
        let both = ours.replace("return 2", "return 20");
        assert_eq!(merged(&ours, &theirs), (both, Outcome::Merged));
        let (text, outcome) = merged(&ours, &BASE.replace("return 1", "return 11"));
        assert_eq!(outcome, Outcome::Conflicts(1));
        let conflict = "<<<<<<< as it was edited\n\treturn 10;\n||||||| as it was written\n\treturn 1;\n=======\n\
                        \treturn 11;\n>>>>>>> as it is written now\n";
        assert!(text.contains(conflict), "{text}");
    }

    #[test]
    fn a_moved_line_is_no_conflict() {
        let ours = BASE.replace("int f(void)", "int __must_check f(void)");
        let theirs = BASE.replace("a.c:1 ", "a.c:5 ").replace("a.c:9", "a.c:13");
        let expected = theirs.replace("int f(void)", "int __must_check f(void)");
        assert_eq!(merged(&ours, &theirs), (expected, Outcome::Merged));
    }

    #[test]
    fn symbols_are_merged_by_their_names() {
        let entry = |name: &str, sympos| Entry::new(name, "vmlinux", name, sympos);
        let text = |entries: &[Entry]| symbols_file::render(entries);
        let base = text(&[entry("a", 0), entry("b", 0)]);
        let ours = text(&[entry("a", 0), entry("b", 0), entry("mine", 2)]);
        let theirs = text(&[entry("a", 0), entry("much_longer_than_before", 0)]);
        let expected = text(&[entry("a", 0), entry("mine", 2), entry("much_longer_than_before", 0)]);
        let merged = merge(SYMBOLS, Some(&base), Some(&ours), Some(&theirs));
        assert_eq!(merged, (Some(expected), Outcome::Merged));
        let (mine, yours) = (text(&[entry("a", 1), entry("b", 0)]), text(&[entry("a", 2), entry("b", 0)]));
        let (_, outcome) = merge(SYMBOLS, Some(&base), Some(&mine), Some(&yours));
        assert_eq!(outcome, Outcome::Conflicts(1));
    }
}
