//! Which words of a recorded command line are taken over. A build folder's `.cmd` files are text like any other: only what
//! is known to choose nothing but the code is handed to the compiler, and only a compiler of the machine's is started.

/// Options that take the next word as their value.
const WITH_VALUE: &[&str] = &["-I", "-D", "-U", "-include", "-imacros", "-isystem", "-iquote", "-idirafter", "--param"];

/// Words that are known as they are.
const WORDS: &[&str] = &["-nostdinc", "-undef", "-pipe", "-pg", "-p", "-w", "-ansi", "-pedantic", "-ffreestanding"];

/// How known ones begin. What the preprocessor and the assembler are told is named one by one below.
const PREFIXES: &[&str] = &["-D", "-U", "-I", "-O", "-W", "-f", "-m", "-g", "-std=", "--param="];

/// Exceptions of these: what writes a file, starts a program or loads code (GCC manual, "Developer Options", "Overall Options",
/// "C++ Modules", "Instrumentation Options").
const DANGEROUS: &[&str] = &[
    "-Wp,",
    "-Wa,",
    "-Wl,",
    "-fplugin",
    "-fprofile-note",
    "-fprofile-dir",
    "-fprofile-use",
    "-fprofile-generate",
    "-fauto-profile",
    "-fbranch-probabilities",
    "-fself-test",
    "-fdump-",
    "-fopt-info",
    "-fsave-optimization-record",
    "-fcompare-debug",
    "-fdiagnostics-format",
    "-fdiagnostics-add-output",
    "-fdiagnostics-set-output",
    "-fmodule",
    "-flto",
    "-fuse-ld",
    "-fuse-linker-plugin",
    "-foffload",
    "-fpreprocessed",
    "-fdirectives-only",
    "-fsyntax-only",
];

/// What is left out: files beside the object, which say nothing of the code.
const LEFT_OUT: &[&str] =
    &["-fstack-usage", "-fcallgraph-info", "-gsplit-dwarf", "-fdump-ipa-clones", "-ftest-coverage"];

/// What the kernel's Makefiles tell the assembler (`-Wa,`) and the preprocessor (`-Wp,`).
const HANDED_ON: &[&str] = &[
    "-Wa,-m",
    "-Wa,--64",
    "-Wa,--32",
    "-Wa,--noexecstack",
    "-Wa,--fatal-warnings",
    "-Wa,-gdwarf",
    "-Wa,--gdwarf",
    "-Wp,-D",
    "-Wp,-U",
];

/// Where the kernel builds its own plugins, and which there are (scripts/gcc-plugins/).
const PLUGINS: &str = "./scripts/gcc-plugins/";
const KNOWN_PLUGINS: &[&str] = &["latent_entropy", "stackleak", "structleak", "sancov", "cyc_complexity"];

/// Compilers by the last part of their names; a prefix that ends in `-` and a version may be there.
const COMPILERS: &[&str] = &["gcc", "cc"];

/// The arguments that are taken over; the error says which one is not, and why. Output, source and `-c` are gone already.
pub fn known(args: Vec<String>) -> Result<Vec<String>, String> {
    let mut taken = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    while let Some(word) = args.next() {
        if LEFT_OUT.iter().any(|known| word.starts_with(known)) {
            continue;
        }
        if WITH_VALUE.contains(&word.as_str()) {
            let value = args.next().ok_or_else(|| format!("`{word}` at its end lacks a value"))?;
            taken.extend([word, value]);
            continue;
        }
        if !is_known(&word) {
            return Err(format!("`{word}` isn't an option that only chooses code"));
        }
        taken.push(word);
    }
    Ok(taken)
}

fn is_known(word: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    // Behind a comma, the assembler has options of its own.
    let alone = |word: &str| word.matches(',').count() == 1;
    WORDS.contains(&word)
        || begins(HANDED_ON) && alone(word)
        || is_known_plugin(word)
        || begins(PREFIXES) && !begins(DANGEROUS) && !names_a_file(word)
}

/// Does the value of a `-f`, `-g` or `-m` look like a path? Those that only change what paths are called may.
fn names_a_file(word: &str) -> bool {
    let is_option = ["-f", "-g", "-m"].iter().any(|prefix| word.starts_with(prefix));
    let value = word.split_once('=').filter(|(name, _)| is_option && !name.ends_with("-prefix-map"));
    value.is_some_and(|(_, value)| value.contains('/') || value.starts_with('.'))
}

