//! Words of statements as text in the kernel's style, for what has no text of its own: expansions that are written out.

use crate::unit::groups::is_identifier;

/// Columns, a tab counting eight (Documentation/process/coding-style.rst).
const WIDTH: usize = 100;
const TAB: usize = 8;

/// A statement a line. Lines behind the first are indented by `depth` tabs and by their braces.
pub fn laid_out(words: &[String], depth: usize) -> String {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut line: Vec<&str> = Vec::new();
    // Open brackets: what stands directly in parentheses is no statement (`for (;;)`).
    let mut open: Vec<&str> = Vec::new();
    let braces = |open: &[&str]| depth + open.iter().filter(|bracket| **bracket == "{").count();
    let mut at = depth;
    for (index, word) in words.iter().enumerate() {
        if matches!(word.as_str(), ")" | "]" | "}") {
            open.pop();
        }
        if line.is_empty() {
            at = braces(&open);
        }
        line.push(word);
        if matches!(word.as_str(), "(" | "[" | "{") {
            open.push(word);
        }
        let next = words.get(index + 1).map_or("", String::as_str);
        let ends = match word.as_str() {
            "{" => true,
            ";" => open.last().is_none_or(|bracket| *bracket == "{"),
            "}" => !matches!(next, "" | ")" | ";" | "," | "else" | "while"),
            _ => false,
        };
        if ends {
            lines.push((at, spaced(&line)));
            line.clear();
        }
    }
    if !line.is_empty() {
        lines.push((at, spaced(&line)));
    }
    let mut text = String::new();
    for (number, (tabs, line)) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str(&format!("\n{}", "\t".repeat(*tabs)));
        }
        text.push_str(&broken(line, *tabs));
    }
    text
}

/// A line broken where it is too long, behind commas and operators of logic.
pub fn broken(line: &str, tabs: usize) -> String {
    let mut text = String::new();
    let mut column = tabs * TAB;
    let mut piece = String::new();
    let mut words = line.split_inclusive(' ').peekable();
    while let Some(word) = words.next() {
        piece.push_str(word);
        let may_break = word.ends_with(", ") || matches!(word, "&& " | "|| ");
        if !may_break && words.peek().is_some() {
            continue;
        }
        if !text.is_empty() && column + piece.trim_end().len() > WIDTH {
            text.truncate(text.trim_end().len());
            text.push_str(&format!("\n{}", "\t".repeat(tabs + 2)));
            column = (tabs + 2) * TAB;
        }
        column += piece.len();
        text.push_str(&piece);
        piece.clear();
    }
    text
}

/// Words that no function is called by.
const KEYWORDS: &[&str] = &["if", "for", "while", "switch", "return", "else", "do", "case", "goto"];

/// Words with the blanks of the kernel's style.
pub fn spaced(words: &[&str]) -> String {
    let mut text = String::new();
    // Is the last word an operator of one operand, that stands before it?
    let mut unary = false;
    for (index, word) in words.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", |before| words[before]);
        let is_name = |word: &str| is_identifier(word.as_bytes()) && !KEYWORDS.contains(&word);
        let is_value = |word: &str| {
            is_name(word) || matches!(word, ")" | "]") || word.starts_with(|c: char| c.is_ascii_digit() || c == '"')
        };
        let calls = *word == "(" && (is_name(before) || matches!(before, ")" | "]"));
        let tight = index == 0
            || unary
            || matches!(*word, ")" | "]" | "," | ";" | "." | "->")
            || (*word == "[" && is_value(before))
            || matches!(before, "(" | "[" | "." | "->")
            || (*word == "{" && before == "(")
            || (*word == ":" && before == "default")
            || calls;
        if !tight {
            text.push(' ');
        }
        text.push_str(word);
        // Behind a parenthesis it may be a cast's or a product's: blanks on both sides are right for either.
        unary = matches!(*word, "!" | "~") || (matches!(*word, "&" | "*" | "-" | "+") && !is_value(before));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str, depth: usize) -> String {
        laid_out(&words.split(' ').map(str::to_string).collect::<Vec<_>>(), depth)
    }

    #[test]
    fn an_expansion_has_a_statement_a_line() {
        let words = "( { extern bool x ; if ( ! ! ( x ) ) { g ( & x , - 1 ) ; } else x = p -> a [ 2 ] * 3 ; } )";
        assert_eq!(
            of(words, 1),
            "({\n\t\textern bool x;\n\t\tif (!!(x)) {\n\t\t\tg(&x, -1);\n\t\t} else x = p->a[2] * 3;\n\t})"
        );
        assert_eq!(of("for ( ; ; ) { f ( ) ; } g ( ) ;", 0), "for (;;) {\n\tf();\n}\ng();");
    }

    #[test]
    fn long_lines_are_broken() {
        let words = format!("f ( {} , b ) ;", "a".repeat(95));
        assert_eq!(of(&words, 0), format!("f({},\n\t\tb);", "a".repeat(95)));
    }
}
