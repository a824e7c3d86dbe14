//! The graphs of the review page: their nodes and edges, laid out in layers by dagre.

use std::collections::{BTreeMap, BTreeSet};

use dagre::graph::GraphOptions;
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};
use serde::Serialize;

use crate::affected::Reason;
use crate::pipeline::Plan;

use super::{External, Piece};

/// More nodes than this are drawn together, by what they are and where they are from.
const MOST: usize = 120;

/// Sizes in SVG's user units, which are pixels where nothing is scaled.
const HEIGHT: f64 = 22.0;
const CHARACTER: f64 = 7.0;
const PADDING: f64 = 14.0;

/// A graph with places.
#[derive(Debug, Clone, Serialize)]
pub struct Graph {
    pub width: u32,
    pub height: u32,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    /// How many nodes stand for several things.
    pub collapsed: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Node {
    pub label: String,
    /// What it is: names a colour.
    pub kind: &'static str,
    /// The piece that it leads to: `i3` an item, `x3` an external.
    pub link: Option<String>,
    pub title: String,
    /// Of its upper left corner.
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

#[derive(Debug, Clone, Serialize)]
pub struct Edge {
    /// `x,y` pairs, a blank between them.
    pub points: String,
    pub title: String,
}

/// A node without a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    label: String,
    kind: &'static str,
    link: Option<String>,
    title: String,
}

/// How the change reaches the targets; nothing where each target is itself what the patch changes.
pub fn affected(plan: &Plan) -> Option<Graph> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut edges: BTreeMap<(String, String), String> = BTreeMap::new();
    for unit in &plan.units {
        let source = &unit.command.source;
        let targets: BTreeSet<&str> = unit.affected.targets.iter().map(|target| target.name.as_str()).collect();
        let key = |name: &str| format!("{source} {name}");
        let mut shape = |name: &str, is_patched: bool| {
            let (label, title) = (name.to_string(), format!("{name} ({source})"));
            let known = shapes.entry(key(name)).or_insert(Shape { label, kind: "function", link: None, title });
            known.kind = match (targets.contains(name), is_patched || known.kind.ends_with("patched")) {
                (true, true) => "target patched",
                (true, false) => "target",
                (false, true) => "patched",
                (false, false) => "function",
            };
        };
        for reason in unit.affected.targets.iter().flat_map(|target| &target.chain) {
            let (from, to) = match reason {
                Reason::Patched { function } | Reason::Added { function } | Reason::Removed { function } => {
                    shape(function, true);
                    continue;
                }
                Reason::Changed { function } => {
                    shape(function, false);
                    continue;
                }
                Reason::Clone { from, to, .. } => (from, to),
                Reason::Calls { caller, callee, .. } => (callee, caller),
            };
            shape(from, false);
            shape(to, false);
            edges.insert((key(from), key(to)), reason.to_string());
        }
    }
    if edges.is_empty() {
        return None;
    }
    let index: BTreeMap<&String, usize> = shapes.keys().enumerate().map(|(index, key)| (key, index)).collect();
    let edges = edges.iter().map(|((from, to), title)| (index[from], index[to], title.clone())).collect();
    let shapes: Vec<Shape> = shapes.values().cloned().collect();
    Some(laid_out(&shapes, edges, 0))
}

