//! A node that speaks TLS, as its clients and its operator see it.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion, version};
use tidegate_framing::websocket::{Decoder, Event, Limits, Opcode, Role, handshake, write_masked_frame};
use tidegate_tls_client::{Trust, client_config_with};

use common::{DEADLINE, address_in, signal, terminate, tidegate};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A node that dies with the test.
struct Node {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let always = ["serve", "--broker", "memory:", "--shards", "1", "--listen", "127.0.0.1:0", "--dev"];
        let mut command = tidegate();
        let command = command.args(always).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &(line + "\n"))
        });
        let mut node = Self { child, address: String::new(), log };
        let line = node.wait_for("address=");
        node.address = address_in(&line);
        node
    }

    /// The first line of its log with `word` in it.
    fn wait_for(&self, word: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log.lock().unwrap().clone();
            if let Some(line) = log.lines().find(|line| line.contains(word)) {
                return line.to_owned();
            }
            assert!(begun.elapsed() < DEADLINE, "no {word:?} in {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn connect(&self, version: &'static SupportedProtocolVersion) -> Stream {
        let mut config = client_config_with(&Trust::Anybody, aws_lc_rs::default_provider(), &[version]).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        StreamOwned::new(tls, socket)
    }

    /// The SHA-256 fingerprint of the certificate that a new connection is shown.
    fn fingerprint(&self) -> String {
        let mut stream = self.connect(&version::TLS13);
        assert!(get(&mut stream, "/health").contains("ok"));
        fingerprint(&stream)
    }

    fn metric(&self, name: &str) -> u64 {
        let text = get(&mut self.connect(&version::TLS13), "/metrics");
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn terminate(&mut self) -> i32 {
        terminate(&mut self.child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fingerprint(stream: &Stream) -> String {
    sha256(&stream.conn.peer_certificates().unwrap()[0])
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// One response: its head and its body, which has a length.
fn response(stream: &mut Stream) -> (String, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn get(stream: &mut Stream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let (head, body) = response(stream);
    assert!(head.starts_with("http/1.1 200 "), "{head}{body}");
    body
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A WebSocket on a stream.
struct WebSocket {
    stream: Stream,
    decoder: Decoder,
}

impl WebSocket {
    fn open(mut stream: Stream) -> Self {
        let request = handshake::request("localhost", "/connection/websocket", [7; 16], None);
        stream.write_all(&request).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        let mut socket = Self { stream, decoder: Decoder::new(Role::Client) };
        socket.say(r#"{"id":1,"connect":{}}"#);
        socket.say(r#"{"id":2,"subscribe":{"channel":"news"}}"#);
        socket.hear_until(r#""id":2"#);
        socket
    }

    fn say(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_masked_frame(&mut frame, Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
        self.stream.write_all(&frame).unwrap();
    }

    /// Reads until something was said; everything until then.
    fn hear_until(&mut self, word: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(word) {
            let mut buffer = [0; 64 << 10];
            let count = self.stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "ended without {word}: {heard}");
            let limits = Limits { message_bytes_max: 16 << 20 };
            let mut on_event = |event: Event<'_>| {
                heard += &format!("{event:?}\n").replace('\\', "");
                std::ops::ControlFlow::Continue(())
            };
            self.decoder.decode(&mut buffer[..count], &limits, &mut on_event).unwrap();
        }
        heard
    }
}

#[test]
fn a_certificate_made_for_the_run_serves_everything() {
    let mut node = Node::start(&["--tls-self-signed"]);
    let line = node.wait_for("fingerprint");
    assert!(line.contains("WARN") && line.contains(&node.fingerprint()), "{line}");
    for version in [&version::TLS12, &version::TLS13] {
        let mut stream = node.connect(version);
        assert!(get(&mut stream, "/").contains("<html"));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(get(&mut stream, "/metrics").contains("tidegate_tls_handshakes_total"));
        // Several at once, of the shard's kind and of the other.
        let publish = post("/api/publish", r#"{"channel":"other","data":1}"#);
        let info = post("/api/info", "{}");
        stream.write_all([&*publish, &*info, &*publish, &*info].concat().as_bytes()).unwrap();
        let answers: Vec<String> = (0..4).map(|_| response(&mut stream).1).collect();
        assert!(answers[0].contains("offset") && answers[1].contains("nodes") && answers[2].contains("offset"));
        // The connection goes back to the shards, and its TLS with it.
        let mut socket = WebSocket::open(stream);
        let mut other = node.connect(version);
        other.write_all(post("/api/publish", r#"{"channel":"news","data":"hello"}"#).as_bytes()).unwrap();
        assert!(response(&mut other).1.contains("offset"));
        socket.hear_until("hello");
    }
    assert_eq!(node.metric("tidegate_tls_handshakes_failed_total"), 0);
    assert_eq!(node.terminate(), 0);
    assert!(!node.log.lock().unwrap().contains("PRIVATE KEY"));
}

#[test]
fn large_bodies_and_answers_and_a_slow_reader_of_them() {
    let node = Node::start(&["--tls-self-signed"]);
    let mut stream = node.connect(&version::TLS13);
    let text = "x".repeat(900_000);
    for _ in 0..8 {
        stream.write_all(post("/api/publish", &format!(r#"{{"channel":"big","data":"{text}"}}"#)).as_bytes()).unwrap();
        assert!(response(&mut stream).1.contains("offset"));
    }
    stream.write_all(post("/api/history", r#"{"channel":"big","limit":100}"#).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let (head, body) = response(&mut stream);
    assert!(head.starts_with("http/1.1 200 ") && body.len() > 8 * text.len(), "{head}");
    assert!(get(&mut stream, "/health").contains("ok"), "the connection goes on");
}

#[test]
fn commands_of_a_stream_come_as_requests() {
    let node = Node::start(&["--tls-self-signed"]);
    let mut stream = node.connect(&version::TLS13);
    stream.write_all(post("/connection/http_stream", r#"{"id":1,"connect":{}}"#).as_bytes()).unwrap();
    let mut heard = String::new();
    let mut read_until = |word: &str| {
        while !heard.contains(word) {
            let mut buffer = [0; 4_096];
            let count = stream.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "{heard}");
            heard += &String::from_utf8_lossy(&buffer[..count]);
        }
        heard.clone()
    };
    let said = read_until("\"node\":\"").clone();
    let field = |name: &str| {
        let at = said.rfind(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        said[at..].split('"').next().unwrap().to_owned()
    };
    let (session, uid) = (field("session"), field("node"));
    let commands = r#"{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}"#;
    let request = format!(r#"{{"session":"{session}","node":"{uid}","data":"{commands}"}}"#);
    let mut other = node.connect(&version::TLS12);
    other.write_all(post("/emulation", &request).as_bytes()).unwrap();
    let mut head = [0; 12];
    other.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 204");
    read_until("\"subscribe\":");
}

#[test]
fn a_job_of_the_demo_reports_over_tls() {
    let node = Node::start(&["--tls-self-signed"]);
    let mut stream = node.connect(&version::TLS13);
    stream.write_all(post("/demo/jobs", "").as_bytes()).unwrap();
    let (head, body) = response(&mut stream);
    assert!(head.starts_with("http/1.1 200 "), "{head}{body}");
    let channel = body.split_once("\"channel\":\"").unwrap().1.split('"').next().unwrap().to_owned();
    let begun = Instant::now();
    loop {
        let request = format!(r#"{{"channel":"{channel}","limit":10}}"#);
        stream.write_all(post("/api/history", &request).as_bytes()).unwrap();
        if response(&mut stream).1.contains("\"step\":2") {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "the job says nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_is_told_to_leave_sees_a_close_and_the_end_of_tls() {
    let mut node = Node::start(&["--tls-self-signed"]);
    let mut socket = WebSocket::open(node.connect(&version::TLS13));
    let drained = std::thread::spawn(move || node.terminate());
    socket.hear_until("3001");
    let mut frame = Vec::new();
    write_masked_frame(&mut frame, Opcode::Close, &3001u16.to_be_bytes(), [1, 2, 3, 4]);
    socket.stream.write_all(&frame).unwrap();
    // Without a close_notify this is an error.
    assert_eq!(socket.stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    assert_eq!(drained.join().unwrap(), 0);
}

/// Files with a new certificate in a directory.
struct Files {
    dir: tempfile::TempDir,
    config: PathBuf,
}

fn write(path: &Path, text: &str) {
    // As it should be done: whole, or not at all.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

impl Files {
    fn new(more: &str) -> Self {
        Self::looked_at_every("100ms", more)
    }

    fn looked_at_every(interval: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("tidegate.toml");
        let files = Self { dir, config };
        files.renew();
        let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
        let tls =
            format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\nreload_interval = \"{interval}\"\n{more}\n");
        write(&files.config, &tls);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new certificate and its key; returns its fingerprint.
    fn renew(&self) -> String {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        write(&self.path("cert.pem"), &made.cert.pem());
        write(&self.path("key.pem"), &made.signing_key.serialize_pem());
        sha256(made.cert.der())
    }

    fn node(&self) -> Node {
        Node::start(&["--config", self.config.to_str().unwrap()])
    }
}

#[test]
fn a_new_certificate_is_taken_into_use_and_a_broken_one_is_not() {
    let files = Files::new("");
    let node = files.node();
    let first = node.fingerprint();
    let mut old = WebSocket::open(node.connect(&version::TLS13));
    let second = files.renew();
    node.wait_for(&second);
    assert_ne!(first, second);
    assert_eq!(node.fingerprint(), second);
    assert_eq!((node.metric("tidegate_tls_reloads_total"), node.metric("tidegate_tls_reloads_failed_total")), (1, 0));
    // A key of another certificate.
    let whole = std::fs::read_to_string(files.path("cert.pem")).unwrap();
    let third = files.renew();
    let right = std::fs::read_to_string(files.path("cert.pem")).unwrap();
    write(&files.path("cert.pem"), &whole);
    let line = node.wait_for("ERROR");
    assert!(line.contains("stays in use") && line.contains("is not the key of the first certificate"), "{line}");
    assert_eq!(node.fingerprint(), second);
    assert!(node.metric("tidegate_tls_reloads_failed_total") >= 1);
    // Half a file, no file, and the right ones again.
    write(&files.path("cert.pem"), &right[..right.len() / 2]);
    node.wait_for("cert.pem is damaged");
    std::fs::remove_file(files.path("cert.pem")).unwrap();
    node.wait_for("cannot read");
    assert_eq!(node.fingerprint(), second);
    write(&files.path("cert.pem"), &right);
    node.wait_for(&third);
    assert_eq!(node.fingerprint(), third);
    // Who was there before all of it still is.
    let mut stream = node.connect(&version::TLS13);
    stream.write_all(post("/api/publish", r#"{"channel":"news","data":"still here"}"#).as_bytes()).unwrap();
    assert!(response(&mut stream).1.contains("offset"));
    old.hear_until("still here");
}

#[test]
fn files_are_looked_at_when_a_signal_says_so() {
    let files = Files::looked_at_every("1h", "");
    let node = files.node();
    let first = node.fingerprint();
    let second = files.renew();
    assert_eq!(node.fingerprint(), first, "nobody has looked yet");
    signal(&node.child, "-HUP");
    node.wait_for(&second);
    assert_eq!(node.fingerprint(), second);
    std::fs::remove_file(files.path("key.pem")).unwrap();
    signal(&node.child, "-HUP");
    node.wait_for("the certificate before stays in use");
    assert_eq!(node.fingerprint(), second);
    assert_eq!((node.metric("tidegate_tls_reloads_total"), node.metric("tidegate_tls_reloads_failed_total")), (1, 1));
}

#[test]
fn openssl_is_refused_a_renegotiation_and_gets_an_answer_all_the_same() {
    let node = Node::start(&["--tls-self-signed"]);
    let openssl = |arguments: &[&str], input: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &node.address]).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl");
        // It ends by itself where it is refused.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let said = openssl(&["-tls1_2"], "R\n");
    assert!(said.contains("no renegotiation"), "{said}");
    for version in ["-tls1_2", "-tls1_3"] {
        let said =
            openssl(&[version, "-ign_eof"], "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        assert!(said.contains("{\"status\":\"ok\"}"), "{said}");
    }
}

#[test]
fn an_old_version_is_refused_where_it_is_too_old() {
    let files = Files::new("min_version = \"1.3\"");
    let node = files.node();
    let mut stream = node.connect(&version::TLS12);
    let asked = stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").and_then(|()| stream.read(&mut [0]).map(drop));
    assert!(asked.unwrap_err().to_string().contains("ProtocolVersion"));
    node.fingerprint();
    assert_eq!(node.metric("tidegate_tls_handshakes_failed_total"), 1);
}

#[test]
fn the_command_line_publishes_and_subscribes_when_it_knows_the_server() {
    let files = Files::new("");
    let node = files.node();
    let (url, port) = (format!("https://{}", node.address), node.address.rsplit_once(':').unwrap().1);
    let run = |arguments: &[&str]| tidegate().args(arguments).output().unwrap();
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let unknown = run(&["publish", "--url", &url, "news", "1"]);
    assert!(!unknown.status.success() && said(&unknown).contains("--ca-file"), "{}", said(&unknown));
    let trusted = run(&["publish", "--url", &url, "--insecure", "news", "{\"n\":1}"]);
    assert!(trusted.status.success(), "{}", said(&trusted));
    let ca = files.path("cert.pem");
    let by_name = format!("wss://localhost:{port}");
    let from_start = ["news", "--since", "0", "--count", "1", "--ca-file", ca.to_str().unwrap()];
    let heard = run(&[&["subscribe", "--url", &by_name], &from_start[..]].concat());
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "{\"n\":1}\n", "{}", said(&heard));
    let wrong_name = run(&[&["subscribe", "--url", &url], &from_start[..]].concat());
    assert!(!wrong_name.status.success(), "the certificate is for another name");
}

#[test]
fn what_is_wrong_with_the_files_is_told_at_the_start() {
    type Spoil = fn(&Files);
    let table: [(&str, Spoil, &str); 6] = [
        ("no certificate", |f| std::fs::remove_file(f.path("cert.pem")).unwrap(), "tls.certificate: cannot read"),
        ("no key", |f| std::fs::remove_file(f.path("key.pem")).unwrap(), "tls.key: cannot read"),
        ("an empty certificate", |f| write(&f.path("cert.pem"), ""), "has no certificate"),
        (
            "a certificate for a key",
            |f| drop(std::fs::copy(f.path("cert.pem"), f.path("key.pem"))),
            "has no private key",
        ),
        (
            "a key that is encrypted",
            |f| {
                write(
                    &f.path("key.pem"),
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
                )
            },
            "is encrypted",
        ),
        (
            "another key",
            |f| {
                let before = std::fs::read_to_string(f.path("key.pem")).unwrap();
                f.renew();
                write(&f.path("key.pem"), &before);
            },
            "is not the key of the first certificate",
        ),
    ];
    for (name, spoil, expected) in table {
        let files = Files::new("");
        spoil(&files);
        let config = files.config.to_str().unwrap().to_owned();
        let output = tidegate()
            .args(["serve", "--broker", "memory:", "--listen", "127.0.0.1:0", "--config", &config])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{name}: {said}");
    }
}
