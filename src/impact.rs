//! The impacted list of a function without a patch: what a livepatch that changes it would have to replace.
//!
//! That is what GCC's proposed `-flive-patch-list` was to print. It holds for any change that leaves the function's
//! properties alone; what a given patch changes beyond them only a comparison of both versions' objects shows.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::affected::{self, Affected, Version, forest};
use crate::finding::{FILE_NOT_BUILT, FUNCTION_UNKNOWN, Finding, NO_CODE_CHANGE, Result, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::{Symbol, SymbolTable};
use crate::object::facts::Facts;
use crate::object::layout::Layout;
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
                "the kernel's compile commands have no {OPTION}: a change of this function may also change the code of others without a \
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
    let file = &within(kernel, file);
    let commands = kernel.commands_for(file)?;
    if commands.is_empty() {
        return refuse(FILE_NOT_BUILT, not_built(kernel, file, function)?);
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
        known(kernel, function, file, &compiled)?;
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
    let (symbols, layout) = match own {
        Some(own) => (own, Layout::of(version.facts, own)),
        None => (kernel.symbols(&command.object)?, Layout::in_kernel(version.facts, kernel, &command.object)?),
    };
    let mut affected = affected::affected(&affected::Input {
        patched: &patched,
        added: &none,
        removed: &none,
        defined: &none,
        before: version,
        after: version,
        symbols,
        layout: &layout,
        object: &command.object,
    });
    // Nothing has changed: that is no news here.
    affected.findings.retain(|finding| finding.id != NO_CODE_CHANGE);
    if own.is_none() {
        let names = affected.names();
        affected.findings.extend(object::provenance::findings(kernel, command, (&compiled.facts, &layout), &names)?);
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
        let names = function.names();
        names.map(move |name| symbol(name, function.section, function.offset, 't'))
    });
    let objects = facts.objects.iter().map(|object| symbol(&object.name, object.section, object.offset, 'd'));
    SymbolTable::new(functions.chain(objects).collect())
}

/// The file as the kernel's source names it: `./net/x.c` and an absolute path are accepted.
fn within(kernel: &Kernel, file: &str) -> String {
    let path = Path::new(file);
    let inner = path.strip_prefix(kernel.source()).unwrap_or(path);
    let parts = inner.components().filter(|part| *part != Component::CurDir);
    parts.collect::<PathBuf>().to_string_lossy().into_owned()
}

fn not_built(kernel: &Kernel, file: &str, function: &str) -> Result<String> {
    let name = &kernel.descriptor.name;
    let what = if !kernel.source().join(file).is_file() {
        format!("the source of {name} has no {file}")
    } else if file.ends_with(".c") {
        format!("{name} does not build {file}")
    } else {
        format!("{file} is no unit: name a C file that uses {function}")
    };
    Ok(what + &elsewhere(kernel, function, file)?)
}

/// Does GCC know a function of this name in the unit, as code or in its report?
fn known(kernel: &Kernel, function: &str, file: &str, compiled: &Compiled) -> Result<()> {
    if compiled.facts.named(function).is_some() || compiled.clones.contains(function) {
        return Ok(());
    }
    let code = compiled.facts.functions.iter().map(|function| function.name.as_str());
    let reported = compiled.clones.graph.node_weights().map(|node| &*node.name);
    let names: BTreeSet<&str> = code.chain(reported).collect();
    let mut hint = elsewhere(kernel, function, file)?;
    if hint.is_empty() {
        hint = forest::suggestions(function, names);
    }
    let message =
        format!("{file} has no code of a function {function}: it is not defined there, or nothing uses it{hint}");
    Err(Finding::new(FUNCTION_UNKNOWN, message).at(file, None).into())
}

/// Other built files that seem to define a function, as words. A hint only: lines are looked at, not C.
fn elsewhere(kernel: &Kernel, function: &str, file: &str) -> Result<String> {
    const MOST: usize = 3;
    let call = format!("{function}(");
    let defines = |source: &&str| {
        let text = std::fs::read(kernel.source().join(source)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // Most files don't mention it at all.
        text.contains(&call) && text.lines().any(|line| begins_definition(line, &call))
    };
    let sources = kernel.commands()?.sources().filter(|source| *source != file);
    let found: Vec<&str> = sources.filter(defines).take(MOST).collect();
    Ok(if found.is_empty() { String::new() } else { format!("; a function of that name is in {}", found.join(", ")) })
}

/// Is it a line at file scope with the name, its parameters, and no end of a declaration?
fn begins_definition(line: &str, call: &str) -> bool {
    let Some(at) = line.find(call) else { return false };
    let before = line[..at].chars().next_back();
    let is_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let is_outside = line.starts_with(|c: char| c.is_alphabetic() || c == '_');
    is_word && is_outside && !line.contains(['=', '#', '"']) && !line.trim_end().ends_with(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_told_from_other_lines() {
        let is = |line| begins_definition(line, "get(");
        assert!(is("int get(int x)") && is("static struct s *get(void") && is("get(int x)") && is("int get(int x) {"));
        assert!(!is("int get(int x);") && !is("\treturn get(1)") && !is(" * get(x)") && !is("int forget(int x)"));
    }
}
