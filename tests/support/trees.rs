//! The patch stage on the real kernel tree: it does what patch(1) does, and the compiler sees the patched tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use klp_extract::finding::{Error, PATCH_DOES_NOT_APPLY};
use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use klp_extract::patch::{FileState, Overlay, Real, apply_all, read, relevant_files};
use klp_extract::process::Program;

type Outcome = Result<(), String>;

fn text<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// A patch gives the same files as patch(1) does on copies of them.
pub fn applies_like_patch(kernel: &Kernel, patch: &Path) -> Outcome {
    let bytes = std::fs::read(patch).map_err(|error| error.to_string())?;
    let sets = text(read(&[("fix.patch".into(), bytes)], None))?;
    let (code, _) = text(relevant_files(&sets))?;
    let applied = apply_all(&sets, kernel.source(), 0);
    let scratch = tempfile::tempdir().unwrap();
    for file in &code {
        let to = scratch.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(kernel.source().join(file), &to).map_err(|error| format!("{file}: {error}"))?;
    }
    let mut program = Command::new("patch");
    program.args(["-s", "-f", "-p1", "--fuzz=0", "-i"]).arg(patch).current_dir(scratch.path());
    if !program.output().unwrap().status.success() {
        // Then we must refuse it as well.
        return match applied {
            Err(Error::Refused(findings)) if findings[0].id == PATCH_DOES_NOT_APPLY => Ok(()),
            _ => Err("patch(1) refuses what is applied here".into()),
        };
    }
    for (path, state) in text(applied)?.files {
        let expected = std::fs::read(scratch.path().join(&path)).map_or(FileState::Deleted, FileState::Content);
        if state != expected {
            return Err(format!("{path} is not what patch(1) makes of it"));
        }
    }
    Ok(())
}

/// A patched tree that changes nothing preprocesses and compiles to the same bytes, in both forms of the tree.
pub fn overlay_compiles_the_same(kernel: &Kernel) -> Outcome {
    const UNIT: &str = "net/unix/af_unix.c";
    let content = std::fs::read(kernel.source().join(UNIT)).unwrap();
    let same = BTreeMap::from([(UNIT.to_string(), FileState::Content(content))]);
    let command = text(kernel.commands_for(UNIT))?.remove(0);
    let original =
        CompileCommand { source: kernel.source().join(UNIT).to_string_lossy().into_owned(), ..command.clone() };
    let (plain, object) = (gcc(&original, kernel, &["-E", "-P"])?, object(&original, kernel)?);
    let folders = ["net/unix", "include/linux", "include/net", "arch/x86/include/asm"].map(PathBuf::from);
    for form in [Real::Chain, Real::Folders(folders.into())] {
        let scratch = tempfile::tempdir().unwrap();
        let overlay = text(Overlay::new(kernel.source(), scratch.path(), &same, &form))?;
        let there = text(overlay.command(&command, kernel.build()))?;
        if gcc(&there, kernel, &["-E", "-P"])? != plain {
            return Err(format!("{form:?}: the tokens differ"));
        }
        if self::object(&there, kernel)? != object {
            return Err(format!("{form:?}: the object differs"));
        }
    }
    Ok(())
}

fn gcc(command: &CompileCommand, kernel: &Kernel, more: &[&str]) -> Result<Vec<u8>, String> {
    let program = Program::new(&command.compiler).args(&command.args).args(more).arg(&command.source);
    text(program.folder(kernel.build()).run(&format!("compile {}", command.source)))
}

fn object(command: &CompileCommand, kernel: &Kernel) -> Result<Vec<u8>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Debug information holds the path of the source, and nothing that runs depends on it.
    gcc(command, kernel, &["-g0", "-c", "-o", file.path().to_str().unwrap()])?;
    Ok(std::fs::read(file.path()).unwrap())
}
