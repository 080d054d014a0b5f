//! The HTTP side over real sockets: bytes in, bytes out, on the memory broker.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_broker::{BrokerUrl, BuildContext};
use tidegate_core::Hub;
use tidegate_framing::http::Head;
use tidegate_framing::websocket::Origins;
use tidegate_server::config::{Config, Sources};
use tidegate_server::http::{self, AppState, HandedOver, Publishes};
use tidegate_server::registry;
use tidegate_shard::RequestHandler as _;
use tidegate_types::limits::{REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};
use tokio::sync::{mpsc, watch};

const CONFIG: &str = r#"
[broker]
url = "memory:"
[api]
keys = ["k1", "k2"]
body_bytes_max = "4KiB"
[namespaces.jobs]
history_size = 100
history_ttl = "1h"
[namespaces.foreign]
read_only = true
[namespaces.strict]
publication_data_format = "json"
"#;

/// A node's HTTP side without shards: a thread stands in for them and hands every connection over after its first bytes.
struct Node {
    address: SocketAddr,
    state: Arc<AppState>,
    shutdown: watch::Sender<bool>,
    runtime: tokio::runtime::Runtime,
}

fn node(config: &str) -> Node {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config::load(Sources { file: config.parse().unwrap(), ..Sources::default() }).unwrap();
    let url = BrokerUrl::parse("memory:").unwrap();
    let factory = registry::factory("memory").unwrap();
    let broker = runtime.block_on(factory.build(&url, BuildContext::default())).unwrap();
    let hub = Hub::new(config.core.clone(), broker, &factory.default_log(&url), Vec::new(), runtime.handle().clone());
    runtime.block_on(hub.open()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let origins = config.origins_of(Origins::parse(["https://app.example"]).unwrap());
    let state = Arc::new(AppState::new(hub, &config, origins, address, None));
    let (handed, receiver) = mpsc::channel(http::HANDED_OVER_MAX);
    let (shutdown, down) = watch::channel(false);
    runtime.spawn(http::serve(receiver, state.clone(), down));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = vec![0; 16];
            let count = stream.read(&mut head).unwrap();
            head.truncate(count);
            stream.set_nonblocking(true).unwrap();
            if handed.blocking_send(HandedOver { head, ..HandedOver::new(stream.into()) }).is_err() {
                return;
            }
        }
    });
    Node { address, state, shutdown, runtime }
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Node {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn call(&self, method: &str, body: &Value) -> Response {
        let body = body.to_string();
        let mut stream = self.connect();
        send(&mut stream, &format!("/api/{method}"), "X-API-Key: k1\r\n", &body)
    }

    fn get(&self, path: &str) -> Response {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        receive(&mut stream)
    }
}

