//! Is a built module what its sources make? The sources are compiled, and function by function and object by object held
//! against the module's file: what Kbuild did with other sources, flags or lists of symbols, or somebody to the file later,
//! is seen by what differs.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::finding::{Finding, MODULE_INVALID, MODULE_OTHER, Result, refuse};
use crate::kernel::modules;
use crate::link::symbols_file::Entry;
use crate::object::facts::{Facts, Place};
use crate::object::fidelity;
use crate::object::layout::Layout;
use crate::object::provenance;
use crate::object::running::Running;

use super::without_prefix;

/// The folder in which Kbuild compiled `file`, where the module says so (`__FILE__` is in its WARN_ONs). It ends in a slash.
pub fn folder_of(ko: &[u8], file: &str) -> Option<String> {
    let end = format!("/{file}");
    let module = ElfFile64::<object::Endianness>::parse(ko).ok()?;
    let data = module.sections().filter(|s| s.name().is_ok_and(|name| name.starts_with(".rodata")));
    let texts = data.filter_map(|section| section.data().ok()).flat_map(|data| data.split(|byte| *byte == 0));
    let path = texts
        .filter_map(|text| std::str::from_utf8(text).ok())
        .find(|text| text.starts_with('/') && text.ends_with(&end))?;
    path.strip_suffix(file).map(str::to_string)
}

/// What of a module, `ko`, isn't what its sources' objects (name of the source, bytes) and klp.symbols make of it.
pub fn differences(ko: &[u8], name: &str, objects: &[(&str, &[u8])], entries: &[Entry]) -> Result<Option<Finding>> {
    let unreadable = |error: String| refuse(MODULE_INVALID, format!("{name} can't be read: {error}"));
    let symbols = match modules::all_symbols(ko) {
        Ok(symbols) => symbols,
        Err(error) => return unreadable(error),
    };
    let module = match Running::of_file(ko, &symbols) {
        Ok(module) => module,
        Err(error) => return unreadable(error),
    };
    let mut differ: Vec<String> = Vec::new();
    let mut own: BTreeSet<String> = BTreeSet::new();
    for (source, bytes) in objects {
        let mut facts = Facts::of(bytes, source)?;
        link(&mut facts, entries);
        own.extend(facts.functions.iter().flat_map(|function| function.names()).cloned());
        own.extend(facts.objects.iter().map(|object| object.name.clone()));
        let layout = Layout::of(&facts, &symbols).followed(&facts, &module);
        let compared = fidelity::compare_with_data(&facts, layout, &module);
        let all = compared.unfaithful.into_iter().chain(compared.unknown);
        let of_module = |why: String| why.replace("the running kernel", "the module");
        differ.extend(all.map(|(name, why)| format!("{name} of {source}: {}", of_module(why))));
    }
    differ.extend(others(ko, &own).into_iter().map(|name| format!("{name}: no source of the folder has it")));
    if differ.is_empty() {
        return Ok(None);
    }
    let list = provenance::list(&differ);
    let message = format!("{name} is not what the files beside it make, compiled as Kbuild was told at first:{list}");
    Ok(Some(Finding::new(MODULE_OTHER, message)))
}

/// The names that `link` gives to what klp.symbols lists.
fn link(facts: &mut Facts, entries: &[Entry]) {
    let entries: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.c_name.as_str(), entry)).collect();
    for relocation in facts.sections.iter_mut().flat_map(|section| section.relocations.values_mut()) {
        if let Place::Elsewhere(symbol, _) = &mut relocation.place
            && let Some(entry) = entries.get(symbol.as_str())
        {
            *symbol = entry.klp_name();
        }
    }
}

/// Functions and objects of a module that its sources don't have; what modpost and objtool add is their own.
fn others(ko: &[u8], own: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(module) = ElfFile64::<object::Endianness>::parse(ko) else { return BTreeSet::new() };
    let is_code_or_data = |symbol: &object::read::elf::ElfSymbol64| {
        let section = symbol.section_index().and_then(|index| module.section_by_index(index).ok());
        let name = section.as_ref().and_then(|section| section.name().ok()).unwrap_or_default();
        let data = [".data", ".bss", ".rodata"].iter().any(|prefix| name.starts_with(prefix));
        match symbol.kind() {
            SymbolKind::Text => true,
            SymbolKind::Data => data,
            _ => false,
        }
    };
    let names = module.symbols().filter(|s| s.is_definition() && is_code_or_data(s));
    let names = names.filter_map(|symbol| symbol.name().ok()).filter(|name| !name.is_empty());
    names.filter(|name| !own.contains(*name) && !own.contains(without_prefix(name))).map(str::to_string).collect()
}
