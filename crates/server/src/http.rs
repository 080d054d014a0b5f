//! The HTTP side of the listener: requests that end by themselves.
//!
//! A shard accepts every connection and reads the first head. What is no WebSocket is handed over to here with the
//! bytes read so far: the server API, health, metrics, the demo page. Nothing that is delivered to a subscriber passes
//! through here. Plain publishes are answered by the shards themselves ([`Publishes`]).
//!
//! Bounds: [`CONNECTIONS_MAX`] connections (past it the shards answer 503), a deadline for every head, every body and
//! every unread answer, and the configured size of a body.

mod body;
mod client;
mod demo;
mod metrics;
pub(crate) mod paths;
mod publishes;
mod rewind;
mod routes;
mod state;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tidegate_types::limits::HTTP_IDLE_MAX;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use publishes::Publishes;
pub use state::AppState;
pub use tidegate_shard::HandedOver;

/// HTTP connections of a node. Those of clients are not among them.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Sockets that wait to be taken over.
pub const HANDED_OVER_MAX: usize = 256;
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
    let stream = match TcpStream::from_std(handed.stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "cannot take an HTTP connection over"),
    };
    // The system ends a connection whose peer takes nothing; nobody else would, and it holds one of the slots.
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_MAX)) {
        tracing::debug!(%error, "cannot bound how long an answer waits for its reader");
    }
    let io = TokioIo::new(rewind::Rewind::new(handed.head, stream));
    let service = service_fn(|request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(routes::answer(&state, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HTTP_IDLE_MAX).pipeline_flush(true);
    let mut connection = pin!(http.serve_connection(io, service));
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = shutdown.wait_for(|down| *down) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "HTTP connection ended");
    }
}
