//! Keeps `__LINE__` as it was: the patched text with `#line` directives behind every changed region.
//!
//! Without them a patch moves the line numbers of all that follows it, and every function with a WARN_ON below would
//! differ in its tokens and in its object code.

use std::collections::BTreeSet;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::unit::lex;

/// `new` with `#line` directives, so that every line that `old` has too keeps its number.
pub fn keep_lines(old: &[u8], new: &[u8]) -> Vec<u8> {
    let (old_lines, new_lines) = (split(old), split(new));
    let safe = safe_lines(new, new_lines.len());
    let mut number: Vec<Option<usize>> = vec![None; new_lines.len()];
    // What one side alone has is in no common sequence; without it, texts that have nothing in common take no time.
    let (old_common, new_common) = (common(&old_lines, &new_lines), common(&new_lines, &old_lines));
    let old_texts: Vec<&[u8]> = old_common.iter().map(|at| old_lines[*at]).collect();
    let new_texts: Vec<&[u8]> = new_common.iter().map(|at| new_lines[*at]).collect();
    for operation in capture_diff_slices(Algorithm::Myers, &old_texts, &new_texts) {
        if let DiffOp::Equal { old_index, new_index, len } = operation {
            for offset in 0..len {
                number[new_common[new_index + offset]] = Some(old_common[old_index + offset] + 1);
            }
        }
    }
    let mut text = Vec::with_capacity(new.len() + 64);
    let mut shown = 1;
    for (index, line) in new_lines.iter().enumerate() {
        if let Some(number) = number[index]
            && number != shown
            && safe[index]
        {
            text.extend_from_slice(format!("#line {number}\n").as_bytes());
            shown = number;
        }
        text.extend_from_slice(line);
        shown += 1;
    }
    text
}

/// Indices of the lines that the other side has too.
fn common(lines: &[&[u8]], others: &[&[u8]]) -> Vec<usize> {
    let others: BTreeSet<&[u8]> = others.iter().copied().collect();
    (0..lines.len()).filter(|at| others.contains(lines[*at])).collect()
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// By line: may a directive stand before it? Not inside of a comment, a string or a continued line.
fn safe_lines(text: &[u8], count: usize) -> Vec<bool> {
    let mut safe = vec![false; count + 1];
    let mut line = 0;
    let mut at = 0;
    safe[0] = true;
    while at < text.len() {
        let gap = lex::gap(text, at);
        line += gap.newlines as usize;
        at = gap.end;
        if at >= text.len() {
            break;
        }
        if text[at] == b'\n' {
            line += 1;
            at += 1;
            if let Some(safe) = safe.get_mut(line) {
                *safe = true;
            }
            continue;
        }
        let (end, _) = lex::token(text, at);
        let end = end.min(text.len());
        line += text[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_behind_a_change_keep_their_numbers() {
        let old = "a\nb\nc\n";
        let new = "a\nx\ny\nb\nc\n";
        assert_eq!(keep_lines(old.as_bytes(), new.as_bytes()), b"a\nx\ny\n#line 2\nb\nc\n");
        assert_eq!(keep_lines(b"a\nb\nc\n", b"a\nc\n"), b"a\n#line 3\nc\n");
    }

    #[test]
    fn no_directive_inside_of_a_comment_or_a_macro() {
        let old = "/* a\n b */\n#define M \\\n x\nc\n";
        let new = "/* a\n new\n b */\n#define M \\\n y \\\n x\nc\n";
        let text = String::from_utf8(keep_lines(old.as_bytes(), new.as_bytes())).unwrap();
        assert_eq!(text, "/* a\n new\n b */\n#line 3\n#define M \\\n y \\\n x\n#line 5\nc\n");
    }
}
