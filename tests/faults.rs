//! Faults of all kinds while a module is made: the program is killed, interrupted, runs out of space, misses a tool, has one that
//! fails or hangs, or is not alone. The output folder is absent or complete, one error says what is wrong, nothing is left behind.
//!
//! On the prepared Debian kernel. `make kills N=200` kills more often than every run does, and starts more runs at once.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klp_extract::kernel::Kernel;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::sample::number;
use support::{kernel, root};

/// How often `create` is killed, unless KLP_KILLS says so.
const KILLS: u64 = 12;

/// How many runs of `create` there are at once, unless KLP_AT_ONCE says so.
const AT_ONCE: u64 = 3;

/// Files that a module's folder has.
const COMPLETE: [&str; 5] = ["Kbuild", "Makefile", "livepatch-x.c", "livepatch.json", "review.html"];

/// Where one test runs: a folder of its own, with a place for temporary files and the patch.
struct Place {
    folder: tempfile::TempDir,
    kernel: String,
}

impl Place {
    fn new(kernel: &Kernel) -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tmp", "out", "bin"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Place { folder, kernel: kernel.descriptor.name.clone() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `create`, with temporary files in this place; results are cached as in any other run.
    fn create(&self) -> Command {
        self.create_of(&root().join("demo/proc-version.patch"), &self.kernel, "out/livepatch-x")
    }

    fn create_of(&self, patch: &Path, kernel: &str, output: &str) -> Command {
        let mut command = Command::new(kernel::PROGRAM);
        self.arguments(&mut command, patch, kernel, output);
        command
    }

