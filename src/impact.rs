//! The impacted list of a function without a patch: what a livepatch that changes it would have to replace.
//!
//! That is what GCC's proposed `-flive-patch-list` was to print. It holds for any change that leaves the function's
//! properties alone; what a given patch changes beyond them only a comparison of both versions' objects shows.

use std::collections::BTreeSet;
use std::path::Path;

use crate::affected::{self, Affected, Version, forest};
use crate::finding::{FILE_NOT_BUILT, FUNCTION_UNKNOWN, Finding, NO_CODE_CHANGE, Result, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::{Symbol, SymbolTable};
use crate::object::facts::Facts;
use crate::object::{self, Compiled};

/// GCC's option that limits what it does behind the clone report's back (since GCC 9).
const OPTION: &str = "-flive-patching";

/// GCC's levels of `-flive-patching`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Only static functions are inlined, nothing is cloned
    InlineOnlyStatic,
    /// Inlining and cloning as far as the report tells
    InlineClone,
}

impl Level {
    fn flag(self) -> String {
        let level = match self {
            Level::InlineOnlyStatic => "inline-only-static",
            Level::InlineClone => "inline-clone",
        };
        format!("{OPTION}={level}")
    }
}

/// One unit with the function.
#[derive(Debug)]
pub struct Impact {
    pub command: CompileCommand,
    /// The option as the unit was compiled with it here, if at all.
    pub level: Option<String>,
    /// The option as the kernel's own build has it.
    pub built: Option<String>,
    pub affected: Affected,
}

impl Impact {
    /// Whether the kernel was built with `-flive-patching`, and what follows from that.
    pub fn statement(&self) -> String {
        let built = match &self.built {
            Some(option) => format!(
                "the kernel is built with {option}: GCC keeps to what its clone report tells, so that this list is whole"
            ),
            None => format!(
                "the kernel is built without {OPTION}: a change of this function may also change the code of others without a \
                 line in the clone report (pure/const, noreturn, value ranges, folding); `plan` with a patch compares both objects"
            ),
        };
        match &self.level {
            Some(level) if self.level != self.built => {
                format!("this is what it would be under {level}, not what the running kernel has\n{built}")
            }
            _ => built,
        }
    }
}

/// The impacted list of `function` in each unit that compiles `file`. With a level, that of a kernel built so.
pub fn impact(
    kernel: &Kernel,
    file: &str,
    function: &str,
    level: Option<Level>,
    scratch: &Path,
) -> Result<Vec<Impact>> {
    let commands = kernel.commands_for(file)?;
    if commands.is_empty() {
        return refuse(FILE_NOT_BUILT, format!("{} does not build {file}", kernel.descriptor.name));
    }
    let mut impacts = Vec::new();
    for (index, mut command) in commands.into_iter().enumerate() {
        let built = live_patching(&command);
        if let Some(level) = level {
            command.args.retain(|arg| !arg.starts_with(OPTION));
            command.args.push(level.flag());
        }
        let source = kernel.source().join(file);
        let source = if source.exists() { source } else { kernel.build().join(file) };
        let compiled = object::compile(&command, &source, kernel.build(), &scratch.join(format!("impact{index}")))?;
        known(function, file, &compiled)?;
        // Another level's code is not where the running kernel has its own: only the names can be told.
        let own = level.map(|_| own_symbols(&compiled.facts));
        let affected = of_unit(kernel, &command, function, &compiled, own.as_ref())?;
        impacts.push(Impact { level: live_patching(&command), built, affected, command });
    }
    Ok(impacts)
}

fn live_patching(command: &CompileCommand) -> Option<String> {
    // The last one counts.
    command.args.iter().rev().find(|arg| arg.starts_with(OPTION)).cloned()
}

fn of_unit(
    kernel: &Kernel,
    command: &CompileCommand,
    function: &str,
    compiled: &Compiled,
    own: Option<&SymbolTable>,
) -> Result<Affected> {
    let version = Version::from(compiled);
    let (patched, none) = (BTreeSet::from([function.to_string()]), BTreeSet::new());
    let mut affected = affected::affected(&affected::Input {
        patched: &patched,
        added: &none,
        removed: &none,
        before: version,
        after: version,
        symbols: match own {
            Some(own) => own,
            None => kernel.symbols(&command.object)?,
        },
        object: &command.object,
    });
    // Nothing has changed: that is no news here.
    affected.findings.retain(|finding| finding.id != NO_CODE_CHANGE);
    if own.is_none() {
        let names = affected.names();
        affected.findings.extend(object::provenance::findings(kernel, command, &compiled.facts, &names)?);
    }
    Ok(affected)
}

/// The symbols that a kernel would have of this object alone.
fn own_symbols(facts: &Facts) -> SymbolTable {
    let symbol = |name: &str, section: usize, offset: u64, kind: char| Symbol {
        name: name.into(),
        address: offset,
        kind,
        section: section as u32,
    };
    let functions = facts.functions.iter().flat_map(|function| {
        let names = std::iter::once(&function.name).chain(function.aliases.iter().map(|(name, _)| name));
        names.map(move |name| symbol(name, function.section, function.offset, 't'))
    });
    let objects = facts.objects.iter().map(|object| symbol(&object.name, object.section, object.offset, 'd'));
    SymbolTable::new(functions.chain(objects).collect())
}

/// Does GCC know a function of this name in the unit, as code or in its report?
fn known(function: &str, file: &str, compiled: &Compiled) -> Result<()> {
    if compiled.facts.named(function).is_some() || compiled.clones.contains(function) {
        return Ok(());
    }
    let code = compiled.facts.functions.iter().map(|function| function.name.as_str());
    let reported = compiled.clones.graph.node_weights().map(|node| &*node.name);
    let names: BTreeSet<&str> = code.chain(reported).collect();
    let message = format!(
        "{file} has no code of a function {function}: it is not defined there, or nothing uses it{}",
        forest::suggestions(function, names)
    );
    Err(Finding::new(FUNCTION_UNKNOWN, message).at(file, None).into())
}
