//! nginx in front of one node, as somebody would set it up who knows nothing of streams: a `proxy_pass` and no more. Only a
//! WebSocket needs two lines, as everywhere.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::install::ensure_program;
use crate::ports::{connect, free, poll_until};
use crate::process::{Process, run};

/// A running proxy.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    process: Process,
    // After the process: it ends before its folder goes.
    _dir: TempDir,
}

impl Nginx {
    /// Proxies a free port to this loopback port.
    ///
    /// # Errors
    /// When the program is missing and cannot be installed, or does not come up.
    pub fn start(backend: u16) -> Result<Self> {
        let program = ensure_program("nginx", "nginx-light")?;
        let dir = tempfile::Builder::new().prefix("tidegate-nginx-").tempdir()?;
        let [port] = free()?;
        let file = dir.path().join("nginx.conf");
        let log = dir.path().join("log");
        let at = dir.path().display();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  \
             client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n  \
             uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  server {{\n    listen 127.0.0.1:{port};\n    \
             location / {{ proxy_pass http://127.0.0.1:{backend}; }}\n    \
             location ~ websocket$ {{\n      proxy_pass http://127.0.0.1:{backend};\n      \
             proxy_http_version 1.1;\n      proxy_set_header Upgrade $http_upgrade;\n      \
             proxy_set_header Connection upgrade;\n    }}\n  }}\n}}\n"
        );
        std::fs::write(&file, text)?;
        run(Command::new(&program).args(["-t", "-e", "stderr", "-c"]).arg(&file)).context("nginx configuration")?;
        let mut command = Command::new(&program);
        command.args(["-e", "stderr", "-c"]).arg(&file);
        let mut process = Process::start("nginx", &mut command, &log)?;
        poll_until("nginx", Duration::from_secs(10), || {
            process.check_alive()?;
            Ok(connect(port).map(drop)?)
        })?;
        Ok(Self { port, process, _dir: dir })
    }

    /// The port that it proxies.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