fn send(stream: &mut TcpStream, path: &str, headers: &str, body: &str) -> Response {
    write!(stream, "POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    receive(stream)
}

fn receive(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Response { status: head[9..12].parse().unwrap(), body: String::from_utf8(body).unwrap(), head }
}

#[test]
fn without_keys_only_the_nodes_own_pages_may_call() {
    let node = node("dev = true");
    for (host, origin, status) in [
        ("127.0.0.1:8000", None, 200),
        ("evil.example:8000", None, 200),
        ("127.0.0.1:8000", Some("http://127.0.0.1:8000"), 200),
        ("localhost", Some("http://localhost"), 200),
        ("127.0.0.1:8000", Some("http://127.0.0.1:3000"), 403),
        ("127.0.0.1:8000", Some("https://evil.example"), 403),
        ("127.0.0.1:8000", Some("null"), 403),
        // The name leads here, and the page says so.
        ("evil.example:8000", Some("http://evil.example:8000"), 403),
    ] {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let mut stream = node.connect();
        write!(stream, "POST /api/info HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: 2\r\n\r\n{{}}").unwrap();
        assert_eq!(receive(&mut stream).status, status, "{host} {origin}");
        let mut stream = node.connect();
        write!(stream, "GET /connection/init HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n").unwrap();
        assert_eq!(receive(&mut stream).status == 403, status == 403, "{host} {origin}");
    }
}

#[test]
fn publish_answers_with_the_position_and_history_has_it() {
    let node = node(CONFIG);
    let first = node.call("publish", &json!({"channel": "jobs:1", "data": {"step": 1}, "tags": {"a": "b"}})).json();
    assert_eq!(first["result"]["offset"], 1, "{first}");
    let second = node.call("publish", &json!({"channel": "jobs:1", "b64data": "/w=="})).json();
    assert_eq!(second["result"]["offset"], 2, "{second}");
    assert_eq!(second["result"]["epoch"], first["result"]["epoch"]);
    let history = node.call("history", &json!({"channel": "jobs:1", "limit": 10})).json();
    assert_eq!(
        history["result"],
        json!({
            "publications": [
                {"data": {"step": 1}, "offset": 1, "tags": {"a": "b"}},
                {"data": "/w==", "offset": 2, "tags": {"tidegate-encoding": "base64"}},
            ],
            "offset": 2,
            "epoch": first["result"]["epoch"],
        })
    );
    let since = json!({"channel": "jobs:1", "limit": -1, "since": {"offset": 1, "epoch": first["result"]["epoch"]}});
    let history = node.call("history", &since).json();
    assert_eq!(history["result"]["publications"].as_array().unwrap().len(), 1, "{history}");
    let position_only = node.call("history", &json!({"channel": "jobs:1"})).json();
    assert_eq!(position_only["result"]["publications"], json!([]));
}

#[test]
fn a_retried_publish_answers_with_the_first_position() {
    let node = node(CONFIG);
    let publish = |body: Value| node.call("publish", &body).json()["result"]["offset"].clone();
    assert_eq!(publish(json!({"channel": "jobs:1", "data": 1, "idempotency_key": "k"})), 1);
    assert_eq!(publish(json!({"channel": "jobs:1", "data": 1, "idempotency_key": "k"})), 1);
    assert_eq!(publish(json!({"channel": "jobs:1", "data": 2, "version": 7})), 2);
    assert_eq!(publish(json!({"channel": "jobs:1", "data": 2, "version": 6, "version_epoch": null})), 2);
}

#[test]
fn broadcast_and_batch_answer_each_part() {
    let node = node(CONFIG);
    let broadcast = node.call("broadcast", &json!({"channels": ["jobs:1", "none:1", "jobs:2"], "data": "x"})).json();
    let responses = broadcast["result"]["responses"].as_array().unwrap();
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2]["result"]["offset"], 1);
    for parallel in [false, true] {
        let commands = json!([
            {"publish": {"channel": "jobs:3", "data": 1}}, {"history": {"channel": "jobs:2"}}, {"info": {}}, {"rpc": {}},
            {"broadcast": {"channels": ["jobs:1"], "data": null}},
        ]);
        let batch = node.call("batch", &json!({"commands": commands, "parallel": parallel})).json();
        let replies = batch["replies"].as_array().unwrap_or_else(|| panic!("{batch}"));
        assert!(replies[0]["publish"]["offset"].is_u64(), "{batch}");
        assert_eq!(replies[1]["history"]["offset"], 1);
        assert_eq!(replies[2]["info"]["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(replies[3]["error"]["code"], 107);
        assert!(replies[4]["broadcast"]["responses"][0]["result"]["offset"].is_u64());
    }
    let many: Vec<_> = (0..300).map(|i| format!("jobs:{i}")).collect();
    let broadcast = node.call("broadcast", &json!({"channels": many, "data": 1})).json();
    assert_eq!(broadcast["result"]["responses"].as_array().unwrap().len(), 300);
}

#[test]
fn errors_say_what_to_do() {
    let node = node(CONFIG);
    let error = |method, body: Value| {
        let response = node.call(method, &body);
        assert_eq!(response.status, 200, "{}", response.body);
        let error = response.json()["error"].clone();
        (error["code"].as_u64().unwrap(), error["message"].as_str().unwrap().to_owned())
    };
    let (code, text) = error("publish", json!({"channel": "none:1", "data": 1}));
    assert_eq!(
        (code, text.as_str()),
        (102, "channel \"none:1\": its namespace is not configured, add it under [namespaces]")
    );
    assert_eq!(error("publish", json!({"channel": "", "data": 1})), (107, "channel name is empty".to_owned()));
    assert_eq!(error("publish", json!({"channel": "jobs:1"})), (107, "data is empty".to_owned()));
    assert_eq!(error("publish", json!({"channel": "x".repeat(300), "data": 1})).0, 107);
    assert_eq!(error("publish", json!({"channel": "jobs:1", "b64data": "!"})).0, 107);
    assert_eq!(error("publish", json!({"channel": "strict:1", "b64data": "/w=="})).0, 107);
    assert_eq!(error("publish", json!({"channel": "strict:1", "b64data": "Iv8i"})).0, 107);
    assert_eq!(error("publish", json!({"channel": "foreign:1", "data": 1})).0, 108);
    assert_eq!(error("publish", json!({"channel": "jobs:1", "data": 1, "skip_history": true})).0, 108);
    assert_eq!(error("history", json!({"channel": "strict:1"})).0, 108);
    assert_eq!(error("history", json!({"channel": "jobs:1", "since": {"offset": 1, "epoch": "other"}})).0, 112);
    assert_eq!(error("broadcast", json!({"data": 1})).0, 107);
}

#[test]
fn the_transport_error_mode_uses_http_statuses() {
    let node = node(CONFIG);
    let mut stream = node.connect();
    let headers = "Authorization: apikey k2\r\nX-Centrifugo-Error-Mode: transport\r\n";
    let response = send(&mut stream, "/api/publish", headers, r#"{"channel":"none:1","data":1}"#);
    assert_eq!((response.status, &response.json()["code"]), (404, &json!(102)), "{}", response.body);
    let response = send(&mut stream, "/api/publish", headers, r#"{"channel":"jobs:1","data":1}"#);
    assert_eq!(response.status, 200);
    let body = r#"{"channel":"jobs:1","since":{"offset":1,"epoch":"x"}}"#;
    assert_eq!(send(&mut stream, "/api/history", headers, body).status, 416);
    for (path, body) in [("/api/publish", "{"), ("/api/batch", r#"{"commands":1}"#)] {
        let response = send(&mut node.connect(), path, headers, body);
        assert_eq!((response.status, &response.json()["code"]), (400, &json!(107)), "{}", response.body);
        let response = send(&mut node.connect(), path, "X-API-Key: k2\r\n", body);
        assert_eq!((response.status, &response.json()["error"]["code"]), (400, &json!(107)), "{}", response.body);
    }
}

#[test]
fn keys_are_asked_for_in_three_forms() {
    let node = node(CONFIG);
    let status = |path: &str, headers: &str| send(&mut node.connect(), path, headers, "{}").status;
    assert_eq!(status("/api/info", "X-API-Key: k2\r\n"), 200);
    assert_eq!(status("/api/info", "Authorization: apikey k1\r\n"), 200);
    assert_eq!(status("/api/info?a=b&api_key=k%31", ""), 200);
    assert_eq!(status("/api/info", ""), 401);
    assert_eq!(status("/api/info?api_key=k1", "X-API-Key: wrong\r\n"), 401);
    assert_eq!(status("/api/info", "Authorization: Bearer k1\r\n"), 401);
}

#[test]
fn bad_requests_are_told_where_and_the_connection_goes_on() {
    let node = node(CONFIG);
    let mut stream = node.connect();
    let key = "X-API-Key: k1\r\n";
    let response = send(&mut stream, "/api/publish", key, "{\"channel\": \"jobs:1\",\n data: 1}");
    let text = response.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(response.status, 400);
    assert!(text.starts_with("the body is no publish request: ") && text.contains("line 2 column 2"), "{text}");
    let response = send(&mut stream, "/api/pubish", key, "{}");
    assert_eq!(response.status, 404);
    assert!(response.body.contains("POST /api/{publish,broadcast,history,history_remove,"), "{}", response.body);
    assert_eq!(send(&mut stream, "/api/info", key, "").status, 200);
    write!(stream, "GET /api/info HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let response = receive(&mut stream);
    assert_eq!(response.status, 405);
    assert!(response.head.contains("allow: post"), "{}", response.head);
}

#[test]
fn every_head_of_a_connection_is_bounded() {
    let node = node(CONFIG);
    let status = |head: &str| {
        let mut stream = node.connect();
        assert_eq!(send(&mut stream, "/api/info", "X-API-Key: k1\r\n", "{}").status, 200);
        write!(stream, "GET /health HTTP/1.1\r\nHost: a\r\n{head}").unwrap();
        receive(&mut stream).status
    };
    let value = "x".repeat(REQUEST_HEAD_BYTES_MAX);
    assert_eq!(status(&format!("X-Long: {}\r\n\r\n", &value[100..])), 200);
    assert_eq!(status(&format!("X-Long: {value}\r\n\r\n")), 431);
    assert_eq!(status(&format!("X-Long: {value}")), 431, "also where it does not end");
    // One of them is the host.
    assert_eq!(status(&("a: b\r\n".repeat(REQUEST_HEADERS_MAX - 1) + "\r\n")), 200);
    assert_eq!(status(&("a: b\r\n".repeat(REQUEST_HEADERS_MAX) + "\r\n")), 431);
}

#[test]
fn a_large_body_is_refused() {
    let node = node(CONFIG);
    let key = "X-API-Key: k1\r\n";
    let response = send(&mut node.connect(), "/api/publish", key, &"x".repeat(5_000));
    assert_eq!(response.status, 413, "{}", response.body);
    let mut stream = node.connect();
    write!(stream, "POST /api/publish HTTP/1.1\r\nHost: a\r\n{key}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..5 {
        let _ = write!(stream, "400\r\n{}\r\n", "x".repeat(1_024));
    }
    assert_eq!(receive(&mut stream).status, 413);
}

#[test]
fn a_chunked_body_is_put_together() {
    let node = node(CONFIG);
    let mut stream = node.connect();
    write!(stream, "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: k1\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for part in [r#"{"chan"#, r#"nel":"jobs:1","#, r#""data":[1]}"#] {
        write!(stream, "{:x}\r\n{part}\r\n", part.len()).unwrap();
        stream.flush().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    write!(stream, "0\r\n\r\n").unwrap();
    assert_eq!(receive(&mut stream).json()["result"]["offset"], 1);
}

#[test]
fn health_ready_and_metrics() {
    let node = node(CONFIG);
    assert_eq!(node.get("/health").status, 200);
    assert_eq!(node.get("/ready").status, 503);
    node.state.set_ready(true);
    let ready = node.get("/ready");
    assert_eq!((ready.status, ready.json()), (200, json!({"status": "ready", "breaker": "closed"})));
    node.call("publish", &json!({"channel": "jobs:1", "data": 1}));
    let metrics = node.get("/metrics");
    assert!(metrics.head.contains("application/openmetrics-text"), "{}", metrics.head);
    for line in [
        "tidegate_publishes_total 1",
        "tidegate_publish_to_ack_seconds_count 1",
        "tidegate_publish_to_ack_seconds_bucket{le=\"+Inf\"} 1",
        "tidegate_broker_breaker 0",
        "tidegate_broker_trouble 0",
        "# EOF",
    ] {
        assert!(metrics.body.contains(line), "{line} is not in\n{}", metrics.body);
    }
    assert_eq!(node.get("/connection/websocket").status, 426);
    assert_eq!(node.get("/nothing").status, 404);
}

#[test]
fn a_page_may_open_its_connection_early() {
    let node = node(CONFIG);
    let ask = |origin: &str| {
        let mut stream = node.connect();
        write!(stream, "GET /connection/init HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n").unwrap();
        receive(&mut stream)
    };
    let answer = ask("https://app.example");
    assert_eq!((answer.status, &*answer.body), (200, "{}"));
    assert!(answer.head.contains("access-control-allow-origin: https://app.example\r\n"), "{}", answer.head);
    assert!(answer.head.contains("cache-control: no-store\r\n"), "{}", answer.head);
    assert_eq!(ask("https://evil.example").status, 403);
}

#[test]
fn shutdown_ends_idle_connections() {
    let node = node(CONFIG);
    let mut stream = node.connect();
    assert_eq!(send(&mut stream, "/api/info", "X-API-Key: k1\r\n", "{}").status, 200);
    node.shutdown.send(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn without_keys_the_api_is_off() {
    let node = node("[broker]\nurl = \"memory:\"");
    let response = send(&mut node.connect(), "/api/info", "X-API-Key: k1\r\n", "{}");
    assert_eq!(response.json()["error"], json!({"code": 101, "message": "the API is off: set api.keys"}));
}

/// What a shard would answer itself: the response, or `None` where it hands the request over.
fn on_the_shard(node: &Node, request: &str) -> Option<String> {
    let publishes = Publishes::new(node.state.clone(), node.runtime.handle().clone());
    let head = Head::parse(request.as_bytes()).unwrap().unwrap();
    let body = publishes.body_bytes(&head)?;
    let body = request.as_bytes()[head.bytes()..][..body].to_vec();
    Some(String::from_utf8(node.runtime.block_on(publishes.handle(&head, body.into()))).unwrap())
}

#[test]
fn a_shard_answers_plain_publishes_as_the_http_side_does() {
    let node = node(CONFIG);
    let request = |headers: &str, body: &str| {
        format!("POST /api/publish HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let response = on_the_shard(&node, &request("X-API-Key: k1\r\n", r#"{"channel":"jobs:a","data":1}"#)).unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), "{response}");
    assert!(response.contains(r#"{"result":{"offset":1,"#), "{response}");
    let response = on_the_shard(&node, &request("X-API-Key: k2\r\n", r#"{"channel":"no:a","data":1}"#)).unwrap();
    assert!(response.contains("200 OK") && response.contains(r#""code":102"#), "{response}");
    let response = on_the_shard(&node, &request("x-api-key: k2\r\n", "[]")).unwrap();
    assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{response}");
}

#[test]
fn a_shard_leaves_whatever_is_unusual_to_the_http_side() {
    let node = node(CONFIG);
    let body = r#"{"channel":"jobs:a","data":1}"#;
    for headers in [
        "",
        "X-API-Key: wrong\r\n",
        "X-API-Key: k1\r\nX-API-Key: k1\r\n",
        "Authorization: apikey k1\r\n",
        "X-API-Key: k1\r\nTransfer-Encoding: chunked\r\n",
        "X-API-Key: k1\r\nConnection: close\r\n",
        "X-API-Key: k1\r\nExpect: 100-continue\r\n",
        "X-API-Key: k1\r\nOrigin: http://x\r\n",
        "X-API-Key: k1\r\nX-Centrifugo-Error-Mode: transport\r\n",
        "X-API-Key: k1\r\nContent-Length: 29\r\n",
    ] {
        let request =
            format!("POST /api/publish HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(on_the_shard(&node, &request), None, "{headers}");
    }
    for (line, length) in [
        ("GET /api/publish HTTP/1.1", "29"),
        ("POST /api/publish HTTP/1.0", "29"),
        ("POST /api/broadcast HTTP/1.1", "29"),
        ("POST /api/publish?api_key=k1 HTTP/1.1", "29"),
        ("POST /api/publish HTTP/1.1", "+29"),
        ("POST /api/publish HTTP/1.1", "29, 29"),
        ("POST /api/publish HTTP/1.1", "99999999999999999999999"),
        ("POST /api/publish HTTP/1.1", "5000"),
    ] {
        let request = format!("{line}\r\nX-API-Key: k1\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(on_the_shard(&node, &request), None, "{line} {length}");
    }
}

#[test]
fn what_is_revoked_is_checked_and_kept() {
    let node = node(CONFIG);
    let ok = |method, body: Value| assert_eq!(node.call(method, &body).json(), json!({"result": {}}), "{method}");
    ok("block_user", json!({"user": "u"}));
    ok("unblock_user", json!({"user": "u"}));
    ok("revoke_token", json!({"uid": "t1", "expire_at": null}));
    ok("invalidate_user_tokens", json!({"user": "u", "issued_before": 1}));
    let metrics = node.get("/metrics").body;
    assert!(metrics.contains("\ntidegate_rules 2\n"), "a token and a user's tokens: {metrics}");
    for (method, body, why) in [
        ("block_user", json!({}), "user is missing"),
        ("revoke_token", json!({"user": "u"}), "uid is missing"),
        ("revoke_token", json!({"uid": "t", "expire_at": 1}), "expire_at has passed"),
        (
            "revoke_token",
            json!({"uid": "t", "expire_at": 9_999_999_999_i64}),
            "expire_at is more than 365 days from now",
        ),
    ] {
        let error = node.call(method, &body).json()["error"].clone();
        assert_eq!((&error["code"], error["message"].as_str().unwrap()), (&json!(107), why));
    }
    let batch =
        json!({"commands": [{"revoke_token": {"uid": "t2"}}, {"subscribe": {"user": "u", "channel": "none:a"}}]});
    let replies = node.call("batch", &batch).json()["replies"].clone();
    assert_eq!((&replies[0]["revoke_token"], &replies[1]["error"]["code"]), (&json!({}), &json!(102)));
}

#[test]
fn a_scoped_key_opens_its_part_and_no_more() {
    let node = node(&format!(
        "{CONFIG}\n[api.scoped.jobs]\nkey = \"kj\"\nchannels = [\"jobs:*\"]\n[api.scoped.watch]\nkey = \"kw\"\nmethods = [\"info\"]\n"
    ));
    let code = |key: &str, method: &str, body: Value| {
        let mut stream = node.connect();
        let key = format!("X-API-Key: {key}\r\n");
        send(&mut stream, &format!("/api/{method}"), &key, &body.to_string()).json()["error"]["code"].clone()
    };
    assert_eq!(code("kj", "publish", json!({"channel": "jobs:1", "data": 1})), Value::Null);
    assert_eq!(code("kj", "publish", json!({"channel": "strict:1", "data": 1})), 103);
    assert_eq!(code("kj", "info", json!({})), 103);
    let headers = "X-API-Key: kj\r\nX-Centrifugo-Error-Mode: transport\r\n";
    let refused = send(&mut node.connect(), "/api/info", headers, "{}");
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!(103)), "{}", refused.body);
    assert_eq!(code("kw", "info", json!({})), Value::Null);
    let batch = json!({"commands": [{"publish": {"channel": "jobs:1", "data": 1}}, {"info": {}}]});
    let mut stream = node.connect();
    let replies = send(&mut stream, "/api/batch", "X-API-Key: kj\r\n", &batch.to_string()).json()["replies"].clone();
    assert!(replies[0]["publish"].is_object());
    assert_eq!(replies[1]["error"]["message"], "the API key \"jobs\" may not call info");
}

/// Whether a value is as a schema of the document says. As much of JSON Schema as the document uses.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&reference[1..]).unwrap(), value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let all: Vec<_> = choices.iter().map(|choice| fits(document, choice, value)).collect();
        return if all.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{value} fits none: {all:?}")) };
    }
    let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
    if let Some(name) = schema["required"].as_array().into_iter().flatten().find(missing) {
        return Err(format!("{value} has no {name}"));
    }
    match value {
        Value::Object(members) if !schema["properties"].is_null() || !schema["additionalProperties"].is_null() => {
            members.iter().try_for_each(|(name, member)| {
                let known = schema["properties"].get(name).or(schema.get("additionalProperties"));
                fits(document, known.ok_or(format!("{name} is not described"))?, member)
            })
        }
        Value::Object(_) if schema["type"] == "object" && value != &json!({}) => {
            Err(format!("{value} is not described"))
        }
        Value::Array(items) => items.iter().try_for_each(|item| fits(document, &schema["items"], item)),
        _ => Ok(()),
    }
}

#[test]
fn answers_are_as_the_document_says() {
    let node = node(CONFIG);
    let response = node.get("/openapi.json");
    assert_eq!(response.status, 200);
    let document = response.json();
    node.call("publish", &json!({"channel": "jobs:1", "data": {"a": 1}, "tags": {"b": "c"}}));
    let calls = [
        ("publish", json!({"channel": "jobs:1", "data": 1})),
        ("publish", json!({"channel": "none:1", "data": 1})),
        ("broadcast", json!({"channels": ["jobs:1", "none:1"], "data": 1})),
        ("history", json!({"channel": "jobs:1", "limit": 10})),
        ("presence", json!({"channel": "jobs:1"})),
        ("presence_stats", json!({"channel": "jobs:1"})),
        ("channels", json!({})),
        ("info", json!({})),
        ("unsubscribe", json!({"user": "u", "channel": "jobs:1"})),
        ("batch", json!({"commands": [{"info": {}}]})),
    ];
    for (method, body) in calls {
        let answer = node.call(method, &body).json();
        let schema = &document["paths"][format!("/api/{method}")]["post"]["responses"]["200"]["content"];
        let schema = &schema["application/json"]["schema"];
        fits(&document, schema, &answer).unwrap_or_else(|why| panic!("{method}: {why}: {answer}"));
    }
}
