//! Renders the module's files from `templates/` (tera, embedded in the program). Rendering never decides anything.

mod extract;
pub mod folder;
pub mod json;
pub mod message;
pub mod output;
mod review;

use std::collections::{BTreeMap, BTreeSet};

pub use extract::extract;
pub use review::{REVIEW, review};

use serde::{Deserialize, Serialize};
use tera::{Context, Kwargs, State, Tera, TeraResult};

use crate::affected::Target;
use crate::closure::Closure;
use crate::config::House;
use crate::finding::{Finding, Result, TEMPLATE};
use crate::kernel::sha256_of;
use crate::kernel::symbols::VMLINUX;
use crate::linkage::External;
use crate::linkage::includes::{Include, LATE};
use crate::linkage::pointers::{Access, Symbols};
use crate::patch::Header;
use crate::rewrite::{BEHIND_ALL, Item, Naming, Section};

/// Name and text of every template.
pub const TEMPLATES: [(&str, &str); 13] = [
    ("extract.c", include_str!("../../templates/extract.c")),
    ("livepatch.c", include_str!("../../templates/livepatch.c")),
    ("review.html", include_str!("../../templates/review.html")),
    ("review-graph.html", include_str!("../../templates/review-graph.html")),
    ("review-piece.html", include_str!("../../templates/review-piece.html")),
    ("review-rows.html", include_str!("../../templates/review-rows.html")),
    ("part.c", include_str!("../../templates/part.c")),
    ("pointers.c", include_str!("../../templates/pointers.c")),
    ("kallsyms.c", include_str!("../../templates/kallsyms.c")),
    ("shadow.h", include_str!("../../templates/shadow.h")),
    ("shared.h", include_str!("../../templates/shared.h")),
    ("Kbuild", include_str!("../../templates/Kbuild")),
    ("Makefile", include_str!("../../templates/Makefile")),
];

/// What one unit gives to the module.
pub struct Unit<'a> {
    pub module: &'a str,
    pub house: &'a House,
    /// Its C source, relative to the kernel source.
    pub source: &'a str,
    pub items: &'a [Item],
    pub includes: &'a [Include],
    /// `KBUILD_MODNAME` of the unit, where copied text uses it.
    pub kbuild_modname: Option<&'a str>,
    pub externals: &'a [External],
    pub naming: &'a Naming,
    /// Knows the functions of public headers that have another name in the module.
    pub closure: &'a Closure,
    pub access: &'a Access,
    /// Has it shadow.h?
    pub shadow: bool,
    /// Of the names that the module's other files see; empty where there is only one file.
    pub suffix: &'a str,
}

/// What the tables have to know of a unit's pointers.
#[derive(Clone, Copy)]
pub struct Reached<'a> {
    /// The object that the unit is part of.
    pub object: &'a str,
    pub suffix: &'a str,
    pub access: &'a Access,
}

impl Reached<'_> {
    /// Is there something to be set when the unit's module comes, other than by kallsyms?
    fn takes_module(&self) -> bool {
        self.access.this_module && !self.access.is_vmlinux
    }

    /// Is there something to be cleared when a module goes?
    fn forgets(&self) -> bool {
        !self.access.is_kallsyms && !self.access.pointers.is_empty()
    }

    /// Has it a table of what kallsyms has to find when an object comes?
    fn finds(&self, object: &str) -> bool {
        self.access.is_kallsyms && self.access.pointers.iter().any(|pointer| pointer.patched_object == object)
    }
}

/// A function that the module replaces, and the new one's name.
pub struct Replacement<'a> {
    pub target: &'a Target,
    pub new_name: String,
}

/// What the module says of itself and to the livepatch core.
pub struct Tables<'a> {
    pub name: &'a str,
    pub house: &'a House,
    pub headers: &'a [Header],
    /// As `uname -r` and `uname -v` print them.
    pub release: &'a str,
    pub kernel_version: &'a str,
    pub externals: &'a [External],
    /// By unit.
    pub reached: &'a [Reached<'a>],
    pub symbols: Symbols,
    /// Does it take the place of all livepatches that are loaded?
    pub replace: bool,
    /// What people will fill in.
    pub scaffold: &'a [Scaffold],
    pub replacements: &'a [Replacement<'a>],
    /// By target module: what tells its build apart.
    pub srcversions: &'a BTreeMap<String, String>,
    /// Exceptions that a person has allowed: finding id and reason.
    pub allowed: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    new_name: &'a str,
    sympos: u32,
}

