//! Is a recompiled function the one that runs? Its bytes held against the running kernel's own.
//!
//! A function is faithful if it has its symbol where the unit's layout puts it, if its bytes are the same but for relocated
//! fields, if each of those leads to what the object file means (symbols by address, strings and constants by their
//! contents), and if the entries of the special tables about it are the same. The image on disk is compared, so that nothing
//! that the kernel rewrites while booting (alternatives, paravirt, jump labels, static calls, ftrace) differs; of what the
//! build rewrites after the compiler, only objtool's jump labels concern code.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Binding, Facts, Function, FunctionId, Place, Relocation, Role, Section};
use super::layout::{Base, Layout};
use super::references::decode;
use super::running::{At, Running, Spot};

/// Why a weak function is not the one that runs.
pub const OVERRIDDEN: &str = "it is weak, and the running kernel has another object's version";

/// What the comparison yields, by the functions' names.
#[derive(Debug, Default)]
pub struct Fidelity {
    pub faithful: BTreeSet<String>,
    /// With what differs.
    pub unfaithful: BTreeMap<String, String>,
    /// With why nothing can be said.
    pub unknown: BTreeMap<String, String>,
}

impl Fidelity {
    fn add(&mut self, name: &str, same: Same) {
        match same {
            Ok(()) => drop(self.faithful.insert(name.into())),
            Err(Why::Differs(what)) => drop(self.unfaithful.insert(name.into(), what)),
            Err(Why::Unknown(why)) => drop(self.unknown.insert(name.into(), why)),
        }
    }
}

/// Why a function is not faithful.
#[derive(Debug, Clone)]
enum Why {
    Differs(String),
    Unknown(String),
}

type Same = Result<(), Why>;

fn differs<T>(what: impl Into<String>) -> Result<T, Why> {
    Err(Why::Differs(what.into()))
}

/// Compares the functions that `wanted` says of a recompiled unit. `layout` as far as it is known.
pub fn compare(facts: &Facts, layout: Layout, running: &Running<'_>, wanted: impl Fn(&str) -> bool) -> Fidelity {
    functions(&mut Comparison::new(facts, layout, running), wanted)
}

/// As [`compare`], of all functions and of all objects that have contents: for what nobody has run yet.
pub fn compare_with_data(facts: &Facts, layout: Layout, running: &Running<'_>) -> Fidelity {
    let mut compared = Comparison::new(facts, layout, running);
    let mut fidelity = functions(&mut compared, |_| true);
    for object in facts.objects.iter().filter(|object| object.initialised && object.size > 0) {
        let section = &facts.sections[object.section];
        if !matches!(section.role, Role::Data | Role::Const) {
            continue;
        }
        let same = match compared.base(object.section) {
            Some(base) => compared.contents(object.section, object.offset as i64, base),
            None => Err(Why::Unknown(format!("nothing tells where {} is", section.name))),
        };
        fidelity.add(&object.name, same);
    }
    fidelity
}

fn functions(compared: &mut Comparison, wanted: impl Fn(&str) -> bool) -> Fidelity {
    let facts = compared.facts;
    compared.place_voteless_sections();
    let mut fidelity = Fidelity::default();
    let wholes = (0..facts.functions.len()).map(FunctionId).filter(|id| facts.function(*id).cold_of.is_none());
    // Calls from the others may tell where a section lies that nothing else tells of.
    let (placed, unplaced): (Vec<FunctionId>, Vec<FunctionId>) =
        wholes.partition(|id| compared.base(facts.function(*id).section).is_some());
    for id in placed.into_iter().chain(unplaced) {
        let function = facts.function(id);
        let names = std::iter::once((&function.name, function.binding))
            .chain(function.aliases.iter().map(|(name, binding)| (name, *binding)));
        let names: Vec<_> = names.filter(|(name, _)| wanted(name)).collect();
        if names.is_empty() {
            continue;
        }
        let placed = compared.place_anywhere(function.section);
        let same = compared.whole(id);
        for (name, binding) in names {
            fidelity.add(name, compared.has_symbol(function, name, binding, &placed).and_then(|()| same.clone()));
        }
    }
    fidelity
}

