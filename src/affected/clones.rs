//! GCC's clone report (`-fdump-ipa-clones`): where the body of each function went.
//!
//! Format (gcc/symtab-clones.cc and gcc/cgraphclones.cc, dump_callgraph_transformation(); gcc/cgraph.cc,
//! cgraph_node::remove()), one line each, fields separated by `;`:
//!
//! ```text
//! Callgraph clone;NAME;ORDER;FILE;LINE;COL;NEWNAME;NEWORDER;FILE;LINE;COL;TAG
//! Callgraph clone;NAME;ORDER;FILE;LINE;COL;<-;NEWNAME;NEWORDER;FILE;LINE;COL;optimization:;TAG
//! Callgraph removal;NAME;ORDER;FILE;LINE;COL
//! ```
//!
//! The line with 14 fields is that of the patch that introduced the report (SUSE's GCC), which kgraft-analysis-tool reads.
//! One name may stand for several functions of a TU, so nodes
//! are keyed by name and order, GCC's running number of the symbol.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef as _;

use crate::finding::{Finding, REPORT_INVALID, Result};

/// One function of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: Arc<str>,
    /// GCC's number of the symbol, unique within a TU.
    pub order: u32,
    /// Of the definition, as GCC was told it; `(null)` where there is none.
    pub file: Arc<str>,
    /// Counted from 1; 0 where there is none.
    pub line: u32,
    pub column: u32,
    /// GCC dropped the node itself; its body may live on in others.
    pub removed: bool,
}

/// How a body came to be in another function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    Inlined,
    Isra,
    Constprop,
    Part,
    /// A version without a name for its reason (`(null)`): a plain copy.
    Unnamed,
    /// Any other transformation, by GCC's word for it (`nonconst`, `simdclone`, `target_clone`, ...).
    Other(String),
}

impl Tag {
    fn parse(word: &str) -> Tag {
        match word {
            "inlining to" => Tag::Inlined,
            "isra" => Tag::Isra,
            "constprop" => Tag::Constprop,
            "part" => Tag::Part,
            "(null)" => Tag::Unnamed,
            other => Tag::Other(other.to_string()),
        }
    }
}

/// The report of one TU as a graph; an edge leads from a function to one that has its body.
#[derive(Debug, Default)]
pub struct CloneReport {
    pub graph: DiGraph<Node, Tag>,
    /// For look-ups only; its order reaches nothing.
    by_name: HashMap<Arc<str>, Vec<NodeIndex>>,
}

/// A step of [`CloneReport::holders`]: `to` has the body of `from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub from: String,
    pub to: String,
    pub tag: Tag,
}

