//! One translation unit: its tokens with provenance, macros, statements and the names they declare.

pub mod assembly;
pub mod changes;
pub mod clang;
pub mod contained;
pub mod declared;
pub mod dialect;
pub mod expand;
pub mod flat;
pub mod gcc;
pub mod groups;
pub mod lex;
pub mod library;
pub mod listing;
pub mod live;
pub mod names;
pub mod pasted;
pub mod place;
pub mod pragmas;
pub mod program;
pub mod statics;
pub mod text;
pub mod worker;
pub mod written;

use std::path::Path;

use crate::finding::{FRONT_END, Result, refuse};
use crate::kernel::command::CompileCommand;
use crate::parallel::join;

use expand::Expanded;

/// Expands a unit and holds the result against `gcc -E`, token for token.
pub fn expanded(command: &CompileCommand, build: &Path) -> Result<Expanded> {
    expanded_as(command, build, || gcc::expanded(command, build))
}

/// As [`expanded`], where what `gcc -E` makes of the unit may be there already.
pub fn expanded_as(
    command: &CompileCommand,
    build: &Path,
    reference: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Expanded> {
    let (directives, reference) = join(|| gcc::directives_only(command, build), reference);
    // What the expander says of a macro bomb is clearer than that GCC was ended.
    let unit = expand::expand(directives?, &command.source, &gcc::prefix_maps(&command.args))?;
    self_check(&unit, &reference?, &command.source)?;
    Ok(unit)
}

/// The expander's tokens must be GCC's. Tokens that depend on `__LINE__` and the like may differ in their value.
fn self_check(unit: &Expanded, reference: &[u8], source: &str) -> Result<()> {
    let interner = unit.interner();
    let mut reference = lex::texts(reference);
    let mut tokens = unit.tokens.iter().enumerate();
    let (at, ours, theirs) = loop {
        match (tokens.next(), reference.next()) {
            (None, None) => return Ok(()),
            (Some((_, ours)), Some(theirs)) if ours.builtin || interner.text(ours.symbol) == &*theirs => {}
            (Some((at, ours)), theirs) => break (at, Some(ours), theirs),
            (None, theirs) => break (unit.tokens.len(), None, theirs),
        }
    };
    let place = unit.tokens[..at].iter().rev().find(|token| token.source != expand::NONE);
    let (file, line, _) = unit.reader.location(place.map_or(0, |token| token.source));
    let file = &unit.reader.files[file.0 as usize];
    refuse(
        FRONT_END,
        format!(
            "{source}: token {at}, near {file}:{line}: the expander has {}, gcc -E has {}; please report this",
            ours.map_or("nothing".into(), |ours| interner.string(ours.symbol)),
            theirs.map_or("nothing".into(), |theirs| String::from_utf8_lossy(&theirs).into_owned())
        ),
    )
}
