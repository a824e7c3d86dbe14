//! Symbols of the running kernel that have one name in C and are two: each unit of a module may refer to its own `padzero`
//! (fs/compat_binfmt_elf.c includes fs/binfmt_elf.c), and vmlinux may export what has the name of one that is static.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{NAME_TWICE, Result, refuse};
use crate::kernel::symbols::{Export, Exports};
use crate::linkage::{External, How};

use super::parts::Part;

/// Gives the symbols of the module's files names that tell them apart, where one name would have to lead to several symbols
/// (GCC manual, "Asm Labels"); the texts that use them stay as they are. `new` are the names that the module defines for its own
/// files.
///
/// Refused where a header or a statement that declares more declares such a name.
pub(super) fn tell_apart(parts: &mut [Part], new: &BTreeSet<String>, exports: &Exports) -> Result<()> {
    let is_exported = |name: &str| exports.get(name).is_some_and(Export::is_of_vmlinux);
    // What is found by kallsyms is no symbol of the module's.
    let is_linked = |external: &&External| external.how != How::Kallsyms;
    let mut meant: BTreeMap<&str, BTreeSet<(&str, &str, u32)>> = BTreeMap::new();
    for external in parts.iter().flat_map(|part| &part.externals).filter(is_linked) {
        let symbol = (external.object.as_str(), external.symbol.as_str(), external.sympos);
        meant.entry(&external.name).or_default().insert(symbol);
    }
    let several = meant.iter().filter(|(name, all)| all.len() > 1 || new.contains(**name) || is_exported(name));
    let several: BTreeSet<String> = several.map(|(name, _)| name.to_string()).collect();
    for part in parts {
        let Part { externals, items, suffix, .. } = part;
        for external in externals.iter_mut().filter(|e| e.entry().is_some() && several.contains(&e.name)) {
            let name = &external.name;
            let label =
                if suffix.is_empty() { format!("{name}_{}", external.object) } else { format!("{name}{suffix}") };
            let declaration = items.iter_mut().find(|item| item.kind == "declaration" && item.name == *name);
            let labelled = declaration.as_ref().and_then(|item| labelled(&item.text, &label));
            let (Some(item), Some(text)) = (declaration, labelled) else {
                let message = format!("{name} stands for two symbols of the running kernel, and a header declares it");
                return refuse(NAME_TWICE, message);
            };
            item.text = text;
            item.edits.push(format!("its symbol is {label} here, for there is another {name}"));
            external.label = Some(label);
        }
    }
    Ok(())
}

/// A declaration with an assembler label; nothing where it declares more than one name.
fn labelled(text: &str, label: &str) -> Option<String> {
    let (before, after) = text.split_once(';')?;
    (!after.contains(';')).then(|| format!("{before} asm(\"{label}\");{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_declaration_gets_one_label() {
        assert_eq!(labelled("extern int f(int a);\n", "f_b").as_deref(), Some("extern int f(int a) asm(\"f_b\");\n"));
        assert_eq!(labelled("extern int a;\nextern int b;\n", "a_b"), None);
    }
}
