//! How a unit's text reaches what it can't name plainly, settled by asking the compiler after each step.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use crate::audit::landing;
use crate::check::Compiled;
use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::{self, Finding, Result, SYMBOLS_UNSUPPORTED};
use crate::kernel::Kernel;
use crate::kernel::modules::THIS_MODULE;
use crate::kernel::symbols::VMLINUX;
use crate::linkage::events;
use crate::linkage::pointers::{self, Pointer, Symbols, Wanted};
use crate::linkage::{External, How, Resolver};
use crate::rewrite;
use crate::unit::live::Extent;
use crate::unit::names::Role;

use super::parts::Part;

/// What THIS_MODULE is in vmlinux (include/linux/export.h).
const NO_MODULE: [&str; 7] = ["(", "(", "struct", "module", "*", ")", "0"];

/// What is asked for, and what answers.
pub struct Reach<'r, 'k> {
    pub kernel: &'k Kernel,
    pub wanted: Wanted,
    pub resolver: &'r Resolver<'k>,
    pub externals: &'r dyn Fn(&Compiled) -> Result<Vec<External>>,
}

/// Decides which names become pointers and which macros are redefined. `compiled` is the text without any of that, `draft`
/// compiles the text as it stands. Yields the functions of headers that refer plainly to what should be a pointer.
pub fn settle(
    part: &mut Part,
    reach: &Reach,
    mut compiled: Compiled,
    draft: &mut dyn FnMut(&Part) -> Result<Compiled>,
) -> Result<BTreeSet<String>> {
    let Reach { kernel, wanted, resolver, externals } = reach;
    part.externals = externals(&compiled)?;
    let all = part.externals.clone();
    let troubled = wanted.troubled(&compiled, &all, resolver);
    part.access.is_vmlinux = part.unit.command.object == VMLINUX;
    part.access.is_kallsyms = wanted.symbols == Symbols::Kallsyms;
    part.access.this_module = compiled.uses_this_module();
    if part.access.this_module {
        if !part.access.is_vmlinux {
            part.naming.pointers.insert(THIS_MODULE.into(), rewrite::pointers::of(THIS_MODULE));
        }
        part.findings.extend(new_owners(part));
    }
    if !troubled.is_empty() {
        part.access.switches = pointers::stand_ins(&part.closure);
        part.naming.switches = true;
    }
    for name in troubled.iter().filter_map(|external| external.name.strip_prefix(events::TRACEPOINT)) {
        let new = events::stand_ins(&part.closure, name).unwrap_or_default();
        part.naming.events.extend(new.iter().map(|event| (event.name.clone(), event.new_name.clone())));
        part.access.events.extend(new);
    }
    if part.access.this_module || part.naming.switches {
        compiled = draft(part)?;
        part.externals = externals(&compiled)?;
    }
    // A tracepoint that nothing stands in for is refused as a whole.
    let left = compiled.switches();
    let refused: BTreeSet<String> =
        troubled.iter().map(|external| external.name.clone()).filter(|name| left.contains(name)).collect();
    point(part, kernel, wanted, &refused)?;
    let mut inline = BTreeSet::new();
    while !part.access.pointers.is_empty() {
        compiled = draft(part)?;
        // An inline function of a header, which stands before the macros, refers to them plainly.
        let plain = compiled.in_code();
        let left: Vec<String> = part.access.pointers.iter().map(|pointer| pointer.name.clone()).collect();
        let left: BTreeSet<String> = left.into_iter().filter(|name| plain.contains(name)).collect();
        if left.is_empty() {
            break;
        }
        inline.extend(users_in_headers(&part.closure, &left));
        for name in &left {
            give_up(part, wanted, name, "an inline function of a header refers to it");
        }
        if wanted.symbols == Symbols::Kallsyms {
            break;
        }
    }
    part.findings.extend(wanted.refused(&troubled, &compiled.switches(), resolver));
    if part.access.this_module && compiled.uses_this_module() && part.access.is_vmlinux {
        let message = "an inline function that copied code calls uses THIS_MODULE, which would be the livepatch";
        let finding = Finding::new(finding::THIS_MODULE, message);
        part.findings.push(finding.at(part.unit.command.source.as_str(), None));
    }
    Ok(inline)
}

/// Functions of public headers that refer to one of these.
fn users_in_headers(closure: &Closure, names: &BTreeSet<String>) -> BTreeSet<String> {
    let graph = &closure.graph;
    let refers = |node: &NodeIndex| graph.edges(*node).any(|edge| names.contains(&edge.weight().name));
    let inline = graph.node_indices().filter(|node| !graph[*node].copied && graph[*node].extent == Extent::Whole);
    let names = inline.filter(refers).flat_map(|node| &graph[node].names);
    names.filter(|(_, role)| *role == Role::Function).map(|(name, _)| name.clone()).collect()
}

