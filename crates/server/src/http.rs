//! The HTTP side of the listener: requests that end by themselves.
//!
//! A shard accepts every connection and reads the first head. What is no WebSocket is handed over to here with the
//! bytes read so far: the server API, health, metrics, the demo page. When such a connection later asks for a stream or
//! a WebSocket, which browsers and proxies do on connections that they keep, the shards get it back, and also when it has
//! gone quiet ([`quiet`]): what it asks next comes here again. Nothing that is
//! delivered to a subscriber passes through here, but for streams over HTTP/2 ([`http2`]). Plain publishes are answered
//! by the shards themselves ([`Publishes`]).
//!
//! Bounds: [`CONNECTIONS_MAX`] connections (past it the shards answer 503), [`BODIES_MAX`] bodies that are waited for, a
//! deadline for every head, every body and every unread answer, the same size and number of headers as on the shards, and
//! the configured size of a body.

mod body;
mod carrier;
mod client;
mod demo;
pub mod http2;
mod metrics;
pub(crate) mod paths;
mod publishes;
mod quiet;
mod rewind;
mod routes;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tidegate_shard::TlsSession;
use tidegate_types::limits::{HTTP_IDLE_MAX, REQUEST_HEAD_BYTES_MAX, REQUEST_HEADERS_MAX};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::quiet::Activity;

pub use publishes::Publishes;
pub use state::AppState;
pub use tidegate_shard::HandedOver;

/// HTTP connections of a node that are being served. Those of clients are not among them, nor those that are quiet.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Bodies that a node waits for at once, over HTTP/1.1 and HTTP/2 together: so many of the server API, and as many of all
/// others. So few of the places of [`CONNECTIONS_MAX`] that
/// whoever begins bodies and does not end them leaves most of them to others.
pub const BODIES_MAX: usize = 1_024;
/// Sockets that wait to be taken over.
pub const HANDED_OVER_MAX: usize = 256;
/// Bytes of a connection that the library reads ahead, or has of answers to write, beside one that is larger.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long a peer may read nothing of its answer.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// For what is still answered when the node shuts down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Serves what is handed over until `shutdown` becomes true, then finishes the requests that are under way.
pub async fn serve(
    mut handed_over: mpsc::Receiver<HandedOver>,
    state: Arc<AppState>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let down = shutdown.clone();
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|down| *down) => break,
            Some(_) = connections.join_next() => {}
            next = handed_over.recv(), if connections.len() < CONNECTIONS_MAX => match next {
                Some(handed) => drop(connections.spawn(connection(handed, state.clone(), down.clone()))),
                None => break,
            }
        }
    }
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, finish).await.is_err() {
        tracing::debug!("some HTTP requests did not end in time");
    }
}

async fn connection(handed: HandedOver, state: Arc<AppState>, mut shutdown: watch::Receiver<bool>) {
    let HandedOver { socket, head, tls, client, .. } = handed;
    let activity = Arc::new(Activity::default());
    let io = match take_over(socket, head, tls, &activity) {
        Ok(stream) => TokioIo::new(stream),
        Err(error) => return tracing::debug!(%error, "cannot take an HTTP connection over"),
    };
    let (give_back, mut given_back) = mpsc::channel(1);
    let service = service_fn(|request| {
        let (state, give_back, activity) = (state.clone(), give_back.clone(), activity.clone());
        async move {
            activity.asks();
            let reply = routes::answer(&state, request, Some(&give_back)).await;
            activity.is_answered();
            Ok::<_, Infallible>(reply)
        }
    });
    let mut connection = builder().serve_connection(io, service);
    let ended = tokio::select! {
        result = &mut connection => Some(result),
        Some(request) = given_back.recv() => {
            let parts = connection.into_parts();
            return take_back(&state, request, parts.io.into_inner(), &parts.read_buf, client);
        }
        () = activity.ceases(), if state.entrance.get().is_some() => {
            let parts = connection.into_parts();
            return take_back(&state, Vec::new(), parts.io.into_inner(), &parts.read_buf, client);
        }
        _ = shutdown.wait_for(|down| *down) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "HTTP connection ended");
    }
}

/// The first head of a connection was read by a shard; those behind it are bounded alike.
fn builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HTTP_IDLE_MAX)
        .max_header_size(REQUEST_HEAD_BYTES_MAX)
        .max_headers(REQUEST_HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    http
}

/// The bytes of a connection, those first that were read already.
fn take_over(
    socket: OwnedFd,
    head: Vec<u8>,
    tls: Option<Box<TlsSession>>,
    activity: &Arc<Activity>,
) -> io::Result<rewind::Rewind> {
    let stream = TcpStream::from_std(socket.into())?;
    // The system ends a connection whose peer takes nothing; nobody else would, and it holds one of the slots.
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX)) {
        tracing::debug!(%error, "cannot bound how long an answer waits for its reader");
    }
    Ok(rewind::Rewind::new(head, carrier::Carrier::new(stream, tls), activity.clone()))
}

/// A connection on which other requests came before is quiet, or asks for what the shards serve: they get it with its
/// bytes.
fn take_back(state: &AppState, mut request: Vec<u8>, io: rewind::Rewind, unread: &[u8], client: Option<IpAddr>) {
    let (unread_before, carrier) = io.into_parts();
    let (stream, tls, plain) = carrier.into_parts();
    for part in [unread, &unread_before, &plain] {
        request.extend_from_slice(part);
    }
    let stream = match stream.into_std() {
        Ok(stream) => OwnedFd::from(stream),
        Err(error) => return tracing::debug!(%error, "cannot give a connection back"),
    };
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(None) {
        tracing::debug!(%error, "cannot take the bound back");
    }
    let given = HandedOver { head: request, tls, client, served: true, ..HandedOver::new(stream) };
    if state.entrance.get().is_none_or(|entrance| entrance.give(given).is_err()) {
        tracing::debug!("a connection ends that no shard takes back");
    }
}
