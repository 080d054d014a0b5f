//! What tokens say, and when they count.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_auth::{Overrides, Permission, TokenError, TokenOptions, Verifier};

use crate::signer::Signer;

fn verifier(change: impl FnOnce(&mut TokenOptions)) -> Verifier {
    let mut options = TokenOptions { hmac_secret: Some(b"new".to_vec()), ..Default::default() };
    change(&mut options);
    Verifier::new(&options)
}

fn sign(secret: &str, claims: &Value) -> String {
    Signer::hmac(secret).make("HS256", claims)
}

#[test]
fn both_secrets_of_a_rotation_verify_until_the_old_one_ends() {
    let verifier = verifier(|o| {
        o.previous_hmac_secret = Some(b"old".to_vec());
        o.previous_hmac_valid_until = Some(100);
    });
    for secret in ["new", "old"] {
        assert_eq!(verifier.connection(&sign(secret, &json!({"sub": "u1"})), 99).unwrap().user, "u1");
    }
    assert!(verifier.connection(&sign("new", &json!({})), 100).is_ok());
    assert_eq!(verifier.connection(&sign("old", &json!({})), 100), Err(TokenError::Invalid));
    assert_eq!(verifier.connection(&sign("other", &json!({})), 0), Err(TokenError::Invalid));
}

#[test]
fn times_are_judged_by_the_callers_clock_with_leeway() {
    let verifier = verifier(|o| o.leeway = Duration::from_secs(5));
    let token = sign("new", &json!({"exp": 100, "nbf": 50.7, "iat": 49.5}));
    assert_eq!(verifier.connection(&token, 44), Err(TokenError::Expired));
    assert_eq!(verifier.connection(&token, 45).unwrap().issued_at, Some(49));
    assert!(verifier.connection(&token, 104).is_ok());
    assert_eq!(verifier.connection(&token, 105), Err(TokenError::Expired));
    let far = sign("new", &json!({"exp": u64::MAX, "nbf": i64::MIN}));
    assert!(verifier.connection(&far, i64::MAX - 6).is_ok());
}

#[test]
fn expire_at_goes_before_exp_for_the_connection_alone() {
    let verifier = verifier(|_| {});
    let expiry = |claims: Value| verifier.connection(&sign("new", &claims), 99).unwrap().expire_at;
    assert_eq!(expiry(json!({"exp": 100})), Some(100));
    assert_eq!(expiry(json!({"exp": 100, "expire_at": 0})), None);
    assert_eq!(expiry(json!({"exp": 100, "expire_at": 5000})), Some(5000));
    assert_eq!(expiry(json!({})), None);
    assert_eq!(verifier.connection(&sign("new", &json!({"exp": 90, "expire_at": 0})), 99), Err(TokenError::Expired));
}

#[test]
fn audience_and_issuer_are_required_once_configured() {
    let verifier = verifier(|o| {
        o.audience = vec!["app".into(), "web".into()];
        o.issuer = vec!["me".into(), "you".into()];
    });
    for right in [json!({"aud": "app", "iss": "me"}), json!({"aud": ["x", "web"], "iss": "you"})] {
        assert!(verifier.connection(&sign("new", &right), 0).is_ok(), "{right}");
    }
    let table = [
        json!({}),
        json!({"aud": "app"}),
        json!({"iss": "me"}),
        json!({"aud": "x", "iss": "me"}),
        json!({"aud": [], "iss": "me"}),
        json!({"aud": ["app"], "iss": "me2"}),
        json!({"aud": 1, "iss": "me"}),
        json!({"aud": ["app"], "iss": ["me"]}),
    ];
    for wrong in table {
        assert_eq!(verifier.connection(&sign("new", &wrong), 0), Err(TokenError::Invalid), "{wrong}");
    }
    let early = json!({"aud": "x", "iss": "me", "nbf": 50});
    assert_eq!(verifier.connection(&sign("new", &early), 0), Err(TokenError::Invalid), "no later token helps");
}

#[test]
fn the_user_can_be_another_claim() {
    let verifier = verifier(|o| o.user_id_claim = Some("email".into()));
    let user = |claims: Value| verifier.connection(&sign("new", &claims), 0).map(|c| c.user);
    assert_eq!(user(json!({"sub": "7", "email": "a@b"})), Ok("a@b".to_owned()));
    assert_eq!(user(json!({"sub": "7"})), Ok(String::new()));
    assert_eq!(user(json!({"email": null})), Ok(String::new()));
    assert_eq!(user(json!({"email": 5})), Err(TokenError::Invalid));
}

