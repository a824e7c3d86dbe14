//! Stages 7 and 8: what each unit gives to the module, settled by drafts that are compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::check;
use crate::closure::Closure;
use crate::finding::{Error, Finding, INIT_REFERRED, Result};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::linkage::External;
use crate::linkage::hidden;
use crate::linkage::includes::{self, Include};
use crate::linkage::pointers::{Access, Features, Wanted};
use crate::linkage::reading::{self, Reading};
use crate::render::{self, Scaffold};
use crate::rewrite::{self, Item, Naming, Sources};
use crate::unit::worker::Usage;

use super::closures::{OfHeaders, UnitClosure, front_end, roots};
use super::module::{SHADOW, reached, replacements, tables, unit_text, write};
use super::{Options, Plan, UnitPlan, access, labels, names};

/// What one unit gives to the module.
pub struct Part<'a> {
    pub(super) unit: &'a UnitPlan,
    pub(super) closure: Closure,
    pub(super) naming: Naming,
    pub(super) usage: Usage,
    /// Its C file, without `.c`.
    pub(super) stem: String,
    pub(super) command: CompileCommand,
    pub(super) items: Vec<Item>,
    pub(super) includes: Vec<Include>,
    pub(super) externals: Vec<External>,
    pub(super) access: Access,
    /// Macros that its headers bring, as [`reading::Brought`] has them.
    pub(super) header_macros: BTreeMap<String, String>,
    /// Of names that the other files of the module see.
    pub(super) suffix: String,
    pub(super) findings: Vec<Finding>,
}

/// Stages 7 and 8: includes, texts and externals of every part.
pub fn parts<'a>(
    kernel: &'a Kernel,
    options: &Options,
    plan: &Plan,
    closures: Vec<UnitClosure<'a>>,
    scratch: &Path,
) -> Result<Vec<Part<'a>>> {
    let several = closures.len() > 1;
    if options.scaffold.contains(&Scaffold::Shadow) {
        write(&scratch.join(SHADOW), &render::shadow(&options.name, &options.house)?)?;
    }
    let new = closures.iter().map(|part| &part.unit.changes);
    let new = new.flat_map(|changes| changes.added_functions.iter().chain(&changes.added_globals));
    let new: BTreeSet<String> = new.cloned().collect();
    let again = |closure: UnitClosure<'a>, of_headers: OfHeaders| {
        let naming = Naming { statics: BTreeMap::new(), ..closure.naming };
        front_end(kernel, plan, closure.unit, (naming, closure.stem), (&closure.shared, &of_headers), scratch)
    };
    let part = |closure: &UnitClosure<'a>| part(kernel, options, plan, closure, (several, &new), scratch);
    let settled = |mut closure: UnitClosure<'a>| -> Result<Part<'a>> {
        let (first, functions) = loop {
            match part(&closure)? {
                Drafted::Compiled(first, functions) => break (*first, functions),
                Drafted::Lacks(hidden, error) if hidden.is_subset(&closure.of_headers.hidden) => return Err(error),
                // What is copied may need more that is hidden.
                Drafted::Lacks(mut hidden, _) => {
                    hidden.extend(closure.of_headers.hidden.iter().cloned());
                    let of_headers = OfHeaders { hidden, ..closure.of_headers.clone() };
                    closure = again(closure, of_headers)?;
                }
            }
        };
        if functions.is_subset(&closure.of_headers.functions) {
            return Ok(first);
        }
        // What headers name plainly is copied, where it can be: a tracepoint's functions can't.
        let OfHeaders { functions: known, hidden } = closure.of_headers.clone();
        let functions = known.union(&functions).cloned().collect();
        match part(&again(closure, OfHeaders { functions, hidden })?) {
            Ok(Drafted::Compiled(second, _)) => Ok(*second),
            _ => Ok(first),
        }
    };
    let mut parts = closures.into_iter().map(settled).collect::<Result<Vec<Part>>>()?;
    labels::tell_apart(&mut parts, &new, kernel.exports()?)?;
    Ok(parts)
}

/// What became of the first text of a part.
enum Drafted<'a> {
    /// With the functions of headers that would have to be copied for more pointers.
    Compiled(Box<Part<'a>>, BTreeSet<String>),
    /// Headers hide these names from modules.
    Lacks(BTreeSet<String>, Error),
}

