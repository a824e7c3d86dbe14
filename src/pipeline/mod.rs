//! From a patch to a livepatch module: one line a stage, each computed from the earlier ones and never changed after.

mod access;
pub mod base;
mod closures;
pub mod copy;
pub mod edited;
mod evidence;
pub mod extract;
mod labels;
mod module;
mod names;
mod outside;
mod parts;
mod statics;
mod units;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use base::Base;
pub use names::PREFIX;
pub use units::{PATCHED_TREE, counted, original};

use crate::affected::origin::Origin;
use crate::affected::{Affected, Target};
use crate::candidates::{self, Search};
use crate::closure::Closure;
use crate::config::House;
use crate::finding::{ALLOWED_UNUSED, Error, Finding, NOTHING_CHANGED, Result, Severity, TOO_MANY_UNITS, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::linkage::External;
use crate::linkage::includes::Include;
use crate::linkage::pointers::Symbols;
use crate::object::Compiled;
use crate::object::layout::Layout;
use crate::patch::{FileState, Header, Overlay, Real};
use crate::render::Scaffold;
use crate::rewrite::{Item, Naming};
use crate::unit::changes::Changes;
use crate::unit::worker::Usage;

/// What `plan` and `create` are asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Patch files: name and contents, in order.
    pub patches: Vec<(String, Vec<u8>)>,
    /// A kernel's name or path, as given.
    pub kernel: String,
    /// Lines of context that may differ.
    pub fuzz: u8,
    /// Clone reports given by the user; made on demand otherwise.
    pub ipa_clones: Vec<PathBuf>,
    /// Module name.
    pub name: String,
    /// Finding ids that a person has judged, with the reason.
    pub allow: BTreeMap<String, String>,
    /// More changed units than this are refused.
    pub max_units: usize,
    /// How symbols that aren't exported are reached.
    pub symbols: Symbols,
    /// Livepatches that are loaded already.
    pub bases: Vec<Base>,
    /// Does the module take the place of those? Their patches are among `patches` then.
    pub replace: bool,
    /// What is written for people to fill in.
    pub scaffold: Vec<Scaffold>,
    /// Can patched modules be removed and loaded again under the livepatch?
    pub reload: bool,
    pub house: House,
}

/// Told what is being done, a stage a line.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// A patch, and what it makes of the kernel's files.
pub struct Patched {
    pub headers: Vec<Header>,
    /// Files of kernel code that it changes.
    pub files: Vec<String>,
    /// Those files after the patch.
    pub states: BTreeMap<String, FileState>,
}

/// A patch applied to a kernel.
pub struct Applied {
    pub headers: Vec<Header>,
    /// Files of kernel code that it changes.
    pub files: Vec<String>,
    /// Those files after the patch.
    pub states: BTreeMap<String, FileState>,
    /// The patched tree with line numbers kept, for comparisons.
    pub comparable: Overlay,
    /// The patched tree.
    pub overlay: Overlay,
}

/// One unit that the patch changes, with its affected set.
pub struct UnitPlan {
    /// As the kernel's build compiles it.
    pub command: CompileCommand,
    pub changes: Changes,
    pub before: Compiled,
    /// Where that lies in the running kernel.
    pub layout: Layout,
    /// Names of the data objects that the patched version's object file has.
    pub after_objects: BTreeSet<String>,
    /// And of the functions, aliases too.
    pub after_functions: BTreeSet<String>,
    /// Where its clone report is from.
    pub report: Origin,
    pub affected: Affected,
    pub texts: Texts,
}

impl UnitPlan {
    /// `after` is the patched version, compiled; the others are the fields.
    pub fn new(
        (command, changes): (CompileCommand, Changes),
        (before, layout, report): (Compiled, Layout, Origin),
        after: &Compiled,
        affected: Affected,
        texts: Texts,
    ) -> UnitPlan {
        let functions = after.facts.functions.iter();
        let aliases = functions.clone().flat_map(|function| function.aliases.iter().map(|(name, _)| name));
        UnitPlan {
            command,
            changes,
            before,
            layout,
            after_objects: after.facts.objects.iter().map(|object| object.name.clone()).collect(),
            after_functions: functions.map(|function| &function.name).chain(aliases).cloned().collect(),
            report,
            affected,
            texts,
        }
    }
}

