//! Two versions of an object compared function by function: whose code really changes, and which data does.
//!
//! Code is compared as instructions. A relocated field counts as what it reaches: functions by name, writable data by
//! name, strings and constants by their contents, places in the function itself by instruction. Numbers that GCC gives
//! (`.constprop.0`, `__key.3`) don't count; static locals of one base name are paired one to one over the whole object.
//! Immediates count. The only thing masked is the line in `__bug_table`.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Facts, Function, FunctionId, Place, Role, Section};
use super::references::{branch_target, decode};

/// How the code of an object differs between two versions. Names are those of the version before, but for `added`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Functions in both whose code differs (of their `.cold` part, too).
    pub changed: BTreeSet<String>,
    pub added: BTreeSet<String>,
    pub gone: BTreeSet<String>,
    /// Data objects in both whose initial contents or size differ.
    pub data: BTreeSet<String>,
    /// Data objects that GCC has put into read-only memory, and that the version after writes to.
    pub made_writable: BTreeSet<String>,
}

/// Compares two versions of one TU's object. Functions named in `patched` are compared last, so that static locals are
/// paired by functions that the patch doesn't touch.
pub fn compare(before: &Facts, after: &Facts, patched: &BTreeSet<String>) -> Difference {
    let mut difference = Difference::default();
    let (old, new) = (wholes(before), wholes(after));
    let mut pairing = Pairing::default();
    let mut pairs: Vec<(&String, &String, FunctionId, FunctionId)> = Vec::new();
    for (base, functions) in &old {
        let others = new.get(base).map(Vec::as_slice).unwrap_or_default();
        for ((name, id), other) in functions.iter().zip(counterparts(before, after, functions, others)) {
            match other {
                Some(other) => pairs.push((base, name, *id, other)),
                None => drop(difference.gone.insert(name.clone())),
            }
        }
    }
    for (base, functions) in &new {
        let known = old.get(base).map_or(0, Vec::len);
        difference.added.extend(functions.iter().skip(known).map(|(name, _)| name.clone()));
    }
    pairs.sort_by_key(|(base, name, ..)| (patched.contains(base.split('.').next().unwrap_or_default()), *name));
    for (_, _, id, other) in &pairs {
        let (old, new) = (before.function(*id).name.clone(), after.function(*other).name.clone());
        pairing.forward.insert(old.clone(), new.clone());
        pairing.back.insert(new, old);
    }
    for (_, name, id, other) in pairs {
        if !pairing.same(&body(before, id), &body(after, other)) {
            difference.changed.insert(name.clone());
        }
    }
    difference.data = changed_data(before, after);
    difference.made_writable = made_writable(before, after);
    difference
}

/// A name without the numbers that GCC gives: `foo.constprop.0` is `foo.constprop`, `key.3` is `key`.
pub fn base_name(name: &str) -> String {
    let words = name.split('.').filter(|w| w.is_empty() || !w.bytes().all(|b| b.is_ascii_digit()));
    words.collect::<Vec<_>>().join(".")
}

/// Is the object one that GCC or a macro made, whose contents say nothing of the kernel's state (`__func__.0`, dynamic
/// debug descriptors with their line, metadata of trace events and system calls)?
fn is_throw_away(name: &str, section: &str) -> bool {
    const PREFIXES: &[&str] = &["__UNIQUE_ID", "__ksymtab", "__kstrtab", "__crc_", "__addressable", "CSWTCH."];
    // Static variables of macros' own blocks, so that GCC numbers them.
    const LOCALS: &[&str] = &[
        "__func__",
        "__FUNCTION__",
        "__PRETTY_FUNCTION__",
        "_rs",
        "__already_done",
        "__warned",
        "__msg",
        "_entry",
        "_entry_ptr",
        "__key",
        "__flags",
    ];
    let base = base_name(name);
    // Dynamic debug's `descriptor` is a name that others may use as well.
    let is_debug = section == "__dyndbg" && base == "descriptor";
    is_debug || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || (base != name && LOCALS.contains(&&*base))
}

/// Functions with their own code, by base name, in the order of GCC's numbers; `.cold` parts belong to their owner.
fn wholes(facts: &Facts) -> BTreeMap<String, Vec<(String, FunctionId)>> {
    let mut by_base: BTreeMap<String, BTreeMap<String, FunctionId>> = BTreeMap::new();
    for (index, function) in facts.functions.iter().enumerate() {
        if function.cold_of.is_none() {
            // All names count: which of several comes first in the symbol table means nothing.
            for name in function.names() {
                by_base.entry(base_name(name)).or_default().insert(name.clone(), FunctionId(index));
            }
        }
    }
    by_base.into_iter().map(|(base, ids)| (base, ids.into_iter().collect())).collect()
}

