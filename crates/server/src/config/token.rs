//! `[client.token]` and `[client.subscription_token]`: the keys that verify tokens, and what a token must say.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_auth::{Algorithm, Endpoint, JwksOptions, Keeping, PublicKey, algorithm};
use tidegate_broker::Secret;
use tidegate_core::config::TokenOptions;

use super::reader::Section;
use super::value::{Bytes, Texts, Time};

const SUBSCRIPTION: &str = "subscription_token";

/// Reads both sections; `client` is the one that they are in.
pub(super) fn read(client: &mut Section<'_>) -> TokenOptions {
    let token = client.child("token", keys);
    if !client.mentions(SUBSCRIPTION) {
        return token;
    }
    let subscription = subscription(client);
    if !subscription.has_keys() {
        client.problem(SUBSCRIPTION, "has no key: give it one, or leave it out to have the keys of client.token");
    }
    TokenOptions { subscription: Some(Box::new(subscription)), ..token }
}

/// The second section alone, for the reference.
pub(super) fn subscription(client: &mut Section<'_>) -> TokenOptions {
    client.child(SUBSCRIPTION, keys)
}

fn keys(section: &mut Section<'_>) -> TokenOptions {
    let bytes = |secret: Secret| secret.0.into_bytes();
    let secret = section.optional("hmac_secret_key", "HMAC secret of tokens with HS256, HS384 or HS512.").map(bytes);
    let doc = "The secret before the last rotation, still accepted.";
    let previous = section.optional("previous_hmac_secret_key", doc).map(bytes);
    let doc = "Until when it is; absent = while it is configured.";
    let until = section.optional::<Time>("previous_hmac_secret_key_valid_until", doc);
    if previous.is_some() && secret.is_none() {
        section.problem("previous_hmac_secret_key", "needs hmac_secret_key beside it");
    }
    if until.is_some() && previous.is_none() {
        section.problem("previous_hmac_secret_key_valid_until", "needs previous_hmac_secret_key beside it");
    }
    let public_keys = public_keys(section);
    let algorithms = algorithms(section);
    check_algorithms(section, &algorithms, secret.is_some(), &public_keys);
    let jwks = jwks(section);
    let texts = |texts: Option<Texts>| texts.map(|t| t.0).unwrap_or_default();
    TokenOptions {
        hmac_secret: secret,
        previous_hmac_secret: previous,
        previous_hmac_valid_until: until.map(|time| time.0),
        public_keys,
        algorithms,
        jwks,
        audience: texts(
            section.optional("audience", "Required aud claim, or several of which one will do; absent = any."),
        ),
        issuer: texts(section.optional("issuer", "Required iss claim, or several of which one will do; absent = any.")),
        leeway: section.get("leeway", Duration::ZERO, "Clock difference to the tokens' issuer that is borne."),
        user_id_claim: section.optional("user_id_claim", "Claim that names the user; absent = sub."),
        subscription: None,
    }
}

fn public_keys(section: &mut Section<'_>) -> Vec<PublicKey> {
    const KEY: &str = "public_key";
    let doc = "Public key of who makes tokens: PEM, or the path of a PEM file, or a list. RSA: RS and PS algorithms; EC: ES256, ES384; \
               Ed25519: EdDSA.";
    let texts = section.optional::<Texts>(KEY, doc).map(|t| t.0).unwrap_or_default();
    let read = |text: &String| {
        let pem = match text.trim_start().starts_with("-----BEGIN") {
            true => text.clone(),
            false => std::fs::read_to_string(text).map_err(|error| format!("cannot read {text}: {error}"))?,
        };
        PublicKey::from_pem(&pem).map_err(|error| error.to_string())
    };
    let (keys, problems): (Vec<_>, Vec<_>) = texts.iter().map(read).partition(Result::is_ok);
    for problem in problems.into_iter().filter_map(Result::err) {
        section.problem(KEY, problem);
    }
    keys.into_iter().filter_map(Result::ok).collect()
}

fn algorithms(section: &mut Section<'_>) -> Vec<Algorithm> {
    const KEY: &str = "algorithms";
    let doc = "The only algorithms that count; absent = all that fit the type of a key.";
    let names = section.optional::<Texts>(KEY, doc).map(|t| t.0).unwrap_or_default();
    let mut known = Vec::new();
    for name in names {
        match algorithm(&name) {
            Some(algorithm) => known.push(algorithm),
            None => section.problem(
                KEY,
                format!(
                    "{name:?} is not verified here: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA are"
                ),
            ),
        }
    }
    known
}

