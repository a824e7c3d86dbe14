//! Which files may include which: by the text of the `#include` lines alone, so that 4,700 units are looked through in
//! about a second. An over-approximation (where a name's file isn't plain to see, its last parts decide; `#if`s are not
//! run); what really changes is decided by preprocessed tokens.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::kernel::command::CompileCommand;
use crate::patch::FileState;
use crate::unit::place;

/// Folders whose files no unit of this architecture includes.
const LEFT_OUT: &[&str] = &["Documentation", "tools", "samples", "scripts", "rust", "debian", "LICENSES", ".git"];

/// Where `<...>` is looked for before anything else (Makefile and arch/x86/Makefile, LINUXINCLUDE). Generated headers are
/// in the build folder, under these names too.
const PUBLIC: &[&str] = &[
    "arch/x86/include/",
    "arch/x86/include/generated/",
    "include/",
    "arch/x86/include/uapi/",
    "arch/x86/include/generated/uapi/",
    "include/uapi/",
    "include/generated/uapi/",
];

/// Of files that include others, or are included.
const ENDINGS: &[&str] = &[".h", ".inc", ".c", ".S"];

/// Options of GCC that name a folder for `#include`.
const FOLDER_OPTIONS: [&str; 4] = ["-isystem", "-iquote", "-idirafter", "-I"];

/// Index of a file in the tree.
pub type Node = u32;

/// The files of source and build folder that units may be made of, and their `#include`s.
#[derive(Debug)]
pub struct Tree {
    /// Relative to the source or, where they are generated, the build folder; sorted.
    paths: Vec<String>,
    included: Vec<Vec<Node>>,
    /// Of those, the ones that a name between quotes finds from the including file's folder.
    near: Vec<Vec<Node>>,
    climbs: Vec<Climb>,
    /// Files in which macros name what is included.
    computed: Vec<Node>,
    /// The folders that the command lines name for `#include`.
    folders: BTreeSet<String>,
    /// The folders that the command lines lead out of by `..`.
    climbed: BTreeSet<PathBuf>,
}

/// An `#include` with `..` in its name.
#[derive(Debug)]
struct Climb {
    from: Node,
    text: String,
    meant: Vec<Node>,
    /// Is it found from the including file's folder?
    is_near: bool,
}

/// What an `#include` line names, or a macro that may stand in one.
struct Name {
    /// Empty where a macro gives it.
    text: String,
    quoted: bool,
}

impl Tree {
    /// Reads all files. `commands` are those of the units that are built.
    pub fn read(source: &Path, build: &Path, commands: &[CompileCommand]) -> Tree {
        let built: BTreeSet<String> = commands.iter().map(|command| place::normalise(&command.source)).collect();
        let mut files = BTreeMap::new();
        include_lines(source, &built, &mut files);
        if build != source {
            include_lines(build, &built, &mut files);
        }
        let paths: Vec<String> = files.keys().cloned().collect();
        let by_path: BTreeMap<&str, Node> = paths.iter().zip(0..).map(|(path, node)| (path.as_str(), node)).collect();
        let mut by_base: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
        for (path, node) in paths.iter().zip(0..) {
            by_base.entry(base(path)).or_default().push(node);
        }
        let look = Look { paths: &paths, by_path: &by_path, by_base: &by_base };
        let (mut included, mut near) = (Vec::with_capacity(paths.len()), Vec::with_capacity(paths.len()));
        let (mut climbs_found, mut computed) = (Vec::new(), Vec::new());
        for ((path, names), from) in files.iter().zip(0..) {
            let (mut all, mut beside): (BTreeSet<Node>, BTreeSet<Node>) = Default::default();
            for name in names {
                let meant = look.meant(name, path);
                let found = look.near(name, path);
                all.extend(&meant);
                beside.extend(found);
                if name.text.is_empty() {
                    computed.push(from);
                } else if name.text.contains("..") {
                    climbs_found.push(Climb { from, text: name.text.clone(), meant, is_near: found.is_some() });
                }
            }
            included.push(all.into_iter().collect::<Vec<Node>>());
            near.push(beside.into_iter().collect());
        }
        // Headers that every command names (`-include include/linux/kconfig.h`).
        for command in commands {
            let Some(unit) = by_path.get(place::normalise(&command.source).as_str()) else { continue };
            for file in forced(command, source, build) {
                let found = look.meant(&Name { text: file, quoted: false }, &command.source);
                let list = &mut included[*unit as usize];
                let missing: Vec<Node> = found.into_iter().filter(|node| !list.contains(node)).collect();
                list.extend(missing);
            }
        }
        let folders: BTreeSet<String> = commands
            .iter()
            .flat_map(include_folders)
            .map(|folder| inner(&build.join(folder), source, build).into_owned())
            .collect();
        let named = folders.iter().map(String::as_str).chain(commands.iter().map(|command| command.source.as_str()));
        let climbed = named.flat_map(|path| climbs("", path)).collect();
        Tree { paths, included, near, climbs: climbs_found, computed, folders, climbed }
    }

