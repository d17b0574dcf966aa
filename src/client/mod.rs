//! The protocol from the client's side: connect, ask, and read streams.
//!
//! [`Client`] is one connection. [`Session`] is an attachment that outlives connections: after a supervisor's death it reconnects and
//! goes on at its offset.

mod session;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

pub use self::session::{Session, SessionOptions, Update};
use crate::wire::{self, Event, Head, Hello, HelloOk, LsOk, OkBody, Op, Request, TermInfo, WireError};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no supervisor answers at {path:?}: start one with kaval, or kaval serve")]
    Unreachable {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor said no.
    #[error(transparent)]
    Refused(#[from] WireError),
    /// The connection ended.
    #[error("the supervisor closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection to the supervisor failed")]
    Broken(#[source] io::Error),
}

impl ClientError {
    /// Whether reconnecting and asking again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Closed | Self::Broken(_) => true,
            Self::Refused(error) => error.code == wire::Code::Restarting,
        }
    }
}

/// What a server sends.
#[derive(Debug)]
pub enum Incoming {
    /// A request was done; the body is yet to be read, with [`body`].
    Ok {
        /// Which.
        req: u64,
        /// The frame.
        frame: Bytes,
    },
    /// A request was not done; `None` when it is the connection itself that is refused.
    Err {
        /// Which.
        req: Option<u64>,
        /// Why.
        error: WireError,
    },
    /// A stream goes on.
    Event(Event),
}

/// Reads the body of [`Incoming::Ok`].
///
/// # Errors
/// [`ClientError::Refused`] if the body is not of that shape.
pub fn body<T: DeserializeOwned>(frame: &[u8]) -> Result<T, ClientError> {
    Ok(wire::decode::<OkBody<T>>(frame)?.ok)
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    next_req: u64,
    hello: HelloOk,
}

impl Client {
    /// Connects and says hello.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or the server's refusal.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).await.map_err(unreachable)?;
        let mut frames = Framed::new(stream, wire::codec());
        let hello = Hello { kaval: wire::VERSION, client: concat!("kaval/", env!("CARGO_PKG_VERSION")).to_owned() };
        // A server that is full says so and hangs up, perhaps before it has heard us: what it said counts.
        let sent = frames.send(Bytes::from(wire::encode(&hello))).await;
        let answer = match (frames.next().await, sent) {
            (Some(Ok(answer)), _) => answer,
            (_, Err(error)) | (Some(Err(error)), Ok(())) => return Err(ClientError::Broken(error)),
            (None, Ok(())) => return Err(ClientError::Closed),
        };
        if let Ok(Head { err: Some(error), .. }) = wire::decode(&answer) {
            return Err(error.into());
        }
        let hello = wire::decode(&answer)?;
        Ok(Self { frames, next_req: 1, hello })
    }

    /// What the server said of itself.
    pub fn server(&self) -> &HelloOk {
        &self.hello
    }

    /// Sends a request; its number.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn request(&mut self, op: Op) -> Result<u64, ClientError> {
        let req = self.next_req;
        self.next_req += 1;
        let frame = wire::encode(&Request { req, op });
        self.frames.send(Bytes::from(frame)).await.map_err(ClientError::Broken)?;
        Ok(req)
    }

    /// The next thing the server sends. Can be dropped half way without losing any.
    ///
    /// # Errors
    /// [`ClientError::Closed`], [`ClientError::Broken`].
    pub async fn next(&mut self) -> Result<Incoming, ClientError> {
        let frame: BytesMut = self.frames.next().await.ok_or(ClientError::Closed)?.map_err(ClientError::Broken)?;
        let head: Head = wire::decode(&frame)?;
        match (head.req, head.ev, head.err) {
            (req, None, Some(error)) => Ok(Incoming::Err { req, error }),
            (_, Some(_), _) => Ok(Incoming::Event(wire::decode(&frame)?)),
            (Some(req), None, None) => Ok(Incoming::Ok { req, frame: frame.freeze() }),
            (None, None, None) => Err(WireError::new(wire::Code::BadRequest, "the supervisor sent a frame without req").into()),
        }
    }

    /// Every terminal, by id.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn list(&mut self) -> Result<Vec<TermInfo>, ClientError> {
        let mut all: Vec<TermInfo> = Vec::new();
        loop {
            let LsOk { terms, more } = self.call(Op::Ls { after: all.last().map(|term| term.id) }).await?;
            all.extend(terms);
            if !more {
                return Ok(all);
            }
        }
    }

    /// Asks, and waits for the answer; events of streams that come meanwhile are dropped.
    ///
    /// # Errors
    /// The server's refusal, or the connection's failure.
    pub async fn call<T: DeserializeOwned>(&mut self, op: Op) -> Result<T, ClientError> {
        let asked = self.request(op).await?;
        loop {
            match self.next().await? {
                Incoming::Ok { req, frame } if req == asked => return body(&frame),
                Incoming::Err { req, error } if req.is_none_or(|req| req == asked) => return Err(error.into()),
                Incoming::Ok { .. } | Incoming::Err { .. } | Incoming::Event(_) => {}
            }
        }
    }
}
