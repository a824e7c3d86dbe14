//! Where indirect branches may end: with IBT (CONFIG_X86_KERNEL_IBT) only at an ENDBR, and anything else is an exception
//! (#CP). Functions that GCC sees called directly alone have none, and objtool lists those that nothing refers to
//! otherwise, for the kernel to overwrite them at boot (`.ibt_endbr_seal`; tools/objtool/check.c,
//! create_ibt_endbr_seal_sections(); apply_seal_endbr() in arch/x86/kernel/alternative.c). So a livepatch may take the
//! address of a function only where the running kernel has an ENDBR that stays.

use std::collections::BTreeSet;
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};
use object::{SectionIndex, SymbolIndex};

use crate::finding::{Finding, NO_ENDBR, OBJECT_INVALID, Result, io, refuse};
use crate::kernel::symbols::{Symbol, VMLINUX};
use crate::kernel::{Kernel, modules};
use crate::link::SHN_LIVEPATCH;
use crate::linkage::External;
use crate::object::facts::{Facts, Place};

use super::symbols;

/// Sections that tell the kernel of places in code, and by which nobody calls (tools/objtool/check.c, validate_ibt()).
const NO_POINTERS: &[&str] = &[
    ".altinstructions",
    ".call_sites",
    ".discard",
    ".ibt_endbr_seal",
    ".kcfi_traps",
    ".orc_",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".smp_locks",
    ".static_call_sites",
    "__bug_table",
    "__ex_table",
    "__jump_table",
    "__mcount_loc",
    "__patchable_function_entries",
    "_kprobe_blacklist",
];

/// A symbol of the running kernel, as livepatch names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    pub object: String,
    pub name: String,
    pub sympos: u64,
}

impl Function {
    pub fn of(External { object, symbol, sympos, .. }: &External) -> Function {
        Function { object: object.clone(), name: symbol.clone(), sympos: u64::from(*sympos) }
    }
}

/// The symbols of others that a file refers to otherwise than by calls and jumps.
pub fn taken(file: &ElfFile64) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for section in file.sections() {
        let header = section.elf_section_header();
        let Ok(Some((relocations, _))) = header.rela(Endianness::Little, file.data()) else { continue };
        let place = file.section_by_index(SectionIndex(header.sh_info(Endianness::Little) as usize));
        let Ok(place) = place else { continue };
        let name = place.name().unwrap_or_default();
        let flags = place.elf_section_header().sh_flags(Endianness::Little);
        if !flags.contains(elf::SHF_ALLOC) || NO_POINTERS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let code = if flags.contains(elf::SHF_EXECINSTR) { place.data().unwrap_or_default() } else { &[] };
        for relocation in relocations {
            let before = code.get(..relocation.r_offset.get(Endianness::Little) as usize).unwrap_or_default();
            if is_branch(before, relocation.r_type(Endianness::Little, false)) {
                continue;
            }
            let index = SymbolIndex(relocation.r_sym(Endianness::Little, false) as usize);
            let Ok(symbol) = file.symbol_by_index(index) else { continue };
            let livepatch = symbol.elf_symbol().st_shndx.get(Endianness::Little) == SHN_LIVEPATCH;
            if (symbol.is_undefined() || livepatch)
                && let Ok(name) = symbol.name()
            {
                taken.insert(name.to_string());
            }
        }
    }
    taken
}

/// [`taken`], of an object file.
pub fn taken_by(path: &Path) -> Result<BTreeSet<String>> {
    let bytes = std::fs::read(path).map_err(io("read", path))?;
    match ElfFile64::parse(&*bytes) {
        Ok(file) => Ok(taken(&file)),
        Err(error) => refuse(OBJECT_INVALID, format!("cannot read the object file {}: {error}", path.display())),
    }
}

/// Is it the distance of a call or jump? Assemblers say so, older ones by the instruction alone.
pub(super) fn is_branch(before: &[u8], kind: elf::RelocationType) -> bool {
    let branches = matches!(before, [.., 0xe8 | 0xe9] | [.., 0x0f, 0x80..=0x8f]);
    kind == elf::R_X86_64_PLT32 || kind == elf::R_X86_64_PC32 && branches
}

/// Those functions to which no pointer may lead in this kernel.
pub fn check(kernel: &Kernel, taken: &BTreeSet<Function>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for function in taken {
        if is_unreachable(kernel, function)? {
            let Function { object, name, .. } = function;
            let message = format!(
                "the address of {name} is taken, which nothing in the running {object} calls through a pointer: it has no \
                 ENDBR, or loses it at boot. With IBT a call through the pointer is an exception. Let the pointer lead to a \
                 function of the livepatch's own that calls it"
            );
            findings.push(Finding::new(NO_ENDBR, message));
        }
    }
    Ok(findings)
}

