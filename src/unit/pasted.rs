//! Names that no text spells: what macros put together by `##` (C11 6.10.3.3), as patterns.

use std::collections::BTreeMap;

use memchr::memmem;
use rustc_hash::FxHashSet;

use super::lex::{self, Symbol};
use super::written::{MacroText, Written};

/// A piece of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Text(Vec<u8>),
    /// What the macro's argument of this index brings.
    Parameter(usize),
    Digits,
    Any,
}

/// A name that is made of pieces.
pub type Pattern = Vec<Part>;

/// Macros by name, with the patterns that their arguments complete.
pub type Pasting = BTreeMap<Vec<u8>, Vec<Pattern>>;

/// The name, where nothing is open.
pub fn exact(pattern: &[Part]) -> Option<Vec<u8>> {
    let text = |part: &Part| if let Part::Text(text) = part { Some(text.clone()) } else { None };
    Some(pattern.iter().map(text).collect::<Option<Vec<_>>>()?.concat())
}

/// Pieces of text that follow each other are one, and so is what may be anything.
fn joined(pattern: Pattern) -> Pattern {
    let mut found: Pattern = Vec::with_capacity(pattern.len());
    for part in pattern {
        match (found.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.extend(text),
            (Some(Part::Any), Part::Any) => {}
            (_, part) => found.push(part),
        }
    }
    found
}

/// Do arguments complete it?
pub fn is_open(pattern: &[Part]) -> bool {
    pattern.iter().any(|part| matches!(part, Part::Parameter(_)))
}

/// Can the pattern be this name?
pub fn may_be(pattern: &[Part], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [Part::Text(text), rest @ ..] => name.strip_prefix(text.as_slice()).is_some_and(|name| may_be(rest, name)),
        [Part::Digits, rest @ ..] => {
            let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=digits).any(|length| may_be(rest, &name[length..]))
        }
        [_, Part::Text(text), rest @ ..] if !text.is_empty() => {
            memmem::find_iter(name, text).any(|at| may_be(rest, &name[at + text.len()..]))
        }
        [_] => true,
        [_, rest @ ..] => (0..=name.len()).any(|length| may_be(rest, &name[length..])),
    }
}

/// The patterns of the runs of `##` in a macro's own body.
pub fn runs(definition: &MacroText, file: &Written) -> Vec<Pattern> {
    let mut found = Vec::new();
    let mut run: Pattern = Vec::new();
    let mut goes_on = false;
    for token in &definition.body {
        if file.interner.text(*token) == b"##" {
            goes_on = true;
            continue;
        }
        if !goes_on {
            found.push(std::mem::take(&mut run));
        }
        run.push(part(definition, file, *token));
        goes_on = false;
    }
    found.push(run);
    found.retain(|run| run.len() > 1);
    found.into_iter().map(joined).collect()
}

fn part(definition: &MacroText, file: &Written, token: Symbol) -> Part {
    if let Some(index) = definition.parameters.iter().position(|parameter| *parameter == token) {
        return Part::Parameter(index);
    }
    match file.interner.text(token) {
        b"__VA_ARGS__" | b")" => Part::Any,
        b"__COUNTER__" | b"__LINE__" => Part::Digits,
        text => Part::Text(text.to_vec()),
    }
}

/// What is known of a program's macros.
pub struct Known {
    pub pasting: Pasting,
    /// Those without parameters: such a word may become anything.
    pub objects: FxHashSet<Vec<u8>>,
    /// Those with parameters.
    pub functions: FxHashSet<Vec<u8>>,
}

/// What the calls of these macros in a macro's body make.
pub fn calls_in(definition: &MacroText, file: &Written, called: &Pasting, known: &Known) -> Vec<Pattern> {
    Calls { definition: Some(definition), file, known }.all(&definition.body, called)
}

/// The same outside of macros.
pub fn calls(file: &Written, called: &Pasting, known: &Known) -> Vec<Pattern> {
    let calls = Calls { definition: None, file, known };
    let mut found = calls.all(file.tokens(), called);
    found.extend(calls.all(file.conditions(), called));
    found
}

struct Calls<'a> {
    definition: Option<&'a MacroText>,
    file: &'a Written,
    known: &'a Known,
}

