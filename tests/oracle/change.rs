//! Changes of a random function. They work on lines: a function's head ends in `)` and is followed by a line that begins
//! with `{`; its end is a `}` at the line's beginning; each statement has a line of its own.

use crate::program::Program;
use crate::random::Random;

/// What is done to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A statement that writes to the variable that the output depends on: the function isn't pure any more.
    Mark,
    /// Another constant.
    Constant,
    /// `return E;` becomes another value.
    Return,
    /// `return E;` becomes `return 5;`: the function's value is known to its callers.
    KnownReturn,
    /// A call of another function at the beginning.
    Call,
    /// A statement less.
    Drop,
    /// The function never returns.
    Exit,
    /// It doesn't return in some cases.
    MayExit,
    /// Another constant in the body of a macro.
    Macro,
}

const KINDS: &[Kind] = &[
    Kind::Mark,
    Kind::Mark,
    Kind::Constant,
    Kind::Constant,
    Kind::Return,
    Kind::KnownReturn,
    Kind::Call,
    Kind::Drop,
    Kind::Drop,
    Kind::Exit,
    Kind::MayExit,
    Kind::Macro,
];

/// A changed file.
pub struct Change {
    pub file: String,
    pub text: String,
    /// In words, for people.
    pub what: String,
}

/// A function as lines: its head, and from behind the `{` up to the `}`.
struct Function {
    name: String,
    head: usize,
    body: usize,
    end: usize,
}

/// A change of the program by this seed, another one for each attempt; `None` where nothing in it can be changed.
pub fn change(program: &Program, seed: u64, attempt: u32) -> Option<Change> {
    let mut random = Random::new(seed, &format!("change {attempt}"));
    // Most kinds don't fit every function.
    for _ in 0..200 {
        let file = random.pick(&program.changeable).clone();
        let lines: Vec<&str> = program.files[&file].lines().collect();
        let kind = *random.pick(KINDS);
        let changed = if kind == Kind::Macro {
            changed_macro(&lines, &mut random)
        } else {
            let functions = functions(&lines);
            if functions.is_empty() {
                continue;
            }
            let index = random.below(functions.len());
            let name = functions[index].name.clone();
            let changed = changed(program, &lines, &functions, index, kind, &mut random);
            changed.map(|(lines, what)| (lines, format!("{kind:?} in {name}: {what}")))
        };
        if let Some((lines, what)) = changed {
            return Some(Change { file, text: lines.join("\n") + "\n", what });
        }
    }
    None
}

fn functions(lines: &[&str]) -> Vec<Function> {
    let mut functions = Vec::new();
    for head in 0..lines.len().saturating_sub(1) {
        let line = lines[head];
        let is_head = line.starts_with(|c: char| c.is_ascii_alphabetic()) && line.ends_with(')');
        if !is_head || !lines[head + 1].starts_with('{') {
            continue;
        }
        let Some(length) = lines[head..].iter().position(|line| line.starts_with('}')) else { continue };
        let before = &line[..line.find('(').unwrap_or(0)];
        let name = before.trim_end().rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        functions.push(Function { name: name.into(), head, body: head + 2, end: head + length });
    }
    functions
}

type Changed = (Vec<String>, String);

fn changed(
    program: &Program,
    lines: &[&str],
    functions: &[Function],
    index: usize,
    kind: Kind,
    random: &mut Random,
) -> Option<Changed> {
    let function = &functions[index];
    let mark = program.mark;
    let statements: Vec<usize> = (function.body..function.end).filter(|at| is_statement(lines, *at)).collect();
    match kind {
        Kind::Mark => {
            let at = if random.chance(50) || statements.is_empty() { function.body } else { *random.pick(&statements) };
            Some(inserted(lines, at, format!("    {mark} ^= {:#x}u;", random.below(0xffff) + 1)))
        }
        Kind::Exit => Some(inserted(lines, function.body, "    __builtin_exit(7);".into())),
        Kind::MayExit => {
            let bit = random.below(16);
            Some(inserted(lines, function.body, format!("    if (({mark} >> {bit}) & 1) __builtin_exit(9);")))
        }
        Kind::Call => {
            let others = if program.calls_later { &functions[index + 1..] } else { &functions[..index] };
            let calls: Vec<String> = others.iter().filter_map(|other| call(lines[other.head], &other.name)).collect();
            let call = if calls.is_empty() { return None } else { random.pick(&calls) };
            Some(inserted(lines, function.body, format!("    (void){call};")))
        }
        Kind::Drop => {
            let dropped = |at: &usize| {
                let text = lines[*at].trim_start();
                !text.starts_with("return") && !text.starts_with("goto") && !text.contains('&')
            };
            let candidates: Vec<usize> = statements.into_iter().filter(dropped).collect();
            let at = if candidates.is_empty() { return None } else { *random.pick(&candidates) };
            Some(replaced(lines, at, "    ;".into()))
        }
        Kind::Return | Kind::KnownReturn => {
            if !returns_integer(lines[function.head], &function.name) {
                return None;
            }
            let returns: Vec<usize> =
                statements.into_iter().filter(|at| lines[*at].trim_start().starts_with("return ")).collect();
            let at = if returns.is_empty() { return None } else { *random.pick(&returns) };
            let value = lines[at].trim_start().strip_prefix("return ")?.strip_suffix(';')?;
            let value = if kind == Kind::Return { format!("({value}) ^ 1") } else { "5".into() };
            Some(replaced(lines, at, format!("    return {value};")))
        }
        Kind::Constant => {
            let mut candidates: Vec<(usize, String)> = Vec::new();
            for at in statements {
                candidates.extend(other_constants(lines[at]).into_iter().map(|line| (at, line)));
            }
            let (at, line) = if candidates.is_empty() { return None } else { random.pick(&candidates).clone() };
            Some(replaced(lines, at, line))
        }
        Kind::Macro => None,
    }
}

