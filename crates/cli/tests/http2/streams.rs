//! Streams of publications, and the requests beside them.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Answer, Connection, Node, in_time};

#[tokio::test]
async fn a_publication_comes_by_the_connection_on_which_it_was_published() {
    for is_tls in [false, true] {
        let node = Node::start(is_tls, "");
        let mut connection = Connection::open(&node).await;
        let mut stream = connection.listen("news").await;
        assert_eq!(stream.headers["content-type"], "text/event-stream; charset=utf-8");
        assert!(!stream.headers.contains_key("connection"));
        for n in 0..3 {
            let body = json!({"channel": "news", "data": {"n": n}}).to_string();
            let (status, text) = connection.post("/api/publish", &body).await;
            assert!(status == 200 && text.contains("\"offset\""), "{text}");
            assert_eq!(stream.number().await, n);
        }
    }
}

#[tokio::test]
async fn what_ends_by_itself_is_answered_as_over_http_1() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let mut health = connection.get("/health").await;
    assert_eq!((health.status.as_u16(), &*health.rest().await.unwrap()), (200, r#"{"status":"ok"}"#));
    let mut head = connection.ask(Method::HEAD, "/health", &[], "").await;
    assert_eq!((head.rest().await.unwrap().len(), head.headers["content-length"].as_bytes()), (0, &b"15"[..]));
    assert!(connection.get("/metrics").await.rest().await.unwrap().contains("tidegate_http2_connections 1\n"));
    assert!(connection.get("/").await.rest().await.unwrap().contains("<html"));
    assert_eq!(connection.get("/nothing").await.status, 404);
    let socket = connection.get("/connection/websocket").await;
    assert!(socket.status == 426 && !socket.headers.contains_key("upgrade"));
    assert_eq!(connection.get("/connection/sse").await.status, 400);
    assert_eq!(connection.get("/connection/http_stream").await.status, 405);
    let large = "x".repeat(3 << 20);
    assert_eq!(connection.post("/connection/http_stream", &large[..2 << 20]).await.0, 413);
    assert_eq!(connection.post("/connection/http_stream", "no command").await.0, 200);
}

#[tokio::test]
async fn the_authority_is_the_host_of_origins() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let own = connection.origin().to_owned();
    let publish = json!({"channel": "a", "data": 1}).to_string();
    for (origin, status) in [(&*own, 200), ("https://elsewhere.example", 403)] {
        let headers = [("origin", origin)];
        let answer = connection.ask(Method::GET, "/sse?channel=a", &headers, "").await;
        assert_eq!(answer.status, status, "{origin}");
        let allowed = answer.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, (status == 200).then_some(origin));
        assert_eq!(connection.ask(Method::POST, "/api/publish", &headers, &publish).await.status, status, "{origin}");
        let asked = [("origin", origin), ("access-control-request-headers", "content-type")];
        let preflight = connection.ask(Method::OPTIONS, "/emulation", &asked, "").await;
        assert_eq!(preflight.status, if status == 200 { 204 } else { 403 }, "{origin}");
    }
    let forged = [("origin", "https://elsewhere.example"), ("host", "elsewhere.example")];
    assert_eq!(connection.ask(Method::GET, "/sse?channel=a", &forged, "").await.status, 403);
}

#[tokio::test]
async fn many_streams_share_a_connection_and_each_has_everything_in_order() {
    for is_tls in [false, true] {
        let node = Node::start(is_tls, "");
        // They are read one after the other, so the connection has to take what the others got.
        let mut connection = Connection::wide(&node).await;
        let mut streams: Vec<(&str, Answer)> = Vec::new();
        for number in 0..20 {
            let channel = ["a", "b"][number % 2];
            let stream = match number % 3 {
                0 => connection.listen(channel).await,
                1 => {
                    let connect = json!({"subs": {channel: {}}}).to_string();
                    let mut stream = connection.ask(Method::POST, "/connection/uni_http_stream", &[], &connect).await;
                    assert!(stream.message().await["connect"].is_object());
                    stream
                }
                _ => {
                    let commands = json!({"id": 1, "connect": {}}).to_string() + "\n" + &subscribe(channel).to_string();
                    let mut stream = connection.ask(Method::POST, "/connection/sse", &[], &commands).await;
                    assert!(stream.message().await["connect"].is_object());
                    assert!(stream.message().await["subscribe"].is_object());
                    stream
                }
            };
            streams.push((channel, stream));
        }
        assert_eq!(node_metrics(&node), if is_tls { None } else { Some((20, 1)) });
        tokio::join!(node.publish("a", 0..300, 10), node.publish("b", 1_000..1_300, 10));
        for (channel, stream) in &mut streams {
            let first = if *channel == "a" { 0 } else { 1_000 };
            for n in first..first + 300 {
                assert_eq!(stream.number().await, n, "in {channel}");
            }
        }
    }
}

