//! API keys, and what each may do. They are never printed, and comparing takes the same time wherever two keys of one
//! length differ.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};
use tidegate_core::ChannelPattern;

use crate::answer::Failure;
use crate::call::Call;
use crate::method::Method;

/// What a key is for.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What the key is called, for messages.
    pub name: String,
    /// What may be called; empty = everything but what is about no channel, where `channels` are named.
    pub methods: Vec<Method>,
    /// Channels that a call may name; empty = any.
    pub channels: Vec<ChannelPattern>,
}

/// What a caller may do.
#[derive(Clone, Debug)]
pub struct Access(Option<Arc<Scope>>);

impl Access {
    /// Everything.
    pub fn full() -> Self {
        Self(None)
    }

    /// Whether it is everything.
    pub fn is_full(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a call may be made.
    pub(crate) fn check(&self, method: Method, call: &Call<'_>) -> Result<(), Failure> {
        let Some(scope) = &self.0 else { return Ok(()) };
        let channels = call.channels();
        // It would name channels that the key is not for.
        let names_all = method == Method::Channels && !scope.channels.is_empty();
        let named = scope.methods.contains(&method) && !names_all;
        let open = scope.methods.is_empty() && (scope.channels.is_empty() || !channels.is_empty());
        if !named && !open {
            return Err(Failure::forbidden(format!("the API key {:?} may not call {}", scope.name, method.name())));
        }
        let may = |channel: &&str| scope.channels.iter().any(|pattern| pattern.matches(channel));
        match channels.iter().find(|channel| !scope.channels.is_empty() && !may(channel)) {
            Some(channel) => {
                let why = format!("the API key {:?} is not for channel {channel:?}", scope.name);
                Err(Failure::forbidden(why))
            }
            None => Ok(()),
        }
    }
}

struct Key {
    secret: Vec<u8>,
    access: Access,
}

/// Which keys open the API. The default opens it to nobody.
#[derive(Default)]
pub struct Keys {
    keys: Vec<Key>,
    open: bool,
}

impl Keys {
    /// Each of these opens the whole API; several at once let keys be rotated.
    pub fn new(keys: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let keys = keys.into_iter().filter(|secret| !secret.is_empty());
        Self { keys: keys.map(|secret| Key { secret, access: Access::full() }).collect(), open: false }
    }

    /// One more, for what its scope says.
    #[must_use]
    pub fn with(mut self, secret: Vec<u8>, scope: Scope) -> Self {
        if !secret.is_empty() {
            self.keys.push(Key { secret, access: Access(Some(Arc::new(scope))) });
        }
        self
    }

    /// No key is asked for.
    pub fn insecure() -> Self {
        Self { keys: Vec::new(), open: true }
    }

    /// Whether nobody can call.
    pub fn is_closed(&self) -> bool {
        !self.open && self.keys.is_empty()
    }

    /// What a caller with this key may do; `None` = nothing.
    pub fn access(&self, offered: Option<&[u8]>) -> Option<Access> {
        if self.open {
            return Some(Access::full());
        }
        let offered = offered?;
        let equal: Vec<Choice> = self.keys.iter().map(|key| key.secret.as_slice().ct_eq(offered)).collect();
        let found = equal.into_iter().position(bool::from)?;
        Some(self.keys[found].access.clone())
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

    fn keys() -> Keys {
        let scope = |name: &str, methods: &[Method], channels: &[&str]| Scope {
            name: name.into(),
            methods: methods.to_vec(),
            channels: channels.iter().map(|p| ChannelPattern::parse(p).unwrap()).collect(),
        };
        Keys::new([b"one".to_vec(), b"two".to_vec(), Vec::new()])
            .with(b"chat".to_vec(), scope("chat", &[], &["chat:*"]))
            .with(b"ops".to_vec(), scope("ops", &[Method::Info, Method::Disconnect], &[]))
    }

    #[test]
    fn any_of_the_keys_opens() {
        let keys = keys();
        let full = |key: &[u8]| keys.access(Some(key)).is_some_and(|access| access.is_full());
        assert!(full(b"one") && full(b"two") && !full(b"chat"));
        for wrong in [Some(&b"onex"[..]), Some(b"on"), Some(b""), None] {
            assert!(keys.access(wrong).is_none(), "{wrong:?}");
        }
        assert_eq!(format!("{keys:?}"), "Keys { keys: 4, open: false }");
        assert!(Keys::insecure().access(None).is_some() && Keys::default().is_closed());
    }

    #[test]
    fn a_key_may_be_for_some_methods_or_some_channels() {
        let keys = keys();
        let may = |key: &[u8], method: Method, body: &str| {
            let call = Call::read(method, body.as_bytes()).unwrap().unwrap();
            keys.access(Some(key)).unwrap().check(method, &call).map_err(|failure| failure.message.into_owned())
        };
        assert_eq!(may(b"chat", Method::Publish, r#"{"channel":"chat:1","data":1}"#), Ok(()));
        assert_eq!(
            may(b"chat", Method::Publish, r#"{"channel":"news","data":1}"#).unwrap_err(),
            "the API key \"chat\" is not for channel \"news\""
        );
        let mixed = r#"{"channels":["chat:1","news"],"data":1}"#;
        assert!(may(b"chat", Method::Broadcast, mixed).is_err());
        assert_eq!(
            may(b"chat", Method::Disconnect, r#"{"user":"u"}"#).unwrap_err(),
            "the API key \"chat\" may not call disconnect"
        );
        assert!(may(b"chat", Method::Info, "{}").is_err() && may(b"chat", Method::Channels, "{}").is_err());
        assert_eq!(may(b"ops", Method::Info, "{}"), Ok(()));
        assert!(may(b"ops", Method::Publish, r#"{"channel":"chat:1","data":1}"#).is_err());
        assert_eq!(may(b"one", Method::Info, "{}"), Ok(()));
    }
}
