//! The server's end of one TLS connection, without its socket.
//!
//! Records in, plaintext and answers out; plaintext in, records out. Whoever owns the socket moves the bytes: a shard, or
//! the HTTP side, to which a session goes with its connection. The bytes that follow the last whole record are kept here,
//! and every call of the library gets them: a handshake message may lie in several records, and the library remembers
//! where its parts are in the bytes that it was shown.

use std::fmt;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, ServerConfig};
use tidegate_types::limits::{TLS_HELD_BYTES_MAX, TLS_RECORD_BYTES, TLS_UNSENT_BYTES_MAX};

/// What a record is longer than its plaintext, in every suite; a longer one is asked for again.
const RECORD_OVERHEAD: usize = 64;

/// See the module docs.
pub struct TlsSession {
    connection: UnbufferedServerConnection,
    /// What is there of an incomplete record or handshake message; bounded.
    held: Vec<u8>,
    /// Records that the socket did not take, or their rest; bounded.
    unsent: Vec<u8>,
    pub(crate) stage: Stage,
    /// The peer said that it sends no more.
    peer_closed: bool,
    /// We did.
    closed: bool,
    /// It waits for a handshake step.
    pub(crate) in_line: bool,
}

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Nothing came yet.
    Fresh,
    Handshake,
    Open,
    /// It broke. Nothing is said or heard any more: the library remembers places in bytes that are gone.
    Over,
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl TlsSession {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            held: Vec::new(),
            unsent: Vec::new(),
            stage: Stage::Fresh,
            peer_closed: false,
            closed: false,
            in_line: false,
        })
    }

    /// Takes bytes from the socket. Adds what they carried to `plain`; answers are unsent.
    ///
    /// # Errors
    /// When they are not what the peer may say. The alert is unsent, and the session is over.
    pub fn feed(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut records = std::mem::take(&mut self.unsent);
        let taken = self.take(&mut all, plain, &mut records);
        self.unsent = records;
        match taken {
            Ok(()) if self.unsent.len() > TLS_UNSENT_BYTES_MAX => {
                Err(Error::General("the peer takes no answers".into()))
            }
            taken => taken,
        }
    }

    /// Puts what is held in front of what will be read: returns its length.
    pub(crate) fn put_held(&self, scratch: &mut [u8]) -> usize {
        scratch[..self.held.len()].copy_from_slice(&self.held);
        self.held.len()
    }

    /// [`TlsSession::feed`] of what was held and what follows it, in place, with the answers in `records`.
    pub(crate) fn take(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, records: &mut Vec<u8>) -> Result<(), Error> {
        if self.stage == Stage::Over {
            return Err(over());
        }
        let rest = self.process(bytes, plain, records);
        let kept = rest.and_then(|at| self.hold(&bytes[at..]));
        self.stage = match &kept {
            Err(_) => Stage::Over,
            Ok(()) if self.connection.is_handshaking() => Stage::Handshake,
            Ok(()) => Stage::Open,
        };
        kept
    }

    /// Where the bytes begin that are not whole yet.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, records: &mut Vec<u8>) -> Result<usize, Error> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(&mut bytes[at..]);
            let more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, records)?,
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    true
                }
                // Early data is not offered, so it does not come.
                Ok(_) => false,
                Err(error) => {
                    self.alert(&mut bytes[at + discard..], records);
                    return Err(error);
                }
            };
            at += discard;
            if !more {
                return Ok(at);
            }
        }
    }

    fn hold(&mut self, rest: &[u8]) -> Result<(), Error> {
        if rest.len() > TLS_HELD_BYTES_MAX {
            return Err(Error::General("a message that does not end".into()));
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// Adds what tells the peer why it ends.
    fn alert(&mut self, rest: &mut [u8], records: &mut Vec<u8>) {
        // It is queued before anything else; what the library would make of the rest is of no interest.
        if let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(rest).state {
            let _ = encode(data, records);
        }
    }

    /// Adds the record of a piece of plaintext, no longer than a record takes.
    pub(crate) fn seal(&mut self, plaintext: &[u8], records: &mut Vec<u8>) -> Result<(), Error> {
        self.write(records, |traffic, room| traffic.encrypt(plaintext, room), plaintext.len() + RECORD_OVERHEAD)
    }

    /// Adds the record that says that nothing follows; once.
    pub(crate) fn seal_close(&mut self, records: &mut Vec<u8>) {
        if self.stage == Stage::Open && !std::mem::replace(&mut self.closed, true) {
            // Where it cannot be made the peer sees the end of the connection.
            let _ = self.write(records, |traffic, room| traffic.queue_close_notify(room), RECORD_OVERHEAD);
        }
    }

    /// Adds what `make` makes of the session's output, and what TLS itself has to say before.
    fn write(
        &mut self,
        records: &mut Vec<u8>,
        make: impl FnMut(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
        room: usize,
    ) -> Result<(), Error> {
        if self.stage != Stage::Open {
            return Err(over());
        }
        let made = self.make(records, make, room);
        if made.is_err() {
            self.stage = Stage::Over;
        }
        made
    }

    fn make(
        &mut self,
        records: &mut Vec<u8>,
        mut make: impl FnMut(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
        room: usize,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(&mut self.held);
            let more = match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    append(records, room, |room| make(&mut traffic, room))?;
                    false
                }
                ConnectionState::EncodeTlsData(data) => encode(data, records)?,
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                _ => return Err(over()),
            };
            self.held.drain(..discard);
            if !more {
                return Ok(());
            }
        }
    }

    /// Seals as much as one record takes: how much that was. Call it with nothing unsent; the record is.
    ///
    /// # Errors
    /// When the session has ended.
    pub fn write_some(&mut self, plaintext: &[u8]) -> Result<usize, Error> {
        let piece = &plaintext[..plaintext.len().min(TLS_RECORD_BYTES)];
        let mut records = std::mem::take(&mut self.unsent);
        let sealed = self.seal(piece, &mut records);
        self.unsent = records;
        sealed.map(|()| piece.len())
    }

    /// Says that nothing follows: that is unsent.
    pub fn close(&mut self) {
        let mut records = std::mem::take(&mut self.unsent);
        self.seal_close(&mut records);
        self.unsent = records;
    }

    /// Records, or the rest of one, that the socket must take before anything else.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The socket took so much of it.
    pub fn sent(&mut self, count: usize) {
        if count == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..count);
        }
    }

    /// Keeps what the socket did not take; false when that is too much.
    pub(crate) fn keep_unsent(&mut self, rest: &[u8]) -> bool {
        self.unsent.extend_from_slice(rest);
        self.unsent.len() <= TLS_UNSENT_BYTES_MAX
    }

    /// Whether the peer said that it sends no more.
    pub fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }
}

fn over() -> Error {
    Error::General("the session is over".into())
}

/// Appends what `make` writes into at least `room` bytes.
fn append(
    out: &mut Vec<u8>,
    room: usize,
    mut make: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Error> {
    let at = out.len();
    out.resize(at + room, 0);
    let made = match make(&mut out[at..]) {
        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
            out.resize(at + required_size, 0);
            make(&mut out[at..])
        }
        made => made,
    };
    out.truncate(at + made.as_ref().copied().unwrap_or(0));
    made.map(drop).map_err(|error| Error::General(error.to_string()))
}

/// Appends a record of the handshake. There may be more.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> Result<bool, Error> {
    let at = out.len();
    // It tells its size by refusing.
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut []) {
        out.resize(at + required_size, 0);
        data.encode(&mut out[at..]).map_err(|error| Error::General(error.to_string()))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