/// A unit as `gcc -E` leaves it, in files of the scratch folder.
#[derive(Debug, Clone)]
pub struct Texts {
    pub before: PathBuf,
    /// Of the patched tree.
    pub after: PathBuf,
}

/// The result of `plan`.
pub struct Plan {
    pub applied: Applied,
    /// By header: the units that were looked at.
    pub searches: Vec<Search>,
    pub units: Vec<UnitPlan>,
    pub findings: Vec<Finding>,
}

impl Plan {
    pub fn targets(&self) -> Vec<&Target> {
        self.units.iter().flat_map(|unit| &unit.affected.targets).collect()
    }
}

/// What of one unit the module has, and what that was chosen by.
pub struct Written {
    pub source: String,
    pub object: String,
    /// Its C file.
    pub output: String,
    /// Compiles that as the build will.
    pub command: CompileCommand,
    /// Where its clone report is from.
    pub report: String,
    pub targets: Vec<Target>,
    pub closure: Closure,
    pub naming: Naming,
    pub items: Vec<Item>,
    pub includes: Vec<Include>,
    pub externals: Vec<External>,
}

/// The module, ready to be written.
pub struct Livepatch {
    pub name: String,
    /// By unit: what its C file is made of.
    pub written: Vec<Written>,
    /// File name and contents; those that people review come first.
    pub files: Vec<(String, String)>,
    pub items: Vec<Item>,
    pub includes: Vec<Include>,
    pub externals: Vec<External>,
    pub findings: Vec<Finding>,
    /// Things compared by translation validation.
    pub compared: usize,
    /// Of each unit's front end.
    pub usage: Vec<(String, Usage)>,
}

/// `plan`: which functions, and why; what refuses is among the findings, so that the rest can be shown with it. `scratch` is
/// the caller's to remove.
pub fn plan(kernel: &Kernel, options: &Options, scratch: &Path, progress: Progress) -> Result<Plan> {
    let mut findings = Vec::new();
    progress("patch: read and apply");
    let patched = units::patched(kernel, options, &mut findings)?;
    progress("kernel: find the units");
    let candidates = candidates::find(kernel, &patched.states)?;
    let real = candidates.climbed.clone().map_or(Real::Chain, Real::Folders);
    let applied = units::overlaid(kernel.source(), patched, real, scratch)?;
    findings.extend(candidates.findings.iter().cloned());
    progress(&format!("unit: compare the tokens of {}", counted(candidates.commands.len(), "unit")));
    let changed = units::changed(kernel, &applied, &candidates, options.max_units, scratch)?;
    let differing: Vec<&CompileCommand> = changed.units.iter().map(|unit| &unit.command).collect();
    let searches = candidates.searched(changed.looked_at, &differing);
    limit(&differing, &searches, options.max_units, changed.looked_at < candidates.commands.len())?;
    findings.extend(outside::findings(kernel, &applied, &candidates.outside, scratch)?);
    progress(&format!("object: compile {} before and after", counted(changed.units.len(), "unit")));
    let units = units::compiled(kernel, options, &applied, changed.units, scratch)?;
    progress("affected: targets");
    findings.extend(units.iter().flat_map(|unit| unit.affected.findings.clone()));
    findings.extend(
        units
            .iter()
            .flat_map(|unit| units::declaration_findings(&unit.changes, &unit.affected, Some(&unit.command.source))),
    );
    progress("object: hold the recompiled code against the running kernel's");
    findings.extend(units::provenance(kernel, &units)?);
    progress("judge: what replacing functions can't do, and what a person must decide");
    findings.extend(evidence::judged(kernel, &applied, &units, scratch)?);
    allow(&mut findings, &options.allow);
    let is_refused = findings.iter().any(|finding| finding.severity == Severity::Refuse);
    if !is_refused && units.iter().all(|unit| unit.affected.targets.is_empty()) {
        let message = "no function of this kernel differs after the patch: there is nothing to replace";
        findings.push(Finding::new(NOTHING_CHANGED, message));
    }
    Ok(Plan { applied, searches, units, findings })
}

