//! `prepare local NAME`: a descriptor for a tree and build folder of the user's own, which are only read.

use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_INVALID, Result, USAGE, io, refuse};
use crate::kernel::config::Config;
use crate::kernel::{self, Descriptor, Origin};
use crate::prepare::{Progress, build, decode_image, lock};

/// What `prepare local` is told.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    pub name: String,
    /// Kernel source.
    pub source: PathBuf,
    /// Build folder (`make O=`) with `.config` and generated headers; may be the source.
    pub build: PathBuf,
    /// `vmlinuz` or `vmlinux`; without it what a full build has left in the build folder.
    pub image: Option<PathBuf>,
    /// Installed headers with the `Module.symvers`; without it the build folder's own.
    pub headers: Option<PathBuf>,
    /// `lib/modules/RELEASE`; without it the modules that a full build has left in the build folder.
    pub modules: Option<PathBuf>,
}

/// Prepares the kernel of a source tree and its build folder. Nothing is copied, and nothing is written to either.
/// An earlier kernel of this name is replaced if it was a local one.
pub fn local(options: &LocalOptions, progress: Progress<'_>) -> Result<Descriptor> {
    let source = folder("--source", &options.source)?;
    let build = folder("--build", &options.build)?;
    if !source.join("scripts/Makefile.build").is_file() {
        return refuse(USAGE, format!("--source {} is no kernel source tree", source.display()));
    }
    check_prepared(&source, &build)?;
    Config::read(&build.join(".config"))?.refuse_unsupported()?;
    let release = build::release_of(&build)?;
    let (folder, _lock) = lock(&options.name, progress)?;
    forget(&options.name, &folder)?;
    std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
    let image = match &options.image {
        Some(image) => Some(absolute(image)?),
        None => first(&build, &["vmlinux", "arch/x86/boot/bzImage"]),
    };
    let decoded = image.as_deref().map(|image| decode_image(image, &folder, progress)).transpose()?;
    if let Some((image, _)) = &decoded
        && image.banner.release != release
    {
        return refuse(
            KERNEL_INVALID,
            format!("image and build folder don't belong together: {} and {release}", image.banner.release),
        );
    }
    let symvers = first(&build, &["Module.symvers"]);
    let symvers = match &options.headers {
        Some(headers) => Some(absolute(&headers.join("Module.symvers"))?),
        None => symvers,
    };
    let modules = match &options.modules {
        Some(modules) => Some(self::folder("--modules", modules)?),
        None => first(&build, &["modules.order"]).map(|_| build.clone()),
    };
    let (banner, kallsyms) = decoded.map(|(image, kallsyms)| (image.banner, kallsyms)).unzip();
    let commands = build::write_commands(&source, &build, &folder, progress)?;
    let descriptor = Descriptor {
        schema: Descriptor::SCHEMA,
        name: options.name.clone(),
        release,
        version: banner.as_ref().map(|banner| banner.version.clone()),
        compiler: banner.map(|banner| banner.compiler),
        source,
        build,
        image,
        symvers,
        modules,
        kallsyms,
        commands,
        origin: Origin::Local,
    };
    descriptor.write(&folder)?;
    progress(&format!("done: {} is prepared", options.name));
    Ok(descriptor)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(io("find", path))
}

fn folder(option: &str, path: &Path) -> Result<PathBuf> {
    let path = absolute(path)?;
    if path.is_dir() { Ok(path) } else { refuse(USAGE, format!("{option} {} is no folder", path.display())) }
}

fn first(folder: &Path, files: &[&str]) -> Option<PathBuf> {
    files.iter().map(|file| folder.join(file)).find(|path| path.is_file())
}

/// A local kernel's folder holds only what was derived; a Debian kernel's holds the kernel.
fn forget(name: &str, folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let descriptor = folder.join(kernel::DESCRIPTOR);
    let replaceable =
        Descriptor::read(&descriptor).is_ok_and(|d| d.origin == Origin::Local) || !folder.join("image").exists();
    if !replaceable {
        return refuse(
            USAGE,
            format!(
                "{name} is a prepared Debian kernel; take another name, or remove it with `klp-extract kernels remove {name}`"
            ),
        );
    }
    std::fs::remove_dir_all(folder).map_err(io("remove", folder))
}

fn check_prepared(source: &Path, build: &Path) -> Result<()> {
    let make = if source == build {
        format!("make -C {}", source.display())
    } else {
        format!("make -C {} O={}", source.display(), build.display())
    };
    if !build.join(".config").is_file() {
        return refuse(
            KERNEL_INVALID,
            format!(
                "{} has no .config; copy the kernel's there, then run\n  {make} olddefconfig modules_prepare",
                build.display()
            ),
        );
    }
    let needed = ["include/generated/autoconf.h", "include/generated/utsrelease.h", "include/config/kernel.release"];
    if let Some(missing) = needed.iter().find(|file| !build.join(file).is_file()) {
        return refuse(
            KERNEL_INVALID,
            format!("{} has no generated headers ({missing}); run\n  {make} modules_prepare", build.display()),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_make_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let (source, build) = (root.path().join("s"), root.path().join("b"));
        std::fs::create_dir_all(source.join("scripts")).unwrap();
        std::fs::create_dir_all(&build).unwrap();
        let options =
            LocalOptions { name: "x".into(), source: source.clone(), build: build.clone(), ..Default::default() };
        let why = || local(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(why().contains("no kernel source tree"));
        std::fs::write(source.join("scripts/Makefile.build"), "").unwrap();
        assert!(why().contains("olddefconfig modules_prepare"));
        std::fs::write(build.join(".config"), "").unwrap();
        assert!(why().contains(&format!("make -C {} O={} modules_prepare", source.display(), build.display())));
    }

    #[test]
    fn a_debian_kernel_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("k");
        std::fs::create_dir_all(folder.join("image")).unwrap();
        assert!(forget("k", &folder).is_err() && folder.exists());
        std::fs::remove_dir(folder.join("image")).unwrap();
        assert!(forget("k", &folder).is_ok() && !folder.exists());
    }
}
