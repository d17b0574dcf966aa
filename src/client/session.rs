//! An attachment that outlives connections and supervisors.
//!
//! ```text
//!   attach from the screen ─► events … ─► connection lost ─► reconnect, attach from the next offset, send again what was not
//!        acknowledged ─► events …
//! ```
//!
//! **Invariants.** Output comes by offset without gap or overlap, but for a declared lag. Input is numbered: what was sent again is not
//! delivered again. [`Session::next`] may be dropped at any await without losing anything.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use kaval_actors::Size;
use tokio::time::{sleep, timeout};

use super::{Client, ClientError, Incoming, body};
use crate::wire::{AttachFrom, AttachMode, AttachOk, Code, Data, Event, ExitInfo, Op, TermRef};

/// How long a session tries to reach a supervisor that does not answer.
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// Input that is under way at once: pieces of so many bytes, so many of them. Together they fit a socket's buffer, so that sending them never
/// waits for a supervisor that in turn waits for this session to read.
const PIECE_BYTES: usize = 8 * 1024;
const PIECES_MAX: usize = 8;
/// How long a session that leaves waits for what it has typed to be acknowledged; what is not is sent again when it is back.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const RECONNECT_FIRST: Duration = Duration::from_millis(5);
const RECONNECT_LAST: Duration = Duration::from_millis(50);

/// How to attach.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Where the supervisor is.
    pub socket: PathBuf,
    /// Which terminal.
    pub term: TermRef,
    /// What to do with it.
    pub mode: AttachMode,
    /// The window's size, if there is a window.
    pub size: Option<Size>,
    /// Where to begin.
    pub from: AttachFrom,
}

/// What happens to an attached terminal.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// Draw this; it is the whole screen at `offset`.
    Screen {
        /// Where it was taken.
        offset: u64,
        /// Its size.
        size: Size,
        /// Bytes that draw it.
        data: Bytes,
    },
    /// Output.
    Output {
        /// Of its first byte.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The terminal's size changed.
    Resized {
        /// To this.
        size: Size,
    },
    /// Output was left out.
    Lagged {
        /// First byte left out.
        from: u64,
        /// First byte not left out.
        to: u64,
    },
    /// The connection is lost; the next call goes on to restore it.
    Lost,
    /// The child has ended, or was lost with its PTY, and another will be started.
    Respawning {
        /// How it ended, if it was not lost.
        exit: Option<ExitInfo>,
        /// When, milliseconds since the Unix epoch.
        at: u64,
    },
    /// The terminal is idle, and hung up for that unless there is output or input; or is not any more.
    Reaping {
        /// When, milliseconds since the Unix epoch; `None` if it is not any more.
        at: Option<u64>,
    },
    /// The child has ended: the last update.
    Exited(ExitInfo),
    /// Somebody else detached this session: the last update.
    Detached,
}

/// See the module's head.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    name: String,
    answered: u64,
    link: Link,
    source: String,
    next_seq: u64,
    unacknowledged: VecDeque<Unacknowledged>,
    /// Whether the terminal has this window's size, as far as is known: then it takes it again when it reconnects.
    sets_size: bool,
    /// The requests that told it, and are not answered.
    resizes: Vec<u64>,
    /// A screen's first frames, until its last has come.
    screen: Vec<u8>,
}

#[derive(Debug)]
enum Link {
    Up { client: Box<Client>, stream: u64 },
    Down { since: Instant, pause: Duration },
}

#[derive(Debug)]
struct Unacknowledged {
    seq: u64,
    data: Bytes,
    /// The request that carries it on the present connection.
    req: Option<u64>,
}

impl Session {
    /// Attaches; a supervisor that is just being restarted is waited for.
    ///
    /// # Errors
    /// The server's refusal, or that nobody answers.
    pub async fn attach(options: SessionOptions) -> Result<Self, ClientError> {
        let mut session = Self {
            options,
            name: String::new(),
            answered: 0,
            link: Link::Down { since: Instant::now(), pause: RECONNECT_FIRST },
            source: format!("{:016x}", rand::random::<u64>()),
            next_seq: 1,
            unacknowledged: VecDeque::new(),
            sets_size: true,
            resizes: Vec::new(),
            screen: Vec::new(),
        };
        match session.connect().await {
            Err(error) if error.is_passing() && !matches!(error, ClientError::Unreachable { .. }) => {
                session.reconnect().await?
            }
            result => result?,
        }
        Ok(session)
    }

