//! Frames on their way in.
//!
//! The bytes lie in a buffer that belongs to the caller (one per shard, not per connection). A message that is whole in
//! it is unmasked in place and handed out as a slice. Only what is not whole is copied: the start of a head, the part
//! of a frame, the fragments of a message. That state is boxed, and gone as soon as the decoder stands between two
//! messages.

use std::ops::ControlFlow;

use super::close::{self, CloseFrame};
use super::error::ProtocolError;
use super::frame::{HEAD_BYTES_MAX, Head, Opcode};
use super::mask::apply_mask;

/// Which end decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Frames come from a client: they must be masked.
    Server,
    /// Frames come from a server: they must not be masked.
    Client,
}

/// What this end takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, all fragments together. Each connection may cost that much memory (twice it, while the
    /// buffer of a partial message grows).
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message_bytes_max: 65_536 }
    }
}

/// What the peer sent, unmasked, put together and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// Wants a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes; nothing comes after it. `None` = without a code.
    Close(Option<CloseFrame<'a>>),
}

/// The decoder of one connection: 16 bytes while between two messages.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    role: Role,
    ended: bool,
}

/// What arrived in part.
#[derive(Debug, Default)]
struct Partial {
    /// The start of a head; empty once the head was read.
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// The frame whose payload is still coming, and how much of it came.
    frame: Option<(Head, usize)>,
    /// The data message that is not whole yet.
    message: Option<Message>,
    /// The control frame that is not whole yet: 125 bytes at most.
    control: Vec<u8>,
}

/// A data message in parts.
#[derive(Debug)]
struct Message {
    opcode: Opcode,
    bytes: Vec<u8>,
    /// Text is known to be UTF-8 up to here.
    checked: usize,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(role: Role) -> Self {
        Self { partial: None, role, ended: false }
    }

    /// Whether nothing comes any more: the peer closed, or broke the protocol.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that this decoder keeps on the heap.
    pub fn buffered(&self) -> usize {
        self.partial.as_ref().map_or(0, |p| {
            size_of::<Partial>() + p.control.capacity() + p.message.as_ref().map_or(0, |m| m.bytes.capacity())
        })
    }

