//! Stage 2 for a patch: the units of the build that it may change, before any of them is preprocessed.
//!
//! Source files are units themselves. For a header, [`depends`] or [`tree`] lists the units that may include it. That may
//! be too many: what really changes is decided by preprocessed tokens.

pub mod depends;
mod makers;
mod mentions;
mod outside;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cache::{self, Key};
use crate::finding::{FILE_IGNORED, FILE_NOT_BUILT, FILE_NOT_LIVEPATCHABLE, Finding, Result, UNIT_NOT_THERE, io};
use crate::kernel::command::CompileCommand;
use crate::kernel::{Kernel, Origin};
use crate::patch::FileState;

pub use outside::Outside;

use depends::Files;
use tree::Tree;

/// How the units that may include a header were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// By the build's dependency files (`.cmd`), all of them newer than the sources.
    DependencyFiles,
    /// By the text of `#include` lines.
    IncludeLines,
    /// By dependency files where the build has one that is newer than the sources, by `#include` lines elsewhere.
    Mixed,
}

impl Method {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Method::DependencyFiles => "by the build's dependency files",
            Method::IncludeLines => "by #include lines",
            Method::Mixed => "by the build's dependency files, else by #include lines",
        }
    }
}

/// What was looked at because of one patched file that isn't a unit itself. Counts are units (compile commands).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Search {
    pub file: String,
    /// Units of the build.
    pub built: usize,
    pub method: Method,
    /// Those that may include the file.
    pub including: usize,
    /// Of those, the ones whose text can reach what changes; nothing where the text doesn't tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaching: Option<usize>,
    /// Those that were preprocessed: fewer where more differ than are allowed.
    pub preprocessed: usize,
    /// Those whose tokens differ in what their code can reach.
    pub differing: usize,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Search { file, built, including, preprocessed, differing, .. } = self;
        let how = self.method.words();
        write!(f, "{file}: of {built} units, {including} may include it ({how}); ")?;
        if let Some(reaching) = self.reaching {
            write!(f, "by their text, {reaching} can reach what changes; ")?;
        }
        let verb = |count: usize, one: &'static str, more: &'static str| if count == 1 { one } else { more };
        write!(f, "{preprocessed} {} preprocessed, ", verb(*preprocessed, "was", "were"))?;
        write!(f, "{differing} {}", verb(*differing, "differs", "differ"))
    }
}

/// The units that a patch may change.
#[derive(Debug)]
pub struct Candidates {
    pub commands: Vec<CompileCommand>,
    /// Units that may include a patched file and can't reach what changes in it.
    pub left_out: Vec<CompileCommand>,
    /// One a patched file that isn't a unit itself; the last two counts are yet to be filled.
    pub searches: Vec<Search>,
    /// By search: the sources that may include its file.
    including: Vec<BTreeSet<String>>,
    /// The folders out of which an `#include` may lead by `..` to a patched file (see [`crate::patch::Real`]); where a
    /// patched file is included by others.
    pub climbed: Option<BTreeSet<PathBuf>>,
    /// What isn't replaced, and may include a patched file.
    pub outside: Outside,
    pub findings: Vec<Finding>,
}

impl Candidates {
    /// The searches, complete, once it is known which units differ of the first `looked_at`.
    pub fn searched(&self, looked_at: usize, differing: &[&CompileCommand]) -> Vec<Search> {
        let filled = self.searches.iter().zip(&self.including).map(|(search, including)| {
            let count = |commands: &mut dyn Iterator<Item = &CompileCommand>| {
                commands.filter(|command| including.contains(&command.source)).count()
            };
            let preprocessed = count(&mut self.commands.iter().take(looked_at));
            let differing = count(&mut differing.iter().copied());
            Search { preprocessed, differing, ..search.clone() }
        });
        filled.collect()
    }
}

