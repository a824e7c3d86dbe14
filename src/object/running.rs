//! The running kernel's own bytes: vmlinux, whose relocations the linker has applied, or a module's `.ko`, which still has
//! them. Both answer the same questions.

use std::path::Path;

use crate::finding::{Finding, OBJECT_INVALID, Result};
use crate::kernel::memory::Memory;
use crate::kernel::symbols::{SymbolTable, VMLINUX};
use crate::kernel::{Kernel, modules};

use super::facts::{Facts, Place, Relocation, Section};

/// A place of the running object: section (0 for vmlinux) and address, as in [`crate::kernel::symbols::Symbol`].
pub type At = (u32, u64);

/// Where a relocated field leads: symbol plus addend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    At(At),
    /// Of another object.
    Symbol(String, i64),
}

/// One object of the running kernel.
#[derive(Debug)]
pub struct Running<'k> {
    pub symbols: &'k SymbolTable,
    contents: Contents<'k>,
}

#[derive(Debug)]
enum Contents<'k> {
    Linked(&'k Memory),
    Relocatable(Vec<Section>),
}

impl<'k> Running<'k> {
    /// `vmlinux` or a module by the kernel's name of it; nothing where the kernel was prepared without.
    pub fn open(kernel: &'k Kernel, object: &str) -> Result<Option<Running<'k>>> {
        if object == VMLINUX {
            let Some(memory) = kernel.memory()? else { return Ok(None) };
            return Ok(Some(Running { symbols: kernel.symbols(object)?, contents: Contents::Linked(memory) }));
        }
        if kernel.descriptor.modules.is_none() {
            return Ok(None);
        }
        let symbols = kernel.symbols(object)?;
        let path = kernel.modules()?.file(object).unwrap_or(Path::new(object));
        let sections = Facts::sections(&modules::contents(path)?)
            .map_err(|e| Finding::new(OBJECT_INVALID, format!("cannot read the module {}: {e}", path.display())))?;
        Ok(Some(Running { symbols, contents: Contents::Relocatable(sections) }))
    }

    /// A module that isn't one of the kernel's own; `symbols` are those of its file.
    pub fn of_file(bytes: &[u8], symbols: &'k SymbolTable) -> std::result::Result<Running<'k>, String> {
        Ok(Running { symbols, contents: Contents::Relocatable(Facts::sections(bytes)?) })
    }

    pub fn bytes(&self, at: At, length: usize) -> Option<&[u8]> {
        self.from(at)?.get(..length)
    }

    /// Everything up to the end of the section.
    pub fn from(&self, (section, address): At) -> Option<&[u8]> {
        match &self.contents {
            Contents::Linked(memory) => memory.from(address),
            Contents::Relocatable(sections) => {
                sections.get(section as usize)?.data.get(usize::try_from(address).ok()?..)
            }
        }
    }

    /// Where the field at a place leads, which the recompiled object relocates by `relocation`.
    pub fn leads(&self, at: At, relocation: &Relocation) -> Option<Spot> {
        let sections = match &self.contents {
            Contents::Linked(memory) => {
                let field = memory.from(at.1)?.get(..relocation.width.into())?;
                return Some(Spot::At((0, applied(field, at.1, relocation)?)));
            }
            Contents::Relocatable(sections) => sections,
        };
        let own = sections.get(at.0 as usize)?.relocations.get(&at.1)?;
        if (own.width, own.pc_relative) != (relocation.width, relocation.pc_relative) {
            return None;
        }
        Some(match &own.place {
            Place::Here(section, offset) => Spot::At((*section as u32, *offset as u64)),
            Place::Elsewhere(name, addend) => Spot::Symbol(name.clone(), *addend),
        })
    }

    /// Number of relocated fields in a stretch; nothing where they are applied already.
    pub fn relocations(&self, (section, address): At, length: u64) -> Option<usize> {
        match &self.contents {
            Contents::Linked(_) => None,
            Contents::Relocatable(sections) => {
                Some(sections.get(section as usize)?.relocations.range(address..address.saturating_add(length)).count())
            }
        }
    }

    /// Start and size of a special table (`__bug_table`).
    pub fn table(&self, name: &str) -> Option<(At, u64)> {
        // How include/asm-generic/vmlinux.lds.h and arch/x86/kernel/vmlinux.lds.S name the ends of each.
        const ENDS: &[(&str, &str, &str)] = &[
            ("__bug_table", "__start___bug_table", "__stop___bug_table"),
            ("__ex_table", "__start___ex_table", "__stop___ex_table"),
            ("__jump_table", "__start___jump_table", "__stop___jump_table"),
            (".altinstructions", "__alt_instructions", "__alt_instructions_end"),
        ];
        match &self.contents {
            Contents::Linked(_) => {
                let (_, start, end) = ENDS.iter().find(|(known, ..)| *known == name)?;
                let address = |name| self.symbols.named(name).next().map(|symbol| symbol.address);
                let (start, end) = (address(start)?, address(end)?);
                Some(((0, start), end.checked_sub(start)?))
            }
            Contents::Relocatable(sections) => {
                let index = sections.iter().position(|section| section.name == name)?;
                Some(((index as u32, 0), sections[index].size))
            }
        }
    }
}

/// What an applied relocation was computed from: symbol plus addend (System V ABI, AMD64 supplement, section 4.4).
fn applied(field: &[u8], address: u64, relocation: &Relocation) -> Option<u64> {
    let value = match field {
        [byte] => i64::from(*byte as i8),
        [a, b] => i64::from(i16::from_le_bytes([*a, *b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
        _ => i64::from_le_bytes(field.try_into().ok()?),
    };
    Some(if relocation.pc_relative { address.wrapping_add_signed(value) } else { value as u64 })
}
