//! `livepatch.json`: every decision with its reason, every finding, hashes of every input. The schema is documented in
//! `docs/livepatch-json.md`; readers must look at `schema` first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::affected::Reason;
use crate::candidates::Search;
use crate::finding::Finding;
use crate::folder::Request;
use crate::kernel::{Kernel, sha256_of};
use crate::linkage::External;
use crate::pipeline::{Livepatch, Options, Plan};
use crate::review::Review;

/// Counted up with every change that a reader can notice.
pub const SCHEMA: u32 = 2;

/// The file's name in the module's folder.
pub const FILE: &str = "livepatch.json";

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    tool: &'a str,
    name: &'a str,
    kernel: KernelIdentity<'a>,
    /// In order; their text, so that a later livepatch can be built on this one.
    patches: Vec<Patch<'a>>,
    replace: bool,
    /// Names of the livepatches that were said to be loaded already.
    bases: Vec<&'a str>,
    request: Request,
    /// By patched header: the units that were looked at.
    searches: &'a [Search],
    /// Where each unit's clone report is from.
    reports: BTreeMap<&'a str, String>,
    patched: Vec<&'a str>,
    affected: Vec<Chained<'a>>,
    targets: Vec<Target<'a>>,
    externals: Vec<Provided<'a>>,
    copied: Vec<Copied<'a>>,
    includes: Vec<Included<'a>>,
    /// Things that translation validation found equal.
    validated: usize,
    findings: &'a [Finding],
    /// SHA-256 by name.
    inputs: &'a BTreeMap<String, String>,
    /// SHA-256 of the files written beside this one.
    outputs: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct KernelIdentity<'a> {
    name: &'a str,
    release: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Patch<'a> {
    name: &'a str,
    text: std::borrow::Cow<'a, str>,
    /// Of its bytes, which need not be UTF-8.
    sha256: String,
}

#[derive(Serialize)]
struct Chained<'a> {
    name: &'a str,
    chain: Vec<String>,
}

#[derive(Serialize)]
struct Target<'a> {
    name: &'a str,
    object: &'a str,
    sympos: u32,
    reason: String,
}

#[derive(Serialize)]
struct Provided<'a> {
    #[serde(flatten)]
    external: &'a External,
    path: &'a [String],
}

#[derive(Serialize)]
struct Copied<'a> {
    name: &'a str,
    kind: &'a str,
    file: &'a str,
    line: u32,
    reason: &'a str,
    /// From a target to it, each needed by the one before.
    path: &'a [String],
    edits: &'a [String],
    /// The file beside this one that has it, and the lines there, first and last.
    output: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<[u32; 2]>,
}

#[derive(Serialize)]
struct Included<'a> {
    name: &'a str,
    reason: &'a str,
}

/// A chain of reasons in one line.
pub fn sentence(chain: &[Reason]) -> String {
    chain.iter().map(|reason| reason.to_string()).collect::<Vec<_>>().join("; ")
}

/// The text of the file.
pub fn render(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    livepatch: &Livepatch,
    review: &Review,
) -> crate::finding::Result<String> {
    let affected = plan.units.iter().flat_map(|unit| &unit.affected.affected);
    let pieces = review.units.iter().flat_map(|unit| unit.items.iter().map(move |item| (unit, item)));
    let copied = pieces.filter(|(_, item)| !item.declares && !item.file.is_empty());
    let report = Report {
        schema: SCHEMA,
        tool: concat!("klp-extract ", env!("CARGO_PKG_VERSION")),
        name: &livepatch.name,
        kernel: KernelIdentity {
            name: &kernel.descriptor.name,
            release: &kernel.descriptor.release,
            version: kernel.descriptor.version.as_deref().unwrap_or_default(),
        },
        patches: options
            .patches
            .iter()
            .map(|(name, bytes)| Patch { name, text: String::from_utf8_lossy(bytes), sha256: sha256_of(bytes) })
            .collect(),
        replace: options.replace,
        bases: options.bases.iter().map(|base| base.name.as_str()).collect(),
        request: Request::of(options),
        searches: &plan.searches,
        reports: plan.units.iter().map(|unit| (unit.command.source.as_str(), unit.report.to_string())).collect(),
        patched: plan.units.iter().flat_map(|unit| &unit.affected.patched).map(String::as_str).collect(),
        affected: affected
            .map(|function| Chained {
                name: &function.name,
                chain: function.chain.iter().map(|reason| reason.to_string()).collect(),
            })
            .collect(),
        targets: plan
            .targets()
            .into_iter()
            .map(|target| Target {
                name: &target.name,
                object: &target.object,
                sympos: target.sympos,
                reason: sentence(&target.chain),
            })
            .collect(),
        externals: provided(livepatch, review),
        copied: copied
            .map(|(unit, item)| Copied {
                name: &item.name,
                kind: item.kind,
                file: &item.file,
                line: item.line,
                reason: &item.reason,
                path: &item.path,
                edits: &item.edits,
                output: &unit.output,
                lines: item.first.zip(item.last).map(|(first, last)| [first, last]),
            })
            .collect(),
        includes: livepatch
            .includes
            .iter()
            .map(|include| Included { name: &include.name, reason: &include.reason })
            .collect(),
        validated: livepatch.compared,
        findings: &livepatch.findings,
        inputs: &review.inputs,
        outputs: livepatch.files.iter().map(|(name, text)| (name.as_str(), sha256_of(text.as_bytes()))).collect(),
    };
    let mut text = serde_json::to_string_pretty(&report).expect("a report has only string keys");
    text.push('\n');
    Ok(text)
}

/// The externals with the first way that leads to each.
fn provided<'a>(livepatch: &'a Livepatch, review: &'a Review) -> Vec<Provided<'a>> {
    let known: Vec<_> = review.units.iter().flat_map(|unit| &unit.externals).collect();
    let path = |name: &str| {
        let named = known.iter().filter(|external| external.name == name);
        named.map(|external| external.path.as_slice()).find(|path| !path.is_empty()).unwrap_or_default()
    };
    livepatch.externals.iter().map(|external| Provided { external, path: path(&external.name) }).collect()
}

/// What a folder's `livepatch.json` says of the files beside it; `None` where it isn't one.
pub fn outputs(text: &[u8]) -> Option<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Written {
        outputs: BTreeMap<String, String>,
    }
    serde_json::from_slice::<Written>(text).ok().map(|written| written.outputs)
}
