//! Declarations of what the running kernel provides, made from the statements that define or declare it.

use petgraph::graph::NodeIndex;

use crate::closure::{Closure, Node, WILDCARD};
use crate::finding::Result;
use crate::unit::groups::is_identifier;
use crate::unit::lex;
use crate::unit::names::{Role, is_attribute_word};

use super::{Item, Section, Sources, reason};

/// Words of a definition that its declaration must not have: the symbol is not static any more, the function not
/// inline, and where its code lies is the running kernel's business.
const LEFT_OUT: &[&str] = &[
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
    "__initdata",
    "__init",
    "__cold",
    "__maybe_unused",
    "__used",
    "__sched",
    "__ref",
    "__refdata",
    "__cacheline_aligned",
    "__cacheline_aligned_in_smp",
    "____cacheline_aligned",
    "____cacheline_aligned_in_smp",
];

/// The longest line of the kernel's style that a reader doesn't mind (Documentation/process/coding-style.rst).
const LINE: usize = 100;

/// An `extern` declaration in place of a statement.
pub fn declared(closure: &Closure, sources: &mut Sources, index: NodeIndex) -> Result<Item> {
    let node = &closure.graph[index];
    let (name, role) = node.names.first().cloned().unwrap_or((String::new(), Role::Variable));
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
    Ok(Item {
        section: Section::Externals,
        order: node.position.order,
        name,
        kind: "declaration",
        file: closure.files[node.position.file as usize].path.clone(),
        line: node.position.line,
        reason: reason(closure, index),
        preamble: String::new(),
        text: wrapped(&text),
        edits,
    })
}

/// The `[` behind an array's name that its initialiser must fill.
pub fn open_bracket<S: AsRef<str>>(words: &[S], name: &str) -> Option<usize> {
    let behind = words.iter().position(|word| word.as_ref() == name)? + 1;
    let word = |at: usize| words.get(at).map(AsRef::as_ref);
    (word(behind) == Some("[") && word(behind + 1) == Some("]")).then_some(behind)
}

/// The words of the source text, attributes of no matter to a declaration left out.
fn source_words(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at = lex::gap(bytes, at).end;
        if at >= bytes.len() {
            return words;
        }
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let (end, _) = lex::token(bytes, at);
        let word = String::from_utf8_lossy(&bytes[at..end.min(bytes.len())]).into_owned();
        at = end;
        if !LEFT_OUT.contains(&word.as_str()) && word != ";" {
            words.push(word);
        }
    }
}

/// The words of the expanded tokens, for declarations that a macro makes (`DEFINE_MUTEX(x)`).
fn token_words(closure: &Closure, node: &Node) -> Vec<String> {
    let tokens = node.tokens[..node.signature_tokens].iter();
    let texts: Vec<&str> = tokens.map(|token| closure.texts[(token & !WILDCARD) as usize].as_str()).collect();
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
        } else if !LEFT_OUT.contains(&text) && text != ";" {
            words.push(text.to_string());
        }
        at += 1;
    }
    words
}

/// Words with the kernel's spacing.
fn joined(words: &[String]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", |before| words[before].as_str());
        let tight = text.is_empty()
            || matches!(word.as_str(), ")" | "," | "]" | "[")
            || matches!(before, "(" | "[")
            || (before == "*" && word != "*" && (is_identifier(word.as_bytes()) || word == ")"))
            || (before == "*" && word == "*")
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
        ];
        for (source, expected) in cases {
            assert_eq!(joined(&source_words(source)), expected);
        }
    }

    #[test]
    fn long_declarations_are_broken() {
        let text = format!("extern int f({});", ["unsigned long parameter"; 8].join(", "));
        let wrapped = wrapped(&text);
        assert!(wrapped.lines().all(|line| line.len() <= LINE) && wrapped.lines().count() > 1, "{wrapped}");
    }
}
