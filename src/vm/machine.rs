//! The virtual machine itself: QEMU with a kernel's image and an initial file system, and what it leaves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::finding::{Error, Finding, Result, TOOL_FAILED, VM_TIMEOUT, io};
use crate::process::{Output, Program};

const QEMU: &str = "qemu-system-x86_64";

/// How often the machine's progress is looked at.
const POLL: Duration = Duration::from_millis(100);

/// An image, and how it is run here.
pub struct Machine {
    image: PathBuf,
    /// `KVM` or `TCG`.
    pub accelerator: &'static str,
}

/// What is left of one boot.
#[derive(Debug, Default)]
pub struct Boot {
    /// All that the kernel wrote to the first serial port.
    pub console: String,
    /// All that the init script wrote to the second.
    pub report: String,
    pub finding: Option<Finding>,
}

impl Machine {
    /// Looks whether KVM works with this image; `scratch` is a folder to try it in.
    pub fn new(image: &Path, scratch: &Path) -> Result<Machine> {
        Ok(Machine { image: image.into(), accelerator: accelerator(image, scratch)? })
    }

    /// Boots once, and waits until the machine ends. Its files are in `scratch/NAME`; `progress` gets a line a step.
    pub fn boot(
        &self,
        name: &str,
        initrd: &[u8],
        time_limit: Duration,
        scratch: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Boot> {
        let folder = scratch.join(name);
        std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
        let file = folder.join("initrd.cpio");
        std::fs::write(&file, initrd).map_err(io("write", &file))?;
        progress(&format!("{name}: booting {}", self.image.display()));
        // "quiet" keeps the console to errors; all of the log comes at the end, so its buffer must hold it.
        // An emulated timer on a busy machine may miss the kernel's test of it (check_timer() in
        // arch/x86/kernel/apic/io_apic.c), which panics then.
        let command_line = "console=ttyS0 quiet panic=-1 log_buf_len=4M no_timer_check";
        let machine = qemu(self.accelerator, &self.image, &folder)
            .args(["-m", "512", "-smp", "2", "-initrd", "initrd.cpio", "-append", command_line])
            .args(["-serial", "file:console.txt", "-serial", "file:report.txt"]);
        let started = Instant::now();
        let report = folder.join("report.txt");
        let ended = std::thread::scope(|scope| {
            let machine = scope.spawn(|| machine.time_limit(time_limit).output());
            let mut shown = 0;
            while !machine.is_finished() {
                std::thread::sleep(POLL);
                show_progress(&report, &mut shown, name, progress);
            }
            machine.join()
        });
        let mut boot = Boot { console: text(&folder.join("console.txt")), report: text(&report), finding: None };
        match ended {
            Ok(Ok(output)) if output.success => {}
            Ok(Ok(output)) => return Err(failed(&output)),
            Ok(Err(_)) if started.elapsed() >= time_limit => {
                let limit = time_limit.as_secs();
                let message = format!("{name}: still running after {limit} s, and ended");
                boot.finding = Some(Finding::new(VM_TIMEOUT, message));
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Finding::new(TOOL_FAILED, "the thread that waits for QEMU failed").into()),
        }
        Ok(boot)
    }
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

fn show_progress(report: &Path, shown: &mut usize, name: &str, progress: &mut dyn FnMut(&str)) {
    let text = text(report);
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let steps: Vec<&str> = whole.lines().filter_map(|line| line.strip_prefix("@klp ")).collect();
    for step in steps.iter().skip(*shown) {
        progress(&format!("{name}: {step}"));
    }
    *shown = steps.len().max(*shown);
}

/// A machine without disks, screen or network; relative names are in `folder`.
fn qemu(accelerator: &str, image: &Path, folder: &Path) -> Program {
    // With a thread for each processor, QEMU 7.2 now and then loses a processor when the kernel patches its own code, on a busy
    // machine: the other one waits for it for ever. That was seen with no livepatch loaded.
    let (accelerator, cpu) = if accelerator == "KVM" { ("kvm", "host") } else { ("tcg,thread=single", "max") };
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
