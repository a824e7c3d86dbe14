//! What binutils say of one compiled unit: `readelf` (symbols, relocations, DWARF inline records) and `objdump` (branches).
//!
//! The object is linked alone first, undefined symbols and all: then every place has an address of its own, and calls
//! inside one section show in the same way as those between sections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A function symbol.
#[derive(Debug, Clone)]
pub struct Symbol {
    pub name: String,
    pub size: u64,
    pub global: bool,
    pub section: String,
}

/// One compiled unit, linked alone.
#[derive(Debug, Default)]
pub struct Object {
    /// By address; several names are aliases, or functions that GCC folded.
    pub functions: BTreeMap<u64, Vec<Symbol>>,
    /// From a function to those that call it or jump to it, `.cold` parts counted as their owners.
    callers: BTreeMap<u64, BTreeSet<u64>>,
    /// Functions with a call of `__fentry__` at the entry.
    pub sites: BTreeSet<u64>,
    /// Functions whose address is held by data, or taken by code.
    taken: BTreeSet<u64>,
    /// Functions that an initcall table names.
    initcalls: BTreeSet<u64>,
    /// By the source's name of a function: the emitted functions that have an inline record of it, or are it.
    records: BTreeMap<String, BTreeSet<u64>>,
    /// Source functions with the line of their definition.
    pub definitions: BTreeMap<String, Definition>,
}

/// What DWARF says of a function's definition.
#[derive(Debug, Clone)]
pub struct Definition {
    pub line: usize,
    pub returns: bool,
}

/// What a function needs so that its new code is reached.
#[derive(Debug, Default)]
pub struct Climbed {
    pub targets: BTreeSet<u64>,
    /// Nobody can be hooked: callers are elsewhere, or unknown.
    pub blocked: BTreeSet<u64>,
    pub boot: BTreeSet<u64>,
}

