//! Answers: an HTTP status and a JSON body, in one of two error modes.

use std::borrow::Cow;

use bytes::Bytes;
use tidegate_core::HubError;
use tidegate_types::StreamPosition;
use tidegate_types::codes::ErrorCode;

/// How errors of a method look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ErrorMode {
    /// HTTP 200 and `{"error":{...}}`.
    #[default]
    Body,
    /// An HTTP status by code, and the bare error.
    Transport,
}

impl ErrorMode {
    /// From the value of the header `X-Centrifugo-Error-Mode`.
    pub fn from_header(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"transport") { Self::Transport } else { Self::Body }
    }
}

/// What goes back to the caller. The body is always JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, body: body.into() }
    }

    /// Something that went wrong before a method was asked: a wrong key, an unreadable body, an unknown path.
    pub fn refused(status: u16, code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let mut body = Vec::with_capacity(128);
        Failure { code, message: message.into(), temporary: false }.write_wrapped(&mut body);
        Self { status, body: body.into() }
    }
}

/// Why a method failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'static, str>,
    /// Trying the same again can help.
    pub(crate) temporary: bool,
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self { code: error.code(), temporary: error.is_retryable(), message: error.to_string().into() }
    }
}

impl Failure {
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: ErrorCode::BAD_REQUEST, message: message.into(), temporary: false }
    }

    pub(crate) fn forbidden(message: String) -> Self {
        Self { code: ErrorCode::PERMISSION_DENIED, message: message.into(), temporary: false }
    }

    pub(crate) fn limit_exceeded(message: String) -> Self {
        Self { code: ErrorCode::LIMIT_EXCEEDED, message: message.into(), temporary: false }
    }

    pub(crate) fn not_available(message: &'static str) -> Self {
        Self { code: ErrorCode::NOT_AVAILABLE, message: message.into(), temporary: false }
    }

    pub(crate) fn into_answer(self, mode: ErrorMode) -> Answer {
        let mut body = Vec::with_capacity(128);
        let status = match mode {
            ErrorMode::Body => {
                self.write_wrapped(&mut body);
                200
            }
            ErrorMode::Transport => {
                self.write(&mut body);
                self.status()
            }
        };
        Answer { status, body: body.into() }
    }

    fn status(&self) -> u16 {
        match self.code {
            ErrorCode::UNKNOWN_CHANNEL | ErrorCode::METHOD_NOT_FOUND => 404,
            ErrorCode::BAD_REQUEST | ErrorCode::NOT_AVAILABLE => 400,
            ErrorCode::PERMISSION_DENIED => 403,
            ErrorCode::LIMIT_EXCEEDED => 413,
            ErrorCode::UNRECOVERABLE_POSITION => 416,
            _ => 500,
        }
    }

    /// `{"error":{...}}`.
    pub(crate) fn write_wrapped(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":");
        self.write(out);
        out.push(b'}');
    }

    /// `{"code":...,"message":...}`, with `"temporary":true` where a retry can help.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"code\":");
        number(self.code.code.into(), out);
        out.extend_from_slice(b",\"message\":");
        string(&self.message, out);
        if self.temporary {
            out.extend_from_slice(b",\"temporary\":true");
        }
        out.push(b'}');
    }
}

/// `{"offset":...,"epoch":...}`.
pub(crate) fn position(position: &StreamPosition, out: &mut Vec<u8>) {
    out.push(b'{');
    position_fields(position, out);
    out.push(b'}');
}

/// `"offset":...,"epoch":...`; an offset of 0 is left out.
pub(crate) fn position_fields(position: &StreamPosition, out: &mut Vec<u8>) {
    if position.offset.0 != 0 {
        out.extend_from_slice(b"\"offset\":");
        number(position.offset.0, out);
        out.push(b',');
    }
    out.extend_from_slice(b"\"epoch\":");
    string(position.epoch.as_str(), out);
}

/// A comma, unless a list was just begun.
pub(crate) fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'[') {
        out.push(b',');
    }
}

/// A JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string serialises into memory");
}

/// A decimal number.
pub(crate) fn number(value: u64, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a number serialises into memory");
}
