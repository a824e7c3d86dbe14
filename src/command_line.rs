//! A compiler's command line as a build prints it, taken apart: compiler, source, and the arguments that decide what the
//! compiler sees. Everything that makes it write a file is left out (GCC manual, "Option Summary").

use std::path::Path;

use crate::finding::{Result, USAGE, io, refuse};
use crate::kernel::command::CompileCommand;

/// Programs that are put before a compiler and start it.
const LAUNCHERS: &[&str] = &["ccache", "sccache", "distcc", "icecc"];

/// Options that take the next word as their value.
const WITH_VALUE: &[&str] = &[
    "-I",
    "-D",
    "-U",
    "-x",
    "-L",
    "-l",
    "-u",
    "-z",
    "-T",
    "-A",
    "-B",
    "-e",
    "-include",
    "-imacros",
    "-isystem",
    "-iquote",
    "-idirafter",
    "-iprefix",
    "-iwithprefix",
    "-iwithprefixbefore",
    "-isysroot",
    "-imultilib",
    "-Xpreprocessor",
    "-Xassembler",
    "-Xlinker",
    "--param",
    "-wrapper",
    "--sysroot",
    "-arch",
];

/// Those whose value names what is written, or what stands in it; both words are left out.
const OUTPUT_WITH_VALUE: &[&str] = &[
    "-Xassembler",
    "-Xlinker",
    "-o",
    "-MF",
    "-MT",
    "-MQ",
    "-aux-info",
    "-dumpbase",
    "-dumpdir",
    "-dumpbase-ext",
    "--output",
];

/// Options that choose what is written, or change its form; left out.
const OUTPUT: &[&str] = &[
    "-c",
    "-S",
    "-E",
    "-M",
    "-MM",
    "-MD",
    "-MMD",
    "-MG",
    "-MP",
    "-P",
    "-C",
    "-CC",
    "-H",
    "-v",
    "-###",
    "-Q",
    "-fsyntax-only",
    "-fdirectives-only",
    "-fpreprocessed",
    "-save-temps",
    "--save-temps",
    "-fstack-usage",
    "-ftest-coverage",
    "--coverage",
    "-fprofile-arcs",
    "-gsplit-dwarf",
    "-time",
    "-pass-exit-codes",
];

/// Prefixes of such options.
const OUTPUT_PREFIXES: &[&str] = &[
    "-o",
    "-MF",
    "-MT",
    "-MQ",
    "-Wp,-MD",
    "-Wp,-MMD",
    "-Wp,-MF",
    "-Wp,-MT",
    "-Wp,-MQ",
    "-Wp,-MP",
    "-Wa,-a",
    "-Wl,",
    "-d",
    "-fdump-",
    "-save-temps=",
    "--write-",
    "-fcallgraph-info",
    "-fopt-info",
    "-fdiagnostics-format=",
    "-time=",
    "-fsave-optimization-record",
    "--output=",
    "-aux-info=",
];

/// Words that begin like those prefixes and are something else.
const KEPT: &[&str] = &["-dumpmachine"];

/// Endings of what only the linker reads.
const LINKED: &[&str] = &[".o", ".a", ".so", ".lo", ".la", ".obj"];

/// Files within files of arguments that are followed.
const DEPTH: usize = 8;

/// Reads the words of a compiler's command line, which is run in `folder`.
pub fn parse(words: &[String], folder: &Path) -> Result<CompileCommand> {
    let mut words = expanded(words, folder, DEPTH)?;
    while words.first().is_some_and(|word| LAUNCHERS.contains(&base(word))) {
        words.remove(0);
    }
    let Some((compiler, rest)) = words.split_first() else {
        return refuse(USAGE, "no compiler's command line; give it behind `--`, as the build prints it");
    };
    if compiler.starts_with('-') || compiler.ends_with(".c") {
        return refuse(
            USAGE,
            format!("`{compiler}` is no compiler: the command line behind `--` begins with it, as in `-- gcc -c f.c`"),
        );
    }
    let mut args = Vec::new();
    let mut sources: Vec<String> = Vec::new();
    let mut rest = rest.iter();
    let mut only_files = false;
    while let Some(word) = rest.next() {
        if let (false, Some(why)) = (only_files, starts_another(word)) {
            return refuse(USAGE, format!("{word}: {why}"));
        }
        if !only_files && OUTPUT_WITH_VALUE.contains(&word.as_str()) {
            rest.next();
        } else if !only_files && word == "--" {
            only_files = true;
        } else if !only_files && word == "-x" {
            match rest.next().map(String::as_str) {
                Some("c" | "none") => {}
                other => return refuse(USAGE, format!("-x {}: only C can be read", other.unwrap_or_default())),
            }
        } else if !only_files && WITH_VALUE.contains(&word.as_str()) {
            let Some(value) = rest.next() else {
                return refuse(USAGE, format!("the compiler's command line ends behind {word}, which takes a value"));
            };
            args.extend([word.clone(), value.clone()]);
        } else if !only_files && word.starts_with('-') && word != "-" {
            if !is_output(word) {
                args.push(word.clone());
            }
        } else if !LINKED.iter().any(|ending| word.ends_with(ending)) {
            sources.push(word.clone());
        }
    }
    let source = match &sources[..] {
        [source] => source.clone(),
        [] => return refuse(USAGE, "the compiler's command line names no C source"),
        several => {
            let names = several.join(", ");
            return refuse(
                USAGE,
                format!("the compiler's command line names {} sources: {names}; give one", several.len()),
            );
        }
    };
    if !source.ends_with(".c") {
        let what = if source == "-" { "standard input".to_string() } else { source };
        return refuse(USAGE, format!("{what} can't be read: only a C source file (.c) can"));
    }
    if !folder.join(&source).is_file() {
        return refuse(
            USAGE,
            format!("there is no {source} in {}: run this where the compiler runs", folder.display()),
        );
    }
    Ok(CompileCommand { source, output: String::new(), compiler: compiler.clone(), args, object: String::new() })
}

