//! Records of others in the same topic: a stream of keys that nobody watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tidegate_testkit::producer::Producer;

const VALUE_BYTES: usize = 1024;
const KEYS: u64 = 1_000;
const TICK: Duration = Duration::from_millis(10);

/// A running stream; dropping it ends it.
pub(crate) struct Foreign {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Foreign {
    /// Starts with so many bytes per second, over a thousand keys.
    pub(crate) fn start(bootstrap: &str, topic: &str, bytes_per_second: u64) -> Result<Self> {
        let mut stream = Producer::new(bootstrap, topic, &[]).stream()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let value = format!("\"{}\"", "x".repeat(VALUE_BYTES - 2));
            let began = Instant::now();
            let mut number = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                // Open loop: what is due is sent, however long the last round took.
                let due = began.elapsed().as_millis() as u64 * bytes_per_second / 1000 / VALUE_BYTES as u64;
                while number < due {
                    stream.send(&format!("others:{}", number % KEYS), &value)?;
                    number += 1;
                }
                count.store(number, Ordering::Relaxed);
                std::thread::sleep(TICK);
            }
            stream.finish()
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Bytes sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) * VALUE_BYTES as u64
    }

    /// Ends it; fails when it could not go on.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the stream of others panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
