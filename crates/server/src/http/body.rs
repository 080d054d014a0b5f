//! Reads a request's body within a size and a time, also one that nobody wants.
//!
//! A body that is not all there yet holds memory, and over HTTP/1.1 a connection, for as long as its sender likes. So it
//! takes one of the node's places until it is read. Most bodies come with their head and take none.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tidegate_types::codes::ErrorCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::routes::{Reply, busy, refused};

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// What comes within this time was on its way.
const AT_ONCE: Duration = Duration::from_millis(50);
/// For its next piece. Client libraries give a command up after as long. Over TLS and HTTP/2 a piece is what was sealed
/// or framed as one, 16 KiB mostly, so that a line has to carry 3.3 KB a second.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
/// For one that nobody wants: its answer waits so long at most.
const SKIP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    /// Too many others are waited for.
    TooMany,
    Broken,
}

/// The answer where the body is not there; one that is too large is the caller's to explain.
pub(super) fn failed(error: BodyError) -> Reply {
    match error {
        BodyError::TooLarge => refused(413, ErrorCode::LIMIT_EXCEEDED, "the body is too large"),
        BodyError::TooSlow => refused(408, ErrorCode::BAD_REQUEST, "the body did not come in time"),
        BodyError::TooMany => busy("too many bodies are waited for, send it again"),
        BodyError::Broken => refused(400, ErrorCode::BAD_REQUEST, "the body ended early or is not framed rightly"),
    }
}

/// The body in one piece. One that came in one piece, as most do, is not copied.
pub(super) async fn read<B>(body: B, bytes_max: usize, places: &Semaphore) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    in_place(collect(body, bytes_max), BODY_TIMEOUT, places).await?
}

/// Reads what nobody asked for, so that the next request of the connection is found behind it. `false` = it did not end
/// within these bounds.
pub(super) async fn skip<B>(mut body: B, bytes_max: usize, places: &Semaphore) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return false;
    }
    let end = async {
        let mut left = bytes_max;
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let Ok(frame) = frame else { return false };
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return false };
            left = rest;
        }
        true
    };
    in_place(end, SKIP_TIMEOUT, places).await.unwrap_or(false)
}

/// What reading a body brings. It takes a place where it has to wait for its sender, and not only for the library, which
/// brings what is there in several steps.
async fn in_place<T>(reading: impl Future<Output = T>, most: Duration, places: &Semaphore) -> Result<T, BodyError> {
    let mut reading = pin!(reading);
    if let Ok(read) = timeout(AT_ONCE, reading.as_mut()).await {
        return Ok(read);
    }
    let _place = places.try_acquire().map_err(|_| BodyError::TooMany)?;
    timeout(most - AT_ONCE, reading).await.map_err(|_| BodyError::TooSlow)
}

async fn collect<B: Body<Data = Bytes> + Unpin>(mut body: B, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    // The end of a body whose length is known is told with its last piece, and by `frame` only later.
    while !body.is_end_stream()
        && let Some(frame) = timeout(PIECE_TIMEOUT, body.frame()).await.map_err(|_| BodyError::TooSlow)?
    {
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

    /// A body whose pieces come one by one, every so often, and that does not end.
    struct Slow(tokio::time::Interval);

    impl Slow {
        fn every(period: Duration) -> Self {
            Self(tokio::time::interval_at(tokio::time::Instant::now() + period, period))
        }
    }

    impl Body for Slow {
        type Data = Bytes;
        type Error = ();

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
            self.0.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"a")))))
        }
    }

    fn body(parts: &[Result<&'static str, ()>], ends: bool) -> Parts {
        Parts { parts: parts.iter().copied().collect(), ends }
    }

    async fn read_parts(parts: &[Result<&'static str, ()>], ends: bool) -> Result<Bytes, BodyError> {
        let places = Semaphore::new(1);
        let result = read(body(parts, ends), 4, &places).await;
        if result != Err(BodyError::TooSlow) {
            assert_eq!(skip(body(parts, ends), 4, &places).await, result.is_ok());
        }
        assert_eq!(places.available_permits(), 1);
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
        assert_eq!(begun.elapsed(), PIECE_TIMEOUT);
        assert!(!skip(body(&[], false), 4, &Semaphore::new(1)).await);
        assert_eq!(begun.elapsed(), PIECE_TIMEOUT + SKIP_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_slowly_has_its_time() {
        let places = Semaphore::new(1);
        for (period, expected) in [(PIECE_TIMEOUT / 2, BODY_TIMEOUT), (PIECE_TIMEOUT * 2, PIECE_TIMEOUT)] {
            let begun = tokio::time::Instant::now();
            assert_eq!(read(Slow::every(period), 100, &places).await, Err(BodyError::TooSlow));
            assert_eq!(begun.elapsed(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_body_that_is_waited_for_takes_a_place() {
        let places = Semaphore::new(1);
        let waiting = read(body(&[Ok("a")], false), 4, &places);
        let others = async {
            tokio::time::sleep(2 * AT_ONCE).await;
            assert_eq!(read(body(&[Ok("ab"), Ok("c")], true), 4, &places).await, Ok("abc".into()));
            assert!(skip(body(&[Ok("a")], true), 4, &places).await);
            let begun = tokio::time::Instant::now();
            assert_eq!(read(body(&[Ok("a")], false), 4, &places).await, Err(BodyError::TooMany));
            assert!(!skip(body(&[Ok("a")], false), 4, &places).await);
            assert_eq!(begun.elapsed(), 2 * AT_ONCE);
        };
        assert_eq!(tokio::join!(waiting, others).0, Err(BodyError::TooSlow));
        assert_eq!(places.available_permits(), 1);
    }
}
