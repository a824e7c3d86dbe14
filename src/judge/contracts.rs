//! Sizes and results that code which isn't replaced relies on.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, SHARED_CONTRACT};
use crate::object::facts::{Binding, Holder};
use crate::unit::listing::Body;

use super::tables::ALLOCATORS;
use super::{Unit, list};

/// The largest error number (MAX_ERRNO, include/linux/err.h).
const MAX_ERRNO: i64 = 4095;

/// Errors that callers ask for by name, since they mean "do something else" (include/linux/errno.h,
/// include/uapi/asm-generic/errno.h): EINTR, EAGAIN, EINPROGRESS, ERESTARTSYS to ENOIOCTLCMD, EPROBE_DEFER, EOPENSTALE,
/// EIOCBQUEUED.
const MEANINGFUL: &[i64] = &[4, 11, 115, 512, 513, 514, 515, 516, 517, 518, 529];

/// A kind of result that callers tell from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Error,
    Meaningful(i64),
    Zero,
    Positive(i64),
    Null,
    ErrorPointer,
}

impl Outcome {
    fn words(self) -> String {
        match self {
            Outcome::Error => "a negative error number".into(),
            Outcome::Meaningful(number) => format!("error {number}, which callers treat in a way of its own"),
            Outcome::Zero => "0".into(),
            Outcome::Positive(number) => number.to_string(),
            Outcome::Null => "NULL".into(),
            Outcome::ErrorPointer => "an error pointer".into(),
        }
    }
}

pub fn findings(unit: &Unit) -> Vec<Finding> {
    let of = |(name, before, after): (&str, Body, Body)| {
        let mut findings = sizes(name, &before, &after);
        findings.extend(results(unit, name, &before, &after));
        findings
    };
    unit.changed().flat_map(of).collect()
}

/// Allocations of another size than before: objects that exist have the old one.
fn sizes(name: &str, before: &Body, after: &Body) -> Vec<Finding> {
    let (old, new) = (allocations(before), allocations(after));
    let mut findings = Vec::new();
    for (allocator, now) in &new {
        // A call that comes or goes allocates something else.
        let Some(then) = old.get(allocator).filter(|then| then.len() == now.len()) else { continue };
        for ((was, _), (is, line)) in then.iter().zip(now).filter(|((was, _), (is, _))| was != is) {
            let message = format!(
                "{name} calls {allocator}() with another size: {was} -> {is}\n  objects that exist have the old size, \
                 and code that isn't replaced may count on it"
            );
            findings.push(Finding::new(SHARED_CONTRACT, message).at(after.file(), Some(*line)));
        }
    }
    findings
}

/// By allocator, in order: the size as written, and its line.
fn allocations(body: &Body) -> BTreeMap<&'static str, Vec<(String, u32)>> {
    let mut found: BTreeMap<&'static str, Vec<(String, u32)>> = BTreeMap::new();
    for call in body.calls() {
        let Some((allocator, sizes)) = ALLOCATORS.iter().find(|(name, _)| *name == call.name) else { continue };
        let arguments = body.arguments(call);
        let words = sizes.iter().filter_map(|at| arguments.get(*at)).map(|range| body.shown(range.clone()));
        found.entry(allocator).or_default().push((words.collect::<Vec<_>>().join(" * "), body.line(call.at)));
    }
    found
}

