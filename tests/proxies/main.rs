//! Proxies that know nothing of streams: what a node says reaches a client at once, by every transport.
//!
//! Each has the configuration that it comes with. Buffers, HTTP/1.0 towards the node (which is how nginx asks) and waiting
//! for more before sending are what goes wrong there; all of it shows as an event that comes late or never.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};
use tidegate_testkit::node::{Node, Options, get, post};
use tidegate_testkit::ports::loopback;
use tidegate_testkit::{haproxy, nginx};
use tidegate_tests::output_dir;

/// A first event that takes longer was held back. Later ones `HAProxy` holds back unless it is told not to, for so long.
const LATE: Duration = Duration::from_millis(200);
/// What a packet of Ethernet carries of TCP.
const SEGMENT_BYTES: u32 = 1_448;
/// On a busy machine anything may be late once.
const TRIES: u32 = 5;

/// A transport: its request, and what its first event has in it.
struct Transport {
    name: &'static str,
    request: String,
}

const COMMANDS: &str = r#"{"id":1,"connect":{"subs":{"news":{}}}}"#;
const CONNECT: &str = r#"{"subs":{"news":{}}}"#;

fn transports() -> Vec<Transport> {
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n");
    let query = "cf_connect=%7B%22id%22:1,%22connect%22:%7B%22subs%22:%7B%22news%22:%7B%7D%7D%7D%7D";
    vec![
        Transport { name: "HTTP stream", request: post("/connection/http_stream", COMMANDS) },
        Transport { name: "server-sent events", request: get(&format!("/connection/sse?{query}")) },
        Transport { name: "one-way HTTP stream", request: post("/connection/uni_http_stream", CONNECT) },
        Transport { name: "plain EventSource", request: get("/sse?channel=news") },
        Transport {
            name: "WebSocket",
            request: "GET /connection/uni_websocket?cf_connect=%7B%22subs%22:%7B%22news%22:%7B%7D%7D%7D HTTP/1.1\r\n\
                      Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                .to_owned(),
        },
    ]
}

/// Connects as over Ethernet: on loopback a segment is so large that nothing fills one.
fn connect(port: u16) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_mss(SEGMENT_BYTES)?;
    socket.connect(&loopback(port).into())?;
    Ok(socket.into())
}

/// Reads until `what` came; how long that took.
fn until(socket: &mut TcpStream, seen: &mut Vec<u8>, what: &str) -> Result<Duration> {
    let began = Instant::now();
    let mut buffer = [0; 8192];
    while !String::from_utf8_lossy(seen).contains(what) {
        match socket.read(&mut buffer).with_context(|| format!("waiting for {what:?}"))? {
            0 => bail!("ended after {:?}", String::from_utf8_lossy(seen)),
            n => seen.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(began.elapsed())
}

/// How long the first event takes from the request, and one that is published later from its publish.
fn measure(proxy: u16, node: &Node, transport: &Transport, number: u32) -> Result<(Duration, Duration)> {
    let mut socket = connect(proxy)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(transport.request.as_bytes())?;
    let mut seen = Vec::new();
    let first = until(&mut socket, &mut seen, "\"client\":")?;
    ensure!(
        seen.starts_with(b"HTTP/1.1 200") || seen.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&seen)
    );
    let body = serde_json::json!({ "channel": "news", "data": format!("number {number}") }).to_string();
    let began = Instant::now();
    post(node.port(), "/api/publish", &body)?;
    until(&mut socket, &mut seen, &format!("number {number}"))?;
    Ok((first, began.elapsed()))
}

/// Fails unless the first event of every transport passes at once.
fn check(proxy_name: &str, proxy: u16, node: &Node) -> Result<()> {
    for (index, transport) in transports().iter().enumerate() {
        let tries = (0..TRIES).map(|n| measure(proxy, node, transport, n + TRIES * index as u32));
        let tries: Vec<_> =
            tries.collect::<Result<_>>().with_context(|| format!("{} by {proxy_name}", transport.name))?;
        let first = tries.iter().map(|(first, _)| *first).min().unwrap_or_default();
        let later = tries.iter().map(|(_, later)| *later).min().unwrap_or_default();
        eprintln!("{proxy_name}, {}: first event after {first:.1?}, a later one after {later:.1?}", transport.name);
        ensure!(first < LATE, "{} by {proxy_name}: the first event took {first:?}", transport.name);
        ensure!(later < 2 * LATE, "{} by {proxy_name}: a later event took {later:?}", transport.name);
    }
    Ok(())
}

fn node(output: &str) -> Result<Node> {
    Node::start(Options::dev("node-1", "memory:", &output_dir(output)?))
}

#[test]
fn nothing_is_held_back_by_proxies_with_their_defaults() -> Result<()> {
    let node = node("proxies")?;
    let nginx = nginx::start(&[node.port()])?;
    check("nginx", nginx.port(), &node)?;
    let haproxy = haproxy::start_with_defaults(node.port())?;
    check("HAProxy", haproxy.port(), &node)
}

/// Proxies may speak HTTP/2 to a node, and put the streams of many clients on one connection.
#[test]
fn a_proxy_may_speak_http_2() -> Result<()> {
    let node = node("proxies-http2")?;
    let haproxy = haproxy::start_over_http2(node.port())?;
    check("HAProxy by HTTP/2", haproxy.port(), &node)?;
    let metrics = get(node.port(), "/metrics")?;
    let connections = metrics.lines().find_map(|line| line.strip_prefix("tidegate_http2_connections "));
    ensure!(connections.is_some_and(|count| count != "0"), "it spoke something else: {connections:?}");
    Ok(())
}
