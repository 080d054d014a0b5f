//! Channel names, checked once where they enter.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::CHANNEL_NAME_BYTES_MAX;

/// The name of a channel: printable ASCII, 1 to [`CHANNEL_NAME_BYTES_MAX`] bytes, cheap to clone.
///
/// The part before the first `:` (after a leading `$`) names the namespace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// No character at all.
    #[error("channel name is empty")]
    Empty,
    /// Longer than [`CHANNEL_NAME_BYTES_MAX`].
    #[error("channel name has {0} bytes, at most {CHANNEL_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Something else than printable ASCII (no control characters, no space at the ends is checked).
    #[error("channel name has a character that is not printable ASCII at byte {0}")]
    NotAscii(usize),
}

impl ChannelName {
    /// Checks `name` and keeps a copy of it.
    ///
    /// # Errors
    /// When the name is empty, too long or not printable ASCII.
    pub fn parse(name: &str) -> Result<Self, ChannelNameError> {
        Self::check(name).map(|()| Self(name.into()))
    }

    /// Checks a name that is shared already, without copying it.
    ///
    /// # Errors
    /// As [`ChannelName::parse`].
    pub fn from_shared(name: Arc<str>) -> Result<Self, ChannelNameError> {
        Self::check(&name).map(|()| Self(name))
    }

    fn check(name: &str) -> Result<(), ChannelNameError> {
        if name.is_empty() {
            return Err(ChannelNameError::Empty);
        }
        if name.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(ChannelNameError::TooLong(name.len()));
        }
        match name.bytes().position(|b| !(0x20..0x7f).contains(&b)) {
            Some(at) => Err(ChannelNameError::NotAscii(at)),
            None => Ok(()),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shared text, for a table that keys by it.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The namespace part: what stands before the first `:`, without a leading `$`; `None` when there is no `:`, or it
    /// stands behind a `#`, where users are.
    pub fn namespace(&self) -> Option<&str> {
        let name = self.0.strip_prefix('$').unwrap_or(&self.0);
        name.split_once(':').map(|(namespace, _)| namespace).filter(|namespace| !namespace.contains('#'))
    }

    /// The users that the name limits the channel to: what stands after its last `#`, between commas; `None` without one.
    pub fn users(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.rsplit_once('#').map(|(_, users)| users.split(','))
    }

    /// Whether the name starts with `$`: subscribing then always needs a token.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(ChannelName::parse(""), Err(ChannelNameError::Empty));
        assert_eq!(ChannelName::parse(&"x".repeat(256)), Err(ChannelNameError::TooLong(256)));
        assert_eq!(ChannelName::parse("job\n1"), Err(ChannelNameError::NotAscii(3)));
        assert_eq!(ChannelName::parse("jö"), Err(ChannelNameError::NotAscii(1)));
        assert!(ChannelName::parse(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn namespace_is_before_the_first_colon() {
        let namespace = |s| ChannelName::parse(s).unwrap().namespace().map(str::to_owned);
        assert_eq!(namespace("progress:job:1").as_deref(), Some("progress"));
        assert_eq!(namespace("$progress:job").as_deref(), Some("progress"));
        assert_eq!(namespace("news"), None);
        assert_eq!(
            (namespace("#google:1"), namespace("a#b:1"), namespace("ns:#b:1").as_deref()),
            (None, None, Some("ns"))
        );
    }

    #[test]
    fn users_are_behind_the_last_hash() {
        let users = |s| ChannelName::parse(s).unwrap().users().map(|u| u.map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(users("dialog#1,2"), Some(vec!["1".to_owned(), "2".to_owned()]));
        assert_eq!(users("a#b#c"), Some(vec!["c".to_owned()]));
        assert_eq!(users("news"), None);
    }
}
