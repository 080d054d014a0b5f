//! Where a node is.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tidegate_tls_client::{Link, LinkError, Trust};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `http://HOST:PORT`, `https`, `ws` or `wss`, with a path in front of the node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    is_tls: bool,
    /// `HOST:PORT`, or `HOST` for port 80, with TLS 443.
    pub(crate) host: String,
    /// Without a slash at its end.
    pub(crate) prefix: String,
}

impl FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (rest, is_tls) = match text.split_once("://") {
            Some(("http" | "ws", rest)) => (rest, false),
            Some(("https" | "wss", rest)) => (rest, true),
            _ => bail!("{text:?} is no URL like http://127.0.0.1:8000"),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !is_plain(rest) {
            bail!("{text:?} is no URL like http://127.0.0.1:8000");
        }
        let path = path.trim_end_matches('/');
        // As the server names it when it starts.
        let prefix = path.strip_suffix("connection/websocket").unwrap_or(path).trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { is_tls, host: host.to_owned(), prefix })
    }
}

impl Url {
    /// The host alone, and the port, if it was named.
    fn parts(&self) -> (&str, Option<&str>) {
        let parts = self.host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        parts.map_or((&self.host, None), |(host, port)| (host, Some(port)))
    }

    fn connect(&self, patience: Duration) -> anyhow::Result<TcpStream> {
        let (_, port) = self.parts();
        let usual = if self.is_tls { 443 } else { 80 };
        let target = if port.is_some() { self.host.clone() } else { format!("{}:{usual}", self.host) };
        let addresses = target.to_socket_addrs().with_context(|| format!("cannot resolve {target}"))?;
        let mut last = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(patience))?;
                    stream.set_write_timeout(Some(patience))?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error).with_context(|| format!("cannot connect to {target}; is the server running?")),
            None => bail!("{target} has no address"),
        }
    }
}

/// A node, and who is believed to be it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Peer {
    /// A node, or the balancer in front of several
    #[arg(long, default_value = "http://127.0.0.1:8000", env = "TIDEGATE_URL")]
    pub(crate) url: Url,
    /// File (PEM) with the certificates that vouch for the server, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Do not ask who the server is: for a certificate that it made for itself
    #[arg(long, conflicts_with = "ca_file")]
    insecure: bool,
}

impl Peer {
    /// Opens a connection with a timeout for connecting, and `patience` for each read and write.
    pub(crate) fn connect(&self, patience: Duration) -> anyhow::Result<Link> {
        let stream = self.url.connect(patience)?;
        if !self.url.is_tls {
            return Ok(Link::Plain(stream));
        }
        let trust = match (&self.ca_file, self.insecure) {
            (_, true) => Trust::Anybody,
            (Some(path), false) => Trust::File(path.clone()),
            (None, false) => Trust::System,
        };
        let host = self.url.parts().0.trim_start_matches('[').trim_end_matches(']');
        Link::tls(stream, &trust, host).map_err(|error| match error {
            LinkError::Handshake(error) => anyhow::Error::new(error).context(format!(
                "no TLS with {host}: --ca-file FILE names who vouches for it, --insecure asks nobody"
            )),
            other => other.into(),
        })
    }

    #[cfg(test)]
    pub(crate) fn plain(url: &str) -> Self {
        Self { url: url.parse().unwrap(), ca_file: None, insecure: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let url = |s: &str| s.parse::<Url>().map(|u| (u.host, u.prefix)).map_err(|e| e.to_string());
        assert_eq!(url("http://a:1"), Ok(("a:1".to_owned(), String::new())));
        assert_eq!(url("ws://a:1/"), Ok(("a:1".to_owned(), String::new())));
        assert_eq!(url("http://[::1]:8000/x/y/"), Ok(("[::1]:8000".to_owned(), "/x/y".to_owned())));
        assert_eq!(url("ws://a:1/connection/websocket"), Ok(("a:1".to_owned(), String::new())));
        assert_eq!(url("wss://a/x/connection/websocket"), Ok(("a".to_owned(), "/x".to_owned())));
        for bad in ["", "a:1", "http://", "ftp://a", "http://a b", "http://a\r\nX: y"] {
            assert!(url(bad).is_err(), "{bad:?}");
        }
        let is_tls = |s: &str| s.parse::<Url>().unwrap().is_tls;
        assert!(is_tls("https://a") && is_tls("wss://a:1/x") && !is_tls("http://a") && !is_tls("ws://a"));
        let parts = |s: &str| s.parse::<Url>().map(|u| u.parts().0.to_owned()).unwrap();
        assert_eq!([parts("https://a:1"), parts("https://a"), parts("https://[::1]:1")], ["a", "a", "[::1]"]);
    }
}
