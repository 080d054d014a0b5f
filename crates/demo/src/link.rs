//! What the worker's requests travel on: a socket, or TLS over it.
//!
//! The certificate is not looked at, so TLS is spoken with this machine only: the worker reports to the server that
//! started it, which may have a new certificate when it comes back, and anybody who can stand in for it on loopback could
//! do so without TLS as well. A real backend has a TLS library with roots, and any address.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tidegate_tls_client::{Trust, client_config};

/// See the module docs.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// TLS over a socket to this machine.
    pub(crate) fn tls(stream: TcpStream) -> io::Result<Self> {
        if !stream.peer_addr()?.ip().is_loopback() {
            let why = "https is spoken with this machine only: the worker checks no certificate";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let config = client_config(&Trust::Anybody).map_err(io::Error::other)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