#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    /// Its name as part of C names.
    symbol: String,
    srcversion: Option<&'a str>,
    functions: Vec<Function<'a>>,
    /// By their suffixes: units that take the module when it comes, have something to find then, and to clear when it goes.
    takers: Vec<&'a str>,
    finders: Vec<&'a str>,
    forgetters: Vec<&'a str>,
    pre_patch: bool,
}

/// One object file of the module, with the flags that only its unit has.
#[derive(Serialize)]
pub struct ObjectFile {
    pub name: String,
    pub cflags: String,
}

/// A house's template takes the place of the program's own of its name. A variable that isn't defined is an error, with its
/// line.
fn render(template: &str, context: &Context, house: &House) -> Result<String> {
    let mut tera = Tera::new();
    tera.autoescape_on([".html"]);
    // Loops over what there is end soon; over numbers, a few in one another never do.
    tera.register_function("range", |_: Kwargs, _: &State| -> TeraResult<String> {
        Err(tera::Error::message("range() is left out"))
    });
    let text = |(name, own): &(&'static str, &'static str)| {
        (*name, house.templates.get(*name).cloned().unwrap_or_else(|| own.to_string()))
    };
    let added = tera.add_raw_templates(TEMPLATES.iter().map(text));
    added.and_then(|()| tera.render(template, context)).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Finding::new(TEMPLATE, format!("the template {template} can't be rendered: {error}{cause}")).into()
    })
}

/// The Kbuild file.
pub fn kbuild(name: &str, objects: &[ObjectFile], house: &House) -> Result<String> {
    let mut context = Context::new();
    context.insert("name", name);
    context.insert("objects", objects);
    render("Kbuild", &context, house)
}

/// The Makefile. `kernel` is what `-k` was given; `compiler` the one of the kernel's build, by a name on the path.
pub fn makefile(name: &str, kernel: &str, compiler: Option<&str>, symbols: Symbols, house: &House) -> Result<String> {
    let mut context = Context::new();
    context.insert("name", name);
    context.insert("kernel", kernel);
    context.insert("compiler", &compiler);
    context.insert("kallsyms", &(symbols == Symbols::Kallsyms));
    context.insert("variables", &house.make);
    render("Makefile", &context, house)
}

/// The C file with the tables: the only one of a module of one unit, which has its text, or beside those of several.
pub fn module(tables: &Tables, unit: Option<&Unit>) -> Result<String> {
    let mut context = Context::new();
    let namespaces: BTreeSet<&String> =
        tables.externals.iter().filter_map(|external| external.namespace.as_ref()).collect();
    let kallsyms = tables.symbols == Symbols::Kallsyms;
    let mut blocks = match unit {
        Some(unit) => blocks(unit, Some(kallsyms))?,
        None => {
            let shadow = if tables.scaffold.contains(&Scaffold::Shadow) { SHADOW_INCLUDE } else { "" };
            vec![format!("{}\n{shadow}#include \"shared.h\"\n", own_includes(&[], kallsyms))]
        }
    };
    let finders: Vec<&str> = tables.reached.iter().filter(|unit| unit.finds(VMLINUX)).map(|unit| unit.suffix).collect();
    let finds = tables.reached.iter().any(|unit| unit.access.is_kallsyms && !unit.access.pointers.is_empty());
    if finds {
        blocks.push(render("kallsyms.c", &Context::new(), tables.house)?);
    }
    context.insert("finders", &finders);
    context.insert("finds", &finds);
    context.insert("replace", &tables.replace);
    context.insert("shadow", &tables.scaffold.contains(&Scaffold::Shadow));
    context.insert("callbacks", &tables.scaffold.contains(&Scaffold::Callbacks));
    context.insert("restores_this_module", &unit.is_some_and(|unit| unit.access.this_module));
    context.insert("this_module_is_none", &unit.is_some_and(|unit| unit.access.is_vmlinux));
    context.insert("header", &header(tables));
    context.insert("blocks", &blocks);
    context.insert("objects", &objects(tables));
    context.insert("kernel_version", &c_string(tables.kernel_version));
    context.insert("description", &c_string(&description(tables)));
    context.insert("namespaces", &namespaces);
    render("livepatch.c", &context, tables.house)
}

