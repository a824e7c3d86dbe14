//! The compiler's own assembly (`gcc -S`) function by function: whose text differs between two versions of a unit.
//!
//! Nothing is decoded here: names, strings and constants are still words. What GCC numbers (`.L12`, `.LC3`, `key.4`) is
//! renumbered or replaced by what it stands for.

use std::collections::{BTreeMap, BTreeSet};

/// Text of a unit's functions by name, and of its constants by label.
#[derive(Debug, Default)]
pub struct Assembly {
    functions: BTreeMap<String, Vec<String>>,
    constants: BTreeMap<String, String>,
}

impl Assembly {
    pub fn parse(text: &str) -> Assembly {
        let names: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".type\t")?.strip_suffix(", @function"))
            .filter(|name| !name.ends_with(".cold"))
            .collect();
        let mut assembly = Assembly::default();
        let (mut function, mut constant): (Option<&str>, Option<&str>) = (None, None);
        for line in text.lines() {
            let label = line.strip_suffix(':').filter(|label| !label.starts_with(char::is_whitespace));
            if let Some(name) = function {
                if line.trim() == format!(".size\t{name}, .-{name}") {
                    function = None;
                } else if !line.starts_with('#') || line.contains(super::MARK) {
                    assembly.functions.get_mut(name).unwrap().push(line.trim().to_string());
                }
                continue;
            }
            if let Some(label) = label {
                if names.contains(label) {
                    (function, constant) = (Some(label), None);
                    assembly.functions.insert(label.to_string(), Vec::new());
                } else {
                    constant = Some(label);
                }
            } else if line.trim().starts_with(".section") || line.trim() == ".text" || line.trim() == ".data" {
                constant = None;
            } else if let Some(label) = constant
                && [".string", ".ascii", ".byte", ".value", ".long", ".quad", ".zero"]
                    .iter()
                    .any(|d| line.trim().starts_with(d))
            {
                assembly.constants.entry(label.to_string()).or_default().push_str(&format!("{};", line.trim()));
            }
        }
        assembly
    }

    /// Functions whose text contains a word.
    pub fn containing(&self, word: &str) -> BTreeSet<String> {
        let has = |lines: &Vec<String>| lines.iter().any(|line| line.contains(word));
        self.functions.iter().filter(|(_, lines)| has(lines)).map(|(name, _)| name.clone()).collect()
    }

    /// Functions of this version whose text is not in the other one. Clones of one function are compared as a set; those
    /// that the other version lacks altogether don't count.
    pub fn changed(&self, other: &Assembly) -> BTreeSet<String> {
        let mut theirs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in other.functions.keys() {
            theirs.entry(plain(name)).or_default().push(other.text(name));
        }
        let mut changed = BTreeSet::new();
        let mut left: Vec<(&String, String)> = Vec::new();
        for name in self.functions.keys() {
            let (base, text) = (plain(name), self.text(name));
            let Some(texts) = theirs.get_mut(&base) else { continue };
            match texts.iter().position(|other| *other == text) {
                Some(index) => drop(texts.remove(index)),
                None => left.push((name, base)),
            }
        }
        for (name, base) in left {
            // One that has no counterpart left is gone.
            if theirs.get_mut(&base).and_then(Vec::pop).is_some() {
                changed.insert(name.clone());
            }
        }
        changed
    }

    fn text(&self, name: &str) -> String {
        let mut labels: BTreeMap<String, usize> = BTreeMap::new();
        self.functions[name].iter().map(|line| self.line(line, &mut labels, 0) + "\n").collect()
    }

    fn line(&self, line: &str, labels: &mut BTreeMap<String, usize>, depth: u32) -> String {
        let (mut text, mut word) = (String::new(), String::new());
        for character in line.chars().chain(['\n']) {
            if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '$') {
                word.push(character);
                continue;
            }
            text.push_str(&self.word(&word, labels, depth));
            text.push(character);
            word.clear();
        }
        text.pop();
        text
    }

    fn word(&self, word: &str, labels: &mut BTreeMap<String, usize>, depth: u32) -> String {
        let bare = word.trim_start_matches('$');
        if (bare.starts_with(".LC") || bare.starts_with("CSWTCH.") || bare.starts_with("__func__."))
            && let Some(contents) = self.constants.get(bare)
            && depth < 3
        {
            // A table of strings has their labels.
            return format!("{{{}}}", self.line(contents, labels, depth + 1));
        }
        let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
        if bare.strip_prefix(".L").is_some_and(number) {
            let next = labels.len();
            return format!(".L#{}", labels.entry(bare.to_string()).or_insert(next));
        }
        plain(word)
    }
}

/// A name without the numbers that GCC gives.
fn plain(name: &str) -> String {
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = name.split('.');
    let first = parts.next().unwrap_or_default();
    std::iter::once(first)
        .chain(parts.map(|part| if is_number(&part) { "N" } else { part }))
        .collect::<Vec<_>>()
        .join(".")
}
