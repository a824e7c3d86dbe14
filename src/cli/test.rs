//! `klp-extract test`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::finding::{Result, USAGE, io, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::VMLINUX;
use crate::render::json;
use crate::scratch;
use crate::vm;

use super::{next_command, print, progress, report, status};

#[derive(Args)]
pub(super) struct Request {
    /// The module's folder, built by make
    folder: PathBuf,
    /// Program (static) with arguments, run before, while and after the livepatch is loaded
    #[arg(long, value_name = "PROGRAM")]
    trigger: Vec<String>,
    /// Remove and load the target module again, three times, while the livepatch is loaded
    #[arg(long)]
    reload: bool,
    /// Folder of a livepatch that is loaded before this one; may be given several times
    #[arg(long, value_name = "DIR")]
    over: Vec<PathBuf>,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let built = Built::read(&request.folder)?;
    let kernel = Kernel::open(&built.kernel)?;
    let Some(image) = &kernel.descriptor.image else {
        return refuse(USAGE, format!("{} was prepared without an image to boot", kernel.descriptor.name));
    };
    let module = request.folder.join(format!("{}.ko", built.name));
    if !module.is_file() {
        return refuse(USAGE, format!("{} is not built; run {}", module.display(), next_command(&request.folder)));
    }
    let mut machine = vm::Plan::new(image, &module, &built.name.replace('-', "_"));
    machine.reload = request.reload;
    machine.replaces = built.replace;
    let mut all = built.objects.clone();
    for folder in &request.over {
        let older = Built::read(folder)?;
        let module = folder.join(format!("{}.ko", older.name));
        if !module.is_file() {
            return refuse(USAGE, format!("{} is not built; run {}", module.display(), next_command(folder)));
        }
        machine.older.push(module);
        all.extend(older.objects);
    }
    let objects = all.iter().filter(|object| *object != VMLINUX);
    for object in objects {
        for module in kernel.modules()?.load_order(object)? {
            if !machine.target_modules.contains(&module) {
                machine.target_modules.push(module);
            }
        }
    }
    machine.triggers = request.trigger.iter().map(|line| trigger(line)).collect::<Result<_>>()?;
    let scratch = scratch::Folder::new()?;
    let transcript = vm::run(&machine, scratch.path(), &mut progress)?;
    let text = transcript.render();
    let path = request.folder.join("test-transcript.txt");
    std::fs::write(&path, &text).map_err(io("write", &path))?;
    print(&text);
    report(&transcript.findings);
    Ok(status(&transcript.findings))
}

fn trigger(line: &str) -> Result<vm::Trigger> {
    let words = shlex::split(line).filter(|words| !words.is_empty());
    let Some(words) = words else { return refuse(USAGE, format!("--trigger {line}: the quotes don't match")) };
    Ok(vm::Trigger { name: line.to_string(), program: PathBuf::from(&words[0]), args: words[1..].to_vec() })
}

/// What a module's folder says of itself.
struct Built {
    name: String,
    kernel: String,
    objects: Vec<String>,
    replace: bool,
}

impl Built {
    fn read(folder: &Path) -> Result<Built> {
        let path = folder.join(json::FILE);
        let text = std::fs::read(&path).map_err(io("read", &path))?;
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let string = |value: &serde_json::Value| value.as_str().map(str::to_string);
        let targets = value["targets"].as_array().cloned().unwrap_or_default();
        let objects: std::collections::BTreeSet<String> =
            targets.iter().filter_map(|target| string(&target["object"])).collect();
        match (string(&value["name"]), string(&value["kernel"]["name"])) {
            (Some(name), Some(kernel)) if !objects.is_empty() => {
                let replace = value["replace"] == true;
                Ok(Built { name, kernel, objects: objects.into_iter().collect(), replace })
            }
            _ => refuse(USAGE, format!("{} is not a livepatch.json of this program", path.display())),
        }
    }
}
