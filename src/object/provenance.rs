//! What a unit's fidelity means for the livepatch, and where a difference may come from: compiler, configuration or source.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{FIDELITY_UNKNOWN, Finding, NOT_FAITHFUL, Result, Severity};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use super::facts::Facts;
use super::fidelity;
use super::layout::Layout;
use super::running::Running;

/// Functions listed in a message before it says how many more there are.
const SHOWN: usize = 8;

/// Compares a recompiled unit with the running kernel. A difference in a function of `matter` (patched, affected, targets)
/// refuses; one elsewhere in the unit is a note.
pub fn findings(
    kernel: &Kernel,
    command: &CompileCommand,
    (facts, layout): (&Facts, &Layout),
    matter: &BTreeSet<String>,
) -> Result<Vec<Finding>> {
    let Some(running) = Running::open(kernel, &command.object)? else {
        let what = if command.is_modular() { "modules" } else { "image" };
        let message = format!(
            "{} was prepared without its {what}, so nothing shows that {} is the code that runs; prepare it with --{what}",
            kernel.descriptor.name, command.object
        );
        return Ok(vec![Finding::new(FIDELITY_UNKNOWN, message).at(command.source.as_str(), None)]);
    };
    let mut fidelity = fidelity::compare(facts, layout.clone(), &running, |_| true);
    // The sources are right then; whoever wants to replace one is told that (`weak-overridden`).
    fidelity.unfaithful.retain(|_, why| why != fidelity::OVERRIDDEN);
    if fidelity.unfaithful.is_empty() && fidelity.unknown.is_empty() {
        return Ok(Vec::new());
    }
    let finding = |id, message: String| Finding::new(id, message).at(command.source.as_str(), None);
    let (refused, noted) = split(fidelity.unfaithful, matter);
    let (unknown, _) = split(without_boot(facts, fidelity.unknown), matter);
    let mut findings = Vec::new();
    if !refused.is_empty() {
        let functions = told(&refused);
        let causes = causes(kernel, command).join("\n");
        let what = "recompiled, these functions are not what the running kernel has:";
        findings.push(finding(NOT_FAITHFUL, format!("{what}{functions}\n{causes}")));
    }
    if !noted.is_empty() {
        let what =
            "other functions of this unit are not what the running kernel has; the livepatch doesn't depend on them:";
        let mut note = finding(NOT_FAITHFUL, format!("{what}{}", told(&noted)));
        note.severity = Severity::Note;
        findings.push(note);
    }
    if !unknown.is_empty() {
        let what = "nothing shows whether these functions are what the running kernel has:";
        findings.push(finding(FIDELITY_UNKNOWN, format!("{what}{}", told(&unknown))));
    }
    Ok(findings)
}

type Reasons = BTreeMap<String, String>;

fn split(reasons: Reasons, matter: &BTreeSet<String>) -> (Reasons, Reasons) {
    reasons.into_iter().partition(|(name, _)| matter.contains(name))
}

/// Code that runs at boot or load only is never replaced; a module's is not even kept.
fn without_boot(facts: &Facts, mut reasons: Reasons) -> Reasons {
    let is_boot = |name: &str| {
        let id = facts.named(name);
        id.is_some_and(|id| facts.sections[facts.function(id).section].is_boot())
    };
    reasons.retain(|name, _| !is_boot(name));
    reasons
}

fn told(reasons: &Reasons) -> String {
    list(&reasons.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>())
}

/// The first lines of a list, and how many more there are.
pub fn list(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(SHOWN).map(|line| format!("\n  {line}")).collect();
    if lines.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", lines.len() - SHOWN));
    }
    text
}

/// What is known to differ between the running kernel and what is compiled here, each as a line; else what is left.
fn causes(kernel: &Kernel, command: &CompileCommand) -> Vec<String> {
    let mut causes = Vec::new();
    let version = Program::compiler(&command.compiler).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let used = version.lines().next().unwrap_or_default();
    let built = kernel.descriptor.compiler.as_deref().or(kernel.config("CC_VERSION_TEXT"));
    if let Some(built) = built.filter(|built| !same_compiler(built, used)) {
        causes.push(format!("the compiler differs: the kernel was built by {built}, this is {used}"));
    }
    let identity =
        format!("{} {}", kernel.descriptor.release, kernel.descriptor.version.as_deref().unwrap_or_default());
    let makefile = std::fs::read_to_string(kernel.source().join("Makefile")).unwrap_or_default();
    if let Some(source) = source_version(&makefile).filter(|source| !mentions(&identity, source)) {
        causes.push(format!("the source's version differs: it is {source}, the kernel is {identity}"));
    }
    if let Some(salt) = kernel.config("BUILD_SALT").filter(|salt| !salt.is_empty() && !identity.contains(salt)) {
        causes.push(format!("the configuration is of another kernel: CONFIG_BUILD_SALT is {salt}"));
    }
    if causes.is_empty() {
        causes.push(
            "compiler and version number agree: the configuration or a patch to the source must differ; take both from the \
             package that the kernel is from"
                .into(),
        );
    }
    causes
}

/// Is the compiler that a banner names the one that calls itself `used`? The program's name may differ (`gcc`, `gcc-12`).
fn same_compiler(banner: &str, used: &str) -> bool {
    let from_package = |text: &str| text.find('(').map(|at| text[at..].to_string());
    let banner = banner.split(", GNU ld").next().and_then(|text| text.split(", LLD").next()).unwrap_or(banner);
    from_package(banner).is_some_and(|banner| from_package(used).is_some_and(|used| used == banner))
}

/// `6.1.170`, from the first lines of the kernel's Makefile.
fn source_version(makefile: &str) -> Option<String> {
    let value = |name: &str| {
        makefile
            .lines()
            .take(10)
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
            .map(str::trim)
    };
    Some(format!("{}.{}.{}", value("VERSION")?, value("PATCHLEVEL")?, value("SUBLEVEL")?))
}

/// Does a text have this version as a whole (`6.1.17` is not in `6.1.170`)? A first release may leave the `.0` out.
fn mentions(text: &str, version: &str) -> bool {
    let whole = |version: &str| {
        text.match_indices(version).any(|(at, _)| {
            let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            !is_part(text[..at].chars().next_back()) && !is_part(text[at + version.len()..].chars().next())
        })
    };
    whole(version) || version.strip_suffix(".0").is_some_and(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_are_told_apart_by_package_and_version() {
        let banner = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40";
        assert!(same_compiler(banner, "gcc (Debian 12.2.0-14+deb12u1) 12.2.0"));
        assert!(!same_compiler(banner, "gcc (Debian 12.2.0-14) 12.2.0"));
        assert!(!same_compiler(banner, ""));
    }

    #[test]
    fn versions_are_compared_as_a_whole() {
        let makefile = "# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 170\nEXTRAVERSION =\n";
        assert_eq!(source_version(makefile).unwrap(), "6.1.170");
        let identity = "6.1.0-47-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)";
        assert!(mentions(identity, "6.1.170"));
        assert!(!mentions(identity, "6.1.17"));
        assert!(!mentions(identity, "6.1.192"));
        assert!(mentions("6.6-rc1 #1", "6.6.0"));
    }
}
