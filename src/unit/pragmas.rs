//! What `#pragma` lines at file scope do to the statements behind them.
//!
//! `#pragma pack` changes the layout of the types that follow (GCC manual, "Structure-Layout Pragmas"): text that is copied
//! from under one must stand under an equal one. Of the others, some are known to change nothing that is copied.

use super::expand::Expanded;
use super::groups::{Outline, Shape};

/// Pragmas without an effect on the code or the layout of what follows.
const HARMLESS: &[&str] =
    &["once", "GCC diagnostic", "GCC poison", "GCC system_header", "GCC warning", "GCC error", "message"];

/// Is it about the symbols that it names, wherever it stands (GCC manual, "Weak Pragmas", "Symbol-Renaming Pragmas")?
pub fn names_symbols(pragma: &str) -> bool {
    let mut words = pragma.trim_start_matches('#').split_whitespace().skip(1);
    matches!(words.next(), Some("weak" | "redefine_extname"))
}

/// The state at each statement.
pub struct Pragmas {
    /// By statement: the alignment in bytes that `#pragma pack` sets, if any.
    pub packs: Vec<Option<u32>>,
    /// Statements that are pragmas of unknown effect, with their text.
    pub unknown: Vec<(usize, String)>,
}

/// Follows all pragmas of a unit.
pub fn pragmas(unit: &Expanded, outline: &Outline) -> Pragmas {
    let mut found = Pragmas { packs: Vec::with_capacity(outline.statements.len()), unknown: Vec::new() };
    let mut stack: Vec<Option<u32>> = Vec::new();
    let mut current = None;
    for (index, statement) in outline.statements.iter().enumerate() {
        if statement.shape == Shape::Pragma {
            let text = String::from_utf8_lossy(unit.text(statement.start as usize)).into_owned();
            let words = text.trim_start_matches('#').trim().trim_start_matches("pragma").trim().to_string();
            let known = match words.strip_prefix("pack") {
                Some(arguments) => packed(arguments, &mut stack, &mut current).is_some(),
                None => HARMLESS.iter().any(|harmless| words.starts_with(harmless)),
            };
            if !known {
                found.unknown.push((index, text));
            }
        }
        // Within a statement it changes the rest of that, and what follows it.
        let inside = statement.tokens().skip(1).map(|token| unit.text(token)).filter(|text| text.starts_with(b"#"));
        for text in inside.map(String::from_utf8_lossy).filter(|text| text.contains("pack")) {
            found.unknown.push((index, text.into_owned()));
        }
        found.packs.push(current);
    }
    found
}

/// `(N)`, `()`, `(push)`, `(push, N)`, `(pop)`; `None` for anything else.
fn packed(arguments: &str, stack: &mut Vec<Option<u32>>, current: &mut Option<u32>) -> Option<()> {
    let inside = arguments.trim().strip_prefix('(')?.strip_suffix(')')?;
    let words: Vec<&str> = inside.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.parse::<u32>().ok().map(|number| (number > 0).then_some(number));
    match words.as_slice() {
        [] => *current = None,
        ["push"] => stack.push(*current),
        ["push", word] => {
            stack.push(*current);
            *current = number(word)?;
        }
        ["pop"] => *current = stack.pop()?,
        [word] => *current = number(word)?,
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_is_a_stack() {
        let (mut stack, mut current) = (Vec::new(), None);
        let mut after = |arguments: &str| {
            packed(arguments, &mut stack, &mut current)?;
            Some(current)
        };
        assert_eq!(after("(push)"), Some(None));
        assert_eq!(after("(1)"), Some(Some(1)));
        assert_eq!(after(" ( push , 4 )"), Some(Some(4)));
        assert_eq!(after("(pop)"), Some(Some(1)));
        assert_eq!(after("(pop)"), Some(None));
        assert_eq!(after("(push, name, 2)"), None);
    }
}
