//! The closure: everything that the targets need in order to compile, each node with the edge that first pulled it in.
//!
//! A node is a statement at file scope. What lies in a source file or a private header is copied by whole groups; what a
//! public header declares is followed too, although an `#include` will bring it: the module must get the same tokens
//! from there (translation validation), and every header on the way must be reached.
//!
//! It runs beside libclang, in the worker process of [`crate::unit::worker`]; its result is owned data.

mod asked;
pub mod boundary;
mod finish;
mod late;
mod mentions;
mod node;
pub mod statics;
pub mod switches;
mod walk;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::{EdgeIndex, Graph, NodeIndex};
use petgraph::visit::EdgeRef as _;
use serde::{Deserialize, Serialize};

use crate::unit::groups::{GroupId, StatementId};
use crate::unit::live::Extent;
use crate::unit::names::Role;
use crate::unit::place::{Place, Position};

pub use mentions::Mention;
use statics::{StaticLocal, WrittenOut};
use switches::Switch;
pub use walk::close;

/// Why one node needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// A type, typedef or enumerator that must be there as it stands: `struct s x; x.member`.
    Type,
    /// A function's body is needed, since the running kernel can't be referred to for it: `static inline int f(void)`.
    Body,
    /// A function or object whose declaration is enough: `extern int f(void); ... f()`.
    Declaration,
    /// Spelled by the same macro invocation or line: `SYSCALL_DEFINE3(...)` makes four functions.
    Group,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Edge {
    pub kind: EdgeKind,
    /// The word that mentions it.
    pub name: String,
}

/// A statement that is needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub statement: StatementId,
    pub group: GroupId,
    /// Whether the running kernel's own object is referred to (`Signature`) or the statement is needed as it stands.
    pub extent: Extent,
    /// No `#include` brings it as it has to be: it lies in a source file or private header, or the patch changes it.
    pub copied: bool,
    /// The first edge that led here; `None` for a target.
    pub first: Option<EdgeIndex>,
    pub names: Vec<(String, Role)>,
    /// Where its text starts.
    pub position: Position,
    /// Where its name is spelled, if the source spells it.
    pub name_position: Option<Position>,
    /// Where its body or initialiser starts, if the source spells all before it.
    pub signature_end: Option<Position>,
    /// Its tokens, as indices into [`Closure::texts`]; those with [`WILDCARD`] set depend on `__LINE__` and the like.
    pub tokens: Vec<u32>,
    /// How many of the tokens are before its body or initialiser.
    pub signature_tokens: usize,
    /// Does it define a type and declare objects of it (`struct s { ... } *list;`), all of which the source spells? Where only the
    /// type is needed, or the objects are the running kernel's, its signature is taken.
    pub is_mixed: bool,
    /// The macros by whose bodies its first token came, innermost first.
    pub origin: Vec<String>,
    /// The invocation that makes its first words, of a function's name its own. That of a target gives way to its expansion where
    /// [`Node::is_made`].
    pub made_by: Option<WrittenOut>,
    /// Does it get another name, and does a macro make the one that it has?
    pub is_made: bool,
    pub static_locals: Vec<StaticLocal>,
    /// Those of its tokens that mean a function or object at file scope by its name.
    pub objects: Vec<u32>,
    /// What depends on a static key or call, of copied text.
    pub switches: Vec<Switch>,
    /// Elements of the array that it declares first, where that is one; its initialiser may be what tells.
    pub array_length: Option<String>,
    /// The `#pragma pack` that it stands under, in bytes.
    pub pack: Option<u32>,
}

/// Set in a token of [`Node::tokens`] whose text may differ.
pub const WILDCARD: u32 = 1 << 31;

/// A group of statements that is copied as one text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopiedGroup {
    pub id: GroupId,
    pub start: Position,
    /// Behind its last character.
    pub end: Position,
    /// The `#pragma pack` that it stands under, in bytes.
    pub pack: Option<u32>,
    /// Its text as GCC has it: without what conditions leave out, with line markers.
    pub taken: String,
    /// Macros that its text uses, at any depth.
    pub macros: BTreeSet<u32>,
    /// Those that its own text or a copied macro's body spells.
    pub direct_macros: BTreeSet<u32>,
}

/// One `#define` that lies in a file that is copied from, or that copied text uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MacroDefinition {
    pub name: String,
    /// Of its `#`.
    pub position: Position,
    /// Of the `#undef` that ends it.
    pub undefined: Option<Position>,
    /// Is it the unit's own, or of those that headers hide from modules?
    pub copied: bool,
    /// Does a public header define it before, in another way?
    pub redefines: bool,
}

/// One time that GCC entered a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entered {
    pub file: u32,
    /// File that included it.
    pub parent: u32,
    /// Place in the unit.
    pub order: u32,
}

/// One `#include` of a file that is copied from, be it that GCC had no need to enter the file again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directive {
    /// As written between the brackets or quotes.
    pub name: String,
    pub quoted: bool,
    /// Place in the unit.
    pub order: u32,
}

