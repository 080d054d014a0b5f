//! Where a reader stands in several channels, as one short word: the `id` of a server-sent event.
//!
//! A browser keeps the last id and gives it back when it connects again (`Last-Event-ID`, WHATWG HTML section 9.2), to
//! whatever node. Channels are told apart by a hash of their names, because names are long and the reader repeats them
//! anyway: `hash.offset.epoch` with commas between, where the epoch is left out when it is that of the one before.

use std::fmt::Write as _;

use crate::command::Since;

/// See the module docs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions(Vec<(u64, Since)>);

/// Positions that one id may hold: more than a connection may have subscriptions where an operator means well.
const POSITIONS_MAX: usize = 1_024;

impl Positions {
    /// Reads an id. What is none stands for no positions: then the reader begins at the top.
    pub fn parse(id: &str) -> Self {
        let mut epoch = "";
        let read = id.split(',').take(POSITIONS_MAX).map(|part| {
            let mut fields = part.splitn(3, '.');
            let hash = u64::from_str_radix(fields.next()?, 16).ok()?;
            let offset = fields.next()?.parse().ok()?;
            epoch = fields.next().filter(|own| !own.is_empty()).unwrap_or(epoch);
            // Without an epoch any stream would do.
            (!epoch.is_empty()).then(|| (hash, Since { offset, epoch: epoch.to_owned() }))
        });
        Self(read.collect::<Option<_>>().unwrap_or_default())
    }

    /// The position in a channel.
    pub fn of(&self, channel: &str) -> Option<Since> {
        let hash = hash(channel);
        self.0.iter().find(|(h, _)| *h == hash).map(|(_, since)| since.clone())
    }

    /// Writes positions as an id.
    pub fn write<'a>(positions: impl Iterator<Item = (&'a str, u64, &'a str)>, out: &mut String) {
        let mut last = "";
        for (at, (channel, offset, epoch)) in positions.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let shown = if epoch == last { "" } else { epoch };
            last = epoch;
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}{:x}.{offset}.{shown}", hash(channel));
        }
    }
}

/// FNV-1a of 64 bits: the same on every node and in every version.
fn hash(channel: &str) -> u64 {
    channel.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(positions: &[(&str, u64, &str)]) -> String {
        let mut out = String::new();
        Positions::write(positions.iter().copied(), &mut out);
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let id = written(&[("a", 7, "e1"), ("b:1", 0, "e1"), ("c", u64::MAX, "e2")]);
        let positions = Positions::parse(&id);
        let since = |offset, epoch: &str| Some(Since { offset, epoch: epoch.to_owned() });
        assert_eq!(positions.of("a"), since(7, "e1"));
        assert_eq!(positions.of("b:1"), since(0, "e1"));
        assert_eq!(positions.of("c"), since(u64::MAX, "e2"));
        assert_eq!(positions.of("d"), None);
        assert_eq!(id.matches("e1").count(), 1, "{id}");
    }

    #[test]
    fn what_is_no_id_is_no_position() {
        for id in ["", "7", "a.b.c", "a.1", "a.1.", "zz.1.e", ",", "af63dc4c8601ec8c.1.e,x"] {
            assert_eq!(Positions::parse(id), Positions::default(), "{id:?}");
        }
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c, "FNV-1a, as published");
    }
}
