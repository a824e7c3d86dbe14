//! The module's C text: source ranges, verbatim, with the few edits that linkage asks for.
//!
//! Text is cut from the patched source files by file and line, never from GCC's output. Each piece is an [`Item`] with
//! where it comes from and why it is there; [`crate::render`] puts them in order.

mod conditions;
pub mod declaration;
pub mod layout;
pub mod pointers;
mod sources;
mod statics;
pub mod wrappers;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use serde::Serialize;

use crate::closure::statics::WrittenOut;
use crate::closure::{Closure, CopiedGroup, EdgeKind, Mention, Node, WILDCARD};
use crate::finding::{FRONT_END, NAME_TWICE, Result, TARGET_NOT_SPELLED, refuse};
use crate::linkage::events;
use crate::linkage::reading::Brought;
use crate::unit::groups::GroupId;
use crate::unit::lex;
use crate::unit::live::Extent;
use crate::unit::names::{self, Role};
use crate::unit::place::{Class, Position, classify};

pub use sources::Sources;

/// Where an item stands in the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// Macros, types and everything else that has no code; tracepoints of private headers.
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
    let (nodes, tracepoints) = (by_group(closure), events::groups(closure));
    let mut users: BTreeMap<u32, BTreeSet<Section>> = BTreeMap::new();
    for group in &closure.groups {
        let nodes = &nodes[&group.id];
        let mut item = copied(closure, sources, naming, group, nodes)?;
        if tracepoints.contains(&group.id) {
            item.section = Section::Types;
        }
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
            let item = declaration::declared(closure, sources, index, &defined)?;
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

/// A copied group: its text with the targets renamed.
fn copied(
    closure: &Closure,
    sources: &mut Sources,
    naming: &Naming,
    group: &CopiedGroup,
    nodes: &[NodeIndex],
) -> Result<Item> {
    let mut text = match pragma(closure, &nodes[0]) {
        true => sources.pragma(closure, group.start)?,
        false => sources.text(closure, group.start, group.end)?,
    };
    let mut edits = Vec::new();
    // A condition that begins or ends elsewhere can't be cut out with its `#if`.
    let whole = conditions::are_whole(&text.text);
    if !whole {
        edits.push("only the branch taken of conditions that reach beyond it".into());
    }
    let inner = included_inside(closure, group);
    edits.extend(inner.iter().map(|path| format!("the text of {path} in the place of its #include")));
    let cut = !whole || !inner.is_empty();
    if cut {
        text.text = format!("{}\n", group.taken);
    }
    let start = text.start;
    let length = text.text.len();
    let place = |sources: &mut Sources, position: Position| -> Result<usize> {
        let at = match cut {
            true => position.order.checked_sub(group.start.order).map(|at| at as usize),
            false if position.file != group.start.file => None,
            false => sources.offset(closure, position)?.checked_sub(start),
        };
        match at.filter(|at| *at <= length) {
            Some(at) => Ok(at),
            None => {
                let path = &closure.files[position.file as usize].path;
                refuse(FRONT_END, format!("{path}:{}: a function spans two files", position.line))
            }
        }
    };
    let mut kind = "type";
    let mut section = Section::Types;
    let mut name = String::new();
    let mut redefinitions = None;
    let mut replacements: Vec<(usize, usize, String)> = Vec::new();
    let first = &closure.graph[nodes[0]];
    for index in nodes {
        let node = &closure.graph[*index];
        let Some((declared, role)) = node.names.first() else { continue };
        // `struct s { ... } table[] = { f };` names functions that are declared behind the types.
        let initialised = node.signature_tokens < node.tokens.len() && node.extent == Extent::Whole;
        let is_data = |(_, role): &(String, Role)| *role == Role::Variable;
        if matches!(role, Role::Function | Role::Variable) || (initialised && node.names.iter().any(is_data)) {
            section = Section::Code;
        }
        statics::edit(closure, sources, node, naming, (&text.text, &place), &mut replacements, &mut edits)?;
        edits.extend(pointers::edits(closure, node, naming));
        let is_function = *role == Role::Function || (naming.everywhere && *role == Role::Prototype);
        let target = is_function && naming.targets.contains(declared);
        let found = match role {
            Role::Function if target => "target",
            Role::Function => "function",
            Role::Variable => "data",
            Role::Prototype => "declaration",
            _ => "type",
        };
        if name.is_empty() || (target && kind != "target") || (kind != "target" && found == "function") {
            name = declared.clone();
            kind = found;
        }
        if !target {
            continue;
        }
        let new_name = naming.new_name(declared);
        // Where the text has words before the name.
        let mut named_at = None;
        match (node.name_position, wrappers::of(&node.origin)) {
            (Some(position), _) => {
                let at = place(sources, position)?;
                if new_name != *declared {
                    replacements.push((at, declared.len(), new_name.clone()));
                    edits.push(format!("{declared} is named {new_name}"));
                }
                named_at = Some(at);
            }
            (None, Some(_)) if naming.distinct.contains_key(declared) => {
                return refuse(
                    NAME_TWICE,
                    format!(
                        "two units have {declared} to replace, and its name is made by a macro: it can't be told apart"
                    ),
                );
            }
            (None, Some(wrapper)) => {
                redefinitions = Some(wrapper.text(naming));
                edits.push(format!("{declared} is named {new_name} by a redefined {}", wrapper.macro_name));
            }
            (None, None) if new_name == *declared => {}
            (None, None) if node.is_made && node.made_by.is_some() => {
                let Some(out) = &node.made_by else { continue };
                let (at, end) = (place(sources, out.start)?, place(sources, out.end)?);
                if replacements.iter().any(|(other, length, _)| *other < end && at < other + length) {
                    // The targets that one invocation makes are written out together.
                    continue;
                }
                let Some(made) = made(closure, nodes, out, naming, &text.text[end..]) else {
                    return refuse(
                        TARGET_NOT_SPELLED,
                        format!(
                            "{declared} is to be replaced, and what {}() makes of it can't be told from what it makes beside; copy it by hand",
                            out.name
                        ),
                    );
                };
                replacements.push((at, end - at, made));
                edits.push(format!("{} is written out, for it makes {declared}, which is named {new_name}", out.name));
                named_at = (out.tokens.0 > 0).then_some(at);
            }
            (None, None) => {
                let macros = node.origin.join(" in ");
                return refuse(
                    TARGET_NOT_SPELLED,
                    format!(
                        "{declared} is to be replaced, but its name is made by the macro {macros}; copy it by hand"
                    ),
                );
            }
        }
        if let Some(at) = named_at {
            let range = place(sources, node.position)?..at;
            specifiers(closure, (node, &new_name), naming.shared, &text.text, range, &mut replacements, &mut edits);
        }
    }
    replacements.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    replacements.dedup();
    for (at, length, new) in replacements {
        text.text.replace_range(at..at + length, &new);
    }
    if cut {
        text.text = conditions::without_markers(&text.text);
    }
    let comment = sources.comment_above(closure, group.start)?;
    if let Some(bytes) = group.pack {
        text.text = format!("#pragma pack(push, {bytes})\n{}#pragma pack(pop)\n", text.text);
        edits.push(format!("under the source's #pragma pack({bytes})"));
    }
    Ok(Item {
        preamble: redefinitions.unwrap_or_default(),
        section,
        order: group.start.order,
        behind_headers: false,
        name,
        kind,
        file: closure.files[first.position.file as usize].path.clone(),
        line: group.start.line,
        reason: reason(closure, nodes[0]),
        text: comment + &text.text,
        edits,
    })
}

/// What becomes of the words before a target's name, which stand in `range` of the text.
fn specifiers(
    closure: &Closure,
    (node, new_name): (&Node, &str),
    shared: bool,
    text: &str,
    range: std::ops::Range<usize>,
    replacements: &mut Vec<(usize, usize, String)>,
    edits: &mut Vec<String>,
) {
    for (_, word, what) in names::OF_ORIGINALS {
        if let Some(found) = word_in(text, range.clone(), word) {
            replacements.push((found.start, found.len(), String::new()));
            edits.push(format!("{new_name} is not {what}"));
        }
    }
    match (is_static(closure, node), shared) {
        (false, false) => {
            replacements.push((range.start, 0, "static ".into()));
            edits.push(format!("{new_name} is static"));
        }
        (true, true) => {
            // Nothing is emitted of a function that is `inline` and not `static` (C11 6.7.4).
            for word in ["static", "inline", "__inline", "__inline__"] {
                if let Some(found) = word_in(text, range.clone(), word) {
                    replacements.push((found.start, found.len(), String::new()));
                    edits.push(format!("{new_name} is not {}", word.trim_matches('_')));
                }
            }
        }
        _ => {}
    }
}

/// What an invocation makes of the statements that the module has of it, targets under their new names. `behind` is the text
/// behind it, in which the last of them may go on. Nothing where that can't be told.
fn made(
    closure: &Closure,
    nodes: &[NodeIndex],
    invocation: &WrittenOut,
    naming: &Naming,
    behind: &str,
) -> Option<String> {
    let mut statements = Vec::new();
    let mut ends = true;
    for node in nodes.iter().map(|index| &closure.graph[*index]) {
        let Some(out) = node.made_by.as_ref().filter(|out| out.start == invocation.start) else { continue };
        // One that goes on behind the invocation is its last; one that begins before it is its only one.
        let is_target = node.names.iter().any(|(name, _)| naming.targets.contains(name));
        if !ends
            || node.extent == Extent::Signature
            || (out.tokens.0 > 0 && !node.is_made)
            || (is_target && !node.is_made)
        {
            return None;
        }
        ends = out.tokens.1 == node.tokens.len();
        statements.push(expansion(closure, (node, out), naming));
    }
    let goes_on = !behind.trim_start_matches([';', ' ', '\t', '\n']).is_empty();
    (ends != goes_on && !statements.is_empty()).then(|| statements.join("\n\n"))
}

/// `inline` is a macro that adds attributes (include/linux/compiler_types.h), and would do it once more.
fn without_inlines_own(words: &mut Vec<String>) {
    const ADDED: &[&str] = &["gnu_inline", "unused", "no_instrument_function"];
    let adds =
        |words: &[String]| names::attribute(words.iter().map(String::as_str)).is_some_and(|name| ADDED.contains(&name));
    let mut at = 0;
    while at < words.len() {
        at += 1;
        while words[at - 1] == "inline" && adds(&words[at..]) {
            words.drain(at..at + names::ATTRIBUTE);
        }
    }
}

/// The words that the invocation makes of a statement.
fn expansion(closure: &Closure, (node, out): (&Node, &WrittenOut), naming: &Naming) -> String {
    let words = node.tokens[out.tokens.0..out.tokens.1].iter();
    let words = words.map(|token| closure.texts[(token & !WILDCARD) as usize].clone());
    let mut words: Vec<String> = words.collect();
    without_inlines_own(&mut words);
    let declared = node.names.first().filter(|_| node.is_made).map(|(name, _)| name.as_str());
    let Some(declared) = declared else { return layout::laid_out(&words, 0) };
    let mut body = words.iter().position(|word| word == "{").unwrap_or(words.len());
    while let Some(at) = (0..body).find(|at| names::is_of_originals(words[*at..].iter().map(String::as_str))) {
        words.drain(at..at + names::ATTRIBUTE);
        body -= names::ATTRIBUTE;
    }
    if let Some(name) = words.iter_mut().take(body).find(|word| *word == declared) {
        *name = naming.new_name(declared);
    }
    match (is_static(closure, node), naming.shared) {
        (false, false) if out.tokens.0 == 0 => words.insert(0, "static".into()),
        (true, true) => {
            let mut at = 0;
            words.retain(|word| {
                at += 1;
                at > body || !matches!(word.as_str(), "static" | "inline" | "__inline" | "__inline__")
            });
        }
        _ => {}
    }
    layout::laid_out(&words, 0)
}

/// Files that a group's text includes in its midst and that no module can include.
fn included_inside<'a>(closure: &'a Closure, group: &CopiedGroup) -> BTreeSet<&'a str> {
    let times = closure.entered.iter().chain(&closure.entered_again);
    let inside = times.filter(|entered| group.start.order < entered.order && entered.order < group.end.order);
    let files = inside.map(|entered| closure.files[entered.file as usize].path.as_str());
    // By its path: what is in it may be the unit's own all the same (`asm/syscalls_32.h`).
    files.filter(|path| matches!(classify(path, &[]).class, Class::Source | Class::Private)).collect()
}

