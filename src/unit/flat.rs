//! The text that libclang is given of a unit: its expanded tokens, or those of a part of it, in one buffer.

use std::ops::Range;

use super::expand::Expanded;
use super::groups::{Outline, Shape, StatementId};
use super::lex::Kind;
use super::live::{Extent, Selection};

/// The expanded unit as text, one space or newline between tokens.
pub struct Flat {
    pub text: Vec<u8>,
    /// By token: its offset in `text`; of one that is left out, the next one's.
    pub offsets: Vec<u32>,
}

/// Type names of GCC that clang doesn't have on x86-64, and types of the same format (GCC manual, "Floating Types"). The C
/// library's headers use them.
const FLOATING_TYPES: &[(&[u8], &[u8])] = &[
    (b"_Float32", b"float"),
    (b"_Float32x", b"double"),
    (b"_Float64", b"double"),
    (b"_Float64x", b"long double"),
    (b"_Float128", b"__float128"),
];

/// `__builtin_has_attribute(EXPRESSION, ATTRIBUTE)`, which clang doesn't have (GCC manual, "Other Builtins"). 6.12's
/// `__must_be_cstr()` has it (include/linux/compiler.h).
const HAS_ATTRIBUTE: &[u8] = b"__builtin_has_attribute";

/// A token as libclang is to read it.
fn rendered(text: &[u8]) -> &[u8] {
    match text {
        // Without the attribute an operator too that evaluates nothing: no, which is what assertions want. GCC decides.
        HAS_ATTRIBUTE => b"!__alignof__",
        _ if text.starts_with(b"_Float") => {
            FLOATING_TYPES.iter().find(|(name, _)| *name == text).map_or(text, |(_, same)| same)
        }
        _ => text,
    }
}

/// What clang doesn't take of the arguments in the parentheses that open here, by the token before: those of an attribute
/// that it knows only without them (`__malloc__(fclose, 1)`; GCC manual, "Common Function Attributes"), and the last one of
/// [`HAS_ATTRIBUTE`] with its comma.
fn hidden_arguments(unit: &Expanded, index: usize) -> Range<usize> {
    let is = |at: usize, text: &[u8]| at < unit.tokens.len() && unit.text(at) == text;
    if !is(index, b"(") || index == 0 {
        return 0..0;
    }
    let only_last = is(index - 1, HAS_ATTRIBUTE);
    if !only_last && !is(index - 1, b"__malloc__") {
        return 0..0;
    }
    let (mut depth, mut comma) = (0, None);
    for end in index..unit.tokens.len() {
        depth += i32::from(is(end, b"(")) - i32::from(is(end, b")"));
        if depth == 1 && is(end, b",") {
            comma = Some(end);
        }
        if depth == 0 {
            return if only_last { comma.unwrap_or(end)..end } else { index..end + 1 };
        }
    }
    0..0
}

impl Flat {
    pub fn new(unit: &Expanded, outline: &Outline, selection: &Selection) -> Flat {
        let mut flat = Flat { text: Vec::new(), offsets: Vec::with_capacity(unit.tokens.len()) };
        for (id, statement) in (0..).map(StatementId).zip(&outline.statements) {
            match selection.of(id) {
                Some(Extent::Whole) => flat.push(unit, statement.tokens()),
                Some(Extent::Signature) => {
                    let (body, tokens) = (outline.signature_end(unit, id) as usize + 1, statement.tokens());
                    let close = tokens.end - 1;
                    if matches!(statement.shape, Shape::Function(_)) && body <= close {
                        flat.push(unit, tokens.start..body);
                        flat.leave_out(close - body);
                        flat.push(unit, close..tokens.end);
                    } else {
                        flat.push(unit, tokens);
                    }
                }
                None => flat.leave_out(statement.tokens().len()),
            }
        }
        flat
    }

    fn leave_out(&mut self, tokens: usize) {
        self.offsets.extend(std::iter::repeat_n(self.text.len() as u32, tokens));
    }

    fn push(&mut self, unit: &Expanded, tokens: Range<usize>) {
        let Flat { text, offsets } = self;
        let mut hidden = 0..0;
        for index in tokens {
            let token = &unit.tokens[index];
            if hidden.is_empty() {
                hidden = hidden_arguments(unit, index);
            }
            if hidden.contains(&index) {
                // Each token keeps an offset of its own.
                offsets.push(text.len() as u32);
                text.push(b' ');
                if index + 1 == hidden.end {
                    hidden = 0..0;
                }
                continue;
            }
            if token.kind == Kind::Pragma && text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
            offsets.push(text.len() as u32);
            let token_text = rendered(unit.text(index));
            text.extend_from_slice(token_text);
            let ends_line = token.kind == Kind::Pragma || matches!(token_text, b";" | b"{" | b"}");
            text.push(if ends_line { b'\n' } else { b' ' });
        }
    }

    /// The token that an offset in the text belongs to.
    pub fn token_at(&self, offset: u32) -> u32 {
        self.offsets.partition_point(|start| *start <= offset).saturating_sub(1) as u32
    }
}
