//! `prepare local NAME`: a descriptor for a tree and build folder of the user's own, which are only read.
//!
//! All that can be seen to not belong together is refused here, before anything is written.

use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_INVALID, Result, USAGE, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::kernel::commands::{self, Trees};
use crate::kernel::config::Config;
use crate::kernel::image::{self, Image};
use crate::kernel::modules::Modules;
use crate::kernel::symbols::{SymbolTable, VMLINUX};
use crate::kernel::{self, Descriptor, Origin, kallsyms_text, symvers, write_whole};
use crate::prepare::{Progress, build, lock};
use crate::scratch;

/// What `prepare local` is told.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    pub name: String,
    /// Kernel source.
    pub source: PathBuf,
    /// Build folder (`make O=`) with `.config` and generated headers; may be the source.
    pub build: PathBuf,
    /// `bzImage` (`vmlinuz`) or `vmlinux`; without it what a full build has left in the build folder.
    pub image: Option<PathBuf>,
    /// Installed headers, whose `Module.symvers` must be the build folder's.
    pub headers: Option<PathBuf>,
    /// `lib/modules/RELEASE`; without it the modules that a full build has left in the build folder.
    pub modules: Option<PathBuf>,
}

/// Prepares the kernel of a source tree and its build folder. Nothing is copied, and nothing is written to either.
/// An earlier kernel of this name is replaced if it was a local one.
pub fn local(options: &LocalOptions, progress: Progress<'_>) -> Result<Descriptor> {
    let folder = kernel::folder_of(&options.name)?;
    replaceable(&options.name, &folder)?;
    let source = self::folder("--source", &options.source)?;
    let build = self::folder("--build", &options.build)?;
    let trees = Trees { source: &source, build: &build };
    if !source.join("scripts/Makefile.build").is_file() {
        return refuse(USAGE, format!("--source {} is no kernel source tree", source.display()));
    }
    check_prepared(trees)?;
    let config = Config::read(&build.join(".config"))?;
    config.refuse_unsupported()?;
    check_source(trees)?;
    build::compiler(&config)?;
    let release = build::release_of(&build)?;
    let image_path = match &options.image {
        Some(image) => absolute(image)?,
        None => built_image(&build)?,
    };
    progress(&format!("decode kallsyms of {}", image_path.file_name().unwrap_or_default().to_string_lossy()));
    let image = image::read(&image_path)?;
    check_image(&image, &image_path, &release, &config, &build)?;
    let symvers = check_symvers(options.headers.as_deref(), &build, &image)?;
    let modules = match &options.modules {
        Some(modules) => Some(self::folder("--modules", modules)?),
        None => build.join("modules.order").is_file().then(|| build.clone()),
    };
    if let Some(modules) = &modules {
        check_modules(modules, &release, options.modules.is_some())?;
    }
    let all = folder.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(all).map_err(io("create", all))?;
    let scratch = scratch::Folder::within(all, ".prepare.")?;
    let commands = build::commands_of(trees, scratch.path(), progress)?;
    check_commands(&commands, trees)?;
    let made = scratch.path().join("kernel");
    std::fs::create_dir(&made).map_err(io("create", &made))?;
    let descriptor = Descriptor {
        schema: Descriptor::SCHEMA,
        name: options.name.clone(),
        release,
        version: Some(image.banner.version),
        compiler: Some(image.banner.compiler),
        source,
        build,
        image: Some(image_path),
        symvers: Some(symvers),
        modules,
        kallsyms: Some(made.join("kallsyms")),
        shared_sources: None,
        commands: made.join("commands.json"),
        origin: Origin::Local,
    };
    write_whole(&made.join("kallsyms"), kallsyms_text(&image.symbols).as_bytes())?;
    write_whole(&descriptor.commands, commands::to_json(&commands).as_bytes())?;
    descriptor.write(&made)?;
    let (folder, _lock) = lock(&options.name, progress)?;
    replaceable(&options.name, &folder)?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(io("remove", &folder))?;
    }
    std::fs::rename(&made, &folder).map_err(io("rename", &made))?;
    progress(&format!("done: {} is prepared", options.name));
    Descriptor::read(&folder.join(kernel::DESCRIPTOR))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(io("find", path))
}

fn folder(option: &str, path: &Path) -> Result<PathBuf> {
    let path = absolute(path)?;
    if path.is_dir() { Ok(path) } else { refuse(USAGE, format!("{option} {} is no folder", path.display())) }
}

