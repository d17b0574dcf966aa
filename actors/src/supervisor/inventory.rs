//! What is: the descriptors that a custodian handed back, sorted, and the processes behind them.
//!
//! A name says what a descriptor should be; whether it is that is asked of the kernel. What is something else is a [`Stray`],
//! named with the reason; of two terminals under one name the one counts on which the child is, and the other is a spare, which
//! may have somebody on it.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    pty::{Master, adopt, exit, input::InputQueue, launch},
};

/// Everything handed back.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Journals, by lane.
    pub journals: BTreeMap<u32, JournalFds>,
    /// Those of them whose pipe was not among the descriptors, and is a new one.
    pub repiped: Vec<u32>,
    /// How many lanes there were: which terminal is on which depends on it.
    pub lanes: u32,
    /// What is held of each terminal.
    pub terminals: BTreeMap<TermId, Descriptors>,
    /// Other terminals under a name that is taken.
    pub spares: Vec<(TermId, Master)>,
    /// Descriptors that are of no use.
    pub strays: Vec<Stray>,
}

/// A descriptor that is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// Its name.
    pub name: String,
    /// Why it is of no use.
    pub why: &'static str,
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

/// What was handed back of one terminal, before it is known what belongs together.
#[derive(Default)]
struct TermParts {
    masters: Vec<Master>,
    pidfds: Vec<OwnedFd>,
    input: Option<OwnedFd>,
}

#[derive(Default)]
struct LaneParts {
    file: Option<OwnedFd>,
    reader: Option<OwnedFd>,
    writer: Option<OwnedFd>,
}

impl Inventory {
    /// Sorts what was handed back. Of two descriptors of the same thing under one name the first counts: a kill between handing
    /// one over and learning that it is held makes a second.
    pub fn sort(handed_back: Vec<(String, OwnedFd)>) -> Self {
        let mut inventory = Self::default();
        let (mut terms, mut lanes) = (BTreeMap::<TermId, TermParts>::new(), BTreeMap::<u32, LaneParts>::new());
        for (name, fd) in handed_back {
            let stray = match Tag::parse(&name) {
                Some(Tag::Journal(lane)) => lanes.entry(lane).or_default().take_file(fd),
                Some(Tag::PipeReader(lane)) => lanes.entry(lane).or_default().take_reader(fd),
                Some(Tag::PipeWriter(lane)) => lanes.entry(lane).or_default().take_writer(fd),
                Some(Tag::Master(id)) => terms.entry(id).or_default().take_master(fd),
                Some(Tag::Pidfd(id)) => terms.entry(id).or_default().take_pidfd(fd),
                Some(Tag::Input(id)) => terms.entry(id).or_default().take_input(fd),
                None => Err("nobody knows the name"),
            };
            inventory.strays.extend(stray.err().map(|why| Stray { name, why }));
        }
        terms.into_iter().for_each(|(id, parts)| inventory.join_terminal(id, parts));
        lanes.into_iter().for_each(|(lane, parts)| inventory.join_lane(lane, parts));
        let kept = inventory.terminals.values().filter_map(|held| held.master.as_ref()?.number());
        let mut kept: BTreeSet<u32> = kept.collect();
        inventory.spares.retain(|(_, spare)| spare.number().is_none_or(|number| kept.insert(number)));
        inventory
    }

    fn join_terminal(&mut self, id: TermId, TermParts { mut masters, pidfds, input }: TermParts) {
        let on_it = |master: &Master| pidfds.iter().any(|pidfd| adopt::is_on(pidfd.as_fd(), master));
        let kept = if masters.len() > 1 { masters.iter().position(on_it).unwrap_or(0) } else { 0 };
        let master = (kept < masters.len()).then(|| masters.remove(kept));
        self.spares.extend(masters.into_iter().map(|spare| (id, spare)));
        let mut descriptors = Descriptors { input: input.map(Arc::new), ..Descriptors::default() };
        for pidfd in pidfds {
            if master.as_ref().is_some_and(|master| adopt::is_elsewhere(pidfd.as_fd(), master)) {
                self.strays.push(Stray { name: Tag::Pidfd(id).to_string(), why: "its process is on another terminal" });
            } else {
                descriptors.pidfd.get_or_insert_with(|| Arc::new(pidfd));
                descriptors.pidfd_stored = true;
            }
        }
        descriptors.master = master.map(Arc::new);
        if descriptors.master.is_some() || descriptors.pidfd.is_some() || descriptors.input.is_some() {
            self.terminals.insert(id, descriptors);
        }
    }

