//! One half of a pair that the patch adds or takes away: a lock without its unlock, a get without its put.
//!
//! Calls are counted in the text of every changed function, before and after the patch. A helper that the patch adds (or
//! removes) counts in each function that calls it. A close that comes with a new way out of a function that has the pair is
//! no change of its balance.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Finding, HALF_PAIR};
use crate::unit::listing::{Body, Listing};

use super::tables::{Kind, NO_PAIRS, PAIRS, VERBS};
use super::{Unit, list};

/// Suffixes that say how a lock is taken, not what.
const MANNERS: &[&str] = &["_irqsave", "_irqrestore", "_irq", "_bh", "_rcu", "_nested", "_locked", "_sync"];

/// A class of pairs: `ep_*`, or a row of the table.
type Class = (String, Kind);

/// Calls of one class in one version of a function.
#[derive(Debug, Default, Clone)]
struct Count {
    opens: Vec<(String, u32)>,
    closes: Vec<(String, u32)>,
}

/// A function's balance in one class.
#[derive(Debug)]
pub struct Change {
    function: String,
    file: String,
    line: u32,
    opens: i64,
    closes: i64,
    /// The calls in question, as words.
    calls: String,
}

/// The balances that change in one unit, with their class and whether it is a lasting one.
pub type Changes = Vec<((String, bool), Change)>;

/// Looks at one unit.
pub fn changes(unit: &Unit) -> Changes {
    let of = |(name, before, after): (&str, Body, Body)| function_changes(unit, name, &before, &after);
    let all = unit.changed().flat_map(of);
    all.map(|((class, kind), change)| ((class, kind == Kind::Lasting), change)).collect()
}

/// The findings of all units.
pub fn findings(units: Vec<Changes>) -> Vec<Finding> {
    let mut by_class: BTreeMap<(String, bool), Vec<Change>> = BTreeMap::new();
    for (class, change) in units.into_iter().flatten() {
        let known = by_class.entry(class).or_default();
        // An inline function of a header is in many units.
        if !known.iter().any(|other| other.function == change.function && other.file == change.file) {
            known.push(change);
        }
    }
    by_class.into_iter().flat_map(|((class, lasting), changes)| class_findings(&class, lasting, &changes)).collect()
}

fn class_findings(class: &str, lasting: bool, changes: &[Change]) -> Vec<Finding> {
    let total = |of: fn(&Change) -> i64| changes.iter().map(of).sum::<i64>();
    let (opens, closes) = (total(|change| change.opens), total(|change| change.closes));
    if opens == 0 && closes == 0 {
        return Vec::new();
    }
    let both = opens.signum() == closes.signum();
    if both && !lasting {
        return Vec::new();
    }
    let tail = match (both, lasting) {
        (true, _) => {
            "the other half is in another function: objects that exist when the livepatch is loaded, or removed, have had only \
             one of them"
        }
        (false, true) => "objects that exist when the livepatch is loaded, or removed, may have had one half only",
        (false, false) => "is the other half where it must be?",
    };
    let finding = |change: &Change| {
        let message = format!("{}: {} ({class})\n  {tail}", change.function, change.calls);
        Finding::new(HALF_PAIR, message).at(change.file.as_str(), Some(change.line))
    };
    changes.iter().map(finding).collect()
}

fn function_changes(unit: &Unit, name: &str, before: &Body, after: &Body) -> Vec<(Class, Change)> {
    let old = counts(unit, &unit.before, before, &unit.changes.removed_functions);
    let new = counts(unit, &unit.after, after, &unit.changes.added_functions);
    let classes: BTreeSet<(&String, bool)> =
        old.keys().chain(new.keys()).map(|(class, kind)| (class, *kind == Kind::Lasting)).collect();
    let exits = ways_out(after) - ways_out(before);
    let mut found = Vec::new();
    for (class, lasting) in classes {
        let kind = if lasting { Kind::Lasting } else { Kind::Section };
        let key = (class.clone(), kind);
        let (old, new) = (old.get(&key).cloned().unwrap_or_default(), new.get(&key).cloned().unwrap_or_default());
        let opens = new.opens.len() as i64 - old.opens.len() as i64;
        let closes = new.closes.len() as i64 - old.closes.len() as i64;
        let balanced = opens.signum() == closes.signum();
        let with_exit = opens == 0 && closes > 0 && closes <= exits && !(old.opens.is_empty() && old.closes.is_empty());
        if balanced || with_exit {
            continue;
        }
        let (calls, line) = difference(&old, &new, after.line(0));
        let file = after.file().to_string();
        found.push((key, Change { function: name.to_string(), file, line, opens, closes, calls }));
    }
    found
}

