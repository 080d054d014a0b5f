//! Making shards: the listener, one thread each, and how they are ended.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};
use tidegate_core::metrics::ShardMetrics;
use tidegate_core::{Drained, Hub, Inbox, Verifier};
use tidegate_types::limits::{LISTEN_BACKLOG, SHARD_INBOX_MAX, UNSENT_BYTES_MAX};

use crate::event_loop::{LISTENER, WAKE, eventfd};
use crate::input::READ_BYTES;
use crate::options::{HandedOver, ShardOptions};
use crate::shard::{Control, Peer, Shard};
use crate::slab::Slab;
use crate::socket;
use crate::users::Users;
use crate::wheel::Wheel;

/// Why the node cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("{0} is in use: end the process that has it, or choose another address with --listen")]
    InUse(SocketAddr),
    /// Anything else, with what was tried.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// Binds the one listener of a node. What sockets need (no delay, a bound of unsent bytes) is set here and inherited.
///
/// # Errors
/// [`ListenError`].
pub fn listen(address: SocketAddr) -> Result<Socket, ListenError> {
    let bound = || -> io::Result<Socket> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket)
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other { address, error },
    })
}

struct Seed {
    wake: Arc<OwnedFd>,
    peer: Peer,
}

/// Shards that have inboxes but no threads yet: the hub needs the inboxes, the threads need the hub.
pub struct ShardsBuilder {
    seeds: Vec<Seed>,
}

impl std::fmt::Debug for ShardsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShardsBuilder of {}", self.seeds.len())
    }
}

impl ShardsBuilder {
    /// Prepares `count` shards, at least one.
    ///
    /// # Errors
    /// When the system gives no descriptor.
    pub fn new(count: u16) -> io::Result<Self> {
        let seed = |_| -> io::Result<Seed> {
            let wake = Arc::new(eventfd()?);
            let waker = wake.clone();
            let inbox = Inbox::new(SHARD_INBOX_MAX, move || {
                // It fails only when the counter is full, which takes longer than anything lives.
                let _ = rustix::io::write(&*waker, &1u64.to_ne_bytes());
            });
            let peer = Peer { inbox: Arc::new(inbox), control: Arc::default(), metrics: Arc::default() };
            Ok(Seed { wake, peer })
        };
        Ok(Self { seeds: (0..count.max(1)).map(seed).collect::<io::Result<_>>()? })
    }

    /// What the hub needs of each shard.
    pub fn inboxes(&self) -> Vec<(Arc<Inbox>, Arc<ShardMetrics>)> {
        self.seeds.iter().map(|s| (s.peer.inbox.clone(), s.peer.metrics.clone())).collect()
    }

