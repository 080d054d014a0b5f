//! Requests of client libraries that end by themselves: commands of clients whose connection carries none, preflights of
//! browsers, and what is wrong with a request that should have opened a stream.
//!
//! A page may call these where it may connect: `client.allowed_origins` says who (Fetch standard, CORS protocol).

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method as Verb, Request, Response, StatusCode, Version};
use tidegate_core::UplinkError;
use tidegate_dialect_centrifuge::Emulation;
use tidegate_framing::http::query_value;
use tidegate_framing::websocket::Origins;
use tidegate_types::codes::ErrorCode;
use tokio::sync::mpsc::Sender;

use super::body::{self, BodyError};
use super::routes::{Asked, Reply, busy, json, method_not_allowed, refused};
use super::{AppState, paths};

/// Seconds for which a browser remembers a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("300");

/// Answers a request on one of the paths of clients.
pub(super) async fn answer(state: &AppState, request: Asked<'_>) -> Reply {
    let headers = request.headers().clone();
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or_default());
    let origin = text(ORIGIN);
    if !state.origins.allows(origin, text(HOST)) {
        return refused(403, ErrorCode::PERMISSION_DENIED, Origins::refusal(origin));
    }
    let mut reply = match (request.method(), request.uri().path()) {
        (&Verb::OPTIONS, _) => preflight(&headers),
        (&Verb::POST, paths::EMULATION) => emulation(state, request).await,
        (_, paths::EMULATION) => method_not_allowed("POST, OPTIONS"),
        (&Verb::GET | &Verb::HEAD, paths::INIT) => init(),
        (_, paths::INIT) => method_not_allowed("GET, HEAD, OPTIONS"),
        (_, path) => no_stream(path, request.method()),
    };
    if let Some(origin) = headers.get(ORIGIN) {
        let set = reply.headers_mut();
        set.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        set.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    reply
}

/// Whether it asks for a stream or a WebSocket in the right way: it is here only because the connection served other
/// requests before, its body has no length, or it speaks HTTP/2.
pub(super) fn opens<B>(request: &Request<B>) -> bool {
    // As shards see it.
    let upgrades = request.headers().get_all(UPGRADE).iter().any(|to| !to.as_bytes().eq_ignore_ascii_case(b"h2c"));
    let by_query = || request.uri().query().is_some_and(|query| query_value(query, "cf_connect").is_some());
    match (request.uri().path(), request.method()) {
        (paths::WEBSOCKET | paths::UNI_WEBSOCKET, _) => upgrades,
        (path, &Verb::POST) => !upgrades && paths::CLIENTS.contains(&path),
        (paths::SSE, &Verb::GET) => !upgrades && by_query(),
        (paths::UNI_SSE | paths::EVENTS, &Verb::GET) => !upgrades,
        _ => false,
    }
}

/// Gives the connection to a shard, with the request as if it had come first. Answers only when it cannot.
pub(super) async fn give_back(state: &AppState, request: Asked<'_>, give_back: &Sender<Vec<u8>>) -> Reply {
    let (head, body) = request.into_parts();
    let commands = match first_commands(state, body).await {
        Ok(commands) => commands,
        Err(refusal) => return refusal,
    };
    if give_back.send(plain(&head, head.version, &commands)).await.is_ok() {
        // The connection is taken from under this.
        std::future::pending::<()>().await;
    }
    refused(503, ErrorCode::INTERNAL, "the node is ending, connect again")
}

/// The commands with which a stream opens, or the answer where they are not to be had.
pub(super) async fn first_commands<B>(state: &AppState, body: B) -> Result<Bytes, Reply>
where
    B: Body<Data = Bytes> + Unpin,
{
    let most = state.message_bytes_max;
    body::read(body, most, &state.bodies).await.map_err(|error| match error {
        BodyError::TooLarge => {
            let why = format!("the first commands are longer than {most} bytes (client.message_bytes_max)");
            refused(413, ErrorCode::LIMIT_EXCEEDED, why)
        }
        error => body::failed(error),
    })
}

/// The request in the plainest form: its body behind its length.
pub(super) fn plain(head: &Parts, version: Version, body: &[u8]) -> Vec<u8> {
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut out = format!("{} {target} {version:?}\r\n", head.method).into_bytes();
    let framing = [CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, TRAILER, TE];
    for (name, value) in head.headers.iter().filter(|(name, _)| !framing.contains(name)) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if head.method == Verb::POST {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

fn preflight(headers: &HeaderMap) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let set = reply.headers_mut();
    set.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    set.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        set.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    reply
}

/// Commands for a connection of this node or another one. The answers to them come over the connection.
async fn emulation(state: &AppState, request: Asked<'_>) -> Reply {
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_protobuf = content_type.starts_with(b"application/octet-stream");
    // Beside the commands there are the names of session and node.
    let most = state.message_bytes_max.saturating_add(ENVELOPE_BYTES);
    let body = match body::read(request.into_body(), most, &state.bodies).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            let why =
                format!("the commands are longer than {} bytes (client.message_bytes_max)", most - ENVELOPE_BYTES);
            return refused(413, ErrorCode::LIMIT_EXCEEDED, why);
        }
        Err(error) => return body::failed(error),
    };
    let decoded = if is_protobuf { Emulation::from_protobuf(body) } else { Emulation::from_json(&body) };
    let asked = match decoded {
        Ok(asked) => asked,
        Err(why) => return refused(400, ErrorCode::BAD_REQUEST, format!("not an emulation request: {why}")),
    };
    match state.hub.uplink(&asked.node, &asked.session, asked.data).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error @ UplinkError::UnknownNode) => refused(404, ErrorCode::UNKNOWN_CHANNEL, error.to_string()),
        Err(error @ UplinkError::TooLarge) => refused(413, ErrorCode::LIMIT_EXCEEDED, error.to_string()),
        Err(error @ UplinkError::Refused) => refused(500, ErrorCode::INTERNAL, error.to_string()),
        Err(error @ UplinkError::Busy) => busy(error.to_string()),
    }
}

/// Room for what an emulation request carries beside commands, and for their escapes in JSON.
const ENVELOPE_BYTES: usize = 16 << 10;

/// Nothing is said: what counts is the connection that the answer came by, which no cache may save.
fn init() -> Reply {
    let mut reply = json(StatusCode::OK, Bytes::from_static(b"{}"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// What a request for a stream lacks, when the shard that read its head did not take it.
fn no_stream(path: &str, method: &Verb) -> Reply {
    match (path, method) {
        (paths::SSE, &Verb::GET) => refused(
            400,
            ErrorCode::BAD_REQUEST,
            "the query needs cf_connect=<commands>, or use POST with them as the body",
        ),
        (_, &Verb::POST) => {
            refused(400, ErrorCode::BAD_REQUEST, "a stream is no other protocol: take the header Upgrade away")
        }
        (paths::SSE | paths::UNI_SSE | paths::EVENTS, _) => method_not_allowed("GET, POST, OPTIONS"),
        _ => method_not_allowed("POST, OPTIONS"),
    }
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = status;
    reply
}
