//! What is: the descriptors that a custodian handed back, sorted, and the processes behind them.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use super::{
    custody::Tag,
    plan::{Observed, Process},
};
use crate::{
    TermId,
    log::journal::JournalFds,
    pty::{Master, adopt, exit, launch},
};

/// Everything handed back.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Journals whose three descriptors are all there, by lane.
    pub journals: BTreeMap<u32, JournalFds>,
    /// What is held of each terminal.
    pub terminals: BTreeMap<TermId, Descriptors>,
    /// Names of descriptors that are of no use: unknown, double, or part of an incomplete whole.
    pub strays: Vec<String>,
}

/// What is held of one terminal.
#[derive(Debug, Default, Clone)]
pub struct Descriptors {
    /// Its PTY's master end.
    pub master: Option<Arc<Master>>,
    /// Its child's pidfd.
    pub pidfd: Option<Arc<OwnedFd>>,
    /// Its input on the way to the child. Stored after the master and dropped before it, so that it is never held alone.
    pub input: Option<Arc<OwnedFd>>,
    /// Whether the pidfd is in custody, and not merely in this process.
    pub pidfd_stored: bool,
}

#[derive(Default)]
struct LaneParts {
    file: Option<OwnedFd>,
    reader: Option<OwnedFd>,
    writer: Option<OwnedFd>,
}

impl Inventory {
    /// Sorts what was handed back. Of two descriptors under one name the first counts: a kill between handing one over and
    /// learning that it is held makes a second of the same thing.
    pub fn sort(handed_back: Vec<(String, OwnedFd)>) -> Self {
        let mut inventory = Self::default();
        let mut lanes: BTreeMap<u32, LaneParts> = BTreeMap::new();
        for (name, fd) in handed_back {
            match Tag::parse(&name) {
                Some(Tag::Journal(lane)) => _ = lanes.entry(lane).or_default().file.get_or_insert(fd),
                Some(Tag::PipeReader(lane)) => _ = lanes.entry(lane).or_default().reader.get_or_insert(fd),
                Some(Tag::PipeWriter(lane)) => _ = lanes.entry(lane).or_default().writer.get_or_insert(fd),
                Some(Tag::Master(id)) => inventory.take_master(id, name, fd),
                Some(Tag::Pidfd(id)) => {
                    let held = inventory.terminals.entry(id).or_default();
                    held.pidfd.get_or_insert_with(|| Arc::new(fd));
                    held.pidfd_stored = true;
                }
                Some(Tag::Input(id)) => {
                    _ = inventory.terminals.entry(id).or_default().input.get_or_insert_with(|| Arc::new(fd))
                }
                None => inventory.strays.push(name),
            }
        }
        for (lane, parts) in lanes {
            match parts {
                LaneParts { file: Some(file), reader: Some(reader), writer: Some(writer) } => {
                    inventory.journals.insert(lane, JournalFds { file, reader, writer });
                }
                LaneParts { .. } => {
                    let tags = [Tag::Journal(lane), Tag::PipeReader(lane), Tag::PipeWriter(lane)];
                    inventory.strays.extend(tags.map(|tag| tag.to_string()));
                }
            }
        }
        inventory
    }

    fn take_master(&mut self, id: TermId, name: String, fd: OwnedFd) {
        match Master::new(fd) {
            Ok(master) => _ = self.terminals.entry(id).or_default().master.get_or_insert_with(|| Arc::new(master)),
            Err(_) => self.strays.push(name),
        }
    }
}

impl Descriptors {
    /// What `plan` needs to know of them, without the actor. A pidfd that is not held is looked for through the PTY.
    pub fn observe(&mut self) -> Observed {
        if self.pidfd.is_none()
            && let Some(master) = &self.master
        {
            self.pidfd = adopt::child_of(master).map(Arc::new);
        }
        Observed { master: self.master.is_some(), pidfd: self.pidfd.is_some(), process: self.process(), ..Observed::NOTHING }
    }

    fn process(&self) -> Process {
        let Some(pidfd) = &self.pidfd else { return Process::None };
        if exit::has_ended(pidfd.as_fd()) {
            return Process::Ended;
        }
        match adopt::pid_of(pidfd.as_fd()) {
            Some(pid) if launch::is_held(pid) => Process::Held,
            Some(_) => Process::Running,
            None => Process::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_fd() -> OwnedFd {
        rustix::pipe::pipe().unwrap().0
    }

    #[test]
    fn what_is_whole_is_kept_and_what_is_not_is_named() {
        let journal = JournalFds::create().unwrap();
        let pty = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let inventory = Inventory::sort(vec![
            ("j0".into(), journal.file),
            ("m1".into(), pty),
            ("r0".into(), journal.reader),
            ("w0".into(), journal.writer),
            ("j1".into(), some_fd()),
            ("m2".into(), some_fd()),
            ("stored".into(), some_fd()),
            ("p3".into(), some_fd()),
        ]);
        assert_eq!(inventory.journals.keys().copied().collect::<Vec<_>>(), [0]);
        assert!(inventory.terminals[&TermId(1)].master.is_some());
        assert!(inventory.terminals[&TermId(3)].pidfd.is_some());
        assert_eq!(inventory.strays, ["m2", "stored", "j1", "r1", "w1"]);
    }
}
