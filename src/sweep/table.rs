//! What a sweep found, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Row, Status};

/// Functions named for each class.
const EXAMPLES: usize = 3;

/// The table by class, and the figures over all modules.
pub fn table(rows: &[Row]) -> String {
    let mut classes: BTreeMap<(Status, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        classes.entry((row.status, row.class.as_deref().unwrap_or(""))).or_default().push(row);
    }
    let mut text = String::new();
    for ((status, class), rows) in &classes {
        let name = match status {
            Status::Created => "created and validated",
            Status::Built => "and built by make",
            Status::Loaded => "and loaded and removed in a virtual machine",
            Status::Stuck => "and loaded; the transition doesn't end, as was said",
            Status::Refused => "refused",
            Status::Failed => "FAILED",
        };
        let _ = write!(text, "{:>6}  {name}", rows.len());
        if !class.is_empty() {
            let examples: Vec<String> =
                rows.iter().take(EXAMPLES).map(|row| format!("{} ({})", row.function, row.unit)).collect();
            let _ = write!(text, ": {class}: {}", examples.join(", "));
        }
        text.push('\n');
    }
    let made: Vec<&Row> = rows.iter().filter(|row| !matches!(row.status, Status::Refused | Status::Failed)).collect();
    let failed = rows.iter().filter(|row| row.status == Status::Failed).count();
    let refused = rows.len() - made.len() - failed;
    let tried = rows.len() - refused;
    let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    let _ = writeln!(
        text,
        "{} functions: {:.1} % of those that can be livepatched made a module; {:.1} % refused",
        rows.len(),
        share(made.len(), tried),
        share(refused, rows.len())
    );
    let ended = rows.iter().filter(|row| row.status == Status::Loaded && row.may_stall).count();
    if ended > 0 {
        let _ = writeln!(text, "{ended} transitions ended of which it was said that they may not");
    }
    let absent = rows.iter().filter(|row| row.status == Status::Built && row.message.is_some()).count();
    if absent > 0 {
        let _ = writeln!(text, "{absent} patched modules can't be loaded in the virtual machine");
    }
    let fallbacks: Vec<&&Row> = made.iter().filter(|row| row.fallback.is_some()).collect();
    if let Some(first) = fallbacks.first() {
        let why = first.fallback.as_deref().unwrap_or_default();
        let _ = writeln!(text, "whole unit parsed: {} times, as in {}: {why}", fallbacks.len(), first.function);
    }
    let lines = made.iter().map(|row| row.lines as f64).collect();
    let seconds = rows.iter().map(|row| row.seconds).collect();
    let memory = made.iter().map(|row| (row.memory >> 20) as f64).collect();
    for (name, values) in [("lines of C", lines), ("seconds", seconds), ("MB of the front end", memory)] {
        let [median, p90, most] = quantiles(values);
        let _ = writeln!(text, "{name}: median {median:.0}, p90 {p90:.0}, most {most:.0}");
    }
    text
}

/// Median, 90th percentile and largest.
fn quantiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * values.len() as f64) as usize;
        values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    [at(0.5), at(0.9), at(1.0)]
}
