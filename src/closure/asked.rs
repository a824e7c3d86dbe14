//! Macros of the unit that decide what a public header defines (`DEBUG`, include/linux/dynamic_debug.h): the module must have
//! them before it includes that header, although no text uses them.

use std::collections::{BTreeMap, BTreeSet};

use crate::unit::expand::Expanded;
use crate::unit::place::Places;

/// What is not carried over, although headers ask for it.
const NOT_CARRIED: &[&str] = &[
    // Makes the tracepoints' own objects, which the running kernel has (include/linux/tracepoint.h).
    "CREATE_TRACE_POINTS",
    // Asked together with CONFIG_TRACE_BRANCH_PROFILING, which no kernel that is patched has (include/linux/compiler.h).
    "DISABLE_BRANCH_PROFILING",
];

/// Macros of the unit's own files that headers may ask for, by name their numbers. `used` are those that the module has anyway.
pub(super) fn candidates(unit: &Expanded, places: &Places, used: &BTreeSet<u32>) -> BTreeMap<String, Vec<u32>> {
    let reader = &unit.reader;
    let last = reader.includes.iter().filter(|include| places.is_public(include.file.0)).map(|include| include.offset);
    let last = last.max().unwrap_or(0);
    let mut candidates: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (id, definition) in (0u32..).zip(&reader.macros) {
        let name = || unit.interner().string(definition.name);
        if !places.is_public(definition.file.0) && definition.start < last && !used.contains(&id) {
            candidates.entry(name()).or_default().push(id);
        }
    }
    candidates.retain(|name, _| !NOT_CARRIED.contains(&name.as_str()));
    candidates
}

/// Those of the [`candidates`] that are asked for. `wanted` are the names of the macros, functions and objects that the module
/// uses of headers.
pub(super) fn asked(
    unit: &Expanded,
    places: &Places,
    candidates: &BTreeMap<String, Vec<u32>>,
    wanted: &BTreeSet<&str>,
) -> BTreeSet<u32> {
    let reader = &unit.reader;
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for include in reader.includes.iter().filter(|include| places.is_public(include.file.0)) {
        if !seen.insert(include.file.0) {
            continue;
        }
        let text = places.text(include.file.0);
        for name in deciding(&String::from_utf8_lossy(&text), candidates, wanted) {
            let defined = candidates[name].iter();
            found.extend(defined.filter(|id| reader.macros[**id as usize].start < include.offset));
        }
    }
    found
}

/// One `#if` to its `#endif`.
#[derive(Default)]
struct Region<'t> {
    /// Of the candidates.
    asks: BTreeSet<&'t str>,
    defines: BTreeSet<&'t str>,
    /// Does it say something that is wanted?
    matters: bool,
}

/// The candidates that a header's conditions ask for around something that is wanted.
fn deciding<'t>(
    text: &'t str,
    candidates: &'t BTreeMap<String, Vec<u32>>,
    wanted: &BTreeSet<&str>,
) -> BTreeSet<&'t str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<Region> = Vec::new();
    for line in text.lines() {
        let Some(directive) = line.trim_start().strip_prefix('#').map(str::trim_start) else {
            if let Some(region) = open.last_mut() {
                region.matters |= words(line).any(|word| wanted.contains(word));
            }
            continue;
        };
        let is = |word: &str| directive.starts_with(word);
        if is("if") || is("elif") {
            if is("if") {
                open.push(Region::default());
            }
            if let Some(region) = open.last_mut() {
                let asked = words(directive).filter_map(|word| candidates.get_key_value(word));
                region.asks.extend(asked.map(|(name, _)| name.as_str()));
            }
        } else if let Some(name) = directive.strip_prefix("define").and_then(|rest| words(rest).next()) {
            if let Some(region) = open.last_mut() {
                region.defines.insert(name);
                region.matters |= wanted.contains(name);
            }
        } else if is("endif") {
            let Some(region) = open.pop() else { continue };
            // What a header gives a default is used under its own name, or not at all.
            if region.matters {
                found.extend(region.asks.iter().filter(|name| !region.defines.contains(*name)));
            }
            if let Some(outer) = open.last_mut() {
                outer.matters |= region.matters;
                outer.defines.extend(region.defines);
            }
        }
    }
    found
}

/// The identifiers of a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, wanted: &str) -> Vec<String> {
        let candidates: BTreeMap<String, Vec<u32>> =
            ["DEBUG", "pr_fmt", "GUARD"].map(|name| (name.to_string(), vec![0])).into();
        deciding(text, &candidates, &BTreeSet::from([wanted])).into_iter().map(str::to_string).collect()
    }

    #[test]
    fn what_decides_something_wanted_is_asked() {
        let text = "#ifdef GUARD\n#if defined DEBUG\n#define FLAGS 1\n#else\n#define FLAGS 0\n#endif\n#endif\n#define x FLAGS\n";
        assert_eq!(found(text, "FLAGS"), ["DEBUG", "GUARD"]);
        assert!(found(text, "x").is_empty());
        assert_eq!(found("#if A\n#elif defined(DEBUG)\nstatic inline int f(void);\n#endif\n", "f"), ["DEBUG"]);
    }

    #[test]
    fn a_default_is_not_asked() {
        assert!(found("#ifndef pr_fmt\n#define pr_fmt(fmt) fmt\n#endif\nint pr_info;\n", "pr_info").is_empty());
    }
}
