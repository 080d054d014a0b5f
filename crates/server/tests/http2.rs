//! When HTTP/2 connections end by themselves, on a clock that does not wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tidegate_broker::{BrokerUrl, BuildContext};
use tidegate_core::Hub;
use tidegate_framing::websocket::Origins;
use tidegate_server::config::{Config, Sources};
use tidegate_server::http::{AppState, HandedOver, http2};
use tidegate_server::registry;
use tidegate_types::limits::{HTTP_IDLE_MAX, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

const CONNECTIONS: u32 = 8;

/// The HTTP/2 side of a node without shards.
struct Node {
    handed_over: mpsc::Sender<HandedOver>,
    permits: Arc<Semaphore>,
    listener: TcpListener,
    address: SocketAddr,
    /// True from when clients are to leave on.
    leave: watch::Sender<bool>,
    _down: watch::Sender<bool>,
}

async fn node() -> Node {
    let config = "[broker]\nurl = \"memory:\"".parse().unwrap();
    let config = Config::load(Sources { file: config, ..Sources::default() }).unwrap();
    let url = BrokerUrl::parse("memory:").unwrap();
    let factory = registry::factory("memory").unwrap();
    let broker = factory.build(&url, BuildContext::default()).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let hub = Hub::new(config.core.clone(), broker, &factory.default_log(&url), Vec::new(), runtime);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origins = Origins::parse(["https://app.example"]).unwrap();
    let permits = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let state = Arc::new(AppState::new(hub, &config, origins, address, Some(permits.clone())));
    let (handed_over, receiver) = mpsc::channel(8);
    let ((leave, leaving), (down, shutdown)) = (watch::channel(false), watch::channel(false));
    tokio::spawn(http2::serve(receiver, state, leaving, shutdown));
    Node { handed_over, permits, listener, address, leave, _down: down }
}

impl Node {
    /// A connection that the HTTP/2 side has.
    async fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).await.unwrap();
        let socket = self.listener.accept().await.unwrap().0.into_std().unwrap();
        let http2 = Some(self.permits.clone().try_acquire_owned().unwrap());
        self.handed_over.send(HandedOver { http2, ..HandedOver::new(socket.into()) }).await.unwrap();
        client
    }

    async fn until_nobody_is_there(&self) {
        let all = self.permits.acquire_many(CONNECTIONS);
        let all = tokio::time::timeout(Duration::from_secs(1), all).await;
        drop(all.expect("every permit was given back").unwrap());
    }

    /// A client that does what a client has to, and how its connection ends.
    async fn client(&self) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        let (send, connection) = h2::client::handshake(self.connect().await).await.unwrap();
        (send, tokio::spawn(connection))
    }
}

async fn status_of(send: &mut SendRequest<Bytes>) -> u16 {
    let request = Request::get("http://a/health").body(()).unwrap();
    let (answer, _) = send.clone().ready().await.unwrap().send_request(request, true).unwrap();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_used_ends() {
    let node = node().await;
    let (mut send, ended) = node.client().await;
    for _ in 0..3 {
        assert_eq!(status_of(&mut send).await, 200);
        tokio::time::sleep(HTTP_IDLE_MAX / 2).await;
    }
    let begun = Instant::now();
    ended.await.unwrap().expect("a GOAWAY without an error");
    let after = begun.elapsed() + HTTP_IDLE_MAX / 2;
    assert!((HTTP_IDLE_MAX..HTTP_IDLE_MAX + Duration::from_secs(30)).contains(&after), "{after:?}");
    node.until_nobody_is_there().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_is_found() {
    let node = node().await;
    let mut socket = node.connect().await;
    // A preface and settings, and nothing any more.
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let begun = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new()).await;
    let most = HTTP2_PING_INTERVAL + HTTP2_PING_TIMEOUT;
    assert!((HTTP2_PING_INTERVAL..most + Duration::from_secs(2)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_never_completes_the_preface_ends() {
    let node = node().await;
    let mut socket = node.connect().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let _ = socket.read_to_end(&mut Vec::new()).await;
    assert!(begun.elapsed() < 3 * HTTP_IDLE_MAX, "{:?}", begun.elapsed());
    node.until_nobody_is_there().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_there_when_the_node_leaves_is_told() {
    let node = node().await;
    let (mut send, ended) = node.client().await;
    assert_eq!(status_of(&mut send).await, 200);
    let begun = Instant::now();
    node.leave.send_replace(true);
    ended.await.unwrap().expect("a GOAWAY without an error");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
