//! The kernel's configuration, and which kernels are not supported because of theirs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::finding::{Error, Finding, KERNEL_INVALID, Result, io};

/// A `.config`: options that are set, without `CONFIG_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(BTreeMap<String, String>);

/// Options that must not be set, each with what it is and why it is refused.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("CC_IS_CLANG", "it is built with clang; only GCC builds are supported"),
    ("LTO_CLANG", "it is built with link-time optimisation, which leaves no code per translation unit to compare with"),
    ("LTO_GCC", "it is built with link-time optimisation, which leaves no code per translation unit to compare with"),
    ("CFI_CLANG", "it is built with control-flow integrity checks, which replaced functions would fail"),
    ("CFI", "it is built with control-flow integrity checks, which replaced functions would fail"),
    ("RANDSTRUCT", "its structures are laid out at random, by a seed that isn't published"),
    ("GCC_PLUGIN_RANDSTRUCT", "its structures are laid out at random, by a seed that isn't published"),
    ("KASAN", "it is a debugging build with the address sanitiser"),
    ("KCSAN", "it is a debugging build with the concurrency sanitiser"),
    ("KMSAN", "it is a debugging build with the memory sanitiser"),
    ("KCOV", "it is a debugging build with coverage"),
];

/// Options that must be set, each with why.
const NEEDED: &[(&str, &str)] = &[
    ("X86_64", "it is not for x86-64, the only architecture that is supported"),
    ("LIVEPATCH", "it can't be livepatched"),
    ("KALLSYMS_ALL", "its symbol table lacks data, so that references to data can't be resolved"),
    ("MODULES", "it can't load modules"),
];

impl Config {
    pub fn read(path: &Path) -> Result<Config> {
        Ok(Config::parse(&std::fs::read_to_string(path).map_err(io("read", path))?))
    }

    pub fn parse(text: &str) -> Config {
        let options = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            Some((name.to_string(), value.to_string()))
        });
        Config(options.collect())
    }

    /// The value of an option, `CONFIG_` may be left out; nothing where it isn't set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name.strip_prefix("CONFIG_").unwrap_or(name)).map(String::as_str)
    }

    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("y" | "m"))
    }

    /// The names of all options that differ, each with both values.
    pub fn differences<'a>(&'a self, other: &'a Config) -> BTreeMap<&'a str, (Option<&'a str>, Option<&'a str>)> {
        let names = self.0.keys().chain(other.0.keys());
        names.map(|name| (name.as_str(), (self.get(name), other.get(name)))).filter(|(_, (a, b))| a != b).collect()
    }

    /// One finding for each reason why such a kernel can't be worked with.
    pub fn refuse_unsupported(&self) -> Result<()> {
        let present = UNSUPPORTED.iter().filter(|(name, _)| self.is_set(name)).map(|row| (row, "is set"));
        let absent = NEEDED.iter().filter(|(name, _)| !self.is_set(name)).map(|row| (row, "is not set"));
        let findings: Vec<Finding> = present
            .chain(absent)
            .map(|((name, why), how)| {
                Finding::new(KERNEL_INVALID, format!("this kernel is not supported: {why} (CONFIG_{name} {how})"))
            })
            .collect();
        if findings.is_empty() { Ok(()) } else { Err(Error::Refused(findings)) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const SUPPORTED: &str =
        "CONFIG_X86_64=y\nCONFIG_LIVEPATCH=y\nCONFIG_KALLSYMS_ALL=y\nCONFIG_MODULES=y\n# CONFIG_KASAN is not set\n";

    #[test]
    fn reads_values() {
        let config = Config::parse("CONFIG_A=y\nCONFIG_T=\"a b\"\n# CONFIG_B is not set\nCONFIG_N=12\n");
        assert_eq!((config.get("A"), config.get("CONFIG_T"), config.get("B")), (Some("y"), Some("a b"), None));
        let other = Config::parse("CONFIG_A=m\nCONFIG_T=\"a b\"\nCONFIG_N=12\n");
        assert_eq!(config.differences(&other).into_iter().collect::<Vec<_>>(), [("A", (Some("y"), Some("m")))]);
    }

    #[test]
    fn every_unsupported_option_is_refused_by_name() {
        assert!(Config::parse(SUPPORTED).refuse_unsupported().is_ok());
        for (name, _) in UNSUPPORTED {
            let config = Config::parse(&format!("{SUPPORTED}CONFIG_{name}=y\n"));
            let error = config.refuse_unsupported().unwrap_err().to_string();
            assert!(error.contains(&format!("CONFIG_{name} is set")), "{error}");
        }
        for (name, _) in NEEDED {
            let config = Config::parse(&SUPPORTED.replace(&format!("CONFIG_{name}=y\n"), ""));
            let error = config.refuse_unsupported().unwrap_err().to_string();
            assert!(error.contains(&format!("CONFIG_{name} is not set")), "{error}");
        }
    }
}
