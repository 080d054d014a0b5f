//! The body of an answer, in pieces, of which the library asks for the next when the client's flow control took the one
//! before.
//!
//! An answer that is whole is cut into pieces too: given away at once it would lie in the library for as long as the
//! client likes, with nobody to end it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tidegate_types::limits::HTTP2_PIECE_BYTES;

use super::bridge::Bridge;
use super::streams::Watch;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Outgoing {
    source: Source,
    watch: Arc<Watch>,
}

#[derive(Debug)]
enum Source {
    /// What is left of an answer that was there at once.
    Whole(Bytes),
    Bridge(Bridge),
}

impl Outgoing {
    fn new(source: Source) -> Self {
        Self { source, watch: Watch::current() }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::new(Source::Whole(bytes))
    }

    pub(super) fn bridged(bridge: Bridge) -> Self {
        Self::new(Source::Bridge(bridge))
    }
}

/// What is in a body that is whole.
pub(super) fn bytes_of(mut body: Full<Bytes>) -> Bytes {
    match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        _ => Bytes::new(),
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.watch.taken();
        let piece = match &mut self.source {
            Source::Whole(left) => left.split_to(left.len().min(HTTP2_PIECE_BYTES)),
            Source::Bridge(bridge) => ready!(bridge.poll_piece(cx))?,
        };
        if piece.is_empty() {
            return Poll::Ready(None);
        }
        self.watch.handed_out();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(left) if left.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(left) => SizeHint::with_exact(left.len() as u64),
            Source::Bridge(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_whole_answer_comes_in_pieces() {
        let bytes = bytes_of(Full::new(Bytes::from(vec![b'x'; 2 * HTTP2_PIECE_BYTES + 1])));
        let mut body = Outgoing::whole(bytes);
        assert_eq!(body.size_hint().exact(), Some(2 * HTTP2_PIECE_BYTES as u64 + 1));
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(sizes, [HTTP2_PIECE_BYTES, HTTP2_PIECE_BYTES, 1]);
        assert!(body.is_end_stream() && Outgoing::whole(Bytes::new()).is_end_stream());
    }
}
