//! A stream of publications over HTTP/2: its shard has one end of a pair of sockets and speaks HTTP/1.0 there, and what it
//! says is passed on as the body of an answer.
//!
//! The shard serves it as any connection: the same request, session, frames and cursor. The pair holds little, so a client
//! who takes nothing blocks the shard's end, and is a cursor there and not a queue here. When the client resets the stream
//! this end is dropped and the session ends; when the shard ends the response the stream ends.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use socket2::{Domain, Socket, Type};
use tidegate_framing::http::ResponseHead;
use tidegate_shard::Entrance;
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::{HTTP_IDLE_MAX, HTTP2_BRIDGE_BYTES, HTTP2_PIECE_BYTES, REQUEST_HEAD_BYTES_MAX};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::UnixStream;

use super::outgoing::{Outgoing, bytes_of};
use super::{AppState, HandedOver, client};
use crate::http::routes::{Reply, refused};

/// The shard did not answer: the stream is reset, so that the client asks again, which it may not do after a status.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("too many sockets wait for the shard")]
    Busy,
    #[error("the shard ended the connection before its answer")]
    NoAnswer,
    #[error("the shard did not answer in time")]
    TooLate,
    #[error("what the shard answered is no response")]
    NoResponse,
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Opens a stream: asks a shard, and answers with what it answers.
pub(super) async fn open(
    state: &AppState,
    entrance: &Entrance,
    request: Request<Incoming>,
    client: IpAddr,
) -> Result<Response<Outgoing>, Failed> {
    let (head, body) = request.into_parts();
    let commands = match client::first_commands(state, body).await {
        Ok(commands) => commands,
        Err(refusal) => return Ok(whole(refusal)),
    };
    let (ours, theirs) = match pair() {
        Ok(pair) => pair,
        Err(error) => {
            // The limit of open files, which the shards tell of where it keeps them from accepting.
            tracing::debug!(%error, "cannot open a stream over HTTP/2");
            return Ok(whole(refused(503, ErrorCode::TOO_MANY_REQUESTS, "too many streams are open, try again")));
        }
    };
    let asked = client::plain(&head, Version::HTTP_10, &commands);
    let given = HandedOver { head: asked, client: Some(client), ..HandedOver::new(theirs) };
    entrance.give(given).map_err(|_| Failed::Busy)?;
    tokio::time::timeout(HTTP_IDLE_MAX, answered(ours)).await.map_err(|_| Failed::TooLate)?
}

pub(super) fn whole(reply: Reply) -> Response<Outgoing> {
    reply.map(|body| Outgoing::whole(bytes_of(body)))
}

/// A pair of sockets: ours, and the shard's, which holds little of what it says.
fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    theirs.set_send_buffer_size(HTTP2_BRIDGE_BYTES)?;
    Ok((UnixStream::from_std(OwnedFd::from(ours).into())?, theirs.into()))
}

/// The shard's answer, from its head on.
async fn answered(socket: UnixStream) -> Result<Response<Outgoing>, Failed> {
    let mut bridge = Bridge { rest: Bytes::new(), socket };
    let mut read = Vec::new();
    loop {
        if let Some(head) = ResponseHead::parse(&read).map_err(|_| Failed::NoResponse)? {
            let mut response = Response::builder().status(head.status);
            for (name, value) in head.headers {
                response = response.header(name, value);
            }
            bridge.rest = Bytes::copy_from_slice(&read[head.bytes..]);
            return response.body(Outgoing::bridged(bridge)).map_err(|_| Failed::NoResponse);
        }
        if read.len() > REQUEST_HEAD_BYTES_MAX {
            return Err(Failed::NoResponse);
        }
        let piece = poll_fn(|cx| bridge.poll_piece(cx)).await?;
        if piece.is_empty() {
            return Err(Failed::NoAnswer);
        }
        read.extend_from_slice(&piece);
    }
}

/// The body of a shard's answer.
#[derive(Debug)]
pub(super) struct Bridge {
    /// What came with the head.
    rest: Bytes,
    socket: UnixStream,
}

impl Bridge {
    /// The next piece; empty at the end.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.rest)));
        }
        // On the stack, so that a stream that waits holds no buffer.
        let mut room = [0; HTTP2_PIECE_BYTES];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
    }
}
