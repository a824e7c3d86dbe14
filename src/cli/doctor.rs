//! `klp-extract doctor`.

use std::process::ExitCode;

use crate::finding::Result;
use crate::prepare;

use super::print;

pub(super) fn run() -> Result<ExitCode> {
    let rows = prepare::doctor();
    let mut text = String::new();
    for row in &rows {
        let mark = if row.found.is_some() { "ok     " } else { "MISSING" };
        let found = row.found.as_deref().unwrap_or(row.why);
        text.push_str(&format!("{mark}  {:<22} {found}\n", row.name));
    }
    print(&text);
    match prepare::install_line(&rows) {
        Some(line) => {
            print(&format!("\nto install what is missing:\n  {line}\n"));
            Ok(ExitCode::from(1))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}
