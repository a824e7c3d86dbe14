//! Checks that a person can rely on: the module compiles, and what the compiler sees of it is what it sees of the patched
//! kernel (translation validation), for everything that was copied and everything that an `#include` brings.

pub mod agreement;
pub mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::closure::{Closure, Node, WILDCARD, switches};
use crate::finding::{Error, Finding, KERNEL_INVALID, MODULE_DOES_NOT_COMPILE, Result, TOKENS_DIFFER, refuse};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::linkage::events;
use crate::process::Program;
use crate::rewrite::{Naming, declaration, pointers};
use crate::unit;
use crate::unit::expand::{Expanded, Token};
use crate::unit::groups::{Outline, StatementId};
use crate::unit::live::Extent;
use crate::unit::names::{self, Attribute, Role, is_attribute_word};
use crate::unit::pragmas;

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

/// What THIS_MODULE is the address of, in a module (include/linux/export.h).
pub const THIS_MODULE: &str = "__this_module";

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

/// Is what the compiler sees of the module what it sees of the patched kernel? One finding for each name that differs.
pub fn validate(command: &CompileCommand, build: &Path, closure: &Closure, naming: &Naming) -> Result<Validation> {
    let mut module = unit::expanded(command, build)?;
    let outline = Outline::new(&mut module);
    Ok(compare(&module, &outline, closure, naming, &BTreeMap::new()))
}

/// As [`validate`], of a module that was read; `by_hand` are the names that it gives to things by other names than the
/// source's (or than ours).
pub fn compare(
    module: &Expanded,
    outline: &Outline,
    closure: &Closure,
    naming: &Naming,
    by_hand: &BTreeMap<String, String>,
) -> Validation {
    let mut by_name: BTreeMap<(String, bool), Vec<StatementId>> = BTreeMap::new();
    for (index, names) in outline.names.iter().enumerate() {
        for name in names {
            let key = (module.interner().string(name.symbol), name.role.is_tag());
            by_name.entry(key).or_default().push(StatementId(index as u32));
        }
    }
    let packs = pragmas::pragmas(module, outline).packs;
    let mut renamed = naming.renamed(closure);
    renamed.extend(by_hand.iter().map(|(old, new)| (old.clone(), new.clone())));
    let tracepoints = events::groups(closure);
    let calls = closure.renamed_calls();
    let mut validation = Validation::default();
    for index in closure.graph.node_indices() {
        let node = &closure.graph[index];
        let Some((name, role)) = node.names.first() else { continue };
        if naming.events.contains_key(name) {
            // Another function stands in for it.
            continue;
        }
        if *role == Role::Prototype && node.extent == Extent::Whole && naming.targets.contains(name) {
            // Declared again beside its definition, which is compared.
            continue;
        }
        let target = *role == Role::Function && naming.targets.contains(name) && node.extent == Extent::Whole;
        let new_name = if target {
            let new_name = naming.new_name(name);
            by_hand.get(&new_name).cloned().unwrap_or(new_name)
        } else {
            renamed.get(name).filter(|_| !role.is_tag()).unwrap_or(name).clone()
        };
        // Elsewhere its name is not renamed.
        let alone = target && !naming.everywhere;
        let key = (new_name, role.is_tag());
        let candidates = by_name.get(&key).map_or(&[][..], Vec::as_slice);
        if candidates.is_empty() && tracepoints.contains(&node.group) && !is_used(closure, index) {
            // Modules get no trace_X_rcuidle() (include/linux/tracepoint.h); who calls it would miss it.
            continue;
        }
        let new = alone.then_some((name.as_str(), key.0.as_str()));
        let below = node.copied && !tracepoints.contains(&node.group);
        let mut expected = expected(closure, (node, below), new, &renamed, (naming, &calls));
        if node.copied && node.extent == Extent::Signature && node.is_mixed && !closure.has_used_objects(index) {
            expected = type_alone(expected);
        }
        let place = || {
            let file = &closure.files[node.position.file as usize].path;
            (file.clone(), Some(node.position.line))
        };
        let mut nearest = None;
        let equal = candidates.iter().any(|candidate| {
            let range = outline.statements[candidate.0 as usize].tokens();
            let switches = if naming.switches && below { switches::found(module, range) } else { Vec::new() };
            let mut found = found(module, outline, *candidate, node);
            if node.extent == Extent::Whole {
                for switch in switches.iter().rev() {
                    let new = invocation(&switch.name, &switch.trampolines, found[switch.argument.clone()].to_vec());
                    found.splice(switch.tokens.clone(), new);
                }
            }
            let at = difference(&expected, &found, target);
            let at = at.or_else(|| packing(node, packs[candidate.0 as usize]));
            nearest = nearest.take().or_else(|| at.clone().map(|why| (why, texts(&found, target))));
            at.is_none()
        });
        validation.compared += 1;
        if !equal {
            let (why, found) =
                nearest.map_or(("the emitted C does not have it".into(), None), |(why, found)| (why, Some(found)));
            let (file, line) = place();
            let message = format!("{name} is not the same in the emitted C as in the source: {why}");
            validation.findings.push(Finding::new(TOKENS_DIFFER, message).at(file.as_str(), line));
            validation.differences.push(Difference {
                name: name.clone(),
                role: *role,
                extent: node.extent,
                target,
                file,
                line,
                expected: texts(&expected, target),
                found,
                why,
            });
        }
    }
    validation
}