/// A key whose algorithms are all left out would verify nothing, silently.
fn check_algorithms(section: &mut Section<'_>, only: &[Algorithm], secret: bool, public: &[PublicKey]) {
    let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let useless = |algorithms: &[Algorithm]| !only.is_empty() && !only.iter().any(|a| algorithms.contains(a));
    if secret && useless(&hmac) {
        section.problem(
            "algorithms",
            "leaves out all of hmac_secret_key: add HS256, HS384 or HS512, or take the secret away",
        );
    }
    if public.iter().any(|key| useless(key.algorithms())) {
        section.problem(
            "algorithms",
            "leaves out all of a key in public_key: add one of that key's, or take the key away",
        );
    }
}

fn jwks(section: &mut Section<'_>) -> Vec<JwksOptions> {
    let doc = "URL of a key set (JWKS), for the tokens of every issuer that has no section in jwks.";
    let for_all = section.optional::<String>("jwks_url", doc);
    let for_all = for_all.and_then(|url| endpoint(section, "jwks_url", &url)).map(|endpoint| (None, endpoint));
    let own = section.child("jwks", |sets| {
        let names = sets.keys();
        names.iter().filter_map(|name| sets.child(name, set)).collect::<Vec<_>>()
    });
    for (at, (issuer, _)) in own.iter().enumerate() {
        if own[..at].iter().any(|(other, _)| other == issuer) {
            section.problem("jwks", format!("two sets are for the issuer {:?}", issuer.as_deref().unwrap_or_default()));
        }
    }
    let doc =
        "PEM file with the certificates that those of the key sets' endpoints must lead to; absent = the system's.";
    let ca_file = section.optional::<String>("jwks_ca_file", doc).map(PathBuf::from);
    if let Some(Err(error)) = ca_file.as_ref().map(std::fs::metadata) {
        section.problem("jwks_ca_file", format!("cannot be read: {error}"));
    }
    let keeping = keeping(section);
    let set = |(issuer, endpoint)| JwksOptions { endpoint, issuer, ca_file: ca_file.clone(), keeping };
    own.into_iter().chain(for_all).map(set).collect()
}

/// Larger than any key set.
const BODY_BYTES_LIMIT: usize = 16 << 20;

fn keeping(section: &mut Section<'_>) -> Keeping {
    let usual = Keeping::default();
    let keeping = Keeping {
        ttl: section.get("jwks_ttl", usual.ttl, "A key set is fetched anew when it is this old."),
        refresh_interval: section.get(
            "jwks_refresh_interval",
            usual.refresh_interval,
            "Tokens with an unknown key id have a set fetched at most once in this time.",
        ),
        timeout: section.get("jwks_timeout", usual.timeout, "Longest time of one fetch."),
        body_bytes_max: section
            .get("jwks_body_bytes_max", Bytes(usual.body_bytes_max), "Bytes of a key set; more is none.")
            .0,
    };
    let times = [
        ("jwks_ttl", keeping.ttl),
        ("jwks_refresh_interval", keeping.refresh_interval),
        ("jwks_timeout", keeping.timeout),
    ];
    for (key, _) in times.iter().filter(|(_, duration)| *duration < Duration::from_secs(1)) {
        section.problem(key, "must be at least \"1s\"");
    }
    if keeping.ttl < keeping.refresh_interval {
        section.problem("jwks_ttl", "must not be shorter than jwks_refresh_interval");
    }
    if !(1 << 10..=BODY_BYTES_LIMIT).contains(&keeping.body_bytes_max) {
        section.problem("jwks_body_bytes_max", "must be between \"1KiB\" and \"16MiB\"");
    }
    keeping
}

fn set(section: &mut Section<'_>) -> Option<(Option<String>, Endpoint)> {
    let url = section.optional::<String>("url", "URL of a key set.");
    let issuer = section.optional::<String>("issuer", "The iss of the tokens that it is for.");
    if url.is_none() {
        section.problem("url", "must be set");
    }
    if issuer.is_none() {
        section.problem("issuer", "must be set: a set for every issuer is jwks_url");
    }
    let endpoint = endpoint(section, "url", &url?)?;
    Some((Some(issuer?), endpoint))
}

fn endpoint(section: &mut Section<'_>, key: &str, url: &str) -> Option<Endpoint> {
    Endpoint::parse(url).map_err(|error| section.problem(key, error.to_string())).ok()
}
