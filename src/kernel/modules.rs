//! The modules of a kernel: their names, files, dependencies and symbol tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use object::read::elf::{ElfFile64, SectionHeader as _, Sym as _};
use object::{Object as _, ObjectSection as _, elf};

use crate::finding::{Finding, KERNEL_INVALID, Result, io, refuse};
use crate::kernel::symbols::{Symbol, SymbolTable};
use crate::kernel::symvers::module_name;
use crate::object::sound;
use crate::process::Program;

/// What THIS_MODULE is the address of, in a module (include/linux/export.h).
pub const THIS_MODULE: &str = "__this_module";

/// The modules below a folder (`lib/modules/RELEASE`), by the kernel's name of each.
#[derive(Debug, Default)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Lists `.ko`, `.ko.xz`, `.ko.zst` and `.ko.gz` files; none is opened.
    pub fn list(folder: &Path) -> Result<Modules> {
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        // `build` and `source` link to whole kernel trees.
        let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|e| e.depth() != 1 || (e.file_name() != "build" && e.file_name() != "source")) {
            let entry = entry.map_err(|e| {
                Finding::new(KERNEL_INVALID, format!("cannot read the modules folder {}: {e}", folder.display()))
            })?;
            let Some(stem) = entry.file_name().to_str().and_then(stem) else { continue };
            let (name, path) = (module_name(stem), entry.into_path());
            if let Some(other) = files.get(&name) {
                return refuse(
                    KERNEL_INVALID,
                    format!("two files are the module {name}: {} and {}", other.display(), path.display()),
                );
            }
            files.insert(name, path);
        }
        Ok(Modules { files })
    }

    /// The kernel's names of all modules, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn file(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// Opens a module by the kernel's name of it, and verifies that it has that name.
    pub fn open(&self, name: &str) -> Result<Module> {
        let Some(path) = self.file(name) else {
            return refuse(KERNEL_INVALID, format!("the kernel has no module {name}"));
        };
        let module = Module::read(path)?;
        if module.name != name {
            return refuse(KERNEL_INVALID, format!("{} is the module {}, not {name}", path.display(), module.name));
        }
        Ok(module)
    }

    /// What must be loaded before `name`, in an order that works, without `name` itself. Taken from the modules' own
    /// `depends=`, of which modules.dep is made; packages don't ship modules.dep.
    pub fn dependencies(&self, name: &str) -> Result<Vec<String>> {
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        self.add_dependencies(name, &mut seen, &mut order)?;
        order.pop();
        Ok(order)
    }

    /// The files of a module and of all that it needs, in load order, its own last.
    pub fn load_order(&self, name: &str) -> Result<Vec<PathBuf>> {
        let mut names = self.dependencies(name)?;
        names.push(name.into());
        Ok(names.iter().filter_map(|name| self.file(name)).map(Path::to_path_buf).collect())
    }

    fn add_dependencies(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<String>) -> Result<()> {
        if !seen.insert(name.into()) {
            return Ok(());
        }
        for dependency in &self.open(name)?.depends {
            self.add_dependencies(dependency, seen, order)?;
        }
        order.push(name.into());
        Ok(())
    }
}

fn stem(file: &str) -> Option<&str> {
    [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].into_iter().find_map(|suffix| file.strip_suffix(suffix))
}

/// The kernel's name of the module in a file: `kvm-amd.ko.xz` is `kvm_amd`.
pub fn name_of(path: &Path) -> String {
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    module_name(stem(file).unwrap_or(file))
}

