//! A module's folder, as `create` writes it and as people leave it: what they may edit, the pristine text of that beside it,
//! and what the module was made from.
//!
//! `.pristine/` holds each file that people may edit as it was written, and the patches. `livepatch.json` has their
//! SHA-256 and the options, so that the module can be made again from the folder and a prepared kernel alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::House;
use crate::finding::{Finding, INCLUDE_OUTSIDE, PRISTINE_INVALID, Result, USAGE, io, refuse};
use crate::kernel::sha256_of;
use crate::linkage::pointers::Symbols;
use crate::pipeline::{Base, Options};
use crate::render::{Scaffold, json};

/// The folder of the pristine text, in the module's.
pub const PRISTINE: &str = ".pristine";

/// What `create` was asked for, beside the patches' contents.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// Names of the patch files, in order.
    pub patches: Vec<String>,
    /// What `-k` was given.
    pub kernel: String,
    pub fuzz: u8,
    pub allow: BTreeMap<String, String>,
    pub max_units: usize,
    pub symbols: Symbols,
    pub reload: bool,
    /// The patches have those of the bases then.
    pub replace: bool,
    pub scaffold: Vec<Scaffold>,
    /// Livepatches that were said to be loaded already.
    pub bases: Vec<Base>,
    /// What the house's configuration and templates said.
    pub house: House,
}

impl Request {
    pub fn of(options: &Options) -> Request {
        Request {
            patches: options.patches.iter().map(|(name, _)| name.clone()).collect(),
            kernel: options.kernel.clone(),
            fuzz: options.fuzz,
            allow: options.allow.clone(),
            max_units: options.max_units,
            symbols: options.symbols,
            reload: options.reload,
            replace: options.replace,
            scaffold: options.scaffold.clone(),
            bases: options.bases.clone(),
            house: options.house.clone(),
        }
    }
}

/// What of `livepatch.json` is read again.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    schema: u32,
    pub tool: String,
    pub name: String,
    pub request: Request,
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
}

/// What to do where the record is no use.
const AGAIN: &str = "; create the module again, and edit that one";

impl Record {
    /// Reads the text of a `livepatch.json`, which `file` names.
    pub fn parse(text: &[u8], file: &Path) -> Result<Record> {
        let record: Record = serde_json::from_slice(text).map_err(|error| {
            let message = format!("{} can't be read ({error}){AGAIN}", file.display());
            Finding::new(PRISTINE_INVALID, message)
        })?;
        if record.schema != json::SCHEMA {
            let message = format!("{} has schema {}, not {}{AGAIN}", file.display(), record.schema, json::SCHEMA);
            return refuse(PRISTINE_INVALID, message);
        }
        if !is_module_name(&record.name) {
            let message = format!("{}: `{}` is no module's name{AGAIN}", file.display(), record.name);
            return refuse(PRISTINE_INVALID, message);
        }
        Ok(record)
    }
}

/// What `livepatch.json` calls the patches among its inputs, in order; names that come again are numbered.
pub fn patch_inputs<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let input = |name| {
        let count = known.entry(name).or_default();
        *count += 1;
        if *count == 1 { format!("patch {name}") } else { format!("patch {name} ({count})") }
    };
    names.map(input).collect()
}

/// Where a patch is kept, by its place in the order.
fn patch_path(index: usize, name: &str) -> String {
    format!("{PRISTINE}/patches/{:04}-{}", index + 1, name.replace('/', "-"))
}

/// Could `create` have written a module of this name? It names files.
fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_of_module_name)
}

/// Characters that Kbuild, C and sysfs take in a module's name (`-` as `_`).
pub fn is_of_module_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// May people edit a file of this name? The others are the program's own account of what it did.
pub fn is_edited(name: &str) -> bool {
    name != json::FILE && !name.ends_with(".html")
}

/// All files of a new folder: those of the module, and the pristine ones.
pub fn contents(files: &[(String, String)], options: &Options) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> =
        files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
    let edited = files.iter().filter(|(name, _)| is_edited(name));
    all.extend(edited.map(|(name, text)| (format!("{PRISTINE}/{name}"), text.clone().into_bytes())));
    let patches = options.patches.iter().enumerate();
    all.extend(patches.map(|(index, (name, bytes))| (patch_path(index, name), bytes.clone())));
    all
}

/// A folder that was read.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub record: Record,
    /// By name: the text as it was written.
    pub pristine: BTreeMap<String, String>,
    /// By name: the text that is there now; also of sources that were added.
    pub edited: BTreeMap<String, String>,
    /// Name and contents, in order.
    pub patches: Vec<(String, Vec<u8>)>,
}

