//! One translation unit: its tokens with provenance, macros, statements and the names they declare.

pub mod changes;
pub mod clang;
pub mod contained;
pub mod dialect;
pub mod expand;
pub mod gcc;
pub mod groups;
pub mod lex;
pub mod library;
pub mod listing;
pub mod live;
pub mod names;
pub mod place;
pub mod pragmas;
pub mod program;
pub mod text;
pub mod worker;

use std::path::Path;

use crate::finding::{FRONT_END, Result, refuse};
use crate::kernel::command::CompileCommand;

use expand::Expanded;
use lex::Kind;

/// Expands a unit and holds the result against `gcc -E`, token for token.
pub fn expanded(command: &CompileCommand, build: &Path) -> Result<Expanded> {
    let (directives, reference) = std::thread::scope(|scope| {
        let reference = scope.spawn(|| gcc::expanded(command, build));
        let directives = gcc::directives_only(command, build);
        (directives, reference.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut unit = expand::expand(directives?, &command.source, &gcc::prefix_maps(&command.args))?;
    self_check(&mut unit, &reference?, &command.source)?;
    Ok(unit)
}

/// The expander's tokens must be GCC's. Tokens that depend on `__LINE__` and the like may differ in their value.
pub fn self_check(unit: &mut Expanded, reference: &[u8], source: &str) -> Result<()> {
    let reference = lex::preprocessed(reference, &mut unit.reader.interner);
    let interner = unit.interner();
    let differs = |(ours, theirs): (&expand::Token, &lex::Symbol)| ours.symbol != *theirs && !ours.builtin;
    let at = unit.tokens.iter().zip(&reference).position(differs);
    let at = match at {
        None if unit.tokens.len() == reference.len() => return Ok(()),
        None => unit.tokens.len().min(reference.len()),
        Some(at) => at,
    };
    let ours = unit.tokens.get(at).filter(|t| t.kind != Kind::End).map(|t| interner.string(t.symbol));
    let theirs = reference.get(at).map(|symbol| interner.string(*symbol));
    let place = unit.tokens[..at.min(unit.tokens.len())].iter().rev().find(|token| token.source != expand::NONE);
    let (file, line, _) = unit.reader.location(place.map_or(0, |token| token.source));
    let file = &unit.reader.files[file.0 as usize];
    refuse(
        FRONT_END,
        format!(
            "{source}: token {at}, near {file}:{line}: the expander has {}, gcc -E has {}; please report this",
            ours.as_deref().unwrap_or("nothing"),
            theirs.as_deref().unwrap_or("nothing")
        ),
    )
}
