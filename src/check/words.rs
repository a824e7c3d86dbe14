//! What is compared of a statement: its words in the module as they should be, and as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::closure::{Closure, Node, WILDCARD};
use crate::rewrite::{Naming, declaration, pointers};
use crate::unit::expand::{Expanded, Token};
use crate::unit::groups::{Outline, StatementId};
use crate::unit::live::Extent;
use crate::unit::names::{self, Attribute, Role, is_attribute_word};

/// A token to compare: its text, and whether it may differ.
pub(super) type Word<'a> = (&'a str, bool);

/// A node's words in the module. `below`: do they stand below the macros?
pub(super) fn expected<'a>(
    closure: &'a Closure,
    (node, below): (&'a Node, bool),
    target: Option<(&str, &'a str)>,
    renamed: &'a BTreeMap<String, String>,
    (naming, calls): (&'a Naming, &BTreeSet<&str>),
) -> Vec<Word<'a>> {
    let tokens = match node.extent {
        Extent::Whole => &node.tokens[..],
        Extent::Signature => &node.tokens[..node.signature_tokens],
    };
    let is_type = !matches!(node.names.first(), Some((_, Role::Function | Role::Prototype | Role::Variable)));
    let mut before = "";
    let text = |token: &u32| closure.texts[(token & !WILDCARD) as usize].as_str();
    let words = tokens.iter().enumerate().map(|(at, token)| {
        let (text, is_called) = (text(token), tokens.get(at + 1).is_some_and(|next| text(next) == "("));
        let new = renamed.get(text).filter(|_| match naming.everywhere {
            true => !is_type && naming.renames(text, before),
            false => is_called || !calls.contains(text),
        });
        before = text;
        (new.map_or(text, String::as_str), token & WILDCARD != 0)
    });
    let mut words: Vec<Word> = words.collect();
    if node.extent == Extent::Whole && below {
        for (range, new) in substitutions(node, &words, naming).into_iter().rev() {
            words.splice(range, new);
        }
    }
    match (node.extent, target) {
        (Extent::Signature, _) if node.is_mixed => sized(without_storage(words), node),
        (Extent::Signature, _) => sized(without_specifiers(first_declarator(words)), node),
        (_, None) => words,
        (_, Some((old, new))) => {
            let mut seen = false;
            let rename = |(text, wildcard)| {
                let is_name = text == old && !seen;
                seen |= is_name;
                (if is_name { new } else { text }, wildcard)
            };
            words.into_iter().map(rename).collect()
        }
    }
}

/// What stands elsewhere in the module for tokens of a copied statement, from first to last, none in another one.
fn substitutions<'a>(node: &'a Node, words: &[Word<'a>], naming: &'a Naming) -> Vec<(Range<usize>, Vec<Word<'a>>)> {
    let pointed = |word: Word<'a>| match naming.pointers.get(word.0) {
        Some(pointer) => vec![("(", false), ("*", false), (pointer.as_str(), false), (")", false)],
        None => vec![word],
    };
    let edits = node.static_edits(|name| naming.statics.contains_key(name)).into_iter();
    let mut all: Vec<(Range<usize>, Vec<Word>)> = edits
        .map(|edit| (edit.tokens.clone(), edit.new.iter().flat_map(|word| pointed((word.as_str(), false))).collect()))
        .collect();
    let meant = |at: &u32| words.get(*at as usize).is_some_and(|word| naming.pointers.contains_key(word.0));
    let objects = node.objects.iter().filter(|at| meant(at)).map(|at| *at as usize);
    all.extend(objects.map(|at| (at..at + 1, pointed(words[at]))));
    if naming.switches {
        for switch in &node.switches {
            let argument = words[switch.argument.clone()].iter().flat_map(|word| pointed(*word));
            all.push((switch.tokens.clone(), invocation(&switch.name, &switch.trampolines, argument.collect())));
        }
    }
    all.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    all.retain(|(range, _)| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    all
}

/// What the place of a static key or call compares as: what it is about, however the macro of this name says it.
pub(super) fn invocation<'a>(
    name: &'a str,
    trampolines: &'a BTreeSet<String>,
    argument: Vec<Word<'a>>,
) -> Vec<Word<'a>> {
    let mut words = vec![(name, false), ("(", false)];
    words.extend(argument);
    words.extend(trampolines.iter().map(|trampoline| (trampoline.as_str(), false)));
    words.push((")", false));
    words
}

