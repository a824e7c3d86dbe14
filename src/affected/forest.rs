//! Clone reports of any number of units as one graph, to be shown to a person: where the code of each function lives.
//!
//! What SUSE's kgraft-ipa-analysis.py prints, but in linear time: a subtree that was shown is not shown again, and removed
//! functions are marked in grouped output too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::finding::{FUNCTION_UNKNOWN, REPORT_INVALID, Result, USAGE, io, refuse};

use super::clones::{CloneReport, Node, Tag};

/// What the report files that GCC writes end with (`raw.c.000i.ipa-clones`).
pub const SUFFIX: &str = ".ipa-clones";

/// One function of the graph.
#[derive(Debug)]
pub struct Member {
    pub node: Node,
    /// Of the report that names it first.
    pub report: usize,
    /// Nodes of the reports that it stands for: several only in a grouped graph.
    pub copies: u32,
    /// Those of them that GCC removed.
    pub removed: u32,
}

impl Member {
    /// Is there no symbol left of it?
    pub fn is_removed(&self) -> bool {
        self.removed == self.copies
    }

    fn mark(&self) -> String {
        match self.removed {
            0 => String::new(),
            _ if self.is_removed() => " [REMOVED]".into(),
            removed => format!(" [REMOVED in {removed} of {}]", self.copies),
        }
    }

    fn text(&self) -> String {
        let node = &self.node;
        format!("{}/{} ({}:{}:{}){}", node.name, node.order, node.file, node.line, node.column, self.mark())
    }
}

/// The graph; an edge leads from a function to one that has its body.
#[derive(Debug)]
pub struct Forest {
    reports: Vec<String>,
    graph: DiGraph<Member, Tag>,
    grouped: bool,
}

/// How much of the graph to show.
#[derive(Debug, Default, Clone, Copy)]
pub struct View<'a> {
    /// Only this function's tree; every function's that was inlined or cloned otherwise.
    pub symbol: Option<&'a str>,
    /// Leave removed functions out, but for the symbol and in the trees.
    pub ignore_removed: bool,
}

/// The report files that a path means: itself, or those anywhere below a folder, sorted.
pub fn report_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !fs::metadata(path).map_err(io("read", path))?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let walk = walkdir::WalkDir::new(path).sort_by_file_name();
    let files = walk.into_iter().flatten().map(walkdir::DirEntry::into_path);
    let files: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with(SUFFIX)).collect();
    if files.is_empty() {
        return refuse(REPORT_INVALID, format!("{} has no clone report (*{SUFFIX}) anywhere below it", path.display()));
    }
    Ok(files)
}

/// Reads the reports that the paths mean. In a folder, an empty one is a unit of which GCC had nothing to say.
pub fn read(paths: &[PathBuf]) -> Result<Vec<(String, CloneReport)>> {
    let mut reports = Vec::new();
    for path in paths {
        let files = report_files(path)?;
        let is_folder = files.first() != Some(path);
        for file in files {
            let (name, text) = text(&file)?;
            if !text.is_empty() || !is_folder {
                reports.push((name.clone(), CloneReport::parse(&text, &name)?));
            }
        }
    }
    Ok(reports)
}

/// A report's name for messages, and its text. GCC writes names of functions and files, which are UTF-8 in every kernel.
pub(super) fn text(file: &Path) -> Result<(String, String)> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(io("read", file))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(_) => refuse(REPORT_INVALID, format!("{name} is no clone report: it isn't UTF-8 text")),
    }
}

/// Lines of all trees together; an allyesconfig kernel's have some hundred thousand.
const LINES: usize = 10_000_000;

impl Forest {
    /// Joins reports. Grouped, functions of one name, file, line and column are one function, however many units have them.
    pub fn of(reports: Vec<(String, CloneReport)>, grouped: bool) -> Forest {
        let mut graph: DiGraph<Member, Tag> = DiGraph::new();
        // Look-ups only: its order reaches nothing.
        let mut known: FxHashMap<(std::sync::Arc<str>, std::sync::Arc<str>, u32, u32), NodeIndex> =
            FxHashMap::default();
        let mut names = Vec::new();
        for (report, (name, clones)) in reports.into_iter().enumerate() {
            names.push(name);
            let (nodes, edges) = clones.graph.into_nodes_edges();
            let mut places = Vec::with_capacity(nodes.len());
            for node in nodes.into_iter().map(|node| node.weight) {
                let key = (node.name.clone(), node.file.clone(), node.line, node.column);
                let removed = u32::from(node.removed);
                let place = match known.get(&key).filter(|_| grouped) {
                    Some(place) => {
                        let member = &mut graph[*place];
                        (member.copies, member.removed) = (member.copies + 1, member.removed + removed);
                        *place
                    }
                    None => graph.add_node(Member { node, report, copies: 1, removed }),
                };
                if grouped {
                    known.insert(key, place);
                }
                places.push(place);
            }
            for edge in edges {
                let (from, to) = (places[edge.source().index()], places[edge.target().index()]);
                let is_new = || !graph.edges_connecting(from, to).any(|old| *old.weight() == edge.weight);
                // A copy of a function is the same one when grouped; one edge a pair says it all.
                if !grouped || (from != to && is_new()) {
                    graph.add_edge(from, to, edge.weight);
                }
            }
        }
        Forest { reports: names, graph, grouped }
    }

