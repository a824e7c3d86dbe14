//! Follows what statements mention, from the targets to the boundary.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::graph::{Graph, NodeIndex};
use rustc_hash::FxHashMap;

use crate::finding::{Finding, MISSING_DEFINITION, PRAGMA_UNKNOWN, Result, refuse};
use crate::unit::clang::{Need, Parsed};
use crate::unit::expand::{Expanded, Expansion, NONE, Token};
use crate::unit::groups::{GroupId, Outline, Shape, StatementId, is_identifier};
use crate::unit::lex::{self, Symbol};
use crate::unit::live::Extent;
use crate::unit::names::{Role, UNDECLARED};
use crate::unit::place::Places;
use crate::unit::pragmas::{self, Pragmas};
use crate::unit::text::{Macro, MacroId};

use super::boundary::Boundary;
use super::mentions::Mentions;
use super::statics::WrittenOut;
use super::written::{Labels, Written};
use super::{
    Closure, CopiedGroup, Edge, EdgeKind, Entered, MacroDefinition, Node, Scope, WILDCARD, asked, statics, switches,
};

pub(super) struct Walk<'a, 'b> {
    pub(super) unit: &'a Expanded,
    pub(super) outline: &'a Outline,
    parsed: &'b Parsed<'a>,
    places: &'b Places<'a>,
    pub(super) scope: &'b Scope,
    pub(super) graph: Graph<Node, Edge>,
    pub(super) by_statement: BTreeMap<StatementId, NodeIndex>,
    queue: VecDeque<NodeIndex>,
    texts: Texts,
    mentions: Mentions,
    /// Names of public headers' functions that are copied.
    renamed: BTreeSet<String>,
    boundary: &'b Boundary<'a>,
    pragmas: Pragmas,
    labels: Labels,
    pub(super) written: Written,
    /// Headers whose statements were looked at, and those of them that use types of a file that is copied from.
    looked_at: BTreeSet<u32>,
    late: BTreeSet<u32>,
}

#[derive(Default)]
struct Texts {
    by_symbol: BTreeMap<u32, u32>,
    texts: Vec<String>,
}

impl Texts {
    fn index(&mut self, unit: &Expanded, token: &Token, varies: bool) -> u32 {
        let next = self.texts.len() as u32;
        let index = *self.by_symbol.entry(token.symbol.0).or_insert(next);
        if index == next {
            self.texts.push(unit.interner().string(token.symbol));
        }
        if varies { index | WILDCARD } else { index }
    }
}

/// Computes the closure of `scope.targets`. What libclang has read must go as far as the boundary.
pub fn close<'a>(
    unit: &'a Expanded,
    outline: &'a Outline,
    parsed: &Parsed<'a>,
    places: &'a Places<'a>,
    (scope, boundary): (&'a Scope, &Boundary<'a>),
) -> Result<Closure> {
    let mut walk = Walk {
        unit,
        outline,
        parsed,
        places,
        scope,
        graph: Graph::new(),
        by_statement: BTreeMap::new(),
        queue: VecDeque::new(),
        texts: Texts::default(),
        mentions: Mentions::default(),
        renamed: BTreeSet::new(),
        boundary,
        pragmas: pragmas::pragmas(unit, outline),
        looked_at: BTreeSet::new(),
        late: BTreeSet::new(),
        labels: Labels::new(unit, outline),
        written: if scope.as_written { Written::new(unit, outline) } else { Written::default() },
    };
    for target in scope.targets.iter().chain(&scope.shared) {
        let Some(statement) = outline.definition_named(unit, target) else {
            return refuse(
                MISSING_DEFINITION,
                format!("{target} is to be replaced, but the patched source does not define it"),
            );
        };
        walk.reach(statement, Extent::Whole, None);
        let node = walk.by_statement[&statement];
        for other in walk.redeclarations(node, target, Some(statement)) {
            let edge = Edge { kind: EdgeKind::Declaration, name: target.clone() };
            walk.reach(other, Extent::Whole, Some((node, edge)));
        }
    }
    loop {
        while let Some(node) = walk.queue.pop_front() {
            walk.follow(node)?;
        }
        walk.copy_users_of_renamed();
        walk.assembly();
        walk.types_for_headers();
        if walk.queue.is_empty() {
            walk.check_pragmas()?;
            walk.check_labels()?;
            return Ok(walk.finish());
        }
    }
}

