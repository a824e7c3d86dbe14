//! Livepatches that are loaded already: what a new one must have too, or must leave alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::finding::{
    BASE_EDITED, BASE_INVALID, BASE_TARGET_GONE, DATA_ADDED, DATA_REPLACED, Finding, Result, Severity, TARGET_HELD,
    USAGE, io, refuse,
};
use crate::kernel::sha256_of;
use crate::render::json;

use super::{Options, Plan};

/// A livepatch by what its `livepatch.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Base {
    pub name: String,
    kernel: Identity,
    patches: Vec<Patch>,
    targets: Vec<Target>,
    findings: Vec<Allowed>,
    outputs: BTreeMap<String, String>,
    /// Files of its folder that are not what was written.
    #[serde(default)]
    edited: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Patch {
    name: String,
    text: String,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    name: String,
    object: String,
    sympos: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Allowed {
    id: String,
    allowed: Option<String>,
}

impl Base {
    /// Reads a folder that `create` wrote.
    pub fn read(folder: &Path) -> Result<Base> {
        let path = folder.join(json::FILE);
        let text = std::fs::read(&path).map_err(io("read", &path))?;
        let mut base: Base = serde_json::from_slice(&text).map_err(|error| {
            let message =
                format!("{} can't be built on ({error}); make the livepatch again with this version", path.display());
            Finding::new(BASE_INVALID, message)
        })?;
        let is_edited = |(name, hash): &(&String, &String)| {
            std::fs::read(folder.join(name)).map_or(true, |bytes| sha256_of(&bytes) != **hash)
        };
        base.edited = base.outputs.iter().filter(is_edited).map(|(name, _)| name.clone()).collect();
        Ok(base)
    }
}

impl Options {
    /// With the livepatches that are loaded already. A module that replaces them gets their patches, before its own, and what was
    /// allowed for them.
    pub fn built_on(mut self, folders: &[PathBuf], replace: bool) -> Result<Options> {
        self.replace = replace;
        self.bases = folders.iter().map(|folder| Base::read(folder)).collect::<Result<_>>()?;
        if let Some(same) = self.bases.iter().find(|base| base.name == self.name) {
            return refuse(
                USAGE,
                format!("{} is loaded under this name; give the new one another, with -o FOLDER", same.name),
            );
        }
        if !replace {
            return Ok(self);
        }
        let mut patches: Vec<(String, Vec<u8>)> = Vec::new();
        for base in &self.bases {
            for Patch { name, text, sha256 } in &base.patches {
                if sha256_of(text.as_bytes()) != *sha256 {
                    let message =
                        format!("{}'s patch {name} is not UTF-8, or was edited; give it as a patch", base.name);
                    return refuse(BASE_INVALID, message);
                }
                // A cumulative one has those of older ones already, and their names.
                let known = patches.iter().any(|(_, other)| other == text.as_bytes());
                if !known {
                    let name = if name.contains('/') { name.clone() } else { format!("{}/{name}", base.name) };
                    patches.push((name, text.clone().into_bytes()));
                }
            }
            for Allowed { id, allowed } in &base.findings {
                if let Some(reason) = allowed {
                    let reason = format!("{reason} (from {})", base.name);
                    self.allow.entry(id.clone()).or_insert(reason);
                }
            }
        }
        for (name, bytes) in self.patches {
            if patches.iter().all(|(_, other)| *other != bytes) {
                patches.push((name, bytes));
            }
        }
        self.patches = patches;
        Ok(self)
    }
}

/// What the livepatches that are loaded have to do with the new one's targets.
pub fn findings(options: &Options, plan: &Plan) -> Vec<Finding> {
    let targets: Vec<Target> = plan
        .targets()
        .iter()
        .map(|target| Target { name: target.name.clone(), object: target.object.clone(), sympos: target.sympos })
        .collect();
    let mut findings = Vec::new();
    for base in &options.bases {
        if base.kernel.name != options.kernel {
            let message = format!("{} is for the kernel {}, not {}", base.name, base.kernel.name, options.kernel);
            findings.push(Finding::new(BASE_INVALID, message));
        }
        let names = |targets: Vec<&Target>| {
            targets.iter().map(|target| format!("{} of {}", target.name, target.object)).collect::<Vec<_>>().join(", ")
        };
        let (held, gone): (Vec<&Target>, Vec<&Target>) =
            base.targets.iter().partition(|target| targets.contains(target));
        if !options.replace {
            if !held.is_empty() {
                let message = format!("{} replaces {} too, with another fix; use --replace", base.name, names(held));
                findings.push(Finding::new(TARGET_HELD, message));
            }
            continue;
        }
        if !gone.is_empty() {
            let message = format!("{} replaces {}, which this module does not", base.name, names(gone));
            findings.push(Finding::new(BASE_TARGET_GONE, message));
        }
        if !base.edited.is_empty() {
            let message = format!("{} was edited: {}", base.name, base.edited.join(", "));
            findings.push(Finding::new(BASE_EDITED, message));
        }
    }
    findings
}

/// New data is lost when another livepatch takes the place of the one that has it.
pub fn under_replace(finding: &mut Finding) {
    if finding.id == DATA_ADDED && finding.severity == Severity::Warning {
        finding.id = DATA_REPLACED;
        finding.severity = Severity::Judge;
    }
}
