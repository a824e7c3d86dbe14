//! What happened in the virtual machine, read from what its serial ports received, and what is to be thought of it.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Order;
use super::machine::Boot;
use crate::finding::{
    Finding, Id, VM_BEHAVIOUR_UNCHANGED, VM_KERNEL_WARNING, VM_LOAD_FAILED, VM_NOT_RESTORED, VM_RELOAD_DIFFERS,
    VM_TRANSITION_STUCK,
};

/// The kernel's words for having gone wrong. BUG, WARNING and Call Trace are those of lib/bug.c, kernel/panic.c and
/// show_trace_log_lvl(); the rest are of arch/x86/mm/fault.c, traps.c, kernel/rcu, hung_task.c, module/main.c.
const BAD: &[&str] = &[
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Call Trace",
    "general protection",
    "Kernel panic",
    "unable to handle",
    "UBSAN:",
    "KASAN:",
    "detected stall",
    "blocked for more than",
    "Unknown symbol",
    "disagrees about version",
    "invalid relocation target",
    "Invalid relocation target",
    "overflow in relocation type",
];

/// A line of livepatch's own is bad with one of these (the pr_err() and pr_warn() of kernel/livepatch/).
const BAD_LIVEPATCH: &[&str] = &[
    "failed",
    "not found",
    "unresolvable",
    "invalid",
    "incorrectly",
    "not marked",
    "not supported",
    "doesn't",
    "can't",
    "cannot",
    "refusing",
];

/// Fine, though it may sound otherwise.
const HARMLESS: &[&str] = &["module verification failed", "tainting kernel", "BTF"];

/// Lines of the kernel's log that a finding quotes.
const QUOTED_LINES: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    Before,
    /// Older livepatches are loaded; see [`super::Plan::older`].
    Older,
    Loaded,
    /// The patched module was removed and loaded again under the livepatch; see [`super::Plan::reload`].
    Reloaded,
    After,
}

impl PhaseName {
    pub fn id(self) -> &'static str {
        match self {
            PhaseName::Before => "before",
            PhaseName::Older => "older",
            PhaseName::Loaded => "loaded",
            PhaseName::Reloaded => "reloaded",
            PhaseName::After => "after",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriggerOutput {
    pub trigger: String,
    /// Standard output and standard error, at most 64 KiB.
    pub text: String,
    /// Exit status; 128 and more is the signal that ended it (137: still running at its limit).
    pub status: u32,
}

#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    pub order: Order,
    /// There is no `before` in [`Order::LivepatchFirst`]: that is the other order's.
    pub name: PhaseName,
    pub outputs: Vec<TriggerOutput>,
}

#[derive(Debug, Clone, Serialize)]
pub struct KernelLog {
    pub order: Order,
    /// From the start of the test on; all of the console where the machine died before it could tell.
    pub text: String,
}

/// Did the livepatch do anything that a trigger can see?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// In every order some trigger behaved differently while the livepatch was loaded, and all as before afterwards.
    Shown,
    NotShown,
    NoTrigger,
}

/// The whole test as data.
#[derive(Debug, Clone, Serialize)]
pub struct Transcript {
    /// File name of the image.
    pub image: String,
    /// `KVM` or `TCG`.
    pub accelerator: String,
    /// In the order of time.
    pub phases: Vec<Phase>,
    pub kernel_logs: Vec<KernelLog>,
    pub behaviour: Behaviour,
    /// None means that the livepatch passed.
    pub findings: Vec<Finding>,
    /// Names of the triggers by their number in the machine.
    #[serde(skip)]
    names: Vec<String>,
}

impl Transcript {
    pub(super) fn new(image: &Path, accelerator: &str, names: Vec<String>) -> Transcript {
        Transcript {
            image: image.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            accelerator: accelerator.into(),
            phases: Vec::new(),
            kernel_logs: Vec::new(),
            behaviour: Behaviour::NoTrigger,
            findings: Vec::new(),
            names,
        }
    }

    /// Reads what one boot left.
    pub(super) fn add_boot(&mut self, order: Order, boot: &Boot) {
        let report = read_report(&boot.report, &self.names);
        self.phases.extend(report.phases.into_iter().map(|(name, outputs)| Phase { order, name, outputs }));
        let from_start =
            |log: &str| log.find("klp-extract: ").map_or(0, |at| log[..at].rfind('\n').map_or(0, |n| n + 1));
        let text = match &report.log {
            Some(log) => &log[from_start(log)..],
            None => &boot.console,
        };
        let warning = kernel_warning(order.id(), text);
        let ended = report.ended || boot.finding.is_some();
        self.findings.extend(boot.finding.clone());
        self.findings
            .extend(report.findings.into_iter().map(|(id, text)| Finding::new(id, format!("{}: {text}", order.id()))));
        if warning.is_none() && !ended {
            let message = format!("{}: the machine ended before the test did:\n{}", order.id(), tail(text));
            self.findings.push(Finding::new(VM_KERNEL_WARNING, message));
        }
        self.findings.extend(warning);
        self.kernel_logs.push(KernelLog { order, text: text.to_string() });
    }

