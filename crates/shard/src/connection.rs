//! One connection as its shard holds it. Kept small: a node has as many as it has clients.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use smallvec::SmallVec;
use tidegate_core::{Grant, Session, SessionKey, Token};
use tidegate_framing::websocket::{Decoder, Role};
use tidegate_protocol::{Command, ConnectResult, SubscribeResult};

use crate::options::Response;
use crate::subscriptions::Beginning;
use crate::tls::TlsSession;

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The request head is being read.
    Head,
    /// Requests are answered, one after the other.
    Requests,
    /// Messages flow.
    Open,
    /// A close was sent; the peer's is awaited.
    Closing,
    /// Its request was refused. What still comes is ignored until it ends: a socket closed over unread bytes takes the
    /// answer back from the peer.
    Refused,
}

/// Bytes that wait for more.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) bytes: Vec<u8>,
    /// With fewer than these nothing can be done.
    pub(crate) wanted: usize,
}

/// One subscription of the connection.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Place of the channel on the shard.
    pub(crate) slot: u32,
    /// Its entry in the channel, [`Subscription::PENDING`] while it has not begun.
    pub(crate) entry: u32,
    /// Seconds since 1970 when it must be refreshed; 0 = never.
    pub(crate) expire_at: u32,
    /// The number of the read of the log for it that is under way; 0 = none.
    pub(crate) reading: u32,
    /// It shows in presence.
    pub(crate) present: bool,
    /// It is told of joins and leaves.
    pub(crate) join_leave: bool,
    /// The server made it. When it cannot go on the connection ends.
    pub(crate) server_side: bool,
    /// It is being given what it had missed before it began: that it is behind is not its fault.
    pub(crate) replaying: bool,
    /// The token that it stands on, where tokens can be revoked.
    pub(crate) token: Option<Box<Token>>,
    /// What its token says of the client in this channel, where it says something.
    pub(crate) info: Option<Box<Bytes>>,
}

/// Frames shorter than this are put together.
const SMALL_BYTES: usize = 1 << 10;
/// So many bytes of them.
const TOGETHER_BYTES: usize = 16 << 10;

impl Blocked {
    pub(crate) fn new(cut: Bytes, since_ms: u64) -> Self {
        Self { cut, since_ms, ..Self::default() }
    }

    /// Adds a frame behind all that wait.
    pub(crate) fn queue(&mut self, frame: Bytes) {
        self.control_bytes += frame.len();
        let is_small = frame.len() < SMALL_BYTES;
        if !self.small.is_empty() && (!is_small || self.small.len() + frame.len() > TOGETHER_BYTES) {
            self.control.push_back(std::mem::take(&mut self.small).into());
        }
        match is_small {
            true => self.small.extend_from_slice(&frame),
            false => self.control.push_back(frame),
        }
    }

    /// Takes the next bytes that wait: whole frames.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let small = || Some(std::mem::take(&mut self.small)).filter(|small| !small.is_empty()).map(Bytes::from);
        let next = self.control.pop_front().or_else(small)?;
        self.control_bytes -= next.len();
        Some(next)
    }

    /// Lets go of everything that waits.
    pub(crate) fn clear(&mut self) {
        (self.control, self.small) = Default::default();
    }
}

impl Subscription {
    pub(crate) const PENDING: u32 = u32::MAX;
}

/// Who asked for a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// The client.
    Client { command: u32, reject_unrecovered: bool },
    /// The connect: it is answered when all such subscriptions can begin.
    Connect,
    /// A backend.
    Order,
}

/// A subscription that waits for the hub.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Tells it from others of the connection, also from those that were given up.
    pub(crate) number: u32,
    pub(crate) slot: u32,
    pub(crate) grant: Grant,
    pub(crate) asked: Asked,
    /// How often the shard's inbox had overflowed when the hub was asked.
    pub(crate) overflows: u32,
}

impl Waiting {
    /// One that the hub is still to be asked about.
    pub(crate) fn new(slot: u32, grant: Grant, asked: Asked) -> Self {
        Self { number: 0, slot, grant, asked, overflows: 0 }
    }
}

/// A connect whose subscriptions have not all begun.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) command: u32,
    pub(crate) result: ConnectResult,
    /// Those that the hub has said where to begin. They begin together, with the answer.
    pub(crate) started: Vec<(SubscribeResult, Beginning)>,
    /// What the answer has of publications.
    pub(crate) told_bytes: usize,
    /// The others.
    pub(crate) left: usize,
}

/// A request that is being answered. What follows it waits in the socket.
pub(crate) struct Request {
    pub(crate) response: Response,
    /// What was read after it.
    pub(crate) rest: Vec<u8>,
    /// The socket has something that was not read.
    pub(crate) unread: bool,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("unread", &self.unread).finish_non_exhaustive()
    }
}

