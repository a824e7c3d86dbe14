//! What libclang is given makes no difference: the closure of a function is the same, be it the whole unit or only what the
//! function can reach.

use std::collections::BTreeSet;

use klp_extract::closure::boundary::Boundary;
use klp_extract::closure::{self, Scope};
use klp_extract::finding::Error;
use klp_extract::kernel::Kernel;
use klp_extract::kernel::command::CompileCommand;
use klp_extract::unit::clang::{self, Parsed};
use klp_extract::unit::groups::Outline;
use klp_extract::unit::live::Selection;
use klp_extract::unit::place::Places;
use klp_extract::unit::worker::{Parse, Request};

use super::own::{functions, provided};

/// Compares for so many functions of a unit, in turn with the running kernel's functions referred to and with all of them
/// copied. All of the closure is compared: the module's text is made of it alone.
pub fn agree(kernel: &Kernel, command: &CompileCommand, wanted: usize) -> Result<(), String> {
    let command = kernel.absolute(command);
    let mut unit = klp_extract::unit::expanded(&command, kernel.build()).map_err(shown)?;
    let outline = Outline::new(&mut unit);
    let roots = vec![format!("{}/", kernel.source().display())];
    let build = kernel.build().to_path_buf();
    let request = Request {
        command,
        build,
        roots,
        headers: None,
        scope: Scope::default(),
        parse: Parse::All,
        preprocessed: None,
    };
    let places = Places::new(&unit, &request);
    clang::load().map_err(shown)?;
    let all = Selection::All;
    let whole = Parsed::new(&unit, &outline, &all, &request.command.args).map_err(shown)?;
    let provided = provided(kernel, &request.command.object, &unit, &outline).map_err(shown)?;
    let names = functions(&unit, &outline, &places, wanted);
    for (index, name) in names.iter().enumerate() {
        let provided = if index % 2 == 0 { provided.clone() } else { BTreeSet::new() };
        let objects = provided.clone();
        let scope = Scope { targets: vec![name.clone()], provided, objects, ..Scope::default() };
        let boundary = Boundary::new(&unit, &outline, &places, &scope);
        let expected = closure::close(&unit, &outline, &whole, &places, (&scope, &boundary));
        let selection = boundary.selection();
        let found = Parsed::new(&unit, &outline, &selection, &request.command.args)
            .and_then(|parsed| closure::close(&unit, &outline, &parsed, &places, (&scope, &boundary)));
        let text = |closure| serde_json::to_string_pretty(&closure).unwrap();
        match (expected.map(text).map_err(shown), found.map(text).map_err(shown)) {
            (Ok(expected), Ok(found)) => same(name, &expected, &found)?,
            (Err(expected), Err(found)) if expected == found => {}
            (Err(error), _) => return Err(format!("{name}, whole unit: {error}")),
            (_, Err(error)) => return Err(format!("{name}, what it reaches: {error}")),
        }
    }
    Ok(())
}

fn shown(error: Error) -> String {
    error.to_string()
}

fn same(name: &str, expected: &str, found: &str) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let difference = similar::TextDiff::from_lines(expected, found);
    let text = difference.unified_diff().header("whole unit", "what it reaches").to_string();
    let lines: Vec<&str> = text.lines().take(60).collect();
    Err(format!("{name}: the closures differ\n{}", lines.join("\n")))
}
