//! Results that cost seconds, kept across runs: each under the hash of everything that it depends on.
//!
//! An entry is a folder below `$KLP_EXTRACT_CACHE/results/`, made aside and renamed as the last act, so that it is there
//! whole or not at all, whoever else runs. Nothing in it is ever changed. What was not used for the longest goes when
//! the whole grows too large; an entry that goes, is broken or can't be written is only made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::finding::{Result, io};
use crate::kernel;
use crate::scratch;

/// Largest size of all entries, in bytes; reaching it frees a quarter.
const LIMIT: u64 = 2 << 30;

/// Counted up when entries of an earlier version of the program can't be used any more.
const VERSION: &str = "1";

/// The file of an entry that tells whether the others are whole.
const SUM: &str = "sum";

/// Names an entry: a hash over everything that its contents depend on.
pub struct Key(Sha256);

impl Key {
    /// `kind` says what the entries are.
    pub fn new(kind: &str) -> Key {
        Key(Sha256::new()).with(VERSION.as_bytes()).with(kind.as_bytes())
    }

    /// Adds something that the contents depend on.
    pub fn with(mut self, part: &[u8]) -> Key {
        // The length keeps the parts apart: `ab` `c` is not `a` `bc`.
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    fn text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The files of the entry, by name: from the cache, or as `make` leaves them in the folder that it is given.
pub fn entry(key: Key, names: &[&str], make: impl FnOnce(&Path) -> Result<()>) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = kernel::cache_root()?.join("results");
    entry_in(&folder, LIMIT, key, names, make)
}

fn entry_in(
    all: &Path,
    limit: u64,
    key: Key,
    names: &[&str],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let place = all.join(key.text());
    if let Some(files) = read(&place, names) {
        // Its age is the time since its last use.
        let _ = fs::File::open(&place).and_then(|folder| folder.set_modified(SystemTime::now()));
        return Ok(files);
    }
    // A cache that can't be written costs time, nothing else.
    let beside = fs::create_dir_all(all).and_then(|()| scratch::Folder::made(all, ".new."));
    let made = beside.or_else(|_| scratch::Folder::new())?;
    make(made.path())?;
    let files = contents(made.path(), names).map_err(io("read", made.path()))?;
    if made.path().starts_with(all) && fs::write(made.path().join(SUM), sum(&files)).is_ok() {
        // What is there by now is another run's, or broken.
        if fs::rename(made.path(), &place).is_err() && read(&place, names).is_none() {
            let _ = fs::remove_dir_all(&place).and_then(|()| fs::rename(made.path(), &place));
        }
        shrink(all, limit);
    }
    Ok(files)
}

/// An entry's files; nothing where it is not there or not as it was written.
fn read(folder: &Path, names: &[&str]) -> Option<BTreeMap<String, Vec<u8>>> {
    let files = contents(folder, names).ok()?;
    (fs::read(folder.join(SUM)).ok()? == sum(&files).as_bytes()).then_some(files)
}

fn contents(folder: &Path, names: &[&str]) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    names.iter().map(|name| Ok((name.to_string(), fs::read(folder.join(name))?))).collect()
}

fn sum(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.iter().fold(Key::new("files"), |key, (name, bytes)| key.with(name.as_bytes()).with(bytes)).text()
}

/// Removes what wasn't used for the longest, where all is larger than the limit.
fn shrink(all: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(all) else { return };
    let mut known: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in entries.flatten() {
        let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
        let files = fs::read_dir(&path).into_iter().flatten().flatten().filter_map(|file| file.metadata().ok());
        known.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), files.map(|file| file.len()).sum(), path));
    }
    let mut size: u64 = known.iter().map(|(_, size, _)| size).sum();
    if size <= limit {
        return;
    }
    known.sort();
    for (used, entry, path) in known {
        // Other runs are at work in the youngest: what they make has no name yet.
        let young = used.elapsed().is_ok_and(|age| age.as_secs() < 600);
        let unfinished = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if size <= limit / 4 * 3 {
            break;
        }
        if !(young && unfinished) && fs::remove_dir_all(&path).is_ok() {
            size -= entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new("test").with(text.as_bytes())
    }

    fn made(all: &Path, text: &str) -> (Vec<u8>, bool) {
        let mut ran = false;
        let make = |folder: &Path| {
            ran = true;
            fs::write(folder.join("a"), text).map_err(io("write", folder))
        };
        let files = entry_in(all, 300, key(text), &["a"], make).unwrap();
        (files["a"].clone(), ran)
    }

    #[test]
    fn an_entry_is_made_once_and_the_oldest_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let all = scratch.path().join("results");
        let long = |name: &str| name.repeat(40);
        assert_eq!(made(&all, &long("a")), (long("a").into_bytes(), true));
        assert_eq!(made(&all, &long("a")), (long("a").into_bytes(), false));
        made(&all, &long("b"));
        // `a` is used again, so that `b` is the one that goes when `c` comes.
        std::thread::sleep(std::time::Duration::from_millis(20));
        made(&all, &long("a"));
        made(&all, &long("c"));
        assert!(!made(&all, &long("a")).1 && !made(&all, &long("c")).1);
        assert!(made(&all, &long("b")).1);
    }

    #[test]
    fn a_broken_entry_and_a_folder_that_cant_be_written_are_made_again() {
        let scratch = tempfile::tempdir().unwrap();
        let all = scratch.path().join("results");
        made(&all, "a");
        let entry = fs::read_dir(&all).unwrap().next().unwrap().unwrap().path();
        fs::write(entry.join("a"), "cut").unwrap();
        assert_eq!(made(&all, "a"), (b"a".to_vec(), true));
        assert!(!made(&all, "a").1);
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(made(&file, "a").1);
    }

    #[test]
    fn parts_of_a_key_are_kept_apart() {
        let two = |a: &str, b: &str| Key::new("test").with(a.as_bytes()).with(b.as_bytes()).text();
        assert_ne!(two("ab", "c"), two("a", "bc"));
    }
}
