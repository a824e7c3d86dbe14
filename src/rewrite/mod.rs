//! The module's C text: source ranges, verbatim, with the few edits that linkage asks for.
//!
//! Text is cut from the patched source files by file and line, never from GCC's output. Each piece is an [`Item`] with
//! where it comes from and why it is there; [`crate::render`] puts them in order.

mod conditions;
pub mod declaration;
mod group;
pub mod layout;
mod macros;
mod made;
pub mod pointers;
mod sources;
mod statics;
pub mod wrappers;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use serde::Serialize;

use crate::closure::{Closure, EdgeKind, Mention};
use crate::finding::Result;
use crate::linkage::events;
use crate::linkage::reading::Brought;
use crate::unit::groups::GroupId;
use crate::unit::lex;
use crate::unit::live::Extent;
use crate::unit::names::Role;

use group::{copied, is_code};
use macros::{conditional_macros, declared_macros, in_place, macro_items, undefined};

pub use macros::macros;
pub use sources::Sources;

/// Where an item stands in the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Macros, types and everything else that has no code; tracepoints of private headers; objects that types need.
    Types,
    /// Declarations of what the running kernel provides.
    Externals,
    /// Data and functions, the targets included.
    Code,
}

/// The place of what stands behind all headers, those behind the types too.
pub const BEHIND_ALL: u32 = u32::MAX;

/// One piece of the module.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    pub section: Section,
    /// Place in the original unit; items of a section are in this order.
    #[serde(skip)]
    pub order: u32,
    /// Does it stand behind all headers, wherever the unit has it?
    #[serde(skip)]
    pub behind_headers: bool,
    /// The name that a reader looks for.
    pub name: String,
    /// `macro`, `type`, `function`, `target`, `data`, `declaration`.
    pub kind: &'static str,
    pub file: String,
    pub line: u32,
    pub reason: String,
    /// Redefinitions that the text needs before it; not from the source.
    #[serde(skip)]
    pub preamble: String,
    #[serde(skip)]
    pub text: String,
    /// Changes to the source's text, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<String>,
}

impl Item {
    /// Does the text have preprocessor conditions of its own?
    pub fn has_conditions(&self) -> bool {
        let directives = self.text.lines().filter_map(|line| line.trim_start().strip_prefix('#'));
        directives.map(str::trim_start).any(|directive| directive.starts_with("if"))
    }
}

/// The names under which the module knows things.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Prefix of the targets.
    pub prefix: String,
    pub targets: BTreeSet<String>,
    /// New names of those targets whose name other units of the module replace too.
    pub distinct: BTreeMap<String, String>,
    /// Static variables of copied functions that are the running kernel's: by their names in the module, the symbols.
    pub statics: BTreeMap<String, String>,
    /// What is reached through pointers: by its name in C, which is a macro then, the pointer's name.
    pub pointers: BTreeMap<String, String>,
    /// Functions of tracepoints that others stand in for, by their new names ([`crate::linkage::events`]).
    pub events: BTreeMap<String, String>,
    /// Objects that are named like functions which GCC knows.
    pub builtins: BTreeSet<String>,
    /// Are the macros of static keys and calls redefined ([`crate::closure::switches`])?
    pub switches: bool,
    /// Are the targets visible to the module's other files?
    pub shared: bool,
    /// Do the copied texts mean the new functions where they name targets? A livepatch leaves that to the hooks, and calls
    /// the original ones.
    pub everywhere: bool,
}

impl Naming {
    /// The new names of functions of public headers that are copied although the headers have them, and of targets where
    /// copied text means the new ones.
    pub fn renamed(&self, closure: &Closure) -> BTreeMap<String, String> {
        let everywhere = self.targets.iter().filter(|_| self.everywhere && !self.prefix.is_empty());
        let renamed = closure.renamed.iter().chain(everywhere).map(|name| (name.clone(), self.new_name(name)));
        renamed.chain(self.events.clone()).collect()
    }

    /// Is a word of the copied text, by what stands before it, a target's name that becomes another one? Members may have
    /// the same name.
    pub fn renames(&self, word: &str, before: &str) -> bool {
        self.everywhere && !self.prefix.is_empty() && self.targets.contains(word) && !matches!(before, "." | "->")
    }

    pub fn new_name(&self, target: &str) -> String {
        self.distinct.get(target).cloned().unwrap_or_else(|| format!("{}{target}", self.prefix))
    }
}

