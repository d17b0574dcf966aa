//! A stream of a terminal's events to one client.
//!
//! One that resumes so far back that the journal no longer has it is told what it missed from disk, in place of the `lagged` and the screen that
//! it would begin with: the output goes on where that screen was taken.

use std::{io, rc::Rc};

use actix::Addr;
use bytes::Bytes;
use kaval_actors::{
    Size, TermId,
    log::piece::{PageStart, Piece},
    pty::Fate,
    terminal::{Attached, ClientId, Detach, Event as TermEvent, Pump, Terminal, Waiting},
};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::JoinHandle,
};

use super::{connection::Session, history, ops};
use crate::wire::{DATA_BYTES_MAX, Data, Empty, Event};

/// A stream that is open.
pub(super) struct Attachment {
    pub(super) term: TermId,
    pub(super) client: ClientId,
    pub(super) terminal: Addr<Terminal>,
    task: JoinHandle<()>,
    /// Dropped to end the stream between two frames.
    going: oneshot::Sender<()>,
}

impl Attachment {
    /// Starts streaming to `req`.
    pub(super) fn begin(session: &Rc<Session>, req: u64, term: TermId, terminal: Addr<Terminal>, attached: Attached) -> Self {
        let client = attached.client;
        let (going, stop) = oneshot::channel();
        let task = actix_rt::spawn(stream(session.clone(), req, terminal.clone(), attached, stop));
        Self { term, client, terminal, task, going }
    }

    /// Ends it, without a word to the client, behind a whole frame: the connection goes on.
    pub(super) async fn close(self) {
        drop(self.going);
        let _ = self.task.await;
    }

    /// Ends it at once: the connection is over.
    pub(super) async fn end(self) {
        self.task.abort();
        let _ = self.terminal.send(Detach(Some(self.client))).await;
    }
}

/// How a stream came to its end.
enum End {
    /// The client has had its last event.
    Told,
    /// It was closed.
    Closed,
    /// The terminal's actor died, or the supervisor ends: either is started again.
    Restarting,
}

/// How far a stream has come.
#[derive(Clone, Copy)]
enum Place {
    /// Nothing has been told.
    Begun,
    /// What the client missed has been told from disk: the screen that follows shows nothing else.
    Replayed,
    /// Events are passed on.
    Going,
}

/// What came of telling a client what it missed.
enum Replayed {
    All {
        resized: bool,
    },
    /// From there on it is not kept.
    Until(u64),
    /// The stream was closed meanwhile.
    Closed,
}

/// Tells what was put out from `from` to before `to`, from wherever it is kept.
async fn replay(
    session: &Session,
    req: u64,
    terminal: &Addr<Terminal>,
    from: u64,
    to: u64,
    stop: &mut oneshot::Receiver<()>,
) -> io::Result<Replayed> {
    let (mut next, mut resized) = (Some(from), false);
    while let Some(at) = next {
        if stop.try_recv() == Err(TryRecvError::Closed) {
            return Ok(Replayed::Closed);
        }
        let Ok(page) = history::page(terminal, PageStart::Offset(at), to, DATA_BYTES_MAX / 2).await else {
            return Ok(Replayed::Until(at));
        };
        for piece in history::joined(page.pieces) {
            match piece {
                Piece::Output { offset, data, .. } => {
                    session.send(&Event::Output { req, offset, data: Data(data), time_us: None }).await?
                }
                Piece::Resize { offset, size, .. } => {
                    resized = true;
                    session.send(&size_event(req, offset, size)).await?;
                }
                Piece::Checkpoint { .. } => {}
                Piece::Gap { from, .. } => return Ok(Replayed::Until(from)),
            }
        }
        next = page.next;
    }
    Ok(Replayed::All { resized })
}

/// Streams to the end, and then takes the client off the terminal, which would count and serve it as long as it lives.
async fn stream(session: Rc<Session>, req: u64, terminal: Addr<Terminal>, attached: Attached, stop: oneshot::Receiver<()>) {
    let _open = session.hub.streams.clone();
    match forward(&session, req, &terminal, &attached, stop).await {
        Ok(End::Told) => _ = session.send(&Event::End { req }).await,
        Ok(End::Restarting) => session.reply::<Empty>(req, Err(ops::ending())).await,
        Ok(End::Closed) | Err(_) => {}
    }
    let _ = terminal.send(Detach(Some(attached.client))).await;
    session.attachments.borrow_mut().remove(&req);
}