/// A local kernel's folder holds only what was derived; a Debian kernel's holds the kernel.
fn replaceable(name: &str, folder: &Path) -> Result<()> {
    let descriptor = folder.join(kernel::DESCRIPTOR);
    let replaceable = !folder.exists()
        || Descriptor::read(&descriptor).is_ok_and(|d| d.origin == Origin::Local)
        || !folder.join("image").exists();
    if replaceable {
        return Ok(());
    }
    refuse(
        USAGE,
        format!(
            "{name} is a prepared Debian kernel; take another name, or remove it with `klp-extract kernels remove {name}`"
        ),
    )
}

fn check_prepared(trees: Trees<'_>) -> Result<()> {
    let Trees { source, build } = trees;
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

/// The build folder is one of this source: of its version, and built out of it rather than within itself.
fn check_source(trees: Trees<'_>) -> Result<()> {
    let Trees { source, build } = trees;
    let (makefile, header) = (source.join("Makefile"), build.join("include/generated/uapi/linux/version.h"));
    let read = |path: &Path| std::fs::read_to_string(path).map_err(io("read", path));
    let (wanted, made) = (version_of_makefile(&read(&makefile)?), version_of_header(&read(&header)?));
    if !same_version(wanted, made) {
        let text = |version: Option<[u32; 3]>| version.map_or("unknown".into(), |[a, b, c]| format!("{a}.{b}.{c}"));
        return refuse(
            KERNEL_INVALID,
            format!(
                "source and build folder don't belong together: {} is version {}, {} was made of {}",
                source.display(),
                text(wanted),
                build.display(),
                text(made)
            ),
        );
    }
    if source != build && build::is_built(build) && build.join("scripts/Makefile.build").is_file() {
        return refuse(
            KERNEL_INVALID,
            format!("{0} was built within a source tree of its own; give --source {0}", build.display()),
        );
    }
    Ok(())
}

/// A header's last part is at most 255 where only LINUX_VERSION_CODE tells it.
fn same_version(source: Option<[u32; 3]>, header: Option<[u32; 3]>) -> bool {
    let (Some(source), Some(header)) = (source, header) else { return false };
    source == header || (source[..2] == header[..2] && source[2] > 255 && header[2] == 255)
}

/// VERSION, PATCHLEVEL and SUBLEVEL at the top of the kernel's Makefile.
fn version_of_makefile(makefile: &str) -> Option<[u32; 3]> {
    let number = |name: &str| {
        let mut values = makefile.lines().filter_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        values.next()?.trim().parse().ok()
    };
    Some([number("VERSION")?, number("PATCHLEVEL")?, number("SUBLEVEL")?])
}

/// LINUX_VERSION_MAJOR, _PATCHLEVEL and _SUBLEVEL of include/generated/uapi/linux/version.h, or LINUX_VERSION_CODE of kernels
/// that lack them, whose last part is at most 255.
fn version_of_header(header: &str) -> Option<[u32; 3]> {
    let number = |name: &str| {
        let mut values = header.lines().filter_map(|line| line.strip_prefix("#define ")?.strip_prefix(name));
        values.next()?.trim().parse::<u32>().ok()
    };
    let named = ["LINUX_VERSION_MAJOR ", "LINUX_VERSION_PATCHLEVEL ", "LINUX_VERSION_SUBLEVEL "].map(number);
    match (named, number("LINUX_VERSION_CODE ")) {
        ([Some(a), Some(b), Some(c)], _) => Some([a, b, c]),
        (_, Some(code)) => Some([code >> 16, code >> 8 & 255, code & 255]),
        _ => None,
    }
}

/// What a full build leaves: the image that boots, else the linked kernel.
fn built_image(build: &Path) -> Result<PathBuf> {
    let built = ["arch/x86/boot/bzImage", "vmlinux"].map(|file| build.join(file));
    match built.into_iter().find(|path| path.is_file()) {
        Some(image) => absolute(&image),
        None => refuse(
            KERNEL_INVALID,
            format!(
                "{} has no kernel image, and none was given; --image FILE names that of the running kernel",
                build.display()
            ),
        ),
    }
}

/// The image is of this release and compiler, and, where the build folder tells, of this very build.
fn check_image(image: &Image, path: &Path, release: &str, config: &Config, build: &Path) -> Result<()> {
    let apart = |why: String| {
        refuse(KERNEL_INVALID, format!("image and build folder don't belong together: {} {why}", path.display()))
    };
    if image.banner.release != release {
        return apart(format!("is {}, {} is {release}", image.banner.release, build.display()));
    }
    // Since 5.8 the banner begins with what the configuration holds, `gcc (Debian 12.2.0-14) 12.2.0`; before with `gcc version`.
    let compiler =
        config.get("CC_VERSION_TEXT").and_then(|text| text.split_once(' ')).map_or("", |(_, version)| version);
    if !image.banner.compiler.starts_with("gcc version") && !image.banner.compiler.contains(compiler) {
        return apart(format!("was built with {}, the configuration says {compiler}", image.banner.compiler));
    }
    let map = build.join("System.map");
    if !map.is_file() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&map).map_err(io("read", &map))?;
    match first_elsewhere(image, &text) {
        None => Ok(()),
        Some(name) => apart(format!("has {name} elsewhere than {}; it is of another build", map.display())),
    }
}