/// The bytes of a module file, decompressed: busybox' insmod hands them to the kernel as they are.
pub fn contents(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|e| e.to_str()) {
        Some(kind @ ("xz" | "gz")) => {
            let doing = format!("decompress {}", path.display());
            let program = Program::new(if kind == "xz" { "xz" } else { "gzip" });
            program.arg("-dc").arg("--").arg(path).run(&doing)
        }
        Some("zst") => {
            let file = std::fs::File::open(path).map_err(io("open", path))?;
            let broken = |e: String| Finding::new(KERNEL_INVALID, format!("{} is broken: {e}", path.display()));
            let mut bytes = Vec::new();
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(file).map_err(|e| broken(e.to_string()))?;
            std::io::Read::read_to_end(&mut decoder, &mut bytes).map_err(|e| broken(e.to_string()))?;
            Ok(bytes)
        }
        _ => std::fs::read(path).map_err(io("read", path)),
    }
}

/// What is known of one module file.
#[derive(Debug)]
pub struct Module {
    /// The kernel's name, from `name=` in `.modinfo`.
    pub name: String,
    /// The kernel's names of the modules that it needs directly.
    pub depends: Vec<String>,
    pub vermagic: String,
    /// Checksum of the sources; only modules with MODULE_VERSION have one on Debian (scripts/mod/sumversion.c).
    pub srcversion: Option<String>,
    pub symbols: SymbolTable,
}

impl Module {
    pub fn read(path: &Path) -> Result<Module> {
        Module::parse(&contents(path)?)
            .or_else(|e| refuse(KERNEL_INVALID, format!("{} is no usable module: {e}", path.display())))
    }

    /// Reads the bytes of a module; the error says what about them can't be read.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Module, String> {
        sound::check(bytes)?;
        let file = ElfFile64::<object::Endianness>::parse(bytes).map_err(|e| e.to_string())?;
        let section = file.section_by_name(".modinfo").ok_or("it has no .modinfo section")?;
        let modinfo = section.data().map_err(|e| e.to_string())?;
        let field = |key: &str| {
            let mut texts = modinfo.split(|b| *b == 0).filter_map(|text| std::str::from_utf8(text).ok());
            texts.find_map(|text| text.strip_prefix(key)?.strip_prefix('='))
        };
        let depends = field("depends").unwrap_or_default().split(',').filter(|d| !d.is_empty());
        Ok(Module {
            name: module_name(field("name").ok_or("its .modinfo has no name=")?),
            depends: depends.map(module_name).collect(),
            vermagic: field("vermagic").unwrap_or_default().trim_end().into(),
            srcversion: field("srcversion").map(|version| version.to_string()),
            symbols: symbol_table(&file, |section| !section.starts_with(b".init"))?,
        })
    }
}

/// All symbols of a module's file that are loaded, those of its init included.
pub fn all_symbols(bytes: &[u8]) -> std::result::Result<SymbolTable, String> {
    sound::check(bytes)?;
    symbol_table(&ElfFile64::parse(bytes).map_err(|e| e.to_string())?, |_| true)
}

/// The symbols of the sections that are loaded and `stay`, in the table's order. The kernel keeps those of a module once it is
/// live whose sections stay in memory (is_core_symbol() in kernel/module/kallsyms.c, with CONFIG_KALLSYMS_ALL).
fn symbol_table(
    file: &ElfFile64<'_, object::Endianness>,
    stay: impl Fn(&[u8]) -> bool,
) -> std::result::Result<SymbolTable, String> {
    let endian = file.endian();
    let text = |e: object::Error| e.to_string();
    let (sections, table) = (file.elf_section_table(), file.elf_symbol_table());
    let mut symbols = Vec::new();
    for symbol in table.iter() {
        let Some(index) = symbol.st_shndx(endian).index().filter(|_| symbol.st_name(endian) != 0) else { continue };
        let section = sections.section(object::SectionIndex(usize::from(index))).map_err(text)?;
        let section_name = sections.section_name(endian, section).map_err(text)?;
        if section.sh_flags(endian).0 & elf::SHF_ALLOC.0 == 0 || !stay(section_name) {
            continue;
        }
        let name = symbol.name(endian, table.strings()).map_err(text)?;
        symbols.push(Symbol {
            name: String::from_utf8(name.into()).map_err(|e| e.to_string())?,
            address: symbol.st_value(endian),
            kind: kind(symbol, section, section_name, endian),
            section: u32::from(index),
        });
    }
    Ok(SymbolTable::new(symbols))
}