fn output(program: &str, args: &[&str], file: &Path) -> String {
    let output =
        Command::new(program).args(args).arg(file).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Tables about code, which neither call nor keep a function: the kernel's own names for them.
fn is_table(section: &str) -> bool {
    const TABLES: &[&str] = &[
        "__mcount_loc",
        ".orc",
        ".static_call_sites",
        "__bug_table",
        ".smp_locks",
        ".altinstructions",
        ".parainstructions",
        ".retpoline_sites",
        ".return_sites",
        ".call_sites",
        "__ex_table",
        "__jump_table",
        "_kprobe_blacklist",
        "_error_injection_whitelist",
        ".eh_frame",
        ".debug",
        ".discard",
        "__ksymtab",
        "___ksymtab",
        ".export_symbol",
    ];
    TABLES.iter().any(|table| section.starts_with(table))
}

impl Object {
    /// Links `object` alone into `linked`, and reads it.
    pub fn read(object: &Path, linked: &Path) -> Object {
        // Undefined symbols make ld complain and fail; the file is written all the same.
        let mut link = Command::new("ld");
        link.args(["-m", "elf_x86_64", "--noinhibit-exec", "--emit-relocs", "-z", "muldefs", "-o"])
            .arg(linked)
            .arg(object);
        link.output().unwrap();
        assert!(linked.is_file(), "ld wrote nothing for {}", object.display());
        let mut read = Object::default();
        let undefined = read.symbols(linked);
        let branches = read.branches(linked, &undefined);
        read.relocations(linked, &branches);
        read.records(linked);
        read
    }

    fn symbols(&mut self, file: &Path) -> BTreeSet<String> {
        let sections: BTreeMap<String, String> = output("readelf", &["-SW"], file)
            .lines()
            .filter_map(|line| {
                let (number, rest) = line.trim().strip_prefix('[')?.split_once(']')?;
                Some((number.trim().to_string(), rest.split_whitespace().next()?.to_string()))
            })
            .collect();
        let mut undefined = BTreeSet::new();
        for line in output("readelf", &["-sW"], file).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, value, size, kind, bind, _, section, name] = words.as_slice() else { continue };
            if *section == "UND" {
                undefined.insert(name.to_string());
            } else if let (&"FUNC", Some(address)) = (kind, hexadecimal(value)) {
                self.functions.entry(address).or_default().push(Symbol {
                    name: name.to_string(),
                    // Large ones are hexadecimal.
                    size: size.strip_prefix("0x").map_or_else(|| size.parse().ok(), hexadecimal).unwrap_or(0),
                    global: *bind != "LOCAL",
                    section: sections.get(*section).cloned().unwrap_or_default(),
                });
            }
        }
        undefined
    }

    /// The function whose code covers an address, or that the covering `.cold` part belongs to.
    pub fn owner(&self, address: u64) -> Option<u64> {
        let (start, symbols) = self.functions.range(..=address).next_back()?;
        let symbol = symbols.iter().find(|symbol| address < start + symbol.size.max(1))?;
        match symbol.name.strip_suffix(".cold") {
            Some(owner) => self.named(owner),
            None => Some(*start),
        }
    }

    pub fn named(&self, name: &str) -> Option<u64> {
        self.functions.iter().find(|(_, symbols)| symbols.iter().any(|symbol| symbol.name == name)).map(|(at, _)| *at)
    }

    /// The first name at an address.
    pub fn name(&self, address: u64) -> &str {
        &self.functions[&address][0].name
    }

    /// Reads the code; yields the places of relocations that belong to branches.
    fn branches(&mut self, file: &Path, undefined: &BTreeSet<String>) -> BTreeSet<u64> {
        let mut of_branches = BTreeSet::new();
        // Address, whether it is a branch, where to.
        let mut last: Option<(u64, bool, Option<u64>)> = None;
        let text = output("objdump", &["-dr", "--no-show-raw-insn"], file);
        for line in text.lines() {
            if let Some((at, rest)) = line.trim_start().split_once(": R_X86_64_") {
                let symbol = rest.split_whitespace().nth(1).unwrap_or_default();
                let symbol = symbol.split(['+']).next().unwrap_or_default();
                let symbol = symbol.rsplit_once("-0x").map_or(symbol, |(name, _)| name);
                let (Some(at), Some((instruction, is_branch, target))) = (hexadecimal(at), last.as_mut()) else {
                    continue;
                };
                if *is_branch {
                    of_branches.insert(at);
                    if undefined.contains(symbol) {
                        *target = None;
                    }
                    if symbol == "__fentry__" {
                        self.sites.insert(*instruction);
                    }
                }
                continue;
            }
            let Some((at, instruction)) = line.trim_start().split_once(":\t") else { continue };
            let Some(at) = hexadecimal(at) else { continue };
            self.branch(last.take());
            let mut words = instruction
                .split_whitespace()
                .filter(|word| !matches!(*word, "cs" | "ds" | "bnd" | "notrack" | "lock"));
            let mnemonic = words.next().unwrap_or_default().split(',').next().unwrap_or_default();
            let is_branch = mnemonic.starts_with('j') || mnemonic.starts_with("call");
            let target = words.next().and_then(hexadecimal).filter(|_| is_branch);
            if let Some((_, shown)) = instruction.split_once("# ")
                && let Some(target) = shown.split_whitespace().next().and_then(hexadecimal)
                && self.functions.contains_key(&target)
            {
                self.taken.insert(target);
            }
            last = Some((at, is_branch, target));
        }
        self.branch(last);
        // An ENDBR may come first.
        let sites = self.functions.keys().filter(|at| self.sites.contains(at) || self.sites.contains(&(**at + 4)));
        self.sites = sites.copied().collect();
        of_branches
    }

    fn branch(&mut self, instruction: Option<(u64, bool, Option<u64>)>) {
        let Some((at, true, Some(target))) = instruction else { return };
        let (Some(caller), true) = (self.owner(at), self.functions.contains_key(&target)) else { return };
        if let Some(callee) = self.owner(target)
            && callee != caller
        {
            self.callers.entry(callee).or_default().insert(caller);
        }
    }

    fn relocations(&mut self, file: &Path, of_branches: &BTreeSet<u64>) {
        let mut section = String::new();
        for line in output("readelf", &["-rW"], file).lines() {
            if let Some(rest) = line.strip_prefix("Relocation section '.rela") {
                section = rest.split('\'').next().unwrap_or_default().to_string();
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [at, _, kind, value, _, rest @ ..] = words.as_slice() else { continue };
            let (Some(at), Some(value)) = (hexadecimal(at), hexadecimal(value)) else { continue };
            let addend = match rest {
                [sign, number] => {
                    let number = hexadecimal(number).unwrap_or(0) as i64;
                    if *sign == "-" { -number } else { number }
                }
                _ => 0,
            };
            let is_code = section.contains("text");
            // In code, a PC-relative field counts from the end of the instruction.
            let distance = if is_code && kind.contains("PC32") { 4 } else { 0 };
            let target = value.wrapping_add_signed(addend + distance);
            if is_table(&section) || of_branches.contains(&at) || !self.functions.contains_key(&target) {
                continue;
            }
            if section.starts_with(".initcall")
                || section.starts_with(".exitcall")
                || section.starts_with(".con_initcall")
            {
                self.initcalls.insert(target);
            } else {
                self.taken.insert(target);
            }
        }
    }

    fn records(&mut self, file: &Path) {
        let ranges = ranges(&output("readelf", &["-wR"], file));
        let dies = dies(&output("readelf", &["-wiW"], file));
        let by_offset: BTreeMap<u64, &Die> = dies.iter().map(|die| (die.offset, die)).collect();
        let name = |die: &Die| -> Option<String> {
            let mut die = die;
            for _ in 0..8 {
                match (&die.name, die.origin) {
                    (Some(name), _) => return Some(name.clone()),
                    (None, Some(origin)) => die = by_offset.get(&origin)?,
                    (None, None) => return None,
                }
            }
            None
        };
        let mut holder = None;
        for die in &dies {
            let Some(name) = name(die) else { continue };
            if die.is_function {
                if let (Some(_), Some(line)) = (&die.name, die.line) {
                    self.definitions.insert(name.clone(), Definition { line, returns: die.returns });
                }
                let starts =
                    die.low.into_iter().chain(die.ranges.iter().flat_map(|at| ranges.get(at)).flatten().copied());
                // The hot part's start has the function's symbol.
                holder = starts.filter(|at| self.functions.contains_key(at)).find_map(|at| self.owner(at));
            }
            if let Some(holder) = holder {
                self.records.entry(name).or_default().insert(holder);
            }
        }
    }

    /// Emitted functions that have code of a source's function: by DWARF's records, and by name for GCC's clones.
    pub fn holders(&self, function: &str) -> BTreeSet<u64> {
        let mut holders = self.records.get(function).cloned().unwrap_or_default();
        for (at, symbols) in &self.functions {
            let is_it =
                |symbol: &Symbol| symbol.name.split('.').next() == Some(function) && !symbol.name.ends_with(".cold");
            if symbols.iter().any(is_it) {
                holders.insert(*at);
            }
        }
        holders
    }

    /// Goes up from functions to those that ftrace can replace.
    pub fn climb(&self, from: &BTreeSet<u64>) -> Climbed {
        let mut climbed = Climbed::default();
        let (mut seen, mut queue) = (BTreeSet::new(), from.iter().copied().collect::<Vec<_>>());
        while let Some(at) = queue.pop() {
            if !seen.insert(at) {
                continue;
            }
            if self.is_boot(at) {
                climbed.boot.insert(at);
            } else if self.sites.contains(&at) && self.functions[&at].iter().any(|symbol| !symbol.name.contains('.')) {
                climbed.targets.insert(at);
            } else {
                let callers = self.callers.get(&at).cloned().unwrap_or_default();
                if callers.is_empty() || self.is_open(at) {
                    climbed.blocked.insert(at);
                }
                queue.extend(callers);
            }
        }
        climbed
    }

    /// May it be entered by something that doesn't show here?
    fn is_open(&self, at: u64) -> bool {
        self.taken.contains(&at) || self.functions[&at].iter().any(|symbol| symbol.global)
    }

    fn is_boot(&self, at: u64) -> bool {
        let (mut seen, mut queue) = (BTreeSet::from([at]), vec![at]);
        while let Some(at) = queue.pop() {
            let section = &self.functions[&at][0].section;
            if section.starts_with(".init") || section.starts_with(".exit") || section == ".head.text" {
                continue;
            }
            let callers = self.callers.get(&at).cloned().unwrap_or_default();
            if self.is_open(at) || (callers.is_empty() && !self.initcalls.contains(&at)) {
                return false;
            }
            queue.extend(callers.into_iter().filter(|caller| seen.insert(*caller)));
        }
        true
    }
}

