//! Named constants with another value: what was stored, sized or started with the old one stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, SHARED_CONTRACT};
use crate::unit::lex::{self, Interner, Symbol};

use super::{Context, Unit, list};

/// An object-like macro: its tokens, and its line.
#[derive(Debug, PartialEq, Eq)]
struct Macro {
    words: Vec<String>,
    line: u32,
}

/// By file and name of a changed macro: the functions that change with it.
pub type Users = BTreeMap<(String, String), BTreeSet<String>>;

/// Looks at one unit.
pub fn users(unit: &Unit, context: &Context) -> Users {
    let mut users = Users::new();
    for (file, name, ..) in changed(context) {
        for (function, before, _) in unit.changed() {
            let Some(text) = context.files.iter().find(|known| known.name == before.file()) else { continue };
            let lines = before.lines();
            let mut own = text.before.lines().skip(lines.start.saturating_sub(1) as usize).take(lines.len());
            if own.any(|line| spells(line, &name)) {
                users.entry((file.clone(), name.clone())).or_default().insert(function.to_string());
            }
        }
    }
    users
}

/// The findings of all units.
pub fn findings(context: &Context, units: Vec<Users>) -> Vec<Finding> {
    let mut all = Users::new();
    for (key, users) in units.into_iter().flatten() {
        all.entry(key).or_default().extend(users);
    }
    let finding = |(file, name, then, now): (String, String, Macro, Macro)| {
        let users = all.get(&(file.clone(), name.clone()))?;
        let message = format!(
            "the macro {name} changes: {} -> {}\n  used by: {}\n  what exists was sized, stored or started with the old \
             value, which functions that aren't replaced may still count on",
            then.words.join(" "),
            now.words.join(" "),
            list(users)
        );
        Some(Finding::new(SHARED_CONTRACT, message).at(file, Some(now.line)))
    };
    changed(context).into_iter().filter_map(finding).collect()
}

/// File, name, and both versions of each macro with another value.
fn changed(context: &Context) -> Vec<(String, String, Macro, Macro)> {
    let mut found = Vec::new();
    for file in &context.files {
        let mut old = macros(&file.before);
        for (name, now) in macros(&file.after) {
            if let Some(then) = old.remove(&name).filter(|then| then.words != now.words) {
                found.push((file.name.clone(), name, then, now));
            }
        }
    }
    found
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

/// Does a line of source spell a name? One that another macro spells isn't seen.
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
