//! From a patch to a livepatch module: one line a stage, each computed from the earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::affected::{self, Affected, Target};
use crate::check;
use crate::closure::Scope;
use crate::finding::{
    DATA_ADDED, DATA_CHANGED, DATA_DUPLICATED, Error, FILE_NOT_BUILT, Finding, LAYOUT_CHANGED, MODULE_UNIDENTIFIED,
    NOTHING_CHANGED, Result, Severity, UNSUPPORTED, io, refuse,
};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::link::symbols_file;
use crate::linkage::{self, External, How, Resolver, includes, includes::Include};
use crate::object::{self, Compiled};
use crate::patch::{self, FileState, Header, Overlay};
use crate::render;
use crate::rewrite::{self, Item, Naming, Sources, wrappers};
use crate::unit::changes::{self, Changes, What};
use crate::unit::names::Role;
use crate::unit::place::Class;
use crate::unit::worker::{self, Usage};
use crate::unit::{clang::Extent, gcc};

/// What `plan` and `create` are asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Patch files: name and contents, in order.
    pub patches: Vec<(String, Vec<u8>)>,
    /// A kernel's name or path, as given.
    pub kernel: String,
    /// Lines of context that may differ.
    pub fuzz: u8,
    /// Clone reports given by the user; made on demand otherwise.
    pub ipa_clones: Vec<PathBuf>,
    /// Module name.
    pub name: String,
    /// Finding ids that a person has judged, with the reason.
    pub allow: BTreeMap<String, String>,
}

/// Told what is being done, a stage a line.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// A patch applied to a kernel.
pub struct Applied {
    pub headers: Vec<Header>,
    /// Files of kernel code that it changes.
    pub files: Vec<String>,
    /// The patched tree.
    pub overlay: Overlay,
    /// The same with line numbers kept, for comparisons.
    pub comparable: Overlay,
}

/// One unit with its affected set.
pub struct UnitPlan {
    /// As the kernel's build compiles it.
    pub command: CompileCommand,
    pub changes: Changes,
    pub before: Compiled,
    /// Where its clone report is from.
    pub report: affected::origin::Origin,
    pub affected: Affected,
}

/// The result of `plan`.
pub struct Plan {
    pub applied: Applied,
    pub units: Vec<UnitPlan>,
    pub findings: Vec<Finding>,
}

impl Plan {
    pub fn targets(&self) -> Vec<&Target> {
        self.units.iter().flat_map(|unit| &unit.affected.targets).collect()
    }
}

/// The module, ready to be written.
pub struct Livepatch {
    pub name: String,
    /// File name and contents, in the order of writing.
    pub files: Vec<(String, String)>,
    pub items: Vec<Item>,
    pub includes: Vec<Include>,
    pub externals: Vec<External>,
    pub findings: Vec<Finding>,
    /// Things compared by translation validation.
    pub compared: usize,
    pub usage: Usage,
}

/// `plan`: which functions, and why. `scratch` is the caller's to remove.
pub fn plan(kernel: &Kernel, options: &Options, scratch: &Path, progress: Progress) -> Result<Plan> {
    let mut findings = Vec::new();
    progress("patch: read and apply");
    let applied = apply(kernel, options, scratch, &mut findings)?;
    progress("kernel: find the units");
    let commands = units(kernel, &applied.files)?;
    let mut units = Vec::new();
    for (index, command) in commands.into_iter().enumerate() {
        progress(&format!("object: compile {} before and after", command.source));
        let unit = unit_plan(kernel, options, &applied, command, &scratch.join(format!("unit{index}")))?;
        units.extend(unit);
    }
    progress("affected: targets");
    findings.extend(units.iter().flat_map(|unit| unit.affected.findings.clone()));
    for unit in &units {
        findings.extend(declaration_findings(unit));
        let facts = &unit.before.facts;
        findings.extend(object::provenance::findings(kernel, &unit.command, facts, &unit.affected.names())?);
    }
    refuse_heaviest(&mut findings, &options.allow)?;
    if units.iter().all(|unit| unit.affected.targets.is_empty()) {
        return refuse(NOTHING_CHANGED, "no function of this kernel differs after the patch: there is nothing to replace");
    }
    Ok(Plan { applied, units, findings })
}

