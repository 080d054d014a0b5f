//! The thread that shakes hands and echoes, and the CPU time that it needs for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

use crate::clock::{Deadline, thread_cpu_ns};
use crate::cpus;
use crate::socket::Poll;

/// What a client sends, and gets back.
pub(super) const MESSAGE: &[u8; 128] = &[b'x'; 128];

/// The listener's id in the set; connections have smaller ones.
const LISTENER: usize = usize::MAX;

/// What a node with `tls.self_signed` uses: a certificate for P-256, one ticket, nothing kept.
pub(super) fn tls() -> Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).context("make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The answering side.
pub(super) struct Echo {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    echoed: usize,
}

impl Echo {
    pub(super) fn listen(tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, tls })
    }

    pub(super) fn address(&self) -> Result<SocketAddrV4> {
        match self.listener.local_addr()? {
            SocketAddr::V4(address) => Ok(address),
            SocketAddr::V6(address) => bail!("listening on {address}"),
        }
    }

    /// Answers `n` clients; returns the nanoseconds of CPU that this thread needed.
    pub(super) fn answer(&self, n: usize, cpu: Option<usize>, deadline: Deadline) -> Result<u64> {
        cpu.map(cpus::pin).transpose()?;
        let mut poll = Poll::new()?;
        poll.add(&self.listener, LISTENER)?;
        let (mut connections, mut done) = (Vec::with_capacity(n), 0);
        let before = thread_cpu_ns();
        while done < n {
            ensure!(!deadline.is_past(), "only {done} of {n} clients were answered");
            poll.wait(Duration::from_millis(100))?;
            let mut event = 0;
            while let Some((id, readiness)) = poll.ready(event) {
                event += 1;
                if id == LISTENER {
                    self.accept(&poll, &mut connections)?;
                } else if readiness.read {
                    let connection: &mut Connection = connections.get_mut(id).context("an event of nobody")?;
                    done += usize::from(connection.advance()?);
                }
            }
        }
        Ok(thread_cpu_ns() - before)
    }

    fn accept(&self, poll: &Poll, connections: &mut Vec<Connection>) -> Result<()> {
        while let Some((stream, _)) = now(self.listener.accept())? {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            poll.add(&stream, connections.len())?;
            let tls = self.tls.clone().map(ServerConnection::new).transpose()?.map(Box::new);
            connections.push(Connection { stream, tls, echoed: 0 });
        }
        Ok(())
    }
}

impl Connection {
    /// Takes what is there and echoes it; returns whether the message is complete with it.
    fn advance(&mut self) -> Result<bool> {
        let (before, mut buffer) = (self.echoed, [0; 4_096]);
        while let Some(n) = self.read(&mut buffer)? {
            // Who has its echo may go.
            if n == 0 {
                break;
            }
            self.write(&buffer[..n])?;
            self.echoed += n;
        }
        Ok(before < MESSAGE.len() && self.echoed >= MESSAGE.len())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let Some(tls) = &mut self.tls else { return now(self.stream.read(buffer)) };
        loop {
            if let Some(n) = now(tls.reader().read(buffer))? {
                return Ok(Some(n));
            }
            match now(tls.read_tls(&mut self.stream))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {}
            }
            tls.process_new_packets().context("handshake")?;
            send(tls, &mut self.stream)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(self.stream.write_all(bytes)?) };
        tls.writer().write_all(bytes)?;
        send(tls, &mut self.stream)
    }
}

/// Sends what is ready. It is little: a fresh socket takes it.
fn send(tls: &mut ServerConnection, stream: &mut TcpStream) -> Result<()> {
    while tls.wants_write() {
        tls.write_tls(stream)?;
    }
    Ok(())
}

/// What a call on a non-blocking socket found, if anything was there.
pub(super) fn now<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
