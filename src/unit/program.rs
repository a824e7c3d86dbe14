//! The headers of a program that is no kernel: which are kept as `#include` lines, and which are copied from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::place::{Class, IncludeLine, Place, include_lines, normalise};
use super::text::{Include, Reader};

/// Which `#include` lines a C file of copied functions keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Includes {
    /// All of headers that something is needed of
    Keep,
    /// Those written with <...>; of other headers, what is needed is copied
    System,
    /// None: of all headers, what is needed is copied
    None,
}

/// The headers of one unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Headers {
    pub includes: Includes,
    /// Files that are copied from in any case, as GCC names them.
    pub copied: Vec<String>,
}

/// Folder of the command line in GCC's line markers: what `-include` brings is there without an `#include`.
const COMMAND_LINE: &str = "<command-line>";

/// The places of a unit's files. `main` is its source, `folder` GCC's working directory.
pub fn places(reader: &Reader, headers: &Headers, main: &str, folder: &Path) -> Vec<Place> {
    let prefix = format!("{}/", folder.display());
    let is_built_in = |file: &str| file.is_empty() || file.starts_with('<');
    let lines: BTreeMap<u32, Vec<IncludeLine>> = (0u32..)
        .zip(&reader.files)
        .filter(|(_, file)| !is_built_in(file) && !file.ends_with("//"))
        .map(|(id, file)| (id, include_lines(&std::fs::read(folder.join(file)).unwrap_or_default())))
        .collect();
    let mut copied: Vec<bool> = reader.files.iter().map(|file| file == main || headers.copied.contains(file)).collect();
    loop {
        let mut changed = false;
        for include in &reader.includes {
            let (parent, file) = (include.parent.0 as usize, include.file.0 as usize);
            let parent_copied = copied[parent];
            // What brings a file that is copied from would bring it a second time.
            let brings = copied[file] && !parent_copied && !is_built_in(&reader.files[parent]);
            if brings {
                copied[parent] = true;
                changed = true;
            }
            if copied[parent] && !copied[file] && !is_kept(reader, headers, lines.get(&include.parent.0), include) {
                copied[file] = true;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let place = |(file, copied): (&String, bool)| {
        let path = file.strip_prefix(&prefix).unwrap_or(file).to_string();
        let class = match (copied, path.ends_with(".c")) {
            (false, _) => Class::Compiler,
            (true, true) => Class::Source,
            (true, false) => Class::Private,
        };
        Place { path, generated: false, class }
    };
    reader.files.iter().zip(copied).map(place).collect()
}

/// Does the line of a copied file that includes another one stay?
fn is_kept(reader: &Reader, headers: &Headers, lines: Option<&Vec<IncludeLine>>, include: &Include) -> bool {
    let parent = &reader.files[include.parent.0 as usize];
    if headers.includes == Includes::None {
        return parent == COMMAND_LINE;
    }
    let file = &reader.files[include.file.0 as usize];
    let named = lines.into_iter().flatten().filter(|line| is_named(file, &line.name));
    // GCC's line may be that behind the directive.
    let Some(line) = named.min_by_key(|line| line.number.abs_diff(include.line)) else { return false };
    match headers.includes {
        Includes::Keep => file.ends_with(".h"),
        Includes::System => !line.quoted,
        Includes::None => false,
    }
}

/// Does an `#include` of this name bring the file?
pub fn is_named(path: &str, name: &str) -> bool {
    let name = normalise(name);
    let name = name.trim_start_matches("../");
    let path = normalise(path);
    path == name || path.ends_with(&format!("/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_by_the_names_of_their_includes() {
        assert!(is_named("/usr/include/sys/types.h", "sys/types.h"));
        assert!(is_named("src/../lib/a.h", "../lib/a.h"));
        assert!(is_named("a.h", "./a.h"));
        assert!(!is_named("lib/ba.h", "a.h"));
    }
}
