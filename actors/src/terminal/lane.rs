//! What the terminals of one arbiter share: its journal, and their addresses. Never leaves its thread.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeSet, HashMap},
    rc::Rc,
    time::Duration,
};

use actix::Addr;

use super::{Checkpoint, Rethink, Terminal, turn::Usher};
use crate::{
    TermId,
    log::{
        journal::{Journal, JournalError},
        service::Log,
    },
};

thread_local! {
    static LANE: RefCell<Option<Rc<Lane>>> = const { RefCell::new(None) };
}

/// See the module's head.
pub struct Lane {
    journal: RefCell<Journal>,
    log: Log,
    usher: Usher,
    /// How long a terminal is idle before it hibernates; never, if absent.
    hibernate_after: Cell<Option<Duration>>,
    terminals: RefCell<HashMap<TermId, Addr<Terminal>>>,
}

impl Lane {
    /// Gives this thread its lane, whose journal is from now on followed by the log.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn install(mut journal: Journal, log: Log) -> std::io::Result<()> {
        log.follow(journal.follow(log.bell())?);
        let usher = Usher::start();
        let lane = Self {
            journal: RefCell::new(journal),
            log,
            usher,
            hibernate_after: Cell::new(None),
            terminals: RefCell::default(),
        };
        LANE.with_borrow_mut(|slot| *slot = Some(Rc::new(lane)));
        Ok(())
    }

    /// This thread's lane.
    ///
    /// # Panics
    /// On a thread that has none: terminals are started on lanes only.
    pub fn current() -> Rc<Self> {
        LANE.with_borrow(|slot| slot.clone()).expect("a terminal runs on a lane's thread")
    }

    /// The journal. Never held across an await or a message.
    pub fn journal(&self) -> RefMut<'_, Journal> {
        self.journal.borrow_mut()
    }

    /// Who lets those in that have had a turn.
    pub(super) fn usher(&self) -> &Usher {
        &self.usher
    }

    /// Has terminals hibernate once they were idle for so long, or never.
    pub fn hibernate_after(&self, idle: Option<Duration>) {
        if self.hibernate_after.replace(idle) != idle {
            // Once a change of the configuration.
            self.terminals.borrow().values().for_each(|terminal| terminal.do_send(Rethink));
        }
    }

    pub(super) fn idle_time(&self) -> Option<Duration> {
        self.hibernate_after.get()
    }

    /// What is on disk.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Drops the records of all terminals but these: what is left of others holds room back, and nobody can be asked for a checkpoint.
    pub fn keep_only(&self, ids: &BTreeSet<TermId>) {
        let mut journal = self.journal();
        let strays: Vec<TermId> = journal.terms().filter(|id| !ids.contains(id)).collect();
        strays.into_iter().for_each(|id| journal.forget(id));
    }

    /// Begins a terminal's records at `offset` with the checkpoint of its screen: what came before was in a journal that is
    /// lost.
    ///
    /// # Errors
    /// When the journal takes nothing; the terminal then begins with an empty screen.
    pub fn begin_again(&self, id: TermId, offset: u64, checkpoint: &[u8]) -> Result<(), JournalError> {
        let mut journal = self.journal();
        journal.begin(id, offset);
        journal.checkpoint(id, checkpoint)
    }

    /// Drops the records of a terminal that is forgotten, whether or not it had an actor to do so.
    pub fn forget(&self, id: TermId) {
        self.journal().forget(id);
    }

    pub(super) fn join(&self, id: TermId, addr: Addr<Terminal>) {
        self.terminals.borrow_mut().insert(id, addr);
        self.journal().ask_again(id);
    }

    pub(super) fn leave(&self, id: TermId) {
        self.terminals.borrow_mut().remove(&id);
    }

    /// Asks those terminals for a checkpoint that hold back the journal's oldest segment.
    pub(super) fn ask_for_room(&self) {
        let wanted = self.journal().take_wanted();
        for id in wanted {
            // One that is not there is only just being adopted, and is asked when it joins.
            if let Some(terminal) = self.terminals.borrow().get(&id) {
                // Each terminal is named once until it has answered, so the rate is bounded.
                terminal.do_send(Checkpoint);
            }
        }
    }
}