/// Which function of the version after stands for each of the version before; all have one base name. GCC may number clones
/// in another order, so that equal code comes first, and the numbers' order only then.
fn counterparts(
    before: &Facts,
    after: &Facts,
    functions: &[(String, FunctionId)],
    others: &[(String, FunctionId)],
) -> Vec<Option<FunctionId>> {
    if let ([_], [(_, other)]) = (functions, others) {
        return vec![Some(*other)];
    }
    let mut left: Vec<(FunctionId, Vec<Item>)> = others.iter().map(|(_, id)| (*id, body(after, *id))).collect();
    let mut chosen: Vec<Option<FunctionId>> = Vec::new();
    for (_, id) in functions {
        let code = if left.is_empty() { Vec::new() } else { body(before, *id) };
        let alike = left.iter().position(|(_, other)| Pairing::default().same(&code, other));
        chosen.push(alike.map(|index| left.remove(index).0));
    }
    let mut rest = left.into_iter().map(|(id, _)| id);
    chosen.into_iter().map(|choice| choice.or_else(|| rest.next())).collect()
}

/// A function's code, apart from what may differ without a meaning.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// Bytes of an instruction or table entry, relocated and displacement fields zeroed.
    Bytes(Vec<u8>),
    /// A branch: GCC's mnemonic, without the width of its displacement, which gas chooses by distance.
    Branch(u32),
    /// Where a field leads.
    To(String),
    /// A field that leads into writable data, or into a clone: full name and offset.
    Static(String, i64),
    /// A field that leads to a place where objects without a size lie: all names that it may mean.
    OneOf(Vec<String>),
    /// A field that leads to where a writable object ends (the bound of a loop over an array), and maybe to another one that
    /// happens to begin there.
    Border { ends: String, begins: Option<String> },
}

/// Static locals of both versions, paired as they turn up, and clones, paired at the start.
#[derive(Default)]
struct Pairing {
    forward: BTreeMap<String, String>,
    back: BTreeMap<String, String>,
}

impl Pairing {
    fn same(&mut self, old: &[Item], new: &[Item]) -> bool {
        old.len() == new.len() && old.iter().zip(new).all(|(old, new)| self.same_item(old, new))
    }

    fn same_item(&mut self, old: &Item, new: &Item) -> bool {
        if let (Some(old), Some(new)) = (names_meant(old), names_meant(new))
            && old.len().max(new.len()) > 1
        {
            return old.iter().any(|name| new.contains(name));
        }
        let ((old_name, old_offset), (new_name, new_offset)) = match (old, new) {
            (Item::Static(old, old_offset), Item::Static(new, new_offset)) => ((old, *old_offset), (new, *new_offset)),
            (Item::Border { begins: Some(old), .. }, Item::Static(new, offset)) => ((old, 0), (new, *offset)),
            (Item::Static(old, offset), Item::Border { begins: Some(new), .. }) => ((old, *offset), (new, 0)),
            (Item::Border { ends: old_end, begins: old }, Item::Border { ends: new_end, begins: new }) => {
                match (old, new) {
                    (Some(old), Some(new)) if base_name(old) == base_name(new) => ((old, 0), (new, 0)),
                    // What lies behind an array says nothing of a loop over it.
                    _ => return base_name(old_end) == base_name(new_end),
                }
            }
            _ => return old == new,
        };
        if old_offset != new_offset || base_name(old_name) != base_name(new_name) {
            return false;
        }
        match (self.forward.get(old_name), self.back.get(new_name)) {
            (Some(known), _) => known == new_name,
            (None, Some(_)) => false,
            (None, None) => {
                self.forward.insert(old_name.clone(), new_name.clone());
                self.back.insert(new_name.clone(), old_name.clone());
                true
            }
        }
    }
}

fn names_meant(item: &Item) -> Option<Vec<String>> {
    match item {
        Item::Static(name, 0) => Some(vec![base_name(name)]),
        Item::OneOf(names) => Some(names.iter().map(|name| base_name(name)).collect()),
        _ => None,
    }
}

/// The code of a function and its `.cold` parts, and the special tables' entries about it.
struct Body<'f> {
    facts: &'f Facts,
    /// Number of the instruction at a place.
    index: BTreeMap<(usize, u64), usize>,
    items: Vec<Item>,
}

