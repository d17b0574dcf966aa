//! Who sits at this window: what is typed, the keys that are kaval's own among it, and the signals that say that nobody does any more.

use std::{io, mem};

use bytes::Bytes;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Duration, Instant, sleep_until},
};

use super::{
    keys::{Keys, Typed},
    tty::typing,
};
use crate::{config::DetachKey, wire::ExitInfo};

/// How long a second key is waited for behind the detach key: half a second, since one that is not the same takes that long to find.
const SECOND_PRESS: Duration = Duration::from_millis(500);
/// How it comes that nobody does any more.
pub(super) enum End {
    Detached,
    DetachedByOther,
    Exited(ExitInfo),
    Signalled(u8),
}

/// Who sits at this window.
pub(super) struct Person {
    typed: mpsc::Receiver<Bytes>,
    keys: Keys,
    armed_until: Instant,
    hung_up: Signal,
    terminated: Signal,
    /// Typed, and not given out.
    waiting: Vec<u8>,
    /// The pager was asked for, and what was typed before that is given out.
    paging: Option<bool>,
}

/// What a person does.
pub(super) enum Act {
    Typed(Bytes),
    /// Wants to see the history; a page up at once.
    Page {
        up: bool,
    },
    /// Is gone, having typed something before.
    Ended(End, Bytes),
}

impl Person {
    /// One who has this key for leaving.
    pub(super) fn new(key: DetachKey) -> io::Result<Self> {
        let keys = Keys::new(key.0);
        let (hung_up, terminated) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        Ok(Self { typed: typing(), keys, armed_until: Instant::now(), hung_up, terminated, waiting: Vec::new(), paging: None })
    }

    /// The next thing. May be dropped at any await without losing anything.
    pub(super) async fn next(&mut self) -> Act {
        if !self.waiting.is_empty() && self.paging.is_none() {
            return Act::Typed(mem::take(&mut self.waiting).into());
        }
        self.act().await
    }

    async fn act(&mut self) -> Act {
        if let Some(up) = self.paging.take() {
            return Act::Page { up };
        }
        loop {
            tokio::select! {
                biased;
                _ = self.hung_up.recv() => return Act::Ended(End::Signalled(libc::SIGHUP as u8), Bytes::new()),
                _ = self.terminated.recv() => return Act::Ended(End::Signalled(libc::SIGTERM as u8), Bytes::new()),
                bytes = self.typed.recv() => {
                    let Some(bytes) = bytes else { return Act::Ended(End::Detached, Bytes::new()) };
                    let Typed { send, detach, page } = self.keys.take(&bytes);
                    self.armed_until = Instant::now() + SECOND_PRESS;
                    if detach {
                        return Act::Ended(End::Detached, send.into());
                    }
                    if let Some(page) = page {
                        self.waiting = page.rest;
                        self.paging = Some(page.up).filter(|_| !send.is_empty());
                        if send.is_empty() {
                            return Act::Page { up: page.up };
                        }
                    }
                    if !send.is_empty() {
                        return Act::Typed(send.into());
                    }
                }
                () = sleep_until(self.armed_until), if self.keys.is_armed() => return Act::Ended(End::Detached, Bytes::new()),
            }
        }
    }

    /// The end, once it comes; what is typed before that waits.
    pub(super) async fn end(&mut self) -> End {
        loop {
            match self.act().await {
                Act::Ended(end, _) => return end,
                Act::Typed(bytes) => self.waiting.extend_from_slice(&bytes),
                Act::Page { .. } => {}
            }
        }
    }
}
