//! The compiler's side of a check: the commands that compile a module's sources as Kbuild will, and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::finding::{Error, Finding, KERNEL_INVALID, MODULE_DOES_NOT_COMPILE, Result, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::modules::THIS_MODULE;
use crate::process::Program;

/// The command that compiles a module's source as Kbuild will: the unit's own flags, outside of the tree, as a module.
///
/// `name` is the module's, `source` the C file. Kbuild's include folders stay, the unit's own ones go, for an out-of-tree
/// build doesn't have them (scripts/Makefile.lib, basename_flags, modname_flags and part-of-module).
pub fn module_command(unit: &CompileCommand, name: &str, source: &Path, kernel_source: &Path) -> CompileCommand {
    let root = kernel_source.to_string_lossy();
    let common = |folder: &str| {
        let relative = folder.strip_prefix(&*root).unwrap_or(folder).trim_start_matches(['.', '/']);
        relative.starts_with("include") || relative.starts_with("arch/x86/include")
    };
    let mut args = Vec::new();
    let mut words = unit.args.iter().peekable();
    while let Some(word) = words.next() {
        if word == "-I" {
            let folder = words.next().cloned().unwrap_or_default();
            if common(&folder) {
                args.extend([word.clone(), folder]);
            }
        } else if let Some(folder) = word.strip_prefix("-I") {
            if common(folder) {
                args.push(word.clone());
            }
        } else if !word.starts_with("-DKBUILD_") && !word.starts_with("-D__KBUILD_") && word != "-DMODULE" {
            args.push(word.clone());
        }
    }
    let kbuild_name = name.replace('-', "_");
    let base = source.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
    args.extend([
        "-DMODULE".into(),
        format!("-DKBUILD_BASENAME=\"{base}\""),
        format!("-DKBUILD_MODNAME=\"{kbuild_name}\""),
        format!("-D__KBUILD_MODNAME=kmod_{kbuild_name}"),
        "-fno-optimize-sibling-calls".into(),
        "-fno-reorder-blocks-and-partition".into(),
    ]);
    CompileCommand {
        source: source.to_string_lossy().into_owned(),
        output: format!("{name}.o"),
        compiler: unit.compiler.clone(),
        args,
        object: kbuild_name,
    }
}

/// As [`module_command`], of a source for which Kbuild has no flags of its own.
pub fn plain_command(kernel: &Kernel, name: &str, source: &Path) -> Result<CompileCommand> {
    // Any unit of vmlinux without flags of its own; one that each kernel with livepatches has.
    match kernel.commands_for("kernel/livepatch/core.c")?.into_iter().next() {
        Some(unit) => Ok(module_command(&unit, name, source, kernel.source())),
        None => refuse(KERNEL_INVALID, format!("{} doesn't build kernel/livepatch/core.c", kernel.descriptor.name)),
    }
}

/// What the compiler says of a module's source.
pub struct Compiled {
    /// Symbols that it leaves undefined, the module's own `__this_module` left out.
    pub undefined: BTreeSet<String>,
    /// Symbols that it defines for others to refer to.
    pub defined: BTreeSet<String>,
    /// By undefined symbol: the sections that refer to it.
    pub references: BTreeMap<String, BTreeSet<String>>,
}

impl Compiled {
    /// The undefined symbols that sections refer to whose names begin so.
    fn referred(&self, section: &str) -> BTreeSet<String> {
        let refers = |(_, sections): &(_, &BTreeSet<String>)| sections.iter().any(|name| name.starts_with(section));
        self.references.iter().filter(refers).map(|(name, _)| name.clone()).collect()
    }

    /// Those whose places the kernel patches: static keys with jump entries, and static calls. Of the calls' places objtool makes a
    /// table later, from the calls of trampolines and what keeps the keys (include/linux/static_call_types.h).
    pub fn switches(&self) -> BTreeSet<String> {
        let keys = self.referred("__jump_table").into_iter();
        let kept = self.referred(".discard.addressable").into_iter().filter(|name| name.starts_with("__SCK__"));
        let called = self.undefined.iter().filter(|name| name.starts_with("__SCT__")).cloned();
        keys.chain(kept).chain(called).filter(|name| self.undefined.contains(name)).collect()
    }

    /// Those that code refers to which runs after the module's init.
    pub fn in_code(&self) -> BTreeSet<String> {
        self.referred(".text")
    }

    /// Does such code use THIS_MODULE? The module's own init and tables, which mean the livepatch, are in other sections.
    pub fn uses_this_module(&self) -> bool {
        self.in_code().contains(THIS_MODULE)
    }
}

/// The kernel's own code compiles without a warning.
pub const NO_WARNING: &[&str] = &["-Werror"];

/// A program's may not; but what this is about must have been declared.
pub const DECLARED: &[&str] = &["-Werror=implicit-function-declaration", "-Werror=implicit-int"];

/// Compiles the module's source; `errors` are the warnings that count as errors.
pub fn compile(command: &CompileCommand, errors: &[&str], build: &Path, object: &Path) -> Result<Compiled> {
    let output = Program::compiler(&command.compiler)
        .args(&command.args)
        .args(errors)
        .args(["-c", "-o"])
        .arg(object)
        .arg(&command.source)
        .folder(build)
        .output()?;
    if !output.success {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().take(30).collect();
        return refuse(MODULE_DOES_NOT_COMPILE, lines.join("\n  "));
    }
    let bytes = crate::object::contents(object)?;
    let file = object::File::parse(&*bytes)
        .map_err(|error| Finding::new(MODULE_DOES_NOT_COMPILE, format!("GCC's object can't be read: {error}")))?;
    let undefined = file.symbols().filter(|symbol| symbol.is_undefined()).filter_map(|symbol| symbol.name().ok());
    let undefined: BTreeSet<String> =
        undefined.filter(|name| !name.is_empty() && *name != THIS_MODULE).map(str::to_string).collect();
    let defined = file.symbols().filter(|symbol| symbol.is_definition() && symbol.is_global());
    let defined = defined.filter_map(|symbol| symbol.name().ok()).map(str::to_string).collect();
    Ok(Compiled { undefined, defined, references: references(&file) })
}

/// Names that GCC takes for functions of its own, and the module's text for objects, by what it says.
pub fn builtins(error: &Error) -> BTreeSet<String> {
    let text = error.to_string();
    let parts = text.split("built-in function '").skip(1);
    let named = parts.filter_map(|part| part.split_once("' declared as non-function"));
    named.map(|(name, _)| name.to_string()).collect()
}

/// The files, as GCC names them, whose functions or data the text includes and doesn't use, by what it says: some headers are
/// for those who use all of them (include/net/codel_impl.h).
pub fn unused(error: &Error) -> BTreeSet<String> {
    let text = error.to_string();
    let told = text.lines().filter(|line| line.contains("defined but not used ["));
    told.filter_map(|line| Some(line.trim_start().split_once(':')?.0.to_string())).collect()
}

fn references(file: &object::File<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for section in file.sections() {
        let name = section.name().unwrap_or_default();
        if name.starts_with(".debug") {
            continue;
        }
        for (_, relocation) in section.relocations() {
            let object::RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = file.symbol_by_index(index) else { continue };
            if let (true, Ok(symbol)) = (symbol.is_undefined(), symbol.name()) {
                found.entry(symbol.into()).or_default().insert(name.into());
            }
        }
    }
    found
}
