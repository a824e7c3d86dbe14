//! Random changes of one function of a C file: each a patch for the tool, and the same change with no line moved for the
//! oracle, so that `__LINE__` never differs.

use super::random::Random;

/// One change.
#[derive(Debug)]
pub struct Change {
    pub kind: &'static str,
    pub patch: String,
    /// The whole file after it, with as many lines as before.
    pub text: String,
}

/// Lines of a function, counted from 0: that of `{` and that of `}`.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    pub open: usize,
    pub close: usize,
}

/// The body of a function that is defined at a line (from 1), where it is laid out as the kernel's style asks for.
pub fn body(lines: &[&str], name: &str, line: usize) -> Option<Body> {
    let start = line.checked_sub(1)?;
    if !lines.get(start)?.contains(&format!("{name}(")) {
        return None;
    }
    let open = (start..lines.len().min(start + 12)).find(|at| lines[*at] == "{")?;
    if lines[start..open].iter().any(|line| line.trim_end().ends_with(';') || line.starts_with('#')) {
        return None;
    }
    let close = (open + 2..lines.len()).find(|at| lines[*at].starts_with('}'))?;
    (lines[close] == "}").then_some(Body { open, close })
}

/// What may stand before a function's first declaration; `{}` is what it returns.
const ENTRIES: &[(&str, &str)] = &[
    ("side effect", "{ extern int klp_audit_counter; klp_audit_counter++; }"),
    ("call", "{ extern void klp_audit_call(void *); klp_audit_call(__builtin_return_address(0)); }"),
    ("early return", "{ extern int klp_audit_flag; if (klp_audit_flag) return{}; }"),
    ("only returns", "return{};"),
    ("never returns", "{ extern void klp_audit_stop(void) __attribute__((noreturn)); klp_audit_stop(); }"),
];

/// A change of some kind; `None` where the body has nothing for the kind that was drawn.
pub fn change(path: &str, lines: &[&str], body: Body, returns: bool, random: &mut Random) -> Option<Change> {
    let kinds = ENTRIES.len() + 5;
    let kind = random.below(kinds);
    if let Some((kind, text)) = ENTRIES.get(kind) {
        let text = text.replace("{}", if returns { " 0" } else { "" });
        return Some(Change {
            kind,
            patch: patch(path, lines, body.open + 1, 0, Some(&format!("\t{text}"))),
            text: replaced(lines, body.open, &format!("{{ {text}")),
        });
    }
    let inside: Vec<usize> =
        (body.open + 1..body.close).filter(|at| !lines[*at].trim_start().starts_with(['*', '/'])).collect();
    let (kind, candidates): (&str, Vec<(usize, String)>) = match kind - ENTRIES.len() {
        0 | 1 => {
            ("constant", inside.iter().flat_map(|at| constants(lines[*at]).into_iter().map(|new| (*at, new))).collect())
        }
        2 | 3 => ("condition", inside.iter().filter_map(|at| Some((*at, condition(lines[*at])?))).collect()),
        _ => ("removed call", inside.iter().filter(|at| is_call(lines, **at)).map(|at| (*at, String::new())).collect()),
    };
    let (at, new) = candidates.get(random.below(candidates.len().max(1)))?;
    let added = (!new.is_empty()).then_some(new.as_str());
    Some(Change { kind, patch: patch(path, lines, *at, 1, added), text: replaced(lines, *at, new) })
}

/// The line with one of its decimal numbers raised.
fn constants(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    if line.contains(['"', '\'']) || line.contains("case ") || line.starts_with('#') || line.contains("/*") {
        return found;
    }
    let bytes = line.as_bytes();
    for at in 0..bytes.len() {
        let before = at.checked_sub(1).map_or(b' ', |index| bytes[index]);
        let after = bytes.get(at + 1).copied().unwrap_or(b' ');
        let joins = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if bytes[at].is_ascii_digit() && !joins(before) && !joins(after) {
            found.push(format!("{}{}{}", &line[..at], u32::from(bytes[at] - b'0') + 1, &line[at + 1..]));
        }
    }
    found
}

/// The line with its condition negated, where all of it stands there.
fn condition(line: &str) -> Option<String> {
    let at = line.find("\tif (")? + 4;
    let mut depth = 0;
    let end = line[at..].char_indices().find_map(|(index, character)| {
        depth += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at + index)
    })?;
    Some(format!("{}(!{}){}", &line[..at], &line[at..=end], &line[end + 1..]))
}

/// A statement that is a call and nothing else, and not the body of an `if` without braces.
fn is_call(lines: &[&str], at: usize) -> bool {
    let line = lines[at].trim();
    let name = line.split('(').next().unwrap_or_default();
    let ends = |line: &str| line.trim_end().ends_with([';', '{', '}']) || line.trim().is_empty();
    line.ends_with(");")
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !matches!(name, "if" | "while" | "return" | "for" | "switch")
        && ends(lines[at - 1])
}

/// The file with a mark at a function's entry.
pub fn marked(lines: &[&str], body: Body) -> String {
    replaced(lines, body.open, &format!("{{ asm __volatile__ __inline(\"{}\");", super::MARK))
}

fn replaced(lines: &[&str], at: usize, new: &str) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        text.push_str(if index == at { new } else { line });
        text.push('\n');
    }
    text
}

/// A unified diff that drops `dropped` lines at `at` and adds one there.
fn patch(path: &str, lines: &[&str], at: usize, dropped: usize, added: Option<&str>) -> String {
    let (start, end) = (at.saturating_sub(3), (at + dropped + 3).min(lines.len()));
    let (old, new) = (end - start, end - start - dropped + usize::from(added.is_some()));
    let mut text = format!("--- a/{path}\n+++ b/{path}\n@@ -{0},{old} +{0},{new} @@\n", start + 1);
    lines[start..at].iter().for_each(|line| text.push_str(&format!(" {line}\n")));
    lines[at..at + dropped].iter().for_each(|line| text.push_str(&format!("-{line}\n")));
    added.iter().for_each(|line| text.push_str(&format!("+{line}\n")));
    lines[at + dropped..end].iter().for_each(|line| text.push_str(&format!(" {line}\n")));
    text
}
