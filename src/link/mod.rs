//! The module with klp relocations: references to the symbols of `klp.symbols` become references that the running
//! kernel resolves itself, also to symbols that it doesn't export.
//!
//! Takes a `.ko` as Kbuild leaves it and [`symbols_file`]; needs neither kernel nor libclang. The format is that of
//! Documentation/livepatch/module-elf-format.rst, read by klp_apply_section_relocs() in kernel/livepatch/core.c.

pub mod symbols_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::LittleEndian;
use object::build::Id as _;
use object::build::elf::{Builder, SectionData, SectionId};
use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};
use serde::Serialize;

use crate::audit::tables::{self, Fields};
use crate::finding::{
    Error, Finding, KLP_OBJECT_NOT_PATCHED, KLP_RELA_SECTION, KLP_SYMBOL_UNUSED, MODULE_ALREADY_LINKED, MODULE_INVALID,
    MODULE_LINK_STALE, Result, SYMBOL_UNRESOLVED, Severity, io,
};
use crate::kernel::modules::THIS_MODULE;
use crate::kernel::symbols::VMLINUX;
use crate::object::sound;
use crate::scratch;
use symbols_file::Entry;

/// `SHN_LIVEPATCH` of include/uapi/linux/elf.h: the section index of a symbol that livepatch resolves.
pub(crate) const SHN_LIVEPATCH: elf::SymbolSection = elf::SymbolSection(0xff20);

/// `SHF_RELA_LIVEPATCH` of include/uapi/linux/elf.h: a relocation section that the module loader leaves to livepatch.
pub(crate) const SHF_RELA_LIVEPATCH: elf::SectionFlags = elf::SectionFlags(0x0010_0000);

/// Bytes of an Elf64_Rela.
const RELA_SIZE: u64 = 24;

/// What scripts/sign-file.c leaves at the end of a signed module (include/linux/module_signature.h).
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// Bytes of one entry of `__versions`: an unsigned long and a name, struct modversion_info in include/linux/module.h.
const MODVERSION_SIZE: usize = 64;

/// What [`link`] did.
#[derive(Debug, Default, Serialize)]
pub struct LinkReport {
    /// The file had its klp relocations already and was left alone.
    pub already_linked: bool,
    /// The klp symbols that the module refers to, in the order of their C names.
    pub symbols: Vec<LinkedSymbol>,
    /// The `.klp.rela.*` sections, in the order of the sections that they apply to.
    pub sections: Vec<String>,
    /// Of severity [`Severity::Warning`] and [`Severity::Note`] only.
    pub findings: Vec<Finding>,
}

/// One symbol that the running kernel resolves.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct LinkedSymbol {
    pub c_name: String,
    pub klp_name: String,
    pub relocations: usize,
}

/// Writes klp relocations into the module `ko`, in place, for the symbols that the file `symbols` lists. A module that
/// has them already stays as it is. Refused (and left as it was): a file that isn't a livepatch module as Kbuild
/// makes it, and whatever would load and fail, or Oops, later.
pub fn link(ko: &Path, symbols: &Path) -> Result<LinkReport> {
    let entries = symbols_file::read(symbols)?;
    let data = std::fs::read(ko).map_err(io("read", ko))?;
    let (linked, report) = link_bytes(&data, &entries, &ko.display().to_string())?;
    if let Some(bytes) = linked {
        replace(ko, &bytes)?;
    }
    Ok(report)
}

/// Nobody ever sees half a module: the new file takes the old one's place in one step, with its permissions.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let permissions = std::fs::metadata(path).map_err(io("read", path))?.permissions();
    scratch::write(path, bytes, std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o7777)
}

/// [`link`] on bytes: the new file, or `None` where nothing is to change. `name` is what findings call the file.
pub fn link_bytes(data: &[u8], entries: &[Entry], name: &str) -> Result<(Option<Vec<u8>>, LinkReport)> {
    let invalid = |message: String| Error::from(Finding::new(MODULE_INVALID, format!("{name}: {message}")));
    let module = inspect(data).map_err(invalid)?;
    if !module.klp_symbols.is_empty() || !module.klp_sections.is_empty() {
        return already_linked(&module, entries, name).map(|report| (None, report));
    }
    let mut findings = unresolved(&module, entries, name);
    let mut builder = read_builder(data).map_err(invalid)?;
    let mut report = LinkReport::default();
    let klp = rename_symbols(&mut builder, entries, &mut report, &mut findings, name);
    move_relocations(&mut builder, &klp, &mut report, &mut findings, name);
    let objects: BTreeSet<&str> = klp.values().map(|e| e.patched_object.as_str()).filter(|o| *o != VMLINUX).collect();
    for object in objects.into_iter().filter(|object| !module.patches(object)) {
        let message = format!("{name}: symbols of {object} are used, but no klp_object is named \"{object}\"");
        findings.push(Finding::new(KLP_OBJECT_NOT_PATCHED, message));
    }
    if findings.iter().any(|f| f.severity == Severity::Refuse) {
        findings.retain(|f| f.severity == Severity::Refuse);
        return Err(Error::Refused(findings));
    }
    report.findings = findings;
    if klp.is_empty() {
        return Ok((None, report));
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes).map_err(|e| invalid(format!("cannot be written with klp relocations: {e}")))?;
    Ok((Some(bytes), report))
}

