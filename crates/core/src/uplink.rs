//! Commands of clients whose connection carries none upwards (HTTP streaming, server-sent events): from whoever took
//! the request to the shard that has the connection.
//!
//! A session is a random number, known to its client alone: it is the right to speak for the connection, and says nothing
//! of where that is. Where the node is another one, the commands go by the control log.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tidegate_protocol::Uplink;

use crate::hub::{Hub, random_id};
use crate::inbox::{ShardEvent, Ticket};

/// Names a session to its shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey(u128);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey(***)")
    }
}

impl SessionKey {
    /// Whether this is the session of that text.
    pub fn is(self, session: &str) -> bool {
        session == format!("{:032x}", self.0)
    }
}

/// Why commands were not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UplinkError {
    /// No node of that name is known here.
    #[error("unknown node: the connection is gone, connect again")]
    UnknownNode,
    /// Its shard has too much to do, or the log between the nodes does not answer in time.
    #[error("the commands could not be brought to their connection in time, try again")]
    Busy,
    /// No record of the log between the nodes holds them.
    #[error(
        "the commands are too large to be brought to the node of their connection: send them there, or fewer at once"
    )]
    TooLarge,
    /// The log between the nodes does not take them.
    #[error("the commands cannot be brought to the node of their connection")]
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<SessionKey, (u16, Ticket), RandomState>>);

impl Sessions {
    /// The shard and the connection of a session; `None` when it has ended or never was.
    pub(crate) fn find(&self, session: &str) -> Option<(u16, Ticket)> {
        let key = u128::from_str_radix(session, 16).ok().filter(|_| session.len() == 32).map(SessionKey)?;
        self.lock().get(&key).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, (u16, Ticket), RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Makes a session for a connection of `shard`; its ticket's `command` means nothing. Ends with
    /// [`Hub::close_uplink`].
    pub fn open_uplink(&self, shard: u16, ticket: Ticket) -> (SessionKey, Uplink) {
        let key = SessionKey(random_id().0);
        self.sessions.lock().insert(key, (shard, ticket));
        (key, Uplink { session: format!("{:032x}", key.0), node: self.uid.clone() })
    }

    /// Ends what [`Hub::open_uplink`] began.
    pub fn close_uplink(&self, key: SessionKey) {
        self.sessions.lock().remove(&key);
    }

    /// The shard and the connection of a session of this node; the ticket's `command` means nothing.
    pub fn session(&self, session: &str) -> Option<(u16, Ticket)> {
        self.sessions.find(session)
    }

    /// Brings commands to the connection of a session, on whatever node. One that has ended is nobody's, and no error: its
    /// client learns it from the stream.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub async fn uplink(&self, node: &str, session: &str, data: Bytes) -> Result<(), UplinkError> {
        if node != self.uid {
            let control = self.control().ok_or(UplinkError::UnknownNode)?;
            return control.uplink(node, session, &data).await;
        }
        let Some((shard, ticket)) = self.sessions.find(session) else { return Ok(()) };
        match self.inbox(shard).offer(ShardEvent::Uplink { ticket, data }) {
            true => Ok(()),
            false => Err(UplinkError::Busy),
        }
    }
}