/// The letter that `nm` prints (elf_type() in kernel/module/kallsyms.c, upper case for symbols that aren't local).
fn kind(
    symbol: &elf::Sym64<object::Endianness>,
    section: &elf::SectionHeader64<object::Endianness>,
    section_name: &[u8],
    endian: object::Endianness,
) -> char {
    if symbol.st_bind() == elf::STB_WEAK {
        return if symbol.st_type() == elf::STT_OBJECT { 'V' } else { 'W' };
    }
    let flags = section.sh_flags(endian);
    let has = |flag: elf::SectionFlags| flags.0 & flag.0 != 0;
    let letter = if section_name == b".data..percpu" {
        'a'
    } else if has(elf::SHF_EXECINSTR) {
        't'
    } else if section.sh_type(endian) == elf::SHT_NOBITS {
        'b'
    } else if has(elf::SHF_WRITE) {
        'd'
    } else {
        'r'
    };
    if symbol.st_bind() == elf::STB_LOCAL { letter } else { letter.to_ascii_uppercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module as far as this reader cares: an object file with `.modinfo`.
    fn compile(folder: &Path, file: &str, name: &str, depends: &str, code: &str) {
        let text = format!(
            r#"static const char i[] __attribute__((section(".modinfo"), used)) =
               "name={name}\0depends={depends}\0vermagic=6.1.0 SMP \0";
               {code}"#
        );
        let args = ["-x", "c", "-c", "-fno-common", "-o"];
        let gcc = Program::new("gcc").args(args).arg(folder.join(file)).arg("-").input(text.into_bytes());
        gcc.run("compile a test module").unwrap();
    }

    #[test]
    fn reads_names_dependencies_and_the_symbols_that_stay() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("kernel/arch");
        std::fs::create_dir_all(&inner).unwrap();
        let code = r#"
            extern void undefined(void);
            static int twice(void) { return 1; }
            void shown(void) { twice(); undefined(); }
            __attribute__((section(".init.text"))) void gone(void) {}
            __attribute__((section(".data..percpu"))) int percpu = 1;
            __attribute__((weak)) void weak(void) {}
            static int zero; int *user(void) { return &zero; }
            const int constant = 1; int data = 2;"#;
        compile(&inner, "kvm-amd.ko", "kvm-amd", "ccp,irq-bypass", code);
        compile(&inner, "ccp.ko", "ccp", "irq-bypass", "");
        compile(&inner, "irq-bypass.ko", "irq_bypass", "", "");
        compile(&inner, "wrong.ko", "right", "", "");
        let modules = Modules::list(folder.path()).unwrap();
        assert_eq!(modules.names().collect::<Vec<_>>(), ["ccp", "irq_bypass", "kvm_amd", "wrong"]);
        assert_eq!(modules.dependencies("kvm_amd").unwrap(), ["irq_bypass", "ccp"]);
        let module = modules.open("kvm_amd").unwrap();
        assert_eq!(module.vermagic, "6.1.0 SMP");
        let kinds: BTreeMap<&str, char> = module.symbols.all().iter().map(|s| (s.name.as_str(), s.kind)).collect();
        let expected = [
            ("constant", 'R'),
            ("data", 'D'),
            ("i", 'r'),
            ("percpu", 'A'),
            ("shown", 'T'),
            ("twice", 't'),
            ("user", 'T'),
            ("weak", 'W'),
            ("zero", 'b'),
        ];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
        assert!(modules.open("wrong").unwrap_err().to_string().contains("is the module right"));
        assert!(modules.open("none").is_err());
    }

    #[test]
    fn two_files_of_one_module_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a-b.ko", "a_b.ko.xz"] {
            std::fs::write(folder.path().join(file), b"").unwrap();
        }
        assert!(Modules::list(folder.path()).unwrap_err().to_string().contains("a_b"));
    }
}
