//! The same stages without a patch and without a kernel: functions of one unit of any C project, copied out with all that
//! they need. Nothing runs that could be referred to, so that all is copied but what the user says is elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::affected::forest;
use crate::check;
use crate::closure::{Closure, Scope};
use crate::config::House;
use crate::finding::{
    EXTERNAL_COPIED, EXTERNAL_UNUSED, Error, FUNCTION_UNKNOWN, Finding, MODULE_DOES_NOT_COMPILE, Result, USAGE, io,
    refuse,
};
use crate::kernel::command::CompileCommand;
use crate::linkage::includes::{self, Include};
use crate::linkage::pointers::Access;
use crate::process::Program;
use crate::render;
use crate::rewrite::{self, Item, Naming, Sources};
use crate::unit::gcc;
use crate::unit::listing::Listing;
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::program::{Headers, Includes};
use crate::unit::worker;

use super::names::PREFIX;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// As [`crate::command_line::parse`] reads it.
    pub command: CompileCommand,
    pub functions: Vec<String>,
    /// Functions and objects that are declared only: another unit, or the running program, has them.
    pub externalize: Vec<String>,
    /// Do the functions get a livepatch's names?
    pub rename: bool,
    pub includes: Includes,
}

/// The C file.
#[derive(Debug)]
pub struct Copy {
    pub text: String,
    pub items: Vec<Item>,
    pub includes: Vec<Include>,
    pub findings: Vec<Finding>,
}

/// Copies the functions out. `folder` is where the compiler runs; the draft and its object are left in `scratch`.
pub fn copy(request: &Request, folder: &Path, scratch: &Path) -> Result<Copy> {
    let command = &request.command;
    accepted(command, folder, scratch)?;
    let listing = Listing::new(&gcc::expanded(command, folder)?, &[]);
    check_names(request, &listing)?;
    let naming = Naming {
        prefix: if request.rename { PREFIX.into() } else { String::new() },
        targets: request.functions.iter().cloned().collect(),
        distinct: BTreeMap::new(),
        statics: BTreeMap::new(),
        pointers: BTreeMap::new(),
        switches: false,
        events: BTreeMap::new(),
        builtins: BTreeSet::new(),
        shared: true,
        everywhere: true,
    };
    let closure = closed(request, &listing, folder)?;
    let findings = external_findings(request, &closure)?;
    let path = folder.to_path_buf();
    let mut sources = Sources::new(path.clone(), path.clone(), path, Vec::new());
    let items = rewrite::items(&closure, &mut sources, &naming, None)?;
    let conditions = items.iter().any(Item::has_conditions);
    let mut draft = Draft { request, folder, scratch, closure: &closure, naming: &naming, items, sources };
    let mut last = None;
    // Headers need not stand alone, so that all of them are tried before it is a fault.
    for all in if conditions { &[true][..] } else { &[false, true][..] } {
        match draft.checked(*all) {
            Ok((text, items, includes)) => return Ok(Copy { text, items, includes, findings }),
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(last.unwrap_or_else(|| Finding::new(MODULE_DOES_NOT_COMPILE, "there is no draft").into()))
}

/// Does GCC compile the unit at all? Else its own messages say more than any of ours.
fn accepted(command: &CompileCommand, folder: &Path, scratch: &Path) -> Result<()> {
    let version = Program::compiler(&command.compiler).arg("--version").folder(folder).output()?;
    if String::from_utf8_lossy(&version.stdout).contains("clang") {
        return refuse(USAGE, format!("{} is clang; the front end needs GCC", command.compiler));
    }
    let program = Program::compiler(&command.compiler).args(&command.args).args(["-w", "-S", "-o"]);
    let program = program.arg(scratch.join("unit.s")).arg(&command.source).folder(folder);
    program.run(&format!("compile {}", command.source)).map(|_| ())
}

/// Are the names those of functions, and of functions or objects, of the unit?
fn check_names(request: &Request, listing: &Listing) -> Result<()> {
    let source = &request.command.source;
    let functions: BTreeSet<&str> = listing.functions().map(|(name, _)| name).collect();
    for name in &request.functions {
        if functions.contains(name.as_str()) {
            continue;
        }
        let message = if listing.declares_function(name) {
            format!("{source} declares {name}, but another file defines it")
        } else {
            format!("{source} defines no function {name}{}", forest::suggestions(name, functions.iter().copied()))
        };
        return refuse(FUNCTION_UNKNOWN, message);
    }
    let objects: BTreeSet<String> = listing.objects().collect();
    for name in &request.externalize {
        if request.functions.contains(name) {
            return refuse(USAGE, format!("{name} can't be both extracted and externalised"));
        }
        if !objects.contains(name) {
            let near = forest::suggestions(name, objects.iter().map(String::as_str));
            return refuse(FUNCTION_UNKNOWN, format!("{source} has no function or object {name}{near}"));
        }
    }
    Ok(())
}

/// Functions that GCC makes code call although nothing names them, by the option that makes it (GCC manual, "Program
/// Instrumentation Options").
const IMPLICIT: &[(&str, &[&str])] =
    &[("-finstrument-functions", &["__cyg_profile_func_enter", "__cyg_profile_func_exit"])];

/// Stages 3 and 6.
fn closed(request: &Request, listing: &Listing, folder: &Path) -> Result<Closure> {
    let of = |name: &String| listing.function(name).map(|body| body.file().to_string());
    let copied = request.functions.iter().filter_map(of).collect();
    let implicit = IMPLICIT.iter().filter(|(option, _)| request.command.args.iter().any(|arg| arg == option));
    let implicit = implicit.flat_map(|(_, names)| names.iter().map(|name| name.to_string()));
    let implicit = implicit.filter(|name| listing.function(name).is_some() && !request.functions.contains(name));
    let scope = Scope {
        shared: request.functions.iter().cloned().chain(implicit).collect(),
        renames_shared: request.rename,
        provided: request.externalize.iter().cloned().collect(),
        as_written: true,
        ..Scope::default()
    };
    let request = worker::Request {
        command: request.command.clone(),
        build: folder.to_path_buf(),
        roots: Vec::new(),
        headers: Some(Headers { includes: request.includes, copied }),
        scope,
        parse: worker::Parse::All,
        preprocessed: None,
    };
    Ok(worker::run(&request)?.closure)
}

/// What became of the names that were to be externalised.
fn external_findings(request: &Request, closure: &Closure) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in &request.externalize {
        let mut nodes = closure
            .graph
            .node_weights()
            .filter(|node| node.names.iter().any(|(known, role)| known == name && role.is_object()))
            .peekable();
        if nodes.peek().is_none() {
            findings.push(Finding::new(EXTERNAL_UNUSED, format!("nothing that is extracted needs {name}")));
        }
        let defines = |(known, role): &(String, Role)| known == name && *role == Role::Function;
        if nodes.any(|node| node.extent == Extent::Whole && node.names.iter().any(defines)) {
            let message = format!(
                "{name} can't be externalised: it is an inline function of a header, or made together with what is copied"
            );
            return refuse(EXTERNAL_COPIED, message);
        }
    }
    Ok(findings)
}

/// The text, not yet checked.
struct Draft<'a> {
    request: &'a Request,
    folder: &'a Path,
    scratch: &'a Path,
    closure: &'a Closure,
    naming: &'a Naming,
    items: Vec<Item>,
    sources: Sources,
}

