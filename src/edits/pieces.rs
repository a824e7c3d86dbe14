//! A C source cut at file scope: directives, declarations, functions, each with the comments before it. Nothing is
//! preprocessed, so that what people wrote is what is compared.

use crate::unit::groups::is_identifier;
use crate::unit::lex;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Include,
    Macro,
    /// `#if`, `#undef` and the like.
    Directive,
    Function,
    Declaration,
    /// What stands behind the last statement.
    End,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Include => "#include",
            Kind::Macro => "macro",
            Kind::Directive => "directive",
            Kind::Function => "function",
            Kind::Declaration => "declaration",
            Kind::End => "end of the file",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Piece {
    pub kind: Kind,
    pub name: String,
    /// Line of its first word, from 1.
    pub line: u32,
    /// With what stands before it, comments and empty lines.
    pub text: String,
    pub words: Vec<String>,
}

/// Cuts a source; the texts of the pieces concatenate to it.
pub fn pieces(source: &str) -> Vec<Piece> {
    let bytes = source.as_bytes();
    let mut pieces = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut words: Vec<(usize, usize)> = Vec::new();
    let mut depth = 0;
    let mut line_start = true;
    // Does the statement define a function? Its first brace or `=` outside of brackets tells.
    let mut defines = None;
    let (mut counted, mut lines) = (0, 1);
    let mut push = |kind: Kind, words: &mut Vec<(usize, usize)>, start: &mut usize, end: usize| {
        let text = &source[*start..end];
        let first = words.first().map_or(end, |word| word.0);
        lines += source[counted..first].matches('\n').count() as u32;
        counted = first;
        let line = lines;
        let words: Vec<String> = words.drain(..).map(|(start, end)| source[start..end].to_string()).collect();
        let name = name(kind, &words);
        pieces.push(Piece { kind, name, line, text: text.into(), words });
        *start = end;
    };
    loop {
        at = lex::gap(bytes, at).end;
        let Some(byte) = bytes.get(at) else { break };
        if *byte == b'\n' {
            line_start = true;
            at += 1;
            continue;
        }
        if *byte == b'#' && line_start && depth == 0 && words.is_empty() {
            at = directive(bytes, at, &mut words);
            let kind = match words.get(1).map(|(start, end)| &source[*start..*end]) {
                Some("include") => Kind::Include,
                Some("define") => Kind::Macro,
                _ => Kind::Directive,
            };
            push(kind, &mut words, &mut start, at);
            continue;
        }
        line_start = false;
        let (mut end, _) = lex::token(bytes, at);
        while !source.is_char_boundary(end.min(bytes.len())) {
            end += 1;
        }
        let end = end.min(bytes.len());
        words.push((at, end));
        let word = &source[at..end];
        at = end;
        if depth == 0 && defines.is_none() {
            let before = words.len().checked_sub(2).map(|index| &source[words[index].0..words[index].1]);
            match word {
                "=" => defines = Some(false),
                "{" => defines = Some(before == Some(")")),
                _ => {}
            }
        }
        match word {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        let body = word == "}" && depth == 0 && defines == Some(true);
        if (word == ";" && depth == 0) || body {
            at = line_end(bytes, at);
            push(if body { Kind::Function } else { Kind::Declaration }, &mut words, &mut start, at);
            defines = None;
        }
    }
    if !source[start..].trim().is_empty() || !words.is_empty() {
        let kind = if words.is_empty() { Kind::End } else { Kind::Declaration };
        push(kind, &mut words, &mut start, bytes.len());
    }
    pieces
}

/// The words of a directive, to the end of its last line.
fn directive(bytes: &[u8], start: usize, words: &mut Vec<(usize, usize)>) -> usize {
    let mut at = start;
    loop {
        at = lex::gap(bytes, at).end;
        match bytes.get(at) {
            None => return at,
            Some(b'\n') => return at + 1,
            Some(_) => {
                let end = lex::token(bytes, at).0.min(bytes.len());
                words.push((at, end));
                at = end;
            }
        }
    }
}

/// A comment on the same line belongs to the statement, and so does the newline.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let end = lex::gap(bytes, at).end;
    if bytes.get(end) == Some(&b'\n') { end + 1 } else { at }
}

/// What people call the piece.
fn name(kind: Kind, words: &[String]) -> String {
    match kind {
        Kind::Include => words.get(2..).unwrap_or_default().concat(),
        Kind::Macro => words.get(2).cloned().unwrap_or_default(),
        Kind::Directive => words.join(" ").replacen("# ", "#", 1),
        Kind::End => String::new(),
        Kind::Function | Kind::Declaration => declared(words),
    }
}

fn declared(words: &[String]) -> String {
    let identifier = |word: &&String| is_identifier(word.as_bytes());
    let attribute = |word: &str| matches!(word, "__attribute__" | "__aligned" | "__section");
    // Up to the first bracket behind a name; a record without one is named by its tag.
    let stop = words.iter().enumerate().position(|(index, word)| {
        let called = index > 0 && is_identifier(words[index - 1].as_bytes()) && !attribute(&words[index - 1]);
        (matches!(word.as_str(), "(" | "[") && called) || matches!(word.as_str(), "=" | "{" | ";")
    });
    let before = &words[..stop.unwrap_or(words.len())];
    let last = before.iter().rev().find(identifier).cloned().unwrap_or_default();
    match before {
        [.., tag, _] if matches!(tag.as_str(), "struct" | "union" | "enum") => format!("{tag} {last}"),
        // A macro that makes declarations: what it is given tells it from the next one.
        [_] if words.get(1).is_some_and(|word| word == "(") => words.concat().trim_end_matches(';').into(),
        _ => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_named_and_concatenate() {
        let source = "// SPDX\n/* head */\n#include <a/b.h>\n\n/* from x.c:1 */\n#define A \\\n\t1\nstruct s { int a; };\n\
                      extern int f(int a); /* vmlinux */\nstatic struct klp_func v_funcs[] = {\n\t{ .x = 1 },\n};\n\
                      static int g(void)\n{\n#if 1\n\treturn ';';\n#endif\n}\nmodule_init(g);\nMODULE_LICENSE(\"GPL\");\n/* end */\n";
        let pieces = pieces(source);
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), source);
        let names: Vec<(Kind, &str, u32)> = pieces.iter().map(|piece| (piece.kind, &*piece.name, piece.line)).collect();
        let expected = [
            (Kind::Include, "<a/b.h>", 3),
            (Kind::Macro, "A", 6),
            (Kind::Declaration, "struct s", 8),
            (Kind::Declaration, "f", 9),
            (Kind::Declaration, "v_funcs", 10),
            (Kind::Function, "g", 13),
            (Kind::Declaration, "module_init(g)", 19),
            (Kind::Declaration, "MODULE_LICENSE(\"GPL\")", 20),
            (Kind::End, "", 22),
        ];
        assert_eq!(names, expected);
    }
}