impl CloneReport {
    /// Parses a report; `name` is the file's name for messages. An empty report, a line that is none of the known ones, and
    /// a last line that was cut off are `REPORT_INVALID`, with the line.
    pub fn parse(text: &str, name: &str) -> Result<CloneReport> {
        let invalid = |line: usize, what: &str| {
            Finding::new(
                REPORT_INVALID,
                format!("line {line} of the clone report {name} {what}; remove it, and it is made on demand"),
            )
            .at(name, Some(line as u32))
        };
        if text.is_empty() {
            return Err(invalid(1, "is missing: the report is empty").into());
        }
        let mut report = CloneReport::default();
        // Only while reading: a hash map makes a million lines fast, and its order reaches nothing.
        let mut nodes: HashMap<(&str, u32), NodeIndex> = HashMap::new();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let Some(line) = line.strip_suffix('\n') else {
                return Err(invalid(index + 1, "has no end: the report was cut off").into());
            };
            let fields: Fields<'_> = match split(line) {
                Some(fields) => fields,
                None => return Err(invalid(index + 1, "is not a line of a clone report").into()),
            };
            let [kind, rest @ ..] = fields.as_slice() else { unreachable!("a line has a first field") };
            let parsed = match *kind {
                "Callgraph clone" => report.clone_line(rest, &mut nodes),
                "Callgraph removal" => report.removal_line(rest, &mut nodes),
                _ => None,
            };
            if parsed.is_none() {
                return Err(invalid(index + 1, "is not a line of a clone report").into());
            }
        }
        for index in report.graph.node_indices() {
            report.by_name.entry(report.graph[index].name.clone()).or_default().push(index);
        }
        Ok(report)
    }

    fn clone_line<'t>(&mut self, rest: &[&'t str], nodes: &mut HashMap<(&'t str, u32), NodeIndex>) -> Option<()> {
        let (tag, ends) = rest.split_last().filter(|(tag, _)| !tag.is_empty())?;
        if let [from @ .., arrow, name, order, file, line, column, word] = ends
            && (*arrow, *word) == ("<-", "optimization:")
        {
            let from = self.node(from, nodes)?;
            let to = self.node(&[name, order, file, line, column], nodes)?;
            self.graph.add_edge(from, to, Tag::parse(tag));
            return Some(());
        }
        if ends.len() != 10 {
            return None;
        }
        let (from, to) = ends.split_at(5);
        let from = self.node(from, nodes)?;
        let to = self.node(to, nodes)?;
        self.graph.add_edge(from, to, Tag::parse(tag));
        Some(())
    }

    fn removal_line<'t>(&mut self, rest: &[&'t str], nodes: &mut HashMap<(&'t str, u32), NodeIndex>) -> Option<()> {
        let node = self.node(rest, nodes)?;
        self.graph[node].removed = true;
        Some(())
    }

    fn node<'t>(&mut self, fields: &[&'t str], nodes: &mut HashMap<(&'t str, u32), NodeIndex>) -> Option<NodeIndex> {
        let [name, order, file, line, column] = fields else { return None };
        let column = column.parse::<u32>().ok()?;
        let line = line.parse::<u32>().ok()?;
        if name.is_empty() {
            return None;
        }
        let order = order.parse::<u32>().ok()?;
        // Lines of one file follow each other: most nodes share the name of the one before.
        let file = match self.graph.raw_nodes().last().map(|node| &node.weight) {
            Some(last) if *last.file == **file => last.file.clone(),
            _ => (*file).into(),
        };
        Some(*nodes.entry((name, order)).or_insert_with(|| {
            self.graph.add_node(Node { name: (*name).into(), order, file, line, column, removed: false })
        }))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Every function that has the body of one of `roots` through any number of transformations, breadth first, each with
    /// the step that first led there.
    pub fn holders<'a>(&'a self, roots: impl IntoIterator<Item = &'a str>) -> Vec<Step> {
        let mut seen = vec![false; self.graph.node_count()];
        let mut names: HashSet<&str> = HashSet::new();
        let mut queue: VecDeque<NodeIndex> = VecDeque::new();
        for root in roots {
            names.insert(root);
            for node in self.by_name.get(root).into_iter().flatten() {
                if !std::mem::replace(&mut seen[node.index()], true) {
                    queue.push_back(*node);
                }
            }
        }
        let mut steps = Vec::new();
        while let Some(node) = queue.pop_front() {
            // petgraph yields the newest edge first; the report's own order reads better.
            let mut edges: Vec<_> = self.graph.edges(node).collect();
            edges.sort_by_key(|edge| edge.id());
            for edge in edges {
                if std::mem::replace(&mut seen[edge.target().index()], true) {
                    continue;
                }
                queue.push_back(edge.target());
                let (from, to) = (&self.graph[node].name, &self.graph[edge.target()].name);
                if names.insert(to) {
                    steps.push(Step { from: from.to_string(), to: to.to_string(), tag: edge.weight().clone() });
                }
            }
        }
        steps
    }
}

/// The fields of a line, without an allocation a line.
struct Fields<'t> {
    fields: [&'t str; 14],
    count: usize,
}

impl<'t> Fields<'t> {
    fn as_slice(&self) -> &[&'t str] {
        &self.fields[..self.count]
    }
}

fn split(line: &str) -> Option<Fields<'_>> {
    // A file that went through another system ends its lines with a carriage return, which would become part of the tag.
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let mut fields = Fields { fields: [""; 14], count: 0 };
    for field in line.split(';') {
        *fields.fields.get_mut(fields.count)? = field;
        fields.count += 1;
    }
    Some(fields)
}
