//! How a new function may leave: the kernel's stack check knows it by its start and size alone, so that a function which
//! jumps out of itself, or into a part of its own elsewhere, can be removed while a task is in what it jumped to
//! (klp_check_stack_func() in kernel/livepatch/transition.c).

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use object::read::elf::{ElfFile64, ElfSymbol64};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex};

/// Where a function jumps to, beside itself; in the order of the code.
pub fn ways_out(file: &ElfFile64, function: &ElfSymbol64) -> Vec<String> {
    let Some(index) = function.section_index() else { return Vec::new() };
    let Ok(section) = file.section_by_index(index) else { return Vec::new() };
    let (start, end) = (function.address(), function.address() + function.size());
    let data = section.data().unwrap_or_default();
    let Some(code) = data.get(start as usize..(end as usize).min(data.len())) else { return Vec::new() };
    let relocations: std::collections::BTreeMap<u64, _> = section.relocations().collect();
    let mut found = Vec::new();
    for instruction in Decoder::with_ip(64, code, start, DecoderOptions::NONE) {
        let jump = matches!(
            instruction.flow_control(),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::IndirectBranch
        );
        if !jump {
            continue;
        }
        let relocated = relocations.range(instruction.ip()..instruction.next_ip()).next();
        let way = match relocated {
            Some((offset, relocation)) => {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
                let Ok(symbol) = file.symbol_by_index(symbol) else { continue };
                // The field is followed by what is left of the instruction.
                let distance = (instruction.next_ip() - offset) as i64;
                let at = symbol.address().wrapping_add_signed(relocation.addend() + distance);
                let inside = symbol.section_index() == Some(index) && (start..end).contains(&at);
                (!inside).then(|| name(file, &symbol, at))
            }
            None if instruction.op0_kind() == OpKind::NearBranch64 => {
                let at = instruction.near_branch_target();
                (!(start..end).contains(&at)).then(|| symbol_at(file, index, at))
            }
            // Through a table or a register.
            None => Some("an address in a register or in memory".into()),
        };
        found.extend(way.filter(|name| !RETURNS.contains(&name.as_str())));
    }
    found
}

/// What a compiler writes for `ret` (arch/x86/include/asm/nospec-branch.h).
const RETURNS: &[&str] = &["__x86_return_thunk"];

fn name(file: &ElfFile64, symbol: &ElfSymbol64, at: u64) -> String {
    match symbol.section_index() {
        Some(section) if symbol.kind() == object::SymbolKind::Section => symbol_at(file, section, at),
        _ => symbol.name().unwrap_or_default().to_string(),
    }
}

fn symbol_at(file: &ElfFile64, section: SectionIndex, at: u64) -> String {
    let covers = |symbol: &ElfSymbol64| {
        symbol.section_index() == Some(section)
            && symbol.kind() == object::SymbolKind::Text
            && (symbol.address()..symbol.address() + symbol.size().max(1)).contains(&at)
    };
    let symbol = file.symbols().find(covers);
    symbol.and_then(|symbol| symbol.name().ok().map(str::to_string)).unwrap_or_else(|| format!("offset {at:#x}"))
}
