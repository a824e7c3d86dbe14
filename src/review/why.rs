//! Why each piece of the module is there: its path of closure edges from a target.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use petgraph::visit::Dfs;

use crate::closure::{Closure, Node};
use crate::linkage::External;
use crate::rewrite::{Item, Section};
use crate::unit::live::Extent;

/// One piece: an item of the module's text, or something that the running kernel provides.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// From the target that first led here to the piece itself, each name needed by the one before; empty where nothing of
    /// the source mentions it (what GCC calls by itself).
    pub path: Vec<String>,
    /// The targets from which it can be reached.
    pub targets: BTreeSet<String>,
}

/// The pieces of one unit, and which of them need which.
#[derive(Debug, Clone, Default)]
pub struct Reasons {
    /// In the order of the unit's items.
    pub items: Vec<Why>,
    /// In the order of the unit's externals.
    pub externals: Vec<Why>,
    /// Who needs what, as indices into the items, and behind them the externals.
    pub uses: BTreeSet<(usize, usize)>,
}

/// Looks at each piece.
pub fn reasons(closure: &Closure, items: &[Item], externals: &[External]) -> Reasons {
    let pieces = Pieces::new(closure, items, externals);
    let mut reasons = Reasons {
        items: vec![Why::default(); items.len()],
        externals: vec![Why::default(); externals.len()],
        uses: BTreeSet::new(),
    };
    for (index, item) in items.iter().enumerate() {
        reasons.items[index] = match pieces.nodes[index] {
            Some(node) => Why { path: path(closure, node), ..Why::default() },
            None => Why { path: pieces.of_text(closure, item), ..Why::default() },
        };
    }
    for (index, external) in externals.iter().enumerate() {
        reasons.externals[index].path = pieces.of_external(closure, items.len() + index, external);
    }
    pieces.reach(closure, &mut reasons);
    pieces.connect(closure, &mut reasons);
    reasons
}

/// The closure's nodes behind the pieces.
struct Pieces {
    /// By piece: its first node.
    nodes: Vec<Option<NodeIndex>>,
    /// By node: the piece.
    by_node: BTreeMap<NodeIndex, usize>,
    /// Macros and forward declarations: the group that first mentions them.
    mentioned: BTreeMap<usize, NodeIndex>,
}

impl Pieces {
    fn new(closure: &Closure, items: &[Item], externals: &[External]) -> Pieces {
        let mut pieces = Pieces {
            nodes: vec![None; items.len() + externals.len()],
            by_node: BTreeMap::new(),
            mentioned: BTreeMap::new(),
        };
        let groups: BTreeMap<u32, _> = closure.groups.iter().map(|group| (group.start.order, group.id)).collect();
        for (index, item) in items.iter().enumerate() {
            let group = groups.get(&item.order).filter(|_| item.kind != "macro" && item.section != Section::Externals);
            let belongs = |node: &Node| match (group, item.section) {
                (Some(group), _) => node.group == *group,
                (None, Section::Externals) => node.extent == Extent::Signature && is_named(node, &item.name),
                (None, _) => false,
            };
            pieces.add(closure, index, belongs);
            if pieces.nodes[index].is_none() {
                let mentioned = mentioning(closure, item);
                pieces.mentioned.extend(mentioned.map(|node| (index, node)));
            }
        }
        for (index, external) in externals.iter().enumerate() {
            let belongs = |node: &Node| node.extent == Extent::Signature && is_named(node, &external.name);
            pieces.add(closure, items.len() + index, belongs);
            let has_local =
                |index: &NodeIndex| closure.graph[*index].static_locals.iter().any(|l| l.new_name == external.name);
            if let Some(node) = closure.graph.node_indices().find(has_local) {
                pieces.mentioned.insert(items.len() + index, node);
            }
        }
        pieces
    }

    fn add(&mut self, closure: &Closure, piece: usize, belongs: impl Fn(&Node) -> bool) {
        let nodes = closure.graph.node_indices().filter(|node| belongs(&closure.graph[*node]));
        let mut nodes: Vec<NodeIndex> = nodes.collect();
        nodes.sort_by_key(|node| closure.graph[*node].statement);
        self.nodes[piece] = nodes.first().copied();
        // What an `extern` line declares is the external's, where there is one.
        self.by_node.extend(nodes.into_iter().map(|node| (node, piece)));
    }

    fn of_text(&self, closure: &Closure, item: &Item) -> Vec<String> {
        match mentioning(closure, item) {
            Some(node) => path(closure, node).into_iter().chain([item.name.clone()]).collect(),
            None => Vec::new(),
        }
    }

