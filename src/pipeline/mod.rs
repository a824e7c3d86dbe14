//! From a patch to a livepatch module: one line a stage, each computed from the earlier ones and never changed after.

mod evidence;
mod module;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use units::{original, side_by_side_on};

use crate::affected::origin::Origin;
use crate::affected::{Affected, Target};
use crate::finding::{ALLOWED_UNUSED, Error, Finding, NOTHING_CHANGED, Result, Severity};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::linkage::External;
use crate::linkage::includes::Include;
use crate::object::Compiled;
use crate::patch::{Header, Overlay};
use crate::rewrite::Item;
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
}

/// Told what is being done, a stage a line.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// A patch applied to a kernel.
pub struct Applied {
    pub headers: Vec<Header>,
    /// Files of kernel code that it changes.
    pub files: Vec<String>,
    /// The patched tree.
    pub overlay: Overlay,
    /// The same with line numbers kept, for comparisons.
    pub comparable: Overlay,
}

/// One unit that the patch changes, with its affected set.
pub struct UnitPlan {
    /// As the kernel's build compiles it.
    pub command: CompileCommand,
    pub changes: Changes,
    pub before: Compiled,
    /// Where its clone report is from.
    pub report: Origin,
    pub affected: Affected,
}

/// The result of `plan`.
pub struct Plan {
    pub applied: Applied,
    pub units: Vec<UnitPlan>,
    pub findings: Vec<Finding>,
}

impl Plan {
    pub fn targets(&self) -> Vec<&Target> {
        self.units.iter().flat_map(|unit| &unit.affected.targets).collect()
    }
}

/// The module, ready to be written.
pub struct Livepatch {
    pub name: String,
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
    let applied = units::apply(kernel, options, scratch, &mut findings)?;
    progress("kernel: find the units");
    let commands = units::candidates(kernel, &applied.files)?;
    progress(&format!("unit: compare the tokens of {}", units::counted(commands.len(), "unit")));
    let changed = units::changed(kernel, &applied, commands)?;
    progress(&format!("object: compile {} before and after", units::counted(changed.len(), "unit")));
    let units = units::compiled(kernel, options, &applied, changed, scratch)?;
    progress("affected: targets");
    findings.extend(units.iter().flat_map(|unit| unit.affected.findings.clone()));
    findings.extend(units.iter().flat_map(units::declaration_findings));
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
    Ok(Plan { applied, units, findings })
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
    settle(&mut findings, &options.allow)?;
    progress("closure: expand, parse, follow");
    let closures = module::closures(kernel, plan)?;
    findings.extend(closures.iter().flat_map(module::copy_findings));
    settle(&mut findings, &options.allow)?;
    progress("linkage and rewrite");
    let parts = module::parts(kernel, options, plan, closures, scratch)?;
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
