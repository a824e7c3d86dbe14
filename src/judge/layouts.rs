//! Types whose layout or meaning changes while objects of them exist.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{
    ENUM_EXTENDED, FUNCTION_POINTER_CHANGED, Finding, Id, LAYOUT_CHANGED, MEMBER_IN_PADDING, MEMBER_RETYPED,
    TYPE_CHANGED,
};
use crate::object::types::{self, Effect, Kind, Layout, Member, MemberChange, TypeChange};
use crate::unit::changes::What;
use crate::unit::listing::Body;
use crate::unit::names::Role;

use super::{Unit, list};

/// A changed type, and what was seen of it.
#[derive(Debug)]
pub struct Seen {
    change: TypeChange,
    file: String,
    line: u32,
    /// Types that hold it by value, with their sizes in bytes before and after.
    embedding: BTreeMap<String, (u64, u64)>,
    /// Functions that use it: whether the livepatch brings their new code.
    users: BTreeMap<String, bool>,
}

type Key = (Kind, String);

/// The changed types of one unit.
pub type Types = BTreeMap<Key, Seen>;

/// Looks at one unit.
pub fn types(unit: &Unit) -> Types {
    let Some((before, after)) = &unit.types else { return Types::new() };
    let changes = changed(unit, before, after).into_iter();
    changes.map(|(key, change)| (key.clone(), seen(unit, (before, after), &key, change))).collect()
}

/// The findings of all units: a type of a header is one type.
pub fn findings(units: Vec<Types>) -> Vec<Finding> {
    let mut all = Types::new();
    for (key, seen) in units.into_iter().flatten() {
        match all.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(seen)),
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.embedding.extend(seen.embedding);
                for (user, replaced) in seen.users {
                    *known.users.entry(user).or_insert(replaced) |= replaced;
                }
            }
        }
    }
    all.values().flat_map(Seen::findings).collect()
}

/// The tags that differ: those whose own text does, and those whose layout follows from something else (an array's size, a
/// typedef) and not from a member that is one of the others.
fn changed(unit: &Unit, before: &types::Types, after: &types::Types) -> Vec<(Key, TypeChange)> {
    let pairs = before.tags.iter().filter_map(|(key, old)| Some((key, old, after.tags.get(key)?)));
    let changes: BTreeMap<&Key, TypeChange> =
        pairs.map(|(key, old, new)| (key, types::compare(key.0, &key.1, old, new))).collect();
    let spelled = |key: &Key| {
        let of = &unit.changes.declarations;
        of.iter().any(|declaration| matches!(declaration.what, What::Type | What::Typedef) && declaration.name == key.1)
    };
    let follows: BTreeSet<Key> = changes
        .iter()
        .filter(|(key, change)| change.effect == Effect::Layout && spelled(key))
        .flat_map(|((kind, name), _)| before.embedding(*kind, name))
        .collect();
    let mut found: Vec<(Key, TypeChange)> = Vec::new();
    for (key, change) in changes {
        if spelled(key) || (change.effect == Effect::Layout && !follows.contains(key)) {
            found.push((key.clone(), change));
        }
    }
    found
}

fn seen(unit: &Unit, (before, after): (&types::Types, &types::Types), key: &Key, change: TypeChange) -> Seen {
    let (file, line) = place(unit, key);
    let embedding = before.embedding(key.0, &key.1);
    let size = |types: &types::Types, key: &Key| types.tags.get(key).map_or(0, |layout: &Layout| layout.size);
    let sizes = |key: &Key| (format!("{}{}", key.0.keyword(), key.1), (size(before, key), size(after, key)));
    // Who uses what holds the type depends on its size.
    let users = std::iter::once(key).chain(&embedding).flat_map(|key| users(unit, before, key));
    Seen { change, file, line, users: users.collect(), embedding: embedding.iter().map(sizes).collect() }
}

/// Where the version before the patch defines the type.
fn place(unit: &Unit, (kind, name): &Key) -> (String, u32) {
    let role = match kind {
        Kind::Enum => Role::Enum,
        Kind::Typedef => Role::Typedef,
        Kind::Struct | Kind::Union => Role::Record,
    };
    let at = unit.before.declarations(name, role).next();
    at.map_or_else(|| (unit.source.to_string(), 0), |body| (body.file().to_string(), body.line(0)))
}

/// Functions of the object in which there is code that names the type, or uses a member that no other type has.
fn users(unit: &Unit, before: &types::Types, key: &Key) -> BTreeMap<String, bool> {
    let own: BTreeSet<&str> =
        before.tags.get(key).into_iter().flat_map(|layout| own_members(layout, before, key)).collect();
    let enumerators: BTreeSet<&str> = before
        .tags
        .get(key)
        .into_iter()
        .flat_map(|layout| layout.enumerators.iter().map(|(name, _)| name.as_str()))
        .collect();
    let typedefs: BTreeSet<&str> = before
        .typedefs
        .iter()
        .filter(|(_, (text, _))| text.trim_end_matches([' ', '*']) == format!("{}{}", key.0.keyword(), key.1))
        .map(|(name, _)| name.as_str())
        .collect();
    let uses = |body: &Body| {
        (0..body.len()).any(|at| {
            let (word, previous) = (body.word(at), body.word(at.wrapping_sub(1)));
            match previous {
                "struct" | "union" | "enum" => word == key.1 && format!("{previous} ") == key.0.keyword(),
                "." | "->" => own.contains(word),
                _ => (key.0 == Kind::Typedef && word == key.1) || typedefs.contains(word) || enumerators.contains(word),
            }
        })
    };
    let users = unit.before.functions().filter(|(_, body)| uses(body));
    let places = users.flat_map(|(name, _)| unit.places(name));
    places.map(|place| (place.clone(), unit.is_replaced(&place))).collect()
}

