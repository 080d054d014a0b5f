//! Reads a request's body within a size and a time, also one that nobody wants.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tidegate_types::codes::ErrorCode;

use super::routes::{Reply, refused};

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// For one that nobody wants: its answer waits so long at most.
const SKIP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// The answer where the body is not there; one that is too large is the caller's to explain.
pub(super) fn failed(error: BodyError) -> Reply {
    match error {
        BodyError::TooLarge => refused(413, ErrorCode::LIMIT_EXCEEDED, "the body is too large"),
        BodyError::TooSlow => refused(408, ErrorCode::BAD_REQUEST, "the body did not come in time"),
        BodyError::Broken => refused(400, ErrorCode::BAD_REQUEST, "the body ended early or is not framed rightly"),
    }
}

/// The body in one piece. One that came in one piece, as most do, is not copied.
pub(super) async fn read<B: Body<Data = Bytes> + Unpin>(body: B, bytes_max: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(BODY_TIMEOUT, collect(body, bytes_max)).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Reads what nobody asked for, so that the next request of the connection is found behind it. `false` = it did not end
/// within these bounds.
pub(super) async fn skip<B: Body<Data = Bytes> + Unpin>(mut body: B, bytes_max: usize) -> bool {
    if body.size_hint().lower() > bytes_max as u64 {
        return false;
    }
    let end = async {
        let mut left = bytes_max;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return false };
            left = rest;
        }
        true
    };
    tokio::time::timeout(SKIP_TIMEOUT, end).await.unwrap_or(false)
}

async fn collect<B: Body<Data = Bytes> + Unpin>(mut body: B, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// Parts that come at once, and whether it ends after them.
    struct Parts {
        parts: VecDeque<Result<&'static str, ()>>,
        ends: bool,
    }

    impl Body for Parts {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
            match self.parts.pop_front() {
                Some(part) => Poll::Ready(Some(part.map(|text| Frame::data(Bytes::from_static(text.as_bytes()))))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    async fn read_parts(parts: &[Result<&'static str, ()>], ends: bool) -> Result<Bytes, BodyError> {
        let body = || Parts { parts: parts.iter().copied().collect(), ends };
        let result = read(body(), 4).await;
        if result != Err(BodyError::TooSlow) {
            assert_eq!(skip(body(), 4).await, result.is_ok());
        }
        result
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_time() {
        assert_eq!(read_parts(&[], true).await, Ok(Bytes::new()));
        assert_eq!(read_parts(&[Ok("abcd")], true).await, Ok("abcd".into()));
        assert_eq!(read_parts(&[Ok("a"), Ok(""), Ok("bc"), Ok("d")], true).await, Ok("abcd".into()));
        assert_eq!(read_parts(&[Ok("abcde")], true).await, Err(BodyError::TooLarge));
        assert_eq!(read_parts(&[Ok("abc"), Ok("de")], false).await, Err(BodyError::TooLarge));
        assert_eq!(read_parts(&[Ok("abc"), Err(())], false).await, Err(BodyError::Broken));
        let begun = tokio::time::Instant::now();
        assert_eq!(read_parts(&[Ok("abc")], false).await, Err(BodyError::TooSlow));
        assert_eq!(begun.elapsed(), BODY_TIMEOUT);
        assert!(!skip(Parts { parts: VecDeque::new(), ends: false }, 4).await);
        assert_eq!(begun.elapsed(), BODY_TIMEOUT + SKIP_TIMEOUT);
    }
}
