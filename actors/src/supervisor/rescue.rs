//! A record for a terminal that has none, or has one of another time: its manifest was lost, or is an old copy, and it lives
//! on.
//!
//! **Invariant.** A child that runs is never ended for the supervisor's own troubles: what can be learnt of it from the kernel makes a
//! record. Its environment overrides and how it was to be restarted cannot, and are not guessed at.

use std::{fs, os::fd::AsFd, path::PathBuf};

use super::{
    execute::NOT_LOGGED,
    inventory::Descriptors,
    manifest::{Record, State},
    plan::Process,
};
use crate::{
    Name, Size, TermId,
    pty::{adopt, launch},
};

/// What a supervisor writes of a terminal that it finds without a record, under the name that its child knows unless that `is_taken`;
/// `None` if there is no terminal, or its child never ran its command.
pub fn rescue(id: TermId, held: &mut Descriptors, is_taken: impl Fn(&Name) -> bool) -> Option<Record> {
    if held.observe().process == Process::Held {
        return None;
    }
    let (cols, rows) = held.master.as_ref()?.size().ok()?;
    let environ = strings(held, "environ");
    let named = environ.iter().find_map(|variable| variable.strip_prefix("KAVAL_TERM_NAME=")?.parse().ok());
    let generated = (1..).filter_map(|n| generated(id, n));
    let name = named.into_iter().chain(generated).find(|name| !is_taken(name))?;
    Some(Record {
        argv: strings(held, "cmdline"),
        cwd: of_process(held, "cwd").and_then(|cwd| fs::read_link(cwd).ok()).unwrap_or_else(|| "/".into()),
        size: Size::new(cols.into(), rows.into()).unwrap_or(Size::DEFAULT),
        state: State::Live,
        logged: !environ.iter().any(|variable| variable.split_once('=') == Some(NOT_LOGGED)),
        ..Record::new(id, name)
    })
}

/// Whether a record says of a terminal whose command runs that it has ended: it is of another time.
pub fn is_outdated(record: &Record, held: &mut Descriptors) -> bool {
    let ended = match record.state {
        State::Exited(_) | State::Lost | State::Removing => true,
        // One that is found running is launched.
        State::Creating | State::Live | State::Restarting(_) => false,
    };
    // What is only on its way to being held has the supervisor's environment, or the launcher's arguments.
    ended
        && held.master.is_some()
        && held.observe().process == Process::Running
        && strings(held, "environ").contains(&format!("KAVAL_TERM_ID={}", record.id))
        && strings(held, "cmdline").get(1).is_none_or(|argument| argument != launch::ARGUMENT)
}

fn generated(id: TermId, attempt: u32) -> Option<Name> {
    let name = if attempt == 1 { format!("recovered-{id}") } else { format!("recovered-{id}-{attempt}") };
    name.parse().ok()
}

/// The path of what the kernel tells of a terminal's child, while that is there.
fn of_process(held: &Descriptors, what: &str) -> Option<PathBuf> {
    let pid = adopt::pid_of(held.pidfd.as_ref()?.as_fd())?.as_raw_nonzero();
    Some(format!("/proc/{pid}/{what}").into())
}

fn strings(held: &Descriptors, what: &str) -> Vec<String> {
    let bytes = of_process(held, what).and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}