/// Computes the module's items, in the order of the unit within each section. `brought` is what the module's includes
/// bring, where those aren't the unit's own.
pub fn items(
    closure: &Closure,
    sources: &mut Sources,
    naming: &Naming,
    brought: Option<&Brought>,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let nodes = by_group(closure);
    let among_types = among_types(closure, &nodes, &events::groups(closure));
    let mut users: BTreeMap<u32, BTreeSet<Section>> = BTreeMap::new();
    for group in &closure.groups {
        let nodes = &nodes[&group.id];
        let is_among_types = nodes.iter().any(|node| among_types.contains(node));
        let section = if is_among_types { Section::Types } else { Section::Code };
        let item = copied(closure, sources, naming, group, (nodes, section))?;
        for id in &group.macros {
            users.entry(*id).or_default().insert(item.section);
        }
        items.push(item);
    }
    let copied: BTreeSet<GroupId> = closure.groups.iter().map(|group| group.id).collect();
    let mut macros: BTreeSet<u32> = closure.groups.iter().flat_map(|group| &group.macros).copied().collect();
    let defined: BTreeSet<&str> = closure
        .graph
        .node_weights()
        .filter(|node| node.copied && node.extent == Extent::Whole)
        .flat_map(|node| &node.names)
        .filter(|(_, role)| matches!(role, Role::Function | Role::Variable))
        .map(|(name, _)| name.as_str())
        // A target's own name is the original function's.
        .filter(|name| !naming.targets.contains(*name))
        .collect();
    for index in closure.graph.node_indices() {
        let node = &closure.graph[index];
        let provided = node.extent == Extent::Signature && node.copied && !copied.contains(&node.group);
        if provided || (!naming.everywhere && is_called_target(closure, naming, index)) {
            let mut item = declaration::declared(closure, sources, index, &defined)?;
            if among_types.contains(&index) {
                item.section = Section::Types;
            }
            let mut spelled = BTreeSet::new();
            declared_macros(closure, sources, &item, &mut spelled)?;
            for id in &spelled {
                users.entry(*id).or_default().insert(item.section);
            }
            macros.extend(spelled);
            items.push(item);
        }
    }
    macros.extend(&closure.asked);
    conditional_macros(closure, &items, &mut macros);
    let placed = in_place(closure, &items, &macros);
    users.retain(|id, _| placed.contains(id));
    items.extend(macro_items(closure, sources, &macros, (&users, brought))?);
    items.extend(forward_declarations(closure, brought.map(|brought| &brought.files)));
    let comes = |name: &&String| brought.is_none_or(|brought| brought.macros.contains_key(*name));
    items.extend(closure.undefined.iter().filter(comes).map(|name| undefined(name)));
    for item in items.iter_mut().filter(|item| item.section == Section::Externals) {
        if naming.builtins.contains(&item.name) {
            item.text = format!("{BUILTIN_START}{}{BUILTIN_END}", item.text);
            item.edits.push(format!("{} is no function of GCC's here", item.name));
        }
    }
    for item in items.iter_mut().filter(|item| item.kind != "type") {
        item.text = renamed_words(&item.text, naming);
    }
    items.sort_by_key(|item| (item.section, item.order));
    // A redefinition holds for the rest of the file.
    let mut preambles = BTreeSet::new();
    for item in &mut items {
        if !item.preamble.is_empty() && !preambles.insert(item.preamble.clone()) {
            item.preamble.clear();
        }
    }
    Ok(items)
}

/// The directives about macros that may stand among the module's includes, with their places.
pub fn early_macros(closure: &Closure, sources: &mut Sources, naming: &Naming) -> Result<Vec<(u32, String)>> {
    let items = items(closure, sources, naming, None)?.into_iter();
    let early = items.filter(|item| item.kind == "macro" && item.section == Section::Types && !item.behind_headers);
    Ok(early.map(|item| (item.order, item.text)).collect())
}

/// Around the declaration of an object that is named like a function which GCC knows (`gamma`): static, in the source, it
/// may be.
const BUILTIN_START: &str =
    "#pragma GCC diagnostic push\n#pragma GCC diagnostic ignored \"-Wbuiltin-declaration-mismatch\"\n";
const BUILTIN_END: &str = "#pragma GCC diagnostic pop\n";

/// A text with the targets under their new names.
fn renamed_words(text: &str, naming: &Naming) -> String {
    if !naming.everywhere {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied, mut before) = (0, 0, String::new());
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return out + &text[copied..];
        }
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let end = lex::token(bytes, at).0.min(bytes.len());
        let word = text.get(at..end).unwrap_or_default();
        if naming.renames(word, &before) {
            out.push_str(&text[copied..at]);
            out.push_str(&naming.new_name(word));
            copied = end;
        }
        before = word.to_string();
        at = end;
    }
}

