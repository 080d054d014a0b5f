//! Makes tokens: for trying out, never while serving.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;

use crate::key::{KeyError, KeyKind, pem};

enum Pair {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that signs tokens. Never shows.
pub struct SigningKey(Pair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key is of another type.
    #[error("the key is for {0:?}")]
    Algorithm(&'static [Algorithm]),
    /// The claims are no JSON.
    #[error("the claims cannot be written: {0}")]
    Claims(#[from] serde_json::Error),
    /// The library refused.
    #[error("the key does not sign")]
    Refused,
}

impl SigningKey {
    /// An HMAC secret.
    pub fn hmac(secret: &[u8]) -> Self {
        Self(Pair::Hmac(secret.to_vec()))
    }

    /// Reads a private key as PEM, without a password.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem(text).ok_or(KeyError::NoPem)?;
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyError::Public),
            "CERTIFICATE" => return Err(KeyError::Certificate),
            other if other.ends_with("PRIVATE KEY") => {}
            _ => return Err(KeyError::NoPem),
        }
        let rsa = || RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).map(Box::new).map(Pair::Rsa);
        let p256 = || EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map(Pair::P256);
        let p384 = || EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, &der).map(Pair::P384);
        let ed25519 = || Ed25519KeyPair::from_pkcs8(&der).map(Pair::Ed25519);
        let pair = rsa().or_else(|_| p256()).or_else(|_| p384()).or_else(|_| ed25519());
        pair.map(Self).map_err(|_| KeyError::Unknown)
    }

    /// The algorithms that it can sign with, the usual one first.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        let kind = match self.0 {
            Pair::Hmac(_) => KeyKind::Hmac,
            Pair::Rsa(_) => KeyKind::Rsa,
            Pair::P256(_) => KeyKind::P256,
            Pair::P384(_) => KeyKind::P384,
            Pair::Ed25519(_) => KeyKind::Ed25519,
        };
        kind.algorithms()
    }

    /// Makes a token; `kid` names the key in a key set.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn token(&self, algorithm: Algorithm, kid: Option<&str>, claims: &impl Serialize) -> Result<String, SignError> {
        if !self.algorithms().contains(&algorithm) {
            return Err(SignError::Algorithm(self.algorithms()));
        }
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        let part = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
        let message = format!("{}.{}", part(serde_json::to_vec(&header)?), part(serde_json::to_vec(claims)?));
        let signature = self.sign(algorithm, message.as_bytes()).map_err(|_| SignError::Refused)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.0 {
            Pair::Hmac(secret) => {
                let hash = match algorithm {
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm), &random, message, &mut signature)?;
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

fn rsa_encoding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}
