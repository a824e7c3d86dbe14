//! Units of a real kernel, recompiled and held against its image. Needs a prepared kernel, and passes without one:
//!
//! ```text
//! KLP_EXTRACT_CACHE=/var/tmp/klp-cache KLP_KERNEL=6.1.0-47-cloud-amd64 KLP_FIDELITY_UNITS=200 \
//!     cargo test --release --test fidelity -- --nocapture
//! ```
//!
//! `KLP_KERNEL` names the kernel (else the first prepared one), `KLP_FIDELITY_UNITS` the size of the sample,
//! `KLP_FIDELITY_SEED` another sample, `KLP_FIDELITY_ONLY` the units whose path contains it.

use std::path::Path;
use std::time::{Duration, Instant};

use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::{self, Kernel};
use klp_extract::object::facts::Facts;
use klp_extract::object::fidelity::{self, Fidelity};
use klp_extract::object::running::Running;
use klp_extract::object::{Compiled, compile};

fn kernel() -> Option<Kernel> {
    let name = std::env::var("KLP_KERNEL").ok().or_else(|| kernel::names().ok()?.into_iter().next());
    let Some(name) = name else {
        println!("skipped: no kernel is prepared");
        return None;
    };
    Some(Kernel::open(&name).unwrap())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// xorshift64: the same sample on every machine.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for index in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(index, (state % (index as u64 + 1)) as usize);
    }
}

/// As the pipeline compiles it: generated sources lie in the build folder.
fn recompile(kernel: &Kernel, command: &CompileCommand, source: &Path, scratch: &Path) -> Compiled {
    compile(command, source, kernel.build(), scratch).unwrap_or_else(|error| panic!("{}: {error}", command.source))
}

fn compare(kernel: &Kernel, command: &CompileCommand, facts: &Facts) -> Fidelity {
    let running = Running::open(kernel, &command.object).unwrap().expect("the kernel has its image and modules");
    fidelity::compare(facts, &running, |_| true)
}

#[test]
fn a_sample_of_the_kernel_is_faithful() {
    let Some(kernel) = kernel() else { return };
    let mut commands = kernel.all_commands().unwrap();
    commands.retain(|command| kernel.source().join(&command.source).is_file());
    shuffle(&mut commands, number("KLP_FIDELITY_SEED", 1));
    if let Ok(only) = std::env::var("KLP_FIDELITY_ONLY") {
        commands.retain(|command| command.source.contains(&only));
    }
    commands.truncate(number("KLP_FIDELITY_UNITS", 10) as usize);
    let scratch = tempfile::tempdir().unwrap();
    let started = Instant::now();
    kernel.memory().unwrap();
    let unpacking = started.elapsed();
    let (mut skipped, mut faithful, mut unknown, mut slowest, mut total) = (0, 0, 0, Duration::ZERO, Duration::ZERO);
    let mut wrong = Vec::new();
    for command in &commands {
        let source = kernel.source().join(&command.source);
        // Some include what only a whole build generates.
        let Ok(compiled) = compile(command, &source, kernel.build(), scratch.path()) else {
            println!("skipped     {}: doesn't compile here", command.source);
            skipped += 1;
            continue;
        };
        kernel.symbols(&command.object).unwrap();
        let started = Instant::now();
        let fidelity = compare(&kernel, command, &compiled.facts);
        slowest = slowest.max(started.elapsed());
        total += started.elapsed();
        faithful += fidelity.faithful.len();
        for (name, why) in &fidelity.unknown {
            unknown += 1;
            println!("unknown     {} {name}: {why}", command.source);
        }
        for (name, why) in fidelity.unfaithful {
            println!("not faithful {} ({}) {name}: {why}", command.source, command.object);
            // Another object's strong version runs: not the tool's mistake, but the kernel's choice.
            if !why.starts_with("it is weak") {
                wrong.push(name);
            }
        }
    }
    println!(
        "{} units, {skipped} skipped: {faithful} functions faithful, {unknown} unknown, {} false alarms; image {unpacking:?}, compare {:?} a \
         unit, {slowest:?} at most",
        commands.len(),
        wrong.len(),
        total / commands.len().max(1) as u32,
    );
    assert!(skipped * 20 <= commands.len(), "too many units don't compile");
    assert!(faithful > 0 && wrong.is_empty(), "{wrong:?}");
}

