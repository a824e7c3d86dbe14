//! Which statements of a unit can matter: to its code, those that make code or data by themselves, and what they name; to
//! some functions, these and what they name.
//!
//! A unit's headers bring thousands of inline functions, types and declarations that nothing of the unit uses. A change of
//! one of them changes the unit's tokens and nothing else. This is an over-approximation by names alone: what isn't sure
//! to be unused is live.

use std::ops::Range;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::assembly;
use super::declared::{Declaration, Declared};
use super::groups::{Shape, Statement, StatementId, is_identifier};
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

/// How much of a statement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// Only what declares: no function body, no initialiser.
    Signature,
    Whole,
}

/// What libclang is given of a unit.
#[derive(Debug, Clone)]
pub enum Selection {
    All,
    /// By statement: how much of it. A function's signature gets an empty body.
    Some(Vec<Option<Extent>>),
}

impl Selection {
    pub fn of(&self, statement: StatementId) -> Option<Extent> {
        match self {
            Selection::All => Some(Extent::Whole),
            Selection::Some(extents) => extents[statement.0 as usize],
        }
    }
}

/// A unit cut into statements.
#[derive(Clone, Copy)]
pub struct Unit<'a> {
    pub tokens: &'a [Symbol],
    pub statements: &'a [Statement],
    pub declared: &'a Declared,
    pub interner: &'a Interner,
}

/// By statement: is it live? `names` holds those of each statement.
pub fn live(tokens: &[Symbol], statements: &[Statement], names: &[Vec<Name>], interner: &Interner) -> Vec<bool> {
    let declared = Declared::new(names, interner.len());
    let unit = Unit { tokens, statements, declared: &declared, interner };
    let is_root = |statement: &StatementId| {
        let index = statement.0 as usize;
        is_root(&tokens[statements[index].tokens()], &statements[index], &names[index], interner)
    };
    let roots = (0..statements.len() as u32).map(StatementId).filter(is_root);
    let found = reachable(unit, roots, |_, _| Extent::Whole, |statement| statement.0..statement.0 + 1);
    found.iter().map(Option::is_some).collect()
}

/// How much of each statement can matter to `roots`, going by what tokens name: every declaration of a name that is
/// mentioned anywhere in a statement that counts.
///
/// `extent` says how much of a declaration counts for who mentions the name; `together`, with which statements one goes that
/// counts as a whole.
pub fn reachable(
    unit: Unit,
    roots: impl Iterator<Item = StatementId>,
    extent: impl Fn(Symbol, Declaration) -> Extent,
    together: impl Fn(StatementId) -> Range<u32>,
) -> Vec<Option<Extent>> {
    let Unit { tokens, statements, declared, interner } = unit;
    let mut walk = Walk { found: vec![None; statements.len()], queue: Vec::new(), together };
    roots.for_each(|root| walk.reach(root, Extent::Whole));
    let words = [&b"struct"[..], b"union", b"enum"].map(|word| interner.find(word));
    let FirstMentions { by_tag, for_parameters } = first_mentions(unit, words);
    while let Some(id) = walk.queue.pop() {
        let statement = &statements[id.0 as usize];
        let end = match walk.found[id.0 as usize] {
            Some(Extent::Signature) => statement.signature_end(tokens, interner),
            _ => statement.end,
        };
        let tokens = &tokens[statement.start as usize..end as usize];
        let mut mention = |symbol: Symbol, declarations: &[Declaration]| {
            for declaration in declarations {
                walk.reach(declaration.statement, extent(symbol, *declaration));
            }
        };
        for (tag, statement) in for_parameters.get(&id).into_iter().flatten() {
            mention(*tag, &[Declaration { statement: *statement, role: Role::Record }]);
        }
        let mut previous: Option<Symbol> = None;
        for token in tokens {
            let text = interner.text(*token);
            let before = previous.replace(*token);
            let before_text = before.map_or(&b""[..], |before| interner.text(before));
            if let Some(name) = aliased(before_text, text).and_then(|name| interner.find(name)) {
                mention(name, declared.ordinary(name));
            }
            if !is_identifier(text) || matches!(before_text, b"." | b"->") {
                // A member, or a designator.
                continue;
            }
            let is_tag = before.is_some() && words.contains(&before);
            // Behind an attribute there may be a tag.
            if is_tag || before_text == b")" {
                mention(*token, declared.tags(*token));
                if let Some(statement) = by_tag.get(token) {
                    mention(*token, &[Declaration { statement: *statement, role: Role::Record }]);
                }
            }
            if !is_tag {
                mention(*token, declared.ordinary(*token));
            }
        }
        for name in assembly::words(tokens, interner).filter_map(|(_, word)| interner.find(word)) {
            mention(name, declared.ordinary(name));
        }
    }
    walk.found
}

