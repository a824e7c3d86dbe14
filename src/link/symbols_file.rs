//! `klp.symbols`: what the running kernel must provide to a livepatch module, one symbol a line.
//!
//! ```text
//! # C name           object   symbol           sympos  [patched object]
//! sock_set_timeout   vmlinux  sock_set_timeout  0
//! newmems            vmlinux  newmems.2         0
//! ```
//!
//! The file is written by `create`, may be edited by people, and is the one input of `link` and of `klp.symvers`.
//! The names obey what the kernel reads: `".klp.sym.%55[^.].%511[^,],%lu"` in klp_resolve_symbols(),
//! kernel/livepatch/core.c.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::finding::{Error, Finding, KLP_SYMBOL_EXPORTED, KLP_SYMBOLS_INVALID, Result, io};
use crate::kernel::symbols::VMLINUX;

/// The name of the file.
pub const SYMBOLS: &str = "klp.symbols";

/// Bytes of a symbol name with its closing NUL: include/linux/kallsyms.h, 6.1 and later (128 before).
const KSYM_NAME_LEN: usize = 512;

/// Bytes that the kernel's `%55[^.]` keeps of an object name; a longer one would be cut and never found.
const OBJECT_NAME_MAX: usize = 55;

/// One symbol of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in the module's C source.
    pub c_name: String,
    /// `vmlinux`, or a module by the name that the kernel gives it (`kvm_amd`).
    pub object: String,
    /// The name in kallsyms (`newmems.2`).
    pub symbol: String,
    /// Position among the object's symbols of this name, counted from 1; 0 for the only one.
    pub sympos: u64,
    /// The patched object whose loading applies the relocations: `object` itself, or for a symbol of a module that the
    /// patched module depends on, the patched module.
    pub patched_object: String,
}

impl Entry {
    pub fn new(c_name: &str, object: &str, symbol: &str, sympos: u64) -> Entry {
        Entry {
            c_name: c_name.into(),
            object: object.into(),
            symbol: symbol.into(),
            sympos,
            patched_object: object.into(),
        }
    }

    /// The symbol's name in a linked module (Documentation/livepatch/module-elf-format.rst, 4.2).
    pub fn klp_name(&self) -> String {
        format!(".klp.sym.{}.{},{}", self.object, self.symbol, self.sympos)
    }
}

/// Reads the text of a `klp.symbols`; the findings name `file` and the line.
pub fn parse(text: &str, file: &str) -> (Vec<Entry>, Vec<Finding>) {
    let mut entries = Vec::new();
    let mut findings = Vec::new();
    let mut lines: BTreeMap<String, u32> = BTreeMap::new();
    for (number, line) in (1u32..).zip(text.lines()) {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let mut invalid =
            |message: String| findings.push(Finding::new(KLP_SYMBOLS_INVALID, message).at(file, Some(number)));
        match parse_words(&words) {
            Err(message) => invalid(message),
            Ok(entry) => match lines.get(&entry.c_name) {
                Some(first) => invalid(format!("{} is listed on line {first} already", entry.c_name)),
                None => {
                    lines.insert(entry.c_name.clone(), number);
                    entries.push(entry);
                }
            },
        }
    }
    (entries, findings)
}

fn parse_words(words: &[&str]) -> std::result::Result<Entry, String> {
    let (c_name, object, symbol, sympos, patched_object) = match *words {
        [c_name, object, symbol, sympos] => (c_name, object, symbol, sympos, object),
        [c_name, object, symbol, sympos, patched] => (c_name, object, symbol, sympos, patched),
        _ => {
            return Err(format!(
                "{} words where a C name, an object, a symbol and its sympos are expected",
                words.len()
            ));
        }
    };
    check_c_name(c_name)?;
    check_object(object)?;
    check_object(patched_object)?;
    check_symbol(symbol)?;
    // Digits only: "+1" is a number to Rust and not to a reader.
    let sympos = Some(sympos).filter(|s| s.bytes().all(|b| b.is_ascii_digit())).and_then(|s| s.parse().ok()).ok_or(
        format!("sympos {sympos} is no number; 0 stands for the only symbol of its name, else they count from 1"),
    )?;
    if (object == VMLINUX) != (patched_object == VMLINUX) {
        return Err(format!(
            "{symbol} of {object} can't be resolved when {patched_object} is loaded: the kernel resolves vmlinux's \
             symbols when the livepatch is loaded, and a module's when the patched module is"
        ));
    }
    Ok(Entry { patched_object: patched_object.into(), ..Entry::new(c_name, object, symbol, sympos) })
}

