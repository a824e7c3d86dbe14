//! A module's folder as it was written: its `livepatch.json`, and the C beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::finding::{Result, USAGE, io, refuse};
use crate::folder::{self, is_edited, is_plain};
use crate::kernel::sha256_of;
use crate::unit::lex;

use super::json;

/// What is read of the file; `docs/livepatch-json.md` says what the fields mean.
#[derive(Debug, Deserialize)]
pub struct Module {
    #[serde(skip)]
    pub folder: PathBuf,
    schema: u32,
    pub name: String,
    pub kernel: Kernel,
    pub patched: Vec<String>,
    pub affected: Vec<Affected>,
    pub targets: Vec<Target>,
    pub externals: Vec<External>,
    pub copied: Vec<Copied>,
    pub includes: Vec<Include>,
    pub findings: Vec<Remark>,
    pub outputs: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub struct Kernel {
    pub name: String,
    pub release: String,
    pub version: String,
}

#[derive(Debug, Deserialize)]
pub struct Affected {
    pub name: String,
    pub chain: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub object: String,
    pub sympos: u32,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
pub struct External {
    pub name: String,
    pub object: String,
    pub symbol: String,
    pub sympos: u32,
    pub how: String,
    pub path: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Copied {
    pub name: String,
    pub kind: String,
    pub file: String,
    pub line: u32,
    pub reason: String,
    pub path: Vec<String>,
    pub edits: Vec<String>,
    pub output: String,
    pub lines: Option<[usize; 2]>,
}

#[derive(Debug, Deserialize)]
pub struct Include {
    pub name: String,
    pub reason: String,
}

#[derive(Debug, Deserialize)]
pub struct Remark {
    pub id: String,
    pub severity: String,
    pub message: String,
    pub file: Option<String>,
    pub line: Option<u32>,
}

impl Module {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// `io`; `usage` for a folder that `create` of this version didn't write.
    pub fn read(folder: &Path) -> Result<Module> {
        let path = folder.join(json::FILE);
        Module::parse(&std::fs::read(&path).map_err(io("read", &path))?, folder)
    }

    /// Reads the text of the `livepatch.json` in a folder.
    pub fn parse(text: &[u8], folder: &Path) -> Result<Module> {
        let path = folder.join(json::FILE);
        match serde_json::from_slice::<Module>(text) {
            Ok(module) if module.schema == json::SCHEMA => Ok(Module { folder: folder.to_path_buf(), ..module }),
            Ok(module) => refuse(USAGE, other_schema(&path, module.schema)),
            Err(error) => match serde_json::from_slice::<serde_json::Value>(text)
                .ok()
                .and_then(|v| v["schema"].as_u64())
            {
                Some(schema) if schema != u64::from(json::SCHEMA) => refuse(USAGE, other_schema(&path, schema as u32)),
                _ => refuse(USAGE, format!("{} is not a livepatch.json of this program: {error}", path.display())),
            },
        }
    }

    /// The files that people may edit, and what they have added, by name.
    pub fn texts(&self) -> Result<BTreeMap<String, String>> {
        let written = self.outputs.keys().filter(|name| is_edited(name) && is_plain(name)).cloned();
        folder::edited(&self.folder, written.collect())
    }

    /// Is the file no longer what was written?
    pub fn is_edited(&self, name: &str, text: &str) -> bool {
        self.outputs.get(name).is_none_or(|hash| *hash != sha256_of(text.as_bytes()))
    }
}

fn other_schema(path: &Path, schema: u32) -> String {
    format!(
        "{} has schema {schema}, this program writes and reads {}; create the module anew",
        path.display(),
        json::SCHEMA
    )
}

/// The tokens of C text: without comments, white space and line splices.
pub fn tokens(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return found;
        }
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let end = lex::token(bytes, at).0.clamp(at + 1, bytes.len());
        found.push(text.get(at..end).unwrap_or_default());
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_lines_are_no_tokens() {
        assert_eq!(tokens("int a; /* x */\n\n// y\nf(\"/*\")"), tokens("int a;f(\"/*\")"));
        assert_ne!(tokens("a b"), tokens("ab"));
    }
}