struct Walk<T> {
    found: Vec<Option<Extent>>,
    queue: Vec<StatementId>,
    together: T,
}

impl<T: Fn(StatementId) -> Range<u32>> Walk<T> {
    fn reach(&mut self, statement: StatementId, extent: Extent) {
        let known = &mut self.found[statement.0 as usize];
        if *known >= Some(extent) {
            return;
        }
        *known = Some(extent);
        self.queue.push(statement);
        if extent == Extent::Whole {
            for other in (self.together)(statement) {
                self.reach(StatementId(other), extent);
            }
        }
    }
}

/// The statements that make tags known at file scope, which are the first to mention them outside of parentheses
/// (C11 6.2.1).
#[derive(Default)]
struct FirstMentions {
    /// Of the tags that the unit never defines, and of others where it says nothing else.
    by_tag: FxHashMap<Symbol, StatementId>,
    /// By a statement that has tags in parentheses before their definition: in a prototype alone they would be others
    /// (`struct jump_entry` in arch/x86/include/asm/jump_label.h).
    for_parameters: FxHashMap<StatementId, Vec<(Symbol, StatementId)>>,
}

fn first_mentions(unit: Unit, words: [Option<Symbol>; 3]) -> FirstMentions {
    let Unit { tokens, statements, declared, interner } = unit;
    let [open, close] = [&b"("[..], b")"].map(|word| interner.find(word));
    let mut found = FirstMentions::default();
    let mut all: FxHashMap<Symbol, StatementId> = FxHashMap::default();
    for (id, statement) in (0..).map(StatementId).zip(statements) {
        let mut depth = 0;
        // `struct s;`
        let alone = statement.tokens().len() <= 3;
        for pair in tokens[statement.tokens()].windows(2) {
            let [word, name] = [pair[0], pair[1]];
            if Some(word) == open {
                depth += 1;
            } else if Some(word) == close {
                depth -= 1;
            } else if words.contains(&Some(word)) {
                if depth == 0 {
                    all.entry(name).or_insert(id);
                    if alone || declared.tags(name).is_empty() {
                        found.by_tag.entry(name).or_insert(id);
                    }
                } else if let Some(first) = all.get(&name)
                    && !found.by_tag.contains_key(&name)
                    && declared.tag(name).is_some_and(|definition| id.0 < definition.0)
                {
                    found.for_parameters.entry(id).or_default().push((name, *first));
                }
            }
        }
    }
    found
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
            declared.iter().any(|name| name.role == Role::Variable) && defines_objects(tokens, interner)
        }
    }
}

/// Does a declaration of objects define them, and not only say that they are elsewhere?
pub fn defines_objects(tokens: &[Symbol], interner: &Interner) -> bool {
    let is_elsewhere = interner.text(tokens[0]) == b"extern" || signature(tokens, interner).any(|w| w == b"extern");
    !is_elsewhere || tokens.iter().any(|token| interner.text(*token) == b"=")
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
    fn a_tag_in_a_prototype_is_the_one_that_was_mentioned_before() {
        let source = "struct k { struct s *p; }; int a(struct s *s); struct s { int n; }; int f(void) { return a(0); }";
        assert_eq!(live_names(source), ["k", "a", "s", "f"]);
        let defined =
            "struct k { struct s *p; }; struct s { int n; }; int a(struct s *s); int f(void) { return a(0); }";
        assert_eq!(live_names(defined), ["s", "a", "f"]);
    }

    #[test]
    fn members_are_no_references() {
        let source =
            "static inline int len(void) { return 1; } struct s { int n; }; int f(struct s *s) { return s->len; }";
        assert_eq!(live_names(source), ["s", "f"]);
    }
}
