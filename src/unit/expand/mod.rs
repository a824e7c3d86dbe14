//! Macro expansion with provenance, over the output of `gcc -E -fdirectives-only`.
//!
//! GCC runs every `#if` and `#include`; only the expansion of macros is replayed here (C11 6.10.3, by the algorithm of
//! GCC's libcpp: contexts with disabled macros), so that each token of the unit knows where it is spelled, by which
//! chain of macros it came, and in which outermost invocation. [`super::self_check`] holds the result against `gcc -E`.
//!
//! The input is the reader's in [`super::text`]; this module owns macros, invocations and expansions.

mod expanded;
mod limits;
mod replace;

use std::rc::Rc;

use crate::finding::{FRONT_END, Result, refuse};

use super::lex::{self, Interner, Kind, Symbol};
use super::text::{Macro, MacroId, Reader};

pub use expanded::{Expanded, Expansion, Invocation, NONE, Token};
use limits::{TOKEN_BUDGET, WORK_BUDGET};

/// Offsets are 32 bits wide, and lines add up to twice as much.
const LONGEST: usize = i32::MAX as usize;

/// An argument as collected; `None` is an absent variable argument (which `, ##__VA_ARGS__` tells from an empty one).
type Argument = Option<Vec<Token>>;

struct Context {
    tokens: Rc<Vec<Token>>,
    next: usize,
    /// Re-enabled when the context ends.
    macro_id: Option<MacroId>,
    /// An argument being expanded on its own: its end is the end of input.
    barrier: bool,
}

struct Builtins {
    line: Symbol,
    file: Symbol,
    base_file: Symbol,
    counter: Symbol,
    last: Symbol,
    open: Symbol,
    close: Symbol,
    comma: Symbol,
    pragma: Symbol,
}

struct Expander {
    reader: Reader,
    contexts: Vec<Context>,
    disabled: Vec<bool>,
    invocations: Vec<Invocation>,
    expansions: Vec<Expansion>,
    peeked: Option<(Token, u32)>,
    /// End of the last token that was read from the text.
    last_end: u32,
    counter: u32,
    /// Line of the outermost invocation, which `__LINE__` in a macro body yields.
    invocation_line: u32,
    names: Builtins,
    base_file: String,
    prefixes: Vec<(String, String)>,
    budget: u64,
    work: u64,
    nesting: u32,
    /// Tokens of the arguments that are being expanded.
    held: u64,
    /// A limit was reached: nothing more is read.
    exhausted: bool,
    problem: Option<String>,
}

/// Expands a unit.
///
/// `text` is the output of `gcc -E -fdirectives-only`, `base_file` the source as named on the command line, and
/// `prefixes` the command line's `-fmacro-prefix-map` pairs.
pub fn expand(text: Vec<u8>, base_file: &str, prefixes: &[(String, String)]) -> Result<Expanded> {
    if text.len() > LONGEST {
        return refuse(FRONT_END, format!("{base_file}: the preprocessed text has more than 2 GiB"));
    }
    let mut interner = Interner::default();
    let names = Builtins {
        line: interner.intern(b"__LINE__"),
        file: interner.intern(b"__FILE__"),
        base_file: interner.intern(b"__BASE_FILE__"),
        counter: interner.intern(b"__COUNTER__"),
        last: interner.intern(b"__COUNTER__"),
        open: interner.intern(b"("),
        close: interner.intern(b")"),
        comma: interner.intern(b","),
        pragma: interner.intern(b"_Pragma"),
    };
    let capacity = text.len() / 6;
    let mut expander = Expander {
        reader: Reader::new(text, interner),
        contexts: Vec::new(),
        disabled: Vec::new(),
        invocations: Vec::new(),
        expansions: Vec::new(),
        peeked: None,
        last_end: 0,
        counter: 0,
        invocation_line: 0,
        names,
        base_file: base_file.to_string(),
        prefixes: prefixes.to_vec(),
        budget: TOKEN_BUDGET,
        work: WORK_BUDGET,
        nesting: 0,
        held: 0,
        exhausted: false,
        problem: None,
    };
    let mut tokens: Vec<Token> = Vec::with_capacity(capacity);
    loop {
        let token = expander.next();
        if token.kind == Kind::End {
            break;
        }
        if token.kind == Kind::Identifier && token.symbol == expander.names.pragma {
            let pragma = expander.pragma_operator(&token);
            tokens.extend(pragma);
            continue;
        }
        tokens.push(token);
    }
    let problem = expander.problem.take().or_else(|| expander.reader.problem.take());
    if let Some(problem) = problem {
        return refuse(FRONT_END, format!("{base_file}: {problem}"));
    }
    let Expander { reader, invocations, expansions, .. } = expander;
    Ok(Expanded { tokens, invocations, expansions, reader })
}