/// Jumps of static branches that objtool overwrites (tools/objtool/check.c, handle_jump_alt(), CONFIG_HAVE_JUMP_LABEL_HACK):
/// those whose key has bit 1 set in `__jump_table`.
fn nops(facts: &Facts) -> BTreeSet<(usize, u64)> {
    let mut nops = BTreeSet::new();
    for table in facts.sections.iter().filter(|section| section.name.starts_with("__jump_table")) {
        let places: Vec<&Place> = table.relocations.values().map(|relocation| &relocation.place).collect();
        for entry in places.chunks_exact(3) {
            let (Place::Here(section, at), Place::Here(_, key) | Place::Elsewhere(_, key)) = (entry[0], entry[2])
            else {
                continue;
            };
            if key & 2 != 0 {
                nops.insert((*section, *at as u64));
            }
        }
    }
    nops
}

/// What arch_nop_insn() puts there (tools/objtool/arch/x86/decode.c).
fn nop(length: usize) -> Option<&'static [u8]> {
    match length {
        2 => Some(&[0x66, 0x90]),
        5 => Some(&[0x0f, 0x1f, 0x44, 0x00, 0x00]),
        _ => None,
    }
}

/// Special tables: name, and number of relocated fields an entry (struct bug_entry, include/asm-generic/bug.h;
/// exception_table_entry, arch/x86/include/asm/extable.h; jump_entry, include/linux/jump_label.h; alt_instr,
/// arch/x86/include/asm/alternative.h). What only lists places of code follows from the code.
const TABLES: &[(&str, usize)] = &[("__bug_table", 2), ("__ex_table", 2), ("__jump_table", 3), (".altinstructions", 2)];

struct Comparison<'a> {
    facts: &'a Facts,
    running: &'a Running<'a>,
    layout: Layout,
    /// Places of sections without a name that tells them, taken from the first reference: all others must agree.
    learned: BTreeMap<usize, Base>,
    /// Stretches of constant data that were compared, by section and start.
    contents: BTreeMap<(usize, u64), Same>,
    nops: BTreeSet<(usize, u64)>,
    /// The running object's table entries by the place that their first field leads to.
    tables: BTreeMap<&'static str, BTreeMap<At, Vec<At>>>,
}