/// A debugging information entry of a function or of an inlined copy.
#[derive(Debug, Default)]
struct Die {
    offset: u64,
    is_function: bool,
    name: Option<String>,
    origin: Option<u64>,
    low: Option<u64>,
    ranges: Option<u64>,
    line: Option<usize>,
    returns: bool,
}

fn dies(text: &str) -> Vec<Die> {
    let mut dies: Vec<Die> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let line = line.trim_start();
        let Some(rest) = line.strip_prefix('<') else { continue };
        if let Some((_, rest)) = rest.split_once("><") {
            let Some((offset, tag)) = rest.split_once(">:") else { continue };
            let is_function = tag.contains("(DW_TAG_subprogram)");
            inside = is_function || tag.contains("(DW_TAG_inlined_subroutine)");
            if inside {
                dies.push(Die { offset: hexadecimal(offset).unwrap_or(0), is_function, ..Die::default() });
            }
            continue;
        }
        let (true, Some(die)) = (inside, dies.last_mut()) else { continue };
        let Some((key, value)) = rest.split_once(" : ").or_else(|| rest.split_once(": ")) else { continue };
        let last = value.split_whitespace().last().unwrap_or_default();
        // Newer binutils put the attribute's form before its value.
        match key.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':') {
            "DW_AT_name" => die.name = Some(last.to_string()),
            "DW_AT_abstract_origin" | "DW_AT_specification" => {
                die.origin = value.split_once("<0x").and_then(|(_, rest)| hexadecimal(rest.split('>').next()?));
            }
            "DW_AT_low_pc" => die.low = hexadecimal(last),
            "DW_AT_ranges" => die.ranges = hexadecimal(last),
            "DW_AT_decl_line" => die.line = last.parse().ok(),
            "DW_AT_type" => die.returns = true,
            _ => {}
        }
    }
    dies
}

/// Starts of the ranges of each list, by the list's offset.
fn ranges(text: &str) -> BTreeMap<u64, Vec<u64>> {
    let mut lists: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut list = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(offset) = words.first().and_then(|word| hexadecimal(word)) else { continue };
        let current = *list.get_or_insert(offset);
        if line.contains("<End of list>") {
            list = None;
        } else if let [_, begin, end, ..] = words.as_slice()
            && let (Some(begin), Some(_)) = (hexadecimal(begin), hexadecimal(end))
        {
            lists.entry(current).or_default().push(begin);
        }
    }
    lists
}
