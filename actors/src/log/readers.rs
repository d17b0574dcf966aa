//! The threads that read logs: a few, for as long as there is a log.
//!
//! ```text
//!   Log::read ─► queue ─► reader thread: its turn, one at a time ─► what was read
//! ```
//!
//! The database keeps what is read in a cache, and what falls out of that with the thread it fell out on, until that thread reads again. So there are
//! few such threads; their memory is the log's; and each gives up what it kept after every turn.
//!
//! **Invariant.** A turn that panics is answered with an error, and its thread reads on.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use tokio::sync::oneshot;

use super::store::StoreError;

/// How many.
const READERS: usize = 2;

type Turn = Box<dyn FnOnce() + Send>;

/// See the module's head.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    queue: mpsc::Sender<Turn>,
}

impl Readers {
    /// Starts them; each calls `on_start` first.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start(on_start: fn()) -> io::Result<Self> {
        let (queue, turns) = mpsc::channel();
        let turns = Arc::new(Mutex::new(turns));
        for _ in 0..READERS {
            let turns = turns.clone();
            thread::Builder::new().name("kaval-log-read".into()).spawn(move || {
                on_start();
                take_turns(&turns);
            })?;
        }
        Ok(Self { queue })
    }

    /// Reads when it is its turn.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let turn = Box::new(move || _ = reply.send(read()));
        if self.queue.send(turn).is_err() {
            return Err(StoreError::Closed);
        }
        answer.await.unwrap_or(Err(StoreError::Panicked { what: "read" }))
    }
}

fn take_turns(turns: &Mutex<mpsc::Receiver<Turn>>) {
    loop {
        let next = turns.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(turn) = next else { return };
        // Who waits is told by the reply that never comes; the panic's message is in the supervisor's log.
        _ = catch_unwind(AssertUnwindSafe(turn));
        crossbeam_epoch::pin().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_that_panics_is_an_error_and_others_are_read() {
        let readers = Readers::start(|| ()).unwrap();
        for n in 0..2 * READERS {
            let panicked = readers.read::<()>(|| panic!("on purpose")).await;
            assert!(matches!(panicked, Err(StoreError::Panicked { .. })), "{panicked:?}");
            assert_eq!(readers.read(move || Ok(n)).await.unwrap(), n);
        }
    }
}
