//! The types of one unit as the compiler lays them out, and what differs between two versions of them.
//!
//! Source of truth is GCC's debug information of the unit compiled with the kernel's own flags: the layouts are those that
//! the code was compiled with, with every attribute, pragma and bit-field rule applied, and nothing has to be computed a
//! second time. GCC leaves out types that no emitted code uses; `-fno-eliminate-unused-debug-types` keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::finding::{OBJECT_INVALID, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use super::dwarf;

/// What a name of a type stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Struct,
    Union,
    Enum,
    /// A record or enum that has only a typedef's name.
    Typedef,
}

impl Kind {
    /// The keyword with a blank behind it, as it stands before the name; nothing for a typedef.
    pub fn keyword(self) -> &'static str {
        match self {
            Kind::Struct => "struct ",
            Kind::Union => "union ",
            Kind::Enum => "enum ",
            Kind::Typedef => "",
        }
    }
}

/// One member; those of unnamed structs and unions stand among the outer one's, those of named ones as `outer.inner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// In bits from the start of the outermost record.
    pub offset: u64,
    /// Size in bits; 0 for a flexible array.
    pub bits: u64,
    pub is_bit_field: bool,
    /// Its type as the source spells it.
    pub spelled: String,
    /// Its type without typedefs and qualifiers.
    pub canonical: String,
    /// The record or enum that it holds by value.
    pub embeds: Option<(Kind, String)>,
    pub is_function_pointer: bool,
}

/// A struct, union or enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
    /// In bytes, where the source asks for one.
    pub alignment: Option<u64>,
    pub members: Vec<Member>,
    pub enumerators: Vec<(String, i128)>,
}

/// A function's types, canonical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    pub result: String,
    pub parameters: Vec<String>,
    pub external: bool,
}

impl Prototype {
    pub fn text(&self, name: &str) -> String {
        let parameters = if self.parameters.is_empty() { "void".into() } else { self.parameters.join(", ") };
        format!("{} {name}({parameters})", self.result)
    }
}

/// All types of a unit at file scope.
#[derive(Debug, Default)]
pub struct Types {
    pub tags: BTreeMap<(Kind, String), Layout>,
    /// Canonical text and size in bytes (none for functions and incomplete types).
    pub typedefs: BTreeMap<String, (String, Option<u64>)>,
    /// Enumerators of enums without a name.
    pub constants: BTreeMap<String, i128>,
    /// Functions with code of their own or inlined ones.
    pub functions: BTreeMap<String, Prototype>,
}

/// The types of a unit. `command` must name the tree that is meant; `out` is a scratch folder of this call's own.
pub fn read(command: &CompileCommand, build: &Path, out: &Path) -> Result<Types> {
    let bytes = with_debug_information(command, build, out)?;
    match of(&bytes) {
        Ok(types) => Ok(types),
        Err(why) => refuse(OBJECT_INVALID, format!("the types of {} can't be read: {why}", command.source)),
    }
}

/// The types of an object file's debug information; the error says what about it can't be read.
pub fn of(object: &[u8]) -> std::result::Result<Types, String> {
    dwarf::read(object)
}

/// The object file of a unit, compiled with debug information. Arguments as for [`read`].
pub fn with_debug_information(command: &CompileCommand, build: &Path, out: &Path) -> Result<Vec<u8>> {
    fs::create_dir_all(out).map_err(io("create", out))?;
    let object = out.join("types.o");
    // Whatever the kernel's own choice: plain DWARF in the object itself.
    let debug = ["-g", "-fno-eliminate-unused-debug-types", "-gno-split-dwarf", "-gz=none", "-w"];
    Program::compiler(&command.compiler)
        .args(&command.args)
        .args(debug)
        .args([OsString::from("-c"), "-o".into(), object.clone().into(), (&command.source).into()])
        .folder(build)
        .run(&format!("compile {} with debug information", command.source))?;
    super::contents(&object)
}

/// How one member changes. Offsets and sizes in bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    Added(Member),
    Removed(Member),
    Moved {
        before: Member,
        after: Member,
    },
    Resized {
        before: Member,
        after: Member,
    },
    /// Another type of the same size at the same place.
    Retyped {
        before: Member,
        after: Member,
    },
    /// Another name for the same thing.
    Renamed {
        before: Member,
        after: Member,
    },
    Enumerator {
        name: String,
        before: Option<i128>,
        after: Option<i128>,
    },
}

/// What a difference between two versions of a type means for objects that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Layouts and meanings are the same.
    None,
    /// New enumerators behind (or right before the counting ones of) the old.
    Extended,
    /// A member of equal size and place has another type.
    Retyped,
    /// A new member lies where there was padding, or beside others in a union.
    InPadding,
    /// The type of a pointer to functions is another.
    FunctionPointer,
    Layout,
}