/// Sends events until the last of the stream has been sent.
async fn forward(
    session: &Session,
    req: u64,
    terminal: &Addr<Terminal>,
    attached: &Attached,
    mut stop: oneshot::Receiver<()>,
) -> io::Result<End> {
    let mut place = Place::Begun;
    loop {
        let next = tokio::select! {
            biased;
            () = session.hub.closing.cancelled() => return Ok(End::Restarting),
            _ = &mut stop => return Ok(End::Closed),
            next = attached.outbox.next() => next,
        };
        let Some((event, wants_more)) = next else { return Ok(End::Restarting) };
        let last = event.is_last();
        match (event, place) {
            (TermEvent::Lagged { from, to }, Place::Begun) => {
                match replay(session, req, terminal, from, to, &mut stop).await? {
                    Replayed::All { resized: false } => place = Place::Replayed,
                    // A screen follows a resize, and this one comes after all of them.
                    Replayed::All { resized: true } => place = Place::Going,
                    Replayed::Until(at) => {
                        place = Place::Going;
                        session.send(&Event::Lagged { req, from: at, to }).await?;
                    }
                    Replayed::Closed => return Ok(End::Closed),
                }
            }
            (TermEvent::Screen { .. }, Place::Replayed) => place = Place::Going,
            (event, Place::Begun | Place::Replayed | Place::Going) => {
                place = Place::Going;
                for frame in frames(req, event) {
                    session.send(&frame).await?;
                }
            }
        }
        if last {
            return Ok(End::Told);
        }
        if wants_more {
            let _ = terminal.send(Pump(attached.client)).await;
        }
    }
}

/// An event as frames: a long one in several.
fn frames(req: u64, event: TermEvent) -> Vec<Event> {
    match event {
        TermEvent::Screen { offset, size, data } => screen(req, offset, size, &data),
        TermEvent::Output { offset, data } => vec![Event::Output { req, offset, data: Data(data), time_us: None }],
        TermEvent::Resized { offset, size } => vec![size_event(req, offset, size)],
        TermEvent::Lagged { from, to } => vec![Event::Lagged { req, from, to }],
        TermEvent::Waiting(Waiting { fate, due_ms }) => {
            let exit = match fate {
                Fate::Ended(exit) => Some(exit.into()),
                Fate::Lost => None,
            };
            vec![Event::Respawning { req, exit, at: due_ms }]
        }
        TermEvent::Reaping(at) => vec![Event::Reaping { req, at }],
        TermEvent::Exited(exit) => vec![Event::Exited { req, exit: exit.into() }],
        TermEvent::Detached => vec![Event::Detached { req }],
    }
}

fn size_event(req: u64, offset: u64, size: Size) -> Event {
    Event::Resized { req, offset, cols: size.cols(), rows: size.rows(), time_us: None }
}

/// A screen as frames: a long one in several.
pub(super) fn screen(req: u64, offset: u64, size: Size, data: &Bytes) -> Vec<Event> {
    let (cols, rows) = (size.cols(), size.rows());
    let pieces = pieces(data);
    let last = pieces.len() - 1;
    let frame = |(i, data)| Event::Screen { req, offset, cols, rows, data: Data(data), more: i < last };
    pieces.into_iter().enumerate().map(frame).collect()
}

fn pieces(data: &Bytes) -> Vec<Bytes> {
    let starts = (0..data.len().max(1)).step_by(DATA_BYTES_MAX);
    starts.map(|start| data.slice(start..data.len().min(start + DATA_BYTES_MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_screen_is_cut_and_only_its_last_frame_ends_it() {
        let data = Bytes::from(vec![7; DATA_BYTES_MAX * 2 + 1]);
        let cut = frames(1, TermEvent::Screen { offset: 9, size: Size::DEFAULT, data: data.clone() });
        let mut joined = Vec::new();
        let mut flags = Vec::new();
        for frame in cut {
            let Event::Screen { data, more, offset: 9, .. } = frame else { panic!("not a screen at 9") };
            joined.extend_from_slice(&data.0);
            flags.push(more);
        }
        assert_eq!((joined, flags), (data.to_vec(), vec![true, true, false]));
        assert_eq!(frames(1, TermEvent::Screen { offset: 9, size: Size::DEFAULT, data: Bytes::new() }).len(), 1);
    }
}
