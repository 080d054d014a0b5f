//! API keys. They are never printed, and comparing takes the same time wherever two keys of one length differ.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// Which keys open the API. The default opens it to nobody.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Vec<Vec<u8>>,
    open: bool,
}

impl Keys {
    /// Each of these opens the API; several at once let keys be rotated.
    pub fn new(keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { keys: keys.into_iter().filter(|k| !k.is_empty()).collect(), open: false }
    }

    /// No key is asked for.
    pub fn insecure() -> Self {
        Self { keys: Vec::new(), open: true }
    }

    /// Whether nobody can call.
    pub fn is_closed(&self) -> bool {
        !self.open && self.keys.is_empty()
    }

    /// Whether a caller with this key may call.
    pub fn admits(&self, offered: Option<&[u8]>) -> bool {
        if self.open {
            return true;
        }
        let Some(offered) = offered else { return false };
        let found = self.keys.iter().fold(Choice::from(0), |found, key| found | key.as_slice().ct_eq(offered));
        found.into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("keys", &self.keys.len()).field("open", &self.open).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_keys_opens() {
        let keys = Keys::new([b"one".to_vec(), b"two".to_vec(), Vec::new()]);
        assert!(keys.admits(Some(b"one")) && keys.admits(Some(b"two")));
        for wrong in [Some(&b"onex"[..]), Some(b"on"), Some(b""), None] {
            assert!(!keys.admits(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{keys:?}"), "Keys { keys: 2, open: false }");
    }

    #[test]
    fn without_keys_it_is_closed_unless_said_otherwise() {
        assert!(Keys::default().is_closed() && !Keys::default().admits(None));
        assert!(!Keys::default().admits(Some(b"")));
        assert!(Keys::insecure().admits(None) && !Keys::insecure().is_closed());
    }
}
