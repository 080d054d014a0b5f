//! Where the load goes, and whose CPU and memory are read.

use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, bail, ensure};

use crate::link::Tls;

/// The server under test. Loopback only: this tool is able to take a server down.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Where clients connect: ws://127.0.0.1:PORT or wss://127.0.0.1:PORT, with a path where it is not /connection/websocket
    #[arg(long, global = true, default_value = "ws://127.0.0.1:8000")]
    pub url: String,
    /// Where publishes are posted: a path, or http://127.0.0.1:PORT/PATH (https:// where clients use wss://)
    #[arg(long, global = true, default_value = "/api/publish")]
    pub api: String,
    /// Key of the server API
    #[arg(long, global = true, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Connection token of every client; without it they are anonymous
    #[arg(long, global = true, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Process whose CPU and memory are read
    #[arg(long, global = true)]
    pub pid: Option<u32>,
    /// What channel names start with; a number follows
    #[arg(long, global = true, default_value = "bench")]
    pub prefix: String,
}

/// A target with its addresses looked at.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) tls: Option<Tls>,
    pub(crate) address: SocketAddrV4,
    pub(crate) path: String,
    pub(crate) api_address: SocketAddrV4,
    pub(crate) api_path: String,
    pub(crate) api_key: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) prefix: String,
}

impl Target {
    pub(crate) fn check(&self) -> Result<Checked> {
        let is_tls = self.url.starts_with("wss://");
        let (clients, publishers) = if is_tls { ("wss://", "https://") } else { ("ws://", "http://") };
        let (address, path) = split(&self.url, clients)?;
        let (api_address, api_path) = match self.api.starts_with('/') {
            true => (address, self.api.clone()),
            false => split(&self.api, publishers)?,
        };
        ensure!(
            self.prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'),
            "--prefix needs escaping"
        );
        ensure!(
            self.token.iter().chain(&self.api_key).all(|s| s.bytes().all(|b| b.is_ascii_graphic() && b != b'"')),
            "a token or key has characters that are not printable"
        );
        Ok(Checked {
            tls: is_tls.then(Tls::new).transpose()?,
            address,
            path: if path == "/" { "/connection/websocket".into() } else { path },
            api_address,
            api_path,
            api_key: self.api_key.clone(),
            token: self.token.clone(),
            pid: self.pid,
            prefix: self.prefix.clone(),
        })
    }
}

/// Address and path of a URL.
fn split(url: &str, scheme: &str) -> Result<(SocketAddrV4, String)> {
    let Some(rest) = url.strip_prefix(scheme) else { bail!("{url:?} does not start with {scheme}") };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.replace("localhost", "127.0.0.1");
    let address: SocketAddrV4 =
        authority.parse().with_context(|| format!("{authority:?} is not ADDRESS:PORT (IPv4)"))?;
    ensure!(address.ip().is_loopback(), "{address} is not a loopback address: load is for one's own machine only");
    Ok((address, if path.is_empty() { "/".into() } else { path.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, api: &str) -> Result<Checked> {
        let (url, api) = (url.into(), api.into());
        Target { url, api, api_key: None, token: None, pid: None, prefix: "x".into() }.check()
    }

    #[test]
    fn addresses_are_split() {
        let t = target("ws://localhost:8000", "/api/publish").unwrap();
        assert_eq!((t.address.to_string().as_str(), t.path.as_str()), ("127.0.0.1:8000", "/connection/websocket"));
        let t = target("ws://127.0.0.1:1/a?b", "http://127.0.0.2:2/c").unwrap();
        assert_eq!((t.path.as_str(), t.api_address.port(), t.api_path.as_str()), ("/a?b", 2, "/c"));
    }

    #[test]
    fn all_of_a_target_speaks_tls_or_nothing() {
        assert!(target("wss://127.0.0.1:1", "/").unwrap().tls.is_some());
        assert!(target("ws://127.0.0.1:1", "/").unwrap().tls.is_none());
        assert!(target("wss://127.0.0.1:1", "http://127.0.0.1:1/").is_err());
    }

    #[test]
    fn only_loopback() {
        for url in ["ws://192.0.2.1:80", "wss://192.0.2.1:80", "ws://127.0.0.1", "x"] {
            assert!(target(url, "/").is_err(), "{url}");
        }
    }
}
