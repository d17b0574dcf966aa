//! The keeper's notify socket: an abstract unix datagram socket that tells who sent each message.
//!
//! An abstract address needs no directory, leaves nothing behind and no cleaner of temporary files removes it. As
//! anybody on the machine may send to it, a message counts only with the credentials the kernel attaches.
//!
//! Absent on purpose: a large receive buffer. The kernel does not apply one here; `net.unix.max_dgram_qlen`
//! bounds the queue in messages, and a sender waits when it is full.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt};
use rustix::process::Pid;

/// Longest text of a message, as in systemd (`NOTIFY_BUFFER_MAX`).
const TEXT_BYTES_MAX: usize = 4096;

/// Most descriptors the kernel lets into one message (`SCM_MAX_FD`).
const FDS_MAX: usize = 253;

/// Addresses tried before giving up. A taken one means another keeper of the same pid, in another pid namespace
/// but this network namespace.
const ADDRESSES_MAX: u32 = 100;

/// A bound socket.
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    address: String,
}

/// One message as it came in.
pub(super) struct Datagram {
    /// The process that sent it, if it exists in our pid namespace.
    pub(super) sender: Option<Pid>,
    /// Its fields.
    pub(super) text: Vec<u8>,
    /// The descriptors that came along.
    pub(super) fds: Vec<OwnedFd>,
    /// Text or descriptors are missing: it was too long, or the keeper ran out of descriptors.
    pub(super) truncated: bool,
}

impl NotifySocket {
    pub(super) fn bind() -> io::Result<Self> {
        let pid = std::process::id();
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for attempt in 0..ADDRESSES_MAX {
            result = Self::bind_to(format!("kaval-keeper/{pid}/{attempt}"));
            let taken = matches!(&result, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
            if !taken {
                break;
            }
        }
        result
    }

    fn bind_to(name: String) -> io::Result<Self> {
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self { socket, address: format!("@{name}") })
    }

    /// The value for `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The next message; `None` when there is none now.
    pub(super) fn receive(&self) -> io::Result<Option<Datagram>> {
        let mut text = vec![0; TEXT_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut receive = || recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags);
        let received = match rustix::io::retry_on_intr(&mut receive) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        text.truncate(received.bytes);
        let (sender, fds) = unpack(&mut control);
        let truncated = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        Ok(Some(Datagram { sender, text, fds, truncated }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn unpack(control: &mut RecvAncillaryBuffer<'_>) -> (Option<Pid>, Vec<OwnedFd>) {
    let mut sender = None;
    let mut fds = Vec::new();
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            _ => {}
        }
    }
    (sender, fds)
}
