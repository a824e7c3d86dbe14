//! Which names a statement of a header declares, from its raw text; nothing where that isn't sure.
//!
//! "Nothing" is the answer for everything that makes code or data by itself, for what macros may turn into anything, and
//! for what isn't understood: then every unit that may include the file is looked at (see [`super::reach`]).

use crate::unit::groups::is_identifier;
use crate::unit::lex::Kind;
use crate::unit::live::{ALIASING, EMITTING, INLINE};
use crate::unit::names;

use super::macros::{Macros, Word, behind};

/// A declared name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared<'a> {
    pub name: Word<'a>,
    /// `struct`, `union` or `enum`.
    pub tag: bool,
    /// An inline function with its body.
    pub body: bool,
}

impl PartialEq for Word<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Word<'_> {}

/// A statement's tokens at depth 0.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Word(Word<'a>),
    /// What stands in brackets, these included: the range of words.
    Group(u8, usize, usize),
}

/// What a statement declares that makes neither code nor data by itself.
pub fn declared<'a>(words: &[Word<'a>], macros: &Macros) -> Option<Vec<Declared<'a>>> {
    let parts = without_attributes(words, macros)?;
    let word = |text: &[u8]| parts.iter().any(|part| matches!(part, Part::Word(word) if word.text == text));
    let sure = parts.iter().enumerate().all(|(index, part)| match part {
        Part::Word(word) => {
            let group = matches!(parts.get(index + 1), Some(Part::Group(b'(', ..)));
            let called = group && macros.is_function_like(word.id) && !names::is_typeof(word.text);
            !(called || macros.is_breaking(word.id))
        }
        Part::Group(..) => true,
    });
    if !sure || macros_emit(words, macros) {
        return None;
    }
    let mut found = Vec::new();
    if let [before @ .., Part::Group(b'(', ..), Part::Group(b'{', ..)] = parts.as_slice() {
        let inline = parts.iter().any(|part| matches!(part, Part::Word(w) if is_inline(w)));
        let Some(Part::Word(name)) = before.last().filter(|_| inline && word(b"static")) else { return None };
        found.push(Declared { body: true, ..plain(name, macros)? });
        return Some(found);
    }
    if word(b"=") {
        return None;
    }
    let record = parts.iter().any(|part| matches!(part, Part::Group(b'{', ..)));
    let (is_typedef, is_extern) = (word(b"typedef"), word(b"extern"));
    tags(words, 0, words.len(), macros, &mut found)?;
    if is_typedef || is_extern {
        for declarator in parts.split(|part| matches!(part, Part::Word(word) if matches!(word.text, b"," | b";"))) {
            if !declarator.is_empty() {
                found.push(declarator_name(declarator, words, macros)?);
            }
        }
        return Some(found);
    }
    if record {
        // Anything behind the members would be a variable.
        let [.., Part::Group(b'{', ..), Part::Word(last)] = parts.as_slice() else { return None };
        return (last.text == b";").then_some(found);
    }
    match parts.as_slice() {
        // A forward declaration.
        [Part::Word(kind), Part::Word(_), Part::Word(end)] if is_record(kind) && end.text == b";" => Some(found),
        // A prototype: something before the name, nothing behind the parameters.
        [.., Part::Word(_), Part::Word(name), Part::Group(b'(', ..), Part::Word(end)]
            if end.text == b";" && is_identifier(name.text) && !names::is_specifier(name.text) && !word(b",") =>
        {
            found.push(plain(name, macros)?);
            Some(found)
        }
        _ => None,
    }
}

fn is_record(word: &Word) -> bool {
    matches!(word.text, b"struct" | b"union" | b"enum")
}

/// `inline`, or the macro that the kernel spells it with (include/linux/compiler_attributes.h).
fn is_inline(word: &Word) -> bool {
    INLINE.contains(&word.text) || word.text == b"__always_inline"
}

