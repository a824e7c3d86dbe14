//! Linkage: how each name that the module leaves undefined reaches the running kernel.
//!
//! Takes symbol tables, exports and the layout of the recompiled object; yields one [`External`] a symbol, or refuses.

pub mod events;
pub mod hidden;
pub mod includes;
pub mod pointers;
pub mod reading;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::finding::{AMBIGUOUS_SYMBOL, Finding, NOT_RELOADABLE, Result, SYMBOL_MISSING, SYMBOL_UNRESOLVED, refuse};
use crate::kernel::Kernel;
use crate::kernel::symbols::{Exports, SymbolTable, VMLINUX};
use crate::link::symbols_file::Entry;
use crate::object::facts::{Binding, Defined, Facts};
use crate::object::layout::{self, Layout};

use pointers::Features;

/// How the module refers to a symbol of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// vmlinux exports it (of a program: the C library): an ordinary undefined symbol.
    Export,
    /// By a relocation that the livepatch code resolves by name (Documentation/livepatch/module-elf-format.rst).
    KlpRelocation,
    /// By a pointer of the livepatch's that has such a relocation, so that the module that has the symbol can be removed and loaded again.
    KlpRelocationOfPointer,
    /// By a pointer of the livepatch's that it sets itself, asking kallsyms.
    Kallsyms,
}

/// A symbol of the running kernel that the module refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct External {
    /// The name in C.
    pub name: String,
    /// The module's symbol, where it has another name than C's: another file of the module, or what vmlinux exports, has that
    /// name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
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
    /// The module's undefined symbol.
    pub fn linked_name(&self) -> &str {
        self.label.as_ref().unwrap_or(&self.name)
    }

    /// The line of klp.symbols; nothing for an export.
    pub fn entry(&self) -> Option<Entry> {
        let mut entry = Entry::new(self.linked_name(), &self.object, &self.symbol, u64::from(self.sympos));
        entry.patched_object = self.patched_object.clone();
        matches!(self.how, How::KlpRelocation | How::KlpRelocationOfPointer).then_some(entry)
    }

    /// Does the kernel not export it?
    pub fn is_private(&self) -> bool {
        self.how != How::Export
    }

    /// The object whose loading tells where it is: `vmlinux`, or the module that is patched.
    pub fn patched_object(&self) -> &str {
        &self.patched_object
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
    layout: &'a Layout,
}

impl<'a> Resolver<'a> {
    pub fn new(running: Running<'a>, facts: &'a Facts, layout: &'a Layout) -> Resolver<'a> {
        Resolver { running, facts, layout }
    }

    /// Functions and objects of the unit that the running kernel has under their plain names, so that the module can
    /// refer to them. What a function's symbol can't tell apart is copied instead; data never is.
    pub fn provided(&self, copied: &BTreeSet<String>) -> BTreeSet<String> {
        let function = |name: &str| layout::sympos(name, true, self.facts, self.layout, self.running.table).is_ok();
        let functions = self.facts.functions.iter().filter(|f| f.cold_of.is_none()).map(|f| f.name.as_str());
        let functions = functions.filter(|name| !copied.contains(*name) && function(name));
        let objects =
            self.facts.objects.iter().map(|o| o.name.as_str()).filter(|name| self.running.table.contains(name));
        functions.chain(objects).map(str::to_string).collect()
    }

    /// Weak functions of the unit of which the running kernel may have another object's: calls go to that one, whatever
    /// this unit defines. GCC never inlines a weak function.
    pub fn elsewhere(&self) -> BTreeSet<String> {
        let weak = self.facts.functions.iter().filter(|f| f.binding == Binding::Weak).map(|f| f.name.as_str());
        let is_own = |name: &str| layout::sympos(name, true, self.facts, self.layout, self.running.table).is_ok();
        weak.filter(|name| !is_own(name)).map(str::to_string).collect()
    }

    /// As [`Resolver::resolve`]; an alias whose own symbol GCC has done away with is the function that it stands for.
    /// `aliases` as in [`crate::closure::Closure::aliases`].
    pub fn resolve_alias(&self, name: &str, aliases: &BTreeMap<String, String>) -> Result<External> {
        match (self.resolve(name), aliases.get(name)) {
            (Err(error), Some(stands_for)) if error.is_only(&[SYMBOL_MISSING, SYMBOL_UNRESOLVED]) => {
                self.resolve(stands_for).map(|external| External { name: name.into(), ..external })
            }
            (resolved, _) => resolved,
        }
    }

    /// The running kernel's symbol behind a name that the module leaves undefined.
    pub fn resolve(&self, name: &str) -> Result<External> {
        let mut own = None;
        if let Some(Defined { is_function, binding, .. }) = self.facts.symbol(name) {
            if binding != Binding::Local
                && let Some(external) = self.export(name).filter(|e| e.object == self.running.object)
            {
                return Ok(external);
            }
            match layout::sympos(name, is_function, self.facts, self.layout, self.running.table) {
                Ok(found) => return Ok(self.relocation(name, self.running.object, found.position)),
                // Another object's may have taken its place, for all who name it.
                Err(why) if binding == Binding::Weak => own = Some(why),
                Err(why) => return Err(why),
            }
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
        own.map_or(Ok(()), Err)?;
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
        let found = layout::sympos(symbol, false, self.facts, self.layout, self.running.table)?;
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

    /// Is it a symbol of vmlinux that is read-only after boot?
    pub fn is_read_only(&self, symbol: &str) -> bool {
        let vmlinux = self.running.base_table;
        let bound = |name: &str| vmlinux.named(name).next().map(|symbol| symbol.address);
        let bounds = bound("__start_ro_after_init").zip(bound("__end_ro_after_init"));
        bounds.is_some_and(|(start, end)| vmlinux.named(symbol).any(|key| (start..end).contains(&key.address)))
    }

    /// Does the running kernel free it when it has booted, or when the module is loaded?
    pub fn is_init(&self, external: &External) -> bool {
        if let Some(own) = self.facts.symbol(&external.symbol).filter(|own| own.binding != Binding::Weak) {
            return self.facts.sections[own.section].is_boot();
        }
        let vmlinux = self.running.base_table;
        let bound = |name: &str| vmlinux.named(name).next().map(|symbol| symbol.address);
        // include/asm-generic/sections.h.
        let Some((start, end)) = bound("__init_begin").zip(bound("__init_end")) else { return false };
        let mut named = vmlinux.named(&external.symbol);
        let symbol = named.nth(external.sympos.saturating_sub(1) as usize);
        external.object == VMLINUX && symbol.is_some_and(|symbol| (start..end).contains(&symbol.address))
    }

    fn relocation(&self, name: &str, object: &str, sympos: u32) -> External {
        External {
            name: name.into(),
            label: None,
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
pub fn findings(externals: &[External], features: Features) -> Vec<Finding> {
    let held = |e: &&External| e.object != VMLINUX && e.how == How::KlpRelocation && !features.clears_relocations;
    let modules: BTreeSet<&str> = externals.iter().filter(held).map(External::patched_object).collect();
    let names = |module: &str| {
        let of = externals.iter().filter(held).filter(|e| e.patched_object == module).map(|e| e.name.as_str());
        of.collect::<Vec<_>>().join(", ")
    };
    let finding = |module: &str| {
        Finding::new(
            NOT_RELOADABLE,
            format!(
                "code of the livepatch refers to {} by klp relocations, which this kernel doesn't clear: {module} can't be \
                 loaded again while the livepatch is loaded",
                names(module)
            ),
        )
    };
    modules.into_iter().map(finding).collect()
}
