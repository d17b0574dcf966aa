//! One connection: hello, then requests in the order they come, until the client goes.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    io,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::StreamExt;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{
    codec::{Decoder, FramedRead, LengthDelimitedCodec, LengthDelimitedCodecError},
    sync::CancellationToken,
};

use super::{Hub, attach::Attachment, events::Following, ops, search::Searches};
use crate::wire::{self, Code, FRAME_BYTES_MAX, Hello, HelloOk, OPS, Refusal, Reply, ReplyBody, Request, WireError};

/// How long a hello, or the rest of a frame that has begun, may take.
const DAWDLE_MAX: Duration = Duration::from_secs(10);
/// How long a client may leave a reply unread.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Streams of one connection that may be open at once.
pub(super) const STREAMS_MAX: usize = 64;
/// Most characters of what a client calls itself that are kept.
const PROGRAM_CHARS_MAX: usize = 64;
/// Requests of one connection that may be under way at once; a further one waits.
const PENDING_MAX: usize = 64;
/// Room for what a client sends, at first: it grows with the frames that come.
const READ_BYTES: usize = 1 << 10;

/// What the tasks of one connection share.
pub(super) struct Session {
    pub(super) hub: Rc<Hub>,
    /// What the client calls itself.
    pub(super) program: OnceCell<String>,
    writer: Mutex<Writer>,
    pub(super) attachments: RefCell<HashMap<u64, Attachment>>,
    pub(super) followings: RefCell<HashMap<u64, Following>>,
    pub(super) searches: Searches,
    pub(super) pending: Arc<Semaphore>,
}

/// A connection's writing end.
struct Writer {
    half: OwnedWriteHalf,
    /// A frame was given up half way: nothing that came behind it could be read.
    torn: bool,
}

impl Session {
    /// Writes one frame.
    ///
    /// # Errors
    /// When the client is gone or does not read.
    pub(super) async fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "a reply is longer than a frame may be");
        let frame = wire::encode_frame(message).ok_or_else(too_long)?;
        let mut writer = self.writer.lock().await;
        if writer.torn {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        writer.torn = true;
        writer.half.write_all(&frame).await?;
        writer.torn = false;
        Ok(())
    }

    /// Whether the client has closed its end altogether, so that nothing sent would ever be read.
    pub(super) fn is_gone(&self) -> bool {
        let Ok(writer) = self.writer.try_lock() else { return false };
        let stream: &UnixStream = writer.half.as_ref();
        let mut fds = [PollFd::new(stream, PollFlags::empty())];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::HUP)
    }

    /// Whether one more stream may be opened, by that request.
    ///
    /// # Errors
    /// What the client is told if not.
    pub(super) fn admit_stream(&self, req: u64) -> Result<(), WireError> {
        let (attachments, followings) = (self.attachments.borrow(), self.followings.borrow());
        let searches = self.searches.borrow();
        if attachments.contains_key(&req) || followings.contains_key(&req) || searches.contains_key(&req) {
            let message = format!("request {req} has a stream open: ask with another number");
            return Err(WireError::new(Code::BadRequest, message));
        }
        if attachments.len() + followings.len() + searches.len() >= STREAMS_MAX {
            let message = format!("a connection may have {STREAMS_MAX} streams open: open another connection");
            return Err(WireError::new(Code::Limit, message));
        }
        Ok(())
    }

    /// Answers a request.
    pub(super) async fn reply<T: Serialize>(&self, req: u64, result: Result<T, WireError>) {
        let body = match result {
            Ok(body) => ReplyBody::Ok(body),
            Err(error) => ReplyBody::Err(error),
        };
        let reply = Reply { req, body };
        let sent = async {
            match self.send(&reply).await {
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    let message = format!("the answer is longer than the {FRAME_BYTES_MAX} bytes of a frame");
                    self.send(&Reply::<()> { req, body: ReplyBody::Err(WireError::new(Code::Limit, message)) }).await
                }
                result => result,
            }
        };
        match timeout(WRITE_MAX, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a reply was not sent"),
            Err(_) => {
                tracing::info!("a client does not read its replies: its connection is closed");
                let _ = self.writer.lock().await.half.shutdown().await;
            }
        }
    }

    async fn refuse(&self, err: WireError) {
        let _ = timeout(WRITE_MAX, self.send(&Refusal { err })).await;
    }
}

/// Serves one connection to its end; one too many is told so.
pub(super) async fn serve(stream: UnixStream, hub: &Rc<Hub>, admitted: bool) {
    let (reader, writer) = stream.into_split();
    let session = Rc::new(Session {
        hub: hub.clone(),
        program: OnceCell::new(),
        writer: Mutex::new(Writer { half: writer, torn: false }),
        attachments: RefCell::default(),
        followings: RefCell::default(),
        searches: Searches::default(),
        pending: Arc::new(Semaphore::new(PENDING_MAX)),
    });
    let mut frames = FramedRead::with_capacity(reader, Begun { codec: wire::codec(), begun: false }, READ_BYTES);
    if !admitted {
        return session
            .refuse(WireError::new(Code::Limit, "the supervisor has as many connections as it may: try again later"))
            .await;
    }
    if let Err(refusal) = converse(&session, &mut frames).await {
        session.refuse(refusal).await;
    }
    if session.hub.closing.is_cancelled() {
        part(&session).await;
    }
    let attachments = std::mem::take(&mut *session.attachments.borrow_mut());
    for attachment in attachments.into_values() {
        attachment.end().await;
    }
    session.followings.borrow_mut().drain().for_each(|(_, following)| following.end());
    session.searches.borrow_mut().drain().for_each(|(_, search)| search.cancel());
}

