//! Scratch folders, which neither a Ctrl-C nor an end by SIGKILL leaves behind for long: each is locked by the process that
//! made it, and the next run removes those that nobody holds any more.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, RenameFlags, renameat2};
use nix::unistd::geteuid;

use crate::finding::{Result, io};

static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Where left-overs have been looked for, by folder and prefix.
static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How often a new folder may be gone before it is locked.
const TRIES: u32 = 20;

/// Begins the names of what is written beside its place.
const BESIDE: &str = ".klp-extract.";

/// A folder that goes with the value, or with the program when it is interrupted.
#[derive(Debug)]
pub struct Folder {
    folder: tempfile::TempDir,
    /// Nothing where the file system has no locks; others leave such a folder alone.
    _lock: Option<Flock<File>>,
}

impl Folder {
    /// In the system's folder for temporary files.
    pub fn new() -> Result<Folder> {
        Folder::within(&std::env::temp_dir(), "klp-extract.")
    }

    /// In a folder that is there, for what is large or renamed to its place in the end. No other files there may have names
    /// that begin with `prefix`.
    pub fn within(parent: &Path, prefix: &str) -> Result<Folder> {
        Folder::made(parent, prefix).map_err(io("create a folder in", parent))
    }

    /// As [`Folder::within`], with the system's error.
    pub fn made(parent: &Path, prefix: &str) -> std::io::Result<Folder> {
        if SWEPT.lock().unwrap_or_else(|e| e.into_inner()).insert(parent.join(prefix)) {
            sweep(parent, prefix);
        }
        // Another run may take it for a left-over before it is locked; not every time.
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
            let lock = File::open(folder.path()).map(|file| Flock::lock(file, FlockArg::LockExclusive).ok());
            let number = |metadata: fs::Metadata| metadata.ino();
            let is_there = |lock: &Flock<File>| {
                let (held, named) = (lock.metadata().map(number), fs::metadata(folder.path()).map(number));
                held.is_ok_and(|held| named.is_ok_and(|named| held == named))
            };
            let lock = match lock {
                Ok(Some(lock)) if is_there(&lock) => Some(lock),
                Ok(None) => None,
                _ => continue,
            };
            FOLDERS.lock().unwrap_or_else(|e| e.into_inner()).insert(folder.path().to_path_buf());
            return Ok(Folder { folder, _lock: lock });
        }
        Err(std::io::Error::other("new folders are gone at once"))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes this user's folders of that prefix that no process holds.
fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
        if !is_ours {
            continue;
        }
        let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
        let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        // Held until it is gone, so that whoever has just made it waits, and sees that it is.
        if let Ok(_lock) = opened.map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock))
            && _lock.is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Writes a file in one step: nobody ever sees half of it. `mode` is that of chmod(2).
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Folder::within(folder, BESIDE)?;
    let made = scratch.path().join("new");
    let written = File::create(&made).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    });
    written.and_then(|()| fs::rename(&made, path)).map_err(io("write", path))
}

/// Puts a folder into the place of one that is there, in one step; what was there is then at `made`.
pub fn swap(made: &Path, place: &Path) -> Result<()> {
    let swapped = renameat2(AT_FDCWD, made, AT_FDCWD, place, RenameFlags::RENAME_EXCHANGE);
    match swapped {
        Ok(()) => Ok(()),
        // A file system that can't (nfs, some overlays).
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            let aside = made.with_extension("old");
            let renamed = fs::rename(place, &aside).and_then(|()| fs::rename(made, place));
            renamed.and_then(|()| fs::rename(&aside, made)).map_err(io("replace", place))
        }
        Err(error) => Err(io("replace", place)(error.into())),
    }
}

/// For the end of an interrupted program.
pub fn remove_all() {
    for folder in FOLDERS.lock().unwrap_or_else(|e| e.into_inner()).iter() {
        // Threads are still at work, and may write another file meanwhile.
        for _ in 0..100 {
            if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_removed_by_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let held = Folder::within(parent.path(), "x.").unwrap();
        for name in ["x.left", "y.other"] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join("file"), "").unwrap();
        }
        fs::write(parent.path().join("x.file"), "").unwrap();
        sweep(parent.path(), "x.");
        let mut names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        let mut expected = ["x.file".into(), "y.other".into(), held.path().file_name().unwrap().to_owned()];
        expected.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_file_is_written_in_one_step() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a");
        write(&path, b"one", 0o644).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
