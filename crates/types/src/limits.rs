//! Every bound that is not a setting, in one place. Settings have their bounds beside them in a `config.rs`.

use std::time::Duration;

/// Bytes of a channel name.
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Tags on one publication.
pub const TAGS_MAX: usize = 64;
/// Commands in one client frame; more is a bad request.
pub const COMMANDS_PER_FRAME_MAX: usize = 1_024;
/// Commands in one batch of the server API; more is refused, and none is carried out.
pub const BATCH_COMMANDS_MAX: usize = 1_024;
/// Bytes of replies in a batch past which no further command is carried out.
pub const BATCH_REPLY_BYTES_MAX: usize = 64 << 20;
/// Connections taken from the listener in one turn of a shard's loop.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Sockets that wait for a shard to take them from those who accepted or served them.
pub const GIVEN_SOCKETS_MAX: usize = 4_096;
/// Sends of one fan-out between two looks at the sockets and the inbox.
pub const FANOUT_SLICE: usize = 64;
/// The same for a while after answers from the log, when those who got them are likely to ask on.
pub const FANOUT_SLICE_WHILE_ASKED: usize = 4;
/// How long that is, and how long a publication waits at most for requests to be taken first.
pub const FANOUT_HOLD: Duration = Duration::from_millis(1);
/// Sends up to which a fan-out goes before the answer to the publish that caused it, where no more sockets than these
/// ask at once.
pub const FANOUT_BEFORE_ANSWER: usize = 8;
/// Publications waiting for a shard; past it the shard reads what it missed from the window.
pub const SHARD_INBOX_MAX: usize = 16_384;
/// Events waiting for a shard past which it takes none that it did not ask for.
pub const SHARD_EVENTS_MAX: usize = 16_384;
/// Bytes of encoded frames that a channel keeps on a shard for subscribers not served yet.
pub const FANOUT_LOG_BYTES_MAX: usize = 1 << 20;
/// Bytes handed to a socket in one catch-up write.
pub const CATCH_UP_BYTES: usize = 64 << 10;
/// Bytes of an HTTP request head.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 << 10;
/// How long an HTTP connection may be idle between two requests, and a request head take to come.
pub const HTTP_IDLE_MAX: Duration = Duration::from_secs(75);
/// Bytes of a request body that a shard takes; a larger one goes to the HTTP side.
pub const REQUEST_BODY_ON_SHARD_MAX: usize = 32 << 10;
/// Headers in an HTTP request head.
pub const REQUEST_HEADERS_MAX: usize = 64;
/// Bytes of an answer over HTTP/2 that are handed on at once: one such piece may wait for the client, and one in the
/// library.
pub const HTTP2_PIECE_BYTES: usize = 8 << 10;
/// Bytes that the kernel may hold of a stream over HTTP/2 between its shard and its HTTP/2 connection; the kernel counts
/// its own expense and takes twice the number for it.
pub const HTTP2_BRIDGE_BYTES: usize = 16 << 10;
/// Bytes of one request's body that an HTTP/2 client may send before they are read.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same for all requests of a connection together.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Streams of an HTTP/2 connection that are reset before anybody looked at them, or for what is wrong with them; more ends
/// the connection.
pub const HTTP2_RESETS_MAX: usize = 128;
/// Between two PINGs on an HTTP/2 connection, which find peers that are gone.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(25);
/// A PING that is not answered within this ends the connection.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(8);
/// Listen backlog: 128, the usual default, overflows at a burst of 256 connects.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Commands of one connection that wait for a broker at the same time, and subscriptions of it that were given up before
/// they began.
pub const PENDING_PER_CONNECTION_MAX: usize = 64;
/// Commands of one connection that wait behind one whose key is being fetched; more closes it.
pub const HELD_COMMANDS_MAX: usize = 4 * COMMANDS_PER_FRAME_MAX;
/// Requests with commands that wait beside them, where the socket carries none.
pub const HELD_UPLINKS_MAX: usize = 16;
/// A wait of a client command ends with error 100 after this: the SDKs drop the connection after 5 s.
pub const COMMAND_WAIT_MAX: Duration = Duration::from_secs(3);
/// Bytes of a close reason (RFC 6455 section 5.5: a control frame has 125, two are the code).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;
/// Bytes of replies that wait for a socket that takes no more; past it the connection is closed as slow.
pub const CONTROL_BYTES_MAX: usize = 2 << 20;
/// Handshake steps with an answer in one turn of a shard's loop: each costs about what six plain connects do.
pub const HANDSHAKE_STEPS_PER_TURN_MAX: usize = 8;
/// Plaintext in one TLS record (RFC 8446 section 5.1).
pub const TLS_RECORD_BYTES: usize = 16 << 10;
/// Bytes kept of a TLS record or handshake message that is not whole yet; a longer one ends the connection.
pub const TLS_HELD_BYTES_MAX: usize = 32 << 10;
/// Bytes kept of TLS records that a socket did not take: one of data, and what TLS itself has to say meanwhile.
pub const TLS_UNSENT_BYTES_MAX: usize = 64 << 10;
/// Bytes that the kernel may hold unsent per socket before it says that it would block.
pub const UNSENT_BYTES_MAX: u32 = 64 << 10;
/// Bytes of replies that what was read at once may cause before the rest of its commands waits for the next turn, and for
/// the socket. Half of what may wait for a socket that takes no more.
pub const REPLY_BYTES_PER_TURN_MAX: usize = 1 << 20;
/// Bytes of replies that wait for a socket before its commands wait as well. With the largest answer to a question they are
/// less than what may wait.
pub const UNREAD_REPLY_BYTES_MAX: usize = 256 << 10;
/// Connections that catch up, and others whose commands go on, in one turn of a shard's loop.
pub const CATCH_UPS_PER_TURN_MAX: usize = 32;
/// A socket that takes nothing for this long is slow, where the namespace disconnects slow readers.
pub const SLOW_AFTER: Duration = Duration::from_secs(1);
/// Rules in force at the same time: about 100 bytes of memory each on every node.
pub const RULES_MAX: usize = 1_000_000;
/// A revocation ends at most so many seconds after it was made, as a token does.
pub const RULE_SECONDS_MAX: i64 = 365 * 24 * 3600;
/// Bytes of one record of the control log, and so of one entry in it; a larger entry is refused when it is proposed. By
/// default a Kafka client sends none over 1,000,000 bytes and a topic takes about 1 MiB: what is left is for the record's
/// own fields, and for the names of all nodes in an announcement.
pub const CONTROL_RECORD_BYTES_MAX: usize = 800_000;
/// Bytes up to which entries share a record of the control log: below what any hosted Kafka takes, and little for what
/// waits behind it to wait for.
pub const CONTROL_RECORD_SHARED_BYTES: usize = 128 << 10;
/// Bytes of what waits for the control log beside presence, where every entry may be large.
pub const CONTROL_COMMAND_BYTES_MAX: usize = 16 << 20;
/// The same for commands to connections of other nodes, which anybody may send: they are a queue of their own, so that they
/// take no room from orders and presence.
pub const CONTROL_UPLINK_BYTES_MAX: usize = 8 << 20;
