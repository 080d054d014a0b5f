//! A certificate that a node makes for itself, for one run: its key exists in this process only.

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::host;

/// Makes one for this machine's own names.
pub(super) fn make(provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    // A certificate's names are ASCII.
    let host = host::name().filter(|name| name.is_ascii());
    let names = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(host);
    let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>());
    let rcgen::CertifiedKey { cert, signing_key } = made.context("cannot make a certificate for tls.self_signed")?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let key = provider.key_provider.load_private_key(key).context("cannot use the key made for tls.self_signed")?;
    Ok(CertifiedKey::new(vec![cert.der().clone()], key))
}
