//! Keys, each pinned to the algorithms that it verifies.
//!
//! Invariant: a key never sees a token whose algorithm is of another type of key. So neither `alg: none`, nor a token
//! that took a public key for an HMAC secret, nor one of another curve passes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey};

/// The algorithm of a name, as `alg` spells it; `None` = none that is verified here.
pub fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok()
}

/// What a key is, which decides what it verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyKind {
    Hmac,
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    pub(crate) fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
        match self {
            Self::Hmac => &[HS256, HS384, HS512],
            Self::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256 => &[ES256],
            Self::P384 => &[ES384],
            Self::Ed25519 => &[EdDSA],
        }
    }
}

/// A key that verifies.
pub(crate) struct Key {
    /// Its name in a key set.
    pub(crate) kid: Option<String>,
    algorithms: Vec<Algorithm>,
    /// Seconds since 1970.
    valid_until: Option<i64>,
    decoding: DecodingKey,
}

impl Key {
    /// A key for those of `only` that fit its kind; an empty `only` is all.
    pub(crate) fn new(kind: KeyKind, decoding: DecodingKey, only: &[Algorithm]) -> Self {
        let fits = |a: &&Algorithm| only.is_empty() || only.contains(a);
        let algorithms = kind.algorithms().iter().filter(fits).copied().collect();
        Self { kid: None, algorithms, valid_until: None, decoding }
    }

    pub(crate) fn hmac(secret: &[u8], only: &[Algorithm]) -> Self {
        Self::new(KeyKind::Hmac, DecodingKey::from_secret(secret), only)
    }

    pub(crate) fn named(self, kid: Option<String>) -> Self {
        Self { kid, ..self }
    }

    pub(crate) fn until(self, valid_until: Option<i64>) -> Self {
        Self { valid_until, ..self }
    }

    /// Whether it may verify tokens of an algorithm.
    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether it signed the message, and still counts at `now`.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str, now: i64) -> bool {
        self.is_for(algorithm)
            && self.valid_until.is_none_or(|until| now < until)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, algorithm).unwrap_or(false)
    }
}

/// A public key of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    kind: KeyKind,
    /// SubjectPublicKeyInfo, or for RSA also PKCS #1.
    der: Vec<u8>,
}

/// Why a text is no public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no PEM block.
    #[error("expected a PEM block that begins with -----BEGIN PUBLIC KEY-----")]
    NoPem,
    /// A key that must stay where it is.
    #[error(
        "this is a private key: give the public one (openssl pkey -in KEY -pubout), and keep this one away from servers"
    )]
    Private,
    /// What signs is needed.
    #[error("this is a public key: signing needs the private one")]
    Public,
    /// A certificate.
    #[error("this is a certificate: give its public key (openssl x509 -in CERTIFICATE -noout -pubkey)")]
    Certificate,
    /// It cannot be read, or is of a type that is not known here.
    #[error("the key is damaged, or neither RSA of 2048 to 8192 bits, nor EC on P-256 or P-384, nor Ed25519")]
    Unknown,
}

impl PublicKey {
    /// Reads a key as PEM.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem(text).ok_or(KeyError::NoPem)?;
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
            "CERTIFICATE" => return Err(KeyError::Certificate),
            other if other.ends_with("PRIVATE KEY") => return Err(KeyError::Private),
            _ => return Err(KeyError::NoPem),
        }
        let kinds: [(KeyKind, &'static dyn VerificationAlgorithm); 4] = [
            (KeyKind::Rsa, &RSA_PKCS1_2048_8192_SHA256),
            (KeyKind::P256, &ECDSA_P256_SHA256_FIXED),
            (KeyKind::P384, &ECDSA_P384_SHA384_FIXED),
            (KeyKind::Ed25519, &ED25519),
        ];
        let kind = kinds.into_iter().find(|(_, algorithm)| ParsedPublicKey::new(*algorithm, &der).is_ok());
        match kind {
            // What PEM holds is a sequence of ASN.1: a bare point of a curve has no place in it, nor a bare Ed25519 key. A
            // small RSA key is parsed, and then verifies nothing.
            Some(_) if der.first() != Some(&ASN1_SEQUENCE) => Err(KeyError::Unknown),
            Some((KeyKind::Ed25519, _)) if der.len() == ED25519_BYTES => Err(KeyError::Unknown),
            Some((KeyKind::Rsa, _)) if der.len() <= RSA_MODULUS_BYTES_MIN => Err(KeyError::Unknown),
            Some((kind, _)) => Ok(Self { kind, der }),
            None => Err(KeyError::Unknown),
        }
    }

    /// The algorithms that it can verify.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        self.kind.algorithms()
    }

    pub(crate) fn key(&self, only: &[Algorithm]) -> Key {
        let decoding = match self.kind {
            KeyKind::Rsa => DecodingKey::from_rsa_der(&self.der),
            KeyKind::Ed25519 => DecodingKey::from_ed_der(&self.der),
            KeyKind::P256 | KeyKind::P384 | KeyKind::Hmac => DecodingKey::from_ec_der(&self.der),
        };
        Key::new(self.kind, decoding, only)
    }
}

const ASN1_SEQUENCE: u8 = 0x30;
pub(crate) const ED25519_BYTES: usize = 32;
pub(crate) const RSA_MODULUS_BYTES_MIN: usize = 256;

/// The first PEM block: its label and content.
pub(crate) fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Some((label, STANDARD.decode(base64).ok()?))
}