/// Names of members that tell the type: no other record of the unit has such a member.
fn own_members<'t>(layout: &'t Layout, types: &'t types::Types, key: &'t Key) -> impl Iterator<Item = &'t str> {
    let names = layout.members.iter().map(|member| member.name.rsplit('.').next().unwrap_or(&member.name));
    names.filter(move |name| !name.is_empty() && types.with_member(name).all(|other| other == key))
}

impl Seen {
    fn findings(&self) -> Vec<Finding> {
        let effect = self.change.effect;
        let mut findings = Vec::new();
        for finding in self.change.members.iter().filter_map(|change| self.function_pointer(change)) {
            findings.push(finding);
        }
        let (id, means): (Id, &str) = match effect {
            Effect::None => (TYPE_CHANGED, "no member moves, grows or changes its type: objects that exist stay right"),
            Effect::Extended => (
                ENUM_EXTENDED,
                "no object has the new value yet; code that isn't replaced doesn't know it (a switch, an array by its count)",
            ),
            Effect::Retyped => (
                MEMBER_RETYPED,
                "objects that exist hold values of the old type, and functions that aren't replaced go on storing them",
            ),
            Effect::InPadding => (
                MEMBER_IN_PADDING,
                "nothing moves, but objects that exist have there whatever was in the padding (zero if they were zeroed)",
            ),
            Effect::FunctionPointer if findings.is_empty() => (LAYOUT_CHANGED, ""),
            Effect::FunctionPointer => return findings,
            Effect::Layout => (
                LAYOUT_CHANGED,
                "objects that the running kernel already has keep the old layout; keep it too, and put new members into \
                 shadow variables",
            ),
        };
        let verb = if effect == Effect::Layout { "changes its layout" } else { "changes" };
        let mut message = format!("{}{} {verb}", self.change.kind.keyword(), self.change.name);
        if self.change.size.0 != self.change.size.1 {
            message.push_str(&format!("\n  size {} -> {} bytes", self.change.size.0, self.change.size.1));
        }
        if self.change.alignment.0 != self.change.alignment.1 {
            message.push_str("\n  its alignment changes");
        }
        message.push_str(&member_lines(&self.change.members));
        if effect != Effect::None {
            message.push_str(&self.relations());
        }
        if !means.is_empty() {
            message.push_str(&format!("\n  {means}"));
        }
        findings.push(Finding::new(id, message).at(self.file.as_str(), Some(self.line)));
        findings
    }

    /// What holds and what uses the type.
    fn relations(&self) -> String {
        let mut text = String::new();
        if !self.embedding.is_empty() {
            let sized = |(name, (before, after)): (&String, &(u64, u64))| {
                if before == after { name.clone() } else { format!("{name} (size {before} -> {after})") }
            };
            text.push_str(&format!("\n  held by value in: {}", list(self.embedding.iter().map(sized))));
        }
        let with = |replaced: bool| self.users.iter().filter(move |(_, r)| **r == replaced).map(|(name, _)| name);
        if self.users.is_empty() {
            text.push_str("\n  no function of the units that were looked at uses it");
        }
        if with(true).next().is_some() {
            text.push_str(&format!("\n  functions with new code: {}", list(with(true))));
        }
        if with(false).next().is_some() {
            text.push_str(&format!("\n  functions that use it and keep their code: {}", list(with(false))));
        }
        text
    }

    fn function_pointer(&self, change: &MemberChange) -> Option<Finding> {
        let (MemberChange::Retyped { before, after }
        | MemberChange::Resized { before, after }
        | MemberChange::Moved { before, after }) = change
        else {
            return None;
        };
        let either = before.is_function_pointer || after.is_function_pointer;
        if !either || before.canonical == after.canonical {
            return None;
        }
        let name = format!("{}{}", self.change.kind.keyword(), self.change.name);
        let message = format!(
            "the function pointer {} of {name} changes its type\n  before: {}\n  after:  {}\n  tables of the running \
             kernel hold functions of the old type, and functions that aren't replaced call them so{}",
            before.name,
            before.spelled,
            after.spelled,
            self.relations()
        );
        Some(Finding::new(FUNCTION_POINTER_CHANGED, message).at(self.file.as_str(), Some(self.line)))
    }
}

