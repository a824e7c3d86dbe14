//! The arguments that `plan` and `create` share.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::affected::forest;
use crate::finding::{self, Result, Severity, USAGE, io, refuse};
use crate::folder::is_of_module_name;
use crate::linkage::pointers::Symbols;
use crate::pipeline::Options;

/// Longest module name: Kbuild, sysfs and the kernel's MODULE_NAME_LEN (56 with its NUL, include/linux/moduleparam.h).
const NAME_LENGTH: usize = 55;

#[derive(Args)]
// clap makes a group of the struct's name, and so do those that this one is part of.
#[group(skip)]
pub(super) struct Request {
    /// Patch files in order; `-` is standard input
    pub(super) patches: Vec<PathBuf>,
    /// A prepared kernel: its name, or the path of its kernel.json; `create` takes several
    #[arg(short, long, required = true)]
    pub(super) kernel: Vec<String>,
    /// Lines of context that may differ
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) fuzz: u8,
    /// Clone report (-fdump-ipa-clones) of a unit, or a folder of them; held against one made on demand
    #[arg(long, value_name = "PATH")]
    pub(super) ipa_clones: Vec<PathBuf>,
    /// A finding that a person has judged and allows; recorded in the module
    #[arg(long, value_name = "ID=REASON")]
    pub(super) allow: Vec<String>,
    /// Refuse a patch that changes more units (C files) than this
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(super) max_units: usize,
    /// Folder of templates to use instead of the program's own of the same names (see `templates --export`)
    #[arg(long, value_name = "DIR")]
    pub(super) templates: Option<PathBuf>,
}

/// The kernel of a command that takes one.
pub(super) fn only_kernel(request: &Request) -> Result<&str> {
    match request.kernel.as_slice() {
        [kernel] => Ok(kernel),
        _ => refuse(USAGE, "only `create` takes several kernels; give -k once"),
    }
}

/// Names and contents of patch files.
pub(super) fn patches(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut patches = Vec::new();
    for path in paths {
        let bytes = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(io("read", path))?;
            bytes
        } else {
            std::fs::read(path).map_err(io("read", path))?
        };
        let shown = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        patches.push((shown.into_owned(), bytes));
    }
    Ok(patches)
}

/// Reads what a request names, for one of its kernels.
pub(super) fn options(request: &Request, kernel: &str, name: Option<&Path>) -> Result<Options> {
    let patches = patches(&request.patches)?;
    let Some(first) = request.patches.first() else {
        return refuse(USAGE, "no patch given; name one, or `-` for standard input");
    };
    let stem = first.file_stem().map_or("stdin".into(), |stem| stem.to_string_lossy().into_owned());
    let house = super::house::house(request.templates.as_deref())?;
    let default = house.module_name(if stem == "-" { "stdin" } else { &stem });
    let name = name.and_then(Path::file_name).map_or(default, |name| name.to_string_lossy().into_owned());
    let allow = request.allow.iter().map(|pair| allowed(pair)).collect::<Result<_>>()?;
    Ok(Options {
        patches,
        kernel: kernel.to_string(),
        fuzz: request.fuzz,
        ipa_clones: request.ipa_clones.clone(),
        name: module_name(&name),
        allow,
        max_units: request.max_units,
        symbols: Symbols::default(),
        reload: true,
        bases: Vec::new(),
        replace: false,
        scaffold: Vec::new(),
        house,
    })
}

pub(super) fn allowed(pair: &str) -> Result<(String, String)> {
    let (id, reason) = pair.split_once('=').unwrap_or((pair, ""));
    if reason.trim().is_empty() {
        return refuse(USAGE, format!("--allow {pair}: give the reason, as in --allow {id}=\"who judged it and why\""));
    }
    let Some(known) = finding::REGISTRY.iter().find(|known| known.0.id == id) else {
        let near = forest::suggestions(id, finding::REGISTRY.iter().map(|known| known.0.id));
        return refuse(USAGE, format!("--allow {pair}: no finding has the id {id}{near}"));
    };
    if !finding::is_allowable(*known) {
        let why = match known.0.severity {
            Severity::Refuse => "without what it says is missing there is no right module",
            _ => "it stops nothing and needs no exception",
        };
        return refuse(USAGE, format!("--allow {pair}: {id} can't be allowed: {why}"));
    }
    Ok((id.to_string(), reason.to_string()))
}

/// A name that Kbuild, C and sysfs take.
fn module_name(name: &str) -> String {
    let plain = |c: char| if is_of_module_name(c) { c } else { '-' };
    name.chars().map(plain).take(NAME_LENGTH).collect()
}
