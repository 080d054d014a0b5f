//! Clients whose socket carries an HTTP response that does not end: HTTP streaming and server-sent events.
//!
//! The request brings the first commands. From there on the connection is one like others: a cursor per subscription
//! and a framing. Later commands come as requests of their own, here or elsewhere, and reach it as
//! [`tidegate_core::ShardEvent::Uplink`]. A request that is no plain opening goes to the HTTP side, which says what is
//! wrong with it.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate_core::Ticket;
use tidegate_framing::http::{Head, Status, query_value};
use tidegate_types::codes::Disconnect;
use tidegate_types::limits::HELD_UPLINKS_MAX;

use crate::connection::{Connection, Partial, Phase};
use crate::options::Route;
use crate::request::{Next, text_answer};
use crate::shard::Shard;
use crate::slab::Place;
use crate::tls;
use crate::wire::Wire;

/// Headers that change how a request is framed: then the HTTP side reads it.
const UNUSUAL: [&str; 2] = ["transfer-encoding", "expect"];

/// Readers that come back by themselves do so between this and twice this after an end, spread so that those of a node that
/// died do not come all at once.
const RETRY_MS_MIN: u64 = 500;

/// Where the first commands are.
enum Opening {
    Query(Vec<u8>),
    /// Of so many bytes.
    Body(usize),
}

impl Opening {
    fn read(head: &Head<'_>, wire: &Wire) -> Option<Self> {
        // Some clients offer to go on in HTTP/2 with every request, and need no answer to that (RFC 9113 section 3.1).
        let upgrades = head.list("upgrade").any(|protocol| !protocol.eq_ignore_ascii_case("h2c"));
        let plain = !upgrades && UNUSUAL.into_iter().all(|name| head.all(name).next().is_none());
        match head.method() {
            "GET" if plain && wire.opens_by_query() => {
                let commands = head.query().and_then(|query| query_value(query, "cf_connect"));
                commands.or_else(|| wire.is_one_way().then(Vec::new)).map(Self::Query)
            }
            "POST" if plain => {
                let length = head.header("content-length").filter(|l| l.bytes().all(|b| b.is_ascii_digit()))?;
                length.parse().ok().map(Self::Body)
            }
            _ => None,
        }
    }
}

impl Shard {
    /// Opens a stream once its request is whole.
    pub(crate) fn open_stream(
        &mut self,
        place: Place,
        head: &Head<'_>,
        route: &Route,
        bytes: &[u8],
        answers: &mut Vec<u8>,
    ) -> Next {
        let Some(mut wire) = route.choose(None, head).map(|choice| choice.wire) else {
            return self.give_away(place, bytes, None, answers);
        };
        if head.minor_version() == 0 {
            wire = self.options.without_chunks(wire);
        }
        let spoken = self.options.wires[usize::from(wire)].clone();
        let Some(opening) = Opening::read(head, &spoken) else {
            return self.give_away(place, bytes, None, answers);
        };
        if let Err(response) = self.check_origin(head.origin(), head.header("host")) {
            return self.refuse(place, answers, &response);
        }
        let body_bytes = if let Opening::Body(bytes) = opening { bytes } else { 0 };
        let most = self.options.client.message_bytes_max;
        if body_bytes > most {
            let text = format!("the first commands are longer than {most} bytes (client.message_bytes_max)");
            return self.refuse(place, answers, &text_answer(Status::CONTENT_TOO_LARGE, "", &text));
        }
        let size = head.bytes() + body_bytes;
        if bytes.len() < size {
            return self.hold(place, bytes, size);
        }
        let commands = match opening {
            Opening::Query(commands) => Cow::Owned(commands),
            Opening::Body(_) => Cow::Borrowed(&bytes[head.bytes()..size]),
        };
        self.identify(place, head);
        let retry_ms = RETRY_MS_MIN + self.random() % RETRY_MS_MIN;
        let Some(connection) = self.connections.get_mut(place.index) else { return Next::Nothing };
        (connection.phase, connection.wire) = (Phase::Open, wire);
        self.expect_connect(place);
        let Some(connection) = self.connections.get_mut(place.index) else { return Next::Nothing };
        let stream_head = spoken.stream_head(head.header("origin"), retry_ms).unwrap_or_default();
        if spoken.is_one_way() {
            connection.head = Some(Box::new(Partial { bytes: stream_head, wanted: 0 }));
            self.send_answers(place, answers);
            self.take_one_way(place, head, &commands);
        } else {
            answers.extend_from_slice(&stream_head);
            self.send_answers(place, answers);
            self.take_message(place, &commands);
        }
        Next::Nothing
    }

    /// Commands that came by another way than the socket of the connection.
    pub(crate) fn on_uplink(&mut self, ticket: Ticket, data: &Bytes) {
        let place = Place { index: ticket.connection, generation: ticket.generation };
        let open =
            self.connections.is_at(place) && self.connections.get(place.index).is_some_and(Connection::takes_commands);
        if !open {
            return;
        }
        if let Some(held) = self.connections.get_mut(place.index).and_then(|c| c.held.as_mut()) {
            held.uplinks += 1;
            if held.uplinks > HELD_UPLINKS_MAX {
                return self.end(place, Some(Disconnect::TOO_MANY_REQUESTS));
            }
        }
        self.take_message(place, data);
    }

    /// A response was ended, and the peer is to see it. Where messages go both ways the peer answers a close instead.
    pub(crate) fn end_response(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        let ended = connection.phase == Phase::Closing && connection.blocked.is_none();
        if ended && !self.options.wires[usize::from(connection.wire)].is_duplex() {
            tls::end_output(connection, &mut self.records);
        }
    }
}
