//! What is made from the grammar: manual pages and shell completions.

use std::{fs, io, path::Path, process::ExitCode};

use clap::{
    CommandFactory,
    builder::{Resettable, Str},
};
use clap_complete::Shell;

use super::{Failure, args::Arguments, commands::write_all};

/// The manual page of `kaval`, or, in a directory, that of each command too.
pub(super) fn man(dir: Option<&Path>) -> Result<ExitCode, Failure> {
    let command = Arguments::command();
    match dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            write_all(&page)?;
        }
        Some(dir) => {
            let failed = |error: io::Error| Failure::new(Failure::FAILED, format!("{dir:?} cannot be written to: {error}"));
            fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir)).map_err(failed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(&Arguments::command()), "kaval", &mut script);
    write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// What the grammar shows, for completions, which would offer what is hidden as well.
fn visible(command: &clap::Command) -> clap::Command {
    let args = command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible);
    let about = command.get_about().cloned().unwrap_or_default();
    let version = Resettable::from(command.get_version().map(|version| Str::from(version.to_owned())));
    let aliases: Vec<String> = command.get_visible_aliases().map(str::to_owned).collect();
    clap::Command::new(command.get_name().to_owned())
        .about(about)
        .version(version)
        .visible_aliases(aliases)
        .args(args)
        .subcommands(commands)
}