/// Is the statement a `#pragma` line?
fn pragma(closure: &Closure, node: &NodeIndex) -> bool {
    let first = closure.graph[*node].tokens.first();
    first.is_some_and(|token| closure.texts[(token & !WILDCARD) as usize].starts_with("#pragma"))
}

/// Where a word stands in a range of the text, with the space behind it.
fn word_in(text: &str, range: std::ops::Range<usize>, word: &str) -> Option<std::ops::Range<usize>> {
    let part = text.get(range.clone())?;
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let alone =
        |at: &usize| !is_part(part[..*at].chars().next_back()) && !is_part(part[at + word.len()..].chars().next());
    let start = part.match_indices(word).map(|(at, _)| at).find(alone)?;
    let behind = &part[start + word.len()..];
    let space = behind.len() - behind.trim_start().len();
    Some(range.start + start..range.start + start + word.len() + space)
}

fn is_static(closure: &Closure, node: &Node) -> bool {
    node.tokens[..node.signature_tokens].iter().any(|token| {
        let text = closure.texts.get(*token as usize);
        text.is_some_and(|text| text == "static")
    })
}

/// Definitions of macros, with those that they mention, as items of their own.
pub fn macros(closure: &Closure, sources: &mut Sources, ids: &BTreeSet<u32>) -> Result<Vec<Item>> {
    let mut all = ids.clone();
    for item in macro_items(closure, sources, ids, (&BTreeMap::new(), None))? {
        declared_macros(closure, sources, &item, &mut all)?;
    }
    macro_items(closure, sources, &all, (&BTreeMap::new(), None))
}

