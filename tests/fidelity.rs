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
    let (mut faithful, mut unknown, mut slowest, mut total) = (0, 0, Duration::ZERO, Duration::ZERO);
    let mut wrong = Vec::new();
    for command in &commands {
        let source = kernel.source().join(&command.source);
        let compiled = recompile(&kernel, command, &source, scratch.path());
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
        "{} units: {faithful} functions faithful, {unknown} unknown, {} false alarms; image {unpacking:?}, compare {:?} a \
         unit, {slowest:?} at most",
        commands.len(),
        wrong.len(),
        total / commands.len().max(1) as u32,
    );
    assert!(faithful > 0 && wrong.is_empty(), "{wrong:?}");
}
