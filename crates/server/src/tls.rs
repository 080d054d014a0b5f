//! TLS of the listener: where its certificate comes from, and how a new one is taken into use while the node runs.
//!
//! Not the speaking of it, which shards do. What is loaded here is given to their [`Acceptor`]: new connections get the
//! new certificate, those that there are keep what they began with. A private key is read and kept in memory; it is
//! neither logged nor written.

mod files;
mod reload;
mod self_signed;

use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tidegate_core::Hub;
use tidegate_shard::Acceptor;
use tokio::signal::unix::Signal;
use tokio::sync::Semaphore;

use crate::config::{TlsConfig, TlsSource, TlsVersion};
use files::Files;
use reload::Watched;

/// Tickets of TLS 1.3 that a handshake brings. One is enough to come back once, and each costs 7 us.
const TICKETS: usize = 1;

/// All versions that can be spoken, the newest first.
static VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The TLS of a node.
pub(crate) struct Tls {
    acceptor: Arc<Acceptor>,
    recipe: Recipe,
    watched: Option<Watched>,
}

/// What every certificate is used with.
struct Recipe {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Kept over reloads, so that clients can still resume.
    ticketer: Arc<dyn ProducesTickets>,
}

impl Recipe {
    fn new(min_version: TlsVersion) -> Result<Self, rustls::Error> {
        let versions = match min_version {
            TlsVersion::V12 => &VERSIONS[..],
            TlsVersion::V13 => &VERSIONS[..1],
        };
        // Its keys change by themselves.
        let ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { provider: Arc::new(aws_lc_rs::default_provider()), versions, ticketer })
    }

    fn config(&self, key: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let builder = builder.with_protocol_versions(self.versions)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.ticketer = self.ticketer.clone();
        config.send_tls13_tickets = TICKETS;
        // Tickets carry what a session needs: nothing is kept here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Arc::new(config))
    }
}

impl Tls {
    /// Loads or makes the certificate. `http2` are the connections that may speak it.
    ///
    /// # Errors
    /// When a file cannot be used; the text names it and says what to do.
    pub(crate) fn load(config: &TlsConfig, http2: Option<Arc<Semaphore>>) -> anyhow::Result<Self> {
        let recipe = Recipe::new(config.min_version).context("cannot set TLS up")?;
        let (key, watched) = match &config.source {
            TlsSource::SelfSigned => (self_signed::make(&recipe.provider)?, None),
            TlsSource::Files { certificate, key } => {
                let files = Files { certificate: certificate.clone(), key: key.clone() };
                let contents = files.read()?;
                let key = files.check(&contents, &recipe.provider)?;
                (key, Some(Watched { files, contents, interval: config.reload_interval }))
            }
        };
        let shown = fingerprint(&key);
        match watched {
            None => tracing::warn!(
                "TLS with a certificate that this process made for itself: for trying it out only. Clients have to be told \
                 to accept it (curl --insecure); its SHA-256 fingerprint is {shown}"
            ),
            Some(_) => tracing::info!("TLS with the certificate whose SHA-256 fingerprint is {shown}"),
        }
        let acceptor = Arc::new(Acceptor::new(recipe.config(key).context("cannot set TLS up")?, http2));
        Ok(Self { acceptor, recipe, watched })
    }

    /// What shards make sessions with.
    pub(crate) fn acceptor(&self) -> Arc<Acceptor> {
        self.acceptor.clone()
    }
}

/// Takes changed files into use, for ever; when `told`, at once. Without files there is nobody to be told.
pub(crate) async fn watch(tls: Option<Tls>, told: Option<Signal>, hub: Arc<Hub>) {
    match (tls, told) {
        (Some(Tls { acceptor, recipe, watched: Some(watched) }), Some(told)) => {
            watched.run(told, &recipe, &acceptor, hub.metrics()).await;
        }
        (_, Some(told)) => reload::nothing(told).await,
        (_, None) => std::future::pending().await,
    }
}

/// SHA-256 of the server's own certificate, as browsers show it.
fn fingerprint(key: &CertifiedKey) -> String {
    let digest =
        ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, key.cert.first().map_or(&[], |c| c.as_ref()));
    let bytes: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