    /// The folders out of which an `#include` may lead by `..` to a patched file, or to one from whose folder quotes lead
    /// to a patched file; relative to the source or build folder.
    pub fn climbed(&self, states: &BTreeMap<String, FileState>) -> BTreeSet<PathBuf> {
        let led = self.leading(&self.near, states.keys());
        let mut climbed = self.climbed.clone();
        for climb in self.climbs.iter().filter(|climb| climb.meant.iter().any(|node| led[*node as usize])) {
            climbed.extend(climbs(folder(&self.paths[climb.from as usize]), &climb.text));
            if !climb.is_near {
                climbed.extend(self.folders.iter().flat_map(|folder| climbs(folder, &climb.text)));
            }
        }
        // Macros that name a header hold paths out of the folder that is written to (TRACE_INCLUDE_PATH,
        // include/trace/define_trace.h), where it isn't a public one.
        let mut led = self.paths.iter().zip(&led).filter(|(_, led)| **led);
        if led.any(|(path, _)| !PUBLIC.iter().any(|folder| path.starts_with(folder))) {
            climbed.extend(self.computed.iter().map(|node| PathBuf::from(folder(&self.paths[*node as usize]))));
        }
        for (path, state) in states {
            if let FileState::Content(new) = state {
                climbed.extend(included(new).iter().flat_map(|name| climbs(folder(path), &name.text)));
            }
        }
        climbed
    }

    /// A file by its path, in whatever way the build spells it (`arch/x86/kvm/../../../virt/kvm/kvm_main.c`).
    pub fn node(&self, path: &str) -> Option<Node> {
        let path = place::normalise(path);
        self.paths.binary_search(&path).ok().map(|index| index as Node)
    }

    pub fn path(&self, node: Node) -> &str {
        &self.paths[node as usize]
    }

    /// Files of the name of one that isn't there yet: an `#include` that means one of them now may mean the new one.
    pub fn shadowed(&self, created: &str) -> Vec<String> {
        let name = Path::new(created).file_name();
        self.paths.iter().filter(|path| *path != created && Path::new(path).file_name() == name).cloned().collect()
    }

    /// Everything that these files may include, themselves included.
    pub fn included_by(&self, files: &[Node]) -> Vec<Node> {
        let found = reached(&self.included, files.iter().copied());
        (0..self.paths.len() as Node).filter(|node| found[*node as usize]).collect()
    }

    /// The sources among these units that other files include too.
    pub fn shared_sources(&self, commands: &[CompileCommand]) -> BTreeSet<String> {
        let included = self
            .included
            .iter()
            .enumerate()
            .flat_map(|(node, included)| included.iter().filter(move |header| **header as usize != node));
        let included: BTreeSet<Node> = included.copied().collect();
        let is_shared = |source: &&String| self.node(source).is_some_and(|node| included.contains(&node));
        commands.iter().map(|command| &command.source).filter(is_shared).cloned().collect()
    }

    /// Everything that may include one of these files, themselves included; by node. A header that isn't there yet is one
    /// that the patch adds: whoever will include it includes a patched file.
    pub fn includers(&self, files: &[String]) -> Vec<bool> {
        self.leading(&self.included, files.iter())
    }

    /// As [`Tree::includers`], of files of the tree.
    pub fn includers_of(&self, files: &BTreeSet<Node>) -> Vec<bool> {
        reached(&self.backwards(&self.included), files.iter().copied())
    }

    /// By node: do these edges lead from it to one of the files?
    fn leading<'a>(&self, edges: &[Vec<Node>], files: impl Iterator<Item = &'a String>) -> Vec<bool> {
        reached(&self.backwards(edges), files.filter_map(|file| self.node(file)))
    }

    fn backwards(&self, edges: &[Vec<Node>]) -> Vec<Vec<Node>> {
        let mut back = vec![Vec::new(); self.paths.len()];
        for (node, next) in edges.iter().enumerate() {
            for other in next {
                back[*other as usize].push(node as Node);
            }
        }
        back
    }
}