/// Does anything of another group refer to it?
fn is_used(closure: &Closure, index: NodeIndex) -> bool {
    let users = closure.graph.neighbors_directed(index, Direction::Incoming);
    users.into_iter().any(|user| closure.graph[user].group != closure.graph[index].group)
}

/// The words that [`difference`] compares; those that may differ by what makes them, so that a diff doesn't show them.
fn texts(words: &[Word], target: bool) -> Vec<String> {
    let text = |(text, varies): Word| match text.as_bytes()[0] {
        _ if !varies => text.to_string(),
        b'"' => "__FILE__".into(),
        b'0'..=b'9' => "__LINE__".into(),
        // Pasted from one of those.
        _ => text.trim_end_matches(|c: char| c.is_ascii_digit()).to_string(),
    };
    compared(words, target).into_iter().map(text).collect()
}

/// A type under another `#pragma pack` has another layout, with the same tokens.
fn packing(node: &Node, pack: Option<u32>) -> Option<String> {
    let differs = (node.extent == Extent::Whole || node.is_mixed) && node.copied && node.pack != pack;
    differs.then(|| format!("the source has it under #pragma pack {:?}, the emitted C under {pack:?}", node.pack))
}

/// What [`validate`] found.
#[derive(Debug, Default)]
pub struct Validation {
    /// Functions, types and objects compared.
    pub compared: usize,
    pub findings: Vec<Finding>,
    /// What the findings are about, in their order.
    pub differences: Vec<Difference>,
}

/// Something that the compiler sees otherwise in the module than in the source.
#[derive(Debug)]
pub struct Difference {
    pub name: String,
    pub role: Role,
    /// Is it copied (`Whole`), or referred to?
    pub extent: Extent,
    /// Is it a function that the module replaces?
    pub target: bool,
    pub file: String,
    pub line: Option<u32>,
    pub expected: Vec<String>,
    /// Nothing where the module doesn't have it at all.
    pub found: Option<Vec<String>>,
    pub why: String,
}

/// A token to compare: its text, and whether it may differ.
type Word<'a> = (&'a str, bool);

