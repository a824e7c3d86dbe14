//! Tracepoints that the kernel can't switch in the module's code: what stands in for `trace_X()`.
//!
//! The header's function has a jump entry on the tracepoint's key and a static call of its first probe
//! (include/linux/tracepoint.h, __DECLARE_TRACE() and __DO_TRACE()). The one that stands in asks the key, and calls what
//! runs all probes: the same probes run, with the same arguments.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::closure::{Closure, WILDCARD};
use crate::rewrite::{declaration, layout};
use crate::unit::groups::GroupId;
use crate::unit::groups::is_identifier;
use crate::unit::live::Extent;
use crate::unit::names::Role;

/// Prefix of the functions that stand in.
const PREFIX: &str = "klpt_";

/// What begins the name of a tracepoint's own structure, of its functions, and of what runs its probes.
pub const TRACEPOINT: &str = "__tracepoint_";
const FUNCTION: &str = "trace_";
const PROBES: &str = "__traceiter_";

/// A function that stands in for a tracepoint's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The header's function, which becomes a macro.
    pub name: String,
    /// What the macro leads to.
    pub new_name: String,
    /// Its definition.
    pub text: String,
}

/// What stands in for the functions of the tracepoint of this name (`X`), as far as the closure has them. Nothing where the
/// header's function isn't of the known shape.
pub fn stand_ins(closure: &Closure, name: &str) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    let (event, key) = (format!("{FUNCTION}{name}"), format!("{TRACEPOINT}{name}.key"));
    if let Some(tokens) = tokens(closure, &event) {
        let shape = Shape::of(&tokens, &event)?;
        let comma: &[&str] = if shape.arguments.is_empty() { &[] } else { &[","] };
        let arguments = [&["NULL"], comma, shape.arguments].concat();
        let new_name = format!("{PREFIX}{event}");
        let line = |text: String, tabs: usize| format!("{}{}", "\t".repeat(tabs), layout::broken(&text, tabs));
        let online = match shape.condition {
            None => format!("!{ONLINE}"),
            Some(more) => format!("!({ONLINE} && {})", layout::spaced(more)),
        };
        let parameters: Vec<String> = shape.parameters.iter().map(|word| word.to_string()).collect();
        let parameters = declaration::joined(&parameters);
        let text = [
            line(format!("static inline void {new_name}({parameters})"), 0),
            "{".into(),
            line(format!("if (!static_key_enabled(&{key}) || {online})"), 1),
            line("return;".into(), 2),
            line("preempt_disable_notrace();".into(), 1),
            line(format!("{PROBES}{name}({});", layout::spaced(&arguments)), 1),
            line("preempt_enable_notrace();".into(), 1),
            "}".into(),
        ];
        let text = text.join("\n");
        events.push(Event { name: event, new_name, text });
    }
    let enabled = format!("{FUNCTION}{name}_enabled");
    if tokens(closure, &enabled).is_some() {
        let new_name = format!("{PREFIX}{enabled}");
        let text = format!("static inline bool {new_name}(void)\n{{\n\treturn static_key_enabled(&{key});\n}}");
        events.push(Event { name: enabled, new_name, text });
    }
    (!events.is_empty()).then_some(events)
}

/// The groups that declare tracepoints. Where they are copied they stand before the macros, as a header does: so what stands
/// in for their functions can name what they declare.
pub fn groups(closure: &Closure) -> BTreeSet<GroupId> {
    let declares = |(name, role): &(String, Role)| *role == Role::Variable && name.starts_with(TRACEPOINT);
    closure.graph.node_weights().filter(|node| node.names.iter().any(declares)).map(|node| node.group).collect()
}

/// The tokens of a tracepoint's function.
fn tokens<'a>(closure: &'a Closure, name: &str) -> Option<Vec<&'a str>> {
    let is_it = |(known, role): &(String, Role)| known == name && *role == Role::Function;
    let mut nodes = closure.graph.node_weights();
    let node = nodes.find(|node| node.extent == Extent::Whole && node.names.iter().any(is_it))?;
    Some(node.tokens.iter().map(|token| closure.texts[(token & !WILDCARD) as usize].as_str()).collect())
}

/// What matters of `trace_X()`.
struct Shape<'t, 'a> {
    parameters: &'t [&'a str],
    /// What must hold beside [`ONLINE`], in parentheses: of DECLARE_TRACE_CONDITION().
    condition: Option<&'t [&'a str]>,
    /// Of the probes, behind `__data`.
    arguments: &'t [&'a str],
}