/// `create`: the module for a plan.
pub fn create(kernel: &Kernel, options: &Options, plan: &Plan, scratch: &Path, progress: Progress) -> Result<Livepatch> {
    let [unit] = plan.units.as_slice() else {
        return refuse(UNSUPPORTED, "the patch changes several translation units: one module of several is not there yet");
    };
    let naming = Naming {
        prefix: "klpp_".into(),
        targets: unit.affected.targets.iter().map(|target| target.name.clone()).collect(),
    };
    let resolver = Resolver::new(kernel, &unit.command.object, &unit.before.facts)?;
    progress("closure: expand, parse, follow");
    let (closure, usage) = front_end(kernel, plan, unit, &naming, &resolver)?;
    let mut findings = plan.findings.clone();
    findings.extend(data_findings(&closure, &unit.changes));
    findings.extend(rewrite::static_locals(&closure));
    refuse_heaviest(&mut findings, &options.allow)?;
    progress("linkage: includes");
    let roots = roots(kernel, &plan.applied.overlay);
    let source = scratch.join(format!("{}.c", options.name));
    let module = check::module_command(&unit.command, &options.name, &source, kernel.source());
    let chosen = includes::choose(&closure, &module, kernel.build(), &roots, scratch)?;
    progress("rewrite");
    let mut sources = Sources::new(plan.applied.overlay.root().to_path_buf(), kernel.build().to_path_buf());
    let items = rewrite::items(&closure, &mut sources, &naming)?;
    let srcversions = srcversions(kernel, &unit.affected.targets, &mut findings)?;
    let mut rendered = render::Module {
        name: &options.name,
        headers: &plan.applied.headers,
        release: &kernel.descriptor.release,
        kernel_version: kernel.descriptor.version.as_deref().unwrap_or_default(),
        items: &items,
        includes: &chosen,
        kbuild_modname: kbuild_modname(&closure, &unit.command),
        externals: &[],
        targets: &unit.affected.targets,
        srcversions: &srcversions,
        naming: &naming,
        allowed: &allowed(&options.allow),
    };
    // What the module leaves undefined, the compiler knows best: the first text is compiled to ask it.
    progress("linkage: externals");
    write(&source, &render::module(&rendered)?)?;
    let undefined = check::compile(&module, kernel.build(), &scratch.join("draft.o"))?;
    let externals = undefined.iter().map(|name| resolver.resolve(name)).collect::<Result<Vec<_>>>()?;
    findings.extend(linkage::findings(&externals));
    rendered.externals = &externals;
    let text = render::module(&rendered)?;
    progress("check: compile and validate");
    write(&source, &text)?;
    check::compile(&module, kernel.build(), &scratch.join("module.o"))?;
    let validation = check::validate(&module, kernel.build(), &closure, &naming)?;
    findings.extend(validation.findings);
    refuse_heaviest(&mut findings, &options.allow)?;
    let entries: Vec<_> = externals.iter().filter_map(External::entry).collect();
    let object = render::ObjectFile { name: format!("{}.o", options.name), cflags: own_flags(kernel, &unit.command)? };
    let files = vec![
        (format!("{}.c", options.name), text),
        ("Kbuild".into(), render::kbuild(&options.name, &[object])?),
        ("Makefile".into(), render::makefile(&options.name, &options.kernel)?),
        ("klp.symbols".into(), symbols_file::render(&entries)),
    ];
    let compared = validation.compared;
    Ok(Livepatch { name: options.name.clone(), files, items, includes: chosen, externals, findings, compared, usage })
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(io("write", path))
}

fn allowed(allow: &BTreeMap<String, String>) -> Vec<String> {
    allow.iter().map(|(id, reason)| format!("{id}: {reason}")).collect()
}

/// Ends the run if something refuses; what a person has allowed becomes a note.
fn refuse_heaviest(findings: &mut Vec<Finding>, allow: &BTreeMap<String, String>) -> Result<()> {
    for finding in findings.iter_mut().filter(|finding| finding.severity <= Severity::Judge) {
        if let Some(reason) = allow.get(finding.id.0.id) {
            finding.severity = Severity::Note;
            finding.message.push_str(&format!("\nallowed: {reason}"));
        }
    }
    if findings.iter().any(|finding| finding.severity == Severity::Refuse) {
        findings.sort_by_key(|finding| finding.severity);
        return Err(Error::Refused(findings.drain(..).collect()));
    }
    Ok(())
}

/// Stage 1: the patch, and the trees that show the kernel with it.
fn apply(kernel: &Kernel, options: &Options, scratch: &Path, findings: &mut Vec<Finding>) -> Result<Applied> {
    let sets = patch::read(&options.patches, None)?;
    let (files, ignored) = patch::relevant_files(&sets)?;
    findings.extend(ignored);
    let patched = patch::apply_all(&sets, kernel.source(), options.fuzz)?;
    findings.extend(patched.findings);
    let states: BTreeMap<String, FileState> =
        patched.files.into_iter().filter(|(path, _)| files.contains(path)).collect();
    let overlay = Overlay::new(kernel.source(), &scratch.join("patched"), &states)?;
    let kept = states.into_iter().map(|(path, state)| {
        let old = std::fs::read(kernel.source().join(&path)).unwrap_or_default();
        let state = match state {
            FileState::Content(new) => FileState::Content(patch::keep_lines(&old, &new)),
            FileState::Deleted => FileState::Deleted,
        };
        (path, state)
    });
    let comparable = Overlay::new(kernel.source(), &scratch.join("comparable"), &kept.collect())?;
    Ok(Applied { headers: sets.into_iter().map(|set| set.header).collect(), files, overlay, comparable })
}

