//! A publishing client and the thread that takes its reports. It ends with the client, and within [`TURN`].

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::BaseProducer;
use tidegate_broker::BrokerError;

use crate::context::Context;
use crate::properties;
use crate::settings::Settings;

/// One wait for a report. librdkafka waits for whole milliseconds, and what is left of a turn after that is asked away in
/// a busy loop: with whole turns of 100 ms, as `ThreadedProducer` has them, an idle client takes 0.9 % of a CPU. So it is
/// a little more than a whole number, which the wait's own delay uses up.
const TURN: Duration = Duration::from_micros(250_020);

/// See the module's docs.
pub(crate) struct Polled {
    client: Arc<BaseProducer<Context>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Polled {
    /// Starts the client and its thread.
    pub(crate) fn start(config: &ClientConfig, context: Context, settings: &Settings) -> Result<Self, BrokerError> {
        let client: BaseProducer<Context> =
            config.create_with_context(context).map_err(|error| properties::creation_error(&error, settings))?;
        let (client, over) = (Arc::new(client), Arc::new(AtomicBool::new(false)));
        let polling = (client.clone(), over.clone());
        let thread = std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || {
                let (client, over) = polling;
                while !over.load(Relaxed) {
                    client.poll(TURN);
                }
            })
            .map_err(|error| BrokerError::Internal(format!("cannot start a thread for Kafka: {error}").into()))?;
        Ok(Self { client, over, thread: Some(thread) })
    }
}

impl Deref for Polled {
    type Target = BaseProducer<Context>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say. A panic in it was printed.
            let _ = thread.join();
        }
    }
}
