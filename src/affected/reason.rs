//! Why a function is in the affected set, as data that renders to a sentence.

use std::fmt;

use serde::Serialize;

use super::clones::Tag;

/// One step from the patch to a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// Its own expanded tokens differ.
    Patched { function: String },
    /// The patch drops it; its old code may live on in others.
    Removed { function: String },
    /// The patch adds it.
    Added { function: String },
    /// GCC put the body of `from` into `to`; `after`: only in the version after the patch.
    Clone { from: String, to: String, tag: Tag, after: bool },
    /// Its object code differs, and no clone report says why.
    Changed { function: String },
    /// It calls a function that can't be hooked.
    Calls { caller: String, callee: String, obstacle: Obstacle },
}

/// Why a function can't be hooked itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// GCC's clone: its parameters may differ from the source's.
    Clone,
    /// No ftrace site at its entry.
    NoSite,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Obstacle::Clone => "which is a clone made by GCC",
            Obstacle::NoSite => "which has no ftrace site",
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tag::Inlined => "inlining to",
            Tag::Isra => "isra",
            Tag::Constprop => "constprop",
            Tag::Part => "part",
            Tag::Unnamed => "(null)",
            Tag::Other(word) => word,
        })
    }
}

impl Serialize for Tag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Patched { function } => write!(f, "{function} is changed by the patch"),
            Reason::Removed { function } => write!(f, "{function} is removed by the patch"),
            Reason::Added { function } => write!(f, "{function} is added by the patch"),
            Reason::Clone { from, to, tag, after } => {
                let report = if *after { "clone report after the patch" } else { "clone report" };
                match tag {
                    Tag::Inlined => write!(f, "{from} is inlined into {to} ({report})"),
                    Tag::Part => write!(f, "a part of {from} is split off as {to} ({report})"),
                    tag => write!(f, "{from} is cloned as {to} ({report}, {tag})"),
                }
            }
            Reason::Changed { function } => {
                write!(f, "the object code of {function} changes with the patch, without a line in the clone report")
            }
            Reason::Calls { caller, callee, obstacle } => {
                write!(f, "{caller} calls {callee}, {obstacle} (object code)")
            }
        }
    }
}
