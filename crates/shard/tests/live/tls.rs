//! TLS: everything that works without it, and what a peer may do to it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, ConnectionTrafficSecrets, ProtocolVersion, StreamOwned};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tidegate_framing::http::Head;
use tidegate_framing::websocket::{Opcode, handshake};
use tidegate_shard::{RequestHandler, Response};

use crate::rig::{Client, Heard, options};
use crate::tls_rig::{
    Stream, VERSIONS, client, connect, node, node_of, node_with, read_all, server_config, session, shake_hands, stream,
};

#[test]
fn a_websocket_works_as_without() {
    let node = node();
    for version in VERSIONS {
        let mut client = session(stream(&node, version));
        assert_eq!(client.socket.conn.protocol_version(), Some(version.version));
        client.subscribe(2, "news", None);
        client.say(r#"{"id":3,"publish":{"channel":"news","data":{"n":7}}}"#);
        let both = [client.message(), client.message()];
        assert!(both.iter().any(|m| m["push"]["pub"]["data"]["n"] == 7), "{both:?}");
        assert!(both.iter().any(|m| m["id"] == 3), "{both:?}");
        node.publish("news", "8");
        assert_eq!(client.publication(), 8);
    }
    node.until("both counted", |hub| hub.shard_metrics()[0].tls_handshakes.get() == 2);
    assert_eq!(node.hub.shard_metrics()[0].tls_handshakes_failed.get(), 0);
}

#[test]
fn who_comes_back_resumes_with_the_one_ticket_it_was_given() {
    let node = node();
    for version in VERSIONS {
        let config = Arc::new(crate::tls_rig::client_config(version));
        for nth in 0..3 {
            let conn = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
            let mut client = session(StreamOwned::new(conn, connect(&node)));
            let kind = client.socket.conn.handshake_kind().unwrap();
            assert_eq!(kind == rustls::HandshakeKind::Resumed, nth > 0, "{version:?} {nth} {kind:?}");
            if version.version == ProtocolVersion::TLSv1_3 {
                assert_eq!(client.socket.conn.tls13_tickets_received(), 1);
            }
            client.subscribe(2, "news", None);
        }
    }
}

#[test]
fn large_messages_go_both_ways() {
    let node = node();
    for version in VERSIONS {
        let mut client = session(stream(&node, version));
        client.subscribe(2, "large", None);
        let text = "x".repeat(60_000);
        client.say(&format!(r#"{{"id":3,"publish":{{"channel":"large","data":"{text}"}}}}"#));
        let both = [client.message(), client.message()];
        assert!(both.iter().any(|m| m["push"]["pub"]["data"] == text.as_str()));
        let larger = "y".repeat(700_000);
        node.publish("large", &json!(larger).to_string());
        assert_eq!(client.publication(), larger.as_str());
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let node = node();
    for version in VERSIONS {
        let (mut tls, mut socket) = (client(version), connect(&node));
        while tls.is_handshaking() {
            let mut records = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut records).unwrap();
            }
            for byte in &records {
                socket.write_all(&[*byte]).unwrap();
            }
            if tls.is_handshaking() {
                assert!(tls.read_tls(&mut socket).unwrap() > 0);
                tls.process_new_packets().unwrap();
            }
        }
        session(StreamOwned::new(tls, socket)).subscribe(2, "news", None);
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_not_lost() {
    let node = node();
    let (mut tls, mut socket) = (client(&TLS13), connect(&node));
    let mut last = shake_hands(&mut tls, &mut socket);
    assert!(!last.is_empty(), "the client's Finished goes with what follows");
    tls.writer().write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    while tls.wants_write() {
        tls.write_tls(&mut last).unwrap();
    }
    socket.write_all(&last).unwrap();
    node.until("handed over", |_| node.handed_over.lock().unwrap().len() == 1);
    let mut handed = node.handed_over.lock().unwrap().pop().unwrap();
    assert_eq!(handed.head, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    // The session goes on where the socket is.
    let session = handed.tls.as_mut().unwrap();
    assert_eq!(session.write_some(b"hello").unwrap(), 5);
    session.close();
    TcpStream::from(handed.socket).write_all(session.unsent()).unwrap();
    assert_eq!(read_all(&mut StreamOwned::new(tls, socket)), "hello");
}

#[test]
fn a_connection_comes_back_with_its_session_and_with_what_it_was_told_meanwhile() {
    let node = node();
    let upgrade = handshake::request("x", "/connection/websocket", [7; 16], None);
    for ends in [false, true] {
        let mut stream = stream(&node, &TLS13);
        stream.write_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        node.until("handed over", |_| node.handed_over.lock().unwrap().len() == 1);
        let mut handed = node.handed_over.lock().unwrap().pop().unwrap();
        handed.head = upgrade.clone();
        let tls = handed.tls.as_mut().unwrap();
        // This is not sent before it comes back.
        tls.write_some(b"answer ").unwrap();
        if ends {
            let mut records = Vec::new();
            stream.conn.send_close_notify();
            stream.conn.write_tls(&mut records).unwrap();
            tls.feed(&records, &mut Vec::new()).unwrap();
            assert!(tls.is_peer_closed());
        }
        node.shards.as_ref().unwrap().entrance().give(handed).unwrap();
        if ends {
            assert!(read_all(&mut stream).starts_with("answer HTTP/1.1 101 "));
        } else {
            let mut heard = [0; 20];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"answer HTTP/1.1 101 ");
        }
    }
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn a_storm_of_handshakes_is_answered_and_others_are_served_meanwhile() {
    let (node, _) = node_of(2, options(), |_| {});
    let mut witness = session(stream(&node, &TLS13));
    witness.subscribe(2, "news", None);
    let mut begun: Vec<(ClientConnection, TcpStream)> = (0..100).map(|_| (client(&TLS13), connect(&node))).collect();
    for (tls, socket) in &mut begun {
        tls.write_tls(socket).unwrap();
    }
    node.publish("news", "1");
    assert_eq!(witness.publication(), 1);
    let speak = |(tls, socket)| {
        let mut client = session(StreamOwned::new(tls, socket));
        client.subscribe(2, "other", None);
        client
    };
    let mut clients: Vec<Client<Stream>> = begun.into_iter().map(speak).collect();
    let counts: Vec<i64> = node.hub.shard_metrics().iter().map(|m| m.connections.get()).collect();
    assert!(counts.iter().all(|count| *count > 0), "spread over the shards: {counts:?}");
    node.publish("other", "2");
    assert!(clients.iter_mut().all(|client| client.publication() == 2));
}

#[test]
fn who_does_not_speak_tls_is_sent_away_and_others_go_on() {
    let node = node();
    let mut witness = session(stream(&node, &TLS13));
    witness.subscribe(2, "news", None);
    let mut plain = connect(&node);
    plain.write_all(b"GET /connection/websocket HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this port speaks TLS"), "{answer}");
    for garbage in [&[0u8; 64][..], &[0xff; 64], &[0x16, 3, 1, 0, 4, 1, 0, 0, 0, 1], &[0x16, 3, 1, 0xff, 0xff, 0]] {
        let mut socket = connect(&node);
        socket.write_all(garbage).unwrap();
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard);
        assert!(heard.is_empty() || heard[0] == 0x15, "an alert at most: {heard:?}");
    }
    node.until("only one is left", |hub| hub.shard_metrics()[0].connections.get() == 1);
    node.publish("news", "1");
    assert_eq!(witness.publication(), 1);
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let (node, acceptor) = node_with(options(), |_| {});
    acceptor.replace(server_config(&[&TLS13]));
    let mut old = stream(&node, &TLS12);
    let error = old.write_all(b"GET / HTTP/1.1\r\n\r\n").and_then(|()| old.read(&mut [0]).map(drop)).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    session(stream(&node, &TLS13));
    node.until("counted", |hub| hub.shard_metrics()[0].tls_handshakes_failed.get() == 1);
}

#[test]
fn half_a_handshake_ends_at_the_deadline_and_others_go_on() {
    let mut core = options();
    core.client.stale_close_delay = Duration::from_millis(300);
    let (node, _) = node_with(core, |_| {});
    let (mut tls, mut socket) = (client(&TLS13), connect(&node));
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    socket.write_all(&hello[..hello.len() / 2]).unwrap();
    let mut silent = connect(&node);
    // One stops after what it was answered.
    let (mut third, mut third_socket) = (client(&TLS13), connect(&node));
    third.write_tls(&mut third_socket).unwrap();
    let mut other = session(stream(&node, &TLS13));
    let ended = |socket: &mut TcpStream| socket.read_to_end(&mut Vec::new()).is_ok();
    assert!(ended(&mut socket) && ended(&mut silent) && ended(&mut third_socket));
    other.subscribe(2, "news", None);
    let metrics = &node.hub.shard_metrics()[0];
    assert_eq!((metrics.closed_stale.get(), metrics.tls_handshakes_failed.get()), (3, 2));
}

/// A connection whose kernel takes next to nothing.
fn lazy(node: &crate::rig::Node, version: &'static rustls::SupportedProtocolVersion) -> Client<Stream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&node.address.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    session(StreamOwned::new(client(version), socket.into()))
}

#[test]
fn a_reader_that_pauses_gets_everything_in_order_afterwards() {
    let node = node();
    for (version, channel) in VERSIONS.into_iter().zip(["old", "new"]) {
        let (mut slow, mut fast) = (lazy(&node, version), session(stream(&node, version)));
        slow.subscribe(2, channel, None);
        fast.subscribe(2, channel, None);
        // Frames of all sizes around that of a record.
        let payload = |n: usize| format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(n * 97 % 40_000));
        for round in 0..3 {
            for n in 0..400 {
                node.publish(channel, &payload(round * 400 + n));
            }
            let all = |client: &mut Client<Stream>| {
                (0..400).for_each(|n| assert_eq!(client.publication()["n"], json!(round * 400 + n)));
            };
            all(&mut fast);
            node.until("the slow one is behind", |hub| hub.shard_metrics()[0].behind.get() == 1);
            // What is no publication waits behind the record that was cut.
            slow.frame(Opcode::Ping, b"still there");
            let mut pong = false;
            for n in 0..400 {
                let mut heard = slow.hear();
                if heard == Heard::Pong(b"still there".to_vec()) {
                    pong = true;
                    heard = slow.hear();
                }
                let Heard::Message(message) = heard else { panic!("{heard:?}") };
                assert_eq!(message["push"]["pub"]["data"]["n"], json!(round * 400 + n));
            }
            assert!(pong || slow.hear() == Heard::Pong(b"still there".to_vec()));
            node.until("nobody is behind", |hub| hub.shard_metrics()[0].behind.get() == 0);
        }
    }
}

#[test]
fn both_sides_say_that_they_end() {
    let node = node();
    // Ours: without it the library reports an unexpected end.
    let mut client = session(stream(&node, &TLS13));
    let mut close = 1000u16.to_be_bytes().to_vec();
    close.extend_from_slice(b"bye");
    client.frame(Opcode::Close, &close);
    assert_eq!(client.close_code(), 1000);
    assert_eq!(read_all(&mut client.socket), "");
    // Theirs: it goes as far as what came before it is answered.
    let mut stream = stream(&node, &TLS13);
    stream.write_all(b"\x01 no HTTP\r\n\r\n").unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 400 Bad Request\r\n"));
    // And without a word.
    let gone = session(crate::tls_rig::stream(&node, &TLS13));
    gone.socket.sock.shutdown(Shutdown::Both).unwrap();
    node.until("all are gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let (node, acceptor) = node_with(options(), |_| {});
    let certificate = |stream: &Stream| stream.conn.peer_certificates().unwrap()[0].clone();
    let mut before = session(stream(&node, &TLS13));
    before.subscribe(2, "news", None);
    acceptor.replace(server_config(&VERSIONS));
    let mut after = session(stream(&node, &TLS13));
    assert_ne!(certificate(&before.socket), certificate(&after.socket));
    after.subscribe(2, "news", None);
    node.publish("news", "1");
    assert_eq!((before.publication(), after.publication()), (json!(1), json!(1)));
}

/// Answers `POST /echo` with its body, some of them later.
struct Echo;

impl RequestHandler for Echo {
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize> {
        (head.path() == "/echo").then(|| head.header("content-length")?.parse().ok())?
    }

    fn handle(&self, _: &Head<'_>, body: Bytes) -> Response {
        Box::pin(async move {
            if body.starts_with(b"later") {
                // The shard looks twice before it waits.
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            [&b"<"[..], &body, b">"].concat()
        })
    }
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let (node, _) = node_with(options(), |options| options.handler = Some(Arc::new(Echo)));
    let echo = |body: &str| format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let large = "x".repeat(30_000);
    for version in VERSIONS {
        let mut stream = stream(&node, version);
        for round in [["one", "later two", "three"], ["later four", &large, "later five"]] {
            stream.write_all(round.map(echo).concat().as_bytes()).unwrap();
            let expected: String = round.iter().map(|body| format!("<{body}>")).collect();
            let mut heard = vec![0; expected.len()];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(String::from_utf8_lossy(&heard), expected);
        }
    }
    // What was asked before the end was said is answered still.
    for body in ["six", "later seven"] {
        let mut stream = stream(&node, &TLS13);
        stream.write_all(echo(body).as_bytes()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(read_all(&mut stream), format!("<{body}>"));
    }
}

/// A TLS 1.3 client that makes its records itself, so that it can say what none should.
struct Forger {
    socket: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Forger {
    /// One with a session that is subscribed to `news`.
    fn new(node: &crate::rig::Node) -> Self {
        let mut client = session(stream(node, &TLS13));
        client.subscribe(2, "news", None);
        let StreamOwned { conn, sock, .. } = client.socket;
        let (number, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another suite") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        Self { socket: sock, key, iv: iv.as_ref().try_into().unwrap(), number }
    }

    /// Sends a record of some content type.
    fn say(&mut self, content_type: u8, content: &[u8]) {
        self.try_say(content_type, content).unwrap();
    }

    fn try_say(&mut self, content_type: u8, content: &[u8]) -> std::io::Result<()> {
        let mut body = [content, &[content_type]].concat();
        let length = u16::try_from(body.len() + 16).unwrap().to_be_bytes();
        let head = [0x17, 3, 3, length[0], length[1]];
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.number.to_be_bytes()).for_each(|(n, c)| *n ^= c);
        self.number += 1;
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head), &mut body).unwrap();
        self.socket.write_all(&[&head[..], &body].concat())
    }

    /// Whether the server ended the connection.
    fn sees_the_end(mut self) -> bool {
        match self.socket.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

const HANDSHAKE: u8 = 22;

#[test]
fn what_no_peer_may_say_after_the_handshake_ends_it_and_others_go_on() {
    let node = node();
    let mut witness = session(stream(&node, &TLS13));
    witness.subscribe(2, "news", None);
    // A new ClientHello, a certificate that nobody asked for, a key update that is none, alerts of no kind, no content.
    let sayings: [(u8, &[u8]); 6] = [
        (HANDSHAKE, &[1, 0, 0, 2, 3, 3]),
        (HANDSHAKE, &[11, 0, 0, 1, 0]),
        (HANDSHAKE, &[24, 0, 0, 1, 9]),
        (21, &[9, 9]),
        (99, b"?"),
        (0, b""),
    ];
    for (nth, (content_type, content)) in sayings.into_iter().enumerate() {
        let mut forger = Forger::new(&node);
        forger.say(content_type, content);
        assert!(forger.sees_the_end(), "{content_type} {content:?}");
        node.publish("news", &nth.to_string());
        assert_eq!(witness.publication(), nth);
    }
}

#[test]
fn half_a_message_of_tls_does_not_disturb_what_is_sent_meanwhile() {
    let node = node();
    let mut witness = session(stream(&node, &TLS13));
    witness.subscribe(2, "news", None);
    let mut forger = Forger::new(&node);
    // The head of a key update in a record of its own. The library remembers where it lies.
    forger.say(HANDSHAKE, &[24, 0, 0]);
    for n in 0..3 {
        node.publish("news", &n.to_string());
        assert_eq!(witness.publication(), n);
        assert!(forger.socket.read(&mut [0; 4_096]).unwrap() > 0, "it gets publications still");
    }
    // The rest of it is one: both sides go on with new keys.
    forger.say(HANDSHAKE, &[1, 0]);
    node.publish("news", "3");
    assert_eq!(witness.publication(), 3);
    assert!(forger.socket.read(&mut [0; 4_096]).unwrap() > 0);
    // The next record comes under the old key, which no longer counts.
    forger.say(23, b"x");
    assert!(forger.sees_the_end());
}

#[test]
fn the_end_may_come_within_a_message_of_tls() {
    let node = node();
    let mut witness = session(stream(&node, &TLS13));
    witness.subscribe(2, "news", None);
    for end in [&[1u8, 0][..], &[2, 40]] {
        let mut forger = Forger::new(&node);
        forger.say(HANDSHAKE, &[24, 0, 0]);
        forger.say(21, end);
        node.publish("news", "1");
        assert_eq!(witness.publication(), 1);
        assert!(forger.sees_the_end());
    }
}

#[test]
fn a_message_of_tls_without_end_ends_the_connection() {
    let node = node();
    let mut forger = Forger::new(&node);
    // 64 KiB are announced, which the library would wait for; what is kept of them is bounded.
    forger.say(HANDSHAKE, &[24, 0, 0xff, 0xff]);
    let refused = (0..600).any(|_| forger.try_say(HANDSHAKE, &[0; 100]).is_err());
    assert!(refused || forger.sees_the_end());
    node.until("gone", |hub| hub.shard_metrics()[0].connections.get() == 0);
}

#[test]
fn a_reader_of_events_goes_on_where_it_was_cut() {
    use std::io::{BufRead as _, BufReader};
    let node = node();
    for version in VERSIONS {
        let channel = format!("c{version:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let mut id = String::new();
        for round in 0..3u64 {
            let mut stream = stream(&node, version);
            let request = format!(
                "GET /sse?channel={channel} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).unwrap();
            let mut lines = BufReader::new(stream).lines();
            let mut next = || {
                let mut at = String::new();
                loop {
                    let line = lines.next().unwrap().unwrap();
                    if let Some(given) = line.strip_prefix("id: ") {
                        at = given.to_owned();
                    }
                    if let Some(data) = line.strip_prefix("data: ") {
                        return (at, serde_json::from_str::<serde_json::Value>(data).unwrap());
                    }
                }
            };
            id = next().0;
            for n in 0..20u64 {
                node.publish(&channel, &(round * 20 + n).to_string());
            }
            // The last ones of a round are missed, and come in the next one.
            let (first, last) = if round == 0 { (0, 15) } else { (round * 20 - 5, round * 20 + 15) };
            for n in first..last {
                let (at, event) = next();
                assert_eq!(event["pub"]["data"], n, "{event}");
                id = at;
            }
        }
    }
}