/// An ordinary name that no macro hides.
fn plain<'a>(name: &Word<'a>, macros: &Macros) -> Option<Declared<'a>> {
    let hidden = macros.is_alias(name.id) || !is_identifier(name.text) || names::is_specifier(name.text);
    (!hidden).then_some(Declared { name: *name, tag: false, body: false })
}

/// Is there, anywhere outside of bodies, an attribute that makes code or a symbol?
fn macros_emit(words: &[Word], macros: &Macros) -> bool {
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        if word.text == b"{" {
            at = behind(words, at);
            continue;
        }
        if EMITTING.contains(&word.text) || ALIASING.contains(&word.text) || macros.is_emitting(word.id) {
            return true;
        }
        at += 1;
    }
    false
}

/// The tokens at depth 0 without attributes.
fn without_attributes<'a>(words: &[Word<'a>], macros: &Macros) -> Option<Vec<Part<'a>>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        match word.text {
            b"(" | b"[" | b"{" => {
                let end = behind(words, at);
                parts.push(Part::Group(word.text[0], at, end));
                at = end;
                continue;
            }
            b")" | b"]" | b"}" => return None,
            _ => {}
        }
        at += 1;
        let attribute = names::is_attribute_word(word.text);
        if attribute || macros.is_attribute(word.id) || word.text == b"__extension__" {
            let takes = attribute || macros.is_function_like(word.id);
            if takes && words.get(at).is_some_and(|next| next.text == b"(") {
                at = behind(words, at);
            }
            continue;
        }
        if names::is_typeof(word.text) && words.get(at).is_some_and(|next| next.text == b"(") {
            at = behind(words, at);
        }
        parts.push(Part::Word(word));
    }
    Some(parts)
}

/// The name in a declarator of a `typedef` or `extern` declaration.
fn declarator_name<'a>(parts: &[Part<'a>], words: &[Word<'a>], macros: &Macros) -> Option<Declared<'a>> {
    let group = parts.iter().enumerate().find_map(|(index, part)| match part {
        Part::Group(b'(', start, end) => Some((index, *start, *end)),
        _ => None,
    });
    let last_word = |parts: &[Part<'a>]| {
        parts.iter().rev().find_map(|part| match part {
            Part::Word(word) if is_identifier(word.text) => Some(*word),
            _ => None,
        })
    };
    let Some((index, start, end)) = group else { return plain(&last_word(parts)?, macros) };
    // `*(name)`, `(*name)(...)`, `(name)(...)`: a second group follows, or nothing that could be a name stands before.
    let parenthesised = parts[index + 1..].iter().any(|part| matches!(part, Part::Group(b'(', ..)));
    if !parenthesised && let Some(Part::Word(name)) = index.checked_sub(1).map(|before| &parts[before]) {
        return plain(name, macros);
    }
    let mut inner = words[start + 1..end].iter();
    let name = inner.find(|word| is_identifier(word.text) && !names::is_specifier(word.text))?;
    if macros.is_attribute(name.id) || macros.is_function_like(name.id) { None } else { plain(name, macros) }
}

/// Tags and enumerators between two words, at any depth. Those inside of parentheses (parameters) are taken too.
fn tags<'a>(words: &[Word<'a>], from: usize, to: usize, macros: &Macros, found: &mut Vec<Declared<'a>>) -> Option<()> {
    for at in from..to {
        if !is_record(&words[at]) {
            continue;
        }
        let mut next = at + 1;
        let mut tag = None;
        while next < to && (is_identifier(words[next].text) || words[next].text == b"(") {
            if words[next].text == b"(" {
                next = behind(words, next);
                continue;
            }
            let word = words[next];
            if !(names::is_attribute_word(word.text) || macros.is_attribute(word.id)) {
                tag = tag.or(Some(word));
            }
            next += 1;
        }
        if words.get(next).is_none_or(|word| word.text != b"{") {
            continue;
        }
        if let Some(tag) = tag {
            if macros.is_alias(tag.id) {
                return None;
            }
            found.push(Declared { name: tag, tag: true, body: false });
        }
        if words[at].text == b"enum" {
            enumerators(&words[next + 1..behind(words, next).max(next + 2) - 1], macros, found)?;
        }
    }
    Some(())
}

