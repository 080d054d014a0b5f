//! Records as bytes. The layout is in the crate's docs.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::AppendError;
use crate::store::{Append, Identity, Keep};

/// Bytes before the body of a record: length and checksum.
pub(crate) const RECORD_HEAD: usize = 8;
const FIXED: usize = 74;
/// No record of the channel before this one.
pub(crate) const NO_OFFSET: u64 = u64::MAX;
/// Bytes of one record's body: a length above it is damage, not a record.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Place in the log, from 0 without holes.
    pub offset: u64,
    /// Number in the channel, from 1 without holes.
    pub number: u64,
    /// ms since 1970, by this machine's clock when it was written.
    pub time_ms: i64,
    /// The channel.
    pub key: Arc<str>,
    /// What the caller stored beside the payload.
    pub meta: Bytes,
    /// The payload.
    pub payload: Bytes,
    /// What makes it a duplicate of another, or older than one.
    pub identity: Option<Box<Identity>>,
    pub(crate) keep: Keep,
    pub(crate) write_start: u64,
    pub(crate) previous: u64,
    /// Offset of an older record of the channel; which one, `chain` says.
    pub(crate) skip: u64,
}

fn length<T: TryFrom<usize>>(what: &str, len: usize) -> Result<T, AppendError> {
    T::try_from(len).map_err(|_| AppendError::TooLong(format!("{what} of {len} bytes is too long to be stored")))
}

/// Whether every field fits.
pub(crate) fn check(append: &Append) -> Result<(), AppendError> {
    let Append { key, meta, payload, identity, .. } = append;
    let Identity { idempotency_key, version_epoch, .. } = identity.as_deref().unwrap_or(Identity::NONE);
    length::<u16>("a key", key.len())?;
    length::<u16>("an idempotency key", idempotency_key.len())?;
    length::<u16>("a version epoch", version_epoch.len())?;
    let body = FIXED + key.len() + idempotency_key.len() + version_epoch.len() + meta.len() + payload.len();
    if body > BODY_BYTES_MAX {
        return Err(AppendError::TooLong(format!("a record of {body} bytes is too long to be stored")));
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "lengths were checked when the record was accepted")]
pub(crate) fn encode(e: &Entry, out: &mut Vec<u8>) {
    let at = out.len();
    let identity = e.identity.as_deref().unwrap_or(Identity::NONE);
    let texts: [&str; 3] = [&e.key, &identity.idempotency_key, &identity.version_epoch];
    out.extend_from_slice(&[0; RECORD_HEAD]);
    for v in [e.offset, e.write_start, e.number, e.previous, e.skip] {
        out.extend_from_slice(&v.to_le_bytes());
    }
    out.extend_from_slice(&e.time_ms.to_le_bytes());
    out.extend_from_slice(&identity.version.to_le_bytes());
    out.extend_from_slice(&e.keep.count.to_le_bytes());
    out.extend_from_slice(&e.keep.age_s.to_le_bytes());
    for text in texts {
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&(e.meta.len() as u32).to_le_bytes());
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&e.meta);
    out.extend_from_slice(&e.payload);
    let body = at + RECORD_HEAD;
    let (len, crc) = ((out.len() - body) as u32, crc32c::crc32c(&out[body..]));
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    out[at + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at the start of some bytes.
pub(crate) enum Found {
    /// A whole record, and its bytes with its head.
    Record(Entry, usize),
    /// It may be whole when so many bytes are there.
    Needs(usize),
    /// No record can start here, or its checksum fails.
    Bad(&'static str),
}

/// The length of the record that starts here with its head, if it can be one.
pub(crate) fn size(bytes: &[u8]) -> Found {
    let Some(head) = bytes.first_chunk::<4>() else { return Found::Needs(RECORD_HEAD) };
    let len = u32::from_le_bytes(*head) as usize;
    if !(FIXED..=BODY_BYTES_MAX).contains(&len) {
        return Found::Bad("its length makes no sense");
    }
    Found::Needs(RECORD_HEAD + len)
}

/// The record that starts here.
pub(crate) fn decode(bytes: &[u8]) -> Found {
    let total = match size(bytes) {
        Found::Needs(total) if total <= bytes.len() && bytes.len() >= RECORD_HEAD => total,
        other => return other,
    };
    let crc = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let body = &bytes[RECORD_HEAD..total];
    if crc32c::crc32c(body) != crc {
        return Found::Bad("its checksum fails");
    }
    match parse(body) {
        Some(entry) => Found::Record(entry, total),
        None => Found::Bad("its lengths make no sense"),
    }
}

fn parse(body: &[u8]) -> Option<Entry> {
    let mut rest = body;
    let mut take = |n: usize| -> Option<&[u8]> {
        let (head, tail) = rest.split_at_checked(n)?;
        rest = tail;
        Some(head)
    };
    let u64_of = |b: &[u8]| b.try_into().ok().map(u64::from_le_bytes);
    let mut numbers = [0; 7];
    for n in &mut numbers {
        *n = u64_of(take(8)?)?;
    }
    let mut u32_field = || take(4)?.try_into().ok().map(u32::from_le_bytes);
    let keep = Keep { count: u32_field()?, age_s: u32_field()? };
    let mut lengths = [0; 3];
    for l in &mut lengths {
        *l = usize::from(u16::from_le_bytes(take(2)?.try_into().ok()?));
    }
    let meta_len = u32::from_le_bytes(take(4)?.try_into().ok()?) as usize;
    let mut texts = [""; 3];
    for (text, len) in texts.iter_mut().zip(lengths) {
        *text = std::str::from_utf8(take(len)?).ok()?;
    }
    let meta = Bytes::copy_from_slice(take(meta_len)?);
    let [offset, write_start, number, previous, skip, time, version] = numbers;
    let [key, idempotency_key, version_epoch] = texts;
    let identity = Identity { idempotency_key: idempotency_key.into(), version_epoch: version_epoch.into(), version };
    Some(Entry {
        offset,
        number,
        time_ms: time.cast_signed(),
        key: key.into(),
        meta,
        payload: Bytes::copy_from_slice(rest),
        identity: (identity != *Identity::NONE).then(|| Box::new(identity)),
        keep,
        write_start,
        previous,
        skip,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(offset: u64) -> Entry {
        Entry {
            offset,
            number: 7,
            time_ms: -3,
            key: "job:1".into(),
            meta: Bytes::from_static(b"m"),
            payload: Bytes::from_static(b"payload"),
            identity: Some(Box::new(Identity { idempotency_key: "k".into(), version_epoch: "e".into(), version: 9 })),
            keep: Keep { count: 5, age_s: 6 },
            write_start: offset - 1,
            previous: NO_OFFSET,
            skip: 3,
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let mut bytes = Vec::new();
        encode(&entry(5), &mut bytes);
        let Found::Record(read, size) = decode(&bytes) else { panic!() };
        assert_eq!((read, size), (entry(5), bytes.len()));
    }

    #[test]
    fn a_cut_record_needs_more_and_a_changed_one_is_bad() {
        let mut bytes = Vec::new();
        encode(&entry(5), &mut bytes);
        for cut in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..cut]), Found::Needs(n) if n > cut));
        }
        for at in 4..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(matches!(decode(&changed), Found::Bad(_)), "{at}");
        }
    }
}
