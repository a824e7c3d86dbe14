//! A kernel of the user's own, described by `prepare local`: `own-kernel/build` makes a small one, under
//! `-flive-patching=inline-clone` and with clone reports, and the sessions of `testdata/own-kernel/NAME/` go from patches to it
//! to livepatches that are seen to work.
//!
//! In the sessions `$SOURCE`, `$BUILD`, `$MODULES` and `$IMAGE` are its parts, `$DEBIAN` is the folder of the prepared Debian
//! kernel, and the cache is a scratch folder in which it is prepared as `own`.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use support::{kernel, root, session};

/// What sessions are given.
struct Own {
    scratch: tempfile::TempDir,
    release: String,
    environment: Vec<(&'static str, PathBuf)>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    let own = Arc::new(prepared());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root().join("testdata/own-kernel"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 6, "testdata/own-kernel has lost cases");
    let trials = folders.into_iter().map(|folder| trial(folder, &own)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Builds the kernel, unless that was done before, and prepares it in a cache of its own.
fn prepared() -> Own {
    let debian = kernel::prepared();
    let debian_folder = debian.source().parent().unwrap().to_path_buf();
    let started = Instant::now();
    let build = Command::new(root().join("tests/own-kernel/build"))
        .arg(&debian_folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(build.status.success(), "tests/own-kernel/build failed");
    eprintln!("own kernel: built in {:.0} s", started.elapsed().as_secs_f64());
    let folder = PathBuf::from(String::from_utf8(build.stdout).unwrap().trim());
    let build = folder.join("build");
    let release = std::fs::read_to_string(build.join("include/config/kernel.release")).unwrap().trim().to_string();
    let scratch = tempfile::tempdir().unwrap();
    let environment = vec![
        ("SOURCE", debian.source().to_path_buf()),
        ("IMAGE", build.join("arch/x86/boot/bzImage")),
        ("MODULES", folder.join("modules/lib/modules").join(&release)),
        ("BUILD", build),
        ("DEBIAN", debian_folder),
        ("KLP_EXTRACT_CACHE", scratch.path().join("cache")),
    ];
    let own = Own { scratch, release, environment };
    let path = |name: &str| &own.environment.iter().find(|(variable, _)| *variable == name).unwrap().1;
    let status = Command::new(kernel::PROGRAM)
        .args(["prepare", "local", "own"])
        .args([Path::new("--source"), path("SOURCE"), Path::new("--build"), path("BUILD")])
        .args([Path::new("--image"), path("IMAGE"), Path::new("--headers"), path("BUILD")])
        .args([Path::new("--modules"), path("MODULES")])
        .env("KLP_EXTRACT_CACHE", path("KLP_EXTRACT_CACHE"))
        .status()
        .unwrap();
    assert!(status.success(), "the kernel that was built can't be prepared");
    own
}

fn trial(folder: PathBuf, own: &Arc<Own>) -> Trial {
    let own = own.clone();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    Trial::test(format!("own-kernel::{name}"), move || {
        let scratch = own.scratch.path().join(&name);
        std::fs::create_dir(&scratch)?;
        for input in [&folder, &root().join("demo")] {
            session::copy(input, &scratch)?;
        }
        let text = std::fs::read_to_string(folder.join("session.txt"))?;
        session::run_with(&text, &scratch, &own.release, &own.environment).map_err(Failed::from)
    })
}
