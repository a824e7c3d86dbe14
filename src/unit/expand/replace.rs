//! The replacement of one macro name (C11 6.10.3.1 to 6.10.3.3).

use std::rc::Rc;

use crate::unit::lex::{self, Kind};
use crate::unit::text::MacroId;

use super::limits::{BYTE_WORK, CHAIN, HELD, NESTING, TOKEN_BUDGET};
use super::{Argument, Context, Expander, NONE, Token};

impl Expander {
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
    pub(super) fn replace(&mut self, id: MacroId, arguments: Option<Vec<Argument>>, name: &Token, expansion: u32) {
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
}
