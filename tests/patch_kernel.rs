//! The patch stage on a real kernel tree; run by hand, as it needs one:
//!
//! ```text
//! KLP_SOURCE=linux-source-6.1 KLP_BUILD=kb KLP_CASES=cases cargo test --release --test patch_kernel -- --ignored --nocapture
//! ```
//!
//! The build folder is a prepared out-of-tree build in which the TUs named below were compiled (`.cmd` files).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use klp_extract::kernel::command::CompileCommand;
use klp_extract::patch::{FileState, Form, Overlay, apply_all, read, relevant_files};
use klp_extract::process::Program;

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("set {name}")).into()
}

/// The command of a TU, from the `.cmd` file of any compiled one: only names differ that don't matter here.
fn command(build: &Path, source: &Path, like: &str, unit: &str) -> CompileCommand {
    let (folder, name) = like.rsplit_once('/').unwrap();
    let text = std::fs::read_to_string(build.join(format!("{folder}/.{name}.o.cmd"))).unwrap();
    let line = text.lines().next().unwrap().split_once(":= ").unwrap().1;
    let line = line.split(" ; ").next().unwrap();
    let line = line.replace(
        &format!("{}/{folder}", source.display()),
        &format!("{}/{}", source.display(), unit.rsplit_once('/').unwrap().0),
    );
    let mut words = shlex::split(&line).unwrap();
    words.truncate(words.iter().position(|w| w == "-c").unwrap());
    let compiler = words.remove(0);
    words.retain(|w| !w.starts_with("-Wp,-MMD") && w != "-fdump-ipa-clones");
    let (source, output) = (format!("{unit}.c"), format!("{unit}.o"));
    CompileCommand { source, output, compiler, args: words, object: "vmlinux".into() }
}

fn gcc(command: &CompileCommand, build: &Path, source: &Path, more: &[&str]) -> Vec<u8> {
    let file = source.join(&command.source);
    let program = Program::new(&command.compiler).args(&command.args).args(more).arg(file).folder(build);
    program.run(&format!("compile {}", command.source)).unwrap()
}

#[test]
#[ignore = "needs a kernel tree"]
fn cases_apply() {
    let source = variable("KLP_SOURCE");
    let mut cases: Vec<_> = std::fs::read_dir(variable("KLP_CASES")).unwrap().map(|e| e.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let Ok(bytes) = std::fs::read(case.join("fix.patch")) else { continue };
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let sets = read(&[(name.clone(), bytes)], None).unwrap();
        let applied = apply_all(&sets, &source, 0).unwrap();
        let (code, _) = relevant_files(&sets).unwrap();
        println!(
            "{name}: {:?} {:?} {code:?}, {} hunks",
            sets[0].header.subject,
            sets[0].header.cves,
            applied.hunks.len()
        );
        for finding in &applied.findings {
            println!("  {finding}");
        }
        // The reference is patch(1) itself, on copies of the files.
        let scratch = tempfile::tempdir().unwrap();
        for file in &code {
            let to = scratch.path().join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(source.join(file), &to).unwrap();
        }
        let patch = case.join("fix.patch");
        Program::new("patch").args(["-s", "-p1", "-i"]).arg(&patch).folder(scratch.path()).run("patch").unwrap();
        for (path, state) in &applied.files {
            assert_eq!(*state, FileState::Content(std::fs::read(scratch.path().join(path)).unwrap()), "{path}");
        }
    }
}

#[test]
#[ignore = "needs a kernel tree"]
fn overlay_compiles_the_same() {
    let (source, build) = (variable("KLP_SOURCE"), variable("KLP_BUILD"));
    let text = std::fs::read(source.join("net/unix/af_unix.c")).unwrap();
    let same = BTreeMap::from([("net/unix/af_unix.c".to_string(), FileState::Content(text))]);
    let original = command(&build, &source, "net/unix/af_unix", "net/unix/af_unix");
    let plain = gcc(&original, &build, &source, &["-E", "-P"]);
    let plain_object = object(&original, &build, &source);
    for form in [Form::Chain, Form::Full] {
        let scratch = tempfile::tempdir_in(scratch()).unwrap();
        let start = Instant::now();
        let overlay = Overlay::with_form(&source, scratch.path(), &same, form).unwrap();
        println!("{form:?}: laid out in {:.2?}", start.elapsed());
        let there = overlay.command(&original, &build).unwrap();
        let start = Instant::now();
        assert_eq!(gcc(&there, &build, &source, &["-E", "-P"]), plain, "{form:?}");
        println!("{form:?}: preprocessed in {:.2?}", start.elapsed());
        assert!(object(&there, &build, &source) == plain_object, "{form:?}: the object differs");
        let start = Instant::now();
        drop(scratch);
        println!("{form:?}: removed in {:.2?}", start.elapsed());
    }
}

/// Where the overlay goes: `KLP_SCRATCH`, else the system's folder for temporary files.
fn scratch() -> PathBuf {
    std::env::var_os("KLP_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn object(command: &CompileCommand, build: &Path, source: &Path) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Debug information holds the path of the source, and nothing that runs depends on it.
    gcc(command, build, source, &["-g0", "-c", "-o", file.path().to_str().unwrap()]);
    std::fs::read(file.path()).unwrap()
}

#[test]
#[ignore = "needs a kernel tree"]
fn patched_source_and_header_reach_the_compiler() {
    let (source, build, cases) = (variable("KLP_SOURCE"), variable("KLP_BUILD"), variable("KLP_CASES"));
    for (case, unit, text) in
        [("unix-siocatmark", "net/unix/af_unix", "sk->sk_type != "), ("gue-remcsum-inline", "net/ipv4/fou_core", "? ")]
    {
        let patch = cases.join(case).join("fix.patch");
        let sets = read(&[(case.into(), std::fs::read(patch).unwrap())], None).unwrap();
        let applied = apply_all(&sets, &source, 0).unwrap();
        let scratch = tempfile::tempdir_in(scratch()).unwrap();
        let overlay = Overlay::new(&source, scratch.path(), &applied.files).unwrap();
        let original = command(&build, &source, "net/unix/af_unix", unit);
        let before = gcc(&original, &build, &source, &["-E", "-P"]);
        let after = gcc(&overlay.command(&original, &build).unwrap(), &build, &source, &["-E", "-P"]);
        let (before, after) = (String::from_utf8(before).unwrap(), String::from_utf8(after).unwrap());
        let known: std::collections::BTreeSet<&str> = before.lines().collect();
        let added: Vec<&str> = after.lines().filter(|l| !known.contains(l)).collect();
        println!("{case}: {:?}: {added:?}", overlay.form());
        assert!(added.iter().any(|l| l.contains(text)), "{case}");
        overlay_object(&overlay, &original, &build, &source);
    }
}

fn overlay_object(overlay: &Overlay, original: &CompileCommand, build: &Path, source: &Path) {
    let (before, after) =
        (object(original, build, source), object(&overlay.command(original, build).unwrap(), build, source));
    assert!(before != after, "{}: the patch changes nothing", original.source);
}