    fn arguments(&self, command: &mut Command, patch: &Path, kernel: &str, output: &str) {
        command.arg("create").arg(patch).args(["-k", kernel]).arg("-o").arg(self.at(output));
        command.env("TMPDIR", self.at("tmp")).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// A program of that name in a folder that comes first in PATH.
    fn shadow(&self, command: &mut Command, name: &str, script: &str) {
        let file = self.at("bin").join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.at("bin").display()));
    }

    fn left(&self) -> BTreeSet<String> {
        let names = |folder: &str| {
            let entries = std::fs::read_dir(self.at(folder)).unwrap();
            entries.map(move |entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        names("tmp").into_iter().chain(names("out")).collect()
    }

    /// Fails unless one error of that id was told, nothing was written, and nothing is left.
    fn refused(&self, output: &Output, id: &str, words: &str) -> Result<(), Failed> {
        let text = String::from_utf8_lossy(&output.stderr);
        let told = text.lines().filter(|line| line.starts_with("error")).collect::<Vec<_>>();
        if output.status.code() != Some(2) || told.len() != 1 || !told[0].starts_with(&format!("error[{id}]")) {
            return Err(format!("{}, not one error[{id}]:\n{text}", output.status).into());
        }
        if !text.contains(words) {
            return Err(format!("`{words}` isn't in:\n{text}").into());
        }
        match self.left() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("left behind: {left:?}").into()),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kernel = Arc::new(kernel::prepared());
    type Test = fn(&Kernel) -> Result<(), Failed>;
    let tests: [(&str, Test); 15] = [
        ("killed", killed),
        ("interrupted", interrupted),
        ("full-disk", full_disk),
        ("output-that-can-t-be-written", output_not_writable),
        ("cache-that-can-t-be-used", cache_not_usable),
        ("tools-missing", tools_missing),
        ("compiler-fails", compiler_fails),
        ("compiler-hangs", compiler_hangs),
        ("libclang-crashes", libclang_crashes),
        ("many-at-once", many_at_once),
        ("two-prepare-at-once", two_prepare_at_once),
        ("read-only-tree", read_only_tree),
        ("macro-bomb", macro_bomb),
        ("nothing-of-the-patch-is-executed", nothing_is_executed),
        ("same-bytes-anywhere", same_bytes),
    ];
    let trials = tests.into_iter().map(|(name, test)| {
        let kernel = kernel.clone();
        Trial::test(name, move || {
            let before = manifest(&kernel);
            test(&kernel)?;
            if manifest(&kernel) == before { Ok(()) } else { Err("the prepared kernel was written to".into()) }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Size and time of every file of the kernel: its source and build folder are never written to.
fn manifest(kernel: &Kernel) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let folders = [kernel.source(), kernel.build()];
    let entries = folders.into_iter().flat_map(|folder| walkdir::WalkDir::new(folder).into_iter().flatten());
    let files = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        (entry.into_path(), (metadata.len(), metadata.modified().unwrap()))
    });
    files.collect()
}

fn wait_for(child: std::process::Child) -> Output {
    child.wait_with_output().unwrap()
}

/// Is the folder whole? It may be absent.
fn check_output(place: &Place) -> Result<bool, Failed> {
    let folder = place.at("out/livepatch-x");
    if !folder.exists() {
        return Ok(false);
    }
    match COMPLETE.iter().find(|name| !folder.join(name).is_file()) {
        Some(name) => Err(format!("the folder is there without its {name}").into()),
        None => Ok(true),
    }
}

/// SIGKILL at random moments; the run after it cleans up.
fn killed(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let started = Instant::now();
    let output = wait_for(place.create().spawn()?);
    let whole = started.elapsed();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let mut random = 0x9e37_79b9_u64;
    let (mut absent, mut complete) = (0, 0);
    for _ in 0..number("KLP_KILLS", KILLS) {
        let _ = std::fs::remove_dir_all(place.at("out/livepatch-x"));
        let mut child = place.create().process_group(0).spawn()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(whole.mul_f64((random >> 40) as f64 / f64::from(1 << 24) * 1.1));
        // The program alone: what it has started has a group of its own, and ends when it is done.
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        child.wait()?;
        if check_output(&place)? { complete += 1 } else { absent += 1 }
    }
    let output = wait_for(place.create().spawn()?);
    if !output.status.success() || !check_output(&place)? {
        return Err(format!("after all kills: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Compilers that outlived their run may still write; then the next run removes it.
    for _ in 0..20 {
        if place.left().len() == 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        wait_for(place.create().spawn()?);
    }
    let left = place.left();
    if left.len() != 1 {
        return Err(format!("left behind: {left:?}").into());
    }
    eprintln!("killed: the folder was absent {absent} times, complete {complete} times");
    Ok(())
}

/// Processes whose environment says that they belong to this place.
fn children_of(place: &Place) -> Vec<i32> {
    let mark = format!("TMPDIR={}", place.at("tmp").display()).into_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark)
    })
    .collect()
}

fn interrupted(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut command = place.create();
    place.shadow(&mut command, &compiler(kernel), "sleep 1000");
    let child = command.process_group(0).spawn()?;
    let started = Instant::now();
    while children_of(&place).len() < 3 {
        if started.elapsed() > Duration::from_secs(60) {
            return Err("the compiler wasn't started".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    let output = wait_for(child);
    if output.status.code() != Some(130) {
        return Err(format!("{}, not 130", output.status).into());
    }
    std::thread::sleep(Duration::from_millis(200));
    let (children, left) = (children_of(&place), place.left());
    if !children.is_empty() || !left.is_empty() {
        return Err(format!("left behind: processes {children:?}, {left:?}").into());
    }
    Ok(())
}

fn compiler(kernel: &Kernel) -> String {
    kernel.all_commands().unwrap()[0].compiler.clone()
}

/// No file may grow beyond a limit: to whoever writes, that is what a full disk is.
fn full_disk(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut command = Command::new("sh");
    // In blocks of 512 bytes; without the signal it is an error of write(2), as ENOSPC is.
    command.args(["-c", "ulimit -f 40; trap '' XFSZ; exec \"$0\" \"$@\"", kernel::PROGRAM]);
    place.arguments(&mut command, &root().join("demo/proc-version.patch"), &place.kernel, "out/livepatch-x");
    let output = wait_for(command.spawn()?);
    let text = String::from_utf8_lossy(&output.stderr);
    let told = text.lines().filter(|line| line.starts_with("error")).count();
    if output.status.code() != Some(2) || told == 0 || !text.contains("File too large") || !place.left().is_empty() {
        return Err(format!("{}, left {:?}:\n{text}", output.status, place.left()).into());
    }
    Ok(())
}

fn output_not_writable(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    // To root every folder can be written; a file in the place of one can't.
    std::fs::write(place.at("file"), "")?;
    let mut command = place.create_of(&root().join("demo/proc-version.patch"), &place.kernel, "file/livepatch-x");
    place.refused(&command.output()?, "io", "file")
}

fn cache_not_usable(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    std::fs::write(place.at("cache"), "")?;
    // It costs time, nothing else.
    let patch = root().join("demo/proc-version.patch");
    let mut command = place.create_of(&patch, &kernel_json(kernel), "out/livepatch-x");
    let output = command.env("KLP_EXTRACT_CACHE", place.at("cache")).output()?;
    if !output.status.success() || !check_output(&place)? || place.left().len() != 1 {
        return Err(format!("{}: {:?}", String::from_utf8_lossy(&output.stderr), place.left()).into());
    }
    // No kernel is prepared there.
    std::fs::remove_dir_all(place.at("out/livepatch-x"))?;
    let mut command = place.create();
    command.env("KLP_EXTRACT_CACHE", place.at("cache"));
    place.refused(&command.output()?, "kernel-unknown", "no prepared kernel")
}

fn kernel_json(kernel: &Kernel) -> String {
    let folder = klp_extract::kernel::folder_of(&kernel.descriptor.name).unwrap();
    folder.join("kernel.json").display().to_string()
}

fn tools_missing(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut command = place.create();
    command.env("PATH", place.at("bin"));
    place.refused(&wait_for(command.spawn()?), "tool-missing", "klp-extract doctor")?;
    let mut command = Command::new(kernel::PROGRAM);
    command.args(["prepare", "debian", "6.1.0-0-none", "--offline"]).env("PATH", place.at("bin"));
    let output = command.env("KLP_EXTRACT_CACHE", place.at("tmp/cache")).env("TMPDIR", place.at("tmp")).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(2) || text.lines().filter(|line| line.starts_with("error[")).count() != 1 {
        return Err(text.into());
    }
    Ok(())
}

fn compiler_fails(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut command = place.create();
    place.shadow(&mut command, &compiler(kernel), "echo 'gcc: internal compiler error: out of cheese' >&2; exit 4");
    place.refused(&wait_for(command.spawn()?), "tool-failed", "out of cheese")
}

fn compiler_hangs(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut command = place.create();
    place.shadow(&mut command, &compiler(kernel), "sleep 1000");
    command.env("KLP_EXTRACT_COMPILER_LIMIT", "2");
    let started = Instant::now();
    place.refused(&wait_for(command.spawn()?), "tool-failed", "was still running after 2 s")?;
    if started.elapsed() > Duration::from_secs(60) { Err("it took a minute".into()) } else { Ok(()) }
}

/// A library that ends the process that loads it, as a crash of libclang does.
fn libclang_crashes(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let source = place.at("crash.c");
    std::fs::write(&source, "__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 0; }\n")?;
    std::fs::create_dir(place.at("lib"))?;
    let mut made = Command::new("gcc");
    made.args(["-shared", "-fPIC", "-w", "-o"]).arg(place.at("lib/libclang.so")).arg(source);
    assert!(made.status()?.success());
    let mut command = place.create();
    command.env("LIBCLANG_PATH", place.at("lib"));
    place.refused(&wait_for(command.spawn()?), "front-end", "the front end failed")
}

/// Some runs of one patch at once: they share the kernel and the cache.
fn many_at_once(kernel: &Kernel) -> Result<(), Failed> {
    let places: Vec<Place> = (0..number("KLP_AT_ONCE", AT_ONCE)).map(|_| Place::new(kernel)).collect();
    let children: Vec<_> = places.iter().map(|place| place.create().spawn()).collect::<Result<_, _>>()?;
    for child in children {
        let output = wait_for(child);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    let texts: Vec<Vec<u8>> =
        places.iter().map(|place| std::fs::read(place.at("out/livepatch-x/livepatch-x.c")).unwrap()).collect();
    if texts.iter().any(|text| *text != texts[0]) || places.iter().any(|place| place.left().len() != 1) {
        return Err("the runs disturbed each other".into());
    }
    Ok(())
}

/// Two runs that prepare one kernel under one name, and a third one that uses it.
fn two_prepare_at_once(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let descriptor = &kernel.descriptor;
    let prepare = || {
        let mut command = Command::new(kernel::PROGRAM);
        command.args(["prepare", "local", "mine", "--source"]).arg(&descriptor.source);
        command.arg("--build").arg(&descriptor.build).arg("--image").arg(descriptor.image.as_ref().unwrap());
        command.arg("--modules").arg(descriptor.modules.as_ref().unwrap()).env("KLP_EXTRACT_CACHE", place.at("cache"));
        command.env("TMPDIR", place.at("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    for child in [prepare()?, prepare()?] {
        let output = wait_for(child);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    let mut command = Command::new(kernel::PROGRAM);
    command.arg("plan").arg(root().join("demo/proc-version.patch")).args(["-k", "mine"]);
    let output = command.env("KLP_EXTRACT_CACHE", place.at("cache")).env("TMPDIR", place.at("tmp")).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let kernels = std::fs::read_dir(place.at("cache/kernels"))?.flatten();
    let names: BTreeSet<String> = kernels.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if !text.contains("replace  version_proc_show") || names.iter().any(|name| name != "mine" && name != ".mine.lock") {
        return Err(format!("{names:?}\n{text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    match place.left() {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left behind: {left:?}").into()),
    }
}

/// The kernel's trees can't be written to: mounted read-only for this run alone.
fn read_only_tree(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let folders = [kernel.source(), kernel.build()];
    let mounts: Vec<String> = folders
        .iter()
        .map(|folder| {
            let folder = shlex::try_quote(folder.to_str().unwrap()).unwrap();
            format!("mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && ! touch {folder}/x 2>&1")
        })
        .collect();
    let mut command = Command::new("unshare");
    let script = format!("{} && exec \"$@\"", mounts.join(" && "));
    command.args(["--map-root-user", "--mount", "sh", "-c", &script, "sh", kernel::PROGRAM]);
    let prepared = klp_extract::kernel::folder_of(&place.kernel).unwrap();
    let patch = root().join("demo/proc-version.patch");
    place.arguments(&mut command, &patch, prepared.to_str().unwrap(), "out/livepatch-x");
    // Nothing comes from an earlier run.
    let output = command.env("KLP_EXTRACT_CACHE", place.at("cache")).output()?;
    match check_output(&place)? {
        true if output.status.success() => Ok(()),
        _ => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// A patch to a file, from its first lines.
fn patch_at_top(kernel: &Kernel, file: &str, added: &str) -> String {
    let text = std::fs::read_to_string(kernel.source().join(file)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // Behind the last #include of the first block, so that all names are there.
    let at = lines.iter().rposition(|line| line.starts_with("#include")).unwrap() + 1;
    let context = lines[at..at + 3].iter().map(|line| format!(" {line}\n")).collect::<String>();
    let count = added.lines().count();
    let plus = added.lines().map(|line| format!("+{line}\n")).collect::<String>();
    format!("--- a/{file}\n+++ b/{file}\n@@ -{},3 +{},{} @@\n{plus}{context}", at + 1, at + 1, 3 + count)
}

fn macro_bomb(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let bomb: String = (0..40).map(|n| format!("#define BOMB{n} BOMB{} BOMB{}\n", n + 1, n + 1)).collect();
    let text = patch_at_top(
        kernel,
        "fs/proc/version.c",
        &format!("{bomb}int bomb(void);\nint bomb(void) {{ return 0 BOMB0; }}\n"),
    );
    std::fs::write(place.at("bomb.patch"), text)?;
    let started = Instant::now();
    let output = place.create_of(&place.at("bomb.patch"), &place.kernel, "out/livepatch-x").output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(2) || !text.contains("error[") || !place.left().is_empty() {
        return Err(format!("{}: {text}", output.status).into());
    }
    if started.elapsed() > Duration::from_secs(240) { Err("it took minutes".into()) } else { Ok(()) }
}

/// Names and texts of a patch that would do something if anything were handed to a shell, a template or a page.
fn nothing_is_executed(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mark = place.at("mark");
    let patch = std::fs::read_to_string(root().join("demo/proc-version.patch"))?;
    let at = patch.find("--- a/").unwrap();
    let evil = format!(
        "*/ int evil; /* $(touch {0}) `touch {0}` {{{{ 1 + 1 }}}} {{% include \"/etc/passwd\" %}} <script>",
        mark.display()
    );
    let text = format!("From: A <a@b>\nSubject: [PATCH] {evil}\n\nReported-by: {evil}\n---\n{}", &patch[at..]);
    let file = place.at("$(touch mark);x.patch");
    std::fs::write(&file, text)?;
    let output = place.create_of(&file, &place.kernel, "out/livepatch-x").output()?;
    if !output.status.success() || mark.exists() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = std::fs::read_to_string(place.at("out/livepatch-x/livepatch-x.c"))?;
    // MODULE_DESCRIPTION() has it as a string.
    let tokens = klp_extract::render::folder::tokens(&text).into_iter().filter(|token| !token.starts_with('"'));
    let code = tokens.collect::<Vec<_>>().join(" ");
    let page = std::fs::read_to_string(place.at("out/livepatch-x/review.html"))?;
    if code.contains("evil")
        || !text.contains("{{ 1 + 1 }}")
        || !page.contains("&lt;script&gt;")
        || text.contains("root:")
    {
        return Err(format!("something of the patch became code:\n{}", &text[..text.len().min(1500)]).into());
    }
    let paths = [
        ("../../../tmp/x.c", "patch-invalid"),
        ("a/../../x.c", "patch-invalid"),
        // One in the kernel's tree.
        ("/tmp/x.c", "file-not-built"),
    ];
    for (path, id) in paths {
        let text = format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+int x;\n");
        std::fs::write(&file, text)?;
        let _ = std::fs::remove_dir_all(place.at("out/livepatch-x"));
        let output = place.create_of(&file, &place.kernel, "out/livepatch-x").output()?;
        place.refused(&output, id, "")?;
    }
    Ok(())
}

/// The same bytes on one core or all, from and in another folder, with another language and time zone.
fn same_bytes(kernel: &Kernel) -> Result<(), Failed> {
    let place = Place::new(kernel);
    let mut texts: Vec<BTreeMap<PathBuf, Vec<u8>>> = Vec::new();
    for (folder, cores, language, zone) in [("a", "0", "C", "UTC"), ("b/c", "0-255", "tr_TR.UTF-8", "Asia/Kathmandu")] {
        std::fs::create_dir_all(place.at(folder))?;
        let mut command = Command::new("taskset");
        command.args(["-c", cores, kernel::PROGRAM]);
        let output = format!("{folder}/livepatch-x");
        place.arguments(&mut command, &root().join("demo/proc-version.patch"), &place.kernel, &output);
        command.current_dir(place.at(folder));
        let output = command.env("LC_ALL", language).env("LANG", language).env("TZ", zone).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let made = place.at(folder).join("livepatch-x");
        let files = walkdir::WalkDir::new(&made).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let read = files.map(|entry| {
            (entry.path().strip_prefix(&made).unwrap().to_path_buf(), std::fs::read(entry.path()).unwrap())
        });
        texts.push(read.collect());
    }
    let differ: Vec<&PathBuf> = texts[0].keys().filter(|name| texts[0].get(*name) != texts[1].get(*name)).collect();
    if !differ.is_empty() || texts[0].len() != texts[1].len() {
        return Err(format!("{differ:?} differ").into());
    }
    Ok(())
}
