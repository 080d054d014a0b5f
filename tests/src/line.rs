//! A line to servers that can be cut: a TCP proxy, cut and mended by the clients under test themselves.
//!
//! For as long as somebody is connected to the control port, nothing passes: what was connected is closed at once, and
//! new connections end where they begin. The one who cuts is sent a byte when it is done. Each connection leads to the next
//! of the servers, so that a client which comes back meets another.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use tidegate_testkit::ports::connect;

/// A running proxy; it takes no more connections when dropped.
#[derive(Debug)]
pub struct Line {
    port: u16,
    control_port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while it is cut.
    connections: Mutex<Option<Vec<TcpStream>>>,
    received: AtomicU64,
    stop: AtomicBool,
}

impl Line {
    /// Opens it to these loopback ports, which take turns.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn open(servers: &[u16]) -> Result<Self> {
        let state = Arc::new(State { connections: Mutex::new(Some(Vec::new())), ..State::default() });
        let servers = servers.to_vec();
        let mut turn = 0;
        let port = listen(state.clone(), move |client, state| {
            turn += usize::from(state.join(client, servers[turn % servers.len()])?);
            Ok(())
        })?;
        let control_port = listen(state.clone(), |mut control, state| {
            state.cut();
            control.write_all(b"!")?;
            // Until the other side hangs up.
            let hung_up = control.read(&mut [0]);
            state.mend();
            hung_up.map(drop)
        })?;
        Ok(Self { port, control_port, state })
    }

    /// `HOST:PORT` of the line.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `HOST:PORT` where it is cut.
    pub fn control(&self) -> String {
        format!("127.0.0.1:{}", self.control_port)
    }

    /// Bytes that servers sent over it.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.state.cut();
        for port in [self.port, self.control_port] {
            // It wakes the listener up, which has gone already if nobody answers.
            let _ = connect(port);
        }
    }
}

/// A thread that gives every connection to a free port to `serve`, one after the other.
fn listen(
    state: Arc<State>,
    mut serve: impl FnMut(TcpStream, &Arc<State>) -> std::io::Result<()> + Send + 'static,
) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().take_while(|_| !state.stop.load(Ordering::Relaxed)) {
            // A connection that breaks here is one more that was cut.
            let _ = stream.and_then(|stream| serve(stream, &state));
        }
    });
    Ok(port)
}

impl State {
    /// Lets a client talk to a server, unless the line is cut: then `false`.
    fn join(self: &Arc<Self>, client: TcpStream, server: u16) -> std::io::Result<bool> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connections) = connections.as_mut() else { return Ok(false) };
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        connections.extend([client.try_clone()?, server.try_clone()?]);
        let (from_client, from_server) = ((client.try_clone()?, server.try_clone()?), (server, client));
        thread::spawn(move || pass(from_client, &AtomicU64::new(0)));
        let state = self.clone();
        thread::spawn(move || pass(from_server, &state.received));
        Ok(true)
    }

    fn cut(&self) {
        let cut = self.connections.lock().unwrap_or_else(PoisonError::into_inner).take();
        for stream in cut.into_iter().flatten() {
            // What is closed already is as good as cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }
}

/// Passes on what one side says until it ends, and the end as well.
fn pass((mut from, mut to): (TcpStream, TcpStream), count: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
    // A side that is gone needs no end.
    let _ = to.shutdown(Shutdown::Both);
}
