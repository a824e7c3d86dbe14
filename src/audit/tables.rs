//! The tables by which a module tells the livepatch core what it replaces, read from the object file: `struct klp_patch`,
//! `klp_object` and `klp_func` of include/linux/livepatch.h.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex};

use crate::check;
use crate::finding::{KERNEL_INVALID, Result, io, refuse};
use crate::kernel::Kernel;
use crate::kernel::modules::THIS_MODULE;
use crate::kernel::symbols::VMLINUX;

/// A place in a section.
pub type At = (usize, u64);

/// Bytes of an element of each table, which depend on the kernel's configuration.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    func: u64,
    object: u64,
    patch: u64,
}

impl Sizes {
    /// In bytes.
    pub fn new(func: u64, object: u64, patch: u64) -> Sizes {
        Sizes { func, object, patch }
    }

    /// Asks the kernel's compiler; `scratch` is a folder to work in.
    pub fn of(kernel: &Kernel, scratch: &std::path::Path) -> Result<Sizes> {
        const ASKED: &str = "#include <linux/livepatch.h>\nchar klp_func_size[sizeof(struct klp_func)];\n\
                             char klp_object_size[sizeof(struct klp_object)];\n\
                             char klp_patch_size[sizeof(struct klp_patch)];\n";
        let source = scratch.join("klp-sizes.c");
        std::fs::write(&source, ASKED).map_err(io("write", &source))?;
        let command = check::plain_command(kernel, "klp-sizes", &source)?;
        let path = scratch.join("klp-sizes.o");
        check::compile(&command, &[], kernel.build(), &path)?;
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        let file = object::File::parse(&*bytes);
        let size = |name: &str| {
            let file = file.as_ref().ok()?;
            Some(file.symbol_by_name(name)?.size()).filter(|size| *size > 0)
        };
        match (size("klp_func_size"), size("klp_object_size"), size("klp_patch_size")) {
            (Some(func), Some(object), Some(patch)) => Ok(Sizes { func, object, patch }),
            _ => refuse(KERNEL_INVALID, "the sizes of the livepatch core's structures can't be told"),
        }
    }
}

/// What a relocated field means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    Here(At),
    Elsewhere(String),
}

/// The relocated fields of the sections that are loaded, those of `.klp.rela` sections left out.
pub struct Fields<'f, 'd> {
    pub file: &'f ElfFile64<'d>,
    by_place: BTreeMap<At, Meaning>,
}

impl<'f, 'd> Fields<'f, 'd> {
    pub fn of(file: &'f ElfFile64<'d>) -> Fields<'f, 'd> {
        let mut by_place = BTreeMap::new();
        for section in file.sections() {
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                let Ok(symbol) = file.symbol_by_index(index) else { continue };
                let meaning = match symbol.section_index().filter(|_| symbol.is_definition() || is_section(&symbol)) {
                    Some(SectionIndex(section)) => {
                        // Before its section there is nothing to be followed.
                        let Some(place) = symbol.address().checked_add_signed(relocation.addend()) else { continue };
                        Meaning::Here((section, place))
                    }
                    None => Meaning::Elsewhere(symbol.name().unwrap_or_default().to_string()),
                };
                by_place.insert((section.index().0, offset), meaning);
            }
        }
        Fields { file, by_place }
    }

    pub fn at(&self, (section, offset): At) -> Option<&Meaning> {
        self.by_place.get(&(section, offset))
    }

    fn here(&self, at: At) -> Option<At> {
        match self.at(at)? {
            Meaning::Here(place) => Some(*place),
            Meaning::Elsewhere(_) => None,
        }
    }

    fn data(&self, section: usize) -> &'d [u8] {
        let section = self.file.section_by_index(SectionIndex(section));
        section.ok().and_then(|section| section.data().ok()).unwrap_or_default()
    }

    fn string(&self, (section, offset): At) -> Option<String> {
        let data = self.data(section).get(usize::try_from(offset).ok()?..)?;
        let text = data[..data.len().min(LONGEST)].split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, (section, offset): At) -> u64 {
        let data = self.data(section).get(offset as usize..).and_then(|data| data.first_chunk::<8>());
        data.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The function or object whose symbol covers a place.
    pub fn symbol_at(&self, (section, offset): At) -> Option<String> {
        let symbols = self.file.symbols().filter(|symbol| symbol.section_index() == Some(SectionIndex(section)));
        let covers = |symbol: &object::read::elf::ElfSymbol64| {
            let end = symbol.address() + symbol.size().max(1);
            (symbol.address()..end).contains(&offset) && !is_section(symbol)
        };
        symbols.filter(covers).find_map(|symbol| symbol.name().ok().map(str::to_string))
    }

    fn is_data(&self, section: usize) -> bool {
        let section = self.file.section_by_index(SectionIndex(section));
        section.is_ok_and(|section| {
            section.name().is_ok_and(|name| name.starts_with(".data") || name.starts_with(".rodata"))
        })
    }
}