/// The declaration of an array has the size that its initialiser gives it, where it is ours and not a header's.
fn sized<'a>(mut words: Vec<Word<'a>>, node: &'a Node) -> Vec<Word<'a>> {
    let texts: Vec<&str> = words.iter().map(|word| word.0).collect();
    let several = node.names.iter().filter(|(_, role)| *role == Role::Variable).count() > 1;
    if let (true, Some(length), Some((name, _))) =
        (node.copied && !(node.is_mixed && several), &node.array_length, node.declared())
        && let Some(at) = declaration::open_bracket(&texts, name)
    {
        words.insert(at + 1, (length, false));
    }
    words
}

/// The type that a statement defines, without the objects that it declares.
pub(super) fn type_alone(words: Vec<Word>) -> Vec<Word> {
    let start = words.iter().position(|word| matches!(word.0, "struct" | "union" | "enum")).unwrap_or(0);
    let (mut depth, mut end) = (0, words.len());
    for (at, (text, _)) in words.iter().enumerate().skip(start) {
        match *text {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            _ => continue,
        }
        let goes_on = words.get(at + 1).is_some_and(|next| next.0 == "__attribute__");
        if depth == 0 && matches!(*text, "}" | ")") && !goes_on && words[start..at].iter().any(|word| word.0 == "{") {
            end = at + 1;
            break;
        }
    }
    without_storage(words[start..end].to_vec())
}

/// Up to the comma that parts two declarators: what is copied has a declaration each in the module, a header has one for all.
fn first_declarator(mut words: Vec<Word>) -> Vec<Word> {
    let mut depth = 0;
    let comma = words.iter().position(|(text, _)| {
        match *text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && *text == ","
    });
    words.truncate(comma.unwrap_or(words.len()));
    words
}

pub(super) fn found<'a>(module: &'a Expanded, outline: &Outline, id: StatementId, node: &Node) -> Vec<Word<'a>> {
    let statement = &outline.statements[id.0 as usize];
    let word = |token: &Token| {
        let text = std::str::from_utf8(module.interner().text(token.symbol)).unwrap_or("\u{fffd}");
        (text, module.varies(token))
    };
    let words: Vec<Word> = module.tokens[statement.tokens()].iter().map(word).collect();
    match node.extent {
        Extent::Whole => words,
        Extent::Signature => {
            let end = (outline.signature_end(module, id) - statement.start) as usize;
            if node.is_mixed {
                return without_storage(words[..end].to_vec());
            }
            without_specifiers(first_declarator(words[..end].to_vec()))
        }
    }
}

/// A declaration that defines a type too: the attributes are the type's.
fn without_storage(mut words: Vec<Word>) -> Vec<Word> {
    words.retain(|(text, _)| !matches!(*text, "static" | "extern" | ";"));
    words
}

