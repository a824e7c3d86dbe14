//! What a hand has changed: the pristine text of a module against the edited one, by what stands at file scope.

pub mod pieces;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};

use crate::link::symbols_file::{self, SYMBOLS};

use pieces::{Kind, Piece};

/// Words around a difference that are shown with it.
const AROUND: usize = 4;

/// How a piece was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Added,
    Removed,
    /// Its words.
    Changed,
    /// It has another name; nothing else of it is other.
    Renamed(String),
    /// Comments only.
    Comment,
    /// White space only.
    Space,
    Moved,
}

/// One change.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    pub file: String,
    /// Of the edited file; of the pristine one, for what was removed.
    pub line: u32,
    /// Nothing for a file that isn't C.
    pub kind: Option<Kind>,
    pub name: String,
    pub how: How,
    /// Lines of a diff.
    pub diff: Vec<String>,
}

impl Change {
    /// In one line.
    pub fn sentence(&self) -> String {
        let what = match self.kind {
            Some(kind) if self.name.is_empty() => format!(" {}", kind.word()),
            Some(kind) => format!(" {} {}", kind.word(), self.name),
            None => String::new(),
        };
        let how = match &self.how {
            How::Added => "added".into(),
            How::Removed => "removed".into(),
            How::Changed => "changed".into(),
            How::Renamed(new) => format!("renamed to {new}"),
            How::Comment => "only comments changed".into(),
            How::Space => "only white space changed".into(),
            How::Moved => "moved".into(),
        };
        format!("{}:{}:{what} {how}", self.file, self.line)
    }
}

/// All changes of a module's files, by name; and the names that the hand has given to things by their old ones.
pub fn changes(
    pristine: &BTreeMap<String, String>,
    edited: &BTreeMap<String, String>,
) -> (Vec<Change>, BTreeMap<String, String>) {
    let empty = String::new();
    let names: BTreeSet<&String> = pristine.keys().chain(edited.keys()).collect();
    let mut renamed = BTreeMap::new();
    let cut = |texts: &BTreeMap<String, String>, name: &String| pieces::pieces(texts.get(name).unwrap_or(&empty));
    let c_files: Vec<&String> =
        names.iter().copied().filter(|name| name.ends_with(".c") || name.ends_with(".h")).collect();
    for name in &c_files {
        renamed.extend(renames(&cut(pristine, name), &cut(edited, name)));
    }
    if let (Some(old), Some(new)) = (pristine.get(SYMBOLS), edited.get(SYMBOLS)) {
        renamed.extend(renamed_symbols(old, new));
    }
    let mut changes = Vec::new();
    for name in names {
        match (pristine.get(name), edited.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) if c_files.contains(&name) => {
                changes.extend(in_source(name, &pieces::pieces(old), &pieces::pieces(new), &renamed));
            }
            (old, new) => {
                let how = match (old, new) {
                    (None, _) => How::Added,
                    (_, None) => How::Removed,
                    _ => How::Changed,
                };
                let diff = match how {
                    How::Changed => lines(old.unwrap_or(&empty), new.unwrap_or(&empty)),
                    _ => Vec::new(),
                };
                let line = first_line(old.unwrap_or(&empty), new.unwrap_or(&empty));
                changes.push(Change { file: name.clone(), line, kind: None, name: String::new(), how, diff });
            }
        }
    }
    (changes, renamed)
}

/// C names of klp.symbols that stand for what another one stood for.
fn renamed_symbols(old: &str, new: &str) -> BTreeMap<String, String> {
    let entries = |text: &str| symbols_file::parse(text, SYMBOLS).0;
    let (old, new) = (entries(old), entries(new));
    let gone = old.iter().filter(|entry| new.iter().all(|other| other.c_name != entry.c_name));
    gone.filter_map(|entry| {
        let same = |other: &&crate::link::symbols_file::Entry| {
            (&other.object, &other.symbol, other.sympos) == (&entry.object, &entry.symbol, entry.sympos)
                && old.iter().all(|known| known.c_name != other.c_name)
        };
        new.iter().find(same).map(|other| (entry.c_name.clone(), other.c_name.clone()))
    })
    .collect()
}

