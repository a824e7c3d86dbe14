//! Runs the kernel's own make: configuration, generated headers, and the list of compile commands.

use std::path::{Path, PathBuf};

use crate::finding::{KERNEL_INVALID, Result, TOOL_FAILED, TOOL_MISSING, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::kernel::commands::{self, Trees};
use crate::kernel::config::Config;
use crate::kernel::write_whole;
use crate::prepare::Progress;
use crate::process::Program;
use crate::scratch;

/// `make -C SOURCE O=BUILD CC=COMPILER`, free of the user's own make and Kbuild variables.
pub(super) fn make(source: &Path, build: &Path, compiler: &str) -> Program {
    let program =
        Program::new("make").env("MAKEFLAGS", "").env("MFLAGS", "").env("MAKELEVEL", "").env("KBUILD_OUTPUT", "");
    let program = program.arg("-C").arg(source).arg(format!("O={}", build.display())).arg(format!("CC={compiler}"));
    program.args(["ARCH=x86", "LLVM=", "CROSS_COMPILE=", "KCFLAGS=", "KAFLAGS=", "KBUILD_EXTMOD=", "V=0"])
}

/// The compiler that a configuration was made with, by the name of it that can be started here: CONFIG_CC_VERSION_TEXT
/// begins with that name (`gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0`). Refuses where it is another one.
pub(super) fn compiler(config: &Config) -> Result<String> {
    let Some(wanted) = config.get("CC_VERSION_TEXT") else {
        return refuse(
            KERNEL_INVALID,
            "the configuration doesn't say which compiler it was made with (CONFIG_CC_VERSION_TEXT)",
        );
    };
    let (name, wanted_version) = wanted.split_once(' ').unwrap_or((wanted, ""));
    // The name may have been an absolute path or a wrapper elsewhere.
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut found = Vec::new();
    for candidate in [name, "gcc"] {
        let Ok(output) = Program::new(candidate).arg("--version").output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_string();
        if text.split_once(' ').is_some_and(|(_, version)| version == wanted_version) {
            return Ok(candidate.into());
        }
        found.push(format!("{candidate}: {text}"));
    }
    let found = if found.is_empty() { "no compiler".into() } else { found.join("; ") };
    refuse(
        TOOL_MISSING,
        format!(
            "the kernel was built with `{wanted}`, and here is {found}; only the same compiler makes the same code; install {name}"
        ),
    )
}

/// Options that Debian strips from the configuration it ships, or that tell of tools which don't change the kernel's code
/// or layout.
const NO_MATTER: &[&str] = &[
    "AS_VERSION",
    "BUILD_SALT",
    "CC_VERSION_TEXT",
    "LD_VERSION",
    "MODULE_SIG_ALL",
    "MODULE_SIG_KEY",
    "SYSTEM_TRUSTED_KEYS",
];

/// Starts of options that only tell of the Rust tools of a machine; `CONFIG_RUST` itself is not among them.
const RUST_TOOLS: &[&str] = &["BINDGEN_", "RUSTC_", "RUST_IS_AVAILABLE"];

/// Refuses a configuration that differs from the image's: its structures or code would be others.
pub(super) fn compare(image: &Config, built: &Config) -> Result<()> {
    let differences = image.differences(built);
    let lines: Vec<String> = differences
        .into_iter()
        .filter(|(name, _)| !NO_MATTER.contains(name) && !RUST_TOOLS.iter().any(|start| name.starts_with(start)))
        .map(|(name, (image, here))| {
            format!("  CONFIG_{name}: {} in the image, {} here", image.unwrap_or("not set"), here.unwrap_or("not set"))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    refuse(
        KERNEL_INVALID,
        format!("the image's configuration can't be reproduced with the tools of this machine:\n{}", lines.join("\n")),
    )
}

/// Configures and prepares an empty build folder like the image: same configuration, same release.
pub(super) fn prepare(source: &Path, build: &Path, config: &Path, release: &str, progress: Progress<'_>) -> Result<()> {
    let wanted = Config::read(config)?;
    wanted.refuse_unsupported()?;
    let compiler = compiler(&wanted)?;
    std::fs::create_dir_all(build).map_err(io("create", build))?;
    std::fs::copy(config, build.join(".config")).map_err(io("copy", config))?;
    let pahole = pahole(build, &wanted)?;
    // Debian's kernels read this file from the build folder (its patch kernelvariables), also when modules are built.
    // Without it the release would be the source's, 6.1.170, and modules would not load. KERNELVERSION is what
    // include/config/kernel.release is made of (Makefile, filechk_kernel.release).
    let variables = format!(
        "override KERNELRELEASE = {release}\noverride KERNELVERSION = {release}\nCC = {compiler}\nPAHOLE = {}\n",
        pahole.display()
    );
    write_whole(&build.join(".kernelvariables"), variables.as_bytes())?;
    let make = |target: &str| release_make(source, build, &compiler, release).arg("-s").arg(target);
    progress(&format!("configure with {compiler}"));
    make("olddefconfig").run("configure the kernel (make olddefconfig); `klp-extract doctor` lists what it needs")?;
    compare(&wanted, &Config::read(&build.join(".config"))?)?;
    progress("generate headers (make modules_prepare)");
    make("modules_prepare").run("generate headers (make modules_prepare); `klp-extract doctor` lists what it needs")?;
    let made = [release_of(build)?, uts_release(build)?];
    if made.iter().any(|made| made != release) {
        return refuse(
            KERNEL_INVALID,
            format!("the build folder's release is {} ({} in modules), not the image's {release}", made[0], made[1]),
        );
    }
    Ok(())
}

/// `make` with what [`prepare`] decided: the image's release, and the stand-in for pahole.
fn release_make(source: &Path, build: &Path, compiler: &str, release: &str) -> Program {
    make(source, build, compiler).args([
        format!("KERNELRELEASE={release}"),
        format!("KERNELVERSION={release}"),
        format!("PAHOLE={}", build.join(PAHOLE).display()),
        "LOCALVERSION=".into(),
        format!("-j{}", cores()),
    ])
}

/// Objects whose making has headers or tables generated beside them, which `modules_prepare` leaves out: all that the
/// 4,710 units of Debian's 6.1 cloud kernel and the 5,197 of its 6.12 one include (found by `gcc -M -MG` on each of the
/// former, by the `#include` lines of the latter). Each kernel lacks some of these objects.
const GENERATING: &[&str] = &[
    "arch/x86/lib/inat.o",
    "certs/blacklist_hashes.o",
    "crypto/asymmetric_keys/mscode_parser.o",
    "crypto/asymmetric_keys/pkcs7_parser.o",
    "crypto/asymmetric_keys/pkcs8_parser.o",
    "crypto/asymmetric_keys/x509_cert_parser.o",
    "crypto/ecdsa.o",
    "crypto/ecrdsa.o",
    "crypto/rsa_helper.o",
    "drivers/scsi/scsi_sysfs.o",
    "fs/smb/client/asn1.o",
    "fs/smb/server/asn1.o",
    "init/version.o",
    "lib/crc32.o",
    "lib/crc64.o",
    "lib/oid_registry.o",
    "net/ipv4/netfilter/nf_nat_snmp_basic_main.o",
    "security/apparmor/capability.o",
    "security/apparmor/net.o",
    "security/apparmor/resource.o",
    "security/selinux/avc.o",
    "security/tomoyo/common.o",
];

/// Has the headers of [`GENERATING`] made, for the kernel of Debian's package `version`, whose name its stack dumps print
/// (lib/dump_stack.c; Debian's patch of the Makefile, filechk_package.h). The objects are not: with -fsyntax-only GCC
/// writes none, so that each rule fails once what it needs is there. A header that this kernel doesn't have is no error
/// here; a unit that lacks one says so.
pub(super) fn generate_headers(
    source: &Path,
    build: &Path,
    (release, version): (&str, &str),
    progress: Progress<'_>,
) -> Result<()> {
    let compiler = compiler(&Config::read(&build.join(".config"))?)?;
    progress("generate headers that are made beside objects");
    // The name of the package goes into a header that every make renews.
    let package = ["DISTRIBUTION_OFFICIAL_BUILD=1", "DISTRIBUTOR=Debian", &format!("DISTRIBUTION_VERSION={version}")];
    let program = release_make(source, build, &compiler, release).args(package);
    let program = program.args(["-s", "-k", "KCFLAGS=-fsyntax-only"]);
    program.args(GENERATING).output()?;
    Ok(())
}

/// Where the stand-in for pahole is in the build folder.
const PAHOLE: &str = ".pahole-version";

/// A stand-in that only tells the version of pahole: CONFIG_DEBUG_INFO_BTF_MODULES depends on that version, and struct
/// module on it. Nothing is ever encoded, as there is no vmlinux to take types from.
fn pahole(build: &Path, config: &Config) -> Result<PathBuf> {
    let version: u32 = config.get("PAHOLE_VERSION").and_then(|v| v.parse().ok()).unwrap_or(0);
    let path = build.join(PAHOLE);
    let text = format!(
        "#!/bin/sh\n# The version that the kernel image was built with; see klp-extract.\necho v{}.{}\n",
        version / 100,
        version % 100
    );
    write_whole(&path, text.as_bytes())?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).map_err(io("write", &path))?;
    Ok(path)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The release of a prepared build folder (include/config/kernel.release).
pub(super) fn release_of(build: &Path) -> Result<String> {
    let path = build.join("include/config/kernel.release");
    Ok(std::fs::read_to_string(&path).map_err(io("read", &path))?.trim().to_string())
}

/// The release that modules get into their vermagic (include/generated/utsrelease.h).
fn uts_release(build: &Path) -> Result<String> {
    let path = build.join("include/generated/utsrelease.h");
    let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    Ok(text.split('"').nth(1).unwrap_or_default().to_string())
}

/// Collects the build's compile commands and writes `commands.json` into `folder`. The build folder is only read.
pub(super) fn write_commands(source: &Path, build: &Path, folder: &Path, progress: Progress<'_>) -> Result<PathBuf> {
    let commands = commands_of(Trees { source, build }, folder, progress)?;
    let path = folder.join("commands.json");
    write_whole(&path, commands::to_json(&commands).as_bytes())?;
    Ok(path)
}

/// The build's compile commands; `scratch` is a folder that may receive a copy of the build folder meanwhile.
pub(super) fn commands_of(trees: Trees<'_>, scratch: &Path, progress: Progress<'_>) -> Result<Vec<CompileCommand>> {
    let commands = if is_built(trees.build) {
        progress("collect compile commands (.cmd files)");
        commands::from_cmd_files(trees)?
    } else {
        progress("collect compile commands (make -n)");
        from_dry_run(trees, scratch)?
    };
    if commands.is_empty() {
        return refuse(KERNEL_INVALID, format!("no compile commands were found for {}", trees.build.display()));
    }
    Ok(commands)
}

/// Was the whole kernel built here, so that there is a `.cmd` file for every object?
pub(super) fn is_built(build: &Path) -> bool {
    build.join("init/.main.o.cmd").is_file() && ["vmlinux", "vmlinux.o"].iter().any(|file| build.join(file).is_file())
}

/// `make -n` still makes folders and remakes included files, and lists only what is out of date; so it runs in a copy of
/// the build folder that has no objects.
fn from_dry_run(trees: Trees<'_>, folder: &Path) -> Result<Vec<CompileCommand>> {
    if same(trees.source, trees.build) {
        return refuse(
            KERNEL_INVALID,
            "the kernel is configured within its source folder but not built; build it (make), or configure it in a folder of its own (make O=...)",
        );
    }
    let compiler = compiler(&Config::read(&trees.build.join(".config"))?)?;
    let scratch = scratch::Folder::within(folder, ".dry-run.")?;
    copy_prepared(trees.build, scratch.path())?;
    let scratch = scratch.path();
    // Nothing is made, so rules that need made files fail: go on with the others.
    let output = make(trees.source, scratch, &compiler).args(["-n", "-k", "vmlinux", "modules"]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if let Some(error) = errors.lines().find(|line| is_unexpected(line)) {
        return refuse(TOOL_FAILED, format!("make -n could not list all compile commands: {error}"));
    }
    commands::from_make_output(&String::from_utf8_lossy(&output.stdout), trees, scratch)
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A rule that has failed for another reason than that it links what hasn't been compiled (`vmlinux.a`, `vmlinux.o`).
fn is_unexpected(line: &str) -> bool {
    let Some((_, target)) = line.split_once("No rule to make target '") else {
        return line.contains("syntax error") || line.contains("missing separator");
    };
    let target = target.split('\'').next().unwrap_or_default();
    target.contains('/') && (target.ends_with(".o") || target.ends_with(".c") || target.ends_with(".h"))
}

/// Copies configuration, generated headers and the host's tools, with their times.
fn copy_prepared(from: &Path, to: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(from).min_depth(1) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) => return refuse(KERNEL_INVALID, format!("cannot read the build folder: {e}")),
        };
        let path = entry.path();
        let inner = path.strip_prefix(from).unwrap_or(path);
        let target = to.join(inner);
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).map_err(io("create", &target))?;
        } else if entry.file_type().is_symlink() {
            let link = std::fs::read_link(path).map_err(io("read", path))?;
            std::os::unix::fs::symlink(link, &target).map_err(io("create", &target))?;
        } else if entry.file_type().is_file() && is_prepared(inner) {
            std::fs::copy(path, &target).map_err(io("copy", path))?;
            let modified = entry.metadata().ok().and_then(|m| m.modified().ok()).unwrap_or(std::time::UNIX_EPOCH);
            let file = std::fs::File::options().append(true).open(&target);
            file.and_then(|file| file.set_modified(modified)).map_err(io("write", &target))?;
        }
    }
    Ok(())
}