    /// The functions to show, by name: the symbol's, or all whose code lives elsewhere too. Refused where all their trees
    /// together are more than anybody reads: those of a chain grow with its square.
    fn roots(&self, view: View<'_>) -> Result<Vec<NodeIndex>> {
        let roots = self.chosen(view)?;
        let mut lines = 0;
        for root in &roots {
            self.walk(*root, |_, _, _, _, _| lines += 1);
            if lines > LINES {
                let message =
                    format!("the trees of all functions have more than {LINES} lines; name one with --symbol");
                return refuse(USAGE, message);
            }
        }
        Ok(roots)
    }

    fn chosen(&self, view: View<'_>) -> Result<Vec<NodeIndex>> {
        let mut roots: Vec<NodeIndex> = match view.symbol {
            Some(symbol) => {
                self.graph.node_indices().filter(|index| *self.graph[*index].node.name == *symbol).collect()
            }
            None => {
                let is_shown = |index: &NodeIndex| {
                    self.graph.edges(*index).next().is_some()
                        && !(view.ignore_removed && self.graph[*index].is_removed())
                };
                self.graph.node_indices().filter(is_shown).collect()
            }
        };
        if let (Some(symbol), true) = (view.symbol, roots.is_empty()) {
            return self.unknown(symbol);
        }
        roots.sort_by(|a, b| self.graph[*a].node.name.cmp(&self.graph[*b].node.name).then(a.cmp(b)));
        Ok(roots)
    }

    fn unknown<T>(&self, symbol: &str) -> Result<T> {
        let names: BTreeSet<&str> = self.graph.node_weights().map(|member| &*member.node.name).collect();
        let message = format!(
            "no report mentions {symbol}: GCC neither inlined, cloned nor removed such a function in the {} report(s) read{}",
            self.reports.len(),
            suggestions(symbol, names)
        );
        refuse(FUNCTION_UNKNOWN, message)
    }

    /// Edges in the report's own order; petgraph yields the newest first.
    fn edges(&self, from: NodeIndex) -> Vec<(NodeIndex, &Tag)> {
        let mut edges: Vec<_> = self.graph.edges(from).collect();
        edges.sort_by_key(|edge| edge.id());
        edges.into_iter().map(|edge| (edge.target(), edge.weight())).collect()
    }

    /// Walks a function's tree, each function's own part once: `see` gets the depth, the edge, and what follows.
    fn walk<'f>(&'f self, root: NodeIndex, mut see: impl FnMut(usize, NodeIndex, NodeIndex, &'f Tag, Next)) {
        let mut state: FxHashMap<NodeIndex, Next> = FxHashMap::from_iter([(root, Next::Recursive)]);
        // An own stack: chains of a hundred thousand clones exist in generated reports.
        let mut stack = vec![(root, self.edges(root).into_iter())];
        while let Some((from, edges)) = stack.last_mut() {
            let (from, depth) = (*from, edges.next());
            let Some((to, tag)) = depth else {
                state.insert(from, Next::Above);
                stack.pop();
                continue;
            };
            let next = state.get(&to).copied().unwrap_or(Next::Own);
            let is_leaf = self.graph.edges(to).next().is_none();
            see(stack.len(), from, to, tag, if next == Next::Above && is_leaf { Next::Own } else { next });
            if next == Next::Own {
                state.insert(to, Next::Recursive);
                stack.push((to, self.edges(to).into_iter()));
            }
        }
    }

    /// The functions that have the code of `root`, in the tree's order.
    fn affected(&self, root: NodeIndex, view: View<'_>) -> Vec<NodeIndex> {
        let mut seen = rustc_hash::FxHashSet::from_iter([root]);
        let mut affected = Vec::new();
        self.walk(root, |_, _, to, _, _| {
            if seen.insert(to) && !(view.ignore_removed && self.graph[to].is_removed()) {
                affected.push(to);
            }
        });
        affected
    }