fn changed_macro(lines: &[&str], random: &mut Random) -> Option<Changed> {
    let mut candidates: Vec<(usize, String)> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("#define ") else { continue };
        let Some((name, body)) = rest.split_once(' ') else { continue };
        candidates.extend(other_constants(body).into_iter().map(|body| (at, format!("#define {name} {body}"))));
    }
    let (at, line) = if candidates.is_empty() { return None } else { random.pick(&candidates).clone() };
    let what = format!("Macro: {line}");
    let (lines, _) = replaced(lines, at, line);
    Some((lines, what))
}

/// Does the line hold one whole statement that stands for itself?
fn is_statement(lines: &[&str], at: usize) -> bool {
    const WORDS: &[&str] = &[
        "for ",
        "if ",
        "while ",
        "else",
        "do",
        "case ",
        "default",
        "break",
        "continue",
        "struct ",
        "union ",
        "const ",
        "volatile ",
        "static ",
        "u32 ",
        "u64 ",
        "div_t ",
        "handler_t_",
        "int ",
        "unsigned ",
        "register ",
        "typeof",
        "enum ",
        "__auto_type",
        "#",
        "long ",
        "char ",
        "short ",
        "goto ",
    ];
    let text = lines[at].trim();
    let before = lines[at - 1].trim();
    let after_whole = before.ends_with([';', '{', '}']) || before.ends_with("*/") || before.is_empty();
    let first = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    text.ends_with(';')
        && text.len() > 1
        && after_whole
        && !first.ends_with("_t")
        && !text.contains(": ")
        && !WORDS.iter().any(|word| text.starts_with(word))
        && !text.starts_with("lbl_")
}

fn inserted(lines: &[&str], at: usize, line: String) -> Changed {
    let mut changed: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    changed.insert(at, line.clone());
    (changed, format!("added `{}`", line.trim()))
}

fn replaced(lines: &[&str], at: usize, line: String) -> Changed {
    let mut changed: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    let what = format!("`{}` is now `{}`", lines[at].trim(), line.trim());
    changed[at] = line;
    (changed, what)
}

/// A call with constants, of a function all of whose parameters are integers.
fn call(head: &str, name: &str) -> Option<String> {
    if name == "main" {
        return None;
    }
    let parameters = head[head.find('(')? + 1..].strip_suffix(')')?;
    if parameters.trim() == "void" || parameters.trim().is_empty() {
        return Some(format!("{name}()"));
    }
    let is_plain =
        |text: &str| !text.contains(['*', '(', '[', '.']) && !text.contains("struct") && !text.contains("union");
    let parameters: Vec<&str> = parameters.split(',').collect();
    let is_integer =
        |text: &&str| is_plain(text) && is_integer_type(text.trim().rsplit_once(' ').map_or("", |(t, _)| t));
    parameters.iter().all(is_integer).then(|| format!("{name}({})", vec!["3"; parameters.len()].join(", ")))
}

fn is_integer_type(text: &str) -> bool {
    const TYPES: &[&str] = &["int", "unsigned", "long", "u32", "u64"];
    let last = text.split_whitespace().next_back().unwrap_or_default();
    TYPES.contains(&last) || (last.ends_with("_t") && last.trim_start_matches('u').starts_with("int"))
}

fn returns_integer(head: &str, name: &str) -> bool {
    let Some(at) = head.find(&format!("{name}(")) else { return false };
    is_integer_type(head[..at].trim()) && !head[..at].contains('*')
}

/// The line with one other digit, once for each of its constants that is no index.
fn other_constants(line: &str) -> Vec<String> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let (mut depth, mut quoted, mut at) = (0, false, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => quoted = !quoted,
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        let starts = bytes[at].is_ascii_digit() && (at == 0 || !word(bytes[at - 1]));
        if !starts {
            at += 1;
            continue;
        }
        let end = (at..bytes.len()).find(|end| !word(bytes[*end])).unwrap_or(bytes.len());
        let number = &line[at..end];
        let hexadecimal = number.starts_with("0x") || number.starts_with("0X");
        let digits = number.trim_end_matches(['u', 'U', 'l', 'L']);
        if depth == 0 && !quoted && !digits.contains('.') && (hexadecimal || digits.bytes().all(|b| b.is_ascii_digit()))
        {
            let last = at + digits.len() - 1;
            let digit = match bytes[last] {
                b'0' => '1',
                b'1' => '0',
                b'2' => '3',
                b'7' => '6',
                _ => '2',
            };
            if bytes[last] != digit as u8 {
                found.push(format!("{}{digit}{}", &line[..last], &line[last + 1..]));
            }
        }
        at = end;
    }
    found
}
