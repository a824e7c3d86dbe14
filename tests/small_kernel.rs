//! End to end on a kernel of a few small files, `testdata/small-kernel/tree`, which is compiled and linked here as the kernel's
//! build does it, and never booted: the sessions of `testdata/small-kernel/sessions/NAME/`, which compare all that is written.
//! No kernel is needed.
//!
//! In the sessions `$KERNEL` is its `kernel.json`. `tree/units` has a line `SOURCE OBJECT` for each unit.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::commands;
use klp_extract::kernel::{Descriptor, Origin};
use libtest_mimic::{Arguments, Failed, Trial};
use support::{root, session};

const RELEASE: &str = "6.1.0-small";
const VERSION: &str = "#1 SMP small";

/// Of all units; the kernel's that matter for how code comes out.
const FLAGS: &str = "-D__KERNEL__ -Wall -Wundef -Werror=implicit-function-declaration -std=gnu11 -O2 -m64 -mcmodel=kernel \
    -mno-red-zone -fno-PIE -fno-strict-aliasing -fno-common -ffreestanding -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -mno-sse -mpreferred-stack-boundary=3 -pg -mrecord-mcount -mfentry";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = root().join("testdata/small-kernel");
    let mut sessions: Vec<PathBuf> =
        fs::read_dir(folder.join("sessions")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sessions.sort();
    let scratch = tempfile::tempdir().unwrap();
    if !arguments.list {
        built(&folder.join("tree"), scratch.path());
    }
    let scratch = Arc::new(scratch);
    let trials = sessions.into_iter().map(|session| trial(session, scratch.clone())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(program: &str, words: &[&str], folder: &Path) {
    let output = Command::new(program).args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the kernel in `folder`, and describes it there.
fn built(tree: &Path, folder: &Path) {
    let (source, build, modules) = (folder.join("source"), folder.join("build"), folder.join("modules"));
    run("cp", &["-r", &tree.display().to_string(), "source"], folder);
    [&build, &modules].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
    fs::copy(tree.join("config"), build.join(".config")).unwrap();
    let units = fs::read_to_string(tree.join("units")).unwrap();
    let units: Vec<(&str, &str)> = units.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let commands: Vec<CompileCommand> = units.iter().map(|(file, object)| command(&source, file, object)).collect();
    for command in &commands {
        fs::create_dir_all(build.join(&command.output).parent().unwrap()).unwrap();
        let (file, output) = (source.join(&command.source), command.output.as_str());
        let mut words: Vec<&str> = command.args.iter().map(String::as_str).collect();
        words.extend(["-c", "-o", output, file.to_str().unwrap()]);
        run(&command.compiler, &words, &build);
    }
    let of = |object: &str| -> Vec<&str> {
        commands.iter().filter(|command| command.object == object).map(|command| command.output.as_str()).collect()
    };
    let script = source.join("vmlinux.lds").display().to_string();
    let words = ["-m", "elf_x86_64", "--build-id=none", "-e", "_stext", "-T", &script, "-o", "vmlinux"];
    run("ld", &[&words[..], &of("vmlinux")].concat(), &build);
    let mut names: Vec<&str> = units.iter().map(|(_, object)| *object).filter(|object| *object != "vmlinux").collect();
    names.dedup();
    for name in names {
        let text = format!(
            "static const char info[] __attribute__((used, section(\".modinfo\"))) = \
             \"name={name}\\0vermagic={RELEASE} SMP mod_unload \\0srcversion=0123456789ABCDEF0123456\\0depends=\";\n\
             char __this_module[896] __attribute__((section(\".gnu.linkonce.this_module\"))) = \"\";\n"
        );
        fs::write(build.join("mod.c"), text).unwrap();
        run("gcc", &["-c", "-mcmodel=kernel", "-fno-PIE", "-o", "mod.o", "mod.c"], &build);
        let output = modules.join(format!("{name}.ko")).display().to_string();
        run("ld", &[&["-r", "-o", &output], &of(name)[..], &["mod.o"]].concat(), &build);
    }
    let kallsyms = Command::new("nm").args(["-n", "vmlinux"]).current_dir(&build).output().unwrap();
    fs::write(folder.join("kallsyms"), kallsyms.stdout).unwrap();
    fs::copy(tree.join("Module.symvers"), build.join("Module.symvers")).unwrap();
    fs::write(folder.join("commands.json"), commands::to_json(&commands)).unwrap();
    let descriptor = Descriptor {
        schema: Descriptor::SCHEMA,
        name: "small".into(),
        release: RELEASE.into(),
        version: Some(VERSION.into()),
        compiler: None,
        source,
        image: Some(build.join("vmlinux")),
        symvers: Some(build.join("Module.symvers")),
        build,
        modules: Some(modules),
        kallsyms: Some(folder.join("kallsyms")),
        commands: folder.join("commands.json"),
        shared_sources: None,
        origin: Origin::Local,
    };
    descriptor.write(folder).unwrap();
}

/// As Kbuild's (scripts/Makefile.lib).
fn command(source: &Path, file: &str, object: &str) -> CompileCommand {
    let stem = file.strip_suffix(".c").unwrap();
    let base = stem.rsplit('/').next().unwrap();
    let include = source.join("include").display().to_string();
    let always = ["kconfig.h", "compiler_types.h"].map(|header| format!("{include}/linux/{header}"));
    let mut args = vec!["-nostdinc".to_string(), format!("-I{include}"), format!("-I{include}/uapi")];
    args.extend(always.into_iter().flat_map(|header| ["-include".into(), header]));
    args.push(format!("-fmacro-prefix-map={}/=", source.display()));
    args.extend(FLAGS.split_whitespace().map(str::to_string));
    if object != "vmlinux" {
        args.push("-DMODULE".into());
    }
    args.extend(["BASENAME", "MODNAME"].map(|name| {
        format!("-DKBUILD_{name}=\"{}\"", if name == "MODNAME" && object != "vmlinux" { object } else { base })
    }));
    args.push(format!("-DKBUILD_MODFILE=\"{stem}\""));
    CompileCommand {
        source: file.into(),
        output: format!("{stem}.o"),
        compiler: "gcc".into(),
        args,
        object: object.into(),
    }
}

fn trial(folder: PathBuf, built: Arc<tempfile::TempDir>) -> Trial {
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    Trial::test(format!("small-kernel::{name}"), move || {
        let scratch = tempfile::tempdir()?;
        session::copy(&folder, scratch.path())?;
        let text = fs::read_to_string(folder.join("session.txt"))?;
        let environment =
            [("KERNEL", built.path().join("kernel.json")), ("KLP_EXTRACT_CACHE", scratch.path().join("cache"))];
        let result = session::run_with(&text, scratch.path(), RELEASE, &environment);
        // scripts/mutants: one session that fails is enough.
        if result.is_err() && std::env::var_os("KLP_MUTANT").is_some() {
            std::process::exit(1);
        }
        result.map_err(Failed::from)
    })
}