/// What has to be known of the module before it is taken apart.
struct Module<'data> {
    /// Relocations by klp symbol; not empty for a linked module.
    klp_symbols: BTreeMap<String, usize>,
    klp_sections: Vec<String>,
    /// Undefined and not weak, in the order of their names.
    undefined: BTreeSet<String>,
    /// CRC by name; `None` for a kernel without MODVERSIONS.
    versions: Option<BTreeMap<String, u64>>,
    /// The modules that its tables name; nothing where it makes them while it runs.
    objects: Option<BTreeSet<String>>,
    /// The sections where a string of the source may stand.
    strings: Vec<&'data [u8]>,
}

impl Module<'_> {
    /// Does a klp_object name this module? A livepatch that makes its tables while it runs has the name as a string.
    fn patches(&self, object: &str) -> bool {
        match &self.objects {
            Some(objects) => objects.contains(object),
            None => self.strings.iter().any(|data| data.split(|b| *b == 0).any(|s| s == object.as_bytes())),
        }
    }
}

/// Refuses what is no livepatch module of x86-64 as Kbuild makes it, and what the rewriting could not keep.
fn inspect(data: &[u8]) -> std::result::Result<Module<'_>, String> {
    if data.ends_with(SIGNATURE_MARK) {
        return Err("the module is signed; sign it after `link`, its signature would be lost".into());
    }
    sound::check(data).map_err(|e| format!("not a whole 64-bit ELF file: {e}"))?;
    let file = ElfFile64::<LittleEndian>::parse(data).map_err(|e| format!("not a whole 64-bit ELF file: {e}"))?;
    let header = file.elf_header();
    let kind = (header.e_type(LittleEndian), header.e_machine(LittleEndian));
    if kind != (elf::ET_REL, elf::EM_X86_64) || header.e_phnum(LittleEndian) != 0 {
        return Err("not a relocatable x86-64 file, which a kernel module is".into());
    }
    let mut klp_sections = Vec::new();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    let mut strings = Vec::new();
    let mut versions = None;
    let mut livepatch = false;
    for section in file.sections() {
        let bytes = section.data().map_err(|e| format!("section {}: {e}", section.index().0))?;
        let align = section.elf_section_header().sh_addralign(LittleEndian);
        // The kernel places sections on pages; more than a huge page is no module.
        if !(align == 0 || align.is_power_of_two()) || align > 0x20_0000 {
            return Err(format!("section {} has an alignment of {align} bytes", section.index().0));
        }
        let header = section.elf_section_header();
        if header.sh_flags(LittleEndian).contains(SHF_RELA_LIVEPATCH) {
            klp_sections.push(String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned());
            let relocations = header.rela(LittleEndian, data).map_err(|e| e.to_string())?;
            for relocation in relocations.map_or(&[][..], |(list, _)| list) {
                *counts.entry(relocation.r_sym(LittleEndian, false) as usize).or_default() += 1;
            }
        }
        match section.name().map_err(|e| format!("section {}: {e}", section.index().0))? {
            ".modinfo" => livepatch |= bytes.split(|b| *b == 0).any(|s| s.starts_with(b"livepatch=")),
            "__versions" => versions = Some(read_versions(bytes)),
            section if section.starts_with(".rodata") || section.starts_with(".data") => strings.push(bytes),
            _ => {}
        }
    }
    if !livepatch {
        return Err("not a livepatch: it has no MODULE_INFO(livepatch, \"Y\")".into());
    }
    let mut klp_symbols = BTreeMap::new();
    let mut undefined = BTreeSet::new();
    for symbol in file.symbols() {
        let name = symbol.name().map_err(|e| format!("symbol {}: {e}", symbol.index().0))?.to_string();
        let index = symbol.elf_symbol().st_shndx.get(LittleEndian);
        if index == SHN_LIVEPATCH {
            *klp_symbols.entry(name).or_default() += counts.get(&symbol.index().0).copied().unwrap_or(0);
        } else if symbol.is_undefined() && !symbol.is_weak() && !name.is_empty() {
            undefined.insert(name);
        }
    }
    let objects = ElfFile64::parse(data).ok().and_then(|file| tables::named_objects(&Fields::of(&file)));
    Ok(Module { klp_symbols, klp_sections, undefined, versions, objects, strings })
}

