//! Codes on the wire: one table each for error replies, unsubscribes and disconnects. Numbers never change meaning.
//!
//! Source: section 12 of the Centrifuge protocol reference (centrifugal/centrifuge `errors.go`, `disconnect.go`).

/// An error answered to one command; the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorCode {
    /// The number.
    pub code: u32,
    /// The text sent with it.
    pub message: &'static str,
    /// Whether trying again later can help. SDKs retry these by themselves.
    pub temporary: bool,
}

/// Why the server ended one subscription. Below 2500 it is final; from 2500 on SDKs subscribe again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe {
    /// The number.
    pub code: u32,
    /// The text sent with it.
    pub reason: &'static str,
}

/// Why the server closes a connection. 3000-3499 and 4000-4499: clients reconnect; 3500-3999 and 4500-4999: they do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect {
    /// The number, used as the WebSocket close code.
    pub code: u16,
    /// The text sent with it: at most 123 bytes, and never valid JSON.
    pub reason: &'static str,
}

impl Disconnect {
    /// Whether a client that keeps to the table comes back.
    pub fn reconnects(&self) -> bool {
        reconnects(self.code)
    }
}

/// Whether a client that keeps to the table comes back after a close with this code.
pub fn reconnects(code: u16) -> bool {
    matches!(code, 0..=3499 | 4000..=4499 | 5000..)
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $message:literal, $temporary:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self { code: $code, message: $message, temporary: $temporary };)*
            /// The whole table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

errors! {
    /// Something failed on our side or the broker's; trying again may help.
    INTERNAL = 100, "internal server error", true;
    /// No or wrong credentials.
    UNAUTHORIZED = 101, "unauthorized", false;
    /// The channel's namespace is not configured.
    UNKNOWN_CHANNEL = 102, "unknown channel", false;
    /// The client may not do this.
    PERMISSION_DENIED = 103, "permission denied", false;
    /// There is no such command.
    METHOD_NOT_FOUND = 104, "method not found", false;
    /// The client has this subscription already.
    ALREADY_SUBSCRIBED = 105, "already subscribed", false;
    /// A limit was reached, of channels for example.
    LIMIT_EXCEEDED = 106, "limit exceeded", false;
    /// The command makes no sense.
    BAD_REQUEST = 107, "bad request", false;
    /// The feature is off for this channel or not built.
    NOT_AVAILABLE = 108, "not available", false;
    /// The token expired: SDKs fetch a new one and retry.
    TOKEN_EXPIRED = 109, "token expired", false;
    /// What was asked for expired.
    EXPIRED = 110, "expired", false;
    /// A rate limit.
    TOO_MANY_REQUESTS = 111, "too many requests", true;
    /// The position cannot be recovered from.
    UNRECOVERABLE_POSITION = 112, "unrecoverable position", false;
}

macro_rules! disconnects {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        impl Disconnect {
            $($(#[$doc])* pub const $name: Self = Self { code: $code, reason: $reason };)*
            /// The whole table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

disconnects! {
    /// The connection was closed without a more special reason.
    CONNECTION_CLOSED = 3000, "connection closed";
    /// The node shuts down.
    SHUTDOWN = 3001, "shutdown";
    /// Something failed on our side.
    SERVER_ERROR = 3004, "internal server error";
    /// The connection's token expired and was not refreshed in time.
    EXPIRED = 3005, "connection expired";
    /// A server-side subscription expired.
    SUBSCRIPTION_EXPIRED = 3006, "subscription expired";
    /// The client reads too slowly and the namespace says to disconnect.
    SLOW = 3008, "slow";
    /// Writing to the socket failed.
    WRITE_ERROR = 3009, "write error";
    /// The stream of a server-side subscription has a hole.
    INSUFFICIENT_STATE = 3010, "insufficient state";
    /// An operator asked the client to connect again.
    FORCE_RECONNECT = 3011, "force reconnect";
    /// The client did not answer a ping in time.
    NO_PONG = 3012, "no pong";
    /// Too many commands.
    TOO_MANY_REQUESTS = 3013, "too many requests";
    /// The client shall drop its token and state.
    STATE_INVALIDATED = 3014, "state invalidated";
    /// The token is wrong.
    INVALID_TOKEN = 3500, "invalid token";
    /// The client broke the protocol.
    BAD_REQUEST = 3501, "bad request";
    /// No connect command came in time.
    STALE = 3502, "stale";
    /// An operator closed the connection.
    FORCE_NO_RECONNECT = 3503, "force disconnect";
    /// Too many connections of this user or on this node.
    CONNECTION_LIMIT = 3504, "connection limit";
    /// Too many server-side channels.
    CHANNEL_LIMIT = 3505, "channel limit";
    /// The client's encoding cannot carry the channel's data.
    INAPPROPRIATE_PROTOCOL = 3506, "inappropriate protocol";
    /// The client may not connect.
    PERMISSION_DENIED = 3507, "permission denied";
    /// The command is not built or switched off.
    NOT_AVAILABLE = 3508, "not available";
    /// Too many errors.
    TOO_MANY_ERRORS = 3509, "too many errors";
}

impl Unsubscribe {
    /// An operator ended the subscription.
    pub const SERVER: Self = Self { code: 2000, reason: "server unsubscribe" };
    /// The stream has a hole that cannot be filled: subscribe again to recover.
    pub const INSUFFICIENT_STATE: Self = Self { code: 2500, reason: "insufficient state" };
    /// The subscription token expired and was not refreshed in time.
    pub const EXPIRED: Self = Self { code: 2501, reason: "subscription expired" };
    /// The token that it stands on is revoked: subscribe again with another one.
    pub const STATE_INVALIDATED: Self = Self { code: 2502, reason: "state invalidated" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnect_ranges_say_whether_to_reconnect() {
        for d in Disconnect::ALL {
            assert_eq!(d.reconnects(), d.code < 3500, "{d:?}");
            assert!(d.reason.len() <= crate::limits::CLOSE_REASON_BYTES_MAX);
        }
    }
}