#[test]
fn a_connection_token_says_everything_about_a_client() {
    let claims = json!({
        "sub": "u1", "jti": "t-1", "info": {"a": 1}, "meta": {"tenant": 5}, "channels": ["c1", "c2"],
        "subs": {"c2": {"b64info": "eHk=", "data": [1], "override": {"force_recovery": {"value": true}}}},
        "caps": [{"channels": ["a:*"], "match": "wildcard", "allow": ["sub"]}],
        "unknown": [1, 2],
    });
    let claims = verifier(|_| {}).connection(&sign("new", &claims), 0).unwrap();
    assert_eq!((claims.user.as_str(), claims.id.as_str()), ("u1", "t-1"));
    assert_eq!((&claims.info[..], &claims.meta[..]), (&b"{\"a\":1}"[..], &b"{\"tenant\":5}"[..]));
    let [c1, c2] = &claims.subscriptions[..] else { panic!("{claims:?}") };
    assert_eq!((c1.channel.as_str(), c1.overrides), ("c1", Overrides::default()));
    assert_eq!((c2.channel.as_str(), &c2.info[..], &c2.data[..]), ("c2", &b"xy"[..], &b"[1]"[..]));
    assert_eq!(c2.overrides.force_recovery, Some(true));
    assert!(claims.capabilities.allow(Permission::Subscribe, "a:b"));
    assert!(!claims.capabilities.allow(Permission::Publish, "a:b"));
}

#[test]
fn a_subscription_token_says_everything_about_a_subscription() {
    let claims = json!({
        "sub": "u1", "channel": "c", "client": "x", "exp": 10, "b64data": "eyJiIjoyfQ==",
        "override": {
            "presence": {"value": false}, "join_leave": {"value": true}, "force_push_join_leave": {"value": true},
            "force_recovery": {"value": false}, "force_positioning": {"value": true},
        },
    });
    let claims = verifier(|_| {}).subscription(&sign("new", &claims), 0).unwrap();
    assert_eq!((claims.channel.as_str(), claims.client.as_str(), claims.expire_at), ("c", "x", Some(10)));
    assert_eq!(&claims.data[..], b"{\"b\":2}");
    let overrides = Overrides {
        presence: Some(false),
        join_leave: Some(true),
        force_push_join_leave: Some(true),
        force_recovery: Some(false),
        force_positioning: Some(true),
    };
    assert_eq!(claims.overrides, overrides);
}

#[test]
fn claims_of_a_wrong_type_are_invalid() {
    let table = [
        json!({"sub": 5}),
        json!({"exp": "soon"}),
        json!({"info": {}, "b64info": 5}),
        json!({"b64info": "%"}),
        json!({"meta": [1]}),
        json!({"meta": "x"}),
        json!({"channels": "a"}),
        json!({"channels": [""]}),
        json!({"subs": {"a": 1}}),
        json!({"subs": {"": {}}}),
        json!({"caps": [{"channels": ["a"], "allow": ["everything"]}]}),
        json!([]),
        json!("u1"),
    ];
    for wrong in table {
        assert_eq!(verifier(|_| {}).connection(&sign("new", &wrong), 0), Err(TokenError::Invalid), "{wrong}");
    }
}

#[test]
fn the_two_kinds_of_token_do_not_pass_for_each_other() {
    let verifier = verifier(|_| {});
    let subscription = sign("new", &json!({"sub": "u1", "channel": "c"}));
    assert_eq!(verifier.connection(&subscription, 0), Err(TokenError::Invalid));
    assert_eq!(verifier.subscription(&subscription, 0).unwrap().channel, "c");
    for none in [json!({"sub": "u1"}), json!({"channel": ""})] {
        assert_eq!(verifier.subscription(&sign("new", &none), 0), Err(TokenError::Invalid));
    }
}

#[test]
fn subscription_tokens_can_have_keys_of_their_own() {
    let own = TokenOptions { hmac_secret: Some(b"subs".to_vec()), ..Default::default() };
    let verifier = verifier(|o| o.subscription = Some(Box::new(own)));
    let claims = json!({"channel": "c"});
    assert!(verifier.subscription(&sign("subs", &claims), 0).is_ok());
    assert_eq!(verifier.subscription(&sign("new", &claims), 0), Err(TokenError::Invalid));
    assert!(verifier.connection(&sign("new", &json!({})), 0).is_ok());
    assert_eq!(verifier.connection(&sign("subs", &json!({})), 0), Err(TokenError::Invalid));
}

#[test]
fn without_keys_everything_is_invalid_and_secrets_do_not_show() {
    let none = Verifier::new(&TokenOptions::default());
    assert_eq!(none.connection(&sign("", &json!({})), 0), Err(TokenError::Invalid));
    let options = TokenOptions { hmac_secret: Some(b"hunter2".to_vec()), ..Default::default() };
    assert!(!format!("{options:?} {:?}", Verifier::new(&options)).contains("hunter2"));
    assert!(!format!("{options:?}").contains("104, 117"));
}