/// A type in both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeChange {
    pub kind: Kind,
    pub name: String,
    pub size: (u64, u64),
    pub alignment: (Option<u64>, Option<u64>),
    pub members: Vec<MemberChange>,
    pub effect: Effect,
}

/// Words in the names of enumerators that count the others (`__IFLA_MAX`, `NR_ZONES`): they move whenever one is added.
const COUNTING: &[&str] = &["MAX", "NUM", "NR", "COUNT", "LAST", "END", "SIZE", "TOTAL"];

fn counts(name: &str) -> bool {
    name.split('_').any(|word| COUNTING.contains(&word.to_ascii_uppercase().as_str()))
}

/// Compares two versions of one type.
pub fn compare(kind: Kind, name: &str, before: &Layout, after: &Layout) -> TypeChange {
    let mut members = Vec::new();
    let mut effect = enumerators(before, after, &mut members);
    let counterpart = |member: &Member, others: &Layout| others.members.iter().position(|m| m.name == member.name);
    // A name that is new at an old one's place with its type is a renamed member.
    let gone: Vec<&Member> = before.members.iter().filter(|m| counterpart(m, after).is_none()).collect();
    let mut come: Vec<&Member> = after.members.iter().filter(|m| counterpart(m, before).is_none()).collect();
    for old in gone {
        let same = |new: &&Member| new.offset == old.offset && new.bits == old.bits && new.canonical == old.canonical;
        match come.iter().position(same) {
            Some(at) => {
                let after = come.remove(at).clone();
                members.push(MemberChange::Renamed { before: old.clone(), after });
            }
            None => {
                members.push(MemberChange::Removed(old.clone()));
                effect = effect.max(Effect::Layout);
            }
        }
    }
    for new in come {
        members.push(MemberChange::Added(new.clone()));
        effect = effect.max(Effect::InPadding);
    }
    for old in &before.members {
        let Some(new) = counterpart(old, after).map(|at| &after.members[at]) else { continue };
        let pair = || (old.clone(), new.clone());
        let retyped = old.canonical != new.canonical;
        if retyped && (old.is_function_pointer || new.is_function_pointer) {
            effect = effect.max(Effect::FunctionPointer);
        }
        if old.bits != new.bits || old.is_bit_field != new.is_bit_field {
            let (before, after) = pair();
            members.push(MemberChange::Resized { before, after });
            effect = effect.max(Effect::Layout);
        } else if old.offset != new.offset {
            let (before, after) = pair();
            members.push(MemberChange::Moved { before, after });
            effect = effect.max(Effect::Layout);
        } else if retyped {
            let (before, after) = pair();
            members.push(MemberChange::Retyped { before, after });
            effect = effect.max(Effect::Retyped);
        }
    }
    if before.size != after.size || before.alignment != after.alignment || before.kind != after.kind {
        effect = Effect::Layout;
    }
    TypeChange {
        kind,
        name: name.into(),
        size: (before.size, after.size),
        alignment: (before.alignment, after.alignment),
        members,
        effect,
    }
}

fn enumerators(before: &Layout, after: &Layout, changes: &mut Vec<MemberChange>) -> Effect {
    let of = |layout: &Layout| layout.enumerators.iter().cloned().collect::<BTreeMap<String, i128>>();
    let (old, new) = (of(before), of(after));
    let mut effect = Effect::None;
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (before, after) = (old.get(name).copied(), new.get(name).copied());
        if before == after {
            continue;
        }
        changes.push(MemberChange::Enumerator { name: name.clone(), before, after });
        let harmless = match (before, after) {
            // A second name for a value that is known, or a value that no object holds yet.
            (None, Some(value)) => !old.iter().any(|(name, known)| *known == value && !counts(name)),
            (Some(_), Some(_)) => counts(name),
            _ => false,
        };
        effect = effect.max(if harmless { Effect::Extended } else { Effect::Layout });
    }
    effect
}

impl Types {
    /// What holds a type by value, at any depth, by kind and name; without itself.
    pub fn embedding(&self, kind: Kind, name: &str) -> BTreeSet<(Kind, String)> {
        let mut found = BTreeSet::from([(kind, name.to_string())]);
        loop {
            let holds =
                |layout: &Layout| layout.members.iter().any(|m| m.embeds.as_ref().is_some_and(|e| found.contains(e)));
            let more: Vec<_> = self
                .tags
                .iter()
                .filter(|(key, layout)| !found.contains(*key) && holds(layout))
                .map(|(k, _)| k.clone())
                .collect();
            if more.is_empty() {
                found.remove(&(kind, name.to_string()));
                return found;
            }
            found.extend(more);
        }
    }

    /// Records that have a member of this name.
    pub fn with_member<'t>(&'t self, member: &'t str) -> impl Iterator<Item = &'t (Kind, String)> {
        let is = move |m: &Member| m.name == member || m.name.rsplit('.').next() == Some(member);
        self.tags.iter().filter(move |(_, layout)| layout.members.iter().any(is)).map(|(key, _)| key)
    }
}
