//! The command line as it is typed.

use clap::{Parser, Subcommand};

use crate::commands::{config, demo_worker, publish, serve, subscribe, token};

const EXAMPLES: &str = "\
Examples:
  tidegate                                      try it: open, on loopback, ./tidegate-data
  tidegate serve --config tidegate.toml         run it
  tidegate serve --dev --broker kafka://127.0.0.1:9092/progress
  tidegate publish news '{\"hello\":\"world\"}'     publish from a shell
  tidegate subscribe news                       watch a channel
  tidegate config reference > tidegate.toml     every setting with its meaning

Every setting is also a variable: client.ping_interval is TIDEGATE_CLIENT_PING_INTERVAL. Sections with a name of their own \
(namespaces.NAME, api.scoped.NAME) must stand in the file.";

/// A realtime gateway: publish from any backend, deliver to every browser, through any node.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) serve: serve::ServeArgs,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the server (also without any subcommand)
    Serve(serve::ServeArgs),
    /// Check or show the configuration
    Config(config::Args),
    /// Make a token for a client
    Token(token::Args),
    /// Publish to a channel
    Publish(publish::Args),
    /// Watch a channel in the terminal
    Subscribe(subscribe::Args),
    /// Put load on a server and check every delivery
    Bench(tidegate_loadgen::Bench),
    /// Look at a backbone and say what is wrong with it
    #[cfg(feature = "kafka")]
    Doctor(crate::commands::doctor::Args),
    /// A job of the demo
    #[command(hide = true)]
    DemoWorker(demo_worker::Args),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;
    use tidegate_server::config::{Config, Sources};

    use super::*;

    /// The variables that this command and those below it take flags from.
    fn variables(command: &clap::Command) -> BTreeSet<String> {
        let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()));
        own.chain(command.get_subcommands().flat_map(variables)).collect()
    }

    #[test]
    fn no_variable_of_a_flag_is_refused_as_a_setting() {
        let names = variables(&Cli::command());
        assert!(names.contains("TIDEGATE_TOKEN") && names.contains("TIDEGATE_TOKEN_SECRET"), "{names:?}");
        let environment = names.into_iter().map(|name| (name, "x".to_owned())).collect();
        let flags = [("broker.url".to_owned(), "memory:".to_owned())].into();
        let loaded = Config::load(Sources { environment, flags, ..Sources::default() });
        assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_is_serve() {
        let cli = Cli::try_parse_from(["tidegate", "--broker", "memory:"]).unwrap();
        assert!(cli.command.is_none());
        assert!(Cli::try_parse_from(["tidegate", "--broker", "memory:", "subscribe", "a"]).is_err());
    }
}
