//! nginx in front of nodes, as somebody would set it up who knows nothing of streams: a `proxy_pass` and no more. Only a
//! WebSocket needs two lines, as everywhere.
//!
//! Over several nodes it takes turns. That a node died it learns from requests: one that a node did not take goes to the
//! next, and the node is left out for 10 s. While all are left out, requests are answered 502.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::proxy::{Program, Proxy};

const NGINX: Program = Program {
    name: "nginx",
    package: "nginx-light",
    check: &["-t", "-e", "stderr", "-c"],
    run: &["-e", "stderr", "-c"],
};

/// Proxies a free port to these loopback ports.
///
/// # Errors
/// When the program is missing and cannot be installed, or does not come up.
pub fn start(backends: &[u16]) -> Result<Proxy> {
    Proxy::start_anywhere(&NGINX, |port, dir| config(port, dir, backends))
}

fn config(port: u16, dir: &Path, backends: &[u16]) -> String {
    let at = dir.display();
    let mut servers = String::new();
    for backend in backends {
        let _ = writeln!(servers, "    server 127.0.0.1:{backend};");
    }
    format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n  \
         uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  upstream nodes {{\n{servers}  }}\n  server {{\n    listen 127.0.0.1:{port};\n    \
         location / {{ proxy_pass http://nodes; }}\n    \
         location ~ websocket$ {{\n      proxy_pass http://nodes;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection upgrade;\n    }}\n  }}\n}}\n"
    )
}