fn reached(edges: &[Vec<Node>], from: impl IntoIterator<Item = Node>) -> Vec<bool> {
    let mut found = vec![false; edges.len()];
    let mut queue: Vec<Node> = from.into_iter().collect();
    while let Some(node) = queue.pop() {
        if !std::mem::replace(&mut found[node as usize], true) {
            queue.extend(&edges[node as usize]);
        }
    }
    found
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The files that a command line includes, relative to source or build folder.
fn forced(command: &CompileCommand, source: &Path, build: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut args = command.args.iter();
    while let Some(arg) = args.next() {
        let value = match arg.as_str() {
            "-include" | "-imacros" => args.next().map(String::as_str),
            _ => arg.strip_prefix("-include").or_else(|| arg.strip_prefix("-imacros")),
        };
        let Some(value) = value else { continue };
        found.push(place::normalise(&inner(&build.join(value), source, build)));
    }
    found
}

/// The path relative to source or build folder.
fn inner<'a>(path: &'a Path, source: &Path, build: &Path) -> Cow<'a, str> {
    path.strip_prefix(source).or_else(|_| path.strip_prefix(build)).unwrap_or(path).to_string_lossy()
}

/// The folders that a command line names for `#include`.
fn include_folders(command: &CompileCommand) -> Vec<&str> {
    let mut found = Vec::new();
    let mut args = command.args.iter();
    while let Some(arg) = args.next() {
        let Some(value) = FOLDER_OPTIONS.iter().find_map(|option| arg.strip_prefix(option)) else { continue };
        found.extend(if value.is_empty() { args.next().map(String::as_str) } else { Some(value) });
    }
    found
}

/// The folders that a path below `folder` leads out of by `..`.
fn climbs(folder: &str, path: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split('/').collect();
    let before = |(index, part): (usize, &&str)| {
        let before = place::normalise(&format!("{folder}/{}", parts[..index].join("/")));
        (*part == "..").then(|| PathBuf::from(before.trim_matches('/')))
    };
    parts.iter().enumerate().filter_map(before).collect()
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

struct Look<'a> {
    paths: &'a [String],
    by_path: &'a BTreeMap<&'a str, Node>,
    by_base: &'a BTreeMap<&'a str, Vec<Node>>,
}

impl Look<'_> {
    /// The files that a line in `includer` may mean. Where the file that it names is plain to see, it is that one alone; a
    /// unit's own `-I` folders are not known here, so that otherwise the last parts decide.
    fn meant(&self, name: &Name, includer: &str) -> Vec<Node> {
        if name.text.is_empty() {
            return Vec::new();
        }
        let mut public = PUBLIC.iter().map(|folder| format!("{folder}{}", name.text));
        let found =
            self.near(name, includer).or_else(|| public.find_map(|path| self.by_path.get(path.as_str()).copied()));
        if let Some(node) = found {
            return vec![node];
        }
        let normal = place::normalise(&name.text);
        let last = normal.trim_start_matches("../");
        let ending = format!("/{last}");
        let candidates = self.by_base.get(base(last)).map_or(&[][..], Vec::as_slice);
        let same = |node: &&Node| {
            let path = &self.paths[**node as usize];
            path == last || path.ends_with(&ending)
        };
        candidates.iter().filter(same).copied().collect()
    }

    /// The file beside the includer that a quoted name means.
    fn near(&self, name: &Name, includer: &str) -> Option<Node> {
        let path = place::normalise(&format!("{}/{}", folder(includer), name.text));
        if name.quoted { self.by_path.get(path.trim_start_matches('/')).copied() } else { None }
    }
}

/// By file: the names that it includes.
fn include_lines(folder: &Path, built: &BTreeSet<String>, files: &mut BTreeMap<String, Vec<Name>>) {
    let wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let foreign = entry.depth() == 2
            && entry.path().parent().is_some_and(|parent| parent.ends_with("arch"))
            && name != "x86"
            && entry.file_type().is_dir();
        !(foreign || (entry.depth() == 1 && LEFT_OUT.contains(&&*name)))
    };
    for entry in WalkDir::new(folder).into_iter().filter_entry(wanted).flatten() {
        let Ok(relative) = entry.path().strip_prefix(folder) else { continue };
        let relative = relative.to_string_lossy().into_owned();
        // A source that isn't built by itself may be included by one that is.
        let matters = ENDINGS.iter().any(|ending| relative.ends_with(ending)) || built.contains(&relative);
        if entry.file_type().is_file() && matters && !files.contains_key(&relative) {
            files.insert(relative, std::fs::read(entry.path()).map_or(Vec::new(), |bytes| included(&bytes)));
        }
    }
}

