//! Named constants with another value: what was stored, sized or started with the old one stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, SHARED_CONTRACT};
use crate::unit::lex::{self, Interner, Symbol};

use super::{Evidence, list};

/// An object-like macro: its tokens, and its line.
#[derive(Debug, PartialEq, Eq)]
struct Macro {
    words: Vec<String>,
    line: u32,
}

pub fn findings(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, before, after) in &evidence.files {
        let (old, new) = (macros(before), macros(after));
        for (name, now) in &new {
            let Some(then) = old.get(name).filter(|then| then.words != now.words) else { continue };
            let users = users(evidence, name);
            if users.is_empty() {
                continue;
            }
            let message = format!(
                "the macro {name} changes: {} -> {}\n  used by: {}\n  what exists was sized, stored or started with the old value, \
                 which functions that aren't replaced may still count on",
                then.words.join(" "),
                now.words.join(" "),
                list(users)
            );
            findings.push(Finding::new(SHARED_CONTRACT, message).at(file.as_str(), Some(now.line)));
        }
    }
    findings
}

/// Object-like macros with a value, by name; those defined more than once (in several branches of `#if`) left out.
fn macros(text: &str) -> BTreeMap<String, Macro> {
    let mut found: BTreeMap<String, Macro> = BTreeMap::new();
    let mut several = BTreeSet::new();
    let mut interner = Interner::default();
    let bytes = text.as_bytes();
    let (mut at, mut line, mut line_start) = (0, 1u32, true);
    while at < bytes.len() {
        let gap = lex::gap(bytes, at);
        line += gap.newlines;
        at = gap.end;
        if at >= bytes.len() {
            break;
        }
        if bytes[at] == b'\n' {
            (at, line, line_start) = (at + 1, line + 1, true);
            continue;
        }
        if !(bytes[at] == b'#' && line_start) {
            let end = lex::token(bytes, at).0.min(bytes.len());
            line += bytes[at..end].iter().filter(|byte| **byte == b'\n').count() as u32;
            (at, line_start) = (end, false);
            continue;
        }
        let (words, behind, lines) = directive(bytes, at, &mut interner);
        let text = |symbol: &Symbol| interner.string(*symbol);
        if let [_, define, name, rest @ ..] = words.as_slice()
            && text(&define.0) == "define"
        {
            // A parenthesis right behind the name makes it function-like.
            let is_object = rest.first().is_none_or(|(word, glued)| !(*glued && text(word) == "("));
            let words: Vec<String> = rest.iter().map(|(word, _)| text(word)).collect();
            let name = text(&name.0);
            if is_object && !words.is_empty() && found.insert(name.clone(), Macro { words, line }).is_some() {
                several.insert(name);
            }
        }
        (at, line) = (behind, line + lines);
    }
    found.retain(|name, _| !several.contains(name));
    found
}

/// The tokens of a directive, each with whether it follows the one before without a gap; where the directive ends, and the
/// newlines in it.
fn directive(bytes: &[u8], mut at: usize, interner: &mut Interner) -> (Vec<(Symbol, bool)>, usize, u32) {
    let mut words = Vec::new();
    let mut lines = 0;
    loop {
        let gap = lex::gap(bytes, at);
        lines += gap.newlines;
        let glued = gap.end == at;
        at = gap.end;
        if at >= bytes.len() || bytes[at] == b'\n' {
            return (words, at, lines);
        }
        let end = lex::token(bytes, at).0.min(bytes.len());
        words.push((interner.intern(&bytes[at..end]), glued));
        at = end;
    }
}

/// Functions that change with it in a unit and whose source spells the name; those that spell it within another macro are
/// not told from others, so all changed functions whose source isn't otherwise edited count when none spells it.
fn users(evidence: &Evidence, name: &str) -> BTreeSet<String> {
    let mut users = BTreeSet::new();
    for unit in &evidence.units {
        for (function, before, _) in unit.changed() {
            let Some((_, text, _)) = evidence.files.iter().find(|(file, ..)| file == before.file()) else { continue };
            let lines = before.lines();
            let own = text.lines().skip(lines.start.saturating_sub(1) as usize).take(lines.len());
            if own.into_iter().any(|line| spells(line, name)) {
                users.insert(function.to_string());
            }
        }
    }
    users
}

fn spells(line: &str, name: &str) -> bool {
    let bytes = line.as_bytes();
    let mut at = 0;
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return false;
        }
        let end = lex::token(bytes, at).0.min(bytes.len());
        if &bytes[at..end] == name.as_bytes() {
            return true;
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_like_macros_only() {
        let text = "#define A 1\n#  define B(x) x\n#define C \\\n (2)\n/* #define D 3 */\n#define E\n#define F 1\n#define F 2\n";
        let found = macros(text);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["A", "C"]);
        assert_eq!((found["C"].words.join(" "), found["C"].line), ("( 2 )".into(), 3));
    }
}
