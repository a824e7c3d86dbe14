//! Functions that some task never leaves: the transition to the livepatch, or back, may not end.

use std::collections::BTreeSet;

use crate::affected::{Reason, Target};
use crate::finding::{Finding, TRANSITION_MAY_NOT_END};
use crate::unit::listing::Body;

use super::Unit;
use super::tables::{THREAD_QUESTIONS, THREAD_STARTERS};

/// Functions on the stacks of an idle machine's tasks, measured: made by `scripts/idle-stacks`, one `NAME COUNT` a line.
const IDLE_STACKS: &str = include_str!("idle-stacks.txt");

pub fn findings(unit: &Unit) -> Vec<Finding> {
    let of = |target: &Target| {
        let why = why(unit, &target.name)?;
        let message = format!(
            "{}: {why}\n  a task in it is switched only once it leaves; wake or stop such tasks, or patch what the loop calls",
            target.name
        );
        let at = unit.before.function(&target.name);
        let (file, line) = at.map_or((unit.source, None), |body| (body.file(), Some(body.line(0))));
        Some(Finding::new(TRANSITION_MAY_NOT_END, message).at(file, line))
    };
    unit.affected.targets.iter().filter_map(of).collect()
}

fn why(unit: &Unit, target: &str) -> Option<String> {
    if let Some(name) = idle().find(|name| *name == target) {
        return Some(format!("on an idle machine, tasks sleep in {name} (measured)"));
    }
    let id = unit.facts.named(target)?;
    // include/linux/sched/debug.h, __sched: functions that sleep for others, and that a stack never shows.
    if unit.facts.sections[unit.facts.function(id).section].name.starts_with(".sched.text") {
        return Some("it is part of the scheduler's sleeping functions (.sched.text)".into());
    }
    if let Some(starter) = started_by(unit, target) {
        return Some(format!("it is a thread's main function, started by {starter}"));
    }
    // Its own loop, or that of a function that is inlined into it.
    for name in within(unit, target) {
        let Some(body) = unit.before.function(&name) else { continue };
        if let Some(question) = asks_in_loop(&body) {
            return Some(format!("{name} is a thread's main loop: it asks {question}()"));
        }
    }
    None
}

fn idle() -> impl Iterator<Item = &'static str> {
    let lines = IDLE_STACKS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next())
}

/// The target and the functions whose code is in it, as far as its chain of reasons tells.
fn within(unit: &Unit, target: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from([target.to_string()]);
    for reason in unit.affected.targets.iter().filter(|t| t.name == target).flat_map(|t| &t.chain) {
        if let Reason::Clone { from, .. } = reason {
            names.insert(from.clone());
        }
    }
    names
}

fn asks_in_loop<'a>(body: &Body<'a>) -> Option<&'a str> {
    let loops = body.words().any(|word| matches!(word, "while" | "for" | "do"));
    let call = body.calls().into_iter().find(|call| THREAD_QUESTIONS.contains(&call.name))?;
    // `set_freezable` only prepares; what loops there is a main loop all the same.
    loops.then_some(call.name)
}

/// The function that starts a thread with this one as its main function.
fn started_by<'a>(unit: &'a Unit, target: &str) -> Option<&'a str> {
    let starts = |body: &Body| {
        body.calls().into_iter().filter(|call| THREAD_STARTERS.contains(&call.name)).any(|call| {
            let arguments = body.arguments(call);
            arguments.into_iter().any(|range| range.len() == 1 && body.word(range.start) == target)
        })
    };
    unit.before.functions().find(|(_, body)| starts(body)).map(|(name, _)| name)
}
