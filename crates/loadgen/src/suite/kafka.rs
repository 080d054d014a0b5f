//! The suite's view of a Kafka that somebody else started: warmed up once, a fresh topic for every measurement.
//!
//! Without one, or in a build without the feature `kafka`, the cases that need it are named and left out.

use std::net::SocketAddrV4;

use anyhow::Result;

use super::case::Case;

/// A Kafka, if there is one.
#[derive(Debug)]
pub(super) struct Kafka(Option<SocketAddrV4>);

/// A topic of it; nothing for a case that needs none.
#[derive(Debug)]
pub(super) struct Topic(Option<(SocketAddrV4, String)>);

impl Kafka {
    /// Takes the address, and warms the broker up if a case is going to need it.
    pub(super) fn connect(address: Option<SocketAddrV4>, cases: &[&Case]) -> Result<Self> {
        let needed = cases.iter().any(|case| case.needs_kafka());
        let address = address.filter(|_| needed && cfg!(feature = "kafka"));
        #[cfg(feature = "kafka")]
        if let Some(kafka) = address {
            warm_up(kafka)?;
        }
        Ok(Self(address))
    }

    /// The cases that can run; the others are named.
    pub(super) fn possible(&self, cases: &[&'static Case]) -> Vec<&'static Case> {
        let (possible, skipped): (Vec<&Case>, Vec<&Case>) =
            cases.iter().partition(|case| self.0.is_some() || !case.needs_kafka());
        if !skipped.is_empty() {
            let names: Vec<_> = skipped.iter().map(|case| case.name).collect();
            eprintln!("skipped, they need --kafka and the feature kafka: {}", names.join(", "));
        }
        possible
    }

    /// A new topic for a measurement, if the case needs one.
    pub(super) fn topic(&self, case: &Case, port: u16) -> Result<Topic> {
        let Some(kafka) = self.0.filter(|_| case.needs_kafka()) else { return Ok(Topic(None)) };
        let topic = format!("bench-{}-{port}", std::process::id());
        #[cfg(feature = "kafka")]
        crate::kafka::Topic { kafka, topic: topic.clone() }.create(case.partitions)?;
        Ok(Topic(Some((kafka, topic))))
    }
}

impl Topic {
    /// As a scenario's options.
    pub(super) fn options(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |(kafka, topic)| format!("--kafka {kafka} --topic {topic}"))
    }

    /// As the end of a broker's URL.
    pub(super) fn path(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |(kafka, topic)| format!("{kafka}/{topic}"))
    }
}

/// Lets the broker's virtual machine compile what it is going to be measured with: 20 s suffice.
#[cfg(feature = "kafka")]
fn warm_up(kafka: SocketAddrV4) -> Result<()> {
    eprintln!("warming Kafka up");
    let topic = crate::kafka::Topic { kafka, topic: format!("warm-{}", std::process::id()) };
    let mut report = crate::Report::new("kafka-bare");
    crate::scenario::KafkaBare { topic, partitions: 8, rate: 5_000.0, seconds: 20.0, warm: 0.0, size: 128 }
        .run(&mut report)
}