pub(crate) fn read_versions(bytes: &[u8]) -> BTreeMap<String, u64> {
    let entry = |entry: &[u8]| {
        let (crc, name) = entry.split_first_chunk::<8>()?;
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        Some((String::from_utf8_lossy(name).into_owned(), u64::from_le_bytes(*crc)))
    };
    bytes.chunks_exact(MODVERSION_SIZE).filter_map(entry).collect()
}

fn already_linked(module: &Module, entries: &[Entry], name: &str) -> Result<LinkReport> {
    let known: BTreeMap<String, &Entry> = entries.iter().map(|e| (e.klp_name(), e)).collect();
    let mut findings = Vec::new();
    for klp_name in module.klp_symbols.keys() {
        if !known.contains_key(klp_name) {
            let message = format!("{name} was linked with {klp_name}, which klp.symbols doesn't list; build it again");
            findings.push(Finding::new(MODULE_LINK_STALE, message));
        }
    }
    if !findings.is_empty() {
        return Err(Error::Refused(findings));
    }
    let linked = |entry: &Entry| {
        let (klp_name, relocations) = module.klp_symbols.get_key_value(&entry.klp_name())?;
        let (c_name, klp_name) = (entry.c_name.clone(), klp_name.clone());
        Some(LinkedSymbol { c_name, klp_name, relocations: *relocations })
    };
    // Two C names may share a klp symbol; only the built module could tell their relocations apart.
    let mut symbols: Vec<LinkedSymbol> = known.values().filter_map(|entry| linked(entry)).collect();
    symbols.sort_by(|a, b| a.c_name.cmp(&b.c_name));
    let message = format!("{name} has its klp relocations already");
    Ok(LinkReport {
        already_linked: true,
        symbols,
        sections: module.klp_sections.clone(),
        findings: vec![Finding::new(MODULE_ALREADY_LINKED, message)],
    })
}

/// Undefined symbols that nothing will resolve. That is modpost's business; but KBUILD_MODPOST_WARN hides it, and a
/// line removed from klp.symbols after the build leaves a reference that modpost took for resolved.
fn unresolved(module: &Module, entries: &[Entry], name: &str) -> Vec<Finding> {
    let Some(versions) = &module.versions else { return Vec::new() };
    // As ignore_undef_symbol() in scripts/mod/modpost.c.
    let ignored = [THIS_MODULE, "_GLOBAL_OFFSET_TABLE_"];
    let listed: BTreeSet<&str> = entries.iter().map(|e| e.c_name.as_str()).chain(ignored).collect();
    let left = module.undefined.iter().filter(|symbol| !listed.contains(symbol.as_str()));
    left.filter_map(|symbol| {
        let finding = match versions.get(symbol) {
            None => Finding::new(SYMBOL_UNRESOLVED, format!("{name}: nothing provides {symbol}")),
            // The kernel's own assembly exports may have no CRC either.
            Some(0) => Finding {
                severity: Severity::Warning,
                ..Finding::new(
                    SYMBOL_UNRESOLVED,
                    format!("{name}: {symbol} has no CRC and klp.symbols doesn't list it: is it really exported?"),
                )
            },
            Some(_) => return None,
        };
        Some(finding)
    })
    .collect()
}

fn read_builder(data: &[u8]) -> std::result::Result<Builder<'_>, String> {
    let mut builder = Builder::read64(data).map_err(|e| e.to_string())?;
    let ids: Vec<SectionId> = builder.sections.iter().map(|s| s.id()).collect();
    for section in builder.sections.iter_mut() {
        // 0 and 1 mean the same (System V ABI, section header), and the writer divides by it.
        section.sh_addralign = section.sh_addralign.max(1);
        if section.sh_type != elf::SHT_RELA && section.sh_type != elf::SHT_REL {
            continue;
        }
        // The index must follow its section when others are deleted, whether or not SHF_INFO_LINK says that it is one.
        let target = usize::try_from(section.sh_info).ok().and_then(|i| i.checked_sub(1)).and_then(|i| ids.get(i));
        section.sh_info_section =
            Some(*target.ok_or_else(|| format!("{} applies to section {}", section.name, section.sh_info))?);
    }
    Ok(builder)
}

