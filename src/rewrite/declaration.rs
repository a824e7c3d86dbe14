//! Declarations of what the running kernel provides, made from the statements that define or declare it.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;

use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::{FRONT_END, Result, refuse};
use crate::unit::groups::is_identifier;
use crate::unit::lex;
use crate::unit::names::{Role, UNDECLARED, is_attribute_word};

use super::{Item, Section, Sources, reason};

/// The longest line of the kernel's style that a reader doesn't mind (Documentation/process/coding-style.rst).
const LINE: usize = 100;

/// An `extern` declaration in place of a statement. `defined` are the names that the module has definitions of.
pub fn declared(closure: &Closure, sources: &mut Sources, index: NodeIndex, defined: &BTreeSet<&str>) -> Result<Item> {
    let node = &closure.graph[index];
    if node.is_mixed {
        return mixed(closure, sources, index);
    }
    let (name, role) = node.names.first().cloned().unwrap_or((String::new(), Role::Variable));
    if ordinary(node).count() > 1 {
        return several(closure, index, defined);
    }
    let mut edits = Vec::new();
    let mut words = match node.signature_end {
        Some(end) if node.name_position.is_some() => {
            let text = sources.text(closure, node.position, end)?;
            source_words(&text.text)
        }
        _ => token_words(closure, node),
    };
    // An array that the unit nowhere gives a size keeps none: the kernel's own code doesn't know it either.
    if let (Role::Variable, Some(length)) = (role, &node.array_length)
        && let Some(at) = open_bracket(&words, &name)
    {
        words.insert(at + 1, length.to_string());
        edits.push(format!("the number of elements of {name}, {length}, is its initialiser's"));
    }
    let text = format!("extern {};", joined(&words));
    Ok(item(closure, index, name, wrapped(&text), edits))
}

fn item(closure: &Closure, index: NodeIndex, name: String, text: String, edits: Vec<String>) -> Item {
    let node = &closure.graph[index];
    Item {
        section: Section::Externals,
        order: node.position.order,
        behind_headers: false,
        name,
        kind: "declaration",
        file: closure.files[node.position.file as usize].path.clone(),
        line: node.position.line,
        reason: reason(closure, index),
        preamble: String::new(),
        text,
        edits,
    }
}

/// The `[` behind an array's name that its initialiser must fill.
pub fn open_bracket<S: AsRef<str>>(words: &[S], name: &str) -> Option<usize> {
    // A tag or a member may have the name too.
    let behind = words.iter().rposition(|word| word.as_ref() == name)? + 1;
    let word = |at: usize| words.get(at).map(AsRef::as_ref);
    (word(behind) == Some("[") && word(behind + 1) == Some("]")).then_some(behind)
}

/// The variables and functions that a statement declares.
fn ordinary(node: &Node) -> impl Iterator<Item = &str> {
    let names = node.names.iter().filter(|(_, role)| matches!(role, Role::Variable | Role::Prototype));
    names.map(|(name, _)| name.as_str())
}

