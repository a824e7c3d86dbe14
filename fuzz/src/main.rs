//! The reader that `KLP_FUZZ_TARGET` names, driven by libFuzzer.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let run = RUN.get_or_init(|| {
        let name = std::env::var("KLP_FUZZ_TARGET").expect("KLP_FUZZ_TARGET names the reader");
        let target = targets::TARGETS.iter().find(|target| target.name == name);
        target.unwrap_or_else(|| panic!("there is no reader {name}")).run
    });
    run(data);
});
