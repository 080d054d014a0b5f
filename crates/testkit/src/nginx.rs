//! nginx in front of one node, as somebody would set it up who knows nothing of streams: a `proxy_pass` and no more. Only a
//! WebSocket needs two lines, as everywhere.

use std::path::Path;

use anyhow::Result;

use crate::proxy::{Program, Proxy};

const NGINX: Program = Program {
    name: "nginx",
    package: "nginx-light",
    check: &["-t", "-e", "stderr", "-c"],
    run: &["-e", "stderr", "-c"],
};

/// Proxies a free port to this loopback port.
///
/// # Errors
/// When the program is missing and cannot be installed, or does not come up.
pub fn start(backend: u16) -> Result<Proxy> {
    Proxy::start_anywhere(&NGINX, |port, dir| config(port, dir, backend))
}

fn config(port: u16, dir: &Path, backend: u16) -> String {
    let at = dir.display();
    format!(
        "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n  \
         uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  server {{\n    listen 127.0.0.1:{port};\n    \
         location / {{ proxy_pass http://127.0.0.1:{backend}; }}\n    \
         location ~ websocket$ {{\n      proxy_pass http://127.0.0.1:{backend};\n      \
         proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection upgrade;\n    }}\n  }}\n}}\n"
    )
}
