//! Runs GCC's preprocessor on a unit.

use std::path::Path;

use crate::finding::Result;
use crate::kernel::command::CompileCommand;
use crate::process::Program;

/// The longest preprocessed text, in bytes; the longest of the kernel have some 50 million.
const TEXT_LIMIT: u64 = 128 << 20;

/// The unit with every conditional and include run and no macro expanded.
pub fn directives_only(command: &CompileCommand, build: &Path) -> Result<Vec<u8>> {
    preprocess(command, build, &["-fdirectives-only"])
}

/// The unit's text for a comparison of two versions: as [`expanded`], without line markers, which name the folder.
pub fn comparable(command: &CompileCommand, build: &Path) -> Result<Vec<u8>> {
    preprocess(command, build, &["-P"])
}

/// As [`expanded`], with the `#define` or `#undef` of each macro that the unit uses or asks for.
pub fn with_macros(command: &CompileCommand, build: &Path) -> Result<Vec<u8>> {
    preprocess(command, build, &["-dU"])
}

/// An assembly file as the assembler sees it (Makefile, KBUILD_AFLAGS), without line markers. `command` is a C unit's.
pub fn assembly(command: &CompileCommand, build: &Path) -> Result<Vec<u8>> {
    preprocess(command, build, &["-P", "-D__ASSEMBLY__", "-x", "assembler-with-cpp"])
}

/// The unit as the compiler proper sees it.
pub fn expanded(command: &CompileCommand, build: &Path) -> Result<Vec<u8>> {
    preprocess(command, build, &[])
}

fn preprocess(command: &CompileCommand, build: &Path, extra: &[&str]) -> Result<Vec<u8>> {
    Program::compiler(&command.compiler)
        .args(&command.args)
        .args(["-w", "-E"])
        .args(extra)
        .args(["-o", "-", &command.source])
        .folder(build)
        .output_limit(TEXT_LIMIT, ": macros expand to too much")
        .run(&format!("preprocess {}", command.source))
}

/// The pairs of a command line's `-fmacro-prefix-map=OLD=NEW` and `-ffile-prefix-map=OLD=NEW`, in order.
pub fn prefix_maps(args: &[String]) -> Vec<(String, String)> {
    let map = |arg: &String| {
        let value = arg.strip_prefix("-fmacro-prefix-map=").or_else(|| arg.strip_prefix("-ffile-prefix-map="))?;
        value.split_once('=').map(|(from, to)| (from.to_string(), to.to_string()))
    };
    args.iter().filter_map(map).collect()
}