/// A node's words in the module. `below`: do they stand below the macros?
fn expected<'a>(
    closure: &'a Closure,
    (node, below): (&'a Node, bool),
    target: Option<(&str, &'a str)>,
    renamed: &'a BTreeMap<String, String>,
    (naming, calls): (&'a Naming, &BTreeSet<&str>),
) -> Vec<Word<'a>> {
    let tokens = match node.extent {
        Extent::Whole => &node.tokens[..],
        Extent::Signature => &node.tokens[..node.signature_tokens],
    };
    let is_type = !matches!(node.names.first(), Some((_, Role::Function | Role::Prototype | Role::Variable)));
    let mut before = "";
    let text = |token: &u32| closure.texts[(token & !WILDCARD) as usize].as_str();
    let words = tokens.iter().enumerate().map(|(at, token)| {
        let (text, is_called) = (text(token), tokens.get(at + 1).is_some_and(|next| text(next) == "("));
        let new = renamed.get(text).filter(|_| match naming.everywhere {
            true => !is_type && naming.renames(text, before),
            false => is_called || !calls.contains(text),
        });
        before = text;
        (new.map_or(text, String::as_str), token & WILDCARD != 0)
    });
    let mut words: Vec<Word> = words.collect();
    if node.extent == Extent::Whole && below {
        for (range, new) in substitutions(node, &words, naming).into_iter().rev() {
            words.splice(range, new);
        }
    }
    match (node.extent, target) {
        (Extent::Signature, _) if node.is_mixed => sized(without_storage(words), node),
        (Extent::Signature, _) => sized(without_specifiers(first_declarator(words)), node),
        (_, None) => words,
        (_, Some((old, new))) => {
            let mut seen = false;
            let rename = |(text, wildcard)| {
                let is_name = text == old && !seen;
                seen |= is_name;
                (if is_name { new } else { text }, wildcard)
            };
            words.into_iter().map(rename).collect()
        }
    }
}

/// What stands elsewhere in the module for tokens of a copied statement, from first to last, none in another one.
fn substitutions<'a>(node: &'a Node, words: &[Word<'a>], naming: &'a Naming) -> Vec<(Range<usize>, Vec<Word<'a>>)> {
    let pointed = |word: Word<'a>| match naming.pointers.get(word.0) {
        Some(pointer) => vec![("(", false), ("*", false), (pointer.as_str(), false), (")", false)],
        None => vec![word],
    };
    let edits = node.static_edits(|name| naming.statics.contains_key(name)).into_iter();
    let mut all: Vec<(Range<usize>, Vec<Word>)> = edits
        .map(|edit| (edit.tokens.clone(), edit.new.iter().flat_map(|word| pointed((word.as_str(), false))).collect()))
        .collect();
    let meant = |at: &u32| words.get(*at as usize).is_some_and(|word| naming.pointers.contains_key(word.0));
    let objects = node.objects.iter().filter(|at| meant(at)).map(|at| *at as usize);
    all.extend(objects.map(|at| (at..at + 1, pointed(words[at]))));
    if naming.switches {
        for switch in &node.switches {
            let argument = words[switch.argument.clone()].iter().flat_map(|word| pointed(*word));
            all.push((switch.tokens.clone(), invocation(&switch.name, &switch.trampolines, argument.collect())));
        }
    }
    all.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    all.retain(|(range, _)| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    all
}

/// What the place of a static key or call compares as: what it is about, however the macro of this name says it.
fn invocation<'a>(name: &'a str, trampolines: &'a BTreeSet<String>, argument: Vec<Word<'a>>) -> Vec<Word<'a>> {
    let mut words = vec![(name, false), ("(", false)];
    words.extend(argument);
    words.extend(trampolines.iter().map(|trampoline| (trampoline.as_str(), false)));
    words.push((")", false));
    words
}

/// The declaration of an array has the size that its initialiser gives it, where it is ours and not a header's.
fn sized<'a>(mut words: Vec<Word<'a>>, node: &'a Node) -> Vec<Word<'a>> {
    let texts: Vec<&str> = words.iter().map(|word| word.0).collect();
    let several = node.names.iter().filter(|(_, role)| *role == Role::Variable).count() > 1;
    if let (true, Some(length), Some((name, _))) =
        (node.copied && !(node.is_mixed && several), &node.array_length, node.declared())
        && let Some(at) = declaration::open_bracket(&texts, name)
    {
        words.insert(at + 1, (length, false));
    }
    words
}

/// The type that a statement defines, without the objects that it declares.
fn type_alone(words: Vec<Word>) -> Vec<Word> {
    let start = words.iter().position(|word| matches!(word.0, "struct" | "union" | "enum")).unwrap_or(0);
    let (mut depth, mut end) = (0, words.len());
    for (at, (text, _)) in words.iter().enumerate().skip(start) {
        match *text {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            _ => continue,
        }
        let goes_on = words.get(at + 1).is_some_and(|next| next.0 == "__attribute__");
        if depth == 0 && matches!(*text, "}" | ")") && !goes_on && words[start..at].iter().any(|word| word.0 == "{") {
            end = at + 1;
            break;
        }
    }
    without_storage(words[start..end].to_vec())
}

/// Up to the comma that parts two declarators: what is copied has a declaration each in the module, a header has one for all.
fn first_declarator(mut words: Vec<Word>) -> Vec<Word> {
    let mut depth = 0;
    let comma = words.iter().position(|(text, _)| {
        match *text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && *text == ","
    });
    words.truncate(comma.unwrap_or(words.len()));
    words
}

