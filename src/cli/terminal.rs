//! What goes to the terminal, and how: results on standard output, progress and findings on standard error; findings on
//! standard output where a program is to read them.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use clap::{Args, ColorChoice, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::finding::{Finding, Severity};
use crate::pipeline::PATCHED_TREE;
use crate::render::message::{self, Look};

/// The options that every command takes.
#[derive(Args)]
pub(super) struct Options {
    /// When to use colours; NO_COLOR turns them off too
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: ColorChoice,
    /// How findings are written: human and short to standard error, json (an object a line) and sarif to standard output,
    /// where results then don't go
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Human)]
    message_format: Format,
    /// Say how long each stage took
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// No progress, hints and notes
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With the lines of the source that they are about
    Human,
    /// A line each
    Short,
    /// A JSON object a line, as in livepatch.json
    Json,
    /// One SARIF 2.1.0 document
    Sarif,
}

struct Terminal {
    look: Look,
    format: Format,
    verbose: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is being done, and since when.
    stage: Option<(String, Instant)>,
    stages: Vec<(String, Duration)>,
    /// Folders that the files of findings are looked for in: with the patch, and without it.
    sources: [Vec<PathBuf>; 2],
    /// Those that were reported.
    findings: Vec<Finding>,
}

static TERMINAL: OnceLock<Terminal> = OnceLock::new();

/// To be called once, before anything is written.
pub(super) fn set_up(options: &Options) {
    let error = std::io::stderr();
    let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    let color = match options.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => allowed && !dumb && error.is_terminal(),
    };
    let is_human = matches!(options.message_format, Format::Human | Format::Short);
    let bar = (error.is_terminal() && !dumb && is_human && !options.quiet).then(|| {
        let template =
            if color { "{spinner:.cyan} {wide_msg} {elapsed:.dim}" } else { "{spinner} {wide_msg} {elapsed}" };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        ProgressBar::no_length().with_style(style)
    });
    let terminal = Terminal {
        look: Look { color },
        format: options.message_format,
        verbose: options.verbose,
        quiet: options.quiet,
        bar,
        state: Mutex::default(),
    };
    let _ = TERMINAL.set(terminal);
}

fn terminal() -> &'static Terminal {
    TERMINAL.get_or_init(|| Terminal {
        look: Look { color: false },
        format: Format::Human,
        verbose: false,
        quiet: false,
        bar: None,
        state: Mutex::default(),
    })
}

impl Terminal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes a line or more to standard error, above the bar.
    fn say(&self, text: &str) {
        let write = || {
            let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Ends the stage that is under way.
    fn end_stage(&self) {
        let Some((stage, since)) = self.state().stage.take() else { return };
        let took = since.elapsed();
        if self.verbose {
            self.say(&format!("  {stage}: {:.2} s", took.as_secs_f64()));
        }
        self.state().stages.push((stage, took));
    }
}

/// A result, to standard output; a reader that went away is no error. Where programs read findings there, it is for people.
pub(super) fn print(text: &str) {
    let terminal = terminal();
    terminal.end_stage();
    // What goes to a file stays as it is: C has form feeds.
    let text = if std::io::stdout().is_terminal() { message::printable(text) } else { text.to_string() };
    match (terminal.format, &terminal.bar) {
        (Format::Json | Format::Sarif, _) if !terminal.quiet => terminal.say(text.trim_end_matches('\n')),
        (Format::Json | Format::Sarif, _) => {}
        (_, Some(bar)) => bar.suspend(|| drop(std::io::stdout().lock().write_all(text.as_bytes()))),
        (_, None) => drop(std::io::stdout().lock().write_all(text.as_bytes())),
    }
}

/// What comes next, for people: a hint.
pub(super) fn hint(text: &str) {
    let terminal = terminal();
    terminal.end_stage();
    if !terminal.quiet {
        terminal.say(text);
    }
}

/// The stage that begins now.
pub(super) fn progress(line: &str) {
    let terminal = terminal();
    terminal.end_stage();
    terminal.state().stage = Some((line.to_string(), Instant::now()));
    match &terminal.bar {
        Some(bar) => {
            bar.set_message(message::printable(line));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        None if terminal.quiet || terminal.verbose => {}
        None => terminal.say(&format!("  {}", message::printable(line))),
    }
}

/// Where the files that findings name are: a kernel's, and those that the pipeline has patched in its scratch folder.
pub(super) fn sources(source: &Path, build: &Path, scratch: &Path) {
    let original = vec![source.to_path_buf(), build.to_path_buf()];
    let patched = [scratch.join(PATCHED_TREE)].into_iter().chain(original.iter().cloned()).collect();
    terminal().state().sources = [patched, original];
}

/// A line or more for people that is neither a result nor a finding.
pub(super) fn say(text: &str) {
    terminal().say(&message::printable(text));
}

/// Findings, the heaviest first.
pub(super) fn report(findings: &[Finding]) {
    let terminal = terminal();
    terminal.end_stage();
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    for finding in sorted {
        terminal.state().findings.push(finding.clone());
        if terminal.quiet && finding.severity == Severity::Note {
            continue;
        }
        match terminal.format {
            Format::Human => terminal.say(&message::human(finding, source(finding).as_deref(), terminal.look)),
            Format::Short => terminal.say(&message::short(finding, terminal.look)),
            Format::Json => {
                let line = serde_json::to_string(finding).expect("a finding has only string keys");
                let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
            }
            Format::Sarif => {}
        }
    }
}

/// The text of the file that a finding is about.
fn source(finding: &Finding) -> Option<String> {
    let (file, _) = (finding.file.as_ref()?, finding.line?);
    let state = terminal().state();
    let roots = &state.sources[usize::from(finding.is_of_unpatched())];
    let bytes = roots.iter().find_map(|root| std::fs::read(root.join(file)).ok())?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// How long the stages took.
pub(super) fn timings() {
    let terminal = terminal();
    terminal.end_stage();
    let stages = std::mem::take(&mut terminal.state().stages);
    let longest = stages.iter().map(|(stage, _)| stage.chars().count()).max().unwrap_or(0);
    for (stage, took) in stages {
        terminal.say(&format!("{stage:<longest$} {:>7.2} s", took.as_secs_f64()));
    }
}

/// The last thing that is written.
pub(super) fn finish() {
    let terminal = terminal();
    terminal.end_stage();
    if let Some(bar) = &terminal.bar {
        bar.finish_and_clear();
    }
    if terminal.format == Format::Sarif {
        let text = message::sarif(&terminal.state().findings);
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}