/// What the targets need: `uses` as in [`super::why::Reasons`].
pub fn closure(items: &[Piece], externals: &[External], uses: &BTreeSet<(usize, usize)>) -> Option<Graph> {
    let mut shapes: Vec<Shape> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let kind = if item.declares { "external" } else { item.kind };
        let title = format!("{} {}, {}:{}", item.kind, item.name, item.file, item.line);
        shapes.push(Shape { label: item.name.clone(), kind, link: Some(format!("i{index}")), title });
    }
    // An `extern` line and what it declares are one.
    let declared = |item: &Piece| {
        let index = externals.iter().position(|external| external.name == item.name);
        index.filter(|_| item.declares).map(|index| items.len() + index)
    };
    let same: BTreeMap<usize, usize> =
        items.iter().enumerate().filter_map(|(index, item)| Some((index, declared(item)?))).collect();
    let of = |index: usize| same.get(&index).copied().unwrap_or(index);
    let uses: BTreeSet<(usize, usize)> = uses.iter().map(|(from, to)| (of(*from), of(*to))).collect();
    for (index, external) in externals.iter().enumerate() {
        let kind = if external.exported { "export" } else { "external" };
        let title = format!("{} of {}", external.symbol, external.object);
        shapes.push(Shape { label: external.name.clone(), kind, link: Some(format!("x{index}")), title });
    }
    let linked: BTreeSet<usize> = uses.iter().flat_map(|(from, to)| [*from, *to]).collect();
    // What is linked to nothing needs no picture, unless it is a target.
    let shown: Vec<usize> =
        (0..shapes.len()).filter(|index| linked.contains(index) || shapes[*index].kind == "target").collect();
    if shown.is_empty() {
        return None;
    }
    let files: Vec<&str> =
        items.iter().map(|item| item.file.as_str()).chain(externals.iter().map(|e| e.object.as_str())).collect();
    // From the least that is worth a node of its own.
    let rungs: [&[&str]; 4] = [
        &[],
        &["macro", "type", "declaration", "export"],
        &["macro", "type", "declaration", "export", "external", "data"],
        &["macro", "type", "declaration", "export", "external", "data", "function"],
    ];
    let together = |kinds: &[&str]| -> (Vec<Shape>, BTreeMap<usize, usize>, usize) {
        let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        let (mut all, mut place) = (Vec::new(), BTreeMap::new());
        for index in &shown {
            let shape = &shapes[*index];
            if kinds.contains(&shape.kind) {
                groups.entry((shape.kind, files[*index])).or_default().push(*index);
            } else {
                place.insert(*index, all.len());
                all.push(shape.clone());
            }
        }
        let collapsed = groups.len();
        for ((kind, file), members) in groups {
            let names: Vec<&str> = members.iter().map(|index| shapes[*index].label.as_str()).collect();
            place.extend(members.iter().map(|index| (*index, all.len())));
            let label = format!("{} × {kind}, {file}", members.len());
            all.push(Shape { label, kind: shapes[members[0]].kind, link: None, title: names.join(", ") });
        }
        (all, place, collapsed)
    };
    let (all, place, collapsed) = rungs
        .iter()
        .map(|kinds| together(kinds))
        .find(|(all, ..)| all.len() <= MOST)
        .unwrap_or_else(|| together(rungs[3]));
    let edges: BTreeSet<(usize, usize)> =
        uses.iter().filter_map(|(from, to)| Some((*place.get(from)?, *place.get(to)?))).collect();
    let edges = edges.into_iter().filter(|(from, to)| from != to);
    let title = |(from, to): (usize, usize)| (from, to, format!("{} needs {}", all[from].label, all[to].label));
    let edges = edges.map(title).collect();
    Some(laid_out(&all, edges, collapsed))
}

/// From left to right, in layers.
fn laid_out(shapes: &[Shape], edges: Vec<(usize, usize, String)>, collapsed: usize) -> Graph {
    let options = GraphOptions { directed: true, multigraph: false, compound: false };
    let mut graph: dagre::graph::Graph<NodeLabel, EdgeLabel> = dagre::graph::Graph::with_options(options);
    // The names' order is the numbers' order.
    let key = |index: usize| format!("{index:05}");
    for (index, shape) in shapes.iter().enumerate() {
        let width = shape.label.chars().count() as f64 * CHARACTER + PADDING;
        graph.set_node(key(index), Some(NodeLabel { width, height: HEIGHT, ..NodeLabel::default() }));
    }
    for (from, to, _) in &edges {
        graph.set_edge(key(*from), key(*to), Some(EdgeLabel::default()), None);
    }
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: 8.0,
        edgesep: 6.0,
        ranksep: 60.0,
        marginx: 8.0,
        marginy: 8.0,
        ..LayoutOptions::default()
    };
    dagre::layout(&mut graph, Some(options));
    let node = |(index, shape): (usize, &Shape)| {
        let place = graph.node(&key(index)).cloned().unwrap_or_default();
        let left = |centre: Option<f64>, size: f64| (centre.unwrap_or_default() - size / 2.0).max(0.0).round() as u32;
        Node {
            label: shape.label.clone(),
            kind: shape.kind,
            link: shape.link.clone(),
            title: shape.title.clone(),
            x: left(place.x, place.width),
            y: left(place.y, place.height),
            width: place.width.round() as u32,
            height: place.height.round() as u32,
        }
    };
    let nodes: Vec<Node> = shapes.iter().enumerate().map(node).collect();
    let edges: Vec<Edge> = edges
        .into_iter()
        .map(|(from, to, title)| {
            let points = graph.edge(&key(from), &key(to), None).map(|edge| edge.points.as_slice()).unwrap_or_default();
            let inner = points.get(1..points.len().saturating_sub(1)).unwrap_or_default();
            let mut pairs: Vec<String> = inner.iter().map(|point| format!("{:.0},{:.0}", point.x, point.y)).collect();
            // From the right side of one to the left side of the other.
            let middle = |node: &Node, x: u32| format!("{x},{}", node.y + node.height / 2);
            let (from, to) = (&nodes[from], &nodes[to]);
            let forward = from.x < to.x;
            pairs.insert(0, middle(from, if forward { from.x + from.width } else { from.x }));
            pairs.push(middle(to, if forward { to.x } else { to.x + to.width }));
            Edge { points: pairs.join(" "), title }
        })
        .collect();
    let width = nodes.iter().map(|node| node.x + node.width).max().unwrap_or(0) + 8;
    let height = nodes.iter().map(|node| node.y + node.height).max().unwrap_or(0) + 8;
    Graph { width, height, nodes, edges, collapsed }
}
