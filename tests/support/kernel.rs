//! The prepared Debian kernel that tests use, made on demand in the user's cache.

use std::process::Command;
use std::time::Instant;

use klp_extract::kernel::Kernel;

use super::root;

/// The release that the tests' expectations were written on; where the archive has dropped it, another one takes its place.
pub const WRITTEN_FOR: &str = "6.1.0-47-cloud-amd64";

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_klp-extract");

/// Prepares the kernel that `scripts/kernel` chooses, unless that was done before.
pub fn prepared() -> Kernel {
    let chosen = Command::new(root().join("scripts/kernel")).output().unwrap();
    let errors = String::from_utf8_lossy(&chosen.stderr);
    assert!(chosen.status.success(), "scripts/kernel: {errors}");
    let release = String::from_utf8(chosen.stdout).unwrap().trim().to_string();
    let started = Instant::now();
    let status = Command::new(PROGRAM).args(["prepare", "debian", &release]).status().unwrap();
    assert!(status.success(), "{release} can't be prepared; `klp-extract doctor` says what is missing");
    eprintln!("{release}: prepared in {:.0} s", started.elapsed().as_secs_f64());
    Kernel::open(&release).unwrap_or_else(|error| panic!("{error}"))
}
