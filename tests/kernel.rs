//! End to end on a real kernel: sessions (see `support/session.rs`) of `testdata/kernel/NAME/` and of the README, those of
//! `testdata/shared-cases/NAME/` where real fixes lie in `../shared/cases/NAME/` (or `$KLP_CASES/NAME/`), and the front end held against `gcc -E`.
//!
//! A session runs in a scratch folder that holds copies of the case's files.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use libtest_mimic::{Arguments, Failed, Trial};
use support::sample::{number, shuffle};
use support::{in_ci, json, kernel, root, scopes, session, trees};

/// The source version that the shared cases are cut for.
const SHARED_FOR: &str = "6.1.170-3";

/// The shared case that docs/tutorial.md is about.
const TUTORIAL: &str = "tcp-attach-filter";

/// Sessions of testdata/kernel that are run, drawn by KLP_SESSION_SEED, unless KLP_SESSIONS says how many (or `all`).
const SESSIONS: usize = 6;

/// Units that the self-check looks at, unless KLP_SELF_CHECK says how many.
const SELF_CHECKED: u64 = 24;

/// Units in which the closures of so many functions are compared, unless KLP_SCOPES says in how many units.
const SCOPED: u64 = 8;
const SCOPED_FUNCTIONS: usize = 4;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kernel = Arc::new(kernel::prepared());
    let scratch = Arc::new(tempfile::tempdir().unwrap());
    let mut trials = own_cases(&kernel, &scratch, arguments.filter.is_some());
    trials.extend(shared_cases(&kernel, &scratch));
    trials.push(json_page(&kernel, &scratch));
    trials.extend(patch_stage(&kernel));
    trials.extend(self_check(&kernel));
    trials.extend(scopes(&kernel));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A sample of the sessions, all of them where some are asked for by name.
fn own_cases(kernel: &Arc<Kernel>, scratch: &Arc<tempfile::TempDir>, all: bool) -> Vec<Trial> {
    let mut folders = folders(&root().join("testdata/kernel"));
    let there = folders.len();
    assert!(there >= 50, "testdata/kernel has lost cases");
    if !all && std::env::var("KLP_SESSIONS").as_deref() != Ok("all") {
        let seed = number("KLP_SESSION_SEED", 1);
        shuffle(&mut folders, seed);
        folders.sort_by_key(|folder| !is_always_run(folder));
        folders.truncate(number("KLP_SESSIONS", SESSIONS as u64) as usize);
        println!("{} of {there} sessions, drawn by KLP_SESSION_SEED={seed}; all of them: make sessions", folders.len());
    }
    let mut trials: Vec<Trial> = folders
        .into_iter()
        .map(|folder| {
            let text = std::fs::read_to_string(folder.join("session.txt")).unwrap();
            let name = name(&folder);
            trial(format!("session::{name}"), text, vec![folder, root().join("demo")], kernel, scratch)
        })
        .collect();
    let readme = session::of_page(&std::fs::read_to_string(root().join("README.md")).unwrap());
    trials.push(trial("session::readme".into(), readme, vec![root().join("demo")], kernel, scratch));
    let editing = session::of_page(&std::fs::read_to_string(root().join("docs/editing.md")).unwrap());
    trials.push(trial("session::editing".into(), editing, vec![root().join("demo")], kernel, scratch));
    trials
}

/// A session says so in its first line.
fn is_always_run(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("session.txt")).is_ok_and(|text| text.starts_with("# Always run."))
}

/// The real fixes; each needs the kernel version that it was cut for, or one that it applies to as well.
fn shared_cases(kernel: &Arc<Kernel>, scratch: &Arc<tempfile::TempDir>) -> Vec<Trial> {
    let Some(shared) = shared_folder() else {
        eprintln!("skipped: the real fixes of testdata/shared-cases: neither $KLP_CASES nor ../shared/cases is there");
        return Vec::new();
    };
    let trigger = scratch.path().join("trigger");
    let compiled =
        Command::new("gcc").args(["-static", "-O1", "-o"]).arg(&trigger).arg(shared.join("trigger.c")).status();
    assert!(compiled.unwrap().success(), "trigger.c doesn't compile");
    let mut trials = Vec::new();
    for folder in folders(&root().join("testdata/shared-cases")) {
        let name = name(&folder);
        let case = shared.join(&name);
        if let Some(why) = unfit(kernel, &case) {
            assert!(!in_ci(), "{name}: {why}; nothing is skipped in CI");
            eprintln!("skipped: {name}: {why}");
            continue;
        }
        let text = std::fs::read_to_string(folder.join("session.txt")).unwrap();
        if name == TUTORIAL {
            let page = session::of_page(&std::fs::read_to_string(root().join("docs/tutorial.md")).unwrap());
            trials.push(trial("shared::tutorial".into(), page, vec![case.clone(), trigger.clone()], kernel, scratch));
        }
        trials.push(trial(format!("shared::{name}"), text, vec![case, trigger.clone()], kernel, scratch));
    }
    trials
}

/// Where the real fixes are: KLP_CASES, else beside the checkout.
fn shared_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("KLP_CASES").map_or_else(|| root().join("../shared/cases"), PathBuf::from);
    folder.canonicalize().ok()
}

