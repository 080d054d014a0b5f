//! `tidegate publish`.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::client::{Peer, post};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The channel
    channel: String,
    /// What to publish: JSON as it is, anything else as a JSON string; - reads standard input
    data: String,
    #[command(flatten)]
    peer: Peer,
    /// Key of the server API
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// A label for subscribers, several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// Makes a repeated publish land once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    channel: &'a str,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

#[derive(Deserialize)]
struct Answer {
    result: Option<Position>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Position {
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
}

#[derive(Deserialize)]
struct ApiError {
    code: u32,
    message: String,
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Prints `OFFSET@EPOCH`, which `subscribe --since` takes.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let body = request(args, read(&args.data)?)?;
    let (status, answer) = post(&args.peer, "/api/publish", args.api_key.as_deref(), &body)?;
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|_| anyhow!("HTTP {status}: {}", first_line(&answer)))?;
    match answer {
        Answer { error: Some(error), .. } => bail!("not published: {} (error {})", error.message, error.code),
        Answer { result: Some(at), .. } => println!("{}@{}", at.offset, at.epoch),
        Answer { .. } => bail!("HTTP {status} with neither result nor error"),
    }
    Ok(())
}

/// What somebody says who is no Tidegate, or a node that speaks otherwise than was thought.
fn first_line(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.lines().next().unwrap_or("an answer without a body").chars().take(200).collect()
}

fn read(data: &str) -> anyhow::Result<String> {
    if data != "-" {
        return Ok(data.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

fn request(args: &Args, data: String) -> anyhow::Result<Vec<u8>> {
    // Valid JSON is sent as it is spelled, not as it would be written anew.
    let data = match serde_json::from_str::<&RawValue>(&data) {
        Ok(json) => json.to_owned(),
        Err(_) => to_raw_value(&data)?,
    };
    let request = Request {
        channel: &args.channel,
        data,
        tags: args.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        idempotency_key: args.idempotency_key.as_deref(),
    };
    Ok(serde_json::to_vec(&request)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_as_it_is_spelled_and_anything_else_as_a_string() {
        let args = Args {
            channel: "c".to_owned(),
            data: String::new(),
            peer: Peer::plain("http://a"),
            api_key: None,
            tags: vec![tag("k=v=w").unwrap()],
            idempotency_key: None,
        };
        let body = |data: &str| String::from_utf8(request(&args, data.to_owned()).unwrap()).unwrap();
        assert_eq!(body("{\"b\":1.0, \"a\":2}"), r#"{"channel":"c","data":{"b":1.0, "a":2},"tags":{"k":"v=w"}}"#);
        assert_eq!(body("step \"1\""), r#"{"channel":"c","data":"step \"1\"","tags":{"k":"v=w"}}"#);
        assert!(tag("novalue").is_err());
    }
}