    fn join_lane(&mut self, lane: u32, LaneParts { file, reader, writer }: LaneParts) {
        self.lanes = self.lanes.max(lane.saturating_add(1));
        let piped = |(reader, writer): &(OwnedFd, OwnedFd)| JournalFds::are_pipe(reader.as_fd(), writer.as_fd());
        match (file, reader.zip(writer).filter(piped)) {
            (Some(file), Some((reader, writer))) => _ = self.journals.insert(lane, JournalFds { file, reader, writer }),
            (Some(file), None) => match JournalFds::with_new_pipe(file) {
                Ok(fds) => {
                    self.journals.insert(lane, fds);
                    self.repiped.push(lane);
                }
                Err(_) => self.strays.push(Stray { name: Tag::Journal(lane).to_string(), why: "it has no pipe" }),
            },
            (None, _) => {
                let tags = [Tag::PipeReader(lane), Tag::PipeWriter(lane)];
                self.strays.extend(tags.map(|tag| Stray { name: tag.to_string(), why: "it has no journal" }));
            }
        }
    }

    /// Whether something else is kept under the name: to have a custodian drop a stray would drop that as well.
    pub fn keeps(&self, name: &str) -> bool {
        let of = |id: &TermId| self.terminals.get(id);
        match Tag::parse(name) {
            Some(Tag::Master(id)) => of(&id).is_some_and(|held| held.master.is_some()),
            Some(Tag::Pidfd(id)) => of(&id).is_some_and(|held| held.pidfd.is_some()),
            Some(Tag::Input(id)) => of(&id).is_some_and(|held| held.input.is_some()),
            Some(Tag::Journal(lane) | Tag::PipeReader(lane) | Tag::PipeWriter(lane)) => self.journals.contains_key(&lane),
            None => false,
        }
    }
}

/// Whether a descriptor was taken, or why not.
type Taken = Result<(), &'static str>;

impl TermParts {
    fn take_master(&mut self, fd: OwnedFd) -> Taken {
        self.masters.push(Master::new(fd).map_err(|_| "it is no terminal")?);
        Ok(())
    }

    fn take_pidfd(&mut self, fd: OwnedFd) -> Taken {
        if !adopt::is_pidfd(fd.as_fd()) {
            return Err("it is no process");
        }
        self.pidfds.push(fd);
        Ok(())
    }

    fn take_input(&mut self, fd: OwnedFd) -> Taken {
        if !InputQueue::is_one(fd.as_fd()) {
            return Err("it is no input");
        }
        self.input.get_or_insert(fd);
        Ok(())
    }
}

impl LaneParts {
    fn take_file(&mut self, fd: OwnedFd) -> Taken {
        if !JournalFds::is_file(fd.as_fd()) {
            return Err("it is no journal");
        }
        self.file.get_or_insert(fd);
        Ok(())
    }

    fn take_reader(&mut self, fd: OwnedFd) -> Taken {
        self.reader.get_or_insert(fd);
        Ok(())
    }

