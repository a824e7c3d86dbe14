//! What a module would miss, or mean otherwise, without anything else noticing: each is looked for, and said.

use std::collections::{BTreeMap, BTreeSet};

use crate::closure::Closure;
use crate::finding::{
    ADDED_LEFT_OUT, FUNCTION_ELSEWHERE, FUNCTION_REMOVED, Finding, INCLUDE_OUTSIDE, MACRO_CLASH, MODINFO_CHANGED,
    Result,
};
use crate::kernel::Kernel;
use crate::kernel::command::CompileCommand;
use crate::kernel::symbols::VMLINUX;
use crate::object::facts::Facts;
use crate::rewrite::Item;
use crate::unit::lex;
use crate::unit::live::Extent;
use crate::unit::place::Class;

use super::UnitPlan;

/// Functions that the patch defines where the running kernel has them from elsewhere, or no longer defines but has as aliases.
pub fn elsewhere(kernel: &Kernel, unit: &UnitPlan) -> Result<Vec<Finding>> {
    let UnitPlan { command, changes, after_functions: after, .. } = unit;
    let mut findings = Vec::new();
    let mut finding = |message: String| {
        findings.push(Finding::new(FUNCTION_ELSEWHERE, message).at(command.source.as_str(), None));
    };
    for name in changes.added_globals.iter().filter(|name| after.contains(*name)) {
        for object in BTreeSet::from([command.object.as_str(), VMLINUX]) {
            if kernel.symbols(object)?.named(name).any(|symbol| symbol.is_global()) {
                finding(format!("the patch defines {name} here, and {object} has its own, which others go on using"));
            }
        }
    }
    let (aliases, gone): (Vec<&String>, _) = changes.removed_functions.iter().partition(|name| after.contains(*name));
    for name in aliases {
        finding(format!("{name} is no function of its own any more after the patch, but another name of one"));
    }
    for name in gone {
        if kernel.symbols(&command.object)?.named(name).any(|symbol| symbol.is_global()) {
            let message = format!(
                "the patch removes {name}, which the running kernel keeps: who calls it from elsewhere goes on calling it, \
                 be it that another file has a weak one that would take its place"
            );
            findings.push(Finding::new(FUNCTION_REMOVED, message).at(command.source.as_str(), None));
        }
    }
    Ok(findings)
}

/// What the unit says of its module (include/linux/moduleparam.h, `MODULE_INFO`) with the patch and not without it, or the
/// other way round: `alias=`, `parm=`, ...
pub fn modinfo(command: &CompileCommand, before: &Facts, after: &Facts) -> Option<Finding> {
    let told = |facts: &Facts| -> BTreeSet<String> {
        let sections = facts.sections.iter().filter(|section| section.name == ".modinfo");
        let texts = sections.flat_map(|section| section.data.split(|byte| *byte == 0)).filter(|text| !text.is_empty());
        texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    };
    let (before, after) = (told(before), told(after));
    let list = |sign: &str, of: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        of.difference(other).map(|text| format!("{sign}{text}")).collect()
    };
    let differing = [list("-", &before, &after), list("+", &after, &before)].concat();
    (!differing.is_empty()).then(|| {
        let message = format!(
            "the patch changes what modinfo says of {}, which is read from its file and stays: {}",
            command.object,
            differing.join(", ")
        );
        Finding::new(MODINFO_CHANGED, message).at(command.source.as_str(), None)
    })
}

/// What the patch adds and no part of the module has.
pub fn left_out<'a>(plan: &[UnitPlan], closures: impl Iterator<Item = &'a Closure>) -> Vec<Finding> {
    let nodes = closures.flat_map(|closure| closure.graph.node_weights());
    let copied = nodes.filter(|node| node.copied && node.extent == Extent::Whole).flat_map(|node| &node.names);
    let copied: BTreeSet<&str> = copied.map(|(name, _)| name.as_str()).collect();
    let mut findings = Vec::new();
    for unit in plan {
        let added = unit.changes.added_functions.iter().chain(&unit.changes.added);
        let emitted = |name: &&String| unit.after_functions.contains(*name) || unit.after_objects.contains(*name);
        let missing: Vec<&str> =
            added.filter(emitted).map(String::as_str).filter(|name| !copied.contains(name)).collect();
        if !missing.is_empty() {
            let message = format!("nothing of the module uses what the patch adds: {}", missing.join(", "));
            findings.push(Finding::new(ADDED_LEFT_OUT, message).at(unit.command.source.as_str(), None));
        }
    }
    findings
}

/// Files that the unit includes from outside of the kernel's trees; the compiler's own may be.
pub fn outside(closure: &Closure, command: &CompileCommand) -> Result<()> {
    let system = command.args.windows(2).filter(|pair| pair[0] == "-isystem").map(|pair| pair[1].as_str());
    let system: Vec<&str> = system.collect();
    // GCC's markers name its working folder too, with two slashes.
    let is_file = |path: &str| path.starts_with('/') && !path.ends_with('/');
    let is_outside = |path: &str| is_file(path) && !system.iter().any(|folder| path.starts_with(folder));
    let mut files = closure.files.iter().filter(|file| file.class == Class::Compiler);
    match files.find(|file| is_outside(&file.path)) {
        Some(file) => {
            let message = format!("{} includes {}, which is no file of the kernel's", command.source, file.path);
            Err(Finding::new(INCLUDE_OUTSIDE, message).into())
        }
        None => Ok(()),
    }
}

/// Macros that headers define for those only who don't define them: include/linux/printk.h. Users that come later undefine them
/// (drivers/infiniband/hw/mlx4/mlx4_ib.h).
const LEFT_TO_USERS: &[&str] = &["pr_fmt"];

/// Macros of the copied text that `own`, the text that the module has around it, would be read with: it names them, or macros
/// of headers (`known`) that it uses do.
pub fn clashes<'a>(items: impl Iterator<Item = &'a Item>, own: &str, known: &BTreeMap<String, String>) -> Vec<Finding> {
    let direct: BTreeSet<Vec<u8>> = lex::texts(own.as_bytes()).map(|word| word.into_owned()).collect();
    let mut words: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut texts = vec![own];
    while let Some(text) = texts.pop() {
        for word in lex::texts(text.as_bytes()) {
            if words.insert(word.to_vec()) {
                texts.extend(std::str::from_utf8(&word).ok().and_then(|word| known.get(word)).map(String::as_str));
            }
        }
    }
    let clashes = |item: &&Item| {
        let name = item.name.as_bytes();
        let is_left = LEFT_TO_USERS.contains(&item.name.as_str());
        direct.contains(name) || (words.contains(name) && item.text.starts_with("#undef") && !is_left)
    };
    let macros = items.filter(|item| item.kind == "macro").filter(clashes);
    let finding = |item: &Item| {
        let message = format!("{} is a macro of the copied text, and a name in the module's own code", item.name);
        Finding::new(MACRO_CLASH, message).at(item.file.as_str(), Some(item.line))
    };
    macros.map(finding).collect()
}
