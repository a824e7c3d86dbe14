//! The same stages for one unit of any C program: what a patch changes in it, copied out into a C file that is linked
//! against the running program.
//!
//! A program takes the kernel's place: its symbol table says what can be referred to, and its own headers lie in its tree,
//! so that they are copied from; only the system's are included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::affected::Affected;
use crate::affected::origin::Origin;
use crate::check;
use crate::config::House;
use crate::finding::{Finding, NOTHING_CHANGED, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::linkage::includes::{self, Include};
use crate::linkage::pointers::Access;
use crate::linkage::{External, Resolver, Running};
use crate::object::layout::Layout;
use crate::object::{self, Compiled};
use crate::patch::{FileState, Real};
use crate::render;
use crate::rewrite::{self, Item, Naming, Sources};
use crate::unit::changes::{self, Changes};
use crate::unit::gcc;

use super::closures::{OfHeaders, UnitPlace, closed, copy_findings, roots};
use super::names::PREFIX;
use super::statics;
use super::units::{affected_set, declaration_findings, overlaid};
use super::{Applied, Patched, Texts, UnitPlan, settle};

/// A unit of a program, and where it is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Project<'a> {
    /// The folder that `command.source` is relative to; files outside of it are the system's.
    pub source: &'a Path,
    /// GCC's working directory.
    pub build: &'a Path,
    pub command: &'a CompileCommand,
}

/// Both versions of the unit, compiled.
pub struct Compared {
    applied: Applied,
    pub changes: Changes,
    pub before: Compiled,
    pub after: Compiled,
    texts: Texts,
}

/// The functions to replace, copied out with what they need.
#[derive(Debug)]
pub struct Extraction {
    pub affected: Affected,
    pub naming: Naming,
    pub items: Vec<Item>,
    pub includes: Vec<Include>,
    /// What the text leaves undefined.
    pub externals: Vec<External>,
    /// The C file; the new functions are not static.
    pub text: String,
    pub findings: Vec<Finding>,
}

/// Stages 1, 3 and 4: the unit with its files as they are, and as `files` has them. The objects are left in the folders
/// `before` and `after` of `scratch`.
pub fn compared(project: Project, files: BTreeMap<String, FileState>, scratch: &Path) -> Result<Compared> {
    let Project { source, build, command } = project;
    let patched = Patched { headers: Vec::new(), files: files.keys().cloned().collect(), states: files };
    let applied = overlaid(source, patched, Real::All, scratch)?;
    let old = original(project);
    let new = applied.comparable.command(command, build)?;
    let keep = |command: &CompileCommand, name: &str| -> Result<(PathBuf, Vec<u8>)> {
        let (path, text) = (scratch.join(name), gcc::expanded(command, build)?);
        std::fs::write(&path, &text).map_err(io("write", &path))?;
        Ok((path, text))
    };
    let (before_text, old_text) = keep(&old, "before.i")?;
    let (after_text, _) = keep(&applied.overlay.command(command, build)?, "after.i")?;
    let texts = Texts { before: before_text, after: after_text };
    let changes = changes::compare(&old_text, &gcc::expanded(&new, build)?);
    let compile = |command: &CompileCommand, name: &str| {
        object::compile(command, &build.join(&command.source), build, &scratch.join(name))
    };
    let (before, after) = (compile(&old, "before")?, compile(&new, "after")?);
    Ok(Compared { applied, changes, before, after, texts })
}

/// The command that compiles the unpatched unit, from wherever.
fn original(Project { source, command, .. }: Project) -> CompileCommand {
    CompileCommand { source: source.join(&command.source).to_string_lossy().into_owned(), ..command.clone() }
}

/// Stage 5. Refused as a whole where a finding refuses that `allow` (as in [`super::Options`]) doesn't name, and where
/// there is nothing to replace.
pub fn affected(
    compared: &Compared,
    running: Running,
    allow: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Result<Affected> {
    let Compared { changes, before, after, .. } = compared;
    let layout = Layout::of(&before.facts, running.table);
    let affected = affected_set(changes, (before, after), (running.table, &layout), running.object);
    findings.extend(affected.findings.iter().cloned());
    findings.extend(declaration_findings(changes, &affected, None));
    settle(findings, allow)?;
    if affected.targets.is_empty() {
        return refuse(
            NOTHING_CHANGED,
            "no function of this program differs after the patch: there is nothing to replace",
        );
    }
    Ok(affected)
}

/// Stages 6 to 10. The C file and its object are left in `scratch` as `extract.c` and `extract.o`.
pub fn extracted(
    project: Project,
    compared: Compared,
    affected: Affected,
    running: Running,
    allow: &BTreeMap<String, String>,
    scratch: &Path,
) -> Result<Extraction> {
    let Project { source, build, command } = project;
    let Compared { applied, changes, before, after, texts } = compared;
    let layout = Layout::of(&before.facts, running.table);
    let unit = UnitPlan::new((command.clone(), changes), (before, layout, Origin::OnDemand), &after, affected, texts);
    let mut findings = Vec::new();
    let resolver = Resolver::new(running, &unit.before.facts, &unit.layout);
    let overlay = &applied.overlay;
    let place = UnitPlace { command: overlay.command(command, build)?, build, roots: roots(source, overlay) };
    let naming = Naming {
        prefix: PREFIX.into(),
        targets: unit.affected.targets.iter().map(|target| target.name.clone()).collect(),
        distinct: BTreeMap::new(),
        statics: BTreeMap::new(),
        pointers: BTreeMap::new(),
        switches: false,
        events: BTreeMap::new(),
        builtins: BTreeSet::new(),
        shared: true,
        everywhere: false,
    };
    let (closure, _) = closed(&unit, &resolver, place, &naming, (&BTreeSet::new(), &OfHeaders::default()))?;
    let statics = statics::resolve(&unit, &closure, &resolver, &original(project), build, &scratch.join("statics"))?;
    let naming = Naming { statics: statics.symbols(), ..naming };
    findings.extend(statics.findings.iter().cloned());
    findings.extend(copy_findings(&unit, &closure, &naming));
    settle(&mut findings, allow)?;
    let path = Path::to_path_buf;
    let mut sources = Sources::new(path(overlay.root()), path(source), path(build), applied.files.clone());
    let items = rewrite::items(&closure, &mut sources, &naming, None)?;
    let conditions = items.iter().any(rewrite::Item::has_conditions);
    let includes = includes::system(&closure, conditions);
    let text = render::extract(&render::Unit {
        house: &House::default(),
        module: "",
        source: &command.source,
        items: &items,
        includes: &includes,
        kbuild_modname: None,
        externals: &[],
        naming: &naming,
        closure: &closure,
        access: &Access::default(),
        shadow: false,
        suffix: "",
    })?;
    let file = scratch.join("extract.c");
    std::fs::write(&file, &text).map_err(io("write", &file))?;
    let own = CompileCommand { source: file.to_string_lossy().into_owned(), ..command.clone() };
    let compiled = check::compile(&own, check::DECLARED, build, &scratch.join("extract.o"))?;
    let aliases = closure.aliases();
    let other = |name: &str| resolver.resolve_alias(name, &aliases);
    let externals = compiled.undefined.iter().map(|name| statics.resolve(name, other));
    let externals = externals.collect::<Result<Vec<_>>>()?;
    findings.extend(check::validate(&own, build, &closure, &naming)?.findings);
    settle(&mut findings, allow)?;
    Ok(Extraction { affected: unit.affected, naming, items, includes, externals, text, findings })
}
