//! The initial file system of the virtual machine: busybox, our init script, the modules and the triggers, as one
//! uncompressed cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpio::newc::{Builder, ModeFileType, trailer};
use object::LittleEndian;
use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};

use super::series::Item;
use super::{Order, Plan, Trigger};
use crate::finding::{Finding, Result, TOOL_MISSING, VM_TRIGGER_INVALID, io, refuse};
use crate::kernel::modules;

const INIT: &str = include_str!("../../templates/vm-init.sh");

/// The archive for one boot.
pub fn build(plan: &Plan, order: Order) -> Result<Vec<u8>> {
    let mut archive = Archive::with_init(plan.busybox.as_deref(), &settings(plan, order))?;
    archive.file("klp/livepatch.ko", 0o644, &read(&plan.livepatch)?)?;
    for (index, module) in plan.target_modules.iter().enumerate() {
        let name = format!("klp/modules/{index:04}-{}.ko", modules::name_of(module));
        archive.file(&name, 0o644, &modules::contents(module)?)?;
    }
    for (index, module) in plan.older.iter().enumerate() {
        let name = format!("klp/older/{index:04}-{}.ko", modules::name_of(module));
        archive.file(&name, 0o644, &read(module)?)?;
    }
    for (index, trigger) in plan.triggers.iter().enumerate() {
        let folder = format!("klp/triggers/{index:04}");
        let data = read(&trigger.program)?;
        check_trigger(trigger, &data)?;
        archive.add(&folder, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        archive.file(&format!("{folder}/program"), 0o755, &data)?;
        archive.file(&format!("{folder}/run"), 0o755, run_script(&folder, trigger)?.as_bytes())?;
    }
    archive.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(io("read", path))
}

fn settings(plan: &Plan, order: Order) -> String {
    format!(
        "ORDER={}\nNAME={}\nRELOAD={}\nREPLACES={}\nLIMIT={}\nTRIGGER_LIMIT={}\n",
        order.id(),
        plan.sysfs_name(),
        if plan.reload { "yes" } else { "no" },
        if plan.replaces { "yes" } else { "no" },
        plan.transition_limit.as_secs(),
        plan.trigger_limit.as_secs()
    )
}

fn run_script(folder: &str, trigger: &Trigger) -> Result<String> {
    let program = format!("/{folder}/program");
    let words = std::iter::once(program.as_str()).chain(trigger.args.iter().map(String::as_str));
    match shlex::try_join(words) {
        Ok(line) => Ok(format!("exec {line}\n")),
        Err(e) => refuse(VM_TRIGGER_INVALID, format!("trigger {}: {e}", trigger.name)),
    }
}

/// A trigger has no libraries in the virtual machine; the kernel's answer to a missing interpreter, "not found", would
/// send people looking for the program.
fn check_trigger(trigger: &Trigger, data: &[u8]) -> Result<()> {
    let path = trigger.program.display();
    if let Some(rest) = data.strip_prefix(b"#!") {
        let line = rest.split(|b| *b == b'\n').next().unwrap_or_default();
        return match String::from_utf8_lossy(line).trim() {
            "/bin/sh" | "/bin/busybox sh" => Ok(()),
            other => refuse(VM_TRIGGER_INVALID, format!("{path} needs {other}; only #!/bin/sh (busybox) is there")),
        };
    }
    let what = match is_static(data) {
        Ok(true) => return Ok(()),
        Ok(false) => "is dynamically linked, and there are no libraries in the virtual machine".into(),
        Err(e) => format!("is neither an x86-64 program nor a script: {e}"),
    };
    refuse(VM_TRIGGER_INVALID, format!("{path} {what}; build it with `gcc -static`"))
}

/// An ELF program without PT_INTERP starts without a dynamic loader.
fn is_static(data: &[u8]) -> std::result::Result<bool, String> {
    let file = ElfFile64::<LittleEndian>::parse(data).map_err(|e| e.to_string())?;
    let header = file.elf_header();
    let executable = [elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(LittleEndian));
    if !executable || header.e_machine(LittleEndian) != elf::EM_X86_64 {
        return Err("an ELF file of another kind".into());
    }
    let segments = header.program_headers(LittleEndian, data).map_err(|e| e.to_string())?;
    Ok(segments.iter().all(|segment| segment.p_type(LittleEndian) != elf::PT_INTERP))
}

/// The first static busybox of the usual places.
fn busybox(wanted: Option<&Path>) -> Result<PathBuf> {
    let usual =
        ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox", "/bin/busybox.static"].map(PathBuf::from);
    let places: Vec<PathBuf> = wanted.into_iter().map(Path::to_path_buf).chain(usual).collect();
    let good = |path: &&PathBuf| std::fs::read(path).is_ok_and(|data| is_static(&data) == Ok(true));
    match places.iter().find(good) {
        Some(path) => Ok(path.clone()),
        None => refuse(TOOL_MISSING, "there is no static busybox; install the package busybox-static"),
    }
}

/// The archive for a boot with many livepatches.
pub fn build_series(items: &[&Item], transition_limit: Duration) -> Result<Vec<u8>> {
    let settings = format!("ORDER=series\nLIMIT={}\n", transition_limit.as_secs());
    let mut archive = Archive::with_init(None, &settings)?;
    let mut targets = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        archive.file(&format!("klp/series/{index:04}-{}.ko", item.name), 0o644, &read(&item.livepatch)?)?;
        let names = item.target_modules.iter().map(|module| modules::name_of(module));
        targets.extend(names.clone().zip(&item.target_modules));
        let names: String = names.map(|name| name + "\n").collect();
        archive.file(&format!("klp/series/{index:04}.modules"), 0o644, names.as_bytes())?;
    }
    for (name, module) in targets {
        archive.file(&format!("klp/targets/{name}.ko"), 0o644, &modules::contents(module)?)?;
    }
    archive.finish()
}

