//! Key sets of identity providers (RFC 7517), fetched and kept.
//!
//! `set` reads a set, `fetch` brings its bytes, `source` keeps it fresh and answers for it. Invariants: a token never
//! waits inside a verification; there is one fetch of a set at a time, and unknown key ids cause no more than one per
//! interval; keys that were fetched stay in force while the endpoint is away.

mod fetch;
mod set;
mod source;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

pub use set::check;
pub(crate) use source::{Miss, Source};

/// A key set and how it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JwksOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// It is for tokens with this `iss`; `None` = for all that no other set is for.
    pub issuer: Option<String>,
    /// Certificates that the endpoint's must lead to (PEM); `None` = the system's.
    pub ca_file: Option<PathBuf>,
    /// How it is kept.
    pub keeping: Keeping,
}

/// How key sets are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keeping {
    /// A set is fetched anew when it is this old.
    pub ttl: Duration,
    /// Unknown key ids have a set fetched at most once in this time.
    pub refresh_interval: Duration,
    /// Longest time of one fetch.
    pub timeout: Duration,
    /// Bytes of a set; more is no set.
    pub body_bytes_max: usize,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            refresh_interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            body_bytes_max: 256 << 10,
        }
    }
}

/// Where a key set is: https, or http on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why a text is no endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL with a host.
    #[error("expected a URL like \"https://id.example.com/.well-known/jwks.json\"")]
    NoUrl,
    /// Whoever is between could replace the keys.
    #[error("must be https: http is for this machine (127.0.0.1, localhost) only")]
    Insecure,
    /// A password in it would show in logs.
    #[error("must not have a user or password in it")]
    Credentials,
    /// Another port would be asked instead.
    #[error("the port must be a number up to 65535")]
    Port,
}

impl Endpoint {
    /// Reads it from a URL.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError::NoUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(EndpointError::NoUrl);
        };
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        // What is no port counts as none to the library.
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !matches!(port, "" | ":") && authority.port_u16().is_none() {
            return Err(EndpointError::Port);
        }
        let local = matches!(authority.host(), "127.0.0.1" | "localhost" | "[::1]");
        match scheme {
            _ if authority.host().is_empty() => Err(EndpointError::NoUrl),
            "https" => Ok(Self(uri)),
            "http" if local => Ok(Self(uri)),
            "http" => Err(EndpointError::Insecure),
            _ => Err(EndpointError::NoUrl),
        }
    }

    fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Host and port to connect to.
    fn address(&self) -> (&str, u16) {
        let host = self.0.host().unwrap_or_default();
        let port = self.0.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 });
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

/// Without the query, which may hold a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str(), self.0.authority());
        write!(f, "{}://{}{}", scheme.unwrap_or_default(), authority.map_or("", |a| a.as_str()), self.0.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_or_here() {
        let parse = |url: &str| Endpoint::parse(url).map(|e| e.to_string());
        assert_eq!(parse("https://id.example/keys?secret=1"), Ok("https://id.example/keys".to_owned()));
        for here in ["http://127.0.0.1:80/k", "http://localhost/k", "http://[::1]:1/k"] {
            assert!(parse(here).is_ok(), "{here}");
        }
        assert_eq!(parse("http://id.example/keys"), Err(EndpointError::Insecure));
        assert_eq!(parse("http://127.0.0.1.example/keys"), Err(EndpointError::Insecure));
        assert_eq!(parse("https://u:p@id.example/keys"), Err(EndpointError::Credentials));
        for port in ["65536", "99999999999", "-1"] {
            assert_eq!(parse(&format!("https://id.example:{port}/keys")), Err(EndpointError::Port), "{port}");
        }
        assert_eq!(parse("http://[::1]:65536/keys"), Err(EndpointError::Port));
        for wrong in ["", "keys", "/keys", "ftp://a/b", "https://"] {
            assert_eq!(parse(wrong), Err(EndpointError::NoUrl), "{wrong}");
        }
    }

    #[test]
    fn ports_and_hosts_are_taken_from_the_url() {
        let address = |url| Endpoint::parse(url).map(|e| (e.address().0.to_owned(), e.address().1)).unwrap();
        assert_eq!(address("https://id.example/k"), ("id.example".to_owned(), 443));
        assert_eq!(address("https://id.example:/k"), ("id.example".to_owned(), 443));
        assert_eq!(address("https://id.example:65535/k"), ("id.example".to_owned(), 65535));
        assert_eq!(address("http://[::1]:8080/k"), ("::1".to_owned(), 8080));
    }
}
