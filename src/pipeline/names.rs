//! Names that the units of one module must not share: of new functions, and of C files.

use std::collections::{BTreeMap, BTreeSet};

use super::UnitPlan;

/// Prefix of the names of new functions.
pub const PREFIX: &str = "klpp_";

/// By unit: the new names of targets that other units replace a namesake of. The shortest of three that tells all of them
/// apart: `klpp_FILE_NAME`, with the folders, with the object that the unit is part of (a source may be compiled into
/// several).
pub fn distinct(units: &[UnitPlan], prefix: &str) -> Vec<BTreeMap<String, String>> {
    let owners: Vec<(&str, &str, Vec<&str>)> = units
        .iter()
        .map(|unit| {
            let targets = unit.affected.targets.iter().map(|target| target.name.as_str());
            (unit.command.source.as_str(), unit.command.object.as_str(), targets.collect())
        })
        .collect();
    told_apart(&owners, prefix)
}

/// As [`distinct`], of source, object and targets of each unit.
fn told_apart(units: &[(&str, &str, Vec<&str>)], prefix: &str) -> Vec<BTreeMap<String, String>> {
    let mut users: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, (.., targets)) in units.iter().enumerate() {
        for target in targets.iter().collect::<BTreeSet<_>>() {
            users.entry(target).or_default().push(index);
        }
    }
    // A new name must not be another target's either.
    let plain: BTreeSet<String> = users.keys().map(|target| format!("{prefix}{target}")).collect();
    let mut names = vec![BTreeMap::new(); units.len()];
    for (target, users) in users.iter().filter(|(_, users)| users.len() > 1) {
        let forms: [fn(&str, &str) -> String; 3] = [
            |source, _| c_name(source.rsplit('/').next().unwrap_or(source)),
            |source, _| c_name(source),
            |source, object| format!("{}_{}", c_name(object), c_name(source)),
        ];
        let all = forms.iter().map(|form| -> Vec<String> {
            users.iter().map(|unit| format!("{prefix}{}_{target}", form(units[*unit].0, units[*unit].1))).collect()
        });
        let distinct = |names: &Vec<String>| {
            names.iter().collect::<BTreeSet<_>>().len() == names.len() && names.iter().all(|name| !plain.contains(name))
        };
        let all: Vec<Vec<String>> = all.collect();
        let chosen = all.iter().find(|names| distinct(names)).unwrap_or(&all[2]);
        for (unit, name) in users.iter().zip(chosen) {
            names[*unit].insert(target.to_string(), name.clone());
        }
    }
    names
}

/// By unit: its C file's name in a module of several, without `.c`: the source's path with `-` for `/`.
pub fn stems(units: &[UnitPlan]) -> Vec<String> {
    let stem = |source: &str| source.trim_end_matches(".c").replace("../", "").replace('/', "-");
    let all: Vec<String> = units.iter().map(|unit| stem(&unit.command.source)).collect();
    let repeated = |name: &String| all.iter().filter(|other| *other == name).count() > 1;
    let one = |(unit, name): (&UnitPlan, &String)| {
        if repeated(name) { format!("{}-{name}", unit.command.object) } else { name.clone() }
    };
    units.iter().zip(&all).map(one).collect()
}

/// A path or an object's name as part of a name in C.
pub fn c_name(path: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    path.trim_end_matches(".c").replace("../", "").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(units: &[(&str, &str, &[&str])]) -> Vec<String> {
        let units: Vec<(&str, &str, Vec<&str>)> =
            units.iter().map(|(source, object, targets)| (*source, *object, targets.to_vec())).collect();
        told_apart(&units, PREFIX).iter().flat_map(|names| names.values().cloned()).collect()
    }

    #[test]
    fn only_namesakes_get_longer_names() {
        assert_eq!(names(&[("a/x.c", "a", &["f", "g"]), ("b/y.c", "b", &["h"])]), [""; 0]);
        let two = names(&[("a/x-1.c", "a", &["f", "g"]), ("b/y.c", "b", &["f"])]);
        assert_eq!(two, ["klpp_x_1_f", "klpp_y_f"]);
        let folders = names(&[("a/x.c", "a", &["f"]), ("b/x.c", "b", &["f"])]);
        assert_eq!(folders, ["klpp_a_x_f", "klpp_b_x_f"]);
        let objects = names(&[("a/x.c", "one", &["f"]), ("a/x.c", "two", &["f"])]);
        assert_eq!(objects, ["klpp_one_a_x_f", "klpp_two_a_x_f"]);
    }

    #[test]
    fn a_longer_name_is_no_other_target_s() {
        let found = names(&[("a/x.c", "a", &["f", "x_f"]), ("b/y.c", "b", &["f"])]);
        assert_eq!(found, ["klpp_a_x_f", "klpp_b_y_f"]);
    }
}
