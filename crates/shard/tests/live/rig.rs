//! A node without its HTTP side, and a client that speaks frames.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_broker::{Broker, BrokerFactory, BrokerUrl, BuildContext};
use tidegate_core::config::{CoreOptions, NamespaceOptions};
use tidegate_core::{Hub, Order, PublishOptions, Rule, UplinkError, Verifier};
use tidegate_dialect_centrifuge::{Json, JsonOneWay, Protobuf};
use tidegate_framing::websocket::{Decoder, Event, Limits, Opcode, Origins, Role, handshake, write_masked_frame};
use tidegate_shard::{Choice, Framing, HandedOver, Route, ShardOptions, Shards, ShardsBuilder, Wire, listen};
use tidegate_testkit::hole_log::HoleLog;
use tidegate_types::{ChannelName, StreamPosition};
use tokio::runtime::Runtime;

pub(crate) struct Node {
    pub(crate) hub: Arc<Hub>,
    pub(crate) address: SocketAddr,
    pub(crate) handed_over: Arc<Mutex<Vec<HandedOver>>>,
    pub(crate) shards: Option<Shards>,
    runtime: Runtime,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Everything open, with history.
pub(crate) fn open_namespace() -> NamespaceOptions {
    NamespaceOptions {
        history_size: 100_000,
        history_ttl: Duration::from_secs(600),
        force_recovery: true,
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        allow_history_for_client: true,
        allow_history_for_anonymous: true,
        ..Default::default()
    }
}

pub(crate) fn options() -> CoreOptions {
    let mut options = CoreOptions { version: "test", default_namespace: Some(open_namespace()), ..Default::default() };
    options.client.allow_anonymous = true;
    options
}

impl Node {
    pub(crate) fn start(shards: u16, options: CoreOptions) -> Self {
        Self::start_with(shards, options, |_| {})
    }

    /// The same with other options of the shards.
    pub(crate) fn start_with(shards: u16, options: CoreOptions, change: impl Fn(&mut ShardOptions)) -> Self {
        let runtime = runtime();
        let url = BrokerUrl::parse("memory:").unwrap();
        let broker = tidegate_broker_memory::FACTORY.build(&url, BuildContext::default());
        let broker = runtime.block_on(broker).unwrap();
        Self::start_over(broker, runtime, shards, options, change)
    }

    /// A node on a log that the test has in its hands.
    pub(crate) fn on_log(log: &HoleLog, options: CoreOptions) -> Self {
        Self::start_over(Arc::new(log.clone()), runtime(), 1, options, |_| {})
    }

    /// The same with other options of the shards.
    pub(crate) fn on_log_with(log: &HoleLog, options: CoreOptions, change: impl Fn(&mut ShardOptions)) -> Self {
        Self::start_over(Arc::new(log.clone()), runtime(), 1, options, change)
    }

    /// A node on a broker that the test made.
    pub(crate) fn on_broker(broker: Arc<dyn Broker>, options: CoreOptions) -> Self {
        Self::start_over(broker, runtime(), 1, options, |_| {})
    }

