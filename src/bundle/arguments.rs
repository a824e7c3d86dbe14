//! The arguments of a run: those that name files name the run's own copies.

use std::path::{Path, PathBuf};

use super::{INPUTS, is_inner, is_name};

/// The commands that a bundle may run. Both only read their inputs, and write nothing but the folder that they are told.
const COMMANDS: [&str; 2] = ["create", "plan"];

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Kernel,
    Output,
    /// A file or folder that is read.
    Input,
    Word,
}

/// Options of [`COMMANDS`] with a value.
const OPTIONS: &[(&str, &str, Value)] = &[
    ("--kernel", "-k", Value::Kernel),
    ("--output", "-o", Value::Output),
    ("--ipa-clones", "", Value::Input),
    ("--templates", "", Value::Input),
    ("--base", "", Value::Input),
    ("--fuzz", "", Value::Word),
    ("--allow", "", Value::Word),
    ("--max-units", "", Value::Word),
    ("--symbols", "", Value::Word),
    ("--scaffold", "", Value::Word),
    ("--message-format", "", Value::Word),
    ("--color", "", Value::Word),
];

/// Options without one.
const FLAGS: &[&str] = &["--no-reload", "--replace", "--timings", "--verbose", "-v"];

/// Those whose effect is another in each run, and none on what is written.
const LEFT_OUT: &[&str] = &["--timings", "--verbose", "-v", "--color"];

/// One word or pair of the command line.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Command(String),
    Flag(String),
    Option(&'static str, Value, String),
    Patch(String),
}

fn words(arguments: &[String]) -> Result<Vec<Word>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        if found.is_empty() {
            if !COMMANDS.contains(&word.as_str()) {
                return Err(format!("a bundle is of `create` or `plan`, not of `{word}`"));
            }
            found.push(Word::Command(word.clone()));
        } else if word == "-" || !word.starts_with('-') {
            found.push(Word::Patch(word.clone()));
        } else if FLAGS.contains(&word.as_str()) {
            found.push(Word::Flag(word.clone()));
        } else {
            let (name, attached) = match (word.starts_with("--"), word.split_once('=')) {
                (true, Some((name, value))) => (name, Some(value)),
                (false, _) if word.len() > 2 && word.is_char_boundary(2) => {
                    (&word[..2], Some(word[2..].trim_start_matches('=')))
                }
                _ => (word.as_str(), None),
            };
            let Some((long, _, value)) = OPTIONS.iter().find(|(long, short, _)| *long == name || *short == name) else {
                return Err(format!("a bundle can't have the argument {word}"));
            };
            let Some(text) = attached.map(str::to_string).or_else(|| rest.next().cloned()) else {
                return Err(format!("{word} has no value"));
            };
            found.push(Word::Option(long, *value, text));
        }
    }
    if found.is_empty() { Err("there is no command".into()) } else { Ok(found) }
}

/// What the arguments of a user name.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// For the run in its own folder.
    pub arguments: Vec<String>,
    /// As the user named them; each is replaced by what `kernel` makes of it.
    pub kernels: Vec<String>,
    /// By their paths in the run's folder: files and folders that the user named.
    pub inputs: Vec<(String, PathBuf)>,
    pub reads_stdin: bool,
}

/// Rewrites a user's arguments. `kernel` tells the name of the kernel that one names.
pub(super) fn given(
    arguments: &[String],
    kernel: &mut dyn FnMut(&str) -> crate::finding::Result<String>,
) -> crate::finding::Result<Given> {
    let usage = |why: String| crate::finding::Finding::new(crate::finding::USAGE, why);
    let mut given = Given::default();
    for word in words(arguments).map_err(usage)? {
        match word {
            Word::Command(name) => given.arguments.push(name),
            Word::Flag(name) if LEFT_OUT.contains(&name.as_str()) => {}
            Word::Flag(name) => given.arguments.push(name),
            Word::Option(name, ..) if LEFT_OUT.contains(&name) => {}
            Word::Option(name, Value::Kernel, text) => {
                given.arguments.extend([name.to_string(), kernel(&text)?]);
                given.kernels.push(text);
            }
            Word::Option(name, Value::Output, text) => {
                let plain = Path::new(&text).file_name().map(|name| name.to_string_lossy().into_owned());
                let plain = plain.ok_or_else(|| usage(format!("{text} names no folder")))?;
                given.arguments.extend([name.to_string(), plain]);
            }
            Word::Option(name, Value::Input, text) => {
                let input = given.input(&text);
                given.arguments.extend([name.to_string(), input]);
            }
            Word::Option(name, Value::Word, text) => given.arguments.push(format!("{name}={text}")),
            Word::Patch(text) if text == "-" => {
                given.reads_stdin = true;
                given.arguments.push(text);
            }
            Word::Patch(text) => {
                let input = given.input(&text);
                given.arguments.push(input);
            }
        }
    }
    Ok(given)
}

impl Given {
    /// An input's path as the run names it.
    fn input(&mut self, text: &str) -> String {
        let path = PathBuf::from(text);
        let name = path.file_name().map_or("input".into(), |name| name.to_string_lossy().into_owned());
        let inner = format!("{INPUTS}/{}/{name}", self.inputs.len());
        self.inputs.push((inner.clone(), path));
        format!("../{inner}")
    }
}

/// Do arguments, which may come from anybody, keep to the run's folder?
pub(super) fn check(arguments: &[String]) -> Result<(), String> {
    for word in words(arguments)? {
        let (is_right, text) = match word {
            Word::Command(_) | Word::Flag(_) | Word::Option(_, Value::Word, _) => continue,
            Word::Option(_, Value::Kernel | Value::Output, text) => (is_name(&text), text),
            Word::Patch(text) if text == "-" => continue,
            Word::Option(_, Value::Input, text) | Word::Patch(text) => {
                let inner = text.strip_prefix("../").unwrap_or_default();
                (inner.starts_with(INPUTS) && is_inner(inner), text)
            }
        };
        if !is_right {
            return Err(format!("the argument {text} leads out of the bundle"));
        }
    }
    Ok(())
}
