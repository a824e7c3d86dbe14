//! Calls and references of an object's code and data, read from relocations and from the instructions themselves.
//!
//! gas resolves a branch between two functions of one section and leaves no relocation; so the code is disassembled. A
//! branch that has a relocation goes where the relocation says: its displacement is still zero.

use std::collections::BTreeSet;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

use super::facts::{Facts, FunctionId, Place, Role, Section};

/// One call or tail jump from one function of the object to another, or to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// As emitted: it may be a `.cold` part.
    pub caller: FunctionId,
    pub callee: FunctionId,
    /// A jump (`jmp`, `jcc`) rather than a `call`.
    pub jump: bool,
}

/// Who holds the address of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Code takes the address.
    Code(FunctionId),
    /// Code outside of every function symbol (file-scope asm).
    BareCode { section: String },
    /// An initialiser: the section, and the data symbol that covers the place.
    Data { section: String, object: Option<String> },
    /// `.initcall*` and the like: called once, at boot, at load or at unload.
    Initcall { section: String },
}

/// A use of a function's address that is no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub function: FunctionId,
    pub holder: Holder,
}

/// A use of a data object: a load, a store, or its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataReference {
    /// Index into [`Facts::objects`].
    pub object: usize,
    pub holder: Holder,
}

pub(super) struct Found {
    pub calls: Vec<Call>,
    pub references: Vec<Reference>,
    pub data_references: Vec<DataReference>,
    pub exports: BTreeSet<String>,
}

/// Scans all code and data; an error where code can't be decoded.
pub(super) fn scan(facts: &Facts) -> std::result::Result<Found, String> {
    let mut found =
        Found { calls: Vec::new(), references: Vec::new(), data_references: Vec::new(), exports: BTreeSet::new() };
    // Functions that overlap would be decoded again and again; aliases are one.
    let code: u64 = facts.functions.iter().map(|function| function.size).fold(0, u64::saturating_add);
    let bytes: u64 = facts.sections.iter().map(|section| section.data.len() as u64).sum();
    if code > 4 * bytes {
        return Err("its functions overlap".into());
    }
    for index in 0..facts.functions.len() {
        scan_function(facts, FunctionId(index), &mut found)?;
    }
    for (index, section) in facts.sections.iter().enumerate() {
        scan_section(facts, index, section, &mut found);
    }
    Ok(found)
}

/// One decoded instruction, its offset in the section, and the relocations inside it.
pub(super) struct Decoded {
    pub instruction: Instruction,
    pub offset: u64,
    pub end: u64,
}

/// Decodes a function's code. Bytes after the function's end are never looked at.
pub(super) fn decode(facts: &Facts, id: FunctionId) -> std::result::Result<Vec<Decoded>, String> {
    let function = facts.function(id);
    let section = &facts.sections[function.section];
    let range = function.offset as usize..(function.offset + function.size) as usize;
    let Some(code) = section.data.get(range) else {
        return Err(format!("{} reaches beyond the end of section {}", function.name, section.name));
    };
    let mut decoded = Vec::new();
    for instruction in Decoder::with_ip(64, code, function.offset, DecoderOptions::NONE) {
        let (offset, end) = (instruction.ip(), instruction.next_ip());
        decoded.push(Decoded { instruction, offset, end });
    }
    Ok(decoded)
}

/// Is the instruction a direct branch or call? Then where it would lead without a relocation.
pub(super) fn branch_target(instruction: &Instruction) -> Option<u64> {
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            Some(instruction.near_branch_target())
        }
        _ => None,
    }
}

fn scan_function(facts: &Facts, id: FunctionId, found: &mut Found) -> std::result::Result<(), String> {
    let function = facts.function(id);
    let section = &facts.sections[function.section];
    for Decoded { instruction, offset, end } in decode(facts, id)? {
        let mut relocated = false;
        let branch = branch_target(&instruction);
        for (at, relocation) in section.relocations.range(offset..end) {
            relocated = true;
            let place = relocation.from_instruction(*at, end);
            note_code(facts, id, &place, branch.is_some().then_some(&instruction), found);
        }
        if relocated {
            continue;
        }
        if let Some(target) = branch {
            let place = Place::Here(function.section, target as i64);
            note_code(facts, id, &place, Some(&instruction), found);
        } else if instruction.is_ip_rel_memory_operand() {
            let place = Place::Here(function.section, instruction.ip_rel_memory_address() as i64);
            note_code(facts, id, &place, None, found);
        }
    }
    Ok(())
}

