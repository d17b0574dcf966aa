//! The stream of a terminal's turns: waits until its PTY has output, and moves it into the journal.

use std::{
    future::Future,
    os::fd::AsFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    io::unix::AsyncFd,
    time::{Sleep, sleep},
};

use super::{Lane, turn::Yield};
use crate::{
    TermId,
    log::journal::{Ingest, JournalError, RECORD_MAX, Source},
    pty::Master,
};

/// How long to wait before asking again a journal that was full, or a PTY that nobody had open. Neither raises an event when it
/// changes; both are rare.
const RETRY_FULL: Duration = Duration::from_millis(20);
const RETRY_HUNG_UP: Duration = Duration::from_millis(250);

/// One item a turn; ends never, it is dropped.
pub(super) struct Intake {
    id: TermId,
    lane: Rc<Lane>,
    pty: Rc<AsyncFd<Arc<Master>>>,
    /// Whether others have had their turn since the last item.
    yielded: bool,
    others: Yield,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Intake {
    pub(super) fn new(id: TermId, lane: Rc<Lane>, pty: Rc<AsyncFd<Arc<Master>>>) -> Self {
        let others = lane.usher().others_first();
        Self { id, lane, pty, yielded: true, others, pause: None }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ingest, JournalError>> {
        loop {
            let mut guard = match ready!(self.pty.poll_read_ready(cx)) {
                Ok(guard) => guard,
                Err(source) => return Poll::Ready(Err(JournalError::Io { what: "waiting for the pty", source })),
            };
            let result = self.lane.journal().ingest(self.id, self.pty.get_ref().as_fd(), RECORD_MAX);
            match result {
                Ok(Ingest { bytes, source: Source::Drained }) => {
                    guard.clear_ready();
                    if bytes == 0 {
                        continue;
                    }
                }
                Ok(Ingest { source: Source::More, .. }) => {}
                Ok(Ingest { source: Source::HungUp, .. }) => self.pause = Some(Box::pin(sleep(RETRY_HUNG_UP))),
                Err(_) => self.pause = Some(Box::pin(sleep(RETRY_FULL))),
            }
            return Poll::Ready(result);
        }
    }
}

impl Stream for Intake {
    type Item = Result<Ingest, JournalError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.yielded {
            ready!(Pin::new(&mut self.others).poll(cx));
            self.yielded = true;
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let result = ready!(self.turn(cx));
        self.yielded = false;
        Poll::Ready(Some(result))
    }
}
