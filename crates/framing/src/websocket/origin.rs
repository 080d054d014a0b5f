//! Which web pages may open a connection: browsers say where a page came from, and cookies would speak for its reader.

use super::handshake::authority_matches;

/// The origins that may connect: the server's own host, and those of a list.
///
/// A pattern is an origin as browsers write it (`https://app.example.com`), in which each `*` stands for any run of
/// letters, digits, `-` and `.`; `https://*.example.com` does not match a port, `http://localhost:*` does. `*` alone
/// allows everything, also the `null` of sandboxed pages and files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    patterns: Vec<String>,
    local: bool,
}

/// A text that is no pattern of an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("origin {0:?} is not of the form scheme://host[:port]")]
pub struct OriginPatternError(String);

impl Origins {
    /// Own host, plus these patterns.
    ///
    /// # Errors
    /// For the first pattern that could never match an origin: without `://`, or with a path.
    pub fn parse<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginPatternError> {
        let check = |pattern: S| {
            let text = pattern.as_ref().to_ascii_lowercase();
            let well = text == "*"
                || text == "null"
                || text
                    .split_once("://")
                    .is_some_and(|(s, host)| !s.is_empty() && !host.is_empty() && !host.contains('/'));
            if well { Ok(text) } else { Err(OriginPatternError(pattern.as_ref().to_owned())) }
        };
        patterns.into_iter().map(check).collect::<Result<_, _>>().map(|patterns| Self { patterns, local: false })
    }

    /// The same for a server that only this machine reaches: the own host is an address or `localhost`. Under any other
    /// name a page of anybody can pretend to be the server's, once that name leads to this machine (DNS rebinding). What
    /// such a page asks for by GET has no origin, and is let in like what comes by a proxy that names itself as the host.
    pub fn local(self) -> Self {
        Self { local: true, ..self }
    }

    /// Whether a request with this `Origin` and `Host` may connect. Without an origin it is no browser, or one that reads
    /// from the page's own host, and passes.
    pub fn allows(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let own = |host: &str| authority_matches(origin, host) && !(self.local && is_foreign_name(host));
        host.is_some_and(own) || self.listed(&origin.to_ascii_lowercase())
    }

    /// What to say to whom [`Origins::allows`] does not let in.
    pub fn refusal(origin: Option<&str>) -> String {
        format!("origin {:?} is not allowed: add it to client.allowed_origins", origin.unwrap_or_default())
    }

    fn listed(&self, origin: &str) -> bool {
        self.patterns.iter().any(|p| p == "*" || glob(p.as_bytes(), origin.as_bytes()))
    }
}

/// Whether a `Host` is a name that others may have given to this machine.
fn is_foreign_name(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    let local = name == "localhost" || name.ends_with(".localhost") || name.parse::<std::net::Ipv4Addr>().is_ok();
    !local && !host.starts_with('[')
}

/// Glob without backtracking beyond the last star: linear in practice, quadratic at worst, on texts of header size.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star.filter(|&(_, from)| in_host(text[from])) {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// What a star may stand for: no `:`, `/` or `@`, which would let it swallow the host.
fn in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_with_host_and_list() {
        let list = Origins::parse(["https://*.example.com", "http://localhost:*", "https://a.test"]).unwrap();
        for (origin, host, allowed) in [
            (None, None, true),
            (Some("http://own"), Some("own"), true),
            (Some("http://OWN:80"), Some("own"), true),
            (Some("https://own"), Some("own:443"), true),
            (Some("http://own:8000"), Some("own:8000"), true),
            (Some("http://own"), Some("own:8000"), false),
            (Some("http://evil"), Some("own"), false),
            (Some("https://x.example.com"), Some("own"), true),
            (Some("https://x.y.Example.com"), Some("own"), true),
            (Some("http://x.example.com"), Some("own"), false),
            (Some("https://x.example.com:8443"), Some("own"), false),
            (Some("https://example.com"), Some("own"), false),
            (Some("https://x.example.com.evil.org"), Some("own"), false),
            (Some("https://evil.org:1.example.com"), Some("own"), false),
            (Some("http://localhost:5173"), Some("own"), true),
            (Some("http://localhost:"), None, true),
            (Some("https://a.test"), None, true),
            (Some("null"), Some("own"), false),
            (Some(""), Some(""), false),
            (Some("file://"), Some(""), false),
        ] {
            assert_eq!(list.allows(origin, host), allowed, "{origin:?} {host:?}");
        }
    }

    #[test]
    fn on_this_machine_only_the_own_host_has_no_name_of_others() {
        let listed = Origins::parse(["http://dev.test:8000"]).unwrap().local();
        let local = Origins::default().local();
        for (host, allowed) in [
            ("127.0.0.1:8000", true),
            ("[::1]:8000", true),
            ("localhost:8000", true),
            ("a.LOCALHOST", true),
            ("evil.example:8000", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example:8000", false),
            ("dev.test:8000", false),
        ] {
            let origin = format!("http://{host}");
            assert_eq!(local.allows(Some(&origin), Some(host)), allowed, "{host}");
            assert_eq!(listed.allows(Some(&origin), Some(host)), allowed || host == "dev.test:8000", "{host}");
            assert!(local.allows(None, Some(host)), "a proxy may name itself");
        }
    }

    #[test]
    fn a_lone_star_allows_everything() {
        let all = Origins::parse(["*"]).unwrap();
        assert!(all.allows(Some("null"), None) && all.allows(Some("https://a:1"), Some("b")));
    }

    #[test]
    fn patterns_that_never_match_are_refused() {
        for bad in ["example.com", "https://", "://x", "https://x/path", ""] {
            assert!(Origins::parse([bad]).is_err(), "{bad}");
        }
    }
}
