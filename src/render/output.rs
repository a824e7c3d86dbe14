//! Writes the module's folder: whole or not at all, and never over hand edits.

use std::path::{Path, PathBuf};

use crate::finding::{Finding, OUTPUT_EXISTS, Result, io};
use crate::kernel::sha256_of;
use crate::scratch;

use super::json;

/// Begins the names of scratch folders beside a module's.
pub const BESIDE: &str = ".livepatch.";

/// What became of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    New,
    /// It held an earlier result, untouched, and was replaced.
    Replaced,
    /// It holds just what would have been written.
    Unchanged,
}

/// Writes `files` as the folder `folder`. They are written to a scratch folder beside it, which is renamed as the last
/// act.
pub fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<Written> {
    let exists = folder.symlink_metadata().is_ok();
    if exists {
        if files.iter().all(|(name, text)| std::fs::read(folder.join(name)).is_ok_and(|old| old == *text)) {
            return Ok(Written::Unchanged);
        }
        refuse_edited(folder)?;
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent).map_err(io("create", &parent))?;
    let scratch = scratch::Folder::within(&parent, BESIDE)?;
    let made = scratch.path().join("new");
    std::fs::create_dir(&made).map_err(io("create", &made))?;
    for (name, text) in files {
        let path = made.join(name);
        let parent = path.parent().unwrap_or(&made);
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        std::fs::write(&path, text).map_err(io("write", &path))?;
    }
    if exists {
        scratch::swap(&made, folder)?;
        return Ok(Written::Replaced);
    }
    std::fs::rename(&made, folder).map_err(io("create", folder))?;
    Ok(Written::New)
}

/// Refuses a folder that isn't what an earlier run wrote: hand edits are never overwritten.
fn refuse_edited(folder: &Path) -> Result<()> {
    let refusal = |why: String| {
        let message =
            format!("{} {why}; it is left as it is. Move it away, or choose another folder with -o", folder.display());
        Err(Finding::new(OUTPUT_EXISTS, message).into())
    };
    let known = std::fs::read(folder.join(json::FILE)).ok().and_then(|text| json::outputs(&text));
    let Some(known) = known else {
        return refusal("exists and is not a folder that klp-extract wrote".into());
    };
    for (name, hash) in known {
        // A name in the file is only ever compared, never followed out of the folder.
        let plain = Path::new(&name).file_name().is_some_and(|base| base == name.as_str());
        let bytes = std::fs::read(folder.join(&name)).unwrap_or_default();
        if !plain || sha256_of(&bytes) != hash {
            return refusal(format!("has an edited {name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Vec<(String, Vec<u8>)> {
        let hash = sha256_of(text.as_bytes());
        let report = format!("{{\"outputs\":{{\"a.c\":\"{hash}\"}}}}");
        let inner = (".pristine/a.c".into(), text.into());
        vec![("a.c".into(), text.into()), inner, (json::FILE.into(), report.into())]
    }

    #[test]
    fn an_untouched_folder_is_replaced_and_an_edited_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("livepatch-x");
        assert_eq!(write(&folder, &files("one")).unwrap(), Written::New);
        assert_eq!(write(&folder, &files("one")).unwrap(), Written::Unchanged);
        std::fs::write(folder.join("a.o"), "built").unwrap();
        assert_eq!(write(&folder, &files("two")).unwrap(), Written::Replaced);
        std::fs::write(folder.join("a.c"), "edited").unwrap();
        assert!(write(&folder, &files("three")).is_err());
        assert_eq!(std::fs::read(folder.join("a.c")).unwrap(), b"edited");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1, "no scratch folder is left");
    }
}
