//! `link` on modules that gcc makes here: what comes out is what the kernel's livepatch loader reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use klp_extract::link::symbols_file::Entry;
use klp_extract::link::{link, link_bytes};
use klp_extract::process::Program;
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _};
use object::{LittleEndian, RelocationTarget, SectionIndex, SymbolIndex};

const LIVEPATCH: &str = r#"
static const char modinfo[] __attribute__((used, section(".modinfo"))) = "license=GPL\0livepatch=Y";
"#;

const SOURCE: &str = r#"
extern int hidden(int); extern int hidden_data; extern int vs_helper(int); extern int printk(const char *, ...);
int (*pointer)(int) = hidden;
const char *object = "vsock";
int klpp_one(int x) { return hidden(x) + hidden_data + printk("x"); }
int klpp_two(int x) { return vs_helper(x) + hidden(x); }
__attribute__((section(".text.only"))) int klpp_three(int x) { return hidden(x); }
"#;

fn compile(folder: &Path, source: &str) -> PathBuf {
    let (c, ko) = (folder.join("m.c"), folder.join("m.ko"));
    fs::write(&c, source).unwrap();
    let flags = ["-O2", "-c", "-g", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables"];
    Program::new("gcc").args(flags).arg("-o").arg(&ko).arg(&c).run("compile a test module").unwrap();
    ko
}

fn entries() -> Vec<Entry> {
    vec![
        Entry::new("hidden", "vmlinux", "hidden.isra.0", 2),
        Entry::new("hidden_data", "vmlinux", "hidden_data", 0),
        Entry::new("vs_helper", "vsock", "vs_helper", 0),
    ]
}

/// Compiles and links `source`; what [`link_bytes`] refuses as text.
fn refusal(source: &str, entries: &[Entry]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let ko = compile(folder.path(), source);
    link_bytes(&fs::read(ko).unwrap(), entries, "m.ko").unwrap_err().to_string()
}

type Relocations = Vec<(String, u64, u64, String)>;

/// (section, its flags, offset, symbol) of all relocations of loaded sections.
fn relocations(data: &[u8]) -> Relocations {
    let file = ElfFile64::<LittleEndian>::parse(data).unwrap();
    let mut all = Vec::new();
    for section in file.sections() {
        let header = section.elf_section_header();
        let Some((list, _)) = header.rela(LittleEndian, data).unwrap() else { continue };
        let flags = header.sh_flags(LittleEndian).0;
        for relocation in list {
            let index = SymbolIndex(relocation.r_sym(LittleEndian, false) as usize);
            let symbol = file.symbol_by_index(index).unwrap().name().unwrap().to_string();
            all.push((section.name().unwrap().into(), flags, relocation.r_offset.get(LittleEndian), symbol));
        }
    }
    all
}

#[test]
fn klp_relocations_are_those_that_the_kernel_reads() {
    let folder = tempfile::tempdir().unwrap();
    let ko = compile(folder.path(), &format!("{LIVEPATCH}{SOURCE}"));
    let symbols = folder.path().join("klp.symbols");
    fs::write(&symbols, klp_extract::link::symbols_file::render(&entries())).unwrap();
    let before = fs::read(&ko).unwrap();
    let report = link(&ko, &symbols).unwrap();
    let after = fs::read(&ko).unwrap();
    assert_eq!(
        report.sections,
        [".klp.rela.vmlinux..text", ".klp.rela.vsock..text", ".klp.rela.vmlinux..data", ".klp.rela.vmlinux..text.only"]
    );
    let counted: Vec<(&str, usize)> = report.symbols.iter().map(|s| (s.klp_name.as_str(), s.relocations)).collect();
    let named = [".klp.sym.vmlinux.hidden.isra.0,2", ".klp.sym.vmlinux.hidden_data,0", ".klp.sym.vsock.vs_helper,0"];
    assert_eq!(counted, [(named[0], 4), (named[1], 1), (named[2], 1)]);

    let file = ElfFile64::<LittleEndian>::parse(&after[..]).unwrap();
    for name in named {
        let symbol = file.symbol_by_name(name).unwrap();
        assert_eq!(symbol.elf_symbol().st_shndx.get(LittleEndian).0, 0xff20);
    }
    for section in file.sections().filter(|s| s.name().unwrap().starts_with(".klp.rela.")) {
        let header = section.elf_section_header();
        assert_eq!(header.sh_type(LittleEndian), object::elf::SHT_RELA);
        assert_eq!(header.sh_flags(LittleEndian).0, 0x2 | 0x40 | 0x10_0000);
        assert_eq!((header.sh_entsize(LittleEndian), header.sh_addralign(LittleEndian)), (24, 8));
        let table = file.section_by_index(header.link(LittleEndian)).unwrap();
        assert_eq!(table.name().unwrap(), ".symtab");
        let target = file.section_by_index(header.info_link(LittleEndian)).unwrap();
        let (_, target_name) = section.name().unwrap()[".klp.rela.".len()..].split_once('.').unwrap();
        assert_eq!(target.name().unwrap(), target_name);
    }
    // Emptied sections are gone, and nothing else refers to a klp symbol.
    assert!(file.section_by_name(".rela.text.only").is_none());
    let all = relocations(&after);
    for (section, _, _, symbol) in &all {
        assert_eq!(section.starts_with(".klp.rela."), symbol.starts_with(".klp.sym."), "{section} {symbol}");
    }
    assert_eq!(all.len(), relocations(&before).len());
    // Debugging data still describes the same sections.
    let old = ElfFile64::<LittleEndian>::parse(&before[..]).unwrap();
    for section in old.sections().filter(|s| s.name().unwrap().starts_with(".debug_")) {
        let kept = file.section_by_name(section.name().unwrap()).unwrap();
        assert_eq!(kept.data().unwrap(), section.data().unwrap());
        let targets = |s: &dyn Fn() -> Vec<RelocationTarget>| s().len();
        assert_eq!(
            targets(&|| kept.relocations().map(|r| r.1.target()).collect()),
            targets(&|| section.relocations().map(|r| r.1.target()).collect())
        );
    }

    let again = link(&ko, &symbols).unwrap();
    assert!(again.already_linked);
    assert_eq!((again.symbols, again.sections), (report.symbols, report.sections));
    assert_eq!(fs::read(&ko).unwrap(), after);
    assert_eq!(link_bytes(&before, &entries(), "m.ko").unwrap().0.unwrap(), after);
    // An edited klp.symbols isn't taken for what the module was linked with.
    fs::write(&symbols, "hidden vmlinux hidden.isra.0 1\n").unwrap();
    assert!(link(&ko, &symbols).unwrap_err().to_string().contains("module-link-stale"));
    assert_eq!(fs::read(&ko).unwrap(), after);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// What each section of relocations applies to, by its name.
fn targets(data: &[u8]) -> BTreeMap<String, String> {
    let file = ElfFile64::<LittleEndian>::parse(data).unwrap();
    let name = |section: SectionIndex| file.section_by_index(section).unwrap().name().unwrap().to_string();
    let sections = file.sections().map(|section| (section.index(), section.elf_section_header()));
    let applied = sections.filter(|(_, header)| header.sh_type(LittleEndian) == object::elf::SHT_RELA);
    applied.map(|(index, header)| (name(index), name(header.info_link(LittleEndian)))).collect()
}

/// Whether a header says that it has the index of a section is up to who wrote the file (System V ABI, SHF_INFO_LINK).
#[test]
fn relocations_stay_with_their_section_whatever_its_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let ko = compile(folder.path(), &format!("{LIVEPATCH}{SOURCE}"));
    let said = fs::read(&ko).unwrap();
    let mut unsaid = said.clone();
    let file = ElfFile64::<LittleEndian>::parse(&said[..]).unwrap();
    let start = file.elf_header().e_shoff.get(LittleEndian) as usize;
    for section in file.sections().filter(|s| s.name().unwrap().starts_with(".rela")) {
        let flags = start + section.index().0 * 64 + 8;
        assert_eq!(unsaid[flags] & 0x40, 0x40);
        unsaid[flags] &= !0x40;
    }
    let linked = |data: &[u8]| link_bytes(data, &entries(), "m.ko").unwrap().0.unwrap();
    let expected = targets(&linked(&said));
    assert_eq!(expected[".klp.rela.vsock..text"], ".text");
    assert_eq!(targets(&linked(&unsaid)), expected);
}

#[test]
fn unused_lines_are_notes_and_a_module_without_klp_symbols_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let ko = compile(folder.path(), &format!("{LIVEPATCH} int klpp_x;"));
    let (bytes, report) = link_bytes(&fs::read(ko).unwrap(), &entries(), "m.ko").unwrap();
    assert!(bytes.is_none() && !report.already_linked);
    let ids: Vec<&str> = report.findings.iter().map(|f| f.id.0.id).collect();
    assert_eq!(ids, ["klp-symbol-unused"; 3]);
}

