//! Does a run in a folder of its own and keeps what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::candidates;
use crate::config;
use crate::finding::{BUNDLE_DIFFERS, Finding, Result, io};
use crate::kernel::{Descriptor, Kernel, sha256_of};
use crate::render::output;
use crate::scratch;

use super::arguments;
use super::{
    BUNDLED_COMMANDS, Bundle, BundledKernel, CACHE, CONFIG, CONTENTS, FILE, SCHEMA, STDIN, VARIABLES, WORK, folders,
    kernel_folder, replay, run, watch, write,
};

/// What became of it.
pub struct Recorded {
    pub bundle: Bundle,
    /// What the run printed.
    pub messages: String,
    /// How many files were read, and their size in bytes.
    pub files: usize,
    pub size: u64,
    pub findings: Vec<Finding>,
}

/// Runs the program with a user's arguments, writes the bundle, and does the run again from it.
pub fn record(
    given: &[String],
    stdin: &mut dyn FnMut() -> Result<Vec<u8>>,
    versions: &str,
    folder: &Path,
) -> Result<Recorded> {
    let scratch = scratch::Folder::new()?;
    let root = scratch.path();
    folders(root)?;
    let mut kernels: Vec<Bound> = Vec::new();
    let mut bind = |name: &str| -> Result<String> {
        let bound = Bound::new(Kernel::open(name)?.descriptor);
        let name = bound.descriptor.name.clone();
        kernels.push(bound);
        Ok(name)
    };
    let given_for = arguments::given(given, &mut bind)?;
    let mut reader = Reader::default();
    for kernel in &mut kernels {
        let inner = kernel_folder(&kernel.descriptor.name);
        // Looking for them takes all of the tree.
        let shared: Vec<String> =
            candidates::shared_sources(&Kernel::of(kernel.descriptor.clone())?)?.into_iter().collect();
        let listed = format!("{inner}/{SHARED_SOURCES}");
        reader.add(&listed, shared.join("\n").into_bytes());
        write(&root.join(&listed), &reader.bytes(&listed))?;
        kernel.descriptor.shared_sources = Some(root.join(&listed));
        kernel.descriptor.write(&root.join(&inner))?;
    }
    for (inner, path) in &given_for.inputs {
        let path = std::path::absolute(path).map_err(io("find", path))?;
        let at = root.join(inner);
        let parent = at.parent().unwrap_or(root);
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        if path.is_dir() {
            std::os::unix::fs::symlink(&path, &at).map_err(io("link", &at))?;
            reader.roots.push((path.canonicalize().map_err(io("find", &path))?, inner.clone()));
        } else {
            reader.keep(inner, &path)?;
            write(&at, &reader.bytes(inner))?;
        }
    }
    if given_for.reads_stdin {
        let bytes = stdin()?;
        write(&root.join(STDIN), &bytes)?;
        reader.add(STDIN, bytes);
    }
    let known = configuration(root, &mut reader)?;
    for kernel in &kernels {
        reader.roots.extend(kernel.trees().map(|(path, inner)| (PathBuf::from(path), inner)));
    }
    let environment: BTreeMap<String, String> =
        VARIABLES.iter().filter_map(|name| Some((name.to_string(), std::env::var(name).ok()?))).collect();
    let moved: BTreeMap<String, String> = kernels.iter().flat_map(Bound::shown).collect();
    let roots: Vec<&Path> = reader.roots.iter().map(|(path, _)| path.as_path()).collect();
    let asked = (given_for.arguments.as_slice(), &environment);
    let (ran, opened) = watch::opened(&roots, || run(root, asked, &moved, &known))?;
    for path in &opened {
        reader.opened(path)?;
    }
    let (mut present, mut links) = (BTreeSet::new(), BTreeMap::new());
    for kernel in &kernels {
        kernel.keep(&mut reader, &mut present, &mut links)?;
    }
    present.retain(|path| !reader.files.contains_key(path));
    let outputs = ran.outputs.iter().map(|(name, bytes)| (name.clone(), sha256_of(bytes))).collect();
    let mut bundle = Bundle {
        schema: SCHEMA,
        versions: versions.into(),
        given: given.to_vec(),
        arguments: given_for.arguments,
        environment,
        kernels: kernels.into_iter().map(Bound::bundled).collect(),
        files: reader.files,
        present,
        links,
        status: ran.status,
        outputs,
    };
    // Others may have opened files of the kernel's meanwhile. Nobody else knows the folder of a run from the bundle.
    let all = root.join("all");
    output::write(&all, &contents(&bundle, &reader.contents))?;
    let opened = replay::opened(&all)?;
    let (read, unread) =
        bundle.files.into_iter().partition(|(path, _)| opened.contains(path) || !path.starts_with(CACHE));
    bundle.files = read;
    bundle.present.extend(BTreeMap::into_keys(unread));
    let files = contents(&bundle, &reader.contents);
    let size = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    output::write(folder, &files)?;
    let again = replay::replay(folder, None)?;
    let mut findings = Vec::new();
    if !again.differing.is_empty() {
        let message =
            format!("done again from {}, the run differs in {}", folder.display(), again.differing.join(", "));
        findings.push(Finding::new(BUNDLE_DIFFERS, message));
    }
    let messages = ran.outputs.get(super::MESSAGES).map(|text| String::from_utf8_lossy(text).into_owned());
    let count = bundle.files.len();
    Ok(Recorded { bundle, messages: messages.unwrap_or_default(), files: count, size, findings })
}

