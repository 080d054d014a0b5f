//! Key sets: rotation, endpoints that are away, bounds.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_auth::{ConnectionClaims, JwksOptions, Keeping, TokenError, TokenOptions, Verifier};

use crate::endpoint::{Answer, Provider, key_set};
use crate::signer::Signer;

const SHORT: Duration = Duration::from_millis(50);

fn options(provider: &Provider, issuer: Option<&str>, change: impl FnOnce(&mut Keeping)) -> JwksOptions {
    let mut keeping = Keeping { refresh_interval: SHORT, timeout: Duration::from_secs(2), ..Keeping::default() };
    change(&mut keeping);
    JwksOptions { endpoint: provider.endpoint(), issuer: issuer.map(str::to_owned), ca_file: None, keeping }
}

fn start(jwks: Vec<JwksOptions>) -> Verifier {
    let verifier = Verifier::new(&TokenOptions { jwks, ..Default::default() });
    verifier.start(&tokio::runtime::Handle::current());
    verifier
}

/// What a client gets in the end: its command is tried again once after the fetch.
async fn verify(verifier: &Verifier, token: &str) -> Result<ConnectionClaims, TokenError> {
    match verifier.connection(token, 0) {
        Err(TokenError::Fetching(fetch)) => {
            verifier.fetched(fetch).await;
            verifier.connection(token, 0)
        }
        decided => decided,
    }
}

