//! The command line: arguments first, action later; results on standard output, all else on standard error.

mod extract;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::affected::Affected;
use crate::affected::forest::{self, Forest};
use crate::finding::{self, Error, Finding, Result, Severity, USAGE, io, refuse};
use crate::impact::{self, Level};
use crate::kernel::Kernel;
use crate::link;
use crate::link::symbols_file;
use crate::pipeline::{self, Options, Plan};
use crate::prepare::{self, kernels};
use crate::render::{json, output};
use crate::scratch;
use crate::unit::worker;
use crate::vm;

/// Longest module name: Kbuild, sysfs and the kernel's MODULE_NAME_LEN (56 with its NUL, include/linux/moduleparam.h).
const NAME_LENGTH: usize = 55;

/// Makes reviewable Linux kernel livepatch modules from a patch.
///
/// Exit status: 0 done, 1 done but a person has to look, 2 could not, 130 interrupted.
#[derive(Parser)]
#[command(name = "klp-extract", disable_version_flag = true, arg_required_else_help = true)]
struct Arguments {
    /// Print versions of this program, gcc and libclang
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what is missing on this machine, and how to get it
    Doctor,
    /// Make a kernel ready to be patched
    #[command(subcommand)]
    Prepare(Prepare),
    /// Show which functions a patch, or a change of one function, concerns and why; writes nothing
    Plan(PlanRequest),
    /// Write the livepatch module for a patch
    Create(Create),
    /// Copy functions out of any C project, with all that they need, into one C file
    Extract(extract::Request),
    /// Show where GCC put the code of functions, from its clone reports (-fdump-ipa-clones)
    Clones(Clones),
    /// Boot the kernel in a virtual machine and try the built module
    Test(Test),
    /// List or remove prepared kernels
    #[command(subcommand)]
    Kernels(Kernels),
    /// Try random functions of a kernel, each pretended patched; a smoke test for a new kernel
    Sweep(Sweep),
    /// Write klp relocations into a built module (called by its Makefile)
    Link(Link),
    /// Print a klp.symbols as modpost reads it (called by the module's Makefile)
    Symvers {
        /// The klp.symbols file
        file: PathBuf,
    },
    #[command(name = worker::SUBCOMMAND, hide = true)]
    FrontEnd,
}

