//! One item published to a channel, as the window keeps it and every transport delivers it.

use bytes::Bytes;

use crate::{ClientInfo, Offset};

/// Small labels on a publication, in the order in which they were given.
pub type Tags = Vec<(String, String)>;

/// A publication as it is delivered: immutable, shared by everybody who gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Its place in the channel.
    pub offset: Offset,
    /// When the log took it (or, where the log trusts producers, when it was produced), in ms since 1970.
    pub time_ms: i64,
    /// What was published.
    pub payload: Payload,
    /// What came beside the payload; `None` = nothing, which is the usual case.
    pub meta: Option<Box<Meta>>,
}

/// What travels beside a payload: headers on Kafka, fields of a stored record elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Labels for subscribers.
    pub tags: Tags,
    /// The publisher, when a client published.
    pub info: Option<ClientInfo>,
    /// Makes a retried publish land once; unique within the channel.
    pub idempotency_key: Option<String>,
    /// Suppresses this publication where a version as high was seen.
    pub version: Option<Version>,
    /// It may reach subscribers who take deltas as the difference to the one before.
    pub delta: bool,
    /// Public id of the session that does not get it, because it knows it already.
    pub exclude: Option<String>,
}

impl Publication {
    /// About how many bytes an answer needs for what was published: the payload as JSON has it, and what is told with it.
    pub fn told_bytes(&self) -> usize {
        self.payload.json().len() + self.meta.as_deref().map_or(0, Meta::bytes)
    }
}

impl Meta {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let info = self
            .info
            .as_ref()
            .map_or(0, |info| info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len());
        let ids = [&self.idempotency_key, &self.exclude].into_iter().flatten().map(String::len).sum::<usize>();
        tags + info + ids + self.version.as_ref().map_or(0, |version| version.epoch.len())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Itself boxed, or `None` when there is nothing in it.
    pub fn boxed(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }
}

/// The version of what a publication describes: lower or equal ones within the same epoch are suppressed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Version {
    /// Only compared with versions of the same epoch; an other epoch starts anew.
    pub epoch: String,
    /// The number; 0 is "no version" and never stored.
    pub number: u64,
}

/// What an encoding without bytes (JSON) puts in the place of the payload, decided when the record enters the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadKind {
    /// The bytes are valid JSON without newlines between tokens: embedded as they are.
    Json,
    /// UTF-8 that is not JSON: a JSON string.
    Text,
    /// Anything else: a base64 string, with the tag [`Payload::BASE64_TAG`].
    Binary,
}

/// A payload: the untouched bytes of the log, and how JSON shows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payload {
    raw: Bytes,
    json: Bytes,
    kind: PayloadKind,
}

impl Payload {
    /// Key and value of the tag that marks a payload shown in base64.
    pub const BASE64_TAG: (&'static str, &'static str) = ("tidegate-encoding", "base64");

    /// A payload whose JSON form was worked out by the caller. For [`PayloadKind::Json`] `json` is `raw` itself, or a
    /// copy without newlines.
    pub fn new(raw: Bytes, json: Bytes, kind: PayloadKind) -> Self {
        Self { raw, json, kind }
    }

    /// The bytes of the log.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// One JSON value, free of newlines.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The bytes that a client of a text encoding ends up with, where it takes payloads as strings; `None` when they are
    /// no text.
    pub fn text(&self) -> Option<&Bytes> {
        match self.kind {
            PayloadKind::Json => Some(&self.json),
            PayloadKind::Text => Some(&self.raw),
            PayloadKind::Binary => None,
        }
    }

    /// How [`Payload::json`] came about.
    pub fn kind(&self) -> PayloadKind {
        self.kind
    }
}
