//! The names that a statement at file scope declares, read from its tokens alone (C11 6.7).
//!
//! An independent reading for the comparison of two versions of a unit and of a module with the kernel; what names mean
//! inside of expressions is libclang's business.

use super::groups::{self, Shape, Statement, is_identifier};
use super::lex::{Interner, Symbol};

/// Words of a definition that its declaration must not have: the symbol is not static any more, the function not
/// inline, and where its code or data lies is the running kernel's business.
pub const UNDECLARED: &[&str] = &[
    "static",
    "extern",
    "inline",
    "__inline",
    "__inline__",
    "__always_inline",
    "noinline",
    "noinline_for_stack",
    "__read_mostly",
    "__ro_after_init",
    "__lsm_ro_after_init",
    "__initdata",
    "__init",
    "__cold",
    "__weak",
    "__maybe_unused",
    "__used",
    "__visible",
    "__sched",
    "__ref",
    "__refdata",
    "__cacheline_aligned",
    "__cacheline_aligned_in_smp",
    "____cacheline_aligned",
    "____cacheline_aligned_in_smp",
];

/// What a name declares. Tags have a name space of their own (C11 6.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A function with its body.
    Function,
    /// A function without one.
    Prototype,
    Variable,
    Typedef,
    Enumerator,
    /// `struct` or `union` with its members.
    Record,
    /// `enum` with its enumerators.
    Enum,
}

impl Role {
    pub fn is_tag(self) -> bool {
        matches!(self, Role::Record | Role::Enum)
    }

    /// A function or object.
    pub fn is_object(self) -> bool {
        matches!(self, Role::Function | Role::Prototype | Role::Variable)
    }
}

/// A name and the token that spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub symbol: Symbol,
    pub role: Role,
    pub token: u32,
}

pub fn is_asm_word(text: &[u8]) -> bool {
    matches!(text, b"asm" | b"__asm__" | b"__asm")
}

/// Follows the tokens of a statement: are we inside of `__attribute__((...))`?
#[derive(Default)]
pub struct Attribute {
    pending: bool,
    depth: u32,
}

impl Attribute {
    pub fn step(&mut self, text: &str) -> bool {
        match text {
            "(" if self.pending || self.depth > 0 => self.depth += 1,
            ")" if self.depth > 0 => self.depth -= 1,
            _ => {}
        }
        self.pending = matches!(text, "__attribute__" | "__attribute");
        self.depth > 0
    }
}

/// How many words `__attribute__((name))` has.
pub const ATTRIBUTE: usize = 6;

/// The name, without the underscores that GCC ignores, where the words begin with `__attribute__((name))`.
pub fn attribute<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut words = words.into_iter();
    let begins = ["__attribute__", "(", "("].iter().all(|word| words.next() == Some(*word));
    let name = words.next()?;
    let ends = [")", ")"].iter().all(|word| words.next() == Some(*word));
    (begins && ends).then(|| name.strip_prefix("__").and_then(|name| name.strip_suffix("__")).unwrap_or(name))
}

/// Attributes that a function has and its replacement not, with the kernel's macros of them and in words: the kernel's own may
/// be weak, or called by assembly; what replaces it is there once, and nothing knows its name.
pub const OF_ORIGINALS: [(&str, &str, &str); 2] =
    [("weak", "__weak", "weak"), ("externally_visible", "__visible", "visible outside")];

/// Do the words begin with one of [`OF_ORIGINALS`]?
pub fn is_of_originals<'a>(words: impl IntoIterator<Item = &'a str>) -> bool {
    attribute(words).is_some_and(|name| OF_ORIGINALS.iter().any(|(attribute, ..)| *attribute == name))
}

pub fn is_attribute_word(text: &[u8]) -> bool {
    matches!(text, b"__attribute__" | b"__attribute" | b"asm" | b"__asm__" | b"__asm" | b"_Alignas")
}

pub fn is_typeof(text: &[u8]) -> bool {
    matches!(text, b"typeof" | b"__typeof__" | b"__typeof" | b"typeof_unqual")
}

/// Words of declaration specifiers, which are never a declared name.
pub fn is_specifier(text: &[u8]) -> bool {
    matches!(
        text,
        b"extern"
            | b"static"
            | b"typedef"
            | b"inline"
            | b"__inline"
            | b"__inline__"
            | b"const"
            | b"volatile"
            | b"__const"
            | b"__volatile__"
            | b"restrict"
            | b"__restrict"
            | b"__restrict__"
            | b"register"
            | b"auto"
            | b"_Noreturn"
            | b"void"
            | b"char"
            | b"short"
            | b"int"
            | b"long"
            | b"float"
            | b"double"
            | b"signed"
            | b"unsigned"
            | b"__signed__"
            | b"_Bool"
            | b"__int128"
            | b"__extension__"
            | b"__auto_type"
            | b"__thread"
            | b"_Thread_local"
            | b"_Complex"
            | b"_Atomic"
    )
}

