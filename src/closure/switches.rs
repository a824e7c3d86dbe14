//! Where code depends on a static key or a static call: what the kernel patches into its own code, and can't into that of
//! a livepatch where the key or call is a module's.
//!
//! The module redefines the macros that make such places, so that its text stays as it is. Translation validation takes
//! their output, in the kernel and in the module, for the invocation: its name, and what it is about.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::unit::expand::Expanded;
use crate::unit::lex::Kind;

/// The macros (of older interfaces, the functions) that templates/switches.h redefines: include/linux/jump_label.h,
/// include/linux/static_call_types.h.
pub const SWITCHES: &[&str] = &[
    "static_branch_likely",
    "static_branch_unlikely",
    "static_key_false",
    "static_key_true",
    "static_call",
    "static_call_mod",
    "static_call_cond",
];

/// What begins the names of trampolines (include/linux/static_call_types.h, STATIC_CALL_TRAMP_PREFIX).
const TRAMPOLINE: &str = "__SCT__";

/// The output of one invocation of such a macro.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Among the tokens of the statement.
    pub tokens: Range<usize>,
    pub name: String,
    /// The key's address, among the tokens of the statement; nothing where a static call is meant.
    pub argument: Range<usize>,
    /// The trampolines of static calls that it names.
    pub trampolines: BTreeSet<String>,
}

/// Those among the tokens of a statement.
pub fn found(unit: &Expanded, statement: Range<usize>) -> Vec<Switch> {
    let mut found: Vec<(u32, Switch)> = Vec::new();
    for index in statement.clone() {
        let Some((expansion, name)) = switch_of(unit, index) else { continue };
        let at = index - statement.start;
        match found.last_mut() {
            Some((last, switch)) if *last == expansion => switch.tokens.end = at + 1,
            _ => {
                let trampolines = BTreeSet::new();
                found.push((expansion, Switch { tokens: at..at + 1, name, argument: 0..0, trampolines }));
            }
        }
    }
    let texts = |range: &Range<usize>| -> Vec<&[u8]> {
        (range.start..range.end).map(|at| unit.text(statement.start + at)).collect()
    };
    let mut switches: Vec<Switch> = found.into_iter().map(|(_, switch)| switch).collect();
    for switch in &mut switches {
        let own = |at: &usize| switch_of(unit, statement.start + at).is_some();
        let mut arguments: Vec<Range<usize>> = Vec::new();
        for at in switch.tokens.clone().filter(|at| !own(at)) {
            match arguments.last_mut() {
                Some(argument) if argument.end == at => argument.end = at + 1,
                _ => arguments.push(at..at + 1),
            }
        }
        // All are copies of the one argument; any other shape stays as it is, and then compares as it is.
        if arguments.windows(2).all(|pair| texts(&pair[0]) == texts(&pair[1])) {
            switch.argument = arguments.into_iter().next().unwrap_or(0..0);
        } else {
            switch.tokens.end = switch.tokens.start;
        }
        let identifiers = switch.tokens.clone().map(|at| statement.start + at);
        let identifiers = identifiers.filter(|index| unit.tokens[*index].kind == Kind::Identifier);
        let texts = identifiers.map(|index| String::from_utf8_lossy(unit.text(index)).into_owned());
        switch.trampolines = texts.filter(|text| text.starts_with(TRAMPOLINE)).collect();
    }
    switches.retain(|switch| !switch.tokens.is_empty());
    switches
}

/// The invocation of such a macro by whose body a token came.
fn switch_of(unit: &Expanded, index: usize) -> Option<(u32, String)> {
    let mut next = unit.tokens[index].expansion;
    let mut found = None;
    while let Some(expansion) = unit.expansions.get(next as usize) {
        let name = unit.interner().text(unit.reader.macros[expansion.macro_id.0 as usize].name);
        if let Some(name) = SWITCHES.iter().find(|switch| switch.as_bytes() == name) {
            found = Some((next, name.to_string()));
        }
        next = expansion.parent;
    }
    found
}
