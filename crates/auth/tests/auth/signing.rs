//! Keys as OpenSSL writes them sign what the public halves verify.

use serde_json::json;
use tidegate_auth::{KeyError, PublicKey, SigningKey, TokenOptions, Verifier};

use crate::signer::openssl;

fn check(private: &str, count: usize) {
    let key = SigningKey::from_pem(private).unwrap();
    let public = openssl(&["pkey", "-pubout"], private);
    assert_eq!(SigningKey::from_pem(&public).unwrap_err(), KeyError::Public);
    assert_eq!(PublicKey::from_pem(private), Err(KeyError::Private));
    let public = PublicKey::from_pem(&public).unwrap();
    assert_eq!((key.algorithms().len(), key.algorithms()), (count, public.algorithms()));
    let verifier = Verifier::new(&TokenOptions { public_keys: vec![public], ..Default::default() });
    for algorithm in key.algorithms() {
        let token = key.token(*algorithm, Some("k"), &json!({"sub": "u1"})).unwrap();
        assert_eq!(verifier.connection(&token, 0).unwrap().user, "u1", "{algorithm:?}");
    }
    assert!(key.token(tidegate_auth::Algorithm::HS256, None, &json!({})).is_err());
}

#[test]
fn keys_of_openssl_sign_and_verify() {
    let generate = |args: &[&str]| openssl(&[&["genpkey"], args].concat(), "");
    let rsa = generate(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    check(&rsa, 6);
    check(&openssl(&["rsa", "-traditional"], &rsa), 6);
    let p256 = generate(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    check(&p256, 1);
    check(&openssl(&["ec"], &p256), 1);
    check(&generate(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]), 1);
    check(&generate(&["-algorithm", "ED25519"]), 1);
}

#[test]
fn keys_of_openssl_that_are_too_weak_or_unknown_are_refused() {
    let generate = |args: &[&str]| openssl(&[&["genpkey"], args].concat(), "");
    for args in [
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"][..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
        &["-algorithm", "ED448"],
    ] {
        let private = generate(args);
        assert_eq!(SigningKey::from_pem(&private).unwrap_err(), KeyError::Unknown, "{args:?}");
        let public = openssl(&["pkey", "-pubout"], &private);
        assert_eq!(PublicKey::from_pem(&public), Err(KeyError::Unknown), "{args:?}");
    }
}
