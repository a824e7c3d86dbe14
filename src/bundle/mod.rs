//! A run as a bug report: what it was asked, what it read and what it wrote, so that another machine can do it again, bit for
//! bit, without the kernel's tree.
//!
//! A bundle is a folder with `bundle.json` ([`Bundle`]) and `files/`, contents by their SHA-256. The run is done in a folder of its
//! own, which is made anew from the bundle: `work/` is its working directory, `inputs/` has the files that the arguments name,
//! `config/` the configuration, `cache/` the kernels.

mod arguments;
mod record;
mod replay;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::finding::{BUNDLE_INVALID, Finding, Result, io, refuse};
use crate::kernel::Descriptor;
use crate::process::Program;
use crate::unit::worker::Parse;

pub use record::{Recorded, record};
pub use replay::{Replayed, replay};

/// The file's name in a bundle, and the folder of contents.
pub const FILE: &str = "bundle.json";
const CONTENTS: &str = "files";

/// A kernel's compile commands.
const BUNDLED_COMMANDS: &str = "commands.json";

const SCHEMA: u32 = 1;

/// The folders of a run.
const WORK: &str = "work";
const INPUTS: &str = "inputs";
const CONFIG: &str = "config";
const CACHE: &str = "cache";
const TEMPORARY: &str = "tmp";

/// Standard input, and what the run printed, as files.
const STDIN: &str = "stdin";
const MESSAGES: &str = "messages";

/// Stands for the run's folder in what was printed.
const HERE: &str = "BUNDLE";

/// Variables of the environment that a run depends on; the others are fixed.
const VARIABLES: &[&str] = &[Parse::VARIABLE];

/// `bundle.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bundle {
    pub schema: u32,
    /// What `klp-extract --version` printed there.
    pub versions: String,
    /// The arguments as the user gave them, for people.
    pub given: Vec<String>,
    /// As they are for the run in its own folder.
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub kernels: Vec<BundledKernel>,
    /// What was read, by its path in the run's folder: the SHA-256.
    pub files: BTreeMap<String, String>,
    /// Files whose being there matters, and not what is in them.
    pub present: BTreeSet<String>,
    /// Symbolic links, and where they lead.
    pub links: BTreeMap<String, String>,
    /// The exit status.
    pub status: i32,
    /// What the run wrote, by its path in `work/`, and `messages`: the SHA-256.
    pub outputs: BTreeMap<String, String>,
}

/// A kernel of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BundledKernel {
    /// Its paths are relative to its folder in the run's cache.
    pub descriptor: Descriptor,
    /// Absolute paths in the compile commands, and what they are in the kernel's folder.
    pub moved: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads and checks the text of a `bundle.json`, which may come from anybody: no path leaves the run's folder, and no
    /// argument names one that does.
    pub fn parse(text: &[u8], file: &Path) -> Result<Bundle> {
        let invalid = |why: String| Finding::new(BUNDLE_INVALID, format!("{}: {why}", file.display()));
        let bundle: Bundle = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        if bundle.schema != SCHEMA {
            return Err(invalid(format!("its schema is {}, this program's is {SCHEMA}", bundle.schema)).into());
        }
        let descriptors = bundle.kernels.iter().flat_map(|kernel| {
            let mut descriptor = kernel.descriptor.clone();
            descriptor.paths().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        });
        let moved = bundle.kernels.iter().flat_map(|kernel| kernel.moved.values().cloned());
        let files = bundle.files.keys().chain(&bundle.present).chain(bundle.links.keys()).chain(bundle.outputs.keys());
        if let Some(path) = files.cloned().chain(descriptors).chain(moved).find(|path| !is_inner(path)) {
            return Err(invalid(format!("{path} leads out of the bundle")).into());
        }
        if let Some((link, to)) = bundle.links.iter().find(|(link, to)| !leads_inside(link, to)) {
            return Err(invalid(format!("the link {link} leads to {to}, out of the bundle")).into());
        }
        if let Some(hash) = bundle.files.values().find(|hash| !is_hash(hash)) {
            return Err(invalid(format!("{hash} is no SHA-256")).into());
        }
        if let Some(name) = bundle.environment.keys().find(|name| !VARIABLES.contains(&name.as_str())) {
            return Err(invalid(format!("it sets {name}")).into());
        }
        if let Some(kernel) = bundle.kernels.iter().find(|kernel| !is_name(&kernel.descriptor.name)) {
            return Err(invalid(format!("{} is no kernel's name", kernel.descriptor.name)).into());
        }
        arguments::check(&bundle.arguments).map_err(invalid)?;
        Ok(bundle)
    }
}

