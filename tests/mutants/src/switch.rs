//! Which mutant is on: written into the crate by `tests/mutants`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

static ON: LazyLock<usize> = LazyLock::new(|| std::env::var("KLP_MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
static LOG: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("KLP_MUTANTS_REACHED").ok());
static REACHED: [AtomicBool; 4096] = [const { AtomicBool::new(false) }; 4096];

/// Is it the one that `$KLP_MUTANT` names? `$KLP_MUTANTS_REACHED` names a file for those that are asked for.
pub fn is(number: usize) -> bool {
    if let Some(log) = &*LOG
        && !REACHED[number].swap(true, Ordering::Relaxed)
    {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let _ = file.and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()));
    }
    *ON == number
}
