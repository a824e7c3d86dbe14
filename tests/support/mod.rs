//! What tests on a real kernel share: the prepared kernel, and sessions.

pub mod json;
pub mod kernel;
pub mod own;
pub mod sample;
pub mod scopes;
pub mod session;
pub mod trees;

use std::path::PathBuf;

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// In CI nothing may be skipped.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
