//! `klp-extract extract`: sessions (see `support/session.rs`) of `testdata/extract/NAME/`, and that of docs/usage.md. No
//! kernel is needed.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use support::kernel::WRITTEN_FOR;
use support::{root, session};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let entries = std::fs::read_dir(root().join("testdata/extract")).expect("the cases are there");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    folders.sort();
    assert!(folders.len() >= 14, "testdata/extract has lost cases");
    let mut trials: Vec<Trial> = folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(folder.join("session.txt")).expect("a case has a session");
            Trial::test(format!("case::{name}"), move || in_copy(&folder, &text))
        })
        .collect();
    trials.push(Trial::test("docs::usage", || {
        let page = std::fs::read_to_string(root().join("docs/usage.md"))?;
        in_copy(&root().join("testdata/extract/externalize"), &session::of_page(&page))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a session in a copy of a case's folder, and sees that nothing is left in the folder for temporary files.
fn in_copy(folder: &Path, text: &str) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let (inside, temporary) = (scratch.path().join("case"), scratch.path().join("tmp"));
    for made in [&inside, &temporary] {
        std::fs::create_dir(made)?;
    }
    for entry in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.file_name() != "session.txt") {
        std::fs::copy(entry.path(), inside.join(entry.file_name()))?;
    }
    session::run_with(text, &inside, WRITTEN_FOR, &[("TMPDIR", temporary.clone())])?;
    match std::fs::read_dir(&temporary)?.count() {
        0 => Ok(()),
        left => Err(format!("{left} files are left in the folder for temporary files").into()),
    }
}
