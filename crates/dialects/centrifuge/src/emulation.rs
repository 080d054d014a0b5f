//! The request by which a client sends commands that its connection cannot carry.

use bytes::Bytes;
use prost::Message as _;
use serde::Deserialize;

/// Commands for a connection somewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Emulation {
    /// The node that has the connection.
    pub node: String,
    /// The session.
    pub session: String,
    /// One or more commands in the encoding of the connection.
    pub data: Bytes,
}

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    node: String,
    #[serde(default)]
    session: String,
    /// The commands as one string.
    #[serde(default)]
    data: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Protobuf {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    session: String,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

impl Emulation {
    /// Reads a JSON body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(body: &[u8]) -> Result<Self, String> {
        let Json { node, session, data } = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        Ok(Self { node, session, data: data.into() })
    }

    /// Reads a Protobuf body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_protobuf(body: Bytes) -> Result<Self, String> {
        let Protobuf { node, session, data } = Protobuf::decode(body).map_err(|e| e.to_string())?;
        Ok(Self { node, session, data })
    }
}

/// The session is a secret.
impl std::fmt::Debug for Emulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulation").field("bytes", &self.data.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_say_the_same() {
        let json = Emulation::from_json(br#"{"session":"s","node":"n","data":"{\"id\":1}\n{}"}"#).unwrap();
        let protobuf = Emulation::from_protobuf(b"\x0a\x01n\x12\x01s\x1a\x0b{\"id\":1}\n{}"[..].into()).unwrap();
        assert!(json == protobuf && json.data == "{\"id\":1}\n{}");
        assert!(Emulation::from_json(br#"{"data":{}}"#).unwrap_err().contains("expected a string"));
        assert!(Emulation::from_protobuf(b"\x0a\x09"[..].into()).is_err());
    }
}
