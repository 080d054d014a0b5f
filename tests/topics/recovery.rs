//! A client that asks for everything there ever was.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tidegate_testkit::producer::Producer;
use tidegate_tests::client::call;

use crate::{Rig, subscribe};

const RECORDS: usize = 60_000;
/// No subscription waits longer, whatever the log would have to be searched for.
const ANSWERED_MAX: Duration = Duration::from_secs(5);

/// `offset 0` with an empty epoch on a topic that is larger than a recovery may search: it is refused as one that is not
/// recovered, soon, and others have their publications meanwhile.
#[test]
fn offset_zero_on_a_huge_topic_costs_no_more_than_a_recovery_may() -> Result<()> {
    let settings = "[client.recovery]\nscan_records_max = 20000\n[window]\ndedup_offsets = 1000\n";
    let rig = Rig::start("huge", &[("huge", 1)], settings, |kafka, topics| {
        let mut stream = Producer::new(&kafka.bootstrap(), &topics[0], &[]).stream()?;
        for n in 0..RECORDS {
            stream.send(&format!("job{}", n % 1_000), "1")?;
        }
        stream.finish()
    })?;
    let mut witness = rig.connect()?;
    subscribe(&mut witness, "huge:witness", None)?;
    let mut client = rig.connect()?;
    for n in 0..20 {
        let begun = Instant::now();
        let result = subscribe(&mut client, &format!("huge:job{n}"), Some((0, "")))?;
        ensure!(result["recovered"] != true && result["publications"].is_null(), "{result}");
        ensure!(result["was_recovering"] == true && result["offset"].as_u64() >= Some(RECORDS as u64), "{result}");
        ensure!(begun.elapsed() < ANSWERED_MAX, "{:?}", begun.elapsed());
        call(rig.node.port(), "publish", &json!({ "channel": "huge:witness", "data": n }))?;
        let push = witness.wait_for_push()?;
        ensure!(push["pub"]["data"] == n, "{push}");
    }
    Ok(())
}
