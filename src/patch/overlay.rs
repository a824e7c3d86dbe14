//! The overlay: a scratch tree in which the patched files are real and everything else is a symbolic link into the kernel
//! source, so that the compiler sees a patched kernel and **the kernel's own tree is never written to**.
//!
//! GCC takes a quote include relative to the folder of the including file *as it was named*, so `overlay/net/x.c` finds
//! `overlay/net/p.h` even where x.c is a link. But `..` behind a linked folder is resolved by the system and leads into the
//! original tree. Hence the folders that are real, see [`Real`].
//!
//! Every real folder `D` holds one link [`BACK`] to `source/D`, and its other links are `BACK/name`: such targets fit into
//! the inode, where ext4 would spend a block on each absolute one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, PATCH_INVALID, Result, USAGE, io};
use crate::kernel::command::CompileCommand;

/// A file after the patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileState {
    Content(Vec<u8>),
    Deleted,
}

/// Which folders of the overlay are real, besides those that lead to a patched file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Real {
    /// None. Enough for `.c` files: a header reached through a linked folder is the same as in the tree.
    Chain,
    /// Those that a file includes with `..` from, so that `../x.h` reaches the patched header from everywhere. Relative to
    /// the source.
    Folders(BTreeSet<PathBuf>),
    /// All.
    All,
}

/// Name of the link in every real folder that leads to the same folder of the source.
const BACK: &str = ".klp-source";

/// A laid-out overlay. The folder is the caller's to remove.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// As the caller named it, absolute.
    source: PathBuf,
    root: PathBuf,
    form: Real,
    /// Folders that are real, relative, `""` for the root.
    real: BTreeSet<PathBuf>,
    files: BTreeSet<String>,
}

impl Overlay {
    /// Lays out the overlay of `source` at `root`, which must not exist or be empty.
    ///
    /// # Errors
    ///
    /// `io`; `patch-invalid` for a name that leads out of the tree; `usage` for a root that is in use or in the tree.
    pub fn new(source: &Path, root: &Path, files: &BTreeMap<String, FileState>, form: &Real) -> Result<Overlay> {
        let source = std::path::absolute(source).map_err(io("find", source))?;
        let root = std::path::absolute(root).map_err(io("find", root))?;
        std::fs::create_dir_all(&root).map_err(io("create", &root))?;
        let (real_source, real_root) = (canonical(&source)?, canonical(&root)?);
        let used = std::fs::read_dir(&root).map_err(io("read", &root))?.next().is_some();
        if used || real_root.starts_with(&real_source) || real_source.starts_with(&real_root) {
            let message =
                format!("{} can't hold an overlay: it is not empty, or part of the kernel tree", root.display());
            return Err(Finding::new(USAGE, message).into());
        }
        let mut overlay =
            Overlay { source, root, form: form.clone(), real: BTreeSet::new(), files: files.keys().cloned().collect() };
        for path in files.keys() {
            if let Err(why) = super::parse::check_name(path) {
                return Err(
                    Finding::new(PATCH_INVALID, format!("`{path}` can't be a file of the kernel: {why}")).into()
                );
            }
            overlay.real.extend(Path::new(path).ancestors().skip(1).map(Path::to_path_buf));
        }
        if let Real::Folders(folders) = form {
            overlay.real.extend(folders.iter().flat_map(|folder| folder.ancestors()).map(Path::to_path_buf));
        }
        overlay.real.insert(PathBuf::new());
        overlay.fill(Path::new(""))?;
        for (path, state) in files {
            let FileState::Content(bytes) = state else { continue };
            let target = overlay.root.join(path);
            let folder = target.parent().unwrap_or(&overlay.root);
            // New folders of new files; those of the source are made by `fill`.
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
            std::fs::write(&target, bytes).map_err(io("write", &target))?;
        }
        Ok(overlay)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the entries of one real folder, which exists.
    fn fill(&mut self, folder: &Path) -> Result<()> {
        let (from, to) = (self.source.join(folder), self.root.join(folder));
        let entries = match std::fs::read_dir(&from) {
            Ok(entries) => entries,
            // The folder of a new file.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io("read", &from)(e)),
        };
        link(&from, &to.join(BACK))?;
        let mut below = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io("read", &from))?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let is_folder = entry.file_type().map_err(io("read", &from))?.is_dir();
            if is_folder && self.is_real(&path) {
                below.push(path);
            } else if is_folder || !path.to_str().is_some_and(|p| self.files.contains(p)) {
                link(&Path::new(BACK).join(&name), &to.join(&name))?;
            }
        }
        for path in below {
            let target = self.root.join(&path);
            std::fs::create_dir(&target).map_err(io("create", &target))?;
            self.fill(&path)?;
            self.real.insert(path);
        }
        Ok(())
    }

    fn is_real(&self, path: &Path) -> bool {
        self.form == Real::All || self.real.contains(path)
    }

    /// The command that compiles the same TU from the overlay; run it in `build`, as the original.
    ///
    /// The source becomes an absolute path in the overlay (unless it is generated), and so does every include folder and
    /// `-include` that points into the kernel source. `__FILE__` stays what it was.
    ///
    /// # Errors
    ///
    /// `usage` where the overlay's form can't show this TU the patch: it lies in a linked folder, and would silently be
    /// compiled without the patch if it includes a patched file by `../`.
    pub fn command(&self, command: &CompileCommand, build: &Path) -> Result<CompileCommand> {
        let build = std::path::absolute(build).map_err(io("find", build))?;
        let place = Place { overlay: self, real_source: canonical(&self.source)?, in_tree: false, build };
        let place = Place { in_tree: canonical(&place.build)? == place.real_source, ..place };
        let mut changed = command.clone();
        let patched = self.files.contains(&command.source);
        let in_source = patched || self.source.join(&command.source).is_file();
        if in_source {
            let folder = Path::new(&command.source).parent().unwrap_or(Path::new(""));
            if self.form == Real::Chain && !self.files.is_empty() && !self.real.contains(folder) {
                let message = format!(
                    "{} can't be compiled from this overlay: none of the patched files is near it; more of its folders must be real",
                    command.source
                );
                return Err(Finding::new(USAGE, message).into());
            }
            changed.source = self.root.join(&command.source).display().to_string();
        }
        place.rewrite(&mut changed.args);
        if in_source && let Some((folder, _)) = command.source.rsplit_once('/') {
            // The build may name a unit's folder in another way (`arch/x86/kvm/../../../virt/kvm`).
            let before =
                if place.in_tree { format!("{folder}/") } else { format!("{}/{folder}/", self.source.display()) };
            let (was, root) = (mapped(&command.args, &before), format!("{}/{folder}/", self.root.display()));
            if was != mapped(&changed.args, &root) {
                changed.args.push(format!("-fmacro-prefix-map={root}={was}"));
            }
        }
        Ok(changed)
    }
}

