//! Where a unit's clone report comes from, and whether it says what the recompiled unit's report says.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::visit::EdgeRef as _;

use crate::finding::{Finding, REPORT_INVALID, Result, refuse};
use crate::kernel::command::CompileCommand;

use super::clones::CloneReport;
use super::forest::{self, SUFFIX, report_files};

/// The origin of a unit's report. Whatever it is, the recompiled unit's own report was held against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Named by the user.
    Given(PathBuf),
    /// Left in the build folder beside the object file.
    BuildFolder(PathBuf),
    /// Made by recompiling the unit.
    OnDemand,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Given(path) => write!(f, "{}, given; the recompiled unit's says the same", path.display()),
            Origin::BuildFolder(path) => {
                write!(f, "{}, of the build; the recompiled unit's says the same", path.display())
            }
            Origin::OnDemand => write!(f, "made on demand, by recompiling the unit"),
        }
    }
}

/// Trees whose names a report may have before a file's.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    pub source: &'a Path,
    pub build: &'a Path,
}

/// Finds a unit's report: among `given` (files or folders), else in the build folder, if it is newer than the source; else it
/// is the one that `made` by recompiling. One that is found must say what `made` says, or it is `REPORT_INVALID`.
pub fn origin(given: &[PathBuf], command: &CompileCommand, trees: Trees<'_>, made: &CloneReport) -> Result<Origin> {
    let beside = trees.build.join(&command.output);
    let origin = match given_for(given, command)? {
        Some(path) => Origin::Given(path),
        None => match beside.parent().and_then(|folder| built(folder, command, trees)) {
            Some(path) => Origin::BuildFolder(path),
            None => return Ok(Origin::OnDemand),
        },
    };
    if let Origin::Given(path) | Origin::BuildFolder(path) = &origin {
        let (name, text) = forest::text(path)?;
        // GCC writes an empty report where it has nothing to say.
        let is_empty = text.is_empty() && made.graph.node_count() == 0;
        let report = if is_empty { CloneReport::default() } else { CloneReport::parse(&text, &name)? };
        if let Some(difference) = contradiction(&report, made, trees, &command.source) {
            let message = format!(
                "{name} is not the report of {} as this kernel has it: {difference}; it is truncated or of another build. \
                 Remove it or leave it out, and it is made on demand",
                command.source
            );
            return Err(Finding::new(REPORT_INVALID, message).at(command.source.as_str(), None).into());
        }
    }
    Ok(origin)
}

/// `raw.c.`, with which the names of the reports of `net/ipv4/raw.c` begin.
fn start(command: &CompileCommand) -> String {
    let name = Path::new(&command.source).file_name().unwrap_or_default();
    format!("{}.", name.to_string_lossy())
}

fn is_report(path: &Path, start: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(start) && name.ends_with(SUFFIX)
}

fn given_for(given: &[PathBuf], command: &CompileCommand) -> Result<Option<PathBuf>> {
    let start = start(command);
    let folder = Path::new(&command.output).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for path in given {
        let files = report_files(path)?;
        let is_file = files.as_slice() == std::slice::from_ref(path);
        // Units of one name lie in several folders; a single file's own folder may be anything.
        let fits =
            |file: &PathBuf| is_report(file, &start) && (is_file || file.parent().is_some_and(|f| f.ends_with(folder)));
        found.extend(files.into_iter().filter(fits));
    }
    match found.as_slice() {
        [] if given.is_empty() => Ok(None),
        [] => refuse(
            REPORT_INVALID,
            format!("nothing that --ipa-clones names is a report of {} ({start}*{SUFFIX})", command.source),
        ),
        [path] => Ok(Some(path.clone())),
        [one, two, ..] => refuse(
            REPORT_INVALID,
            format!("{} and {} are both reports of {}; name one", one.display(), two.display(), command.source),
        ),
    }
}

/// The newest report beside the object file, if it is newer than the source.
fn built(folder: &Path, command: &CompileCommand, trees: Trees<'_>) -> Option<PathBuf> {
    let start = start(command);
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let source =
        changed(&trees.source.join(&command.source)).or_else(|| changed(&trees.build.join(&command.source)))?;
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let reports = files.filter(|path| is_report(path, &start)).filter_map(|path| Some((changed(&path)?, path)));
    reports.filter(|(time, _)| *time > source).max().map(|(_, path)| path)
}

