//! System calls on sockets, safe and non-blocking.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

/// Readiness of everything, told once per change: one registration for the life of a socket.
const INTEREST: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

pub(crate) fn watch(epoll: &OwnedFd, socket: impl AsFd, data: u64) -> io::Result<()> {
    Ok(epoll::add(epoll, socket, EventData::new_u64(data), INTEREST)?)
}

/// Watches the listener as one of several threads: a connection wakes one of them.
pub(crate) fn watch_listener(epoll: &OwnedFd, listener: impl AsFd, data: u64) -> io::Result<()> {
    Ok(epoll::add(epoll, listener, EventData::new_u64(data), EventFlags::IN | EventFlags::EXCLUSIVE)?)
}

/// Watches an eventfd by its writes, so that nobody has to read it.
pub(crate) fn watch_wake(epoll: &OwnedFd, fd: impl AsFd, data: u64) -> io::Result<()> {
    Ok(epoll::add(epoll, fd, EventData::new_u64(data), EventFlags::IN | EventFlags::ET)?)
}

pub(crate) fn unwatch(epoll: &OwnedFd, fd: impl AsFd) {
    // It can only fail when the descriptor is not watched, which is what is wanted.
    let _ = epoll::delete(epoll, fd);
}

/// What accepting brought.
pub(crate) enum Accepted {
    Socket(OwnedFd),
    /// Nobody waits.
    Empty,
    /// No descriptor or memory is left; trying at once again would spin.
    Exhausted(io::Error),
    /// The peer was gone already; go on.
    Gone,
}

pub(crate) fn accept(listener: impl AsFd) -> Accepted {
    use rustix::io::Errno;
    // TCP_NODELAY and the bound of unsent bytes come from the listener.
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Accepted::Socket(socket),
        Err(Errno::AGAIN) => Accepted::Empty,
        Err(e @ (Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => Accepted::Exhausted(e.into()),
        Err(_) => Accepted::Gone,
    }
}

/// What a read brought.
pub(crate) enum Received {
    Bytes(usize),
    Empty,
    Closed,
}

pub(crate) fn receive(socket: &OwnedFd, into: &mut [u8]) -> Received {
    match rustix::net::recv(socket, into, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Received::Closed,
        Ok((n, _)) => Received::Bytes(n),
        Err(rustix::io::Errno::AGAIN) => Received::Empty,
        Err(rustix::io::Errno::INTR) => Received::Bytes(0),
        Err(_) => Received::Closed,
    }
}

/// How much of a write the kernel took; `None` = the socket is broken.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8]) -> Option<usize> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(n) => Some(n),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Some(0),
        Err(_) => None,
    }
}

/// Where the other end is.
pub(crate) fn peer(socket: &OwnedFd) -> Option<std::net::IpAddr> {
    let address = rustix::net::getpeername(socket).ok()??;
    std::net::SocketAddr::try_from(address).ok().map(|address| address.ip())
}

pub(crate) fn shutdown_write(socket: &OwnedFd) {
    // A peer that is gone already needs no end.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}
