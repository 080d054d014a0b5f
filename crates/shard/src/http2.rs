//! HTTP/2 as far as a shard has to do with it: who begins a connection with its preface is given to the HTTP side, by TLS
//! or without ("prior knowledge", RFC 9113 section 3.3).
//!
//! No frame is read here. The preface decides also where TLS has negotiated the protocol: a client sends it at once in
//! either case, and who sends nothing ends as anybody does who says nothing. A node has a bounded number of such
//! connections: a permit goes with each, and while there is none TLS offers HTTP/1.1 alone.

use crate::connection::Phase;
use crate::request::Next;
use crate::shard::Shard;
use crate::slab::Place;

/// The connection preface (RFC 9113 section 3.4), which no request of HTTP/1.1 begins with. Whole, because a permit goes
/// with it: who sends a part of it ends by the deadline of any request.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings that say nothing, and a GOAWAY that says that nothing was done: the client may ask again at once.
#[rustfmt::skip]
pub(crate) const REFUSAL: &[u8] = &[
    0, 0, 0, /* SETTINGS */ 4, 0, 0, 0, 0, 0,
    0, 0, 8, /* GOAWAY */ 7, 0, 0, 0, 0, 0, /* last stream */ 0, 0, 0, 0, /* NO_ERROR */ 0, 0, 0, 0,
];

impl Shard {
    /// Gives a connection away that begins with the preface; `None` where it does not, or HTTP/2 is off.
    pub(crate) fn take_http2(&mut self, place: Place, bytes: &[u8], answers: &mut Vec<u8>) -> Option<Next> {
        let permits = self.options.http2.as_ref()?;
        if self.connections.get(place.index)?.phase != Phase::Head {
            return None;
        }
        if bytes.len() < PREFACE.len() {
            return PREFACE.starts_with(bytes).then(|| self.hold(place, bytes, 0));
        }
        if !bytes.starts_with(PREFACE) {
            return None;
        }
        Some(match permits.clone().try_acquire_owned() {
            Ok(permit) => self.give_away(place, bytes, Some(permit), answers),
            Err(_) => self.refuse(place, answers, REFUSAL),
        })
    }
}