fn ways_out(body: &Body) -> i64 {
    body.words().filter(|word| matches!(*word, "return" | "goto")).count() as i64
}

/// What comes and what goes, and the line of the first call that comes.
fn difference(old: &Count, new: &Count, line: u32) -> (String, u32) {
    let names = |count: &Count| -> Vec<(String, u32)> { count.opens.iter().chain(&count.closes).cloned().collect() };
    let (old, mut come) = (names(old), names(new));
    let mut gone = Vec::new();
    for (name, at) in old {
        match come.iter().position(|(other, _)| *other == name) {
            Some(index) => drop(come.remove(index)),
            None => gone.push((name, at)),
        }
    }
    let words = |calls: &[(String, u32)]| list(calls.iter().map(|(name, _)| format!("{name}()")));
    let mut parts = Vec::new();
    if !come.is_empty() {
        parts.push(format!("the patch adds {}", words(&come)));
    }
    if !gone.is_empty() {
        parts.push(format!("the patch removes {}", words(&gone)));
    }
    (parts.join(", "), come.first().map_or(line, |(_, line)| *line))
}

fn counts(unit: &Unit, listing: &Listing, body: &Body, helpers: &[String]) -> BTreeMap<(String, Kind), Count> {
    let mut found = BTreeMap::new();
    count(unit, listing, body, helpers, &mut found, &mut BTreeSet::new());
    found
}

fn count(
    unit: &Unit,
    listing: &Listing,
    body: &Body,
    helpers: &[String],
    found: &mut BTreeMap<(String, Kind), Count>,
    under_way: &mut BTreeSet<String>,
) {
    // A helper counts where it is called, and where its address is handed on for a later call.
    for name in body.words().skip(body.opening()).filter(|word| helpers.iter().any(|helper| helper == word)) {
        if let (Some(helper), true) = (listing.function(name), under_way.insert(name.into())) {
            count(unit, listing, &helper, helpers, found, under_way);
            under_way.remove(name);
        }
    }
    for call in body.calls().into_iter().filter(|call| !helpers.iter().any(|helper| helper == call.name)) {
        let Some((class, kind, opens)) = class(unit, call.name) else { continue };
        let count = found.entry((class, kind)).or_default();
        let list = if opens { &mut count.opens } else { &mut count.closes };
        list.push((call.name.to_string(), body.line(call.at)));
    }
}

/// The class that a function belongs to, and whether it opens.
fn class(unit: &Unit, name: &str) -> Option<(String, Kind, bool)> {
    for pair in PAIRS {
        if pair.opens.contains(&name) || pair.closes.contains(&name) {
            return Some((pair.what.into(), pair.kind, pair.opens.contains(&name)));
        }
    }
    if NO_PAIRS.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let stem = MANNERS.iter().find_map(|manner| name.strip_suffix(manner)).unwrap_or(name);
    let words: Vec<&str> = stem.split('_').collect();
    for (open, close, kind) in VERBS {
        for (at, word) in words.iter().enumerate() {
            let (opens, partner) = match *word {
                word if word == *open => (true, close),
                word if word == *close => (false, open),
                _ => continue,
            };
            let with = |verb: &str| {
                let mut words = words.clone();
                words[at] = verb;
                words.join("_")
            };
            let partner = with(partner);
            let declared = |name: &str| unit.before.declares_function(name) || unit.after.declares_function(name);
            let full = format!("{partner}{}", &name[stem.len()..]);
            if declared(&partner) || declared(&full) {
                return Some((format!("{}/{close}", with(open)), *kind, opens));
            }
        }
    }
    None
}