/// The first thing that two reports of one unit don't agree on. Files are compared without the trees' names.
fn contradiction(given: &CloneReport, made: &CloneReport, trees: Trees<'_>, source: &str) -> Option<String> {
    let (ours, theirs) = (nodes(made, trees, source), nodes(given, trees, source));
    for (key, node) in &ours {
        match theirs.get(key) {
            None => return Some(format!("it lacks {}/{}", key.0, key.1)),
            Some(other)
                if !same_place(&node.file, &other.file) || (node.line, node.column) != (other.line, other.column) =>
            {
                let at = |node: &Placed| format!("{}:{}:{}", node.file, node.line, node.column);
                return Some(format!("it has {}/{} at {}, not at {}", key.0, key.1, at(other), at(node)));
            }
            Some(other) if node.removed != other.removed => {
                return Some(format!("it disagrees on whether {}/{} was removed", key.0, key.1));
            }
            Some(_) => {}
        }
    }
    if let Some(key) = theirs.keys().find(|key| !ours.contains_key(*key)) {
        return Some(format!("it has {}/{}, which this kernel's lacks", key.0, key.1));
    }
    let (ours, theirs) = (edges(made), edges(given));
    let (key, count) = ours.iter().chain(&theirs).find(|(key, _)| ours.get(*key) != theirs.get(*key))?;
    Some(format!("it disagrees on {} becoming part of {} ({}, {count} times in one of them)", key.0, key.2, key.4))
}

struct Placed {
    file: String,
    line: u32,
    column: u32,
    removed: bool,
}

fn nodes(report: &CloneReport, trees: Trees<'_>, source: &str) -> BTreeMap<(String, u32), Placed> {
    // The tree that the report was made in, which may be somebody else's: what comes before the unit's own path.
    let own = report.graph.node_weights().find_map(|node| node.file.strip_suffix(source)).unwrap_or_default();
    let roots = [own.to_string(), trees.source.display().to_string(), trees.build.display().to_string()];
    let placed = report.graph.node_weights().map(|node| {
        let placed =
            Placed { file: plain(&node.file, &roots), line: node.line, column: node.column, removed: node.removed };
        ((node.name.to_string(), node.order), placed)
    });
    placed.collect()
}

fn edges(report: &CloneReport) -> BTreeMap<(String, u32, String, u32, String), u32> {
    let mut edges = BTreeMap::new();
    for edge in report.graph.edge_references() {
        let (from, to) = (&report.graph[edge.source()], &report.graph[edge.target()]);
        let key = (from.name.to_string(), from.order, to.name.to_string(), to.order, edge.weight().to_string());
        *edges.entry(key).or_default() += 1;
    }
    edges
}

fn plain(file: &str, roots: &[String]) -> String {
    let file =
        roots.iter().filter(|root| !root.is_empty()).find_map(|root| file.strip_prefix(root.as_str())).unwrap_or(file);
    let parts = file.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}

/// Equal but for leading folders: the report may be of a build in another place.
fn same_place(one: &str, other: &str) -> bool {
    let (long, short) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = "\
Callgraph clone;help;1;/k/net/a.c;3;12;api;5;/k/net/a.c;9;5;inlining to
Callgraph removal;help;1;/k/net/a.c;3;12
";

    fn command() -> CompileCommand {
        CompileCommand {
            source: "net/a.c".into(),
            output: "net/a.o".into(),
            compiler: "gcc".into(),
            args: Vec::new(),
            object: "vmlinux".into(),
        }
    }

    #[test]
    fn a_report_of_another_place_is_the_same_and_one_of_another_build_is_not() {
        let made = CloneReport::parse(MADE, "made").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (source, build) = (folder.path().join("k"), folder.path().join("b"));
        let trees = Trees { source: &source, build: &build };
        let given = folder.path().join("reports/net");
        fs::create_dir_all(&given).unwrap();
        let path = given.join("a.c.000i.ipa-clones");
        let other = MADE.replace("/k/", "/home/x/linux/");
        let cases = [
            (other.clone(), ""),
            (other.replace(";3;", ";4;"), "help/1 at"),
            (other.replace("inlining to", "isra"), "becoming part of api"),
            (other.lines().next().unwrap().to_string() + "\n", "whether help/1 was removed"),
            (other.replace("help", "held"), "it lacks help/1"),
            (format!("{other}Callgraph removal;more;9;/k/net/a.c;30;1\n"), "it has more/9"),
        ];
        for (text, reason) in cases {
            fs::write(&path, &text).unwrap();
            match origin(&[folder.path().join("reports")], &command(), trees, &made) {
                Ok(origin) => assert_eq!((origin, reason), (Origin::Given(path.clone()), ""), "{text}"),
                Err(error) => assert!(!reason.is_empty() && error.to_string().contains(reason), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn the_build_folder_is_looked_at_and_old_reports_are_not() {
        let made = CloneReport::parse(MADE, "made").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees { source: folder.path(), build: folder.path() };
        fs::create_dir(folder.path().join("net")).unwrap();
        let (source, report) = (folder.path().join("net/a.c"), folder.path().join("net/a.c.000i.ipa-clones"));
        fs::write(&source, "").unwrap();
        assert_eq!(origin(&[], &command(), trees, &made).unwrap(), Origin::OnDemand);
        fs::write(&report, MADE).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&source).unwrap().set_modified(old).unwrap();
        assert_eq!(origin(&[], &command(), trees, &made).unwrap(), Origin::BuildFolder(report.clone()));
        let older = old - std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&report).unwrap().set_modified(older).unwrap();
        assert_eq!(origin(&[], &command(), trees, &made).unwrap(), Origin::OnDemand);
        assert!(origin(&[source], &command(), trees, &made).unwrap_err().to_string().contains("a.c.*"));
    }
}