impl Walk<'_, '_> {
    /// Takes a statement in, or raises what is known of it; yields whether it must be followed.
    pub(super) fn reach(&mut self, statement: StatementId, extent: Extent, from: Option<(NodeIndex, Edge)>) {
        let known = self.by_statement.get(&statement).copied();
        let node = known.unwrap_or_else(|| {
            let node = self.node(statement, extent);
            let node = self.graph.add_node(node);
            self.by_statement.insert(statement, node);
            self.queue.push_back(node);
            node
        });
        if self.graph[node].extent < extent {
            self.graph[node].extent = extent;
            self.queue.push_back(node);
        }
        if let Some((from, edge)) = from {
            let edge = self.graph.add_edge(from, node, edge);
            if known.is_none() {
                self.graph[node].first = Some(edge);
            }
        }
    }

    fn node(&mut self, id: StatementId, extent: Extent) -> Node {
        let statement = &self.outline.statements[id.0 as usize];
        let tokens = &self.unit.tokens[statement.tokens()];
        let group = self.outline.group_of[id.0 as usize];
        let names = &self.outline.names[id.0 as usize];
        let position = self.places.position(self.unit.start_of(statement.start));
        let changed = names.iter().find(|name| {
            let text = self.unit.interner().string(name.symbol);
            self.scope.added.contains(&text) || (name.role == Role::Function && self.scope.changed.contains(&text))
        });
        let public = self.places.is_public(position.file);
        if let Some(name) = changed.filter(|name| public && name.role == Role::Function) {
            let text = self.unit.interner().string(name.symbol);
            if self.scope.changed.contains(&text) {
                self.renamed.insert(text);
            }
        }
        let signature_end = self.outline.signature_end(self.unit, id);
        let array = names.iter().find(|name| name.role == Role::Variable).or(names.first());
        let spelled =
            |index: u32| self.is_spelled(index).then(|| self.places.position(self.unit.tokens[index as usize].source));
        let copied =
            !public || self.boundary.is_hidden(id) || (changed.is_some() && !self.places.is_compiler(position.file));
        // What is copied keeps the names that the build has given to the unit.
        let varies = |token: &Token| if copied { token.builtin } else { self.unit.varies(token) };
        Node {
            statement: id,
            group,
            extent,
            copied,
            first: None,
            names: names.iter().map(|name| (self.unit.interner().string(name.symbol), name.role)).collect(),
            position,
            name_position: names.first().and_then(|name| spelled(name.token)),
            signature_end: spelled(statement.start).and(spelled(signature_end.min(statement.end - 1))),
            tokens: tokens.iter().map(|token| self.texts.index(self.unit, token, varies(token))).collect(),
            signature_tokens: (signature_end - statement.start) as usize,
            origin: self.origin(statement.start),
            is_mixed: self.is_mixed(id),
            made_by: self.made_by(id),
            is_made: self.is_made(id),
            static_locals: Vec::new(),
            objects: Vec::new(),
            switches: Vec::new(),
            array_length: array.and_then(|name| self.parsed.array_length(name.symbol)).map(|n| n.to_string()),
            pack: self.pragmas.packs[id.0 as usize],
        }
    }

    /// Does the source spell a token outside of macros?
    fn is_spelled(&self, token: u32) -> bool {
        let token = self.unit.tokens.get(token as usize);
        token.is_some_and(|token| token.invocation == NONE && token.source != NONE)
    }

    fn origin(&self, token: u32) -> Vec<String> {
        let token = &self.unit.tokens[token as usize];
        let name = |id: MacroId| self.unit.interner().string(self.unit.reader.macros[id.0 as usize].name);
        self.unit.chain(token).map(name).collect()
    }

