//! Scratch folders, which not even a Ctrl-C leaves behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::finding::{Result, io};

static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A folder that goes with the value, or with the program when it is interrupted.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// In the system's folder for temporary files.
    pub fn new() -> Result<Folder> {
        Folder::within(&std::env::temp_dir(), "klp-extract-")
    }

    /// In a folder that is there, for what is large or renamed to its place in the end.
    pub fn within(parent: &Path, prefix: &str) -> Result<Folder> {
        let folder =
            tempfile::Builder::new().prefix(prefix).tempdir_in(parent).map_err(io("create a folder in", parent))?;
        FOLDERS.lock().unwrap_or_else(|e| e.into_inner()).insert(folder.path().to_path_buf());
        Ok(Folder(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// For the end of an interrupted program.
pub fn remove_all() {
    for folder in FOLDERS.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        let _ = std::fs::remove_dir_all(folder);
    }
}
