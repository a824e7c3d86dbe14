//! The klp relocations of a built module: what they may touch, and that the running kernel has what they name. The format is
//! that of Documentation/livepatch/module-elf-format.rst.

use std::collections::{BTreeMap, BTreeSet};

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::finding::{
    Finding, KLP_OBJECT_NOT_PATCHED, KLP_REFERENCE_PLAIN, KLP_RELA_SECTION, MODULE_INVALID, READ_ONLY_KEY, Result,
    SYMBOL_KIND,
};
use crate::kernel::Kernel;
use crate::kernel::symbols::VMLINUX;
use crate::link::symbols_file::Entry;
use crate::link::{SHF_RELA_LIVEPATCH, SHN_LIVEPATCH, check_place};

use super::landing::is_branch;
use super::symbols;
use super::tables::{At, Tables};

/// One symbol that the livepatch core resolves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KlpSymbol {
    pub object: String,
    pub name: String,
    pub sympos: u64,
}

impl std::fmt::Display for KlpSymbol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{},{}", self.object, self.name, self.sympos)
    }
}

/// What [`check`] found.
pub struct Checked {
    /// With the number of relocations that name each.
    pub symbols: BTreeMap<KlpSymbol, usize>,
    /// What the livepatch core writes to: section and offset.
    pub places: BTreeSet<At>,
    pub findings: Vec<Finding>,
}

/// All klp symbols, the places of their relocations, and what is wrong with them.
pub fn check(kernel: &Kernel, file: &ElfFile64, tables: Option<&Tables>) -> Result<Checked> {
    let mut found: BTreeMap<KlpSymbol, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut places = BTreeSet::new();
    let mut by_index: BTreeMap<usize, KlpSymbol> = BTreeMap::new();
    for symbol in file.symbols().filter(|s| s.elf_symbol().st_shndx.get(Endianness::Little) == SHN_LIVEPATCH) {
        let name = symbol.name().unwrap_or_default();
        match parse(name) {
            Some(klp) => {
                found.insert(klp.clone(), 0);
                by_index.insert(symbol.index().0, klp);
            }
            None => findings.push(Finding::new(
                MODULE_INVALID,
                format!("{name} is a symbol of the livepatch core's, and not of its form `.klp.sym.OBJECT.NAME,POS`"),
            )),
        }
    }
    let mut data: BTreeSet<KlpSymbol> = BTreeSet::new();
    for klp in found.keys() {
        match symbols::find(kernel, &klp.object, &klp.name, klp.sympos)? {
            Ok((symbol, _)) if symbol.is_function() => {}
            Ok(_) => drop(data.insert(klp.clone())),
            Err(finding) => findings.push(Finding { message: format!("{klp}: {}", finding.message), ..finding }),
        }
    }
    let read_only = read_only_keys(kernel)?;
    let mut plain: BTreeSet<(String, String)> = BTreeSet::new();
    for section in file.sections() {
        let header = section.elf_section_header();
        let Ok(Some((relocations, _))) = header.rela(Endianness::Little, file.data()) else { continue };
        let place = file.section_by_index(object::SectionIndex(header.sh_info(Endianness::Little) as usize));
        let Ok(place) = place else { continue };
        let place_name = place.name().unwrap_or_default();
        let is_klp = header.sh_flags(Endianness::Little).contains(SHF_RELA_LIVEPATCH);
        let own_name = section.name().unwrap_or_default();
        let object = own_name.strip_prefix(".klp.rela.").and_then(|rest| rest.strip_suffix(place_name));
        let object = object.and_then(|object| object.strip_suffix('.').or(Some(object))).unwrap_or_default();
        if is_klp && (object.is_empty() || object.contains('.')) {
            let message = format!("{own_name} applies to {place_name}, and its name doesn't say so with an object");
            findings.push(Finding::new(KLP_RELA_SECTION, message));
            continue;
        }
        if is_klp && object != VMLINUX && tables.is_some_and(|tables| !tables.objects.iter().any(|o| o == object)) {
            let message = format!("{own_name} is applied when {object} is loaded, which the livepatch doesn't patch");
            findings.push(Finding::new(KLP_OBJECT_NOT_PATCHED, message));
        }
        let flags = place.elf_section_header().sh_flags(Endianness::Little);
        let code = match flags.contains(elf::SHF_EXECINSTR) {
            true => place.data().unwrap_or_default(),
            false => &[],
        };
        let loaded = flags.contains(elf::SHF_ALLOC);
        for relocation in relocations {
            let Some(klp) = by_index.get(&(relocation.r_sym(Endianness::Little, false) as usize)) else { continue };
            if !is_klp {
                // Debugging data is never relocated by anybody.
                if loaded {
                    plain.insert((klp.to_string(), place_name.to_string()));
                }
                continue;
            }
            *found.entry(klp.clone()).or_default() += 1;
            places.insert((place.index().0, relocation.r_offset.get(Endianness::Little)));
            let at = format!("{klp} is referred to in {place_name}+{:#x}", relocation.r_offset.get(Endianness::Little));
            let mut entry = Entry::new(&klp.name, &klp.object, &klp.name, klp.sympos);
            entry.patched_object = object.into();
            let why = check_place(place_name, &entry).err().or_else(|| {
                (object != VMLINUX && klp.object == VMLINUX).then_some(
                    "the kernel refuses symbols of vmlinux in a module's relocations (klp_resolve_symbols())",
                )
            });
            if let Some(why) = why {
                findings.push(Finding::new(KLP_RELA_SECTION, format!("{at}: {why}")));
            }
            let before = code.get(..relocation.r_offset.get(Endianness::Little) as usize).unwrap_or_default();
            if data.contains(klp) && is_branch(before, relocation.r_type(Endianness::Little, false)) {
                findings.push(Finding::new(SYMBOL_KIND, format!("{at} as a function, and the kernel's is data")));
            }
            if place_name == "__jump_table" && klp.object == VMLINUX && read_only.contains(&klp.name) {
                let message = format!(
                    "{at}: the static key is read-only after boot, and loading a module with a jump entry on it Oopses on \
                     this kernel"
                );
                findings.push(Finding::new(READ_ONLY_KEY, message));
            }
        }
    }
    findings.extend(plain.into_iter().map(|(klp, place)| {
        let message = format!("{klp} is referred to in {place} by an ordinary relocation, which nobody resolves");
        Finding::new(KLP_REFERENCE_PLAIN, message)
    }));
    Ok(Checked { symbols: found, places, findings })
}

