//! The build's own dependency files: which files each unit was made of when it was compiled.
//!
//! `.NAME.o.cmd` beside the object holds `deps_PATH.o := \` and a file a line (scripts/basic/fixdep.c); lines with
//! `$(wildcard ...)` name options of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::kernel::command::CompileCommand;
use crate::unit::place;

/// The files of a unit, relative to source or build folder.
pub type Files = BTreeSet<String>;

/// Reads dependency files, and remembers when the files that they name were changed.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Path,
    build: &'a Path,
    changed: BTreeMap<PathBuf, Option<SystemTime>>,
}

impl<'a> Reader<'a> {
    pub fn new(source: &'a Path, build: &'a Path) -> Reader<'a> {
        Reader { source, build, changed: BTreeMap::new() }
    }

    /// The files of a unit; nothing where the build folder doesn't say, or where one of them is newer than what it says.
    pub fn files(&mut self, command: &CompileCommand) -> Option<Files> {
        let output = self.build.join(&command.output);
        let name = format!(".{}.cmd", output.file_name()?.to_str()?);
        let path = output.with_file_name(name);
        let written = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let text = std::fs::read_to_string(&path).ok()?;
        let named = listed(&text)?;
        let mut files = Files::new();
        for name in named {
            let path = self.build.join(name);
            let changed = self
                .changed
                .entry(path.clone())
                .or_insert_with(|| std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok());
            if changed.is_none_or(|changed| changed > written) {
                return None;
            }
            let inner = path.strip_prefix(self.source).or_else(|_| path.strip_prefix(self.build)).unwrap_or(&path);
            files.insert(place::normalise(&inner.to_string_lossy()));
        }
        files.contains(&command.source).then_some(files)
    }
}

/// The files that a `.cmd` file lists, the source first; nothing where it lists none.
pub fn listed(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.lines();
    let mut found = Vec::new();
    let mut lists = false;
    while let Some(line) = lines.next() {
        if let Some((name, value)) = line.split_once(" := ") {
            if name.starts_with("source_") {
                found.push(value.trim());
            }
            if name.starts_with("deps_") {
                lists = true;
                for line in lines.by_ref().take_while(|line| !line.trim().is_empty()) {
                    let word = line.trim().trim_end_matches('\\').trim();
                    if !word.starts_with("$(wildcard") && !word.is_empty() {
                        found.push(word);
                    }
                }
            }
        }
    }
    (lists && !found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_that_is_newer_than_its_files_counts() {
        let tree = tempfile::tempdir().unwrap();
        let (source, build) = (tree.path().join("source"), tree.path().join("build"));
        let write = |path: &Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(&source.join("net/a.c"), "");
        write(&source.join("include/net/a.h"), "");
        write(&build.join("include/generated/b.h"), "");
        let text = format!(
            "savedcmd_net/a.o := gcc -c -o net/a.o a.c ; objtool net/a.o\n\nsource_net/a.o := {0}/net/a.c\n\n\
             deps_net/a.o := \\\n    $(wildcard include/config/NET) \\\n  {0}/include/net/a.h \\\n  \
             ./include/generated/b.h \\\n\nnet/a.o: $(deps_net/a.o)\n\n$(deps_net/a.o):\n",
            source.display()
        );
        let list = build.join("net/.a.o.cmd");
        write(&list, &text);
        let command = CompileCommand {
            source: "net/a.c".into(),
            output: "net/a.o".into(),
            compiler: "gcc".into(),
            args: Vec::new(),
            object: "vmlinux".into(),
        };
        let files = || Reader::new(&source, &build).files(&command);
        let expected = ["include/generated/b.h", "include/net/a.h", "net/a.c"].map(String::from);
        assert_eq!(files(), Some(expected.into_iter().collect()));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        let header = std::fs::File::options().write(true).open(source.join("include/net/a.h")).unwrap();
        header.set_modified(later).unwrap();
        assert_eq!(files(), None);
        header.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(files().is_some());
        std::fs::remove_file(source.join("include/net/a.h")).unwrap();
        assert_eq!(files(), None);
    }
}