fn check_c_name(name: &str) -> std::result::Result<(), String> {
    let word = |b: u8| b == b'_' || b.is_ascii_alphanumeric();
    if name.bytes().all(word) && !name.as_bytes()[0].is_ascii_digit() {
        return Ok(());
    }
    Err(format!("{name} is no C name; what the kernel calls the symbol stands in the third column"))
}

fn check_object(name: &str) -> std::result::Result<(), String> {
    if name.len() > OBJECT_NAME_MAX {
        return Err(format!("the object name {name} is longer than {OBJECT_NAME_MAX} bytes"));
    }
    if name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let module = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".ko").replace('-', "_");
    Err(format!("{name} is no name of an object as the kernel knows it; is it {module}?"))
}

fn check_symbol(name: &str) -> std::result::Result<(), String> {
    if name.len() >= KSYM_NAME_LEN {
        return Err(format!("a symbol name of {} bytes; the kernel knows at most {}", name.len(), KSYM_NAME_LEN - 1));
    }
    if name.contains(',') || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{name} can't be the name of a klp symbol: it has a comma or other than ASCII characters"));
    }
    Ok(())
}

/// Reads `klp.symbols` from a file; every bad line is one refusal.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(path).map_err(io("read", path))?;
    let (entries, findings) = parse(&String::from_utf8_lossy(&bytes), &path.display().to_string());
    if findings.is_empty() { Ok(entries) } else { Err(Error::Refused(findings)) }
}

