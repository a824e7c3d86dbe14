//! Audit of a built module: what the kernel would do with it, read from the file and the running kernel's symbols alone, so
//! that modules of other tools can be audited too. What loads and then Oopses must be found here.

pub mod code;
pub mod landing;
pub mod relocations;
pub mod sources;
pub mod symbols;
pub mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use object::Endianness;
use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::finding::{
    FORBIDDEN_SECTION, Finding, MODULE_DEPENDS, MODULE_INVALID, NEW_COLD_PART, Result, SYMBOL_UNACCOUNTED,
    SYMBOL_UNRESOLVED, TAIL_JUMP, TARGETS_UNKNOWN, WRITABLE_OBJECT, io, refuse,
};
use crate::kernel::Kernel;
use crate::kernel::modules::THIS_MODULE;
use crate::kernel::symbols::VMLINUX;
use crate::link::SHN_LIVEPATCH;
use crate::object::sound;

use relocations::KlpSymbol;
use tables::{At, Fields, Hook, Sizes, Tables};

/// What [`audit`] found.
#[derive(Debug, Default)]
pub struct Audit {
    pub hooks: Vec<Hook>,
    /// With the number of relocations that name each.
    pub klp_symbols: BTreeMap<KlpSymbol, usize>,
    /// Symbols that exports provide.
    pub exports: BTreeSet<String>,
    /// Objects that can be written to, beside the tables and what is thrown away.
    pub writable: BTreeSet<String>,
    pub findings: Vec<Finding>,
}

/// Sections by which a module tells the kernel about things that a livepatch must not have twice: exports, tracepoints,
/// events, system calls, parameters, kfuncs, functions that errors may be injected into.
const FORBIDDEN: &[&str] = &[
    "__ksymtab",
    "__kcrctab",
    "__tracepoints",
    "_ftrace_events",
    "_ftrace_eval_map",
    "__bpf_raw_tp_map",
    "__syscalls_metadata",
    "__param",
    ".BTF_ids",
    "_error_injection_whitelist",
    ".init_array",
    ".ctors",
];

/// Static variables that may start anew, or hold nothing: what once-only messages and rate limits remember, names, classes of
/// locks (`name.NNN`, `name`, or `name.constprop.N`).
const THROWN_AWAY: &[&str] = &[
    "__already_done",
    "__warned",
    "__print_once",
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "__key",
    "__wkey",
    "_rs",
    "__pfx",
    "descriptor",
    "__UNIQUE_ID",
    "_entry",
    "_entry_ptr",
    "___tp_str",
];

/// Audits a module. `known` are the names that its makers account for (of functions, and of objects), where there is an
/// account.
pub fn audit(kernel: &Kernel, ko: &Path, known: Option<&BTreeSet<String>>, scratch: &Path) -> Result<Audit> {
    let bytes = std::fs::read(ko).map_err(io("read", ko))?;
    let name = ko.display();
    sound::check(&bytes)
        .or_else(|error| refuse(MODULE_INVALID, format!("{name} is not a whole 64-bit ELF file: {error}")))?;
    let file: ElfFile64 = match ElfFile64::parse(&*bytes) {
        Ok(file) => file,
        Err(error) => return refuse(MODULE_INVALID, format!("{name} is not a whole 64-bit ELF file: {error}")),
    };
    let header = file.elf_header();
    if (header.e_type(Endianness::Little), header.e_machine(Endianness::Little)) != (elf::ET_REL, elf::EM_X86_64) {
        return refuse(MODULE_INVALID, format!("{name} is no relocatable x86-64 file, which a kernel module is"));
    }
    let info = Info::of(&file);
    if info.get("livepatch").is_none() {
        return refuse(MODULE_INVALID, format!("{name} is no livepatch: it has no MODULE_INFO(livepatch, \"Y\")"));
    }
    let mut audit = Audit::default();
    audit.findings.extend(build(kernel, &info));
    let tables = tables::read(&Fields::of(&file), Sizes::of(kernel, scratch)?);
    audit.findings.extend(sections(&file));
    let relocations = relocations::check(kernel, &file, tables.as_ref())?;
    audit.klp_symbols = relocations.symbols;
    audit.findings.extend(relocations.findings);
    audit.findings.extend(landing::check(kernel, &pointed(&file))?);
    undefined(kernel, &file, &info, &mut audit)?;
    objects(&file, tables.as_ref(), &relocations.places, known, &mut audit);
    match tables {
        Some(tables) => {
            targets(kernel, &file, &tables, &mut audit)?;
            audit.hooks = tables.hooks;
        }
        None => {
            let message = "the module has no struct klp_patch with its tables in the file; it makes them while it runs, so \
                           what it replaces could not be checked";
            audit.findings.push(Finding::new(TARGETS_UNKNOWN, message));
        }
    }
    audit.findings.sort_by_key(|finding| finding.severity);
    Ok(audit)
}

