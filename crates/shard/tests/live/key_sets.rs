//! Commands whose token needs a key that is not here yet.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tidegate_auth::{Endpoint, JwksOptions, Keeping};
use tidegate_core::config::CoreOptions;
use tidegate_framing::websocket::{Opcode, write_masked_frame};

use crate::rig::{Client, Heard, Node, options};

const REFRESH_INTERVAL: Duration = Duration::from_millis(200);

/// A key, and an endpoint that has it.
struct Provider {
    key: EncodingKey,
    options: CoreOptions,
}

impl Provider {
    /// Answers each request after `delay`.
    fn start(delay: Duration) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let body = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let _ = socket.read(&mut [0; 4096]);
                std::thread::sleep(delay);
                let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        let mut options = options();
        options.client.allow_anonymous = false;
        let timeout = Duration::from_secs(30);
        let keeping = Keeping { timeout, refresh_interval: REFRESH_INTERVAL, ..Keeping::default() };
        let endpoint = Endpoint::parse(&url).unwrap();
        options.token.jwks = vec![JwksOptions { endpoint, issuer: None, ca_file: None, keeping }];
        Self { key: EncodingKey::from_ed_der(pkcs8.as_ref()), options }
    }

    fn token(&self, kid: &str, claims: Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn connect(token: &str) -> Value {
    json!({"id": 1, "connect": {"token": token}})
}

#[test]
fn commands_wait_behind_a_connect_that_waits_for_its_key() {
    let provider = Provider::start(Duration::from_millis(300));
    let node = Node::start(1, provider.options.clone());
    let mut client = Client::open(node.address);
    let subscription = provider.token("k", json!({"sub": "u1", "channel": "$b"}));
    let subscribe = json!({"id": 2, "subscribe": {"channel": "a"}});
    client.say(&format!("{}\n{subscribe}", connect(&provider.token("k", json!({"sub": "u1"})))));
    client.say(&json!({"id": 3, "subscribe": {"channel": "$b", "token": subscription}}).to_string());
    client.say(&json!({"id": 4, "publish": {"channel": "a", "data": {"n": 1}}}).to_string());
    assert!(client.message()["connect"].is_object());
    let mut replies = Vec::new();
    while replies.len() < 3 {
        let message = client.message();
        assert!(message["error"].is_null(), "{message}");
        replies.extend(message["id"].as_i64());
    }
    replies.sort_unstable();
    assert_eq!(replies, [2, 3, 4]);
}

#[test]
fn an_unknown_key_ends_the_connection_and_no_other() {
    let provider = Provider::start(Duration::from_millis(100));
    let node = Node::start(1, provider.options.clone());
    let mut forged = Client::open(node.address);
    forged.say(&format!(
        "{}\n{}",
        connect(&provider.token("other", json!({"sub": "u1"}))),
        r#"{"id":2,"subscribe":{"channel":"a"}}"#
    ));
    let mut client = Client::open(node.address);
    client.say(&connect(&provider.token("k", json!({"sub": "u1"}))).to_string());
    assert!(client.message()["connect"].is_object());
    assert!(matches!(forged.hear(), Heard::Close(3500, _)));
}

/// Says a command whose key is unknown, and waits for what ends the wait: the code of an error or of a close.
fn code_after_wait(client: &mut Client, command: &Value, at_least: Duration) -> u64 {
    // Until an unknown key may have the set fetched again.
    std::thread::sleep(REFRESH_INTERVAL + Duration::from_millis(50));
    let begun = Instant::now();
    client.say(&command.to_string());
    let code = loop {
        match client.hear() {
            Heard::Message(message) if message == json!({}) => client.say("{}"),
            Heard::Message(message) => {
                assert_eq!(message["id"], command["id"], "{message}");
                break message["error"]["code"].as_u64().unwrap();
            }
            Heard::Close(code, _) => break u64::from(code),
            other => panic!("{other:?}"),
        }
    };
    assert!(begun.elapsed() >= at_least, "{:?}", begun.elapsed());
    code
}

#[test]
fn every_command_with_a_token_can_wait() {
    let delay = Duration::from_millis(100);
    let provider = Provider::start(delay);
    let node = Node::start(1, provider.options.clone());
    let token = |kid| provider.token(kid, json!({"sub": "u1", "channel": "$a"}));
    let subscriber = || {
        let mut client = Client::open(node.address);
        client.say(&connect(&provider.token("k", json!({"sub": "u1"}))).to_string());
        assert!(client.message()["connect"].is_object());
        client.say(&json!({"id": 2, "subscribe": {"channel": "$a", "token": token("k")}}).to_string());
        assert!(client.message()["subscribe"].is_object());
        client
    };
    let mut client = subscriber();
    let subscribe = json!({"id": 3, "subscribe": {"channel": "$b", "token": token("x")}});
    assert_eq!(code_after_wait(&mut client, &subscribe, delay), 103);
    let refresh = json!({"id": 4, "refresh": {"token": provider.token("y", json!({"sub": "u1"}))}});
    assert_eq!(code_after_wait(&mut client, &refresh, delay), 3500);
    let mut client = subscriber();
    let sub_refresh = json!({"id": 5, "sub_refresh": {"channel": "$a", "token": token("z")}});
    assert_eq!(code_after_wait(&mut client, &sub_refresh, delay), 3500);
}

#[test]
fn a_pong_that_lies_unread_while_a_command_waits_is_not_missed() {
    let delay = Duration::from_millis(1_500);
    let provider = Provider::start(delay);
    let mut options = provider.options.clone();
    // The first ping comes 0.5 to 1 s after the connect, while the command waits.
    (options.client.ping_interval, options.client.pong_timeout) = (Duration::from_secs(1), Duration::from_millis(300));
    let node = Node::start(1, options);
    let mut client = Client::open(node.address);
    client.say(&connect(&provider.token("k", json!({"sub": "u1"}))).to_string());
    assert!(client.message()["connect"].is_object());
    let token = provider.token("x", json!({"sub": "u1", "channel": "$a"}));
    let subscribe = json!({"id": 2, "subscribe": {"channel": "$a", "token": token}});
    assert_eq!(code_after_wait(&mut client, &subscribe, delay), 103);
}

#[test]
fn what_waits_is_bounded() {
    let provider = Provider::start(Duration::from_secs(30));
    let node = Node::start(1, provider.options.clone());
    let mut client = Client::open(node.address);
    // All in one read: later ones are not made while a command waits.
    let mut frames = Vec::new();
    let connect = connect(&provider.token("k", json!({}))).to_string();
    write_masked_frame(&mut frames, Opcode::Text, connect.as_bytes(), [1, 2, 3, 4]);
    for _ in 0..5 {
        write_masked_frame(&mut frames, Opcode::Text, ["{}"; 1_000].join("\n").as_bytes(), [1, 2, 3, 4]);
    }
    client.socket.write_all(&frames).unwrap();
    assert!(matches!(client.hear(), Heard::Close(3013, _)));
}

#[test]
fn a_fetch_that_takes_too_long_is_a_temporary_error() {
    let provider = Provider::start(Duration::from_secs(30));
    let node = Node::start(1, provider.options.clone());
    let mut client = Client::open(node.address);
    let begun = Instant::now();
    client.say(&format!("{}\n{}", connect(&provider.token("k", json!({}))), r#"{"id":2,"subscribe":{"channel":"a"}}"#));
    let answer = client.message();
    assert_eq!((answer["id"].as_i64(), answer["error"]["code"].as_i64()), (Some(1), Some(100)));
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
fn who_waits_for_its_key_is_not_stale_until_that_has_come_to_nothing() {
    let mut provider = Provider::start(Duration::from_secs(30));
    // Sooner than the wait ends.
    provider.options.client.stale_close_delay = Duration::from_secs(2);
    let node = Node::start(1, provider.options.clone());
    let mut client = Client::open(node.address);
    client.say(&connect(&provider.token("k", json!({}))).to_string());
    assert_eq!(client.message()["error"]["code"], 100);
    // It may connect again, but not whenever it likes.
    assert_eq!(client.close_code(), 3502);
    assert_eq!(node.hub.shard_metrics()[0].closed_stale.get(), 1);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let provider = Provider::start(Duration::from_millis(500));
    let node = Node::start(1, provider.options.clone());
    let token = provider.token("k", json!({"sub": "u1"}));
    let mut leaving = Client::open(node.address);
    leaving.say(&connect(&token).to_string());
    let mut client = Client::open(node.address);
    client.say(&connect(&token).to_string());
    drop(leaving);
    assert!(client.message()["connect"].is_object());
    node.until("forgotten", |hub| hub.shard_metrics()[0].connections.get() == 1);
    node.until("one client", |hub| hub.shard_metrics()[0].clients.get() == 1);
}

#[test]
fn an_endpoint_that_is_away_is_a_temporary_error() {
    let mut provider = Provider::start(Duration::ZERO);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    provider.options.token.jwks[0].endpoint = Endpoint::parse(&format!("http://{nobody}/keys")).unwrap();
    let node = Node::start(1, provider.options.clone());
    let mut client = Client::open(node.address);
    client.say(&connect(&provider.token("k", json!({}))).to_string());
    assert_eq!(client.message()["error"]["code"], 100);
}
