//! Linkage: how each name that the module leaves undefined reaches the running kernel.
//!
//! Takes symbol tables, exports and the layout of the recompiled object; yields one [`External`] a symbol, or refuses.

pub mod includes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::finding::{AMBIGUOUS_SYMBOL, Finding, NOT_RELOADABLE, READ_ONLY_KEY, Result, SYMBOL_UNRESOLVED, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::{Exports, SymbolTable};
use crate::link::symbols_file::{Entry, VMLINUX};
use crate::object::facts::{Binding, Facts};
use crate::object::layout::{self, Layout};

/// How the module refers to a symbol of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// vmlinux exports it (of a program: the C library): an ordinary undefined symbol.
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

/// The running code that names are resolved against.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The object that the unit is part of: `vmlinux`, or a module's name.
    pub object: &'a str,
    /// The symbols of that object.
    pub table: &'a SymbolTable,
    /// The object whose exports anything may refer to by an ordinary undefined symbol: `vmlinux`.
    pub base: &'a str,
    /// The symbols of the base.
    pub base_table: &'a SymbolTable,
    /// By symbol: the object that exports it.
    pub exports: &'a Exports,
}

impl<'a> Running<'a> {
    /// A kernel, seen from one of its objects.
    pub fn kernel(kernel: &'a Kernel, object: &'a str) -> Result<Running<'a>> {
        Ok(Running {
            name: &kernel.descriptor.name,
            object,
            table: kernel.symbols(object)?,
            base: VMLINUX,
            base_table: kernel.symbols(VMLINUX)?,
            exports: kernel.exports()?,
        })
    }
}

/// Resolves the names of one unit against the running code.
pub struct Resolver<'a> {
    running: Running<'a>,
    /// The recompiled object of the unit, as it runs.
    facts: &'a Facts,
    layout: Layout,
}

impl<'a> Resolver<'a> {
    pub fn new(running: Running<'a>, facts: &'a Facts) -> Resolver<'a> {
        Resolver { running, facts, layout: Layout::of(facts, running.table) }
    }

    /// Functions and objects of the unit that the running kernel has under their plain names, so that the module can
    /// refer to them. What a function's symbol can't tell apart is copied instead; data never is.
    pub fn provided(&self, copied: &BTreeSet<String>) -> BTreeSet<String> {
        let function = |name: &str| layout::sympos_in(name, true, self.facts, &self.layout, self.running.table).is_ok();
        let functions = self.facts.functions.iter().filter(|f| f.cold_of.is_none()).map(|f| f.name.as_str());
        let functions = functions.filter(|name| !copied.contains(*name) && function(name));
        let objects =
            self.facts.objects.iter().map(|o| o.name.as_str()).filter(|name| self.running.table.contains(name));
        functions.chain(objects).map(str::to_string).collect()
    }

    /// As [`Resolver::resolve`]; an alias whose own symbol GCC has done away with is the function that it stands for.
    /// `aliases` as in [`crate::closure::Closure::aliases`].
    pub fn resolve_alias(&self, name: &str, aliases: &BTreeMap<String, String>) -> Result<External> {
        match (self.resolve(name), aliases.get(name)) {
            (Err(_), Some(stands_for)) => {
                self.resolve(stands_for).map(|external| External { name: name.into(), ..external })
            }
            (resolved, _) => resolved,
        }
    }

    /// The running kernel's symbol behind a name that the module leaves undefined.
    pub fn resolve(&self, name: &str) -> Result<External> {
        let local = |binding: Binding| binding == Binding::Local;
        let function = self.facts.named(name).map(|id| (true, local(self.facts.function(id).binding)));
        let own = function.or_else(|| self.facts.object_named(name).map(|object| (false, local(object.binding))));
        if let Some((is_function, is_local)) = own {
            if !is_local && let Some(external) = self.export(name).filter(|e| e.object == self.running.object) {
                return Ok(external);
            }
            let found = layout::sympos_in(name, is_function, self.facts, &self.layout, self.running.table)?;
            return Ok(self.relocation(name, self.running.object, found.position));
        }
        if let Some(external) = self.export(name) {
            return Ok(external);
        }
        let Running { object, table, base, base_table, .. } = self.running;
        let tables = [(object, table), (base, base_table)];
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
                self.running.name, self.running.object
            ),
        )
    }

    /// The running kernel's object for a function's static variable, under a name of the module's; `symbol` is the unit's
    /// (`count.3`). Refused too where the object lies elsewhere than this symbol: the numbers are then another build's.
    pub fn static_local(&self, name: &str, symbol: &str) -> Result<External> {
        let found = layout::sympos_in(symbol, false, self.facts, &self.layout, self.running.table)?;
        let object = self.facts.object_named(symbol);
        let place = object.and_then(|object| self.layout.place(object.section, object.offset));
        if place.is_some_and(|(_, address)| address != found.address) {
            return refuse(
                AMBIGUOUS_SYMBOL,
                format!("{symbol} lies elsewhere in {} than the layout of this object puts it", self.running.name),
            );
        }
        let external = self.relocation(name, self.running.object, found.position);
        Ok(External { symbol: symbol.into(), ..external })
    }

    /// Static keys that the kernel has made read-only: a jump entry of a module on one makes it write to the key when the
    /// module is loaded, which Oopses (kernel/jump_label.c, jump_label_add_module(), before `static_key_sealed`, which 6.12 has).
    /// `source` is the kernel's.
    pub fn read_only_keys(&self, keys: &BTreeSet<String>, source: &Path) -> Vec<Finding> {
        let vmlinux = self.running.base_table;
        let bound = |name: &str| vmlinux.named(name).next().map(|symbol| symbol.address);
        let bounds = bound("__start_ro_after_init").zip(bound("__end_ro_after_init"));
        let header = source.join("include/linux/jump_label.h");
        let sealed = std::fs::read_to_string(header).is_ok_and(|text| text.contains("static_key_sealed"));
        let (Some((start, end)), false) = (bounds, sealed) else { return Vec::new() };
        let read_only = |name: &&String| vmlinux.named(name).any(|key| (start..end).contains(&key.address));
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
            patched_object: if object == self.running.base { object } else { self.running.object }.into(),
        }
    }

    fn export(&self, name: &str) -> Option<External> {
        let export = self.running.exports.get(name)?;
        // An export of a module by an ordinary reference would make the livepatch depend on that module.
        let external = self.relocation(name, &export.object, 0);
        Some(if export.object == self.running.base {
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