/// Why a real fix can't be tried on this kernel.
fn unfit(kernel: &Kernel, case: &Path) -> Option<String> {
    let patch = case.join("fix.patch");
    if !patch.is_file() {
        return Some(format!("there is no {}", patch.display()));
    }
    if kernel.descriptor.version.as_deref().is_some_and(|version| version.contains(SHARED_FOR)) {
        return None;
    }
    let mut program = Command::new("patch");
    program.args(["-p1", "-s", "-f", "--dry-run", "--fuzz=0", "-d"]).arg(kernel.source()).arg("-i").arg(&patch);
    let applies = program.output().is_ok_and(|output| output.status.success());
    (!applies).then(|| format!("the patch is cut for {SHARED_FOR} and doesn't apply to {}", kernel.descriptor.release))
}

/// A named test that copies files into a folder of its own and runs a session there.
fn trial(
    name: String,
    text: String,
    inputs: Vec<PathBuf>,
    kernel: &Arc<Kernel>,
    scratch: &Arc<tempfile::TempDir>,
) -> Trial {
    let (kernel, scratch) = (kernel.clone(), scratch.clone());
    Trial::test(name.clone(), move || {
        let folder = scratch.path().join(name.replace("::", "-"));
        std::fs::create_dir(&folder)?;
        for input in &inputs {
            session::copy(input, &folder)?;
        }
        session::run(&text, &folder, &kernel.descriptor.release).map_err(Failed::from)
    })
}

/// The documentation of livepatch.json holds for a real one.
fn json_page(kernel: &Arc<Kernel>, scratch: &Arc<tempfile::TempDir>) -> Trial {
    let (kernel, scratch) = (kernel.clone(), scratch.clone());
    Trial::test("docs::livepatch-json", move || {
        let patch = std::fs::read_to_string(root().join("demo/proc-version.patch"))?;
        // A line off, so that there is a finding with a place.
        let input = scratch.path().join("off.patch");
        std::fs::write(&input, patch.replace("@@ -14,4 +14,5 @@", "@@ -13,4 +13,5 @@"))?;
        let folder = scratch.path().join("livepatch-json");
        let mut create = Command::new(kernel::PROGRAM);
        create.arg("create").arg(&input).args(["-k", &kernel.descriptor.name]).arg("-o").arg(&folder);
        let output = create.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let page = std::fs::read_to_string(root().join("docs/livepatch-json.md"))?;
        let value = serde_json::from_slice(&std::fs::read(folder.join("livepatch.json"))?)?;
        json::compare(&page, &value).map_err(Failed::from)
    })
}

/// Every patch of the other tests, and every real fix, applied here and by patch(1).
fn patch_stage(kernel: &Arc<Kernel>) -> Vec<Trial> {
    let own = ["demo", "testdata/kernel"].map(|parent| root().join(parent));
    let files =
        own.into_iter().chain(shared_folder()).flat_map(|parent| walkdir::WalkDir::new(parent).sort_by_file_name());
    let patches = files
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .filter(|path| path.extension() == Some("patch".as_ref()));
    let same = kernel.clone();
    let overlay = Trial::test("overlay::compiles-the-same", move || {
        trees::overlay_compiles_the_same(&same).map_err(Failed::from)
    });
    let trials = patches.map(|patch| {
        let kernel = kernel.clone();
        let folder = patch.parent().map(name).unwrap_or_default();
        let file = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(format!("patch::{folder}-{file}"), move || {
            trees::applies_like_patch(&kernel, &patch).map_err(Failed::from)
        })
    });
    trials.chain([overlay]).collect()
}

/// The front end's tokens are those of `gcc -E`, in a sample of units that is the same in every run.
fn self_check(kernel: &Arc<Kernel>) -> Vec<Trial> {
    let sources = sources(kernel);
    // `modules_prepare` leaves this unit's flask.h out.
    let with_generated = sources.iter().position(|command| command.source == "security/selinux/avc.c");
    let mut chosen = sample(sources.len(), number("KLP_SELF_CHECK", SELF_CHECKED) as usize);
    chosen.extend(with_generated);
    let trial = |index: usize| {
        let (kernel, command) = (kernel.clone(), sources[index].clone());
        Trial::test(format!("self-check::{}", command.output), move || {
            klp_extract::unit::expanded(&kernel.absolute(&command), kernel.build())?;
            Ok(())
        })
    };
    chosen.into_iter().map(trial).collect()
}

/// The closures are the same whatever libclang is given, in a sample of units.
fn scopes(kernel: &Arc<Kernel>) -> Vec<Trial> {
    let sources = sources(kernel);
    let trial = |index: usize| {
        let (kernel, command) = (kernel.clone(), sources[index].clone());
        Trial::test(format!("scopes::{}", command.output), move || {
            scopes::agree(&kernel, &command, SCOPED_FUNCTIONS).map_err(Failed::from)
        })
    };
    sample(sources.len(), number("KLP_SCOPES", SCOPED) as usize).into_iter().map(trial).collect()
}

/// The kernel's units. Sources that the build generates aren't there in a kernel that was only prepared.
fn sources(kernel: &Kernel) -> Vec<CompileCommand> {
    let mut sources = kernel.all_commands().unwrap();
    sources.retain(|command| kernel.source().join(&command.source).is_file());
    assert!(sources.len() > 1000, "{} has only {} units", kernel.descriptor.name, sources.len());
    sources
}

/// Different numbers below `all`, by a fixed seed (SplitMix64), so that a larger sample contains a smaller one.
fn sample(all: usize, wanted: usize) -> BTreeSet<usize> {
    let mut chosen = BTreeSet::new();
    let mut state: u64 = 61_170;
    while chosen.len() < wanted.min(all) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chosen.insert(((number ^ (number >> 31)) % all as u64) as usize);
    }
    chosen
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
