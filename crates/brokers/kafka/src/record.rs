//! From a Kafka record to what a tail delivers.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use tidegate_broker::{Refused, Tailed};
use tidegate_types::limits::CHANNEL_NAME_BYTES_MAX;

use crate::epoch::State;
use crate::headers;

/// A record as it will be delivered.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// What is delivered.
    pub(crate) record: Tailed,
    /// It lies in another partition than its key belongs to.
    pub(crate) misplaced: bool,
}

/// Offset of a record; librdkafka never shows negative ones of records.
pub(crate) fn offset(message: &BorrowedMessage<'_>) -> u64 {
    u64::try_from(message.offset()).unwrap_or(0)
}

/// Decodes a record, or says why it must be left out.
pub(crate) fn decode(message: &BorrowedMessage<'_>, state: &State) -> Result<Decoded, Refused> {
    let key = message.key().ok_or(Refused::NoKey)?;
    if key.is_empty() {
        return Err(Refused::NoKey);
    }
    if key.len() > CHANNEL_NAME_BYTES_MAX {
        return Err(Refused::LongKey);
    }
    let key = std::str::from_utf8(key).map_err(|_| Refused::BinaryKey)?;
    if !key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Err(Refused::BinaryKey);
    }
    let meta = headers::decode(message).map_err(|()| Refused::BadHeaders)?;
    let partition = u32::try_from(message.partition()).unwrap_or(0);
    Ok(Decoded {
        misplaced: state.partitioner.partition(key.as_bytes(), state.info.partitions) != partition,
        record: Tailed {
            log_offset: offset(message),
            channel_offset: None,
            time_ms: message.timestamp().to_millis().unwrap_or(0),
            key: Arc::from(key),
            payload: message.payload().map(Bytes::copy_from_slice),
            meta,
        },
    })
}