/// A relative path without `..`.
fn is_inner(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Does a link at an inner path lead to an inner path?
fn leads_inside(link: &str, to: &str) -> bool {
    let mut depth = Path::new(link).components().count() as i64 - 1;
    Path::new(to).components().all(|part| {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => depth = -1,
        }
        depth >= 0
    })
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_name(text: &str) -> bool {
    is_inner(text) && !text.contains('/') && !text.starts_with('.')
}

/// What a run wrote and printed.
struct Ran {
    status: i32,
    /// By their paths in `work/`, and [`MESSAGES`].
    outputs: BTreeMap<String, Vec<u8>>,
}

/// Runs the program in a folder that was made for it. `moved` are paths that are others on each machine, and what to call
/// them; `known` are files of `work/` that were there before.
fn run(
    folder: &Path,
    (arguments, environment): (&[String], &BTreeMap<String, String>),
    moved: &BTreeMap<String, String>,
    known: &BTreeSet<String>,
) -> Result<Ran> {
    let program = std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?;
    let mut run = Program::new(&program).args(arguments).folder(&folder.join(WORK));
    for (name, inner) in [("KLP_EXTRACT_CACHE", CACHE), ("XDG_CONFIG_HOME", CONFIG), ("TMPDIR", TEMPORARY)] {
        run = run.env(name, folder.join(inner));
    }
    for name in VARIABLES {
        run = run.env(name, environment.get(*name).map_or("", String::as_str));
    }
    let stdin = folder.join(STDIN);
    if stdin.is_file() {
        run = run.input(std::fs::read(&stdin).map_err(io("read", &stdin))?);
    }
    let output = run.env("NO_COLOR", "1").output()?;
    let messages = [output.stdout, output.stderr].concat();
    let mut messages = String::from_utf8_lossy(&messages).into_owned();
    messages = messages.replace(&format!("{}", folder.display()), HERE);
    for (path, name) in moved.iter().rev() {
        messages = messages.replace(path, name);
    }
    messages = messages.replace(&format!("{}", program.display()), "klp-extract");
    // Named where the program isn't on the user's path.
    messages = without_scratch(&messages.replace(" KLP_EXTRACT=klp-extract", ""));
    let mut outputs = BTreeMap::from([(MESSAGES.to_string(), messages.into_bytes())]);
    let work = folder.join(WORK);
    for entry in walkdir::WalkDir::new(&work).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        let path = entry.path().strip_prefix(&work).unwrap_or(entry.path()).to_string_lossy().into_owned();
        if !known.contains(&path) {
            outputs.insert(path, std::fs::read(entry.path()).map_err(io("read", entry.path()))?);
        }
    }
    Ok(Ran { status: output.status, outputs })
}

/// A scratch folder's name has six random characters.
fn without_scratch(text: &str) -> String {
    let mark = format!("{HERE}/{TEMPORARY}/klp-extract.");
    let mut parts = text.split(&mark);
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        out.push_str(&mark);
        out.push_str(rest);
    }
    out
}

/// Writes a file with its folders.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(io("create", parent))?;
    std::fs::write(path, bytes).map_err(io("write", path))
}

/// Makes the folders that every run has.
fn folders(root: &Path) -> Result<()> {
    for name in [WORK, INPUTS, CONFIG, CACHE, TEMPORARY] {
        let path = root.join(name);
        std::fs::create_dir_all(&path).map_err(io("create", &path))?;
    }
    Ok(())
}

/// Where the run's folder has a kernel.
fn kernel_folder(name: &str) -> String {
    format!("{CACHE}/kernels/{name}")
}

fn refuse_invalid<T>(file: &Path, why: impl std::fmt::Display) -> Result<T> {
    refuse(BUNDLE_INVALID, format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        assert!(leads_inside("a/b/c", "../d"));
        assert!(leads_inside("a/b/c", "./../../d"));
        assert!(!leads_inside("a/b/c", "../../../d"));
        assert!(!leads_inside("a/b", "/etc/passwd"));
        assert!(!leads_inside("a", "x/../../b"));
    }

    #[test]
    fn names_of_scratch_folders_go() {
        assert_eq!(without_scratch("in BUNDLE/tmp/klp-extract.aB3dEf/x.c:3"), "in BUNDLE/tmp/klp-extract./x.c:3");
    }

    #[test]
    fn what_leads_outside_is_refused() {
        let good = Bundle {
            schema: SCHEMA,
            versions: String::new(),
            given: Vec::new(),
            arguments: ["create", "../inputs/0/x.patch", "-k", "k", "-o", "x"].map(String::from).into(),
            environment: BTreeMap::new(),
            kernels: Vec::new(),
            files: BTreeMap::from([("inputs/0/x.patch".into(), "0".repeat(64))]),
            present: BTreeSet::new(),
            links: BTreeMap::new(),
            status: 0,
            outputs: BTreeMap::new(),
        };
        let parse = |bundle: &Bundle| Bundle::parse(&serde_json::to_vec(bundle).unwrap(), Path::new("b"));
        assert!(parse(&good).is_ok());
        let mut bad: Vec<Bundle> = Vec::new();
        let file = |path: &str| BTreeMap::from([(path.to_string(), "0".repeat(64))]);
        bad.extend(["/etc/x", "../x", "a/../../x", ""].map(|path| Bundle { files: file(path), ..good.clone() }));
        bad.push(Bundle { present: BTreeSet::from(["../x".into()]), ..good.clone() });
        bad.push(Bundle { links: BTreeMap::from([("a/x".into(), "../../b".into())]), ..good.clone() });
        bad.push(Bundle { files: BTreeMap::from([("x".into(), "../../etc/passwd".into())]), ..good.clone() });
        bad.push(Bundle { environment: BTreeMap::from([("LD_PRELOAD".into(), "x.so".into())]), ..good.clone() });
        for arguments in [
            &["link", "x.ko"][..],
            &["create", "/etc/passwd", "-k", "k"],
            &["create", "../x.patch", "-k", "k"],
            &["create", "../inputs/../../x.patch", "-k", "k"],
            &["create", "../inputs/0/x.patch", "-k", "k", "-o", "../x"],
            &["create", "../inputs/0/x.patch", "-k", "k", "-o/x"],
            &["create", "../inputs/0/x.patch", "-k", "k", "--output=/x"],
            &["create", "../inputs/0/x.patch", "-k", "../k"],
        ] {
            bad.push(Bundle { arguments: arguments.iter().map(|word| word.to_string()).collect(), ..good.clone() });
        }
        for bundle in bad {
            assert!(parse(&bundle).is_err(), "{bundle:?}");
        }
    }
}