/// The files of a bundle's folder.
fn contents(bundle: &Bundle, contents: &BTreeMap<String, Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    let text = serde_json::to_string_pretty(bundle).expect("a bundle has only string keys") + "\n";
    let hashes: BTreeSet<&String> = bundle.files.values().collect();
    let kept = hashes.into_iter().filter_map(|hash| Some((format!("{CONTENTS}/{hash}"), contents.get(hash)?.clone())));
    std::iter::once((FILE.to_string(), text.into_bytes())).chain(kept).collect()
}

/// Copies of the configuration's files, those of `work/` by their names.
fn configuration(root: &Path, reader: &mut Reader) -> Result<BTreeSet<String>> {
    let (project, user) = config::files()?;
    let mut known = BTreeSet::new();
    for (path, inner) in
        project.map(|path| (path, format!("{WORK}/{}", config::FILE))).into_iter().chain(user.map(|path| {
            let inner = format!("{CONFIG}/klp-extract/{}", config::FILE);
            (path, inner)
        }))
    {
        reader.keep(&inner, &path)?;
        write(&root.join(&inner), &reader.bytes(&inner))?;
        known.extend(inner.strip_prefix(&format!("{WORK}/")).map(str::to_string));
    }
    Ok(known)
}

/// What was read, as it is gathered.
#[derive(Default)]
struct Reader {
    /// Folders that are watched, and their paths in the run's folder.
    roots: Vec<(PathBuf, String)>,
    /// Path and SHA-256.
    files: BTreeMap<String, String>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl Reader {
    fn add(&mut self, inner: &str, bytes: Vec<u8>) {
        let hash = sha256_of(&bytes);
        self.files.insert(inner.into(), hash.clone());
        self.contents.insert(hash, bytes);
    }

    fn keep(&mut self, inner: &str, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        self.add(inner, bytes);
        Ok(())
    }

    fn bytes(&self, inner: &str) -> Vec<u8> {
        self.files.get(inner).and_then(|hash| self.contents.get(hash)).cloned().unwrap_or_default()
    }

    /// Keeps a file that was opened below one of the roots.
    fn opened(&mut self, path: &Path) -> Result<()> {
        let inner = self.roots.iter().find_map(|(root, inner)| {
            path.strip_prefix(root).ok().map(|rest| format!("{inner}/{}", rest.to_string_lossy()))
        });
        match inner {
            // Something that another program has removed since is nothing that the run needed.
            Some(inner) if path.is_file() => self.keep(&inner, path),
            _ => Ok(()),
        }
    }
}

/// Where a kernel's folder has that list.
const SHARED_SOURCES: &str = "shared-sources";

/// A kernel, and where the bundle will have it.
struct Bound {
    descriptor: Descriptor,
    /// The outermost folders of its trees.
    folders: Vec<PathBuf>,
}

impl Bound {
    fn new(descriptor: Descriptor) -> Bound {
        let trees = [Some(&descriptor.source), Some(&descriptor.build), descriptor.modules.as_ref()];
        let trees: Vec<&PathBuf> = trees.into_iter().flatten().collect();
        let is_outermost = |path: &&&PathBuf| !trees.iter().any(|other| other != *path && path.starts_with(other));
        let folders: BTreeSet<PathBuf> = trees.iter().filter(is_outermost).map(|path| path.to_path_buf()).collect();
        Bound { folders: folders.into_iter().collect(), descriptor }
    }