/// The running kernel's functions whose addresses the module takes: by klp relocation, or exported by vmlinux.
fn pointed(file: &ElfFile64) -> BTreeSet<landing::Function> {
    let function = |name: String| match relocations::parse(&name) {
        Some(KlpSymbol { object, name, sympos }) => landing::Function { object, name, sympos },
        None => landing::Function { object: VMLINUX.into(), name, sympos: 0 },
    };
    landing::taken(file).into_iter().map(function).collect()
}

/// `.modinfo`: `key=value`, each ending in a NUL.
struct Info<'d>(Vec<(&'d str, &'d str)>);

impl<'d> Info<'d> {
    fn of(file: &ElfFile64<'d>) -> Info<'d> {
        let data = file.section_by_name_bytes(b".modinfo").and_then(|section| section.data().ok()).unwrap_or_default();
        let texts = data.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
        Info(texts.filter_map(|text| text.split_once('=')).collect())
    }

    fn get(&self, key: &str) -> Option<&'d str> {
        self.all(key).next()
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &'d str> {
        self.0.iter().filter(move |(known, _)| *known == key).map(|(_, value)| *value)
    }
}

/// Is it built for this release?
fn build(kernel: &Kernel, info: &Info) -> Option<Finding> {
    let vermagic = info.get("vermagic").unwrap_or_default();
    let release = vermagic.split(' ').next().unwrap_or_default();
    (release != kernel.descriptor.release).then(|| {
        let message = format!("the module is built for `{release}`, and the kernel is {}", kernel.descriptor.release);
        Finding::new(MODULE_INVALID, message)
    })
}

fn sections(file: &ElfFile64) -> Vec<Finding> {
    let names = file.sections().filter(|section| section.size() > 0).filter_map(|section| section.name().ok());
    let forbidden = names.filter(|name| FORBIDDEN.iter().any(|prefix| name.starts_with(prefix)));
    let forbidden = forbidden.map(|name| {
        let message =
            format!("the module has a section {name}, by which the kernel would take up what copied code declares");
        Finding::new(FORBIDDEN_SECTION, message)
    });
    forbidden.collect()
}

/// Is there somebody for each undefined symbol? And is it the one whose prototype the module was built with?
fn undefined(kernel: &Kernel, file: &ElfFile64, info: &Info, audit: &mut Audit) -> Result<()> {
    let versions = file.section_by_name("__versions").and_then(|section| section.data().ok());
    let versions = versions.map(crate::link::read_versions);
    let depends: BTreeSet<&str> =
        info.get("depends").unwrap_or_default().split(',').filter(|d| !d.is_empty()).collect();
    let exports = kernel.exports()?;
    for symbol in file.symbols() {
        let is_klp = symbol.elf_symbol().st_shndx.get(Endianness::Little) == SHN_LIVEPATCH;
        let name = symbol.name().unwrap_or_default();
        if !symbol.is_undefined() || is_klp || symbol.is_weak() || name.is_empty() || name == "_GLOBAL_OFFSET_TABLE_" {
            continue;
        }
        let unresolved = |why: String| Finding::new(SYMBOL_UNRESOLVED, format!("{name}: {why}"));
        let Some(export) = exports.get(name) else {
            audit.findings.push(unresolved("nothing exports it, and it is no klp symbol".into()));
            continue;
        };
        audit.exports.insert(name.to_string());
        if let Some(namespace) = &export.namespace
            && info.all("import_ns").all(|imported| imported != namespace)
        {
            audit
                .findings
                .push(unresolved(format!("it is exported in the namespace {namespace}, which isn't imported")));
        }
        if let Some(crc) = versions.as_ref().and_then(|versions| versions.get(name)).filter(|crc| **crc != 0)
            && export.crc != 0
            && *crc != u64::from(export.crc)
        {
            audit
                .findings
                .push(unresolved(format!("built against CRC {crc:#010x}, and the kernel's is {:#010x}", export.crc)));
        }
        if export.object != VMLINUX && !depends.contains(export.object.as_str()) {
            audit
                .findings
                .push(unresolved(format!("module {} exports it, and `depends=` lacks that module", export.object)));
        }
    }
    audit.findings.extend(depends.into_iter().map(|module| {
        let message =
            format!("the livepatch depends on the module {module}: it can't be loaded without it, and holds it loaded");
        Finding::new(MODULE_DEPENDS, message)
    }));
    Ok(())
}

