//! The prepared kernels in the cache: what there is, how large it is, and its removal.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_UNKNOWN, Result, io, refuse};
use crate::kernel::{self, Descriptor};
use crate::prepare::lock;

/// One prepared kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub name: String,
    /// `uname -r`; nothing where the kernel is unfinished or of another version of this program.
    pub release: Option<String>,
    pub folder: PathBuf,
    /// Bytes on disk of the kernel's folder; packages it was made of are not counted.
    pub size: u64,
}

/// Every kernel in the cache, sorted by name, also what an interrupted run has left.
pub fn list() -> Result<Vec<Prepared>> {
    let all = kernel::cache_root()?.join("kernels");
    let Ok(entries) = std::fs::read_dir(&all) else { return Ok(Vec::new()) };
    let mut kernels = Vec::new();
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What another run is making just now; no kernel's name begins like that.
        if name.starts_with('.') {
            continue;
        }
        let release = Descriptor::read(&folder.join(kernel::DESCRIPTOR)).ok().map(|descriptor| descriptor.release);
        kernels.push(Prepared { name, release, size: size(&folder), folder });
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}

/// Removes a prepared kernel and yields what was freed, in bytes. Downloads stay, for the next `prepare`.
pub fn remove(name: &str) -> Result<u64> {
    let folder = kernel::folder_of(name)?;
    if !folder.is_dir() {
        let known: Vec<String> = list()?.into_iter().map(|kernel| kernel.name).collect();
        return refuse(
            KERNEL_UNKNOWN,
            format!("no prepared kernel is called `{name}`; there are: {}", known.join(", ")),
        );
    }
    let (folder, _lock) = lock(name, &mut |_| ())?;
    let size = size(&folder);
    // Without its descriptor first: an interrupted removal then leaves nothing that looks prepared.
    let descriptor = folder.join(kernel::DESCRIPTOR);
    if descriptor.is_file() {
        std::fs::remove_file(&descriptor).map_err(io("remove", &descriptor))?;
    }
    std::fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
    Ok(size)
}

/// What `du` counts: blocks, each inode once, links not followed.
fn size(folder: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(|file| seen.insert((file.dev(), file.ino()))).map(|file| file.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_on_disk_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), vec![1; 100_000]).unwrap();
        let once = size(folder.path());
        std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert!(once >= 100_000 && size(folder.path()) < 2 * once);
    }
}
