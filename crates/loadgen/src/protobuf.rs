//! The Protobuf encoding of what is said, as far as a load needs it. By hand, as the JSON one is.
//!
//! Field numbers: `centrifugal.centrifuge.protocol` (proto3). A message stands behind its length as a varint; one of
//! length 0 is a ping or a pong.

use crate::target::Checked;
use crate::wire::{Line, Position, Reply, SubscribeOptions};

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    if value > 0 {
        out.push(field << 3);
        varint(value, out);
    }
}

fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// A command behind its length.
fn command(id: u64, request: u8, body: &[u8], out: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(body.len() + 16);
    number(1, id, &mut message);
    bytes(request, body, &mut message);
    varint(message.len() as u64, out);
    out.extend_from_slice(&message);
}

/// The connect command; its id is 1.
pub(crate) fn connect(target: &Checked) -> Vec<u8> {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    if let Some(token) = &target.token {
        bytes(1, token.as_bytes(), &mut body);
    }
    command(1, 4, &body, &mut out);
    out
}

/// Subscribes to all these channels; ids count from 2.
pub(crate) fn subscribe(prefix: &str, channels: impl Iterator<Item = u32>, options: &SubscribeOptions) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, channel) in (2..).zip(channels) {
        let mut body = Vec::new();
        bytes(1, format!("{prefix}{channel}").as_bytes(), &mut body);
        if let Some(Position { epoch, offset }) = &options.from {
            number(3, 1, &mut body);
            bytes(6, epoch.as_bytes(), &mut body);
            number(7, *offset, &mut body);
        }
        if options.recoverable {
            number(9, 1, &mut body);
            number(10, 1, &mut body);
        }
        command(id, 5, &body, &mut out);
    }
    out
}

/// A client's publish command.
pub(crate) fn publish(out: &mut Vec<u8>, channel: &str, id: u64, data: &[u8]) {
    let mut body = Vec::with_capacity(data.len() + channel.len() + 8);
    bytes(1, channel.as_bytes(), &mut body);
    bytes(2, data, &mut body);
    command(id, 7, &body, out);
}

/// A field: its number, its varint or length, and its bytes where it has some.
type Field<'a> = (u64, u64, &'a [u8]);

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message, up to the first that is none.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        let key = read_varint(&mut message)?;
        let value = read_varint(&mut message)?;
        let mut content = &message[..0];
        match key & 7 {
            0 => {}
            2 => (content, message) = message.split_at_checked(usize::try_from(value).ok()?)?,
            _ => return None,
        }
        Some((key >> 3, value, content))
    })
}

/// The messages in a frame. Pushes are by far the most, so they are told apart by their first byte.
pub(crate) fn lines(mut frame: &[u8]) -> impl Iterator<Item = Line<'_>> {
    const PUSH: u8 = 4 << 3 | 2;
    std::iter::from_fn(move || {
        let length = usize::try_from(read_varint(&mut frame)?).ok()?;
        let (message, rest) = frame.split_at_checked(length)?;
        frame = rest;
        Some(match message.first() {
            None => Line::Ping,
            Some(&PUSH) => Line::Push(message),
            Some(_) => Line::Reply(message),
        })
    })
}

/// Whether a push ends a subscription.
pub(crate) fn is_unsubscribe(push: &[u8]) -> bool {
    fields(push).filter(|f| f.0 == 4).flat_map(|f| fields(f.2)).any(|f| f.0 == 7)
}

/// How many bytes longer the message of a publication would be at a larger offset, with the lengths around it.
pub(crate) fn growth_at(message: &[u8], offset: u64) -> Option<usize> {
    let of = |message, number| fields(message).find(|f| f.0 == number);
    let push = of(message, 4)?.2;
    let publication = of(push, 4)?.2;
    let mut growth = varint_bytes(offset).saturating_sub(varint_bytes(of(publication, 6)?.1));
    for length in [publication.len(), push.len(), message.len()] {
        growth += varint_bytes((length + growth) as u64) - varint_bytes(length as u64);
    }
    Some(growth)
}

fn varint_bytes(value: u64) -> usize {
    let mut out = Vec::new();
    varint(value, &mut out);
    out.len()
}

