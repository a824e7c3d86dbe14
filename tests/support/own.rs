//! What a unit of the kernel defines itself, for tests that need no compiled object.

use std::collections::BTreeSet;

use klp_extract::finding::Result;
use klp_extract::kernel::Kernel;
use klp_extract::unit::expand::Expanded;
use klp_extract::unit::groups::{Outline, Shape};
use klp_extract::unit::names::Role;
use klp_extract::unit::place::Places;

/// The names of functions and objects of the unit that the running kernel has a symbol of.
pub fn provided(kernel: &Kernel, object: &str, unit: &Expanded, outline: &Outline) -> Result<BTreeSet<String>> {
    let table = kernel.symbols(object)?;
    let names = outline.names.iter().flatten().filter(|name| matches!(name.role, Role::Function | Role::Variable));
    let names = names.map(|name| unit.interner().string(name.symbol));
    Ok(names.filter(|name| table.contains(name)).collect())
}

/// Functions that the unit's own files define, spread over it.
pub fn functions(unit: &Expanded, outline: &Outline, places: &Places, wanted: usize) -> Vec<String> {
    let mut names = Vec::new();
    for statement in &outline.statements {
        let Shape::Function(name) = statement.shape else { continue };
        if places.is_main(places.position(unit.start_of(statement.start)).file) {
            names.push(unit.interner().string(outline.symbols[name as usize]));
        }
    }
    let step = names.len().div_ceil(wanted.max(1)).max(1);
    names.into_iter().step_by(step).collect()
}