/// The first function of the image that a System.map (`ADDRESS KIND NAME` a line) has not at its place.
fn first_elsewhere<'a>(image: &'a Image, map: &str) -> Option<&'a str> {
    let places: std::collections::BTreeSet<(u64, &str)> = map
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    let functions = image.symbols.iter().filter(|symbol| symbol.is_function());
    functions.map(|symbol| (symbol.address, symbol.name.as_str())).find(|place| !places.contains(place)).map(|p| p.1)
}

/// The build folder's Module.symvers, from which modpost takes what is exported when the livepatch is built.
fn check_symvers(headers: Option<&Path>, build: &Path, image: &Image) -> Result<PathBuf> {
    let own = build.join("Module.symvers");
    let given = headers.map(|headers| folder("--headers", headers)).transpose()?.map(|h| h.join("Module.symvers"));
    if let Some(given) = given.as_ref().filter(|given| !given.is_file()) {
        return refuse(KERNEL_INVALID, format!("--headers has no {}", given.display()));
    }
    if !own.is_file() {
        return refuse(
            KERNEL_INVALID,
            match &given {
                Some(given) => format!(
                    "modules can't be built in {} without a Module.symvers; run\n  cp {} {}",
                    build.display(),
                    given.display(),
                    own.display()
                ),
                None => format!(
                    "{} has no Module.symvers; build the kernel there, or copy the running kernel's to it from its installed headers",
                    build.display()
                ),
            },
        );
    }
    let exports = symvers::read(&own)?;
    if let Some(given) = given
        && symvers::read(&given)? != exports
    {
        return refuse(
            KERNEL_INVALID,
            format!("{} and {} differ; they are of two builds", given.display(), own.display()),
        );
    }
    let symbols = SymbolTable::new(image.symbols.clone());
    let of_vmlinux = exports.iter().filter(|(_, export)| export.object == VMLINUX);
    match of_vmlinux.map(|(name, _)| name).find(|name| !symbols.contains(name)) {
        None => Ok(own),
        Some(missing) => refuse(
            KERNEL_INVALID,
            format!("{} lists {missing}, which the image doesn't have; it is of another build", own.display()),
        ),
    }
}

/// The modules are of this release; a folder that was given has some.
fn check_modules(folder: &Path, release: &str, given: bool) -> Result<()> {
    let modules = Modules::list(folder)?;
    let Some(name) = modules.names().next() else {
        if given {
            return refuse(KERNEL_INVALID, format!("--modules {} has no module anywhere below", folder.display()));
        }
        return Ok(());
    };
    let module = modules.open(name)?;
    // `RELEASE SMP mod_unload modversions` (include/linux/vermagic.h).
    let of = module.vermagic.split(' ').next().unwrap_or_default();
    if of == release {
        return Ok(());
    }
    let file = modules.file(name).unwrap_or(folder);
    refuse(
        KERNEL_INVALID,
        format!("modules and build folder don't belong together: {} is for {of}, not for {release}", file.display()),
    )
}

/// The build compiled this source tree, and not another one.
fn check_commands(commands: &[CompileCommand], trees: Trees<'_>) -> Result<()> {
    let foreign = commands.iter().find(|command| Path::new(&command.source).is_absolute());
    if let Some(command) = foreign {
        return refuse(
            KERNEL_INVALID,
            format!(
                "{} was built of another source tree than {}: it compiled {}",
                trees.build.display(),
                trees.source.display(),
                command.source
            ),
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
    fn versions_of_source_and_build_folder_are_compared() {
        let source = version_of_makefile("# SPDX\nVERSION = 5\nPATCHLEVEL = 4\nSUBLEVEL = 300\nEXTRAVERSION =\n");
        assert_eq!(source, Some([5, 4, 300]));
        let code = version_of_header("#define LINUX_VERSION_CODE 328959\n#define KERNEL_VERSION(a,b,c) 1\n");
        assert_eq!(code, Some([5, 4, 255]));
        assert!(same_version(source, code) && !same_version(source, Some([5, 4, 254])) && !same_version(None, None));
    }

    #[test]
    fn a_debian_kernel_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("k");
        std::fs::create_dir_all(folder.join("image")).unwrap();
        assert!(replaceable("k", &folder).is_err());
        std::fs::remove_dir(folder.join("image")).unwrap();
        assert!(replaceable("k", &folder).is_ok());
    }
}
