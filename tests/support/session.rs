//! Sessions: what a user types at a shell, and what the answer looks like.
//!
//! ```text
//! # A comment, between commands.
//! $ klp-extract plan fix.patch -k 6.1.0-47-cloud-amd64
//! ...
//!   replace  some_function
//! ...
//! [exit 2]
//! ```
//!
//! Output is standard output and standard error together. A line `...` stands for any number of lines, `[..]` for any text
//! within a line; everything else is compared word for word. `[exit N]` ends the output of a command that fails.
//! Before it runs, the name of the kernel that the text was written on becomes that of the kernel there is, and `{6.12}` that
//! of the second generation's, which is prepared then.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::kernel::{self, PROGRAM, SECOND, WRITTEN_FOR};

/// Longest time for one command, in seconds.
const TIME_LIMIT: &str = "900";

/// A virtual machine needs half a gigabyte and two cores: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

pub struct Step {
    pub command: String,
    pub expected: Vec<String>,
}

/// Takes a session apart. Text before the first command is comment.
pub fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.into(), expected: Vec::new() });
        } else if let Some(step) = steps.last_mut()
            && !line.starts_with("# ")
        {
            step.expected.push(line.into());
        }
    }
    for step in &mut steps {
        while step.expected.last().is_some_and(|line| line.trim().is_empty()) {
            step.expected.pop();
        }
    }
    steps
}

/// Copies a session's input, a file or the files of a folder, into the folder where the session runs.
pub fn copy(input: &Path, folder: &Path) -> std::io::Result<()> {
    let files = match input.is_dir() {
        true => std::fs::read_dir(input)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?,
        false => vec![input.to_path_buf()],
    };
    for file in files.into_iter().filter(|file| file.is_file() && !file.ends_with("session.txt")) {
        std::fs::copy(&file, folder.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// The sessions of a page: its blocks marked `console`, as one.
pub fn of_page(markdown: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in markdown.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, _) => text.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    text
}

/// Runs a session in `folder` and compares; the error shows the first command that answered otherwise.
pub fn run(text: &str, folder: &Path, release: &str) -> Result<(), String> {
    run_with(text, folder, release, &[])
}

/// [`run`] with variables of the shell's environment.
pub fn run_with(
    text: &str,
    folder: &Path,
    release: &str,
    environment: &[(&'static str, PathBuf)],
) -> Result<(), String> {
    let mut text = text.replace(WRITTEN_FOR, release);
    if text.contains(SECOND) {
        text = text.replace(SECOND, kernel::second());
    }
    let steps = parse(&text);
    if steps.is_empty() {
        return Err("the session has no command".into());
    }
    for step in steps {
        let got = answer(&step.command, folder, environment);
        let lines: Vec<&str> = got.lines().collect();
        let expected: Vec<&str> = step.expected.iter().map(String::as_str).collect();
        if !matches(&expected, &lines) {
            let expected = expected.join("\n");
            return Err(format!("$ {}\n--- expected\n{expected}\n--- got\n{}\n---", step.command, got.trim_end()));
        }
    }
    Ok(())
}

fn answer(command: &str, folder: &Path, environment: &[(&'static str, PathBuf)]) -> String {
    let boots = command.contains("klp-extract test");
    let _one = boots.then(|| MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args([TIME_LIMIT, "sh", "-c", &format!("exec 2>&1\n{command}")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", programs.display()))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        // The module's Makefile must not get what the make that runs the tests hands down.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env_remove("MFLAGS")
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        text.push_str(&format!("{newline}[exit {}]\n", output.status.code().unwrap_or(-1)));
    }
    text
}

/// Do the lines match the pattern?
pub fn matches(pattern: &[&str], lines: &[&str]) -> bool {
    match (pattern.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..])),
        (Some((first, rest)), Some((line, lines))) => line_matches(first, line) && matches(rest, lines),
        _ => false,
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once("[..]") {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| line_matches(rest, &tail[at..]))
        }),
    }
}
