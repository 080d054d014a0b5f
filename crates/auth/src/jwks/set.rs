//! Reads a key set. A key that is not understood, not for signatures, or symmetric is left out; the rest counts, also
//! where that is nothing: so a provider takes its keys out of force.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::key::{ED25519_BYTES, Key, KeyKind, RSA_MODULUS_BYTES_MIN};

/// Keys of one set that count.
pub(super) const KEYS_MAX: usize = 64;
/// Bytes of a key's id.
pub(super) const KID_BYTES_MAX: usize = 256;
/// An RSA modulus of 8192 bits.
const RSA_MODULUS_BYTES_MAX: usize = 1_024;
const RSA_EXPONENT_BYTES_MAX: usize = 8;

/// The bytes are no key set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer is no key set")]
pub(super) struct NoSet;

/// What a set has for us.
pub(super) struct KeySet {
    pub(super) keys: Vec<Key>,
    /// There are more than [`KEYS_MAX`].
    pub(super) is_cut: bool,
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set, as far as they verify one of `only` (empty = any algorithm).
pub(super) fn parse(json: &[u8], only: &[Algorithm]) -> Result<KeySet, NoSet> {
    let set: RawSet<'_> = serde_json::from_slice(json).map_err(|_| NoSet)?;
    let mut all = set.keys.iter().filter_map(|raw| key(serde_json::from_str(raw.get()).ok()?, only));
    let keys = all.by_ref().take(KEYS_MAX).collect();
    Ok(KeySet { keys, is_cut: all.next().is_some() })
}

/// How many keys of a set count; `None` = it is no set.
pub fn check(json: &[u8]) -> Option<usize> {
    parse(json, &[]).ok().map(|set| set.keys.len())
}

fn key(raw: RawKey, only: &[Algorithm]) -> Option<Key> {
    let signs = raw.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = raw.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !signs || !verifies || raw.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
        return None;
    }
    let (kind, decoding) = decoding(&raw)?;
    // A key that names its algorithm is for that one alone.
    let own: Vec<Algorithm> = match &raw.alg {
        Some(alg) => vec![crate::key::algorithm(alg).filter(|a| only.is_empty() || only.contains(a))?],
        None => only.to_vec(),
    };
    let fits = own.is_empty() || own.iter().any(|a| kind.algorithms().contains(a));
    fits.then(|| Key::new(kind, decoding, &own).named(raw.kid))
}

fn decoding(raw: &RawKey) -> Option<(KeyKind, DecodingKey)> {
    match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (number(raw.n.as_ref()?)?, number(raw.e.as_ref()?)?);
            let fits = (RSA_MODULUS_BYTES_MIN..=RSA_MODULUS_BYTES_MAX).contains(&n.len())
                && (1..=RSA_EXPONENT_BYTES_MAX).contains(&e.len());
            fits.then(|| (KeyKind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e)))
        }
        ("EC", Some("P-256")) => Some((KeyKind::P256, point(raw, 32)?)),
        ("EC", Some("P-384")) => Some((KeyKind::P384, point(raw, 48)?)),
        ("OKP", Some("Ed25519")) => {
            let x = URL_SAFE_NO_PAD.decode(raw.x.as_ref()?).ok()?;
            (x.len() == ED25519_BYTES).then(|| (KeyKind::Ed25519, DecodingKey::from_ed_der(&x)))
        }
        _ => None,
    }
}

/// A number without leading zeros.
fn number(base64: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(base64).ok()?;
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    Some(bytes[zeros..].to_vec())
}

/// A point of a curve, uncompressed: 4, x, y, each of full length.
fn point(raw: &RawKey, length: usize) -> Option<DecodingKey> {
    let mut bytes = vec![4];
    for coordinate in [raw.x.as_ref()?, raw.y.as_ref()?] {
        let number = number(coordinate)?;
        bytes.resize(bytes.len() + length.checked_sub(number.len())?, 0);
        bytes.extend_from_slice(&number);
    }
    Some(DecodingKey::from_ec_der(&bytes))
}
