//! A node as a process, and clients that speak HTTP/2 to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use tidegate_tls_client::{Trust, client_config_with};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// Everything may be kept and recovered.
const CONFIG: &str = r#"
[channel.without_namespace]
history_size = 20000
history_ttl = "1h"
force_recovery = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
"#;

/// A node that dies with the test.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: String,
    pub(crate) is_tls: bool,
    _dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn start(is_tls: bool, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("tidegate.toml");
        std::fs::write(&config, format!("{CONFIG}{more}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let inherited: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
        for name in inherited.iter().filter(|n| n.to_string_lossy().starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--broker", "memory:", "--shards", "2", "--listen", "127.0.0.1:0", "--dev", "--config"]);
        command.arg(&config).args(is_tls.then_some("--tls-self-signed"));
        let mut child = command.env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut log = String::new();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("it did not start: {log}"));
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
            log += &(line + "\n");
        };
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Self { child, address, is_tls, _dir: dir }
    }

    /// A number of `/metrics`, over all shards, by HTTP/1.1 without TLS.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut socket = std::net::TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let is = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        text.lines().filter(is).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        let begun = Instant::now();
        while self.metric(name) != value {
            assert!(begun.elapsed() < DEADLINE, "{name} is {} and not {value}", self.metric(name));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Its exit code, once it has ended.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < DEADLINE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Publishes numbers to a channel, each padded by so many bytes, over a connection of its own.
    pub(crate) async fn publish(&self, channel: &str, numbers: std::ops::Range<usize>, padding: usize) {
        let mut connection = Connection::open(self).await;
        let padding = "x".repeat(padding);
        for first in numbers.clone().step_by(100) {
            let commands: Vec<_> = (first..numbers.end.min(first + 100))
                .map(|n| serde_json::json!({"publish": {"channel": channel, "data": {"n": n, "padding": padding}}}))
                .collect();
            let body = serde_json::json!({ "commands": commands }).to_string();
            let (status, text) = connection.post("/api/batch", &body).await;
            assert!(status == 200 && !text.contains("\"error\""), "{text}");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `work` brings, within the deadline.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("in time")
}

/// One HTTP/2 connection of a client.
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    origin: String,
}

impl Connection {
    pub(crate) async fn open(node: &Node) -> Self {
        Self::with(node, &Builder::new()).await
    }

    /// A client whose connection as a whole takes much, and a stream of it what is the default.
    pub(crate) async fn wide(node: &Node) -> Self {
        Self::with(node, Builder::new().initial_connection_window_size(16 << 20)).await
    }

    async fn with(node: &Node, builder: &Builder) -> Self {
        let socket = TcpStream::connect(&node.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        if !node.is_tls {
            return Self::over(socket, builder, format!("http://{}", node.address)).await;
        }
        let tls = handshake(socket, &[b"h2", b"http/1.1"]).await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(tls, builder, format!("https://{}", node.address)).await
    }

    async fn over<S>(stream: S, builder: &Builder, origin: String) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, driver: tokio::spawn(connection), origin }
    }

    /// Asks with these headers.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let pending = self.begin(method, path, headers, body).await.unwrap();
        Answer::of(pending).await
    }

    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        futures_ready(&mut self.send).await?;
        let (pending, mut sending) = self.send.send_request(request.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(body.to_owned().into(), true)?;
        }
        Ok(pending)
    }

    /// Begins a body, and leaves it to the caller to end it.
    pub(crate) async fn begin_body(
        &mut self,
        path: &str,
        body: &str,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let request = Request::post(format!("{}{path}", self.origin));
        futures_ready(&mut self.send).await?;
        let (pending, mut sending) = self.send.send_request(request.body(()).unwrap(), false)?;
        sending.send_data(body.to_owned().into(), false)?;
        Ok((pending, sending))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    /// Status and body of an answer that ends.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> (u16, String) {
        let mut answer = self.ask(Method::POST, path, &[], body).await;
        (answer.status.as_u16(), answer.rest().await.unwrap())
    }

    /// A plain reader of server-sent events that has been answered.
    pub(crate) async fn listen(&mut self, channel: &str) -> Answer {
        let mut answer = self.get(&format!("/sse?channel={channel}")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.message().await["connect"]["client"].is_string());
        answer
    }

    /// `http://HOST:PORT`.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// How the connection ended.
    pub(crate) async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        in_time(self.driver).await.unwrap()
    }
}

async fn futures_ready(send: &mut SendRequest<Bytes>) -> Result<(), h2::Error> {
    std::future::poll_fn(|cx| send.poll_ready(cx)).await
}

/// TLS to a node whose certificate is its own.
pub(crate) async fn handshake(socket: TcpStream, offered: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let versions = [&rustls::version::TLS13];
    let mut config = client_config_with(&Trust::Anybody, aws_lc_rs::default_provider(), &versions).unwrap();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), socket).await.unwrap()
}

/// The head of an answer, and its body as it comes.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: RecvStream,
    text: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(pending: ResponseFuture) -> Self {
        let (head, body) = in_time(pending).await.unwrap().into_parts();
        Self { status: head.status, headers: head.headers, body, text: Vec::new() }
    }

    /// Takes what comes next; false at the end.
    async fn more(&mut self) -> Result<bool, h2::Error> {
        let Some(data) = in_time(self.body.data()).await.transpose()? else { return Ok(false) };
        self.body.flow_control().release_capacity(data.len())?;
        self.text.extend_from_slice(&data);
        Ok(true)
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> Result<String, h2::Error> {
        while self.more().await? {}
        Ok(String::from_utf8(std::mem::take(&mut self.text)).unwrap())
    }

    /// The next line; `None` at the end.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, h2::Error> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).collect();
                return Ok(Some(String::from_utf8(line).unwrap().trim_end().to_owned()));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// The next message, be it an event or a line.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            let line = self.line().await.unwrap().expect("a message and not the end");
            let message = line.strip_prefix("data: ").unwrap_or(&line);
            if message.starts_with('{') && message != "{}" {
                return serde_json::from_str(message).unwrap();
            }
        }
    }

    /// The number in the next publication.
    pub(crate) async fn number(&mut self) -> usize {
        let message = self.message().await;
        let publication = if message["pub"].is_object() { &message["pub"] } else { &message["push"]["pub"] };
        usize::try_from(publication["data"]["n"].as_u64().unwrap_or_else(|| panic!("{message}"))).unwrap()
    }
}
