//! A livepatch tried in a virtual machine: the stock image in QEMU, the triggers run before the livepatch is loaded,
//! while it is, and after it was removed. For a module's functions both orders are tried, each in a boot of its own:
//! the module loaded before the livepatch, and after it.
//!
//! [`initrd`] is what the machine is given, [`transcript`] what is made of its answer.

mod initrd;
mod transcript;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::finding::{Error, Finding, Result, TOOL_FAILED, VM_TIMEOUT, io};
use crate::process::{Output, Program};
pub use transcript::{Behaviour, KernelLog, Phase, PhaseName, Transcript, TriggerOutput};

const QEMU: &str = "qemu-system-x86_64";

/// How often the machine's progress is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A program that shows the old or the new behaviour by what it prints or by its exit status.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// What the transcript calls it.
    pub name: String,
    /// A static x86-64 program or a `#!/bin/sh` script on this machine.
    pub program: PathBuf,
    pub args: Vec<String>,
}

/// What to try.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `vmlinuz` of the kernel.
    pub image: PathBuf,
    /// The livepatch's `.ko`, linked.
    pub livepatch: PathBuf,
    /// The livepatch module's name, with `-` or `_`.
    pub livepatch_name: String,
    /// The modules that the livepatch patches and all that they depend on, in load order
    /// ([`crate::kernel::modules::Modules::load_order`]); none for vmlinux.
    pub target_modules: Vec<PathBuf>,
    pub triggers: Vec<Trigger>,
    /// After the livepatch was loaded first: also remove the patched module and load it again.
    pub reload: bool,
    /// Livepatches that are loaded before it, in this order.
    pub older: Vec<PathBuf>,
    /// Does it replace them?
    pub replaces: bool,
    /// A static busybox; by default the one of the package busybox-static.
    pub busybox: Option<PathBuf>,
    /// For one boot with everything in it.
    pub time_limit: Duration,
    /// For the livepatch to be enabled, and again to be disabled.
    pub transition_limit: Duration,
    /// For one run of one trigger.
    pub trigger_limit: Duration,
}

impl Plan {
    pub fn new(image: &Path, livepatch: &Path, livepatch_name: &str) -> Plan {
        Plan {
            image: image.into(),
            livepatch: livepatch.into(),
            livepatch_name: livepatch_name.into(),
            target_modules: Vec::new(),
            triggers: Vec::new(),
            reload: false,
            older: Vec::new(),
            replaces: false,
            busybox: None,
            time_limit: Duration::from_secs(300),
            transition_limit: Duration::from_secs(60),
            trigger_limit: Duration::from_secs(30),
        }
    }

    /// As under /sys/kernel/livepatch and in /proc/modules.
    fn sysfs_name(&self) -> String {
        self.livepatch_name.replace('-', "_")
    }

    fn orders(&self) -> &'static [Order] {
        if self.target_modules.is_empty() { &[Order::Vmlinux] } else { &[Order::TargetFirst, Order::LivepatchFirst] }
    }
}

/// Which is loaded first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Only vmlinux is patched.
    Vmlinux,
    TargetFirst,
    LivepatchFirst,
}

impl Order {
    pub fn id(self) -> &'static str {
        match self {
            Order::Vmlinux => "vmlinux",
            Order::TargetFirst => "target-first",
            Order::LivepatchFirst => "livepatch-first",
        }
    }
}

/// Boots the kernel once per order and tries the livepatch. `scratch` receives initrds and raw logs; `progress` a line
/// for each step. `Err` where nothing could be tried; what went wrong in the machine is in [`Transcript::findings`].
pub fn run(plan: &Plan, scratch: &Path, progress: &mut dyn FnMut(&str)) -> Result<Transcript> {
    let image = plan.image.canonicalize().map_err(io("read", &plan.image))?;
    let accelerator = accelerator(&image, scratch)?;
    let mut transcript = Transcript::new(&image, accelerator, plan.triggers.iter().map(|t| t.name.clone()).collect());
    for order in plan.orders() {
        let boot = boot(plan, &image, *order, accelerator, scratch, progress)?;
        transcript.add_boot(*order, &boot);
    }
    transcript.conclude();
    Ok(transcript)
}

