//! Users and certificates of a secured test cluster.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::install::ensure_program;
use crate::process::run;

/// Name and password of the users that exist.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// For SASL PLAIN.
    pub plain: (String, String),
    /// For SCRAM-SHA-256 and SCRAM-SHA-512.
    pub scram: (String, String),
}

impl Default for Passwords {
    fn default() -> Self {
        let user = |name: &str| (name.to_owned(), format!("{name}-secret"));
        Self { plain: user("bob"), scram: user("alice") }
    }
}

impl Passwords {
    /// Arguments that make the SCRAM users when the storage is formatted.
    pub(crate) fn format_args(&self) -> Vec<String> {
        let (name, password) = &self.scram;
        ["SCRAM-SHA-256", "SCRAM-SHA-512"]
            .into_iter()
            .flat_map(|kind| ["--add-scram".to_owned(), format!("{kind}=[name={name},password={password}]")])
            .collect()
    }
}

/// Writes `ca.pem` and `node.keystore.pem` (for localhost and 127.0.0.1) into `dir`.
pub(crate) fn make_certificates(dir: &Path) -> Result<()> {
    let openssl = ensure_program("openssl", "openssl")?;
    let call = |args: &str| run(Command::new(&openssl).args(args.split(' ')).current_dir(dir)).map(drop);
    call("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=tidegate-test-ca -keyout ca.key -out ca.pem")?;
    call("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout node.key -out node.csr")?;
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    call("x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out node.pem")?;
    let key = std::fs::read_to_string(dir.join("node.key"))?;
    let certificate = std::fs::read_to_string(dir.join("node.pem"))?;
    std::fs::write(dir.join("node.keystore.pem"), key + &certificate)?;
    Ok(())
}
