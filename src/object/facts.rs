//! What a relocatable object file says of itself: sections, functions, data objects, calls and references.
//!
//! Format: ELF64 x86-64 relocatable, as GCC and gas write it (System V ABI, AMD64 supplement, section 4.4 for
//! relocations). Nothing here depends on the kernel's version; special sections are known by name only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ::object::read::elf::ElfFile64;
use ::object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget, elf};
use ::object::{SectionFlags, SymbolKind};

use crate::finding::{OBJECT_INVALID, Result, io, refuse};

pub use super::references::{Call, DataReference, Holder, Reference};
use super::{references, sound};

/// Symbol binding (ELF `st_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    Local,
    Global,
    Weak,
}

/// What a section is to a reader of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Code that runs under its own function's name.
    Text,
    /// Replacement instructions of alternatives: code of the function whose alternative it is.
    Replacement,
    /// NUL-terminated strings that the linker merges.
    Strings,
    /// Constants without symbols that the linker merges (`.rodata.cst16`).
    Constants,
    /// Other data that is never written.
    Const,
    Data,
    /// `__ksymtab*`, `.export_symbol`: names what is exported.
    Export,
    /// Pointers that are called once while booting or loading (`.initcall*`) or unloading.
    Initcall,
    /// Tables about the code of functions (`__bug_table`, `.orc_unwind`, ...): neither callers nor data.
    Special,
    /// Not part of the running kernel (`.discard*`, `.debug*`).
    Ignored,
}

/// One section of the object file; the index in [`Facts::sections`] is ELF's.
#[derive(Debug)]
pub struct Section {
    pub name: String,
    pub role: Role,
    pub size: u64,
    /// Bytes between entries of a mergeable section, 0 elsewhere.
    pub entry_size: u64,
    /// Contents before relocation; empty for `.bss` and for what is ignored.
    pub data: Vec<u8>,
    /// By offset in the section.
    pub relocations: BTreeMap<u64, Relocation>,
    /// Offsets at which something begins: an object, or one of the compiler's and the assembler's labels. Where the object
    /// file was made without those, what is referred to.
    pub landmarks: BTreeSet<u64>,
}

impl Section {
    pub fn is_boot(&self) -> bool {
        self.name.starts_with(".init") || self.name.starts_with(".exit") || self.name == ".head.text"
    }
}

/// Where a relocation or a branch leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Section index and offset in it.
    Here(usize, i64),
    /// A symbol of another object, and an offset from it.
    Elsewhere(String, i64),
}

#[derive(Debug, Clone)]
pub struct Relocation {
    /// ELF `r_type`.
    pub kind: u32,
    /// Width of the relocated field in bytes.
    pub width: u8,
    pub pc_relative: bool,
    /// Symbol plus addend. For a PC-relative field in code, the distance from the field to the end of the instruction is
    /// still missing; see [`Relocation::from_instruction`].
    pub place: Place,
}

impl Relocation {
    /// Does it lead to an entry of the global offset table, which holds the address?
    pub fn is_indirect(&self) -> bool {
        let kinds = [elf::R_X86_64_GOTPCREL, elf::R_X86_64_GOTPCRELX, elf::R_X86_64_REX_GOTPCRELX];
        kinds.iter().any(|kind| kind.0 == self.kind)
    }

    /// The place that an instruction means which ends at `end` and has this relocation at `offset`.
    pub fn from_instruction(&self, offset: u64, end: u64) -> Place {
        let distance = if self.pc_relative { end as i64 - offset as i64 } else { 0 };
        match &self.place {
            Place::Here(section, at) => Place::Here(*section, at + distance),
            Place::Elsewhere(name, at) => Place::Elsewhere(name.clone(), at + distance),
        }
    }
}

/// Index into [`Facts::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionId(pub usize);

/// A function symbol with code in this object.
#[derive(Debug, Clone)]
pub struct Function {
    pub name: String,
    pub binding: Binding,
    pub section: usize,
    /// In the section.
    pub offset: u64,
    pub size: u64,
    /// Other symbols of the same address, in the symbol table's order: aliases, or functions that GCC folded.
    pub aliases: Vec<(String, Binding)>,
    /// Does ftrace have a site at its entry?
    pub ftrace_site: bool,
    /// For a `.cold` part: the function it belongs to.
    pub cold_of: Option<FunctionId>,
}

