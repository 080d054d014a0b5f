//! The per-core event loop: sockets, cursors, sliced fan-out, timers.
//!
//! One thread per shard owns its connections and channels without a lock. A connection is a socket, a session, its
//! subscriptions and a *wire* (dialect and framing); what bytes mean is the wire's business, what is allowed the
//! session's, and where a stream stands the hub's. Nothing here waits for anything but readiness.
//!
//! # Invariants
//! - Nothing is queued per connection but one cut frame and a bounded run of replies: a subscription is a cursor.
//! - A publication reaches a subscription when its offset is above the cursor, and moves the cursor; so it is delivered
//!   once, whether live, joined, or read back from the window.
//! - An idle connection holds no buffer.
//!
//! # Life of a delivery
//! [`tidegate_core::Inbox`] → `fanout.rs` (one frame per wire, into the channel's short log) → sweep in slices → one
//! send per subscriber of everything after its cursor. A socket that would block makes its subscriptions *behind*
//! (`output.rs`); when it is writable again `catch_up.rs` reads from the window, or by the hub from the log.

mod accept;
mod catch_up;
mod channel;
mod commands;
mod connecting;
mod connection;
mod deltas;
mod event_loop;
mod fanout;
mod held;
mod http2;
mod identity;
mod ids;
mod input;
mod one_way;
mod options;
mod orders;
mod output;
mod presence;
mod request;
mod shard;
mod slab;
mod socket;
mod spawn;
mod stream;
mod subscriptions;
mod timers;
mod tls;
mod users;
mod wheel;
mod wire;

pub use options::{Choice, HandOver, HandedOver, RequestHandler, Response, Route, ShardOptions};
pub use spawn::{Entrance, ListenError, Shards, ShardsBuilder, Stopper, listen};
pub use tls::{Acceptor, TlsSession};
pub use wire::{Framing, Wire};
