//! Presence over three nodes and a real Kafka: who is there stays exact while nodes are killed and clients come, go and
//! break off.

mod connection;
mod rig;
mod witness;

use anyhow::{Context as _, Result};
use rig::Rig;

const KILLS: u32 = 20;

/// Within the lease after each kill, every node that lives says exactly who is there, and whoever is told of joins and leaves
/// comes to the same.
#[test]
fn presence_is_exact_within_the_lease_after_each_of_twenty_kills() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut rig = Rig::start().await?;
        for number in 1..=KILLS {
            rig.kill_one().await.with_context(|| format!("kill {number}"))?;
        }
        rig.finish().await
    })
}
