//! Peers that do what no client does: they are told to go, and others go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Connection, Node, in_time};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header that changes no table (RFC 7541 section 6.2.2), of short parts.
fn header(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, short(name)], name.as_bytes(), &[short(value)], value.as_bytes()].concat()
}

/// `GET /health`, from static tables where they have it.
fn request() -> Vec<u8> {
    [&[0x82, 0x86, 0x04, 7][..], b"/health", &[0x01, 1], b"a"].concat()
}

/// The same as POST, for which there is a body.
fn request_with_body() -> Vec<u8> {
    [&[0x83, 0x86, 0x04, 9][..], b"/api/info", &[0x01, 1], b"a"].concat()
}

/// What a peer of this kind hears until the end: the types of frames, and the error of the last GOAWAY.
async fn said_to(node: &Node, frames: impl IntoIterator<Item = Vec<u8>>) -> (Vec<u8>, Option<u32>) {
    let socket = TcpStream::connect(&node.address).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let reading = tokio::spawn(async move {
        let mut heard = Vec::new();
        // An end over unread bytes is a reset; what came before it counts.
        let _ = in_time(reader.read_to_end(&mut heard)).await;
        heard
    });
    let _ = writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    for frame in frames {
        if writer.write_all(&frame).await.is_err() {
            break;
        }
    }
    let heard = reading.await.unwrap();
    let mut rest = &heard[..];
    let (mut kinds, mut error) = (Vec::new(), None);
    while let Some((head, behind)) = rest.split_at_checked(9) {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        kinds.push(head[3]);
        if head[3] == GOAWAY {
            error = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = behind;
    }
    (kinds, error)
}

#[tokio::test]
async fn who_breaks_the_protocol_or_floods_is_told_to_go_and_others_go_on() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let mut stream = connection.listen("news").await;
    let before = node.rss_kib();

    let (_, error) = said_to(&node, [b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(100)]).await;
    assert!(error.is_some_and(|error| error != 0), "garbage");

    let begun = frame(HEADERS, END_STREAM, 1, &request());
    let more = |count| (0..count).map(|_| frame(CONTINUATION, 0, 1, &header("x", "y")));
    let (_, error) = said_to(&node, std::iter::once(begun.clone()).chain(more(100_000))).await;
    assert_eq!(error, Some(ENHANCE_YOUR_CALM), "headers that do not end");

    let empty = (0..100_000).map(|_| frame(CONTINUATION, 0, 1, &[]));
    let (_, error) = said_to(&node, std::iter::once(begun).chain(empty)).await;
    assert_eq!(error, Some(ENHANCE_YOUR_CALM), "headers that do not end and have nothing");

    let resets = (0..100_000u32).map(|n| {
        let stream = 2 * n + 1;
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, &request());
        [asked, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat()
    });
    let (_, error) = said_to(&node, resets).await;
    assert_eq!(error, Some(ENHANCE_YOUR_CALM), "rapid resets");

    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "it grew by {grown} KiB");
    node.publish("news", 0..1, 0).await;
    assert_eq!(stream.number().await, 0);
    node.until("tidegate_http2_connections", 1).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_the_connection_goes_on() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let value = "x".repeat(17 << 10);
    let headers = [("x-long", &*value)];
    let refused = connection.ask(http::Method::GET, "/health", &headers, "").await;
    assert_eq!(refused.status, 431);
    let many: Vec<_> = (0..80).map(|n| (format!("x-{n}"), "y")).collect();
    let headers: Vec<_> = many.iter().map(|(name, value)| (&**name, *value)).collect();
    let refused = connection.ask(http::Method::GET, "/sse?channel=a", &headers, "").await;
    assert_eq!(refused.status, 431, "more headers than a shard reads");
    assert_eq!(connection.get("/health").await.status, 200);
}

#[tokio::test]
async fn who_asks_and_reads_nothing_fills_no_memory() {
    let node = Node::start(false, "");
    let before = node.rss_kib();
    let mut floods = tokio::task::JoinSet::new();
    let health = |n: u32| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 3, &request());
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1_000);
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(1_000);
    let requests = (0..100).flat_map(health).chain(pings.clone()).collect();
    let nothing = frame(DATA, 0, 1, &[]).repeat(1_000);
    for flood in [pings, settings, requests, nothing] {
        let mut socket = TcpStream::connect(&node.address).await.unwrap();
        let begun = frame(HEADERS, END_HEADERS, 1, &request_with_body());
        floods.spawn(async move {
            socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &begun].concat()).await.unwrap();
            // The node takes no more of it at some point, or ends it.
            let writing = async { while socket.write_all(&flood).await.is_ok() {} };
            let _ = tokio::time::timeout(Duration::from_secs(2), writing).await;
            socket
        });
    }
    let sockets = floods.join_all().await;
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "it grew by {grown} KiB");
    assert_eq!(Connection::open(&node).await.get("/health").await.status, 200);
    drop(sockets);
    node.until("tidegate_http2_connections", 0).await;
}