/// Stage 2: the compile commands of the units that the patch changes.
fn units(kernel: &Kernel, files: &[String]) -> Result<Vec<CompileCommand>> {
    let mut commands = Vec::new();
    for file in files {
        if !file.ends_with(".c") {
            return refuse(UNSUPPORTED, format!("{file}: patches to headers are not there yet"));
        }
        let found = kernel.commands_for(file)?;
        if found.is_empty() {
            let finding = Finding::new(
                FILE_NOT_BUILT,
                format!("{} does not build {file}: this kernel doesn't have the code", kernel.descriptor.name),
            );
            return Err(finding.at(file.as_str(), None).into());
        }
        commands.extend(found);
    }
    Ok(commands)
}

/// Stages 3 to 5 for one unit; nothing where its tokens are the same after the patch.
fn unit_plan(
    kernel: &Kernel,
    options: &Options,
    applied: &Applied,
    command: CompileCommand,
    scratch: &Path,
) -> Result<Option<UnitPlan>> {
    let build = kernel.build();
    let before = absolute(kernel, &command);
    let after = applied.comparable.command(&command, build)?;
    let compile = |command: &CompileCommand, folder: &str| {
        let source = build.join(&command.source);
        object::compile(command, &source, build, &scratch.join(folder))
    };
    let (texts, objects) = std::thread::scope(|scope| {
        let compiled = scope.spawn(|| (compile(&before, "before"), compile(&after, "after")));
        let texts = (gcc::expanded(&before, build), gcc::expanded(&after, build));
        (texts, compiled.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let changes = changes::compare(&texts.0?, &texts.1?);
    if changes == Changes::default() {
        return Ok(None);
    }
    let (before, after) = (objects.0?, objects.1?);
    let trees = affected::origin::Trees { source: kernel.source(), build };
    let report = affected::origin::origin(&options.ipa_clones, &command, trees, &before.clones)?;
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let affected = affected::affected(&affected::Input {
        patched: &set(&changes.functions),
        added: &set(&changes.added_functions),
        removed: &set(&changes.removed_functions),
        before: (&before).into(),
        after: (&after).into(),
        symbols: kernel.symbols(&command.object)?,
        object: &command.object,
    });
    Ok(Some(UnitPlan { command, changes, before, report, affected }))
}

/// The command with its source as an absolute path, unless the build itself names it relative to the tree.
fn absolute(kernel: &Kernel, command: &CompileCommand) -> CompileCommand {
    let path = kernel.source().join(&command.source);
    let in_tree = kernel.source() == kernel.build();
    let source = if in_tree || !path.exists() { command.source.clone() } else { path.to_string_lossy().into_owned() };
    CompileCommand { source, ..command.clone() }
}

/// What the comparison of two versions says beyond functions.
fn declaration_findings(unit: &UnitPlan) -> Vec<Finding> {
    let finding = |declaration: &changes::Declaration| {
        let name = &declaration.name;
        let (id, message) = match declaration.what {
            What::Type | What::Typedef => (
                LAYOUT_CHANGED,
                format!("the type {name} changes; objects that the running kernel already has keep the old one"),
            ),
            What::Initialiser | What::Variable => (
                DATA_CHANGED,
                format!("the initial value of {name} changes, which the running kernel has long read"),
            ),
            What::Prototype => return None,
        };
        Some(Finding::new(id, message).at(unit.command.source.as_str(), None))
    };
    let said = |name: &str| unit.affected.findings.iter().any(|f| f.id == DATA_CHANGED && f.message.contains(name));
    unit.changes
        .declarations
        .iter()
        .filter(|declaration| !said(&declaration.name))
        .filter_map(finding)
        .collect()
}

fn roots(kernel: &Kernel, overlay: &Overlay) -> Vec<String> {
    let root = |path: &Path| format!("{}/", path.display());
    vec![root(overlay.root()), root(kernel.source())]
}

/// Stages 3 and 6 on the patched unit.
fn front_end(
    kernel: &Kernel,
    plan: &Plan,
    unit: &UnitPlan,
    naming: &Naming,
    resolver: &Resolver,
) -> Result<(crate::closure::Closure, Usage)> {
    let affected = unit.affected.affected.iter().map(|function| function.name.clone());
    let old: BTreeSet<String> = affected.chain(unit.affected.patched.iter().cloned()).collect();
    let copied: BTreeSet<String> = old.difference(&naming.targets).cloned().collect();
    let request = worker::Request {
        command: plan.applied.overlay.command(&unit.command, kernel.build())?,
        build: kernel.build().to_path_buf(),
        roots: roots(kernel, &plan.applied.overlay),
        copied_headers: Vec::new(),
        scope: Scope {
            targets: naming.targets.iter().cloned().collect(),
            provided: resolver.provided(&copied),
            dropped_macros: wrappers::WRAPPERS
                .iter()
                .flat_map(|wrapper| wrapper.dropped)
                .map(|name| name.to_string())
                .collect(),
        },
    };
    let answer = worker::run(&request)?;
    Ok((answer.closure, answer.usage))
}

/// Copied data: what the patch adds is new, what the kernel already has must not be doubled.
fn data_findings(closure: &crate::closure::Closure, changes: &Changes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in closure.graph.node_weights().filter(|node| node.extent == Extent::Whole) {
        let Some((name, Role::Variable)) = node.names.first() else { continue };
        let file = &closure.files[node.position.file as usize];
        let word = |text: &str| {
            let mut words = node.tokens[..node.signature_tokens].iter();
            words.any(|token| closure.texts.get(*token as usize).is_some_and(|known| known == text))
        };
        if file.class == Class::Public || (word("extern") && node.signature_tokens == node.tokens.len()) {
            continue;
        }
        let finding = if changes.added.contains(name) {
            Finding::new(DATA_ADDED, format!("the patch adds {name}, which lives in the livepatch"))
        } else if !word("const") {
            Finding::new(DATA_DUPLICATED, format!("{name} would be copied, but the running kernel has its own"))
        } else {
            continue;
        };
        findings.push(finding.at(file.path.as_str(), Some(node.position.line)));
    }
    findings
}

/// `KBUILD_MODNAME` of the unit, if copied text uses it.
fn kbuild_modname<'a>(closure: &crate::closure::Closure, command: &'a CompileCommand) -> Option<&'a str> {
    let used = closure.groups.iter().flat_map(|group| &group.macros);
    let mut names = used.map(|id| closure.macros[id].name.as_str());
    if !names.any(|name| name == "KBUILD_MODNAME") {
        return None;
    }
    let define = command.args.iter().find_map(|arg| arg.strip_prefix("-DKBUILD_MODNAME="))?;
    Some(define.trim_matches('"'))
}

/// What tells the builds of the target modules apart.
fn srcversions(kernel: &Kernel, targets: &[Target], findings: &mut Vec<Finding>) -> Result<BTreeMap<String, String>> {
    let objects: BTreeSet<&str> = targets.iter().map(|target| target.object.as_str()).collect();
    let mut versions = BTreeMap::new();
    for object in objects.into_iter().filter(|object| *object != symbols_file::VMLINUX) {
        match kernel.modules()?.open(object)?.srcversion {
            Some(version) => drop(versions.insert(object.to_string(), version)),
            None => {
                let message = format!("{object} has no srcversion: the livepatch can't tell another build of it");
                findings.push(Finding::new(MODULE_UNIDENTIFIED, message));
            }
        }
    }
    Ok(versions)
}

/// Flags that only this unit has: most units share all of theirs, and Kbuild gives those to modules too.
fn own_flags(kernel: &Kernel, command: &CompileCommand) -> Result<String> {
    let common = kernel.commands()?.common();
    let own = |arg: &&String| {
        let matters = ["-D", "-f", "-m", "-O", "-W"].iter().any(|prefix| arg.starts_with(prefix));
        let named = ["-DKBUILD_", "-D__KBUILD_", "-DMODULE"].iter().any(|prefix| arg.starts_with(prefix));
        matters && !named && !arg.contains('/') && !common.contains(arg.as_str())
    };
    Ok(command.args.iter().filter(own).cloned().collect::<Vec<_>>().join(" "))
}

/// Is anything left to a person?
pub fn needs_person(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Judge)
}

/// How a symbol is reached, in a word.
pub fn how(external: &External) -> &'static str {
    match external.how {
        How::Export => "export",
        How::KlpRelocation => "klp relocation",
    }
}

/// Runs a stage and says how long it took.
pub fn timed<T>(name: &str, progress: &mut dyn FnMut(&str), stage: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = stage();
    progress(&format!("{name}: {:.2} s", started.elapsed().as_secs_f64()));
    value
}
