//! The dialect of C that a unit is written in, for libclang: what of GCC's command line decides how the preprocessed
//! text is read, and what of GCC's language libclang can't read.

use std::ffi::CString;

/// GCC's own default (GCC manual, "Options Controlling C Dialect").
const STANDARD: &str = "-std=gnu17";

/// Options that change how preprocessed text is read and that clang takes too. All else that matters was decided by the
/// preprocessor.
const KEPT: &[&str] = &[
    "-ansi",
    "-fshort-wchar",
    "-fno-short-wchar",
    "-fgnu89-inline",
    "-fno-gnu89-inline",
    "-funsigned-char",
    "-fsigned-char",
    "-fno-signed-char",
    "-fno-unsigned-char",
    "-fms-extensions",
    "-fplan9-extensions",
    "-fshort-enums",
    "-fno-short-enums",
    "-fno-builtin",
    "-ffreestanding",
    "-m32",
    "-mx32",
];

/// Arguments that every unit is parsed with.
const ALWAYS: &[&str] =
    &["-x", "cpp-output", "--target=x86_64-linux-gnu", "-Wno-everything", "-ferror-limit=0", "-fno-spell-checking"];

/// libclang's arguments for text that GCC preprocessed with `args`.
pub fn arguments(args: &[String]) -> Vec<CString> {
    let kept = |arg: &&str| KEPT.contains(arg) || arg.starts_with("-std=");
    let own = args.iter().map(String::as_str).filter(kept);
    let all = ALWAYS.iter().copied().chain([STANDARD]).chain(own);
    all.filter_map(|arg| CString::new(clang_name(arg)).ok()).collect()
}

/// clang has GCC's Plan 9 extensions only in part, which is Microsoft's.
fn clang_name(arg: &str) -> &str {
    if arg == "-fplan9-extensions" { "-fms-extensions" } else { arg }
}

/// What GCC takes and clang doesn't, by what libclang says of it (clang's user manual, "GCC extensions not implemented yet";
/// its DiagnosticSemaKinds.td).
const EXTENSIONS: &[(&str, &str)] = &[
    ("function definition is not allowed here", "a nested function"),
    ("fields must have a constant size", "an array of variable length in a struct"),
    ("initialization of flexible array member", "an initialised flexible array inside of another object"),
    ("unsuitable for global register variables", "a global variable in a register"),
    ("GNU decimal type extension not supported", "a decimal floating type"),
    ("array is too large", "an array beyond libclang's limit"),
];

/// What one of libclang's errors is about, where that is known to be libclang's business.
pub fn extension(error: &str) -> Option<&'static str> {
    EXTENSIONS.iter().find(|(words, _)| error.contains(words)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_the_reading_is_kept() {
        let args = ["-std=gnu11", "-O2", "-fshort-wchar", "-DX", "-I", "y"].map(String::from);
        let found = arguments(&args);
        let texts: Vec<&str> = found.iter().filter_map(|arg| arg.to_str().ok()).skip(ALWAYS.len()).collect();
        assert_eq!(texts, ["-std=gnu17", "-std=gnu11", "-fshort-wchar"]);
    }
}