fn body(facts: &Facts, id: FunctionId) -> Vec<Item> {
    let parts = facts.parts(id);
    let mut body = Body { facts, index: BTreeMap::new(), items: Vec::new() };
    // Every function was decoded when the object was read, so that decoding can't fail here.
    let decoded: Vec<_> = parts.iter().map(|part| (*part, decode(facts, *part).unwrap_or_default())).collect();
    for (part, instructions) in &decoded {
        let section = facts.function(*part).section;
        for instruction in instructions {
            let number = body.index.len();
            body.index.insert((section, instruction.offset), number);
        }
    }
    for (part, instructions) in &decoded {
        let function = facts.function(*part);
        for instruction in instructions {
            body.instruction(function, instruction.offset, instruction.end, &instruction.instruction);
        }
    }
    body.tables(&parts);
    body.items
}

impl Body<'_> {
    fn instruction(&mut self, function: &Function, offset: u64, end: u64, instruction: &iced_x86::Instruction) {
        let section = &self.facts.sections[function.section];
        let relocations: Vec<_> = section.relocations.range(offset..end).collect();
        if let Some(target) = branch_target(instruction) {
            self.items.push(Item::Branch(instruction.mnemonic() as u32));
            let place = match relocations.first() {
                Some((at, relocation)) => relocation.from_instruction(**at, end),
                None => Place::Here(function.section, target as i64),
            };
            return self.place(&place, 0);
        }
        let mut bytes = section.data[offset as usize..end as usize].to_vec();
        let mut places = Vec::new();
        for (at, relocation) in &relocations {
            let start = (**at - offset) as usize;
            bytes.iter_mut().skip(start).take(relocation.width.into()).for_each(|byte| *byte = 0);
            places.push(relocation.from_instruction(**at, end));
        }
        if relocations.is_empty() && instruction.is_ip_rel_memory_operand() {
            // Resolved by gas within the section: the displacement is the four bytes before any immediate.
            let target = instruction.ip_rel_memory_address();
            let displacement = (target as i64 - end as i64) as i32;
            let field = bytes.windows(4).rposition(|window| window == displacement.to_le_bytes());
            if let Some(start) = field {
                bytes[start..start + 4].fill(0);
            }
            places.push(Place::Here(function.section, target as i64));
        }
        self.items.push(Item::Bytes(bytes));
        if relocations.iter().any(|(_, relocation)| relocation.is_indirect()) {
            self.items.push(Item::To("global offset table".into()));
        }
        places.iter().for_each(|place| self.place(place, 0));
    }

    /// What a place is, independent of where it lies. `depth` counts the constants on the way here.
    fn place(&mut self, place: &Place, depth: u32) {
        let item = match place {
            Place::Elsewhere(name, offset) => Item::To(format!("{name}{offset:+}")),
            Place::Here(section, offset) => self.here(*section, *offset, depth),
        };
        self.items.push(item);
    }

    fn here(&self, index: usize, offset: i64, depth: u32) -> Item {
        let section = &self.facts.sections[index];
        if let Ok(at) = u64::try_from(offset)
            && let Some(number) = self.index.get(&(index, at))
        {
            return Item::To(format!("instruction {number}"));
        }
        if let Some(id) = self.facts.function_at(index, offset) {
            let function = self.facts.function(id);
            let within = offset - function.offset as i64;
            // Clones of one function differ by number only, and are paired like static locals.
            return if base_name(&function.name) == function.name {
                Item::To(format!("{}{within:+}", function.name))
            } else {
                Item::Static(function.name.clone(), within)
            };
        }
        match section.role {
            Role::Strings => Item::To(format!("string \"{}\"", string_at(section, offset).escape_ascii())),
            Role::Constants => {
                let entry = section.entry_size.max(1);
                // A place within an entry: what is left of it.
                Item::To(self.contents(index, offset, entry - offset.rem_euclid(entry as i64) as u64, depth))
            }
            Role::Const => match self.facts.object_at(index, offset) {
                Some(object) => {
                    let contents = self.contents(index, object.offset as i64, object.size, depth);
                    Item::To(format!("{}{:+} {contents}", base_name(&object.name), offset - object.offset as i64))
                }
                None => self.unnamed(index, offset, depth),
            },
            _ if self.facts.empty_objects_at(index, offset).next().is_some() => {
                let empty = self.facts.empty_objects_at(index, offset);
                let real = self.facts.object_at(index, offset).filter(|object| object.size > 0);
                Item::OneOf(empty.chain(real).map(|object| object.name.clone()).collect())
            }
            _ => {
                let object = self.facts.object_at(index, offset);
                match (object, self.facts.object_ending_at(index, offset)) {
                    (Some(object), None) => Item::Static(object.name.clone(), offset - object.offset as i64),
                    (object, Some(ends)) => {
                        Item::Border { ends: ends.name.clone(), begins: object.map(|object| object.name.clone()) }
                    }
                    (None, None) => Item::To(format!("{}{offset:+}", section.name)),
                }
            }
        }
    }

    /// Constants without a symbol, up to where the next thing begins. The base of an indexed access may lie outside of the
    /// section (`table[x - 9]`): then the first or the last thing in it is meant.
    fn unnamed(&self, index: usize, offset: i64, depth: u32) -> Item {
        let section = &self.facts.sections[index];
        let inside = u64::try_from(offset).unwrap_or(0).min(section.size.saturating_sub(1));
        let distance = offset - inside as i64;
        let start = match distance {
            0 => inside,
            _ => section.landmarks.range(..=inside).next_back().copied().unwrap_or(0),
        };
        let end = section.landmarks.range(start + 1..).next().copied().unwrap_or(section.size).min(section.size);
        let contents = self.contents(index, start as i64, end.saturating_sub(start), depth);
        Item::To(if distance == 0 { contents } else { format!("{contents}{:+}", offset - start as i64) })
    }

    /// Bytes of constant data with what its relocations reach. Constants that point to constants are followed a few steps;
    /// beyond that a symbol's name stands for its contents.
    fn contents(&self, index: usize, offset: i64, size: u64, depth: u32) -> String {
        const DEEPEST: u32 = 3;
        let section = &self.facts.sections[index];
        let start = u64::try_from(offset).unwrap_or(0).min(section.data.len() as u64);
        let end = start.saturating_add(size).min(section.data.len() as u64);
        if depth > DEEPEST {
            return "deeper".into();
        }
        let mut text: String = section.data[start as usize..end as usize].iter().map(|b| format!("{b:02x}")).collect();
        for (at, relocation) in section.relocations.range(start..end) {
            let reached = match &relocation.place {
                Place::Elsewhere(name, offset) => format!("{name}{offset:+}"),
                Place::Here(to, offset) => match self.here(*to, *offset, depth + 1) {
                    Item::To(text) => text,
                    Item::Static(name, offset) => format!("{}{offset:+}", base_name(&name)),
                    // Initialisers point to objects that have a size, which come last, more than to those without.
                    Item::OneOf(names) => names.last().map(|name| format!("{}+0", base_name(name))).unwrap_or_default(),
                    Item::Border { begins: Some(name), .. } => format!("{}+0", base_name(&name)),
                    Item::Border { ends, begins: None } => format!("end of {}", base_name(&ends)),
                    Item::Bytes(_) | Item::Branch(_) => unreachable!("a place is no instruction"),
                },
            };
            text.push_str(&format!(" {}:{reached}", at - start));
        }
        text
    }

    /// Entries of `__bug_table`, `__ex_table`, `__jump_table` and `.altinstructions` about this code. What only lists
    /// places (`.smp_locks`, `.retpoline_sites`) follows from the code itself.
    fn tables(&mut self, parts: &[FunctionId]) {
        // Relocated fields an entry has: struct bug_entry (include/asm-generic/bug.h), exception_table_entry
        // (arch/x86/include/asm/extable.h), jump_entry (include/linux/jump_label.h), alt_instr (asm/alternative.h).
        const TABLES: &[(&str, usize)] =
            &[("__bug_table", 2), ("__ex_table", 2), ("__jump_table", 3), (".altinstructions", 2)];
        for section in &self.facts.sections {
            let Some((name, fields)) = TABLES.iter().find(|(name, _)| section.name.starts_with(name)) else { continue };
            let relocations: Vec<_> = section.relocations.iter().collect();
            // Without CONFIG_DEBUG_BUGVERBOSE there is no file name.
            let is_code = |r: &super::facts::Relocation| match r.place {
                Place::Here(index, _) => self.facts.sections[index].role == Role::Text,
                Place::Elsewhere(..) => false,
            };
            let has_names = *name != "__bug_table" || relocations.iter().any(|(_, r)| !is_code(r));
            let fields = if has_names { *fields } else { 1 };
            let entries = relocations.len() / fields;
            if entries == 0 {
                continue;
            }
            let size = section.size as usize / entries;
            for entry in relocations.chunks_exact(fields) {
                let Place::Here(text, at) = entry[0].1.place else { continue };
                let owner = self.facts.function_at(text, at);
                if !owner.is_some_and(|owner| parts.contains(&owner)) {
                    continue;
                }
                self.table_entry(section, name, entry, size);
            }
        }
    }

    fn table_entry(&mut self, section: &Section, name: &str, entry: &[(&u64, &super::facts::Relocation)], size: usize) {
        let start = *entry[0].0 as usize;
        let mut bytes = section.data.get(start..start + size).unwrap_or_default().to_vec();
        if name == "__bug_table" && size == 12 {
            // The line: a number that moves with the text above it.
            bytes[8..10].fill(0);
        }
        self.items.push(Item::Bytes(bytes));
        for (_, relocation) in entry {
            let replacement = match relocation.place {
                Place::Here(index, at) if self.facts.sections[index].role == Role::Replacement => Some((index, at)),
                _ => None,
            };
            match replacement {
                Some((index, at)) => self.replacement(index, at),
                None => self.place(&relocation.place, 0),
            }
        }
    }

    fn replacement(&mut self, index: usize, at: i64) {
        let section = &self.facts.sections[index];
        let start = u64::try_from(at).unwrap_or(0);
        let end = section.landmarks.range(start + 1..).next().copied().unwrap_or(section.size);
        let bytes = section.data.get(start as usize..end as usize).unwrap_or_default().to_vec();
        self.items.push(Item::Bytes(bytes));
        // What is relocated there is the end of a call or jump.
        let relocations = section.relocations.range(start..end.max(start));
        let places: Vec<Place> = relocations.map(|(at, r)| r.from_instruction(*at, at + 4)).collect();
        places.iter().for_each(|place| self.place(place, 0));
    }
}

