//! Where things are: files of a unit told apart (source file, private header, public header), and positions in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::closure::Directive;

use super::expand::Expanded;
use super::program;
use super::text::Include;
use super::worker::Request;

/// What a file is to an out-of-tree module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The unit's own source file, or one that it includes (`#include "x.c"`).
    Source,
    /// A header that modules outside of the tree can't include.
    Private,
    /// A header below `include/` or `arch/*/include/`, of the source or generated.
    Public,
    /// GCC's own: built-in macros, the command line, its headers.
    Compiler,
}

/// A file of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Relative to the kernel source, or to the build folder where `generated` is set.
    pub path: String,
    pub generated: bool,
    pub class: Class,
}

/// A place in a file; `order` is its place in the unit, which orders everything that is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Index into the unit's files.
    pub file: u32,
    /// Counted from 1.
    pub line: u32,
    /// In bytes, counted from 0.
    pub column: u32,
    /// Offset in the unit's text.
    pub order: u32,
}

/// A public header that only the unit's own files include, and more than once, is read under other macros each time
/// (`asm/syscalls_32.h`): what it makes is theirs.
fn part_of_source(unit: &Expanded, places: &mut [Place]) {
    let mut times: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for include in &unit.reader.includes {
        times.entry(include.file.0).or_default().push(include.parent.0);
    }
    let is_own = |file: &u32| matches!(places[*file as usize].class, Class::Source | Class::Private);
    let own = times.iter().filter(|(_, parents)| parents.len() > 1 && parents.iter().all(is_own));
    for file in own.map(|(file, _)| *file).collect::<Vec<_>>() {
        if places[file as usize].class == Class::Public {
            places[file as usize].class = Class::Private;
        }
    }
}

/// A public header that includes a private one (`trace/events/bridge.h`) would bring to a module what else is copied: it is
/// private too. Those that are included by what they include again (`trace/define_trace.h`) bring nothing.
fn bringing_private(unit: &Expanded, places: &mut [Place]) {
    let mut parents: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for include in &unit.reader.includes {
        parents.entry(include.file.0).or_default().insert(include.parent.0);
    }
    let is_within = |file: u32, outer: u32| {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![file]);
        while let Some(file) = queue.pop() {
            if file == outer {
                return true;
            }
            queue.extend(parents.get(&file).into_iter().flatten().filter(|parent| seen.insert(**parent)));
        }
        false
    };
    let class = |file: u32, places: &[Place]| places[file as usize].class;
    loop {
        let brings = |include: &&Include| {
            (class(include.parent.0, places), class(include.file.0, places)) == (Class::Public, Class::Private)
                && !is_within(include.parent.0, include.file.0)
        };
        let Some(found) = unit.reader.includes.iter().find(brings) else { return };
        places[found.parent.0 as usize].class = Class::Private;
    }
}

/// The places of one unit.
pub struct Places<'a> {
    unit: &'a Expanded,
    places: Vec<Place>,
    main: u32,
    /// GCC's working directory.
    folder: PathBuf,
}

/// Sorts a path as GCC names it. `roots` are the prefixes of the kernel source (the overlay's first, with trailing `/`).
pub fn classify(path: &str, roots: &[String]) -> Place {
    if path.starts_with('<') || path.is_empty() {
        return Place { path: path.into(), generated: false, class: Class::Compiler };
    }
    let relative = roots.iter().find_map(|root| path.strip_prefix(root.as_str()));
    let generated = relative.is_none() && !path.starts_with('/');
    let path = relative.unwrap_or(path);
    let path = normalise(path.strip_prefix("./").unwrap_or(path));
    if path.starts_with('/') {
        return Place { path, generated, class: Class::Compiler };
    }
    let mut parts = path.split('/');
    let public = match parts.next() {
        Some("include") => true,
        Some("arch") => parts.nth(1) == Some("include"),
        _ => false,
    };
    let class = if public {
        Class::Public
    } else if path.ends_with(".h") {
        Class::Private
    } else {
        Class::Source
    };
    Place { path, generated, class }
}

/// One `#include` line of a file.
pub struct IncludeLine {
    /// Of the line, from 1.
    pub number: u32,
    /// What stands between its brackets or quotes.
    pub name: String,
    pub quoted: bool,
}

/// The `#include` lines of a file; those whose name a macro makes are left out.
pub fn include_lines(text: &[u8]) -> Vec<IncludeLine> {
    let lines = (1u32..).zip(text.split(|byte| *byte == b'\n'));
    let included = |(number, line)| {
        let (name, quoted) = included_name(line)?;
        Some(IncludeLine { number, name, quoted })
    };
    lines.filter_map(included).collect()
}