/// A statement that defines a type and declares objects: with the objects, which are the running kernel's, where something
/// needs them, else the type alone.
fn mixed(closure: &Closure, sources: &mut Sources, index: NodeIndex) -> Result<Item> {
    let node = &closure.graph[index];
    let name = node.declared().map_or(String::new(), |(name, _)| name.clone());
    let untold = || {
        let message = format!("{name} is declared together with its type, and where that ends can't be told");
        refuse(FRONT_END, message)
    };
    let Some(end) = node.signature_end else { return untold() };
    let mut text = sources.text(closure, node.position, end)?.text.trim_end().to_string();
    text.push_str(";\n");
    let variables = node.names.iter().filter(|(_, role)| *role == Role::Variable).map(|(name, _)| name.as_str());
    let variables: BTreeSet<&str> = variables.collect();
    let Some((keyword, objects)) = parts_of(&text, &variables) else { return untold() };
    let mut edits = Vec::new();
    if closure.has_used_objects(index) {
        let open = text[objects.clone()].find("[]").map(|at| objects.start + at);
        match (&node.array_length, open) {
            (Some(length), Some(at)) if variables.len() == 1 => {
                text.insert_str(at + 1, length);
                edits.push(format!("the number of elements of {name}, {length}, is its initialiser's"));
            }
            (_, Some(_)) if variables.len() > 1 => return untold(),
            _ => {}
        }
        let qualifiers = text[..keyword].split_whitespace().filter(|word| !matches!(*word, "static" | "extern"));
        let qualifiers: String = qualifiers.map(|word| format!("{word} ")).collect();
        text.replace_range(..keyword, &format!("extern {qualifiers}"));
        edits.push(format!("{name} is the running kernel's"));
    } else {
        edits.push(format!("without {}", text[objects.clone()].trim()));
        text.replace_range(objects, "");
        text.replace_range(..keyword, "");
    }
    if let Some(bytes) = node.pack {
        text = format!("#pragma pack(push, {bytes})\n{text}#pragma pack(pop)\n");
        edits.push(format!("under the source's #pragma pack({bytes})"));
    }
    // Its type stands among the types.
    Ok(Item { section: Section::Types, kind: "type", ..item(closure, index, name, text, edits) })
}

/// Of a text that defines a type and declares objects: where `struct`, `union` or `enum` is, and where the objects are, up to the
/// semicolon. Attributes of the type stand before those, and may be macros.
fn parts_of(text: &str, objects: &BTreeSet<&str>) -> Option<(usize, std::ops::Range<usize>)> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut keyword, mut closed, mut star) = (0, 0, None, false, None);
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return None;
        }
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let end = lex::token(bytes, at).0.min(bytes.len());
        let word = text.get(at..end)?;
        match (word, depth) {
            ("struct" | "union" | "enum", 0) if keyword.is_none() => keyword = Some(at),
            // A declarator may begin so: `} *list, (*call)(void);`.
            ("*" | "(", 0) if closed && star.is_none() => {
                star = Some(at);
                depth += u32::from(word == "(");
            }
            ("{" | "(", _) => depth += 1,
            ("}" | ")", _) => {
                depth = u32::checked_sub(depth, 1)?;
                closed |= word == "}" && depth == 0;
            }
            (name, _) if closed && objects.contains(name) => {
                let from = star.unwrap_or(at);
                let semicolon = text[from..].rfind(';')? + from;
                return Some((keyword?, text[..from].trim_end().len()..semicolon));
            }
            _ => {}
        }
        // An attribute's parentheses are no declarator's.
        if depth == 0 && !matches!(word, "*") {
            star = None;
        }
        at = end.max(at + 1);
    }
}

/// Declarations of all that one statement declares (`int a = 1, *b = &a, c[4];`), from its tokens.
fn several(closure: &Closure, index: NodeIndex, defined: &BTreeSet<&str>) -> Result<Item> {
    let node = &closure.graph[index];
    let tokens = node.tokens.iter().map(|token| closure.texts[(token & !WILDCARD) as usize].as_str());
    let tokens: Vec<&str> = tokens.collect();
    let name = ordinary(node).next().unwrap_or_default().to_string();
    let named = tokens.iter().position(|token| *token == name).unwrap_or(0);
    // The declarator begins with the stars and parentheses before the name.
    let mut start = named;
    while start > 0 && matches!(tokens[start - 1], "*" | "(") {
        start -= 1;
    }
    let specifiers = cleaned(&tokens[..start]);
    let mut text = String::new();
    for (declarator, _) in
        declarators(&tokens[start..]).into_iter().zip(ordinary(node)).filter(|(_, name)| !defined.contains(name))
    {
        let words: Vec<String> = specifiers.iter().cloned().chain(cleaned(declarator)).collect();
        text.push_str(&format!("extern {};\n", joined(&words)));
    }
    // Where an initialiser or another declaration tells, which of them is known of the first name alone.
    let is_elsewhere = node.array_length.is_none() && tokens.first() == Some(&"extern") && !tokens.contains(&"=");
    if text.contains("[]") && !is_elsewhere {
        return refuse(
            FRONT_END,
            format!("{name} is declared together with an array whose size only its initialiser tells"),
        );
    }
    Ok(item(closure, index, name, text, Vec::new()))
}

