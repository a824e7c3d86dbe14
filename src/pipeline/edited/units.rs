//! The C files of a module as they are now: compiled as the build will, and read in both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::check::{self, Compiled, Difference, agreement};
use crate::finding::{Error, Finding, INCLUDE_OUTSIDE, MODULE_DOES_NOT_COMPILE, Result, io};
use crate::folder::Folder;
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::parallel::join;
use crate::pipeline::Options;
use crate::pipeline::parts::Part;
use crate::unit;
use crate::unit::expand::Expanded;
use crate::unit::groups::Outline;

/// A C file of the module, and the part that it is of; none for the tables' file and for what a person has added.
pub struct Unit<'p, 'a> {
    part: Option<&'p Part<'a>>,
    pub file: String,
    pub command: CompileCommand,
}

/// All of them, with the commands that compile them in `scratch`.
pub fn units<'p, 'a>(
    kernel: &Kernel,
    parts: &'p [Part<'a>],
    folder: &Folder,
    scratch: &Path,
    options: &Options,
) -> Result<Vec<Unit<'p, 'a>>> {
    let of_part = |part: &'p Part<'a>| {
        let file = format!("{}.c", part.stem);
        let source = scratch.join(&file).to_string_lossy().into_owned();
        Unit { part: Some(part), command: CompileCommand { source, ..part.command.clone() }, file }
    };
    let mut units: Vec<Unit> = parts.iter().map(of_part).collect();
    let known: BTreeSet<String> = units.iter().map(|unit| unit.file.clone()).collect();
    let main = (parts.len() > 1).then(|| format!("{}-main.c", options.name));
    let others = folder.edited.keys().filter(|file| file.ends_with(".c") && !known.contains(*file)).cloned();
    let others: BTreeSet<String> = others.chain(main).collect();
    for file in others {
        let command = check::plain_command(kernel, &options.name, &scratch.join(&file))?;
        units.push(Unit { part: None, command, file });
    }
    Ok(units)
}

/// What is known of one C file.
pub struct Built {
    /// Nothing where it doesn't compile.
    pub object: Option<(Compiled, Vec<u8>)>,
    pub compared: usize,
    pub differences: Vec<Difference>,
    pub second: agreement::Agreement,
    pub findings: Vec<Finding>,
}

/// Compiles one, holds it against the patched kernel, and reads it a second time.
pub fn built(kernel: &Kernel, unit: &Unit, scratch: &Path, renamed: &BTreeMap<String, String>) -> Result<Built> {
    let Unit { part, file, command } = unit;
    let path = scratch.join(format!("{file}.o"));
    let mut built = Built {
        object: None,
        compared: 0,
        differences: Vec::new(),
        second: agreement::Agreement::default(),
        findings: Vec::new(),
    };
    if !scratch.join(file).is_file() {
        built.findings.push(Finding::new(MODULE_DOES_NOT_COMPILE, format!("{file} is missing")));
        return Ok(built);
    }
    let roots = vec![format!("{}/", scratch.display()), format!("{}/", kernel.source().display())];
    let read = || -> Result<(check::Validation, agreement::Agreement, Vec<Finding>)> {
        let mut module = unit::expanded(command, kernel.build())?;
        let outside = outside(&module, unit, kernel, scratch);
        let outline = Outline::new(&mut module);
        let validation = part.map(|part| check::compare(&module, &outline, &part.closure, &part.naming, renamed));
        let second = agreement::agree(&module, &outline, command, kernel.build(), roots)?;
        Ok((validation.unwrap_or_default(), second, outside))
    };
    // The scratch folder's name says nothing to anybody.
    let prefix = format!("{}/", scratch.display());
    let own = |finding: Finding| Finding {
        message: finding.message.replace(&prefix, ""),
        file: finding.file.map(|file| file.replace(&prefix, "")),
        ..finding
    };
    match check::compile(command, check::NO_WARNING, kernel.build(), &path) {
        Err(Error::Refused(findings)) => built.findings.extend(findings.into_iter().map(own)),
        Ok(compiled) => {
            let (bytes, read) = join(|| std::fs::read(&path).map_err(io("read", &path)), read);
            built.object = Some((compiled, bytes?));
            match read {
                Err(Error::Refused(findings)) => built.findings.extend(findings.into_iter().map(own)),
                Ok((validation, second, outside)) => {
                    built.findings.extend(outside);
                    built.compared = validation.compared;
                    built.differences = validation.differences;
                    built.second = second;
                    let named = built.second.disagreements.iter_mut();
                    named.for_each(|why| *why = format!("{file}: {why}"));
                }
            }
        }
    }
    Ok(built)
}

/// What a file includes must be the kernel's, GCC's own, or be signed with the folder's files.
fn outside(module: &Expanded, unit: &Unit, kernel: &Kernel, scratch: &Path) -> Vec<Finding> {
    let pairs = unit.command.args.windows(2).filter(|pair| pair[0] == "-isystem");
    let system = pairs.map(|pair| Path::new(pair[1].as_str()));
    let trees: Vec<PathBuf> = [kernel.source(), kernel.build(), scratch].into_iter().chain(system).map(real).collect();
    let is_outside = |path: &&String| {
        let file = real(&kernel.build().join(path));
        // `<built-in>`, `<command-line>`, and GCC's working folder.
        !path.starts_with('<') && !path.ends_with('/') && !trees.iter().any(|tree| file.starts_with(tree))
    };
    let files = module.reader.files.iter().filter(is_outside);
    let finding = |path: &String| {
        let message = format!("{} includes {path}, which is neither the kernel's nor beside it", unit.file);
        Finding::new(INCLUDE_OUTSIDE, message)
    };
    files.map(finding).collect()
}

/// Without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}
