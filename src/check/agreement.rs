//! Do two readings of a C file agree, the front end's (GCC, the expander, libclang) and lang-c's? On which functions there
//! are, where they begin and end, and which names they use that aren't theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::closure::{Closure, EdgeKind, Scope};
use crate::finding::Result;
use crate::kernel::command::CompileCommand;
use crate::unit::expand::{Expanded, NONE};
use crate::unit::gcc;
use crate::unit::groups::{self, Outline, Shape};
use crate::unit::names::Role;
use crate::unit::worker;

use super::reading::{self, Function};

/// What [`agree`] found.
#[derive(Debug, Default)]
pub struct Agreement {
    /// Functions that both have.
    pub functions: usize,
    /// Names that both found free in them, all in all.
    pub names: usize,
    /// One sentence each.
    pub disagreements: Vec<String>,
}

/// Reads the C file of `command` in both ways. `module` and `outline` are the front end's; `roots` as in
/// [`worker::Request`].
pub fn agree(
    module: &Expanded,
    outline: &Outline,
    command: &CompileCommand,
    build: &Path,
    roots: Vec<String>,
) -> Result<Agreement> {
    let text = gcc::expanded(command, build)?;
    let typedefs = outline.names.iter().flatten().filter(|name| name.role == Role::Typedef);
    let typedefs = typedefs.map(|name| module.interner().string(name.symbol)).collect();
    let (theirs, overwritten) = match reading::functions(&text, &command.source, typedefs) {
        Ok(read) => read,
        Err(why) => return Ok(Agreement { disagreements: vec![why], ..Agreement::default() }),
    };
    let mut ours = own_functions(module, outline, &command.source);
    let scope = Scope { targets: ours.iter().map(|own| own.function.name.clone()).collect(), ..Scope::default() };
    let parse = worker::Parse::chosen();
    let request = worker::Request {
        command: command.clone(),
        build: build.into(),
        roots,
        headers: None,
        scope,
        parse,
        preprocessed: None,
    };
    let closure = worker::run(&request)?.closure;
    for own in &mut ours {
        (own.function.free, own.declared) = free(&closure, &own.function.name);
    }
    Ok(compare(&ours, &theirs, &overwritten))
}

/// A function as the front end has it.
struct Own {
    function: Function,
    /// Does the source spell its end? Else only a macro does.
    end_spelled: bool,
    /// What is declared together with what it uses.
    declared: BTreeSet<String>,
}

fn own_functions(module: &Expanded, outline: &Outline, file: &str) -> Vec<Own> {
    let line = |token: u32| {
        let (id, line, _) = module.reader.location(module.start_of(token));
        (module.reader.files[id.0 as usize] == file).then_some(line)
    };
    let own = |statement: &groups::Statement| {
        let Shape::Function(name) = statement.shape else { return None };
        let lines = (line(first_word(module, outline, statement))?, line(statement.end - 1)?);
        let name = module.interner().string(outline.symbols[name as usize]);
        let end_spelled = module.tokens[statement.end as usize - 1].invocation == NONE;
        Some(Own { function: Function { name, lines, free: BTreeSet::new() }, end_spelled, declared: BTreeSet::new() })
    };
    outline.statements.iter().filter_map(own).collect()
}

/// The first word that isn't an attribute's.
fn first_word(module: &Expanded, outline: &Outline, statement: &groups::Statement) -> u32 {
    let mut at = statement.start as usize;
    loop {
        at = match module.text(at) {
            b"__attribute__" | b"__attribute" => {
                groups::behind(&outline.symbols, module.interner(), at + 1, statement.end as usize)
            }
            b"__extension__" => at + 1,
            _ => return at as u32,
        };
        if at >= statement.end as usize {
            return statement.start;
        }
    }
}

/// Ordinary names of others that a function uses, by libclang; and all names of the statements that declare them, for an edge
/// leads to a statement once, whatever of it is used (an enum's enumerators).
fn free(closure: &Closure, function: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let graph = &closure.graph;
    let defines = |index: &petgraph::graph::NodeIndex| {
        graph[*index].names.iter().any(|(name, role)| name == function && *role == Role::Function)
    };
    let edges = graph.node_indices().filter(defines).flat_map(|index| graph.edges(index));
    // What one invocation makes together, nobody has named.
    let edges = edges.filter(|edge| edge.weight().kind != EdgeKind::Group);
    let (mut used, mut declared) = (BTreeSet::new(), BTreeSet::new());
    for edge in edges {
        let target = &graph[petgraph::visit::EdgeRef::target(&edge)];
        let ordinary = target.names.iter().filter(|(_, role)| !role.is_tag() && *role != Role::Typedef);
        let ordinary: BTreeSet<String> = ordinary.map(|(name, _)| name.clone()).collect();
        let name = &edge.weight().name;
        used.extend((ordinary.contains(name) && name != function).then(|| name.clone()));
        declared.extend(ordinary);
    }
    (used, declared)
}

fn compare(ours: &[Own], theirs: &[Function], overwritten: &BTreeSet<String>) -> Agreement {
    let mut found = Agreement::default();
    let by_name: BTreeMap<&str, &Function> = theirs.iter().map(|function| (&*function.name, function)).collect();
    let own_names: BTreeSet<&str> = ours.iter().map(|own| &*own.function.name).collect();
    for other in theirs.iter().filter(|other| !own_names.contains(&*other.name)) {
        let message = format!("line {}: only lang-c sees a function {}", other.lines.0, other.name);
        found.disagreements.push(message);
    }
    for Own { function, end_spelled, declared } in ours {
        let Function { name, lines, free } = function;
        let Some(other) = by_name.get(&**name) else {
            found.disagreements.push(format!("line {}: lang-c sees no function {name}", lines.0));
            continue;
        };
        found.functions += 1;
        if lines.0 != other.lines.0 || (*end_spelled && lines.1 != other.lines.1) {
            found.disagreements.push(format!(
                "{name} goes from line {} to {}, and for lang-c from {} to {}",
                lines.0, lines.1, other.lines.0, other.lines.1
            ));
        }
        let known = |name: &&String| free.contains(*name) || declared.contains(*name);
        found.names += other.free.iter().filter(known).count();
        let only_ours = free.difference(&other.free).filter(|name| !overwritten.contains(*name));
        let only_ours: Vec<&str> = only_ours.map(String::as_str).collect();
        let only_theirs: Vec<&str> = other.free.iter().filter(|name| !known(name)).map(String::as_str).collect();
        for (who, names) in [("libclang", only_ours), ("lang-c", only_theirs)] {
            if !names.is_empty() {
                found.disagreements.push(format!("{name}: only {who} sees it use {}", names.join(", ")));
            }
        }
    }
    found
}
