//! Tokens: any text, and any claims under a right signature, which is as far as a client gets.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use tidegate_auth::{Permission, TokenOptions, Verifier};

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let user_id_claim = Some("user".to_owned());
    let hmac_secret = Some(b"s".to_vec());
    let subscription = TokenOptions { hmac_secret: hmac_secret.clone(), user_id_claim, ..TokenOptions::default() };
    Verifier::new(&TokenOptions { hmac_secret, subscription: Some(Box::new(subscription)), ..TokenOptions::default() })
});

fn sign(claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(b"s");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs anything");
    format!("{message}.{signature}")
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(VERIFIER.connection(text, 0).is_err());
    }
    let token = sign(data);
    let _ = VERIFIER.subscription(&token, 1_000);
    if let Ok(claims) = VERIFIER.connection(&token, 1_000) {
        for permission in [Permission::Subscribe, Permission::Publish, Permission::Presence, Permission::History] {
            let _ = claims.capabilities.allow(permission, &claims.user);
        }
    }
});
