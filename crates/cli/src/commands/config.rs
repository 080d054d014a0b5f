//! `tidegate config`.

use std::io::Write as _;

use tidegate_server::config::{reference, render};

use super::serve::ConfigArgs;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Check file, variables and flags, and say everything that is wrong
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print what is set, as TOML, secrets as ***
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Also what nobody set
        #[arg(long)]
        effective: bool,
    },
    /// Print every setting with its meaning and default
    Reference,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let text = match &args.action {
        Action::Check { config } => {
            tidegate_server::check(&config.load()?)?;
            "the configuration is fine\n".to_owned()
        }
        Action::Show { config, effective } => render(&config.load()?.entries, *effective),
        Action::Reference => reference(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
