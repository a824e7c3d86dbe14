//! Static variables of functions in an object file: which symbol (`name.NNN`) belongs to which function's variable.
//!
//! GCC's debug information says it (DWARF 4 and 5: a variable's entry below its function's, 3.3 and 4.1; its address is a
//! DW_OP_addr, 2.6.1.1). A function that is inlined or cloned has one object for all its copies, which refer to the abstract
//! entry (3.3.8). What has neither symbol nor address, GCC has done away with.

// DWARF's own constants are spelled so in the standard and in gimli.
#![allow(non_upper_case_globals)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ::object::read::elf::ElfFile64;
use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};
use gimli::constants::*;
use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, Reader as _, Section as _};

use crate::finding::{OBJECT_INVALID, Result, refuse};
use crate::kernel::command::CompileCommand;

use super::dwarf::relocated;
use super::facts::{DataObject, Facts};
use super::types;

/// What a variable is in the object file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The object of this symbol.
    As(String),
    /// No object: GCC has done away with it, or it was never static.
    Nowhere,
    /// Something that can't be told from others.
    Unknown,
}

/// The static variables of all functions of one unit.
#[derive(Debug, Default)]
pub struct StaticVariables {
    /// By function and name, in the order of the source.
    found: BTreeMap<(String, String), Vec<Stored>>,
    /// Symbols of variables that the debug information doesn't tell.
    unclaimed: BTreeSet<String>,
}

/// The C name of a symbol like `name.12`.
pub fn base_name(symbol: &str) -> Option<&str> {
    let (name, number) = symbol.rsplit_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !name.is_empty()).then_some(name)
}

/// Compiles a unit once more, with debug information. `facts` are of the same unit without, which this one must equal;
/// `command` must name its tree, and `out` is a scratch folder of this call's own.
pub fn read(command: &CompileCommand, build: &Path, out: &Path, facts: &Facts) -> Result<StaticVariables> {
    let bytes = types::with_debug_information(command, build, out)?;
    let known = Facts::of(&bytes, &command.source)?;
    let place =
        |facts: &Facts, o: &DataObject| (o.name.clone(), facts.sections[o.section].name.clone(), o.offset, o.size);
    let all = |facts: &Facts| facts.objects.iter().map(|object| place(facts, object)).collect::<BTreeSet<_>>();
    if all(&known) != all(facts) {
        return refuse(
            OBJECT_INVALID,
            format!("GCC lays {} out in another way when it writes debug information", command.source),
        );
    }
    match parse(&bytes, &known) {
        Ok(found) => Ok(found),
        Err(why) => refuse(OBJECT_INVALID, format!("the variables of {} can't be read: {why}", command.source)),
    }
}

impl StaticVariables {
    /// A function's variables of this name, in the order of the source; those that aren't static are [`Stored::Nowhere`] too.
    /// Empty where the unit has no such function or variable.
    pub fn of(&self, function: &str, name: &str) -> &[Stored] {
        let key = (function.to_string(), name.to_string());
        self.found.get(&key).map_or(&[], Vec::as_slice)
    }

    /// How many symbols there are for variables of this name.
    pub fn count(&self, name: &str) -> usize {
        let of_name = self.found.iter().filter(|((_, known), _)| known == name);
        of_name.flat_map(|(_, stored)| stored).filter(|stored| **stored != Stored::Nowhere).count()
    }

    /// Is there a symbol of this name that belongs to nobody?
    pub fn has_unclaimed(&self, name: &str) -> bool {
        self.unclaimed.iter().any(|symbol| base_name(symbol) == Some(name))
    }
}

/// One variable's entry, which all its copies refer to.
#[derive(Default)]
struct Variable {
    function: String,
    name: String,
    /// File, line and column of its declaration.
    declared: (u64, u64, u64),
    /// The objects at its addresses; `None` for an address without one.
    symbols: BTreeSet<Option<String>>,
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

fn parse(bytes: &[u8], facts: &Facts) -> std::result::Result<StaticVariables, String> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes).map_err(|e| e.to_string())?;
    let sections = gimli::DwarfSections::load(|id| relocated(&file, id.name()))?;
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let mut variables: Vec<Variable> = Vec::new();
    let mut units = dwarf.units();
    let places = places(&file)?;
    while let Some(header) = units.next().map_err(|e| e.to_string())? {
        let unit = dwarf.unit(header).map_err(|e| e.to_string())?;
        let symbol = |offset: usize| {
            let (section, at) = *places.get(&offset)?;
            let mut here = facts.objects.iter().filter(|o| (o.section, o.offset) == (section, at) && o.size > 0);
            here.next().filter(|_| here.next().is_none()).map(|object| object.name.clone())
        };
        variables.extend(of_unit(&dwarf, &unit, &symbol).map_err(|e| e.to_string())?);
    }
    let mut found: BTreeMap<(String, String), Vec<Variable>> = BTreeMap::new();
    let mut claimed = BTreeSet::new();
    for variable in variables {
        claimed.extend(variable.symbols.iter().flatten().cloned());
        found.entry((variable.function.clone(), variable.name.clone())).or_default().push(variable);
    }
    let mut result = StaticVariables::default();
    for (key, mut variables) in found {
        variables.sort_by_key(|variable| variable.declared);
        let is_twice = |one: &Variable| variables.iter().filter(|other| other.declared == one.declared).count() > 1;
        let stored = variables.iter().map(|variable| {
            let symbols: Vec<_> = variable.symbols.iter().collect();
            match symbols[..] {
                [] => Stored::Nowhere,
                [Some(symbol)] if !is_twice(variable) => Stored::As(symbol.clone()),
                _ => Stored::Unknown,
            }
        });
        let stored = stored.collect();
        result.found.insert(key, stored);
    }
    let all = facts.objects.iter().map(|object| &object.name).filter(|name| base_name(name).is_some());
    result.unclaimed = all.filter(|name| !claimed.contains(*name)).cloned().collect();
    Ok(result)
}

