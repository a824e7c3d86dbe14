//! `klp-extract.toml`: what a house wants in all its modules. The project's file is found upwards from the current folder;
//! the user's is in the configuration folder. A key of the project's takes precedence.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::finding::{CONFIG_INVALID, Finding, Result, io, refuse};

/// The file's name.
pub const FILE: &str = "klp-extract.toml";

/// The keys of one file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    company: Option<String>,
    bug: Option<String>,
    author: Option<String>,
    function_prefix: Option<String>,
    module_name: Option<String>,
    #[serde(default)]
    make: BTreeMap<String, String>,
}

/// What a house's modules have beside what the patch asks for. Recorded in `livepatch.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct House {
    /// Lines of the comment at the top: name and text.
    pub lines: BTreeMap<String, String>,
    /// Begins the names of new functions.
    pub prefix: String,
    /// The module's name, with `{patch}` for the patch's.
    pub name: String,
    /// Variables that the Makefile sets.
    pub make: BTreeMap<String, String>,
    /// Templates in the place of the program's own, by name.
    pub templates: BTreeMap<String, String>,
}

impl Default for House {
    fn default() -> House {
        House {
            lines: BTreeMap::new(),
            prefix: "klpp_".into(),
            name: format!("livepatch-{PATCH}"),
            make: BTreeMap::new(),
            templates: BTreeMap::new(),
        }
    }
}

/// Stands for the patch's name.
const PATCH: &str = "{patch}";

impl House {
    /// The name of the module for a patch.
    pub fn module_name(&self, patch: &str) -> String {
        self.name.replace(PATCH, patch)
    }
}

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One setting, for people.
#[derive(Debug)]
pub struct Setting {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// The project's file and the user's, where they are there.
pub fn files() -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    let current = std::env::current_dir().map_err(io("find", Path::new(".")))?;
    let project = current.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file());
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let user = folder.map(|folder| folder.join("klp-extract").join(FILE)).filter(|path| path.is_file());
    Ok((project, user))
}

/// Reads the files that there are.
pub fn load() -> Result<(House, Vec<Setting>)> {
    let (project, user) = files()?;
    let files: Vec<(PathBuf, Keys)> =
        project.into_iter().chain(user).map(|path| Ok((path.clone(), read(&path)?))).collect::<Result<_>>()?;
    Ok(merged(&files))
}

fn read(path: &Path) -> Result<Keys> {
    parse(&std::fs::read_to_string(path).map_err(io("read", path))?, path)
}

/// The house that the text of a configuration file describes; `path` is its name for messages.
pub fn house(text: &str, path: &Path) -> Result<House> {
    Ok(merged(&[(path.to_path_buf(), parse(text, path)?)]).0)
}

fn parse(text: &str, path: &Path) -> Result<Keys> {
    let invalid = |why: String| Finding::new(CONFIG_INVALID, format!("{}: {why}", path.display()));
    let keys: Keys = toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().into()))?;
    match wrong(&keys) {
        Some(why) => refuse(CONFIG_INVALID, format!("{}: {why}", path.display())),
        None => Ok(keys),
    }
}

/// What C, Kbuild or make would choke on.
fn wrong(keys: &Keys) -> Option<String> {
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    if let Some(prefix) = keys.function_prefix.as_ref().filter(|p| !word(p) || p.as_bytes()[0].is_ascii_digit()) {
        return Some(format!("function-prefix `{prefix}` doesn't begin a C name"));
    }
    if let Some(name) = keys.module_name.as_ref().filter(|name| !name.contains(PATCH)) {
        return Some(format!("module-name `{name}` has no {PATCH}: all modules would have one name"));
    }
    let lines = [&keys.company, &keys.bug, &keys.author].into_iter().flatten();
    if let Some(line) = lines.chain(keys.make.values()).find(|line| line.contains('\n')) {
        return Some(format!("`{}` goes over several lines", line.lines().next().unwrap_or_default()));
    }
    keys.make.keys().find(|name| !word(name)).map(|name| format!("make.{name} is no name of a variable"))
}

/// The first file that has a key wins.
fn merged(files: &[(PathBuf, Keys)]) -> (House, Vec<Setting>) {
    let default = House::default();
    let mut settings = Vec::new();
    let mut take = |key: &str, of: &dyn Fn(&Keys) -> Option<String>, default: Option<&str>| {
        let found = files.iter().find_map(|(path, keys)| Some((of(keys)?, Origin::File(path.clone()))));
        let (value, origin) = found.or_else(|| Some((default?.to_string(), Origin::Default)))?;
        settings.push(Setting { key: key.into(), value: value.clone(), origin });
        Some(value)
    };
    let named = [
        ("Company", take("company", &|keys| keys.company.clone(), None)),
        ("Bug", take("bug", &|keys| keys.bug.clone(), None)),
        ("Author", take("author", &|keys| keys.author.clone(), None)),
    ];
    let prefix = take("function-prefix", &|keys| keys.function_prefix.clone(), Some(&default.prefix));
    let name = take("module-name", &|keys| keys.module_name.clone(), Some(&default.name));
    let variables: std::collections::BTreeSet<&String> = files.iter().flat_map(|(_, keys)| keys.make.keys()).collect();
    let make = variables.into_iter().filter_map(|variable| {
        let value = take(&format!("make.{variable}"), &|keys| keys.make.get(variable).cloned(), None)?;
        Some((variable.clone(), value))
    });
    let make = make.collect();
    let lines = named.into_iter().filter_map(|(name, text)| Some((name.to_string(), text?))).collect();
    let house = House {
        lines,
        prefix: prefix.unwrap_or_default(),
        name: name.unwrap_or_default(),
        make,
        templates: BTreeMap::new(),
    };
    (house, settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_project_s_keys_take_precedence() {
        let project = (PathBuf::from("p"), keys("author = 'A'\nmake.KERNEL = 'k'\n"));
        let user = (PathBuf::from("u"), keys("author = 'B'\ncompany = 'C'\nmake = { CC = 'gcc', KERNEL = 'x' }\n"));
        let (house, settings) = merged(&[project, user]);
        assert_eq!(house.lines, BTreeMap::from([("Author".into(), "A".into()), ("Company".into(), "C".into())]));
        assert_eq!(house.make, BTreeMap::from([("CC".into(), "gcc".into()), ("KERNEL".into(), "k".into())]));
        let told: Vec<String> = settings.iter().map(|s| format!("{} {} {}", s.key, s.value, s.origin)).collect();
        let expected = [
            "company C u",
            "author A p",
            "function-prefix klpp_ default",
            "module-name livepatch-{patch} default",
            "make.CC gcc u",
            "make.KERNEL k p",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_can_t_be_is_told() {
        assert!(wrong(&keys("function-prefix = '9x'")).unwrap().contains("C name"));
        assert!(wrong(&keys("module-name = 'x'")).unwrap().contains("{patch}"));
        assert!(wrong(&keys("make.'A B' = 'x'")).unwrap().contains("variable"));
        assert!(wrong(&keys("company = 'x'\nfunction-prefix = 'kgr_'")).is_none());
        assert!(toml::from_str::<Keys>("compny = 'x'").unwrap_err().to_string().contains("compny"));
    }
}