    fn start_over(
        broker: Arc<dyn Broker>,
        runtime: Runtime,
        shards: u16,
        options: CoreOptions,
        change: impl Fn(&mut ShardOptions),
    ) -> Self {
        let builder = ShardsBuilder::new(shards).unwrap();
        let hub = Hub::new(options.clone(), broker, &"main".into(), builder.inboxes(), runtime.handle().clone());
        runtime.block_on(hub.open()).unwrap();
        let handed_over = Arc::new(Mutex::new(Vec::new()));
        let taker = handed_over.clone();
        let json = |wire| Choice { wire, protocol: "centrifuge-json", query: &[], content_type: "" };
        let (protocol, content_type) = ("centrifuge-protobuf", "application/octet-stream");
        let protobuf = |wire| Choice { wire, protocol, query: &["format=protobuf"], content_type };
        let mut shard_options = ShardOptions {
            client: options.client.clone(),
            origins: Origins::parse(&options.client.allowed_origins).unwrap(),
            wires: vec![
                Wire::new(Arc::new(Json), Framing::WebSocket),
                Wire::new(Arc::new(Protobuf), Framing::WebSocket),
                Wire::new(Arc::new(Json), Framing::Stream),
                Wire::new(Arc::new(Protobuf), Framing::Stream),
                Wire::new(Arc::new(Json), Framing::Events),
                Wire::new(Arc::new(JsonOneWay), Framing::WebSocket),
                Wire::new(Arc::new(JsonOneWay), Framing::Stream),
                Wire::new(Arc::new(JsonOneWay), Framing::ResumableEvents),
            ],
            routes: vec![
                Route { path: "/connection/websocket".into(), choices: vec![json(0), protobuf(1)] },
                Route { path: "/connection/http_stream".into(), choices: vec![json(2), protobuf(3)] },
                Route { path: "/connection/sse".into(), choices: vec![json(4)] },
                Route { path: "/connection/uni_websocket".into(), choices: vec![json(5)] },
                Route { path: "/connection/uni_http_stream".into(), choices: vec![json(6)] },
                Route { path: "/sse".into(), choices: vec![json(7)] },
            ],
            handler: None,
            hand_over: Arc::new(move |socket| {
                taker.lock().unwrap().push(socket);
                Ok(())
            }),
            tls: None,
            http2: None,
            drain_per_second: 1_000,
        };
        change(&mut shard_options);
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let verifier = Arc::new(Verifier::new(&options.token));
        verifier.start(runtime.handle());
        let shards = builder.start(&hub, &verifier, &Arc::new(shard_options), listener, "test").unwrap();
        Self { hub, address, handed_over, shards: Some(shards), runtime }
    }

    pub(crate) fn publish(&self, channel: &str, data: &str) -> StreamPosition {
        let channel = ChannelName::parse(channel).unwrap();
        let data = data.to_owned().into();
        self.runtime.block_on(self.hub.publish(&channel, data, PublishOptions::default())).unwrap()
    }

    /// Waits for what has to run where the node's tasks do.
    pub(crate) fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Has an order carried out.
    pub(crate) fn order(&self, order: Order) {
        self.runtime.block_on(self.hub.control().unwrap().order(order)).unwrap();
    }

    /// Channels with subscribers.
    pub(crate) fn channels(&self, pattern: &str) -> std::collections::BTreeMap<String, u64> {
        self.runtime.block_on(self.hub.control().unwrap().channels(pattern)).unwrap()
    }

    /// Whether anybody is present in a channel.
    pub(crate) fn present(&self, channel: &str) -> bool {
        let channel = ChannelName::parse(channel).unwrap();
        !self.runtime.block_on(self.hub.control().unwrap().presence(&channel)).unwrap().is_empty()
    }

    pub(crate) fn remove_history(&self, channel: &str) {
        self.runtime.block_on(self.hub.remove_history(&ChannelName::parse(channel).unwrap())).unwrap();
    }

    /// Has something revoked.
    pub(crate) fn revoke(&self, rule: Rule) {
        self.runtime.block_on(self.hub.rules().unwrap().decide(rule)).unwrap();
    }

    /// Commands of a client whose connection carries none.
    pub(crate) fn uplink(&self, node: &str, session: &str, commands: &str) -> Result<(), UplinkError> {
        self.runtime.block_on(self.hub.uplink(node, session, commands.to_owned().into()))
    }

    pub(crate) fn connect(&self) -> Client {
        let mut client = Client::open(self.address);
        client.say(r#"{"id":1,"connect":{}}"#);
        assert!(client.reply(1)["connect"]["client"].is_string());
        client
    }

    /// Waits until something holds, with a deadline.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Hub) -> bool) {
        let begun = Instant::now();
        while !holds(&self.hub) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what} within 10 s");
            std::thread::yield_now();
        }
    }
}

/// A connection token of a user, for nodes with the secret `secret`.
fn token(user: &str) -> String {
    signed(&serde_json::json!({ "sub": user }))
}

/// A token that says something else.
pub(crate) fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// A session of a user, and its public id.
pub(crate) fn session(node: &Node, user: &str) -> (Client, String) {
    let mut client = Client::open(node.address);
    client.say(&format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(user)));
    let id = client.reply(1)["connect"]["client"].as_str().unwrap().to_owned();
    (client, id)
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(shards) = self.shards.take() {
            shards.stopper().stop();
            shards.join();
        }
    }
}

