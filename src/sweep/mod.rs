//! How the tool fares on random functions of a kernel: each is pretended patched, and goes all the way to a module.
//!
//! The project's yardstick, and its users' smoke test for a new kernel. A function gets a statement at its entry; that
//! patch is planned, created (which compiles and validates the module), and for one in ten the module's folder is built by
//! make, with modpost and `link`; where they are to be loaded, each that refers to the running kernel is. Rows go to a file of JSON lines as they come, so that a sweep can be interrupted and go on.

mod draw;
mod load;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::finding::{self, Error, Finding, Id, Result, USAGE, io, refuse};
use crate::kernel::Kernel;
use crate::linkage::pointers::Symbols;
use crate::parallel;
use crate::pipeline::{self, Options};
use crate::process::Program;
use crate::render::output;
use crate::vm::series;

pub use draw::{Drawn, functions};
pub use table::table;

/// Of so many modules one is built by make.
const BUILT: usize = 10;

/// What is put behind the opening brace: a change of the code that moves no line and declares nothing that is used.
const MARKER: &str = " int klp_sweep __attribute__((__unused__)) = ({ __asm__ __volatile__(\"nop\"); 0; });";

/// Findings that are the right answer for some functions; every other refusal is a fault of the tool's.
const BY_DESIGN: &[Id] = &[
    finding::NO_FTRACE_SITE,
    finding::INIT_ONLY,
    finding::WEAK_OVERRIDDEN,
    finding::FOLDED_FUNCTION,
    finding::AMBIGUOUS_SYMBOL,
    finding::NOT_FAITHFUL,
    finding::READ_ONLY_KEY,
    finding::MODULE_SWITCH,
    finding::NO_ENDBR,
    finding::FILE_NOT_LIVEPATCHABLE,
];

/// What to sweep over.
#[derive(Debug, Clone)]
pub struct Request {
    pub kernel: String,
    /// How many functions.
    pub functions: usize,
    pub seed: u64,
    /// Only these units, by their source; all otherwise.
    pub units: Option<BTreeSet<String>>,
    /// Functions of one unit, whose original is compiled once.
    pub per_unit: usize,
    /// Runs side by side.
    pub jobs: usize,
    /// The file of rows.
    pub rows: PathBuf,
    /// Are the modules that refer to the running kernel loaded, in virtual machines?
    pub load: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Created, compiled and validated.
    Created,
    /// And built by make.
    Built,
    /// And loaded and removed in a virtual machine.
    Loaded,
    /// And the transition doesn't end, as a finding has said.
    Stuck,
    /// Refused with a finding that such a function deserves.
    Refused,
    /// A fault of the tool's.
    Failed,
}

/// One function's outcome, a line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub function: String,
    pub unit: String,
    pub object: String,
    pub status: Status,
    /// The finding's id where there is no module.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    pub targets: Vec<String>,
    /// How many things of the running kernel the module refers to beside exports.
    #[serde(default)]
    pub externals: usize,
    /// Was it said that the transition may not end?
    #[serde(default)]
    pub may_stall: bool,
    /// Of C, without the tables and init.
    pub lines: usize,
    /// Of wall time.
    pub seconds: f64,
    /// Peak of the front end, in bytes.
    pub memory: u64,
    /// Why the front end had to parse a whole unit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<String>,
}

/// The first line of the file: what its rows belong to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    sweep: u32,
    release: String,
    version: String,
    seed: u64,
}

