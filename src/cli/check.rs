//! `klp-extract check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::audit::{self, Audit};
use crate::edits::{Change, How};
use crate::finding::{CODE_EDITED, Finding, MODULE_STALE, Result, Severity, USAGE, refuse};
use crate::folder::Folder;
use crate::kernel::Kernel;
use crate::pipeline::edited::{self, Checked};
use crate::scratch;

#[derive(Args)]
pub(super) struct Request {
    /// The module's folder, or a built module
    path: PathBuf,
    /// A prepared kernel [default: the one that the folder was made for]
    #[arg(short, long)]
    kernel: Option<String>,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    if request.path.is_dir() {
        return folder(&request.path, request.kernel.as_deref());
    }
    let Some(kernel) = &request.kernel else {
        return refuse(USAGE, "a built module is checked against a kernel: name it with -k");
    };
    let kernel = Kernel::open(kernel)?;
    let scratch = scratch::Folder::new()?;
    let audit = audit::audit(&kernel, &request.path, None, scratch.path())?;
    super::print(&format!("{} for {}\n{}", request.path.display(), kernel.descriptor.name, audit_text(&audit)));
    super::report(&audit.findings);
    Ok(super::status(&audit.findings))
}

fn folder(path: &Path, kernel: Option<&str>) -> Result<ExitCode> {
    let folder = Folder::read(path)?;
    let kernel = Kernel::open(kernel.unwrap_or(&folder.record.request.kernel))?;
    let scratch = scratch::Folder::new()?;
    let ko = Some(path.join(format!("{}.ko", folder.record.name))).filter(|ko| ko.is_file());
    let mut checked = edited::check(&kernel, &folder, ko.as_deref(), scratch.path(), &mut super::progress)?;
    let audit = |ko: &Path| audit::audit(&kernel, ko, Some(&checked.known), scratch.path());
    let audit = ko.as_deref().map(audit).transpose()?;
    if let (Some(audit), Some(ko)) = (&audit, &ko) {
        checked.findings.extend(stale(&folder, ko));
        checked.findings.extend(audit.findings.iter().cloned());
    }
    super::print(&text(&folder, &kernel, &checked, audit.as_ref()));
    super::report(&checked.findings);
    Ok(ExitCode::from(edited::status(&checked)))
}

/// Was the module built from what is there now?
fn stale(folder: &Folder, ko: &Path) -> Option<Finding> {
    let time = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let built = time(ko)?;
    let newer = folder.edited.keys().find(|name| time(&folder.path.join(name)).is_some_and(|time| time > built))?;
    let name = ko.file_name().unwrap_or_default().to_string_lossy();
    Some(Finding::new(MODULE_STALE, format!("{name} is older than {newer}; run make")))
}

/// What was found in a built module.
fn audit_text(audit: &Audit) -> String {
    let mut text = String::from("\nbuilt module\n");
    for hook in &audit.hooks {
        let sympos = if hook.sympos > 0 { format!(", sympos {}", hook.sympos) } else { String::new() };
        text.push_str(&format!("  replaces {} ({}{sympos}) by {}\n", hook.old, hook.object, hook.new));
    }
    text.push_str(&format!("  {} exports, {} klp symbols\n", audit.exports.len(), audit.klp_symbols.len()));
    for (symbol, count) in &audit.klp_symbols {
        text.push_str(&format!("  klp symbol {symbol} in {count} relocations\n"));
    }
    audit.writable.iter().for_each(|name| text.push_str(&format!("  can be written to: {name}\n")));
    text
}