#[derive(Subcommand)]
enum Prepare {
    /// From Debian's packages, fetched by apt as an ordinary user
    Debian {
        /// The kernel's release, as `uname -r` prints it
        release: String,
        /// Use only what was downloaded before
        #[arg(long)]
        offline: bool,
    },
    /// From your own source tree and build folder
    Local {
        /// Name of the prepared kernel
        name: String,
        /// Kernel source tree
        #[arg(long)]
        source: PathBuf,
        /// Build folder: configuration and generated headers
        #[arg(long)]
        build: PathBuf,
        /// vmlinuz or vmlinux of the running kernel
        #[arg(long)]
        image: Option<PathBuf>,
        /// Folder that has the running kernel's Module.symvers
        #[arg(long)]
        headers: Option<PathBuf>,
        /// Folder of the running kernel's modules
        #[arg(long)]
        modules: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Kernels {
    /// Names, releases and disk use
    List,
    /// Free a prepared kernel's disk space
    Remove { name: String },
    /// Print the build folder of a kernel (called by the module's Makefile)
    BuildDir { name: String },
}

#[derive(Args)]
struct Request {
    /// Patch files in order; `-` is standard input
    patches: Vec<PathBuf>,
    /// A prepared kernel: its name, or the path of its kernel.json
    #[arg(short, long)]
    kernel: String,
    /// Lines of context that may differ
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    fuzz: u8,
    /// Clone report (-fdump-ipa-clones) of a unit, or a folder of them; held against one made on demand
    #[arg(long, value_name = "PATH")]
    ipa_clones: Vec<PathBuf>,
    /// A finding that a person has judged and allows; recorded in the module
    #[arg(long, value_name = "ID=REASON")]
    allow: Vec<String>,
    /// Refuse a patch that changes more units (C files) than this
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_units: usize,
}

#[derive(Args)]
struct PlanRequest {
    #[command(flatten)]
    request: Request,
    /// Instead of a patch: a function that is to change
    #[arg(long, requires = "file", conflicts_with = "patches")]
    function: Option<String>,
    /// The C file of that function
    #[arg(long, requires = "function")]
    file: Option<String>,
    /// What it would be in a kernel built with GCC's -flive-patching=LEVEL
    #[arg(long, requires = "function")]
    level: Option<Level>,
}

#[derive(Args)]
struct Create {
    #[command(flatten)]
    request: Request,
    /// Folder to write [default: livepatch-PATCH]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print where the time and memory of the front end went
    #[arg(long)]
    timings: bool,
}

#[derive(Args)]
struct Clones {
    /// Clone reports, or folders that have some anywhere below
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// Only where this function's code is
    #[arg(long)]
    symbol: Option<String>,
    /// Functions of one name and place are one, whatever unit they are in
    #[arg(long)]
    group: bool,
    /// Leave functions that GCC removed out, but for the symbol and in the trees
    #[arg(long)]
    ignore_removed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a graph for Graphviz
    #[arg(long, conflicts_with = "json")]
    dot: bool,
}

#[derive(Args)]
struct Test {
    /// The module's folder, built by make
    folder: PathBuf,
    /// Program (static) with arguments, run before, while and after the livepatch is loaded
    #[arg(long, value_name = "PROGRAM")]
    trigger: Vec<String>,
    /// Remove and load the target module again while the livepatch is loaded
    #[arg(long)]
    reload: bool,
}

#[derive(Args)]
struct Sweep {
    /// A prepared kernel: its name, or the path of its kernel.json
    #[arg(short, long)]
    kernel: String,
    /// How many functions to try
    #[arg(long, default_value_t = 60)]
    functions: usize,
    /// Another seed draws other functions
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File with the sources to draw from, one a line [default: all]
    #[arg(long, value_name = "LIST")]
    tus: Option<PathBuf>,
    /// Functions tried side by side [default: one a core]
    #[arg(short, long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// File of JSON lines, one a function; one that is there is gone on with [default: sweep-KERNEL-SEED.jsonl]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args)]
struct Link {
    /// The built module
    module: PathBuf,
    /// Its klp.symbols
    #[arg(long)]
    symbols: PathBuf,
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = ctrlc::set_handler(|| {
        crate::process::end_all();
        scratch::remove_all();
        std::process::exit(130);
    });
    let result = match arguments.command {
        _ if arguments.version => version(),
        Some(command) => run(command),
        None => refuse(USAGE, "no command given; `klp-extract --help` lists them"),
    };
    match result {
        Ok(code) => code,
        Err(Error::Refused(findings)) => {
            report(&findings);
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Doctor => doctor(),
        Command::Prepare(request) => prepare(request),
        Command::Plan(request) => plan(&request),
        Command::Create(request) => create(&request),
        Command::Extract(request) => extract::run(&request),
        Command::Clones(request) => clones(&request),
        Command::Test(request) => test(&request),
        Command::Kernels(request) => kernels(request),
        Command::Sweep(request) => sweep(&request),
        Command::Link(request) => {
            let linked = link::link(&request.module, &request.symbols)?;
            report(&linked.findings);
            Ok(status(&linked.findings))
        }
        Command::Symvers { file } => {
            let entries = symbols_file::read(&file)?;
            print(&symbols_file::symvers(&entries, &Default::default())?);
            Ok(ExitCode::SUCCESS)
        }
        Command::FrontEnd => worker::serve().map(|()| ExitCode::SUCCESS),
    }
}

/// Writes to standard output; a reader that went away is no error.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn progress(line: &str) {
    eprintln!("  {line}");
}

fn report(findings: &[Finding]) {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    for finding in sorted {
        eprintln!("{finding}");
    }
}

fn status(findings: &[Finding]) -> ExitCode {
    ExitCode::from(match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Refuse) => 2,
        Some(Severity::Judge) => 1,
        _ => 0,
    })
}

fn version() -> Result<ExitCode> {
    let gcc = crate::process::Program::new("gcc").arg("--version").output();
    let gcc = gcc.ok().map(|output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_string());
    let library = crate::unit::library::find().map(|path| path.display().to_string());
    print(&format!(
        "klp-extract {}\n{}\nlibclang: {}\n",
        env!("CARGO_PKG_VERSION"),
        gcc.as_deref().unwrap_or("gcc: missing"),
        library.as_deref().unwrap_or("missing")
    ));
    Ok(ExitCode::SUCCESS)
}

fn doctor() -> Result<ExitCode> {
    let rows = prepare::doctor();
    let mut text = String::new();
    for row in &rows {
        let mark = if row.found.is_some() { "ok     " } else { "MISSING" };
        let found = row.found.as_deref().unwrap_or(row.why);
        text.push_str(&format!("{mark}  {:<22} {found}\n", row.name));
    }
    print(&text);
    match prepare::install_line(&rows) {
        Some(line) => {
            print(&format!("\nto install what is missing:\n  {line}\n"));
            Ok(ExitCode::from(1))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

fn prepare(request: Prepare) -> Result<ExitCode> {
    let descriptor = match request {
        Prepare::Debian { release, offline } => prepare::debian(&release, offline, &mut progress)?,
        Prepare::Local { name, source, build, image, headers, modules } => {
            prepare::local(&prepare::LocalOptions { name, source, build, image, headers, modules }, &mut progress)?
        }
    };
    print(&format!("{} is ready: use it with -k {}\n", descriptor.name, descriptor.name));
    Ok(ExitCode::SUCCESS)
}

fn kernels(request: Kernels) -> Result<ExitCode> {
    match request {
        Kernels::List => {
            for kernel in kernels::list()? {
                print(&format!(
                    "{:<32} {:<28} {:>6} MB\n",
                    kernel.name,
                    kernel.release.as_deref().unwrap_or("unfinished"),
                    kernel.size >> 20
                ));
            }
        }
        Kernels::Remove { name } => {
            let freed = kernels::remove(&name)?;
            print(&format!("{name} removed, {} MB freed\n", freed >> 20));
        }
        Kernels::BuildDir { name } => print(&format!("{}\n", Kernel::open(&name)?.build().display())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads what a request names.
fn options(request: &Request, name: Option<&Path>) -> Result<Options> {
    let mut patches = Vec::new();
    for path in &request.patches {
        let bytes = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes).map_err(io("read", path))?;
            bytes
        } else {
            std::fs::read(path).map_err(io("read", path))?
        };
        let shown = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        patches.push((shown.into_owned(), bytes));
    }
    let Some(first) = request.patches.first() else {
        return refuse(USAGE, "no patch given; name one, or `-` for standard input");
    };
    let stem = first.file_stem().map_or("stdin".into(), |stem| stem.to_string_lossy().into_owned());
    let default = format!("livepatch-{}", if stem == "-" { "stdin" } else { &stem });
    let name = name.and_then(Path::file_name).map_or(default, |name| name.to_string_lossy().into_owned());
    let allow = request.allow.iter().map(|pair| allowed(pair)).collect::<Result<_>>()?;
    Ok(Options {
        patches,
        kernel: request.kernel.clone(),
        fuzz: request.fuzz,
        ipa_clones: request.ipa_clones.clone(),
        name: module_name(&name),
        allow,
        max_units: request.max_units,
    })
}

fn allowed(pair: &str) -> Result<(String, String)> {
    let (id, reason) = pair.split_once('=').unwrap_or((pair, ""));
    if reason.trim().is_empty() {
        return refuse(USAGE, format!("--allow {pair}: give the reason, as in --allow {id}=\"who judged it and why\""));
    }
    let Some(known) = finding::REGISTRY.iter().find(|known| known.0.id == id) else {
        let near = forest::suggestions(id, finding::REGISTRY.iter().map(|known| known.0.id));
        return refuse(USAGE, format!("--allow {pair}: no finding has the id {id}{near}"));
    };
    if !finding::is_allowable(*known) {
        let why = match known.0.severity {
            Severity::Refuse => "without what it says is missing there is no right module",
            _ => "it stops nothing and needs no exception",
        };
        return refuse(USAGE, format!("--allow {pair}: {id} can't be allowed: {why}"));
    }
    Ok((id.to_string(), reason.to_string()))
}

/// A name that Kbuild, C and sysfs take.
fn module_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    name.chars().map(plain).take(NAME_LENGTH).collect()
}

fn plan(request: &PlanRequest) -> Result<ExitCode> {
    if let (Some(function), Some(file)) = (&request.function, &request.file) {
        return impacted(request, function, file);
    }
    let options = options(&request.request, None)?;
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    let plan = pipeline::plan(&kernel, &options, scratch.path(), &mut progress)?;
    print(&plan_text(&plan));
    report(&plan.findings);
    Ok(status(&plan.findings))
}

fn plan_text(plan: &Plan) -> String {
    let mut text: String = plan.searches.iter().map(|search| format!("{search}\n")).collect();
    for unit in &plan.units {
        text.push_str(&format!("{} ({})\n", unit.command.source, unit.command.object));
        text.push_str(&format!("  clone report: {}\n", unit.report));
        text.push_str(&targets_text(&unit.affected));
    }
    text
}

fn targets_text(affected: &Affected) -> String {
    let mut text = String::new();
    for name in &affected.patched {
        text.push_str(&format!("  patched  {name}\n"));
    }
    for target in &affected.targets {
        text.push_str(&format!("  replace  {}\n", target.name));
        for reason in &target.chain {
            text.push_str(&format!("             {reason}\n"));
        }
    }
    text
}

/// `plan --function`: the impacted list without a patch.
fn impacted(request: &PlanRequest, function: &str, file: &str) -> Result<ExitCode> {
    let kernel = Kernel::open(&request.request.kernel)?;
    let scratch = scratch::Folder::new()?;
    let mut findings = Vec::new();
    for impact in impact::impact(&kernel, file, function, request.level, scratch.path())? {
        let statement = impact.statement().replace('\n', "\n  ");
        print(&format!("{} ({})\n  {statement}\n", impact.command.source, impact.command.object));
        print(&targets_text(&impact.affected));
        findings.extend(impact.affected.findings);
    }
    report(&findings);
    Ok(status(&findings))
}

fn create(request: &Create) -> Result<ExitCode> {
    let options = options(&request.request, request.output.as_deref())?;
    let folder = request.output.clone().unwrap_or_else(|| PathBuf::from(&options.name));
    let kernel = Kernel::open(&options.kernel)?;
    let scratch = scratch::Folder::new()?;
    let plan = pipeline::plan(&kernel, &options, scratch.path(), &mut progress)?;
    let mut livepatch = pipeline::create(&kernel, &options, &plan, scratch.path(), &mut progress)?;
    let report_text = json::render(&kernel, &options, &plan, &livepatch)?;
    livepatch.files.push((json::FILE.into(), report_text));
    let written = output::write(&folder, &livepatch.files)?;
    print(&plan_text(&plan));
    report(&livepatch.findings);
    let state = match written {
        output::Written::New => "written",
        output::Written::Replaced => "written anew",
        output::Written::Unchanged => "unchanged",
    };
    for (name, text) in livepatch.files.iter().filter(|(name, _)| name.ends_with(".c")) {
        print(&format!("{}/{name} {state}: {} lines\n", folder.display(), text.lines().count()));
    }
    if request.timings {
        livepatch.usage.iter().for_each(|(source, usage)| print(&timings(source, usage)));
    }
    eprintln!("next: {}", next_command(&folder));
    Ok(status(&livepatch.findings))
}

fn timings(source: &str, usage: &worker::Usage) -> String {
    let fallback = usage.fallback.as_ref().map(|why| format!(", the whole unit parsed: {why}"));
    format!(
        "front end of {source}: expand {:.2} s, libclang {:.2} s, closure {:.2} s, gcc -E {:.2} s, peak memory {} MB{}\n",
        usage.expand,
        usage.libclang,
        usage.closure,
        usage.gcc,
        usage.peak_memory >> 20,
        fallback.unwrap_or_default()
    )
}

/// The make command; it names the program where it isn't on the user's path.
fn next_command(folder: &Path) -> String {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        let same = |folder: PathBuf| folder.join("klp-extract").canonicalize().ok() == std::env::current_exe().ok();
        std::env::split_paths(&path).any(same)
    });
    let program = std::env::current_exe().unwrap_or_default();
    let variable = if found { String::new() } else { format!(" KLP_EXTRACT={}", program.display()) };
    format!("make -C {}{variable}", folder.display())
}

fn clones(request: &Clones) -> Result<ExitCode> {
    let forest = Forest::of(forest::read(&request.reports)?, request.group);
    let view = forest::View { symbol: request.symbol.as_deref(), ignore_removed: request.ignore_removed };
    print(&match (request.json, request.dot) {
        (true, _) => forest.json(view)?,
        (_, true) => forest.dot(view)?,
        _ => forest.text(view)?,
    });
    Ok(ExitCode::SUCCESS)
}

fn test(request: &Test) -> Result<ExitCode> {
    let built = Built::read(&request.folder)?;
    let kernel = Kernel::open(&built.kernel)?;
    let Some(image) = &kernel.descriptor.image else {
        return refuse(USAGE, format!("{} was prepared without an image to boot", kernel.descriptor.name));
    };
    let module = request.folder.join(format!("{}.ko", built.name));
    if !module.is_file() {
        return refuse(USAGE, format!("{} is not built; run {}", module.display(), next_command(&request.folder)));
    }
    let mut machine = vm::Plan::new(image, &module, &built.name.replace('-', "_"));
    machine.reload = request.reload;
    let objects = built.objects.iter().filter(|object| *object != symbols_file::VMLINUX);
    for object in objects {
        for module in kernel.modules()?.load_order(object)? {
            if !machine.target_modules.contains(&module) {
                machine.target_modules.push(module);
            }
        }
    }
    machine.triggers = request.trigger.iter().map(|line| trigger(line)).collect::<Result<_>>()?;
    let scratch = scratch::Folder::new()?;
    let transcript = vm::run(&machine, scratch.path(), &mut progress)?;
    let text = transcript.render();
    let path = request.folder.join("test-transcript.txt");
    std::fs::write(&path, &text).map_err(io("write", &path))?;
    print(&text);
    report(&transcript.findings);
    Ok(status(&transcript.findings))
}

fn sweep(request: &Sweep) -> Result<ExitCode> {
    let units = match &request.tus {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(io("read", path))?;
            Some(text.split_whitespace().map(str::to_string).collect())
        }
    };
    let default = || PathBuf::from(format!("sweep-{}-{}.jsonl", request.kernel.replace('/', "-"), request.seed));
    let rows = request.output.clone().unwrap_or_else(default);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let request = crate::sweep::Request {
        kernel: request.kernel.clone(),
        functions: request.functions,
        seed: request.seed,
        units,
        jobs: request.jobs.map_or(cores, usize::from),
        rows,
    };
    let scratch = scratch::Folder::new()?;
    let bar = indicatif::ProgressBar::new(0);
    let tick = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let rows = crate::sweep::sweep(&request, scratch.path(), &tick)?;
    bar.finish_and_clear();
    print(&crate::sweep::table(&rows));
    eprintln!("rows: {}", request.rows.display());
    let failed = rows.iter().any(|row| row.status == crate::sweep::Status::Failed);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn trigger(line: &str) -> Result<vm::Trigger> {
    let words = shlex::split(line).filter(|words| !words.is_empty());
    let Some(words) = words else { return refuse(USAGE, format!("--trigger {line}: the quotes don't match")) };
    Ok(vm::Trigger { name: line.to_string(), program: PathBuf::from(&words[0]), args: words[1..].to_vec() })
}

/// What a module's folder says of itself.
struct Built {
    name: String,
    kernel: String,
    objects: Vec<String>,
}

impl Built {
    fn read(folder: &Path) -> Result<Built> {
        let path = folder.join(json::FILE);
        let text = std::fs::read(&path).map_err(io("read", &path))?;
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let string = |value: &serde_json::Value| value.as_str().map(str::to_string);
        let targets = value["targets"].as_array().cloned().unwrap_or_default();
        let objects: std::collections::BTreeSet<String> =
            targets.iter().filter_map(|target| string(&target["object"])).collect();
        match (string(&value["name"]), string(&value["kernel"]["name"])) {
            (Some(name), Some(kernel)) if !objects.is_empty() => {
                Ok(Built { name, kernel, objects: objects.into_iter().collect() })
            }
            _ => refuse(USAGE, format!("{} is not a livepatch.json of this program", path.display())),
        }
    }
}