/// Results that the function never had before, while somebody who isn't edited calls it.
fn results(unit: &Unit, name: &str, before: &Body, after: &Body) -> Vec<Finding> {
    let (old, new) = (outcomes(before), outcomes(after));
    let fresh: BTreeMap<Outcome, u32> = new.into_iter().filter(|(outcome, _)| !old.contains_key(outcome)).collect();
    let known_positive = old.keys().any(|outcome| matches!(outcome, Outcome::Positive(_)));
    let said = |outcome: &Outcome| match outcome {
        // The common ending of a function that so far ended otherwise (`return err`).
        Outcome::Zero => false,
        // Callers compare with 0, unless the number itself is what they are after.
        Outcome::Positive(1) => !known_positive && !old.is_empty(),
        Outcome::Positive(_) => true,
        // Whoever returns the result of others returns their errors too.
        Outcome::Error => !old.is_empty() && !hands_on(before),
        Outcome::Meaningful(_) => !hands_on(before) || !old.contains_key(&Outcome::Error),
        Outcome::Null | Outcome::ErrorPointer => !hands_on(before),
    };
    let fresh: Vec<(Outcome, u32)> = fresh.into_iter().filter(|(outcome, _)| said(outcome)).collect();
    let Some((_, line)) = fresh.first() else { return Vec::new() };
    let callers = callers(unit, name);
    if callers.is_empty() {
        return Vec::new();
    }
    let words = list(fresh.iter().map(|(outcome, _)| outcome.words()));
    let message = format!(
        "{name} now returns {words}, which it never did\n  callers that the patch doesn't edit: {}",
        list(callers)
    );
    vec![Finding::new(SHARED_CONTRACT, message).at(after.file(), Some(*line))]
}

/// Does it return what something else yielded (`return f(x);`, `err = f(x); ... return err;`)? Then its own constants
/// aren't all that it returns.
fn hands_on(body: &Body) -> bool {
    (body.opening()..body.len()).any(|at| {
        let value = body.word(at + 1);
        let is_name = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        body.word(at) == "return" && is_name
    })
}

/// The constants that a function returns, each with a line: `return 0;`, `return -22;`, `return ((void *)0);`, and the
/// negative ones that it assigns to a variable that it returns.
fn outcomes(body: &Body) -> BTreeMap<Outcome, u32> {
    let mut found = BTreeMap::new();
    let start = body.opening();
    let returned: BTreeSet<&str> = (start..body.len())
        .filter(|at| body.word(*at) == "return" && body.word(at + 2) == ";")
        .map(|at| body.word(at + 1))
        .collect();
    for at in start..body.len() {
        let value = match body.word(at) {
            "return" => at + 1,
            "=" if returned.contains(body.word(at.wrapping_sub(1))) && !is_member(body, at - 1) => at + 1,
            _ => continue,
        };
        let end = (value..body.len()).find(|at| body.word(*at) == ";").unwrap_or(body.len());
        if let Some(outcome) = outcome(body, value, end) {
            found.entry(outcome).or_insert_with(|| body.line(value));
        }
    }
    found
}

fn is_member(body: &Body, at: usize) -> bool {
    matches!(body.word(at.wrapping_sub(1)), "." | "->")
}

fn outcome(body: &Body, start: usize, end: usize) -> Option<Outcome> {
    let words: Vec<&str> = (start..end).map(|at| body.word(at)).filter(|word| !matches!(*word, "(" | ")")).collect();
    let number = |word: &str| word.trim_end_matches(['u', 'U', 'l', 'L']).parse::<i64>().ok();
    match words.as_slice() {
        ["void", "*", "0"] => Some(Outcome::Null),
        ["ERR_PTR", "-", _] => Some(Outcome::ErrorPointer),
        ["-", digits] => match number(digits)? {
            errno if MEANINGFUL.contains(&errno) => Some(Outcome::Meaningful(errno)),
            errno if (1..=MAX_ERRNO).contains(&errno) => Some(Outcome::Error),
            _ => None,
        },
        ["false"] => Some(Outcome::Zero),
        ["true"] => Some(Outcome::Positive(1)),
        [digits] => match number(digits)? {
            0 => Some(Outcome::Zero),
            value => Some(Outcome::Positive(value)),
        },
        _ => None,
    }
}

/// Those that the patch doesn't edit: functions of the unit, other files, tables.
fn callers(unit: &Unit, name: &str) -> BTreeSet<String> {
    let mut callers = unit.unpatched_callers(name);
    let Some(id) = unit.facts.named(name) else { return callers };
    if unit.facts.function(id).binding != Binding::Local {
        callers.insert("other files (it is global)".into());
    }
    for reference in unit.facts.references.iter().filter(|reference| reference.function == id) {
        if let Holder::Data { object: Some(object), .. } = &reference.holder {
            callers.insert(format!("whoever calls through {object}"));
        }
    }
    callers
}
