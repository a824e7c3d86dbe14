//! Linkage: how each name that the module leaves undefined reaches the running kernel.
//!
//! Takes symbol tables, exports and the layout of the recompiled object; yields one [`External`] a symbol, or refuses.

pub mod includes;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::finding::{Finding, NOT_RELOADABLE, READ_ONLY_KEY, Result, SYMBOL_UNRESOLVED, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::{Exports, SymbolTable};
use crate::link::symbols_file::{Entry, VMLINUX};
use crate::object::facts::{Binding, Facts};
use crate::object::layout::{self, Layout};

/// How the module refers to a symbol of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// vmlinux exports it: an ordinary undefined symbol.
    Export,
    /// By a relocation that the livepatch code resolves by name (Documentation/livepatch/module-elf-format.rst).
    KlpRelocation,
}

/// A symbol of the running kernel that the module refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct External {
    /// The name in C.
    pub name: String,
    /// `vmlinux`, or the module that has it.
    pub object: String,
    /// The name in the symbol table.
    pub symbol: String,
    /// 0 where the name is unique in the object, else its place among the symbols of that name, from 1.
    pub sympos: u32,
    pub how: How,
    /// The symbol namespace that has to be imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object that the livepatch changes, whose loading applies the relocation.
    #[serde(skip)]
    patched_object: String,
}

impl External {
    /// The line of klp.symbols; nothing for an export.
    pub fn entry(&self) -> Option<Entry> {
        let mut entry = Entry::new(&self.name, &self.object, &self.symbol, u64::from(self.sympos));
        entry.patched_object = self.patched_object.clone();
        (self.how == How::KlpRelocation).then_some(entry)
    }
}

/// Resolves the names of one unit against the running kernel.
pub struct Resolver<'a> {
    kernel: &'a Kernel,
    /// The kernel object that the unit is part of.
    object: &'a str,
    /// The recompiled object of the unit, as it runs.
    facts: &'a Facts,
    table: &'a SymbolTable,
    vmlinux: &'a SymbolTable,
    exports: &'a Exports,
    layout: Layout,
}

impl<'a> Resolver<'a> {
    pub fn new(kernel: &'a Kernel, object: &'a str, facts: &'a Facts) -> Result<Resolver<'a>> {
        let table = kernel.symbols(object)?;
        Ok(Resolver {
            kernel,
            object,
            facts,
            table,
            vmlinux: kernel.symbols(VMLINUX)?,
            exports: kernel.exports()?,
            layout: Layout::of(facts, table),
        })
    }

    /// Functions and objects of the unit that the running kernel has under their plain names, so that the module can
    /// refer to them. What a function's symbol can't tell apart is copied instead; data never is.
    pub fn provided(&self, copied: &BTreeSet<String>) -> BTreeSet<String> {
        let function = |name: &str| layout::sympos_in(name, true, self.facts, &self.layout, self.table).is_ok();
        let functions = self.facts.functions.iter().filter(|f| f.cold_of.is_none()).map(|f| f.name.as_str());
        let functions = functions.filter(|name| !copied.contains(*name) && function(name));
        let objects = self.facts.objects.iter().map(|o| o.name.as_str()).filter(|name| self.table.contains(name));
        functions.chain(objects).map(str::to_string).collect()
    }

    /// The running kernel's symbol behind a name that the module leaves undefined.
    pub fn resolve(&self, name: &str) -> Result<External> {
        let local = |binding: Binding| binding == Binding::Local;
        let function = self.facts.named(name).map(|id| (true, local(self.facts.function(id).binding)));
        let own = function.or_else(|| self.facts.object_named(name).map(|object| (false, local(object.binding))));
        if let Some((is_function, is_local)) = own {
            if !is_local && let Some(external) = self.export(name).filter(|e| e.object == self.object) {
                return Ok(external);
            }
            let found = layout::sympos_in(name, is_function, self.facts, &self.layout, self.table)?;
            return Ok(self.relocation(name, self.object, found.position));
        }
        if let Some(external) = self.export(name) {
            return Ok(external);
        }
        let tables = [(self.object, self.table), (VMLINUX, self.vmlinux)];
        for (object, table) in tables {
            let named: Vec<_> = table.named(name).collect();
            let mut global = named.iter().enumerate().filter(|(_, symbol)| symbol.is_global());
            if let (Some((index, _)), None) = (global.next(), global.next()) {
                let position = if named.len() == 1 { 0 } else { index as u32 + 1 };
                return Ok(self.relocation(name, object, position));
            }
        }
        refuse(
            SYMBOL_UNRESOLVED,
            format!(
                "the module needs {name}, which {} neither exports nor has as a global symbol of {}",
                self.kernel.descriptor.name, self.object
            ),
        )
    }

    /// Static keys that the kernel has made read-only: a jump entry of a module on one makes it write to the key when the
    /// module is loaded, which Oopses (kernel/jump_label.c, jump_label_add_module(), before `static_key_sealed`, which 6.12 has).
    pub fn read_only_keys(&self, keys: &BTreeSet<String>) -> Vec<Finding> {
        let bound = |name: &str| self.vmlinux.named(name).next().map(|symbol| symbol.address);
        let bounds = bound("__start_ro_after_init").zip(bound("__end_ro_after_init"));
        let header = self.kernel.source().join("include/linux/jump_label.h");
        let sealed = std::fs::read_to_string(header).is_ok_and(|text| text.contains("static_key_sealed"));
        let (Some((start, end)), false) = (bounds, sealed) else { return Vec::new() };
        let read_only = |name: &&String| self.vmlinux.named(name).any(|key| (start..end).contains(&key.address));
        let message = |name: &String| {
            format!(
                "the static key {name} is read-only after boot: loading a module with a jump entry on it Oopses on this \
                 kernel. Write static_key_enabled(&{name}) in its place by hand"
            )
        };
        keys.iter().filter(read_only).map(|name| Finding::new(READ_ONLY_KEY, message(name))).collect()
    }

    fn relocation(&self, name: &str, object: &str, sympos: u32) -> External {
        External {
            name: name.into(),
            object: object.into(),
            symbol: name.into(),
            sympos,
            how: How::KlpRelocation,
            namespace: None,
            patched_object: if object == VMLINUX { VMLINUX } else { self.object }.into(),
        }
    }

    fn export(&self, name: &str) -> Option<External> {
        let export = self.exports.get(name)?;
        // An export of a module by an ordinary reference would make the livepatch depend on that module.
        let external = self.relocation(name, &export.object, 0);
        Some(if export.object == VMLINUX {
            External { how: How::Export, namespace: export.namespace.clone(), ..external }
        } else {
            external
        })
    }
}

/// What has to be said of the externals as a whole.
pub fn findings(externals: &[External]) -> Vec<Finding> {
    let modules: BTreeSet<&str> = externals.iter().map(|e| e.object.as_str()).filter(|o| *o != VMLINUX).collect();
    let names = |module: &str| {
        let of = externals.iter().filter(|e| e.object == module).map(|e| e.name.as_str());
        of.collect::<Vec<_>>().join(", ")
    };
    let finding = |module: &str| {
        Finding::new(
            NOT_RELOADABLE,
            format!(
                "the livepatch refers to {} of module {module}: on kernels that don't clear klp relocations (before 6.3), \
                 {module} can't be loaded again while the livepatch is loaded",
                names(module)
            ),
        )
    };
    modules.into_iter().map(finding).collect()
}
