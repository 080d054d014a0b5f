//! Who a client is by the word of a proxy, and how many of them there may be.

use tidegate_core::Refusal;
use tidegate_framing::http::Head;
use tidegate_types::codes::Disconnect;

use crate::shard::Shard;
use crate::slab::Place;
use crate::socket;

impl Shard {
    /// Takes the user from the header that a trusted proxy has set. From elsewhere it means nothing: a client could write
    /// what it likes there.
    pub(crate) fn identify(&mut self, place: Place, head: &Head<'_>) {
        let Some(header) = &self.options.client.user_header else { return };
        // Several in one line are what a proxy makes that adds its own to a client's.
        let one = |user: &&str| !user.is_empty() && !user.contains(',');
        let Some(user) = head.header(&header.name).filter(one) else { return };
        let Some(connection) = self.connections.get_mut(place.index) else { return };
        match connection.client.as_deref().copied().or_else(|| socket::peer(&connection.socket)) {
            Some(peer) if header.trusts(peer) => connection.session.vouch_for(user),
            peer => tracing::debug!(?peer, "a user header does not come from a trusted proxy, it is ignored"),
        }
    }

    /// Whether one more session may be open. It counts already.
    pub(crate) fn check_limits(&self, user: &str) -> Result<(), Refusal> {
        let limit = self.options.client.connection_limit;
        let open = || self.peers.iter().map(|peer| peer.metrics.clients.get()).sum::<i64>();
        let within = limit == 0 || usize::try_from(open()).unwrap_or(0) <= limit;
        // It counts in any case.
        let user_may = self.hub.users().come(user);
        match (user_may, within) {
            (false, _) => Err(Disconnect::CONNECTION_LIMIT.into()),
            // Another node may have room, and this one later: clients come back, which after the other they would not.
            (true, false) => Err(Disconnect::TOO_MANY_REQUESTS.into()),
            (true, true) => Ok(()),
        }
    }
}