/// `12`, or `12 bit 3` for what doesn't begin at a byte.
fn offset(member: &Member) -> String {
    match member.offset % 8 {
        0 if !member.is_bit_field => (member.offset / 8).to_string(),
        bit => format!("{} bit {bit}", member.offset / 8),
    }
}

fn width(member: &Member) -> String {
    if member.is_bit_field { format!("{} bits", member.bits) } else { format!("{} bytes", member.bits / 8) }
}

fn member_lines(changes: &[MemberChange]) -> String {
    let line = |change: &MemberChange| match change {
        MemberChange::Added(m) => format!("added: {} at {} ({}, {})", m.name, offset(m), width(m), m.spelled),
        MemberChange::Removed(m) => format!("removed: {} from {} ({}, {})", m.name, offset(m), width(m), m.spelled),
        MemberChange::Moved { before, after } => {
            format!("moved: {} {} -> {}", after.name, offset(before), offset(after))
        }
        MemberChange::Resized { before, after } => format!(
            "resized: {} {} -> {}, at {} -> {}",
            after.name,
            width(before),
            width(after),
            offset(before),
            offset(after)
        ),
        MemberChange::Retyped { before, after } => {
            format!("retyped: {} at {}: {} -> {}", after.name, offset(after), before.spelled, after.spelled)
        }
        MemberChange::Renamed { before, after } => format!("renamed: {} -> {}", before.name, after.name),
        MemberChange::Enumerator { name, before: None, after: Some(value) } => format!("added: {name} = {value}"),
        MemberChange::Enumerator { name, before: Some(value), after: None } => format!("removed: {name} = {value}"),
        MemberChange::Enumerator { name, before, after } => {
            format!("changed: {name} {} -> {}", before.unwrap_or(0), after.unwrap_or(0))
        }
    };
    // Where much moves, the first ones tell.
    const LINES: usize = 16;
    let mut text: String = changes.iter().take(LINES).map(|change| format!("\n  {}", line(change))).collect();
    if changes.len() > LINES {
        text.push_str(&format!("\n  and {} more members", changes.len() - LINES));
    }
    text
}

/// Typedefs of other things than unnamed records, enumerators of unnamed enums, and names that can't be compared.
pub fn names(unit: &Unit) -> Vec<Finding> {
    let Some((before, after)) = &unit.types else { return Vec::new() };
    let mut findings = Vec::new();
    for declaration in &unit.changes.declarations {
        let name = &declaration.name;
        let tags = [Kind::Struct, Kind::Union, Kind::Enum, Kind::Typedef];
        let compared =
            |kind: &Kind| [before, after].iter().all(|types| types.tags.contains_key(&(*kind, name.clone())));
        let finding = match declaration.what {
            What::Typedef if tags.iter().any(compared) => continue,
            What::Typedef => typedef(name, before.typedefs.get(name), after.typedefs.get(name)),
            What::Type if tags.iter().any(compared) || is_enumerator(name, before, after) => continue,
            What::Type => match (before.constants.get(name), after.constants.get(name)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(old), Some(new)) => Finding::new(
                    ENUM_EXTENDED,
                    format!(
                        "the enumerator {name} changes: {old} -> {new}; what was stored or sized by it stays as it is"
                    ),
                ),
                _ => unknown(name),
            },
            _ => continue,
        };
        let at = [Role::Typedef, Role::Enumerator, Role::Record, Role::Enum]
            .into_iter()
            .find_map(|role| unit.before.declarations(name, role).next());
        let (file, line) = at.map_or((unit.source, None), |body| (body.file(), Some(body.line(0))));
        findings.push(finding.at(file, line));
    }
    findings
}

/// Enumerators of enums with a name are looked at with it.
fn is_enumerator(name: &str, before: &types::Types, after: &types::Types) -> bool {
    let is = |types: &types::Types| {
        types.tags.values().any(|layout| layout.enumerators.iter().any(|(known, _)| known == name))
    };
    is(before) && is(after)
}

type Typedef<'a> = Option<&'a (String, Option<u64>)>;

fn typedef(name: &str, before: Typedef, after: Typedef) -> Finding {
    let (Some((old, old_size)), Some((new, new_size))) = (before, after) else { return unknown(name) };
    let change = format!("the type {name} changes: {old} -> {new}");
    if old == new {
        return Finding::new(TYPE_CHANGED, format!("the typedef {name} is written otherwise; it is still {new}"));
    }
    if old.contains('(') || new.contains('(') {
        return Finding::new(
            FUNCTION_POINTER_CHANGED,
            format!(
                "{change}\n  the running kernel holds functions of the old type, and functions that aren't replaced \
                 call them so"
            ),
        );
    }
    if old_size == new_size {
        return Finding::new(MEMBER_RETYPED, format!("{change}, at the same size"));
    }
    Finding::new(LAYOUT_CHANGED, format!("{change}; objects that the running kernel already has keep the old one"))
}

/// Better refused than passed over.
fn unknown(name: &str) -> Finding {
    let message = format!("the type {name} changes, and the compiler's debug information doesn't tell how");
    Finding::new(LAYOUT_CHANGED, message)
}
