//! Preprocessor conditions in copied text.

/// Has every `#if` of the text its `#endif` in it, and every branch its `#if`?
pub fn are_whole(text: &str) -> bool {
    let mut depth = 0;
    for directive in text.lines().filter_map(|line| line.trim_start().strip_prefix('#')) {
        let directive = directive.trim_start();
        if directive.starts_with("if") {
            depth += 1;
        } else if depth == 0 && (directive.starts_with("el") || directive.starts_with("endif")) {
            return false;
        } else if directive.starts_with("endif") {
            depth -= 1;
        }
    }
    depth == 0
}

/// GCC's text without its line markers (`# 12 "file.c"`), and of empty lines that follow one another, one.
pub fn without_markers(text: &str) -> String {
    let is_marker = |line: &str| {
        let number = line.strip_prefix("# ");
        number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut out = String::with_capacity(text.len());
    let mut empty = false;
    for line in text.lines().filter(|line| !is_marker(line)) {
        if !(line.trim().is_empty() && empty) {
            out.push_str(line);
            out.push('\n');
        }
        empty = line.trim().is_empty();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_reach_beyond_the_text() {
        assert!(are_whole("a\n#if A\n b\n# elif B\n#else\n#endif\n#define C\n"));
        for cut in ["a\n#if A\n b;\n", "a\n#else\nb\n#endif\n", "#endif\n", "#if A\n#endif\n#elif B\n"] {
            assert!(!are_whole(cut), "{cut}");
        }
        assert_eq!(without_markers("a =\n\n\n# 3 \"a.c\"\n\n  b;\n"), "a =\n\n  b;\n");
    }
}
