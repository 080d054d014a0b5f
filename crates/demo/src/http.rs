//! The smallest HTTP/1.1 client that posts JSON over one kept connection.
//!
//! For the worker alone, which stands for any backend: it shows that publishing needs no library. Answers with a
//! `Content-Length` only, all bounded.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use tidegate_tls_client::{Link, Trust};

const TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: u64 = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A client of one server.
pub(crate) struct Client {
    /// `HOST:PORT`.
    authority: String,
    headers: String,
    is_tls: bool,
    connection: Option<BufReader<Link>>,
}

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client of `http://HOST:PORT`, or of this machine by https, that sends these headers with each request. Nothing is connected yet.
    pub(crate) fn new(url: &str, headers: &[(&str, &str)]) -> io::Result<Self> {
        let secured = url.strip_prefix("https://");
        let is_tls = secured.is_some();
        let authority = secured.or_else(|| url.strip_prefix("http://")).map(|rest| rest.trim_end_matches('/'));
        let authority = authority.filter(|rest| !rest.is_empty() && !rest.contains('/'));
        let authority = authority
            .ok_or_else(|| invalid("the url must be http://HOST:PORT, or https://ADDRESS:PORT of this machine"))?;
        let mut lines = String::new();
        for (name, value) in headers {
            if value.contains(['\r', '\n']) {
                return Err(invalid("a header value has a line break"));
            }
            let _ = write!(lines, "{name}: {value}\r\n");
        }
        Ok(Self { authority: authority.to_owned(), headers: lines, is_tls, connection: None })
    }

    /// Posts a JSON body. After an error the next call connects anew.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(match connect(&self.authority)? {
                stream if self.is_tls => secured(stream)?,
                stream => Link::Plain(stream),
            }),
        };
        let (authority, headers, length) = (&self.authority, &self.headers, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let (response, keep) = read_response(&mut connection)?;
        self.connection = keep.then_some(connection);
        Ok(response)
    }
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut last = invalid("the host has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// TLS over a socket to this machine.
///
/// The certificate is not looked at: the worker reports to the server that started it, which may have a new certificate
/// when it comes back, and anybody who can stand in for it on this machine could do so without TLS as well. A real
/// backend has a TLS library with roots, and any address.
fn secured(stream: TcpStream) -> io::Result<Link> {
    if !is_of_this_machine(stream.local_addr()?.ip(), stream.peer_addr()?.ip()) {
        let why = "https is spoken with this machine only: the worker checks no certificate";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Link::tls(stream, &Trust::Anybody, "localhost").map_err(io::Error::other)
}

/// Whether a connection between these two stays here: one to an address of this machine's own comes from that address.
fn is_of_this_machine(local: IpAddr, peer: IpAddr) -> bool {
    peer.is_loopback() || local == peer
}

/// The response, and whether the connection can be used again.
fn read_response<R: io::Read>(from: &mut BufReader<R>) -> io::Result<(Response, bool)> {
    let mut head = from.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid("the answer is not HTTP/1.1"))?;
    let (mut length, mut keep) = (0, true);
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Err(invalid("the answer ends within its head"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(|_| invalid("the content length is no number"))?;
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(invalid("the answer has no content length"));
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(invalid("the answer is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((Response { status, body }, keep))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read as _, Write as _};
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};

    use super::{Client, Response, is_of_this_machine, read_response};

    fn read(text: &str) -> std::io::Result<(Response, bool)> {
        read_response(&mut BufReader::new(text.as_bytes()))
    }

    #[test]
    fn reads_a_response_and_whether_it_was_the_last() {
        let (response, keep) = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}rest").expect("valid");
        assert_eq!((response.status, response.body.as_slice(), keep), (200, b"{}".as_slice(), true));
        let (response, keep) = read("HTTP/1.1 503 Away\r\nConnection: close\r\n\r\n").expect("valid");
        assert_eq!((response.status, response.body.len(), keep), (503, 0, false));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for bad in [
            "",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            read(bad).expect_err(bad);
        }
        for url in ["", "ftp://h:1", "http://", "https://", "http://h:1/path"] {
            assert!(Client::new(url, &[]).is_err(), "{url}");
        }
        assert!(Client::new("http://h:1", &[("X-API-Key", "a\r\nb: c")]).is_err());
    }

    /// An address of this machine that others reach, where it has a network. Nothing is sent.
    fn outward() -> Option<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    #[test]
    fn tls_is_for_this_machine_at_any_of_its_addresses() {
        let remote = |peer: [u8; 4]| is_of_this_machine(IpAddr::from([192, 0, 2, 7]), IpAddr::from(peer));
        assert!(remote([192, 0, 2, 7]) && remote([127, 0, 0, 2]) && !remote([192, 0, 2, 8]));
        for own in [IpAddr::from(Ipv4Addr::LOCALHOST)].into_iter().chain(outward()) {
            let listener = TcpListener::bind((own, 0)).expect("an address of its own");
            let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            let (local, peer) = (stream.local_addr().expect("connected"), stream.peer_addr().expect("connected"));
            assert!(is_of_this_machine(local.ip(), peer.ip()), "{local} to {peer}");
        }
    }

    #[test]
    fn keeps_its_connection_and_connects_again_when_it_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = std::thread::spawn(move || {
            // Two answers on the first connection, which is then closed; one on the second.
            for answers in [2, 1] {
                let (mut socket, _) = listener.accept().expect("a client");
                for _ in 0..answers {
                    let mut buffer = [0; 4096];
                    let read = socket.read(&mut buffer).expect("a request");
                    assert!(buffer[..read].ends_with(b"\r\nX-API-Key: k\r\n\r\n{}"));
                    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("an answer");
                }
            }
        });
        let mut client = Client::new(&url, &[("X-API-Key", "k")]).expect("a url");
        let ok = Response { status: 200, body: b"ok".to_vec() };
        assert_eq!(client.post("/a", "{}").expect("first"), ok);
        assert_eq!(client.post("/a", "{}").expect("second"), ok);
        client.post("/a", "{}").expect_err("closed by the server");
        assert_eq!(client.post("/a", "{}").expect("third"), ok);
        server.join().expect("the server saw what it expected");
    }
}
