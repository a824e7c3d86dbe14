//! Symbol tables of the running kernel: kallsyms for vmlinux, the `.ko`'s own table for modules; and what is exported.

use std::collections::BTreeMap;

/// The kernel's own object, whose symbols need no loaded module.
pub const VMLINUX: &str = "vmlinux";

/// One symbol of vmlinux or of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// Address as linked (vmlinux, before KASLR) or offset in its section (module).
    pub address: u64,
    /// kallsyms' letter (`t` local text, `T` global text, `d`, `D`, `b`, `r`, ...), as `nm` prints it.
    pub kind: char,
    /// Section index within a module's `.ko`; 0 for vmlinux.
    pub section: u32,
}

impl Symbol {
    pub fn is_function(&self) -> bool {
        matches!(self.kind, 't' | 'T' | 'w' | 'W')
    }
    pub fn is_global(&self) -> bool {
        self.kind.is_ascii_uppercase()
    }
}

/// The symbols of one kernel object (vmlinux or a module), in the order in which the kernel's livepatch code counts
/// them for sympos: kallsyms order (address order) for vmlinux, symbol-table order for modules (klp_find_callback() in
/// kernel/livepatch/core.c).
#[derive(Debug, Default)]
pub struct SymbolTable {
    symbols: Vec<Symbol>,
    by_name: BTreeMap<String, Vec<usize>>,
}

impl SymbolTable {
    /// `symbols` in sympos order.
    pub fn new(symbols: Vec<Symbol>) -> SymbolTable {
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, symbol) in symbols.iter().enumerate() {
            by_name.entry(symbol.name.clone()).or_default().push(index);
        }
        SymbolTable { symbols, by_name }
    }

    pub fn all(&self) -> &[Symbol] {
        &self.symbols
    }

    /// All symbols of this name in sympos order; a symbol's sympos is its index here plus 1, or 0 where it is alone.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Symbol> + '_ {
        self.by_name.get(name).into_iter().flatten().map(|index| &self.symbols[*index])
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

/// One line of Module.symvers (scripts/mod/modpost.c, write_dump()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// `vmlinux`, or the exporting module's name as livepatch spells it (`_` for `-`, no folder).
    pub object: String,
    pub crc: u32,
    pub gpl_only: bool,
    pub namespace: Option<String>,
}

impl Export {
    pub fn is_of_vmlinux(&self) -> bool {
        self.object == VMLINUX
    }
}

/// What the kernel and its modules export, by symbol name.
pub type Exports = BTreeMap<String, Export>;