/// Things that are there under another name, and are otherwise the same.
fn renames(old: &[Piece], new: &[Piece]) -> BTreeMap<String, String> {
    let has = |pieces: &[Piece], piece: &Piece| pieces.iter().any(|other| key(other) == key(piece));
    let mut found = BTreeMap::new();
    for gone in old.iter().filter(|piece| !has(new, piece) && named(piece)) {
        let same = new.iter().filter(|piece| !has(old, piece) && piece.kind == gone.kind).find(|piece| {
            let back = piece.words.iter().map(|word| if *word == piece.name { &gone.name } else { word });
            back.eq(gone.words.iter())
        });
        found.extend(same.map(|piece| (gone.name.clone(), piece.name.clone())));
    }
    found
}

fn named(piece: &Piece) -> bool {
    matches!(piece.kind, Kind::Function | Kind::Declaration | Kind::Macro) && !piece.name.contains(['(', ' '])
}

/// By which a piece is found again.
fn key(piece: &Piece) -> (Kind, &str) {
    (piece.kind, &piece.name)
}

fn in_source(file: &str, old: &[Piece], new: &[Piece], renamed: &BTreeMap<String, String>) -> Vec<Change> {
    let new_key = |piece: &Piece| {
        let name = match named(piece) {
            true => renamed.get(&piece.name).unwrap_or(&piece.name).clone(),
            false => renamed_within(&piece.name, renamed),
        };
        (piece.kind, name)
    };
    let old_keys: Vec<(Kind, String)> = old.iter().map(new_key).collect();
    let new_keys: Vec<(Kind, String)> = new.iter().map(|piece| (piece.kind, piece.name.clone())).collect();
    let mut pairs: Vec<Option<usize>> = vec![None; new.len()];
    let mut in_order = vec![false; new.len()];
    for op in capture_diff_slices(Algorithm::Myers, &old_keys, &new_keys) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            for offset in 0..len {
                pairs[new_index + offset] = Some(old_index + offset);
                in_order[new_index + offset] = true;
            }
        }
    }
    let mut left: BTreeSet<usize> = (0..old.len()).filter(|index| !pairs.contains(&Some(*index))).collect();
    for (index, pair) in pairs.iter_mut().enumerate().filter(|(_, pair)| pair.is_none()) {
        *pair = left.iter().copied().find(|other| old_keys[*other] == new_keys[index]);
        pair.map(|other| left.remove(&other));
    }
    let change = |piece: &Piece, how: How, diff: Vec<String>| Change {
        file: file.into(),
        line: piece.line,
        kind: Some(piece.kind),
        name: piece.name.clone(),
        how,
        diff,
    };
    let mut changes: Vec<Change> = Vec::new();
    for (index, piece) in new.iter().enumerate() {
        let Some(before) = pairs[index].map(|pair| &old[pair]) else {
            changes.push(change(piece, How::Added, prefixed('+', &piece.text)));
            continue;
        };
        if before.name != piece.name && named(before) {
            let mut renaming = change(before, How::Renamed(piece.name.clone()), Vec::new());
            renaming.line = piece.line;
            changes.push(renaming);
        }
        if !in_order[index] {
            changes.push(change(piece, How::Moved, Vec::new()));
        }
        let back: Vec<&String> = before.words.iter().map(|word| renamed.get(word).unwrap_or(word)).collect();
        let how = if before.text == piece.text {
            continue;
        } else if before.words == piece.words {
            if squeezed(&before.text) == squeezed(&piece.text) { How::Space } else { How::Comment }
        } else if back.iter().copied().eq(piece.words.iter()) && before.name != piece.name {
            // Told already.
            continue;
        } else {
            How::Changed
        };
        changes.push(change(piece, how, lines(&before.text, &piece.text)));
    }
    changes.extend(left.into_iter().map(|index| change(&old[index], How::Removed, prefixed('-', &old[index].text))));
    changes.sort_by_key(|change| change.line);
    changes
}