/// Runs the sweep; yields all rows, those of an earlier run of the same file included. `tick` is told how many are done, of
/// how many.
pub fn sweep(request: &Request, scratch: &Path, tick: &(dyn Fn(usize, usize) + Sync)) -> Result<Vec<Row>> {
    let kernel = Kernel::open(&request.kernel)?;
    let head = Head {
        sweep: 1,
        release: kernel.descriptor.release.clone(),
        version: kernel.descriptor.version.clone().unwrap_or_default(),
        seed: request.seed,
    };
    let known = earlier(&request.rows, &head)?;
    let drawn = drawn(&kernel, request, tick)?;
    let book = Book { path: &request.rows, file: Mutex::new(open(&request.rows, &head)?), rows: Mutex::default() };
    let (done, all) = (AtomicUsize::new(0), drawn.len());
    let waiting: Mutex<Vec<(usize, Row)>> = Mutex::default();
    let finish = |some: Vec<(usize, Row)>| -> Result<()> {
        for (number, row) in load::load(&kernel, some, scratch)? {
            let _ = std::fs::remove_dir_all(scratch.join(number.to_string()));
            book.write(number, row)?;
        }
        Ok(())
    };
    let numbers: Vec<usize> = (0..all).collect();
    parallel::try_map_on(request.jobs, &numbers, |&number| {
        let drawn = &drawn[number];
        let key = (drawn.command.output.clone(), drawn.command.object.clone(), drawn.function.clone());
        match known.get(&key) {
            Some(row) => book.keep(number, row.clone()),
            None => {
                let folder = scratch.join(number.to_string());
                std::fs::create_dir(&folder).map_err(io("create", &folder))?;
                let row = tried(&kernel, request, drawn, number, &folder);
                if request.load && load::can_be(&row) {
                    let some = {
                        let mut waiting = waiting.lock().unwrap_or_else(|e| e.into_inner());
                        waiting.push((number, row));
                        let full = waiting.len() >= series::A_BOOT;
                        if full { std::mem::take(&mut *waiting) } else { Vec::new() }
                    };
                    finish(some)?;
                } else {
                    let _ = std::fs::remove_dir_all(&folder);
                    book.write(number, row)?;
                }
            }
        }
        tick(done.fetch_add(1, Ordering::Relaxed) + 1, all);
        Ok(())
    })?;
    finish(waiting.into_inner().unwrap_or_else(|e| e.into_inner()))?;
    Ok(book.rows.into_inner().unwrap_or_else(|e| e.into_inner()).into_values().collect())
}

/// The rows so far, in the file too.
struct Book<'a> {
    path: &'a Path,
    file: Mutex<std::fs::File>,
    rows: Mutex<BTreeMap<usize, Row>>,
}

impl Book<'_> {
    /// Takes in a row that the file has.
    fn keep(&self, number: usize, row: Row) {
        self.rows.lock().unwrap_or_else(|e| e.into_inner()).insert(number, row);
    }

    fn write(&self, number: usize, row: Row) -> Result<()> {
        let line = serde_json::to_string(&row).expect("a row has only string keys") + "\n";
        let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
        file.write_all(line.as_bytes()).map_err(io("write", self.path))?;
        self.keep(number, row);
        Ok(())
    }
}

/// The name of the module of the function with this number.
fn module_name(number: usize) -> String {
    format!("livepatch-sweep-{number}")
}

type Known = BTreeMap<(String, String, String), Row>;

/// The rows of an interrupted sweep.
fn earlier(path: &Path, head: &Head) -> Result<Known> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Known::new()),
        Err(error) => return Err(io("read", path)(error)),
    };
    let mut lines = text.lines();
    let first = lines.next().and_then(|line| serde_json::from_str::<Head>(line).ok());
    if first.as_ref() != Some(head) {
        let message = format!(
            "{} is not the file of a sweep of {} with seed {}; name another one with -o",
            path.display(),
            head.release,
            head.seed
        );
        return refuse(USAGE, message);
    }
    // The last line of a killed run may be cut: that function is tried again.
    let rows = lines.filter_map(|line| serde_json::from_str::<Row>(line).ok());
    Ok(rows.map(|row| ((row.unit.clone(), row.object.clone(), row.function.clone()), row)).collect())
}

/// The file to add rows to, begun where it isn't there, its last line ended where it was cut.
fn open(path: &Path, head: &Head) -> Result<std::fs::File> {
    let mut file = std::fs::File::options().create(true).append(true).open(path).map_err(io("write", path))?;
    let text = std::fs::read(path).map_err(io("read", path))?;
    let begin = match text.last() {
        None => serde_json::to_string(head).expect("a head has only string keys") + "\n",
        Some(b'\n') => String::new(),
        Some(_) => "\n".into(),
    };
    file.write_all(begin.as_bytes()).map_err(io("write", path))?;
    Ok(file)
}

/// Draws until there are enough, unit by unit in the seed's order.
fn drawn(kernel: &Kernel, request: &Request, tick: &(dyn Fn(usize, usize) + Sync)) -> Result<Vec<Drawn>> {
    let mut units = draw::units(kernel, request.seed)?;
    if let Some(wanted) = &request.units {
        units.retain(|unit| wanted.contains(&unit.source));
    }
    let mut drawn = Vec::new();
    for some in units.chunks(request.jobs.max(1)) {
        if drawn.len() >= request.functions {
            break;
        }
        let of = |command: &_| draw::functions(kernel, command, request.seed, request.per_unit);
        drawn.extend(parallel::try_map_on(request.jobs, some, of)?.into_iter().flatten());
        tick(0, request.functions);
    }
    drawn.truncate(request.functions);
    Ok(drawn)
}

