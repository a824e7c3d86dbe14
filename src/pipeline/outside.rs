//! Stage 3 for code that isn't replaced: assembly, and the vDSO. Both are read with the command of a C unit beside them, for a
//! kernel that was only prepared has none of their own; that is near enough to see whether the patch changes them.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::candidates::Outside;
use crate::finding::{ASSEMBLY_CHANGED, Error, Finding, Result, SHARED_CONTRACT, io};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::VMLINUX;
use crate::parallel::try_map;
use crate::unit::changes;
use crate::unit::gcc;

use super::Applied;

/// So many headers that only a whole build makes (kvm-asm-offsets.h) are taken as empty in one file.
const MOST_MISSING: usize = 8;

/// All assembly is read with it, and not all C (Makefile, CC_FLAGS_USING; arch/x86/include/asm/ftrace.h).
const FENTRY: &str = "-DCC_USING_FENTRY";

/// What the patch changes in these files.
pub fn findings(kernel: &Kernel, applied: &Applied, outside: &Outside, scratch: &Path) -> Result<Vec<Finding>> {
    if *outside == Outside::default() {
        return Ok(Vec::new());
    }
    let commands = kernel.all_commands()?;
    let assembly: Vec<(usize, &String)> = outside.assembly.iter().enumerate().collect();
    let changed = try_map(&assembly, |(index, file)| {
        let missing = scratch.join(format!("missing{index}"));
        Ok(is_changed(kernel, applied, &commands, file, &missing)?.then_some(file.as_str()))
    })?;
    let changed: Vec<&str> = changed.into_iter().flatten().collect();
    let mut found: Vec<Finding> =
        try_map(&outside.vdso, |file| vdso(kernel, applied, &commands, file))?.into_iter().flatten().collect();
    if let Some(first) = changed.first() {
        let message = format!(
            "the patch changes what assembly includes, which goes on as it was built, for replacing functions doesn't reach it: {}",
            changed.join(", ")
        );
        found.push(Finding::new(ASSEMBLY_CHANGED, message).at(*first, None));
    }
    Ok(found)
}

/// Does the patch change an assembly file of the running kernel by what it includes?
fn is_changed(
    kernel: &Kernel,
    applied: &Applied,
    commands: &[CompileCommand],
    file: &str,
    missing: &Path,
) -> Result<bool> {
    let Some(mut command) = beside(commands, file) else { return Ok(false) };
    command.args.extend(["-idirafter".to_string(), missing.to_string_lossy().into_owned()]);
    let before = match read(&kernel.absolute(&command), kernel.build(), missing) {
        Ok(before) => before,
        // What isn't for this configuration says `#error`; of what can't be read otherwise nobody knows.
        Err(error) => return Ok(!error.to_string().contains("#error")),
    };
    let after = read(&applied.comparable.command(&command, kernel.build())?, kernel.build(), missing);
    Ok(!after.is_ok_and(|after| after == before) && is_built(kernel, commands, file, &before))
}

fn vdso(kernel: &Kernel, applied: &Applied, commands: &[CompileCommand], file: &str) -> Result<Option<Finding>> {
    let Some(command) = beside(commands, file) else { return Ok(None) };
    // Of another configuration (32-bit) it may not be.
    let Ok(before) = gcc::expanded(&kernel.absolute(&command), kernel.build()) else { return Ok(None) };
    let after = gcc::comparable(&applied.comparable.command(&command, kernel.build())?, kernel.build())?;
    let changes = changes::compare(&before, &after);
    if !changes.concerns_code() {
        return Ok(None);
    }
    let names = match changes.functions.as_slice() {
        [] => "declarations".to_string(),
        names => names.join(", "),
    };
    let message = format!(
        "the vDSO has what the patch changes here too ({names}): it runs in user space, is not replaced, and goes on with the old"
    );
    Ok(Some(Finding::new(SHARED_CONTRACT, message).at(file, None)))
}

/// The command of a C unit in the file's folder, else in the nearest one above, of vmlinux if there is one.
fn beside(commands: &[CompileCommand], file: &str) -> Option<CompileCommand> {
    let of = |folder: &Path| {
        let there = commands.iter().filter(|command| Path::new(&command.source).parent() == Some(folder));
        there.min_by_key(|command| (command.is_modular(), !command.args.iter().any(|arg| arg == FENTRY)))
    };
    let command = Path::new(file).ancestors().skip(1).find_map(of).or_else(|| commands.first())?;
    Some(CompileCommand { source: file.into(), ..command.clone() })
}

/// Preprocesses assembly. Generated headers that aren't there are the same, and so nothing, in both versions.
fn read(command: &CompileCommand, build: &Path, missing: &Path) -> Result<Vec<u8>> {
    let mut text = gcc::assembly(command, build);
    for _ in 0..MOST_MISSING {
        let Some(name) = text.as_ref().err().and_then(not_there) else { break };
        let path = missing.join(name);
        let parent = path.parent().unwrap_or(missing);
        std::fs::create_dir_all(parent).map_err(io("create", parent))?;
        std::fs::write(&path, "").map_err(io("write", &path))?;
        text = gcc::assembly(command, build);
    }
    text
}

/// The header that GCC doesn't find (`fatal error: a.h: No such file or directory`).
fn not_there(error: &Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("fatal error: ")?;
    let (name, _) = rest.split_once(": No such file")?;
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_))).then(|| name.to_string())
}

/// Does the running kernel have one of the global symbols that the text makes? Where it makes none, it may.
fn is_built(kernel: &Kernel, commands: &[CompileCommand], file: &str, text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || matches!(c, ';' | ',')).collect();
    let globals: BTreeSet<&str> =
        words.windows(2).filter(|pair| matches!(pair[0], ".globl" | ".global")).map(|pair| pair[1]).collect();
    let folder = Path::new(file).parent();
    let objects = commands.iter().filter(|command| Path::new(&command.source).parent() == folder);
    let objects: BTreeSet<&str> = objects.map(|command| command.object.as_str()).chain([VMLINUX]).collect();
    let has = |object: &&str| kernel.symbols(object).is_ok_and(|table| globals.iter().any(|name| table.contains(name)));
    globals.is_empty() || objects.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_not_there_stays_in_its_folder() {
        let error = |text: &str| not_there(&Finding::new(ASSEMBLY_CHANGED, text).into());
        assert_eq!(error("x.S:3:10: fatal error: a/b.h: No such file or directory").as_deref(), Some("a/b.h"));
        assert_eq!(error("x.S:3:10: fatal error: ../b.h: No such file or directory"), None);
        assert_eq!(error("x.S:3:10: fatal error: /b.h: No such file or directory"), None);
        assert_eq!(error("x.S:3:2: error: #error no"), None);
    }
}