impl Calls<'_> {
    fn text(&self, token: Option<&Symbol>) -> &[u8] {
        token.map_or(b"", |token| self.file.interner.text(*token))
    }

    fn all(&self, tokens: &[Symbol], called: &Pasting) -> Vec<Pattern> {
        let mut found = Vec::new();
        // By open bracket: is it within a macro's arguments?
        let mut open: Vec<bool> = Vec::new();
        for at in 0..tokens.len() {
            let text = self.text(tokens.get(at));
            let inside = open.last() == Some(&true);
            match text {
                b"(" => {
                    let before = self.text(at.checked_sub(1).and_then(|at| tokens.get(at)));
                    open.push(inside || self.known.functions.contains(before));
                }
                b")" => drop(open.pop()),
                _ if called.contains_key(text) => match self.call(&tokens[at..]) {
                    Some((made, _)) => found.extend(made),
                    None if inside || at + 1 == tokens.len() => found.extend(self.by_name(text)),
                    // Without brackets it is no call (C11 6.10.3).
                    None => {}
                },
                _ => {}
            }
        }
        found
    }

    /// A macro that is handed to another one by its name, or that another one ends in, may be called with anything.
    fn by_name(&self, name: &[u8]) -> Vec<Pattern> {
        let patterns = self.known.pasting.get(name).into_iter().flatten();
        let anything = |part: &Part| if matches!(part, Part::Parameter(_)) { Part::Any } else { part.clone() };
        patterns.map(|pattern| joined(pattern.iter().map(anything).collect())).collect()
    }

    /// The patterns of a call at the tokens' beginning, and its length.
    fn call(&self, tokens: &[Symbol]) -> Option<(Vec<Pattern>, usize)> {
        let patterns = self.known.pasting.get(self.text(tokens.first()))?;
        if self.text(tokens.get(1)) != b"(" {
            return None;
        }
        let (mut depth, mut start, mut arguments, mut end) = (0, 2, Vec::new(), None);
        for at in 1..tokens.len() {
            match self.text(tokens.get(at)) {
                b"(" => depth += 1,
                b")" => depth -= 1,
                b"," if depth == 1 => {
                    arguments.push(&tokens[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
            if depth == 0 {
                arguments.push(&tokens[start..at]);
                end = Some(at + 1);
                break;
            }
        }
        let end = end?;
        let arguments: Vec<Vec<Pattern>> = arguments.iter().map(|argument| self.argument(argument)).collect();
        let mut made = Vec::new();
        for pattern in patterns {
            let mut all: Vec<Pattern> = vec![Vec::new()];
            for part in pattern {
                let choices = match part {
                    Part::Parameter(index) => arguments.get(*index).cloned().unwrap_or_else(|| vec![vec![Part::Any]]),
                    other => vec![vec![other.clone()]],
                };
                let extended = |begun: &Pattern| {
                    choices.iter().map(|more| begun.iter().chain(more).cloned().collect()).collect::<Vec<Pattern>>()
                };
                all = all.iter().flat_map(extended).collect();
            }
            made.extend(all.into_iter().map(joined));
        }
        Some((made, end))
    }

    fn argument(&self, tokens: &[Symbol]) -> Vec<Pattern> {
        if let [token] = tokens {
            return vec![vec![self.word(*token, true)]];
        }
        let is_run = tokens.iter().enumerate().all(|(at, token)| (self.text(Some(token)) == b"##") == (at % 2 == 1));
        match self.call(tokens) {
            Some((made, end)) if end == tokens.len() => made,
            _ if tokens.is_empty() => vec![Vec::new()],
            _ if is_run && tokens.len() % 2 == 1 => {
                vec![joined(tokens.iter().step_by(2).map(|token| self.word(*token, false)).collect())]
            }
            _ => vec![vec![Part::Any]],
        }
    }

    /// A word of an argument; `expanded` where it may be a macro's name (C11 6.10.3.1: operands of `##` are not).
    fn word(&self, token: Symbol, expanded: bool) -> Part {
        let text = self.text(Some(&token));
        match self.definition.map(|definition| part(definition, self.file, token)) {
            Some(part @ (Part::Parameter(_) | Part::Digits | Part::Any)) => part,
            _ if matches!(text, b"__COUNTER__" | b"__LINE__") => Part::Digits,
            _ if expanded && self.known.objects.contains(text) => Part::Any,
            _ if text.first().is_some_and(|byte| lex::continues_identifier(*byte)) => Part::Text(text.to_vec()),
            _ => Part::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pattern: &Pattern) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Part::Parameter(index) => format!("<{index}>"),
            Part::Digits => "9".into(),
            Part::Any => "*".into(),
        };
        pattern.iter().map(part).collect::<Vec<_>>().join("")
    }

    #[test]
    fn runs_are_patterns() {
        let written =
            Written::read(b"#define A(n, m) static void set_##n##_##m(int x) { f(a##n); }\n#define B(a,b) a##b");
        let of = |index: usize| runs(&written.macros[index], &written);
        assert_eq!(of(0).iter().map(shown).collect::<Vec<_>>(), ["set_<0>_<1>", "a<0>"]);
        assert_eq!(of(1).iter().map(shown).collect::<Vec<_>>(), ["<0><1>"]);
        assert!(may_be(&of(0)[0], b"set_a_b_c") && !may_be(&of(0)[0], b"get_a_b"));
        let counted = [Part::Any, Part::Text(b"_".to_vec()), Part::Digits];
        assert!(may_be(&counted, b"a_b_12") && !may_be(&counted, b"a_b"));
        assert!(may_be(&[Part::Any, Part::Any], b"a") && !may_be(&[Part::Text(b"a".to_vec()), Part::Digits], b"a"));
    }

    #[test]
    fn calls_fill_patterns() {
        let written = Written::read(
            b"#define CAT(a, b) a##b\n#define ID(x) CAT(CAT(id_, x), __COUNTER__)\n#define TWO(x, y) CAT(x, y)\n\
              #define WORD some\n#define RUN(n) CAT(a_##n, b)\nint CAT(f, oo)(void); int CAT(WORD, 1); MAP(CAT, 1); struct s { int CAT; };",
        );
        let pasting = Pasting::from([(b"CAT".to_vec(), runs(&written.macros[0], &written))]);
        let objects = [b"WORD".to_vec()].into_iter().collect();
        let functions = [b"MAP".to_vec()].into_iter().collect();
        let known = Known { pasting: pasting.clone(), objects, functions };
        let inside = |index: usize| {
            calls_in(&written.macros[index], &written, &pasting, &known).iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(inside(1), ["id_<0>9", "id_<0>"]);
        assert_eq!(inside(2), ["<0><1>"]);
        assert_eq!(inside(4), ["a_<0>b"]);
        assert_eq!(calls(&written, &pasting, &known).iter().map(shown).collect::<Vec<_>>(), ["foo", "*1", "*"]);
    }
}
