//! What is known of a prepared kernel: compile commands, objects, symbol tables, exports, configuration.
//!
//! A prepared kernel is a folder with a [`Descriptor`], `kernel.json`, which names everything else. This module reads
//! it; `prepare` writes it. The kernel's source and build folder are never written to from here.

pub mod callers;
pub mod command;
pub mod commands;
pub mod config;
pub mod image;
pub mod memory;
pub mod modules;
pub mod options;
pub mod symbols;
pub mod symvers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::finding::{Finding, KERNEL_INVALID, KERNEL_UNKNOWN, Result, USAGE, io, refuse};
use crate::scratch;
use command::CompileCommand;
use commands::Commands;
use config::Config;
use memory::Memory;
use modules::Modules;
use symbols::{Exports, Symbol, SymbolTable, VMLINUX};

/// The file that makes a folder a prepared kernel; written last.
pub const DESCRIPTOR: &str = "kernel.json";

const SCHEMA: u32 = 1;

/// Where a prepared kernel came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// Debian packages, name to version.
    Debian { packages: BTreeMap<String, String> },
    /// A tree of the user's own.
    Local,
}

/// `kernel.json`. Paths are absolute, or relative to the descriptor's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub schema: u32,
    pub name: String,
    /// `uname -r`: `6.1.0-47-cloud-amd64`.
    pub release: String,
    /// `uname -v`, which tells builds of one release apart: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)`.
    /// Nothing without an image.
    pub version: Option<String>,
    /// Compiler and linker as the image's banner gives them; nothing without an image.
    pub compiler: Option<String>,
    pub source: PathBuf,
    /// Build folder with `.config` and the generated headers.
    pub build: PathBuf,
    /// `vmlinuz` or `vmlinux`.
    pub image: Option<PathBuf>,
    pub symvers: Option<PathBuf>,
    /// `lib/modules/RELEASE` of the kernel.
    pub modules: Option<PathBuf>,
    /// Decoded symbols of vmlinux, one `ADDRESS KIND NAME` a line as in /proc/kallsyms.
    pub kallsyms: Option<PathBuf>,
    /// See [`commands`].
    pub commands: PathBuf,
    /// Sources of units that other files include, one a line, where somebody has looked ([`crate::bundle`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_sources: Option<PathBuf>,
    pub origin: Origin,
}

impl Descriptor {
    /// The schema that this program writes and reads.
    pub const SCHEMA: u32 = SCHEMA;

    /// Reads a descriptor; its paths come out absolute.
    pub fn read(path: &Path) -> Result<Descriptor> {
        let path = std::path::absolute(path).map_err(io("find", path))?;
        let text = std::fs::read(&path).map_err(io("read", &path))?;
        Descriptor::parse(&text, &path)
    }

    /// Reads the text of the descriptor at an absolute path.
    pub fn parse(text: &[u8], path: &Path) -> Result<Descriptor> {
        let invalid = |why: String| {
            let message = format!("{} is not usable ({why}); run `klp-extract prepare` again", path.display());
            Finding::new(KERNEL_INVALID, message)
        };
        // The schema comes first: another one's fields need not be these.
        let value: serde_json::Value = serde_json::from_slice(text).map_err(|e| invalid(e.to_string()))?;
        if value["schema"] != SCHEMA {
            return Err(invalid(format!("its schema is {}, this program's is {SCHEMA}", value["schema"])).into());
        }
        let mut descriptor: Descriptor = serde_json::from_value(value).map_err(|e| invalid(e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        for path in descriptor.paths() {
            *path = folder.join(&*path);
        }
        Ok(descriptor)
    }

    /// Writes `kernel.json` into `folder` in one step; paths within the folder become relative.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut stored = self.clone();
        for path in stored.paths() {
            if let Ok(inner) = path.strip_prefix(folder) {
                *path = inner.to_path_buf();
            }
        }
        let text = serde_json::to_string_pretty(&stored).expect("a descriptor always serialises") + "\n";
        write_whole(&folder.join(DESCRIPTOR), text.as_bytes())
    }

    pub(crate) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let optional =
            [&mut self.image, &mut self.symvers, &mut self.modules, &mut self.kallsyms, &mut self.shared_sources];
        [&mut self.source, &mut self.build, &mut self.commands].into_iter().chain(optional.into_iter().flatten())
    }
}

/// Writes a file so that it is there as a whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    scratch::write(path, bytes, 0o644)
}