/// Refuses more units than a person can review, and than can be compiled in reasonable time.
/// `is_stopped` where not all units were looked at.
fn limit(differing: &[&CompileCommand], searches: &[Search], most: usize, is_stopped: bool) -> Result<()> {
    if differing.len() <= most {
        return Ok(());
    }
    let searched: Vec<String> = searches.iter().map(Search::to_string).collect();
    let sources: Vec<&str> = differing.iter().map(|command| command.source.as_str()).collect();
    refuse(
        TOO_MANY_UNITS,
        format!(
            "the patch changes {}{} units, more than --max-units {most}\n  {}\n  {}",
            if is_stopped { "at least " } else { "" },
            differing.len(),
            searched.join("\n  "),
            sources.join("\n  ")
        ),
    )
}

/// `create`: the module for a plan.
pub fn create(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    scratch: &Path,
    progress: Progress,
) -> Result<Livepatch> {
    let mut findings = plan.findings.clone();
    findings.extend(base::findings(options, plan));
    settle(&mut findings, &options.allow)?;
    progress("closure: expand, parse, follow");
    let closures = closures::closures(kernel, options, plan, scratch)?;
    findings.extend(whole::left_out(&plan.units, closures.iter().map(|part| &part.closure)));
    findings.extend(closures.iter().flat_map(|part| part.statics.findings.iter().cloned()));
    findings.extend(closures.iter().flat_map(|part| closures::copy_findings(part.unit, &part.closure, &part.naming)));
    if options.replace {
        findings.iter_mut().for_each(base::under_replace);
    }
    settle(&mut findings, &options.allow)?;
    progress("linkage and rewrite");
    let parts = parts::parts(kernel, options, plan, closures, scratch)?;
    progress("render");
    let module = module::rendered(kernel, options, plan, &parts, &mut findings)?;
    progress("check: compile and validate");
    let compared = module::checked(kernel, &parts, &module, scratch, &mut findings)?;
    settle(&mut findings, &options.allow)?;
    findings.extend(unused(&findings, &options.allow));
    Ok(module::livepatch(options, parts, module, findings, compared))
}

/// Exceptions that nothing needed.
fn unused(findings: &[Finding], allow: &BTreeMap<String, String>) -> Vec<Finding> {
    let occurs = |id: &str| findings.iter().any(|finding| finding.id.0.id == id && finding.allowed.is_some());
    let unused = allow.keys().filter(|id| !occurs(id));
    unused.map(|id| Finding::new(ALLOWED_UNUSED, format!("{id} was allowed, but did not occur"))).collect()
}

/// What a person has allowed becomes a note.
fn allow(findings: &mut [Finding], allowed: &BTreeMap<String, String>) {
    for finding in findings.iter_mut().filter(|finding| finding.severity <= Severity::Judge) {
        if let Some(reason) = allowed.get(finding.id.0.id) {
            finding.severity = Severity::Note;
            finding.allowed = Some(reason.clone());
        }
    }
}

/// Ends the run if something refuses that nobody allowed.
fn settle(findings: &mut Vec<Finding>, allowed: &BTreeMap<String, String>) -> Result<()> {
    allow(findings, allowed);
    if findings.iter().any(|finding| finding.severity == Severity::Refuse) {
        findings.sort_by_key(|finding| finding.severity);
        return Err(Error::Refused(std::mem::take(findings)));
    }
    Ok(())
}
