//! A module's folder, as `create` writes it and as people leave it: what they may edit, the pristine text of that beside it,
//! and what the module was made from.
//!
//! `.pristine/` holds each file that people may edit as it was written, and the patches. `livepatch.json` has their
//! SHA-256 and the options, so that the module can be made again from the folder and a prepared kernel alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::House;
use crate::finding::{Finding, PRISTINE_INVALID, Result, USAGE, io, refuse};
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
        let text = std::fs::read(&file).map_err(io("read", &file))?;
        let record = Record::parse(&text, &file)?;
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
            let bytes = kept(&format!("{PRISTINE}/{name}"), Some(hash))?;
            pristine.insert(name.clone(), String::from_utf8_lossy(&bytes).into_owned());
        }
        let mut patches = Vec::new();
        for (index, name) in record.request.patches.iter().enumerate() {
            let file = patch_path(index, name);
            // Of two patches of one name, the record has the last one's.
            let again = record.request.patches[index + 1..].contains(name);
            let bytes = match again {
                true => std::fs::read(path.join(&file)).map_err(io("read", &path.join(&file)))?,
                false => kept(&file, record.inputs.get(&format!("patch {name}")))?,
            };
            patches.push((name.clone(), bytes));
        }
        let edited = edited(path, &pristine)?;
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

/// What is there of the files that were written, and of sources that were added.
fn edited(path: &Path, pristine: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut names: BTreeSet<String> = pristine.keys().cloned().collect();
    for entry in std::fs::read_dir(path).map_err(io("read", path))? {
        let name = entry.map_err(io("read", path))?.file_name().to_string_lossy().into_owned();
        // Kbuild's own are NAME.mod.c.
        let is_source = [".c", ".h", ".S"].iter().any(|suffix| name.ends_with(suffix)) && !name.ends_with(".mod.c");
        names.extend(is_source.then_some(name));
    }
    let mut found = BTreeMap::new();
    for name in names {
        let file = path.join(&name);
        if file.is_file() {
            let bytes = std::fs::read(&file).map_err(io("read", &file))?;
            found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(found)
}