/// What decides whether an argument points into the kernel source.
struct Place<'a> {
    overlay: &'a Overlay,
    real_source: PathBuf,
    /// Source and build folder are one.
    in_tree: bool,
    build: PathBuf,
}

/// Options of GCC that name a folder or file for `#include`. All take the value joined or as the next argument.
const INCLUDE_OPTIONS: [&str; 6] = ["-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-I"];

impl Place<'_> {
    fn rewrite(&self, args: &mut Vec<String>) {
        let original = args.clone();
        // What the original command makes of the source folder's name in `__FILE__`. In-tree, sources are named without
        // any prefix; otherwise as the headers are.
        let mut written = (!self.in_tree).then(|| format!("{}/", self.overlay.source.display()));
        let mut folders = Vec::new();
        let mut i = 0;
        while i < args.len() {
            let Some(option) = INCLUDE_OPTIONS.iter().find(|o| args[i].starts_with(**o)) else {
                i += 1;
                continue;
            };
            let separate = args[i].len() == option.len();
            let at = i + usize::from(separate);
            i = at + 1;
            let Some(value) = args.get(at).map(|a| if separate { a.clone() } else { a[option.len()..].to_string() })
            else {
                break;
            };
            let Some(inside) = self.inside(&value) else { continue };
            if !self.in_tree
                && let Some(prefix) = value.strip_suffix(&inside)
            {
                written = Some(prefix.to_string());
            }
            let new = self.overlay.root.join(&inside).display().to_string();
            if !matches!(*option, "-include" | "-imacros") {
                folders.push((value.clone(), inside));
            }
            args[at] = if separate { new } else { format!("{option}{new}") };
        }
        let root = format!("{}/", self.overlay.root.display());
        let base = written.map_or(String::new(), |prefix| mapped(&original, &prefix));
        // The last option that matches wins, so the particular ones come behind the general one.
        args.push(format!("-fmacro-prefix-map={root}={base}"));
        for (value, inside) in folders.into_iter().filter(|(_, inside)| !inside.is_empty()) {
            let was = mapped(&original, &format!("{}/", value.trim_end_matches('/')));
            if was != format!("{base}{inside}/") {
                args.push(format!("-fmacro-prefix-map={root}{inside}/={was}"));
            }
        }
    }

    /// The path relative to the kernel source, as it is written there (`arch/x86/kernel/../include`), if it leads into it.
    fn inside(&self, value: &str) -> Option<String> {
        let path = self.build.join(value);
        let rest = match path.strip_prefix(&self.overlay.source) {
            Ok(rest) if normal(rest).is_some() => rest.to_path_buf(),
            // Another spelling: `../include` of a build folder in the tree, or a tree reached by another name.
            _ => std::fs::canonicalize(&path).ok()?.strip_prefix(&self.real_source).ok()?.to_path_buf(),
        };
        let in_build = !self.in_tree
            && match (normal(&path), normal(&self.build)) {
                (Some(path), Some(build)) => path.starts_with(build),
                _ => false,
            };
        // `./include` is `include`; `..` stays, for `__FILE__`'s sake.
        let rest: PathBuf = rest.components().filter(|c| *c != Component::CurDir).collect();
        if in_build { None } else { rest.to_str().map(str::to_string) }
    }
}

/// The path without `.` and `..`; `None` where `..` leads above its beginning. Lexical.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => drop(out.pop()),
            Component::ParentDir => return None,
            part => out.push(part),
        }
    }
    Some(out)
}

/// What GCC's prefix maps make of a path in `__FILE__`: of those that match, the last one counts (GCC manual, "-fmacro-prefix-map").
fn mapped(args: &[String], path: &str) -> String {
    let maps = args.iter().filter_map(|arg| {
        let map = arg.strip_prefix("-fmacro-prefix-map=").or_else(|| arg.strip_prefix("-ffile-prefix-map="))?;
        map.rsplit_once('=')
    });
    let last = maps.filter_map(|(old, new)| path.strip_prefix(old).map(|rest| format!("{new}{rest}"))).next_back();
    last.unwrap_or_else(|| path.to_string())
}

fn canonical(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(io("find", path))
}

fn link(target: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, at).map_err(io("create the link", at))
}