/// A declaration without what a declaration of something of another unit may lack: storage class, `inline`, attributes.
fn without_specifiers(words: Vec<Word>) -> Vec<Word> {
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let text = words[at].0;
        if is_attribute_word(text.as_bytes()) && words.get(at + 1).is_some_and(|next| next.0 == "(") {
            let mut depth = 0;
            at += 1;
            while at < words.len() {
                match words[at].0 {
                    "(" => depth += 1,
                    ")" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            continue;
        }
        if !matches!(text, "static" | "extern" | "inline" | "__inline" | "__inline__" | ";") {
            kept.push(words[at]);
        }
        at += 1;
    }
    kept
}

/// The first difference in words.
pub(super) fn difference(expected: &[Word], found: &[Word], target: bool) -> Option<String> {
    let (expected, found) = (&compared(expected, target)[..], &compared(found, target)[..]);
    let mut attribute = Attribute::default();
    let differs = |(a, b): (&Word, &Word)| {
        let inside = attribute.step(a.0);
        a.0 != b.0 && !(a.1 && b.1) && !(inside && (bare(a.0) == bare(b.0) || is_message_of(a.0, b.0)))
    };
    let at = expected.iter().zip(found).position(differs);
    let at = match at {
        Some(at) => at,
        None if expected.len() == found.len() => return None,
        None => expected.len().min(found.len()),
    };
    let around = |words: &[Word]| {
        let words = &words[at.saturating_sub(3)..(at + 4).min(words.len())];
        words.iter().map(|word| word.0).collect::<Vec<_>>().join(" ")
    };
    Some(format!("the source has `{}`, the emitted C `{}`", around(expected), around(found)))
}

/// What of the words counts. A target becomes static in a module of one file, and visible in one of several.
fn compared<'a>(words: &[Word<'a>], target: bool) -> Vec<Word<'a>> {
    let words = without_addressable(words);
    if target { unstatic(words) } else { words }
}

/// A function's definition without `static`, `inline` and [`names::OF_ORIGINALS`] before its body.
fn unstatic(words: Vec<Word>) -> Vec<Word> {
    let body = words.iter().position(|word| word.0 == "{").unwrap_or(0);
    let specifier = |text: &str| matches!(text, "static" | "inline" | "__inline" | "__inline__");
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        if at < body && names::is_of_originals(words[at..body].iter().map(|word| word.0)) {
            at += names::ATTRIBUTE;
            continue;
        }
        if at >= body || !specifier(words[at].0) {
            kept.push(words[at]);
        }
        at += 1;
    }
    kept
}

/// Is it the same string but for names that the module reaches through pointers? Macros that compare types put their arguments
/// into the text of an error that the compiler would print (include/linux/minmax.h, include/linux/compiler_types.h).
fn is_message_of(source: &str, module: &str) -> bool {
    source.starts_with('"') && module.starts_with('"') && source == without_pointers(module)
}

/// `(*klpe_name)` as `name`.
fn without_pointers(text: &str) -> String {
    let mut parts = text.split(pointers::MACRO_START);
    let mut found = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once(')').unwrap_or((part, ""));
        found.extend([name, rest]);
    }
    found
}

/// An attribute's name without the underscores that GCC ignores: headers in another order may spell it the other way
/// (`notrace` of include/linux/compiler_types.h and of arch/x86/include/asm/linkage.h; GCC manual, "Attribute Syntax").
fn bare(name: &str) -> &str {
    name.strip_prefix("__").and_then(|name| name.strip_suffix("__")).unwrap_or(name)
}

/// A body without the pointers that only tell objtool of built-in code that a static call's key is in use:
/// `__ADDRESSABLE` makes them in a section that the linker discards. Modules may have none (include/linux/compiler.h;
/// include/linux/static_call_types.h, static_call_mod()): `({ static void *...; ; (&__SCT__f); })` is `(&__SCT__f)` there.
fn without_addressable<'a>(words: &[Word<'a>]) -> Vec<Word<'a>> {
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        if is_key_kept(words[at].0) {
            at += 1;
            continue;
        }
        if words[at].0 == "(" && words.get(at + 1).is_some_and(|word| word.0 == "{") {
            if let Some((inner, end)) = lone_expression(words, at) {
                kept.extend_from_slice(inner);
                at = end;
                continue;
            }
        } else if let Some(end) = addressable(words, at) {
            at = end;
            continue;
        }
        kept.push(words[at]);
        at += 1;
    }
    kept
}