impl Function {
    /// All of its names, aliases included.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).chain(self.aliases.iter().map(|(name, _)| name))
    }
}

/// What this object file has under a name.
#[derive(Debug, Clone, Copy)]
pub struct Defined {
    pub is_function: bool,
    pub binding: Binding,
    pub section: usize,
}

/// A data symbol.
#[derive(Debug, Clone)]
pub struct DataObject {
    pub name: String,
    pub binding: Binding,
    pub section: usize,
    pub offset: u64,
    pub size: u64,
    /// Has it contents of its own (not `.bss`)?
    pub initialised: bool,
}

/// Everything read from one object file.
#[derive(Debug)]
pub struct Facts {
    pub sections: Vec<Section>,
    /// By section and offset.
    pub functions: Vec<Function>,
    /// By section and offset.
    pub objects: Vec<DataObject>,
    pub exports: BTreeSet<String>,
    /// Every call and tail jump to a function of this object, in code order.
    pub calls: Vec<Call>,
    /// Every other use of a function's address, in section order.
    pub references: Vec<Reference>,
    /// Every use of a data object of this object file by code or initialisers, in the same order.
    pub data_references: Vec<DataReference>,
    by_name: BTreeMap<String, FunctionId>,
    by_place: BTreeMap<(usize, u64), FunctionId>,
    object_by_place: BTreeMap<(usize, u64), usize>,
}

impl Facts {
    /// Reads an object file; `OBJECT_INVALID` where it is no relocatable x86-64 ELF file.
    pub fn read(path: &Path) -> Result<Facts> {
        Facts::of(&fs::read(path).map_err(io("read", path))?, &path.to_string_lossy())
    }

