//! Macro expansion with provenance, over the output of `gcc -E -fdirectives-only`.
//!
//! GCC runs every `#if` and `#include`; only the expansion of macros is replayed here (C11 6.10.3, by the algorithm of
//! GCC's libcpp: contexts with disabled macros), so that each token of the unit knows where it is spelled, by which
//! chain of macros it came, and in which outermost invocation. [`super::self_check`] holds the result against `gcc -E`.
//!
//! The input is the reader's in [`super::text`]; this module owns macros, invocations and expansions.

use std::rc::Rc;

use crate::finding::{FRONT_END, Result, refuse};

use super::lex::{self, Interner, Kind, Symbol};
use super::text::{Macro, MacroId, Reader};

/// No id: the token is not from a macro.
pub const NONE: u32 = u32::MAX;

/// More tokens than this made by the macros of one unit are a macro bomb; the largest unit of the kernel has about 5 million.
const TOKEN_BUDGET: u64 = 16 << 20;

/// Tokens that are looked at or copied on the way, and bytes that `#` and `##` make: names that double are bombs too.
const WORK_BUDGET: u64 = 1 << 30;

/// Tokens of arguments that may be under way: of an invocation in an argument of another one there are two copies.
const HELD: u64 = 2 << 20;

/// What a byte of text counts that `#` and `##` make: it stays in memory.
const BYTE_WORK: usize = 8;

/// Invocations in arguments of invocations: each takes a few hundred bytes of stack. Those of the kernel nest a few dozen deep.
const NESTING: u32 = 400;

/// Macros whose bodies name one another: each token of the last knows all of them. Those of the kernel go a few dozen deep.
const CHAIN: usize = 4096;

/// Offsets are 32 bits wide, and lines add up to twice as much.
const LONGEST: usize = i32::MAX as usize;

/// A token of the expanded unit.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub symbol: Symbol,
    pub kind: Kind,
    /// White space before it (only stringifying needs it).
    pub space: bool,
    /// Its macro was being expanded when it was met: never expanded any more (C11 6.10.3.4).
    pub painted: bool,
    /// Its text depends on `__LINE__`, `__FILE__`, `__COUNTER__` and the like: compares as a wildcard.
    pub builtin: bool,
    /// Outermost invocation in whose output it stands, or [`NONE`].
    pub invocation: u32,
    /// Expansion whose macro body spells it; [`NONE`] where the source text spells it, be it in a macro's argument.
    pub expansion: u32,
    /// Offset in the unit's text, or [`NONE`] for tokens of macro bodies.
    pub source: u32,
}

impl Token {
    fn end() -> Token {
        Token {
            symbol: Symbol(0),
            kind: Kind::End,
            space: false,
            painted: false,
            builtin: false,
            invocation: NONE,
            expansion: NONE,
            source: NONE,
        }
    }
}

/// A macro invocation that the source text spells outside of any other one.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    /// Range in the unit's text, up to the closing parenthesis.
    pub start: u32,
    pub end: u32,
    /// Its expansions, nested ones included, are those from here to the next invocation's first.
    pub first_expansion: u32,
}

/// One replacement of one macro name.
#[derive(Debug, Clone, Copy)]
pub struct Expansion {
    pub macro_id: MacroId,
    /// The expansion whose body spells the name; [`NONE`] where the source does.
    pub parent: u32,
}

/// The expanded unit.
#[derive(Debug)]
pub struct Expanded {
    pub tokens: Vec<Token>,
    pub invocations: Vec<Invocation>,
    pub expansions: Vec<Expansion>,
    pub reader: Reader,
}

impl Expanded {
    pub fn interner(&self) -> &Interner {
        &self.reader.interner
    }

    pub fn text(&self, token: usize) -> &[u8] {
        self.reader.interner.text(self.tokens[token].symbol)
    }

    /// Offset in the unit's text of what spells a token: itself, or the outermost invocation.
    pub fn start_of(&self, token: u32) -> u32 {
        let token = &self.tokens[token as usize];
        match self.invocations.get(token.invocation as usize) {
            Some(invocation) => invocation.start,
            None => token.source,
        }
    }