/// The text of a `klp.symbols` in the order given; [`parse`] yields the same entries.
pub fn render(entries: &[Entry]) -> String {
    let header = ["# C name", "object", "symbol", "sympos", ""];
    let rows = entries.iter().map(|e| {
        let patched = if e.patched_object == e.object { "" } else { &e.patched_object };
        [e.c_name.clone(), e.object.clone(), e.symbol.clone(), e.sympos.to_string(), patched.to_string()]
    });
    let rows: Vec<[String; 5]> = std::iter::once(header.map(String::from)).chain(rows).collect();
    let width: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
    let mut text = String::from(
        "# What the running kernel must provide to this livepatch, resolved by the kernel itself when it loads the\n\
         # module (Documentation/livepatch/module-elf-format.rst). May be edited; `make` reads it again.\n\
         # object: vmlinux, or the module that has the symbol. sympos: which one of that name, counted from 1 in\n\
         # the order of kallsyms; 0 where there is only one. A fifth word names the patched module where it differs.\n",
    );
    for row in &rows {
        let line: Vec<String> = row.iter().zip(&width).map(|(word, width)| format!("{word:width$}")).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The text of `klp.symvers`, which tells modpost (`KBUILD_EXTRA_SYMBOLS`) that the listed C names are provided for;
/// every other undefined symbol stays a hard error. All are listed under vmlinux: under a module's name modpost would
/// make the livepatch depend on that module. `exported` are vmlinux' exports where they are known: modpost refuses
/// such names ("exported twice", sym_add_exported() in scripts/mod/modpost.c), so they are refused here.
pub fn symvers(entries: &[Entry], exported: &BTreeSet<String>) -> Result<String> {
    let twice = entries.iter().filter(|e| exported.contains(&e.c_name));
    let findings: Vec<Finding> = twice
        .map(|e| {
            let message =
                format!("{} is an export of vmlinux: use it as it is, or give {} another C name", e.c_name, e);
            Finding::new(KLP_SYMBOL_EXPORTED, message)
        })
        .collect();
    if !findings.is_empty() {
        return Err(Error::Refused(findings));
    }
    Ok(entries.iter().map(|e| format!("0x00000000\t{}\tvmlinux\tEXPORT_SYMBOL\t\n", e.c_name)).collect())
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{},{}", self.object, self.symbol, self.sympos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut third = Entry::new("x", "libcrc", "x_static.12", 3);
        third.patched_object = "ext4".into();
        let entries = vec![
            Entry::new("sock_set_timeout", "vmlinux", "sock_set_timeout", 0),
            Entry::new("newmems", "vmlinux", "newmems.2", 2),
            third,
        ];
        let text = render(&entries);
        let (again, findings) = parse(&text, "klp.symbols");
        assert_eq!(again, entries);
        assert!(findings.is_empty());
        assert!(text.contains("\nnewmems           vmlinux  newmems.2         2\n"), "{text}");
        assert!(text.lines().all(|l| l.len() <= 120 && l == l.trim_end()));
    }

    #[test]
    fn object_names_are_as_long_as_the_kernel_s() {
        let found = |length: usize| parse(&format!("a {} a 0\n", "m".repeat(length)), "klp.symbols");
        assert_eq!(found(OBJECT_NAME_MAX).0.len(), 1);
        let (entries, findings) = found(OBJECT_NAME_MAX + 1);
        assert!(entries.is_empty() && findings[0].message.contains("longer than"), "{findings:?}");
    }

    #[test]
    fn bad_lines_are_found_with_their_number() {
        for (line, word) in [
            ("a vmlinux a", "3 words"),
            ("a vmlinux a 0 vmlinux x", "6 words"),
            ("newmems.2 vmlinux newmems.2 0", "no C name"),
            ("2a vmlinux a 0", "no C name"),
            ("a net/bluetooth/bluetooth a 0", "is it bluetooth?"),
            ("a kvm-amd.ko a 0", "is it kvm_amd?"),
            ("a vmlinux a,1 0", "comma"),
            ("a vmlinux a +1", "no number"),
            ("a vmlinux a 99999999999999999999999", "no number"),
            ("a vmlinux a 0 vsock", "can't be resolved when"),
            ("a vsock a 0 vmlinux", "can't be resolved when"),
            ("ok vmlinux x 0", "line 2 already"),
        ] {
            let (entries, findings) = parse(&format!("# c\nok vmlinux ok 0 # why\n{line}\n"), "klp.symbols");
            assert_eq!(entries.len(), 1, "{line}");
            assert_eq!(findings.len(), 1, "{line}");
            assert!(findings[0].message.contains(word), "{line}: {}", findings[0].message);
            assert_eq!((findings[0].line, findings[0].id), (Some(3), KLP_SYMBOLS_INVALID));
        }
        let long = format!("a vmlinux {} 0", "y".repeat(KSYM_NAME_LEN));
        assert!(parse(&long, "f").1[0].message.contains("512 bytes"));
        assert!(parse(&long.replacen('y', "", 1), "f").1.is_empty());
    }

    #[test]
    fn symvers_lists_everything_under_vmlinux_and_refuses_exports() {
        let entries = [Entry::new("a", "vmlinux", "a", 0), Entry::new("b", "vsock", "b.3", 1)];
        let text = symvers(&entries, &BTreeSet::new()).unwrap();
        assert_eq!(text, "0x00000000\ta\tvmlinux\tEXPORT_SYMBOL\t\n0x00000000\tb\tvmlinux\tEXPORT_SYMBOL\t\n");
        let error = symvers(&entries, &BTreeSet::from(["b".to_string()])).unwrap_err().to_string();
        assert!(error.contains("klp-symbol-exported") && error.contains("vsock:b.3,1"), "{error}");
    }
}
