//! Who reaches a function, read from a linked image: a small "vmlinux" with the symbols that bound the kernel's sections.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use klp_extract::kernel::callers::Callers;
use klp_extract::kernel::memory::Memory;
use klp_extract::kernel::symbols::{Export, Exports, Symbol, SymbolTable};
use object::{Object as _, ObjectSymbol as _};

const SOURCE: &str = r#"
#define INIT __attribute__((section(".init.text"), noinline))
#define PLAIN __attribute__((noinline, used))
volatile int sink;
PLAIN int only_boot(int a) { sink += a; return sink; }
PLAIN int through_helper(int a) { sink -= a; return sink; }
PLAIN static int helper(int a) { through_helper(a); sink++; return sink; }
PLAIN int also_later(int a) { sink ^= a; return sink; }
PLAIN int in_table(int a) { sink |= a; return sink; }
PLAIN int by_code(int a) { sink &= a; return sink; }
PLAIN int exported(int a) { sink = a; return sink; }
PLAIN int nobody(int a) { sink = -a; return sink; }
PLAIN int by_distance(int a) { sink <<= a; return sink; }
PLAIN int not_taken(int a) { sink >>= a; return sink; }
PLAIN int until_exit(int a) { sink *= a; return sink; }
int (*const table[])(int) = { in_table };
INIT void boot(int a)
{
	only_boot(a); sink++; helper(a); sink++; also_later(a); sink++; in_table(a); sink++; by_code(a); sink++; exported(a); sink++;
}
PLAIN int user(int a) { also_later(a); sink++; return sink; }
INIT void boot_more(int a) { by_distance(a); sink++; not_taken(a); sink++; until_exit(a); sink++; }
__attribute__((section(".exit.text"), used)) void leave(int a) { until_exit(a); sink++; }
PLAIN void *taker(void) { return by_code; }
PLAIN void other_taker(void)
{
	asm volatile("lea by_distance(%%rip), %%rax" ::: "rax");
	/* Bytes of instructions that happen to be a distance. */
	asm volatile("jmp 1f; .long not_taken - .; .byte 0x11; .long not_taken - . - 4; 1:");
}
void *const entries[] = { user, taker, other_taker };
void _start(void) { boot(1); boot_more(1); sink = 5; }
"#;

const SCRIPT: &str = "SECTIONS {\n . = 0x401000;\n .text : { _stext = .; *(.text .text.*) _etext = .; }\n . = ALIGN(4096);\n\
    .init.text : { _sinittext = .; *(.init.text) _einittext = .; }\n .exit.text : { *(.exit.text) }\n . = ALIGN(4096);\n .data : { *(.data*) *(.rodata*) }\n\
    .bss : { *(.bss*) }\n}\n";

fn symbols(bytes: &[u8]) -> SymbolTable {
    let file = object::File::parse(bytes).unwrap();
    let mut symbols: Vec<Symbol> = file
        .symbols()
        .filter(|symbol| symbol.is_definition() || symbol.name().is_ok_and(|name| name.starts_with('_')))
        .map(|symbol| Symbol {
            name: symbol.name().unwrap().into(),
            address: symbol.address(),
            kind: if symbol.kind() == object::SymbolKind::Text { 'T' } else { 'd' },
            section: 0,
        })
        .collect();
    symbols.sort_by_key(|symbol| symbol.address);
    SymbolTable::new(symbols)
}

fn build(folder: &Path) -> Vec<u8> {
    fs::write(folder.join("a.c"), SOURCE).unwrap();
    fs::write(folder.join("a.ld"), SCRIPT).unwrap();
    let flags = "-O2 -nostdlib -static -no-pie -fno-pie -fno-asynchronous-unwind-tables -fcf-protection=none -Wl,--build-id=none \
        -fno-ipa-icf -fno-optimize-sibling-calls -Wl,-T,a.ld -o vmlinux a.c";
    let status = Command::new("gcc").args(flags.split_whitespace()).current_dir(folder).status().unwrap();
    assert!(status.success());
    fs::read(folder.join("vmlinux")).unwrap()
}

#[test]
fn only_functions_that_nothing_but_init_code_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = build(folder.path());
    let memory = Memory::read(&folder.path().join("vmlinux")).unwrap();
    let symbols = symbols(&bytes);
    let export = Export { object: "vmlinux".into(), crc: 0, gpl_only: false, namespace: None };
    let exports = Exports::from([("exported".to_string(), export)]);
    let callers = Callers::read(&memory, &symbols, &exports).unwrap();
    let boot = Some(BTreeSet::from(["boot".to_string()]));
    for name in ["only_boot", "through_helper", "helper"] {
        assert_eq!(callers.boot_callers(name), boot, "{name}");
    }
    let boot_more = Some(BTreeSet::from(["boot_more".to_string()]));
    for name in ["not_taken", "until_exit"] {
        assert_eq!(callers.boot_callers(name), boot_more, "{name}");
    }
    for name in ["also_later", "in_table", "by_code", "by_distance", "exported", "nobody", "user", "missing"] {
        assert_eq!(callers.boot_callers(name), None, "{name}");
    }
}
