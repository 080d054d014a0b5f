//! A blocking connection: a socket, or TLS over it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// See the module docs.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Speaks TLS over a socket: the handshake is done when this returns.
    pub(crate) fn tls(mut stream: TcpStream, config: ClientConfig, host: String) -> anyhow::Result<Self> {
        let shown = host.clone();
        let name =
            ServerName::try_from(host).with_context(|| format!("{shown:?} is no name that a certificate can have"))?;
        let mut client = ClientConnection::new(Arc::new(config), name)?;
        client.complete_io(&mut stream).with_context(|| {
            format!("no TLS with {shown}: --ca-file FILE names who vouches for it, --insecure asks nobody")
        })?;
        Ok(Self::Tls(Box::new(StreamOwned::new(client, stream))))
    }

    /// How long a read may take.
    pub(crate) fn set_read_timeout(&self, patience: Duration) -> io::Result<()> {
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
