//! `klp-extract explain`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::affected::forest;
use crate::finding::{self, FUNCTION_UNKNOWN, Id, Result, USAGE, examples, refuse};
use crate::render::folder::{Copied, External, Module};
use crate::render::json;

use super::print;

#[derive(Args)]
pub(super) struct Request {
    /// The id of a finding, or the name of something in a module
    #[arg(value_name = "SYMBOL|FINDING-ID")]
    name: String,
    /// The module's folder [default: the current one, if it is a module's]
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    let name = request.name.as_str();
    let here = PathBuf::from(".");
    let folder = request.folder.clone().or_else(|| here.join(json::FILE).is_file().then_some(here));
    let module = folder.map(|folder| Module::read(&folder)).transpose()?;
    if let Some(known) = finding::REGISTRY.iter().find(|known| known.0.id == name) {
        print(&of_finding(*known, module.as_ref()));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(module) = module else {
        let near = forest::suggestions(name, finding::REGISTRY.iter().map(|known| known.0.id));
        return refuse(
            USAGE,
            format!("no finding has the id {name}{near}; to explain a symbol, name its module with --in DIR"),
        );
    };
    let text = of_symbol(name, &module);
    if text.is_empty() {
        let known = module.copied.iter().map(|copied| &copied.name).chain(module.externals.iter().map(|e| &e.name));
        let near = forest::suggestions(name, known.map(String::as_str));
        return refuse(FUNCTION_UNKNOWN, format!("{} has nothing of the name {name}{near}", module.name));
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}

fn of_finding(id: Id, module: Option<&Module>) -> String {
    let mut text = format!("{}: {}\n\n{}\n", id.0.id, finding::weight(id), id.0.explanation);
    if let Some(example) = examples::of(id) {
        text.push_str(&format!("\nExample: {example}\n"));
    }
    let Some(module) = module else { return text };
    let here: Vec<_> = module.findings.iter().filter(|finding| finding.id == id.0.id).collect();
    text.push_str(
        &format!("\nIn {}: {}\n", module.name, if here.is_empty() { "none" } else { "" }).replace(": \n", ":\n"),
    );
    for finding in here {
        let place = match (&finding.file, finding.line) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            (Some(file), None) => format!(" ({file})"),
            _ => String::new(),
        };
        text.push_str(&format!("  {}{place}\n", finding.message));
    }
    text
}

/// All that the module says of a name.
fn of_symbol(name: &str, module: &Module) -> String {
    let plain = name.strip_prefix(crate::pipeline::PREFIX).unwrap_or(name);
    let mut text = String::new();
    for target in module.targets.iter().filter(|target| target.name == plain) {
        text.push_str(&format!("{plain} of {} is replaced:\n", target.object));
        target.reason.split("; ").for_each(|step| text.push_str(&format!("  {step}\n")));
    }
    if text.is_empty() {
        for function in module.affected.iter().filter(|function| function.name == plain) {
            text.push_str(&format!("{plain} is affected, but not replaced itself:\n"));
            function.chain.iter().for_each(|step| text.push_str(&format!("  {step}\n")));
        }
        if module.patched.iter().any(|patched| patched == plain) && text.is_empty() {
            text.push_str(&format!("{plain} is changed by the patch\n"));
        }
    }
    module.copied.iter().filter(|copied| copied.name == plain).for_each(|copied| text.push_str(&of_copied(copied)));
    let provided = module.externals.iter().filter(|external| external.name == name || external.symbol == name);
    provided.for_each(|external| text.push_str(&of_external(external)));
    for include in module.includes.iter().filter(|include| include.name == name) {
        text.push_str(&format!("{name} is included: {}\n", include.reason));
    }
    text
}

fn of_copied(copied: &Copied) -> String {
    let lines = copied.lines.map(|[first, last]| format!(":{first}-{last}")).unwrap_or_default();
    let Copied { name, kind, file, line, output, .. } = copied;
    let mut text = format!("{name} ({kind}) is copied from {file}:{line} to {output}{lines}\n{}", way(&copied.path));
    copied.edits.iter().for_each(|edit| text.push_str(&format!("  edit: {edit}\n")));
    text
}

fn of_external(external: &External) -> String {
    let External { name, object, symbol, sympos, .. } = external;
    let place = if *sympos > 0 { format!(", number {sympos} of its name") } else { String::new() };
    let how = match external.how.as_str() {
        "export" => "which exports it".to_string(),
        _ => format!("by a klp relocation{place}"),
    };
    let way = match external.path.is_empty() {
        true => "  no copied text names it: the module's own init does, or GCC by itself, or assembly\n".to_string(),
        false => way(&external.path),
    };
    let same = if symbol == name { String::new() } else { format!(" ({symbol})") };
    format!("{name}{same} is the running kernel's, of {object}, {how}\n{way}")
}

/// The path from a target, a step a line.
fn way(path: &[String]) -> String {
    path.windows(2).map(|pair| format!("  {} needs {}\n", pair[0], pair[1])).collect()
}