/// A name that is made of others, as `module_init(livepatch_init)` is, with those that were renamed.
fn renamed_within(name: &str, renamed: &BTreeMap<String, String>) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = name.split_inclusive(|c| !is_word(c));
    let new = words.map(|part| {
        let word = part.trim_end_matches(|c| !is_word(c));
        format!("{}{}", renamed.get(word).map_or(word, String::as_str), &part[word.len()..])
    });
    new.collect()
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn prefixed(sign: char, text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.is_empty());
    lines.map(|line| format!("{sign}{line}")).collect()
}

/// The lines that differ, with one around them.
fn lines(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let text = diff.unified_diff().context_radius(1).to_string();
    text.lines().filter(|line| !line.starts_with("\\ ") && !line.starts_with("@@")).map(str::to_string).collect()
}

/// The first line that differs.
fn first_line(old: &str, new: &str) -> u32 {
    old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count() as u32 + 1
}

/// Where two lists of words differ: `... a [-old-] {+new+} b ...`, a line a place.
pub fn word_diff(old: &[String], new: &[String]) -> Vec<String> {
    let ops = capture_diff_slices(Algorithm::Patience, old, new);
    let mut found = Vec::new();
    for group in similar::group_diff_ops(ops, AROUND) {
        let mut text: Vec<String> = Vec::new();
        for op in group {
            let (old, new) = (&old[op.old_range()], &new[op.new_range()]);
            if let DiffOp::Equal { .. } = op {
                text.extend_from_slice(old);
                continue;
            }
            text.extend((!old.is_empty()).then(|| format!("[-{}-]", old.join(" "))));
            text.extend((!new.is_empty()).then(|| format!("{{+{}+}}", new.join(" "))));
        }
        found.push(text.join(" "));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("m.c".to_string(), text.to_string())])
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        changes(&one(old), &one(new)).0.iter().map(Change::sentence).collect()
    }

    const MODULE: &str = "#include <a.h>\n\n/* from x.c:1 */\nstatic int help(void)\n{\n\treturn 1;\n}\n\n\
                          /* from x.c:9 */\nstatic int klpp_f(void)\n{\n\treturn help();\n}\n";

    #[test]
    fn each_kind_of_edit_is_told_exactly() {
        assert_eq!(told(MODULE, MODULE), [""; 0]);
        assert_eq!(told(MODULE, &MODULE.replace("x.c:9", "x.c:8")), ["m.c:10: function klpp_f only comments changed"]);
        assert_eq!(
            told(MODULE, &MODULE.replace("return 1", "return  1")),
            ["m.c:4: function help only white space changed"]
        );
        assert_eq!(told(MODULE, &MODULE.replace("return 1", "return 2")), ["m.c:4: function help changed"]);
        let added = MODULE.replace("<a.h>\n", "<a.h>\n#include <b.h>\n");
        assert_eq!(told(MODULE, &added), ["m.c:2: #include <b.h> added"]);
        let renamed = told(MODULE, &MODULE.replace("help", "aid"));
        assert_eq!(renamed, ["m.c:4: function help renamed to aid", "m.c:10: function klpp_f changed"]);
        let start = MODULE.find("/* from x.c:1").unwrap();
        let end = MODULE.find("/* from x.c:9").unwrap();
        let without = format!("{}{}", &MODULE[..start], &MODULE[end..]);
        assert_eq!(told(MODULE, &without), ["m.c:4: function help removed"]);
        let moved = format!("{}{}", without, &MODULE[start..end]);
        assert!(told(MODULE, &moved).iter().any(|line| line.contains("moved")), "{:?}", told(MODULE, &moved));
    }

    #[test]
    fn the_initcall_of_a_renamed_function_is_no_other_change() {
        let module = "int help(void)\n{\n\treturn 1;\n}\n\nmodule_init(help);\n";
        assert_eq!(told(module, &module.replace("help", "aid")), ["m.c:1: function help renamed to aid"]);
    }

    #[test]
    fn word_differences_show_what_is_around() {
        let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        let old = words("int f ( void ) { if ( a < 0 ) return - 1 ; g ( ) ; return 0 ; }");
        let new = words("int f ( void ) { if ( a <= 0 ) return - 1 ; g ( ) ; return 0 ; }");
        assert_eq!(word_diff(&old, &new), ["{ if ( a [-<-] {+<=+} 0 ) return -"]);
        assert_eq!(word_diff(&old, &old), [""; 0]);
    }
}