/// The directives about macros that may stand among the module's includes, with their places.
pub fn early_macros(closure: &Closure, sources: &mut Sources, naming: &Naming) -> Result<Vec<(u32, String)>> {
    let items = items(closure, sources, naming, None)?.into_iter();
    let early = items.filter(|item| item.kind == "macro" && item.section == Section::Types && !item.behind_headers);
    Ok(early.map(|item| (item.order, item.text)).collect())
}

/// Macros of source files and private headers that a declaration spells, at any depth.
fn declared_macros(closure: &Closure, sources: &mut Sources, item: &Item, macros: &mut BTreeSet<u32>) -> Result<()> {
    let mut texts = vec![item.text.clone()];
    while let Some(text) = texts.pop() {
        let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for (id, definition) in &closure.macros {
            let file = &closure.files[definition.position.file as usize];
            let is_own = matches!(file.class, Class::Source | Class::Private);
            let ended = definition.undefined.is_some_and(|position| position.order < item.order);
            let lives = definition.position.order < item.order && !ended;
            if is_own && lives && words.contains(definition.name.as_str()) && macros.insert(*id) {
                texts.push(sources.directive(closure, definition.position)?);
            }
        }
    }
    Ok(())
}

/// Names in a copied `#if` are macro references too, undefined ones included: the module must take the same branch.
fn conditional_macros(closure: &Closure, items: &[Item], macros: &mut BTreeSet<u32>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for line in items.iter().flat_map(|item| item.text.lines()) {
        let line = line.trim_start();
        if let Some(directive) = line.strip_prefix('#').map(str::trim_start)
            && (directive.starts_with("if") || directive.starts_with("elif"))
        {
            names.extend(directive.split(|c: char| !(c.is_alphanumeric() || c == '_')).skip(1));
        }
    }
    for (id, definition) in &closure.macros {
        let file = &closure.files[definition.position.file as usize];
        if names.contains(definition.name.as_str()) && matches!(file.class, Class::Source | Class::Private) {
            macros.insert(*id);
        }
    }
}