    /// After the last boot: compares the phases.
    pub(super) fn conclude(&mut self) {
        if self.names.is_empty() {
            return;
        }
        let find = |order: Order, name| self.phases.iter().find(|p| p.order == order && p.name == name);
        let before = self.phases.iter().find(|p| p.name == PhaseName::Before).map(|p| &p.outputs);
        let orders: Vec<Order> = self.kernel_logs.iter().map(|log| log.order).collect();
        let mut findings = Vec::new();
        let mut shown = true;
        for order in orders {
            let phase = |name| find(order, name).map(|p| &p.outputs);
            let (Some(before), Some(loaded), Some(after)) = (before, phase(PhaseName::Loaded), phase(PhaseName::After))
            else {
                // Why it didn't come so far is a finding already.
                shown = false;
                continue;
            };
            let differing = before.iter().zip(after).filter(|(b, a)| b != a);
            for (output, _) in differing {
                let message = format!("{}: {} behaves differently after the removal", order.id(), output.trigger);
                findings.push(Finding::new(VM_NOT_RESTORED, message));
                shown = false;
            }
            if phase(PhaseName::Reloaded).is_some_and(|reloaded| reloaded != loaded) {
                let message = format!("{}: a trigger behaves differently after a reload of the module", order.id());
                findings.push(Finding::new(VM_RELOAD_DIFFERS, message));
                shown = false;
            }
            if phase(PhaseName::Older).unwrap_or(before) == loaded {
                let message = format!("{}: every trigger behaves as before while the livepatch is loaded", order.id());
                findings.push(Finding::new(VM_BEHAVIOUR_UNCHANGED, message));
                shown = false;
            }
        }
        self.findings.extend(findings);
        self.behaviour = if shown { Behaviour::Shown } else { Behaviour::NotShown };
    }

    /// For people: phases, result, the kernel's log.
    pub fn render(&self) -> String {
        let mut text = format!("{} in QEMU ({})\n", self.image, self.accelerator);
        let mut last = None;
        for phase in &self.phases {
            if last != Some(phase.order) {
                let _ = write!(text, "\n== {} ==\n", title(phase.order));
                last = Some(phase.order);
            }
            let _ = writeln!(text, "\n{}:", phase.name.id());
            for output in &phase.outputs {
                let _ = writeln!(text, "  $ {}", output.trigger);
                for line in output.text.lines() {
                    let _ = writeln!(text, "    {line}");
                }
                if output.text.is_empty() {
                    text.push_str("    (no output)\n");
                }
                if output.status != 0 {
                    let _ = writeln!(text, "    (exit status {})", output.status);
                }
            }
        }
        let result = match (self.findings.is_empty(), self.behaviour) {
            (true, Behaviour::Shown) => "passed; the behaviour changed while loaded and was restored",
            (true, Behaviour::NoTrigger) => "loaded and removed without a complaint; no trigger was given",
            _ => "not passed",
        };
        let _ = write!(text, "\nresult: {result}\n");
        for finding in &self.findings {
            let _ = writeln!(text, "\n{finding}");
        }
        for log in &self.kernel_logs {
            let _ = write!(text, "\n== kernel log: {} ==\n\n{}\n", title(log.order), log.text.trim_end());
        }
        text
    }
}

fn title(order: Order) -> &'static str {
    match order {
        Order::Vmlinux => "vmlinux",
        Order::TargetFirst => "module loaded before the livepatch",
        Order::LivepatchFirst => "module loaded after the livepatch",
    }
}

/// The init script's report (templates/vm-init.sh), taken apart.
#[derive(Default)]
pub(super) struct Report {
    phases: Vec<(PhaseName, Vec<TriggerOutput>)>,
    pub findings: Vec<(Id, String)>,
    pub log: Option<String>,
    pub ended: bool,
}

/// Where a line of text belongs.
enum Place {
    Nothing,
    Trigger,
    Finding,
    Log,
}