impl Expander {
    fn file_token(&mut self) -> Token {
        if let Some((token, _)) = self.peeked.take() {
            return token;
        }
        let (token, end) = self.reader.token();
        self.last_end = end;
        token
    }

    fn leave_context(&mut self) {
        if let Some(Context { macro_id: Some(id), .. }) = self.contexts.pop() {
            self.disabled[id.0 as usize] = false;
        }
    }

    /// The next token, not yet expanded.
    fn raw(&mut self) -> Token {
        if self.exhausted {
            return Token::end();
        }
        loop {
            match self.contexts.last_mut() {
                None => return self.file_token(),
                Some(context) if context.next < context.tokens.len() => {
                    context.next += 1;
                    return context.tokens[context.next - 1];
                }
                Some(context) if context.barrier => return Token::end(),
                Some(_) => self.leave_context(),
            }
        }
    }

    fn next_is_open(&mut self) -> bool {
        let token = loop {
            match self.contexts.last_mut() {
                None => {
                    if self.peeked.is_none() {
                        self.peeked = Some(self.reader.token());
                    }
                    break self.peeked.map(|(token, _)| token);
                }
                Some(context) if context.next < context.tokens.len() => break Some(context.tokens[context.next]),
                Some(context) if context.barrier => return false,
                Some(_) => self.leave_context(),
            }
        };
        token.is_some_and(|token| token.kind == Kind::Punctuator && token.symbol == self.names.open)
    }

    fn disabled(&mut self, id: MacroId) -> &mut bool {
        let index = id.0 as usize;
        if self.disabled.len() <= index {
            self.disabled.resize(self.reader.macros.len().max(index + 1), false);
        }
        &mut self.disabled[index]
    }

    /// The next token, fully expanded.
    fn next(&mut self) -> Token {
        loop {
            let mut token = self.raw();
            if token.kind != Kind::Identifier || token.painted {
                return token;
            }
            if token.symbol <= self.names.last
                && let Some(token) = self.builtin(&token)
            {
                return token;
            }
            let Some(id) = self.reader.defined(token.symbol) else { return token };
            if *self.disabled(id) {
                token.painted = true;
                return token;
            }
            let name_end = self.last_end;
            if self.reader.macros[id.0 as usize].function_like && !self.next_is_open() {
                return token;
            }
            if token.invocation == NONE {
                self.invocation_line = self.reader.line;
                let first_expansion = self.expansions.len() as u32;
                self.invocations.push(Invocation { start: token.source, end: name_end, first_expansion });
                token.invocation = self.invocations.len() as u32 - 1;
            }
            self.expansions.push(Expansion { macro_id: id, parent: token.expansion });
            let expansion = self.expansions.len() as u32 - 1;
            let arguments = if self.reader.macros[id.0 as usize].function_like {
                self.raw();
                Some(self.arguments(id, token.invocation))
            } else {
                None
            };
            self.replace(id, arguments, &token, expansion);
        }
    }

