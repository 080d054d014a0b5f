//! `tidegate token`: a connection token, or with `--channel` a subscription token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::value::RawValue;

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

fn make(args: &Args, now: u64) -> anyhow::Result<String> {
    let options = args.config.load()?.core.token;
    let secret = args.secret.clone().map(String::into_bytes).or(options.hmac_secret);
    let Some(secret) = secret.filter(|s| !s.is_empty()) else {
        bail!("no secret: set client.token.hmac_secret_key in the configuration, or give --secret");
    };
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
    let header = Header::new(Algorithm::HS256);
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).context("cannot sign the token")
}