impl Draft<'_> {
    /// Stages 7 to 10, with all headers or with those that are needed.
    fn checked(&mut self, all: bool) -> Result<(String, Vec<Item>, Vec<Include>)> {
        let Draft { request, folder, scratch, closure, naming, .. } = *self;
        let includes = includes::system(closure, all);
        let mut items = self.items.clone();
        let tested = includes::tested(closure, &includes, folder);
        items.extend(rewrite::macros(closure, &mut self.sources, &tested)?);
        items.sort_by_key(|item| item.order);
        let text = render::extract(&render::Unit {
            house: &House::default(),
            module: "",
            source: &request.command.source,
            items: &items,
            includes: &includes,
            kbuild_modname: None,
            externals: &[],
            naming,
            closure,
            access: &Access::default(),
            shadow: false,
            suffix: "",
        })?;
        let file = scratch.join("extract.c");
        std::fs::write(&file, &text).map_err(io("write", &file))?;
        let mut own = CompileCommand { source: file.to_string_lossy().into_owned(), ..request.command.clone() };
        // It will lie beside the source, where quotes look first.
        let beside = Path::new(&request.command.source).parent().filter(|folder| !folder.as_os_str().is_empty());
        own.args.extend(["-iquote".into(), beside.unwrap_or(Path::new(".")).to_string_lossy().into_owned()]);
        check::compile(&own, &[], folder, &scratch.join("extract.o"))?;
        let differing = check::validate(&own, folder, closure, naming)?.findings;
        match differing.is_empty() {
            true => Ok((text, items, includes)),
            false => Err(Error::Refused(differing)),
        }
    }
}
