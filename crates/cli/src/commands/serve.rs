//! `tidegate serve`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tidegate_server::config::{Config, Sources};

use crate::telemetry::{self, LogFormat};

/// Flags that every command with a configuration has.
#[derive(clap::Args, Clone, Default, Debug)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML); without one the server runs in development mode
    #[arg(long, short, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The log: memory:, embedded:DIR or kafka://HOST:PORT,HOST:PORT/TOPIC
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Event loops; 0 = one for each CPU
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Development mode: everything is open, on loopback only
    #[arg(long)]
    dev: bool,
    /// Speak TLS with a certificate made for this run, to try it
    #[arg(long)]
    tls_self_signed: bool,
}

impl ConfigArgs {
    /// Reads file, variables and flags.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let mut sources = Sources::gather(self.config.as_deref())?;
        sources.flags = self.flags();
        Ok(Config::load(sources)?)
    }

    /// Whether a file was named.
    pub(crate) fn has_file(&self) -> bool {
        self.config.is_some()
    }

    fn flags(&self) -> BTreeMap<String, String> {
        let given = [
            ("listen", self.listen.clone()),
            ("broker.url", self.broker.clone()),
            ("shards", self.shards.clone()),
            ("dev", self.dev.then(|| "true".to_owned())),
            ("tls.self_signed", self.tls_self_signed.then(|| "true".to_owned())),
        ];
        given.into_iter().filter_map(|(path, value)| Some((path.to_owned(), value?))).collect()
    }
}

#[derive(clap::Args, Clone, Default, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How log lines look; RUST_LOG chooses which there are
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    telemetry::init(args.log_format);
    if !args.config.has_file() && config.dev {
        tracing::info!(
            "no configuration file: development mode (tidegate config reference prints a file to start from)"
        );
    }
    tidegate_server::run(config)
}
