//! Key sets over TLS: the certificate must lead to a root that is trusted, and be for the host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tidegate_auth::{Endpoint, JwksOptions, Keeping, TokenError, TokenOptions, Verifier};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::signer::{Signer, openssl};

/// A root, and a certificate by it for an address.
fn certificate(dir: &Path, name: &str, address: &str) -> (PathBuf, PathBuf, PathBuf) {
    let path = |suffix: &str| dir.join(format!("{name}-{suffix}.pem"));
    let (ca, ca_key, leaf, key) = (path("ca"), path("ca-key"), path("leaf"), path("key"));
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let root = ["req", "-x509", "-subj", "/CN=test root", "-keyout", &text(&ca_key), "-out", &text(&ca)];
    openssl(&[&root[..], &curve].concat(), "");
    let (san, constraint) = (format!("subjectAltName=IP:{address}"), "basicConstraints=critical,CA:false");
    let (ca_text, ca_key, leaf_text, key_text) = (text(&ca), text(&ca_key), text(&leaf), text(&key));
    let own = ["req", "-x509", "-subj", "/CN=leaf", "-keyout", &key_text, "-out", &leaf_text];
    let by = ["-CA", &ca_text, "-CAkey", &ca_key, "-addext", &san, "-addext", constraint];
    openssl(&[&own[..], &curve, &by].concat(), "");
    (ca, leaf, key)
}

async fn serve(leaf: &Path, key: &Path, body: String) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(leaf).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate ends here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4_096]).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_set_comes_over_tls_from_whom_the_roots_vouch_for() {
    let dir = tempfile::tempdir().unwrap();
    let signer = Signer::new("ES256");
    let body = json!({"keys": [signer.jwk("k")]}).to_string();
    let token = signer.named("ES256", "k", &json!({"sub": "u1"}));
    let (ca, leaf, key) = certificate(dir.path(), "right", "127.0.0.1");
    let (other_ca, ..) = certificate(dir.path(), "other", "127.0.0.1");
    let (elsewhere_ca, elsewhere, elsewhere_key) = certificate(dir.path(), "elsewhere", "127.0.0.2");
    let right = serve(&leaf, &key, body.clone()).await;
    let wrong_host = serve(&elsewhere, &elsewhere_key, body).await;
    let table = [
        (right, Some(ca), Ok("u1".to_owned())),
        (right, Some(other_ca), Err(TokenError::Unavailable)),
        (right, Some(key), Err(TokenError::Unavailable)),
        (right, None, Err(TokenError::Unavailable)),
        (wrong_host, Some(elsewhere_ca), Err(TokenError::Unavailable)),
    ];
    for (address, ca_file, expected) in table {
        let endpoint = Endpoint::parse(&format!("https://{address}/keys")).unwrap();
        let keeping = Keeping { timeout: Duration::from_secs(10), ..Keeping::default() };
        let jwks = vec![JwksOptions { endpoint, issuer: None, ca_file: ca_file.clone(), keeping }];
        let verifier = Verifier::new(&TokenOptions { jwks, ..Default::default() });
        verifier.start(&tokio::runtime::Handle::current());
        let Err(TokenError::Fetching(fetch)) = verifier.connection(&token, 0) else { panic!("not before the fetch") };
        verifier.fetched(fetch).await;
        assert_eq!(verifier.connection(&token, 0).map(|c| c.user), expected, "{address} {ca_file:?}");
    }
}
