//! Which statements of a unit can matter to its code: those that make code or data by themselves, and what they name.
//!
//! A unit's headers bring thousands of inline functions, types and declarations that nothing of the unit uses. A change of
//! one of them changes the unit's tokens and nothing else. This is an over-approximation by names alone: what isn't sure
//! to be unused is live.

use super::groups::{Shape, Statement};
use super::lex::{Interner, Symbol};
use super::names::{self, Name, Role};

/// Attributes that make GCC emit a function or refer to it although nothing calls it (GCC manual, "Common Function
/// Attributes").
pub const EMITTING: &[&[u8]] = &[
    b"used",
    b"__used__",
    b"retain",
    b"__retain__",
    b"externally_visible",
    b"__externally_visible__",
    b"constructor",
    b"__constructor__",
    b"destructor",
    b"__destructor__",
];

/// Attributes of declarations that make a symbol, and name another by a string.
pub const ALIASING: &[&[u8]] =
    &[b"alias", b"__alias__", b"ifunc", b"__ifunc__", b"weakref", b"__weakref__", b"symver", b"__symver__"];

/// The words that make a function `inline`.
pub const INLINE: &[&[u8]] = &[b"inline", b"__inline", b"__inline__"];

/// Has the declared name `static` and not `inline` before its body?
pub fn is_static(tokens: &[Symbol], interner: &Interner) -> bool {
    signature(tokens, interner).any(|word| word == b"static")
}

/// A function's tokens before its body.
fn signature<'a>(tokens: &'a [Symbol], interner: &'a Interner) -> impl Iterator<Item = &'a [u8]> {
    tokens.iter().map(|token| interner.text(*token)).take_while(|word| *word != b"{")
}

/// By statement: is it live? `declared` holds the names of each statement.
pub fn live(tokens: &[Symbol], statements: &[Statement], declared: &[Vec<Name>], interner: &Interner) -> Vec<bool> {
    let mut ordinary: Vec<Vec<u32>> = vec![Vec::new(); interner.len()];
    let mut tags = ordinary.clone();
    for (index, names) in declared.iter().enumerate() {
        for name in names {
            let space = if name.role.is_tag() { &mut tags } else { &mut ordinary };
            space[name.symbol.0 as usize].push(index as u32);
        }
    }
    let mut live = vec![false; statements.len()];
    let mut queue = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        if is_root(&tokens[statement.tokens()], statement, &declared[index], interner) {
            live[index] = true;
            queue.push(index);
        }
    }
    let empty: &[u32] = &[];
    while let Some(index) = queue.pop() {
        let tokens = &tokens[statements[index].tokens()];
        let mut previous: &[u8] = b"";
        for token in tokens {
            let text = interner.text(*token);
            let (in_ordinary, in_tags) = match previous {
                // A member, or a designator.
                b"." | b"->" => (empty, empty),
                b"struct" | b"union" | b"enum" => (empty, &tags[token.0 as usize][..]),
                // Behind an attribute there may be a tag.
                b")" => (&ordinary[token.0 as usize][..], &tags[token.0 as usize][..]),
                _ => (&ordinary[token.0 as usize][..], empty),
            };
            let named = aliased(previous, text).and_then(|name| interner.find(name));
            let in_alias = named.map_or(empty, |symbol| &ordinary[symbol.0 as usize][..]);
            for statement in in_ordinary.iter().chain(in_tags).chain(in_alias) {
                if !std::mem::replace(&mut live[*statement as usize], true) {
                    queue.push(*statement as usize);
                }
            }
            previous = text;
        }
    }
    live
}

/// The name in a string that stands alone in brackets, as in `alias("name")`.
pub fn aliased<'a>(previous: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (previous == b"(").then_some(inner)
}

/// Does the statement make code or data by itself?
pub fn is_root(tokens: &[Symbol], statement: &Statement, declared: &[Name], interner: &Interner) -> bool {
    let has = |words: &[&[u8]]| tokens.iter().any(|token| words.contains(&interner.text(*token)));
    match statement.shape {
        Shape::Pragma | Shape::Empty => false,
        Shape::Function(_) => {
            let mut words = signature(tokens, interner);
            let inline = words.any(|word| INLINE.contains(&word));
            let emitted = signature(tokens, interner).any(|word| EMITTING.contains(&word));
            !(inline && is_static(tokens, interner)) || emitted
        }
        Shape::Declaration => {
            if names::is_attribute_word(interner.text(tokens[0])) || has(ALIASING) {
                return true;
            }
            let variable = declared.iter().any(|name| name.role == Role::Variable);
            let external = interner.text(tokens[0]) == b"extern" || signature(tokens, interner).any(|w| w == b"extern");
            variable && (!external || has(&[b"="]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{groups, lex};

    fn live_names(source: &str) -> Vec<String> {
        let mut interner = Interner::default();
        let tokens = lex::preprocessed(source.as_bytes(), &mut interner);
        let statements = groups::statements(&tokens, &mut interner);
        let declared: Vec<Vec<Name>> =
            statements.iter().map(|statement| names::declared(&tokens, &interner, statement)).collect();
        let live = live(&tokens, &statements, &declared, &interner);
        let found = declared.iter().zip(live).filter(|(_, live)| *live).flat_map(|(names, _)| names);
        found.map(|name| interner.string(name.symbol)).collect()
    }

    #[test]
    fn only_what_the_code_reaches_is_live() {
        let unused =
            "static inline int a(void) { return 1; } struct s { int b; }; int p(void); extern int e; enum { X };";
        assert_eq!(live_names(unused), [""; 0]);
        let used = "struct s { struct t *t; }; struct t { int a; }; enum { X, Y }; \
                    static inline int a(struct s *s) { return s->t->a + X; } int f(void) { return a(0); }";
        assert_eq!(live_names(used), ["s", "t", "X", "Y", "a", "f"]);
    }

    #[test]
    fn what_is_emitted_unasked_is_live() {
        for source in [
            "static int f(void) { return 1; }",
            "static inline __attribute__((used)) int f(void) { return 1; }",
            "int f = 1;",
            "extern int f = 1;",
            "struct s f;",
            "inline int f(void) { return 1; }",
        ] {
            assert!(live_names(source).contains(&"f".to_string()), "{source}");
        }
        let alias = "static inline int f(void) { return 1; } extern int g(void) __attribute__((alias(\"f\")));";
        assert_eq!(live_names(alias), ["f", "g"]);
    }

    #[test]
    fn members_are_no_references() {
        let source =
            "static inline int len(void) { return 1; } struct s { int n; }; int f(struct s *s) { return s->len; }";
        assert_eq!(live_names(source), ["s", "f"]);
    }
}
