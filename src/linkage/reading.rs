//! What the headers of a module bring, by the preprocessor and the compiler, as the module will have them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::closure::Closure;
use crate::finding::{MODULE_DOES_NOT_COMPILE, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;
use crate::unit::place::{self, Class};

use super::includes::{Include, LATE, own_macros, with_templates};

/// How a module's includes are read.
pub struct Reading<'a> {
    /// The command that the module is compiled with.
    pub command: &'a CompileCommand,
    /// The kernel's trees.
    pub source: &'a Path,
    pub build: &'a Path,
    /// As in [`place::classify`].
    pub roots: &'a [String],
    pub scratch: &'a Path,
    /// Directives among the includes, with their places in the original unit: a header may want a macro
    /// (`rdma/uverbs_named_ioctl.h`).
    pub macros: Vec<(u32, String)>,
}

impl Reading<'_> {
    /// A file of nothing but these includes, and what is among them.
    pub fn written(&self, includes: &[Include]) -> Result<PathBuf> {
        let stub = self.scratch.join("includes.c");
        let last = includes.iter().map(|include| include.order).filter(|order| *order < LATE).max().unwrap_or(0);
        let line = |include: &Include| (include.order, format!("#include <{}>\n", include.name));
        let early = self.macros.iter().filter(|(order, _)| *order < last).cloned();
        let mut lines: Vec<(u32, String)> = early.chain(includes.iter().map(line)).collect();
        lines.sort_by_key(|(order, _)| *order);
        let text: String = lines.into_iter().map(|(_, line)| line).collect();
        std::fs::write(&stub, text).map_err(io("write", &stub))?;
        Ok(stub)
    }

    /// Does that file compile without a warning?
    pub fn compiles(&self, includes: &[Include]) -> Result<bool> {
        let stub = self.written(includes)?;
        let program = Program::compiler(&self.command.compiler).args(&self.command.args);
        let program = program.args(["-Werror", "-fsyntax-only"]).arg(stub).folder(self.build);
        Ok(program.output()?.success)
    }

    /// What the preprocessor prints of it, or what it has against the includes.
    fn preprocessed(&self, includes: &[Include], how: &[&OsStr]) -> Result<std::result::Result<Vec<u8>, String>> {
        let stub = self.written(includes)?;
        let program = Program::compiler(&self.command.compiler).args(&self.command.args).arg("-w").args(how);
        let output = program.arg(&stub).folder(self.build).output()?;
        if output.success {
            return Ok(Ok(output.stdout));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = text.lines().take(10).collect();
        Ok(Err(format!("the module's includes can't be read:\n  {}", first.join("\n  "))))
    }

    /// Every file that the includes bring, by its path relative to the source or the build folder.
    pub fn reached(&self, includes: &[Include]) -> Result<std::result::Result<BTreeSet<String>, String>> {
        Ok(self.preprocessed(includes, &["-M".as_ref()])?.map(|rule| self.files(&rule)))
    }

    /// The prerequisites of a rule for make (GCC manual, "-M").
    fn files(&self, rule: &[u8]) -> BTreeSet<String> {
        let text = String::from_utf8_lossy(rule).replace("\\\n", " ");
        let files = text.split_whitespace().skip(1);
        files.map(|file| place::classify(file, self.roots).path).collect()
    }
}

/// What a module's includes bring.
#[derive(Debug, Default)]
pub struct Brought {
    /// Files of the unit.
    pub files: BTreeSet<u32>,
    /// Macros that are defined behind all of them, by name: the rest of the line, as GCC spells it.
    pub macros: BTreeMap<String, String>,
}

/// What the module's includes bring, where a struct is mentioned that one of them may name or where macros of the
/// unit's own come with the text; `own` are what its template includes beside `includes`.
pub fn brought(closure: &Closure, includes: &[Include], own: &[&str], module: &Reading) -> Result<Brought> {
    // Nobody asks.
    let nothing_to_undefine = own_macros(closure).is_empty() && closure.undefined.is_empty();
    if closure.mentions.iter().all(|mention| mention.headers.is_empty()) && nothing_to_undefine {
        return Ok(Brought::default());
    }
    let all = with_templates(includes, own);
    let list = module.scratch.join("includes.d");
    let how = ["-E".as_ref(), "-dM".as_ref(), "-MD".as_ref(), "-MF".as_ref(), list.as_os_str()];
    let text = module.preprocessed(&all, &how)?.or_else(|why| refuse(MODULE_DOES_NOT_COMPILE, why))?;
    let reached = module.files(&std::fs::read(&list).map_err(io("read", &list))?);
    let is_there = |file: &u32| {
        let place = &closure.files[*file as usize];
        place.class == Class::Compiler || reached.contains(&place.path)
    };
    let text = String::from_utf8_lossy(&text);
    let definitions = text.lines().filter_map(|line| line.strip_prefix("#define "));
    let named = definitions.map(|definition| {
        let end = definition.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(definition.len());
        (definition[..end].to_string(), definition[end..].to_string())
    });
    Ok(Brought { files: (0..closure.files.len() as u32).filter(is_there).collect(), macros: named.collect() })
}