/// Where the relocations of `.debug_info` lead: by their offset, the section and the offset in it.
fn places(file: &ElfFile64<'_>) -> std::result::Result<BTreeMap<usize, (usize, u64)>, String> {
    let mut found = BTreeMap::new();
    let section = file.section_by_name(".debug_info").ok_or("it has no debug information")?;
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
        if let Some(section) = symbol.section_index() {
            found.insert(offset as usize, (section.0, symbol.address().wrapping_add(relocation.addend() as u64)));
        }
    }
    Ok(found)
}

/// What one entry on the way down is to those below it.
struct Level {
    depth: isize,
    /// The function whose entry it is, by its own name or its abstract entry's.
    function: Option<usize>,
}

/// The variables of functions.
fn of_unit<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &gimli::Unit<Slice<'a>>,
    symbol: &dyn Fn(usize) -> Option<String>,
) -> gimli::Result<Vec<Variable>> {
    let mut path: Vec<Level> = Vec::new();
    let mut names: BTreeMap<usize, String> = BTreeMap::new();
    // By its entry's offset: the function's entry, the entry that it is a copy of, its place and its symbol.
    let mut entries: BTreeMap<usize, (usize, Option<usize>, Variable)> = BTreeMap::new();
    let mut copies: BTreeMap<usize, usize> = BTreeMap::new();
    let mut cursor = unit.entries();
    while let Some(entry) = cursor.next_dfs()? {
        let depth = entry.depth();
        while path.last().is_some_and(|level| level.depth >= depth) {
            path.pop();
        }
        let offset = entry.offset().0;
        let reference = |name| match entry.attr_value(name) {
            Some(AttributeValue::UnitRef(to)) => Some(to.0),
            _ => None,
        };
        let origin = reference(DW_AT_abstract_origin).or_else(|| reference(DW_AT_specification));
        let name = match entry.attr_value(DW_AT_name) {
            Some(value) => dwarf.attr_string(unit, value)?.to_string_lossy().into_owned(),
            None => String::new(),
        };
        let inherited = path.last().and_then(|level| level.function);
        let mut function = inherited;
        match entry.tag() {
            DW_TAG_subprogram | DW_TAG_inlined_subroutine => {
                function = Some(offset);
                names.insert(offset, name);
                if let Some(origin) = origin {
                    copies.insert(offset, origin);
                }
            }
            DW_TAG_variable => {
                let declares = matches!(entry.attr_value(DW_AT_declaration), Some(AttributeValue::Flag(true)));
                if let Some(function) = inherited.filter(|_| !declares) {
                    let number = |name| entry.attr(name).and_then(|attr| attr.udata_value()).unwrap_or(0);
                    let file = match entry.attr_value(DW_AT_decl_file) {
                        Some(AttributeValue::FileIndex(file)) => file,
                        _ => 0,
                    };
                    let mut variable = Variable {
                        name,
                        declared: (file, number(DW_AT_decl_line), number(DW_AT_decl_column)),
                        ..Variable::default()
                    };
                    if let Some(at) = address(entry, dwarf) {
                        variable.symbols.insert(symbol(at));
                    }
                    entries.insert(offset, (function, origin, variable));
                }
            }
            _ => {}
        }
        path.push(Level { depth, function });
    }
    let root = |mut function: usize| {
        while let Some(origin) = copies.get(&function) {
            function = *origin;
        }
        function
    };
    let of_copies: Vec<(usize, BTreeSet<Option<String>>)> =
        entries.values().filter_map(|(_, origin, variable)| Some(((*origin)?, variable.symbols.clone()))).collect();
    for (origin, symbols) in of_copies {
        let mut origin = origin;
        while let Some((_, Some(next), _)) = entries.get(&origin) {
            origin = *next;
        }
        if let Some((_, _, variable)) = entries.get_mut(&origin) {
            variable.symbols.extend(symbols);
        }
    }
    let own = entries.into_values().filter(|(_, origin, _)| origin.is_none());
    let named = own.map(|(function, _, variable)| {
        let function = names.get(&root(function)).cloned().unwrap_or_default();
        Variable { function, ..variable }
    });
    Ok(named.collect())
}

/// The offset in `.debug_info` of the address that a variable's location is, if it is one.
fn address(entry: &gimli::DebuggingInformationEntry<Slice<'_>>, dwarf: &Dwarf<Slice<'_>>) -> Option<usize> {
    let Some(AttributeValue::Exprloc(expression)) = entry.attr_value(DW_AT_location) else { return None };
    let bytes = expression.0;
    let is_address = bytes.len() == 9 && bytes.slice().first() == Some(&DW_OP_addr.0);
    is_address.then(|| bytes.offset_from(*dwarf.debug_info.reader()) + 1)
}
