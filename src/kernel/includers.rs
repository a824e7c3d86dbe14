//! Which units may include a header: by the text of the `#include` lines alone, so that 4,700 units are looked through
//! in about a second. An over-approximation (names are matched by their last parts, `#if`s are not run); what really
//! changes is decided by preprocessed tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use walkdir::WalkDir;

use crate::unit::place;

/// Folders whose files no unit of this architecture includes.
const LEFT_OUT: &[&str] = &["Documentation", "tools", "samples", "scripts", "rust", "debian", "LICENSES", ".git"];

/// Where `<...>` is looked for before anything else (Makefile, LINUXINCLUDE).
const PUBLIC: &[&str] = &["arch/x86/include/", "include/", "arch/x86/include/uapi/", "include/uapi/"];

/// Sources, out of `built`, that may include one of `headers`; all paths relative to the kernel source.
pub fn includers(source: &Path, headers: &[String], built: &BTreeSet<String>) -> Vec<String> {
    let files = include_lines(source, built);
    let mut by_base: BTreeMap<&str, Vec<(&String, &Name)>> = BTreeMap::new();
    for (file, names) in &files {
        for name in names {
            by_base.entry(name.text.rsplit('/').next().unwrap_or_default()).or_default().push((file, name));
        }
    }
    let mut found: BTreeSet<String> = headers.iter().cloned().collect();
    let mut queue: Vec<String> = headers.to_vec();
    while let Some(header) = queue.pop() {
        let base = header.rsplit('/').next().unwrap_or_default();
        for (includer, name) in by_base.get(base).into_iter().flatten() {
            if name.may_be(&header, includer, &files) && found.insert(includer.to_string()) {
                queue.push(includer.to_string());
            }
        }
    }
    found.into_iter().filter(|file| built.contains(file)).collect()
}

/// What an `#include` line names.
struct Name {
    text: String,
    quoted: bool,
}

impl Name {
    /// May the line in `includer` mean `header`? Where the file that it names is plain to see, it is that one alone; a
    /// unit's own `-I` folders are not known here, so that otherwise the last parts decide.
    fn may_be(&self, header: &str, includer: &str, files: &BTreeMap<String, Vec<Name>>) -> bool {
        let folder = includer.rsplit_once('/').map_or("", |(folder, _)| folder);
        let near = self.quoted.then(|| place::normalise(&format!("{folder}/{}", self.text)));
        let public = PUBLIC.iter().map(|folder| format!("{folder}{}", self.text));
        match near.into_iter().chain(public).find(|path| files.contains_key(path)) {
            Some(path) => path == header,
            None => {
                let last = self.text.trim_start_matches("../").trim_start_matches("./");
                header == last || header.ends_with(&format!("/{last}"))
            }
        }
    }
}

/// By file: the names that it includes.
fn include_lines(source: &Path, built: &BTreeSet<String>) -> BTreeMap<String, Vec<Name>> {
    let wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let foreign = entry.depth() == 2
            && entry.path().parent().is_some_and(|parent| parent.ends_with("arch"))
            && name != "x86"
            && entry.file_type().is_dir();
        !(foreign || (entry.depth() == 1 && LEFT_OUT.contains(&&*name)))
    };
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(source).into_iter().filter_entry(wanted).flatten() {
        let Ok(relative) = entry.path().strip_prefix(source) else { continue };
        let relative = relative.to_string_lossy().into_owned();
        let matters = relative.ends_with(".h") || relative.ends_with(".inc") || built.contains(&relative);
        // A source that isn't built by itself may be included by one that is.
        if entry.file_type().is_file() && (matters || relative.ends_with(".c")) {
            files.insert(relative, std::fs::read(entry.path()).map_or(Vec::new(), |bytes| included(&bytes)));
        }
    }
    files
}

fn included(bytes: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(rest) = line.trim_ascii_start().strip_prefix(b"#") else { continue };
        let Some(rest) = rest.trim_ascii_start().strip_prefix(b"include") else { continue };
        let rest = rest.trim_ascii_start();
        let Some(open) = rest.first().filter(|byte| matches!(byte, b'<' | b'"')) else { continue };
        let close = if *open == b'<' { b'>' } else { b'"' };
        if let Some(end) = rest[1..].iter().position(|byte| *byte == close) {
            let text = String::from_utf8_lossy(&rest[1..=end]).into_owned();
            names.push(Name { text, quoted: *open == b'"' });
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includers_are_found_through_headers() {
        let tree = tempfile::tempdir().unwrap();
        let files = [
            ("include/net/gue.h", ""),
            ("net/a.h", "#include <net/gue.h>\n"),
            ("net/a.c", "  # include \"a.h\"\n"),
            ("net/b.c", "#include <net/guest.h>\n"),
            ("fs/gue.h", ""),
            ("fs/e.c", "#include \"gue.h\"\n"),
            ("net/sub/c.c", "#include \"../a.h\"\n"),
            ("net/sub/d.c", "#include \"../a.h\"\n"),
        ];
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let built = ["fs/e.c", "net/a.c", "net/b.c", "net/sub/c.c"].map(String::from).into_iter().collect();
        let found = includers(tree.path(), &["include/net/gue.h".into()], &built);
        assert_eq!(found, ["net/a.c", "net/sub/c.c"]);
    }
}