/// Finds the units that a patch may change. `states` are the patched files.
///
/// # Errors
///
/// `file-not-built` where nothing of the build has the patched code.
pub fn find(kernel: &Kernel, states: &BTreeMap<String, FileState>) -> Result<Candidates> {
    let mut candidates = Candidates {
        commands: Vec::new(),
        left_out: Vec::new(),
        searches: Vec::new(),
        including: Vec::new(),
        climbed: None,
        outside: Outside::default(),
        findings: Vec::new(),
    };
    let mut included: Vec<String> = Vec::new();
    let mut units = Vec::new();
    for file in states.keys() {
        let found = if file.ends_with(".c") { kernel.commands_for(file)? } else { Vec::new() };
        // Else a header, or a source that may be included by one that is built.
        if found.is_empty() {
            included.push(file.clone())
        } else {
            units.push(file.clone())
        }
        candidates.commands.extend(found);
    }
    if !units.is_empty() {
        // fs/compat_binfmt_elf.c includes fs/binfmt_elf.c, which is a unit of its own.
        let shared = shared_sources(kernel)?;
        included.extend(units.into_iter().filter(|file| shared.contains(file)));
    }
    if included.is_empty() {
        return Ok(candidates);
    }
    let all = kernel.all_commands()?;
    let tree = Tree::read(kernel.source(), kernel.build(), &all);
    candidates.climbed = Some(tree.climbed(states));
    candidates.outside = Outside::find(&tree, &included);
    let mut includers = Includers::find(kernel, &tree, &all, &included);
    let mut shadowing: BTreeSet<String> = BTreeSet::new();
    for (file, set) in included.iter().zip(&mut includers.sets) {
        if matches!(states[file], FileState::Content(_)) && !kernel.source().join(file).exists() {
            let shadowed = Includers::find(kernel, &tree, &all, &tree.shadowed(file)).sets;
            set.extend(shadowed.iter().flatten().cloned());
            shadowing.extend(shadowed.into_iter().flatten());
        }
    }
    let direct: BTreeSet<String> = candidates.commands.iter().map(|command| command.source.clone()).collect();
    let kept: BTreeSet<&String> = includers.sets.iter().flatten().filter(|source| !direct.contains(*source)).collect();
    let indirect: Vec<&CompileCommand> = all.iter().filter(|command| kept.contains(&command.source)).collect();
    let changes = states.iter().filter(|(file, _)| included.contains(file)).collect();
    let reaching = mentions::reaching(&tree, (kernel.source(), kernel.build()), &indirect, &changes);
    let reaches = |command: &CompileCommand| {
        let known = [&direct, &shadowing].iter().any(|sources| sources.contains(&command.source));
        reaching.as_ref().is_none_or(|reaching| known || reaching.contains(&command.source))
    };
    for (file, including) in included.iter().zip(&includers.sets) {
        let of: Vec<&CompileCommand> = all.iter().filter(|command| including.contains(&command.source)).collect();
        candidates.searches.push(Search {
            file: file.clone(),
            built: all.len(),
            method: includers.method,
            including: of.len(),
            reaching: reaching.as_ref().map(|_| of.iter().filter(|command| reaches(command)).count()),
            preprocessed: 0,
            differing: 0,
        });
        candidates.including.push(including.clone());
    }
    let (found, left_out): (Vec<&CompileCommand>, _) = indirect.into_iter().partition(|command| reaches(command));
    candidates.commands.extend(found.into_iter().cloned());
    candidates.left_out.extend(left_out.into_iter().cloned());
    if candidates.commands.is_empty() && includers.sets.iter().all(BTreeSet::is_empty) {
        let name = &kernel.descriptor.name;
        let file = &included[0];
        if let Some(outside) = candidates.outside.words() {
            let message = format!("{file} can't be livepatched: nothing but {outside} includes it");
            return Err(Finding::new(FILE_NOT_LIVEPATCHABLE, message).at(file.as_str(), None).into());
        }
        let message = format!("{name} does not build {file}, nor anything that includes it: it doesn't have the code");
        return Err(Finding::new(FILE_NOT_BUILT, message).at(file.as_str(), None).into());
    }
    for (file, including) in included.iter().zip(&includers.sets) {
        if let Some(makefile) = builds_by(kernel.source(), file) {
            let message = format!("{file} can't be livepatched: it is a program that builds the kernel ({makefile})");
            return Err(Finding::new(FILE_NOT_LIVEPATCHABLE, message).at(file.as_str(), None).into());
        }
        let is_new = !kernel.source().join(file).exists();
        if including.is_empty() && !is_new && Outside::find(&tree, std::slice::from_ref(file)).words().is_none() {
            let what = if file.ends_with(".c") { "it" } else { "anything that includes it" };
            let message = format!("{file} is ignored: {} does not build {what}", kernel.descriptor.name);
            candidates.findings.push(Finding::new(FILE_IGNORED, message).at(file.as_str(), None));
        }
    }
    if !includers.missing.is_empty() {
        let message = format!(
            "the build generates these sources, which are not there, so that nobody has looked at whether they include a \
             patched file: {}",
            includers.missing.join(", ")
        );
        candidates.findings.push(Finding::new(UNIT_NOT_THERE, message));
    }
    Ok(candidates)
}

