//! The front end's process: expands a unit, parses it with libclang and computes the closure.
//!
//! libclang runs in a process of its own, so that a crash of it, its memory and its global state stay away from the rest.
//! The request comes as JSON on standard input, the answer leaves as JSON on standard output; both are private to one
//! version of the program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::closure::boundary::Boundary;
use crate::closure::{self, Closure, Scope};
use crate::finding::{Error, FRONT_END, Finding, Result, io, refuse};
use crate::kernel::command::CompileCommand;
use crate::process::Program;

use super::clang::{self, Parsed};
use super::expand::Expanded;
use super::groups::Outline;
use super::live::Selection;
use super::place::Places;
use super::program::Headers;

/// The hidden subcommand that runs [`serve`].
pub const SUBCOMMAND: &str = "front-end";

/// The longest that a unit may take; the largest of the kernel take a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub command: CompileCommand,
    pub build: PathBuf,
    /// Prefixes of the kernel source in GCC's file names, with trailing `/`, the overlay's first.
    pub roots: Vec<String>,
    /// Of a program, whose headers aren't told apart by the folders of `roots`.
    pub headers: Option<Headers>,
    pub scope: Scope,
    pub parse: Parse,
    /// The file with what `gcc -E` makes of the unit, where that is known.
    pub preprocessed: Option<PathBuf>,
}

/// How much of a unit libclang reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parse {
    /// All of it.
    All,
    /// What the closure can reach, going by names; all of it where that turns out to be too little.
    Closure,
}

impl Parse {
    /// The variable of the environment that asks for whole units, to compare with: `all`.
    pub const VARIABLE: &str = "KLP_EXTRACT_PARSE";

    pub fn chosen() -> Parse {
        if std::env::var_os(Parse::VARIABLE).is_some_and(|value| value == "all") { Parse::All } else { Parse::Closure }
    }
}

/// What the front end used, in seconds of CPU and bytes; GCC's own runs apart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Usage {
    pub expand: f64,
    pub libclang: f64,
    pub closure: f64,
    pub gcc: f64,
    pub peak_memory: u64,
    /// Why the whole unit had to be parsed, where part of it was to be enough.
    pub fallback: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub closure: Closure,
    pub usage: Usage,
}

/// Runs the front end in a process of its own.
pub fn run(request: &Request) -> Result<Answer> {
    let program = std::env::current_exe().map_err(io("find", std::path::Path::new("/proc/self/exe")))?;
    let input = serde_json::to_vec(request).map_err(broken)?;
    let mut worker = Program::new(program).arg(SUBCOMMAND).input(input).time_limit(TIME_LIMIT);
    if let Some(library) = super::library::find() {
        worker = worker.env("LIBCLANG_PATH", library);
    }
    let output = worker.output()?;
    if !output.success {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or("it was killed");
        return refuse(FRONT_END, format!("the front end failed on {}: {last}", request.command.source));
    }
    let answer: std::result::Result<Answer, Vec<Finding>> = serde_json::from_slice(&output.stdout).map_err(broken)?;
    answer.map_err(Error::Refused)
}

fn broken(error: serde_json::Error) -> Error {
    Finding::new(FRONT_END, format!("the front end's answer can't be read: {error}")).into()
}

/// The worker's side: answers the request on standard input.
pub fn serve() -> Result<()> {
    let request: Request = serde_json::from_reader(std::io::stdin().lock()).map_err(broken)?;
    let answer = answer(&request).map_err(|error| match error {
        Error::Refused(findings) => findings,
    });
    let text = serde_json::to_vec(&answer).map_err(broken)?;
    std::io::stdout().lock().write_all(&text).map_err(io("write", Path::new("/dev/stdout")))
}

/// CPU seconds of this process, or of its ended children.
fn cpu(who: UsageWho) -> f64 {
    let Ok(usage) = getrusage(who) else { return 0.0 };
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Of this process since it was started, in bytes (proc(5), VmHWM). getrusage() would count what the process was before
/// it became this program: a copy of the one that started it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() * 1024
}

fn answer(request: &Request) -> Result<Answer> {
    let mut usage = Usage::default();
    let started = own_cpu();
    let mut unit = match &request.preprocessed {
        None => super::expanded(&request.command, &request.build)?,
        Some(path) => {
            let text = || std::fs::read(path).map_err(io("read", path));
            super::expanded_as(&request.command, &request.build, text)?
        }
    };
    let outline = Outline::new(&mut unit);
    usage.expand = own_cpu() - started;
    clang::load()?;
    let places = Places::new(&unit, request);
    let closure = closed(&unit, &outline, &places, request, &mut usage)?;
    usage.gcc = cpu(UsageWho::RUSAGE_CHILDREN);
    usage.peak_memory = peak_memory();
    Ok(Answer { closure, usage })
}

fn own_cpu() -> f64 {
    cpu(UsageWho::RUSAGE_SELF)
}

