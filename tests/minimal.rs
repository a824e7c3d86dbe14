//! Nothing is in an emitted module that its code doesn't need: each include and each copied item is taken out in turn, and
//! then the module must not compile any more, or compile to something else.
//!
//! ```text
//! make minimal N=30 SEED=7
//! ```
//!
//! `KLP_MINIMAL` random functions, one a unit, are pretended patched; `KLP_MINIMAL_SEED` draws others.

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use klp_extract::parallel::map;
use klp_extract::sweep;
use serde_json::Value;
use support::kernel::PROGRAM;
use support::sample::{number, shuffle};

#[test]
fn nothing_can_be_left_out() {
    let kernel = support::kernel::prepared();
    let seed = number("KLP_MINIMAL_SEED", 1);
    let mut units = kernel.all_commands().unwrap();
    units.retain(|command| kernel.source().join(&command.source).is_file());
    shuffle(&mut units, seed);
    let drawn = units.iter().flat_map(|unit| sweep::functions(&kernel, unit, seed, 1).unwrap());
    let drawn: Vec<sweep::Drawn> = drawn.take(number("KLP_MINIMAL", 3) as usize).collect();
    let scratch = tempfile::tempdir().unwrap();
    let (mut looked_at, mut superfluous) = (0, Vec::new());
    for (index, drawn) in drawn.iter().enumerate() {
        let folder = scratch.path().join(index.to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("fix.patch"), sweep::patch(&kernel, drawn).unwrap()).unwrap();
        let run =
            |program: &str, args: &[&str]| Command::new(program).args(args).current_dir(&folder).output().unwrap();
        let created = run(PROGRAM, &["create", "fix.patch", "-k", &kernel.descriptor.name, "-o", "module"]);
        if created.status.code() == Some(2) {
            println!("{}: refused", drawn.function);
            continue;
        }
        let built = run("make", &["-s", "-C", "module", &format!("KLP_EXTRACT={PROGRAM}")]);
        assert!(built.status.success(), "{}: {}", drawn.function, String::from_utf8_lossy(&built.stderr));
        let module = Module::read(&folder.join("module"), kernel.build());
        let parts = module.parts();
        let found = map(&parts, |part| (!module.needs(part)).then(|| part.what.clone()));
        let found: Vec<String> = found.into_iter().flatten().collect();
        println!("{}: {} parts, {} superfluous", drawn.function, parts.len(), found.len());
        looked_at += parts.len();
        superfluous
            .extend(found.into_iter().map(|what| format!("{} ({}): {what}", drawn.function, drawn.command.source)));
    }
    println!("{looked_at} includes and items of {} modules looked at, {} superfluous", drawn.len(), superfluous.len());
    assert!(looked_at >= drawn.len() * 3, "too little was looked at");
    assert!(superfluous.is_empty(), "superfluous:\n  {}", superfluous.join("\n  "));
}

/// What can be taken out: lines of the one C file.
struct Part {
    what: String,
    /// From 0, the last one included.
    lines: (usize, usize),
    /// Of an include: a name that it is there for.
    header_of: Option<String>,
}

struct Module {
    json: Value,
    /// Of the C file.
    lines: Vec<String>,
    file: String,
    folder: PathBuf,
    build: PathBuf,
    /// GCC and its arguments, without what is compiled and where to.
    command: Vec<String>,
    /// What it compiles to.
    assembly: String,
}

impl Module {
    fn read(folder: &Path, build: &Path) -> Module {
        let json: Value = serde_json::from_slice(&std::fs::read(folder.join("livepatch.json")).unwrap()).unwrap();
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut sources: Vec<String> = names.filter(|name| name.ends_with(".c") && !name.ends_with(".mod.c")).collect();
        assert_eq!(sources.len(), 1, "{sources:?}");
        let file = sources.remove(0);
        let recorded = std::fs::read_to_string(folder.join(format!(".{}.o.cmd", file.trim_end_matches(".c")))).unwrap();
        // The first line is `cmd_PATH := COMMAND`; scripts/Kbuild.include, make-cmd.
        let line = recorded.lines().next().unwrap().split_once(":= ").unwrap().1;
        let words = shlex::split(line.split(" ; ").next().unwrap()).unwrap();
        let end = words.iter().position(|word| word == "-c").unwrap();
        let command = words[..end].iter().filter(|word| !word.starts_with("-Wp,-MMD") && !word.starts_with("-g"));
        let text = std::fs::read_to_string(folder.join(&file)).unwrap();
        let mut module = Module {
            json,
            lines: text.lines().map(str::to_string).collect(),
            file,
            folder: folder.into(),
            build: build.into(),
            command: command.cloned().collect(),
            assembly: String::new(),
        };
        let output = module.compiled(&module.lines, "all");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        module.assembly = assembly(&output);
        module
    }

    /// The includes, and the items that were copied; targets and what carries the tables are not looked at.
    fn parts(&self) -> Vec<Part> {
        let array = |key: &str| self.json[key].as_array().unwrap().iter();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_string();
        let include = |include: &Value| {
            let line = format!("#include <{}>", text(include, "name"));
            let at = self.lines.iter().position(|known| *known == line)?;
            Some(Part { what: line, lines: (at, at), header_of: Some(text(include, "reason")) })
        };
        let mut seen = BTreeSet::new();
        let mut item = |item: &Value| {
            let lines = item["lines"].as_array()?;
            let line = |index: usize| lines[index].as_u64().unwrap() as usize - 1;
            let lines = (line(0), line(1));
            let is_new = seen.insert(lines) && item["kind"] != "target";
            let what = format!("{} {}", text(item, "kind"), text(item, "name"));
            is_new.then_some(Part { what, lines, header_of: None })
        };
        let items: Vec<Part> = array("copied").filter_map(&mut item).collect();
        array("includes").filter_map(include).chain(items).collect()
    }

    /// Does the module not compile without it, or to something else? An include may stay that has what is used in its own
    /// text, though another one brings it too.
    fn needs(&self, part: &Part) -> bool {
        if let Some(name) = &part.header_of
            && self.declares(&part.what, name)
        {
            return true;
        }
        let mut lines = self.lines.clone();
        // Empty lines, so that `__LINE__` stays.
        lines[part.lines.0..=part.lines.1].fill(String::new());
        let output = self.compiled(&lines, &format!("{}", part.lines.0));
        !output.status.success() || !output.stderr.is_empty() || assembly(&output) != self.assembly
    }

    fn declares(&self, include: &str, name: &str) -> bool {
        let header = include.trim_start_matches("#include <").trim_end_matches('>');
        let folders = self.command.iter().filter_map(|word| word.strip_prefix("-I"));
        let texts = folders.filter_map(|folder| std::fs::read_to_string(self.build.join(folder).join(header)).ok());
        texts.take(1).any(|text| text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).any(|word| word == name))
    }

    fn compiled(&self, lines: &[String], name: &str) -> Output {
        let folder = self.folder.join(format!("without-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let source = folder.join(&self.file);
        std::fs::write(&source, lines.join("\n") + "\n").unwrap();
        let mut gcc = Command::new(&self.command[0]);
        gcc.args(&self.command[1..])
            .arg(format!("-ffile-prefix-map={}=", folder.display()))
            .args(["-g0", "-S", "-o", "-"]);
        gcc.arg(&source).current_dir(&self.build).output().unwrap()
    }
}

/// Without what says where the text is from.
fn assembly(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|line| !line.trim_start().starts_with(".file")).collect::<Vec<_>>().join("\n")
}
