//! What a reviewer has to see of a module, as data: each piece of it with its reasons, and the text held against the patch and
//! against the kernel's own. `review.html` and `livepatch.json` are renderings of it.

pub mod differences;
pub mod graph;
pub mod lines;
pub mod why;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::affected::Reason;
use crate::finding::{Finding, Result, Severity};
use crate::folder;
use crate::kernel::{Kernel, sha256_of};
use crate::linkage::How;
use crate::patch::{self, Header, PatchSet};
use crate::pipeline::{Livepatch, Options, Plan, Written};
use crate::rewrite::{Item, Section};

use differences::{Hunk, Row};
use graph::Graph;
use lines::Line;

/// Lines of the source shown around a finding's place, on either side.
const AROUND: u32 = 3;

/// The page's contents.
#[derive(Debug, Serialize)]
pub struct Review {
    pub tool: &'static str,
    pub name: String,
    pub release: String,
    pub version: String,
    pub patches: Vec<Header>,
    /// Those to judge first.
    pub findings: Vec<Remark>,
    /// How many of the findings are to judge.
    pub to_judge: usize,
    /// How the change reaches the targets.
    pub affected: Option<Graph>,
    pub units: Vec<Unit>,
    /// Things that translation validation found equal.
    pub validated: usize,
    /// SHA-256 by name.
    pub inputs: BTreeMap<String, String>,
    /// Name and text of the files that are of no unit: tables, Makefile, klp.symbols.
    pub others: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
pub struct Remark {
    pub finding: Finding,
    /// `judge`, `warning` or `note`.
    pub weight: &'static str,
    pub explanation: &'static str,
    /// The source around its place.
    pub excerpt: Vec<Excerpt>,
}

#[derive(Debug, Serialize)]
pub struct Excerpt {
    pub number: u32,
    pub text: String,
    pub here: bool,
}

/// What the module has of one unit.
#[derive(Debug, Serialize)]
pub struct Unit {
    pub source: String,
    pub object: String,
    /// Its C file in the module.
    pub output: String,
    pub report: String,
    pub targets: Vec<Target>,
    pub items: Vec<Piece>,
    pub externals: Vec<External>,
    pub includes: Vec<Included>,
    pub lines: Vec<Line>,
    /// What the targets need.
    pub closure: Option<Graph>,
}

#[derive(Debug, Serialize)]
pub struct Target {
    pub name: String,
    pub new_name: String,
    pub object: String,
    pub sympos: u32,
    pub chain: Vec<String>,
    /// Its item, and those of functions of its chain that the module has too.
    pub items: Vec<usize>,
    /// What it reaches, as indices into the externals.
    pub externals: Vec<usize>,
}

/// A piece of the module's text.
#[derive(Debug, Serialize)]
pub struct Piece {
    pub name: String,
    pub kind: &'static str,
    pub file: String,
    pub line: u32,
    pub reason: String,
    pub edits: Vec<String>,
    pub path: Vec<String>,
    /// The emitted lines, first and last.
    pub first: Option<u32>,
    pub last: Option<u32>,
    /// Is any of its text other than the kernel's own, or is it new?
    pub changed: bool,
    /// Is it an `extern` line for what the running kernel provides?
    pub declares: bool,
    /// The kernel's text, before the patch, against the emitted one.
    pub difference: Vec<Row>,
    /// Has the kernel nothing there before the patch?
    pub added: bool,
    pub hunks: Vec<Hunk>,
}

#[derive(Debug, Serialize)]
pub struct External {
    pub name: String,
    pub object: String,
    pub symbol: String,
    pub sympos: u32,
    pub exported: bool,
    pub path: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Included {
    pub name: String,
    pub reason: String,
}

/// Looks at a finished module. The patched tree of the plan must still be there.
pub fn review(kernel: &Kernel, options: &Options, plan: &Plan, livepatch: &Livepatch) -> Result<Review> {
    let sets = patch::read(&options.patches, None)?;
    let mut texts = Texts { kernel, plan, known: BTreeMap::new() };
    let mut findings: Vec<Remark> = livepatch.findings.iter().map(|finding| texts.remark(finding)).collect();
    findings.sort_by_key(|remark| remark.finding.severity);
    let is_other = |name: &str| livepatch.written.iter().all(|written| written.output != name);
    let to_judge = findings.iter().filter(|remark| remark.finding.severity == Severity::Judge).count();
    Ok(Review {
        tool: concat!("klp-extract ", env!("CARGO_PKG_VERSION")),
        name: livepatch.name.clone(),
        release: kernel.descriptor.release.clone(),
        version: kernel.descriptor.version.clone().unwrap_or_default(),
        patches: plan.applied.headers.clone(),
        findings,
        to_judge,
        affected: graph::affected(plan),
        units: livepatch.written.iter().map(|written| unit(&mut texts, &sets, livepatch, written)).collect(),
        validated: livepatch.compared,
        inputs: inputs(kernel, options, plan)?,
        others: livepatch.files.iter().filter(|(name, _)| is_other(name)).cloned().collect(),
    })
}

/// Hashes of all that the module was made from.
fn inputs(kernel: &Kernel, options: &Options, plan: &Plan) -> Result<BTreeMap<String, String>> {
    let patches = folder::patch_inputs(options.patches.iter().map(|(name, _)| name.as_str())).into_iter();
    let mut inputs: BTreeMap<String, String> =
        patches.zip(&options.patches).map(|(input, (_, bytes))| (input, sha256_of(bytes))).collect();
    inputs.extend(kernel.hashes()?.into_iter().map(|(name, hash)| (format!("kernel {name}"), hash)));
    for file in plan.units.iter().map(|unit| &unit.command.source).chain(&plan.applied.files) {
        // A file that the patch adds has no earlier contents.
        if let Ok(bytes) = std::fs::read(kernel.source().join(file)) {
            inputs.insert(file.clone(), sha256_of(&bytes));
        }
    }
    Ok(inputs)
}

/// The files of both trees, read once each.
struct Texts<'a> {
    kernel: &'a Kernel,
    plan: &'a Plan,
    known: BTreeMap<(String, bool), Vec<String>>,
}

impl Texts<'_> {
    /// With the patch, or as the kernel has it. Empty where there is no such file.
    fn file(&mut self, name: &str, patched: bool) -> Vec<String> {
        let key = (name.to_string(), patched);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let root = if patched { self.plan.applied.overlay.root() } else { self.kernel.source() };
        let bytes = std::fs::read(root.join(name)).or_else(|_| std::fs::read(self.kernel.build().join(name)));
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        self.known.insert(key, lines.clone());
        lines
    }