/// The C file of one unit of several; also what is compiled to learn what a unit leaves undefined.
pub fn unit(unit: &Unit) -> Result<String> {
    let mut context = Context::new();
    context.insert("module", unit.module);
    context.insert("source", unit.source);
    context.insert("blocks", &blocks(unit, None)?);
    render("part.c", &context, unit.house)
}

const SHADOW_INCLUDE: &str = "#include \"shadow.h\"\n";

/// What is written for people to fill in (`--scaffold`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaffold {
    /// A shadow variable: data that the fix adds to objects of the running kernel
    Shadow,
    /// The four callbacks of each patched object
    Callbacks,
}

/// Shadow variables, to be filled in.
pub fn shadow(name: &str, house: &House) -> Result<String> {
    let mut context = Context::new();
    context.insert("name", name);
    context.insert("id", &format!("0x{}", &sha256_of(name.as_bytes())[..16]));
    render("shadow.h", &context, house)
}

/// What the file with the tables needs to know of the others.
pub fn shared(tables: &Tables) -> Result<String> {
    let mut context = Context::new();
    let functions: Vec<&str> = tables.replacements.iter().map(|replacement| replacement.new_name.as_str()).collect();
    context.insert("name", tables.name);
    let suffixes = |has: &dyn Fn(&&Reached) -> bool| -> Vec<&str> {
        tables.reached.iter().filter(has).map(|unit| unit.suffix).collect()
    };
    context.insert("functions", &functions);
    context.insert("takers", &suffixes(&|unit| unit.takes_module()));
    context.insert("finders", &suffixes(&|unit| unit.access.is_kallsyms && !unit.access.pointers.is_empty()));
    context.insert("forgetters", &suffixes(&|unit| unit.forgets()));
    render("shared.h", &context, tables.house)
}

fn description(module: &Tables) -> String {
    let subject = module.headers.iter().find_map(|header| header.subject.clone());
    format!("livepatch: {}", subject.as_deref().unwrap_or(module.name))
}

