//! What the program is linked with: from the registry only, under licences that are known, each crate once.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences whose terms the whole program can be given under (GPL-2.0-only), by their SPDX identifiers.
const LICENCES: &[&str] =
    &["MIT", "Zlib", "0BSD", "ISC", "BSD-3-Clause", "Unlicense", "Unicode-3.0", "GPL-2.0-only", "LGPL-2.1-or-later"];

/// Crates that are under Apache-2.0 alone, which the FSF holds to be incompatible with version 2 of the GPL. They are here
/// so that no further one comes without being seen.
const APACHE_ONLY: &[&str] = &["clang-sys", "dagre", "similar"];

/// Crates of which two versions are needed, by whom.
const TWICE: &[(&str, &str)] = &[("foldhash", "hashbrown 0.15"), ("hashbrown", "petgraph 0.8")];

fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform"];
    let mut command = Command::new(cargo);
    let output =
        command.args(arguments).args(["x86_64-unknown-linux-gnu", "--manifest-path", manifest]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    value["packages"].as_array().unwrap().clone()
}

/// May it be used under one of the known licences? `A OR B`, `A AND B`, with parentheses around one of the two.
fn is_free(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn licences_sources_and_versions_are_known() {
    let packages = packages();
    assert!(packages.len() > 50);
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        versions.entry(name).or_default().insert(package["version"].as_str().unwrap());
        let licence = package["license"].as_str().unwrap_or("none");
        let known = is_free(licence) || licence == "Apache-2.0" && APACHE_ONLY.contains(&name);
        assert!(known, "{name} is under {licence}");
        let source = package["source"].as_str();
        let registry = source.is_some_and(|source| source == "registry+https://github.com/rust-lang/crates.io-index");
        assert!(registry || source.is_none() && name == env!("CARGO_PKG_NAME"), "{name} is from {source:?}");
    }
    let twice: BTreeSet<&str> = versions.iter().filter(|(_, all)| all.len() > 1).map(|(name, _)| *name).collect();
    assert_eq!(twice, TWICE.iter().map(|(name, _)| *name).collect(), "crates in several versions: {versions:?}");
}

#[test]
fn expressions_are_read() {
    assert!(is_free("MIT OR Apache-2.0") && is_free("Unlicense/MIT") && is_free("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_free("Apache-2.0") && !is_free("MIT AND GPL-3.0-only") && !is_free("none"));
}