/// Makes pointers of all that may be reached so.
fn point(part: &mut Part, kernel: &Kernel, wanted: &Wanted, refused: &BTreeSet<String>) -> Result<()> {
    let mut given_up = Vec::new();
    for external in &mut part.externals {
        external.how = wanted.how(external);
        let is_event = is_of_tracepoint(&external.name) && refused.iter().any(|name| is_of_tracepoint(name));
        if !matches!(external.how, How::KlpRelocationOfPointer | How::Kallsyms) || is_event {
            continue;
        }
        let (closure, name) = (&part.closure, &external.name);
        let why = if rewrite::pointers::is_shadowed(closure, name) {
            Some("copied text has that name for something else too")
        } else if rewrite::pointers::is_in_initialiser(closure, name) {
            Some("copied data has its address")
        } else if rewrite::pointers::is_stringified(closure, name) {
            Some("a macro makes a string of its name")
        } else if landing::is_unreachable(kernel, &landing::Function::of(external))? {
            Some("a call through a pointer is an exception there (IBT)")
        } else {
            None
        };
        if let Some(why) = why {
            given_up.push((name.clone(), why));
            continue;
        }
        let pointer = rewrite::pointers::of(&external.name);
        part.naming.pointers.insert(external.name.clone(), pointer.clone());
        part.access.pointers.push(Pointer {
            name: external.name.clone(),
            pointer,
            is_local: part.naming.statics.contains_key(&external.name),
            object: external.object.clone(),
            symbol: external.symbol.clone(),
            sympos: external.sympos,
            patched_object: external.patched_object().to_string(),
        });
    }
    for (name, why) in given_up {
        give_up(part, wanted, &name, why);
    }
    Ok(())
}

/// Its own structure, the static call's, or the function that runs the probes (include/linux/tracepoint.h).
fn is_of_tracepoint(name: &str) -> bool {
    ["__tracepoint_", "__SCT__tp_func_", "__SCK__tp_func_"].iter().any(|prefix| name.starts_with(prefix))
}

/// A name that can't be a macro stays as it is, which only klp relocations allow.
fn give_up(part: &mut Part, wanted: &Wanted, name: &str, why: &str) {
    part.naming.pointers.remove(name);
    part.access.pointers.retain(|pointer| pointer.name != name);
    for external in part.externals.iter_mut().filter(|external| external.name == name) {
        external.how = How::KlpRelocation;
    }
    if wanted.symbols == Symbols::Kallsyms {
        let message = format!("{name} can't be reached through a pointer: {why}. Use klp relocations, the default");
        let finding = Finding::new(SYMBOLS_UNSUPPORTED, message);
        part.findings.push(finding.at(part.unit.command.source.as_str(), None));
    }
}

/// Functions of public headers that have THIS_MODULE: in the livepatch it would be another one.
pub fn users_of_this_module(closure: &Closure) -> BTreeSet<String> {
    let inline = closure.graph.node_weights().filter(|node| !node.copied && node.extent == Extent::Whole);
    let users = inline.filter(|node| names_module(closure, node));
    let names = users.flat_map(|node| node.names.iter().filter(|(_, role)| *role == Role::Function));
    names.map(|(name, _)| name.clone()).collect()
}

fn names_module(closure: &Closure, node: &Node) -> bool {
    let texts: Vec<&str> = node.tokens.iter().map(|t| closure.texts[(t & !WILDCARD) as usize].as_str()).collect();
    texts.contains(&THIS_MODULE) || texts.windows(NO_MODULE.len()).any(|words| words == NO_MODULE)
}

/// New data that names an owner: nothing tells which module is meant. Data of vmlinux that was there before the patch, and of
/// which GCC emitted nothing (drivers/ptp/ptp_vclock.c), keeps having none.
fn new_owners(part: &Part) -> Vec<Finding> {
    let is_data = |node: &&Node| node.copied && node.names.iter().any(|(_, role)| *role == Role::Variable);
    let data = part.closure.graph.node_weights().filter(|node| node.extent == Extent::Whole).filter(is_data);
    let added = &part.unit.changes.added;
    let data = data.filter(|node| !part.access.is_vmlinux || node.names.iter().any(|(name, _)| added.contains(name)));
    let named = data.filter(|node| names_module(&part.closure, node));
    let finding = |node: &Node| {
        let name = node.names.first().map_or("data", |(name, _)| name);
        let message = format!("{name} is new data of the livepatch and names THIS_MODULE as its owner");
        let file = &part.closure.files[node.position.file as usize];
        Finding::new(finding::THIS_MODULE, message).at(file.path.as_str(), Some(node.position.line))
    };
    named.map(finding).collect()
}