/// Text for a C string literal.
fn c_string(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => " ".into(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Text for a C comment: nothing in it may end the comment.
fn c_comment(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace("*/", "* /").replace("/*", "/ *").trim_end().to_string()
}

fn header(module: &Tables) -> Vec<String> {
    let mut lines = vec![module.name.to_string(), String::new()];
    for header in module.headers {
        let subject = header.subject.as_deref().unwrap_or(&header.source);
        lines.push(c_comment(subject));
        let named = [("Commit", header.commit.as_ref()), ("Upstream commit", header.upstream.as_ref())];
        for (name, commit) in named {
            lines.extend(commit.map(|commit| format!("{name}: {}", c_comment(commit))));
        }
        if !header.cves.is_empty() {
            lines.push(format!("CVE: {}", c_comment(&header.cves.join(", "))));
        }
        lines.push(String::new());
    }
    lines.push(format!("Kernel: {} {}", module.release, c_comment(module.kernel_version)));
    lines.push(format!(
        "Made by klp-extract {}; livepatch.json has the reason of every line.",
        env!("CARGO_PKG_VERSION")
    ));
    lines.extend(module.house.lines.iter().map(|(name, text)| format!("{name}: {}", c_comment(text))));
    lines.extend(module.allowed.iter().map(|(id, reason)| format!("Allowed: {id}: {}", c_comment(reason))));
    lines
}

/// Headers that the module's tables and init need.
pub const OWN_INCLUDES: &[&str] = &["linux/livepatch.h", "linux/module.h", "linux/utsname.h"];

/// The text of a unit, in blocks that an empty line parts. `tables`: they follow in the same file, and ask kallsyms or not.
fn blocks(module: &Unit, tables: Option<bool>) -> Result<Vec<String>> {
    let (late, includes): (Vec<&Include>, Vec<&Include>) =
        module.includes.iter().partition(|include| include.order == LATE);
    let last_include = includes.iter().map(|include| include.order).max().unwrap_or(0);
    let line = |include: &&Include| format!("#include <{}>\n", include.name);
    let mut top: Vec<(u32, bool, String)> =
        includes.iter().map(|include| (include.order, false, line(include))).collect();
    let (early, types): (Vec<&Item>, Vec<&Item>) = module
        .items
        .iter()
        .filter(|item| item.section == Section::Types)
        .partition(|item| item.kind == "macro" && item.order < last_include && !item.behind_headers);
    top.extend(early.iter().map(|item| (item.order, true, format!("{}{}", provenance(item), item.text))));
    top.sort_by_key(|(order, ..)| *order);
    let mut text = String::new();
    for (index, (_, is_macro, line)) in top.iter().enumerate() {
        if index > 0 && *is_macro != top[index - 1].1 {
            text.push('\n');
        }
        text.push_str(line);
    }
    if top.last().is_some_and(|(_, is_macro, _)| *is_macro) {
        text.push('\n');
    }
    if let Some(kallsyms) = tables {
        text.push_str(&own_includes(module.includes, kallsyms));
    }
    let mut blocks: Vec<String> = Some(text).filter(|text| !text.is_empty()).into_iter().collect();
    if let Some(name) = module.kbuild_modname {
        let why = "/* What the copied code calls its module */";
        blocks.push(format!("{why}\n#undef KBUILD_MODNAME\n#define KBUILD_MODNAME \"{}\"\n", c_string(name)));
    }
    blocks.extend(module.shadow.then(|| SHADOW_INCLUDE.to_string()));
    blocks.extend(renamed(module));
    let (behind_all, types): (Vec<&Item>, Vec<&Item>) = types.into_iter().partition(|item| item.order == BEHIND_ALL);
    blocks.extend(grouped(&types));
    if !late.is_empty() {
        let why = "/* Uses types from above */\n";
        blocks.push(format!("{why}{}", late.iter().map(line).collect::<String>()));
    }
    blocks.extend(grouped(&behind_all));
    blocks.extend(externals(module));
    blocks.extend(access(module)?);
    let code: Vec<&Item> = module.items.iter().filter(|item| item.section == Section::Code).collect();
    blocks.extend(grouped(&code));
    Ok(blocks)
}

/// What makes macros of names, where there is anything.
fn access(unit: &Unit) -> Result<Option<String>> {
    let Access { pointers, switches, events, this_module, .. } = unit.access;
    if pointers.is_empty() && switches.is_empty() && events.is_empty() && !this_module {
        return Ok(None);
    }
    let mut context = Context::new();
    context.insert("access", unit.access);
    context.insert("suffix", unit.suffix);
    render("pointers.c", &context, unit.house).map(|text| Some(format!("{}\n", text.trim())))
}

/// An object's name as part of a C name: modules may be named like `8021q`.
fn symbol(object: &str) -> String {
    let plain = object.replace('-', "_");
    if plain.starts_with(|c: char| c.is_ascii_digit()) { format!("_{plain}") } else { plain }
}

/// The includes that the tables need beside those that are there.
fn own_includes(known: &[Include], kallsyms: bool) -> String {
    let more: &[&str] = if kallsyms { &["linux/kprobes.h"] } else { &[] };
    let missing = OWN_INCLUDES.iter().chain(more).filter(|own| known.iter().all(|include| include.name != **own));
    missing.map(|own| format!("#include <{own}>\n")).collect()
}

/// New names for functions that a header has too, as it was before the patch.
fn renamed(unit: &Unit) -> Option<String> {
    let calls = unit.closure.renamed_calls();
    let lines =
        unit.closure.renamed.iter().map(|name| match (calls.contains(name.as_str()), unit.naming.new_name(name)) {
            (false, new) => format!("#define {name} {new}\n"),
            (true, new) => format!("#define {name}(...) {new}(__VA_ARGS__)\n"),
        });
    let lines: String = lines.collect();
    (!lines.is_empty()).then(|| format!("/* The headers have these otherwise: as they were before the patch, with static variables of their own, with another THIS_MODULE, or without the pointers below */\n{lines}"))
}

fn provenance(item: &Item) -> String {
    let separator = if item.preamble.is_empty() { "" } else { "\n" };
    let from = if item.file.is_empty() {
        String::new()
    } else {
        format!("/* from {}:{} */\n", c_comment(&item.file), item.line)
    };
    format!("{}{separator}{from}", item.preamble)
}

/// One block an item; macros and other one-liners that follow one another in their file share one.
fn grouped(items: &[&Item]) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut previous: Option<&Item> = None;
    for item in items {
        let lines = item.text.lines().count() as u32;
        let follows = previous.is_some_and(|before| {
            let end = before.line + before.text.lines().count() as u32;
            before.file == item.file && before.kind == item.kind && item.line.saturating_sub(end) < 2 && lines < 3
        });
        match blocks.last_mut() {
            Some(block) if follows => block.push_str(&item.text),
            _ => blocks.push(format!("{}{}", provenance(item), item.text)),
        }
        previous = Some(item);
    }
    blocks
}

/// Declarations of the running kernel's symbols; of those that headers declare, the names.
fn externals(module: &Unit) -> Option<String> {
    let relocations: Vec<&External> = module.externals.iter().filter(|external| external.is_private()).collect();
    let declared: Vec<&Item> = module.items.iter().filter(|item| item.section == Section::Externals).collect();
    let place = |external: &External| match external.sympos {
        0 => external.object.clone(),
        sympos => format!("{}, sympos {sympos}", external.object),
    };
    // By what provides them: the running kernel privately, the running kernel's exports, nothing outside of the livepatch.
    let (mut private, mut exported, mut own) = (String::new(), String::new(), String::new());
    for item in &declared {
        let external = module.externals.iter().find(|external| external.name == item.name);
        let from = format!("{}:{}", item.file, item.line);
        let (text, comment) = match external {
            Some(external) if external.is_private() => (&mut private, format!("/* {}; {from} */", place(external))),
            Some(_) => (&mut exported, format!("/* {from} */")),
            None => (&mut own, format!("/* {from} */")),
        };
        let line = item.text.trim_end();
        if !line.contains('\n') && line.len() + comment.len() < 100 {
            text.push_str(&format!("{line} {comment}\n"));
        } else {
            text.push_str(&format!("{comment}\n{line}\n"));
        }
    }
    let (locals, others): (Vec<&External>, Vec<&External>) = relocations
        .iter()
        .filter(|external| declared.iter().all(|item| item.name != external.name))
        .partition(|external| module.naming.statics.contains_key(&external.name));
    let others: Vec<String> =
        others.iter().map(|external| format!(" *   {} ({})", external.name, place(external))).collect();
    let locals: Vec<String> = locals
        .iter()
        .map(|external| format!(" *   {} is {} ({})", external.name, external.symbol, place(external)))
        .collect();
    let how = if module.access.is_kallsyms { "found by kallsyms" } else { "by klp relocation (klp.symbols)" };
    let titled = [
        (format!("Not exported: the running kernel's own, {how}"), &private),
        ("Exported by the running kernel".into(), &exported),
        ("The livepatch's own, or only looked at by the compiler".into(), &own),
    ];
    let titled = titled.iter().filter(|(_, lines)| !lines.is_empty());
    let titled: Vec<String> = titled.map(|(title, lines)| format!("/* {title} */\n{lines}")).collect();
    let mut block = titled.join("\n");
    let mut listed = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let separator = if block.is_empty() { "" } else { "\n" };
            block.push_str(&format!("{separator}/*\n * {title}\n{}\n */\n", lines.join("\n")));
        }
    };
    let others_title = match private.is_empty() {
        true => format!("Not exported, declared above; {how}:"),
        false => "Not exported either, declared above:".into(),
    };
    listed(&others_title, &others);
    listed(&format!("Static variables of functions: the running kernel's own, {how}"), &locals);
    (!block.is_empty()).then_some(block)
}