    /// The expansions of the invocations that begin in this range of the unit's text.
    pub fn expansions_in(&self, start: u32, end: u32) -> std::ops::Range<usize> {
        let at = |offset: u32| {
            let index = self.invocations.partition_point(|invocation| invocation.start < offset);
            self.invocations.get(index).map_or(self.expansions.len(), |i| i.first_expansion as usize)
        };
        at(start)..at(end)
    }

    /// May the same text have another token here in another unit? `__LINE__` and the like, and what the build calls it.
    pub fn varies(&self, token: &Token) -> bool {
        let name = |id: MacroId| self.interner().text(self.reader.macros[id.0 as usize].name);
        token.builtin || self.chain(token).any(|id| NAMES.contains(&name(id)))
    }

    /// The macros by whose bodies the token came, innermost first.
    pub fn chain(&self, token: &Token) -> impl Iterator<Item = MacroId> + '_ {
        let mut next = token.expansion;
        std::iter::from_fn(move || {
            let expansion = self.expansions.get(next as usize)?;
            next = expansion.parent;
            Some(expansion.macro_id)
        })
    }
}

/// What the build calls a unit and its module (scripts/Makefile.lib, name-fix and modname_flags).
const NAMES: [&[u8]; 4] = [b"KBUILD_MODNAME", b"__KBUILD_MODNAME", b"KBUILD_BASENAME", b"KBUILD_MODFILE"];

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

    /// Ends the expansion where a limit is reached.
    fn exhaust(&mut self, problem: String) {
        self.exhausted = true;
        self.problem.get_or_insert(problem);
    }

    fn spend(&mut self, work: usize) {
        self.work = self.work.saturating_sub(work as u64);
        if self.work == 0 {
            self.exhaust(format!("to expand its macros takes more than {WORK_BUDGET} steps"));
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

    /// Expands an argument on its own (C11 6.10.3.1).
    fn expand_argument(&mut self, argument: &[Token]) -> Vec<Token> {
        let inert = |token: &Token| {
            token.kind != Kind::Identifier
                || token.painted
                || (token.symbol > self.names.last && self.reader.defined(token.symbol).is_none())
        };
        let is_inert = argument.iter().all(inert);
        self.spend(argument.len());
        if is_inert {
            return argument.to_vec();
        }
        if self.nesting == NESTING {
            self.exhaust(format!("macro invocations are nested more than {NESTING} deep"));
            return Vec::new();
        }
        self.held += argument.len() as u64;
        if self.held > HELD {
            self.exhaust(format!("the arguments of nested macro invocations have more than {HELD} tokens"));
            return Vec::new();
        }
        self.nesting += 1;
        let tokens = Rc::new(argument.to_vec());
        self.contexts.push(Context { tokens, next: 0, macro_id: None, barrier: true });
        let depth = self.contexts.len();
        let mut expanded = Vec::new();
        loop {
            let token = self.next();
            if token.kind == Kind::End {
                break;
            }
            expanded.push(token);
        }
        while self.contexts.len() >= depth {
            self.leave_context();
        }
        self.nesting -= 1;
        self.held -= argument.len() as u64;
        self.spend(expanded.len());
        expanded
    }

    /// Puts the replacement of one macro name before what is read next.
    fn replace(&mut self, id: MacroId, arguments: Option<Vec<Argument>>, name: &Token, expansion: u32) {
        let definition = &self.reader.macros[id.0 as usize];
        let (variadic, count) = (definition.variadic, definition.parameters.len());
        let has_variable = variadic
            && arguments
                .as_ref()
                .is_some_and(|a| a.last().is_some_and(|last| last.as_ref().is_some_and(|v| !v.is_empty())));
        let body = definition.body_for(has_variable);
        self.spend(body.len());
        let template = Token {
            expansion,
            invocation: name.invocation,
            source: NONE,
            painted: false,
            builtin: false,
            ..Token::end()
        };
        let mut out: Vec<Token> = Vec::with_capacity(body.len());
        let mut expanded: Vec<Option<Vec<Token>>> = vec![None; count];
        let mut segment: Vec<Token> = Vec::new();
        let mut paste_next = false;
        for (index, item) in body.iter().enumerate() {
            let pasted_before = index > 0 && body[index - 1].paste;
            let mut comma_paste = false;
            segment.clear();
            match (&arguments, item.parameter) {
                (Some(arguments), Some(parameter)) => {
                    let parameter = parameter as usize;
                    let argument = &arguments[parameter];
                    if item.stringify {
                        segment.push(self.stringify(argument.as_deref().unwrap_or(&[]), &template));
                    } else if item.paste || pasted_before {
                        // GNU: `, ##__VA_ARGS__` drops the comma of absent variable arguments and pastes nothing.
                        let after_comma = out.last().is_some_and(|token| token.symbol == self.names.comma);
                        if pasted_before && variadic && parameter + 1 == count && after_comma {
                            comma_paste = true;
                            if argument.is_none() {
                                out.pop();
                            }
                        }
                        segment.extend_from_slice(argument.as_deref().unwrap_or(&[]));
                        if segment.is_empty() && !comma_paste {
                            segment.push(Token { kind: Kind::Placemarker, ..template });
                        }
                    } else {
                        let expanded = &mut expanded[parameter];
                        let argument = argument.as_deref().unwrap_or(&[]);
                        segment.extend_from_slice(expanded.get_or_insert_with(|| self.expand_argument(argument)));
                    }
                }
                _ => segment.push(Token { symbol: item.symbol, kind: item.kind, space: item.space, ..template }),
            }
            if let Some(first) = segment.first_mut() {
                first.space = item.space;
            }
            if paste_next && !comma_paste && !segment.is_empty() && !out.is_empty() {
                let left = out.pop().unwrap_or(template);
                out.push(self.paste(left, segment[0], &template));
                out.extend_from_slice(&segment[1..]);
            } else {
                out.extend_from_slice(&segment);
            }
            paste_next = item.paste;
        }
        out.retain(|token| token.kind != Kind::Placemarker);
        if let Some(first) = out.first_mut() {
            first.space = name.space;
        }
        self.budget = self.budget.saturating_sub(out.len() as u64);
        if self.budget == 0 {
            self.exhaust(format!("macros expand to more than {TOKEN_BUDGET} tokens"));
        }
        if self.contexts.len() == CHAIN {
            self.exhaust(format!("macros lead to one another more than {CHAIN} deep"));
        }
        *self.disabled(id) = true;
        self.contexts.push(Context { tokens: Rc::new(out), next: 0, macro_id: Some(id), barrier: false });
    }

    fn paste(&mut self, left: Token, right: Token, template: &Token) -> Token {
        if left.kind == Kind::Placemarker {
            return right;
        }
        if right.kind == Kind::Placemarker {
            return left;
        }
        let interner = &mut self.reader.interner;
        let text = [interner.text(left.symbol), interner.text(right.symbol)].concat();
        let (end, kind) = lex::token(&text, 0);
        self.spend(BYTE_WORK * text.len());
        let interner = &mut self.reader.interner;
        if end != text.len() {
            let shown = String::from_utf8_lossy(&text).into_owned();
            self.problem.get_or_insert(format!("`##` makes `{shown}`, which is no token"));
        }
        Token {
            symbol: interner.intern(&text),
            kind,
            space: left.space,
            builtin: left.builtin || right.builtin,
            source: if left.source != NONE { left.source } else { right.source },
            ..*template
        }
    }

    fn stringify(&mut self, argument: &[Token], template: &Token) -> Token {
        let interner = &mut self.reader.interner;
        let mut text = vec![b'"'];
        for (index, token) in argument.iter().enumerate() {
            if token.space && index > 0 {
                text.push(b' ');
            }
            let quoted = matches!(token.kind, Kind::String | Kind::Character);
            for byte in interner.text(token.symbol) {
                if quoted && matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
        }
        text.push(b'"');
        let symbol = interner.intern(&text);
        self.spend(BYTE_WORK * text.len());
        let builtin = argument.iter().any(|token| token.builtin);
        Token { symbol, kind: Kind::String, builtin, ..*template }
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
