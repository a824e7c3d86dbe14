//! The keys of a JSON file against those that a page documents.

use std::collections::BTreeSet;

use serde_json::Value;

/// Objects whose keys are names, so that the page has `*` for them.
const MAPS: [&str; 3] = ["inputs", "outputs", "reports"];

/// Every key of the file is in the page's table, and every one in the table is in the file, unless it is optional or in a
/// list that happens to be empty.
pub fn compare(page: &str, value: &Value) -> Result<(), String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let documented: Vec<(&str, bool)> =
        rows.map(|(key, rest)| (key, rest.split('|').next().is_some_and(|kind| kind.contains("optional")))).collect();
    let (mut keys, mut empty) = (BTreeSet::new(), Vec::new());
    collect(value, String::new(), &mut keys, &mut empty);
    let unknown: Vec<&String> = keys.iter().filter(|key| !documented.iter().any(|(known, _)| known == key)).collect();
    if !unknown.is_empty() {
        return Err(format!("not documented: {unknown:?}"));
    }
    let absent = |(key, optional): &&(&str, bool)| {
        !optional && !keys.contains(*key) && !empty.iter().any(|list| key.starts_with(list.as_str()))
    };
    let gone: Vec<&str> = documented.iter().filter(absent).map(|(key, _)| *key).collect();
    if documented.len() < 20 || !gone.is_empty() {
        return Err(format!("documented, and not in the file: {gone:?}"));
    }
    Ok(())
}

fn collect(value: &Value, path: String, keys: &mut BTreeSet<String>, empty: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let inner = match (path.as_str(), MAPS.contains(&path.as_str())) {
                    ("", _) => name.clone(),
                    (_, true) => format!("{path}.*"),
                    (_, false) => format!("{path}.{name}"),
                };
                collect(member, inner, keys, empty);
            }
        }
        Value::Array(elements) if elements.is_empty() => empty.push(format!("{path}[]")),
        Value::Array(elements) => elements.iter().for_each(|e| collect(e, format!("{path}[]"), keys, empty)),
        _ => drop(keys.insert(path)),
    }
}