/// The declarators of a declaration, without their initialisers.
fn declarators<'t, 'a>(tokens: &'t [&'a str]) -> Vec<&'t [&'a str]> {
    let mut found = Vec::new();
    let (mut depth, mut start, mut end) = (0, 0, None);
    for (index, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            "=" if depth == 0 && end.is_none() => end = Some(index),
            "," | ";" if depth == 0 => {
                found.push(&tokens[start..end.unwrap_or(index)]);
                (start, end) = (index + 1, None);
            }
            _ => {}
        }
    }
    found
}

/// Words of an attribute that are about the definition, not about what callers see of it.
const OF_DEFINITIONS: &[&str] = &["alias", "weak", "section", "constructor", "destructor", "used", "noinline", "cold"];

/// Without `__attribute__((...))` that only a definition may have.
fn without_definitions(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_attribute = matches!(words[at].as_str(), "__attribute__" | "__attribute");
        let mut end = at + 1;
        if is_attribute {
            let mut depth = 0;
            while end < words.len() {
                depth += i32::from(words[end] == "(") - i32::from(words[end] == ")");
                end += 1;
                if depth == 0 {
                    break;
                }
            }
        }
        let drops = is_attribute && words[at..end].iter().any(|word| OF_DEFINITIONS.contains(&word.trim_matches('_')));
        if !drops {
            kept.extend_from_slice(&words[at..end]);
        }
        at = end;
    }
    kept
}

/// The words of the source text, attributes of no matter to a declaration left out.
fn source_words(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return without_definitions(words);
        }
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let (end, _) = lex::token(bytes, at);
        let word = String::from_utf8_lossy(&bytes[at..end.min(bytes.len())]).into_owned();
        at = end;
        if !UNDECLARED.contains(&word.as_str()) && word != ";" {
            words.push(word);
        }
    }
}

/// The words of the expanded tokens, for declarations that a macro makes (`DEFINE_MUTEX(x)`).
fn token_words(closure: &Closure, node: &Node) -> Vec<String> {
    let tokens = node.tokens[..node.signature_tokens].iter();
    let texts: Vec<&str> = tokens.map(|token| closure.texts[(token & !WILDCARD) as usize].as_str()).collect();
    cleaned(&texts)
}

/// Tokens without what a declaration must not have.
fn cleaned(texts: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut at = 0;
    while at < texts.len() {
        let text = texts[at];
        if is_attribute_word(text.as_bytes()) && texts.get(at + 1) == Some(&"(") {
            let mut depth = 0;
            let start = at;
            loop {
                at += 1;
                match texts.get(at) {
                    Some(&"(") => depth += 1,
                    Some(&")") => depth -= 1,
                    _ => {}
                }
                if depth == 0 || at >= texts.len() {
                    break;
                }
            }
            // Per-CPU data is told by its section.
            let attribute = &texts[start..(at + 1).min(texts.len())];
            if attribute.iter().any(|word| word.contains("percpu")) {
                words.extend(attribute.iter().map(|word| word.to_string()));
            }
        } else if !UNDECLARED.contains(&text) && text != ";" {
            words.push(text.to_string());
        }
        at += 1;
    }
    words
}

