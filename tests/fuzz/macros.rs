//! The expander against `gcc -E`, on random macro programs: nested, variadic and recursive invocations, `#`, `##`,
//! `__VA_OPT__`, names that are defined again or taken back.

use std::io::Write as _;
use std::process::{Command, Stdio};

use klp_extract::unit::{expand, lex};

use super::random::Random;

const NAMES: [&str; 8] = ["A", "B", "C", "F", "G", "H", "V", "W"];

struct Program {
    random: Random,
    text: String,
}

impl Program {
    fn word(&mut self, parameters: &[&str]) -> String {
        let plain = ["a", "b", "1", "0x2f", "\"s\\\"t\"", "'c'", "+", "-", "*", ";", "==", "x1", ".", "..."];
        match self.random.below(10) {
            0..=2 if !parameters.is_empty() => self.random.pick(parameters).to_string(),
            3..=6 => self.random.pick(&NAMES).to_string(),
            _ => self.random.pick(&plain).to_string(),
        }
    }

    fn words(&mut self, most: usize, parameters: &[&str], depth: usize) -> String {
        let mut text = String::new();
        for _ in 0..self.random.below(most + 1) {
            let word = match depth {
                0 => self.word(parameters),
                _ if self.random.chance(35) => self.invocation(parameters, depth - 1),
                _ => self.word(parameters),
            };
            text += &word;
            if self.random.chance(70) {
                text.push(' ');
            }
        }
        // What two words written together would make is another token than two.
        text.replace("..", ". .").replace("--", "- -").replace("++", "+ +")
    }

    fn invocation(&mut self, parameters: &[&str], depth: usize) -> String {
        let name = *self.random.pick(&NAMES);
        let count = self.random.below(4);
        let arguments: Vec<String> = (0..count).map(|_| self.words(3, parameters, depth)).collect();
        let space = if self.random.chance(20) { " " } else { "" };
        format!("{name}{space}({})", arguments.join(", "))
    }

    fn definition(&mut self) {
        let name = *self.random.pick(&NAMES);
        if self.random.chance(15) {
            self.text += &format!("#undef {name}\n");
            return;
        }
        let all = ["p", "q", "r"];
        let mut parameters: Vec<&str> = all[..self.random.below(4)].to_vec();
        let variadic = self.random.chance(35);
        let function_like = self.random.chance(65);
        let mut list = parameters.join(", ");
        if variadic {
            let named = self.random.chance(30);
            list += match (list.is_empty(), named) {
                (true, true) => "v...",
                (true, false) => "...",
                (false, true) => ", v...",
                (false, false) => ", ...",
            };
            parameters.push(if named { "v" } else { "__VA_ARGS__" });
        }
        let shown = if function_like { parameters.clone() } else { Vec::new() };
        let mut body = self.words(5, &shown, 2);
        if function_like && !parameters.is_empty() {
            let one = *self.random.pick(&parameters);
            let other = *self.random.pick(&parameters);
            body += match self.random.below(7) {
                0 => format!(" #{one} "),
                1 => format!(" a_##{one} "),
                2 => format!(" {one}##{other} "),
                3 => format!(" {one} ## 1 ## {other} "),
                4 if parameters.contains(&"__VA_ARGS__") => format!(" __VA_OPT__(({one}) a,) f(a, ##__VA_ARGS__)"),
                5 if parameters.contains(&"v") => " f(a, ##v)".into(),
                _ => String::new(),
            }
            .as_str();
        }
        let head = if function_like { format!("{name}({list})") } else { name.to_string() };
        // Taken back first: GCC warns of another definition, and goes on.
        self.text += &format!("#undef {name}\n#define {head} {}\n", body.trim());
    }
}

fn program(seed: u64) -> String {
    let mut program = Program { random: Random::new(seed, "macros"), text: String::new() };
    for _ in 0..program.random.between(2, 9) {
        program.definition();
    }
    for _ in 0..program.random.between(1, 6) {
        let line = program.words(5, &[], 3);
        program.text += &line;
        program.text.push('\n');
        if program.random.chance(25) {
            program.definition();
        }
    }
    program.text
}

/// What GCC makes of it; nothing where it complains.
fn preprocessed(text: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new("gcc");
    command.args(["-E", "-w", "-std=gnu2x", "-x", "c"]).args(arguments).arg("-");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// Compares so many programs; the error is the first that differs.
pub fn compare(seed: u64, count: u64) -> Result<(), String> {
    let mut compared = 0;
    for number in 0..count {
        let text = program(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let Some(expected) = preprocessed(&text, &[]) else { continue };
        let input = preprocessed(&text, &["-fdirectives-only"]).ok_or("gcc -fdirectives-only complains")?;
        let shown = |error: String| format!("seed {seed}, number {number}: {error}\n{text}");
        let unit = expand::expand(input, "<stdin>", &[]).map_err(|error| shown(error.to_string()))?;
        let got: Vec<String> =
            (0..unit.tokens.len()).map(|token| String::from_utf8_lossy(unit.text(token)).into_owned()).collect();
        let wanted: Vec<String> =
            lex::texts(&expected).map(|token| String::from_utf8_lossy(&token).into_owned()).collect();
        if got != wanted {
            return Err(shown(format!("\n gcc: {}\n own: {}", wanted.join(" "), got.join(" "))));
        }
        compared += 1;
    }
    eprintln!("macros: {compared} of {count} programs compared, GCC complained of the others");
    // GCC refuses what pastes to no token; most programs don't.
    if compared * 3 < count { Err(format!("only {compared} of {count} programs could be compared")) } else { Ok(()) }
}
