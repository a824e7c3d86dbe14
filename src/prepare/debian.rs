//! `prepare debian RELEASE`: a prepared kernel made of Debian's packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_INVALID, KERNEL_UNKNOWN, Result, io, refuse};
use crate::kernel::{self, Descriptor, Origin, write_whole};
use crate::prepare::packages::{self, Package, find};
use crate::prepare::{Progress, build, decode_image, finished, lock};
use crate::process::Program;
use crate::scratch;

/// The three packages that a prepared kernel is made of, all of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packages {
    image: Package,
    headers: Package,
    source: Package,
}

/// Prepares the Debian kernel `release` (`6.1.0-47-cloud-amd64`) under that name. Does nothing where it is prepared
/// already; goes on where an earlier run was interrupted. With `offline`, only what was downloaded before is used.
pub fn debian(release: &str, offline: bool, progress: Progress<'_>) -> Result<Descriptor> {
    let folder = kernel::folder_of(release)?;
    if let Some(descriptor) = complete(&folder) {
        return Ok(descriptor);
    }
    let (folder, _lock) = lock(release, progress)?;
    // The run that was waited for may have done it.
    if let Some(descriptor) = complete(&folder) {
        return Ok(descriptor);
    }
    let downloads = kernel::cache_root()?.join("downloads");
    std::fs::create_dir_all(&downloads).map_err(io("create", &downloads))?;
    let packages = choose(release, &downloads)?;
    std::fs::create_dir_all(&folder).map_err(io("create", &folder))?;
    remove_scratch(&folder)?;
    let fetch = |package: &Package, progress: Progress<'_>| packages::fetch(package, &downloads, offline, progress);
    let image = in_one_step(&folder.join("image"), |scratch| {
        packages::unpack(&packages.image, &fetch(&packages.image, progress)?, scratch, progress)
    })?;
    let headers = in_one_step(&folder.join("headers"), |scratch| {
        packages::unpack(&packages.headers, &fetch(&packages.headers, progress)?, scratch, progress)
    })?;
    let source = in_one_step(&folder.join("source"), |scratch| {
        unpack_source(&packages.source, &fetch(&packages.source, progress)?, scratch, progress)
    })?;
    let build = prepare_build(&folder, &image, &source, release, progress)?;
    if !has_generated(&folder) {
        build::generate_headers(&source, &build, (release, &packages.source.version), progress)?;
        write_whole(&folder.join(GENERATED), GENERATED_VERSION)?;
    }
    let symvers = find(&headers, &[format!("usr/src/linux-headers-{release}/Module.symvers")])?;
    let text = std::fs::read(&symvers).map_err(io("read", &symvers))?;
    // modpost looks for it there when a module is built.
    write_whole(&build.join("Module.symvers"), &text)?;
    let vmlinuz = find(&image, &[format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")])?;
    let (decoded, kallsyms) = decode_image(&vmlinuz, &folder, progress)?;
    if decoded.banner.release != release {
        return refuse(KERNEL_INVALID, format!("the image is of {}, not of {release}", decoded.banner.release));
    }
    let commands = build::write_commands(&source, &build, &folder, progress)?;
    let all = [&packages.image, &packages.headers, &packages.source];
    let descriptor = Descriptor {
        schema: Descriptor::SCHEMA,
        name: release.into(),
        release: release.into(),
        version: Some(decoded.banner.version),
        compiler: Some(decoded.banner.compiler),
        symvers: Some(build.join("Module.symvers")),
        modules: Some(find(&image, &[format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")])?),
        source,
        build,
        image: Some(vmlinuz),
        kallsyms: Some(kallsyms),
        shared_sources: None,
        commands,
        origin: Origin::Debian {
            packages: all.map(|p| (p.name.clone(), p.version.clone())).into_iter().collect::<BTreeMap<_, _>>(),
        },
    };
    descriptor.write(&folder)?;
    progress(&format!("done: {release} is prepared"));
    Ok(descriptor)
}

/// Says that the headers which are made beside objects are there; earlier versions of this program left some out.
const GENERATED: &str = "headers.generated";
const GENERATED_VERSION: &[u8] = b"4\n";

fn has_generated(folder: &Path) -> bool {
    std::fs::read(folder.join(GENERATED)).is_ok_and(|version| version == GENERATED_VERSION)
}

/// The descriptor of a kernel to which nothing has to be done.
fn complete(folder: &Path) -> Option<Descriptor> {
    finished(folder).filter(|_| has_generated(folder))
}

/// `linux-source-SERIES` holds the source of a release: 6.1 of `6.1.0-47-cloud-amd64`, 6.12 of `6.12.73+deb12-amd64`.
fn series(release: &str) -> Option<String> {
    let mut numbers = release.split(['.', '-', '+']);
    let (major, minor) = (numbers.next()?, numbers.next()?);
    let number = |text: &str| text.parse::<u32>().is_ok();
    (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
}

/// The newest version that all three packages have.
fn choose(release: &str, downloads: &Path) -> Result<Packages> {
    let Some(series) = series(release) else {
        return refuse(
            KERNEL_UNKNOWN,
            format!("`{release}` is no release of a Debian kernel, as `uname -r` prints it"),
        );
    };
    let names =
        [format!("linux-image-{release}"), format!("linux-headers-{release}"), format!("linux-source-{series}")];
    let mut versions = Vec::new();
    for name in &names {
        let found = packages::versions(name, downloads)?;
        if found.is_empty() {
            return refuse(
                KERNEL_UNKNOWN,
                format!(
                    "apt knows no package {name}; `apt-get update` may help, and `apt-cache search --names-only \
                     '^linux-image-{series}.*-amd64$'` lists the kernels that can be prepared"
                ),
            );
        }
        versions.push(found);
    }
    let common = versions[0].iter().find(|v| versions[1].contains(v) && versions[2].contains(v));
    let Some(version) = common else {
        return refuse(
            KERNEL_UNKNOWN,
            format!(
                "no version has image, headers and source: {} is there as {}, {} as {}, {} as {}",
                names[0],
                versions[0].join(" "),
                names[1],
                versions[1].join(" "),
                names[2],
                versions[2].join(" ")
            ),
        );
    };
    let [image, headers, source] = names.map(|name| Package { name, version: version.clone() });
    Ok(Packages { image, headers, source })
}

/// What an interrupted run left under scratch names.
fn remove_scratch(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(io("read", folder))?.flatten() {
        let scratch = entry.file_name().to_string_lossy().starts_with('.');
        if scratch && entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).map_err(io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Fills a scratch folder and renames it to `folder`, unless that is there already.
fn in_one_step(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if !folder.is_dir() {
        let beside = folder.parent().unwrap_or(Path::new("/"));
        let scratch = scratch::Folder::within(beside, ".unpack.")?;
        let inner = scratch.path().join("content");
        std::fs::create_dir(&inner).map_err(io("create", &inner))?;
        fill(&inner)?;
        match std::fs::rename(&inner, folder) {
            // Another run was faster.
            Err(_) if folder.is_dir() => {}
            renamed => renamed.map_err(io("rename", &inner))?,
        }
    }
    Ok(folder.into())
}

/// The source package holds one archive, and that one folder.
fn unpack_source(package: &Package, file: &Path, into: &Path, progress: Progress<'_>) -> Result<()> {
    let scratch = scratch::Folder::within(into.parent().unwrap_or(into), ".package.")?;
    packages::unpack(package, file, scratch.path(), progress)?;
    let archive = find(scratch.path(), &[format!("usr/src/{}.tar.xz", package.name)])?;
    progress(&format!("unpack {}.tar.xz", package.name));
    let doing = format!("unpack {}", archive.display());
    let tar = Program::new("tar")
        .arg("-xJf")
        .arg(&archive)
        .arg("-C")
        .arg(into)
        .args(["--strip-components=1", "--no-same-owner"]);
    tar.run(&doing)?;
    Ok(())
}

/// The build folder is made under its final name, as Kbuild writes that name into it; a file made last says that it is whole.
fn prepare_build(folder: &Path, image: &Path, source: &Path, release: &str, progress: Progress<'_>) -> Result<PathBuf> {
    let build = folder.join("build");
    let whole = folder.join("build.prepared");
    if whole.is_file() && build.is_dir() {
        return Ok(build);
    }
    if build.is_dir() {
        std::fs::remove_dir_all(&build).map_err(io("remove", &build))?;
    }
    let config = find(image, &[format!("boot/config-{release}"), format!("usr/lib/modules/{release}/config")])?;
    build::prepare(source, &build, &config, release, progress)?;
    write_whole(&whole, b"")?;
    Ok(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_that_of_the_series() {
        assert_eq!(series("6.1.0-47-cloud-amd64").as_deref(), Some("6.1"));
        assert_eq!(series("6.12.73+deb12-cloud-amd64").as_deref(), Some("6.12"));
        assert_eq!(series("mine"), None);
    }

    #[test]
    fn a_folder_is_there_as_a_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("source");
        let failed = in_one_step(&folder, |scratch| {
            std::fs::write(scratch.join("half"), b"").unwrap();
            refuse(KERNEL_INVALID, "interrupted")
        });
        assert!(failed.is_err() && !folder.exists());
        in_one_step(&folder, |scratch| std::fs::write(scratch.join("a"), b"").map_err(io("write", scratch))).unwrap();
        in_one_step(&folder, |_| panic!("made twice")).unwrap();
        assert!(folder.join("a").is_file());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