/// The name that an `#include` line gives, and whether in quotes.
fn included_name(line: &[u8]) -> Option<(String, bool)> {
    // Not more than the name need be UTF-8.
    let line = String::from_utf8_lossy(line);
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?.trim_start();
    let (open, rest) = (rest.chars().next()?, rest.get(1..)?);
    let close = match open {
        '<' => '>',
        '"' => '"',
        _ => return None,
    };
    rest.split_once(close).map(|(name, _)| (name.to_string(), open == '"'))
}

/// Takes `.` and `x/..` out of a relative path.
pub fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.last().is_some_and(|last| *last != ".." && !last.is_empty()) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

impl<'a> Places<'a> {
    pub fn new(unit: &'a Expanded, request: &Request) -> Places<'a> {
        let Request { command, build, roots, headers, .. } = request;
        let places: Vec<Place> = match headers {
            None => {
                let mut places: Vec<Place> = unit.reader.files.iter().map(|file| classify(file, roots)).collect();
                part_of_source(unit, &mut places);
                bringing_private(unit, &mut places);
                places
            }
            Some(headers) => program::places(&unit.reader, headers, &command.source, build),
        };
        let main = unit.reader.files.iter().position(|file| *file == command.source).unwrap_or(0) as u32;
        Places { unit, places, main, folder: build.clone() }
    }

    pub fn position(&self, offset: u32) -> Position {
        let (file, line, start) = self.unit.reader.location(offset);
        Position { file: file.0, line, column: offset - start, order: offset }
    }

    /// The file alone of a position.
    pub fn file(&self, offset: u32) -> u32 {
        self.unit.reader.file_at(offset).0
    }

    /// Will an `#include` bring what this file declares?
    pub fn is_public(&self, file: u32) -> bool {
        matches!(self.places[file as usize].class, Class::Public | Class::Compiler)
    }

    /// Is it GCC's own (built-in macros, the command line)?
    pub fn is_compiler(&self, file: u32) -> bool {
        self.places[file as usize].class == Class::Compiler
    }

    pub fn is_main(&self, file: u32) -> bool {
        self.main == file || self.places[file as usize].class == Class::Source
    }

    /// The `#include` lines of the files that are copied from, in the order of the unit. They are read from the files
    /// themselves, for GCC's text shows only those that made it enter a file.
    pub fn directives(&self) -> Vec<Directive> {
        let markers = &self.unit.reader.markers;
        let mut directives = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            if !matches!(place.class, Class::Source | Class::Private) {
                continue;
            }
            let text = self.text(index as u32);
            for IncludeLine { number, name, quoted } in include_lines(&text) {
                let marker = markers.iter().rfind(|m| m.file.0 == index as u32 && m.line <= number);
                let Some(marker) = marker else { continue };
                let order = self.line_offset(marker.offset, number - marker.line);
                directives.push(Directive { name, quoted, order });
            }
        }
        directives.sort_by_key(|directive| directive.order);
        directives
    }

    /// A file's text; none where it can't be read.
    pub fn text(&self, file: u32) -> Vec<u8> {
        std::fs::read(self.folder.join(&self.unit.reader.files[file as usize])).unwrap_or_default()
    }

    /// The offset at which the line that many lines behind `offset` starts.
    fn line_offset(&self, offset: u32, lines: u32) -> u32 {
        let text = &self.unit.reader.source[offset as usize..];
        let newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let Some(last) = lines.checked_sub(1) else { return offset };
        offset + newlines.map(|(at, _)| at as u32 + 1).nth(last as usize).unwrap_or(text.len() as u32)
    }

    pub fn all(&self) -> Vec<Place> {
        self.places.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let roots = ["/overlay/".to_string(), "/src/".to_string()];
        let cases = [
            ("/src/include/linux/fs.h", "include/linux/fs.h", false, Class::Public),
            ("./include/generated/autoconf.h", "include/generated/autoconf.h", true, Class::Public),
            ("/overlay/net/unix/../core/x.h", "net/core/x.h", false, Class::Private),
            ("/src/arch/x86/include/asm/page.h", "arch/x86/include/asm/page.h", false, Class::Public),
            ("./arch/x86/include/generated/asm/a.h", "arch/x86/include/generated/asm/a.h", true, Class::Public),
            ("/src/arch/x86/kvm/x86.h", "arch/x86/kvm/x86.h", false, Class::Private),
            ("/overlay/fs/namespace.c", "fs/namespace.c", false, Class::Source),
            ("<command-line>", "<command-line>", false, Class::Compiler),
            ("/usr/lib/gcc/x/stdarg.h", "/usr/lib/gcc/x/stdarg.h", false, Class::Compiler),
        ];
        for (path, relative, generated, class) in cases {
            assert_eq!(classify(path, &roots), Place { path: relative.into(), generated, class }, "{path}");
        }
    }
}
