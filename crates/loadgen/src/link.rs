//! A non-blocking connection to the server: a bare socket, or TLS over it.
//!
//! The certificate is not looked at: targets are addresses of this machine, and what is measured is the server. Nothing
//! is resumed, so every connect costs a full handshake, with the suite that browsers ask for first.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ClientConnection};
use tidegate_tls_client::{Trust, client_config_with};

/// How connections with TLS are made.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let mut config = client_config_with(&Trust::Anybody, provider, rustls::ALL_VERSIONS)?;
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }
}

/// See the module docs. Reads and writes are those of a non-blocking socket; [`Link::flush`] is to be called when it can
/// be written.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// A connection over a socket, which need not stand yet.
    pub(crate) fn over(stream: TcpStream, tls: Option<&Tls>) -> anyhow::Result<Self> {
        let begin = |Tls(config): &Tls| {
            ClientConnection::new(config.clone(), ServerName::try_from("localhost")?).context("TLS")
        };
        Ok(Self { stream, tls: tls.map(begin).transpose()?.map(Box::new) })
    }

    /// Whether a read that did not fill the buffer took all there is.
    pub(crate) fn tells_when_empty(&self) -> bool {
        self.tls.is_none()
    }

    /// Ends it without a word.
    pub(crate) fn shut(&self) {
        // A peer that is gone already needs no end.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Sends the records that are ready, as far as the socket takes them.
fn send_records(tls: &mut ClientConnection, stream: &mut TcpStream) -> Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(std::io::Error::other)?;
            send_records(tls, &mut self.stream)?;
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        send_records(tls, &mut self.stream)?;
        if tls.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = tls.writer().write(bytes)?;
        send_records(tls, &mut self.stream)?;
        if taken == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.tls {
            Some(tls) => send_records(tls, &mut self.stream),
            None => Ok(()),
        }
    }
}