    fn remark(&mut self, finding: &Finding) -> Remark {
        let mut excerpt = Vec::new();
        if let (Some(file), Some(line)) = (&finding.file, finding.line) {
            let numbered = self.file(file, !finding.is_of_unpatched()).into_iter().zip(1..);
            let near = numbered.filter(|(_, number)| line.abs_diff(*number) <= AROUND);
            excerpt.extend(near.map(|(text, number)| Excerpt { number, text, here: number == line }));
        }
        let (weight, explanation) = (finding.severity.word(), finding.id.0.explanation);
        Remark { finding: finding.clone(), weight, explanation, excerpt }
    }
}

fn unit(texts: &mut Texts, sets: &[PatchSet], livepatch: &Livepatch, written: &Written) -> Unit {
    let Written { items, externals, .. } = written;
    let text = livepatch.files.iter().find(|(name, _)| *name == written.output).map_or("", |(_, text)| text);
    let mut lines = lines::lines(text, items, &mut |file| texts.file(file, true));
    lines.iter_mut().for_each(|line| decided(line, written));
    let reasons = why::reasons(&written.closure, items, externals);
    let pieces = items.iter().enumerate().map(|(index, item)| {
        let own: Vec<&Line> = lines.iter().filter(|line| line.item == Some(index)).collect();
        piece(texts, sets, item, &own, reasons.items[index].path.clone())
    });
    let items: Vec<Piece> = pieces.collect();
    let externals: Vec<External> = externals
        .iter()
        .zip(&reasons.externals)
        .map(|(external, why)| External {
            name: external.name.clone(),
            object: external.object.clone(),
            symbol: external.symbol.clone(),
            sympos: external.sympos,
            exported: external.how == How::Export,
            path: why.path.clone(),
        })
        .collect();
    let targets = written.targets.iter().map(|target| {
        let chain: BTreeSet<&str> = target.chain.iter().flat_map(functions).collect();
        let own = |item: &Piece| item.kind == "target" && item.name == target.name;
        let mut shown: Vec<usize> = (0..items.len()).filter(|index| own(&items[*index])).collect();
        let changed = |item: &Piece| !item.hunks.is_empty() && chain.contains(item.name.as_str()) && !own(item);
        shown.extend((0..items.len()).filter(|index| changed(&items[*index])));
        // What the patch changes comes first.
        shown.sort_by_key(|index| items[*index].hunks.is_empty());
        let reached = |index: &usize| reasons.externals[*index].targets.contains(&target.name);
        Target {
            name: target.name.clone(),
            new_name: written.naming.new_name(&target.name),
            object: target.object.clone(),
            sympos: target.sympos,
            chain: target.chain.iter().map(Reason::to_string).collect(),
            items: shown,
            externals: (0..externals.len()).filter(reached).collect(),
        }
    });
    Unit {
        source: written.source.clone(),
        object: written.object.clone(),
        output: written.output.clone(),
        report: written.report.clone(),
        targets: targets.collect(),
        includes: written
            .includes
            .iter()
            .map(|include| Included { name: include.name.clone(), reason: include.reason.clone() })
            .collect(),
        closure: graph::closure(&items, &externals, &reasons.uses),
        items,
        externals,
        lines,
    }
}

