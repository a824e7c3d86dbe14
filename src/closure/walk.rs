//! Follows what statements mention, from the targets to the boundary.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use petgraph::graph::{Graph, NodeIndex};

use crate::finding::{Finding, MISSING_DEFINITION, PRAGMA_UNKNOWN, Result, refuse};
use crate::unit::clang::{Need, Parsed};
use crate::unit::expand::Expanded;
use crate::unit::groups::{Outline, Shape, StatementId, is_identifier};
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::place::Places;
use crate::unit::pragmas::{self, Pragmas};

use super::boundary::Boundary;
use super::mentions::Mentions;
use super::node::Texts;
use super::written::{Labels, Written};
use super::{Closure, Edge, EdgeKind, Node, Scope, statics, switches};

pub(super) struct Walk<'a, 'b> {
    pub(super) unit: &'a Expanded,
    pub(super) outline: &'a Outline,
    pub(super) parsed: &'b Parsed<'a>,
    pub(super) places: &'b Places<'a>,
    pub(super) scope: &'b Scope,
    pub(super) graph: Graph<Node, Edge>,
    pub(super) by_statement: BTreeMap<StatementId, NodeIndex>,
    pub(super) queue: VecDeque<NodeIndex>,
    pub(super) texts: Texts,
    pub(super) mentions: Mentions,
    /// Names of public headers' functions that are copied.
    pub(super) renamed: BTreeSet<String>,
    pub(super) boundary: &'b Boundary<'a>,
    pub(super) pragmas: Pragmas,
    pub(super) labels: Labels,
    pub(super) written: Written,
    /// Headers whose statements were looked at, and those of them that use types of a file that is copied from.
    pub(super) looked_at: BTreeSet<u32>,
    pub(super) late: BTreeSet<u32>,
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
                    let early = defined_later && self.outline.is_parameter(self.unit, statement, reference.token);
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
    pub(super) fn extent_of_type(&self, statement: StatementId) -> Extent {
        let signature = self.is_mixed(statement) && !self.scope.as_written && !self.boundary.is_public(statement);
        if signature { Extent::Signature } else { Extent::Whole }
    }

    /// Does a statement declare `name[]`?
    fn is_open_array(&self, statement: StatementId, name: &str) -> bool {
        let words: Vec<&[u8]> =
            self.outline.statements[statement.0 as usize].tokens().map(|token| self.unit.text(token)).collect();
        words.windows(3).any(|words| words == [name.as_bytes(), b"[", b"]"])
    }

    /// Does a statement have `sizeof name`, or a type that is made of the name's?
    fn is_measured(&self, node: NodeIndex, name: &str) -> bool {
        let tokens = self.outline.statements[self.graph[node].statement.0 as usize].tokens();
        let text = |at: usize| self.unit.text(at);
        tokens.clone().filter(|at| text(*at) == name.as_bytes()).any(|at| {
            let before = (tokens.start..at).rev().map(text).find(|word| *word != b"(");
            matches!(before, Some(b"sizeof" | b"typeof" | b"__typeof__" | b"__typeof"))
        })
    }

    /// A variable's declaration without initialiser that defines it all the same (C11 6.9.2).
    fn is_tentative(&self, statement: StatementId) -> bool {
        let names = &self.outline.names[statement.0 as usize];
        let statement = &self.outline.statements[statement.0 as usize];
        names.iter().any(|name| name.role == Role::Variable)
            && (statement.start..statement.end).all(|token| self.unit.text(token as usize) != b"extern")
    }
}
