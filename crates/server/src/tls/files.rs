//! A certificate and its key in PEM files: read whole, checked against each other, and told what is wrong with them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// A chain with its key is a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What was in them when they were read together.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{setting}: cannot read {}: {error}; it must be a file that this process may read", path.display())]
    Read { setting: &'static str, path: PathBuf, error: io::Error },
    #[error("{setting}: {} is longer than {FILE_BYTES_MAX} bytes: is it the right file?", path.display())]
    TooLong { setting: &'static str, path: PathBuf },
    #[error(
        "tls.certificate: {} has no certificate: it must hold blocks that begin with -----BEGIN CERTIFICATE-----, this \
         server's own first",
        .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("tls.certificate: {} is damaged: {error}", path.display())]
    Damaged { path: PathBuf, error: PemError },
    #[error(
        "tls.key: {} is encrypted, and nobody is there to type its password: write it without one (openssl pkey -in \
         FILE -out OTHER) and let only this process read it",
        .0.display()
    )]
    Encrypted(PathBuf),
    #[error("tls.key: {} has no private key: it must hold a block that begins with -----BEGIN PRIVATE KEY-----", .0.display())]
    NoKey(PathBuf),
    #[error("tls.key: {} cannot be used: {error}", path.display())]
    Key { path: PathBuf, error: Error },
    #[error(
        "tls.key: {} is not the key of the first certificate in {}: name the key that it was made with, and put this \
         server's own certificate first",
        key.display(),
        certificate.display()
    )]
    Mismatch { key: PathBuf, certificate: PathBuf },
    #[error("tls.certificate: {} cannot be used: {error}", path.display())]
    Certificate { path: PathBuf, error: Error },
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::Read { setting, path: path.to_owned(), error };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLong { setting, path: path.to_owned() });
    }
    Ok(bytes)
}

impl Files {
    /// Reads both.
    pub(super) fn read(&self) -> Result<Contents, FileError> {
        Ok(Contents { certificate: read("tls.certificate", &self.certificate)?, key: read("tls.key", &self.key)? })
    }

    /// Checks what was read.
    pub(super) fn check(&self, contents: &Contents, provider: &CryptoProvider) -> Result<CertifiedKey, FileError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| FileError::Damaged { path: self.certificate.clone(), error })?;
        if chain.is_empty() {
            return Err(FileError::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| self.no_key(&contents.key))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| FileError::Key { path: self.key.clone(), error })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Some keys do not tell their public half.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(Error::InconsistentKeys(_)) => {
                Err(FileError::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() })
            }
            Err(error) => Err(FileError::Certificate { path: self.certificate.clone(), error }),
        }
    }

    fn no_key(&self, text: &[u8]) -> FileError {
        let text = String::from_utf8_lossy(text);
        match text.contains("ENCRYPTED") {
            true => FileError::Encrypted(self.key.clone()),
            false => FileError::NoKey(self.key.clone()),
        }
    }
}
