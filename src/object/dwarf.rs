//! Reads the types of a unit from the DWARF that GCC writes: tags with their layouts, typedefs, prototypes.
//!
//! Format: DWARF 4 or 5 (dwarfstd.org, sections 5.3 to 5.10 for types, 7.5 for entries) in an ELF object that isn't linked
//! yet: its references between debug sections are relocations, which are applied here.

// DWARF's own constants are spelled so in the standard and in gimli.
#![allow(non_upper_case_globals)]

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::object::read::elf::ElfFile64;
use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use gimli::constants::*;
use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian};

use super::sound;
use super::types::{Kind, Layout, Member, Prototype, Types};

/// Types that name each other without end would make endless text; C's are never this deep.
const DEPTH: u32 = 64;

/// What of an entry is of use here.
struct Entry {
    tag: gimli::DwTag,
    name: Option<String>,
    of: Option<usize>,
    size: Option<u64>,
    alignment: Option<u64>,
    /// In bits, from the start of the struct.
    offset: u64,
    bits: Option<u64>,
    /// Elements of one dimension.
    count: Option<u64>,
    value: Option<i128>,
    is_declaration: bool,
    is_external: bool,
    children: Vec<usize>,
}

/// Entries by their offset in the unit.
struct Unit {
    entries: BTreeMap<usize, Entry>,
    top: Vec<usize>,
}

/// Reads an object file; the error says what about it can't be read.
pub fn read(bytes: &[u8]) -> Result<Types, String> {
    sound::check(bytes)?;
    let file: ElfFile64<'_> = ElfFile64::parse(bytes).map_err(|e| e.to_string())?;
    let sections = gimli::DwarfSections::load(|id| relocated(&file, id.name()))?;
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let mut units = dwarf.units();
    let mut types = Types::default();
    let mut found = false;
    while let Some(header) = units.next().map_err(|e| e.to_string())? {
        let unit = dwarf.unit(header).map_err(|e| e.to_string())?;
        entries(&dwarf, &unit).map_err(|e| e.to_string())?.fill(&mut types);
        found = true;
    }
    if found { Ok(types) } else { Err("it has no debug information".into()) }
}

/// A section's contents with its relocations applied: all of them are absolute, and a section begins at 0.
pub fn relocated<'d>(file: &ElfFile64<'d>, name: &str) -> Result<Cow<'d, [u8]>, String> {
    let Some(section) = file.section_by_name(name) else { return Ok(Cow::Borrowed(&[])) };
    let mut data = section.data().map_err(|e| e.to_string())?.to_vec();
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        let value = (symbol.address() as i64).wrapping_add(relocation.addend());
        let width = usize::from(relocation.size() / 8);
        let start = offset as usize;
        match data.get_mut(start..start.saturating_add(width)) {
            Some(field) if width <= 8 => field.copy_from_slice(&value.to_le_bytes()[..width]),
            _ => return Err(format!("a relocation lies outside of {name}")),
        }
    }
    Ok(Cow::Owned(data))
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

fn entries(dwarf: &Dwarf<Slice<'_>>, unit: &gimli::Unit<Slice<'_>>) -> gimli::Result<Unit> {
    let mut found = Unit { entries: BTreeMap::new(), top: Vec::new() };
    // The entries on the way down, by depth; those of lexical blocks are left out with all that they hold.
    let mut path: Vec<(isize, usize)> = Vec::new();
    let mut skipped: Option<isize> = None;
    let mut cursor = unit.entries();
    while let Some(entry) = cursor.next_dfs()? {
        let depth = entry.depth();
        if skipped.is_some_and(|outer| depth > outer) {
            continue;
        }
        skipped = None;
        while path.last().is_some_and(|(outer, _)| *outer >= depth) {
            path.pop();
        }
        let offset = entry.offset().0;
        if matches!(entry.tag(), DW_TAG_lexical_block | DW_TAG_inlined_subroutine | DW_TAG_call_site) {
            skipped = Some(depth);
            continue;
        }
        match path.last() {
            Some((_, parent)) => {
                let parent: &mut Entry = found.entries.get_mut(parent).expect("a parent comes before its children");
                parent.children.push(offset);
            }
            None if entry.tag() == DW_TAG_compile_unit => continue,
            None => found.top.push(offset),
        }
        found.entries.insert(offset, self::entry(dwarf, unit, entry)?);
        path.push((depth, offset));
    }
    Ok(found)
}

