//! What differs between two generated modules, by meaning: targets, what is copied, what is referred to, and findings. Comments,
//! line numbers, order and the kernel's own version string are no differences.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use crate::finding::Result;
use crate::render::folder::{Module, tokens};

/// Everything that a module says, as comparable entries by heading and name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meaning {
    entries: BTreeMap<(Heading, String), Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heading {
    Targets,
    Findings,
    Externals,
    Copied,
    Files,
    Includes,
}

impl Heading {
    fn word(self) -> &'static str {
        match self {
            Heading::Targets => "targets",
            Heading::Findings => "findings",
            Heading::Externals => "of the running kernel",
            Heading::Copied => "copied",
            Heading::Files => "files",
            Heading::Includes => "includes",
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Entry {
    /// What makes two entries equal.
    meaning: Vec<String>,
    /// C text, to be shown where it differs.
    text: String,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.meaning == other.meaning
    }
}
impl Eq for Entry {}

/// The files of a module that are no longer as they were written, or that a hand has added.
pub fn edited(module: &Module) -> Result<BTreeSet<String>> {
    let sources = module.texts()?;
    let edited = sources.iter().filter(|(name, text)| module.is_edited(name, text));
    Ok(edited.map(|(name, _)| name.to_string()).collect())
}

impl Meaning {
    /// Reads a module's folder. Files of `whole` are taken as a whole: where lines were moved by hand, pieces can't be told.
    pub fn of(module: &Module, whole: &BTreeSet<String>) -> Result<Meaning> {
        let mut meaning = Meaning::default();
        let sources = module.texts()?;
        for target in &module.targets {
            let place = if target.sympos > 0 { format!(", sympos {}", target.sympos) } else { String::new() };
            let said = format!("{}{place}: {}", target.object, target.reason);
            meaning.add(Heading::Targets, &target.name, vec![said], "");
        }
        for finding in &module.findings {
            let place = finding.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
            let name = format!("{}[{}]: {}{place}", finding.severity, finding.id, finding.message);
            meaning.add(Heading::Findings, &name, Vec::new(), "");
        }
        for external in &module.externals {
            let place = if external.sympos > 0 { format!(", sympos {}", external.sympos) } else { String::new() };
            let symbol =
                if external.symbol == external.name { String::new() } else { format!(" as {}", external.symbol) };
            let said = format!("{}{symbol}{place}, {}", external.object, external.how);
            meaning.add(Heading::Externals, &external.name, vec![said], "");
        }
        for include in &module.includes {
            meaning.add(Heading::Includes, &include.name, Vec::new(), "");
        }
        for copied in module.copied.iter().filter(|copied| !whole.contains(&copied.output)) {
            let text = sources.get(&copied.output).zip(copied.lines);
            let text = text.map(|(text, [first, last])| lines(text, first, last)).unwrap_or_default();
            let name = format!("{} {} ({})", copied.kind, copied.name, copied.file);
            meaning.add(Heading::Copied, &name, tokens(&text).into_iter().map(str::to_string).collect(), &text);
        }
        for (name, text) in sources.iter().filter(|(name, _)| whole.contains(*name)) {
            let is_c = [".c", ".h"].iter().any(|end| name.ends_with(end));
            let words: Vec<String> = match is_c {
                true => tokens(text).into_iter().map(str::to_string).collect(),
                // The others are read by line, and so are their comments.
                false => {
                    text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end().into()).collect()
                }
            };
            let words = words.into_iter().filter(|word| !word.is_empty()).collect();
            meaning.add(Heading::Files, &format!("{name}, edited by hand"), words, text);
        }
        Ok(meaning)
    }

    fn add(&mut self, heading: Heading, name: &str, meaning: Vec<String>, text: &str) {
        let entry = self.entries.entry((heading, name.to_string())).or_default();
        // Namesakes of one kind and file (a macro that is defined anew) are one entry.
        entry.meaning.extend(meaning);
        entry.text.push_str(text);
    }