    /// As [`Facts::read`], of an object file's contents; `name` is for messages.
    pub fn of(bytes: &[u8], name: &str) -> Result<Facts> {
        match Facts::parse(bytes) {
            Ok(facts) => Ok(facts),
            Err(error) => refuse(OBJECT_INVALID, format!("cannot read the object file of {name}: {error}")),
        }
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Facts, String> {
        sound::check(bytes)?;
        let file: ElfFile64<'_> = ElfFile64::parse(bytes).map_err(|e| e.to_string())?;
        if file.architecture() != ::object::Architecture::X86_64 || file.kind() != ::object::ObjectKind::Relocatable {
            return Err("it is not a relocatable x86-64 ELF file".into());
        }
        let mut sections = read_sections(&file)?;
        let (mut functions, mut objects) = read_symbols(&file, &mut sections)?;
        functions.sort_by_key(|f| (f.section, f.offset));
        objects.sort_by_key(|o| (o.section, o.offset));
        mark_ftrace_sites(&sections, &mut functions);
        let mut facts = Facts {
            by_name: BTreeMap::new(),
            by_place: functions.iter().enumerate().map(|(i, f)| ((f.section, f.offset), FunctionId(i))).collect(),
            object_by_place: BTreeMap::new(),
            sections,
            functions,
            objects,
            exports: BTreeSet::new(),
            calls: Vec::new(),
            references: Vec::new(),
            data_references: Vec::new(),
        };
        for (index, function) in facts.functions.iter().enumerate() {
            for name in function.names() {
                facts.by_name.insert(name.clone(), FunctionId(index));
            }
        }
        for (index, object) in facts.objects.iter().enumerate() {
            let place = (object.section, object.offset);
            let known = facts.object_by_place.entry(place).or_insert(index);
            // An empty object (a lock class without lockdep) shares its address with whatever follows.
            if facts.objects[*known].size == 0 {
                *known = index;
            }
        }
        facts.link_cold_parts();
        facts.mark_landmarks();
        let found = references::scan(&facts)?;
        facts.calls = found.calls;
        facts.references = found.references;
        facts.data_references = found.data_references;
        facts.exports = found.exports;
        Ok(facts)
    }

    /// Only the sections with their relocations, of an object file or a module, by ELF's section index.
    pub fn sections(bytes: &[u8]) -> std::result::Result<Vec<Section>, String> {
        sound::check(bytes)?;
        let file: ElfFile64<'_> = ElfFile64::parse(bytes).map_err(|e| e.to_string())?;
        read_sections(&file)
    }

    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.0]
    }

    /// The function of this name; aliases count.
    pub fn named(&self, name: &str) -> Option<FunctionId> {
        self.by_name.get(name).copied()
    }

    pub fn object_named(&self, name: &str) -> Option<&DataObject> {
        self.objects.iter().find(|o| o.name == name)
    }

    /// The function or object of this name.
    pub fn symbol(&self, name: &str) -> Option<Defined> {
        let function = self.named(name).map(|id| self.function(id));
        let function = function.map(|f| Defined { is_function: true, binding: f.binding, section: f.section });
        let object = |o: &DataObject| Defined { is_function: false, binding: o.binding, section: o.section };
        function.or_else(|| self.object_named(name).map(object))
    }

    /// The function whose code covers a place of this object.
    pub fn function_at(&self, section: usize, offset: i64) -> Option<FunctionId> {
        let offset = u64::try_from(offset).ok()?;
        let (_, id) = self.by_place.range((section, 0)..=(section, offset)).next_back()?;
        let function = self.function(*id);
        (offset == function.offset || offset < function.offset + function.size).then_some(*id)
    }

    /// The data object that covers a place of this object.
    pub fn object_at(&self, section: usize, offset: i64) -> Option<&DataObject> {
        self.object_index_at(section, offset).map(|index| &self.objects[index])
    }

    /// Index into [`Facts::objects`] of the data object that covers a place.
    pub fn object_index_at(&self, section: usize, offset: i64) -> Option<usize> {
        let offset = u64::try_from(offset).ok()?;
        let (_, index) = self.object_by_place.range((section, 0)..=(section, offset)).next_back()?;
        let object = &self.objects[*index];
        (offset == object.offset || offset < object.offset + object.size).then_some(*index)
    }

    /// The data object whose last byte lies before a place.
    pub fn object_ending_at(&self, section: usize, offset: i64) -> Option<&DataObject> {
        let offset = u64::try_from(offset).ok()?;
        let (_, index) = self.object_by_place.range((section, 0)..(section, offset)).next_back()?;
        Some(&self.objects[*index]).filter(|object| object.offset + object.size == offset)
    }

    /// Objects without a size (`struct lock_class_key` on kernels without lockdep) at a place. Whether a reference means
    /// them or the object that begins there can't be told.
    pub fn empty_objects_at(&self, section: usize, offset: i64) -> impl Iterator<Item = &DataObject> {
        let place = (section, offset.max(0) as u64);
        let start = self.objects.partition_point(|o| (o.section, o.offset) < place);
        self.objects[start..].iter().take_while(move |o| (o.section, o.offset) == place).filter(|o| o.size == 0)
    }

    /// A function and its `.cold` parts.
    pub fn parts(&self, id: FunctionId) -> Vec<FunctionId> {
        let cold = (0..self.functions.len()).map(FunctionId).filter(|c| self.function(*c).cold_of == Some(id));
        std::iter::once(id).chain(cold).collect()
    }

    /// The function itself, or the one that it is a `.cold` part of.
    pub fn whole(&self, id: FunctionId) -> FunctionId {
        self.function(id).cold_of.unwrap_or(id)
    }

    fn link_cold_parts(&mut self) {
        for index in 0..self.functions.len() {
            let owner = self.functions[index].name.strip_suffix(".cold").and_then(|name| self.named(name));
            self.functions[index].cold_of = owner;
        }
    }

    fn mark_landmarks(&mut self) {
        let mut places: Vec<Place> = Vec::new();
        for section in &self.sections {
            let is_code = matches!(section.role, Role::Text | Role::Replacement);
            for (at, relocation) in &section.relocations {
                // In code the distance to the instruction's end is missing; most fields end with it.
                places.push(if is_code { relocation.from_instruction(*at, at + 4) } else { relocation.place.clone() });
            }
        }
        let labelled: Vec<bool> = self.sections.iter().map(|section| !section.landmarks.is_empty()).collect();
        let referred = places.into_iter().filter_map(|place| match place {
            Place::Here(index, at) if !labelled[index] => Some((index, u64::try_from(at).ok()?)),
            _ => None,
        });
        let marks: Vec<(usize, u64)> = referred.chain(self.objects.iter().map(|o| (o.section, o.offset))).collect();
        for (index, at) in marks {
            self.sections[index].landmarks.insert(at);
        }
    }
}

