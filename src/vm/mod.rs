//! A livepatch tried in a virtual machine: the stock image in QEMU, the triggers run before the livepatch is loaded,
//! while it is, and after it was removed. For a module's functions both orders are tried, each in a boot of its own:
//! the module loaded before the livepatch, and after it.
//!
//! [`initrd`] is what the machine is given, [`machine`] runs it, [`transcript`] is what is made of its answer. [`series`] loads
//! many livepatches, one after another.

mod initrd;
mod machine;
pub mod series;
mod transcript;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::finding::{Result, io};
use machine::Machine;
pub use transcript::{Behaviour, KernelLog, Phase, PhaseName, Transcript, TriggerOutput};

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
    let machine = Machine::new(&image, scratch)?;
    let names = plan.triggers.iter().map(|trigger| trigger.name.clone()).collect();
    let mut transcript = Transcript::new(&image, machine.accelerator, names);
    for order in plan.orders() {
        let boot = machine.boot(order.id(), &initrd::build(plan, *order)?, plan.time_limit, scratch, progress)?;
        transcript.add_boot(*order, &boot);
    }
    transcript.conclude();
    Ok(transcript)
}
