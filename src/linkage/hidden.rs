//! What public headers have for built-in code alone.

use std::collections::BTreeSet;

use crate::closure::Closure;
use crate::finding::Result;
use crate::kernel::command::CompileCommand;
use crate::unit;
use crate::unit::expand::NONE;
use crate::unit::groups::Outline;
use crate::unit::place::{self, Class};

use super::includes::{Include, Names, with_templates};
use super::reading::Reading;

/// What public headers have for the unit and not for the module: the names that the closure needs of them. The module reads
/// them under MODULE; and a header may not go together with those of its template (asm/unistd_32.h), or be for those alone who
/// use all that it defines: `unused` are such files, as GCC names them.
pub fn hidden(
    closure: &Closure,
    (includes, own): (&[Include], &[&str]),
    module: &Reading,
    unused: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let all = with_templates(includes, own);
    let stub = module.written(&all)?;
    let command = CompileCommand { source: stub.to_string_lossy().into_owned(), ..module.command.clone() };
    let mut unit = unit::expanded(&command, module.build)?;
    let outline = Outline::new(&mut unit);
    let declared = outline.names.iter().flatten();
    let declared: BTreeSet<(String, bool)> =
        declared.map(|name| (unit.interner().string(name.symbol), name.role.is_tag())).collect();
    let defined = unit.reader.macros.iter().filter(|definition| definition.undefined_at == NONE);
    let defined: BTreeSet<String> = defined.map(|definition| unit.interner().string(definition.name)).collect();
    let mut apart = apart(closure, includes, own, module)?;
    let unused: BTreeSet<String> = unused.iter().map(|file| place::classify(file, module.roots).path).collect();
    let is_unused = |file: &u32| unused.contains(&closure.files[*file as usize].path);
    apart.extend((0..closure.files.len() as u32).filter(is_unused));
    let public = |file: u32| closure.files[file as usize].class == Class::Public;
    let mut hidden = BTreeSet::new();
    for node in closure.graph.node_weights().filter(|node| !node.copied && public(node.position.file)) {
        let is_apart = apart.contains(&node.position.file);
        let missing =
            node.names.iter().filter(|(name, role)| is_apart || !declared.contains(&(name.clone(), role.is_tag())));
        hidden.extend(missing.map(|(name, _)| name.clone()));
    }
    for definition in closure.groups.iter().flat_map(|group| &group.macros).map(|id| &closure.macros[id]) {
        let file = definition.position.file;
        let missing = definition.undefined.is_none() && !defined.contains(&definition.name);
        if public(file) && (missing || apart.contains(&file)) {
            hidden.insert(definition.name.clone());
        }
    }
    Ok(hidden)
}

/// Headers without which the others compile, with those of the template, and with which they don't: they go with none of a
/// module's (asm/efi.h), or not before those of the template.
fn apart(closure: &Closure, includes: &[Include], own: &[&str], module: &Reading) -> Result<BTreeSet<u32>> {
    let all = with_templates(includes, own);
    if module.compiles(&all)? {
        return Ok(BTreeSet::new());
    }
    let names = Names { closure, source: module.source };
    let mut apart = BTreeSet::new();
    for include in includes {
        let others: Vec<Include> = all.iter().filter(|other| other.name != include.name).cloned().collect();
        if module.compiles(&others)? {
            apart.extend((0..closure.files.len() as u32).filter(|file| names.of(*file) == include.name));
        }
    }
    Ok(apart)
}