/// A cpio archive in the making. Owner and times are all 0, so that the same input gives the same bytes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    /// With busybox, our init script and its settings.
    fn with_init(wanted: Option<&Path>, settings: &str) -> Result<Archive> {
        const FOLDERS: &[&str] = &[
            "bin",
            "dev",
            "proc",
            "sys",
            "tmp",
            "klp",
            "klp/modules",
            "klp/older",
            "klp/series",
            "klp/targets",
            "klp/triggers",
        ];
        let mut archive = Archive::default();
        for folder in FOLDERS {
            archive.add(folder, ModeFileType::Directory, 0o755, (0, 0), &[])?;
        }
        // What the kernel opens for the first program before devtmpfs is there.
        archive.add("dev/console", ModeFileType::Char, 0o600, (5, 1), &[])?;
        archive.add("dev/null", ModeFileType::Char, 0o666, (1, 3), &[])?;
        archive.file("bin/busybox", 0o755, &read(&busybox(wanted)?)?)?;
        archive.file("init", 0o755, INIT.as_bytes())?;
        archive.file("klp/plan", 0o644, settings.as_bytes())?;
        Ok(archive)
    }

    fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.add(name, ModeFileType::Regular, mode, (0, 0), data)
    }

    fn add(&mut self, name: &str, kind: ModeFileType, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        let Ok(size) = u32::try_from(data.len()) else {
            return refuse(crate::finding::IO, format!("{name} is too large for the virtual machine"));
        };
        self.inode += 1;
        let entry = Builder::new(name)
            .ino(self.inode)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
            .rdev_major(device.0)
            .rdev_minor(device.1);
        let mut writer = entry.write(std::mem::take(&mut self.bytes), size);
        let copied = std::io::copy(&mut Cursor::new(data), &mut writer).and_then(|_| writer.finish());
        self.bytes = copied.map_err(io("archive", Path::new(name)))?;
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>> {
        trailer(self.bytes).map_err(|e| Finding::new(crate::finding::IO, format!("cannot end the archive: {e}")).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(program: &Path) -> Trigger {
        Trigger { name: "t".into(), program: program.into(), args: vec!["a b".into(), "$(x)".into()] }
    }

    #[test]
    fn the_archive_has_everything_and_is_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let [script, livepatch] = ["script", "lp.ko"].map(|name| folder.path().join(name));
        std::fs::write(&script, "#!/bin/sh\necho\n").unwrap();
        std::fs::write(&livepatch, "").unwrap();
        let mut plan = Plan::new(Path::new("vmlinuz"), &livepatch, "livepatch-x");
        plan.triggers.push(trigger(&script));
        plan.target_modules.push(livepatch.clone());
        let bytes = build(&plan, Order::TargetFirst).unwrap();
        assert_eq!(build(&plan, Order::TargetFirst).unwrap(), bytes);
        let mut names = Vec::new();
        let mut rest = Cursor::new(bytes);
        loop {
            let mut reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let name = reader.entry().name().to_string();
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut text).unwrap();
            match name.as_str() {
                "klp/triggers/0000/run" => assert_eq!(text, b"exec /klp/triggers/0000/program 'a b' '$(x)'\n"),
                "klp/plan" => assert!(
                    text.starts_with(b"ORDER=target-first\nNAME=livepatch_x\nRELOAD=no\nREPLACES=no\nLIMIT=60\n")
                ),
                _ => {}
            }
            names.push(name);
            rest = reader.finish().unwrap();
        }
        for name in ["init", "bin/busybox", "klp/livepatch.ko", "klp/modules/0000-lp.ko", "dev/console"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn triggers_that_could_not_start_are_refused_with_advice() {
        let shell = trigger(Path::new("/bin/sh"));
        let error = check_trigger(&shell, &std::fs::read("/bin/sh").unwrap()).unwrap_err().to_string();
        assert!(error.contains("dynamically linked") && error.contains("gcc -static"), "{error}");
        assert!(check_trigger(&shell, b"#!/usr/bin/python3\n").unwrap_err().to_string().contains("python3"));
        assert!(check_trigger(&shell, b"text").unwrap_err().to_string().contains("neither"));
        assert!(check_trigger(&shell, b"#!/bin/sh\nexit").is_ok());
        assert!(check_trigger(&shell, &std::fs::read(busybox(None).unwrap()).unwrap()).is_ok());
    }
}