fn role(name: &str, flags: u64) -> Role {
    const SPECIAL: &[&str] = &[
        "__mcount_loc",
        "__patchable_function_entries",
        ".orc",
        ".static_call_sites",
        "__bug_table",
        ".smp_locks",
        ".altinstructions",
        ".parainstructions",
        ".retpoline_sites",
        ".return_sites",
        ".call_sites",
        ".cfi_sites",
        ".ibt_endbr_seal",
        "__ex_table",
        "__jump_table",
        "_kprobe_blacklist",
        "_error_injection_whitelist",
        ".eh_frame",
        ".note",
    ];
    // COMDAT-like sections of file-scope asm may carry a prefix only; ksymtab entries are `___ksymtab_gpl+NAME`.
    if flags & elf::SHF_ALLOC.0 == 0 || name.starts_with(".discard") || name.starts_with(".debug") {
        return if name.starts_with(".export_symbol") { Role::Export } else { Role::Ignored };
    }
    if name.starts_with("__ksymtab") || name.starts_with("___ksymtab") {
        return if name == "__ksymtab_strings" { Role::Ignored } else { Role::Export };
    }
    if SPECIAL.iter().any(|special| name.starts_with(special)) {
        return Role::Special;
    }
    let is_pointer_table =
        [".initcall", ".exitcall", ".init_array", ".con_initcall"].iter().any(|p| name.starts_with(p));
    if is_pointer_table {
        return Role::Initcall;
    }
    if flags & elf::SHF_EXECINSTR.0 != 0 {
        return if name.starts_with(".altinstr_replacement") { Role::Replacement } else { Role::Text };
    }
    match (flags & elf::SHF_STRINGS.0, flags & elf::SHF_MERGE.0, flags & elf::SHF_WRITE.0) {
        (0, 0, 0) => Role::Const,
        (0, 0, _) => Role::Data,
        (0, _, _) => Role::Constants,
        _ => Role::Strings,
    }
}

fn read_sections(file: &ElfFile64<'_>) -> std::result::Result<Vec<Section>, String> {
    let mut sections: Vec<Section> = Vec::new();
    for section in file.sections() {
        // Index 0 is ELF's null section; keeping a place for it keeps our indices equal to ELF's.
        while sections.len() <= section.index().0 {
            sections.push(Section {
                name: String::new(),
                role: Role::Ignored,
                size: 0,
                entry_size: 0,
                data: Vec::new(),
                relocations: BTreeMap::new(),
                landmarks: BTreeSet::new(),
            });
        }
        let flags = match section.flags() {
            SectionFlags::Elf { sh_flags, .. } => sh_flags.0,
            _ => 0,
        };
        let name = section.name().map_err(|e| e.to_string())?.to_string();
        let role = role(&name, flags);
        let entry = &mut sections[section.index().0];
        entry.size = section.size();
        entry.entry_size = section.elf_section_header().sh_entsize.get(file.endian());
        if role != Role::Ignored {
            entry.data = section.data().map_err(|e| format!("section {name}: {e}"))?.to_vec();
            for (offset, relocation) in section.relocations() {
                if relocation.flags() == (RelocationFlags::Elf { r_type: elf::R_X86_64_NONE }) {
                    continue;
                }
                let relocation = read_relocation(file, &relocation).map_err(|e| format!("{name}+{offset:#x}: {e}"))?;
                entry.relocations.insert(offset, relocation);
            }
        }
        entry.name = name;
        entry.role = role;
    }
    Ok(sections)
}