pub(super) fn read_report(text: &str, names: &[String]) -> Report {
    let mut report = Report::default();
    let mut place = Place::Nothing;
    for line in text.lines() {
        if let Some(step) = line.strip_prefix("@klp ") {
            place = read_step(step, names, &mut report);
            continue;
        }
        let Some(text) = line.strip_prefix("| ") else { continue };
        let target = match place {
            Place::Nothing => None,
            Place::Trigger => report.phases.last_mut().and_then(|p| p.1.last_mut()).map(|output| &mut output.text),
            Place::Finding => report.findings.last_mut().map(|finding| &mut finding.1),
            Place::Log => report.log.as_mut(),
        };
        if let Some(target) = target {
            let separator = if matches!(place, Place::Finding) { ["\n  ", text, ""] } else { ["", text, "\n"] };
            target.push_str(&separator.concat());
        }
    }
    report
}

fn read_step(step: &str, names: &[String], report: &mut Report) -> Place {
    let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
    match word {
        "phase" => {
            let known = [PhaseName::Before, PhaseName::Older, PhaseName::Loaded, PhaseName::Reloaded, PhaseName::After];
            report.phases.extend(known.into_iter().find(|p| p.id() == rest).map(|p| (p, Vec::new())));
        }
        "trigger" => {
            let (number, status) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = number.parse().ok().and_then(|n: usize| names.get(n));
            if let (Some(name), Some((_, outputs))) = (name, report.phases.last_mut()) {
                let status = status.parse().unwrap_or(u32::MAX);
                outputs.push(TriggerOutput { trigger: name.clone(), text: String::new(), status });
                return Place::Trigger;
            }
        }
        "failed" => {
            report.findings.push((VM_LOAD_FAILED, rest.to_string()));
            return Place::Finding;
        }
        "stuck" => {
            report.findings.push((
                VM_TRANSITION_STUCK,
                format!("the transition ({rest}) doesn't end; still in the old state are"),
            ));
            return Place::Finding;
        }
        "log" => {
            report.log = Some(String::new());
            return Place::Log;
        }
        "end" => report.ended = true,
        _ => {}
    }
    Place::Nothing
}

/// The first bad line of the kernel's log with what follows it, and the phase that it belongs to.
pub(super) fn kernel_warning(order: &str, log: &str) -> Option<Finding> {
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.iter().position(|line| is_bad(line))?;
    let phases = lines[..first].iter().rev().filter_map(|line| line.split_once("klp-extract: phase ").map(|p| p.1));
    let phase = phases.take(1).map(|p| format!(" after the start of phase \"{p}\"")).collect::<String>();
    let mut quoted: Vec<&str> = lines[first..].iter().take(QUOTED_LINES).copied().collect();
    // Later complaints may be the ones that matter; of each, its first line.
    let later = lines.iter().skip(first + QUOTED_LINES).filter(|line| is_bad(line));
    quoted.extend(later.take(QUOTED_LINES));
    let message = format!("{order}: the kernel complains{phase}:\n  {}", quoted.join("\n  "));
    Some(Finding::new(VM_KERNEL_WARNING, message))
}

