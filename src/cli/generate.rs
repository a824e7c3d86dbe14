//! `klp-extract generate`: what belongs to the command line, made from its one definition.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;

use crate::finding::{Result, io};

use super::{Arguments, print};

#[derive(Subcommand)]
pub(super) enum Request {
    /// Print the completions for a shell
    Completions { shell: Shell },
    /// Write the man pages, one a command, to a folder
    Man { folder: PathBuf },
}

pub(super) fn run(request: &Request) -> Result<ExitCode> {
    match request {
        Request::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "klp-extract", &mut text);
            print(&String::from_utf8_lossy(&text));
        }
        Request::Man { folder } => {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
            clap_mangen::generate_to(Arguments::command(), folder).map_err(io("write in", folder))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let scratch = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), scratch.path()).unwrap();
        let mut bash = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Arguments::command(), "klp-extract", &mut bash);
        let bash = String::from_utf8(bash).unwrap();
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(scratch.path().join(format!("klp-extract-{name}.1")).is_file(), "{name} has no page");
            assert!(bash.contains(&format!("klp__extract,{name}")), "{name} isn't completed");
        }
    }
}