fn entry<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    entry: &gimli::DebuggingInformationEntry<Slice<'a>>,
) -> gimli::Result<Entry> {
    let number = |name| entry.attr(name).and_then(|attr| attr.udata_value());
    let flag = |name| matches!(entry.attr_value(name), Some(AttributeValue::Flag(true)));
    let name = match entry.attr_value(DW_AT_name) {
        Some(value) => Some(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned()),
        None => None,
    };
    let of = |name| match entry.attr_value(name) {
        Some(AttributeValue::UnitRef(offset)) => Some(offset.0),
        _ => None,
    };
    let bytes = number(DW_AT_data_member_location).unwrap_or(0);
    Ok(Entry {
        tag: entry.tag(),
        name,
        of: of(DW_AT_type).or_else(|| of(DW_AT_abstract_origin)),
        size: number(DW_AT_byte_size),
        alignment: number(DW_AT_alignment),
        offset: number(DW_AT_data_bit_offset).unwrap_or(bytes.wrapping_mul(8)),
        bits: number(DW_AT_bit_size),
        count: number(DW_AT_count).or_else(|| number(DW_AT_upper_bound).map(|last| last.wrapping_add(1))),
        value: value(entry),
        is_declaration: flag(DW_AT_declaration),
        is_external: flag(DW_AT_external),
        children: Vec::new(),
    })
}

fn value(entry: &gimli::DebuggingInformationEntry<Slice<'_>>) -> Option<i128> {
    let attr = entry.attr(DW_AT_const_value)?;
    match attr.value() {
        AttributeValue::Sdata(value) => Some(value.into()),
        _ => attr.udata_value().map(i128::from),
    }
}

impl Unit {
    fn fill(&self, types: &mut Types) {
        for offset in &self.top {
            let entry = &self.entries[offset];
            match (entry.tag, &entry.name) {
                (DW_TAG_structure_type | DW_TAG_union_type | DW_TAG_enumeration_type, Some(name))
                    if !entry.is_declaration =>
                {
                    let kind = kind(entry.tag);
                    types.tags.insert((kind, name.clone()), self.layout(*offset, kind));
                }
                (DW_TAG_enumeration_type, None) => {
                    types.constants.extend(self.enumerators(entry));
                }
                (DW_TAG_typedef, Some(name)) => {
                    let of = self.behind_names(entry.of);
                    let anonymous = of.filter(|of| self.is_anonymous(*of));
                    if let Some(of) = anonymous {
                        let kind = kind(self.entries[&of].tag);
                        types.tags.insert((Kind::Typedef, name.clone()), self.layout(of, kind));
                    }
                    let text = match anonymous {
                        Some(_) => name.clone(),
                        None => self.text(entry.of, true, DEPTH),
                    };
                    types.typedefs.insert(name.clone(), (text, self.size(entry.of)));
                }
                (DW_TAG_subprogram, Some(name)) => {
                    let parameters = self.parameters(entry, DEPTH);
                    let result = self.text(entry.of, true, DEPTH);
                    types.functions.insert(name.clone(), Prototype { result, parameters, external: entry.is_external });
                }
                _ => {}
            }
        }
    }

    fn is_anonymous(&self, offset: usize) -> bool {
        let entry = &self.entries[&offset];
        let tagged = matches!(entry.tag, DW_TAG_structure_type | DW_TAG_union_type | DW_TAG_enumeration_type);
        tagged && entry.name.is_none()
    }

    /// The type behind typedefs and qualifiers.
    fn behind_names(&self, mut of: Option<usize>) -> Option<usize> {
        for _ in 0..DEPTH {
            let entry = self.entries.get(&of?)?;
            match entry.tag {
                DW_TAG_typedef | DW_TAG_const_type | DW_TAG_volatile_type | DW_TAG_restrict_type
                | DW_TAG_atomic_type => of = entry.of,
                _ => return of,
            }
        }
        None
    }