    fn follow(&mut self, node: NodeIndex) -> Result<()> {
        let Node { statement, group, extent, copied, .. } = self.graph[node];
        if copied && extent == Extent::Whole {
            let all = self.outline.groups[group.0 as usize].statements();
            let known = |statement: &StatementId| self.by_statement.get(statement).map(|node| &self.graph[*node]);
            let group_targets: Vec<StatementId> =
                all.filter(|other| known(other).is_some_and(|node| node.is_made)).collect();
            for sibling in self.outline.groups[group.0 as usize].statements() {
                let shape = self.outline.statements[sibling.0 as usize].shape;
                let made = || group_targets.iter().any(|target| self.is_made_beside(*target, sibling));
                let left_out = self.is_dropped(sibling) || made();
                if sibling == statement || matches!(shape, Shape::Empty | Shape::Pragma) || left_out {
                    continue;
                }
                let edge = Edge { kind: EdgeKind::Group, name: self.first_name(sibling) };
                self.reach(sibling, Extent::Whole, Some((node, edge)));
            }
        }
        if copied && extent == Extent::Whole {
            self.aliased(node);
        }
        let found = self.parsed.references(statement, extent, &self.scope.static_locals)?;
        let locals = statics::found(self.unit, self.places, &self.outline.statements[statement.0 as usize], &found);
        if !copied && !self.scope.as_written && locals.iter().any(|local| !local.fresh) {
            // The header's function would have variables of its own.
            self.copy_renamed(node);
        }
        self.graph[node].static_locals = locals;
        if self.graph[node].copied && extent == Extent::Whole {
            let tokens = self.outline.statements[statement.0 as usize].tokens();
            let start = tokens.start as u32;
            self.graph[node].objects = found.objects.iter().map(|token| token - start).collect();
            self.graph[node].switches = switches::found(self.unit, tokens);
        }
        for reference in found.references {
            let word = self.unit.interner().string(self.unit.tokens[reference.token as usize].symbol);
            match reference.need {
                Need::Statement(target) => {
                    // An operator needs its operand's type complete, which nothing may name.
                    let name = if is_identifier(word.as_bytes()) { word } else { self.first_name(target) };
                    let edge = Edge { kind: EdgeKind::Type, name };
                    self.reach(target, self.extent_of_type(target), Some((node, edge)));
                }
                Need::Object { declaration, definition, name, .. } => {
                    self.object(node, declaration, definition, self.unit.interner().string(name));
                }
                Need::Tag { name, union } if copied => {
                    let defined_later =
                        self.outline.declared.tag(name).is_some_and(|definition| definition > statement);
                    let early = defined_later && self.is_parameter(statement, reference.token);
                    self.mentions.add(name, union, early, reference.token);
                }
                Need::Tag { .. } => {}
            }
        }
        Ok(())
    }

