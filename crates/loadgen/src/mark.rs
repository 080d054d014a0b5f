//! The mark inside published data, found again in whatever envelope it arrives.
//!
//! ```text
//! {"m":"TG|rrrrccccccssssssssnnnnnnnnnnnnnnnn|","p":"xxx..."}     (hex: run 4, channel 6, sequence 8, nanoseconds 16)
//! ```
//!
//! The padding depends on nothing but the size, so the bytes after the mark are known and compared. A *document* has
//! short fields instead of padding, and ends with a number made of the mark: from one to the next about 25 bytes change,
//! in two places.

use std::io::Write as _;

const START: &[u8] = b"TG|";
const HEX_DIGITS: usize = 4 + 6 + 8 + 16;
const OPEN: &[u8] = b"{\"m\":\"";
const MIDDLE: &[u8] = b"\",\"p\":\"";
const CLOSE: &[u8] = b"\"}";
const SEAL_DIGITS: usize = 16;

/// Bytes of data without any padding.
const DATA_BYTES_MIN: usize = OPEN.len() + START.len() + HEX_DIGITS + 1 + MIDDLE.len() + CLOSE.len();

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) channel: u32,
    pub(crate) sequence: u32,
    /// When it was (to be) published, by the monotonic clock.
    pub(crate) at_ns: u64,
}

/// Writes data and finds marks, for one run.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    run: u16,
    tail: Vec<u8>,
    /// The tail is followed by a seal.
    is_document: bool,
    finder: memchr::memmem::Finder<'static>,
}

/// A mark that was found, and where the search goes on.
pub(crate) struct Found {
    pub(crate) mark: Mark,
    /// Whether the bytes after it are those that were published.
    pub(crate) intact: bool,
    pub(crate) end: usize,
}

impl Marker {
    /// `run` tells this run's marks from those of earlier ones in a channel's history. `size` is that of the data,
    /// never less than the mark needs.
    pub(crate) fn new(run: u16, size: usize) -> Self {
        let padding = size.saturating_sub(DATA_BYTES_MIN);
        let tail = [MIDDLE, &vec![b'x'; padding], CLOSE].concat();
        Self { run, tail, is_document: false, finder: memchr::memmem::Finder::new(START) }
    }

    /// The same run's with documents of this size instead of padding.
    pub(crate) fn documents(&self, size: usize) -> Self {
        let fields = size.saturating_sub(DATA_BYTES_MIN - MIDDLE.len() + 1 + SEAL_DIGITS + SEAL_OPEN.len());
        Self { tail: [b"\"", &*fields_of(fields), SEAL_OPEN].concat(), is_document: true, ..self.clone() }
    }

    /// Appends data with this mark: a JSON object.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mark: Mark) {
        let Mark { channel, sequence, at_ns } = mark;
        out.extend_from_slice(OPEN);
        out.extend_from_slice(START);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{:04x}{channel:06x}{sequence:08x}{at_ns:016x}|", self.run);
        out.extend_from_slice(&self.tail);
        if self.is_document {
            let _ = write!(out, "{:016x}", seal(mark));
            out.extend_from_slice(CLOSE);
        }
    }

    /// Whether what stands behind a mark is what was written there.
    fn is_intact(&self, mark: Mark, rest: &[u8]) -> bool {
        let Some(rest) = rest.strip_prefix(&*self.tail) else { return false };
        if !self.is_document {
            return true;
        }
        let Some((digits, rest)) = rest.split_at_checked(SEAL_DIGITS) else { return false };
        hex(digits) == Some(seal(mark)) && rest.starts_with(CLOSE)
    }

    /// The next mark of this run at or after `from`.
    pub(crate) fn find(&self, text: &[u8], mut from: usize) -> Option<Found> {
        loop {
            let at = from + self.finder.find(text.get(from..)?)? + START.len();
            let digits = text.get(at..at + HEX_DIGITS)?;
            from = at;
            let end = at + HEX_DIGITS + 1;
            if let (Some(mark), Some(b'|')) = (self.parse(digits), text.get(end - 1)) {
                let intact = self.is_intact(mark, &text[end..]);
                return Some(Found { mark, intact, end });
            }
        }
    }

    fn parse(&self, digits: &[u8]) -> Option<Mark> {
        let (run, rest) = digits.split_at(4);
        let (channel, rest) = rest.split_at(6);
        let (sequence, at) = rest.split_at(8);
        if hex(run)? != u64::from(self.run) {
            return None;
        }
        Some(Mark { channel: hex(channel)? as u32, sequence: hex(sequence)? as u32, at_ns: hex(at)? })
    }
}

