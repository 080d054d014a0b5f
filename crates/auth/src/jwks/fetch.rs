//! One GET of a key set: HTTP/1.1, over TLS but on this machine.
//!
//! No redirect is followed and no proxy used: the keys come from where the configuration says. Bounded in time, head and
//! body. Root certificates are read for each fetch, so that a renewed bundle needs no restart.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::JwksOptions;
use super::set::NoSet;

/// Bytes of the answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Why there is no key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("no root certificates: install them (ca-certificates), or name a file in SSL_CERT_FILE")]
    NoRoots,
    #[error("no root certificates in {0}")]
    CaFile(PathBuf),
    #[error("the answer is no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0} instead of 200")]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Set(#[from] NoSet),
}

/// Brings the bytes of a set.
pub(super) async fn get(options: &JwksOptions) -> Result<Bytes, FetchError> {
    let timeout = options.keeping.timeout;
    tokio::time::timeout(timeout, exchange(options)).await.unwrap_or(Err(FetchError::Timeout(timeout)))
}

async fn exchange(options: &JwksOptions) -> Result<Bytes, FetchError> {
    let (host, port) = options.endpoint.address();
    let stream = TcpStream::connect((host, port)).await.map_err(FetchError::Connect)?;
    if !options.endpoint.is_secure() {
        return ask(TokioIo::new(stream), options).await;
    }
    let invalid = |error| FetchError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error));
    let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
    let stream = connector(options).await?.connect(name, stream).await.map_err(FetchError::Tls)?;
    ask(TokioIo::new(stream), options).await
}

async fn connector(options: &JwksOptions) -> Result<TlsConnector, FetchError> {
    let file = options.ca_file.clone();
    // Reading files is no work for the runtime's threads.
    let loaded = tokio::task::spawn_blocking(move || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(match file {
            Some(file) => {
                CertificateDer::pem_file_iter(file).map(|certs| certs.flatten().collect()).unwrap_or_default()
            }
            None => rustls_native_certs::load_native_certs().certs,
        });
        roots
    });
    let roots = loaded.await.unwrap_or_else(|_| RootCertStore::empty());
    if roots.is_empty() {
        return Err(options.ca_file.clone().map_or(FetchError::NoRoots, FetchError::CaFile));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| FetchError::Tls(io::Error::other(error)))?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}

async fn ask<S: Read + Write + Unpin>(stream: S, options: &JwksOptions) -> Result<Bytes, FetchError> {
    let mut client = hyper::client::conn::http1::Builder::new();
    let (mut sender, connection) = client.max_buf_size(HEAD_BYTES_MAX).handshake(stream).await?;
    let answer = async {
        let response = sender.send_request(request(options)).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), options.keeping.body_bytes_max).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLong(options.keeping.body_bytes_max),
            false => FetchError::Body(error),
        })
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = answer.as_mut() => return answer,
        // It ended with the last byte, or failed: either way the answer knows.
        _ = connection.as_mut() => {}
    }
    answer.await
}

fn request(options: &JwksOptions) -> Request<Empty<Bytes>> {
    let uri = &options.endpoint.0;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = uri.authority().map_or("", |a| a.as_str());
    Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .expect("path and host are parts of a URI that was parsed")
}