/// What a client hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Message(Value),
    Binary(Vec<u8>),
    Close(u16, String),
    Ping,
    Pong(Vec<u8>),
    End,
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    decoder: Decoder,
    heard: std::collections::VecDeque<Heard>,
    /// Text frames so far.
    pub(crate) frames: usize,
}

const NONCE: [u8; 16] = [7; 16];

impl Client {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        Self::asking(socket, "/connection/websocket", None)
    }

    /// A client that asks for a sub-protocol.
    pub(crate) fn asking(socket: TcpStream, target: &str, protocol: Option<&str>) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self::upgrading(socket, target, protocol)
    }
}

impl<S: Read + Write> Client<S> {
    /// The same on anything that carries bytes.
    pub(crate) fn upgrading(mut socket: S, target: &str, protocol: Option<&str>) -> Self {
        let request = handshake::request("127.0.0.1", target, NONCE, protocol);
        socket.write_all(&request).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let chosen = answer.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(chosen, protocol);
        Self { socket, decoder: Decoder::new(Role::Client), heard: Default::default(), frames: 0 }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.frame(Opcode::Text, text.as_bytes());
    }

    pub(crate) fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::new();
        write_masked_frame(&mut frame, opcode, payload, [1, 2, 3, 4]);
        self.socket.write_all(&frame).unwrap();
    }

    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            let mut buffer = vec![0; 256 << 10];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(n) => self.take(&mut buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Heard::End,
                Err(error) => panic!("nothing to hear: {error}"),
            }
        }
    }

    fn take(&mut self, bytes: &mut [u8]) {
        let limits = Limits { message_bytes_max: 64 << 20 };
        let (heard, frames) = (&mut self.heard, &mut self.frames);
        let mut on_event = |event: Event<'_>| {
            match event {
                Event::Text(text) => {
                    *frames += 1;
                    heard
                        .extend(text.lines().map(|l| Heard::Message(serde_json::from_str(l).expect("one JSON value"))));
                }
                Event::Binary(bytes) => heard.push_back(Heard::Binary(bytes.to_vec())),
                Event::Close(frame) => {
                    let (code, reason) = frame.map_or((0, ""), |f| (f.code, f.reason));
                    heard.push_back(Heard::Close(code, reason.to_owned()));
                }
                Event::Pong(payload) => heard.push_back(Heard::Pong(payload.to_vec())),
                Event::Ping(_) => heard.push_back(Heard::Ping),
            }
            std::ops::ControlFlow::Continue(())
        };
        self.decoder.decode(bytes, &limits, &mut on_event).unwrap();
    }

    pub(crate) fn binary(&mut self) -> Vec<u8> {
        match self.hear() {
            Heard::Binary(bytes) => bytes,
            other => panic!("binary was expected, not {other:?}"),
        }
    }

    pub(crate) fn message(&mut self) -> Value {
        match self.hear() {
            Heard::Message(value) => value,
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    /// The reply to a command; anything else before it is a mistake.
    pub(crate) fn reply(&mut self, id: u64) -> Value {
        let value = self.message();
        assert_eq!(value["id"], id, "{value}");
        value
    }

    pub(crate) fn subscribe(&mut self, id: u64, channel: &str, since: Option<(u64, &str)>) -> Value {
        let recover = since
            .map_or(String::new(), |(offset, epoch)| format!(r#","recover":true,"offset":{offset},"epoch":"{epoch}""#));
        self.say(&format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"{recover}}}}}"#));
        self.reply(id)["subscribe"].clone()
    }

    /// The next publication: its data.
    pub(crate) fn publication(&mut self) -> Value {
        let value = self.message();
        assert!(value["push"]["pub"].is_object(), "{value}");
        value["push"]["pub"]["data"].clone()
    }

    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            match self.hear() {
                Heard::Close(code, _) => return code,
                Heard::Message(_) | Heard::Binary(_) | Heard::Ping | Heard::Pong(_) => {}
                Heard::End => panic!("ended without a close"),
            }
        }
    }
}
