//! A keep-alive HTTP connection with one request on the way.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context as _, Result};

use crate::link::Link;
use crate::socket::{Poll, connect_nonblocking};
use crate::target::Checked;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The connection of one lane.
#[derive(Debug)]
pub(super) struct Connection {
    link: Option<Link>,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(target: &Checked, poll: &Poll, id: usize) -> Result<Self> {
        let address = target.api_address;
        let stream = connect_nonblocking(address, None).with_context(|| format!("connect to {address}"))?;
        poll.add(&stream, id)?;
        let link = Link::over(stream, target.tls.as_ref())?;
        Ok(Self { link: Some(link), out: Vec::new(), answer: Vec::new() })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.link.is_none()
    }

    /// Sends a request; the one before was answered.
    pub(super) fn send(&mut self, request: Vec<u8>) {
        self.out = request;
        self.flush();
    }

    /// Goes on after readiness: `Some` when the request was answered, or failed.
    pub(super) fn progress(&mut self) -> Option<Result<(), String>> {
        self.flush();
        let mut buffer = [0; 4_096];
        loop {
            let Some(link) = &mut self.link else { return Some(Err("publish: the server closed".into())) };
            match link.read(&mut buffer) {
                Ok(0) => self.link = None,
                Ok(n) => {
                    self.answer.extend_from_slice(&buffer[..n]);
                    if let Some(result) = self.parse() {
                        self.answer.clear();
                        return Some(result);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return None,
                Err(error) => {
                    self.link = None;
                    return Some(Err(format!("publish: {error}")));
                }
            }
        }
    }

    fn flush(&mut self) {
        if self.link.as_mut().is_some_and(|link| link.flush().is_err()) {
            self.link = None;
        }
        while !self.out.is_empty() {
            let Some(link) = &mut self.link else { return };
            match link.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.link = None,
            }
        }
    }

    /// The answer, once it is whole.
    fn parse(&mut self) -> Option<Result<(), String>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(&self.answer) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) if self.answer.len() < ANSWER_BYTES_MAX => return None,
            _ => return Some(Err("publish: the answer is no HTTP".into())),
        };
        let header = |name: &str| response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
        let body = &self.answer[head..];
        let length = header("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse::<usize>().ok());
        let whole = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
        if !whole && self.answer.len() < ANSWER_BYTES_MAX {
            return None;
        }
        if response.code == Some(200) && memchr::memmem::find(body, b"\"error\"").is_none() {
            return Some(Ok(()));
        }
        let status = response.code.unwrap_or(0);
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        Some(Err(format!("publish: status {status}: {}", text.trim())))
    }
}
