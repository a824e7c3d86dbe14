//! Each TU compiled as the kernel's build compiles it: the object file and GCC's clone report, read into data.
//!
//! Owns running the recorded compile command, and what can be read from a relocatable object ([`facts`]), where its code
//! lies in the running kernel ([`layout`]), whether it is the code that runs ([`fidelity`]) and how two of them differ
//! ([`compare`]). It decides nothing about targets.

pub mod compare;
mod dwarf;
pub mod facts;
pub mod fidelity;
pub mod layout;
pub mod provenance;
pub mod references;
pub mod running;
pub mod sound;
pub mod statics;
pub mod types;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::affected::clones::CloneReport;
use crate::cache::{self, Key};
use crate::finding::{OBJECT_INVALID, REPORT_INVALID, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use facts::Facts;

/// One TU, compiled.
#[derive(Debug)]
pub struct Compiled {
    pub facts: Facts,
    pub clones: CloneReport,
}

impl Compiled {
    fn read(object: &[u8], report: &[u8], source: &str) -> Result<Compiled> {
        let facts = Facts::of(object, source)?;
        let clones = read_report(&String::from_utf8_lossy(report), source, &facts)?;
        Ok(Compiled { facts, clones })
    }
}

/// What [`compile`] leaves in its folder: the object file.
pub const OBJECT: &str = "unit.o";
/// And the clone report.
const REPORT: &str = "unit.ipa-clones";

/// Compiles one TU with the arguments of the kernel's own build, and with GCC's clone report.
///
/// `source` is the file to compile (the kernel's own or the overlay's; `command.args` must name the same tree), `build` the
/// build folder, which is only read, `out` a scratch folder of this call's own.
/// Errors: the compiler fails, or writes no usable report.
pub fn compile(command: &CompileCommand, source: &Path, build: &Path, out: &Path) -> Result<Compiled> {
    make(command, source, build, out)?;
    let read = |name: &str| contents(&out.join(name));
    Compiled::read(&read(OBJECT)?, &read(REPORT)?, &command.source)
}

/// As [`compile`], kept in the cache: for a TU whose command line is the same in every run. `preprocessed` is what GCC
/// makes of it with the same arguments, on which everything else in the object depends.
pub fn compile_once(command: &CompileCommand, source: &Path, build: &Path, preprocessed: &[u8]) -> Result<Compiled> {
    let version = Program::compiler(&command.compiler).arg("--version").run("ask the compiler for its version")?;
    let key = Key::new("unit").with(command.compiler.as_bytes()).with(&version).with(preprocessed);
    let key = command.args.iter().fold(key, |key, arg| key.with(arg.as_bytes()));
    let files = cache::entry(key, &[OBJECT, REPORT], |folder| make(command, source, build, folder))?;
    Compiled::read(&files[OBJECT], &files[REPORT], &command.source)
}

/// The largest object that is read, in bytes; the kernel's have a few MB, and its largest module less than 100.
const LARGEST: u64 = 512 << 20;

/// What a compiler has written. Refused where it is larger than any object of a kernel's.
pub fn contents(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(io("read", path))?.len();
    if size > LARGEST {
        return refuse(
            OBJECT_INVALID,
            format!("{} has {} MB: no unit of a kernel is that large", path.display(), size >> 20),
        );
    }
    fs::read(path).map_err(io("read", path))
}

fn make(command: &CompileCommand, source: &Path, build: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).map_err(io("create", out))?;
    // A relative name would be taken from the build folder, which is the compiler's working directory.
    let out = out.canonicalize().map_err(io("find", out))?;
    for old in files_ending(&out, ".ipa-clones")? {
        // A report left over from an earlier compile would be read in place of one that GCC failed to write.
        fs::remove_file(&old).map_err(io("remove", &old))?;
    }
    // GCC 11 and later derive dump names from -dumpdir, earlier ones from -o: both say the scratch folder. The folder's
    // name must end in a slash, or it is taken for a prefix of the file names.
    let mut folder = out.clone().into_os_string();
    folder.push("/");
    Program::compiler(&command.compiler)
        .args(&command.args)
        .arg("-fdump-ipa-clones")
        // The assembler keeps local labels: they tell where each constant begins that has no symbol.
        .arg("-Wa,--keep-locals")
        .arg("-dumpdir")
        .arg(folder)
        .args([OsString::from("-c"), "-o".into(), out.join(OBJECT).into(), source.into()])
        .folder(build)
        .run(&format!("compile {}", command.source))?;
    let reports = files_ending(&out, ".ipa-clones")?;
    let [report] = reports.as_slice() else {
        return refuse(
            REPORT_INVALID,
            format!("{} wrote {} clone reports for {}, not one", command.compiler, reports.len(), command.source),
        );
    };
    fs::rename(report, out.join(REPORT)).map_err(io("rename", report))
}

/// Reads the report of a compile that has just succeeded. Such a report may be empty: GCC had nothing to inline or clone.
fn read_report(text: &str, source: &str, facts: &Facts) -> Result<CloneReport> {
    let name = format!("of {source}");
    let clones = if text.is_empty() { CloneReport::default() } else { CloneReport::parse(text, &name)? };
    match missing_clone(&clones, facts) {
        Some(clone) => refuse(REPORT_INVALID, format!("the clone report {name} lacks {clone}, which the object has")),
        None => Ok(clones),
    }
}

/// A clone in the object that the report doesn't know: then the report was cut off, or is of another build.
pub fn missing_clone<'f>(clones: &CloneReport, facts: &'f Facts) -> Option<&'f str> {
    let names = facts.functions.iter().filter(|f| f.cold_of.is_none()).map(|f| f.name.as_str());
    let mut made = names.filter(|n| [".isra.", ".constprop.", ".part."].iter().any(|word| n.contains(word)));
    made.find(|name| !clones.contains(name))
}

fn files_ending(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        if path.to_string_lossy().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
