//! The words of assembler text, in which symbols of the unit may stand: libclang reads no templates.

use super::groups::is_identifier;
use super::lex::{Interner, Symbol};
use super::names;

/// The identifiers in the templates of `asm ( ... )`, each with the index of its token. Strings of operands, which may be the
/// name of a source file, are no assembler text.
pub fn words<'a>(tokens: &'a [Symbol], interner: &'a Interner) -> impl Iterator<Item = (usize, &'a [u8])> {
    // 1: behind `asm`; one more for each parenthesis that is open.
    let mut inside = 0;
    let mut in_template = false;
    let strings = tokens.iter().enumerate().filter_map(move |(index, token)| {
        let text = interner.text(*token);
        match text {
            _ if names::is_asm_word(text) => (inside, in_template) = (1, true),
            b"(" if inside > 0 => inside += 1,
            b")" if inside > 0 => inside = if inside == 2 { 0 } else { inside - 1 },
            [b':', ..] if inside == 2 => in_template = false,
            _ if inside > 1 && in_template && text.first() == Some(&b'"') => return Some((index, text)),
            _ => {}
        }
        None
    });
    strings.flat_map(|(index, text)| {
        let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')));
        words.filter(|word| is_identifier(word)).map(move |word| (index, word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::lex;

    #[test]
    fn only_templates_are_read() {
        let source = "f(\"no\"); asm volatile (\"call one\\n\" : \"=r\" (g(x)) : : \"memory\"); h(\"no\"); \
                      asm(\"jmp three\" : : \"i\" (\"no/path.c\")); __asm__(\".quad two - 1f\");";
        let mut interner = Interner::default();
        let tokens = lex::preprocessed(source.as_bytes(), &mut interner);
        let found: Vec<_> = words(&tokens, &interner).map(|(_, word)| String::from_utf8_lossy(word)).collect();
        assert_eq!(found, ["call", "one", "n", "jmp", "three", "quad", "two"]);
    }
}