fn found<'a>(module: &'a Expanded, outline: &Outline, id: StatementId, node: &Node) -> Vec<Word<'a>> {
    let statement = &outline.statements[id.0 as usize];
    let word = |token: &Token| {
        let text = std::str::from_utf8(module.interner().text(token.symbol)).unwrap_or("\u{fffd}");
        (text, module.varies(token))
    };
    let words: Vec<Word> = module.tokens[statement.tokens()].iter().map(word).collect();
    match node.extent {
        Extent::Whole => words,
        Extent::Signature => {
            let end = (outline.signature_end(module, id) - statement.start) as usize;
            if node.is_mixed {
                return without_storage(words[..end].to_vec());
            }
            without_specifiers(first_declarator(words[..end].to_vec()))
        }
    }
}

/// A declaration that defines a type too: the attributes are the type's.
fn without_storage(mut words: Vec<Word>) -> Vec<Word> {
    words.retain(|(text, _)| !matches!(*text, "static" | "extern" | ";"));
    words
}

/// A declaration without what a declaration of something of another unit may lack: storage class, `inline`, attributes.
fn without_specifiers(words: Vec<Word>) -> Vec<Word> {
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let text = words[at].0;
        if is_attribute_word(text.as_bytes()) && words.get(at + 1).is_some_and(|next| next.0 == "(") {
            let mut depth = 0;
            at += 1;
            while at < words.len() {
                match words[at].0 {
                    "(" => depth += 1,
                    ")" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            continue;
        }
        if !matches!(text, "static" | "extern" | "inline" | "__inline" | "__inline__" | ";") {
            kept.push(words[at]);
        }
        at += 1;
    }
    kept
}

/// The first difference in words.
fn difference(expected: &[Word], found: &[Word], target: bool) -> Option<String> {
    let (expected, found) = (&compared(expected, target)[..], &compared(found, target)[..]);
    let mut attribute = Attribute::default();
    let differs = |(a, b): (&Word, &Word)| {
        let inside = attribute.step(a.0);
        a.0 != b.0 && !(a.1 && b.1) && !(inside && (bare(a.0) == bare(b.0) || is_message_of(a.0, b.0)))
    };
    let at = expected.iter().zip(found).position(differs);
    let at = match at {
        Some(at) => at,
        None if expected.len() == found.len() => return None,
        None => expected.len().min(found.len()),
    };
    let around = |words: &[Word]| {
        let words = &words[at.saturating_sub(3)..(at + 4).min(words.len())];
        words.iter().map(|word| word.0).collect::<Vec<_>>().join(" ")
    };
    Some(format!("the source has `{}`, the emitted C `{}`", around(expected), around(found)))
}

/// What of the words counts. A target becomes static in a module of one file, and visible in one of several.
fn compared<'a>(words: &[Word<'a>], target: bool) -> Vec<Word<'a>> {
    let words = without_addressable(words);
    if target { unstatic(words) } else { words }
}

/// A function's definition without `static`, `inline` and [`names::OF_ORIGINALS`] before its body.
fn unstatic(words: Vec<Word>) -> Vec<Word> {
    let body = words.iter().position(|word| word.0 == "{").unwrap_or(0);
    let specifier = |text: &str| matches!(text, "static" | "inline" | "__inline" | "__inline__");
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        if at < body && names::is_of_originals(words[at..body].iter().map(|word| word.0)) {
            at += names::ATTRIBUTE;
            continue;
        }
        if at >= body || !specifier(words[at].0) {
            kept.push(words[at]);
        }
        at += 1;
    }
    kept
}

/// Is it the same string but for names that the module reaches through pointers? Macros that compare types put their arguments
/// into the text of an error that the compiler would print (include/linux/minmax.h, include/linux/compiler_types.h).
fn is_message_of(source: &str, module: &str) -> bool {
    source.starts_with('"') && module.starts_with('"') && source == without_pointers(module)
}

/// `(*klpe_name)` as `name`.
fn without_pointers(text: &str) -> String {
    let mut parts = text.split(pointers::MACRO_START);
    let mut found = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once(')').unwrap_or((part, ""));
        found.extend([name, rest]);
    }
    found
}

/// An attribute's name without the underscores that GCC ignores: headers in another order may spell it the other way
/// (`notrace` of include/linux/compiler_types.h and of arch/x86/include/asm/linkage.h; GCC manual, "Attribute Syntax").
fn bare(name: &str) -> &str {
    name.strip_prefix("__").and_then(|name| name.strip_suffix("__")).unwrap_or(name)
}

