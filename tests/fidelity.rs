//! Units of a real kernel, recompiled and held against its image; the kernel is prepared on demand.
//!
//! ```text
//! make fidelity N=300 SEED=7
//! ```
//!
//! `KLP_FIDELITY_UNITS` is the size of the sample, `KLP_FIDELITY_SEED` another sample, `KLP_FIDELITY_ONLY` the units whose
//! path contains it, `KLP_FIDELITY_TEXT` those whose source does, `KLP_KERNEL` another prepared kernel.

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use klp_extract::object::facts::{Binding, Facts};
use klp_extract::object::fidelity::{self, Fidelity};
use klp_extract::object::layout::Layout;
use klp_extract::object::running::Running;
use klp_extract::object::{Compiled, compile};
use support::sample::{number, shuffle};

fn kernel() -> Kernel {
    std::env::var("KLP_KERNEL").map_or_else(|_| support::kernel::prepared(), |name| Kernel::open(&name).unwrap())
}

/// As the pipeline compiles it: generated sources lie in the build folder.
fn recompile(kernel: &Kernel, command: &CompileCommand, source: &Path, scratch: &Path) -> Compiled {
    compile(command, source, kernel.build(), scratch).unwrap_or_else(|error| panic!("{}: {error}", command.source))
}

fn compare(kernel: &Kernel, command: &CompileCommand, facts: &Facts) -> Fidelity {
    let running = Running::open(kernel, &command.object).unwrap().expect("the kernel has its image and modules");
    let layout = Layout::of(facts, running.symbols).followed(facts, &running);
    fidelity::compare(facts, layout, &running, |_| true)
}

#[test]
fn a_sample_of_the_kernel_is_faithful() {
    let kernel = kernel();
    let mut commands = kernel.all_commands().unwrap();
    commands.retain(|command| kernel.source().join(&command.source).is_file());
    shuffle(&mut commands, number("KLP_FIDELITY_SEED", 1));
    if let Ok(only) = std::env::var("KLP_FIDELITY_ONLY") {
        commands.retain(|command| command.source.contains(&only));
    }
    if let Ok(text) = std::env::var("KLP_FIDELITY_TEXT") {
        let source = |command: &CompileCommand| std::fs::read(kernel.source().join(&command.source)).unwrap();
        commands.retain(|command| String::from_utf8_lossy(&source(command)).contains(&text));
    }
    commands.truncate(number("KLP_FIDELITY_UNITS", 24) as usize);
    let scratch = tempfile::tempdir().unwrap();
    let started = Instant::now();
    kernel.memory().unwrap();
    let unpacking = started.elapsed();
    let (mut skipped, mut faithful, mut unknown, mut slowest, mut total) = (0, 0, 0, Duration::ZERO, Duration::ZERO);
    let (mut wrong, mut weak) = (Vec::new(), 0);
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
        if command.object == "vmlinux" {
            let overridden = overridden(&kernel, &compiled.facts);
            weak += overridden.len();
            assert!(overridden.iter().all(|name| !fidelity.faithful.contains(name)), "overridden: {overridden:?}");
        }
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
        "{} units, {skipped} skipped: {faithful} functions faithful, {unknown} unknown, {weak} overridden, {} false alarms; image {unpacking:?}, compare {:?} a \
         unit, {slowest:?} at most",
        commands.len(),
        wrong.len(),
        total / commands.len().max(1) as u32,
    );
    assert!(skipped * 20 <= commands.len(), "too many units don't compile");
    assert!(faithful > 0 && wrong.is_empty(), "{wrong:?}");
}