fn is_section(symbol: &object::read::elf::ElfSymbol64) -> bool {
    symbol.kind() == object::SymbolKind::Section
}

/// One `klp_func`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook {
    /// `vmlinux`, or a module.
    pub object: String,
    pub old: String,
    pub sympos: u64,
    /// Symbol of the new function.
    pub new: String,
}

#[derive(Debug, Default)]
pub struct Tables {
    pub hooks: Vec<Hook>,
    /// `vmlinux` or modules, in order.
    pub objects: Vec<String>,
    /// Where the tables lie: section, first and last byte.
    pub ranges: Vec<(usize, std::ops::Range<u64>)>,
}

/// Finds the `klp_patch` of a module and follows it: its first field is the module itself, its second one leads to the
/// table of objects. Nothing where the module makes its tables while it runs.
pub fn read(fields: &Fields, sizes: Sizes) -> Option<Tables> {
    let mut found = Tables::default();
    for ((section, offset), objects) in patches(fields) {
        found.ranges.push((section, offset..offset + sizes.patch));
        follow(fields, sizes, objects, &mut found);
    }
    (!found.ranges.is_empty()).then_some(found)
}

/// Each `klp_patch` with its table of objects.
fn patches(fields: &Fields) -> Vec<(At, At)> {
    let this = fields.file.symbol_by_name(THIS_MODULE);
    let this_place = this.as_ref().and_then(|symbol| Some((symbol.section_index()?.0, symbol.address())));
    let is_this = |meaning: &Meaning| match meaning {
        Meaning::Here(place) => Some(*place) == this_place,
        Meaning::Elsewhere(name) => name == THIS_MODULE,
    };
    let patches = fields.by_place.iter().filter(|((section, _), meaning)| fields.is_data(*section) && is_this(meaning));
    let with_objects = patches.filter_map(|(at, _)| {
        let objects = fields.here((at.0, at.1 + 8)).filter(|objects| fields.is_data(objects.0))?;
        let funcs = fields.here((objects.0, objects.1 + 8))?;
        fields.is_data(funcs.0).then_some((*at, objects))
    });
    with_objects.collect()
}

/// The objects that a module's tables name, found without the sizes of their elements, which a built module doesn't tell: a
/// `klp_object` begins with the object's name and its functions, and those with a name and code. Nothing for vmlinux, which
/// has no name there. None at all where the module makes its tables while it runs.
pub fn named_objects(fields: &Fields) -> Option<BTreeSet<String>> {
    if patches(fields).is_empty() {
        return None;
    }
    let is_func = |at: At| {
        let name = fields.here(at).and_then(|name| fields.string(name));
        name.is_some_and(|name| !name.is_empty()) && fields.at((at.0, at.1 + 8)).is_some()
    };
    let places = fields.by_place.keys().filter(|(section, _)| fields.is_data(*section));
    let objects = places.filter(|at| fields.here((at.0, at.1 + 8)).is_some_and(is_func));
    Some(objects.filter_map(|at| fields.string(fields.here(*at)?)).collect())
}

/// Names are shorter (KSYM_NAME_LEN of include/linux/kallsyms.h); a longer one is cut, and then names nothing.
const LONGEST: usize = 512;

fn follow(fields: &Fields, sizes: Sizes, objects: At, found: &mut Tables) {
    let mut at = objects;
    while let Some(funcs) = fields.here((at.0, at.1 + 8))
        && found.objects.len() <= fields.by_place.len()
    {
        let name = fields.here(at).and_then(|name| fields.string(name));
        let object = name.unwrap_or_else(|| VMLINUX.into());
        let mut func = funcs;
        // Tables that share their entries would multiply.
        while let Some(old) = fields.here(func).and_then(|name| fields.string(name))
            && found.hooks.len() <= fields.by_place.len()
        {
            let new = match fields.at((func.0, func.1 + 8)) {
                Some(Meaning::Here(place)) => fields.symbol_at(*place).unwrap_or_default(),
                Some(Meaning::Elsewhere(name)) => name.clone(),
                None => String::new(),
            };
            let sympos = fields.number((func.0, func.1 + 16));
            found.hooks.push(Hook { object: object.clone(), old, sympos, new });
            func.1 += sizes.func;
        }
        found.ranges.push((funcs.0, funcs.1..func.1 + sizes.func));
        found.objects.push(object);
        at.1 += sizes.object;
    }
    found.ranges.push((objects.0, objects.1..at.1 + sizes.object));
}
