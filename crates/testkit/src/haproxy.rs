//! `HAProxy` as a balancer without any affinity, for each request anew: round robin, or by chance.
//!
//! With `http-no-delay`: without it every message of a response that does not end waits up to 200 ms for a next one. With
//! `abortonclose`: without it a client that hangs up on such a response stays until something is sent to it.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, TcpListener};

use anyhow::Result;

use crate::proxy::{Program, Proxy};

const HAPROXY: Program = Program { name: "haproxy", package: "haproxy", check: &["-c", "-f"], run: &["-db", "-f"] };

/// Balances a free port over these loopback ports; `health_path` is asked every half second and must answer 2xx.
///
/// # Errors
/// When the program is missing and cannot be installed, or does not come up.
pub fn start(backends: &[u16], health_path: &str) -> Result<Proxy> {
    Proxy::start_anywhere(&HAPROXY, |port, _| Setup::new(port, backends, health_path).config())
}

/// The same on a given port, with one path that goes to a port of its own.
///
/// # Errors
/// As [`start`].
pub fn start_routed(port: u16, backends: &[u16], health_path: &str, route: (&str, u16)) -> Result<Proxy> {
    let setup = Setup { route: Some(route), ..Setup::new(port, backends, health_path) };
    Proxy::start(&HAPROXY, port, |_| setup.config())
}

/// The same on a given port of both loopback addresses, with a port by chance for each request.
///
/// # Errors
/// As [`start`].
pub fn start_random(port: u16, backends: &[u16], health_path: &str) -> Result<Proxy> {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let setup = Setup { balance: "random", has_ipv6, ..Setup::new(port, backends, health_path) };
    Proxy::start(&HAPROXY, port, |_| setup.config())
}

/// In front of one port, as somebody would set it up who knows nothing of streams: only what `HAProxy` insists on.
///
/// # Errors
/// As [`start`].
pub fn start_with_defaults(backend: u16) -> Result<Proxy> {
    start_plain(backend, "")
}

/// The same, and it speaks HTTP/2 to the port, but for WebSockets.
///
/// # Errors
/// As [`start`].
pub fn start_over_http2(backend: u16) -> Result<Proxy> {
    start_plain(backend, "proto h2 ws h1")
}

fn start_plain(backend: u16, server: &str) -> Result<Proxy> {
    Proxy::start_anywhere(&HAPROXY, |port, _| {
        format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
             frontend front\n  bind 127.0.0.1:{port}\n  default_backend node\n\
             backend node\n  server node 127.0.0.1:{backend} {server}\n"
        )
    })
}

/// What differs from balancer to balancer.
struct Setup<'s> {
    port: u16,
    has_ipv6: bool,
    balance: &'static str,
    backends: &'s [u16],
    health_path: &'s str,
    route: Option<(&'s str, u16)>,
}

impl<'s> Setup<'s> {
    fn new(port: u16, backends: &'s [u16], health_path: &'s str) -> Self {
        Self { port, has_ipv6: false, balance: "roundrobin", backends, health_path, route: None }
    }

    fn config(&self) -> String {
        let Self { port, has_ipv6, balance, backends, health_path, route } = self;
        let ipv6 = if *has_ipv6 { format!("  bind ::1:{port}\n") } else { String::new() };
        let rule = route.map(|(path, _)| format!("  use_backend route if {{ path {path} }}\n")).unwrap_or_default();
        let mut text = format!(
            "global\n  maxconn 9000\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout tunnel 1h\n  retries 3\n  option redispatch\n  option http-no-delay\n  option abortonclose\n\
             frontend front\n  bind 127.0.0.1:{port}\n{ipv6}{rule}  default_backend nodes\n\
             backend nodes\n  balance {balance}\n  option httpchk GET {health_path}\n  \
             default-server inter 500 fall 2 rise 1\n",
        );
        for (index, backend) in backends.iter().enumerate() {
            let _ = writeln!(text, "  server node{} 127.0.0.1:{backend} check", index + 1);
        }
        if let Some((_, port)) = route {
            let _ = writeln!(text, "backend route\n  server route 127.0.0.1:{port}");
        }
        text
    }
}
