//! Which changed files a livepatch can carry, judged by path alone.

use super::PatchSet;
use crate::finding::{Error, FILE_IGNORED, FILE_NOT_LIVEPATCHABLE, Finding, Result, Severity};

/// What a changed file means to a livepatch.
#[derive(Debug, Clone)]
pub enum Class {
    /// C source or header: goes on to the next stage.
    Code,
    /// No kernel code depends on it (`file-ignored`).
    Ignored(Finding),
    /// Replacing functions can't reach it (`file-not-livepatchable`).
    Refused(Finding),
}

/// Where code runs that isn't the kernel's: before it, beside it, in user space or on the build machine.
const FOREIGN: [(&str, &str); 8] = [
    ("arch/x86/entry/vdso/", "it is built into the vDSO, which runs in user space"),
    ("arch/x86/boot/", "it runs before the kernel does"),
    ("arch/x86/realmode/", "it runs in real mode"),
    ("arch/x86/purgatory/", "it runs between two kernels (kexec)"),
    ("drivers/firmware/efi/libstub/", "it runs before the kernel does"),
    ("lib/vdso/", "it is built into the vDSO, which runs in user space"),
    ("scripts/", "it runs while the kernel is built"),
    ("tools/", "it is a user space program"),
];

/// Units of the kernel's own in those folders (`obj-y` of their makefiles).
const OF_KERNEL: [&str; 4] = [
    "arch/x86/entry/vdso/vma.c",
    "arch/x86/entry/vdso/extable.c",
    "arch/x86/entry/vdso/vdso32-setup.c",
    "arch/x86/realmode/init.c",
];

/// Folders that no kernel code is built from.
const IGNORED: [&str; 4] = ["Documentation/", "LICENSES/", "tools/testing/", "samples/"];

/// Files at the tree's top level, or of these names anywhere, that only people and editors read.
const IGNORED_NAMES: [&str; 10] = [
    "MAINTAINERS",
    "CREDITS",
    "COPYING",
    "README",
    "TODO",
    ".gitignore",
    ".gitattributes",
    ".mailmap",
    ".clang-format",
    ".get_maintainer.ignore",
];

/// Judges one path, relative to the kernel source.
pub fn classify(path: &str) -> Class {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let refused = |why: &str| {
        let message = format!("{path} can't be livepatched: {why}");
        Class::Refused(Finding::new(FILE_NOT_LIVEPATCHABLE, message).at(path, None))
    };
    let documentation = matches!(extension, "rst" | "txt" | "md");
    if IGNORED.iter().any(|folder| path.starts_with(folder)) || IGNORED_NAMES.contains(&name) || documentation {
        let message = format!("{path} is ignored: no kernel code depends on it");
        return Class::Ignored(Finding::new(FILE_IGNORED, message).at(path, None));
    }
    let foreign = FOREIGN.iter().find(|(folder, _)| path.starts_with(folder));
    if let Some((_, why)) = foreign.filter(|_| !OF_KERNEL.contains(&path)) {
        return refused(why);
    }
    if name.starts_with("Makefile") || name.starts_with("Kconfig") || name == "Kbuild" || name.ends_with("_defconfig") {
        return refused(
            "it changes how the kernel is configured or built; take that file out of the patch if the fix works without",
        );
    }
    if path == "kernel/bounds.c" || name.starts_with("asm-offsets") || name.ends_with("-asm-offsets.c") {
        return refused("it makes constants of the whole kernel's (Kbuild)");
    }
    match extension {
        "c" | "h" => Class::Code,
        "S" | "s" => refused(
            "it is assembly, which has no functions that could be replaced; make the change in C functions that call it",
        ),
        "lds" => refused("it is a linker script"),
        "dts" | "dtsi" | "dtso" => refused("it is a device tree"),
        "rs" => refused("it is Rust, which is not supported"),
        _ => refused("it is neither C source nor header"),
    }
}

/// Can a livepatch carry a change of this file?
///
/// # Errors
///
/// The finding that says why not: `file-ignored` (a note: leave the file out) or `file-not-livepatchable` (refuse).
pub fn livepatchable(path: &str) -> std::result::Result<(), Finding> {
    match classify(path) {
        Class::Code => Ok(()),
        Class::Ignored(finding) | Class::Refused(finding) => Err(finding),
    }
}

/// The code files that patches change, sorted, and a note for each one that is left out.
///
/// # Errors
///
/// `file-not-livepatchable` for every file that can't be, or when none is left.
pub fn relevant_files(sets: &[PatchSet]) -> Result<(Vec<String>, Vec<Finding>)> {
    let (mut code, mut notes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let files = sets.iter().flat_map(|set| &set.files).filter(|file| !file.hunks.is_empty());
    let paths: std::collections::BTreeSet<&str> = files.map(|file| file.path.as_str()).collect();
    for path in paths {
        match livepatchable(path) {
            Ok(()) => code.push(path.to_string()),
            Err(finding) if finding.severity == Severity::Refuse => refused.push(finding),
            Err(finding) => notes.push(finding),
        }
    }
    if code.is_empty() && refused.is_empty() {
        let message =
            "the patch changes no kernel code (documentation, tests or file modes only): there is nothing to livepatch";
        refused.push(Finding::new(FILE_NOT_LIVEPATCHABLE, message));
    }
    if refused.is_empty() { Ok((code, notes)) } else { Err(Error::Refused(refused)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for path in ["net/unix/af_unix.c", "include/net/gue.h", "arch/x86/entry/vdso/vma.c", "lib/kunit/test.c"] {
            assert!(matches!(classify(path), Class::Code), "{path}");
        }
        for path in ["Documentation/x.c", "MAINTAINERS", "tools/testing/selftests/net/Makefile", "fs/xfs/.gitignore"] {
            assert!(matches!(classify(path), Class::Ignored(_)), "{path}");
        }
        for path in [
            "arch/x86/entry/entry_64.S",
            "arch/x86/kernel/vmlinux.lds.S",
            "net/Makefile",
            "net/Kconfig",
            "Kbuild",
            "arch/x86/entry/vdso/vclock_gettime.c",
            "arch/x86/boot/main.c",
            "scripts/mod/modpost.c",
            "kernel/bounds.c",
            "arch/x86/kernel/asm-offsets_64.c",
            "arch/x86/kvm/kvm-asm-offsets.c",
            "tools/objtool/check.c",
            "arch/x86/realmode/rm/wakemain.c",
            "arch/x86/entry/syscalls/syscall_64.tbl",
            "lib/Kconfig.debug",
        ] {
            assert!(matches!(classify(path), Class::Refused(_)), "{path}");
        }
    }
}
