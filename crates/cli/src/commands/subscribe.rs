//! `tidegate subscribe`: watches a channel, reconnects by itself and recovers what it missed.
//!
//! Publications go to standard output, one in each line; what happens to the connection goes to standard error.

mod protocol;
mod tail;

use std::str::FromStr;

use crate::client::Peer;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The channel
    channel: String,
    #[command(flatten)]
    peer: Peer,
    /// Connection token; absent = anonymous
    #[arg(long, default_value = "", env = "TIDEGATE_TOKEN", hide_env_values = true)]
    token: String,
    /// Subscription token, where the channel asks for one
    #[arg(long, default_value = "")]
    channel_token: String,
    /// Begin after this position: OFFSET or OFFSET@EPOCH; 0 = everything that is kept
    #[arg(long, value_name = "POSITION")]
    since: Option<Position>,
    /// Print whole publications as JSON, not their data alone
    #[arg(long)]
    json: bool,
    /// End after so many publications
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// A place in the channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    offset: u64,
    /// Empty = whatever there is.
    epoch: String,
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (offset, epoch) = text.split_once('@').unwrap_or((text, ""));
        let offset = offset.parse().map_err(|_| "write OFFSET or OFFSET@EPOCH".to_owned())?;
        Ok(Self { offset, epoch: epoch.to_owned() })
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tail::Tail::new(args).run()
}
