//! Where a node is.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// `http://HOST:PORT` or `ws://HOST:PORT`, with a path in front of the node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    /// `HOST:PORT`, or `HOST` for port 80.
    pub(crate) host: String,
    /// Without a slash at its end.
    pub(crate) prefix: String,
}

impl FromStr for Url {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let rest = match text.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some(("https" | "wss", _)) => {
                bail!("{text:?}: TLS is not spoken here, name a node directly with http://HOST:PORT")
            }
            _ => bail!("{text:?} is no URL like http://127.0.0.1:8000"),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !is_plain(rest) {
            bail!("{text:?} is no URL like http://127.0.0.1:8000");
        }
        let prefix = path.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { host: host.to_owned(), prefix })
    }
}

impl Url {
    /// Opens a connection with a timeout for connecting, and `patience` for each read and write.
    pub(crate) fn connect(&self, patience: Duration) -> anyhow::Result<TcpStream> {
        let has_port = self.host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let target = if has_port { self.host.clone() } else { format!("{}:80", self.host) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let url = |s: &str| s.parse::<Url>().map(|u| (u.host, u.prefix)).map_err(|e| e.to_string());
        assert_eq!(url("http://a:1"), Ok(("a:1".to_owned(), String::new())));
        assert_eq!(url("ws://a:1/"), Ok(("a:1".to_owned(), String::new())));
        assert_eq!(url("http://[::1]:8000/x/y/"), Ok(("[::1]:8000".to_owned(), "/x/y".to_owned())));
        for bad in ["", "a:1", "http://", "ftp://a", "http://a b", "http://a\r\nX: y"] {
            assert!(url(bad).is_err(), "{bad:?}");
        }
        assert!(url("https://a").unwrap_err().contains("TLS"));
    }
}
