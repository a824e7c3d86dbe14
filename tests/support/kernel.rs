//! The prepared Debian kernels that tests use, made on demand in the user's cache.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use klp_extract::kernel::Kernel;

use super::root;

/// The release that the tests' expectations were written on; where the archive has dropped it, another one takes its place.
pub const WRITTEN_FOR: &str = "6.1.0-47-cloud-amd64";

/// Stands in sessions for the release of the second kernel generation, of which the archive keeps only the newest ones.
pub const SECOND: &str = "{6.12}";

/// The binary under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_klp-extract");

/// Prepares the kernel that `scripts/kernel` chooses, unless that was done before.
pub fn prepared() -> Kernel {
    let release = prepare("6.1");
    Kernel::open(&release).unwrap_or_else(|error| panic!("{error}"))
}

/// The release of the second generation's kernel, which is prepared when the first session asks for it.
pub fn second() -> &'static str {
    static RELEASE: OnceLock<String> = OnceLock::new();
    RELEASE.get_or_init(|| prepare("6.12"))
}

/// Prepares the kernel of a series that `scripts/kernel` chooses, and yields its release.
fn prepare(series: &str) -> String {
    let chosen = Command::new(root().join("scripts/kernel")).arg(series).output().unwrap();
    let errors = String::from_utf8_lossy(&chosen.stderr);
    assert!(chosen.status.success(), "scripts/kernel {series}: {errors}");
    let release = String::from_utf8(chosen.stdout).unwrap().trim().to_string();
    let started = Instant::now();
    let status = Command::new(PROGRAM).args(["prepare", "debian", &release]).status().unwrap();
    assert!(status.success(), "{release} can't be prepared; `klp-extract doctor` says what is missing");
    eprintln!("{release}: prepared in {:.0} s", started.elapsed().as_secs_f64());
    release
}