const SEAL_OPEN: &[u8] = b",\"seal\":\"";

/// Fields of a JSON object, so many bytes of them; no two are alike.
fn fields_of(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 64);
    for n in 0u64.. {
        if out.len() >= bytes {
            break;
        }
        let noise = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Writing to a Vec cannot fail.
        let _ = write!(out, ",\"field{n}\":{{\"id\":\"{:08x}\",\"value\":{}}}", noise >> 32, noise % 100_000);
    }
    // The last ones go for one that fills up.
    let (open, close) = (b",\"rest\":\"", b"\"");
    let room = bytes.saturating_sub(open.len() + close.len());
    let whole = memchr::memmem::rfind(&out[..room.min(out.len())], b",\"field");
    out.truncate(whole.unwrap_or(0));
    let missing = bytes.saturating_sub(out.len() + open.len() + close.len());
    [&*out, open, &*vec![b'.'; missing], close].concat()
}

/// A number that changes with every mark.
fn seal(mark: Mark) -> u64 {
    let mixed =
        (mark.at_ns ^ u64::from(mark.channel) << 40 ^ u64::from(mark.sequence)).wrapping_mul(0xd1b5_4a32_d192_ed03);
    (mixed ^ mixed >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | u64::from((digit as char).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_any_envelope() {
        let marker = Marker::new(0xbeef, 128);
        let marks = [0, 1].map(|sequence| Mark { channel: 0xabcdef, sequence, at_ns: u64::MAX });
        let mut text = b"TG| {\"push\":".to_vec();
        marker.write(&mut text, marks[0]);
        assert_eq!(text.len(), 12 + 128);
        text.extend_from_slice(b",\"offset\":1}\n");
        Marker::new(1, 128).write(&mut text, marks[0]);
        marker.write(&mut text, marks[1]);
        let first = marker.find(&text, 0).unwrap();
        assert!(first.mark == marks[0] && first.intact);
        let second = marker.find(&text, first.end).unwrap();
        assert!(second.mark == marks[1] && second.intact);
        assert!(marker.find(&text, second.end).is_none());
    }

    #[test]
    fn documents_are_json_of_their_size_and_sealed() {
        for size in [300, 301, 2_048] {
            let marker = Marker::new(7, 0).documents(size);
            let mark = Mark { channel: 1, sequence: 2, at_ns: 3 };
            let mut text = Vec::new();
            marker.write(&mut text, mark);
            assert_eq!(text.len(), size);
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
            let found = marker.find(&text, 0).unwrap();
            assert!(found.mark == mark && found.intact);
            for at in [60, size - 4, size - 1] {
                let mut changed = text.clone();
                changed[at] ^= 1;
                assert!(!marker.find(&changed, 0).unwrap().intact, "{at}");
            }
        }
    }

    #[test]
    fn changed_padding_shows() {
        let marker = Marker::new(7, 90);
        let mut text = Vec::new();
        marker.write(&mut text, Mark { channel: 1, sequence: 2, at_ns: 3 });
        let at = text.len() - 3;
        text[at] = b'y';
        assert!(!marker.find(&text, 0).unwrap().intact);
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
    }
}
