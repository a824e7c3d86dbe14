//! Each TU compiled as the kernel's build compiles it: the object file and GCC's clone report, read into data.
//!
//! Owns running the recorded compile command, and what can be read from a relocatable object ([`facts`]), where its code
//! lies in the running kernel ([`layout`]), whether it is the code that runs ([`fidelity`]) and how two of them differ
//! ([`compare`]). It decides nothing about targets.

pub mod compare;
pub mod facts;
pub mod fidelity;
pub mod layout;
pub mod provenance;
pub mod references;
pub mod running;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::affected::clones::CloneReport;
use crate::finding::{REPORT_INVALID, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use facts::Facts;

/// One TU, compiled.
#[derive(Debug)]
pub struct Compiled {
    pub object: PathBuf,
    pub report: PathBuf,
    pub facts: Facts,
    pub clones: CloneReport,
}

/// Compiles one TU with the arguments of the kernel's own build, and with GCC's clone report.
///
/// `source` is the file to compile (the kernel's own or the overlay's; `command.args` must name the same tree), `build` the
/// build folder, which is only read, `out` a scratch folder of this call's own: object and report are written there.
/// Errors: the compiler fails, or writes no usable report.
pub fn compile(command: &CompileCommand, source: &Path, build: &Path, out: &Path) -> Result<Compiled> {
    fs::create_dir_all(out).map_err(io("create", out))?;
    // A relative name would be taken from the build folder, which is the compiler's working directory.
    let out = out.canonicalize().map_err(io("find", out))?;
    for old in files_ending(&out, ".ipa-clones")? {
        // A report left over from an earlier compile would be read in place of one that GCC failed to write.
        fs::remove_file(&old).map_err(io("remove", &old))?;
    }
    let stem = Path::new(&command.output).file_name().map_or("unit.o".into(), OsString::from);
    let object = out.join(stem);
    // GCC 11 and later derive dump names from -dumpdir, earlier ones from -o: both say the scratch folder. The folder's
    // name must end in a slash, or it is taken for a prefix of the file names.
    let mut folder = out.clone().into_os_string();
    folder.push("/");
    Program::new(&command.compiler)
        .args(&command.args)
        .arg("-fdump-ipa-clones")
        .arg("-dumpdir")
        .arg(folder)
        .args([OsString::from("-c"), "-o".into(), object.clone().into(), source.into()])
        .folder(build)
        .run(&format!("compile {}", command.source))?;
    let reports = files_ending(&out, ".ipa-clones")?;
    let [report] = reports.as_slice() else {
        return refuse(
            REPORT_INVALID,
            format!("{} wrote {} clone reports for {}, not one", command.compiler, reports.len(), command.source),
        );
    };
    let facts = Facts::read(&object)?;
    let clones = read_report(report, &facts)?;
    Ok(Compiled { object, report: report.clone(), facts, clones })
}

/// Reads the report of a compile that has just succeeded. Such a report may be empty: GCC had nothing to inline or clone.
fn read_report(path: &Path, facts: &Facts) -> Result<CloneReport> {
    let text = fs::read_to_string(path).map_err(io("read", path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let clones = if text.is_empty() { CloneReport::default() } else { CloneReport::parse(&text, &name)? };
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