fn part<'a>(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    UnitClosure { unit, closure, naming, statics, stem, resolver, usage, .. }: &UnitClosure<'a>,
    (several, new): (bool, &BTreeSet<String>),
    scratch: &Path,
) -> Result<Drafted<'a>> {
    let stem = if several { stem.clone() } else { options.name.clone() };
    let source = scratch.join(format!("{stem}.c"));
    let command = check::module_command(&unit.command, &options.name, &source, kernel.source());
    let roots = roots(kernel.source(), &plan.applied.overlay);
    let path = Path::to_path_buf;
    let overlay = plan.applied.overlay.root();
    let mut sources =
        Sources::new(path(overlay), path(kernel.source()), path(kernel.build()), plan.applied.files.clone());
    let headers = Reading {
        command: &command,
        source: kernel.source(),
        build: kernel.build(),
        roots: &roots,
        scratch,
        macros: rewrite::early_macros(closure, &mut sources, naming)?,
    };
    let includes = includes::choose(closure, &headers)?;
    let own = if several { &[] } else { render::OWN_INCLUDES };
    let mut brought = reading::brought(closure, &includes, own, &headers)?;
    let items = rewrite::items(closure, &mut sources, naming, Some(&brought))?;
    let mut part = Part {
        unit,
        closure: closure.clone(),
        naming: naming.clone(),
        usage: usage.clone(),
        suffix: if several { format!("_{}", names::c_name(&stem)) } else { String::new() },
        stem,
        command: command.clone(),
        items,
        includes,
        externals: Vec::new(),
        access: Access::default(),
        header_macros: BTreeMap::new(),
        findings: Vec::new(),
    };
    let mut draft = |part: &Part| draft(kernel, options, plan, part, several, scratch);
    let mut compiled = draft(&part);
    if let Err(error) = &compiled {
        part.naming.builtins = check::builtins(error);
        if !part.naming.builtins.is_empty() {
            part.items = rewrite::items(closure, &mut sources, &part.naming, Some(&brought))?;
            compiled = draft(&part);
        }
    }
    if compiled.is_err()
        && let Some(more) = includes::completed(closure, (&part.includes, own), &headers)?
    {
        part.includes = more;
        brought = reading::brought(closure, &part.includes, own, &headers)?;
        compiled = draft(&part);
    }
    if let Err(error) = compiled {
        // Where the includes can't even be read, what the compiler says of them is told.
        let unused = check::unused(&error);
        let hidden = hidden::hidden(closure, (&part.includes, own), &headers, &unused).unwrap_or_default();
        return Ok(Drafted::Lacks(hidden, error));
    }
    let aliases = part.closure.aliases();
    let external = |name: &String| statics.resolve(name, |name| resolver.resolve_alias(name, &aliases));
    let externals = |compiled: &check::Compiled| -> Result<Vec<External>> {
        // Another unit's new function may be named like what this one has.
        let is_new = |name: &String| new.contains(name) && unit.before.facts.symbol(name).is_none();
        compiled.undefined.iter().filter(|name| !is_new(name)).map(external).collect()
    };
    let wanted = Wanted { symbols: options.symbols, reload: options.reload, features: Features::of(kernel.source()) };
    let reach = access::Reach { kernel, wanted, resolver, externals: &externals };
    let more = access::settle(&mut part, &reach, compiled?, &mut draft)?;
    part.items = rewrite::items(&part.closure, &mut sources, &part.naming, Some(&brought))?;
    part.header_macros = brought.macros;
    let freed =
        part.externals.iter().filter(|external| resolver.is_init(external)).map(|external| external.name.as_str());
    let freed = freed.collect::<Vec<_>>().join(", ");
    if !freed.is_empty() {
        let message = format!("the module refers to {freed}, which the running kernel has freed after boot");
        part.findings.push(Finding::new(INIT_REFERRED, message).at(unit.command.source.as_str(), None));
    }
    Ok(Drafted::Compiled(Box::new(part), more))
}

/// What the module leaves undefined, the compiler knows best: a first text is compiled to ask it.
fn draft(
    kernel: &Kernel,
    options: &Options,
    plan: &Plan,
    part: &Part,
    several: bool,
    scratch: &Path,
) -> Result<check::Compiled> {
    let text = if several {
        render::unit(&unit_text(options, part))?
    } else {
        let replacements = replacements(part.unit, &part.naming);
        render::module(
            &tables(kernel, options, plan, (&[], &[reached(part)]), &replacements, &BTreeMap::new()),
            Some(&unit_text(options, part)),
        )?
    };
    write(&scratch.join(format!("{}.c", part.stem)), &text)?;
    // Nobody debugs a draft, and describing the types is a third of GCC's time.
    let mut command = part.command.clone();
    command.args.push("-g0".into());
    check::compile(&command, check::NO_WARNING, kernel.build(), &scratch.join(format!("{}-draft.o", part.stem)))
}
