//! The demo page and its jobs.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use tidegate_demo::{Asset, Jobs};
use tidegate_types::codes::ErrorCode;

use super::routes::{Reply, json, refused};

/// A file of the page; 304 when the browser has it.
pub(super) fn asset(path: &str, headers: &HeaderMap) -> Option<Reply> {
    let Asset { bytes, content_type, etag, cache_control } = tidegate_demo::asset(path)?;
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tags| tags.as_bytes() == etag.as_bytes());
    let mut reply = Response::new(Full::new(if known { Bytes::new() } else { Bytes::from_static(bytes) }));
    if known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ETAG, HeaderValue::from_static(etag));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(reply)
}

/// Starts a job: a process, so off the runtime's threads.
pub(super) async fn start(jobs: &Arc<Jobs>) -> Reply {
    let jobs = jobs.clone();
    match tokio::task::spawn_blocking(move || jobs.start()).await {
        Ok(Ok(job)) => json(StatusCode::OK, job.to_json().into()),
        Ok(Err(error)) => refused(error.status(), ErrorCode::INTERNAL, error.to_string()),
        Err(_) => refused(500, ErrorCode::INTERNAL, "the job was not started"),
    }
}