impl<'a> Comparison<'a> {
    fn new(facts: &'a Facts, layout: Layout, running: &'a Running<'a>) -> Comparison<'a> {
        Comparison {
            facts,
            running,
            layout,
            learned: BTreeMap::new(),
            contents: BTreeMap::new(),
            nops: nops(facts),
            tables: BTreeMap::new(),
        }
    }

    fn base(&self, section: usize) -> Option<Base> {
        self.layout.base(section).or_else(|| self.learned.get(&section).copied())
    }

    /// Would all code of a section be the running kernel's if it lay there? Leaves nothing behind.
    fn fits_at(&mut self, index: usize, base: Base) -> bool {
        let (learned, contents) = (self.learned.clone(), self.contents.clone());
        self.learned.insert(index, base);
        let functions = (0..self.facts.functions.len()).map(FunctionId);
        let functions: Vec<_> = functions.filter(|id| self.facts.function(*id).section == index).collect();
        let fits = functions.into_iter().all(|id| self.part(id).is_ok());
        (self.learned, self.contents) = (learned, contents);
        fits
    }

    /// A section of nothing but weak functions (lib/clz_ctz.c) has no vote in the layout: it lies where all of them fit.
    fn place_voteless_sections(&mut self) {
        for index in 0..self.facts.sections.len() {
            let places = self.places(index);
            let same: Vec<Base> = match places.as_slice() {
                [only] => vec![*only],
                // Several symbols of the name (lib/crypto/blake2s.c, blake2s_mod_init): the code tells which is meant.
                several => several.iter().copied().filter(|base| self.fits_at(index, *base)).collect(),
            };
            if let [base] = same.as_slice() {
                self.learned.insert(index, *base);
            }
        }
    }

    /// Where nothing tells which of several places is a section's, and all of them have the same code (`__pgd`, an inline
    /// function that several units have emitted), any will do. Else why the section has no place.
    fn place_anywhere(&mut self, index: usize) -> Same {
        if self.base(index).is_some() {
            return Ok(());
        }
        let facts = self.facts;
        let name = &facts.sections[index].name;
        let places = self.places(index);
        if self.layout.is_scattered(index) || places.is_empty() {
            return differs(format!("nowhere does the running kernel have the functions of {name} as they lie here"));
        }
        match places.iter().filter(|base| self.fits_at(index, **base)).count() {
            0 => differs(format!("none of the running kernel's {} functions of its name has its code", places.len())),
            fitting if fitting == places.len() => {
                self.learned.insert(index, places[0]);
                Ok(())
            }
            _ => Err(Why::Unknown(format!("nothing tells where the running kernel has the section {name}"))),
        }
    }

    /// The places at which the running kernel has all symbols of a section that has no place yet.
    fn places(&self, index: usize) -> Vec<Base> {
        let functions: Vec<&Function> = self.facts.functions.iter().filter(|f| f.section == index).collect();
        let Some(first) = functions.first().filter(|_| self.base(index).is_none()) else { return Vec::new() };
        let symbols = self.running.symbols;
        let fits = |base: &Base| {
            functions.iter().all(|function| {
                let address = base.1.wrapping_add(function.offset as i64) as u64;
                symbols.named(&function.name).any(|symbol| (symbol.section, symbol.address) == (base.0, address))
            })
        };
        let named = symbols.named(&first.name);
        let bases = named.map(|symbol| (symbol.section, symbol.address.wrapping_sub(first.offset) as i64));
        bases.filter(fits).collect()
    }

    fn has_symbol(&self, function: &Function, name: &str, binding: Binding, placed: &Same) -> Same {
        let symbols = self.running.symbols;
        let Some(other) = symbols.named(name).next() else {
            let section = &self.facts.sections[function.section];
            if section.is_boot() {
                return Err(Why::Unknown(format!("{} is not kept once the module is loaded", section.name)));
            }
            return differs("the running kernel has no such symbol");
        };
        let Some(base) = self.base(function.section) else { return placed.clone() };
        let address = base.1.wrapping_add(function.offset as i64) as u64;
        if symbols.named(name).any(|symbol| (symbol.section, symbol.address) == (base.0, address)) {
            return Ok(());
        }
        if binding == Binding::Weak {
            return differs(OVERRIDDEN);
        }
        differs(format!(
            "it lies elsewhere in its section than in the running kernel ({:+} bytes)",
            other.address.wrapping_sub(address) as i64
        ))
    }

    /// A function with its `.cold` parts and its table entries.
    fn whole(&mut self, id: FunctionId) -> Same {
        let parts = self.facts.parts(id);
        for part in &parts {
            let function = self.facts.function(*part);
            self.part(*part).map_err(|why| match why {
                Why::Differs(what) if *part != id => Why::Differs(format!("{}: {what}", function.name)),
                why => why,
            })?;
        }
        for (name, fields) in TABLES {
            self.table(name, *fields, &parts)?;
        }
        Ok(())
    }

    fn part(&mut self, id: FunctionId) -> Same {
        let (facts, function) = (self.facts, self.facts.function(id));
        let section = &facts.sections[function.section];
        if function.size == 0 {
            return Err(Why::Unknown("its symbol has no size".into()));
        }
        let Some(base) = self.base(function.section) else {
            return Err(Why::Unknown(format!("nothing tells where the running kernel has {}", section.name)));
        };
        let start = (base.0, base.1.wrapping_add(function.offset as i64) as u64);
        let Some(code) = self.running.bytes(start, function.size as usize) else {
            return differs("the running kernel has no code there");
        };
        // Every function was decoded when the object was read, so that decoding can't fail here.
        let mut fields = 0;
        for instruction in decode(facts, id).unwrap_or_default() {
            let (from, end) = (instruction.offset, instruction.end);
            let within = (from - function.offset) as usize..(end - function.offset) as usize;
            let ours = &section.data[from as usize..end as usize];
            if self.nops.contains(&(function.section, from)) {
                if nop(ours.len()) != Some(&code[within.clone()]) {
                    let (start, theirs) = (within.start, hex(&code[within]));
                    return differs(format!("at +{start:#x} the running kernel has {theirs}, not a jump label"));
                }
                continue;
            }
            let relocations: Vec<_> = section.relocations.range(from..end).collect();
            fields += relocations.len();
            if !equal(ours, &code[within.clone()], from, &relocations) {
                let (start, theirs) = (within.start, hex(&code[within]));
                return differs(format!("at +{start:#x} it has {} where the running kernel has {theirs}", hex(ours)));
            }
            for (at, relocation) in relocations {
                let distance = if relocation.pc_relative { (end - at) as i64 } else { 0 };
                self.field((base.0, base.1.wrapping_add(*at as i64) as u64), relocation, distance)
                    .map_err(|why| locate(why, &format!("at +{:#x}", at - function.offset)))?;
            }
        }
        match self.running.relocations(start, function.size) {
            Some(count) if count != fields => {
                differs(format!("it has {fields} relocations, the running kernel's {count}"))
            }
            _ => Ok(()),
        }
    }

    /// One relocated field: `distance` is what lies between it and the end of its instruction, if it counts from there.
    fn field(&mut self, at: At, relocation: &Relocation, distance: i64) -> Same {
        let Some(spot) = self.running.leads(at, relocation) else {
            return differs("the running kernel has no relocation of this kind");
        };
        match &relocation.place {
            Place::Elsewhere(name, addend) => self.named(name, *addend, &spot),
            Place::Here(section, offset) => self.here(*section, *offset, distance, &spot),
        }
    }

    fn named(&self, name: &str, addend: i64, spot: &Spot) -> Same {
        let found = match spot {
            Spot::Symbol(other, offset) => other == name && *offset == addend,
            Spot::At((section, address)) => {
                let symbols = self.running.symbols;
                let fits = |at: u64| at.wrapping_add_signed(addend) == *address;
                // A weak symbol that nobody defines is 0 in vmlinux.
                (!symbols.contains(name) && *section == 0 && fits(0))
                    || symbols.named(name).any(|symbol| symbol.section == *section && fits(symbol.address))
            }
        };
        if found {
            return Ok(());
        }
        if !self.running.symbols.contains(name) && matches!(spot, Spot::At(_)) {
            return Err(Why::Unknown(format!("it leads to {name}, which the running kernel's symbols don't tell")));
        }
        differs(format!("it leads to {}, not to {name}", self.describe(spot, addend)))
    }

    fn here(&mut self, index: usize, offset: i64, distance: i64, spot: &Spot) -> Same {
        let facts = self.facts;
        let section = &facts.sections[index];
        let meant = offset + distance;
        let Spot::At(at) = spot else {
            return differs(format!("it leads to {}, not into its own {}", self.describe(spot, 0), section.name));
        };
        let reached = (at.0, at.1.wrapping_add_signed(distance));
        let stretch = match section.role {
            Role::Strings => Some(string_length(section, meant)),
            Role::Constants => {
                Some(section.entry_size.max(1) as i64 - meant.rem_euclid(section.entry_size.max(1) as i64))
            }
            _ => None,
        };
        if let Some(length) = stretch {
            let ours = usize::try_from(meant).ok().and_then(|at| section.data.get(at..at + length as usize));
            return match (ours, self.running.bytes(reached, length as usize)) {
                (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
                (ours, _) => differs(format!(
                    "it leads to {} where the running kernel has {}",
                    shown(ours.unwrap_or_default()),
                    shown(self.running.from(reached).unwrap_or_default())
                )),
            };
        }
        let base = match self.base(index) {
            Some(base) => base,
            None => *self.learned.entry(index).or_insert((at.0, at.1.wrapping_sub(offset as u64) as i64)),
        };
        if *at != (base.0, base.1.wrapping_add(offset) as u64) && !self.is_overridden(index, meant, reached) {
            let shown = format!("{}{meant:+#x}", section.name);
            let name = facts.function_at(index, meant).map(|id| facts.function(id).name.as_str());
            let name = name.or_else(|| facts.object_at(index, meant).map(|object| object.name.as_str()));
            return differs(format!(
                "it leads to {}, not to {}",
                self.describe(spot, offset - meant),
                name.unwrap_or(&shown)
            ));
        }
        match section.role {
            // resolve_btfids fills in the numbers after linking (scripts/link-vmlinux.sh).
            Role::Const if section.name.starts_with(".BTF_ids") => Ok(()),
            Role::Const | Role::Replacement => self.contents(index, meant, base),
            _ => Ok(()),
        }
    }

    /// Is the thing at a place weak, and the running kernel's at `reached` another object's of that name?
    fn is_overridden(&self, index: usize, offset: i64, reached: At) -> bool {
        let facts = self.facts;
        let function = facts.function_at(index, offset).map(|id| facts.function(id));
        let function = function.filter(|f| f.binding == Binding::Weak).map(|f| (&f.name, f.offset));
        let object = facts.object_at(index, offset).filter(|o| o.binding == Binding::Weak).map(|o| (&o.name, o.offset));
        function.or(object).is_some_and(|(name, start)| {
            let within = offset - start as i64;
            let mut named = self.running.symbols.named(name);
            named.any(|symbol| (symbol.section, symbol.address.wrapping_add_signed(within)) == reached)
        })
    }

    /// Constant data, or an alternative's code, from where something begins to where the next thing does.
    fn contents(&mut self, index: usize, offset: i64, base: Base) -> Same {
        let facts = self.facts;
        let section = &facts.sections[index];
        let (start, end) = match facts.object_at(index, offset) {
            Some(object) if object.size > 0 => (object.offset, object.offset.saturating_add(object.size)),
            _ => {
                let start = u64::try_from(offset).unwrap_or(0).min(section.size);
                // Code may name what lies behind the last object: the end of a loop.
                (start, section.landmarks.range(start + 1..).next().copied().unwrap_or(section.size).min(section.size))
            }
        };
        if start >= end {
            return Ok(());
        }
        if let Some(known) = self.contents.get(&(index, start)) {
            return known.clone();
        }
        // Data that points to itself ends here.
        self.contents.insert((index, start), Ok(()));
        let at = (base.0, base.1.wrapping_add(start as i64) as u64);
        let name = facts.object_at(index, offset).map_or(section.name.as_str(), |object| object.name.as_str());
        let same = self.stretch(section, start..end, at).map_err(|why| locate(why, &format!("in {name}")));
        self.contents.insert((index, start), same.clone());
        same
    }

    /// Bytes of data and what its pointers lead to.
    fn stretch(&mut self, section: &Section, range: std::ops::Range<u64>, at: At) -> Same {
        let length = (range.end - range.start) as usize;
        let ours = section.data.get(range.start as usize..range.end as usize).unwrap_or_default();
        let relocations: Vec<_> = section.relocations.range(range.clone()).collect();
        match self.running.bytes(at, length) {
            Some(theirs) if equal(ours, theirs, range.start, &relocations) => {}
            Some(_) => return differs("its contents differ"),
            None => return differs("the running kernel has no contents there"),
        }
        for (offset, relocation) in relocations {
            // A branch in an alternative's code counts from its end; tables of distances count from the field.
            let distance = if relocation.pc_relative && section.role == Role::Replacement { 4 } else { 0 };
            let field = (at.0, at.1.wrapping_add(offset - range.start));
            self.field(field, relocation, distance)
                .map_err(|why| locate(why, &format!("at +{:#x}", offset - range.start)))?;
        }
        Ok(())
    }

    /// Each entry about the code must be one of the running object's entries about it.
    fn table(&mut self, name: &'static str, fields: usize, parts: &[FunctionId]) -> Same {
        let facts = self.facts;
        for section in facts.sections.iter().filter(|section| section.name.starts_with(name)) {
            let starts: Vec<u64> = section.relocations.keys().copied().collect();
            let entries = starts.len() / fields;
            if entries == 0 {
                continue;
            }
            let size = section.size / entries as u64;
            for start in starts.chunks_exact(fields).map(|entry| entry[0]) {
                let Place::Here(text, at) = section.relocations[&start].place else { continue };
                if !facts.function_at(text, at).is_some_and(|owner| parts.contains(&owner)) {
                    continue;
                }
                let Some(base) = self.base(text) else { continue };
                let place = (base.0, base.1.wrapping_add(at) as u64);
                self.entry(name, section, start..start + size, place)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &'static str, section: &Section, range: std::ops::Range<u64>, place: At) -> Same {
        let size = range.end - range.start;
        if !self.tables.contains_key(name) {
            let first = &section.relocations[&range.start];
            self.tables.insert(name, index_table(self.running, name, size, first));
        }
        let candidates = self.tables[name].get(&place).cloned().unwrap_or_default();
        let mut why = Why::Differs("the running kernel has no entry for it".into());
        for candidate in candidates {
            match self.stretch(section, range.clone(), candidate) {
                Ok(()) => return Ok(()),
                Err(other) => why = other,
            }
        }
        Err(locate(why, &format!("in {name}, about {:#x}", place.1)))
    }

    /// A place of the running object by its symbol.
    fn describe(&self, spot: &Spot, addend: i64) -> String {
        match spot {
            Spot::Symbol(name, _) => name.clone(),
            Spot::At((section, address)) => {
                let address = address.wrapping_sub(addend as u64);
                let all = self.running.symbols.all().iter();
                let before = all.filter(|symbol| symbol.section == *section && symbol.address <= address);
                match before.max_by_key(|symbol| symbol.address) {
                    Some(symbol) if symbol.address == address => symbol.name.clone(),
                    Some(symbol) => format!("{}+{:#x}", symbol.name, address - symbol.address),
                    None => format!("{address:#x}"),
                }
            }
        }
    }
}

fn index_table(running: &Running<'_>, name: &str, size: u64, first: &Relocation) -> BTreeMap<At, Vec<At>> {
    let mut index: BTreeMap<At, Vec<At>> = BTreeMap::new();
    let Some(((section, start), length)) = running.table(name) else { return index };
    for entry in (0..length / size).map(|number| (section, start + number * size)) {
        if let Some(Spot::At(place)) = running.leads(entry, first) {
            index.entry(place).or_default().push(entry);
        }
    }
    index
}

fn locate(why: Why, place: &str) -> Why {
    match why {
        Why::Differs(what) => Why::Differs(format!("{place} {what}")),
        unknown => unknown,
    }
}

/// Are two stretches the same but for relocated fields?
fn equal(ours: &[u8], theirs: &[u8], start: u64, relocations: &[(&u64, &Relocation)]) -> bool {
    let is_relocated = |index: usize| {
        let at = start + index as u64;
        relocations.iter().any(|(offset, relocation)| (**offset..**offset + u64::from(relocation.width)).contains(&at))
    };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).enumerate().all(|(index, (ours, theirs))| ours == theirs || is_relocated(index))
}

/// Length of a string with its end, in bytes; wide ones (`.rodata.str2.2`) end with a wide zero.
fn string_length(section: &Section, offset: i64) -> i64 {
    let width = section.entry_size.max(1) as usize;
    let rest = usize::try_from(offset).ok().and_then(|at| section.data.get(at..)).unwrap_or_default();
    let end = rest.chunks_exact(width).position(|unit| unit.iter().all(|byte| *byte == 0));
    end.map_or(rest.len(), |units| (units + 1) * width) as i64
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The beginning of a string or constant, for messages.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 60;
    // A format may begin with KERN_SOH and its level (include/linux/kern_levels.h).
    let text = bytes.strip_prefix(&[1]).unwrap_or(bytes);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len()).min(LONGEST);
    match std::str::from_utf8(&text[..end]) {
        Ok(text) if end > 0 => format!("{text:?}"),
        _ => hex(&bytes[..bytes.len().min(16)]),
    }
}