    fn take_writer(&mut self, fd: OwnedFd) -> Taken {
        self.writer.get_or_insert(fd);
        Ok(())
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
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn some_fd() -> OwnedFd {
        rustix::pipe::pipe().unwrap().0
    }

    fn named(strays: &[Stray]) -> Vec<(&str, &str)> {
        strays.iter().map(|stray| (&*stray.name, stray.why)).collect()
    }

    #[test]
    fn what_is_of_use_is_kept_and_what_is_not_is_named() {
        let (journal, other) = (JournalFds::create().unwrap(), JournalFds::create().unwrap());
        let pty = || rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        let inventory = Inventory::sort(vec![
            ("j0".into(), journal.file),
            ("m1".into(), some_fd()),
            ("m1".into(), pty()),
            ("r0".into(), journal.reader),
            ("w0".into(), journal.writer),
            ("j1".into(), some_fd()),
            ("r1".into(), some_fd()),
            ("j2".into(), other.file),
            ("w2".into(), some_fd()),
            ("m2".into(), some_fd()),
            ("stored".into(), some_fd()),
            ("p3".into(), own),
            ("p4".into(), some_fd()),
            ("i5".into(), some_fd()),
            ("i6".into(), InputQueue::create().unwrap()),
        ]);
        assert_eq!(inventory.journals.keys().copied().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((inventory.repiped.as_slice(), inventory.lanes), ([2].as_slice(), 3));
        assert!(inventory.terminals[&TermId(1)].master.is_some() && inventory.keeps("m1"));
        assert!(inventory.terminals[&TermId(3)].pidfd.is_some() && inventory.terminals[&TermId(6)].input.is_some());
        assert_eq!(inventory.terminals.len(), 3);
        let expected = [
            ("m1", "it is no terminal"),
            ("j1", "it is no journal"),
            ("m2", "it is no terminal"),
            ("stored", "nobody knows the name"),
            ("p4", "it is no process"),
            ("i5", "it is no input"),
            ("r1", "it has no journal"),
            ("w1", "it has no journal"),
        ];
        assert_eq!(named(&inventory.strays), expected);
        assert!(["j1", "m2", "stored", "p4", "r1"].into_iter().all(|name| !inventory.keeps(name)));
    }

    /// A child with a terminal of its own, ended when dropped.
    struct OnPty {
        child: std::process::Child,
        master: OwnedFd,
    }

    impl OnPty {
        fn start() -> Self {
            let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
            rustix::pty::grantpt(&master).and_then(|()| rustix::pty::unlockpt(&master)).unwrap();
            let slave = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
            let slave = std::fs::OpenOptions::new().read(true).write(true).open(slave).unwrap();
            let mut command = std::process::Command::new("setsid");
            let child = command.args(["--ctty", "sleep", "1000"]).stdin(slave).spawn().unwrap();
            let on_pty = Self { child, master };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while on_pty.held().session_leader().is_none() {
                assert!(std::time::Instant::now() < deadline, "setsid did not come up");
                std::thread::yield_now();
            }
            on_pty
        }

        fn copy(&self) -> OwnedFd {
            self.master.try_clone().unwrap()
        }

        fn held(&self) -> Master {
            Master::new(self.copy()).unwrap()
        }

        fn pidfd(&self) -> OwnedFd {
            pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap()
        }
    }

    impl Drop for OnPty {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[test]
    fn of_two_terminals_the_one_with_the_child_is_kept_and_the_same_one_twice_is_one() {
        let (one, other) = (OnPty::start(), OnPty::start());
        let inventory = Inventory::sort(vec![
            ("m1".into(), other.copy()),
            ("m1".into(), one.copy()),
            ("p1".into(), pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap()),
            ("p1".into(), one.pidfd()),
            ("m1".into(), one.copy()),
        ]);
        let held = &inventory.terminals[&TermId(1)];
        assert_eq!(held.master.as_ref().unwrap().number(), one.held().number());
        assert_eq!(adopt::pid_of(held.pidfd.as_ref().unwrap().as_fd()), Some(Pid::from_child(&one.child)));
        assert_eq!(
            inventory.spares.iter().map(|(id, spare)| (*id, spare.number())).collect::<Vec<_>>(),
            [(TermId(1), other.held().number())]
        );
        assert_eq!(named(&inventory.strays), [("p1", "its process is on another terminal")]);
    }
}