/// The same in assembly, for calls that assembly makes: `".global __SCK__f;"` (arch/x86/include/asm/xen/hypercall.h,
/// `__ADDRESSABLE_xen_hypercall`; modules have nothing in its place).
fn is_key_kept(text: &str) -> bool {
    let key = text.strip_prefix("\".global __SCK__").and_then(|rest| rest.strip_suffix(";\""));
    key.is_some_and(|key| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

/// Is there such a pointer's declaration at a place? Then what is behind it.
fn addressable(words: &[Word], at: usize) -> Option<usize> {
    if words.get(at)?.0 != "static" {
        return None;
    }
    let end = words[at..].iter().position(|word| word.0 == ";").map_or(words.len(), |length| at + length);
    let declaration = &words[at..end];
    let discarded = declaration.iter().any(|word| word.0.contains(".discard.addressable"));
    (discarded && !declaration.iter().any(|word| word.0 == "{")).then_some(end + 1)
}

/// The expression of a statement expression that holds such a declaration and it alone, and what is behind it.
fn lone_expression<'w, 'a>(words: &'w [Word<'a>], open: usize) -> Option<(&'w [Word<'a>], usize)> {
    let is_semicolon = |at: usize| words.get(at).is_some_and(|word| word.0 == ";");
    let mut start = addressable(words, open + 2)?;
    while is_semicolon(start) {
        start += 1;
    }
    let mut depth = 0;
    let length = words[start..].iter().position(|word| {
        match word.0 {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && word.0 == ";"
    })?;
    let end = start + length;
    let closed = words.get(end + 1).is_some_and(|word| word.0 == "}") && words.get(end + 2).is_some_and(|w| w.0 == ")");
    closed.then_some((&words[start..end], end + 3))
}

/// The words that [`difference`] compares; those that may differ by what makes them, so that a diff doesn't show them.
pub(super) fn texts(words: &[Word], target: bool) -> Vec<String> {
    let text = |(text, varies): Word| match text.as_bytes().first() {
        _ if !varies => text.to_string(),
        Some(b'"') => "__FILE__".into(),
        Some(b'0'..=b'9') => "__LINE__".into(),
        // Pasted from one of those.
        _ => text.trim_end_matches(|c: char| c.is_ascii_digit()).to_string(),
    };
    compared(words, target).into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_that_keep_symbols_don_t_count() {
        const POINTER: &str = "static void * __attribute__ ( ( __section__ ( \".discard.addressable\" ) ) ) p = & k ;";
        let words =
            |text: &'static str| text.split(' ').filter(|w| !w.is_empty()).map(|w| (w, false)).collect::<Vec<_>>();
        let differ = |kernel: String, module: &'static str| {
            let kernel: &'static str = Box::leak(kernel.into_boxed_str());
            difference(&words(kernel), &words(module), false)
        };
        let module = "return ( & f ) ( ) ;";
        assert_eq!(differ(format!("return ( {{ {POINTER} ; ( & f ) ; }} ) ( ) ;"), module), None);
        assert_eq!(differ(format!("{{ {POINTER} return ( & f ) ( ) ; }}"), "{ return ( & f ) ( ) ; }"), None);
        // Any other statement counts.
        assert!(differ(format!("return ( {{ {POINTER} g ( ) ; ( & f ) ; }} ) ( ) ;"), module).is_some());
        assert!(differ("return ( { ; ( & f ) ; } ) ( ) ;".into(), module).is_some());
        assert!(differ(format!("return ( {{ {POINTER} ; ( & g ) ; }} ) ( ) ;"), module).is_some());
        assert!(is_key_kept("\".global __SCK__f;\"") && !is_key_kept("\".global __SCK__f; nop;\""));
        let message = |name: &str| format!("\"min({name}) signedness error\"");
        assert!(
            is_message_of(&message("x"), &message("(*klpe_x)")) && !is_message_of(&message("x"), &message("(*klpe_y)"))
        );
    }
}