fn objects<'a>(module: &'a Tables) -> Vec<Object<'a>> {
    let mut objects: BTreeMap<&str, Vec<Function>> = BTreeMap::new();
    for Replacement { target, new_name } in module.replacements {
        objects.entry(&target.object).or_default().push(Function {
            name: &target.name,
            new_name,
            sympos: target.sympos,
        });
    }
    let object = |(name, functions): (&'a str, Vec<Function<'a>>)| {
        let suffixes = |has: &dyn Fn(&Reached) -> bool| -> Vec<&'a str> {
            module.reached.iter().filter(|unit| has(unit)).map(|unit| unit.suffix).collect()
        };
        let srcversion = module.srcversions.get(name).map(String::as_str);
        let takers = suffixes(&|unit| unit.object == name && unit.takes_module());
        // Those of vmlinux are found in the module's init.
        let finders = suffixes(&|unit| name != VMLINUX && unit.finds(name));
        let callbacks = module.scaffold.contains(&Scaffold::Callbacks);
        let pre_patch = callbacks || srcversion.is_some() || !takers.is_empty() || !finders.is_empty();
        let forgetters = suffixes(&|unit| unit.object == name && unit.forgets());
        Object { name, symbol: symbol(name), srcversion, functions, takers, finders, forgetters, pre_patch }
    };
    objects.into_iter().map(object).collect()
}