/// The names that a statement declares at file scope, in order.
pub fn declared(tokens: &[Symbol], interner: &Interner, statement: &Statement) -> Vec<Name> {
    let mut names = Vec::new();
    match statement.shape {
        Shape::Pragma | Shape::Empty => {}
        Shape::Function(name) => {
            names.push(Name { symbol: tokens[name as usize], role: Role::Function, token: name });
        }
        Shape::Declaration => {
            let mut scan = Scan { tokens, interner, end: statement.end as usize, names: &mut names };
            scan.declaration(statement.start as usize);
        }
    }
    names
}

struct Scan<'a> {
    tokens: &'a [Symbol],
    interner: &'a Interner,
    end: usize,
    names: &'a mut Vec<Name>,
}

impl<'a> Scan<'a> {
    fn text(&self, at: usize) -> &'a [u8] {
        if at < self.end { self.interner.text(self.tokens[at]) } else { b"" }
    }

    /// The index behind the bracket that closes the one at `at`.
    fn behind(&self, at: usize) -> usize {
        groups::behind(self.tokens, self.interner, at, self.end)
    }

    fn push(&mut self, at: usize, role: Role) {
        self.names.push(Name { symbol: self.tokens[at], role, token: at as u32 });
    }

    fn declaration(&mut self, start: usize) {
        let mut at = start;
        let mut is_typedef = false;
        // The identifier that will turn out to be the declared name, and whether a type stands before it.
        let mut candidate: Option<usize> = None;
        let mut typed = false;
        let mut done = false;
        while at < self.end {
            let text = self.text(at);
            match text {
                b"typedef" => is_typedef = true,
                b"_Static_assert" | b"static_assert" => return,
                b"struct" | b"union" | b"enum" => {
                    at = self.tagged(at);
                    typed = true;
                    continue;
                }
                b"(" => {
                    let inner = self.skip_qualifiers(at + 1);
                    if !done && (candidate.is_none() || self.text(inner) == b"*") {
                        let name = self.inner_name(inner);
                        if let Some((name, is_function)) = name {
                            // `int (f)(int a);`, which keeps a macro `f` out.
                            let alone = name == inner && self.text(name + 1) == b")" && self.text(name + 2) == b"(";
                            let is_function = is_function || alone;
                            self.declare(name, is_typedef, is_function);
                            done = true;
                        }
                    } else if let (false, Some(name)) = (done, candidate) {
                        self.declare(name, is_typedef, true);
                        done = true;
                    }
                    at = self.behind(at);
                    continue;
                }
                b"[" | b"=" | b"," | b";" | b":" => {
                    if let (false, Some(name)) = (done, candidate) {
                        self.declare(name, is_typedef, false);
                    }
                    done = true;
                    match text {
                        b"[" => {
                            at = self.behind(at);
                            continue;
                        }
                        b"=" => {
                            at = self.behind_initialiser(at + 1);
                            continue;
                        }
                        b"," => {
                            done = false;
                            candidate = None;
                        }
                        _ => {}
                    }
                }
                _ if is_attribute_word(text) || is_typeof(text) => {
                    typed |= is_typeof(text);
                    at += 1;
                    while matches!(self.text(at), b"volatile" | b"__volatile__" | b"inline" | b"goto") {
                        at += 1;
                    }
                    if self.text(at) == b"(" {
                        at = self.behind(at);
                    }
                    continue;
                }
                _ if is_specifier(text) => typed |= !matches!(text, b"extern" | b"static" | b"inline" | b"const"),
                _ if is_identifier(text) => {
                    // In `type name` the last identifier is the name; a lone one is a type (or an implicit int).
                    if typed || self.names_follow(at) {
                        candidate = Some(at);
                    }
                    typed = true;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Can the identifier at `at` be a declarator although no type was seen before it?
    fn names_follow(&self, at: usize) -> bool {
        matches!(self.text(at + 1), b"=" | b"," | b";" | b"[")
    }

    fn declare(&mut self, at: usize, is_typedef: bool, is_function: bool) {
        let role = match (is_typedef, is_function) {
            (true, _) => Role::Typedef,
            (false, true) => Role::Prototype,
            (false, false) => Role::Variable,
        };
        self.push(at, role);
    }

    fn skip_qualifiers(&self, mut at: usize) -> usize {
        loop {
            let text = self.text(at);
            if is_attribute_word(text) && self.text(at + 1) == b"(" {
                at = self.behind(at + 1);
            } else if is_specifier(text) && matches!(text, b"const" | b"volatile") {
                at += 1;
            } else {
                return at;
            }
        }
    }

    /// The name inside of a parenthesised declarator, and whether it is a function's: `(*name)`, `(*name(int))`.
    fn inner_name(&self, mut at: usize) -> Option<(usize, bool)> {
        while at < self.end {
            let text = self.text(at);
            if is_attribute_word(text) && self.text(at + 1) == b"(" {
                at = self.behind(at + 1);
                continue;
            }
            if matches!(text, b")" | b";" | b"{") {
                return None;
            }
            if is_identifier(text) && !is_specifier(text) {
                return Some((at, self.text(at + 1) == b"("));
            }
            at += 1;
        }
        None
    }

    /// Behind an initialiser: at its `,` or `;`.
    fn behind_initialiser(&self, mut at: usize) -> usize {
        while at < self.end {
            match self.text(at) {
                b"(" | b"[" | b"{" => at = self.behind(at),
                b"," | b";" => return at,
                _ => at += 1,
            }
        }
        at
    }

    /// `struct`, `union` or `enum` with its tag and members; yields the index behind it.
    fn tagged(&mut self, at: usize) -> usize {
        let is_enum = self.text(at) == b"enum";
        let mut at = at + 1;
        while is_attribute_word(self.text(at)) && self.text(at + 1) == b"(" {
            at = self.behind(at + 1);
        }
        let tag = is_identifier(self.text(at)).then_some(at);
        at += usize::from(tag.is_some());
        if self.text(at) != b"{" {
            return at;
        }
        if let Some(tag) = tag {
            self.push(tag, if is_enum { Role::Enum } else { Role::Record });
        }
        let end = self.behind(at);
        if is_enum {
            self.enumerators(at + 1, end - 1);
        } else {
            // Tags that are defined among the members are at file scope too.
            let mut inner = at + 1;
            while inner < end - 1 {
                if matches!(self.text(inner), b"struct" | b"union" | b"enum") {
                    inner = self.tagged(inner);
                } else {
                    inner += 1;
                }
            }
        }
        end
    }

    fn enumerators(&mut self, mut at: usize, end: usize) {
        while at < end {
            if is_identifier(self.text(at)) {
                self.push(at, Role::Enumerator);
            }
            while at < end && self.text(at) != b"," {
                at = if matches!(self.text(at), b"(" | b"[" | b"{") { self.behind(at) } else { at + 1 };
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{groups, lex};

    fn names(source: &str) -> Vec<(String, Role)> {
        let mut interner = Interner::default();
        let tokens = lex::preprocessed(source.as_bytes(), &mut interner);
        let statements = groups::statements(&tokens, &mut interner);
        let all = statements.iter().flat_map(|s| declared(&tokens, &interner, s));
        all.map(|name| (interner.string(name.symbol), name.role)).collect()
    }

    #[test]
    fn every_kind_of_declaration() {
        let cases: &[(&str, &[(&str, Role)])] = &[
            ("int a, *b;", &[("a", Role::Variable), ("b", Role::Variable)]),
            ("static foo_t x = { .a = (1, 2) }, y[3];", &[("x", Role::Variable), ("y", Role::Variable)]),
            ("typedef struct { int a; } foo_t;", &[("foo_t", Role::Typedef)]),
            ("struct s { struct t { int q; } m; };", &[("s", Role::Record), ("t", Role::Record)]),
            (
                "enum e { A, B = (1, 2), C };",
                &[("e", Role::Enum), ("A", Role::Enumerator), ("B", Role::Enumerator), ("C", Role::Enumerator)],
            ),
            ("int f(int a);", &[("f", Role::Prototype)]),
            ("foo_t *f(int a) __attribute__((pure));", &[("f", Role::Prototype)]),
            ("void (*handler)(int);", &[("handler", Role::Variable)]),
            ("typedef void (*handler_t)(int);", &[("handler_t", Role::Typedef)]),
            ("void (*signal(int n, void (*h)(int)))(int);", &[("signal", Role::Prototype)]),
            ("static __attribute__((used)) foo_t v __attribute__((section(\"x\")));", &[("v", Role::Variable)]),
            ("extern __typeof__(struct s) pcpu;", &[("pcpu", Role::Variable)]),
            ("foo_t f(void) { return 0; } ;", &[("f", Role::Function)]),
            (
                "static int f(a, b) struct s *a; char b[]; { return 0; } int c;",
                &[("f", Role::Function), ("c", Role::Variable)],
            ),
            ("f(a) struct { int x; } *a; { return 0; }", &[("f", Role::Function)]),
            ("int (*g(a))(int) int a; { return 0; }", &[("g", Role::Function)]),
            ("__attribute__((used)) int a; typeof(a) b;", &[("a", Role::Variable), ("b", Role::Variable)]),
            ("int (*g(int a))(int b) { return 0; }", &[("g", Role::Function)]),
            ("struct s f(struct s *p) { }", &[("f", Role::Function)]),
            ("static foo_t (f)(foo_t a) { return a; }", &[("f", Role::Function)]),
            ("static foo_t (f)(foo_t a);", &[("f", Role::Prototype)]),
            ("_Static_assert(1, \"x\");", &[]),
            ("extern foo_t a[], (*fp[2])(void);", &[("a", Role::Variable), ("fp", Role::Variable)]),
        ];
        for (source, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(n, r)| (n.to_string(), *r)).collect();
            assert_eq!(names(source), expected, "{source}");
        }
    }
}