/// Reads an answer.
pub(crate) fn reply(message: &[u8]) -> Reply {
    match fields(message).find(|f| f.0 > 1) {
        Some((2, _, error)) => Reply::Failed(format!("server error {}", String::from_utf8_lossy(error))),
        Some((5, ..)) => Reply::Connected,
        Some((6, _, result)) => {
            let (mut position, mut recovered) = (Position::default(), false);
            for (field, value, content) in fields(result) {
                match field {
                    6 => position.epoch = String::from_utf8_lossy(content).into_owned(),
                    8 => recovered = value != 0,
                    9 => position.offset = value,
                    _ => {}
                }
            }
            Reply::Subscribed { position, recovered, delta: false }
        }
        Some(_) => Reply::Done,
        None => Reply::Failed("a reply without a result".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_schema() {
        let from = Some(Position { epoch: "e".into(), offset: 300 });
        let said = subscribe(
            "c",
            [1].into_iter(),
            &SubscribeOptions { recoverable: true, from, ..SubscribeOptions::default() },
        );
        let body = b"\x0a\x02c1\x18\x01\x32\x01e\x38\xac\x02\x48\x01\x50\x01";
        assert_eq!(said, [&[u8::try_from(body.len()).unwrap() + 4, 8, 2, 0x2a, 16][..], body].concat());
        let mut said = Vec::new();
        publish(&mut said, "c1", 7, b"{}");
        assert_eq!(said, b"\x0c\x08\x07\x3a\x08\x0a\x02c1\x12\x02{}");
    }

    #[test]
    fn messages_are_told_apart() {
        let reply_bytes = b"\x0a\x08\x02\x32\x06\x32\x01e\x40\x01\x48\x09";
        let frame = [&b"\x00\x02\x22\x00"[..], &[12], &reply_bytes[1..], &[0x48, 0x09][..0]].concat();
        let all: Vec<_> = lines(&frame).collect();
        assert_eq!(all[..2], [Line::Ping, Line::Push(b"\x22\x00")]);
        let subscribed =
            Reply::Subscribed { position: Position { epoch: "e".into(), offset: 9 }, recovered: true, delta: false };
        assert_eq!(reply(b"\x08\x02\x32\x07\x32\x01e\x40\x01\x48\x09"), subscribed);
        assert_eq!(reply(b"\x08\x01\x2a\x00"), Reply::Connected);
        assert_eq!(reply(b"\x08\x03\x42\x00"), Reply::Done);
        assert!(matches!(reply(b"\x08\x03\x12\x02\x08\x67"), Reply::Failed(_)));
        assert!(is_unsubscribe(b"\x22\x04\x3a\x02\x10\x01") && !is_unsubscribe(b"\x22\x02\x22\x00"));
    }

    #[test]
    fn a_publication_is_longer_at_a_larger_offset() {
        let message = |data: &[u8], offset| {
            let (mut publication, mut push, mut reply) = (Vec::new(), Vec::new(), Vec::new());
            bytes(4, data, &mut publication);
            number(6, offset, &mut publication);
            bytes(2, b"c", &mut push);
            bytes(4, &publication, &mut push);
            bytes(4, &push, &mut reply);
            reply
        };
        for size in [1, 110, 115, 118, 119, 120, 122, 125, 128, 16_370] {
            let (small, data) = (message(&vec![0; size], 50), vec![0; size]);
            let large = message(&data, 1 << 31);
            let framed = |message: &[u8]| varint_bytes(message.len() as u64) + message.len();
            assert_eq!(growth_at(&small, 1 << 31), Some(framed(&large) - framed(&small)), "{size}");
            assert_eq!(growth_at(&large, 1 << 31), Some(0));
        }
        assert_eq!(growth_at(b"\x22\x00", 1 << 31), None);
    }

    #[test]
    fn what_is_cut_ends_the_list() {
        assert_eq!(lines(b"\x05\x22").count(), 0);
        assert_eq!(fields(b"\x0a\x09a").count(), 0);
        assert_eq!(read_varint(&mut &[0xff; 11][..]), None);
    }
}