/// A change that only the comparison can see: the text replaced, and what the reason must say of which function.
struct Change {
    unit: &'static str,
    old: &'static str,
    new: &'static str,
    function: &'static str,
    reason: &'static str,
}

/// Most of them keep the layout, so that only bytes or what they lead to can tell.
const CHANGES: &[Change] = &[
    Change {
        unit: "net/ipv4/raw.c",
        old: "\tcase SIOCINQ: {",
        new: "\tcase SIOCINQ + 2: {",
        function: "raw_ioctl",
        reason: "it has 81 fe 1d 54 00 00 where",
    },
    Change {
        unit: "net/ipv4/raw.c",
        old: "forgot to set AF_INET. Fix it!",
        new: "forgot to set AF_INET. Fix at!",
        function: "raw_sendmsg",
        reason: "raw_sendmsg.cold: at +0xa it leads to",
    },
    Change {
        unit: "net/ipv4/raw.c",
        old: "sk_common_release(sk);",
        new: "sk_free(sk);",
        function: "raw_close",
        reason: "it leads to sk_common_release, not to sk_free",
    },
    Change {
        unit: "net/sched/sch_generic.c",
        old: "1, 2, 2, 2, 1, 2, 0, 0",
        new: "1, 2, 2, 1, 1, 2, 0, 0",
        function: "pfifo_fast_enqueue",
        reason: "in prio2band its contents differ",
    },
    Change {
        unit: "net/ipv4/af_inet.c",
        old: "void inet_sock_destruct(struct sock *sk)\n{",
        new: "void inet_sock_destruct(struct sock *sk)\n\n{",
        function: "inet_sock_destruct",
        reason: "in __bug_table",
    },
    Change {
        unit: "arch/x86/kernel/fpu/core.c",
        old: "if (!cpu_feature_enabled(X86_FEATURE_XSAVE))",
        new: "if (!cpu_feature_enabled(X86_FEATURE_XSAVES))",
        function: "fpu_copy_uabi_to_guest_fpstate",
        reason: "in .altinstructions",
    },
    Change {
        unit: "net/ipv4/udp.c",
        old: "\t\tif (static_branch_unlikely(&udp_encap_needed_key))",
        new: "\t\tif (static_branch_unlikely(&bpf_sk_lookup_enabled))",
        function: "__udp4_lib_err",
        reason: "in __jump_table",
    },
    Change {
        unit: "kernel/panic.c",
        old: "",
        new: "",
        function: "nmi_panic_self_stop",
        reason: "it is weak, and the running kernel has another object's version",
    },
];

#[test]
fn changes_are_seen() {
    let Some(kernel) = kernel() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut tried = 0;
    for change in CHANGES {
        let mut command = kernel.commands_for(change.unit).unwrap().remove(0);
        let file = kernel.source().join(change.unit);
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains(change.old) {
            println!("skipped: this kernel's {} has no {:?}", change.unit, change.old);
            continue;
        }
        tried += 1;
        let source = scratch.path().join(file.file_name().unwrap());
        std::fs::write(&source, text.replacen(change.old, change.new, 1)).unwrap();
        // Quote includes and `__FILE__` are to be those of the kernel's folder.
        let folder = file.parent().unwrap().display();
        command.args.push(format!("-iquote{folder}"));
        let unit = Path::new(change.unit).parent().unwrap().display();
        command.args.push(format!("-fmacro-prefix-map={}={unit}", scratch.path().display()));
        let compiled = recompile(&kernel, &command, &source, &scratch.path().join("out"));
        let fidelity = compare(&kernel, &command, &compiled.facts);
        let why = fidelity.unfaithful.get(change.function);
        let seen = why.is_some_and(|why| why.contains(change.reason));
        assert!(seen, "{} {}: {why:?} of {:#?}", change.unit, change.function, fidelity.unfaithful);
    }
    assert!(tried * 2 > CHANGES.len(), "choose other changes for this kernel");
}
