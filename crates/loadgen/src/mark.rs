//! The mark inside published data, found again in whatever envelope it arrives.
//!
//! ```text
//! {"m":"TG|rrrrccccccssssssssnnnnnnnnnnnnnnnn|","p":"xxx..."}     (hex: run 4, channel 6, sequence 8, nanoseconds 16)
//! ```
//!
//! The padding depends on nothing but the size, so the bytes after the mark are known and compared.

use std::io::Write as _;

const START: &[u8] = b"TG|";
const HEX_DIGITS: usize = 4 + 6 + 8 + 16;
const OPEN: &[u8] = b"{\"m\":\"";
const MIDDLE: &[u8] = b"\",\"p\":\"";
const CLOSE: &[u8] = b"\"}";

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
        Self { run, tail, finder: memchr::memmem::Finder::new(START) }
    }

    /// Appends data with this mark: a JSON object.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mark: Mark) {
        let Mark { channel, sequence, at_ns } = mark;
        out.extend_from_slice(OPEN);
        out.extend_from_slice(START);
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{:04x}{channel:06x}{sequence:08x}{at_ns:016x}|", self.run);
        out.extend_from_slice(&self.tail);
    }

    /// The next mark of this run at or after `from`.
    pub(crate) fn find(&self, text: &[u8], mut from: usize) -> Option<Found> {
        loop {
            let at = from + self.finder.find(text.get(from..)?)? + START.len();
            let digits = text.get(at..at + HEX_DIGITS)?;
            from = at;
            let end = at + HEX_DIGITS + 1;
            if let (Some(mark), Some(b'|')) = (self.parse(digits), text.get(end - 1)) {
                let intact = text[end..].starts_with(&self.tail);
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