/// Tries until it is decided for good, as a client that comes again.
async fn insist(verifier: &Verifier, token: &str) -> Result<ConnectionClaims, TokenError> {
    let begun = Instant::now();
    loop {
        match verify(verifier, token).await {
            Err(TokenError::Unavailable | TokenError::Fetching(_)) => {
                assert!(begun.elapsed() < Duration::from_secs(10), "decided within 10 s");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            decided => return decided,
        }
    }
}

#[tokio::test]
async fn each_type_of_key_verifies_out_of_a_set() {
    let algorithms = ["RS256", "RS512", "PS384", "ES256", "ES384", "EdDSA"];
    let signers = algorithms.map(|a| (a, Signer::new(a)));
    let mut keys: Vec<_> = signers.iter().map(|(a, s)| s.jwk(a)).collect();
    keys.push(json!({"kty": "OKP", "crv": "X25519", "x": "AA"}));
    keys.push(json!({"kid": "of the future", "kty": "LATTICE"}));
    let provider = Provider::start(key_set(&keys)).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    for (algorithm, signer) in &signers {
        let claims = json!({"sub": "u1"});
        let token = signer.named(algorithm, algorithm, &claims);
        assert_eq!(verify(&verifier, &token).await.unwrap().user, "u1", "{algorithm}");
        let nameless = signer.make(algorithm, &claims);
        assert!(verify(&verifier, &nameless).await.is_ok(), "{algorithm} without a kid");
        let forged = Signer::new(algorithm).named(algorithm, algorithm, &claims);
        assert_eq!(verify(&verifier, &forged).await, Err(TokenError::Invalid), "{algorithm} forged");
    }
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn keys_count_for_what_they_are_made_for() {
    let signer = Signer::new("RS256");
    let with = |member: &str, value: serde_json::Value| {
        let mut jwk = signer.jwk("k");
        jwk[member] = value;
        jwk
    };
    let table = [
        (with("alg", json!("RS256")), true),
        (with("alg", json!("RS384")), false),
        (with("alg", json!("ES256")), false),
        (with("alg", json!("RSA-OAEP")), false),
        (with("use", json!("enc")), false),
        (with("key_ops", json!(["verify"])), true),
        (with("key_ops", json!(["encrypt"])), false),
        (with("kty", json!("EC")), false),
        (with("n", json!("AQAB")), false),
    ];
    // Another key, so that the set is one.
    let other = Signer::new("EdDSA").jwk("other");
    for (jwk, counts) in table {
        let provider = Provider::start(key_set(&[jwk.clone(), other.clone()])).await;
        let verifier = start(vec![options(&provider, None, |_| {})]);
        let result = verify(&verifier, &signer.named("RS256", "k", &json!({}))).await;
        assert_eq!(result.is_ok(), counts, "{jwk}");
        assert!(counts || result == Err(TokenError::Invalid), "{jwk} {result:?}");
    }
}

#[tokio::test]
async fn a_symmetric_key_in_a_set_verifies_nothing() {
    let signer = Signer::hmac("public to all");
    let provider = Provider::start(key_set(&[signer.jwk("k"), Signer::new("EdDSA").jwk("other")])).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    // At once: such a token waits for no set.
    assert_eq!(verifier.connection(&signer.named("HS256", "k", &json!({})), 0), Err(TokenError::Invalid));
}

#[tokio::test]
async fn a_rotated_key_is_fetched_when_the_first_token_names_it() {
    let (old, new) = (Signer::new("ES256"), Signer::new("ES256"));
    let provider = Provider::start(key_set(&[old.jwk("old")])).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    let (by_old, by_new) = (old.named("ES256", "old", &json!({})), new.named("ES256", "new", &json!({})));
    assert!(verify(&verifier, &by_old).await.is_ok());
    provider.answer(key_set(&[old.jwk("old"), new.jwk("new")]));
    assert!(insist(&verifier, &by_new).await.is_ok());
    provider.answer(key_set(&[new.jwk("new")]));
    let unknown = new.named("ES256", "third", &json!({}));
    assert_eq!(insist(&verifier, &unknown).await, Err(TokenError::Invalid));
    // That fetch brought the set without the old key.
    assert_eq!(insist(&verifier, &by_old).await, Err(TokenError::Invalid));
}

#[tokio::test]
async fn unknown_keys_share_one_fetch_and_wait_for_the_interval() {
    let signer = Signer::new("ES256");
    let slow = Answer { delay: Duration::from_millis(200), ..key_set(&[signer.jwk("k")]) };
    let provider = Provider::start(slow).await;
    let hour = Duration::from_secs(3_600);
    let verifier = start(vec![options(&provider, None, |k| (k.refresh_interval, k.ttl) = (hour, hour))]);
    let known = signer.named("ES256", "k", &json!({}));
    let named = |kid: &str, n: usize| signer.named("ES256", kid, &json!({"sub": n.to_string()}));
    let unknown: Vec<_> = (0..1_100).map(|n| named(&format!("unknown-{n}"), n)).collect();
    let mut fetches = Vec::new();
    for token in unknown.iter().chain([&known]) {
        match verifier.connection(token, 0) {
            Err(TokenError::Fetching(fetch)) => fetches.push(fetch),
            other => panic!("{other:?}"),
        }
    }
    for fetch in fetches {
        verifier.fetched(fetch).await;
    }
    assert!(verifier.connection(&known, 0).is_ok());
    assert_eq!(verifier.connection(&unknown[0], 0), Err(TokenError::Invalid));
    // More than are remembered, and what was not seen before the fetch: not decided, and no fetch either.
    let later = [named("later", 0), named("unknown-0", 1), Signer::new("ES256").make("ES256", &json!({}))];
    for token in unknown.last().into_iter().chain(&later) {
        assert_eq!(verifier.connection(token, 0), Err(TokenError::Unavailable), "{token}");
    }
    assert_eq!(verifier.connection(&named(&"x".repeat(300), 0), 0), Err(TokenError::Invalid));
    tokio::time::sleep(SHORT).await;
    assert_eq!(provider.requests(), 1);
}

#[tokio::test]
async fn a_key_that_was_looked_for_too_early_is_found_later() {
    let (old, new) = (Signer::new("EdDSA"), Signer::new("EdDSA"));
    let provider = Provider::start(key_set(&[old.jwk("old")])).await;
    let verifier = start(vec![options(&provider, None, |k| k.refresh_interval = Duration::from_secs(4))]);
    let token = |user| new.named("EdDSA", "new", &json!({"sub": user}));
    assert_eq!(insist(&verifier, &token("early")).await, Err(TokenError::Invalid));
    provider.answer(key_set(&[new.jwk("new")]));
    assert_eq!(verifier.connection(&token("later"), 0), Err(TokenError::Unavailable), "it did not wait for that fetch");
    assert!(insist(&verifier, &token("later")).await.is_ok());
    assert_eq!(provider.requests(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_down_at_start_is_used_when_it_is_up() {
    let signer = Signer::new("EdDSA");
    let provider = Provider::start(key_set(&[])).await;
    let (address, jwks) = (provider.address, options(&provider, None, |_| {}));
    drop(provider);
    // Until the listener is gone.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let verifier = start(vec![jwks]);
    let token = signer.named("EdDSA", "k", &json!({"sub": "u1"}));
    assert_eq!(verify(&verifier, &token).await, Err(TokenError::Unavailable));
    let _provider = Provider::start_at(address, key_set(&[signer.jwk("k")])).await;
    assert_eq!(insist(&verifier, &token).await.unwrap().user, "u1");
}

#[tokio::test]
async fn keys_stay_in_force_while_the_endpoint_is_away() {
    let signer = Signer::new("EdDSA");
    let set = key_set(&[signer.jwk("k")]);
    let provider = Provider::start(set.clone()).await;
    let verifier = start(vec![options(&provider, None, |k| k.ttl = SHORT)]);
    let token = signer.named("EdDSA", "k", &json!({}));
    assert!(verify(&verifier, &token).await.is_ok());
    for bad in [Answer { status: 500, ..set.clone() }, Answer { body: "<html>".to_owned(), ..set.clone() }] {
        provider.answer(bad.clone());
        let before = provider.requests();
        let begun = Instant::now();
        while provider.requests() == before {
            assert!(begun.elapsed() < Duration::from_secs(10), "fetched again within 10 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(verifier.connection(&token, 0).is_ok(), "{} {}", bad.status, bad.body);
    }
    let unknown = signer.named("EdDSA", "unknown", &json!({}));
    assert_eq!(verify(&verifier, &unknown).await, Err(TokenError::Unavailable));
    provider.answer(set);
    assert_eq!(insist(&verifier, &unknown).await, Err(TokenError::Invalid));
}

#[tokio::test]
async fn a_set_without_keys_takes_the_old_ones_out_of_force() {
    let signer = Signer::new("ES256");
    let mut for_encryption = signer.jwk("k");
    for_encryption["use"] = json!("enc");
    let of_the_future = json!({"kid": "k", "kty": "LATTICE"});
    for empty in [key_set(&[]), key_set(&[for_encryption]), key_set(&[of_the_future])] {
        let provider = Provider::start(key_set(&[signer.jwk("k")])).await;
        let verifier = start(vec![options(&provider, None, |_| {})]);
        let token = signer.named("ES256", "k", &json!({}));
        assert!(verify(&verifier, &token).await.is_ok());
        provider.answer(empty.clone());
        let unknown = signer.named("ES256", "unknown", &json!({}));
        assert_eq!(insist(&verifier, &unknown).await, Err(TokenError::Invalid), "{}", empty.body);
        assert_eq!(insist(&verifier, &token).await, Err(TokenError::Invalid), "{}", empty.body);
        provider.answer(key_set(&[signer.jwk("k")]));
        tokio::time::sleep(SHORT).await;
        assert!(insist(&verifier, &token).await.is_ok(), "{}", empty.body);
    }
}

#[tokio::test]
async fn of_a_set_with_too_many_keys_the_first_count() {
    let (first, last) = (Signer::new("EdDSA"), Signer::new("EdDSA"));
    // What is left out takes no place.
    let mut keys = vec![json!({"kty": "LATTICE"}); 10];
    keys.extend((0..64).map(|n| first.jwk(&format!("k{n}"))));
    keys.push(last.jwk("last"));
    let provider = Provider::start(key_set(&keys)).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    for kid in ["k0", "k63"] {
        assert!(verify(&verifier, &first.named("EdDSA", kid, &json!({}))).await.is_ok(), "{kid}");
    }
    assert_eq!(insist(&verifier, &last.named("EdDSA", "last", &json!({}))).await, Err(TokenError::Invalid));
}

#[tokio::test]
async fn a_token_is_tried_on_few_keys() {
    let signers: Vec<_> = (0..5).map(|_| Signer::new("EdDSA")).collect();
    // Keys of another type take no place.
    let mut keys = vec![Signer::new("ES256").jwk("other"); 4];
    keys.extend(signers.iter().enumerate().map(|(n, signer)| signer.jwk(&format!("k{n}"))));
    let provider = Provider::start(key_set(&keys)).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    for (n, signer) in signers.iter().enumerate() {
        assert!(verify(&verifier, &signer.named("EdDSA", &format!("k{n}"), &json!({}))).await.is_ok(), "{n}");
        let nameless = insist(&verifier, &signer.make("EdDSA", &json!({}))).await;
        assert_eq!(nameless.is_ok(), n < 4, "{n}");
    }
    // The key with the token's name goes before those without a name, wherever it stands.
    let mut keys: Vec<_> = signers.iter().map(|signer| signer.jwk("")).collect();
    keys[..4].iter_mut().for_each(|key| key["kid"] = json!(null));
    keys[4]["kid"] = json!("named");
    let provider = Provider::start(key_set(&keys)).await;
    let verifier = start(vec![options(&provider, None, |_| {})]);
    assert!(verify(&verifier, &signers[4].named("EdDSA", "named", &json!({}))).await.is_ok());
    assert!(verify(&verifier, &signers[0].named("EdDSA", "any", &json!({}))).await.is_ok());
}

#[tokio::test]
async fn answers_that_are_no_set_too_large_or_too_slow_leave_tokens_undecided() {
    let signer = Signer::new("EdDSA");
    let token = signer.named("EdDSA", "k", &json!({}));
    let set = key_set(&[signer.jwk("k")]);
    let long = Answer { body: format!("{}{}", set.body, " ".repeat(20_000)), ..set.clone() };
    let no_set = Answer { body: r#"{"keys": {}}"#.to_owned(), ..set.clone() };
    let slow = Answer { delay: Duration::from_secs(60), ..set.clone() };
    let moved = Answer { status: 302, ..set.clone() };
    for bad in [long, no_set, slow, moved] {
        let provider = Provider::start(bad).await;
        let bounds = |k: &mut Keeping| (k.body_bytes_max, k.timeout) = (16_000, Duration::from_millis(300));
        let verifier = start(vec![options(&provider, None, bounds)]);
        assert_eq!(verify(&verifier, &token).await, Err(TokenError::Unavailable));
    }
}

#[tokio::test]
async fn an_issuer_has_its_own_set_and_no_other() {
    let (a, b, rest) = (Signer::new("ES256"), Signer::new("ES256"), Signer::new("ES256"));
    let of = async |signer: &Signer| Provider::start(key_set(&[signer.jwk("k")])).await;
    let (pa, pb, pr) = (of(&a).await, of(&b).await, of(&rest).await);
    let verifier = start(vec![
        options(&pa, Some("https://a"), |_| {}),
        options(&pb, Some("https://b"), |_| {}),
        options(&pr, None, |_| {}),
    ]);
    let table = [
        (&a, "https://a", true),
        (&b, "https://b", true),
        (&a, "https://b", false),
        (&rest, "https://a", false),
        (&rest, "https://c", true),
        (&a, "https://c", false),
    ];
    for (signer, iss, counts) in table {
        let token = signer.named("ES256", "k", &json!({"iss": iss}));
        let result = verify(&verifier, &token).await;
        assert_eq!(result.is_ok(), counts, "{iss}");
        assert!(counts || result == Err(TokenError::Invalid), "{iss} {result:?}");
    }
    let only_a = start(vec![options(&pa, Some("https://a"), |_| {})]);
    for claims in [json!({"iss": "https://b"}), json!({})] {
        assert_eq!(only_a.connection(&a.named("ES256", "k", &claims), 0), Err(TokenError::Invalid));
    }
}

#[tokio::test]
async fn both_kinds_of_token_share_a_set() {
    let signer = Signer::new("EdDSA");
    let provider = Provider::start(key_set(&[signer.jwk("k")])).await;
    let jwks = vec![options(&provider, None, |_| {})];
    let subscription = Some(Box::new(TokenOptions { jwks: jwks.clone(), ..Default::default() }));
    let verifier = Verifier::new(&TokenOptions { jwks, subscription, ..Default::default() });
    verifier.start(&tokio::runtime::Handle::current());
    assert!(verify(&verifier, &signer.named("EdDSA", "k", &json!({}))).await.is_ok());
    assert!(verifier.subscription(&signer.named("EdDSA", "k", &json!({"channel": "c"})), 0).is_ok());
    assert_eq!(provider.requests(), 1);
}
