//! A connection whose first bytes were read by somebody else, and that notes whether it takes what is written.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use super::quiet::Activity;

/// Reads `head` first, then the connection.
#[derive(Debug)]
pub(super) struct Rewind {
    head: Bytes,
    stream: Carrier,
    activity: Arc<Activity>,
}

impl Rewind {
    pub(super) fn new(head: Vec<u8>, stream: Carrier, activity: Arc<Activity>) -> Self {
        Self { head: head.into(), stream, activity }
    }

    /// What is not taken at once is left with whoever writes.
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.wrote(polled.is_ready());
        polled
    }

    /// Where the other end is.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer()
    }

    /// The connection, and what was not read again.
    pub(super) fn into_parts(self) -> (Bytes, Carrier) {
        (self.head, self.stream)
    }
}

impl AsyncRead for Rewind {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.head.len().min(buf.remaining());
        buf.put_slice(&self.head[..count]);
        self.head.advance(count);
        if self.head.is_empty() {
            // The memory goes back now, not when the connection ends.
            self.head = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when all is written, of which TLS may hold the last records.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A connection that is to end does not go back.
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.activity.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