fn note_code(facts: &Facts, caller: FunctionId, place: &Place, branch: Option<&Instruction>, found: &mut Found) {
    let Place::Here(section, offset) = place else { return };
    let Some(callee) = facts.function_at(*section, *offset) else {
        if let Some(object) = facts.object_index_at(*section, *offset) {
            found.data_references.push(DataReference { object, holder: Holder::Code(caller) });
        }
        return;
    };
    let at_entry = facts.function(callee).offset as i64 == *offset;
    match branch {
        // Branches within a function, and between it and its cold part, are no calls; a call of oneself is.
        Some(_) if facts.whole(callee) == facts.whole(caller) && !at_entry => {}
        Some(_) if facts.function(caller).cold_of == Some(callee) && !at_entry => {}
        Some(_) if facts.function(callee).cold_of == Some(facts.whole(caller)) => {}
        Some(instruction) => {
            let jump = instruction.flow_control() != FlowControl::Call;
            found.calls.push(Call { caller, callee, jump });
        }
        None if at_entry => found.references.push(Reference { function: callee, holder: Holder::Code(caller) }),
        None => {}
    }
}

fn scan_section(facts: &Facts, index: usize, section: &Section, found: &mut Found) {
    // Alternatives' replacement code follows its function's alternatives table: pairs of relocations, the original
    // instruction and its replacement (struct alt_instr, arch/x86/include/asm/alternative.h).
    for (offset, relocation) in &section.relocations {
        let owner = facts.function_at(index, *offset as i64);
        if section.role == Role::Text && owner.is_some() {
            continue;
        }
        let place = match section.role {
            Role::Replacement | Role::Text => relocation.from_instruction(*offset, offset + 4),
            _ => relocation.place.clone(),
        };
        let Place::Here(target, at) = place else { continue };
        if section.role == Role::Export {
            export_names(facts, target, at, found);
            continue;
        }
        let is_data = matches!(section.role, Role::Data | Role::Const | Role::Constants | Role::Strings);
        let Some(function) = facts.function_at(target, at) else {
            if let Some(object) = facts.object_index_at(target, at)
                && is_data
            {
                let by = facts.object_at(index, *offset as i64).map(|o| o.name.clone());
                let holder = Holder::Data { section: section.name.clone(), object: by };
                found.data_references.push(DataReference { object, holder });
            }
            continue;
        };
        if facts.function(function).offset as i64 != at {
            continue;
        }
        let name = section.name.clone();
        let holder = match section.role {
            Role::Text => Holder::BareCode { section: name },
            Role::Replacement => match replacement_owner(facts, index, *offset) {
                Some(caller) => {
                    found.calls.push(Call { caller, callee: function, jump: false });
                    continue;
                }
                None => Holder::BareCode { section: name },
            },
            Role::Initcall => Holder::Initcall { section: name },
            Role::Data | Role::Const | Role::Constants | Role::Strings => {
                let object = facts.object_at(index, *offset as i64).map(|o| o.name.clone());
                Holder::Data { section: name, object }
            }
            Role::Export | Role::Special | Role::Ignored => continue,
        };
        found.references.push(Reference { function, holder });
    }
}

fn export_names(facts: &Facts, section: usize, at: i64, found: &mut Found) {
    if let Some(id) = facts.function_at(section, at) {
        // Which of the aliases is exported is in the section's name or string; all of them share the address.
        let function = facts.function(id);
        if function.offset as i64 == at {
            found.exports.insert(function.name.clone());
            found.exports.extend(function.aliases.iter().map(|(name, _)| name.clone()));
        }
    } else if let Some(object) = facts.object_at(section, at)
        && object.offset as i64 == at
        && facts.sections[object.section].role != Role::Export
    {
        found.exports.insert(object.name.clone());
    }
}

/// The function whose alternative's replacement code covers an offset of `.altinstr_replacement`.
fn replacement_owner(facts: &Facts, section: usize, offset: u64) -> Option<FunctionId> {
    let tables = facts.sections.iter().filter(|s| s.name.starts_with(".altinstructions"));
    let mut best: Option<(i64, FunctionId)> = None;
    for table in tables {
        let places: Vec<&Place> = table.relocations.values().map(|r| &r.place).collect();
        for pair in places.chunks_exact(2) {
            let (Place::Here(text, original), Place::Here(replacement, start)) = (pair[0], pair[1]) else { continue };
            let covers = *replacement == section && *start <= offset as i64;
            if covers && best.is_none_or(|(known, _)| *start >= known) {
                let owner = facts.function_at(*text, *original)?;
                best = Some((*start, facts.whole(owner)));
            }
        }
    }
    best.map(|(_, owner)| owner)
}