    fn size(&self, mut of: Option<usize>) -> Option<u64> {
        let mut elements = 1u64;
        for _ in 0..DEPTH {
            let entry = self.entries.get(&self.behind_names(of)?)?;
            match entry.tag {
                DW_TAG_array_type => {
                    let counts = entry.children.iter().map(|child| self.entries[child].count.unwrap_or(0));
                    elements = counts.fold(elements, u64::wrapping_mul);
                    of = entry.of;
                }
                DW_TAG_pointer_type => return Some(elements.wrapping_mul(entry.size.unwrap_or(8))),
                _ => return entry.size.map(|size| elements.wrapping_mul(size)),
            }
        }
        None
    }

    fn layout(&self, offset: usize, kind: Kind) -> Layout {
        let entry = &self.entries[&offset];
        let mut members = Vec::new();
        if kind != Kind::Enum {
            self.members(entry, "", 0, &mut members, DEPTH);
        }
        Layout {
            kind,
            size: entry.size.unwrap_or(0),
            alignment: entry.alignment,
            members,
            enumerators: if kind == Kind::Enum { self.enumerators(entry) } else { Vec::new() },
        }
    }

    fn enumerators(&self, entry: &Entry) -> Vec<(String, i128)> {
        let children = entry.children.iter().map(|child| &self.entries[child]);
        children.filter_map(|child| Some((child.name.clone()?, child.value?))).collect()
    }

    /// Members with those of unnamed structs and unions in them; `base` is in bits.
    fn members(&self, entry: &Entry, prefix: &str, base: u64, found: &mut Vec<Member>, depth: u32) {
        for child in entry.children.iter().map(|child| &self.entries[child]) {
            if child.tag != DW_TAG_member {
                continue;
            }
            let offset = base.wrapping_add(child.offset);
            let of = self.behind_names(child.of);
            let record = of.filter(|of| {
                self.is_anonymous(*of)
                    && self.entries[of].tag != DW_TAG_enumeration_type
                    // A typedef gives it a name of its own.
                    && !self.is_named(child.of)
            });
            let name = child.name.as_deref().unwrap_or("");
            if let (Some(record), true) = (record, depth > 0) {
                let inner = if name.is_empty() { prefix.to_string() } else { format!("{prefix}{name}.") };
                self.members(&self.entries[&record], &inner, offset, found, depth - 1);
                continue;
            }
            let bits = child.bits.or_else(|| self.size(child.of).map(|size| size.wrapping_mul(8))).unwrap_or(0);
            found.push(Member {
                name: format!("{prefix}{name}"),
                offset,
                bits,
                is_bit_field: child.bits.is_some(),
                spelled: self.text(child.of, false, depth),
                canonical: self.text(child.of, true, depth),
                embeds: self.embedded(child.of),
                is_function_pointer: self.is_function_pointer(child.of),
            });
        }
    }

    fn is_named(&self, of: Option<usize>) -> bool {
        of.is_some_and(|of| self.entries.get(&of).is_some_and(|entry| entry.tag == DW_TAG_typedef))
    }

    /// The record that a type holds by value, also as elements of an array: its kind and name.
    fn embedded(&self, of: Option<usize>) -> Option<(Kind, String)> {
        let mut of = of;
        let mut named = None;
        for _ in 0..DEPTH {
            let entry = self.entries.get(&of?)?;
            match entry.tag {
                DW_TAG_typedef => named = entry.name.clone(),
                DW_TAG_const_type | DW_TAG_volatile_type | DW_TAG_atomic_type | DW_TAG_array_type => {}
                DW_TAG_structure_type | DW_TAG_union_type | DW_TAG_enumeration_type => {
                    return match &entry.name {
                        Some(name) => Some((kind(entry.tag), name.clone())),
                        None => named.map(|name| (Kind::Typedef, name)),
                    };
                }
                _ => return None,
            }
            of = entry.of;
        }
        None
    }

    fn is_function_pointer(&self, of: Option<usize>) -> bool {
        let mut of = self.behind_names(of);
        // A table of them is one too.
        for _ in 0..DEPTH {
            match of.and_then(|of| self.entries.get(&of)) {
                Some(entry) if entry.tag == DW_TAG_array_type => of = self.behind_names(entry.of),
                _ => break,
            }
        }
        let Some(entry) = of.and_then(|of| self.entries.get(&of)) else { return false };
        let behind = self.behind_names(entry.of).and_then(|of| self.entries.get(&of));
        entry.tag == DW_TAG_pointer_type && behind.is_some_and(|e| e.tag == DW_TAG_subroutine_type)
    }