/// A body without the pointers that only tell objtool of built-in code that a static call's key is in use:
/// `__ADDRESSABLE` makes them in a section that the linker discards. Modules may have none (include/linux/compiler.h;
/// include/linux/static_call_types.h, static_call_mod()): `({ static void *...; ; (&__SCT__f); })` is `(&__SCT__f)` there.
fn without_addressable<'a>(words: &[Word<'a>]) -> Vec<Word<'a>> {
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        if is_key_kept(words[at].0) {
            at += 1;
            continue;
        }
        if words[at].0 == "(" && words.get(at + 1).is_some_and(|word| word.0 == "{") {
            if let Some((inner, end)) = lone_expression(words, at) {
                kept.extend_from_slice(inner);
                at = end;
                continue;
            }
        } else if let Some(end) = addressable(words, at) {
            at = end;
            continue;
        }
        kept.push(words[at]);
        at += 1;
    }
    kept
}

/// The same in assembly, for calls that assembly makes: `".global __SCK__f;"` (arch/x86/include/asm/xen/hypercall.h,
/// `__ADDRESSABLE_xen_hypercall`; modules have nothing in its place).
fn is_key_kept(text: &str) -> bool {
    let key = text.strip_prefix("\".global __SCK__").and_then(|rest| rest.strip_suffix(";\""));
    key.is_some_and(|key| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// Is there such a pointer's declaration at a place? Then what is behind it.
fn addressable(words: &[Word], at: usize) -> Option<usize> {
    if words.get(at)?.0 != "static" {
        return None;
    }
    let end = words[at..].iter().position(|word| word.0 == ";").map_or(words.len(), |length| at + length);
    let declaration = &words[at..end];
    let discarded = declaration.iter().any(|word| word.0.contains(".discard.addressable"));
    (discarded && !declaration.iter().any(|word| word.0 == "{")).then_some(end + 1)
}

/// The expression of a statement expression that holds such a declaration and it alone, and what is behind it.
fn lone_expression<'w, 'a>(words: &'w [Word<'a>], open: usize) -> Option<(&'w [Word<'a>], usize)> {
    let is_semicolon = |at: usize| words.get(at).is_some_and(|word| word.0 == ";");
    let mut start = addressable(words, open + 2)?;
    while is_semicolon(start) {
        start += 1;
    }
    let mut depth = 0;
    let length = words[start..].iter().position(|word| {
        match word.0 {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && word.0 == ";"
    })?;
    let end = start + length;
    let closed = words.get(end + 1).is_some_and(|word| word.0 == "}") && words.get(end + 2).is_some_and(|w| w.0 == ")");
    closed.then_some((&words[start..end], end + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_keep_symbols_don_t_count() {
        const POINTER: &str = "static void * __attribute__ ( ( __section__ ( \".discard.addressable\" ) ) ) p = & k ;";
        let words =
            |text: &'static str| text.split(' ').filter(|w| !w.is_empty()).map(|w| (w, false)).collect::<Vec<_>>();
        let differ = |kernel: String, module: &'static str| {
            let kernel: &'static str = Box::leak(kernel.into_boxed_str());
            difference(&words(kernel), &words(module), false)
        };
        let module = "return ( & f ) ( ) ;";
        assert_eq!(differ(format!("return ( {{ {POINTER} ; ( & f ) ; }} ) ( ) ;"), module), None);
        assert_eq!(differ(format!("{{ {POINTER} return ( & f ) ( ) ; }}"), "{ return ( & f ) ( ) ; }"), None);
        // Any other statement counts.
        assert!(differ(format!("return ( {{ {POINTER} g ( ) ; ( & f ) ; }} ) ( ) ;"), module).is_some());
        assert!(differ("return ( { ; ( & f ) ; } ) ( ) ;".into(), module).is_some());
        assert!(differ(format!("return ( {{ {POINTER} ; ( & g ) ; }} ) ( ) ;"), module).is_some());
        assert!(is_key_kept("\".global __SCK__f;\"") && !is_key_kept("\".global __SCK__f; nop;\""));
        let message = |name: &str| format!("\"min({name}) signedness error\"");
        assert!(
            is_message_of(&message("x"), &message("(*klpe_x)")) && !is_message_of(&message("x"), &message("(*klpe_y)"))
        );
    }
}