/// The closure, of as much of the unit as asked for. The library must be loaded.
pub fn closed(
    unit: &Expanded,
    outline: &Outline,
    places: &Places,
    request: &Request,
    usage: &mut Usage,
) -> Result<Closure> {
    let Request { command, scope, parse, .. } = request;
    let started = own_cpu();
    let boundary = Boundary::new(unit, outline, places, scope);
    let mut of = |selection: &Selection| {
        let started = own_cpu();
        let parsed = Parsed::new(unit, outline, selection, &command.args)?;
        let has_parsed = own_cpu();
        let closure = closure::close(unit, outline, &parsed, places, (scope, &boundary));
        usage.libclang += has_parsed - started;
        usage.closure += own_cpu() - has_parsed;
        closure
    };
    if *parse == Parse::All {
        return of(&Selection::All);
    }
    let selection = boundary.selection();
    let selected = own_cpu();
    let closure = match of(&selection) {
        Ok(closure) => closure,
        Err(Error::Refused(findings)) => {
            let closure = of(&Selection::All)?;
            usage.fallback = findings.first().map(|finding| finding.message.clone());
            closure
        }
    };
    usage.closure += selected - started;
    Ok(closure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::expand;
    use crate::unit::live::Extent;

    struct Case {
        unit: Expanded,
        outline: Outline,
        request: Request,
    }

    fn case(text: &str, provided: &[&str]) -> Case {
        let mut unit = expand::expand(text.as_bytes().to_vec(), "/a.c", &[]).unwrap();
        let outline = Outline::new(&mut unit);
        let provided = provided.iter().map(|name| name.to_string()).collect();
        let command = CompileCommand {
            source: "/a.c".into(),
            output: "a.o".into(),
            compiler: "gcc".into(),
            args: Vec::new(),
            object: "a".into(),
        };
        let scope = Scope { targets: vec!["target".into()], provided, ..Scope::default() };
        let request = Request {
            command,
            build: "/".into(),
            roots: vec!["/".into()],
            headers: None,
            scope,
            parse: Parse::Closure,
            preprocessed: None,
        };
        Case { unit, outline, request }
    }

    /// The names that the selected statements declare, and how much of them is selected.
    fn selected(text: &str, provided: &[&str]) -> Vec<(String, Extent)> {
        let Case { unit, outline, request } = case(text, provided);
        let places = Places::new(&unit, &request);
        let selection = Boundary::new(&unit, &outline, &places, &request.scope).selection();
        let statements = (0..).map(crate::unit::groups::StatementId).zip(&outline.names);
        let selected = statements.filter_map(|(id, names)| Some((selection.of(id)?, names)));
        let names = selected.flat_map(|(extent, names)| names.iter().map(move |name| (name, extent)));
        names.map(|(name, extent)| (unit.interner().string(name.symbol), extent)).collect()
    }

    /// The closure in both ways, and why the second parsed the whole unit.
    fn both(text: &str, provided: &[&str]) -> (String, String, Option<String>) {
        let Case { unit, outline, request } = case(text, provided);
        let places = Places::new(&unit, &request);
        clang::load().unwrap();
        let mut usage = Usage::default();
        let [all, closure] = [Parse::All, Parse::Closure].map(|parse| {
            let request = Request { parse, ..request.clone() };
            let closure = closed(&unit, &outline, &places, &request, &mut usage).unwrap();
            serde_json::to_string(&closure).unwrap()
        });
        (all, closure, usage.fallback)
    }

    const UNIT: &str = "# 1 \"/a.c\"\nstruct s { struct t *t; };\nstruct t { int n; };\nstruct unused { int n; };\n\
        enum { ONE, TWO };\nint helper(struct s *s);\nextern int asm_only;\nextern int in_helper;\n\
        int helper(struct s *s) { return s->t->n + in_helper; }\nint unused(void) { return 1; }\n\
        int target(struct s *s) { asm(\"incl asm_only\"); return helper(s) + TWO; }\n";

    #[test]
    fn only_what_names_lead_to_is_parsed() {
        let whole = |name: &str| (name.to_string(), Extent::Whole);
        let mut expected: Vec<_> =
            ["s", "t", "ONE", "TWO", "helper", "asm_only", "in_helper", "helper", "target"].map(whole).into();
        assert_eq!(selected(UNIT, &[]), expected);
        // Nothing counts of the body of what is referred to.
        expected.remove(6);
        expected[6].1 = Extent::Signature;
        assert_eq!(selected(UNIT, &["helper"]), expected);
    }

    #[test]
    fn the_closure_is_the_same() {
        for provided in [&[][..], &["helper"]] {
            let (all, closure, fallback) = both(UNIT, provided);
            assert_eq!(all, closure);
            assert_eq!(fallback, None);
        }
    }

    /// A public header behind a private one, with a type in it that only what isn't used of the header names.
    #[test]
    fn headers_find_their_types_without_more() {
        let header = "# 1 \"/a.c\"\n# 1 \"/private.h\" 1\ntypedef int used_t;\ntypedef int own_t;\n# 2 \"/a.c\" 2\n\
            # 1 \"/include/late.h\" 1\n#define LATE 1\nint late(used_t n);\nint unused(own_t n);\n# 3 \"/a.c\" 2\n";
        for body in ["late(1)", "LATE"] {
            let (all, closure, fallback) = both(&format!("{header}int target(void) {{ return {body}; }}\n"), &["late"]);
            assert!(all.contains("own_t"));
            assert_eq!(all, closure);
            assert_eq!(fallback, None);
        }
    }

    /// GCC has it, and no libclang so far.
    #[test]
    fn an_unknown_builtin_is_no_reason_for_more() {
        let (all, closure, fallback) = both("# 1 \"/a.c\"\nint target(int a) { return __builtin_isdigit(a); }\n", &[]);
        assert_eq!(all, closure);
        assert_eq!(fallback, None);
    }

    #[test]
    fn what_nothing_declares_takes_the_whole_unit() {
        let (all, closure, fallback) = both("# 1 \"/a.c\"\nint target(void) { return nobody(1); }\n", &[]);
        assert_eq!(all, closure);
        assert!(fallback.is_some_and(|why| why.contains("nobody")));
    }
}
