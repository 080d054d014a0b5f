//! What a handed-over connection moves its bytes with: the bare socket, or the TLS session that came along with it.
//!
//! The session is the one that the shard began: it was moved here, and it moves back with a connection that is given
//! back. So no bytes go through a second pair of sockets, and no other thread is woken for them. Bounds: what was read of
//! one piece of 8 KiB, what the session keeps of an incomplete record, and one record that the socket did not take.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tidegate_shard::TlsSession;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read from a socket at once.
const READ_BYTES: usize = 8 << 10;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Carrier {
    stream: TcpStream,
    tls: Option<Box<TlsSession>>,
    /// What came by TLS and was not read yet.
    plain: Bytes,
}

impl Carrier {
    pub(super) fn new(stream: TcpStream, tls: Option<Box<TlsSession>>) -> Self {
        Self { stream, tls, plain: Bytes::new() }
    }

    /// The socket, its session, and what came by it and was not read.
    pub(super) fn into_parts(self) -> (TcpStream, Option<Box<TlsSession>>, Bytes) {
        (self.stream, self.tls, self.plain)
    }

    /// Where the other end is.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Fills `plain`, unless nothing more comes.
    fn poll_plain(&mut self, tls: &mut TlsSession, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut plain = Vec::new();
        while plain.is_empty() && !tls.is_peer_closed() {
            let mut room = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
            let fed = tls.feed(read.filled(), &mut plain);
            // TLS may have something to say itself, for which nobody waits.
            let _ = poll_unsent(&mut self.stream, tls, cx)?;
            fed.map_err(io::Error::other)?;
        }
        self.plain = plain.into();
        Poll::Ready(Ok(()))
    }
}

/// Sends what is unsent.
fn poll_unsent(stream: &mut TcpStream, tls: &mut TlsSession, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !tls.unsent().is_empty() {
        let sent = ready!(Pin::new(&mut *stream).poll_write(cx, tls.unsent()))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        tls.sent(sent);
    }
    Poll::Ready(Ok(()))
}

impl AsyncRead for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut tls) = self.tls.take() else { return Pin::new(&mut self.stream).poll_read(cx, buf) };
        let polled = if self.plain.is_empty() { self.poll_plain(&mut tls, cx) } else { Poll::Ready(Ok(())) };
        self.tls = Some(tls);
        ready!(polled)?;
        let count = self.plain.len().min(buf.remaining());
        buf.put_slice(&self.plain[..count]);
        self.plain.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, tls, .. } = &mut *self;
        let Some(tls) = tls else { return Pin::new(stream).poll_write(cx, buf) };
        ready!(poll_unsent(stream, tls, cx))?;
        let taken = tls.write_some(buf).map_err(io::Error::other)?;
        // What the socket does not take now goes before the next bytes.
        let _ = poll_unsent(stream, tls, cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls, .. } = &mut *self;
        if let Some(tls) = tls {
            ready!(poll_unsent(stream, tls, cx))?;
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls, .. } = &mut *self;
        if let Some(tls) = tls {
            tls.close();
            ready!(poll_unsent(stream, tls, cx))?;
        }
        Pin::new(stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|buf| !buf.is_empty());
        self.poll_write(cx, first.map_or(&[], |buf| buf))
    }

    /// With TLS the library joins what it writes, so that a head and its body share a record.
    fn is_write_vectored(&self) -> bool {
        self.tls.is_none() && self.stream.is_write_vectored()
    }
}