    /// Starts the threads, which accept from `listener` at once.
    ///
    /// # Errors
    /// When the system gives no descriptor or thread.
    pub fn start(
        self,
        hub: &Arc<Hub>,
        verifier: &Arc<Verifier>,
        options: &Arc<ShardOptions>,
        listener: Socket,
        version: &'static str,
    ) -> io::Result<Shards> {
        let listener = Arc::new(OwnedFd::from(listener));
        let options = Arc::new(ShardOptions::clone(options).doubled());
        let peers: Arc<[Peer]> = self.seeds.iter().map(|s| s.peer.clone()).collect();
        let mut threads = Vec::new();
        for (id, seed) in self.seeds.into_iter().enumerate() {
            let id = u16::try_from(id).expect("made from a u16");
            let (hub, verifier, options) = (hub.clone(), verifier.clone(), options.clone());
            let shard = make(id, seed, hub, verifier, options, listener.clone(), peers.clone(), version)?;
            threads.push(std::thread::Builder::new().name(format!("shard-{id}")).spawn(move || shard.run())?);
        }
        Ok(Shards { peers, threads })
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one struct, put together once")]
fn make(
    id: u16,
    seed: Seed,
    hub: Arc<Hub>,
    verifier: Arc<Verifier>,
    options: Arc<ShardOptions>,
    listener: Arc<OwnedFd>,
    peers: Arc<[Peer]>,
    version: &'static str,
) -> io::Result<Shard> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    socket::watch_listener(&epoll, &*listener, LISTENER)?;
    socket::watch_wake(&epoll, &*seed.wake, WAKE)?;
    Ok(Shard {
        id,
        epoll,
        listener: Some(listener),
        accept_again_ms: None,
        _wake: seed.wake,
        inbox: seed.peer.inbox,
        control: seed.peer.control,
        metrics: seed.peer.metrics,
        peers,
        hub,
        verifier,
        pings: options.wires.iter().map(crate::wire::Wire::ping).collect(),
        options,
        version,
        connections: Slab::new(),
        channels: Slab::new(),
        by_name: HashMap::default(),
        users: Users::default(),
        tokens: Users::default(),
        next_registration: 0,
        begun: 0,
        reads: 0,
        dirty: VecDeque::new(),
        clients: None,
        overflows: 0,
        readable: VecDeque::new(),
        catching_up: VecDeque::new(),
        put_off: VecDeque::new(),
        replied_bytes: 0,
        doomed: Vec::new(),
        wheel: Wheel::new(),
        drained: Drained::default(),
        heard: 0,
        later: VecDeque::new(),
        scratch: vec![0; READ_BYTES],
        plain: Vec::new(),
        records: Vec::new(),
        handshakes: VecDeque::new(),
        batch: Vec::new(),
        batch_of: None,
        message: Vec::new(),
        frames: Vec::new(),
        now_us: 0,
        asked_until_us: 0,
        drain_from_ms: None,
        drained_count: 0,
        random: 0x9e37_79b9_7f4a_7c15 ^ u64::from(id) << 32 ^ u64::from(std::process::id()),
    })
}

/// The running shards of a node.
#[derive(Debug)]
pub struct Shards {
    peers: Arc<[Peer]>,
    threads: Vec<JoinHandle<()>>,
}

impl Shards {
    /// Stops accepting and closes every connection with 3001, at the configured pace. The threads end by themselves.
    pub fn drain(&self) {
        self.signal(|control| control.drain.store(true, Relaxed));
    }

    /// What can end the threads at once, while somebody waits in [`Shards::join`].
    pub fn stopper(&self) -> Stopper {
        Stopper { peers: self.peers.clone() }
    }

    /// The way in for sockets that somebody else accepted.
    pub fn entrance(&self) -> Entrance {
        Entrance { peers: self.peers.clone() }
    }

    fn signal(&self, set: impl Fn(&Control)) {
        signal(&self.peers, set);
    }

    /// Waits for the threads to end.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a shard ended with a panic");
            }
        }
    }
}

fn signal(peers: &[Peer], set: impl Fn(&Control)) {
    for peer in peers {
        set(&peer.control);
        peer.inbox.nudge();
    }
}

/// Takes sockets for the shards: those that asked for a stream or a WebSocket after other requests were served on them.
#[derive(Clone, Debug)]
pub struct Entrance {
    peers: Arc<[Peer]>,
}

impl Entrance {
    /// Gives a socket, with what was read from it and its TLS session, to the shard that has the fewest.
    ///
    /// # Errors
    /// With the socket, when too many wait for that shard already, or the shards have ended.
    pub fn give(&self, socket: HandedOver) -> Result<(), HandedOver> {
        // With those that it has not seen yet, or a burst would all go to one.
        let load = |peer: &&Peer| peer.metrics.connections.get() + i64::try_from(peer.control.waiting()).unwrap_or(0);
        let Some(peer) = self.peers.iter().min_by_key(load) else { return Err(socket) };
        peer.control.give(socket)?;
        peer.inbox.nudge();
        Ok(())
    }
}

/// Ends shards at once.
#[derive(Debug)]
pub struct Stopper {
    peers: Arc<[Peer]>,
}

impl Stopper {
    /// Ends the threads; connections are dropped.
    pub fn stop(&self) {
        signal(&self.peers, |control| control.stop.store(true, Relaxed));
    }
}
