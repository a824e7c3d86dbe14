//! Can a change of a header matter to a unit? Told by the unit's text before the patch alone, where the change stays inside
//! of function bodies and macro definitions: most units that include a header use neither.
//!
//! The answer is "perhaps" wherever it isn't sure; then both versions are compared.

use std::collections::BTreeSet;
use std::ops::Range;

use memchr::memmem;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::groups::{self, Shape};
use super::lex::{self, Interner, Symbol};
use super::names;
use super::{live, place};

/// A change of one file that stays inside of function bodies and macro definitions.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    /// Relative to the source.
    pub file: String,
    /// Where code differs.
    pub regions: Vec<Region>,
    /// Macros that are defined or undefined by the lines that differ.
    pub macros: BTreeSet<Vec<u8>>,
}

/// Lines of code that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The last line before and the first line behind them, numbers of the old text.
    pub old: (u32, u32),
    /// Their lines in the new text.
    pub new: Range<u32>,
}

/// A line of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    kind: Kind,
    /// Does a comment, a string or a directive of the line before go on in it?
    goes_on: bool,
}

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Nothing,
    Code,
    /// `#define` or `#undef`, with the macro's name; also its continued lines.
    Macro(Vec<u8>),
    Directive,
}

/// The change from `old` to `new` where it can be told by its lines that nothing else is touched.
pub fn edit(file: &str, old: &[u8], new: &[u8]) -> Option<Edit> {
    let (old_lines, new_lines) = (split(old), split(new));
    let (old_kinds, new_kinds) = (kinds(old, old_lines.len()), kinds(new, new_lines.len()));
    let mut found = Edit { file: file.to_string(), regions: Vec::new(), macros: BTreeSet::new() };
    for operation in capture_diff_slices(Algorithm::Myers, &old_lines, &new_lines) {
        let (was, is) = (operation.old_range(), operation.new_range());
        if matches!(operation, DiffOp::Equal { .. }) {
            // A comment that begins or ends elsewhere changes what the same line means.
            if old_kinds[was] != new_kinds[is] {
                return None;
            }
            continue;
        }
        let region =
            Region { old: (was.start as u32, was.end as u32 + 1), new: is.start as u32 + 1..is.end as u32 + 1 };
        let mut code = false;
        for line in old_kinds[was.clone()].iter().chain(&new_kinds[is.clone()]) {
            match &line.kind {
                Kind::Nothing => {}
                Kind::Code => code = true,
                Kind::Macro(name) => drop(found.macros.insert(name.clone())),
                Kind::Directive => return None,
            }
        }
        if code {
            let (was, is) =
                (braces(&old_lines[was.clone()], &old_kinds[was]), braces(&new_lines[is.clone()], &new_kinds[is]));
            if was != is && !(is_balanced(&was) && is_balanced(&is)) {
                return None;
            }
            found.regions.push(region);
        }
    }
    Some(found)
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// By line, what it holds.
fn kinds(text: &[u8], count: usize) -> Vec<Line> {
    // One more than there are, where the last one has no newline.
    let mut kinds = vec![Line { kind: Kind::Nothing, goes_on: false }; count + 1];
    let (mut line, mut at) = (0, 0);
    // The directive that the line belongs to.
    let mut directive: Option<Kind> = None;
    let mut line_start = true;
    while at < text.len() {
        let gap = lex::gap(text, at);
        for _ in 0..gap.newlines {
            if let Some(kind) = &directive {
                kinds[line].kind = kind.clone();
            }
            line += 1;
            kinds[line].goes_on = true;
        }
        at = gap.end;
        if at >= text.len() {
            break;
        }
        if text[at] == b'\n' {
            if let Some(kind) = directive.take() {
                kinds[line].kind = kind;
            }
            line_start = true;
            line += 1;
            at += 1;
            continue;
        }
        if text[at] == b'#' && line_start {
            directive = Some(directive_at(text, at));
        } else if directive.is_none() {
            kinds[line].kind = Kind::Code;
        }
        line_start = false;
        let end = lex::token(text, at).0.min(text.len());
        // A token may be continued on the next line.
        for _ in text[at..end].iter().filter(|byte| **byte == b'\n') {
            line += 1;
            kinds[line] = Line { kind: directive.clone().unwrap_or(Kind::Code), goes_on: true };
        }
        at = end;
    }
    if let Some(kind) = directive {
        kinds[line].kind = kind;
    }
    kinds.truncate(count);
    kinds
}

/// The directive whose `#` is at `at`.
fn directive_at(text: &[u8], at: usize) -> Kind {
    let word = |at: usize| {
        let start = lex::gap(text, at).end;
        let end = text.get(start).filter(|byte| **byte != b'\n').map_or(start, |_| lex::token(text, start).0);
        start..end
    };
    let name = word(at + 1);
    match &text[name.clone()] {
        b"define" | b"undef" => Kind::Macro(text[word(name.end)].to_vec()),
        _ => Kind::Directive,
    }
}

/// The braces of these lines' code, in order.
fn braces(lines: &[&[u8]], kinds: &[Line]) -> Vec<u8> {
    let code = lines.iter().zip(kinds).filter(|(_, line)| line.kind == Kind::Code).flat_map(|(line, _)| line.iter());
    let text: Vec<u8> = code.copied().collect();
    let mut interner = Interner::default();
    let tokens = lex::preprocessed(&text, &mut interner);
    tokens
        .iter()
        .filter_map(|token| match interner.text(*token) {
            [brace @ (b'{' | b'}')] => Some(*brace),
            _ => None,
        })
        .collect()
}

/// Does every brace close among these?
fn is_balanced(braces: &[u8]) -> bool {
    let mut depth = 0;
    for brace in braces {
        depth += if *brace == b'{' { 1 } else { -1 };
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// False where none of the edits can change the unit's code. `text` is the unit before the patch as `gcc -E -dU` prints it:
/// with line markers, and with the macros that it uses or asks for.
pub fn may_concern(text: &[u8], edits: &[Edit]) -> bool {
    let Some(unit) = Unit::read(text, edits) else { return true };
    let macros = edits.iter().flat_map(|edit| &edit.macros);
    if macros.into_iter().any(|name| mentions(&unit.plain, name).next().is_some()) {
        return true;
    }
    let mut interner = Interner::default();
    let mut names = Vec::new();
    for (edit, lines) in edits.iter().zip(&unit.lines) {
        for region in &edit.regions {
            let functions = functions_around(lines, region.old, &mut interner);
            if functions.is_empty() {
                return true;
            }
            names.extend(functions);
        }
    }
    unit.is_reached(names, &mut interner)
}

/// More names than this are not followed.
const MOST_NAMES: usize = 300;

struct Unit<'a> {
    /// Without line markers and directives.
    plain: Vec<u8>,
    /// By edit: the lines from its file, with their numbers.
    lines: Vec<Vec<(u32, &'a [u8])>>,
}

impl<'a> Unit<'a> {
    /// Nothing where a macro is used that an edit defines. Directives count as lines (libcpp numbers its output so).
    fn read(text: &'a [u8], edits: &[Edit]) -> Option<Unit<'a>> {
        let mut unit = Unit { plain: Vec::with_capacity(text.len()), lines: vec![Vec::new(); edits.len()] };
        let (mut number, mut current) = (0, None);
        for line in text.split(|byte| *byte == b'\n') {
            if !line.starts_with(b"#") {
                if let Some(edit) = current {
                    let lines: &mut Vec<_> = &mut unit.lines[edit];
                    lines.push((number, line));
                }
                number += 1;
                unit.plain.extend_from_slice(line);
                unit.plain.push(b'\n');
            } else if let Some((next, file)) = marker(line) {
                number = next;
                current = edits.iter().position(|edit| is_file(file, &edit.file));
            } else {
                if let Kind::Macro(name) = directive_at(line, 0)
                    && edits.iter().any(|edit| edit.macros.contains(&name))
                {
                    return None;
                }
                number += 1;
            }
        }
        Some(unit)
    }

    /// Is one of these names mentioned by what makes code or data by itself, or by what such a thing mentions?
    fn is_reached(&self, mut queue: Vec<Vec<u8>>, interner: &mut Interner) -> bool {
        let ends = ends(&self.plain);
        let mut seen: BTreeSet<Vec<u8>> = queue.iter().cloned().collect();
        while let Some(name) = queue.pop() {
            for at in mentions(&self.plain, &name) {
                let index = ends.partition_point(|end| *end <= at);
                let start = if index == 0 { 0 } else { ends[index - 1] };
                let end = ends.get(index).copied().unwrap_or(self.plain.len());
                let tokens = lex::preprocessed(&self.plain[start..end], interner);
                let symbol = interner.intern(&name);
                for statement in groups::statements(&tokens, interner) {
                    let own = &tokens[statement.tokens()];
                    if !own.iter().any(|token| *token == symbol || interner.text(*token).starts_with(b"\"")) {
                        continue;
                    }
                    let declared = names::declared(&tokens, interner, &statement);
                    if live::is_root(own, &statement, &declared, interner) {
                        return true;
                    }
                    let more = declared.iter().map(|name| interner.text(name.symbol).to_vec());
                    queue.extend(more.filter(|name| seen.insert(name.clone())));
                }
            }
            if seen.len() > MOST_NAMES {
                return true;
            }
        }
        false
    }
}

/// Number and file of a line marker (GCC manual, "Preprocessor Output").
fn marker(line: &[u8]) -> Option<(u32, &[u8])> {
    let rest = line.strip_prefix(b"# ")?;
    let quote = rest.iter().position(|byte| *byte == b'"')?;
    let number = str::from_utf8(&rest[..quote]).ok()?.trim().parse().ok()?;
    let file = &rest[quote + 1..];
    Some((number, &file[..file.iter().rposition(|byte| *byte == b'"')?]))
}

fn is_file(written: &[u8], file: &str) -> bool {
    let path = place::normalise(&String::from_utf8_lossy(written));
    path.strip_suffix(file).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// The functions whose bodies hold the region: several where the unit includes the file more than once. None where anything
/// else lies in it, or nothing does.
fn functions_around(lines: &[(u32, &[u8])], (before, behind): (u32, u32), interner: &mut Interner) -> Vec<Vec<u8>> {
    let (mut tokens, mut numbers): (Vec<Symbol>, Vec<u32>) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        tokens.extend(lex::preprocessed(line, interner));
        numbers.resize(tokens.len(), *number);
    }
    let statements = groups::statements(&tokens, interner);
    let touched = statements.iter().filter(|statement| {
        let numbers = &numbers[statement.tokens()];
        numbers.iter().any(|line| *line < behind) && numbers.iter().any(|line| *line > before)
    });
    let function = |statement: &groups::Statement| {
        let Shape::Function(name) = statement.shape else { return None };
        let range = statement.tokens();
        let opens = range.clone().find(|index| interner.text(tokens[*index]) == b"{")?;
        let ends = *numbers.get(range.end - 1)?;
        (numbers[opens] <= before && behind <= ends).then(|| interner.text(tokens[name as usize]).to_vec())
    };
    touched.map(function).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Where a name stands as an identifier; also in strings.
fn mentions<'t>(text: &'t [u8], name: &'t [u8]) -> impl Iterator<Item = usize> {
    let other = |at: Option<usize>| at.and_then(|at| text.get(at)).is_none_or(|byte| !lex::continues_identifier(*byte));
    memmem::find_iter(text, name).filter(move |at| other(at.checked_sub(1)) && other(Some(at + name.len())))
}

/// The ends of the `;` at depth 0: between two of them there are functions, and one declaration at most.
fn ends(text: &[u8]) -> Vec<usize> {
    let (mut ends, mut depth, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        match text[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b';' if depth == 0 => ends.push(at + 1),
            b'"' | b'\'' => {
                at = lex::token(text, at).0;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(old: &str, new: &str) -> Option<Edit> {
        edit("a.h", old.as_bytes(), new.as_bytes())
    }

    #[test]
    fn bodies_and_macros_are_contained_and_all_else_is_not() {
        let old = "#define A 1\nint f(void)\n{\n\treturn A;\n}\n/* a\n b */\n#define B \\\n\t1\nint e;\n";
        let lines = |edit: Edit| edit.regions.into_iter().map(|region| region.old).collect::<Vec<_>>();
        let bodies = |new: &str| edited(old, new).map(lines);
        let macros = |new: &str| {
            let found = edited(old, new).map(|edit| edit.macros);
            found.map(|names| names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(bodies(&old.replace("return A", "return A + 1")), Some(vec![(3, 5)]));
        assert_eq!(bodies(&old.replace("\treturn", "\tint a;\n\treturn")), Some(vec![(3, 4)]));
        assert_eq!(macros(&old.replace("A 1", "A 2")), Some(vec!["A".into()]));
        assert_eq!(macros(&old.replace("\t1\n", "\t2\n")), Some(vec!["B".into()]));
        assert_eq!(macros(&old.replace("#define A 1\n", "")), Some(vec!["A".into()]));
        assert_eq!(bodies(&old.replace("* a", "* b")), Some(vec![]));
        let block = |condition: &str| old.replace("return A;", &format!("if ({condition}) {{\n\t\treturn A;\n\t}}"));
        let found = edit("a.h", block("A").as_bytes(), block("A > 1").as_bytes());
        assert_eq!(found.map(lines), Some(vec![(3, 5)]));
        // The lines between are the same, and mean something else.
        assert_eq!(bodies(&old.replace("\treturn", "/*\n\treturn").replace("int e", "*/\nint e")), None);
        let opened = old.replace("{\n", "{ /*\n").replace("/* a", "a").replace(" b */", "b */ int g;");
        assert_eq!(edit("a.h", opened.as_bytes(), opened.replace("{ /*", "{").as_bytes()), None);
        for changed in ["#if A\n", "#include <a.h>\n"] {
            assert_eq!(bodies(&old.replace("\treturn", changed)), None);
        }
        assert_eq!(bodies(&old.replace("\treturn A;", "\treturn A; }\nint g(void) { return 1;")), None);
    }

    const HEADER: &str = "# 1 \"source/a.h\" 1\nstatic inline int f(int a)\n{\n return 1;\n}\n# 1 \"b.c\"\n";

    fn concerns(text: &str) -> bool {
        let edit = Edit {
            file: "a.h".into(),
            regions: vec![Region { old: (2, 4), new: 3..4 }],
            macros: [b"M".to_vec()].into(),
        };
        may_concern(text.as_bytes(), &[edit])
    }

    #[test]
    fn only_what_code_reaches_is_a_concern() {
        let with = |rest: &str| concerns(&format!("{HEADER}{rest}"));
        assert!(!with("int g(void) { return 1; }"));
        assert!(with("int g(void) { return f(1); }"));
        assert!(!with("static inline int i(void) { return f(1); } int g(void) { return 1; }"));
        assert!(with("static inline int i(void) { return f(1); } struct { int (*i)(void); } j = { i };"));
        assert!(with("int g(void) __attribute__((alias(\"f\")));"));
        assert!(with("#define M 1\nint g(void) { return 1; }"));
        assert!(with("#undef M\nint g(void) { return 1; }"));
        assert!(with("int M(void) { return 1; }"));
        // A directive is a line.
        let user = "int g(void) { return h(1); }";
        let other = "static inline int h(int a)\n{\n return 2;\n}\n";
        assert!(!concerns(&format!("{HEADER}# 5 \"a.h\"\n{other}{user}")));
        assert!(concerns(&format!("{HEADER}# 1 \"a.h\"\n{other}{user}")));
        // The region is in `f` by these numbers, and in `h` if directives were no lines.
        let late = |user: &str| {
            concerns(&format!(
                "# 0 \"a.h\"\nstatic inline int f(int a)\n#define A 1\n{{\n#define B 1\n return 1;\n}}\n{other}{user}"
            ))
        };
        assert!(!late(user) && late("int g(void) { return f(1); }"));
    }

    #[test]
    fn a_body_that_is_not_seen_may_be_a_concern() {
        assert!(concerns(&HEADER.replace("{\n return 1;\n}", "{ return 1; }")));
        assert!(concerns("int g(void) { return 1; }"));
        assert!(concerns(&HEADER.replace("static inline ", "")));
    }
}