/// Words with the kernel's spacing.
pub fn joined(words: &[String]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", |before| words[before].as_str());
        let tight = text.is_empty()
            || matches!(word.as_str(), ")" | "," | "]" | "[" | ";")
            || matches!(before, "(" | "[")
            || (before == "*" && (word == "*" || is_identifier(word.as_bytes())))
            || (word == "(" && is_identifier(before.as_bytes()) && !is_type_word(before))
            || (word == "(" && before == ")");
        if !tight {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

fn is_type_word(word: &str) -> bool {
    matches!(word, "int" | "char" | "long" | "short" | "void" | "unsigned" | "signed" | "bool" | "const")
}

/// Breaks a declaration at its commas.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for part in text.split_inclusive(", ") {
        if !line.is_empty() && line.len() + part.trim_end().len() > LINE - 8 {
            out.push_str(line.trim_end());
            out.push('\n');
            line = "\t\t".into();
        }
        line.push_str(part);
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_have_the_kernels_spacing() {
        let cases = [
            (
                "static noinline int set_timeout(long *timeo_p, const char *const *names,\n\t\tbool old)\n",
                "int set_timeout(long *timeo_p, const char *const *names, bool old)",
            ),
            ("static void (*handler[3])(int a)", "void (*handler[3])(int a)"),
            ("static struct foo *lookup(struct net *net /* why */)", "struct foo *lookup(struct net *net)"),
            ("static DEFINE(x) __read_mostly", "DEFINE(x)"),
            ("struct a * (*next)(struct a * * , char * const)", "struct a * (*next)(struct a **, char *const)"),
        ];
        for (source, expected) in cases {
            assert_eq!(joined(&source_words(source)), expected);
        }
    }

    #[test]
    fn attributes_of_definitions_are_left_out() {
        let source = "static int f(int a) __attribute__((alias(\"g\"))) __attribute__((noreturn))";
        assert_eq!(joined(&source_words(source)), "int f(int a) __attribute__((noreturn))");
    }

    #[test]
    fn declarators_are_told_apart() {
        let tokens: Vec<&str> = "a = f ( 1 , 2 ) , * b , c [ 4 ] = { 1 , 2 } , d = { . x = 1 } ;".split(' ').collect();
        let found: Vec<String> = declarators(&tokens).iter().map(|words| words.join(" ")).collect();
        assert_eq!(found, ["a", "* b", "c [ 4 ]", "d"]);
    }

    #[test]
    fn a_type_and_its_objects_are_told_apart() {
        let cases = [
            ("struct a { int n; } x, *y;\n", "struct a { int n; }"),
            ("static struct a {\n\tint (*n)(int);\n} *x, (*y)(void);\n", "struct a {\n\tint (*n)(int);\n}"),
            ("static struct a { struct b { int x; } n; } (*y)[2];\n", "struct a { struct b { int x; } n; }"),
            (
                "const union a { int n; } __aligned(sizeof(int)) x = { 1 };\n",
                "union a { int n; } __aligned(sizeof(int))",
            ),
            ("enum { x1, y1 } * x;\n", "enum { x1, y1 }"),
            ("static struct __aligned(8) x { int n; } y;\n", "struct __aligned(8) x { int n; }"),
        ];
        for (text, of_type) in cases {
            let (keyword, objects) = parts_of(text, &BTreeSet::from(["x", "y"])).unwrap();
            assert_eq!(&text[keyword..objects.start], of_type);
            assert_eq!(&text[objects.end..], ";\n");
        }
        for text in ["struct a { int x; };\n", "struct a { int n; } z;\n", "int x;\n", "struct a }) x;\n"] {
            assert!(parts_of(text, &BTreeSet::from(["x", "y"])).is_none(), "{text}");
        }
    }

    #[test]
    fn long_declarations_are_broken() {
        let text = format!("extern int f({});", ["unsigned long parameter"; 8].join(", "));
        let wrapped = wrapped(&text);
        assert!(wrapped.lines().all(|line| line.len() <= LINE) && wrapped.lines().count() > 1, "{wrapped}");
        assert_eq!(super::wrapped("extern int f(int first, int second);"), "extern int f(int first, int second);\n");
    }

    #[test]
    fn the_open_bracket_is_that_of_the_name() {
        let of = |text: &str| open_bracket(&text.split(' ').collect::<Vec<_>>(), "a");
        assert_eq!(of("struct a a [ ]"), Some(3));
        for other in ["int a [ 4 ]", "int a", "int b [ ]", "int b [ ] , a", "int a ] [ ]"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
