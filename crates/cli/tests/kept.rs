//! Connections that are kept after a request: a node may have many more of them than it serves at once.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{DEADLINE, address_in, terminate, tidegate};
use tidegate_server::http::BODIES_MAX;

/// More than a node serves at once and lets wait.
const MANY: usize = 4_600;
/// Bytes of a request that come with the next ones.
const CUT: usize = 5;
/// More than both systems keep of a connection.
const PIPELINED_MAX: usize = 24 << 20;
/// Until a connection on which nothing is asked is quiet, and some more.
const QUIET: Duration = Duration::from_millis(600);

/// A node that dies with the test.
struct Node {
    child: Child,
    address: String,
}

impl Node {
    fn start() -> Self {
        let mut command = tidegate();
        command.args(["serve", "--broker", "memory:", "--shards", "2", "--listen", "127.0.0.1:0", "--dev"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = address_in(&lines.find(|line| line.contains("address=")).unwrap());
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn ends_in_order(mut self) {
        assert_eq!(terminate(&mut self.child), 0);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole answer, in lower case.
fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Asks, and reads the answer.
fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn get(stream: &mut TcpStream, path: &str) -> String {
    ask(stream, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
}

#[test]
fn kept_connections_keep_nobody_out() {
    let node = Node::start();
    let begun = Instant::now();
    let mut kept: Vec<_> = (0..MANY).map(|_| node.connect()).collect();
    for stream in &mut kept {
        // Where all are being served, the node says so; whoever asks again is served.
        while !get(stream, "/health").starts_with("http/1.1 200") {
            assert!(begun.elapsed() < DEADLINE, "no room");
            *stream = node.connect();
        }
    }
    std::thread::sleep(QUIET);
    assert!(get(&mut node.connect(), "/ready").starts_with("http/1.1 200"));
    for stream in kept.iter_mut().step_by(100) {
        assert!(get(stream, "/ready").starts_with("http/1.1 200"), "a quiet connection is served as before");
    }
    node.ends_in_order();
}

#[test]
fn bodies_that_do_not_come_keep_nobody_out() {
    let node = Node::start();
    let whole = "POST /emulation HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 11\r\n\r\nno commands";
    let unfinished = &whole[..whole.len() - 1];
    let mut held = Vec::new();
    let mut hold = |count: usize| {
        while held.len() < count {
            // No more than the node lets wait, so that it takes them all.
            for _ in 0..100 {
                let mut stream = node.connect();
                stream.write_all(unfinished.as_bytes()).unwrap();
                held.push(stream);
            }
            for path in ["/health", "/ready"] {
                let begun = Instant::now();
                assert!(get(&mut node.connect(), path).starts_with("http/1.1 200"), "no room for {path}");
                assert!(begun.elapsed() < Duration::from_secs(2), "{path} waited");
            }
        }
    };
    hold(BODIES_MAX + 200);
    let refused = ask(&mut node.connect(), unfinished);
    assert!(refused.starts_with("http/1.1 503") && refused.contains("retry-after: 1\r\n"), "{refused}");
    let asked = ask(&mut node.connect(), whole);
    assert!(asked.starts_with("http/1.1 400"), "a body that is there needs no place: {asked}");
    hold(MANY);
    let answers: Vec<_> = held.iter_mut().map(answer).collect();
    let count = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    let waited_for = count("http/1.1 408");
    assert!(waited_for >= BODIES_MAX, "{waited_for}");
    assert_eq!(waited_for + count("http/1.1 503"), answers.len());
    node.ends_in_order();
}

#[test]
fn a_quiet_connection_takes_any_request_in_any_pieces() {
    let node = Node::start();
    let mut stream = node.connect();
    let publish = "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 27\r\n\r\n{\"channel\":\"a\",\"data\":\"12\"}";
    for at in [0, 1, 20, publish.len() - 1] {
        stream.write_all(&publish.as_bytes()[..at]).unwrap();
        std::thread::sleep(QUIET);
        assert!(ask(&mut stream, &publish[at..]).contains("offset"));
        let info = "POST /api/info HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(&info.as_bytes()[..at.min(50)]).unwrap();
        std::thread::sleep(QUIET);
        assert!(ask(&mut stream, &info[at.min(50)..]).contains("nodes"));
    }
    // Half of the next request keeps nobody's answer back.
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /hea").unwrap();
    assert!(answer(&mut stream).starts_with("http/1.1 200"));
    std::thread::sleep(QUIET);
    assert!(ask(&mut stream, "lth HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").starts_with("http/1.1 200"));
    node.ends_in_order();
}

#[test]
fn who_asks_on_and_on_and_reads_nothing_is_not_answered_on_and_on() {
    let node = Node::start();
    let mut stream = node.connect();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    // Written so that the last request of each write is cut: there is always something to read.
    let request = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let (cut, rest) = request.split_at(request.len() - CUT);
    let requests = format!("{rest}{}{cut}", request.repeat(2_000));
    let (mut sent, mut at) = (0, CUT);
    let stalled = loop {
        match stream.write(&requests.as_bytes()[at..]) {
            Ok(n) => (sent, at) = (sent + n, (at + n) % requests.len()),
            Err(error) => break error.kind(),
        }
        assert!(sent < PIPELINED_MAX, "requests are taken whose answers nobody reads");
    };
    assert_eq!(stalled, std::io::ErrorKind::WouldBlock);
    assert!(get(&mut node.connect(), "/health").starts_with("http/1.1 200"));
}

#[test]
fn who_says_nothing_more_hears_the_answer() {
    let node = Node::start();
    for _ in 0..50 {
        let mut stream = node.connect();
        let publish = "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 27\r\n\r\n{\"channel\":\"a\",\"data\":\"12\"}";
        stream.write_all(publish.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(answer(&mut stream).contains("offset"));
    }
    node.ends_in_order();
}

#[test]
fn a_slow_reader_gets_all_of_its_answer() {
    let node = Node::start();
    let mut stream = node.connect();
    let data = "x".repeat(900_000);
    for _ in 0..8 {
        let body = format!(r#"{{"channel":"big","data":"{data}"}}"#);
        let head = format!("POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
        assert!(ask(&mut stream, &(head + &body)).contains("offset"));
    }
    let history = r#"{"channel":"big","limit":100}"#;
    let head = format!("POST /api/history HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", history.len());
    stream.write_all((head + history).as_bytes()).unwrap();
    std::thread::sleep(QUIET);
    assert!(answer(&mut stream).len() > 8 * data.len());
    assert!(get(&mut stream, "/health").starts_with("http/1.1 200"), "the connection goes on");
    node.ends_in_order();
}
