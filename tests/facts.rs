//! What is read from an object file: ftrace sites, calls, references and exports.

use std::collections::BTreeSet;
use std::fs;

use klp_extract::finding::{Error, OBJECT_INVALID};
use klp_extract::kernel::command::CompileCommand;
use klp_extract::object::facts::{Facts, Holder};
use klp_extract::object::{compare, compile};

const UNIT: &str = r#"
int use(int);
void later(int (*)(int));
#define NOINLINE __attribute__((noinline))
static NOINLINE int near(int x) { return use(x) + 1; }
__attribute__((section(".text.far"))) NOINLINE int far(int x) { return use(x) + 2; }
static NOINLINE int tail(int x) { return use(x) * 3; }
static NOINLINE int taken(int x) { return use(x) * 5; }
__attribute__((no_instrument_function)) int quiet(int x) { return use(x) * 7; }
static int table[4] = { 1, 2, 3, 4 };
int *window = &table[2];
struct ops { int (*run)(int); };
const struct ops ops = { .run = tail };
int api(int x) { later(taken); return near(x) + far(x) + table[x]; }
int jump(int x) { return tail(x + 1); }
asm(".pushsection __ksymtab,\"a\"\n.long api - .\n.popsection");
asm(".pushsection .discard.addressable,\"aw\"\n.quad near\n.popsection");
"#;

fn facts(flags: &[&str]) -> Facts {
    compiled(UNIT, flags)
}

fn compiled(unit: &str, flags: &[&str]) -> Facts {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("unit.c");
    fs::write(&source, unit).unwrap();
    let args = ["-O2", "-pg", "-mfentry", "-fno-PIE", "-mcmodel=kernel", "-fno-toplevel-reorder"];
    let command = CompileCommand {
        source: "unit.c".into(),
        output: "unit.o".into(),
        compiler: "gcc".into(),
        args: args.iter().chain(flags).map(|flag| flag.to_string()).collect(),
        object: "vmlinux".into(),
    };
    compile(&command, &source, scratch.path(), &scratch.path().join("out")).unwrap_or_else(|e| panic!("{e}")).facts
}

#[test]
fn ftrace_sites_by_list_and_by_call() {
    for flags in [
        &["-mrecord-mcount", "-fcf-protection=none"][..],
        &["-fcf-protection=none"],
        &["-fcf-protection=branch"],
        &["-mrecord-mcount", "-fcf-protection=branch"],
    ] {
        let facts = facts(flags);
        for function in &facts.functions {
            assert_eq!(function.ftrace_site, function.name != "quiet", "{} with {flags:?}", function.name);
        }
    }
}

#[test]
fn calls_with_and_without_relocation() {
    let facts = facts(&["-fcf-protection=none"]);
    let mut calls: Vec<(String, String, bool)> = facts
        .calls
        .iter()
        .map(|call| (facts.function(call.caller).name.clone(), facts.function(call.callee).name.clone(), call.jump))
        .collect();
    calls.sort();
    calls.dedup();
    let call = |from: &str, to: &str, jump| (from.to_string(), to.to_string(), jump);
    // `later` and `use` have relocations with a zero displacement, which a disassembler takes for the next function.
    assert_eq!(calls, [call("api", "far", false), call("api", "near", false), call("jump", "tail", true),]);
}

#[test]
fn addresses_are_held_by_code_and_data() {
    let facts = facts(&["-fcf-protection=none"]);
    let held: Vec<(String, Holder)> =
        facts.references.iter().map(|r| (facts.function(r.function).name.clone(), r.holder.clone())).collect();
    let data = Holder::Data { section: ".rodata".into(), object: Some("ops".into()) };
    let code = Holder::Code(facts.named("api").unwrap());
    // Neither the export nor .discard.addressable is somebody who may call.
    assert_eq!(held, [("taken".to_string(), code.clone()), ("tail".to_string(), data)]);
    assert!(facts.exports.contains("api") && facts.exports.len() == 1);
    let table: Vec<&Holder> =
        facts.data_references.iter().filter(|r| facts.objects[r.object].name == "table").map(|r| &r.holder).collect();
    let window = Holder::Data { section: ".data".into(), object: Some("window".into()) };
    assert_eq!(table, [&code, &window]);
}

#[test]
fn what_is_no_object_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.o");
    for bytes in [&b""[..], b"\x7fELF", b"not an object"] {
        fs::write(&path, bytes).unwrap();
        let Err(Error::Refused(findings)) = Facts::read(&path) else { panic!("accepted {bytes:?}") };
        assert_eq!(findings[0].id, OBJECT_INVALID);
    }
}

/// A fuzzer's find: code that refers to a section of constants without contents.
#[test]
fn sections_may_be_empty() {
    let facts = compiled(
        "int f(void) { asm(\".pushsection .rodata.none,\\\"a\\\"\\n9:\\n.popsection\\nlea 9b(%rip),%rax\"); return 1; }",
        &[],
    );
    let none = facts.sections.iter().find(|section| section.name == ".rodata.none").unwrap();
    assert_eq!(none.size, 0);
    assert!(compare::compare(&facts, &facts, &BTreeSet::from(["f".to_string()])).changed.is_empty());
}