fn enumerators<'a>(words: &[Word<'a>], macros: &Macros, found: &mut Vec<Declared<'a>>) -> Option<()> {
    let mut at = 0;
    while at < words.len() {
        let word = words[at];
        if word.kind != Kind::Identifier {
            return None;
        }
        let next = words.get(at + 1).map_or(&b","[..], |next| next.text);
        if !matches!(next, b"," | b"=") || macros.is_function_like(word.id) && next == b"(" {
            return None;
        }
        // `#define NAME NAME` beside an enumerator is common; any other macro would hide it.
        found.push(plain(&word, macros)?);
        at += 1;
        while at < words.len() && words[at].text != b"," {
            at = if matches!(words[at].text, b"(" | b"[" | b"{") { behind(words, at) } else { at + 1 };
        }
        at += 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::macros::{Definition, definition, words};
    use super::super::outline::outline;
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        let defines = "#define __user\n#define __must_check __attribute__((warn_unused_result))\n#define __acquires(x)\n\
                       #define __packed __attribute__((packed))\n#define DECLARE(x) int x\n#define hidden other\n\
                       #define END ;\n#define kept kept\n#define __keep __attribute__((used))\n#define __always_inline inline\n";
        let outline = outline(defines.as_bytes());
        let ranges = outline.items.iter().map(|item| item.text.start as usize..item.text.end as usize);
        let definitions: Vec<(u32, Definition)> =
            ranges.filter_map(|r| Some((0, definition(defines.as_bytes(), r)?))).collect();
        let macros = Macros::new(&definitions);
        let found = declared(&words(text.as_bytes(), 0..text.len()), &macros)?;
        Some(found.iter().map(|d| String::from_utf8_lossy(d.name.text).into_owned()).collect())
    }

    #[test]
    fn what_makes_no_code_declares_names() {
        let cases: &[(&str, &[&str])] = &[
            ("static inline int __must_check f(struct s *a) __acquires(a) { return g(a); }", &["f"]),
            ("static __always_inline struct s *f(int a) { }", &["f"]),
            ("struct s { struct t { int a; } b; enum { X = 1, Y } c; } __packed;", &["s", "t", "X", "Y"]),
            ("enum e { A, B = f(1, 2), kept };", &["e", "A", "B", "kept"]),
            ("typedef int (*fn_t)(struct s *a, int b);", &["fn_t"]),
            ("typedef int (fn_t)(int);", &["fn_t"]),
            ("typedef struct { int a; } s_t;", &["s_t"]),
            ("typedef struct s s_t, *s_p;", &["s_t", "s_p"]),
            ("extern struct s table[], one __user;", &["table", "one"]),
            ("extern int (*hook)(int a);", &["hook"]),
            ("extern int f(int a) __must_check;", &["f"]),
            ("int f(int (*callback)(int), int b);", &["f"]),
            ("struct s;", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|name| name.to_string()).collect();
            assert_eq!(names(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_sure_declares_nothing() {
        for text in [
            "static int f(int a) { return 1; }",
            "inline int f(int a) { return 1; }",
            "static inline int __keep f(int a) { return 1; }",
            "static inline int __attribute__((used)) f(int a) { return 1; }",
            "int a;",
            "int a = 1;",
            "struct s { int a; } b;",
            "DECLARE(x);",
            "static DECLARE(x);",
            "extern DECLARE(x);",
            "enum e { DECLARE(a), B };",
            "enum e { hidden, B };",
            "static inline int hidden(int a) { return 1; }",
            "extern int a END int b;",
            "extern int f(void) __attribute__((alias(\"g\")));",
            "int (*hook)(int);",
            "unknown;",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }
}
