//! The client's end of TLS, for our own tools and tests: whom to trust, and a blocking connection.
//!
//! Not for the server. Who needs more than [`Link`] takes the configuration of the library.

mod anybody;
mod link;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

pub use link::{Link, LinkError};

/// Whom a client believes to be the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Whom the system's roots vouch for.
    System,
    /// Whom the certificates in this file (PEM) vouch for.
    File(PathBuf),
    /// Whoever answers. For this machine, for tests, and for those who ask for it.
    Anybody,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has none.
    #[error("no root certificates: install them (ca-certificates), or name a file in SSL_CERT_FILE")]
    NoRoots,
    /// The file has none.
    #[error("no certificates in {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PemError,
    },
    /// The library refuses.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A configuration for all versions, with the suites of aws-lc-rs.
///
/// # Errors
/// When there is nobody to trust.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    client_config_with(trust, aws_lc_rs::default_provider(), rustls::ALL_VERSIONS)
}

/// The same for some suites and versions.
///
/// # Errors
/// When there is nobody to trust, or suites and versions do not go together.
pub fn client_config_with(
    trust: &Trust,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let roots = match trust {
        Trust::Anybody => {
            let verifier = Arc::new(anybody::Anybody(provider));
            return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
        }
        Trust::System => rustls_native_certs::load_native_certs().certs,
        Trust::File(path) => {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            read.map_err(|error| TrustError::File { path: path.clone(), error })?
        }
    };
    let mut store = RootCertStore::empty();
    // Some systems carry certificates that the library does not read; the others count.
    store.add_parsable_certificates(roots);
    match (store.is_empty(), trust) {
        (true, Trust::File(path)) => Err(TrustError::File { path: path.clone(), error: PemError::NoItemsFound }),
        (true, _) => Err(TrustError::NoRoots),
        (false, _) => Ok(builder.with_root_certificates(store).with_no_client_auth()),
    }
}
