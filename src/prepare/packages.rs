//! Debian packages, fetched and unpacked by an ordinary user: `apt-cache`, `apt-get download`, `dpkg-deb -x`.

use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_INVALID, KERNEL_UNKNOWN, Result, TOOL_FAILED, io, refuse};
use crate::kernel::sha256;
use crate::prepare::Progress;
use crate::process::Program;
use crate::scratch;

/// One version of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub name: String,
    pub version: String,
}

/// What the archive's index says of a package file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    size: u64,
    sha256: String,
}

/// The versions of a package: those that apt offers, in its order (newest first), then those already downloaded.
pub(super) fn versions(name: &str, downloads: &Path) -> Result<Vec<String>> {
    let mut versions = Vec::new();
    // Without apt there may still be downloads.
    if let Ok(output) = Program::new("apt-cache").args(["madison", "--", name]).output() {
        versions = madison(&String::from_utf8_lossy(&output.stdout), name);
    }
    let entries = std::fs::read_dir(downloads).map_err(io("read", downloads))?;
    let mut files: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    files.sort();
    for file in files {
        let fields: Vec<&str> = file.split('_').collect();
        if let [package, version, _] = fields[..]
            && package == name
            && file.ends_with(".deb")
            && !versions.iter().any(|v| v == version)
        {
            versions.push(version.into());
        }
    }
    Ok(versions)
}

/// `NAME | VERSION | ARCHIVE ... Packages` lines; a package may be in several archives, and a source of its name exist.
fn madison(text: &str, name: &str) -> Vec<String> {
    let mut versions: Vec<String> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [package, version, archive] = fields[..]
            && package == name
            && archive.ends_with("Packages")
            && !versions.iter().any(|v| v == version)
        {
            versions.push(version.into());
        }
    }
    versions
}

/// The package's file in `downloads`, fetched unless it is there with the size and hash that the archive's index has.
pub(super) fn fetch(package: &Package, downloads: &Path, offline: bool, progress: Progress<'_>) -> Result<PathBuf> {
    let Package { name, version } = package;
    let expected = expected(package);
    if let Some(file) = downloaded(package, downloads)? {
        match &expected {
            Some(expected) if !matches(&file, expected)? => {
                progress(&format!("remove {}, which is truncated or changed", file.display()));
                std::fs::remove_file(&file).map_err(io("remove", &file))?;
            }
            _ => return Ok(file),
        }
    }
    if offline {
        return refuse(
            KERNEL_UNKNOWN,
            format!("{name} {version} is not in {}, and --offline forbids to fetch it", downloads.display()),
        );
    }
    progress(&format!("download {name} {version}"));
    let scratch = scratch::Folder::within(downloads, ".download.")?;
    let doing = format!("download {name} {version}; `apt-get update` may help");
    Program::new("apt-get")
        .args(["-q", "download"])
        .arg(format!("{name}={version}"))
        .folder(scratch.path())
        .run(&doing)?;
    let Some(file) = downloaded(package, scratch.path())? else {
        return refuse(TOOL_FAILED, format!("apt-get download left no file of {name} {version}"));
    };
    if let Some(expected) = expected
        && !matches(&file, &expected)?
    {
        return refuse(TOOL_FAILED, format!("the download of {name} {version} is truncated or changed; try again"));
    }
    let kept = downloads.join(file.file_name().unwrap_or_default());
    std::fs::rename(&file, &kept).map_err(io("rename", &file))?;
    Ok(kept)
}

/// The file as apt names it: `NAME_VERSION_ARCH.deb`.
fn downloaded(package: &Package, folder: &Path) -> Result<Option<PathBuf>> {
    let start = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
    let entries = std::fs::read_dir(folder).map_err(io("read", folder))?;
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&start) && name.ends_with(".deb")
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(wanted).min())
}

fn expected(package: &Package) -> Option<Expected> {
    let wanted = format!("{}={}", package.name, package.version);
    let output = Program::new("apt-cache").args(["show", "--", &wanted]).output().ok()?;
    index_entry(&String::from_utf8_lossy(&output.stdout))
}

fn index_entry(text: &str) -> Option<Expected> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Expected { size: field("Size")?.parse().ok()?, sha256: field("SHA256")?.to_string() })
}

fn matches(file: &Path, expected: &Expected) -> Result<bool> {
    let size = std::fs::metadata(file).map_err(io("read", file))?.len();
    Ok(size == expected.size && sha256(file)? == expected.sha256)
}

/// Unpacks a package into a new folder.
pub(super) fn unpack(package: &Package, file: &Path, into: &Path, progress: Progress<'_>) -> Result<()> {
    progress(&format!("unpack {} {}", package.name, package.version));
    let doing = format!("unpack {}; remove it if it is broken", file.display());
    Program::new("dpkg-deb").arg("-x").arg(file).arg(into).run(&doing)?;
    Ok(())
}

/// The first of `candidates` below `folder` that exists.
pub(super) fn find(folder: &Path, candidates: &[String]) -> Result<PathBuf> {
    match candidates.iter().map(|c| folder.join(c)).find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => refuse(KERNEL_INVALID, format!("the package holds none of {}", candidates.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_apt_prints() {
        let text = "linux-source-6.1 |  6.1.192-2 | http://x bookworm-security/main amd64 Packages\n\
                    linux-source-6.1 |  6.1.192-2 | http://y bookworm/main amd64 Packages\n\
                    linux-source-6.1 |  6.1.170-3 | http://x bookworm/main amd64 Packages\n\
                    linux-source-6.1 |  6.1.1-1 | http://x bookworm/main Sources\n";
        assert_eq!(madison(text, "linux-source-6.1"), ["6.1.192-2", "6.1.170-3"]);
        let entry = index_entry("Package: x\nInstalled-Size: 7\nSize: 12\nSHA256: ab\n").unwrap();
        assert_eq!(entry, Expected { size: 12, sha256: "ab".into() });
    }

    #[test]
    fn finds_downloads_and_their_versions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("klp-no-such-package_6.1.170-3_amd64.deb");
        std::fs::write(&file, b"12").unwrap();
        assert_eq!(versions("klp-no-such-package", folder.path()).unwrap(), ["6.1.170-3"]);
        let package = Package { name: "klp-no-such-package".into(), version: "6.1.170-3".into() };
        assert_eq!(fetch(&package, folder.path(), true, &mut |_| ()).unwrap(), file);
        let other = Package { version: "9".into(), ..package };
        assert!(fetch(&other, folder.path(), true, &mut |_| ()).unwrap_err().to_string().contains("--offline"));
        let hash = sha256(&file).unwrap();
        assert!(matches(&file, &Expected { size: 2, sha256: hash.clone() }).unwrap());
        assert!(!matches(&file, &Expected { size: 3, sha256: hash }).unwrap());
    }
}