/// Is it a target that copied code calls or whose address it takes? That is the original function, which leads to the
/// new one.
fn is_called_target(closure: &Closure, naming: &Naming, index: NodeIndex) -> bool {
    let node = &closure.graph[index];
    let mut uses = closure.graph.edges_directed(index, petgraph::Incoming);
    node.extent == Extent::Whole
        && node.names.iter().any(|(name, role)| *role == Role::Function && naming.targets.contains(name))
        && uses.any(|edge| edge.weight().kind == EdgeKind::Declaration)
}

/// What stands among the types, as in the source: those, tracepoints, and functions and objects that types need (`int
/// left[ARRAY_SIZE(POOLS)];`), with what these need in turn.
fn among_types(
    closure: &Closure,
    groups: &BTreeMap<GroupId, Vec<NodeIndex>>,
    tracepoints: &BTreeSet<GroupId>,
) -> BTreeSet<NodeIndex> {
    let node = |index: &NodeIndex| &closure.graph[*index];
    let is_type = |index: &NodeIndex| {
        let node = node(index);
        node.copied && (node.extent == Extent::Whole || node.is_mixed) && !is_code(node)
    };
    let of_types = |nodes: &&Vec<NodeIndex>| nodes.iter().all(is_type);
    // What a prototype has at its end may name anything (`__attribute__((alias("f")))`).
    let is_prototype = |index: &NodeIndex| matches!(node(index).names.first(), Some((_, Role::Prototype)));
    let mut found: BTreeSet<NodeIndex> = groups.values().filter(of_types).flatten().copied().collect();
    let mut left: Vec<NodeIndex> = found.iter().filter(|index| !is_prototype(index)).copied().collect();
    while let Some(index) = left.pop() {
        for needed in closure.graph.neighbors(index) {
            let is_object = node(&needed).names.iter().any(|(_, role)| role.is_object());
            if node(&needed).copied && is_object && found.insert(needed) {
                left.extend(&groups[&node(&needed).group]);
            }
        }
    }
    found.extend(groups.iter().filter(|(id, _)| tracepoints.contains(*id)).flat_map(|(_, nodes)| nodes));
    found
}

/// The statements that stand before the macros by which the module reaches symbols. `tracepoints` as [`events::groups`]
/// finds them.
pub fn before_macros(closure: &Closure, tracepoints: &BTreeSet<GroupId>) -> BTreeSet<NodeIndex> {
    // Code among the types may not reach any.
    let is_before = |index: &NodeIndex| {
        let node = &closure.graph[*index];
        !is_code(node) || tracepoints.contains(&node.group)
    };
    among_types(closure, &by_group(closure), tracepoints).into_iter().filter(is_before).collect()
}

fn by_group(closure: &Closure) -> BTreeMap<GroupId, Vec<NodeIndex>> {
    let mut groups: BTreeMap<GroupId, Vec<NodeIndex>> = BTreeMap::new();
    for index in closure.graph.node_indices() {
        groups.entry(closure.graph[index].group).or_default().push(index);
    }
    for nodes in groups.values_mut() {
        nodes.sort_by_key(|index| closure.graph[*index].statement);
    }
    groups
}

/// Why a node is there, in words.
pub fn reason(closure: &Closure, node: NodeIndex) -> String {
    let Some(edge) = closure.graph[node].first else { return "target".into() };
    let Some((from, _)) = closure.graph.edge_endpoints(edge) else { return String::new() };
    let name = closure.graph[from].names.first().map_or("a declaration", |(name, _)| name.as_str());
    format!("{name} uses {}", closure.graph[edge].name)
}

/// Structs that copied text only points to and that no header of the module names.
fn forward_declarations(closure: &Closure, brought: Option<&BTreeSet<u32>>) -> Vec<Item> {
    let defined: BTreeSet<&str> = closure
        .graph
        .node_weights()
        .filter(|node| node.extent == Extent::Whole || (node.is_mixed && node.copied))
        .flat_map(|node| &node.names)
        .filter(|(_, role)| role.is_tag())
        .map(|(name, _)| name.as_str())
        .collect();
    let comes = |file: &u32| brought.is_none_or(|brought| brought.contains(file));
    let needed = |mention: &&Mention| {
        !mention.headers.iter().any(comes) && (mention.early || !defined.contains(mention.name.as_str()))
    };
    closure
        .mentions
        .iter()
        .filter(needed)
        .map(|mention| Item {
            section: Section::Types,
            order: 0,
            behind_headers: false,
            name: mention.name.clone(),
            kind: "type",
            file: String::new(),
            line: 0,
            reason: "only pointed to".into(),
            preamble: String::new(),
            text: format!("{} {};\n", if mention.union { "union" } else { "struct" }, mention.name),
            edits: Vec::new(),
        })
        .collect()
}
