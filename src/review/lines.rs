//! The emitted C, line by line: which item each line is of, and which line of the source it is.

use serde::Serialize;

use crate::rewrite::{Item, Section};

/// A line of an emitted file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// From 1.
    pub number: u32,
    pub text: String,
    /// Index of the item that it is of; none for what the template adds.
    pub item: Option<usize>,
    /// The line of the item's file that it is a copy of.
    pub source: Option<u32>,
    /// Does it differ from the source there?
    pub edited: bool,
    /// The page's entry that says why it is there: `i3` an item, `n3` an include, `x3` an external; and in a word from where
    /// it is.
    pub link: Option<String>,
    pub from: String,
}

/// Finds the items in a file. Nothing edits the C after it was rendered, so that each text stands there as it is, wherever the
/// template has put it. `source` yields a file's text with the patch.
pub fn lines(text: &str, items: &[Item], source: &mut dyn FnMut(&str) -> Vec<String>) -> Vec<Line> {
    let plain = |(index, text): (usize, &str)| Line {
        number: index as u32 + 1,
        text: text.to_string(),
        item: None,
        source: None,
        edited: false,
        link: None,
        from: String::new(),
    };
    let mut lines: Vec<Line> = text.lines().enumerate().map(plain).collect();
    let mut order: Vec<usize> = (0..items.len()).collect();
    // Short texts may be part of longer ones.
    order.sort_by_key(|index| std::cmp::Reverse(items[*index].text.lines().count()));
    for index in order {
        let item = &items[index];
        let texts: Vec<&str> = item.text.trim_end_matches('\n').split('\n').collect();
        let Some(at) = place(&lines, item, &texts) else { continue };
        let sources = if item.file.is_empty() { Vec::new() } else { source(&item.file) };
        let numbers = aligned(item, &texts, &sources);
        for (offset, line) in lines[at..at + texts.len()].iter_mut().enumerate() {
            line.item = Some(index);
            let Some(number) = numbers[offset] else {
                line.edited = !item.file.is_empty() && item.section != Section::Externals;
                continue;
            };
            line.source = Some(number);
            line.edited = item.section != Section::Externals && sources[number as usize - 1] != texts[offset];
        }
        for line in lines[..at].iter_mut().rev().take(preamble(item)) {
            line.item = Some(index);
        }
    }
    lines
}

/// The lines before an item's text that are only there for it.
fn preamble(item: &Item) -> usize {
    let redefinitions = item.preamble.lines().count();
    let separator = usize::from(!item.preamble.is_empty());
    let comment = usize::from(item.section != Section::Externals && !item.file.is_empty());
    redefinitions + separator + comment
}

/// Where the item's text begins; among several places, the one below its own comment.
fn place(lines: &[Line], item: &Item, texts: &[&str]) -> Option<usize> {
    let comment = format!("{}:{} */", item.file, item.line);
    let fits = |at: &usize| {
        let here = &lines[*at..*at + texts.len()];
        let same = |(line, text): (&Line, &&str)| match item.section {
            // A comment may follow on the same line.
            Section::Externals => line.text.strip_prefix(text.trim_end()).is_some_and(is_comment),
            _ => line.text == **text,
        };
        here.iter().zip(texts).all(|pair| pair.0.item.is_none() && same(pair))
    };
    let last = (lines.len() + 1).checked_sub(texts.len())?;
    let all: Vec<usize> = (0..last).filter(fits).collect();
    let commented = |at: &&usize| {
        let above = at.checked_sub(1).map(|above| lines[above].text.as_str());
        above.is_some_and(|text| text.ends_with(&comment)) || lines[**at].text.ends_with(&comment)
    };
    all.iter().find(commented).or(all.first()).copied()
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || (rest.starts_with("/*") && rest.ends_with("*/"))
}

/// By line of the item: the line of its source, from 1. The item's own place may have a comment above it, and edits may have
/// added lines, so that it is the shift under which most lines agree that counts.
fn aligned(item: &Item, texts: &[&str], sources: &[String]) -> Vec<Option<u32>> {
    let line = |offset: usize, above: usize| (item.line as usize + offset).checked_sub(above + 1);
    let agreeing = |above: &usize| {
        let agrees = |(offset, text): (usize, &&str)| {
            line(offset, *above).and_then(|at| sources.get(at)).is_some_and(|source| source == *text)
        };
        texts.iter().enumerate().filter(|(offset, text)| agrees((*offset, text))).count()
    };
    let most = (0..texts.len()).rev().max_by_key(agreeing).unwrap_or(0);
    let number = |offset: usize| line(offset, most).filter(|at| *at < sources.len()).map(|at| at as u32 + 1);
    (0..texts.len()).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: &'static str, line: u32, text: &str) -> Item {
        Item {
            section: Section::Code,
            order: line,
            behind_headers: false,
            name: "x".into(),
            kind,
            file: "a.c".into(),
            line,
            reason: String::new(),
            preamble: String::new(),
            text: text.into(),
            edits: Vec::new(),
        }
    }

    #[test]
    fn every_line_knows_its_item_and_its_source() {
        let source = "#define A\n/* about f */\nint f(void)\n{\n}\nint g(void)\n{\n}\n";
        let items =
            [item("target", 3, "/* about f */\nint klpp_f(void)\n{\n}\n"), item("function", 6, "int g(void)\n{\n}\n")];
        let text = "/* top */\n/* from a.c:6 */\nint g(void)\n{\n}\n\n/* from a.c:3 */\n/* about f */\nint klpp_f(void)\n{\n}\nend\n";
        let found = lines(text, &items, &mut |_| source.lines().map(str::to_string).collect());
        let shown: Vec<_> = found.iter().map(|line| (line.item, line.source, line.edited)).collect();
        let none = (None, None, false);
        let expected = [
            none,
            (Some(1), None, false),
            (Some(1), Some(6), false),
            (Some(1), Some(7), false),
            (Some(1), Some(8), false),
            none,
            (Some(0), None, false),
            (Some(0), Some(2), false),
            (Some(0), Some(3), true),
            (Some(0), Some(4), false),
            (Some(0), Some(5), false),
            none,
        ];
        assert_eq!(shown, expected);
    }
}