    /// The terminal's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the supervisor is.
    pub fn socket(&self) -> &Path {
        &self.options.socket
    }

    /// The terminal, by its id.
    pub fn term(&self) -> &TermRef {
        &self.options.term
    }

    /// Questions of programs up to this offset are settled: a window that shows the output before it must not answer them.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Since when there has been no connection.
    pub fn down_since(&self) -> Option<Instant> {
        match self.link {
            Link::Up { .. } => None,
            Link::Down { since, .. } => Some(since),
        }
    }

    /// Whether all input was acknowledged.
    pub fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// The offset after the last output received.
    pub fn offset(&self) -> Option<u64> {
        match self.options.from {
            AttachFrom::Offset(offset) => Some(offset),
            AttachFrom::Screen => None,
        }
    }

    /// The next thing that happens; reconnects by itself.
    ///
    /// # Errors
    /// When the terminal is gone, or no supervisor has answered for a minute.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            let Link::Up { client, stream } = &mut self.link else {
                self.reconnect().await?;
                continue;
            };
            let stream = *stream;
            match client.next().await {
                Ok(Incoming::Event(event)) => {
                    if let Some(update) = self.take(event, stream) {
                        return Ok(update);
                    }
                }
                Ok(Incoming::Ok { req, .. }) => {
                    self.settle(Some(req));
                    self.send_unsent().await;
                }
                Ok(Incoming::Err { error, .. }) if error.code == Code::Restarting => return Ok(self.lose()),
                Ok(Incoming::Err { req, error }) => {
                    if !self.settle(req) {
                        return Err(error.into());
                    }
                }
                Err(error) if error.is_passing() => return Ok(self.lose()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets go of what was asked by a request that is answered: whether it was input, or a size. Refused, neither is the end.
    fn settle(&mut self, req: Option<u64>) -> bool {
        let before = self.unacknowledged.len() + self.resizes.len();
        self.unacknowledged.retain(|input| input.req.is_none() || input.req != req);
        self.resizes.retain(|resize| Some(*resize) != req);
        self.unacknowledged.len() + self.resizes.len() < before
    }

    fn lose(&mut self) -> Update {
        self.drop_link();
        Update::Lost
    }

    /// Types, and so makes this window the active one.
    pub async fn input(&mut self, data: Bytes) {
        if !self.sets_size
            && let Some(size) = self.options.size
        {
            self.resize(size).await;
        }
        for start in (0..data.len()).step_by(PIECE_BYTES) {
            let piece = data.slice(start..data.len().min(start + PIECE_BYTES));
            let seq = self.next_seq;
            self.next_seq += 1;
            self.unacknowledged.push_back(Unacknowledged { seq, data: piece, req: None });
        }
        self.send_unsent().await;
    }

    /// Tells the window's new size.
    pub async fn resize(&mut self, size: Size) {
        (self.options.size, self.sets_size) = (Some(size), true);
        let term = self.options.term.clone();
        let Link::Up { client, .. } = &mut self.link else { return };
        match client.request(Op::Resize { term, size }).await {
            Ok(req) => self.resizes.push(req),
            Err(_) => self.drop_link(),
        }
    }

    /// Asks for the whole screen at the next reconnection: something else was drawn over it.
    pub fn spoil(&mut self) {
        self.options.from = AttachFrom::Screen;
    }

    /// Has the whole screen come next: what was drawn is of no use any more.
    pub fn refresh(&mut self) {
        self.spoil();
        self.drop_link();
    }

    /// Leaves the terminal, once it has what was typed: until [`Session::next`] is asked again, which comes back for the whole screen. What of
    /// what happens before that is the last.
    ///
    /// # Errors
    /// As [`Session::next`].
    pub async fn leave(&mut self) -> Result<Option<Update>, ClientError> {
        let settled = async {
            while !self.is_settled() {
                match self.next().await? {
                    last @ (Update::Exited(_) | Update::Detached) => return Ok(Some(last)),
                    Update::Screen { .. }
                    | Update::Output { .. }
                    | Update::Resized { .. }
                    | Update::Lagged { .. }
                    | Update::Lost
                    | Update::Respawning { .. }
                    | Update::Reaping { .. } => {}
                }
            }
            Ok(None)
        };
        let last = timeout(LEAVE_MAX, settled).await.unwrap_or(Ok(None));
        self.refresh();
        last
    }

    fn drop_link(&mut self) {
        self.link = Link::Down { since: Instant::now(), pause: RECONNECT_FIRST };
        self.screen.clear();
        self.resizes.clear();
        self.unacknowledged.iter_mut().for_each(|input| input.req = None);
    }

    async fn reconnect(&mut self) -> Result<(), ClientError> {
        loop {
            let error = match self.connect().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() => error,
                Err(error) => return Err(error),
            };
            let Link::Down { since, pause } = &mut self.link else { return Ok(()) };
            if since.elapsed() > RECONNECT_MAX {
                return Err(error);
            }
            let wait = *pause;
            *pause = (*pause * 2).min(RECONNECT_LAST);
            sleep(wait).await;
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut client = Client::connect(&self.options.socket).await?;
        let SessionOptions { term, size, from, mode, .. } = self.options.clone();
        let size = size.filter(|_| self.sets_size);
        let stream = client.request(Op::Attach { term, size, from, mode }).await?;
        let attached: AttachOk = match client.next().await? {
            Incoming::Ok { frame, .. } => body(&frame)?,
            Incoming::Err { error, .. } => return Err(error.into()),
            Incoming::Event(_) => return Err(ClientError::Closed),
        };
        self.options.term = TermRef::Id(attached.id);
        (self.name, self.answered) = (attached.name, attached.answered);
        self.link = Link::Up { client: Box::new(client), stream };
        self.send_unsent().await;
        Ok(())
    }

    async fn send_unsent(&mut self) {
        let term = self.options.term.clone();
        let Link::Up { client, .. } = &mut self.link else { return };
        for input in self.unacknowledged.iter_mut().take(PIECES_MAX).filter(|input| input.req.is_none()) {
            let op = Op::Input {
                term: term.clone(),
                client: Some(self.source.clone()),
                seq: input.seq,
                data: Data(input.data.clone()),
            };
            match client.request(op).await {
                Ok(req) => input.req = Some(req),
                Err(_) => return self.drop_link(),
            }
        }
    }

    fn see_size(&mut self, cols: u16, rows: u16) {
        self.sets_size = self.options.size.is_none_or(|size| (size.cols(), size.rows()) == (cols, rows));
    }

    /// Takes an event in; what of it the caller is to know.
    fn take(&mut self, event: Event, stream: u64) -> Option<Update> {
        match event {
            Event::Screen { req, offset, cols, rows, data, more } if req == stream => {
                self.see_size(cols, rows);
                self.screen.extend_from_slice(&data.0);
                if more {
                    return None;
                }
                self.options.from = AttachFrom::Offset(offset);
                let size = Size::new(cols.into(), rows.into()).ok()?;
                Some(Update::Screen { offset, size, data: std::mem::take(&mut self.screen).into() })
            }
            Event::Output { req, offset, data, .. } if req == stream => {
                self.options.from = AttachFrom::Offset(offset + data.0.len() as u64);
                Some(Update::Output { offset, data: data.0 })
            }
            Event::Resized { req, cols, rows, .. } if req == stream => {
                self.see_size(cols, rows);
                Some(Update::Resized { size: Size::new(cols.into(), rows.into()).ok()? })
            }
            Event::Lagged { req, from, to } if req == stream => Some(Update::Lagged { from, to }),
            Event::Respawning { req, exit, at } if req == stream => Some(Update::Respawning { exit, at }),
            Event::Reaping { req, at } if req == stream => Some(Update::Reaping { at }),
            Event::Exited { req, exit } if req == stream => Some(Update::Exited(exit)),
            Event::Detached { req } if req == stream => Some(Update::Detached),
            Event::Screen { .. }
            | Event::Output { .. }
            | Event::Lines { .. }
            | Event::Resized { .. }
            | Event::Lagged { .. }
            | Event::Respawning { .. }
            | Event::Reaping { .. }
            | Event::Exited { .. }
            | Event::Detached { .. }
            | Event::Found { .. }
            | Event::Searched { .. }
            | Event::Piece { .. }
            | Event::Happened { .. }
            | Event::End { .. } => None,
        }
    }
}
