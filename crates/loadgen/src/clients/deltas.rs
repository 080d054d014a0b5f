//! A subscriber that asked for deltas: every publication made whole again from the one before in its channel.

use serde::Deserialize;

use crate::fossil;

/// A pushed publication: to such a subscriber data comes as a string, whole or as a delta.
#[derive(Deserialize)]
struct Line {
    push: Push,
}

#[derive(Deserialize)]
struct Push {
    channel: String,
    #[serde(rename = "pub")]
    publication: Option<Publication>,
}

#[derive(Deserialize)]
struct Publication {
    data: String,
    #[serde(default)]
    delta: bool,
}

/// The last publication of each channel.
#[derive(Debug, Default)]
pub(super) struct Bases(Vec<(String, Vec<u8>)>);

impl Bases {
    /// Takes a pushed line. Returns the whole data of its publication and whether it came as a delta; `None` for another
    /// kind of push.
    pub(super) fn take(&mut self, line: &[u8]) -> Result<Option<(&[u8], bool)>, String> {
        let line: Line = serde_json::from_slice(line).map_err(|e| format!("no push of data in a string: {e}"))?;
        let Push { channel, publication } = line.push;
        let Some(Publication { data, delta }) = publication else { return Ok(None) };
        let at = self.0.iter().position(|(name, _)| *name == channel);
        let whole = match (delta, at) {
            (false, _) => data.into_bytes(),
            (true, None) => return Err(format!("a delta came first in {channel}")),
            (true, Some(at)) => fossil::apply(&self.0[at].1, data.as_bytes())
                .ok_or_else(|| format!("a delta in {channel} does not fit: {data:?}"))?,
        };
        let at = at.unwrap_or_else(|| {
            self.0.push((channel, Vec::new()));
            self.0.len() - 1
        });
        self.0[at].1 = whole;
        Ok(Some((&self.0[at].1, delta)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(channel: &str, data: &[u8], delta: bool) -> Vec<u8> {
        let data = std::str::from_utf8(data).unwrap();
        serde_json::json!({ "push": { "channel": channel, "pub": { "data": data, "delta": delta } } })
            .to_string()
            .into()
    }

    #[test]
    fn publications_are_made_whole_channel_by_channel() {
        let mut bases = Bases::default();
        assert_eq!(bases.take(&push("a", b"hello world", false)), Ok(Some((&b"hello world"[..], false))));
        assert_eq!(bases.take(&push("b", b"other", false)), Ok(Some((&b"other"[..], false))));
        let delta = fossil::delta_to(b"hello there", b"6@0,5:there");
        assert!(bases.take(&push("b", &delta, true)).is_err());
        assert_eq!(bases.take(&push("a", &delta, true)), Ok(Some((&b"hello there"[..], true))));
        let delta = fossil::delta_to(b"there", b"5@6,");
        assert_eq!(bases.take(&push("a", &delta, true)), Ok(Some((&b"there"[..], true))));
    }

    #[test]
    fn what_a_client_with_deltas_must_not_get_is_an_error() {
        let mut bases = Bases::default();
        assert!(bases.take(&push("a", b"0\n0;", true)).is_err());
        assert!(bases.take(b"{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{}}}}").is_err());
        assert_eq!(bases.take(b"{\"push\":{\"channel\":\"a\",\"join\":{}}}"), Ok(None));
    }
}