    /// As text: for each function its tree, and the list of those that have its code.
    pub fn text(&self, view: View<'_>) -> Result<String> {
        let mut text = String::new();
        for root in self.roots(view)? {
            let member = &self.graph[root];
            let report = if self.grouped { String::new() } else { format!(" [{}]", self.reports[member.report]) };
            text.push_str(&format!("Function: {}{report}\n", member.text()));
            self.walk(root, |depth, _, to, tag, next| {
                // Deeper than this, the number says it: a chain's tree would be quadratic in blanks.
                const DEEPEST: usize = 40;
                let indent = " ".repeat(2 * depth.min(DEEPEST));
                let level = if depth > DEEPEST { format!("({depth}) ") } else { String::new() };
                let note = match next {
                    Next::Own => "",
                    Next::Above => " [shown above]",
                    Next::Recursive => " [RECURSIVE operation]",
                };
                text.push_str(&format!("{indent}{level}{tag}: {}{note}\n", self.graph[to].text()));
            });
            let affected = self.affected(root, view);
            text.push_str(&format!("\n  Affected functions: {}\n", affected.len()));
            for index in affected {
                text.push_str(&format!("    {}\n", self.graph[index].text()));
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// As JSON: a list of functions, each with those that have its code and with the edges between them.
    pub fn json(&self, view: View<'_>) -> Result<String> {
        let functions: Vec<Function<'_>> =
            self.roots(view)?.into_iter().map(|root| self.function(root, view)).collect();
        Ok(serde_json::to_string_pretty(&functions).expect("there are only string keys") + "\n")
    }

    fn function(&self, root: NodeIndex, view: View<'_>) -> Function<'_> {
        let mut edges = Vec::new();
        self.walk(root, |_, from, to, tag, _| edges.push(Edge { from: from.index(), to: to.index(), tag }));
        let affected = self.affected(root, view).into_iter().map(|index| self.shown(index)).collect();
        Function { function: self.shown(root), affected, edges }
    }

    fn shown(&self, index: NodeIndex) -> Shown<'_> {
        let member = &self.graph[index];
        let node = &member.node;
        Shown {
            id: index.index(),
            name: &node.name,
            order: node.order,
            file: &node.file,
            line: node.line,
            column: node.column,
            report: &self.reports[member.report],
            copies: member.copies,
            removed: member.removed,
        }
    }

    /// As a graph for Graphviz; removed functions are dashed.
    pub fn dot(&self, view: View<'_>) -> Result<String> {
        let (mut nodes, mut edges) = (BTreeSet::new(), BTreeSet::new());
        for root in self.roots(view)? {
            nodes.insert(root);
            self.walk(root, |_, from, to, tag, _| {
                nodes.extend([from, to]);
                edges.insert((from, to, tag));
            });
        }
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = String::from("digraph clones {\n  rankdir=LR;\n  node [shape=box];\n");
        for index in nodes {
            let member = &self.graph[index];
            let label = format!("{}\n{}:{}", member.node.name, member.node.file, member.node.line);
            let style = if member.is_removed() { ", style=dashed" } else { "" };
            text.push_str(&format!("  n{} [label={}{style}];\n", index.index(), quoted(&label).replace('\n', "\\n")));
        }
        for (from, to, tag) in edges {
            text.push_str(&format!("  n{} -> n{} [label={}];\n", from.index(), to.index(), quoted(&tag.to_string())));
        }
        text.push_str("}\n");
        Ok(text)
    }
}

/// What follows a line of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Its own tree.
    Own,
    /// Nothing: its tree stands further up.
    Above,
    /// Nothing: it is on the way here.
    Recursive,
}

#[derive(Serialize)]
struct Function<'f> {
    #[serde(flatten)]
    function: Shown<'f>,
    affected: Vec<Shown<'f>>,
    edges: Vec<Edge<'f>>,
}

#[derive(Serialize)]
struct Shown<'f> {
    /// Number of the function in this output, which `edges` refer to.
    id: usize,
    name: &'f str,
    order: u32,
    file: &'f str,
    line: u32,
    column: u32,
    report: &'f str,
    copies: u32,
    removed: u32,
}

#[derive(Serialize)]
struct Edge<'f> {
    from: usize,
    to: usize,
    tag: &'f Tag,
}

/// `; did you mean a, b?`, for a name that isn't among those known.
pub fn suggestions<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    const MOST: usize = 3;
    let scored = known.into_iter().map(|other| (strsim::jaro_winkler(name, other), other));
    let mut close: Vec<(f64, &str)> = scored.filter(|(score, _)| *score > 0.8).collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let names: Vec<&str> = close.into_iter().take(MOST).map(|(_, name)| name).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(", ")) }
}