fn is_bad(line: &str) -> bool {
    // Our own lines quote what insmod said; that is a finding of its own.
    if HARMLESS.iter().any(|word| line.contains(word)) || line.contains("klp-extract: ") {
        return false;
    }
    BAD.iter().any(|word| line.contains(word))
        || (line.contains("livepatch: ") && BAD_LIVEPATCH.iter().any(|word| line.contains(word)))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::VM_TIMEOUT;

    /// What the init script sends when all goes well; `loaded` is what the trigger prints meanwhile.
    fn report(phases: &[(&str, &str)], log: &str) -> String {
        let phases: String = phases
            .iter()
            .map(|(name, text)| format!("@klp phase {name}\n@klp trigger 0000 0\n| {text}\n| @klp end\n"))
            .collect();
        format!("@klp start vmlinux\n{phases}@klp log\n| boot\n| [1.0] klp-extract: start\n{log}@klp end\n")
    }

    fn transcript(boots: &[(Order, Boot)]) -> Transcript {
        let mut transcript = Transcript::new(Path::new("/boot/vmlinuz-6.1"), "TCG", vec!["t".into()]);
        boots.iter().for_each(|(order, boot)| transcript.add_boot(*order, boot));
        transcript.conclude();
        transcript
    }

    fn one(report: String) -> Transcript {
        transcript(&[(Order::Vmlinux, Boot { report, ..Boot::default() })])
    }

    fn ids(transcript: &Transcript) -> Vec<&str> {
        transcript.findings.iter().map(|f| f.id.0.id).collect()
    }

    const GOOD: [(&str, &str); 3] = [("before", "old"), ("loaded", "new"), ("after", "old")];

    #[test]
    fn old_fixed_old_passes() {
        let log = "| [1.1] lp: tainting kernel with TAINT_LIVEPATCH\n\
                   | [1.2] lp: module verification failed: signature and/or required key missing - tainting kernel\n\
                   | [1.3] livepatch: 'lp': patching complete\n";
        let transcript = one(report(&GOOD, log));
        assert_eq!((ids(&transcript), transcript.behaviour), (vec![], Behaviour::Shown));
        let outputs: Vec<&str> = transcript.phases.iter().map(|p| p.outputs[0].text.as_str()).collect();
        // A trigger can't speak for the script.
        assert_eq!(outputs, ["old\n@klp end\n", "new\n@klp end\n", "old\n@klp end\n"]);
        assert!(transcript.kernel_logs[0].text.starts_with("[1.0] klp-extract: start\n"));
        assert!(transcript.render().contains("loaded:\n  $ t\n    new\n"), "{}", transcript.render());
    }

    #[test]
    fn no_change_and_no_way_back_are_for_a_person_to_judge() {
        let same = one(report(&[("before", "old"), ("loaded", "old"), ("after", "old")], ""));
        assert_eq!((ids(&same), same.behaviour), (vec!["vm-behaviour-unchanged"], Behaviour::NotShown));
        let stays = one(report(&[("before", "old"), ("loaded", "new"), ("after", "new")], ""));
        assert_eq!((ids(&stays), stays.behaviour), (vec!["vm-not-restored"], Behaviour::NotShown));
    }

    #[test]
    fn the_second_order_is_compared_with_the_first() {
        let boot = |report| Boot { report, ..Boot::default() };
        let second = |loaded| boot(report(&[("loaded", loaded), ("after", "old")], ""));
        let both = |loaded| {
            transcript(&[(Order::TargetFirst, boot(report(&GOOD, ""))), (Order::LivepatchFirst, second(loaded))])
        };
        assert_eq!(both("new").behaviour, Behaviour::Shown);
        assert_eq!(ids(&both("old")), ["vm-behaviour-unchanged"]);
    }

    #[test]
    fn complaints_of_the_kernel_fail_the_test() {
        for line in [
            "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2",
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "general protection fault, probably for non-canonical address",
            "livepatch: symbol 'x' not found in symbol table",
            "livepatch: failed to initialize patch 'lp' for module 'vsock' (-22)",
            "lp: Unknown symbol unix_x (err -2)",
        ] {
            let transcript = one(report(&GOOD, &format!("| [1.1] klp-extract: phase loaded\n| [1.2] {line}\n")));
            assert_eq!(ids(&transcript), ["vm-kernel-warning"], "{line}");
            let message = &transcript.findings[0].message;
            assert!(message.contains("phase \"loaded\"") && message.contains(line), "{message}");
        }
        // What happened before the test is the image's own affair.
        let before = report(&GOOD, "").replace("| boot", "| WARNING: at boot");
        assert_eq!(ids(&one(before)), Vec::<&str>::new());
    }

    #[test]
    fn a_machine_that_dies_or_hangs_fails_the_test() {
        let cut = report(&GOOD, "").split("@klp phase after").next().unwrap().to_string();
        let boot = |console: &str, finding| Boot { report: cut.clone(), console: console.into(), finding };
        let died = transcript(&[(Order::Vmlinux, boot("Kernel panic - not syncing: x", None))]);
        assert_eq!((ids(&died), died.behaviour), (vec!["vm-kernel-warning"], Behaviour::NotShown));
        assert_eq!(ids(&transcript(&[(Order::Vmlinux, boot("", None))])), ["vm-kernel-warning"]);
        let limit = Finding::new(VM_TIMEOUT, "limit");
        assert_eq!(ids(&transcript(&[(Order::Vmlinux, boot("", Some(limit)))])), ["vm-timeout"]);
    }

    #[test]
    fn failures_that_the_script_reports_carry_their_details() {
        let stuck = "@klp stuck enable\n| kworker/0:1 (task 12)\n|    worker_thread+0x1\n@klp log\n| x\n@klp end\n";
        let transcript = one(stuck.into());
        assert_eq!(ids(&transcript), ["vm-transition-stuck"]);
        assert!(transcript.findings[0].message.contains("\n  kworker/0:1 (task 12)\n     worker_thread+0x1"));
        let failed = "@klp failed insmod livepatch.ko: insmod: can't insert\n@klp log\n@klp end\n";
        assert_eq!(ids(&one(failed.into())), ["vm-load-failed"]);
    }
}
