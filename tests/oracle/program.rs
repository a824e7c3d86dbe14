//! Programs of one translation unit, and those that csmith makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use klp_extract::process::Program as Process;

use crate::random::Random;

/// The C file of every program.
pub const MAIN: &str = "program.c";

/// A program before the change.
#[derive(Clone)]
pub struct Program {
    /// By name, below the program's folder; [`MAIN`] is compiled.
    pub files: BTreeMap<String, String>,
    /// The files that may be changed.
    pub changeable: Vec<String>,
    /// An unsigned variable of the program that its output depends on.
    pub mark: &'static str,
    /// Do functions call those that are defined behind them?
    pub calls_later: bool,
    /// Warnings that the generator's C gives rise to.
    pub flags: &'static [&'static str],
}

impl Program {
    /// One file, whose change is given.
    pub fn of_case(text: String) -> Program {
        let files = [(MAIN.to_string(), text)].into();
        Program { files, changeable: Vec::new(), mark: "", calls_later: false, flags: &[] }
    }
}

/// csmith's run-time headers, which the programs have beside them, so that they are the program's own.
fn headers() -> &'static BTreeMap<String, String> {
    static HEADERS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    HEADERS.get_or_init(|| {
        let folders = ["/usr/include/csmith", "/usr/include"].map(Path::new);
        let folder = folders.into_iter().find(|folder| folder.join("csmith.h").is_file());
        let folder = folder.expect("csmith's headers are installed (libcsmith-dev)");
        let names =
            ["csmith.h", "random_inc.h", "platform_generic.h", "safe_math.h", "safe_math_macros.h", "csmith_minimal.h"];
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok().map(|text| (name.to_string(), text));
        names.into_iter().filter_map(read).collect()
    })
}

/// csmith's program of a seed, another one for each attempt; small ones, for most of their time goes into compiling. `None` where csmith itself doesn't
/// end in time.
pub fn csmith(seed: u64, attempt: u32) -> Option<Program> {
    let mut random = Random::new(seed, &format!("csmith {attempt}"));
    let own_seed = (random.next() >> 33).to_string();
    let mut options: Vec<String> = vec!["--seed".into(), own_seed, "--no-argc".into(), "--quiet".into()];
    let mut size = |name: &str, least: usize, most: usize| {
        options.extend([name.to_string(), random.between(least, most).to_string()]);
    };
    size("--max-funcs", 3, 10);
    size("--max-block-depth", 2, 3);
    size("--max-block-size", 2, 4);
    size("--max-expr-complexity", 3, 8);
    if random.chance(30) {
        options.push("--inline-function".into());
    }
    if random.chance(70) {
        options.push("--no-packed-struct".into());
    }
    if random.chance(50) {
        options.push("--no-volatiles".into());
    }
    let made = Process::new("csmith")
        .folder(&std::env::temp_dir())
        .args(&options)
        .time_limit(Duration::from_secs(10))
        .run("make a program")
        .ok()?;
    let mut files = headers().clone();
    files.insert(MAIN.into(), String::from_utf8(made).ok()?);
    Some(Program {
        files,
        changeable: vec![MAIN.into()],
        mark: "crc32_context",
        calls_later: true,
        flags: &["-Wno-overflow"],
    })
}