/// The stage's value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Closure {
    pub graph: Graph<Node, Edge>,
    /// Every file of the unit.
    pub files: Vec<Place>,
    pub texts: Vec<String>,
    pub groups: Vec<CopiedGroup>,
    pub macros: BTreeMap<u32, MacroDefinition>,
    /// The first time of each file.
    pub entered: Vec<Entered>,
    /// Later times, of files that are read anew each time: under other macros (`asm/kvm-x86-ops.h`).
    pub entered_again: Vec<Entered>,
    pub directives: Vec<Directive>,
    /// Macros that the source spells where it declares what the module only refers to.
    pub declaring: BTreeSet<u32>,
    pub mentions: BTreeSet<Mention>,
    /// Public headers that use types of files that are copied from: those must stand before them.
    pub late: BTreeSet<u32>,
    /// Macros of the unit's own files that decide what its headers define, by their numbers in `macros`.
    pub asked: BTreeSet<u32>,
    /// Macros of public headers whose names copied text has where they don't live: another file has undefined them
    /// (include/asm-generic/asm-prototypes.h), or the header comes later (include/trace/events/ext4.h). None of them lives
    /// behind the module's headers; later text that uses one has it in its place.
    pub undefined: BTreeSet<String>,
    /// Functions of public headers that are copied, and so need other names.
    pub renamed: BTreeSet<String>,
}

impl Node {
    /// What it declares: a function or object, else a type.
    pub fn declared(&self) -> Option<&(String, Role)> {
        self.names.iter().find(|(_, role)| role.is_object()).or_else(|| self.names.first())
    }
}

impl Closure {
    /// Those of [`Closure::renamed`] that are the names of structs, unions or enums too: only calls get the other name.
    pub fn renamed_calls(&self) -> BTreeSet<&str> {
        let tags = self.graph.node_weights().flat_map(|node| &node.names).filter(|(_, role)| role.is_tag());
        tags.map(|(name, _)| name.as_str()).filter(|name| self.renamed.contains(*name)).collect()
    }

    /// Does anything else need an object of a statement that defines a type too ([`Node::is_mixed`])?
    pub fn has_used_objects(&self, index: NodeIndex) -> bool {
        let objects = self.graph[index].names.iter().filter(|(_, role)| *role == Role::Variable);
        let objects: BTreeSet<&str> = objects.map(|(name, _)| name.as_str()).collect();
        let mut users = self.graph.edges_directed(index, petgraph::Incoming).filter(|edge| edge.source() != index);
        users.any(|edge| objects.contains(edge.weight().name.as_str()))
    }

    /// The functions and objects that are declared as aliases (`__attribute__((alias("f")))`), and what they stand for.
    pub fn aliases(&self) -> BTreeMap<String, String> {
        let text = |token: &u32| self.texts[(token & !WILDCARD) as usize].as_str();
        let mut found = BTreeMap::new();
        for node in self.graph.node_weights() {
            let Some((name, _)) = node.names.first() else { continue };
            let stands_for = node.tokens.windows(3).find_map(|words| {
                let is_alias = matches!(text(&words[0]), "alias" | "__alias__") && text(&words[1]) == "(";
                is_alias.then(|| text(&words[2]).trim_matches('"').to_string())
            });
            found.extend(stands_for.map(|stands_for| (name.clone(), stands_for)));
        }
        found
    }
}

/// What the closure starts from and where it ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Functions to emit under other names.
    pub targets: Vec<String>,
    /// New functions and objects to emit that another unit of the module needs.
    pub shared: Vec<String>,
    /// Are the functions among those emitted under other names?
    pub renames_shared: bool,
    /// Functions that the patch changes: a public header has another body of them.
    pub changed: BTreeSet<String>,
    /// What public headers define or declare for built-in code and hide from modules (`#ifndef MODULE` in asm/tlbflush.h).
    pub hidden: BTreeSet<String>,
    /// Names that the patch adds: no public header has them.
    pub added: BTreeSet<String>,
    /// Functions and objects that the running kernel provides under their plain names.
    pub provided: BTreeSet<String>,
    /// Weak functions that mean another unit's, although this one defines them.
    pub elsewhere: BTreeSet<String>,
    /// Data objects that the object file of either version has. Static data that is in neither is no state: GCC has done away
    /// with it, as nothing reads what was written, or nothing writes to it.
    pub objects: BTreeSet<String>,
    /// Static variables of functions that the object file of the unpatched version has, as C names them.
    pub static_locals: BTreeSet<String>,
    /// Macros whose statements are left out of copied groups (see [`crate::rewrite::wrappers`]).
    pub dropped_macros: BTreeSet<String>,
    /// Macros that the module redefines so that they make targets under their new names.
    pub redefined_macros: BTreeSet<String>,
    /// Of a program, all is taken as it stands: declarations of what the unit doesn't define, and those that say more than
    /// the one that is used (see [`written`]).
    pub as_written: bool,
}