/// Sessions and connections, where they can be asked for without TLS.
fn node_metrics(node: &Node) -> Option<(u64, u64)> {
    (!node.is_tls).then(|| (node.metric("tidegate_clients"), node.metric("tidegate_http2_connections")))
}

fn subscribe(channel: &str) -> Value {
    json!({"id": 2, "subscribe": {"channel": channel}})
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let mut stream = connection.listen("job").await;
    node.publish("job", 0..2, 0).await;
    let mut last = String::new();
    while !last.contains(".1.") {
        let line = stream.line().await.unwrap().unwrap();
        last = line.strip_prefix("id: ").map_or(last, str::to_owned);
    }
    drop(stream);
    node.publish("job", 2..50, 0).await;
    let headers = [("last-event-id", &*last)];
    let mut stream = connection.ask(Method::GET, "/sse?channel=job", &headers, "").await;
    let connect = stream.message().await;
    assert_eq!(connect["connect"]["subs"]["job"]["recovered"], true, "{connect}");
    for n in 1..50 {
        assert_eq!(stream.number().await, n);
    }
}

#[tokio::test]
async fn commands_of_a_stream_come_by_the_same_connection() {
    let node = Node::start(true, "");
    let mut connection = Connection::open(&node).await;
    let connect = json!({"id": 1, "connect": {}}).to_string();
    let mut stream = connection.ask(Method::POST, "/connection/http_stream", &[], &connect).await;
    let connected = stream.message().await["connect"].clone();
    let commands = subscribe("news").to_string();
    let request = json!({"session": connected["session"], "node": connected["node"], "data": commands}).to_string();
    assert_eq!(connection.post("/emulation", &request).await.0, 204);
    assert!(stream.message().await["subscribe"].is_object());
    node.publish("news", 7..8, 0).await;
    assert_eq!(stream.number().await, 7);
}

/// As Java's client asks without TLS unless told otherwise.
#[tokio::test]
async fn an_offer_to_upgrade_to_http_2_is_passed_over() {
    let node = Node::start(false, "");
    let offer = "Host: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n";
    let mut socket = tokio::net::TcpStream::connect(&node.address).await.unwrap();
    // Given away and back, and at once.
    for (path, said) in [("/health", "\"ok\""), ("/sse?channel=a", "\"connect\"")] {
        socket.write_all(format!("GET {path} HTTP/1.1\r\n{offer}").as_bytes()).await.unwrap();
        let mut heard = String::new();
        while !heard.contains(said) {
            let mut buffer = [0; 4_096];
            let count = in_time(socket.read(&mut buffer)).await.unwrap();
            assert!(count > 0 && !heard.contains(" 4"), "{heard}");
            heard += &String::from_utf8_lossy(&buffer[..count]);
        }
        assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    }
    let mut first = tokio::net::TcpStream::connect(&node.address).await.unwrap();
    first.write_all(format!("GET /sse?channel=a HTTP/1.1\r\n{offer}").as_bytes()).await.unwrap();
    let mut heard = [0; 12];
    in_time(first.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"HTTP/1.1 200");
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_by_the_thousand_leave_nothing() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let mut stream = connection.listen("news").await;
    let descriptors = node.descriptors();
    for _ in 0..50 {
        let mut begun = Vec::new();
        for _ in 0..100 {
            begun.push(connection.begin(Method::GET, "/sse?channel=news", &[], "").await.unwrap());
        }
        // Some have an answer by then, and some have none.
        drop(begun.split_off(50));
        for pending in begun {
            drop(Answer::of(pending).await);
        }
    }
    node.until("tidegate_clients", 1).await;
    node.until("tidegate_connections", 1).await;
    assert!(node.descriptors() <= descriptors + 4, "{} of {descriptors}", node.descriptors());
    node.publish("news", 0..1, 0).await;
    assert_eq!(stream.number().await, 0);
}

#[tokio::test]
async fn a_trusted_proxy_vouches_for_a_user() {
    for (trusted, status) in [("127.0.0.1", 200), ("10.0.0.1", 400)] {
        let client = format!(
            "[client]\nallow_anonymous = false\nuser_id_http_header = \"X-User-Id\"\ntrusted_proxies = [\"{trusted}\"]\n"
        );
        let node = Node::start(true, &client);
        let mut connection = Connection::open(&node).await;
        let answer = connection.ask(Method::GET, "/sse?channel=news", &[("x-user-id", "ann")], "").await;
        assert_eq!(answer.status, status, "trusting {trusted}");
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_session_and_no_other() {
    let node = Node::start(false, "");
    let mut connection = Connection::open(&node).await;
    let stream = connection.listen("news").await;
    let mut other = connection.listen("news").await;
    node.until("tidegate_clients", 2).await;
    drop(stream);
    node.until("tidegate_clients", 1).await;
    node.publish("news", 0..1, 0).await;
    assert_eq!(other.number().await, 0);
    drop((other, connection));
    node.until("tidegate_clients", 0).await;
    node.until("tidegate_http2_connections", 0).await;
}
