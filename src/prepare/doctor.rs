//! `doctor`: what of the programs and libraries that are needed is on this machine, and how to get the rest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernel::cache_root;
use crate::process::Program;

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    /// Version or path of what was found; nothing where it is missing.
    pub found: Option<String>,
    /// What it is needed for.
    pub why: &'static str,
    /// The Debian package that has it; empty where no package helps.
    pub package: &'static str,
}

/// How one thing is looked for.
enum Look {
    /// A program on the PATH or in /usr/sbin, /sbin; shown is the first line that it prints for this argument.
    Program(&'static str, &'static str),
    /// One of several files.
    File(&'static [&'static str]),
    StaticBusybox,
    Libclang,
    /// Free space in GiB that the cache's file system should have.
    Space(u64),
}

/// Everything that is needed: name, how to find it, why, Debian package.
const NEEDED: &[(&str, Look, &str, &str)] = &[
    ("gcc", Look::Program("gcc", "--version"), "compiles kernel code; must be the kernel's own version", "gcc"),
    ("make", Look::Program("make", "--version"), "runs the kernel's build", "make"),
    ("libclang", Look::Libclang, "reads declarations and references of kernel code (LLVM 14 to 20)", "libclang1-16"),
    ("ld", Look::Program("ld", "--version"), "links modules", "binutils"),
    ("bc", Look::Program("bc", "--version"), "generates kernel headers", "bc"),
    ("bison", Look::Program("bison", "--version"), "builds the kernel's configuration tool", "bison"),
    ("flex", Look::Program("flex", "--version"), "builds the kernel's configuration tool", "flex"),
    ("libelf headers", Look::File(&["/usr/include/gelf.h"]), "builds the kernel's objtool", "libelf-dev"),
    (
        "openssl headers",
        Look::File(&["/usr/include/openssl/opensslv.h"]),
        "builds the kernel's signing tools",
        "libssl-dev",
    ),
    ("perl", Look::Program("perl", "-e print $^V"), "generates kernel headers", "perl"),
    ("cpio", Look::Program("cpio", "--version"), "generates kernel headers", "cpio"),
    ("rsync", Look::Program("rsync", "--version"), "installs kernel headers", "rsync"),
    ("depmod", Look::Program("depmod", "--version"), "orders modules", "kmod"),
    ("tar", Look::Program("tar", "--version"), "unpacks kernel sources", "tar"),
    ("xz", Look::Program("xz", "--version"), "unpacks kernel sources and modules", "xz-utils"),
    ("apt-get", Look::Program("apt-get", "--version"), "fetches Debian kernels (prepare debian)", "apt"),
    ("dpkg-deb", Look::Program("dpkg-deb", "--version"), "unpacks Debian kernels (prepare debian)", "dpkg"),
    ("busybox, static", Look::StaticBusybox, "is the user space of the virtual machine (test)", "busybox-static"),
    (
        "qemu-system-x86_64",
        Look::Program("qemu-system-x86_64", "--version"),
        "boots the kernel in a virtual machine (test)",
        "qemu-system-x86",
    ),
    ("disk space", Look::Space(4), "holds a prepared kernel (about 2 GiB) in the cache", ""),
];

/// Looks for everything that is needed.
pub fn doctor() -> Vec<Row> {
    let rows =
        NEEDED.iter().map(|(name, look, why, package)| Row { name: (*name).into(), found: found(look), why, package });
    rows.collect()
}

/// The one line that installs what is missing; nothing where all is there or no package helps.
pub fn install_line(rows: &[Row]) -> Option<String> {
    let mut packages: Vec<&str> =
        rows.iter().filter(|row| row.found.is_none() && !row.package.is_empty()).map(|row| row.package).collect();
    packages.sort();
    packages.dedup();
    (!packages.is_empty()).then(|| format!("sudo apt-get install {}", packages.join(" ")))
}

fn found(look: &Look) -> Option<String> {
    match look {
        Look::Program(name, argument) => version(&program(name)?, argument),
        Look::File(paths) => paths.iter().find(|path| Path::new(path).exists()).map(|path| path.to_string()),
        Look::StaticBusybox => program("busybox").filter(|path| is_static(path)).map(|path| path.display().to_string()),
        Look::Libclang => libclang().map(|path| path.display().to_string()),
        Look::Space(wanted) => free_space().filter(|free| free >= wanted).map(|free| format!("{free} GiB free")),
    }
}

/// The system folders are not on an ordinary user's PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn version(program: &Path, argument: &str) -> Option<String> {
    let arguments = argument.splitn(2, ' ');
    let output = Program::new(program).args(arguments).time_limit(Duration::from_secs(10)).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_string();
    Some(if line.is_empty() { program.display().to_string() } else { line })
}

/// A dynamically linked program names its interpreter (PT_INTERP).
fn is_static(program: &Path) -> bool {
    use object::read::elf::{ElfFile64, ProgramHeader as _};
    let Ok(bytes) = std::fs::read(program) else { return false };
    let Ok(file) = ElfFile64::<object::Endianness>::parse(&*bytes) else { return false };
    let interpreter =
        |header: &&object::elf::ProgramHeader64<_>| header.p_type(file.endian()) == object::elf::PT_INTERP;
    file.elf_program_headers().iter().find(interpreter).is_none()
}

/// Debian's packages put `libclang.so.1`, `libclang-14.so.1` or both there (LLVM 19 has only the second).
fn libclang() -> Option<PathBuf> {
    (14..=20).rev().find_map(|version| {
        let entries = std::fs::read_dir(format!("/usr/lib/llvm-{version}/lib")).ok()?;
        let library = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name.starts_with("libclang.so") || name.starts_with(&format!("libclang-{version}")))
                && name.contains(".so")
                && path.exists()
        };
        entries.flatten().map(|entry| entry.path()).filter(library).min()
    })
}

/// GiB that are free where the cache is, or will be.
fn free_space() -> Option<u64> {
    let root = cache_root().ok()?;
    let there = root.ancestors().find(|folder| folder.exists())?;
    let space = nix::sys::statvfs::statvfs(there).ok()?;
    Some((space.blocks_available() as u64 * space.fragment_size() as u64) >> 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_installs_what_is_missing() {
        let row =
            |found: Option<&str>, package| Row { name: "x".into(), found: found.map(str::to_string), why: "", package };
        let rows = [row(Some("1"), "gcc"), row(None, "flex"), row(None, "bc"), row(None, "flex"), row(None, "")];
        assert_eq!(install_line(&rows).unwrap(), "sudo apt-get install bc flex");
        assert_eq!(install_line(&rows[..1]), None);
    }

    #[test]
    fn finds_programs_and_reports_what_is_missing() {
        assert!(program("sh").is_some() && program("klp-no-such-program").is_none());
        let rows = doctor();
        assert_eq!(rows.len(), NEEDED.len());
        assert!(rows.iter().find(|row| row.name == "make").unwrap().found.as_ref().is_some_and(|v| v.contains("Make")));
    }
}
