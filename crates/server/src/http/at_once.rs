//! Plain publishes, answered by the shard that read them. Where publishing never waits this saves two changes of thread,
//! more than the publish itself costs.
//!
//! Not for anything that needs a decision: a request with a header or a key that is not the usual goes to the HTTP side,
//! which knows all the ways to say no.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use hyper::StatusCode;
use tidegate_api::{Answer, ErrorMode, Method};
use tidegate_framing::http::Head;
use tidegate_shard::AnswerAtOnce;
use tidegate_types::codes::ErrorCode;
use tidegate_types::limits::REQUEST_BODY_ON_SHARD_MAX;

use super::AppState;

/// See the module docs.
#[derive(Debug)]
pub struct Publishes(Arc<AppState>);

impl Publishes {
    /// `None` where publishing may wait.
    pub fn new(state: &Arc<AppState>) -> Option<Self> {
        state.hub.publishes_at_once().then(|| Self(state.clone()))
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
        self.0.api.authorize(key).is_ok().then_some(length?)
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

impl AnswerAtOnce for Publishes {
    fn body_bytes(&self, head: &Head<'_>) -> Option<usize> {
        let most = self.0.body_bytes_max.min(REQUEST_BODY_ON_SHARD_MAX);
        self.plain(head).filter(|bytes| *bytes <= most)
    }

    fn answer(&self, _: &Head<'_>, body: &[u8], out: &mut Vec<u8>) {
        let call = pin!(self.0.api.call(Method::Publish, body, ErrorMode::Body));
        let answer = match call.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                Answer::refused(500, ErrorCode::INTERNAL, "the publication may or may not have been taken")
            }
        };
        write(&answer, out);
    }
}

/// The headers are those of the HTTP side.
fn write(answer: &Answer, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let date = httpdate::HttpDate::from(SystemTime::now());
    let length = answer.body.len();
    // Writing to memory cannot fail. The status is written with its reason.
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\ndate: {date}\r\n\r\n"
    );
    out.extend_from_slice(&answer.body);
}
