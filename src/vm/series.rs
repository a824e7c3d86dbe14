//! Many livepatches, one after another in one machine: each goes in, its transitions end, it goes out, and the kernel says
//! nothing. What fails ends the machine, and the rest is tried in another one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::initrd;
use super::machine::{Boot, Machine};
use super::transcript::{kernel_warning, read_report};
use crate::finding::{Finding, Result, VM_LOAD_FAILED, io};

/// Livepatches of one boot.
pub const A_BOOT: usize = 25;

/// For one transition.
const TRANSITION_LIMIT: Duration = Duration::from_secs(60);

/// For a boot with nothing in it, and for each livepatch.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const ITEM_LIMIT: Duration = Duration::from_secs(20);

/// One livepatch.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its `.ko`, linked.
    pub livepatch: PathBuf,
    /// The module's name.
    pub name: String,
    /// The modules that it patches and all that they depend on, in load order; none for vmlinux.
    pub target_modules: Vec<PathBuf>,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    /// Loaded, enabled, disabled and removed without a complaint.
    Passed,
    /// The same, but what it patches can't be loaded in this machine; what insmod said.
    TargetAbsent(String),
    Failed(Finding),
}

/// Tries all; yields their outcomes in order. `progress` gets a line a step.
pub fn run(image: &Path, items: &[Item], scratch: &Path, progress: &mut dyn FnMut(&str)) -> Result<Vec<Outcome>> {
    let image = image.canonicalize().map_err(io("read", image))?;
    let machine = Machine::new(&image, scratch)?;
    let mut outcomes = Vec::new();
    for number in 0.. {
        let some: Vec<&Item> = items.iter().skip(outcomes.len()).take(A_BOOT).collect();
        if some.is_empty() {
            break;
        }
        let initrd = initrd::build_series(&some, TRANSITION_LIMIT)?;
        let limit = BOOT_LIMIT + ITEM_LIMIT * some.len() as u32;
        let boot = machine.boot(&format!("boot-{number}"), &initrd, limit, scratch, progress)?;
        outcomes.extend(read(&boot));
    }
    Ok(outcomes)
}

/// The outcomes that a boot yields: at least one, and no more after the first failure.
fn read(boot: &Boot) -> Vec<Outcome> {
    let report = read_report(&boot.report, &[]);
    let log = report.log.as_deref().unwrap_or(&boot.console);
    let mut outcomes = Vec::new();
    let mut absent: Option<String> = None;
    for line in boot.report.lines().filter_map(|line| line.strip_prefix("@klp ")) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "absent" => absent = Some(rest.into()),
            "passed" => {
                let outcome = match (kernel_warning("series", part(log, outcomes.len())), absent.take()) {
                    (Some(complaint), _) => Outcome::Failed(complaint),
                    (None, Some(why)) => Outcome::TargetAbsent(why),
                    (None, None) => Outcome::Passed,
                };
                outcomes.push(outcome);
            }
            _ => {}
        }
    }
    let failure = report.findings.into_iter().next().map(|(id, text)| Finding::new(id, text));
    let failure = boot.finding.clone().or(failure);
    let died = || {
        let complaint = kernel_warning("series", part(log, outcomes.len()));
        complaint.unwrap_or_else(|| Finding::new(VM_LOAD_FAILED, "the machine ended before the test did"))
    };
    match failure {
        Some(failure) => outcomes.push(Outcome::Failed(failure)),
        None if !report.ended || outcomes.is_empty() => outcomes.push(Outcome::Failed(died())),
        None => {}
    }
    outcomes
}

/// The kernel's log while an item was tried.
fn part(log: &str, number: usize) -> &str {
    let mark = |number: usize| log.find(&format!("klp-extract: item {number:04}"));
    let start = mark(number).unwrap_or_default();
    &log[start..mark(number + 1).unwrap_or(log.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(report: &str) -> Vec<String> {
        let outcomes = read(&Boot { report: report.into(), ..Boot::default() });
        let id = |outcome: &Outcome| match outcome {
            Outcome::Passed => "passed".into(),
            Outcome::TargetAbsent(why) => why.clone(),
            Outcome::Failed(finding) => finding.id.0.id.to_string(),
        };
        outcomes.iter().map(id).collect()
    }

    #[test]
    fn each_livepatch_has_its_own_part_of_the_log() {
        let report = "@klp item 0000\n@klp passed 0000\n@klp item 0001\n@klp passed 0001\n@klp item 0002\n\
                      @klp absent no device\n@klp passed 0002\n@klp log\n\
                      | klp-extract: item 0000\n| klp-extract: item 0001\n| Oops: 0002\n| klp-extract: item 0002\n@klp end\n";
        assert_eq!(ids(report), ["passed", "vm-kernel-warning", "no device"]);
    }

    #[test]
    fn what_fails_is_the_one_after_the_last_that_passed() {
        let stuck =
            "@klp item 0000\n@klp passed 0000\n@klp item 0001\n@klp stuck enable\n| a task\n@klp log\n@klp end\n";
        assert_eq!(ids(stuck), ["passed", "vm-transition-stuck"]);
        assert_eq!(ids("@klp item 0000\n"), ["vm-load-failed"]);
    }
}