/// Those macros that must stand among the text, as in the source: they end, there are several of the name, or text before them
/// has the name for something else (kernel/locking/qspinlock.c, which includes itself).
fn in_place(closure: &Closure, items: &[Item], macros: &BTreeSet<u32>) -> BTreeSet<u32> {
    let is_copied = |file: u32| matches!(closure.files[file as usize].class, Class::Source | Class::Private);
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for definition in macros.iter().map(|id| &closure.macros[id]).filter(|definition| definition.copied) {
        *times.entry(&definition.name).or_default() += 1;
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let behind_types = items.iter().filter(|item| item.section > Section::Types);
    let words: Vec<(u32, BTreeSet<&str>)> =
        behind_types.map(|item| (item.order, item.text.split(|c| !is_part(c)).collect())).collect();
    let placed = macros.iter().filter(|id| {
        let definition = &closure.macros[*id];
        let (name, order) = (definition.name.as_str(), definition.position.order);
        let ends = definition.undefined.is_some_and(|position| is_copied(position.file));
        let before = || words.iter().any(|(at, words)| *at < order && words.contains(name));
        definition.copied && (ends || times[name] > 1 || before())
    });
    placed.copied().collect()
}

/// Definitions of macros that no header brings, or not as the patch has them. Those that must stand among the text that uses
/// them are in its sections (`users`). A header of the module's may define the name
/// too (`brought`), be it that none of the unit's did.
fn macro_items(
    closure: &Closure,
    sources: &mut Sources,
    macros: &BTreeSet<u32>,
    (users, brought): (&BTreeMap<u32, BTreeSet<Section>>, Option<&Brought>),
) -> Result<Vec<Item>> {
    let inside = |order: u32| closure.groups.iter().any(|group| group.start.order <= order && order < group.end.order);
    let mut items = Vec::new();
    for id in macros {
        let definition = &closure.macros[id];
        let file = &closure.files[definition.position.file as usize];
        let copied = definition.copied;
        let changed = file.class == Class::Public && sources.is_changed(closure, definition)?;
        if !copied && !changed {
            continue;
        }
        let reason = if closure.asked.contains(id) { "a header asks for it" } else { "used by copied text" };
        let item = |section: Section, position: crate::unit::place::Position, text: String| Item {
            section,
            order: position.order,
            behind_headers: definition.copied && file.class == Class::Public,
            name: definition.name.clone(),
            kind: "macro",
            file: file.path.clone(),
            line: position.line,
            reason: reason.into(),
            preamble: String::new(),
            text,
            edits: Vec::new(),
        };
        let is_copied = |file: u32| matches!(closure.files[file as usize].class, Class::Source | Class::Private);
        let ends = definition.undefined.filter(|position| copied && is_copied(position.file));
        let sections = users.get(id).cloned().unwrap_or(BTreeSet::from([Section::Types]));
        for section in sections {
            if !inside(definition.position.order) {
                let text = sources.directive(closure, definition.position)?;
                let known = brought.and_then(|brought| brought.macros.get(&definition.name));
                let other = known.is_some_and(|known| !defines(&text, &definition.name, known));
                let before = changed || definition.redefines || other;
                let undefine = if before { format!("#undef {}\n", definition.name) } else { String::new() };
                items.push(item(section, definition.position, undefine + &text));
            }
            if let Some(undefined) = ends.filter(|position| !inside(position.order)) {
                items.push(item(section, undefined, format!("#undef {}\n", definition.name)));
            }
        }
    }
    Ok(items)
}

/// Is this `#define` of the name the same as GCC's line of it, but for white space and comments?
fn defines(directive: &str, name: &str, line: &str) -> bool {
    let from = directive.find("define").map_or(0, |at| at + "define".len());
    let definition = directive[from..].trim_start();
    lex::texts(definition.as_bytes()).eq(lex::texts(format!("{name}{line}").as_bytes()))
}

/// Copied text has the name of something that a header of the module makes a macro of, and another one of the unit's not.
fn undefined(name: &str) -> Item {
    Item {
        section: Section::Types,
        order: BEHIND_ALL,
        behind_headers: true,
        name: name.into(),
        kind: "macro",
        file: String::new(),
        line: 0,
        reason: "no macro where copied text has the name".into(),
        preamble: String::new(),
        text: format!("#undef {name} /* a header's macro, and a name of the text below */\n"),
        edits: Vec::new(),
    }
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