fn read_relocation(file: &ElfFile64<'_>, relocation: &::object::Relocation) -> std::result::Result<Relocation, String> {
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        return Err("relocation of another format".into());
    };
    let (width, pc_relative) = match r_type {
        elf::R_X86_64_64 => (8, false),
        elf::R_X86_64_32 | elf::R_X86_64_32S => (4, false),
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => (4, true),
        elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => (4, true),
        elf::R_X86_64_PC64 => (8, true),
        elf::R_X86_64_16 => (2, false),
        elf::R_X86_64_8 => (1, false),
        elf::R_X86_64_PC16 => (2, true),
        elf::R_X86_64_PC8 => (1, true),
        other => return Err(format!("relocation type {other:?} is not one that kernel code has")),
    };
    let RelocationTarget::Symbol(index) = relocation.target() else {
        return Err("relocation without a symbol".into());
    };
    let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
    let place = match symbol.section_index() {
        Some(section) => Place::Here(section.0, symbol.address() as i64 + relocation.addend()),
        None => Place::Elsewhere(symbol.name().map_err(|e| e.to_string())?.into(), relocation.addend()),
    };
    Ok(Relocation { kind: r_type.0, width, pc_relative, place })
}

type Symbols = (Vec<Function>, Vec<DataObject>);

fn read_symbols(file: &ElfFile64<'_>, sections: &mut [Section]) -> std::result::Result<Symbols, String> {
    let mut functions: Vec<Function> = Vec::new();
    let mut objects: Vec<DataObject> = Vec::new();
    let mut at: BTreeMap<(usize, u64), usize> = BTreeMap::new();
    for symbol in file.symbols() {
        let Some(section) = symbol.section_index().map(|s| s.0) else { continue };
        let name = symbol.name().map_err(|e| e.to_string())?.to_string();
        let binding = match (symbol.is_weak(), symbol.is_local()) {
            (true, _) => Binding::Weak,
            (_, true) => Binding::Local,
            _ => Binding::Global,
        };
        let (offset, size) = (symbol.address(), symbol.size());
        let is_text = matches!(sections[section].role, Role::Text);
        match symbol.kind() {
            SymbolKind::Text if is_text => match at.get(&(section, offset)) {
                Some(first) => {
                    let first: &mut Function = &mut functions[*first];
                    first.size = first.size.max(size);
                    first.aliases.push((name, binding));
                }
                None => {
                    at.insert((section, offset), functions.len());
                    let (aliases, ftrace_site, cold_of) = (Vec::new(), false, None);
                    functions.push(Function { name, binding, section, offset, size, aliases, ftrace_site, cold_of });
                }
            },
            SymbolKind::Data | SymbolKind::Unknown | SymbolKind::Tls if !is_text && !name.is_empty() => {
                // `.LC0` and the like are labels of the compiler's, not objects; numeric ones (`1:`) have a control character.
                if name.starts_with(".L") || name.bytes().any(|byte| byte.is_ascii_control()) {
                    sections[section].landmarks.insert(offset);
                    continue;
                }
                if sections[section].role == Role::Ignored {
                    continue;
                }
                let initialised = !sections[section].data.is_empty();
                objects.push(DataObject { name, binding, section, offset, size, initialised });
            }
            _ => {}
        }
    }
    Ok((functions, objects))
}

/// A site is what `__mcount_loc` lists (scripts/recordmcount.h, `-mrecord-mcount`). Where the object has no such section,
/// because objtool would add it later, it is a call of `__fentry__` at the entry, after an ENDBR where there is one.
fn mark_ftrace_sites(sections: &[Section], functions: &mut [Function]) {
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    let lists = sections.iter().filter(|s| s.name.starts_with("__mcount_loc"));
    let listed: BTreeSet<(usize, u64)> = lists
        .flat_map(|s| s.relocations.values())
        .filter_map(|r| match r.place {
            Place::Here(section, at) => Some((section, at as u64)),
            Place::Elsewhere(..) => None,
        })
        .collect();
    for function in functions {
        let section = &sections[function.section];
        let code = section.data.get(function.offset as usize..).unwrap_or_default();
        let entry = function.offset + if code.starts_with(ENDBR64) { ENDBR64.len() as u64 } else { 0 };
        let calls_fentry = |at: u64| {
            let place = section.relocations.get(&(at + 1)).map(|r| &r.place);
            matches!(place, Some(Place::Elsewhere(name, _)) if name == "__fentry__")
        };
        function.ftrace_site = if listed.is_empty() {
            calls_fentry(entry)
        } else {
            listed.contains(&(function.section, function.offset)) || listed.contains(&(function.section, entry))
        };
    }
}