#[test]
fn what_would_fail_later_is_refused() {
    let table = |section: &str, symbol: &str| {
        format!(
            "{LIVEPATCH} const char *object = \"vsock\"; extern int {symbol}(int);
             int (*table)(int) __attribute__((section(\"{section}\"))) = {symbol};"
        )
    };
    for section in ["__jump_table", ".static_call_sites", ".init.data", ".data..percpu", "__ksymtab_gpl"] {
        let error = refusal(&table(section, "vs_helper"), &entries());
        assert!(error.contains("klp-rela-section") && error.contains(section), "{error}");
    }
    assert!(refusal(&table("__ksymtab", "hidden"), &entries()).contains("klp-rela-section"));
    let source = SOURCE.replace("\"vsock\"", "\"vsock2\"");
    assert!(refusal(&format!("{LIVEPATCH}{source}"), &entries()).contains("klp-object-not-patched"));
    assert!(refusal(SOURCE, &entries()).contains("MODULE_INFO(livepatch"));
}

#[test]
fn only_a_klp_object_names_what_is_patched() {
    let with_tables = |name: &str| {
        format!(
            "{LIVEPATCH}{SOURCE} extern char __this_module[];
             static struct func {{ const char *old; void *new; unsigned long sympos; }} funcs[] =
                 {{ {{ \"f\", klpp_one }}, {{ 0 }} }};
             static struct object {{ const char *name; struct func *funcs; }} objects[] = {{ {{ {name}, funcs }}, {{ 0 }} }};
             struct {{ void *mod; struct object *objects; }} patch = {{ __this_module, objects }};"
        )
    };
    let linked = |name: &str| {
        let folder = tempfile::tempdir().unwrap();
        let ko = compile(folder.path(), &with_tables(name));
        link_bytes(&fs::read(ko).unwrap(), &entries(), "m.ko").map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(linked("\"vsock\""), Ok(()));
    // There is a string of the name, and it says nothing.
    for other in ["\"vsock2\"", "0"] {
        assert!(linked(other).unwrap_err().contains("klp-object-not-patched"), "{other}");
    }
}

#[test]
fn undefined_symbols_that_nothing_provides_are_refused() {
    let versions = r#"
struct { unsigned long crc; char name[56]; } versions[] __attribute__((section("__versions"))) =
    { { 1, "printk" }, { 0, "hidden" } };
"#;
    let source = format!("{LIVEPATCH}{SOURCE}{versions}");
    assert!(refusal(&source, &entries()[..2]).contains("nothing provides vs_helper"));
    let folder = tempfile::tempdir().unwrap();
    let data = fs::read(compile(folder.path(), &source)).unwrap();
    let (_, report) = link_bytes(&data, &entries(), "m.ko").unwrap();
    assert_eq!(report.findings.len(), 0);
    let (_, report) = link_bytes(&data, &entries()[1..], "m.ko").unwrap();
    assert!(report.findings[0].message.contains("hidden has no CRC"));
}

/// No input may end in a panic; and what is refused names the file.
#[test]
fn hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ko = compile(folder.path(), &format!("{LIVEPATCH}{SOURCE}").replace("-g", ""));
    Program::new("strip").arg("-g").arg(&ko).run("strip").unwrap();
    let data = fs::read(ko).unwrap();
    let entries = entries();
    for len in 0..data.len() {
        let error = link_bytes(&data[..len], &entries, "m.ko").unwrap_err().to_string();
        assert!(error.contains("m.ko"), "{len}: {error}");
    }
    // Every byte of the headers and tables in turn, and pseudo-random pairs.
    let mut bent = data.clone();
    for at in 0..data.len() {
        for value in [0, 1, 0x7f, 0xff, data[at] ^ 0x10] {
            bent[at] = value;
            let _ = link_bytes(&bent, &entries, "m.ko");
        }
        bent[at] = data[at];
    }
    let mut seed = 1u64;
    for _ in 0..5000 {
        let mut bent = data.clone();
        for _ in 0..4 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bent.len();
            bent[at] = (seed >> 20) as u8;
        }
        let _ = link_bytes(&bent, &entries, "m.ko");
    }
    let linked = link_bytes(&data, &entries, "m.ko").unwrap().0.unwrap();
    for at in 0..linked.len() {
        let mut bent = linked.clone();
        bent[at] ^= 0x11;
        let _ = link_bytes(&bent, &entries, "m.ko");
        let _ = link_bytes(&linked[..at], &entries, "m.ko");
    }
    let mut signed = data.clone();
    signed.extend_from_slice(b"~Module signature appended~\n");
    assert!(link_bytes(&signed, &entries, "m.ko").unwrap_err().to_string().contains("signed"));
}
