//! The documentation and the set-up scripts agree with the program.

use std::collections::BTreeSet;
use std::path::Path;

use klp_extract::finding::{self, REGISTRY, examples};
use klp_extract::prepare;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// docs/refusals.md, made of the registry.
fn refusals() -> String {
    let mut text = String::from(
        "# Findings\n\n\
         `klp-extract explain ID` prints what this page says of one. What the tool can say, in the order of the registry in `src/finding.rs`. This page is generated:\n\
         `UPDATE_DOCS=1 cargo test --test docs`.\n\n\
         With a finding that *refuses*, nothing is written and the exit status is 2. One *to judge* leaves the decision to a person:\n\
         the module is written, and the exit status is 1. Warnings and notes change neither. `--allow ID=REASON` records that a person\n\
         has judged a finding: those to judge, and refusals that can be allowed.\n\n\
         | id | weight | what it means, what to do |\n|---|---|---|\n",
    );
    for known in REGISTRY {
        let weight = finding::weight(*known);
        let cell = |text: &str| text.replace('|', "\\|");
        let (means, example) = (cell(known.0.explanation), cell(examples::of(*known).unwrap_or_default()));
        text.push_str(&format!("| `{}` | {weight} | {means}<br>*Example:* {example} |\n", known.0.id));
    }
    text
}

#[test]
fn refusals_are_documented() {
    let path = root().join("docs/refusals.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, refusals()).unwrap();
    }
    assert!(read("docs/refusals.md") == refusals(), "docs/refusals.md is old: UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn finding_ids_are_unique_and_kebab_case() {
    let ids: BTreeSet<&str> = REGISTRY.iter().map(|known| known.0.id).collect();
    assert_eq!(ids.len(), REGISTRY.len());
    assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')), "{ids:?}");
}

/// `make setup` installs what `doctor` asks for, and what it installs beyond that is said to be for something else.
#[test]
fn setup_installs_what_doctor_asks_for() {
    let asked: BTreeSet<&str> = prepare::doctor().iter().map(|row| row.package).filter(|p| !p.is_empty()).collect();
    let list = read("scripts/packages.txt");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut listed = BTreeSet::new();
    for line in lines {
        let (packages, note) = line.split_once('#').unwrap_or((line, ""));
        let first = packages.split('|').next().unwrap().trim();
        assert!(asked.contains(first) || note.contains("only"), "{first}: doctor doesn't ask for it");
        listed.insert(first.to_string());
    }
    for package in asked {
        assert!(listed.contains(package), "{package} is asked for by doctor and not in scripts/packages.txt");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = vec!["README.md".to_string()];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        pages.push(format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    assert!(pages.len() >= 6);
    for page in pages {
        let folder = root().join(&page);
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let there = link.starts_with("http") || folder.parent().unwrap().join(link).exists();
            assert!(there, "{page}: {link} isn't there");
        }
    }
}

/// House rule: files that a person reads in one sitting.
#[test]
fn sources_are_short() {
    for folder in ["src", "tests"] {
        for entry in walkdir::WalkDir::new(root().join(folder)).into_iter().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "rs") {
                let lines = std::fs::read_to_string(entry.path()).unwrap().lines().count();
                assert!(lines <= 800, "{} has {lines} lines", entry.path().display());
            }
        }
    }
}
