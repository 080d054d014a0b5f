//! `tidegate doctor`: everything about a backbone that has to be right, each with "ok" or what to do.

use anyhow::{Context as _, bail, ensure};
use tidegate_broker::BuildContext;
use tidegate_broker_kafka::{Verdict, doctor};

use super::serve::ConfigArgs;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    backbone: Backbone,
}

#[derive(clap::Subcommand, Debug)]
enum Backbone {
    /// A Kafka cluster and its topic, as --broker kafka://HOST:PORT/TOPIC or the configuration names them
    Kafka {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let Backbone::Kafka { config } = &args.backbone;
    let config = config.load()?;
    let broker = config.broker;
    ensure!(broker.url.scheme == "kafka", "the broker is {}: give --broker kafka://HOST:PORT/TOPIC", broker.url_text);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let context = BuildContext { dev: config.dev, settings: broker.settings };
    let checks = runtime.block_on(doctor(&broker.url, context))?;
    for check in &checks {
        println!("{:<5}{}: {}", word(check.verdict), check.check, check.text);
    }
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", checks.len());
    }
    Ok(())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}