/// Is it a function that an indirect branch must not lead to in this kernel?
pub fn is_unreachable(kernel: &Kernel, Function { object, name, sympos }: &Function) -> Result<bool> {
    if kernel.config("X86_KERNEL_IBT") != Some("y") {
        return Ok(false);
    }
    // Whether it is there is another finding's.
    let Ok((symbol, _)) = symbols::find(kernel, object, name, *sympos)? else { return Ok(false) };
    Ok(symbol.is_function() && lands(kernel, object, symbol)? == Some(false))
}

/// May an indirect branch end at a function? Nothing where there is no image to tell.
fn lands(kernel: &Kernel, object: &str, symbol: &Symbol) -> Result<Option<bool>> {
    if object != VMLINUX {
        let Some(path) = kernel.modules()?.file(object) else { return Ok(None) };
        return Ok(lands_in_module(&Facts::of(&modules::contents(path)?, object)?, symbol));
    }
    let Some(memory) = kernel.memory()? else { return Ok(None) };
    let Some(code) = memory.from(symbol.address) else { return Ok(None) };
    let table = kernel.symbols(VMLINUX)?;
    let bound = |name: &str| table.named(name).next().map(|symbol| symbol.address);
    let sealed = match (bound("__ibt_endbr_seal"), bound("__ibt_endbr_seal_end")) {
        (Some(start), Some(end)) if start < end => {
            let list = memory.from(start).and_then(|data| data.get(..(end - start) as usize));
            let Some(list) = list else { return Ok(None) };
            seals(list, start, symbol.address)
        }
        // All stay.
        _ => false,
    };
    Ok(Some(code.starts_with(symbols::ENDBR) && !sealed))
}

/// Does a list of distances, each from its own place, name the address?
fn seals(list: &[u8], start: u64, address: u64) -> bool {
    let (entries, _) = list.as_chunks::<4>();
    (0u64..).zip(entries).any(|(index, entry)| {
        let distance = i64::from(i32::from_le_bytes(*entry));
        (start + 4 * index).wrapping_add_signed(distance) == address
    })
}

fn lands_in_module(facts: &Facts, symbol: &Symbol) -> Option<bool> {
    let function = symbols::functions_at(facts, symbol).next()?;
    let lists = facts.sections.iter().filter(|section| section.name == ".ibt_endbr_seal");
    let sealed = lists
        .flat_map(|section| section.relocations.values())
        .any(|relocation| relocation.place == Place::Here(function.section, function.offset as i64));
    let code = facts.sections[function.section].data.get(function.offset as usize..)?;
    Some(code.starts_with(symbols::ENDBR) && !sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Program;

    #[test]
    fn a_call_takes_no_address_and_all_else_does() {
        let scratch = tempfile::tempdir().unwrap();
        let (source, object) = (scratch.path().join("a.s"), scratch.path().join("a.o"));
        // -0x18 is the byte of a call, too.
        let text = "call called\njmp jumped\nje jumped\nlea led(%rip), %rax\nmovq $stored, -0x18(%rbp)\n\
            .data\n.quad listed\n.section __bug_table,\"a\"\n.long told - .\n";
        std::fs::write(&source, text).unwrap();
        Program::new("gcc").args(["-c", "-o"]).arg(&object).arg(&source).run("assemble").unwrap();
        let bytes = std::fs::read(&object).unwrap();
        let names = taken(&ElfFile64::parse(&*bytes).unwrap());
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["led", "listed", "stored"]);
    }

    #[test]
    fn distances_are_from_their_own_places() {
        let list: Vec<u8> = [0x100i32, -8].into_iter().flat_map(i32::to_le_bytes).collect();
        assert!(seals(&list, 0x1000, 0x1100) && seals(&list, 0x1000, 0xffc) && !seals(&list, 0x1000, 0x1104));
    }

    #[test]
    fn an_entry_in_a_module_has_an_endbr_that_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let (source, object) = (scratch.path().join("a.s"), scratch.path().join("a.o"));
        let text = ".globl f, g, h\n.type f,@function\n.type g,@function\n.type h,@function\n\
            f: endbr64\nret\n.size f,.-f\ng: ret\n.size g,.-g\nh: endbr64\nret\n.size h,.-h\n\
            .section .ibt_endbr_seal,\"a\"\n.long h - .\n";
        std::fs::write(&source, text).unwrap();
        Program::new("gcc").args(["-c", "-o"]).arg(&object).arg(&source).run("assemble").unwrap();
        let facts = Facts::read(&object).unwrap();
        let at = |name: &str| {
            let function = facts.function(facts.named(name).unwrap());
            let symbol = Symbol { name: name.into(), address: function.offset, kind: 'T', section: 0 };
            lands_in_module(&facts, &symbol)
        };
        assert_eq!((at("f"), at("g"), at("h")), (Some(true), Some(false), Some(false)));
    }
}
