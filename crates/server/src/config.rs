//! The configuration: a TOML file, `TIDEGATE_*` variables and flags, read strictly into checked values.
//!
//! Unknown keys are errors, and all errors are told at once, each with its path. Without a file the server runs in
//! development mode: see [`Config::load`]. Outside of it nothing is open unless the configuration says so.

mod broker;
mod client;
mod file;
mod http2;
mod load;
mod namespaces;
mod reader;
mod show;
mod tls;
mod token;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_api::Scope;
use tidegate_broker::{BrokerUrl, Secret};
use tidegate_core::config::CoreOptions;

pub(crate) use reader::suggest;
pub use reader::{Entry, Problem, Sources};
pub use show::{reference, render};

/// Version text in answers.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " Tidegate");

/// Everything that the server needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients, backends and operators connect. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Event loops; at least 1.
    pub shards: usize,
    /// Development mode: loopback only, and open there.
    pub dev: bool,
    /// Whether the demo page and its worker are served.
    pub demo: bool,
    /// The backbone.
    pub broker: BrokerConfig,
    /// What the core acts on: clients, tokens, window, namespaces.
    pub core: CoreOptions,
    /// The server API.
    pub api: ApiConfig,
    /// TLS of the listener; without it the listener speaks none.
    pub tls: Option<TlsConfig>,
    /// HTTP/2; without it the listener speaks none.
    pub http2: Option<Http2Config>,
    /// How the node leaves.
    pub drain: DrainConfig,
    /// Every setting as it came out, for `config show`.
    pub entries: Vec<Entry>,
}

/// The backbone.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where it is.
    pub url: BrokerUrl,
    /// As it was written, for people.
    pub url_text: String,
    /// Its own section, flattened: `properties.sasl.username`.
    pub settings: BTreeMap<String, Secret>,
}

/// The server API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Each of these opens it; none = nobody may call.
    pub keys: Vec<Secret>,
    /// Each of these opens a part of it.
    pub scoped: Vec<(Secret, Scope)>,
    /// Everybody may call.
    pub insecure: bool,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
}

/// How the node leaves after SIGTERM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainConfig {
    /// Clients closed per second.
    pub rate: u32,
    /// After this who is left is told to go at once.
    pub timeout: Duration,
}

/// HTTP/2 of the listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Http2Config {
    /// Connections that speak it.
    pub connections_max: usize,
    /// Requests and streams at the same time on each.
    pub streams_per_connection_max: u32,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self { connections_max: 4_096, streams_per_connection_max: 128 }
    }
}

/// TLS of the listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Where the certificate comes from.
    pub source: TlsSource,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How often files are looked at.
    pub reload_interval: Duration,
}

/// Where a certificate comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsSource {
    /// PEM files.
    Files {
        /// The server's certificate and those between it and its root.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// It is made at the start.
    SelfSigned,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// One for each key.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "configuration: {one}"),
            many => {
                write!(f, "configuration has {} errors:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}
