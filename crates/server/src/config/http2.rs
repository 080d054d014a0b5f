//! `[http2]`: whether the listener speaks it, and how much of it.

use super::Http2Config;
use super::reader::Section;

/// A node has no descriptors for more.
const CONNECTIONS_LIMIT: usize = 10_000_000;
/// More are no help to a browser, and each may keep some KiB unread.
const STREAMS_LIMIT: u32 = 10_000;

pub(super) fn read(section: &mut Section<'_>) -> Option<Http2Config> {
    let d = Http2Config::default();
    let enabled = section.get(
        "enabled",
        true,
        "Speak HTTP/2 beside HTTP/1.1: by TLS (ALPN h2), and without it by prior knowledge.",
    );
    let http2 = Http2Config {
        connections_max: section.get(
            "connections_max",
            d.connections_max,
            "HTTP/2 connections of this node, which HTTP/1.1 does not count. Past it new ones by TLS are offered HTTP/1.1 alone, \
             others are told to try again.",
        ),
        streams_per_connection_max: section.get(
            "streams_per_connection_max",
            d.streams_per_connection_max,
            "Requests and streams at the same time on one HTTP/2 connection; the client keeps more back.",
        ),
    };
    if http2.connections_max == 0 {
        section.problem("connections_max", "must be at least 1: http2.enabled = false turns HTTP/2 off");
    }
    if http2.connections_max > CONNECTIONS_LIMIT {
        section.problem("connections_max", format!("must be at most {CONNECTIONS_LIMIT}"));
    }
    if !(1..=STREAMS_LIMIT).contains(&http2.streams_per_connection_max) {
        section.problem("streams_per_connection_max", format!("must be between 1 and {STREAMS_LIMIT}"));
    }
    enabled.then_some(http2)
}