/// The makefile that makes a program for the build of a source file (Documentation/kbuild/makefiles.rst, `hostprogs`).
fn builds_by(source: &Path, file: &str) -> Option<String> {
    let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
    let program = name.strip_suffix(".c")?;
    let makefiles = ["Kbuild", "Makefile"].map(|name| format!("{folder}/{name}"));
    makefiles.into_iter().find(|path| {
        let text = std::fs::read_to_string(source.join(path)).unwrap_or_default().replace("\\\n", " ");
        let has = |line: &str, wanted: &str| line.split_whitespace().any(|word| word == wanted);
        let programs = ["hostprogs", "userprogs"];
        text.lines().map(str::trim_start).any(|line| {
            // `relocs-objs := relocs_32.o relocs_64.o`
            let part = line.split_once("-objs").is_some_and(|(whole, _)| {
                let makes = |line: &str| programs.iter().any(|name| line.starts_with(name)) && has(line, whole);
                text.lines().any(|line| makes(line.trim_start()))
            });
            (programs.iter().any(|name| line.starts_with(name)) && has(line, program))
                || (part && has(line, &format!("{program}.o")))
        })
    })
}

/// The sources of units that other files include, too. It takes a look at all files, which is kept where the tree can't
/// change: in a prepared kernel of a distribution.
pub fn shared_sources(kernel: &Kernel) -> Result<BTreeSet<String>> {
    let look = || -> Result<BTreeSet<String>> {
        let all = kernel.all_commands()?;
        Ok(Tree::read(kernel.source(), kernel.build(), &all).shared_sources(&all))
    };
    let listed = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_string).collect();
    if let Some(path) = &kernel.descriptor.shared_sources {
        return std::fs::read(path).map_err(io("read", path)).map(|bytes| listed(&bytes));
    }
    if kernel.descriptor.origin == Origin::Local {
        return look();
    }
    let descriptor = serde_json::to_vec(&kernel.descriptor).unwrap_or_default();
    let key = Key::new("shared-sources").with(&descriptor).with(kernel.source().as_os_str().as_encoded_bytes());
    let made = cache::entry(key, &[SHARED], |folder| {
        let lines: Vec<String> = look()?.into_iter().collect();
        let path = folder.join(SHARED);
        std::fs::write(&path, lines.join("\n")).map_err(io("write", &path))
    })?;
    Ok(made.get(SHARED).map(|bytes| listed(bytes)).unwrap_or_default())
}

/// The file of the cache's entry.
const SHARED: &str = "sources";

/// Who may include the patched files.
struct Includers {
    /// By patched file: sources of units.
    sets: Vec<BTreeSet<String>>,
    method: Method,
    /// Sources that don't exist.
    missing: Vec<String>,
}

impl Includers {
    fn find(kernel: &Kernel, tree: &Tree, all: &[CompileCommand], headers: &[String]) -> Includers {
        let mut reader = depends::Reader::new(kernel.source(), kernel.build());
        // A source that is compiled several times is told by all of its lists.
        let mut depends: BTreeMap<String, Option<Files>> = BTreeMap::new();
        for command in all {
            let files = reader.files(command);
            let known = depends.entry(command.source.clone()).or_insert_with(|| Some(Files::new()));
            match (known.as_mut(), files) {
                (Some(known), Some(files)) => known.extend(files),
                _ => *known = None,
            }
        }
        let units = depends.len();
        let depends: BTreeMap<String, Files> =
            depends.into_iter().filter_map(|(source, files)| Some((source, files?))).collect();
        let method = match depends.len() {
            0 => Method::IncludeLines,
            known if known == units => Method::DependencyFiles,
            _ => Method::Mixed,
        };
        let built: BTreeSet<String> = all.iter().map(|command| command.source.clone()).collect();
        let set = |header: &String| {
            let found = tree.includers(std::slice::from_ref(header));
            let includes = |source: &&String| match depends.get(*source) {
                Some(files) => files.contains(header),
                None => tree.node(source).is_some_and(|node| found[node as usize]),
            };
            built.iter().filter(includes).cloned().collect()
        };
        let sets = headers.iter().map(set).collect();
        let missing = built.iter().filter(|source| tree.node(source).is_none()).cloned().collect();
        Includers { sets, method, missing }
    }
}