/// Commands that wait until the first of them can be carried out. What follows them waits in the socket.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) commands: VecDeque<Command>,
    /// The socket has something that was not read.
    pub(crate) unread: bool,
    /// Requests that came by another way meanwhile; bounded.
    pub(crate) uplinks: usize,
    /// They wait for no key but for the turns of others, and for the socket to take the replies that there are.
    pub(crate) put_off: bool,
    /// Behind them came what is no command.
    pub(crate) wrong: bool,
    /// What they wait for is not a key but a connect that is not answered yet.
    pub(crate) connecting: Option<Connecting>,
}

/// What a socket that takes no more still has to take.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    /// The rest of a frame that was cut.
    pub(crate) cut: Bytes,
    /// Replies and pings, in order; bounded in bytes.
    control: VecDeque<Bytes>,
    /// The newest of them, while they are small: one by one they would take more memory than bytes, and a send each.
    small: Vec<u8>,
    pub(crate) control_bytes: usize,
    /// Bytes of replies since it takes no more: those that are counted, whatever it took of them.
    pub(crate) reply_bytes: usize,
    /// When it last took something, ms of the shard's clock.
    pub(crate) since_ms: u64,
    /// A subscription of a namespace that disconnects slow readers is behind.
    pub(crate) strict: bool,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// `Some` while the socket would block.
    pub(crate) blocked: Option<Box<Blocked>>,
    pub(crate) phase: Phase,
    /// The peer sends no more; the end may lie behind what can be read.
    pub(crate) hung_up: bool,
    /// What is spoken: index into the shard's wires.
    pub(crate) wire: u8,
    /// It is pinged by frames of the WebSocket instead of messages.
    pub(crate) pings_by_frame: bool,
    /// It ends with this turn.
    pub(crate) doomed: bool,
    /// It is to be its user's only one, and the others have not heard of it yet.
    pub(crate) claiming: bool,
    /// Subscriptions that read from the window instead of the live stream.
    pub(crate) behind: u16,
    /// Commands that wait for an answer from outside the shard.
    pub(crate) pending: u16,
    /// Tick of the wheel's entry that counts.
    pub(crate) alarm: u32,
    /// When the present phase or the ping under way must have ended, or the next ping is due: ms of the shard's clock.
    pub(crate) deadline_ms: u64,
    pub(crate) decoder: Decoder,
    pub(crate) session: Session,
    /// Its name to who takes its client's commands, where the socket carries none.
    pub(crate) uplink: Option<Box<SessionKey>>,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    #[expect(clippy::box_collection, reason = "8 bytes in every connection instead of 24, for what few have")]
    pub(crate) waiting: Option<Box<Vec<Waiting>>>,
    /// The request under way.
    pub(crate) request: Option<Box<Request>>,
    /// A command waits for keys, and others behind it.
    pub(crate) held: Option<Box<Held>>,
    /// The request so far, or what a response begins with that has not begun.
    pub(crate) head: Option<Box<Partial>>,
    /// TLS under everything.
    pub(crate) tls: Option<Box<TlsSession>>,
    /// Where the client is, if not at the other end of the socket.
    pub(crate) client: Option<Box<IpAddr>>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<TlsSession>>) -> Self {
        Self {
            socket,
            blocked: None,
            phase: Phase::Head,
            hung_up: false,
            wire: 0,
            pings_by_frame: false,
            doomed: false,
            claiming: false,
            behind: 0,
            pending: 0,
            alarm: 0,
            deadline_ms: 0,
            decoder: Decoder::new(Role::Server),
            session: Session::default(),
            uplink: None,
            subscriptions: SmallVec::new(),
            waiting: None,
            request: None,
            held: None,
            head: None,
            tls,
            client: None,
        }
    }

    /// Whether its commands are carried out.
    pub(crate) fn takes_commands(&self) -> bool {
        self.phase == Phase::Open && !self.doomed
    }

    /// Its subscription to a channel.
    pub(crate) fn subscription(&mut self, slot: u32) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|s| s.slot == slot)
    }

    /// The connect that is not answered yet.
    pub(crate) fn connecting(&mut self) -> Option<&mut Connecting> {
        self.held.as_mut()?.connecting.as_mut()
    }

    /// Takes out a subscription that waits for the hub.
    pub(crate) fn take_waiting(&mut self, is: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
        let waiting = self.waiting.as_mut()?;
        let at = waiting.iter().position(is)?;
        let taken = waiting.swap_remove(at);
        if waiting.is_empty() {
            self.waiting = None;
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_wait_together_and_all_in_order() {
        let mut blocked = Blocked::default();
        let mut expected = Vec::new();
        for n in 0..100_000_u32 {
            let frame = match n % 5_000 {
                0 => vec![n as u8; 3_000],
                _ => vec![n as u8; 2],
            };
            expected.extend_from_slice(&frame);
            blocked.queue(frame.into());
        }
        assert_eq!(blocked.control_bytes, expected.len());
        let (mut taken, mut sends) = (Vec::new(), 0);
        while let Some(next) = blocked.next() {
            taken.extend_from_slice(&next);
            sends += 1;
        }
        assert!(taken == expected && blocked.control_bytes == 0);
        assert!(sends < 100, "{sends}");
    }

    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<Option<Connection>>() + size_of::<u32>();
        assert!(bytes <= 256, "{bytes}");
    }
}
