//! Where libclang is: the user's choice, else the newest of the versions that the tool is tested with.

use std::path::{Path, PathBuf};

/// LLVM's major versions that are tried, the preferred first.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=20;

/// The library that `LIBCLANG_PATH` names, else the newest one of Debian's packages (`/usr/lib/llvm-N/lib`), which have
/// `libclang-N.so.1` but no `libclang.so` unless the -dev package is there.
pub fn find() -> Option<PathBuf> {
    if let Some(chosen) = std::env::var_os("LIBCLANG_PATH").filter(|path| !path.is_empty()) {
        return Some(chosen.into());
    }
    all().pop()
}

/// All libraries found, the oldest first.
pub fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for version in VERSIONS {
        let folder = format!("/usr/lib/llvm-{version}/lib");
        let folder = Path::new(&folder);
        let names = [format!("libclang-{version}.so.1"), "libclang.so.1".into(), format!("libclang.so.{version}")];
        let library = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        found.extend(library);
    }
    found
}
