//! Renders the module's files from `templates/` (tera, embedded in the program). Rendering never decides anything.

mod extract;
pub mod json;
pub mod output;

use std::collections::{BTreeMap, BTreeSet};

pub use extract::extract;

use serde::Serialize;
use tera::{Context, Tera};

use crate::affected::Target;
use crate::config::House;
use crate::finding::{Finding, Result, TEMPLATE};
use crate::linkage::External;
use crate::linkage::includes::Include;
use crate::patch::Header;
use crate::rewrite::{Item, Naming, Section};

/// Name and text of every template of a module's files.
pub const TEMPLATES: [(&str, &str); 6] = [
    ("extract.c", include_str!("../../templates/extract.c")),
    ("livepatch.c", include_str!("../../templates/livepatch.c")),
    ("part.c", include_str!("../../templates/part.c")),
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
    /// Functions of public headers that have another name in the module.
    pub renamed: &'a BTreeSet<String>,
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
    tera.autoescape_on(Vec::<&'static str>::new());
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
pub fn makefile(name: &str, kernel: &str, compiler: Option<&str>, house: &House) -> Result<String> {
    let mut context = Context::new();
    context.insert("name", name);
    context.insert("kernel", kernel);
    context.insert("compiler", &compiler);
    context.insert("variables", &house.make);
    render("Makefile", &context, house)
}

/// The C file with the tables: the only one of a module of one unit, which has its text, or beside those of several.
pub fn module(tables: &Tables, unit: Option<&Unit>) -> Result<String> {
    let mut context = Context::new();
    let namespaces: BTreeSet<&String> =
        tables.externals.iter().filter_map(|external| external.namespace.as_ref()).collect();
    let blocks = match unit {
        Some(unit) => blocks(unit, true),
        None => vec![format!("{}\n#include \"shared.h\"\n", own_includes(&[]))],
    };
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
    context.insert("blocks", &blocks(unit, false));
    render("part.c", &context, unit.house)
}

/// What the file with the tables needs to know of the others.
pub fn shared(tables: &Tables) -> Result<String> {
    let mut context = Context::new();
    let functions: Vec<&str> = tables.replacements.iter().map(|replacement| replacement.new_name.as_str()).collect();
    context.insert("name", tables.name);
    context.insert("functions", &functions);
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
const OWN_INCLUDES: &[&str] = &["linux/livepatch.h", "linux/module.h", "linux/utsname.h"];

/// The text of a unit, in blocks that an empty line parts. `tables` says that the tables follow in the same file.
fn blocks(module: &Unit, tables: bool) -> Vec<String> {
    let last_include = module.includes.iter().map(|include| include.order).max().unwrap_or(0);
    let mut top: Vec<(u32, bool, String)> = module
        .includes
        .iter()
        .map(|include| (include.order, false, format!("#include <{}>\n", include.name)))
        .collect();
    let (early, types): (Vec<&Item>, Vec<&Item>) = module
        .items
        .iter()
        .filter(|item| item.section == Section::Types)
        .partition(|item| item.kind == "macro" && item.order < last_include);
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
    if tables {
        text.push_str(&own_includes(module.includes));
    }
    let mut blocks = vec![text];
    if let Some(name) = module.kbuild_modname {
        let why = "/* What the copied code calls its module */";
        blocks.push(format!("{why}\n#undef KBUILD_MODNAME\n#define KBUILD_MODNAME \"{}\"\n", c_string(name)));
    }
    blocks.extend(renamed(module));
    blocks.extend(grouped(&types));
    blocks.extend(externals(module));
    let code: Vec<&Item> = module.items.iter().filter(|item| item.section == Section::Code).collect();
    blocks.extend(grouped(&code));
    blocks
}

/// The includes that the tables need beside those that are there.
fn own_includes(known: &[Include]) -> String {
    let missing = OWN_INCLUDES.iter().filter(|own| known.iter().all(|include| include.name != **own));
    missing.map(|own| format!("#include <{own}>\n")).collect()
}

/// New names for functions that a header has too, as it was before the patch.
fn renamed(unit: &Unit) -> Option<String> {
    let lines = unit.renamed.iter().map(|name| format!("#define {name} {}\n", unit.naming.new_name(name)));
    let lines: String = lines.collect();
    (!lines.is_empty()).then(|| format!("/* The headers have these otherwise: as they were before the patch, or with static variables of their own */\n{lines}"))
}

fn provenance(item: &Item) -> String {
    let separator = if item.preamble.is_empty() { "" } else { "\n" };
    let from = if item.file.is_empty() { String::new() } else { format!("/* from {}:{} */\n", item.file, item.line) };
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
    let relocations: Vec<&External> = module.externals.iter().filter(|external| external.entry().is_some()).collect();
    let declared: Vec<&Item> = module.items.iter().filter(|item| item.section == Section::Externals).collect();
    let place = |external: &External| match external.sympos {
        0 => external.object.clone(),
        sympos => format!("{}, sympos {sympos}", external.object),
    };
    let mut text = String::new();
    for item in &declared {
        let line = item.text.trim_end();
        let comment = match relocations.iter().find(|external| external.name == item.name) {
            Some(external) => format!("/* {}; {}:{} */", place(external), item.file, item.line),
            None => format!("/* exported; {}:{} */", item.file, item.line),
        };
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
    let mut block = String::new();
    if !declared.is_empty() {
        block.push_str("/* Not exported: the running kernel's own, by klp relocation (klp.symbols) */\n");
        block.push_str(&text);
    }
    let mut listed = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            let separator = if block.is_empty() { "" } else { "\n" };
            block.push_str(&format!("{separator}/*\n * {title}\n{}\n */\n", lines.join("\n")));
        }
    };
    let others_title = match declared.is_empty() {
        true => "Not exported, declared by the headers above; by klp relocation (klp.symbols):",
        false => "Not exported either, declared by the headers above:",
    };
    listed(others_title, &others);
    listed("Static variables of functions: the running kernel's own, by klp relocation (klp.symbols)", &locals);
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
    let object = |(name, functions): (&'a str, Vec<Function<'a>>)| Object {
        name,
        symbol: name.replace('-', "_"),
        srcversion: module.srcversions.get(name).map(String::as_str),
        functions,
    };
    objects.into_iter().map(object).collect()
}
