//! Which of several symbols of one name is the object's own, for vmlinux and for modules.

use std::fs;

use klp_extract::finding::{AMBIGUOUS_SYMBOL, Error, Id, SYMBOL_MISSING};
use klp_extract::kernel::command::CompileCommand;
use klp_extract::kernel::symbols::{Symbol, SymbolTable};
use klp_extract::object::compile;
use klp_extract::object::facts::Facts;
use klp_extract::object::layout::{Layout, sympos};

const UNIT: &str = "
int use(int *);
int shared_count = 1;
static __attribute__((noinline)) int reset(int x) { static int state; state += x; return use(&state); }
static __attribute__((noinline)) int renew(int x) { static int state; state -= x; return use(&state); }
int unique(int x) { return reset(x) + renew(x) + shared_count; }
static int lone __attribute__((section(\".data..once\"), used));
static int pair __attribute__((section(\".data..once\"), used));
";

fn facts() -> Facts {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("unit.c");
    fs::write(&source, UNIT).unwrap();
    let command = CompileCommand {
        source: "unit.c".into(),
        output: "unit.o".into(),
        compiler: "gcc".into(),
        args: ["-O2", "-pg", "-mfentry", "-fno-PIE", "-mcmodel=kernel", "-fcf-protection=none"]
            .map(String::from)
            .into(),
        object: "vmlinux".into(),
    };
    compile(&command, &source, scratch.path(), &scratch.path().join("out")).unwrap_or_else(|e| panic!("{e}")).facts
}

/// The object's symbols at their places, `extra` of other objects before them. `section` as a module has it.
fn table(facts: &Facts, section: impl Fn(usize) -> u32, extra: &[(&str, u64, u32)]) -> SymbolTable {
    let extra = extra.iter().map(|(name, address, section)| Symbol {
        name: name.to_string(),
        address: *address,
        kind: 't',
        section: *section,
    });
    let base = |index: usize| 0x10_0000 * index as u64;
    let functions = facts.functions.iter().map(|f| (&f.name, f.section, f.offset, 't'));
    let objects = facts.objects.iter().map(|o| (&o.name, o.section, o.offset, 'd'));
    let own = functions.chain(objects).map(|(name, index, offset, kind)| Symbol {
        name: name.clone(),
        address: base(index) + offset,
        kind,
        section: section(index),
    });
    SymbolTable::new(extra.chain(own).collect())
}

fn position(facts: &Facts, table: &SymbolTable, name: &str, is_function: bool) -> Result<u32, Id> {
    match sympos(name, is_function, facts, &Layout::of(facts, table), table) {
        Ok(sympos) => Ok(sympos.position),
        Err(Error::Refused(findings)) => Err(findings[0].id),
    }
}

fn static_locals(facts: &Facts) -> Vec<String> {
    facts.objects.iter().filter(|o| o.name.starts_with("state.")).map(|o| o.name.clone()).collect()
}

#[test]
fn unique_names_have_sympos_0() {
    let facts = facts();
    let table = table(&facts, |_| 0, &[]);
    assert_eq!(position(&facts, &table, "unique", true), Ok(0));
    assert_eq!(position(&facts, &table, "reset", true), Ok(0));
    assert_eq!(position(&facts, &table, "shared_count", false), Ok(0));
    assert_eq!(position(&facts, &table, "nobody", true), Err(SYMBOL_MISSING));
    assert_eq!(static_locals(&facts).len(), 2);
    for name in static_locals(&facts) {
        assert_eq!(position(&facts, &table, &name, false), Ok(0));
    }
}

#[test]
fn the_layout_tells_duplicates_apart() {
    let facts = facts();
    let locals = static_locals(&facts);
    // Functions and data count together, in the table's order.
    let table = table(&facts, |_| 0, &[("reset", 0x40, 0), (&locals[0], 0x50, 0), ("reset", 0x60, 0)]);
    assert_eq!(position(&facts, &table, "reset", true), Ok(3));
    assert_eq!(position(&facts, &table, "renew", true), Ok(0));
    // Both static locals lie in .bss, and one of them still has a name of its own.
    assert_eq!(position(&facts, &table, &locals[0], false), Ok(2));
}

#[test]
fn without_any_unique_name_the_distances_decide() {
    let facts = facts();
    let once = table(&facts, |_| 0, &[("lone", 0x40, 0), ("pair", 0x80, 0)]);
    assert_eq!(position(&facts, &once, "lone", false), Ok(2));
    // Two objects with the same distances: nobody can tell.
    let (lone, pair) = (facts.object_named("lone").unwrap().offset, facts.object_named("pair").unwrap().offset);
    let twice = table(&facts, |_| 0, &[("lone", 0x40 + lone, 0), ("pair", 0x40 + pair, 0)]);
    assert_eq!(position(&facts, &twice, "lone", false), Err(AMBIGUOUS_SYMBOL));
}

#[test]
fn a_module_has_offsets_in_sections() {
    let facts = facts();
    let text = facts.function(facts.named("reset").unwrap());
    // Another file's `reset` at the same offset of another section of the module.
    let table = table(&facts, |index| index as u32 + 5, &[("reset", 0x10_0000 * text.section as u64 + text.offset, 2)]);
    assert_eq!(position(&facts, &table, "reset", true), Ok(2));
}
