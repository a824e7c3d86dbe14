//! The linked kernel as the boot loader leaves it: bytes by virtual address, before anything patches itself at boot.

use std::path::Path;

use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};

use crate::finding::{KERNEL_INVALID, Result, refuse};

use super::image;

/// The sections of vmlinux that have contents, by address (as linked, before KASLR; per-CPU data begins at 0).
#[derive(Debug)]
pub struct Memory {
    vmlinux: Vec<u8>,
    /// Where code lies that is linked and never runs; empty where there is none.
    exit: std::ops::Range<u64>,
    /// Address, and the place in `vmlinux`.
    sections: Vec<(u64, std::ops::Range<usize>)>,
}

impl Memory {
    /// Reads a `vmlinuz` or `vmlinux`.
    pub fn read(path: &Path) -> Result<Memory> {
        Memory::of(image::vmlinux(path)?)
            .or_else(|why| refuse(KERNEL_INVALID, format!("cannot use the kernel image {}: {why}", path.display())))
    }

    /// Reads the bytes of a vmlinux; the error says what about them can't be read.
    pub fn of(vmlinux: Vec<u8>) -> std::result::Result<Memory, String> {
        let elf = ElfFile64::<object::Endianness>::parse(&*vmlinux).map_err(|e| format!("it is no ELF file: {e}"))?;
        let endian = elf.endian();
        let table = elf.elf_header().sections(endian, &*vmlinux).map_err(|e| format!("broken section headers: {e}"))?;
        let mut sections = Vec::new();
        let mut exit = 0..0;
        for section in table.iter() {
            let is_loaded = section.sh_flags(endian).0 & object::elf::SHF_ALLOC.0 != 0;
            let Some((start, size)) = section.file_range(endian).filter(|(_, size)| is_loaded && *size > 0) else {
                continue;
            };
            let (start, size) = (start as usize, size as usize);
            if start.checked_add(size).is_none_or(|end| end > vmlinux.len()) {
                return Err("a section reaches beyond its end".into());
            }
            let address = section.sh_addr(endian);
            if table.section_name(endian, section).is_ok_and(|name| name == b".exit.text") {
                exit = address..address.saturating_add(size as u64);
            }
            sections.push((address, start..start + size));
        }
        if sections.is_empty() {
            return Err("it has no section headers; give a vmlinux that has them".into());
        }
        sections.sort_by_key(|(address, _)| *address);
        Ok(Memory { vmlinux, exit, sections })
    }

    /// What the `__exit` functions of vmlinux lie in: it is thrown away after boot (EXIT_TEXT in
    /// arch/x86/kernel/vmlinux.lds.S).
    pub fn exit(&self) -> &std::ops::Range<u64> {
        &self.exit
    }

    /// All sections with contents, by address.
    pub fn sections(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.sections.iter().map(|(address, place)| (*address, &self.vmlinux[place.clone()]))
    }

    /// Everything from an address to the end of its section; nothing where no section with contents covers it.
    pub fn from(&self, address: u64) -> Option<&[u8]> {
        let index = self.sections.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, place) = &self.sections[index];
        self.vmlinux[place.clone()].get(usize::try_from(address - start).ok()?..)
    }
}