fn included(bytes: &[u8]) -> Vec<Name> {
    bytes.split(|byte| *byte == b'\n').filter_map(named).collect()
}

/// What an `#include` names, or a `#define` that may be meant in one (`#define X <a.h>`, include/linux/genl_magic_func.h).
fn named(line: &[u8]) -> Option<Name> {
    let directive = line.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
    let (is_include, rest) = match (directive.strip_prefix(b"include"), directive.strip_prefix(b"define")) {
        (Some(rest), _) => (true, rest.strip_prefix(b"_next").unwrap_or(rest)),
        (None, Some(rest)) => {
            let rest = rest.trim_ascii_start();
            (false, &rest[rest.iter().position(u8::is_ascii_whitespace)?..])
        }
        (None, None) => return None,
    };
    let rest = rest.trim_ascii_start();
    let close = match rest.first()? {
        b'<' => b'>',
        b'"' => b'"',
        _ if is_include => return Some(Name { text: String::new(), quoted: false }),
        _ => return None,
    };
    let end = rest[1..].iter().position(|byte| *byte == close)?;
    let text = String::from_utf8_lossy(&rest[1..=end]).into_owned();
    (is_include || ENDINGS.iter().any(|ending| text.ends_with(ending)))
        .then_some(Name { text, quoted: rest[0] == b'"' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includers_are_found_through_headers() {
        let tree = tempfile::tempdir().unwrap();
        let files = [
            ("source/include/net/gue.h", ""),
            ("source/include/asm-generic/one.h", ""),
            ("source/include/linux/forced.h", "#include <asm/one.h>\n"),
            ("source/net/a.h", "#include <net/gue.h>\n"),
            ("source/net/a.c", "  # include \"a.h\"\n"),
            ("source/net/b.c", "#include <net/guest.h>\n"),
            ("source/fs/gue.h", ""),
            ("source/fs/e.c", "#include \"gue.h\"\n"),
            ("source/net/sub/c.c", "#include \"../a.h\"\n"),
            ("source/net/sub/d.c", "#include \"../a.h\"\n#include \"../b.c\"\n"),
            ("source/net/e.h", "#define INNER <linux/inner.h>\n#include \"../../lib/e.h\"\n#include INNER\n"),
            ("source/include/linux/inner.h", ""),
            ("source/lib/e.h", "#include \"f.h\"\n"),
            ("source/lib/f.h", ""),
            ("build/arch/x86/include/generated/asm/one.h", "#include <asm-generic/one.h>\n"),
        ];
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (source, build) = (tree.path().join("source"), tree.path().join("build"));
        let command = |source: &str, args: &[&str]| CompileCommand {
            source: source.into(),
            output: source.replace(".c", ".o"),
            compiler: "gcc".into(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            object: "vmlinux".into(),
        };
        let forced = format!("{}/include/linux/forced.h", source.display());
        let commands = [
            command("fs/e.c", &["-include", &forced]),
            command("net/a.c", &[]),
            command("net/b.c", &[]),
            command("net/sub/../sub/c.c", &[]),
        ];
        let tree = Tree::read(&source, &build, &commands);
        let includers = |header: &str| {
            let found = tree.includers(&[header.into()]);
            let of = |command: &&CompileCommand| tree.node(&command.source).is_some_and(|node| found[node as usize]);
            commands.iter().filter(of).map(|command| command.source.as_str()).collect::<Vec<_>>()
        };
        let climbed = |file: &str| {
            let states = BTreeMap::from([(file.to_string(), FileState::Content(Vec::new()))]);
            let found: Vec<String> = tree.climbed(&states).iter().map(|path| path.display().to_string()).collect();
            found.join(" ")
        };
        // The command of a unit names net/sub.
        assert_eq!(climbed("fs/gue.h"), "net net/sub");
        assert_eq!(climbed("lib/f.h"), " net net/sub");
        assert_eq!(climbed("include/net/gue.h"), "net/sub");
        let inner = tree.includers(&["include/linux/inner.h".into()]);
        assert!(tree.node("net/e.h").is_some_and(|node| inner[node as usize]));
        assert_eq!(includers("include/net/gue.h"), ["net/a.c", "net/sub/../sub/c.c"]);
        assert_eq!(includers("include/asm-generic/one.h"), ["fs/e.c"]);
        assert_eq!(tree.shared_sources(&commands), ["net/b.c".to_string()].into());
    }
}