    /// What `other` has otherwise, for people; empty where nothing differs.
    pub fn differences(&self, other: &Meaning) -> String {
        let keys: BTreeSet<&(Heading, String)> = self.entries.keys().chain(other.entries.keys()).collect();
        let mut text = String::new();
        let mut last = None;
        for key in keys {
            let (old, new) = (self.entries.get(key), other.entries.get(key));
            if old == new {
                continue;
            }
            if last != Some(key.0) {
                text.push_str(&format!("{}:\n", key.0.word()));
                last = Some(key.0);
            }
            let said = |entry: &Entry| match entry.text.is_empty() && !entry.meaning.is_empty() {
                true => format!(": {}", entry.meaning.join(", ")),
                false => String::new(),
            };
            match (old, new) {
                (Some(old), None) => text.push_str(&format!("  - {}{}\n", key.1, said(old))),
                (None, Some(new)) => text.push_str(&format!("  + {}{}\n", key.1, said(new))),
                (Some(old), Some(new)) if old.text.is_empty() => {
                    text.push_str(&format!("  - {}{}\n  + {}{}\n", key.1, said(old), key.1, said(new)));
                }
                (Some(old), Some(new)) => {
                    text.push_str(&format!("  {}\n{}", key.1, hunks(&old.text, &new.text)));
                }
                (None, None) => {}
            }
        }
        text
    }
}

/// Lines of a text, both ends from 1 and included.
fn lines(text: &str, first: usize, last: usize) -> String {
    let count = (last + 1).saturating_sub(first);
    text.lines().skip(first.saturating_sub(1)).take(count).map(|line| format!("{line}\n")).collect()
}

/// The lines that differ, with some around them.
fn hunks(old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for group in diff.grouped_ops(2) {
        text.push_str("    ...\n");
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            text.push_str(&format!("    {sign} {}\n", change.value().trim_end_matches('\n')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(folder: &std::path::Path, body: &str, extra: &str) -> Module {
        let text = format!("/* top */\n/* from a.c:1 */\n{body}");
        let last = text.lines().count();
        let hash = crate::kernel::sha256_of(text.as_bytes());
        let json = format!(
            r#"{{"schema":{},"name":"m","kernel":{{"name":"k","release":"r","version":"v"}},"patched":[],"affected":[],
            "targets":[{{"name":"f","object":"vmlinux","sympos":0,"reason":"f is changed by the patch"}}],
            "externals":[{extra}],"copied":[{{"name":"f","kind":"target","file":"a.c","line":1,"reason":"target","path":["f"],
            "edits":[],"output":"m.c","lines":[2,{last}]}}],"includes":[],"findings":[],"outputs":{{"m.c":"{hash}"}}}}"#,
            crate::render::json::SCHEMA
        );
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("m.c"), text).unwrap();
        std::fs::write(folder.join("livepatch.json"), json).unwrap();
        Module::read(folder).unwrap()
    }

    #[test]
    fn comments_and_places_are_no_differences_and_the_rest_is() {
        let scratch = tempfile::tempdir().unwrap();
        let read = |name: &str, body: &str, extra: &str| {
            Meaning::of(&module(&scratch.path().join(name), body, extra), &BTreeSet::new()).unwrap()
        };
        let one = read("one", "int klpp_f(void)\n{\n\treturn 1;\n}\n", "");
        let moved = read("moved", "/* more */\nint klpp_f(void)\n{\n\treturn 1; /* said */\n}\n", "");
        assert_eq!(one.differences(&moved), "");
        let external =
            r#"{"name":"g","object":"vmlinux","symbol":"g","sympos":2,"how":"klp-relocation","path":["f","g"]}"#;
        let other = read("other", "int klpp_f(void)\n{\n\treturn g();\n}\n", external);
        let said = one.differences(&other);
        assert!(said.contains("of the running kernel:\n  + g: vmlinux, sympos 2, klp-relocation\n"), "{said}");
        assert!(said.contains("    - \treturn 1;\n    + \treturn g();\n"), "{said}");
    }

    #[test]
    fn a_hand_edited_file_is_compared_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let body = "int klpp_f(void)\n{\n}\n";
        let one = module(&scratch.path().join("one"), body, "");
        let folder = scratch.path().join("two");
        let two = module(&folder, body, "");
        std::fs::write(folder.join("m.c"), "int klpp_f(void)\n{\n\treturn;\n}\n").unwrap();
        let whole = edited(&two).unwrap();
        assert!(edited(&one).unwrap().is_empty() && whole.len() == 1);
        let said = Meaning::of(&one, &whole).unwrap().differences(&Meaning::of(&two, &whole).unwrap());
        assert!(said.starts_with("files:\n  m.c, edited by hand\n") && said.contains("    + \treturn;\n"), "{said}");
    }
}