/// The report; what it ends in is for a person to sign.
fn text(folder: &Folder, kernel: &Kernel, checked: &Checked, audit: Option<&Audit>) -> String {
    let mut text = format!("{} for {}\n", folder.record.name, kernel.descriptor.name);
    text.push_str("\nchanged by hand\n");
    if checked.changes.is_empty() {
        text.push_str("  nothing\n");
    }
    for change in &checked.changes {
        text.push_str(&format!("  {}\n", change.sentence()));
        change.diff.iter().for_each(|line| text.push_str(&format!("    | {line}\n")));
    }
    text.push_str("\ncopied code against the patched kernel\n");
    let equal = checked.compared - checked.differences.len();
    text.push_str(&format!("  {equal} of {} functions, types and objects have the kernel's words\n", checked.compared));
    for difference in &checked.differences {
        let line = difference.line.map_or(String::new(), |line| format!(":{line}"));
        let missing = if difference.found.is_none() { "is no longer there" } else { "differs" };
        text.push_str(&format!("  {} ({}{line}) {missing}\n", difference.name, difference.file));
        if let Some(found) = &difference.found {
            let places = crate::edits::word_diff(&difference.expected, found);
            places.iter().for_each(|place| text.push_str(&format!("    | {place}\n")));
        }
    }
    text.push_str(&externals(checked));
    text.push_str("\nreplaced\n");
    for hook in &checked.hooks {
        let sympos = if hook.sympos > 0 { format!(", sympos {}", hook.sympos) } else { String::new() };
        text.push_str(&format!("  {} ({}{sympos}) by {}\n", hook.old, hook.object, hook.new));
    }
    let second = &checked.second;
    text.push_str("\nsecond reading, by lang-c\n");
    if checked.hooks.is_empty() && second.functions == 0 {
        text.push_str("  nothing was read\n");
    } else {
        text.push_str(&format!("  {} functions, {} names of others in them", second.functions, second.names));
        text.push_str(if second.disagreements.is_empty() {
            ": as the compiler sees them\n"
        } else {
            "; it disagrees:\n"
        });
    }
    second.disagreements.iter().for_each(|why| text.push_str(&format!("  {why}\n")));
    match audit {
        Some(audit) => text.push_str(&audit_text(audit)),
        None => text.push_str("\nbuilt module\n  not built\n"),
    }
    text.push_str(&to_sign(folder, checked));
    text
}

fn externals(checked: &Checked) -> String {
    let externals = &checked.externals;
    let mut text = String::from("\nof the running kernel\n");
    text.push_str(&format!("  {} exports, {} klp relocations\n", externals.exports, externals.relocations));
    externals.new.iter().for_each(|(name, place)| text.push_str(&format!("  new      {name}: {place}\n")));
    let rows = [("missing", &externals.missing), ("gone", &externals.gone), ("unused", &externals.unused)];
    for (word, names) in rows {
        names.iter().for_each(|name| text.push_str(&format!("  {word:<7}  {name}\n")));
    }
    text
}

/// Everything that no program can decide.
fn to_sign(folder: &Folder, checked: &Checked) -> String {
    if edited::status(checked) == 2 {
        return "\ninvalid: nothing to sign, see the errors\n".into();
    }
    let silent = |change: &&Change| matches!(change.how, How::Comment | How::Space);
    let (comments, changes): (Vec<&Change>, Vec<&Change>) = checked.changes.iter().partition(silent);
    let mut rows: Vec<String> = changes.iter().map(|change| change.sentence()).collect();
    if !comments.is_empty() {
        rows.push(format!("{} changes of comments and white space", comments.len()));
    }
    // What the changes say already.
    let told = |message: &str| {
        let name = message.split(' ').next().unwrap_or_default();
        changes.iter().any(|change| change.name == name || change.name.ends_with(&format!("_{name}")))
    };
    let judged = checked.findings.iter().filter(|finding| {
        finding.severity == Severity::Judge && !(finding.id == CODE_EDITED && told(&finding.message))
    });
    rows.extend(judged.map(|finding| {
        let first = finding.message.lines().next().unwrap_or_default().trim_end_matches(':');
        format!("{}: {first}", finding.id.0.id)
    }));
    if rows.is_empty() {
        return "\nunchanged and valid\n".into();
    }
    let mut text = String::from("\nto be judged, and signed\n");
    rows.iter().for_each(|row| text.push_str(&format!("  [ ] {row}\n")));
    text.push_str(&format!(
        "  files    sha256:{}\n  name     ____________________  date ____________\n",
        folder.fingerprint()
    ));
    text
}