/// Makes every listed undefined symbol a klp symbol. Yields them by their index in the symbol table.
fn rename_symbols<'e>(
    builder: &mut Builder<'_>,
    entries: &'e [Entry],
    report: &mut LinkReport,
    findings: &mut Vec<Finding>,
    name: &str,
) -> BTreeMap<usize, &'e Entry> {
    let by_name: BTreeMap<&[u8], &Entry> = entries.iter().map(|e| (e.c_name.as_bytes(), e)).collect();
    let mut klp = BTreeMap::new();
    let mut used = BTreeSet::new();
    for symbol in builder.symbols.iter_mut() {
        let Some(entry) = by_name.get(&symbol.name[..]) else { continue };
        if symbol.section.is_some() || symbol.st_shndx != elf::SHN_UNDEF {
            continue;
        }
        symbol.name = entry.klp_name().into_bytes().into();
        symbol.st_shndx = SHN_LIVEPATCH;
        klp.insert(symbol.id().index(), *entry);
        used.insert(&entry.c_name);
    }
    for entry in entries.iter().filter(|e| !used.contains(&e.c_name)) {
        let message = format!("{name} doesn't refer to {} ({entry})", entry.c_name);
        findings.push(Finding::new(KLP_SYMBOL_UNUSED, message));
    }
    report.symbols = used
        .into_iter()
        .filter_map(|c_name| by_name.get(c_name.as_bytes()))
        .map(|e| LinkedSymbol { c_name: e.c_name.clone(), klp_name: e.klp_name(), relocations: 0 })
        .collect();
    klp
}

/// Moves the relocations of klp symbols to sections of their own, one per section and patched object.
fn move_relocations(
    builder: &mut Builder<'_>,
    klp: &BTreeMap<usize, &Entry>,
    report: &mut LinkReport,
    findings: &mut Vec<Finding>,
    name: &str,
) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut moved = BTreeMap::new();
    let targets: Vec<(String, bool)> =
        builder.sections.iter().map(|s| (s.name.to_string(), s.is_alloc())).collect::<Vec<_>>();
    for section in builder.sections.iter_mut() {
        let Some(target) = section.sh_info_section else { continue };
        let SectionData::Relocation(relocations) = &mut section.data else { continue };
        let (target_name, is_alloc) = &targets[target.index()];
        // Neither loader nor livepatch ever applies those of sections that aren't loaded, such as debugging data.
        if !is_alloc {
            continue;
        }
        let before = relocations.len();
        relocations.retain(|relocation| {
            let Some(entry) = relocation.symbol.and_then(|s| klp.get(&s.index())) else { return true };
            let key = (target.index(), entry.patched_object.as_str());
            let (.., list) = moved.entry(key).or_insert_with(|| (target, section.sh_link_section, Vec::new()));
            list.push(*relocation);
            *counts.entry(&entry.c_name).or_default() += 1;
            if let Err(why) = check_place(target_name, entry) {
                let message = format!(
                    "{name}: {} ({entry}) is referred to in {target_name}+{:#x}: {why}",
                    entry.c_name, relocation.r_offset
                );
                findings.push(Finding::new(KLP_RELA_SECTION, message));
            }
            false
        });
        section.delete = relocations.is_empty() && before > 0;
    }
    for symbol in &mut report.symbols {
        symbol.relocations = counts.get(symbol.c_name.as_str()).copied().unwrap_or(0);
    }
    for ((index, object), (target, symbol_table, relocations)) in moved {
        let section_name = format!(".klp.rela.{object}.{}", targets[index].0);
        report.sections.push(section_name.clone());
        let section = builder.sections.add();
        section.name = section_name.into_bytes().into();
        section.sh_type = elf::SHT_RELA;
        section.sh_flags = elf::SHF_ALLOC | elf::SHF_INFO_LINK | SHF_RELA_LIVEPATCH;
        section.sh_link_section = symbol_table;
        section.sh_info_section = Some(target);
        section.sh_addralign = 8;
        section.sh_entsize = RELA_SIZE;
        section.data = SectionData::Relocation(relocations);
    }
}

/// May a reference to this symbol stand in this section?
pub(crate) fn check_place(section: &str, entry: &Entry) -> std::result::Result<(), &'static str> {
    if section.starts_with("__ksymtab") {
        return Err("an export is read before klp relocations are applied");
    }
    // Those of vmlinux are applied before any of the module's tables is read (apply_relocations() in
    // kernel/module/main.c); a module's may come long after all of them were, and after the init sections are freed.
    // Per-CPU data is a template that has been copied by then (post_relocation()).
    let kept = [".text", ".data", ".rodata"].iter().any(|prefix| section.starts_with(prefix))
        && !section.starts_with(".data..percpu");
    if entry.patched_object != VMLINUX && !kept {
        return Err("the kernel reads (or frees) this section before the patched module's symbols are resolved");
    }
    Ok(())
}