/// Says by which decision a line is there.
fn decided(line: &mut Line, written: &Written) {
    let text = line.text.as_str();
    let include = text.strip_prefix("#include <").and_then(|rest| rest.strip_suffix('>'));
    let include = include.and_then(|name| written.includes.iter().position(|include| include.name == name));
    // The list of what headers declare, see `externals` of crate::render.
    let listed = text.strip_prefix(" *   ").and_then(|rest| rest.split(' ').next());
    let listed = listed.and_then(|name| written.externals.iter().position(|external| external.name == name));
    let (link, from) = match (line.item, include, listed) {
        (Some(index), ..) => {
            let item = &written.items[index];
            let place = line.source.map(|number| format!("{}:{number}", item.file));
            (format!("i{index}"), place.unwrap_or_else(|| item.name.clone()))
        }
        (None, Some(index), _) => (format!("n{index}"), "include".into()),
        (None, None, Some(index)) => (format!("x{index}"), "klp relocation".into()),
        (None, None, None) => return,
    };
    (line.link, line.from) = (Some(link), from);
}

/// The functions that a reason names.
fn functions(reason: &Reason) -> Vec<&str> {
    match reason {
        Reason::Patched { function }
        | Reason::Removed { function }
        | Reason::Added { function }
        | Reason::Changed { function } => vec![function],
        Reason::Clone { from, to, .. } => vec![from, to],
        Reason::Calls { caller, callee, .. } => vec![caller, callee],
    }
}

fn piece(texts: &mut Texts, sets: &[PatchSet], item: &Item, own: &[&Line], path: Vec<String>) -> Piece {
    let declares = item.section == Section::Externals;
    let sourced: Vec<u32> = own.iter().filter_map(|line| line.source).collect();
    let (mut difference, mut hunks, mut added) = (Vec::new(), Vec::new(), false);
    let mut changed = own.iter().any(|line| line.edited);
    if let (Some(first), Some(last), false) = (sourced.first(), sourced.last(), declares) {
        let (before, after) = (texts.file(&item.file, false), texts.file(&item.file, true));
        let range = match before == after {
            true => *first as usize - 1..*last as usize,
            false => differences::before(&before, &after, *first as usize - 1..*last as usize),
        };
        let old: String = before[range.clone()].iter().map(|line| format!("{line}\n")).collect();
        added = range.is_empty();
        changed |= old.trim_end() != item.text.trim_end();
        if changed {
            let start = own.iter().find(|line| line.source.is_some()).map_or(1, |line| line.number);
            difference = differences::words((&old, range.start as u32 + 1), (&item.text, start));
            hunks = differences::hunks(sets, &item.file, &after, own);
        }
    }
    Piece {
        name: item.name.clone(),
        kind: item.kind,
        file: item.file.clone(),
        line: item.line,
        reason: item.reason.clone(),
        edits: item.edits.clone(),
        path,
        first: own.first().map(|line| line.number),
        last: own.last().map(|line| line.number),
        changed,
        declares,
        difference,
        added,
        hunks,
    }
}