/// `".klp.sym.%55[^.].%511[^,],%lu"` of klp_resolve_symbols() in kernel/livepatch/core.c.
pub fn parse(name: &str) -> Option<KlpSymbol> {
    let (object, rest) = name.strip_prefix(".klp.sym.")?.split_once('.')?;
    let (name, sympos) = rest.split_once(',')?;
    let plain = !object.is_empty() && !name.is_empty();
    plain.then_some(KlpSymbol { object: object.into(), name: name.into(), sympos: sympos.parse().ok()? })
}

/// Objects of vmlinux that are read-only after boot, on a kernel that writes to the keys of a module's jump entries
/// (kernel/jump_label.c, jump_label_add_module(), before `static_key_sealed`).
fn read_only_keys(kernel: &Kernel) -> Result<BTreeSet<String>> {
    let header = kernel.source().join("include/linux/jump_label.h");
    if std::fs::read_to_string(header).is_ok_and(|text| text.contains("static_key_sealed")) {
        return Ok(BTreeSet::new());
    }
    let table = kernel.symbols(VMLINUX)?;
    let bound = |name: &str| table.named(name).next().map(|symbol| symbol.address);
    let Some((start, end)) = bound("__start_ro_after_init").zip(bound("__end_ro_after_init")) else {
        return Ok(BTreeSet::new());
    };
    let inside = table.all().iter().filter(|symbol| (start..end).contains(&symbol.address));
    Ok(inside.map(|symbol| symbol.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_kernel_reads_them() {
        let klp = parse(".klp.sym.vmlinux.newmems.2,3").unwrap();
        assert_eq!((&*klp.object, &*klp.name, klp.sympos), ("vmlinux", "newmems.2", 3));
        for bad in [".klp.sym.vmlinux.f", ".klp.sym.f,1", ".klp.sym.vmlinux.f,x", ".klp.sym..f,0", "f"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
