//! A blocking connection: a socket, or TLS over it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::{Trust, TrustError, client_config};

/// See the module docs.
#[derive(Debug)]
pub enum Link {
    /// The socket alone.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Why there is no TLS over a socket.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing could be asked.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nothing that a certificate could vouch for.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    /// The other side is somebody else, speaks no TLS, or went away.
    #[error("TLS handshake")]
    Handshake(#[source] io::Error),
}

impl Link {
    /// Speaks TLS with `host` over a socket: the handshake is done when this returns.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn tls(mut stream: TcpStream, trust: &Trust, host: &str) -> Result<Self, LinkError> {
        let config = client_config(trust)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| LinkError::Name(host.to_owned()))?;
        let mut client = ClientConnection::new(Arc::new(config), name).map_err(TrustError::from)?;
        client.complete_io(&mut stream).map_err(LinkError::Handshake)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// How long a read may take.
    ///
    /// # Errors
    /// When that is no time at all.
    pub fn set_read_timeout(&self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.set_read_timeout(Some(patience)),
            Self::Tls(stream) => stream.sock.set_read_timeout(Some(patience)),
        }
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