impl Folder {
    /// Reads a folder; refused where it isn't one of `create`, or where the pristine text isn't what was written.
    pub fn read(path: &Path) -> Result<Folder> {
        let file = path.join(json::FILE);
        if !file.is_file() {
            return refuse(
                USAGE,
                format!("{} is no folder that `create` wrote: it has no {}", path.display(), json::FILE),
            );
        }
        let record = Record::parse(&std::fs::read(&file).map_err(io("read", &file))?, &file)?;
        let kept = |name: &str, hash: Option<&String>| {
            let file = path.join(name);
            let bytes = std::fs::read(&file).map_err(io("read", &file));
            match bytes {
                Ok(bytes) if Some(&sha256_of(&bytes)) == hash => Ok(bytes),
                Ok(_) => refuse(PRISTINE_INVALID, format!("{} isn't what `create` wrote{AGAIN}", file.display())),
                Err(_) => refuse(PRISTINE_INVALID, format!("{} is missing{AGAIN}", file.display())),
            }
        };
        let mut pristine = BTreeMap::new();
        for (name, hash) in record.outputs.iter().filter(|(name, _)| is_edited(name) && is_plain(name)) {
            let file = format!("{PRISTINE}/{name}");
            pristine.insert(name.clone(), text(&path.join(&file), kept(&file, Some(hash))?)?);
        }
        let mut patches = Vec::new();
        let names = &record.request.patches;
        for (index, input) in patch_inputs(names.iter().map(String::as_str)).iter().enumerate() {
            let bytes = kept(&patch_path(index, &names[index]), record.inputs.get(input))?;
            patches.push((names[index].clone(), bytes));
        }
        let edited = edited(path, pristine.keys().cloned().collect())?;
        Ok(Folder { path: path.to_path_buf(), record, pristine, edited, patches })
    }

    /// What the module was made from.
    pub fn options(&self) -> Options {
        let request = &self.record.request;
        Options {
            patches: self.patches.clone(),
            kernel: request.kernel.clone(),
            fuzz: request.fuzz,
            ipa_clones: Vec::new(),
            name: self.record.name.clone(),
            allow: request.allow.clone(),
            max_units: request.max_units,
            symbols: request.symbols,
            reload: request.reload,
            replace: request.replace,
            scaffold: request.scaffold.clone(),
            bases: request.bases.clone(),
            house: request.house.clone(),
        }
    }

    /// Did `create` write a file of this name?
    pub fn is_generated(&self, name: &str) -> bool {
        name == json::FILE || self.record.outputs.contains_key(name)
    }

    /// SHA-256 of what a person would sign: the names and hashes of all edited files.
    pub fn fingerprint(&self) -> String {
        let lines = self.edited.iter().map(|(name, text)| format!("{}  {name}\n", sha256_of(text.as_bytes())));
        sha256_of(lines.collect::<String>().as_bytes())
    }
}

/// A name in a file is never followed out of the folder.
pub fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|base| base == name)
}

/// What is there of the files `names` that were written, and of those that were added and are read when the module is built.
pub fn edited(path: &Path, mut names: BTreeSet<String>) -> Result<BTreeMap<String, String>> {
    for entry in std::fs::read_dir(path).map_err(io("read", path))? {
        let name = entry.map_err(io("read", path))?.file_name().to_string_lossy().into_owned();
        names.extend(is_built_from(&name).then_some(name));
    }
    let mut found = BTreeMap::new();
    while let Some(name) = names.pop_first() {
        let file = path.join(&name);
        let Ok(data) = std::fs::metadata(&file) else { continue };
        if data.is_dir() || found.contains_key(&name) {
            continue;
        }
        // Nobody waits for what writes into a pipe.
        if !data.is_file() {
            return refuse(USAGE, format!("{} is no ordinary file; put the text itself there", file.display()));
        }
        let text = text(&file, std::fs::read(&file).map_err(io("read", &file))?)?;
        for include in included(&text) {
            let mut parts = Path::new(include).components();
            let leads_out = parts.any(|part| !matches!(part, Component::Normal(_) | Component::CurDir));
            if !leads_out {
                names.insert(include.to_string());
            } else if file.with_file_name(include).exists() {
                let message =
                    format!("{} includes {include}, which is neither the kernel's nor beside it", file.display());
                return refuse(INCLUDE_OUTSIDE, message);
            }
        }
        found.insert(name, text);
    }
    Ok(found)
}

/// Would make or Kbuild read a file of this name (GNU make manual, 3.2; scripts/Makefile.build)?
fn is_built_from(name: &str) -> bool {
    // Kbuild's own are NAME.mod.c.
    let ends = [".c", ".h", ".S", ".s", ".mk", "_shipped"].iter().any(|end| name.ends_with(end));
    (ends && !name.ends_with(".mod.c")) || ["GNUmakefile", "makefile"].contains(&name)
}

/// Files that a source includes and that may be beside it.
fn included(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.lines().filter_map(|line| line.trim_start().strip_prefix('#'));
    let names = directives.filter_map(|directive| directive.trim_start().strip_prefix("include"));
    names.filter_map(|name| name.trim_start().strip_prefix('"')?.split('"').next())
}

/// The text of a file that people edit.
fn text(file: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).or_else(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(USAGE, format!("{}:{line} is not UTF-8; save the file as UTF-8 text", file.display()))
    })
}