    fn of_external(&self, closure: &Closure, piece: usize, external: &External) -> Vec<String> {
        match (self.nodes[piece], self.mentioned.get(&piece)) {
            (Some(node), _) => path(closure, node),
            (None, Some(node)) => path(closure, *node).into_iter().chain([external.name.clone()]).collect(),
            // A declaration that is taken whole: an export of a public header's inline function.
            (None, None) => match closure.graph.node_indices().find(|node| named(closure, *node, &external.name)) {
                Some(node) => path(closure, node),
                None => Vec::new(),
            },
        }
    }

    /// Which pieces each target reaches.
    fn reach(&self, closure: &Closure, reasons: &mut Reasons) {
        let roots = closure.graph.node_indices().filter(|node| closure.graph[*node].first.is_none());
        for root in roots {
            let Some((name, _)) = closure.graph[root].names.first() else { continue };
            let mut reached = BTreeSet::new();
            let mut search = Dfs::new(&closure.graph, root);
            while let Some(node) = search.next(&closure.graph) {
                reached.insert(node);
            }
            let of = |piece: usize| self.nodes[piece].or_else(|| self.mentioned.get(&piece).copied());
            let items = reasons.items.len();
            for piece in (0..self.nodes.len()).filter(|piece| of(*piece).is_some_and(|node| reached.contains(&node))) {
                let why = match piece.checked_sub(items) {
                    None => &mut reasons.items[piece],
                    Some(external) => &mut reasons.externals[external],
                };
                why.targets.insert(name.clone());
            }
        }
    }

    /// Pieces that need one another directly, or through what headers declare on the first way that led there.
    fn connect(&self, closure: &Closure, reasons: &mut Reasons) {
        for edge in closure.graph.edge_indices() {
            let Some((from, to)) = closure.graph.edge_endpoints(edge) else { continue };
            if let (Some(from), Some(to)) = (self.by_node.get(&from), self.by_node.get(&to)) {
                reasons.uses.insert((*from, *to));
            }
        }
        let nodes = self.nodes.iter().enumerate().filter_map(|(piece, node)| Some((piece, (*node)?)));
        for (piece, node) in nodes {
            let user = ancestors(closure, node).skip(1).find_map(|above| self.by_node.get(&above));
            reasons.uses.extend(user.map(|user| (*user, piece)));
        }
        for (piece, node) in &self.mentioned {
            reasons.uses.extend(self.by_node.get(node).map(|user| (*user, *piece)));
        }
        reasons.uses.retain(|(from, to)| from != to);
    }
}

fn is_named(node: &Node, name: &str) -> bool {
    node.names.iter().any(|(known, role)| known == name && !role.is_tag())
}

fn named(closure: &Closure, node: NodeIndex, name: &str) -> bool {
    is_named(&closure.graph[node], name)
}

/// The first copied text that mentions a macro, or a struct that is only pointed to.
fn mentioning(closure: &Closure, item: &Item) -> Option<NodeIndex> {
    let node_of = |group| closure.graph.node_indices().find(|node| closure.graph[*node].group == group);
    if item.kind == "macro" {
        let is = |id: &u32| closure.macros.get(id).is_some_and(|known| known.name == item.name);
        let group = closure.groups.iter().find(|group| group.macros.iter().any(&is))?;
        return node_of(group.id);
    }
    let mentions = |node: &NodeIndex| {
        let node = &closure.graph[*node];
        let text = |token: &u32| closure.texts.get((token & !crate::closure::WILDCARD) as usize);
        node.copied && node.tokens.iter().any(|token| text(token).is_some_and(|text| *text == item.name))
    };
    closure.graph.node_indices().find(mentions)
}

/// A node, what first needed it, what first needed that, and so on.
fn ancestors(closure: &Closure, node: NodeIndex) -> impl Iterator<Item = NodeIndex> {
    std::iter::successors(Some(node), |node| {
        let edge = closure.graph[*node].first?;
        closure.graph.edge_endpoints(edge).map(|(from, _)| from)
    })
}

/// From a target to a node.
fn path(closure: &Closure, node: NodeIndex) -> Vec<String> {
    let name = |node: NodeIndex| {
        let node = &closure.graph[node];
        node.names.first().map_or_else(|| "a declaration without a name".into(), |(name, _)| name.clone())
    };
    let mut path: Vec<String> = ancestors(closure, node).map(name).collect();
    path.reverse();
    path.dedup();
    path
}
