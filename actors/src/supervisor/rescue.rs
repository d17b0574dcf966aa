//! A record for a terminal that has none: its manifest was lost, and it lives on.
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
use crate::{Name, Size, TermId, pty::adopt};

/// What a supervisor writes of a terminal that it finds without a record, under the name that its child knows unless that `is_taken`;
/// `None` if its child does not run its command.
pub fn rescue(id: TermId, held: &mut Descriptors, is_taken: impl Fn(&Name) -> bool) -> Option<Record> {
    if held.observe().process != Process::Running {
        return None;
    }
    let (cols, rows) = held.master.as_ref()?.size().ok()?;
    let pid = adopt::pid_of(held.pidfd.as_ref()?.as_fd())?.as_raw_nonzero();
    let of_process = |what: &str| PathBuf::from(format!("/proc/{pid}/{what}"));
    let strings = |what: &str| -> Vec<String> {
        let bytes = fs::read(of_process(what)).unwrap_or_default();
        let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    };
    let environ = strings("environ");
    let named = environ.iter().find_map(|variable| variable.strip_prefix("KAVAL_TERM_NAME=")?.parse().ok());
    let name: Name = named.filter(|name| !is_taken(name)).or_else(|| format!("rescued-{id}").parse().ok())?;
    Some(Record {
        argv: strings("cmdline"),
        cwd: fs::read_link(of_process("cwd")).unwrap_or_else(|_| "/".into()),
        size: Size::new(cols.into(), rows.into()).unwrap_or(Size::DEFAULT),
        state: State::Live,
        logged: !environ.iter().any(|variable| variable.split_once('=') == Some(NOT_LOGGED)),
        ..Record::new(id, name)
    })
}
