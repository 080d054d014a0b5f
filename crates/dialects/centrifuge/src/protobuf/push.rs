//! The push of a publication: what is made for every publication and sent to every subscriber, so it is written by
//! hand, from the inside out, into a buffer that grows once.
//!
//! Invariant: byte for byte what [`super::wire`] describes.

use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use tidegate_protocol::Data;
use tidegate_types::Publication;

use super::encode;

/// Keys of length-delimited fields: `number << 3 | 2`.
const REPLY_PUSH: u8 = 4 << 3 | 2;
const PUSH_CHANNEL: u8 = 2 << 3 | 2;
const PUSH_PUBLICATION: u8 = 4 << 3 | 2;
const PUBLICATION_DATA: u8 = 4 << 3 | 2;
/// Key of a varint field: `number << 3`.
const PUBLICATION_OFFSET: u8 = 6 << 3;

/// Length of a field with a one-byte key; proto3 leaves empty ones out.
fn field_length(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { delimited_length(bytes) }
}

fn delimited_length(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

fn key(key: u8, bytes: usize, out: &mut Vec<u8>) {
    out.push(key);
    encode_varint(bytes as u64, out);
}

fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        key(number, bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}

pub(super) fn publication(channel: &str, publication: &Publication, given: Data<'_>, out: &mut Vec<u8>) {
    // What came beside the payload is seldom there.
    let extended = match given {
        Data::Delta(delta) => Some(encode::delta(publication, delta)),
        Data::Plain | Data::Whole => publication.meta.as_ref().map(|_| encode::publication(publication)),
    };
    let (data, offset) = (publication.payload.raw(), publication.offset.0);
    let inner = match &extended {
        Some(message) => message.encoded_len(),
        None => field_length(data.len()) + if offset == 0 { 0 } else { 1 + encoded_len_varint(offset) },
    };
    let push = field_length(channel.len()) + delimited_length(inner);
    let reply = delimited_length(push);
    out.reserve(encoded_len_varint(reply as u64) + reply);
    encode_varint(reply as u64, out);
    key(REPLY_PUSH, push, out);
    field(PUSH_CHANNEL, channel.as_bytes(), out);
    key(PUSH_PUBLICATION, inner, out);
    match &extended {
        Some(message) => message.encode(out).expect("a Vec has room"),
        None => {
            field(PUBLICATION_DATA, data, out);
            if offset != 0 {
                out.push(PUBLICATION_OFFSET);
                encode_varint(offset, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use tidegate_types::{ClientInfo, Meta, Offset, Payload, PayloadKind};

    #[derive(Clone, PartialEq, prost::Message)]
    struct Reply {
        #[prost(message, optional, tag = "4")]
        push: Option<Push>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Push {
        #[prost(string, tag = "2")]
        channel: String,
        #[prost(message, optional, tag = "4")]
        publication: Option<wire::Publication>,
    }

    proptest! {
        #[test]
        fn it_is_what_the_schema_makes_of_it(
            channel in "[a-z]{0,200}",
            data in proptest::collection::vec(any::<u8>(), 0..40_000),
            offset: u64,
            user: Option<String>,
        ) {
            let payload = Payload::new(Bytes::from(data), Bytes::new(), PayloadKind::Binary);
            let info = user.map(|user| ClientInfo { user, ..Default::default() });
            let tags = vec![("key".to_owned(), channel.clone())];
            let meta = info.map(|info| Meta { info: Some(info), tags, ..Default::default() });
            let publication = Publication { offset: Offset(offset), time_ms: 1, payload, meta: meta.map(Box::new) };
            let mut out = Vec::new();
            super::publication(&channel, &publication, Data::Plain, &mut out);
            let push = Push { channel, publication: Some(encode::publication(&publication)) };
            prop_assert_eq!(out, Reply { push: Some(push) }.encode_length_delimited_to_vec());
        }
    }
}