/// Waits until every stream and every request has been told that the supervisor is being restarted.
async fn part(session: &Session) {
    let attachments = std::mem::take(&mut *session.attachments.borrow_mut());
    for attachment in attachments.into_values() {
        attachment.close().await;
    }
    let followings = std::mem::take(&mut *session.followings.borrow_mut());
    for following in followings.into_values() {
        following.close().await;
    }
    let _ = session.pending.acquire_many(PENDING_MAX as u32).await;
}

type Frames = FramedRead<OwnedReadHalf, Begun>;

/// The wire's frames, and whether one has begun whose end has not come: its length alone, which the codec has taken out of the buffer,
/// counts.
struct Begun {
    codec: LengthDelimitedCodec,
    begun: bool,
}

impl Decoder for Begun {
    type Item = bytes::BytesMut;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut bytes::BytesMut) -> io::Result<Option<Self::Item>> {
        self.begun |= !buffer.is_empty();
        let frame = self.codec.decode(buffer)?;
        if frame.is_some() {
            self.begun = false;
        }
        Ok(frame)
    }

    fn decode_eof(&mut self, buffer: &mut bytes::BytesMut) -> io::Result<Option<Self::Item>> {
        match self.decode(buffer)? {
            None if self.begun => Err(io::ErrorKind::UnexpectedEof.into()),
            frame => Ok(frame),
        }
    }
}

/// Reads requests until the client goes; an error is the client's, and the last thing it is told.
async fn converse(session: &Rc<Session>, frames: &mut Frames) -> Result<(), WireError> {
    let first = tokio::select! {
        first = timeout(DAWDLE_MAX, frames.next()) => first,
        () = session.hub.closing.cancelled() => return Err(ops::ending()),
    };
    let Ok(first) = first else {
        return Err(WireError::new(Code::Timeout, format!("no hello within {} s", DAWDLE_MAX.as_secs())));
    };
    let Some(first) = first.transpose().map_err(unreadable)? else { return Ok(()) };
    greet(session, &first).await?;
    let closing = &session.hub.closing;
    while let Some(frame) = next_request(frames, closing).await? {
        match parse(&frame) {
            Ok(Request { req, .. }) if closing.is_cancelled() => session.reply::<()>(req, Err(ops::ending())).await,
            Ok(request) => ops::perform(session, request).await,
            Err((Some(req), error)) => session.reply::<()>(req, Err(error)).await,
            Err((None, error)) => return Err(error),
        }
    }
    Ok(())
}

async fn greet(session: &Session, frame: &[u8]) -> Result<(), WireError> {
    let hello: Hello = wire::decode(frame).map_err(|_| {
        WireError::new(
            Code::BadRequest,
            format!("the first frame must be {{\"kaval\": {}, \"client\": \"name/version\"}}", wire::VERSION),
        )
    })?;
    if hello.kaval != wire::VERSION {
        let message = format!("protocol version {} is not spoken here, only version {}", hello.kaval, wire::VERSION);
        return Err(WireError::new(Code::Version, message));
    }
    let printable = hello.client.chars().filter(|c| !c.is_control()).take(PROGRAM_CHARS_MAX).collect();
    let _ = session.program.set(printable);
    let server = concat!("kaval/", env!("CARGO_PKG_VERSION")).to_owned();
    let answer = HelloOk { kaval: wire::VERSION, server, boot: session.hub.boot.clone() };
    session.send(&answer).await.map_err(|error| WireError::new(Code::Internal, error.to_string()))
}

/// The next request; once the supervisor is to be restarted only what is there already.
async fn next_request(frames: &mut Frames, closing: &CancellationToken) -> Result<Option<bytes::BytesMut>, WireError> {
    tokio::select! {
        biased;
        frame = next_frame(frames) => frame,
        () = closing.cancelled() => Ok(None),
    }
}

/// The next frame. An idle client may take for ever; one that has begun a frame has [`DAWDLE_MAX`] from then on.
async fn next_frame(frames: &mut Frames) -> Result<Option<bytes::BytesMut>, WireError> {
    let mut dawdling = None;
    poll_fn(|cx| {
        if let Poll::Ready(frame) = frames.poll_next_unpin(cx) {
            return Poll::Ready(frame.transpose().map_err(unreadable));
        }
        if !frames.decoder().begun {
            return Poll::Pending;
        }
        dawdling.get_or_insert_with(|| Box::pin(sleep(DAWDLE_MAX))).as_mut().poll(cx).map(|()| {
            let message = format!("the rest of a frame did not come within {} s", DAWDLE_MAX.as_secs());
            Err(WireError::new(Code::Timeout, message))
        })
    })
    .await
}

fn unreadable(error: io::Error) -> WireError {
    if error.get_ref().is_some_and(|inner| inner.is::<LengthDelimitedCodecError>()) {
        WireError::new(Code::FrameTooLong, format!("a frame is longer than {FRAME_BYTES_MAX} bytes"))
    } else {
        WireError::new(Code::BadRequest, format!("the connection ended within a frame: {error}"))
    }
}

/// Reads a request in two steps, so that an unknown op and a wrong field are told apart, and answered by number.
fn parse(frame: &[u8]) -> Result<Request, (Option<u64>, WireError)> {
    #[derive(serde::Deserialize)]
    struct Head {
        req: u64,
        op: String,
    }
    let head: Head = wire::decode(frame).map_err(|error| (None, error))?;
    if !OPS.contains(&head.op.as_str()) {
        let message =
            format!("there is no op {:?}; there are {}", head.op.chars().take(40).collect::<String>(), OPS.join(", "));
        return Err((Some(head.req), WireError::new(Code::UnknownOp, message)));
    }
    wire::decode(frame)
        .map_err(|error| (Some(head.req), WireError { message: format!("{}: {}", head.op, error.message), ..error }))
}
