//! Which functions a sweep tries: drawn by a seed, the same for the same kernel on every machine.

use sha2::{Digest as _, Sha256};

use crate::finding::Result;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::object::facts::Facts;
use crate::pipeline;
use crate::unit::expand::{Expanded, NONE};
use crate::unit::groups::{Outline, Shape, Statement};

/// A function that is to be pretended patched.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub command: CompileCommand,
    pub function: String,
    /// Of its body's opening brace in the unit's source: counted from 1, and in bytes from 0.
    pub line: u32,
    pub column: u32,
}

/// How a seed orders things: by hash, so that what is new or gone among them moves nothing else.
fn rank(seed: u64, name: &str) -> [u8; 32] {
    Sha256::digest(format!("{seed} {name}")).into()
}

/// The kernel's units in the seed's order; sources that the build generates are left out, for no patch changes them.
pub fn units(kernel: &Kernel, seed: u64) -> Result<Vec<CompileCommand>> {
    let mut units = kernel.all_commands()?;
    units.retain(|command| kernel.source().join(&command.source).is_file());
    units.sort_by_cached_key(|command| rank(seed, &format!("{} {}", command.output, command.object)));
    Ok(units)
}

/// Up to `most` functions of a unit: those with an ftrace site that run after boot, and the bodies of system calls, whose
/// entry points have the sites.
pub fn functions(kernel: &Kernel, command: &CompileCommand, seed: u64, most: usize) -> Result<Vec<Drawn>> {
    let facts = pipeline::original(kernel, command)?.facts;
    let absolute = kernel.absolute(command);
    let mut unit = crate::unit::expanded(&absolute, kernel.build())?;
    let outline = Outline::new(&mut unit);
    let main = unit.reader.files.iter().position(|file| *file == absolute.source).unwrap_or_default() as u32;
    let mut drawn = Vec::new();
    for statement in &outline.statements {
        let Shape::Function(name) = statement.shape else { continue };
        let function = String::from_utf8_lossy(unit.text(name as usize)).into_owned();
        let Some((file, line, column)) = body(&unit, statement) else { continue };
        if file == main && is_wanted(&facts, &function) {
            drawn.push(Drawn { command: command.clone(), function, line, column });
        }
    }
    drawn.sort_by_cached_key(|drawn| rank(seed, &drawn.function));
    drawn.truncate(most);
    Ok(drawn)
}

/// Where a function's body begins, if the source spells it: file, line and column.
fn body(unit: &Expanded, statement: &Statement) -> Option<(u32, u32, u32)> {
    let mut tokens = statement.tokens();
    let open = tokens.find(|index| unit.text(*index) == b"{")?;
    let token = &unit.tokens[open];
    if token.source == NONE || token.invocation != NONE {
        return None;
    }
    let (file, line, start) = unit.reader.location(token.source);
    Some((file.0, line, token.source - start))
}

fn is_wanted(facts: &Facts, function: &str) -> bool {
    // include/linux/syscalls.h, __SYSCALL_DEFINEx(); arch/x86/include/asm/syscall_wrapper.h.
    let call = function.strip_prefix("__do_").map(|rest| [format!("__x64_{rest}"), format!("__ia32_{rest}")]);
    let names = call.into_iter().flatten().chain([function.to_string()]);
    names.filter_map(|name| facts.named(&name)).any(|id| {
        let function = facts.function(id);
        function.ftrace_site && !facts.sections[function.section].is_boot()
    })
}