    /// Takes the bytes that arrived (and scrambles them) and hands out what they complete, until the bytes end or
    /// `on_event` breaks. Returns how many bytes were taken: all, or those up to the event that broke; give the rest
    /// again to go on. After a close frame everything is taken and ignored.
    ///
    /// # Errors
    /// When the peer breaks the protocol: events before the fault were handed out. Later calls ignore their input.
    pub fn decode(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, ProtocolError> {
        let mut at = 0;
        while at < input.len() && !self.ended {
            match self.step(&mut input[at..], limits, on_event) {
                Ok((taken, flow)) => {
                    at += taken;
                    if flow.is_break() && !self.ended {
                        return Ok(at);
                    }
                }
                Err(error) => {
                    self.ended = true;
                    self.partial = None;
                    return Err(error);
                }
            }
        }
        Ok(input.len())
    }

    /// One frame, or the part of it that is there.
    fn step(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(usize, ControlFlow<()>), ProtocolError> {
        let (head, done, taken) = match self.partial.as_mut().and_then(|p| p.frame.take()) {
            Some((head, done)) => (head, done, 0),
            None => match self.read_head(input, limits)? {
                Some((head, taken)) => (head, 0, taken),
                None => return Ok((input.len(), ControlFlow::Continue(()))),
            },
        };
        // The limits keep a length far below what `usize` holds.
        let wanted = head.len as usize - done;
        let there = wanted.min(input.len() - taken);
        let payload = &mut input[taken..taken + there];
        if let Some(key) = head.key {
            apply_mask(payload, key, done);
        }
        let flow = if there == wanted {
            self.finish(head, payload, on_event)?
        } else {
            self.keep(head, payload)?.frame = Some((head, done + there));
            ControlFlow::Continue(())
        };
        Ok((taken + there, flow))
    }

    /// The next head and how many bytes of `input` belong to it; `None` when it is not whole (its start is kept).
    fn read_head(&mut self, input: &[u8], limits: &Limits) -> Result<Option<(Head, usize)>, ProtocolError> {
        let (head, taken) = match &mut self.partial {
            Some(partial) if partial.head_len > 0 => {
                let before = partial.head_len;
                let more = input.len().min(HEAD_BYTES_MAX - before);
                partial.head[before..before + more].copy_from_slice(&input[..more]);
                match Head::parse(&partial.head[..before + more], self.role)? {
                    Some(head) => {
                        partial.head_len = 0;
                        (head, head.size - before)
                    }
                    None => {
                        partial.head_len += more;
                        return Ok(None);
                    }
                }
            }
            _ => match Head::parse(input, self.role)? {
                Some(head) => (head, head.size),
                None => {
                    // A head that is not whole is shorter than the longest.
                    let partial = self.partial.get_or_insert_default();
                    partial.head[..input.len()].copy_from_slice(input);
                    partial.head_len = input.len();
                    return Ok(None);
                }
            },
        };
        self.check(&head, limits)?;
        Ok(Some((head, taken)))
    }

    /// What can be said about a head in its place: fragments in order, message within the limit.
    fn check(&self, head: &Head, limits: &Limits) -> Result<(), ProtocolError> {
        if head.opcode.is_control() {
            return Ok(());
        }
        let message = self.partial.as_ref().and_then(|p| p.message.as_ref());
        match (message, head.opcode) {
            (None, Opcode::Continuation) => return Err(ProtocolError::LoneContinuation),
            (Some(_), Opcode::Text | Opcode::Binary) => return Err(ProtocolError::MessageInterrupted),
            _ => {}
        }
        let room = limits.message_bytes_max.saturating_sub(message.map_or(0, |m| m.bytes.len()));
        if head.len > room as u64 {
            return Err(ProtocolError::MessageTooBig(limits.message_bytes_max));
        }
        Ok(())
    }

    /// Copies a part of a frame.
    fn keep(&mut self, head: Head, payload: &[u8]) -> Result<&mut Partial, ProtocolError> {
        let partial = self.partial.get_or_insert_default();
        if head.opcode.is_control() {
            partial.control.extend_from_slice(payload);
        } else {
            let message = partial.message.get_or_insert_with(|| Message::new(head.opcode));
            message.push(payload)?;
        }
        Ok(partial)
    }

    /// The last part of a frame: hands out what is whole now.
    fn finish(
        &mut self,
        head: Head,
        payload: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ProtocolError> {
        let control = head.opcode.is_control();
        let in_parts =
            self.partial.as_ref().is_some_and(|p| if control { !p.control.is_empty() } else { p.message.is_some() });
        if !control && !head.fin {
            self.keep(head, payload)?;
            return Ok(ControlFlow::Continue(()));
        }
        if !in_parts {
            let event = event(head.opcode, payload)?;
            self.ended |= matches!(event, Event::Close(_));
            let flow = on_event(event);
            self.release();
            return Ok(flow);
        }
        let partial = self.keep(head, payload)?;
        let (opcode, bytes) = if control {
            (head.opcode, std::mem::take(&mut partial.control))
        } else {
            let message = partial.message.take().unwrap_or_else(|| Message::new(head.opcode));
            (message.opcode, message.bytes)
        };
        let event = event(opcode, &bytes)?;
        self.ended |= matches!(event, Event::Close(_));
        self.release();
        Ok(on_event(event))
    }

    /// Drops the state when nothing is in it.
    fn release(&mut self) {
        let idle = |p: &Partial| p.head_len == 0 && p.frame.is_none() && p.message.is_none() && p.control.is_empty();
        if self.ended || self.partial.as_ref().is_some_and(|p| idle(p)) {
            self.partial = None;
        }
    }
}

impl Message {
    fn new(opcode: Opcode) -> Self {
        Self { opcode, bytes: Vec::new(), checked: 0 }
    }

    /// Adds a part. Text is checked as far as it goes, so that a fault ends the message before its last byte came; a
    /// character may lie across two parts.
    fn push(&mut self, part: &[u8]) -> Result<(), ProtocolError> {
        self.bytes.extend_from_slice(part);
        if self.opcode == Opcode::Text {
            match std::str::from_utf8(&self.bytes[self.checked..]) {
                Ok(_) => self.checked = self.bytes.len(),
                Err(error) if error.error_len().is_some() => return Err(ProtocolError::Utf8),
                Err(error) => self.checked += error.valid_up_to(),
            }
        }
        Ok(())
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => Event::Text(std::str::from_utf8(payload).map_err(|_| ProtocolError::Utf8)?),
        Opcode::Binary => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(close::parse(payload)?),
        Opcode::Continuation => return Err(ProtocolError::LoneContinuation),
    })
}

#[cfg(test)]
mod tests;