impl<'t, 'a> Shape<'t, 'a> {
    fn of(tokens: &'t [&'a str], name: &str) -> Option<Shape<'t, 'a>> {
        let named = tokens.iter().position(|token| *token == name)? + 1;
        let parameters = inside(tokens, named)?;
        let behind = |start: usize, words: &[&str]| {
            tokens[start..].windows(words.len()).position(|window| window == words).map(|at| start + at)
        };
        let start = behind(named, &["if", "(", "!", "("])? + 3;
        let whole = inside(tokens, start)?;
        let end = start + 1 + whole.len();
        if tokens.get(end..end + 3)? != [")", ")", "return"] {
            return None;
        }
        let call = behind(end, &["(", "__data"])?;
        let arguments = inside(tokens, call)?.strip_prefix(&["__data"])?;
        let arguments = arguments.strip_prefix(&[","]).unwrap_or(arguments);
        // They are the parameters, whatever the macro makes of them.
        let is_name = |word: &&str| is_identifier(word.as_bytes()) && parameters.contains(word);
        if !arguments.iter().all(|word| *word == "," || is_name(word)) {
            return None;
        }
        let condition = more(whole)?;
        let online = &whole[..whole.len() - condition.map_or(0, <[_]>::len)];
        let mentions = online.iter().any(|word| is_name(word) && arguments.contains(word));
        (online.iter().any(|word| MEANS_ONLINE.contains(word)) && !mentions).then_some(Shape {
            parameters,
            condition,
            arguments,
        })
    }
}

/// What must hold for any event (include/linux/tracepoint.h, DECLARE_TRACE()), and what its expansion mentions.
const ONLINE: &str = "cpu_online(raw_smp_processor_id())";
const MEANS_ONLINE: [&str; 2] = ["cpu_online", "__cpu_online_mask"];

/// What stands behind the last `&&` of a condition, which is in parentheses (DECLARE_TRACE_CONDITION()). Nothing where it
/// is of another shape.
fn more<'t, 'a>(condition: &'t [&'a str]) -> Option<Option<&'t [&'a str]>> {
    let mut depth = 0;
    let mut last = None;
    for (at, token) in condition.iter().enumerate() {
        match *token {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth -= 1,
            "&&" if depth == 0 => last = Some(at + 1),
            "||" | "?" | "," if depth == 0 => return None,
            _ => {}
        }
    }
    let Some(start) = last else { return Some(None) };
    let is_whole = inside(condition, start).is_some_and(|words| start + words.len() + 2 == condition.len());
    is_whole.then(|| Some(&condition[start..]))
}

/// What stands between the parenthesis at this place and the one that closes it.
fn inside<'t, 'a>(tokens: &'t [&'a str], open: usize) -> Option<&'t [&'a str]> {
    if *tokens.get(open)? != "(" {
        return None;
    }
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&tokens[open + 1..at]);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracepoint_has_parameters_a_condition_and_arguments() {
        let text = "static inline void trace_x ( int a , const void * p ) { if ( static_key_false ( & __tracepoint_x . key ) ) \
                    do { struct tracepoint_func * it_func_ptr ; void * __data ; if ( ! ( test ( ( const void * ) & __cpu_online_mask ) ) ) return ; \
                    if ( it_func_ptr ) { __data = ( it_func_ptr ) -> data ; ( & __SCT__tp_func_x ) ( __data , a , p ) ; } } \
                    while ( 0 ) ; }";
        let tokens: Vec<&str> = text.split_whitespace().collect();
        let shape = Shape::of(&tokens, "trace_x").unwrap();
        assert_eq!(shape.parameters.join(" "), "int a , const void * p");
        assert!(shape.condition.is_none());
        assert_eq!(shape.arguments.join(" "), "a , p");
        let more: Vec<&str> =
            text.replace("online_mask ) ) )", "online_mask ) && ( a > 0 ) ) )").leak().split_whitespace().collect();
        assert_eq!(Shape::of(&more, "trace_x").unwrap().condition.unwrap().join(" "), "( a > 0 )");
        // Another argument than a parameter, and no condition.
        let other: Vec<&str> = text.replace("__data , a", "__data , 1").leak().split_whitespace().collect();
        assert!(Shape::of(&other, "trace_x").is_none());
        let other: Vec<&str> = text.replace("if ( ! (", "if ( (").leak().split_whitespace().collect();
        assert!(Shape::of(&other, "trace_x").is_none());
    }
}
