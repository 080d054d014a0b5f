//! Every algorithm with its own key, and no other.

use serde_json::json;
use tidegate_auth::{KeyError, PublicKey, TokenError, TokenOptions, Verifier};

use crate::signer::Signer;

const ALL: [&str; 12] =
    ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

fn verifier(signer: &Signer, change: impl FnOnce(&mut TokenOptions)) -> Verifier {
    let mut options = TokenOptions::default();
    match signer {
        Signer::Hmac(secret) => options.hmac_secret = Some(secret.clone()),
        _ => options.public_keys = vec![PublicKey::from_pem(&signer.pem()).unwrap()],
    }
    change(&mut options);
    Verifier::new(&options)
}

#[test]
fn each_algorithm_verifies_its_own_tokens() {
    for algorithm in ALL {
        let signer = Signer::new(algorithm);
        let verifier = verifier(&signer, |_| {});
        let token = signer.make(algorithm, &json!({"sub": "u1"}));
        assert_eq!(verifier.connection(&token, 0).map(|c| c.user), Ok("u1".to_owned()), "{algorithm}");
        let other = Signer::new(algorithm);
        if !matches!(other, Signer::Hmac(_)) {
            let forged = other.make(algorithm, &json!({"sub": "u1"}));
            assert_eq!(verifier.connection(&forged, 0), Err(TokenError::Invalid), "{algorithm} of another key");
        }
    }
}

#[test]
fn a_key_verifies_no_algorithm_of_another_type() {
    let signers: Vec<Signer> = ["HS256", "RS256", "ES256", "ES384", "EdDSA"].map(Signer::new).into();
    let families = ["HS", "RS PS", "ES256", "ES384", "EdDSA"];
    for (at, signer) in signers.iter().enumerate() {
        let verifier = verifier(signer, |_| {});
        for algorithm in ALL {
            let own = families[at].split(' ').any(|family| algorithm.starts_with(family));
            let token = signer.make(algorithm, &json!({"sub": "u1"}));
            assert_eq!(verifier.connection(&token, 0).is_ok(), own, "{algorithm} with a key for {}", families[at]);
        }
    }
}

#[test]
fn a_public_key_taken_for_a_secret_is_no_secret() {
    let signer = Signer::new("RS256");
    let verifier = verifier(&signer, |_| {});
    for secret in [signer.pem(), signer.pem().trim().to_owned()] {
        let token = Signer::hmac(&secret).make("HS256", &json!({"sub": "admin"}));
        assert_eq!(verifier.connection(&token, 0), Err(TokenError::Invalid));
    }
}

#[test]
fn algorithms_can_be_narrowed() {
    let signer = Signer::new("RS256");
    let verifier = verifier(&signer, |o| o.algorithms = vec![tidegate_auth::Algorithm::PS256]);
    assert!(verifier.connection(&signer.make("PS256", &json!({})), 0).is_ok());
    assert_eq!(verifier.connection(&signer.make("RS256", &json!({})), 0), Err(TokenError::Invalid));
}

#[test]
fn none_unknown_and_critical_headers_are_invalid() {
    let signer = Signer::hmac("s");
    let verifier = verifier(&signer, |_| {});
    let claims = json!({"sub": "u1"});
    let headers = [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "hs256"}),
        json!({"alg": "ES512"}),
        json!({"alg": ["HS256"]}),
        json!({}),
        json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
    ];
    for header in headers {
        let token = signer.token(&header, &claims);
        assert_eq!(verifier.connection(&token, 0), Err(TokenError::Invalid), "{header}");
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(verifier.connection(&unsigned, 0), Err(TokenError::Invalid), "{header} unsigned");
    }
}

#[test]
fn a_changed_token_is_invalid() {
    let signer = Signer::new("ES256");
    let verifier = verifier(&signer, |_| {});
    let token = signer.make("ES256", &json!({"sub": "u1"}));
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(verifier.connection(std::str::from_utf8(&bytes).unwrap(), 0).is_err(), "byte {at}");
    }
}

#[test]
fn what_is_no_public_key_says_what_it_is() {
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let table = [
        (String::new(), KeyError::NoPem),
        ("/etc/key.pem".to_owned(), KeyError::NoPem),
        (block("PUBLIC KEY", "%%"), KeyError::NoPem),
        (block("PUBLIC KEY", "AAAA"), KeyError::Unknown),
        (block("PUBLIC KEY", &"A".repeat(43)), KeyError::NoPem),
        (block("PRIVATE KEY", "AAAA"), KeyError::Private),
        (block("RSA PRIVATE KEY", "AAAA"), KeyError::Private),
        (block("CERTIFICATE", "AAAA"), KeyError::Certificate),
    ];
    for (text, error) in table {
        assert_eq!(PublicKey::from_pem(&text), Err(error), "{text}");
    }
}