/// $KLP_EXTRACT_CACHE, else $XDG_CACHE_HOME/klp-extract, else ~/.cache/klp-extract.
pub fn cache_root() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = set("KLP_EXTRACT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("klp-extract")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/klp-extract")));
    match root {
        Some(root) => std::path::absolute(&root).map_err(io("find", &root)),
        None => refuse(USAGE, "no cache folder: neither $KLP_EXTRACT_CACHE nor $XDG_CACHE_HOME nor $HOME is set"),
    }
}

/// The folder of the prepared kernel `name` in the cache, whether there or not.
pub fn folder_of(name: &str) -> Result<PathBuf> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+~".contains(c));
    if name.is_empty() || name.starts_with('.') || !plain {
        return refuse(USAGE, format!("`{name}` is no name for a kernel: use letters, digits and `-_.+~`"));
    }
    Ok(cache_root()?.join("kernels").join(name))
}

/// The names of all prepared kernels in the cache, sorted.
pub fn names() -> Result<Vec<String>> {
    let folder = cache_root()?.join("kernels");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let prepared = entries.flatten().filter(|entry| entry.path().join(DESCRIPTOR).is_file());
    let mut names: Vec<String> = prepared.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// A prepared kernel, its parts read when they are first asked for.
#[derive(Debug)]
pub struct Kernel {
    pub descriptor: Descriptor,
    config: Config,
    commands: OnceLock<Commands>,
    exports: OnceLock<Exports>,
    memory: OnceLock<Memory>,
    modules: OnceLock<Modules>,
    /// A cell for each module that exists: references stay valid while others are filled.
    vmlinux: OnceLock<SymbolTable>,
    module_symbols: OnceLock<BTreeMap<String, OnceLock<SymbolTable>>>,
}

impl Kernel {
    /// Opens a kernel by its name in the cache, or by the path of a `kernel.json` or of its folder. Refuses kernels
    /// that the tool doesn't support.
    pub fn open(name_or_path: &str) -> Result<Kernel> {
        Kernel::of(Descriptor::read(&locate(name_or_path)?)?)
    }

    /// The kernel that a descriptor with absolute paths describes.
    pub fn of(mut descriptor: Descriptor) -> Result<Kernel> {
        // As make names them in the compile commands, whatever link led here.
        for path in [&mut descriptor.source, &mut descriptor.build] {
            *path = path.canonicalize().unwrap_or_else(|_| path.clone());
        }
        let config = Config::read(&descriptor.build.join(".config"))?;
        config.refuse_unsupported()?;
        Ok(Kernel {
            descriptor,
            config,
            commands: OnceLock::new(),
            exports: OnceLock::new(),
            memory: OnceLock::new(),
            modules: OnceLock::new(),
            vmlinux: OnceLock::new(),
            module_symbols: OnceLock::new(),
        })
    }

    pub fn source(&self) -> &Path {
        &self.descriptor.source
    }

    pub fn build(&self) -> &Path {
        &self.descriptor.build
    }

    /// The commands that compile a source file (relative to the kernel source): several where it is part of several
    /// objects, none where this configuration doesn't build it.
    pub fn commands_for(&self, source: &str) -> Result<Vec<CompileCommand>> {
        Ok(self.commands()?.of(source))
    }

    /// The command with its source as an absolute path, unless the build itself names it relative to the tree.
    pub fn absolute(&self, command: &CompileCommand) -> CompileCommand {
        let path = self.source().join(&command.source);
        let source = if self.source() == self.build() || !path.exists() {
            command.source.clone()
        } else {
            path.to_string_lossy().into_owned()
        };
        CompileCommand { source, ..command.clone() }
    }

    /// Every compile command, sorted by source; 4,700 of 3 KB each on Debian's cloud kernel.
    /// Sources that the build generates (`lib/raid6/int4.c`) need not exist in a folder that was only prepared.
    pub fn all_commands(&self) -> Result<Vec<CompileCommand>> {
        Ok(self.commands()?.all())
    }

    pub fn commands(&self) -> Result<&Commands> {
        get(&self.commands, || Commands::read(&self.descriptor.commands, self.source()))
    }

    /// The symbol table of `vmlinux` or of a module by the kernel's name of it.
    pub fn symbols(&self, object: &str) -> Result<&SymbolTable> {
        if object == VMLINUX {
            return get(&self.vmlinux, || self.read_vmlinux());
        }
        let cells = get(&self.module_symbols, || {
            Ok(self.modules()?.names().map(|name| (name.to_string(), OnceLock::new())).collect())
        })?;
        match cells.get(object) {
            Some(cell) => get(cell, || Ok(self.modules()?.open(object)?.symbols)),
            None => refuse(KERNEL_INVALID, format!("{} has no module {object}", self.descriptor.name)),
        }
    }

    fn read_vmlinux(&self) -> Result<SymbolTable> {
        let Some(path) = &self.descriptor.kallsyms else {
            return refuse(
                KERNEL_INVALID,
                format!(
                    "{} was prepared without an image, so vmlinux's symbols are unknown; prepare it with --image",
                    self.descriptor.name
                ),
            );
        };
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        match parse_kallsyms(&text) {
            Some(symbols) => Ok(SymbolTable::new(symbols)),
            None => refuse(KERNEL_INVALID, format!("{} is broken; run `klp-extract prepare` again", path.display())),
        }
    }

    /// The linked vmlinux by address; nothing for a kernel that was prepared without an image. It is unpacked once a run,
    /// in 0.1 s for Debian's.
    pub fn memory(&self) -> Result<Option<&Memory>> {
        let Some(path) = &self.descriptor.image else { return Ok(None) };
        get(&self.memory, || Memory::read(path)).map(Some)
    }

    pub fn modules(&self) -> Result<&Modules> {
        get(&self.modules, || match &self.descriptor.modules {
            Some(folder) => Modules::list(folder),
            None => refuse(
                KERNEL_INVALID,
                format!("{} was prepared without its modules; prepare it with --modules", self.descriptor.name),
            ),
        })
    }

    pub fn exports(&self) -> Result<&Exports> {
        get(&self.exports, || match &self.descriptor.symvers {
            Some(path) => symvers::read(path),
            None => refuse(KERNEL_INVALID, format!("{} was prepared without a Module.symvers", self.descriptor.name)),
        })
    }

    /// The value of an option of the configuration (`CONFIG_` may be left out): `y`, `m`, a number, a text without its
    /// quotes; nothing where it isn't set.
    pub fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name)
    }

    /// SHA-256 of what identifies the kernel: `config`, and `image` and `symvers` where there are.
    pub fn hashes(&self) -> Result<BTreeMap<&'static str, String>> {
        let config = self.descriptor.build.join(".config");
        let files = [
            ("config", Some(&config)),
            ("image", self.descriptor.image.as_ref()),
            ("symvers", self.descriptor.symvers.as_ref()),
        ];
        files
            .into_iter()
            .filter_map(|(name, path)| Some((name, path?)))
            .map(|(name, path)| Ok((name, sha256(path)?)))
            .collect()
    }
}

