//! Who calls a function of vmlinux, read from the linked image: which functions are only reached from `__init` code.
//!
//! Calls are found without disassembling: wherever four bytes behind a call or jump opcode lead to a function's entry, it
//! counts as a call. That finds every direct call and perhaps more, and more callers only make the answer "it runs later too"
//! likelier. The same goes for pointers: any eight or four bytes that are the address.

use std::collections::{BTreeMap, BTreeSet};

use super::memory::Memory;
use super::symbols::{Exports, SymbolTable};

/// Start and end symbols of tables that name every function's entry and call none of them.
const TABLES: &[(&str, &str)] = &[
    ("__start_mcount_loc", "__stop_mcount_loc"),
    ("__start_orc_unwind_ip", "__stop_orc_unwind_ip"),
    ("__ibt_endbr_seal", "__ibt_endbr_seal_end"),
];

/// Functions that a walk up the callers may visit; the longest chains within `__init` code are a handful.
const LIMIT: usize = 64;

/// Direct calls of vmlinux.
pub struct Callers<'k> {
    memory: &'k Memory,
    exports: &'k Exports,
    /// Entries of functions, by address.
    functions: BTreeMap<u64, &'k str>,
    addresses: BTreeMap<&'k str, Vec<u64>>,
    /// Callee's entry, and callers' entries.
    calls: BTreeMap<u64, BTreeSet<u64>>,
    text: std::ops::Range<u64>,
    init: std::ops::Range<u64>,
    tables: Vec<std::ops::Range<u64>>,
}

impl<'k> Callers<'k> {
    /// Reads all calls, which takes a fraction of a second; nothing for a kernel whose symbols don't bound its `__init`
    /// code.
    pub fn read(memory: &'k Memory, symbols: &'k SymbolTable, exports: &'k Exports) -> Option<Callers<'k>> {
        let address = |name: &str| symbols.named(name).next().map(|symbol| symbol.address);
        let init = address("_sinittext")?..address("_einittext")?;
        let tables = TABLES.iter().filter_map(|(start, end)| Some(address(start)?..address(end)?)).collect();
        let mut functions = BTreeMap::new();
        let mut addresses: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for symbol in symbols.all().iter().filter(|symbol| symbol.is_function()) {
            functions.entry(symbol.address).or_insert(symbol.name.as_str());
            addresses.entry(symbol.name.as_str()).or_default().push(symbol.address);
        }
        let text = address("_stext")?..address("_etext")?;
        let mut callers = Callers { memory, exports, functions, addresses, calls: BTreeMap::new(), text, init, tables };
        callers.scan();
        Some(callers)
    }

    fn is_code(&self, place: u64) -> bool {
        [&self.text, &self.init, self.memory.exit()].iter().any(|range| range.contains(&place))
    }

    fn scan(&mut self) {
        let sorted: Vec<u64> = self.functions.keys().copied().collect();
        let first = sorted.first().copied().unwrap_or(0);
        // One bit for every 16 bytes in which a function begins: most places are settled by it.
        let span = sorted.last().map_or(0, |last| (last - first) / 16 + 1);
        let mut begins = vec![0u64; (span / 64 + 1) as usize];
        for address in &sorted {
            let at = (address - first) / 16;
            begins[(at / 64) as usize] |= 1 << (at % 64);
        }
        let mut calls: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for (start, data) in self.memory.sections() {
            let replacement = !self.is_code(start);
            for at in 1..data.len().saturating_sub(4) {
                let opcode = data[at - 1];
                // call, jmp, and the second byte of jcc (Intel SDM, volume 2).
                if !(matches!(opcode, 0xe8 | 0xe9) || (0x80..=0x8f).contains(&opcode)) {
                    continue;
                }
                let field = i32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
                let place = start + at as u64;
                let target = place.wrapping_add(4).wrapping_add(field as i64 as u64);
                let bit = target.wrapping_sub(first) / 16;
                let begins = begins.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1);
                if begins && self.functions.contains_key(&target) {
                    // What isn't text is the replacement code of alternatives, which runs in anybody's place.
                    let caller = if replacement { 0 } else { self.function_at(place) };
                    calls.entry(target).or_default().insert(caller);
                }
            }
        }
        self.calls = calls;
    }

    fn function_at(&self, place: u64) -> u64 {
        self.functions.range(..=place).next_back().map_or(0, |(address, _)| *address)
    }

    /// The `__init` functions through which alone a function is reached; nothing for one that may run later, that modules
    /// may call, or that this can't tell of.
    pub fn boot_callers(&self, name: &str) -> Option<BTreeSet<String>> {
        let [start] = self.addresses.get(name)?.as_slice() else { return None };
        let mut init = BTreeSet::new();
        let mut seen = BTreeSet::from([*start]);
        let mut queue = vec![*start];
        while let Some(address) = queue.pop() {
            if self.init.contains(&address) {
                init.insert(self.functions.get(&address)?.to_string());
                continue;
            }
            if self.memory.exit().contains(&address) {
                continue;
            }
            if self.exports.contains_key(*self.functions.get(&address)?) {
                return None;
            }
            // Who calls it at all: nobody, or replaced instructions, tell nothing.
            let callers = self.calls.get(&address)?;
            if callers.contains(&0) || seen.len() > LIMIT {
                return None;
            }
            queue.extend(callers.iter().filter(|caller| seen.insert(**caller)));
        }
        let boot = |address: &u64| self.init.contains(address) || self.memory.exit().contains(address);
        let runs = seen.iter().filter(|address| !boot(address));
        let pointed = runs.into_iter().any(|address| self.is_pointed_to(*address));
        (!init.is_empty() && !pointed).then_some(init)
    }

    /// Is a function's address anywhere: as eight bytes, as four that are extended to eight, or, in data, relative to its own
    /// place; in code, relative to the end of an instruction that takes an address, which ends with it (`lea f(%rip)`; ModRM of
    /// Intel SDM, volume 2, 2.1.5). Any other four bytes of code mean something else.
    fn is_pointed_to(&self, address: u64) -> bool {
        self.memory.sections().any(|(start, data)| {
            let code = self.is_code(start);
            data.windows(4).enumerate().any(|(at, field)| {
                let place = start + at as u64;
                let value = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
                let relative = (value as i64 as u64).wrapping_add(place);
                let absolute = value as i64 as u64 == address || value as u32 == address as u32;
                let pointed = match code {
                    true => relative.wrapping_add(4) == address && at > 0 && data[at - 1] & 0xc7 == 0x05,
                    false => relative == address || (relative.wrapping_add(4) == address && value != 0),
                };
                (absolute || pointed) && !self.tables.iter().any(|table| table.contains(&place))
            })
        })
    }
}
