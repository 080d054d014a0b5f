//! Non-blocking TCP sockets on loopback, and the epoll set over them.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

/// Connections made from one source address before the next is used: a pair of addresses has some 28,000 ports, and
/// closed ones rest for a minute.
const CONNECTIONS_PER_SOURCE: u32 = 5_000;

/// The first source addresses are left to everything else on the machine.
const SOURCE_BASE: u32 = u32::from_be_bytes([127, 1, 0, 1]);

static CONNECTS: AtomicU32 = AtomicU32::new(0);

/// Starts a connect. The socket becomes writable when it stands. `receive_buffer` narrows the kernel's buffer, for a
/// reader that shall stall its sender soon.
pub(crate) fn connect_nonblocking(to: SocketAddrV4, receive_buffer: Option<usize>) -> rustix::io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    if let Some(bytes) = receive_buffer {
        sockopt::set_socket_recv_buffer_size(&fd, bytes)?;
    }
    let nth = CONNECTS.fetch_add(1, Ordering::Relaxed) / CONNECTIONS_PER_SOURCE;
    bind(&fd, &SocketAddrV4::new(Ipv4Addr::from(SOURCE_BASE + nth % 0x00fe_0000), 0))?;
    match connect(&fd, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error),
    }
}

/// An edge-triggered epoll set with an id per socket.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(1_024) })
    }

    pub(crate) fn add(&self, socket: impl AsFd, id: usize) -> rustix::io::Result<()> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(id as u64), interest)
    }

    /// Waits for events, at most `timeout`. Take them with [`Poll::ready`].
    pub(crate) fn wait(&mut self, timeout: Duration) -> rustix::io::Result<()> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What the last wait found: ids, and whether the socket can be written and read (or has ended).
    pub(crate) fn ready(&self, n: usize) -> Option<(usize, Readiness)> {
        self.events.get(n).map(|event| {
            let (flags, id) = (event.flags, event.data.u64() as usize);
            let read = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            (id, Readiness { write: flags.intersects(EventFlags::OUT), read: flags.intersects(read) })
        })
    }

    /// Whether the last wait filled its list: there may be more.
    pub(crate) fn was_full(&self) -> bool {
        self.events.len() == self.events.capacity()
    }
}

/// What a socket can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    pub(crate) write: bool,
    pub(crate) read: bool,
}