    /// Each folder with its path in the run's folder.
    fn trees(&self) -> impl Iterator<Item = (String, String)> {
        let base = kernel_folder(&self.descriptor.name);
        let names = self.folders.iter().enumerate();
        names.map(move |(index, folder)| (folder.to_string_lossy().into_owned(), format!("{base}/tree{index}")))
    }

    /// How messages name the folders, and the kernel's own.
    fn shown(&self) -> impl Iterator<Item = (String, String)> {
        self.trees().map(|(path, inner)| (path, format!("{}/{inner}", super::HERE)))
    }

    /// Where the kernel's folder in a bundle has a file or folder of the descriptor.
    fn inner(&self, path: &Path, name: &str) -> PathBuf {
        let inside = self.folders.iter().enumerate().find_map(|(index, folder)| {
            let rest = path.strip_prefix(folder).ok()?;
            Some(PathBuf::from(format!("tree{index}")).join(rest))
        });
        inside.unwrap_or_else(|| PathBuf::from(name))
    }

    /// Keeps what each run reads of a kernel, and what it only looks for: the names of sources and of modules.
    fn keep(
        &self,
        reader: &mut Reader,
        present: &mut BTreeSet<String>,
        links: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let base = kernel_folder(&self.descriptor.name);
        let optional = [
            (self.descriptor.image.as_ref(), "image"),
            (self.descriptor.symvers.as_ref(), "symvers"),
            (self.descriptor.kallsyms.as_ref(), "kallsyms"),
            (Some(&self.descriptor.commands), BUNDLED_COMMANDS),
        ];
        for (path, name) in optional {
            if let Some(path) = path {
                reader.keep(&format!("{base}/{}", self.inner(path, name).display()), path)?;
            }
        }
        let kernel = Kernel::of(self.descriptor.clone())?;
        let modules = self.descriptor.modules.as_deref();
        for command in kernel.all_commands()? {
            let path = kernel.source().join(&command.source);
            if path.is_file() {
                present.insert(format!("{base}/{}", self.inner(&path, "").display()));
            }
        }
        for (folder, (_, inner)) in self.folders.iter().zip(self.trees()) {
            for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
                let Ok(rest) = entry.path().strip_prefix(folder) else { continue };
                let path = format!("{inner}/{}", rest.to_string_lossy());
                if entry.file_type().is_symlink() {
                    let to = std::fs::read_link(entry.path()).map_err(io("read", entry.path()))?;
                    let to = to.to_string_lossy().into_owned();
                    if super::leads_inside(&path, &to) {
                        links.insert(path, to);
                    }
                } else if entry.file_type().is_file()
                    && modules.is_some_and(|modules| entry.path().starts_with(modules))
                {
                    present.insert(path);
                }
            }
        }
        Ok(())
    }

    fn bundled(self) -> BundledKernel {
        let moved = self.folders.iter().enumerate();
        let moved =
            moved.map(|(index, folder)| (folder.to_string_lossy().into_owned(), format!("tree{index}"))).collect();
        let mut descriptor = self.descriptor.clone();
        let inner = |path: &Path, name: &str| self.inner(path, name);
        descriptor.source = inner(&descriptor.source, "source");
        descriptor.build = inner(&descriptor.build, "build");
        descriptor.commands = inner(&descriptor.commands, BUNDLED_COMMANDS);
        descriptor.modules = descriptor.modules.map(|path| inner(&path, "modules"));
        descriptor.image = descriptor.image.map(|path| inner(&path, "image"));
        descriptor.symvers = descriptor.symvers.map(|path| inner(&path, "symvers"));
        descriptor.kallsyms = descriptor.kallsyms.map(|path| inner(&path, "kallsyms"));
        descriptor.shared_sources = Some(SHARED_SOURCES.into());
        BundledKernel { descriptor, moved }
    }
}