/// SHA-256 of a file, as lower-case hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(io("read", path))? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hexadecimal(hasher))
}

/// SHA-256 of bytes, as [`sha256`] gives it.
pub fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `OnceLock::get_or_try_init`, which isn't stable.
fn get<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// Reads symbols as [`kallsyms_text`] writes them; nothing where a line is none, or there is no line.
pub fn parse_kallsyms(text: &str) -> Option<Vec<Symbol>> {
    // Not lines(), which takes a carriage return at a name's end away: whatever a name is, it comes back.
    let symbols: Option<Vec<Symbol>> = text.split_terminator('\n').map(kallsyms_line).collect();
    symbols.filter(|symbols| !symbols.is_empty())
}

fn kallsyms_line(line: &str) -> Option<Symbol> {
    let mut words = line.splitn(3, ' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let kind = words.next()?.chars().next()?;
    Some(Symbol { name: words.next()?.into(), address, kind, section: 0 })
}

/// Symbols as text, as [`Descriptor::kallsyms`] holds them.
pub fn kallsyms_text(symbols: &[Symbol]) -> String {
    symbols.iter().map(|s| format!("{:016x} {} {}\n", s.address, s.kind, s.name)).collect()
}

/// The descriptor that a name or path means.
fn locate(name_or_path: &str) -> Result<PathBuf> {
    let path = Path::new(name_or_path);
    let looks_like_path = name_or_path.contains('/') || name_or_path.ends_with(".json");
    if !looks_like_path {
        let known = names()?;
        if known.iter().any(|name| name == name_or_path) {
            return Ok(folder_of(name_or_path)?.join(DESCRIPTOR));
        }
        if !path.join(DESCRIPTOR).is_file() {
            return refuse(KERNEL_UNKNOWN, unknown(name_or_path, &known));
        }
    }
    if path.is_file() {
        return Ok(path.into());
    }
    if path.join(DESCRIPTOR).is_file() {
        return Ok(path.join(DESCRIPTOR));
    }
    refuse(KERNEL_UNKNOWN, format!("{name_or_path} is no prepared kernel: there is no {DESCRIPTOR}"))
}

fn unknown(name: &str, known: &[String]) -> String {
    let similarity = |other: &String| strsim::jaro_winkler(name, other);
    let closest =
        known.iter().filter(|other| similarity(other) > 0.8).max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let mut message = format!("no prepared kernel is called `{name}`");
    if let Some(closest) = closest {
        message += &format!("; did you mean `{closest}`?");
    }
    if known.is_empty() {
        message += "\n  none is prepared yet";
    } else {
        message += &format!("\n  prepared are: {}", known.join(", "));
    }
    if closest.is_none() && name.starts_with(|c: char| c.is_ascii_digit()) {
        message += &format!("\n  to prepare a Debian kernel: klp-extract prepare debian {name}");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(folder: &Path) -> Descriptor {
        Descriptor {
            schema: SCHEMA,
            name: "test".into(),
            release: "6.1.0".into(),
            version: None,
            compiler: None,
            source: "/s".into(),
            build: folder.join("build"),
            image: None,
            symvers: None,
            modules: None,
            kallsyms: Some(folder.join("kallsyms")),
            shared_sources: None,
            commands: folder.join("commands.json"),
            origin: Origin::Local,
        }
    }

    #[test]
    fn a_descriptor_may_be_moved_with_its_folder() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        descriptor(one.path()).write(one.path()).unwrap();
        std::fs::rename(one.path().join(DESCRIPTOR), two.path().join(DESCRIPTOR)).unwrap();
        assert_eq!(Descriptor::read(&two.path().join(DESCRIPTOR)).unwrap(), descriptor(two.path()));
    }

    #[test]
    fn another_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DESCRIPTOR), r#"{"schema": 7, "other": 1}"#).unwrap();
        let error = Descriptor::read(&folder.path().join(DESCRIPTOR)).unwrap_err().to_string();
        assert!(error.contains("schema is 7"), "{error}");
    }

    #[test]
    fn opens_by_path_and_reads_symbols_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("build")).unwrap();
        std::fs::write(path.join("build/.config"), config::tests::SUPPORTED).unwrap();
        let symbol = |name: &str, address| Symbol { name: name.into(), address, kind: 't', section: 0 };
        let symbols = [
            symbol("b", 0xffff_ffff_8100_0000),
            symbol("a", 0xffff_ffff_8100_0010),
            symbol("b", 0xffff_ffff_8100_0020),
        ];
        std::fs::write(path.join("kallsyms"), kallsyms_text(&symbols)).unwrap();
        descriptor(path).write(path).unwrap();
        let kernel = Kernel::open(path.to_str().unwrap()).unwrap();
        assert_eq!(kernel.symbols("vmlinux").unwrap().all(), symbols);
        assert_eq!(kernel.config("LIVEPATCH"), Some("y"));
        assert_eq!(kernel.hashes().unwrap().len(), 1);
        assert!(kernel.symbols("kvm").unwrap_err().to_string().contains("without its modules"));
        assert!(kernel.exports().unwrap_err().to_string().contains("Module.symvers"));
    }

    #[test]
    fn symbols_of_any_name_come_back() {
        let symbol = |name: &str| Symbol { name: name.into(), address: 3, kind: 't', section: 0 };
        for names in [["a", "b"], ["a b", "_R"], ["a\t\r", "\r"]] {
            let symbols = names.map(symbol).to_vec();
            assert_eq!(parse_kallsyms(&kallsyms_text(&symbols)), Some(symbols));
        }
    }

    #[test]
    fn unknown_names_get_suggestions() {
        let known = ["6.1.0-47-cloud-amd64".to_string(), "mine".into()];
        let message = unknown("6.1.0-47-cloud", &known);
        assert!(message.contains("did you mean `6.1.0-47-cloud-amd64`?") && message.contains("mine"), "{message}");
        assert!(unknown("x", &[]).contains("none is prepared"));
        assert!(folder_of("../x").is_err() && folder_of("").is_err());
    }
}