/// The functions and objects that the module brings along.
fn objects(
    file: &ElfFile64,
    tables: Option<&Tables>,
    klp_places: &BTreeSet<At>,
    known: Option<&BTreeSet<String>>,
    audit: &mut Audit,
) {
    let in_tables = |section: usize, address: u64| {
        let mut ranges = tables.into_iter().flat_map(|tables| &tables.ranges);
        ranges.any(|(at, range)| *at == section && range.contains(&address))
    };
    for symbol in file.symbols() {
        let (Some(index), Ok(name)) = (symbol.section_index(), symbol.name()) else { continue };
        let Ok(section) = file.section_by_index(index) else { continue };
        let section_name = section.name().unwrap_or_default();
        let flags = section.elf_section_header().sh_flags(Endianness::Little);
        if !flags.contains(elf::SHF_ALLOC) || !matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) {
            continue;
        }
        let base = base_name(without_prefix(name));
        // What tells the kernel about the module, and what is gone once it is loaded, is nobody's copy.
        let told = [".modinfo", "__versions", ".note", ".init", ".exit", ".orc"];
        let own = name == THIS_MODULE || told.iter().any(|prefix| section_name.starts_with(prefix));
        // The running kernel's own object is behind it.
        let is_klp_pointer = symbol.size() == 8 && klp_places.contains(&(index.0, symbol.address()));
        if own || is_klp_pointer || in_tables(index.0, symbol.address()) || is_thrown_away(base) {
            continue;
        }
        let writable = flags.contains(elf::SHF_WRITE) && symbol.kind() == SymbolKind::Data;
        // Static calls, jump entries and the like are the kernel's to write to.
        let held = section_name.starts_with(".data") || section_name.starts_with(".bss");
        let accounted = known.is_none_or(|known| known.contains(base));
        if writable && held {
            audit.writable.insert(name.to_string());
            if known.is_none() || !accounted {
                let message = format!(
                    "{name} in {section_name} can be written to: is it new, or should it be the running kernel's own object?"
                );
                audit.findings.push(Finding::new(WRITABLE_OBJECT, message));
            }
        } else if !accounted {
            let kind = if symbol.kind() == SymbolKind::Text { "function" } else { "object" };
            let message =
                format!("nothing that the module was made from accounts for the {kind} {name} in {section_name}");
            audit.findings.push(Finding::new(SYMBOL_UNACCOUNTED, message));
        }
    }
}

/// The function that the bytes before it are called by (tools/objtool/check.c, add_prefix_symbol()); else the name itself.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix("__pfx_").unwrap_or(name)
}

/// Without what GCC puts behind the names of static variables, and of the clones of functions.
fn base_name(name: &str) -> &str {
    name.split('.').next().filter(|base| !base.is_empty()).unwrap_or(name)
}

fn is_thrown_away(base: &str) -> bool {
    THROWN_AWAY.iter().any(|known| {
        base == *known
            || (known.starts_with("__UNIQUE") || *known == "_entry" || *known == "_entry_ptr" || *known == "___tp_str")
                && base.starts_with(known)
    })
}

/// Are the targets there, and is it safe to leave the new functions?
fn targets(kernel: &Kernel, file: &ElfFile64, tables: &Tables, audit: &mut Audit) -> Result<()> {
    for Hook { object, old, sympos, new } in &tables.hooks {
        audit.findings.extend(symbols::hookable(kernel, object, old, *sympos)?);
        let function =
            file.symbols().find(|symbol| symbol.name() == Ok(new.as_str()) && symbol.kind() == SymbolKind::Text);
        let Some(function) = function else {
            let message = format!("what is to replace {old} of {object} is no function of the module");
            audit.findings.push(Finding::new(MODULE_INVALID, message));
            continue;
        };
        let cold = format!("{new}.cold");
        if file.symbols().any(|symbol| symbol.name().is_ok_and(|name| name == cold)) {
            let message = format!(
                "{new} has a part elsewhere ({cold}): a task asleep there isn't seen when the livepatch is removed. Build \
                 with -fno-reorder-blocks-and-partition"
            );
            audit.findings.push(Finding::new(NEW_COLD_PART, message));
        }
        let ways: BTreeSet<String> = code::ways_out(file, &function).into_iter().filter(|way| *way != cold).collect();
        if !ways.is_empty() {
            let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
            let message = format!(
                "{new} ends in a jump to {}: a task asleep there isn't seen when the livepatch is removed. Build with \
                 -fno-optimize-sibling-calls",
                ways.join(", ")
            );
            audit.findings.push(Finding::new(TAIL_JUMP, message));
        }
    }
    Ok(())
}