fn is_known_plugin(word: &str) -> bool {
    if let Some(argument) = word.strip_prefix("-fplugin-arg-") {
        return KNOWN_PLUGINS.iter().any(|name| argument.starts_with(&format!("{name}_plugin-")));
    }
    let name = word.strip_prefix("-fplugin=").and_then(|path| path.strip_prefix(PLUGINS));
    name.and_then(|name| name.strip_suffix("_plugin.so")).is_some_and(|name| KNOWN_PLUGINS.contains(&name))
}

/// May this program be started as the compiler? Its name decides; it may not lie in one of the `trees`, the kernel's source and
/// build folder.
pub fn is_compiler(program: &str, trees: &[&std::path::Path]) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    let version = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let plain = match name.rsplit_once('-') {
        Some((plain, number)) if version(number) => plain,
        _ => name,
    };
    let is_named = COMPILERS.iter().any(|known| plain == *known || plain.ends_with(&format!("-{known}")));
    let place = std::path::Path::new(program);
    let is_elsewhere = !program.contains('/')
        || program.starts_with('/')
            && !trees.iter().any(|tree| place.starts_with(tree))
            && !place.components().any(|part| part == std::path::Component::ParentDir);
    is_named && is_elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn taken(line: &str) -> Result<Vec<String>, String> {
        known(line.split(' ').map(str::to_string).collect())
    }

    #[test]
    fn what_kbuild_writes_is_taken_over() {
        let line = "-nostdinc -I./include -I ./fs -include ./include/linux/kconfig.h -D__KERNEL__ -fmacro-prefix-map=/s/= \
                    -Wall -Wno-trigraphs -std=gnu11 -m64 -mcmodel=kernel -Wa,-mrelax-relocations=no -pg -mfentry -g -O2 \
                    --param asan-globals=1 --param=x=1 -fplugin=./scripts/gcc-plugins/stackleak_plugin.so \
                    -fplugin-arg-stackleak_plugin-track-min-size=100";
        assert_eq!(taken(line).unwrap().join(" "), line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(taken("-O2 -fstack-usage -gsplit-dwarf -Wall").unwrap(), ["-O2", "-Wall"]);
    }

    #[test]
    fn what_writes_files_or_starts_programs_is_not() {
        for word in [
            "-fplugin=./evil.so",
            "-fplugin=./scripts/gcc-plugins/../../evil.so",
            "-fplugin=./scripts/gcc-plugins/evil_plugin.so",
            "-fplugin-arg-evil_plugin-x",
            "@file",
            "-B/tmp/x",
            "-wrapper",
            "-specs=x",
            "--specs=x",
            "-dumpdir",
            "-dM",
            "-save-temps",
            "-save-temps=obj",
            "-aux-info",
            "-o/tmp/x",
            "-MD",
            "-MF",
            "-Wp,-MD,/tmp/x",
            "-Wa,-a=/tmp/x",
            "-Wa,-mx,-o,/tmp/x",
            "-Wl,-o,/tmp/x",
            "-fdump-tree-all=/tmp/x",
            "-fmodule-mapper=|sh",
            "-flto",
            "-Xassembler",
            "-Xpreprocessor",
            "-T",
            "-x",
            "-l",
            "other.c",
            "-",
            "--output=x",
            "-no-canonical-prefixes",
        ] {
            let error = taken(&format!("-O2 {word}")).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(taken("-O2 -include").is_err());
    }

    #[test]
    fn compilers_are_the_machine_s() {
        let trees = [Path::new("/s"), Path::new("/b")];
        for good in
            ["gcc", "gcc-12", "x86_64-linux-gnu-gcc-12.2", "/usr/bin/gcc-12", "/opt/cross/bin/x86_64-linux-gcc", "cc"]
        {
            assert!(is_compiler(good, &trees), "{good}");
        }
        for bad in [
            "./gcc",
            "scripts/gcc",
            "/s/gcc",
            "/b/bin/gcc-12",
            "/usr/../b/gcc",
            "sh",
            "clang",
            "evilgcc",
            "gcc;sh",
            "",
            "-gcc/x",
        ] {
            assert!(!is_compiler(bad, &trees), "{bad}");
        }
    }
}