/// What is left of one boot.
#[derive(Debug, Default)]
struct Boot {
    /// All that the kernel wrote to the first serial port.
    console: String,
    /// All that the init script wrote to the second.
    report: String,
    finding: Option<Finding>,
}

fn boot(
    plan: &Plan,
    image: &Path,
    order: Order,
    accelerator: &str,
    scratch: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Boot> {
    let folder = scratch.join(order.id());
    std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
    let initrd = folder.join("initrd.cpio");
    std::fs::write(&initrd, initrd::build(plan, order)?).map_err(io("write", &initrd))?;
    progress(&format!("{}: booting {}", order.id(), image.display()));
    // "quiet" keeps the console to errors; all of the log comes at the end, so its buffer must hold it.
    let command_line = "console=ttyS0 quiet panic=-1 log_buf_len=4M";
    let machine = qemu(accelerator, image, &folder)
        .args(["-m", "512", "-smp", "2", "-initrd", "initrd.cpio", "-append", command_line])
        .args(["-serial", "file:console.txt", "-serial", "file:report.txt"]);
    let started = Instant::now();
    let report = folder.join("report.txt");
    let ended = std::thread::scope(|scope| {
        let machine = scope.spawn(|| machine.time_limit(plan.time_limit).output());
        let mut shown = 0;
        while !machine.is_finished() {
            std::thread::sleep(POLL);
            show_progress(&report, &mut shown, order, progress);
        }
        machine.join()
    });
    let mut boot = Boot { console: text(&folder.join("console.txt")), report: text(&report), finding: None };
    match ended {
        Ok(Ok(output)) if output.success => {}
        Ok(Ok(output)) => return Err(failed(&output)),
        Ok(Err(_)) if started.elapsed() >= plan.time_limit => {
            let limit = plan.time_limit.as_secs();
            let message = format!("{}: still running after {limit} s, and ended", order.id());
            boot.finding = Some(Finding::new(VM_TIMEOUT, message));
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(Finding::new(TOOL_FAILED, "the thread that waits for QEMU failed").into()),
    }
    Ok(boot)
}

fn failed(output: &Output) -> Error {
    let stderr = String::from_utf8_lossy(&output.stderr);
    // QEMU's words for a vmlinux without CONFIG_PVH.
    let advice = match stderr.contains("PVH ELF Note") {
        true => "\n  a vmlinux doesn't boot; prepare the kernel with its bzImage as --image",
        false => "",
    };
    Finding::new(TOOL_FAILED, format!("{QEMU} failed: {}{advice}", stderr.trim())).into()
}

/// A file that QEMU writes; a machine that never got so far left none.
fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\r', "")
}

fn show_progress(report: &Path, shown: &mut usize, order: Order, progress: &mut dyn FnMut(&str)) {
    let text = text(report);
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let steps: Vec<&str> = whole.lines().filter_map(|line| line.strip_prefix("@klp ")).collect();
    for step in steps.iter().skip(*shown) {
        progress(&format!("{}: {step}", order.id()));
    }
    *shown = steps.len().max(*shown);
}

/// A machine without disks, screen or network; relative names are in `folder`.
fn qemu(accelerator: &str, image: &Path, folder: &Path) -> Program {
    let (accelerator, cpu) = if accelerator == "KVM" { ("kvm", "host") } else { ("tcg,thread=multi", "max") };
    Program::new(QEMU)
        .folder(folder)
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none", "-accel", accelerator, "-cpu", cpu])
        .arg("-kernel")
        .arg(image)
}

/// `KVM` only where it really works: /dev/kvm may exist and still fail (nested machines). The probe boots the image with
/// nothing to run, which ends in a panic within a second or two.
fn accelerator(image: &Path, scratch: &Path) -> Result<&'static str> {
    let usable = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        return Ok("TCG");
    }
    let folder = scratch.join("kvm-probe");
    std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
    let probe = qemu("KVM", image, &folder)
        .args(["-m", "256", "-append", "console=ttyS0 panic=-1", "-serial", "file:console.txt"])
        .time_limit(Duration::from_secs(10))
        .output();
    let booted = probe.is_ok_and(|output| output.success) && text(&folder.join("console.txt")).contains("Kernel panic");
    Ok(if booted { "KVM" } else { "TCG" })
}
