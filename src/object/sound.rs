//! What every ELF file must hold before any part of it is followed, so that nobody who reads one needs more memory or time
//! than its size warrants, or computes a place that overflows.

use object::LittleEndian;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _, Sym as _};

/// Addresses, sizes and addends are below this: two of them still add up.
const FAR: u64 = 1 << 61;

/// Is the file one that can be read? The error says what is wrong with it. Sections may not overlap (a file of a megabyte
/// could have gigabytes of them), symbols and relocations must stay in reach. `bytes` is the whole file.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let file = ElfFile64::<LittleEndian>::parse(bytes).map_err(|e| e.to_string())?;
    let header = file.elf_header();
    let sections = header.sections(LittleEndian, bytes).map_err(|e| e.to_string())?;
    let sizes = sections.iter().filter_map(|section| section.file_range(LittleEndian)).map(|(_, size)| size);
    if sizes.fold(0, u64::saturating_add) > bytes.len() as u64 {
        return Err("its sections overlap, or reach beyond its end".into());
    }
    for section in sections.iter() {
        let relocations = section.rela(LittleEndian, bytes).map_err(|e| e.to_string())?;
        for relocation in relocations.map_or(&[][..], |(list, _)| list) {
            let far = relocation.r_addend.get(LittleEndian).unsigned_abs().max(relocation.r_offset.get(LittleEndian));
            if far >= FAR {
                return Err("a relocation leads out of the address space".into());
            }
        }
    }
    for symbol in file.elf_symbol_table().iter() {
        let section = symbol.st_shndx(LittleEndian).index();
        let is_here = section.is_some();
        if section.is_some_and(|section| usize::from(section) >= sections.len()) {
            return Err("a symbol lies in a section that isn't there".into());
        }
        if is_here && symbol.st_value(LittleEndian).max(symbol.st_size(LittleEndian)) >= FAR {
            return Err("a symbol lies beyond the address space".into());
        }
    }
    Ok(())
}