    /// A pragma of unknown effect before copied text, in a file that is copied from, is a refusal.
    fn check_pragmas(&self) -> Result<()> {
        let copied = self.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole);
        let last = copied.map(|node| node.statement.0 as usize).max().unwrap_or(0);
        let own = |index: &usize| !self.boundary.is_public(StatementId(*index as u32));
        let carried = |text: &str| self.scope.as_written && pragmas::names_symbols(text);
        match self.pragmas.unknown.iter().find(|(index, text)| *index < last && own(index) && !carried(text)) {
            Some((_, text)) => refuse(
                PRAGMA_UNKNOWN,
                format!("copied text stands behind `{text}`, whose effect on it the tool doesn't know"),
            ),
            None => Ok(()),
        }
    }

    /// Does a token of a statement stand in parentheses?
    fn is_parameter(&self, statement: StatementId, token: u32) -> bool {
        let start = self.outline.statements[statement.0 as usize].start;
        let depth = (start..token).fold(0, |depth, index| match self.unit.text(index as usize) {
            b"(" => depth + 1,
            b")" => depth - 1,
            _ => depth,
        });
        depth > 0
    }

    /// A label within a function is about all of the unit, and its function may not be copied.
    fn check_labels(&self) -> Result<()> {
        if self.scope.as_written {
            return Ok(());
        }
        let labels = &self.labels.inside;
        let names = self.graph.node_weights().flat_map(|node| &node.names);
        for (name, _) in names.filter(|(_, role)| role.is_object() && !labels.is_empty()) {
            let symbol = self.unit.interner().find(name.as_bytes());
            if let Some(at) = symbol.and_then(|symbol| labels.get(&symbol)) {
                let place = self.places.position(self.unit.start_of(*at));
                let message = format!("a declaration within a function gives {name} another symbol in all of the unit");
                let file = self.places.all().swap_remove(place.file as usize).path;
                return Err(Finding::new(PRAGMA_UNKNOWN, message).at(file, Some(place.line)).into());
            }
        }
        Ok(())
    }

    fn first_name(&self, statement: StatementId) -> String {
        let names = &self.outline.names[statement.0 as usize];
        names.first().map(|name| self.unit.interner().string(name.symbol)).unwrap_or_default()
    }

    /// Does a macro that is left out of copied groups spell the statement?
    fn is_dropped(&self, statement: StatementId) -> bool {
        let start = self.outline.statements[statement.0 as usize].start;
        self.origin(start).iter().any(|name| self.scope.dropped_macros.contains(name))
    }

    /// See [`Node::made_by`].
    fn made_by(&self, id: StatementId) -> Option<WrittenOut> {
        let statement = &self.outline.statements[id.0 as usize];
        let name = self.outline.names[id.0 as usize].first()?;
        let token = match name.role {
            Role::Function => name.token,
            _ => statement.start,
        };
        let number = self.unit.tokens[token as usize].invocation;
        let invocation = self.unit.invocations.get(number as usize)?;
        let is_own = |index: &usize| self.unit.tokens[*index].invocation == number;
        let first = statement.tokens().find(is_own)?;
        let end = (first..statement.end as usize).take_while(is_own).last()? + 1;
        let whole = statement.tokens().filter(is_own).count() == end - first;
        let start = statement.start as usize;
        whole.then(|| WrittenOut {
            name: self.origin(token).last().cloned().unwrap_or_default(),
            tokens: (first - start, end - start),
            start: self.places.position(invocation.start),
            end: self.places.position(invocation.end),
        })
    }

    /// See [`Node::is_made`].
    fn is_made(&self, id: StatementId) -> bool {
        let names = self.outline.names[id.0 as usize].first().filter(|name| name.role == Role::Function);
        names.is_some_and(|name| {
            self.unit.tokens[name.token as usize].invocation != NONE
                && self.scope.targets.contains(&self.unit.interner().string(name.symbol))
                && !self.origin(name.token).iter().any(|name| self.scope.redefined_macros.contains(name))
        })
    }

    /// Does the invocation that makes a target make the other statement too? Then that comes only where it is needed.
    fn is_made_beside(&self, target: StatementId, other: StatementId) -> bool {
        let node = self.by_statement.get(&target).map(|node| &self.graph[*node]).filter(|node| node.is_made);
        let first = |statement: StatementId, at: usize| {
            self.unit.tokens[self.outline.statements[statement.0 as usize].start as usize + at].invocation
        };
        let made = node.and_then(|node| node.made_by.as_ref());
        made.is_some_and(|made| first(target, made.tokens.0) == first(other, 0))
    }

    /// Functions of public headers that call a renamed one are the patched kernel's only under other names too.
    fn copy_users_of_renamed(&mut self) {
        let uses = |walk: &Walk, node: NodeIndex| {
            let mut edges = walk.graph.edges(node);
            edges.any(|edge| edge.weight().kind == EdgeKind::Body && walk.renamed.contains(&edge.weight().name))
        };
        loop {
            let found = self.graph.node_indices().find(|node| !self.graph[*node].copied && uses(self, *node));
            let Some(node) = found else { return };
            self.copy_renamed(node);
        }
    }

    /// See [`super::late`].
    fn types_for_headers(&mut self) {
        if !self.boundary.has_late_headers() {
            return;
        }
        let mut included: Vec<(u32, NodeIndex)> = Vec::new();
        for node in self.graph.node_indices() {
            if self.graph[node].copied {
                let files = self.boundary.files_of_macros(self.graph[node].group);
                included.extend(files.map(|file| (file, node)));
            } else {
                included.push((self.graph[node].position.file, node));
            }
        }
        for (file, user) in included {
            if !self.looked_at.insert(file) {
                continue;
            }
            let types = self.boundary.types_for(file);
            if types.is_empty() {
                continue;
            }
            self.late.insert(file);
            // Those that other headers have come with them.
            for (statement, symbol) in types {
                if !self.by_statement.contains_key(&statement) {
                    let edge = Edge { kind: EdgeKind::Type, name: self.unit.interner().string(symbol) };
                    self.reach(statement, self.extent_of_type(statement), Some((user, edge)));
                }
            }
        }
    }

    /// Copies a function of a public header under another name.
    fn copy_renamed(&mut self, node: NodeIndex) {
        self.graph[node].copied = true;
        let names = self.graph[node].names.iter().filter(|(_, role)| *role == Role::Function);
        self.renamed.extend(names.map(|(name, _)| name.clone()));
        self.queue.push_back(node);
    }

    /// A function or object is referred to where the running kernel provides it, else taken with its definition.
    fn object(&mut self, from: NodeIndex, declaration: StatementId, definition: Option<StatementId>, name: String) {
        let definition = definition.or_else(|| self.is_tentative(declaration).then_some(declaration));
        let provided = self.boundary.refers(&name, definition);
        let edge = |kind| Some((from, Edge { kind, name: name.clone() }));
        let labelled =
            self.unit.interner().find(name.as_bytes()).and_then(|symbol| self.labels.declarations.get(&symbol));
        let labelled = labelled.cloned().unwrap_or_default().into_iter().filter(|other| Some(*other) != definition);
        for other in self.redeclarations(from, &name, definition.filter(|_| !provided)).into_iter().chain(labelled) {
            self.reach(other, Extent::Whole, edge(EdgeKind::Declaration));
        }
        match definition {
            Some(definition) if !provided => {
                self.reach(definition, Extent::Whole, edge(EdgeKind::Body));
                let used_early = self.graph[from].statement < definition;
                if declaration != definition && (used_early || self.boundary.is_public(declaration)) {
                    self.reach(declaration, Extent::Whole, edge(EdgeKind::Declaration));
                }
            }
            None if self.scope.as_written && !provided => {
                self.reach(declaration, Extent::Whole, edge(EdgeKind::Declaration));
            }
            _ => {
                self.reach(declaration, Extent::Signature, edge(EdgeKind::Declaration));
                // A header may leave the size of an array to its definition.
                if let Some(definition) = definition.filter(|definition| *definition != declaration)
                    && self.is_open_array(declaration, &name)
                    && self.is_measured(from, &name)
                    && self.boundary.is_public(declaration)
                {
                    self.reach(definition, Extent::Signature, edge(EdgeKind::Declaration));
                }
            }
        }
    }

    /// What is taken of a statement for the type that it defines. See [`Node::is_mixed`].
    fn extent_of_type(&self, statement: StatementId) -> Extent {
        let signature = self.is_mixed(statement) && !self.scope.as_written && !self.boundary.is_public(statement);
        if signature { Extent::Signature } else { Extent::Whole }
    }

    /// See [`Node::is_mixed`].
    fn is_mixed(&self, id: StatementId) -> bool {
        let names = &self.outline.names[id.0 as usize];
        let statement = &self.outline.statements[id.0 as usize];
        let end = self.outline.signature_end(self.unit, id).min(statement.end - 1);
        let tagged = names.first().is_some_and(|name| name.role.is_tag());
        let anonymous = || {
            let words: Vec<&[u8]> = (statement.start..end).map(|token| self.unit.text(token as usize)).collect();
            words.windows(2).any(|words| matches!(words, [b"struct" | b"union" | b"enum", b"{"]))
        };
        names.iter().any(|name| name.role == Role::Variable)
            && self.is_spelled(statement.start)
            && self.is_spelled(end)
            && (tagged || anonymous())
    }

    /// Does a statement declare `name[]`?
    fn is_open_array(&self, statement: StatementId, name: &str) -> bool {
        let words: Vec<&[u8]> =
            self.outline.statements[statement.0 as usize].tokens().map(|token| self.unit.text(token)).collect();
        words.windows(3).any(|words| words == [name.as_bytes(), b"[", b"]"])
    }

    /// Does a statement have `sizeof(name)`?
    fn is_measured(&self, node: NodeIndex, name: &str) -> bool {
        let tokens = self.outline.statements[self.graph[node].statement.0 as usize].tokens();
        let text = |at: usize| self.unit.text(at);
        tokens.clone().filter(|at| text(*at) == name.as_bytes()).any(|at| {
            let before = (tokens.start..at).rev().find(|other| text(*other) != b"(");
            before.is_some_and(|before| before + 1 < at && text(before) == b"sizeof")
        })
    }

    /// A variable's declaration without initialiser that defines it all the same (C11 6.9.2).
    fn is_tentative(&self, statement: StatementId) -> bool {
        let names = &self.outline.names[statement.0 as usize];
        let statement = &self.outline.statements[statement.0 as usize];
        names.iter().any(|name| name.role == Role::Variable)
            && (statement.start..statement.end).all(|token| self.unit.text(token as usize) != b"extern")
    }

    fn finish(self) -> Closure {
        let mut used: BTreeSet<u32> = BTreeSet::new();
        let mut groups: BTreeMap<GroupId, CopiedGroup> = BTreeMap::new();
        for node in self.graph.node_weights() {
            if node.extent == Extent::Signature || !node.copied {
                continue;
            }
            let copied = groups.entry(node.group).or_insert_with(|| self.copied(node.group));
            used.extend(&copied.macros);
        }
        // Signatures become declarations, whose macros must be there too.
        let mut declaring = BTreeSet::new();
        for node in self.graph.node_weights().filter(|node| node.extent == Extent::Signature && node.copied) {
            used.extend(self.copied(node.group).macros);
            // One whose name a macro makes is declared by its tokens.
            if let Some(end) = node.signature_end.filter(|_| node.name_position.is_some()) {
                let spelled = &self.unit.expansions[self.unit.expansions_in(node.position.order, end.order)];
                let stay = spelled.iter().filter(|expansion| !self.is_left_out(expansion));
                declaring.extend(stay.map(|expansion| expansion.macro_id.0));
            }
        }
        let mut public: FxHashMap<Symbol, usize> = FxHashMap::default();
        for (index, definition) in self.unit.reader.macros.iter().enumerate() {
            if self.places.is_public(definition.file.0) {
                public.entry(definition.name).or_insert(index);
            }
        }
        let free = self.undefined();
        let macros =
            self.unit.reader.macros.iter().enumerate().filter(|(index, definition)| {
                used.contains(&(*index as u32)) || !self.places.is_public(definition.file.0)
            });
        let macros = macros.map(|(index, definition)| {
            let undefined = (definition.undefined_at != NONE).then(|| self.places.position(definition.undefined_at));
            let name = self.unit.interner().string(definition.name);
            let file = definition.file.0;
            let hidden = !self.places.is_compiler(file) && self.scope.hidden.contains(&name);
            let copied = !self.places.is_public(file) || hidden || free.contains(&definition.name);
            let definition = MacroDefinition {
                name,
                copied,
                position: self.places.position(definition.start),
                undefined,
                redefines: public.get(&definition.name).is_some_and(|first| *first < index),
            };
            (index as u32, definition)
        });
        let asked = if self.scope.as_written { BTreeSet::new() } else { self.asked(&used) };
        let all = self.unit.reader.includes.iter();
        let all = all.map(|include| Entered { file: include.file.0, parent: include.parent.0, order: include.offset });
        let (entered, entered_again) = entered(all);
        Closure {
            late: self.late,
            asked,
            macros: macros.collect(),
            entered,
            entered_again,
            directives: self.places.directives(),
            declaring,
            files: self.places.all(),
            texts: self.texts.texts,
            groups: groups.into_values().collect(),
            undefined: free.iter().map(|symbol| self.unit.interner().string(*symbol)).collect(),
            mentions: self.mentions.finish(self.unit, self.outline, self.places),
            renamed: self.renamed,
            graph: self.graph,
        }
    }

    /// Does a declaration lack what this macro, or the one that it is in, stands for?
    fn is_left_out(&self, expansion: &Expansion) -> bool {
        let name = |of: &Expansion| self.unit.interner().text(self.unit.reader.macros[of.macro_id.0 as usize].name);
        let parent = |of: &&Expansion| self.unit.expansions.get(of.parent as usize);
        let mut around = std::iter::successors(Some(expansion), parent);
        around.any(|of| UNDECLARED.iter().any(|word| word.as_bytes() == name(of)))
    }

    /// See [`Closure::asked`].
    fn asked(&self, used: &BTreeSet<u32>) -> BTreeSet<u32> {
        let of_headers = self.graph.node_weights().filter(|node| !node.copied).flat_map(|node| &node.names);
        let declared = of_headers.filter(|(_, role)| role.is_object()).map(|(name, _)| name.as_str()).collect();
        asked::asked(self.unit, self.places, used, &declared)
    }

    /// See [`Closure::undefined`].
    fn undefined(&self) -> BTreeSet<Symbol> {
        // One that its own header undefines is nothing to anybody.
        let lasts = |definition: &Macro| {
            let Macro { file, undefined_at, .. } = definition;
            *undefined_at == NONE || self.places.file(*undefined_at) != file.0
        };
        let mut lives: FxHashMap<Symbol, Vec<&Macro>> = FxHashMap::default();
        for definition in &self.unit.reader.macros {
            lives.entry(definition.name).or_default().push(definition);
        }
        lives.retain(|_, all| {
            all.iter().any(|definition| self.places.is_public(definition.file.0) && lasts(definition))
        });
        let mut found = BTreeSet::new();
        for node in self.graph.node_weights().filter(|node| node.copied && node.extent == Extent::Whole) {
            for index in self.outline.statements[node.statement.0 as usize].tokens() {
                let symbol = self.unit.tokens[index].symbol;
                let Some(lives) = lives.get(&symbol) else { continue };
                let at = self.unit.start_of(index as u32);
                let is_called = || self.unit.tokens.get(index + 1).is_some_and(|_| self.unit.text(index + 1) == b"(");
                let is_free = |definition: &&Macro| at < definition.start || definition.undefined_at < at;
                let matters = |definition: &&Macro| {
                    self.places.is_public(definition.file.0)
                        && lasts(definition)
                        && (!definition.function_like || is_called())
                };
                // One that is renamed is renamed by a macro.
                let is_renamed = || self.renamed.contains(&self.unit.interner().string(symbol));
                if lives.iter().all(is_free) && lives.iter().any(matters) && !is_renamed() {
                    found.insert(symbol);
                }
            }
        }
        found
    }

    fn copied(&self, id: GroupId) -> CopiedGroup {
        let (start, end) = self.outline.groups[id.0 as usize].text;
        let mut macros = BTreeSet::new();
        let mut direct_macros = BTreeSet::new();
        for expansion in &self.unit.expansions[self.unit.expansions_in(start, end)] {
            macros.insert(expansion.macro_id.0);
            let by_copied = self.unit.expansions.get(expansion.parent as usize).is_none_or(|parent| {
                let parent = &self.unit.reader.macros[parent.macro_id.0 as usize];
                !self.places.is_public(parent.file.0)
            });
            if by_copied {
                direct_macros.insert(expansion.macro_id.0);
            }
        }
        let pack = self.pragmas.packs[self.outline.groups[id.0 as usize].first.0 as usize];
        CopiedGroup {
            id,
            pack,
            start: self.places.position(start),
            end: self.places.position(end),
            taken: lex::readable(&self.unit.reader.source[start as usize..end as usize]).into_owned(),
            macros,
            direct_macros,
        }
    }
}

/// The first times, and the later ones that may bring something: a file that is entered while it is being read has a guard.
fn entered(all: impl Iterator<Item = Entered>) -> (Vec<Entered>, Vec<Entered>) {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut open: Vec<u32> = Vec::new();
    for entered in all {
        while open.last().is_some_and(|file| *file != entered.parent) {
            open.pop();
        }
        let circular = open.contains(&entered.file);
        open.push(entered.file);
        if seen.insert(entered.file) {
            first.push(entered);
        } else if !circular {
            again.push(entered);
        }
    }
    (first, again)
}
