//! Connections that speak HTTP/2: many requests of one browser, and many streams, on one socket.
//!
//! What ends by itself is answered as over HTTP/1.1 ([`routes::answer`]). A stream of publications is no business of the
//! HTTP library: its session, cursor and frames are a shard's, which gets one end of a pair of sockets ([`bridge`]), and
//! what it says there is passed on as far as the client's flow control has room. WebSockets (RFC 8441) are not offered:
//! browsers open them over HTTP/1.1.
//!
//! # Bounds
//! - Connections: each has a permit, see `tidegate_shard`; they take none of the places of HTTP/1.1.
//! - On a connection: streams, bytes of a request's headers, bytes of bodies that nobody has read, resets, and one piece
//!   of an answer that waits for the client beside one in the library ([`outgoing`]).
//! - In time: a stream whose client takes nothing is reset, a connection without streams ends after [`HTTP_IDLE_MAX`], and
//!   one whose peer answers no PING before that.

mod bridge;
mod outgoing;
mod streams;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_types::limits::{
    HTTP_IDLE_MAX, HTTP2_CONNECTION_WINDOW_BYTES, HTTP2_PIECE_BYTES, HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT,
    HTTP2_RESETS_MAX, HTTP2_STREAM_WINDOW_BYTES, REQUEST_HEAD_BYTES_MAX,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::rewind::Rewind;
use super::{AppState, HandedOver, SHUTDOWN_GRACE, client, routes, take_over};
use bridge::Failed;
use outgoing::Outgoing;
use streams::{Spawner, Streams};

/// For a peer to end its side of a connection that was ended.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Between two looks at what a connection's streams do.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Serves what is handed over. From `leaving` on clients are told to ask elsewhere, and what they have goes on; from
/// `shutdown` on it has a while to end.
pub async fn serve(
    mut handed_over: mpsc::Receiver<HandedOver>,
    state: Arc<AppState>,
    leaving: watch::Receiver<bool>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => break,
            Some(_) = connections.join_next() => {}
            next = handed_over.recv() => match next {
                Some(handed) => drop(connections.spawn(connection(handed, state.clone(), leaving.clone()))),
                None => break,
            }
        }
    }
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, finish).await.is_err() {
        tracing::debug!("some HTTP/2 connections did not end in time");
    }
}

async fn connection(handed: HandedOver, state: Arc<AppState>, leaving: watch::Receiver<bool>) {
    let HandedOver { socket, head, tls, http2: _permit, .. } = handed;
    let taken = socket.try_clone().and_then(|same| Ok((same, take_over(socket, head, tls, &Arc::default())?)));
    match taken {
        Ok((socket, io)) => {
            serve_one(io, &state, leaving).await;
            linger(socket).await;
        }
        Err(error) => tracing::debug!(%error, "cannot take an HTTP/2 connection over"),
    }
}

/// Waits until the peer ends as well, for a short while. Closed over bytes that nobody read, a socket would take back what
/// the peer has not read: its last events, and the GOAWAY.
async fn linger(socket: OwnedFd) {
    let end = async {
        let mut stream = TcpStream::from_std(socket.into())?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // However it ends.
    let _ = tokio::time::timeout(LINGER_MAX, end).await;
}

async fn serve_one(io: Rewind, state: &Arc<AppState>, mut leaving: watch::Receiver<bool>) {
    let Ok(peer) = io.peer().map(|address| address.ip()) else { return };
    let io = TokioIo::new(io);
    let streams = Streams::new();
    // In a box of its own: what makes an answer is larger than what then sends it, and a stream keeps that for long.
    let service = service_fn(|request| Box::pin(answer(state.clone(), request, peer)));
    let mut connection = pin!(builder(&streams, state).serve_connection(io, service));
    let mut looks = interval(LOOK_INTERVAL_MAX.min(state.unread_max / 2).max(Duration::from_millis(100)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_used = Instant::now();
    let mut ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                return ended.unwrap_or_else(|error| tracing::trace!(%error, "HTTP/2 connection ended"));
            }
            _ = leaving.wait_for(|leaving| *leaving), if !ending => {}
            now = looks.tick() => {
                if streams.look(now, state.unread_max) {
                    last_used = now;
                }
                if now - last_used < HTTP_IDLE_MAX {
                    continue;
                }
                if ending {
                    return;
                }
                // Where it does not end by that, it has as long once more.
                last_used = now;
            }
        }
        ending = true;
        connection.as_mut().graceful_shutdown();
    }
}

fn builder(streams: &Arc<Streams>, state: &AppState) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(streams.spawner());
    let head_bytes_max = u32::try_from(REQUEST_HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(state.http2.unwrap_or_default().streams_per_connection_max)
        .max_header_list_size(head_bytes_max)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_PIECE_BYTES)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    http
}

async fn answer(
    state: Arc<AppState>,
    mut request: Request<Incoming>,
    peer: IpAddr,
) -> Result<Response<Outgoing>, Failed> {
    name_host(&mut request);
    let is_head = request.method() == Method::HEAD;
    let mut response = match state.entrance.get() {
        Some(entrance) if client::opens(&request) => bridge::open(&state, entrance, request, peer).await?,
        _ => bridge::whole(routes::answer(&state, request, None).await),
    };
    if is_head {
        // It says how long the body would have been, and has none.
        if let Some(length) = response.body().size_hint().exact() {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Outgoing::whole(Bytes::new());
    }
    drop_connection_headers(response.headers_mut());
    Ok(response)
}

/// The host is a field of its own here (RFC 9113 section 8.3.1). What compares it with an origin reads the header, and a
/// header that says something else has nothing to say.
fn name_host(request: &mut Request<Incoming>) {
    let authority = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(authority) = authority {
        request.headers_mut().insert(HOST, authority);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What says something of an HTTP/1.1 connection has no place here (RFC 9113 section 8.2.2).
fn drop_connection_headers(headers: &mut HeaderMap) {
    for name in [CONNECTION, KEEP_ALIVE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}