/// Is a file (relative to the build folder) one that preparing makes, and not an object or what is made of objects?
fn is_prepared(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if ["scripts", "tools", "include"].iter().any(|folder| file.starts_with(folder)) {
        return true;
    }
    let object = [".o", ".a", ".ko", ".cmd", ".mod", ".mod.c", ".order"].iter().any(|suffix| name.ends_with(suffix));
    !object && !name.starts_with("vmlinux") && !name.contains("ipa-clones")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_must_be_the_image_s_but_for_what_does_not_matter() {
        let image = Config::parse("CONFIG_A=y\nCONFIG_LD_VERSION=1\n");
        assert!(
            compare(
                &image,
                &Config::parse("CONFIG_A=y\nCONFIG_LD_VERSION=2\nCONFIG_RUSTC_HAS_X=y\nCONFIG_BUILD_SALT=\"\"\n")
            )
            .is_ok()
        );
        let error = compare(&image, &Config::parse("CONFIG_LD_VERSION=1\n")).unwrap_err().to_string();
        assert!(error.contains("CONFIG_A: y in the image, not set here"), "{error}");
    }

    #[test]
    fn another_compiler_is_refused_by_name() {
        let config = Config::parse("CONFIG_CC_VERSION_TEXT=\"gcc-99 (Nobody 99.1) 99.1\"\n");
        assert!(compiler(&config).unwrap_err().to_string().contains("install gcc-99"));
        assert!(compiler(&Config::default()).is_err());
    }

    #[test]
    fn only_links_may_fail_in_a_dry_run() {
        assert!(!is_unexpected("make[1]: *** No rule to make target 'vmlinux.a', needed by 'vmlinux.o'.  Stop."));
        assert!(is_unexpected("make[3]: *** No rule to make target 'net/unix/x.c', needed by 'net/unix/x.o'."));
        assert!(is_prepared(Path::new("scripts/mod/modpost.o")) && !is_prepared(Path::new("net/unix/af_unix.o")));
    }
}
