//! One POST. HTTP/1.0, so that the answer is neither chunked nor kept alive.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::Peer;

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Posts JSON and returns status and body.
pub(crate) fn post(peer: &Peer, path: &str, api_key: Option<&str>, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = peer.connect(PATIENCE)?;
    let key = match api_key {
        None => String::new(),
        Some(key) => {
            ensure!(key.bytes().all(|b| b.is_ascii_graphic()), "the API key has characters that no header can carry");
            format!("X-API-Key: {key}\r\n")
        }
    };
    let head = format!(
        "POST {}{path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n",
        peer.url.prefix,
        peer.url.host,
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).context("cannot send the request")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("no answer came")?;
    split(&answer)
}

fn split(answer: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { bail!("what answers is no HTTP server") };
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse().ok());
    let status = status.context("what answers is no HTTP server")?;
    Ok((status, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split() {
        let answer = split(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}").unwrap();
        assert_eq!(answer, (200, b"{}".to_vec()));
        for bad in [&b""[..], b"HTTP/1.1 200", b"SSH-2.0\r\n\r\n", b"HTTP/1.\r\n\r\n"] {
            assert!(split(bad).is_err());
        }
    }
}