    fn builtin(&mut self, token: &Token) -> Option<Token> {
        let names = &self.names;
        let (kind, text) = if token.symbol == names.line {
            let inside = token.invocation != NONE && !self.contexts.is_empty();
            (Kind::Number, if inside { self.invocation_line } else { self.reader.line }.to_string())
        } else if token.symbol == names.file || token.symbol == names.base_file {
            let file = if token.symbol == names.file { self.reader.file_name() } else { &self.base_file };
            let mapped = self.prefixes.iter().rev().find_map(|(from, to)| {
                let rest = file.strip_prefix(from.as_str())?;
                Some(format!("{to}{rest}"))
            });
            (Kind::String, format!("\"{}\"", mapped.as_deref().unwrap_or(file)))
        } else if token.symbol == names.counter {
            self.counter += 1;
            (Kind::Number, (self.counter - 1).to_string())
        } else {
            return None;
        };
        let symbol = self.reader.interner.intern(text.as_bytes());
        Some(Token { symbol, kind, builtin: true, ..*token })
    }

    /// Collects the arguments of an invocation whose opening parenthesis has been read.
    fn arguments(&mut self, id: MacroId, invocation: u32) -> Vec<Argument> {
        let Macro { parameters, variadic, .. } = &self.reader.macros[id.0 as usize];
        let (count, variadic) = (parameters.len(), *variadic);
        let mut arguments: Vec<Argument> = Vec::new();
        let mut current = Vec::new();
        let mut depth = 0;
        loop {
            let peeked_end = self.peeked.map(|(_, end)| end);
            let was_file = self.contexts.is_empty();
            let mut token = self.raw();
            if (was_file || self.contexts.is_empty()) && token.kind != Kind::End {
                let end = peeked_end.unwrap_or(self.last_end);
                let range_end = &mut self.invocations[invocation as usize].end;
                *range_end = (*range_end).max(end);
            }
            if token.invocation == NONE {
                token.invocation = invocation;
            }
            match token.kind {
                Kind::End => {
                    let name = self.reader.interner.string(self.reader.macros[id.0 as usize].name);
                    self.problem.get_or_insert(format!("unterminated invocation of macro {name}"));
                    break;
                }
                Kind::Punctuator if token.symbol == self.names.open => depth += 1,
                Kind::Punctuator if token.symbol == self.names.close => {
                    if depth == 0 {
                        break;
                    }
                    depth -= 1;
                }
                Kind::Punctuator
                    if token.symbol == self.names.comma
                        && depth == 0
                        && !(variadic && arguments.len() + 1 == count) =>
                {
                    arguments.push(Some(std::mem::take(&mut current)));
                    continue;
                }
                Kind::Identifier => {
                    if let Some(named) = self.reader.defined(token.symbol)
                        && *self.disabled(named)
                    {
                        token.painted = true;
                    }
                }
                _ => {}
            }
            current.push(token);
        }
        if !(count == 0 && current.is_empty() && arguments.is_empty()) {
            arguments.push(Some(current));
        }
        if variadic {
            let lone_empty = count == 1 && arguments.len() == 1 && arguments[0].as_ref().is_some_and(Vec::is_empty);
            if lone_empty {
                arguments.pop();
            }
            if arguments.len() < count {
                arguments.push(None);
            }
        }
        while arguments.len() < count {
            arguments.push(Some(Vec::new()));
        }
        arguments
    }

    /// `_Pragma ( "..." )` as the `#pragma` that it stands for (C11 6.10.9).
    fn pragma_operator(&mut self, name: &Token) -> Option<Token> {
        let [open, string, close] = [self.next(), self.next(), self.next()];
        let is_operand =
            string.kind == Kind::String && (open.symbol, close.symbol) == (self.names.open, self.names.close);
        if !is_operand {
            self.problem.get_or_insert("_Pragma takes a parenthesised string".into());
            return None;
        }
        let text = self.reader.interner.text(string.symbol);
        // `L"..."` too (C11 6.10.9).
        let text = &text[text.iter().position(|byte| *byte == b'"').unwrap_or(0)..];
        let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
        let mut line = Vec::with_capacity(inner.len());
        let mut bytes = inner.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match (byte, bytes.peek()) {
                (b'\\', Some(next @ (b'"' | b'\\'))) => {
                    line.push(*next);
                    bytes.next();
                }
                _ => line.push(byte),
            }
        }
        let text = lex::pragma_text(&line);
        Some(Token { symbol: self.reader.interner.intern(&text), kind: Kind::Pragma, ..*name })
    }
}
