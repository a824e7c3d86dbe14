//! Static variables of functions: which of them hold what the running kernel's function has left there, and the edits that
//! make the copied function use the kernel's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::unit::clang::{LocalVariable, References};
use crate::unit::expand::Expanded;
use crate::unit::groups::Statement;
use crate::unit::place::{Places, Position};
use crate::unit::statics;

use super::Node;

/// Prefix of the names under which the module refers to them.
const PREFIX: &str = "klpl_";

/// Those whose state is thrown away anyway: fresh ones do no harm (include/linux/once_lite.h, printk.h, ratelimit.h,
/// dynamic_debug.h; `__func__` by the compiler). A lock class without lockdep has no bytes, and so no state.
const THROW_AWAY: &[&str] =
    &["__already_done", "__print_once", "__warned", "__func__", "__FUNCTION__", "_rs", "descriptor", "___tp_str"];

/// The descriptors of pr_debug() (include/linux/dynamic_debug.h, dynamic_func_call()) and the pointers of __ADDRESSABLE()
/// (include/linux/compiler.h), which the linker discards: a counter or a symbol follows.
const THROW_AWAY_PREFIXES: &[&str] = &["__UNIQUE_ID_ddebug", "__UNIQUE_ID___addressable_"];

/// A static variable of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticLocal {
    pub name: String,
    pub function: String,
    /// Which of the function's static variables of this name it is, in the order of the source, from 0.
    pub ordinal: usize,
    /// The same among all of the function's variables of this name, and how many those are.
    pub namesakes: (usize, usize),
    /// May a copy start anew? It is constant and only read, or what it holds doesn't matter.
    pub fresh: bool,
    /// A constant that has to be the running kernel's where its address is kept (`inode->i_op = &empty_iops`), and
    /// otherwise need not be.
    pub constant: bool,
    /// The name that the module gives to the running kernel's.
    pub new_name: String,
    /// The tokens of its declaration, a blank between them.
    pub declaration: String,
    /// Was what only its initialiser mentions left out of the closure?
    pub unread: bool,
    /// What makes the running kernel's of it, or why that can't be done.
    pub edits: Result<Vec<StaticEdit>, String>,
    /// What those edits are within.
    pub written_out: Vec<WrittenOut>,
}

/// An invocation of a macro that gives way to its expansion, with the edits in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WrittenOut {
    /// The macro's name.
    pub name: String,
    /// First of [`Node::tokens`], and the one behind its last.
    pub tokens: (usize, usize),
    pub start: Position,
    /// Behind the closing parenthesis.
    pub end: Position,
}

/// A change of a function's text, and the same of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticEdit {
    /// In [`Node::tokens`].
    pub tokens: Range<usize>,
    /// Where it begins, and where it ends behind the last character; nothing in what is written out.
    pub text: Option<(Position, Position)>,
    /// The tokens that take their place.
    pub new: Vec<String>,
}

impl Node {
    /// The edits for those of the static variables that are chosen by their new names, from first to last; none lies in
    /// another one.
    pub fn static_edits(&self, is_chosen: impl Fn(&str) -> bool) -> Vec<&StaticEdit> {
        let chosen = self.static_locals.iter().filter(|local| is_chosen(&local.new_name));
        let mut edits: Vec<&StaticEdit> = chosen.filter_map(|local| local.edits.as_ref().ok()).flatten().collect();
        edits.sort_by_key(|edit| (edit.tokens.start, std::cmp::Reverse(edit.tokens.end)));
        let mut end = 0;
        edits.retain(|edit| {
            let apart = edit.tokens.start >= end;
            end = end.max(edit.tokens.end);
            apart
        });
        edits
    }

    /// The invocations that are written out for those of the static variables.
    pub fn written_out(&self, is_chosen: impl Fn(&str) -> bool) -> BTreeSet<&WrittenOut> {
        let chosen = self.static_locals.iter().filter(|local| is_chosen(&local.new_name));
        chosen.flat_map(|local| &local.written_out).collect()
    }
}

/// May a variable of this name start anew in a copy?
pub fn is_thrown_away(name: &str) -> bool {
    THROW_AWAY.contains(&name) || THROW_AWAY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The static variables of one statement, which libclang has found in it.
pub fn found(unit: &Expanded, places: &Places, statement: &Statement, references: &References) -> Vec<StaticLocal> {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for local in &references.static_locals {
        let LocalVariable { function, empty, constant, .. } = local;
        let name = unit.interner().string(local.name);
        let count = counts.entry((function, name.clone())).or_default();
        let ordinal = *count;
        *count += 1;
        let number = if ordinal == 0 { String::new() } else { format!("_{}", ordinal + 1) };
        let new_name = format!("{PREFIX}{function}_{name}{number}");
        let fresh = *empty
            || is_thrown_away(&name)
            || statics::leads_to_labels(unit, statement.start..statement.end, local)
            || (*constant && statics::is_only_read(unit, local));
        let edits = match fresh {
            true => Ok(statics::Edits::default()),
            false => statics::edits(unit, statement.start..statement.end, references, local, &new_name),
        };
        let relative = |token: u32| (token - statement.start) as usize;
        let owned = |edit: statics::Edit| StaticEdit {
            tokens: relative(edit.tokens.start)..relative(edit.tokens.end),
            text: edit.text.map(|text| (places.position(text.start), places.position(text.end))),
            new: edit.new,
        };
        let out = |out: &statics::WrittenOut| WrittenOut {
            name: out.name.clone(),
            tokens: (relative(out.tokens.0), relative(out.tokens.1)),
            start: places.position(out.text.0),
            end: places.position(out.text.1),
        };
        let unread = local.unread.clone().is_some_and(|range| statics::mentions(unit, range));
        found.push(StaticLocal {
            function: function.clone(),
            ordinal,
            namesakes: local.namesakes,
            fresh,
            constant: *constant,
            declaration: statics::declaration(unit, local),
            unread,
            written_out: edits.iter().flat_map(|edits| &edits.written_out).map(out).collect(),
            edits: edits.map(|edits| edits.edits.into_iter().map(owned).collect()),
            name,
            new_name,
        });
    }
    found
}