/// Weak functions of a unit of vmlinux in whose place another object's strong one runs: the linker has left a strong symbol.
/// Of several that are all weak (arch_perf_update_userpage) nothing but the code tells which one runs.
fn overridden(kernel: &Kernel, facts: &Facts) -> Vec<String> {
    let symbols = kernel.symbols("vmlinux").unwrap();
    let weak = facts.functions.iter().filter(|function| function.binding == Binding::Weak);
    let is_strong = |name: &String| symbols.named(name).any(|symbol| symbol.kind == 'T');
    weak.map(|function| function.name.clone()).filter(is_strong).collect()
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
    let kernel = kernel();
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

/// Other flags than the kernel was built with, which nothing but the code tells of.
#[test]
fn other_flags_are_seen() {
    let kernel = kernel();
    let scratch = tempfile::tempdir().unwrap();
    let header = scratch.path().join("other.h");
    std::fs::write(&header, "#undef CONFIG_IP_MROUTE\n").unwrap();
    let header = header.to_str().unwrap();
    let cases: &[&[&str]] = &[&["-O1"], &["-Os"], &["-include", header], &["-fstack-protector-all"]];
    const UNIT: &str = "net/ipv4/raw.c";
    let source = kernel.source().join(UNIT);
    for flags in cases {
        let mut command = kernel.commands_for(UNIT).unwrap().remove(0);
        command.args.extend(flags.iter().map(|flag| flag.to_string()));
        let compiled = recompile(&kernel, &command, &source, scratch.path());
        let fidelity = compare(&kernel, &command, &compiled.facts);
        println!("{flags:?}: {} of {}", fidelity.unfaithful.len(), compiled.facts.functions.len());
        assert!(fidelity.unfaithful.contains_key("raw_ioctl"), "{flags:?}: {fidelity:#?}");
    }
}

/// A kernel whose source, compiler or version is another one's: the plan is refused, and says which.
#[test]
fn causes_are_named() {
    let kernel = kernel();
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    for folder in ["", "net", "net/ipv4"] {
        std::fs::create_dir(source.join(folder)).unwrap();
        for entry in std::fs::read_dir(kernel.source().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = Path::new(folder).join(path.file_name().unwrap());
            if !["Makefile", "net", "net/ipv4", "net/ipv4/raw.c"].contains(&name.to_str().unwrap()) {
                std::os::unix::fs::symlink(&path, source.join(name)).unwrap();
            }
        }
    }
    let unit = std::fs::read_to_string(kernel.source().join("net/ipv4/raw.c")).unwrap();
    std::fs::write(source.join("net/ipv4/raw.c"), unit.replacen("case SIOCINQ: {", "case SIOCINQ + 2: {", 1)).unwrap();
    let makefile = std::fs::read_to_string(kernel.source().join("Makefile")).unwrap();
    let plan = |version: &str, compiler: &str| {
        let mut lines: Vec<String> = makefile.lines().map(String::from).collect();
        let sublevel = lines.iter_mut().find(|line| line.starts_with("SUBLEVEL =")).unwrap();
        if !version.is_empty() {
            *sublevel = format!("SUBLEVEL = {version}");
        }
        std::fs::write(source.join("Makefile"), lines.join("\n")).unwrap();
        let mut descriptor = kernel.descriptor.clone();
        descriptor.source = source.clone();
        if !compiler.is_empty() {
            descriptor.compiler = Some(compiler.into());
        }
        descriptor.write(scratch.path()).unwrap();
        let mut program = Command::new(support::kernel::PROGRAM);
        program.args(["plan", "--function", "raw_ioctl", "--file", "net/ipv4/raw.c", "-k"]);
        let output = program.arg(scratch.path().join("kernel.json")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("error[not-faithful]"), "{text}");
        text
    };
    let cases = [
        ("", "", "compiler and version number agree"),
        ("999", "", "the source's version differs: it is"),
        (
            "",
            "gcc-12 (Debian 12.1.0-1) 12.1.0, GNU ld",
            "the compiler differs: the kernel was built by gcc-12 (Debian 12.1.0-1)",
        ),
    ];
    for (version, compiler, words) in cases {
        let text = plan(version, compiler);
        assert!(text.contains(words), "{words}: {text}");
    }
}
