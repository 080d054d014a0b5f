//! How a broker is registered, addressed and built.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{BoxFuture, Broker, BrokerError, Capabilities};

/// What a broker crate offers: one constant of this kind, listed in the server's registry.
pub trait BrokerFactory: Send + Sync {
    /// The name, which is also the scheme of its URL (`embedded`, `memory`, `kafka`).
    fn name(&self) -> &'static str;

    /// One line for `--help` with the URL's form.
    fn usage(&self) -> &'static str;

    /// Keys of its section of the configuration, for `config reference`.
    fn settings(&self) -> &'static [SettingDoc] {
        &[]
    }

    /// What brokers of this kind can do.
    fn capabilities(&self) -> Capabilities;

    /// The log that namespaces use when the configuration names none: from the URL, else a fixed name.
    fn default_log(&self, url: &BrokerUrl) -> Arc<str>;

    /// Everything that is wrong with the URL and `context.settings`, without connecting to or opening anything.
    fn check(&self, url: &BrokerUrl, context: &BuildContext) -> Vec<Mistake>;

    /// Connects (or opens) and returns when it is usable, or says what to do. A remote backbone that is away is no
    /// error here when `context.settings` are complete: the broker then comes up with its breaker open.
    fn build<'a>(
        &'a self,
        url: &'a BrokerUrl,
        context: BuildContext,
    ) -> BoxFuture<'a, Result<Arc<dyn Broker>, BrokerError>>;
}

/// What is wrong with one setting. No value that may be a secret is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Its whole path: `broker.url`, `embedded.segment_bytes`.
    pub path: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Mistake {
    /// A mistake in the URL.
    pub fn in_url(text: impl Into<String>) -> Self {
        Self { path: "broker.url".to_owned(), text: text.into() }
    }
}

impl From<Vec<Mistake>> for BrokerError {
    fn from(mistakes: Vec<Mistake>) -> Self {
        let texts: Vec<_> = mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.text)).collect();
        Self::Refused(texts.join("; ").into())
    }
}

/// A setting as the reference of the configuration shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettingDoc {
    /// Its key in the broker's section.
    pub key: &'static str,
    /// What type it has: "a text", "a size".
    pub kind: &'static str,
    /// What stands when nobody sets it, as TOML; `None` = nothing.
    pub default: Option<&'static str>,
    /// What it does, a sentence or two.
    pub doc: &'static str,
}

/// `scheme:rest` as given by `--broker` or `broker.url`: `memory:`, `embedded:DIR`, `kafka://HOST:PORT,HOST:PORT/TOPIC`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerUrl {
    /// Before the first `:`.
    pub scheme: String,
    /// After it, without leading slashes when there are two (`kafka://a/b` gives `a/b`; `embedded:/a` keeps its `/`).
    pub rest: String,
}

impl BrokerUrl {
    /// Splits the text.
    ///
    /// # Errors
    /// When there is no `:`.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| {
            BrokerError::Refused(
                format!("broker {text:?} is no URL: write memory:, embedded:DIR or kafka://HOST:PORT/TOPIC").into(),
            )
        })?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        Ok(Self { scheme: scheme.to_owned(), rest: rest.to_owned() })
    }
}

/// What the composition root hands to a factory.
#[derive(Clone, Debug, Default)]
pub struct BuildContext {
    /// Development mode: missing logs are created, unsafe replication is accepted with a warning.
    pub dev: bool,
    /// The broker's own section of the configuration, flattened to `key = value` texts (`properties.sasl.username`).
    /// The factory refuses keys that it does not know, with a suggestion. Values may be secrets.
    pub settings: BTreeMap<String, Secret>,
}

/// A text that never shows up in a log.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
