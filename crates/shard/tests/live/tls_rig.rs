//! Nodes that speak TLS, and clients of the same library that do.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, ClientConnection, ServerConfig, StreamOwned, SupportedProtocolVersion};
use tidegate_core::config::CoreOptions;
use tidegate_shard::{Acceptor, ShardOptions};
use tidegate_tls_client::{Trust, client_config_with};

use crate::rig::{Client, Node};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Both versions, for whatever has to work with each.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A server's configuration with a new certificate.
pub(crate) fn server_config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    config.send_tls13_tickets = 1;
    Arc::new(config)
}

/// A node that speaks TLS, and what makes its sessions.
pub(crate) fn node_with(options: CoreOptions, change: impl Fn(&mut ShardOptions)) -> (Node, Arc<Acceptor>) {
    node_of(1, options, change)
}

/// The same with several shards.
pub(crate) fn node_of(shards: u16, options: CoreOptions, change: impl Fn(&mut ShardOptions)) -> (Node, Arc<Acceptor>) {
    let acceptor = Arc::new(Acceptor::new(server_config(&VERSIONS), None));
    let taken = acceptor.clone();
    let node = Node::start_with(shards, options, move |options| {
        options.tls = Some(taken.clone());
        change(options);
    });
    (node, acceptor)
}

pub(crate) fn node() -> Node {
    node_with(crate::rig::options(), |_| {}).0
}

/// A client's configuration for one version of TLS.
pub(crate) fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = client_config_with(&Trust::Anybody, aws_lc_rs::default_provider(), &[version]).unwrap();
    config.enable_secret_extraction = true;
    config
}

/// The client's end of a connection that was not begun yet.
pub(crate) fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    ClientConnection::new(Arc::new(client_config(version)), "localhost".try_into().unwrap()).unwrap()
}

pub(crate) fn connect(node: &Node) -> TcpStream {
    let socket = TcpStream::connect(node.address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// A connection on which nothing was said yet: the handshake comes with the first bytes.
pub(crate) fn stream(node: &Node, version: &'static SupportedProtocolVersion) -> Stream {
    StreamOwned::new(client(version), connect(node))
}

/// A session over a WebSocket over TLS.
pub(crate) fn session(stream: Stream) -> Client<Stream> {
    let mut client = Client::upgrading(stream, "/connection/websocket", None);
    client.say(r#"{"id":1,"connect":{}}"#);
    assert!(client.reply(1)["connect"]["client"].is_string());
    client
}

/// Completes the handshake, and returns what the client has to say last in it, which was not sent yet.
pub(crate) fn shake_hands(client: &mut ClientConnection, socket: &mut TcpStream) -> Vec<u8> {
    loop {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).unwrap();
        }
        if !client.is_handshaking() {
            return records;
        }
        socket.write_all(&records).unwrap();
        assert!(client.read_tls(socket).unwrap() > 0, "the end came within the handshake");
        client.process_new_packets().unwrap();
    }
}

/// What comes until the peer says that it ends.
pub(crate) fn read_all(stream: &mut Stream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
