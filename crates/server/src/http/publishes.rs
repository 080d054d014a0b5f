//! Plain publishes, answered by the shard that read them. A change of thread there and back costs more than the publish.
//!
//! Not for anything that needs a decision: a request with a header or a key that is not the usual goes to the HTTP side,
//! which knows all the ways to say no.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::StatusCode;
use tidegate_api::{Answer, ErrorMode};
use tidegate_framing::http::Head;
use tidegate_shard::{RequestHandler, Response};
use tidegate_types::limits::REQUEST_BODY_ON_SHARD_MAX;
use tokio::runtime::Handle;

use super::AppState;

/// See the module docs.
#[derive(Debug)]
pub struct Publishes {
    state: Arc<AppState>,
    runtime: Handle,
}

impl Publishes {
    /// Publishes to the hub of `state`, whose timers are in `runtime`.
    pub fn new(state: Arc<AppState>, runtime: Handle) -> Self {
        Self { state, runtime }
    }

    /// The length of the body, if nothing but an ordinary publish by a caller who may.
    fn plain(&self, head: &Head<'_>) -> Option<usize> {
        if head.method() != "POST"
            || head.minor_version() != 1
            || head.path() != "/api/publish"
            || head.query().is_some()
        {
            return None;
        }
        let (mut length, mut key) = (None, None);
        for (name, value) in head.headers() {
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            let unusual = if is("content-length") {
                length.replace(number(value)?).is_some()
            } else if is("x-api-key") {
                key.replace(value).is_some()
            } else if is("connection") {
                !value.eq_ignore_ascii_case(b"keep-alive")
            } else {
                UNUSUAL.into_iter().any(is)
            };
            if unusual {
                return None;
            }
        }
        self.state.api.authorize(key).is_ok_and(|access| access.is_full()).then_some(length?)
    }
}

/// Headers that change what a request is, or who asks.
const UNUSUAL: [&str; 6] =
    ["transfer-encoding", "expect", "upgrade", "origin", "authorization", "x-centrifugo-error-mode"];

/// RFC 9110, section 8.6: digits and nothing else.
fn number(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

impl RequestHandler for Publishes {
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize> {
        let most = self.state.body_bytes_max.min(REQUEST_BODY_ON_SHARD_MAX);
        self.plain(head).filter(|bytes| *bytes <= most)
    }

    fn handle(&self, _: &Head<'_>, body: Bytes) -> Response {
        let (state, runtime) = (self.state.clone(), self.runtime.clone());
        Box::pin(async move {
            let mut call = pin!(state.api.publish(&body, ErrorMode::Body));
            // What waits with a deadline finds the runtime's timers.
            let answer = poll_fn(|context| {
                let _entered = runtime.enter();
                call.as_mut().poll(context)
            });
            response(&answer.await)
        })
    }
}

/// The headers are those of the HTTP side.
fn response(answer: &Answer) -> Vec<u8> {
    use std::io::Write as _;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let date = httpdate::HttpDate::from(SystemTime::now());
    let length = answer.body.len();
    let mut out = Vec::with_capacity(160 + length);
    // Writing to memory cannot fail. The status is written with its reason.
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\ndate: {date}\r\n\r\n"
    );
    out.extend_from_slice(&answer.body);
    out
}
