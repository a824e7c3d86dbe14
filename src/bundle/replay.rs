//! Does a bundle's run again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::finding::{Result, io};
use crate::kernel::commands::Commands;
use crate::kernel::{options, sha256_of};
use crate::render::output;
use crate::scratch;

use super::{
    Bundle, BundledKernel, CONTENTS, FILE, HERE, MESSAGES, Ran, WORK, folders, kernel_folder, refuse_invalid, run,
    watch, write,
};

/// What became of it.
pub struct Replayed {
    pub bundle: Bundle,
    /// What was written or printed otherwise, in words.
    pub differing: Vec<String>,
    pub messages: String,
    /// How many files the run wrote.
    pub outputs: usize,
}

/// Does the run again, in a folder that goes with it, and keeps what it wrote in `into`.
pub fn replay(folder: &Path, into: Option<&Path>) -> Result<Replayed> {
    let (replayed, outputs) = again(folder, |_, run| run())?;
    if let Some(into) = into {
        output::write(into, &outputs.into_iter().collect::<Vec<_>>())?;
    }
    Ok(replayed)
}

/// As [`replay`]; yields the files of the bundle that were opened, by their paths in the run's folder.
pub(super) fn opened(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    again(folder, |root, run| {
        let (ran, opened) = watch::opened(&[root], run)?;
        let inner = opened.iter().filter_map(|path| path.strip_prefix(root).ok());
        found = inner.map(|path| path.to_string_lossy().into_owned()).collect();
        Ok(ran)
    })?;
    Ok(found)
}

/// What does the run, in the folder that was made for it.
type Watched<'w> = &'w mut (dyn FnMut() -> Result<Ran> + Send);

/// Does the run again as `watched` has it; yields what it wrote too.
fn again(
    folder: &Path,
    mut watched: impl FnMut(&Path, Watched) -> Result<Ran>,
) -> Result<(Replayed, BTreeMap<String, Vec<u8>>)> {
    let file = folder.join(FILE);
    let text = std::fs::read(&file).map_err(io("read", &file))?;
    let bundle = Bundle::parse(&text, &file)?;
    let scratch = scratch::Folder::new()?;
    let root = scratch.path();
    folders(root)?;
    for (path, hash) in &bundle.files {
        let contents = folder.join(CONTENTS).join(hash);
        let bytes = std::fs::read(&contents).map_err(io("read", &contents))?;
        if sha256_of(&bytes) != *hash {
            return refuse_invalid(&file, format!("{} is damaged: its SHA-256 is another", contents.display()));
        }
        write(&root.join(path), &bytes)?;
    }
    for path in &bundle.present {
        write(&root.join(path), &[])?;
    }
    // Last: nothing is written through them.
    for (path, to) in &bundle.links {
        let path = root.join(path);
        let parent = path.parent().unwrap_or(root);
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        std::os::unix::fs::symlink(to, &path).map_err(io("link", &path))?;
    }
    let mut moved = BTreeMap::new();
    for kernel in &bundle.kernels {
        moved.extend(settle(kernel, root, &file)?);
    }
    let known: BTreeSet<String> =
        bundle.files.keys().filter_map(|path| path.strip_prefix(&format!("{WORK}/"))).map(str::to_string).collect();
    let mut once = || run(root, (&bundle.arguments, &bundle.environment), &moved, &known);
    let ran = watched(root, &mut once)?;
    let mut differing = Vec::new();
    if ran.status != bundle.status {
        differing.push(format!("the exit status ({} here, {} there)", ran.status, bundle.status));
    }
    let names: BTreeSet<&String> = ran.outputs.keys().chain(bundle.outputs.keys()).collect();
    let differs =
        |name: &&&String| ran.outputs.get(**name).map(|bytes| sha256_of(bytes)).as_ref() != bundle.outputs.get(**name);
    differing.extend(names.iter().filter(differs).map(|name| name.to_string()));
    let messages = ran.outputs.get(MESSAGES).map(|text| String::from_utf8_lossy(text).into_owned());
    let outputs = ran.outputs.len() - 1;
    Ok((Replayed { bundle, differing, messages: messages.unwrap_or_default(), outputs }, ran.outputs))
}

/// Puts a kernel in its place: its compile commands name this run's folder. They may come from anybody, so they are held to
/// what a build's own are. Yields how messages name its trees.
fn settle(kernel: &BundledKernel, root: &Path, file: &Path) -> Result<BTreeMap<String, String>> {
    let base = kernel_folder(&kernel.descriptor.name);
    let folder = root.join(&base);
    let mut descriptor = kernel.descriptor.clone();
    for path in descriptor.paths() {
        *path = folder.join(&*path);
    }
    let text = std::fs::read_to_string(&descriptor.commands).map_err(io("read", &descriptor.commands))?;
    let mut text = text;
    let mut shown = BTreeMap::new();
    for (old, inner) in kernel.moved.iter().rev() {
        let new = folder.join(inner).display().to_string();
        text = text.replace(old.as_str(), &new);
        shown.insert(new, format!("{HERE}/{base}/{inner}"));
    }
    let commands = Commands::parse(text.as_bytes(), &descriptor.commands, &descriptor.source)?;
    for command in commands.all() {
        if !options::is_compiler(&command.compiler, &[root]) {
            return refuse_invalid(file, format!("{} is no compiler of this machine's", command.compiler));
        }
        if let Err(why) = options::known(command.args) {
            return refuse_invalid(file, format!("the compile command of {}: {why}", command.source));
        }
    }
    write(&descriptor.commands, text.as_bytes())?;
    let made: PathBuf = folder;
    descriptor.write(&made)?;
    Ok(shown)
}
