//! `tidegate token`: a connection token, or with `--channel` a subscription token.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::value::RawValue;
use tidegate_auth::{Algorithm, SigningKey, TokenOptions};

use super::serve::ConfigArgs;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The user (sub); absent = anonymous
    #[arg(long, default_value = "")]
    user: String,
    /// Make a subscription token for this channel
    #[arg(long)]
    channel: Option<String>,
    /// How long it is valid, 0 = for ever
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// JSON that other subscribers see as conn_info, or chan_info with --channel
    #[arg(long, value_name = "JSON")]
    info: Option<String>,
    /// The HMAC secret; by default client.token.hmac_secret_key of the configuration
    #[arg(long, hide_env_values = true, env = "TIDEGATE_TOKEN_SECRET")]
    secret: Option<String>,
    /// A private key (PEM) instead of the secret: RSA, EC or Ed25519
    #[arg(long, value_name = "PATH", conflicts_with = "secret")]
    key_file: Option<PathBuf>,
    /// The algorithm; by default HS256, RS256, ES256, ES384 or EdDSA, as the key is
    #[arg(long, value_parser = algorithm)]
    alg: Option<Algorithm>,
    /// The key's id in a key set (kid)
    #[arg(long)]
    kid: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|e| format!("{e}; write 30s, 5m or 1h"))
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs();
    println!("{}", make(args, now)?);
    Ok(())
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    tidegate_auth::algorithm(name)
        .ok_or_else(|| "no such algorithm; write HS256, RS256, PS256, ES256 or EdDSA".to_owned())
}

fn make(args: &Args, now: u64) -> anyhow::Result<String> {
    let mut options = args.config.load()?.core.token;
    if args.channel.is_some()
        && let Some(subscription) = options.subscription.take()
    {
        options = *subscription;
    }
    let key = key(args, &options)?;
    let info = args.info.as_deref().map(serde_json::from_str::<&RawValue>).transpose().context("--info is no JSON")?;
    let claims = Claims {
        sub: &args.user,
        iat: now,
        exp: (!args.ttl.is_zero()).then(|| now.saturating_add(args.ttl.as_secs())),
        channel: args.channel.as_deref(),
        info,
        aud: options.audience.first().map(String::as_str),
        iss: options.issuer.first().map(String::as_str),
    };
    let usual = options.algorithms.iter().find(|a| key.algorithms().contains(a)).unwrap_or(&key.algorithms()[0]);
    key.token(args.alg.unwrap_or(*usual), args.kid.as_deref(), &claims).context("cannot sign the token")
}

fn key(args: &Args, options: &TokenOptions) -> anyhow::Result<SigningKey> {
    if let Some(path) = &args.key_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return SigningKey::from_pem(&text).with_context(|| path.display().to_string());
    }
    let secret = args.secret.as_ref().map(String::as_bytes).or(options.hmac_secret.as_deref());
    match secret.filter(|s| !s.is_empty()) {
        Some(secret) => Ok(SigningKey::hmac(secret)),
        None => bail!("no key: set client.token.hmac_secret_key in the configuration, or give --secret or --key-file"),
    }
}
