//! Which modules a module needs, in load order: read from the modules themselves, since the image's folder as it is
//! packaged has no `modules.dep`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use object::read::{Object as _, ObjectSection as _};

use crate::finding::{Finding, KERNEL_INVALID, Result, VM_LOAD_FAILED, io, refuse};
use crate::process::Program;

/// The name by which the kernel knows the module of this file: `kvm-amd.ko.xz` is `kvm_amd`.
pub fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let end = file.find(".ko").unwrap_or(file.len());
    file[..end].replace('-', "_")
}

/// The files of module `name` and of all that it depends on, in load order, `name` last. `folder` is
/// `lib/modules/RELEASE` of the image.
pub fn load_order(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|e| io("read", folder)(e.into()))?;
        let file = entry.file_name().to_string_lossy();
        let module = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|end| file.ends_with(end));
        if module && entry.file_type().is_file() {
            files.entry(module_name(entry.path())).or_insert_with(|| entry.path().to_path_buf());
        }
    }
    let mut order = Vec::new();
    add(&name.replace('-', "_"), &files, &mut BTreeSet::new(), &mut order)?;
    Ok(order)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    if !seen.insert(name.to_string()) {
        return Ok(());
    }
    let Some(path) = files.get(name) else {
        return refuse(KERNEL_INVALID, format!("the kernel's modules folder has no module {name}"));
    };
    for needed in depends(&contents(path)?, path)? {
        add(&needed, files, seen, order)?;
    }
    order.push(path.clone());
    Ok(())
}

/// The module's bytes, decompressed: busybox' insmod hands them to the kernel as they are.
pub fn contents(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(path).map_err(io("read", path)),
    };
    Program::new(tool).arg("-dc").arg(path).run(&format!("decompress {}", path.display()))
}

/// `depends=` of `.modinfo`, which modpost writes (add_depends() in scripts/mod/modpost.c).
fn depends(data: &[u8], path: &Path) -> Result<Vec<String>> {
    let invalid = |e| Finding::new(VM_LOAD_FAILED, format!("{} is no module: {e}", path.display()));
    let file = object::File::parse(data).map_err(invalid)?;
    let info = match file.section_by_name(".modinfo") {
        Some(section) => section.data().map_err(invalid)?,
        None => return refuse(VM_LOAD_FAILED, format!("{} is no module: it has no .modinfo", path.display())),
    };
    let fields = info.split(|b| *b == 0).filter_map(|field| field.strip_prefix(b"depends="));
    let names = fields.flat_map(|names| names.split(|b| *b == b',')).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).replace('-', "_")).collect())
}