    fn parameters(&self, entry: &Entry, depth: u32) -> Vec<String> {
        let children = entry.children.iter().map(|child| &self.entries[child]);
        children
            .filter_map(|child| match child.tag {
                DW_TAG_formal_parameter => Some(self.text(child.of, true, depth)),
                DW_TAG_unspecified_parameters => Some("...".into()),
                _ => None,
            })
            .collect()
    }

    /// A type in words close to C's. `canonical`: typedefs opened and qualifiers dropped, so that equal texts are equal types
    /// to whoever passes or stores values.
    fn text(&self, of: Option<usize>, canonical: bool, depth: u32) -> String {
        let Some(entry) = of.and_then(|of| self.entries.get(&of)) else { return "void".into() };
        if depth == 0 {
            return "...".into();
        }
        let inner = |of| self.text(of, canonical, depth - 1);
        let name = entry.name.as_deref();
        match entry.tag {
            DW_TAG_typedef => match canonical && !self.behind_names(entry.of).is_some_and(|of| self.is_anonymous(of)) {
                true => inner(entry.of),
                false => name.unwrap_or_default().into(),
            },
            DW_TAG_const_type | DW_TAG_volatile_type | DW_TAG_restrict_type | DW_TAG_atomic_type if canonical => {
                inner(entry.of)
            }
            DW_TAG_const_type => format!("const {}", inner(entry.of)),
            DW_TAG_volatile_type => format!("volatile {}", inner(entry.of)),
            DW_TAG_restrict_type | DW_TAG_atomic_type => inner(entry.of),
            DW_TAG_structure_type => format!("struct {}", name.map_or_else(|| self.unnamed(entry), str::to_string)),
            DW_TAG_union_type => format!("union {}", name.map_or_else(|| self.unnamed(entry), str::to_string)),
            DW_TAG_enumeration_type => format!("enum {}", name.map_or_else(|| self.unnamed(entry), str::to_string)),
            DW_TAG_pointer_type => match self.subroutine(entry.of, canonical) {
                Some(function) => self.signature(function, "(*)", canonical, depth - 1),
                None => format!("{} *", inner(entry.of)).replace("* *", "**"),
            },
            DW_TAG_subroutine_type => self.signature(entry, "", canonical, depth - 1),
            DW_TAG_array_type => {
                let counts = entry.children.iter().map(|child| self.entries[child].count);
                let counts: String =
                    counts.map(|count| count.map_or("[]".into(), |count| format!("[{count}]"))).collect();
                format!("{}{counts}", inner(entry.of))
            }
            _ => name.unwrap_or("?").into(),
        }
    }

    fn subroutine(&self, of: Option<usize>, canonical: bool) -> Option<&Entry> {
        let of = if canonical { self.behind_names(of) } else { of };
        self.entries.get(&of?).filter(|entry| entry.tag == DW_TAG_subroutine_type)
    }

    fn signature(&self, entry: &Entry, name: &str, canonical: bool, depth: u32) -> String {
        let children = entry.children.iter().map(|child| &self.entries[child]);
        let parameters: Vec<String> = children
            .map(|child| match child.tag {
                DW_TAG_unspecified_parameters => "...".into(),
                _ => self.text(child.of, canonical, depth),
            })
            .collect();
        let parameters = if parameters.is_empty() { "void".into() } else { parameters.join(", ") };
        format!("{} {name}({parameters})", self.text(entry.of, canonical, depth))
    }

    /// Types without a name are told apart by their members.
    fn unnamed(&self, entry: &Entry) -> String {
        let names = entry.children.iter().filter_map(|child| self.entries[child].name.as_deref());
        format!("{{ {} }}", names.collect::<Vec<_>>().join(", "))
    }
}

fn kind(tag: gimli::DwTag) -> Kind {
    match tag {
        DW_TAG_union_type => Kind::Union,
        DW_TAG_enumeration_type => Kind::Enum,
        _ => Kind::Struct,
    }
}