/// Why an option isn't handed to the compiler: it makes it start another program or load code, or hands on words that may
/// name what is written.
fn starts_another(word: &str) -> Option<&'static str> {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    let several = word.matches(',').count() > 1;
    if word == "-wrapper" || begins(&["-B", "-specs=", "--specs=", "-fplugin"]) {
        return Some("it makes the compiler start another program or load code");
    }
    if word == "-Xpreprocessor" || (several && begins(&["-Wp,"]) && !begins(&["-Wp,-M"])) {
        return Some("give the preprocessor's options plainly, one a word");
    }
    None
}

fn is_output(word: &str) -> bool {
    // What the assembler is told says nothing of the C text; its listings and dependencies are files.
    if let Some(handed) = word.strip_prefix("-Wa,") {
        return handed.contains(',')
            || !["-m", "--64", "--32", "--noexecstack"].iter().any(|known| handed.starts_with(known));
    }

    let has_prefix = OUTPUT_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    OUTPUT.contains(&word) || (has_prefix && !KEPT.contains(&word))
}

fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The words with those of `@FILE` in its place.
fn expanded(words: &[String], folder: &Path, depth: usize) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for word in words {
        let Some(file) = word.strip_prefix('@').map(|name| folder.join(name)).filter(|file| file.is_file()) else {
            all.push(word.clone());
            continue;
        };
        if depth == 0 {
            return refuse(USAGE, format!("{word}: files of arguments that name one another"));
        }
        let text = std::fs::read_to_string(&file).map_err(io("read", &file))?;
        let Some(inner) = shlex::split(&text) else {
            return refuse(USAGE, format!("{word}: the quotes don't match"));
        };
        all.extend(expanded(&inner, folder, depth - 1)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> std::result::Result<CompileCommand, String> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.c", "b.c", "x.cc"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join("args"), "-DA='1 2' a.c").unwrap();
        parse(&shlex::split(line).unwrap(), folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_writes_files_is_left_out() {
        let command = parsed(
            "ccache gcc -O2 -MD -MF a.d -MTx -Wp,-MMD,a.d -c -o a.o -oa.o a.c -DN=1 -I inc -save-temps -dM -Wall b.o -lm \
             -fdump-tree-all -Wa,-al=a.lst -std=gnu11 -Wl,-Map=map",
        );
        let command = command.unwrap();
        assert_eq!((command.compiler.as_str(), command.source.as_str()), ("gcc", "a.c"));
        assert_eq!(command.args, ["-O2", "-DN=1", "-I", "inc", "-Wall", "-lm", "-std=gnu11"]);
        assert_eq!(parsed("gcc @args").unwrap().args, ["-DA=1 2"]);
    }

    #[test]
    fn what_is_no_unit_of_c_is_refused() {
        let cases = [
            ("", "no compiler's command line"),
            ("-c a.c", "is no compiler"),
            ("gcc -c", "names no C source"),
            ("gcc -c a.c b.c", "names 2 sources: a.c, b.c"),
            ("gcc -c x.cc", "x.cc can't be read"),
            ("gcc -c -", "standard input can't be read"),
            ("gcc -c none.c", "there is no none.c"),
            ("gcc -x c++ a.c", "only C"),
            ("gcc a.c -I", "takes a value"),
        ];
        for (line, expected) in cases {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
