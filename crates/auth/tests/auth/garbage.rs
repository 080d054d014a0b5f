//! Whatever comes in, an answer comes out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;
use tidegate_auth::{PublicKey, TokenError, TokenOptions, Verifier};

use crate::signer::Signer;

fn verifier() -> Verifier {
    Verifier::new(&TokenOptions { hmac_secret: Some(b"s".to_vec()), ..Default::default() })
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,8}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

const CLAIMS: [&str; 18] = [
    "sub",
    "exp",
    "nbf",
    "iat",
    "expire_at",
    "jti",
    "aud",
    "iss",
    "info",
    "b64info",
    "channels",
    "subs",
    "meta",
    "channel",
    "client",
    "data",
    "override",
    "caps",
];

#[test]
fn a_bare_point_of_a_curve_is_no_key_in_pem() {
    let point = "AmZCLy0PW2UcS0BVFF0DAEcTBSh0cUWLpVgTCgFJyT/r";
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{point}\n-----END PUBLIC KEY-----");
    assert!(PublicKey::from_pem(&pem).is_err());
}

proptest! {
    #[test]
    fn texts_are_no_tokens(text in "\\PC{0,200}") {
        prop_assert_eq!(verifier().connection(&text, 0), Err(TokenError::Invalid));
        prop_assert_eq!(verifier().subscription(&text, 0), Err(TokenError::Invalid));
    }

    #[test]
    fn bytes_in_the_shape_of_a_token_are_none(a in any::<Vec<u8>>(), b in any::<Vec<u8>>(), c in any::<Vec<u8>>()) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let token = format!("{}.{}.{}", part(&a), part(&b), part(&c));
        prop_assert_eq!(verifier().connection(&token, 0), Err(TokenError::Invalid));
    }

    #[test]
    fn a_signed_token_with_any_claims_gets_an_answer(claims in prop::collection::btree_map(
        prop::sample::select(&CLAIMS[..]), json_value(), 0..6,
    ), now in any::<i64>()) {
        let token = Signer::hmac("s").make("HS256", &json!(claims));
        let _ = verifier().connection(&token, now);
        let _ = verifier().subscription(&token, now);
    }

    #[test]
    fn bytes_are_no_key_set_and_no_key(bytes in any::<Vec<u8>>(), text in "\\PC{0,100}") {
        prop_assert_eq!(tidegate_auth::check_jwks(&bytes), None);
        prop_assert!(PublicKey::from_pem(&text).is_err());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", base64::engine::general_purpose::STANDARD.encode(&bytes));
        prop_assert!(PublicKey::from_pem(&pem).is_err());
    }

    #[test]
    fn a_key_set_of_any_members_gets_an_answer(keys in prop::collection::vec(prop::collection::btree_map(
        prop::sample::select(&["kty", "use", "key_ops", "alg", "kid", "crv", "n", "e", "x", "y"][..]),
        prop_oneof![json_value(), Just(json!("RSA")), Just(json!("EC")), Just(json!("P-256")), "[A-Za-z0-9_-]{0,400}".prop_map(|s| json!(s))],
        0..10,
    ), 0..4)) {
        let _ = tidegate_auth::check_jwks(json!({"keys": keys}).to_string().as_bytes());
    }
}
