//! Who begins with the preface of HTTP/2, and sockets behind which somebody else speaks with the client.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, version};
use tidegate_shard::{Acceptor, HandedOver};
use tokio::sync::Semaphore;

use crate::identity::behind;
use crate::rig::{Node, options};
use crate::tls_rig::{VERSIONS, client_config, connect, server_config, shake_hands};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn node(connections: Option<usize>) -> (Node, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(connections.unwrap_or_default()));
    let of_shards = connections.map(|_| permits.clone());
    (Node::start_with(1, options(), move |options| options.http2.clone_from(&of_shards)), permits)
}

fn taken(node: &Node, count: usize) -> Vec<HandedOver> {
    node.until("all were handed over", |_| node.handed_over.lock().unwrap().len() == count);
    std::mem::take(&mut node.handed_over.lock().unwrap())
}

#[test]
fn the_preface_decides_in_whatever_pieces_it_comes() {
    let (node, permits) = node(Some(3));
    for pieces in [&[24][..], &[1, 23], &[5, 12, 7]] {
        let mut socket = connect(&node);
        let mut rest = PREFACE;
        for size in pieces {
            let (piece, behind) = rest.split_at(*size);
            socket.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            rest = behind;
        }
        let mut handed = taken(&node, 1).pop().unwrap();
        let mut rest = vec![0; PREFACE.len() - handed.head.len()];
        let mut stream = std::net::TcpStream::from(handed.socket.try_clone().unwrap());
        stream.set_nonblocking(false).unwrap();
        stream.read_exact(&mut rest).unwrap();
        handed.head.extend_from_slice(&rest);
        assert_eq!(handed.head, PREFACE);
        assert!(handed.http2.is_some() && permits.available_permits() == 2);
    }
    assert_eq!(permits.available_permits(), 3, "they went with the connections");
}

#[test]
fn a_part_of_the_preface_takes_nothing_and_ends_by_the_deadline() {
    let permits = Arc::new(Semaphore::new(1));
    let (mut settings, of_shards) = (options(), permits.clone());
    settings.client.stale_close_delay = Duration::from_millis(300);
    let node = Node::start_with(1, settings, move |options| options.http2 = Some(of_shards.clone()));
    let mut sockets = [&PREFACE[..18], &PREFACE[..23]].map(|part| {
        let mut socket = connect(&node);
        socket.write_all(part).unwrap();
        socket
    });
    sockets.iter_mut().for_each(|socket| assert_eq!(socket.read(&mut [0; 100]).unwrap(), 0, "they end"));
    assert_eq!(permits.available_permits(), 1);
    let mut answer = String::new();
    let mut socket = connect(&node);
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").unwrap();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

#[test]
fn who_is_one_too_many_is_told_to_go() {
    let (node, _permits) = node(Some(1));
    let first = connect(&node).write_all(PREFACE).map(|()| taken(&node, 1)).unwrap();
    let mut second = connect(&node);
    second.write_all(PREFACE).unwrap();
    let mut said = Vec::new();
    second.read_to_end(&mut said).unwrap();
    // The types of two frames, the length of the second.
    assert_eq!((said.len(), said[3], said[11], said[12]), (26, 4, 8, 7));
    drop(first);
    connect(&node).write_all(PREFACE).unwrap();
    taken(&node, 1);
}

#[test]
fn where_it_is_off_it_is_no_request() {
    let mut answer = String::new();
    let (off, _) = node(None);
    let mut socket = connect(&off);
    socket.write_all(PREFACE).unwrap();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("use HTTP/1.1"), "{answer}");
    let (node, _permits) = node(Some(1));
    let mut socket = connect(&node);
    socket.write_all(b"PRI * HTTP/1.1\r\n\r\n").unwrap();
    assert!(taken(&node, 1).pop().unwrap().http2.is_none());
}

#[test]
fn tls_offers_it_while_there_is_room() {
    let permits = Arc::new(Semaphore::new(1));
    let acceptor = Arc::new(Acceptor::new(server_config(&VERSIONS), Some(permits.clone())));
    let of_shards = permits.clone();
    let node = Node::start_with(1, options(), move |options| {
        options.tls = Some(acceptor.clone());
        options.http2 = Some(of_shards.clone());
    });
    let chosen = |offered: &[&[u8]]| {
        let mut config = client_config(&version::TLS13);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = connect(&node);
        let last = shake_hands(&mut tls, &mut socket);
        socket.write_all(&last).unwrap();
        let chosen = tls.alpn_protocol().map(<[u8]>::to_vec);
        (chosen, rustls::StreamOwned::new(tls, socket))
    };
    assert_eq!(chosen(&[b"http/1.1", b"h2"]).0.as_deref(), Some(&b"h2"[..]));
    assert_eq!(chosen(&[b"http/1.1"]).0.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen(&[]).0, None);
    let (_, mut stream) = chosen(&[b"h2"]);
    stream.write_all(PREFACE).unwrap();
    let handed = taken(&node, 1).pop().unwrap();
    assert!(handed.tls.is_some() && handed.http2.is_some() && handed.head == PREFACE);
    assert_eq!(chosen(&[b"h2", b"http/1.1"]).0.as_deref(), Some(&b"http/1.1"[..]), "there is no room");
    drop(handed);
    assert_eq!(chosen(&[b"h2", b"http/1.1"]).0.as_deref(), Some(&b"h2"[..]));
}

/// What a shard says to a client with which somebody else speaks, from its status on.
fn bridged(node: &Node, client: &str) -> String {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let head = b"GET /sse?channel=a HTTP/1.0\r\nHost: a\r\nX-User-Id: ann\r\n\r\n".to_vec();
    let client: IpAddr = client.parse().unwrap();
    let entrance = node.shards.as_ref().unwrap().entrance();
    entrance.give(HandedOver { head, client: Some(client), ..HandedOver::new(theirs.into()) }).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut said = [0; 12];
    ours.read_exact(&mut said).unwrap();
    if said.ends_with(b"200") {
        node.until("the session is open", |hub| hub.report().clients == 1);
        drop(ours);
        node.until("it ended with its socket", |hub| hub.report().clients == 0);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_client_behind_somebody_else_is_known_by_its_own_address_and_needs_no_tls() {
    let acceptor = Arc::new(Acceptor::new(server_config(&VERSIONS), None));
    let node = Node::start_with(1, behind(&["10.0.0.0/8"]), move |options| options.tls = Some(acceptor.clone()));
    assert_eq!(bridged(&node, "10.1.2.3"), "HTTP/1.1 200");
    assert_eq!(bridged(&node, "11.1.2.3"), "HTTP/1.1 400");
}
