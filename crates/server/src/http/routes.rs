//! From a request to an answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, RETRY_AFTER, UPGRADE,
};
use hyper::{Method as Verb, Request, Response, StatusCode, Uri};
use tidegate_api::{Access, Answer, ErrorMode, Method};
use tidegate_broker::Breaker;
use tidegate_framing::http::query_value;
use tidegate_types::codes::ErrorCode;
use tokio::sync::mpsc::Sender;

use super::body::{self, BodyError};
use super::{AppState, client, demo, metrics, paths};

pub(super) type Reply = Response<Full<Bytes>>;

/// Where the server API is described.
const OPENAPI: &str = "/openapi.json";

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ERROR_MODE: HeaderName = HeaderName::from_static("x-centrifugo-error-mode");

/// A request, whose body may be left unread.
pub(super) type Asked<'b> = Request<&'b mut Incoming>;

/// Answers a request. A body that the answer did not need is read before it goes out; where that cannot be, the answer says
/// that the connection ends, so that nobody sends another request over it. `give_back` takes a request for a stream or a
/// WebSocket, and the connection is gone from here with it.
pub(super) async fn answer(state: &AppState, request: Request<Incoming>, give_back: Option<&Sender<Vec<u8>>>) -> Reply {
    let (head, mut body) = request.into_parts();
    // Who waits for a permission to send a body has not sent it.
    let waits = head.headers.contains_key(EXPECT);
    let mut reply = route(state, Request::from_parts(head, &mut body), give_back).await;
    // What was too long or too slow is not waited for once more.
    let given_up = matches!(reply.status(), StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT);
    if !body.is_end_stream() && (waits || given_up || !body::skip(&mut body, state.body_bytes_max, &state.bodies).await)
    {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

async fn route(state: &AppState, request: Asked<'_>, give_back: Option<&Sender<Vec<u8>>>) -> Reply {
    // First, because it is measured.
    if let Some(name) = request.uri().path().strip_prefix("/api/") {
        return match Method::parse(name) {
            Some(method) => api(state, method, request).await,
            None => not_found(state, request.uri().path()),
        };
    }
    let given_back = give_back.filter(|_| state.entrance.get().is_some() && client::opens(&request));
    let reading = matches!(*request.method(), Verb::GET | Verb::HEAD);
    match request.uri().path() {
        "/health" | "/ready" | "/metrics" | OPENAPI if !reading => method_not_allowed("GET, HEAD"),
        "/health" => json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}")),
        "/ready" => ready(state),
        "/metrics" => exposition(state),
        OPENAPI => json(StatusCode::OK, tidegate_api::openapi(env!("CARGO_PKG_VERSION")).to_string().into()),
        _ if let Some(give_back) = given_back => client::give_back(state, request, give_back).await,
        paths::WEBSOCKET | paths::UNI_WEBSOCKET => {
            let mut reply =
                refused(426, ErrorCode::BAD_REQUEST, "this is a WebSocket endpoint: connect with ws:// or wss://");
            reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            reply
        }
        paths::EMULATION | paths::INIT => client::answer(state, request).await,
        path if paths::CLIENTS.contains(&path) => client::answer(state, request).await,
        path => page(state, path, &request).await,
    }
}

/// The demo, where it is on.
async fn page(state: &AppState, path: &str, request: &Asked<'_>) -> Reply {
    let Some(jobs) = &state.demo else { return not_found(state, path) };
    match *request.method() {
        Verb::POST if path == JOBS_PATH => match is_foreign_page(state, request.headers()) {
            true => refused(403, ErrorCode::PERMISSION_DENIED, FOREIGN_PAGE),
            false => demo::start(jobs).await,
        },
        _ if path == JOBS_PATH => method_not_allowed("POST"),
        _ => match demo::asset(path, request.headers()) {
            None => not_found(state, path),
            Some(asset) if matches!(*request.method(), Verb::GET | Verb::HEAD) => asset,
            Some(_) => method_not_allowed("GET, HEAD"),
        },
    }
}

const JOBS_PATH: &str = "/demo/jobs";
const FOREIGN_PAGE: &str = "a page of another origin may not call this without a key";

/// Whether a browser says that a page of another origin asks. Without a key nothing else would keep such a page out.
fn is_foreign_page(state: &AppState, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    !state.own_host.allows(text(ORIGIN), text(HOST))
}

async fn api(state: &AppState, method: Method, request: Asked<'_>) -> Reply {
    if *request.method() != Verb::POST {
        return method_not_allowed("POST");
    }
    let access = match authorize(state, request.headers(), request.uri()) {
        Ok(access) => access,
        Err(answer) => return from_answer(answer),
    };
    if state.is_open && is_foreign_page(state, request.headers()) {
        return refused(403, ErrorCode::PERMISSION_DENIED, FOREIGN_PAGE);
    }
    let mode = request.headers().get(ERROR_MODE).map(|v| ErrorMode::from_header(v.as_bytes())).unwrap_or_default();
    match body::read(request.into_body(), state.body_bytes_max, &state.api_bodies).await {
        Ok(body) => from_answer(state.api.call(method, &body, mode, &access).await),
        Err(BodyError::TooLarge) => {
            let text = format!("the body is larger than {} bytes (api.body_bytes_max)", state.body_bytes_max);
            refused(413, ErrorCode::LIMIT_EXCEEDED, text)
        }
        Err(error) => body::failed(error),
    }
}

/// The key is the first found of `X-API-Key`, `Authorization: apikey KEY` and `?api_key=KEY`.
fn authorize(state: &AppState, headers: &HeaderMap, uri: &Uri) -> Result<Access, Answer> {
    if let Some(key) = headers.get(X_API_KEY) {
        return state.api.authorize(Some(key.as_bytes()));
    }
    if let Some(key) = headers.get(AUTHORIZATION).and_then(|v| after_scheme(v.as_bytes())) {
        return state.api.authorize(Some(key));
    }
    let key = uri.query().and_then(|query| query_value(query, "api_key"));
    state.api.authorize(key.as_deref())
}

fn after_scheme(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"apikey ";
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
}

fn ready(state: &AppState) -> Reply {
    let broker = state.hub.broker_health();
    let breaker = match broker.breaker {
        Breaker::Closed => "closed",
        Breaker::HalfOpen => "half-open",
        Breaker::Open => "open",
    };
    let (status, word) = match state.is_ready() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    json(status, format!("{{\"status\":\"{word}\",\"breaker\":\"{breaker}\"}}").into())
}

fn exposition(state: &AppState) -> Reply {
    let mut reply = Response::new(Full::new(metrics::text(&state.metrics).into()));
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

fn not_found(state: &AppState, path: &str) -> Reply {
    let methods: Vec<_> = Method::ALL.iter().map(|m| m.name()).collect();
    let text = format!(
        "no such path {path:?}: there are {}, POST /api/{{{}}}, {}{OPENAPI}, /health, /ready and /metrics",
        paths::CLIENTS.join(", "),
        methods.join(","),
        if state.demo.is_some() { "the demo at /, " } else { "" }
    );
    refused(404, ErrorCode::METHOD_NOT_FOUND, text)
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let mut reply = refused(405, ErrorCode::BAD_REQUEST, format!("use {allowed}"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

pub(super) fn refused(status: u16, code: ErrorCode, message: impl Into<std::borrow::Cow<'static, str>>) -> Reply {
    from_answer(Answer::refused(status, code, message))
}

/// Refused for what others ask at this moment.
pub(super) fn busy(message: impl Into<std::borrow::Cow<'static, str>>) -> Reply {
    let mut reply = refused(503, ErrorCode::TOO_MANY_REQUESTS, message);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

fn from_answer(answer: Answer) -> Reply {
    json(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body)
}

pub(super) fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    if status != StatusCode::OK {
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_after_their_scheme() {
        assert_eq!(after_scheme(b"apikey abc"), Some(&b"abc"[..]));
        assert_eq!(after_scheme(b"ApiKey  abc "), Some(&b"abc"[..]));
        assert_eq!(after_scheme(b"Bearer abc"), None);
        assert_eq!(after_scheme(b"apikey"), None);
    }
}