/// One function, from the patch to the module.
fn tried(kernel: &Kernel, request: &Request, drawn: &Drawn, number: usize, folder: &Path) -> Row {
    let started = Instant::now();
    let mut row = Row {
        function: drawn.function.clone(),
        unit: drawn.command.output.clone(),
        object: drawn.command.object.clone(),
        status: Status::Created,
        class: None,
        message: None,
        targets: Vec::new(),
        externals: 0,
        may_stall: false,
        lines: 0,
        seconds: 0.0,
        memory: 0,
        fallback: None,
    };
    if let Err(Error::Refused(findings)) = module(kernel, request, drawn, number, folder, &mut row) {
        let worst = findings.iter().min_by_key(|finding| (finding.severity, BY_DESIGN.contains(&finding.id)));
        let by_design = worst.is_some_and(|finding| BY_DESIGN.contains(&finding.id));
        row.status = if by_design { Status::Refused } else { Status::Failed };
        row.class = worst.map(|finding| finding.id.0.id.to_string());
        row.message = worst.map(Finding::to_string);
    }
    row.seconds = started.elapsed().as_secs_f64();
    row
}

fn module(
    kernel: &Kernel,
    request: &Request,
    drawn: &Drawn,
    number: usize,
    folder: &Path,
    row: &mut Row,
) -> Result<()> {
    let options = Options {
        patches: vec![("sweep.patch".into(), patch(kernel, drawn)?)],
        kernel: request.kernel.clone(),
        fuzz: 0,
        ipa_clones: Vec::new(),
        name: module_name(number),
        allow: BTreeMap::new(),
        max_units: usize::MAX,
        symbols: Symbols::default(),
        reload: true,
        bases: Vec::new(),
        scaffold: Vec::new(),
        replace: false,
        house: crate::config::House::default(),
    };
    let plan = pipeline::plan(kernel, &options, folder, &mut |_| ())?;
    row.targets = plan.targets().iter().map(|target| target.name.clone()).collect();
    row.may_stall = plan.findings.iter().any(|finding| finding.id == finding::TRANSITION_MAY_NOT_END);
    let livepatch = pipeline::create(kernel, &options, &plan, folder, &mut |_| ())?;
    row.externals = livepatch.externals.iter().filter(|external| external.entry().is_some()).count();
    let sources = livepatch.files.iter().filter(|(name, _)| name.ends_with(".c"));
    row.lines = sources.map(|(_, text)| text.lines().count()).sum();
    row.fallback = livepatch.usage.iter().find_map(|(_, usage)| usage.fallback.clone());
    row.memory = livepatch.usage.iter().map(|(_, usage)| usage.peak_memory).max().unwrap_or_default();
    if number.is_multiple_of(BUILT) || (request.load && row.externals > 0) {
        let module = folder.join(&options.name);
        output::write(&module, &crate::folder::contents(&livepatch.files, &options))?;
        let program = std::env::current_exe().map_err(io("find", Path::new("/proc/self/exe")))?;
        let make = Program::new("make").arg("-s").arg("-C").arg(&module);
        make.arg(format!("KLP_EXTRACT={}", program.display())).run("build the module")?;
        row.status = Status::Built;
    }
    Ok(())
}

/// The patch that puts the marker behind the function's opening brace.
pub fn patch(kernel: &Kernel, drawn: &Drawn) -> Result<Vec<u8>> {
    let file = &drawn.command.source;
    let path = kernel.source().join(file);
    let old = std::fs::read(&path).map_err(io("read", &path))?;
    let lines = old.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(drawn.line as usize - 1).map(<[u8]>::len).sum();
    let behind = before + drawn.column as usize + 1;
    let new = [&old[..behind], MARKER.as_bytes(), &old[behind..]].concat();
    let difference = similar::TextDiff::from_lines(&old[..], &new[..]);
    let mut text = Vec::new();
    let names = (format!("a/{file}"), format!("b/{file}"));
    difference
        .unified_diff()
        .header(&names.0, &names.1)
        .to_writer(&mut text)
        .map_err(io("make the patch of", &path))?;
    Ok(text)
}