/// A string without its end; wide ones (`.rodata.str2.2`) end with a wide zero.
fn string_at(section: &Section, offset: i64) -> &[u8] {
    let width = section.entry_size.max(1) as usize;
    let rest = usize::try_from(offset).ok().and_then(|at| section.data.get(at..)).unwrap_or_default();
    let end = rest.chunks_exact(width).position(|unit| unit.iter().all(|byte| *byte == 0));
    &rest[..end.map_or(rest.len(), |units| units * width)]
}

/// Objects in both versions whose contents differ; objects of one base name are compared as a set.
fn changed_data(before: &Facts, after: &Facts) -> BTreeSet<String> {
    let (old, new) = (data_contents(before), data_contents(after));
    let mut changed = BTreeSet::new();
    for (base, objects) in &old {
        let Some(others) = new.get(base) else { continue };
        let mut left: Vec<&String> = others.iter().map(|(contents, _)| contents).collect();
        for (contents, name) in objects {
            match left.iter().position(|other| *other == contents) {
                Some(index) => drop(left.remove(index)),
                // More of them than before, or fewer: functions came or went, none of them changed.
                None if left.is_empty() || objects.len() != others.len() => {}
                None => drop(changed.insert(name.clone())),
            }
        }
    }
    changed
}

/// Objects that are constant in the version before and not in the one after. GCC makes a constant of a variable that nothing
/// in the unit writes to, whatever its type (ipa-visibility.cc, `readonly`).
fn made_writable(before: &Facts, after: &Facts) -> BTreeSet<String> {
    let of = |facts: &Facts, wanted: Role| {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for object in facts.objects.iter().filter(|object| facts.sections[object.section].role == wanted) {
            names.entry(base_name(&object.name)).or_default().push(object.name.clone());
        }
        names
    };
    let (old_data, new_data, new_const) = (of(before, Role::Data), of(after, Role::Data), of(after, Role::Const));
    let count = |names: &BTreeMap<String, Vec<String>>, base: &String| names.get(base).map_or(0, Vec::len);
    of(before, Role::Const)
        .into_iter()
        // Of several that have one name, fewer constants and more variables.
        .filter(|(base, names)| {
            count(&new_const, base) < names.len() && count(&new_data, base) > count(&old_data, base)
        })
        .flat_map(|(_, names)| names)
        .collect()
}

fn data_contents(facts: &Facts) -> BTreeMap<String, Vec<(String, String)>> {
    let reader = Body { facts, index: BTreeMap::new(), items: Vec::new() };
    let mut contents: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for object in &facts.objects {
        let role = facts.sections[object.section].role;
        let is_data = matches!(role, Role::Const | Role::Data) && object.size > 0;
        if is_data && !is_throw_away(&object.name, &facts.sections[object.section].name) {
            let text = reader.contents(object.section, object.offset as i64, object.size, 0);
            contents
                .entry(base_name(&object.name))
                .or_default()
                .push((format!("{} {text}", object.size), object.name.clone()));
        }
    }
    contents
}
