//! What `tidegate doctor kafka` shows.

use tidegate_broker::BrokerUrl;
use tidegate_broker_kafka::{Verdict, doctor};
use tidegate_testkit::ports;

use crate::support::{Shared, context, unique};

async fn examine(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) -> Vec<(&'static str, Verdict, String)> {
    let url = BrokerUrl::parse(&format!("kafka://{bootstrap}/{topic}")).unwrap();
    let checks = doctor(&url, context(settings)).await.unwrap();
    checks.into_iter().map(|check| (check.check, check.verdict, check.text)).collect()
}

fn verdict(report: &[(&'static str, Verdict, String)], name: &str) -> (Verdict, String) {
    let (_, verdict, text) = report.iter().find(|(check, ..)| *check == name).expect(name);
    (*verdict, text.clone())
}

#[tokio::test]
async fn every_check_says_ok_or_what_to_do() {
    let kafka = Shared::get();
    let topic = kafka.topic(8).await;
    let records: Vec<_> = (0..100).map(|n| (format!("job:{n}"), "v".to_owned())).collect();
    kafka.tools().kcat_produce(&topic, &records).unwrap();
    let report = examine(&kafka.bootstrap, &topic, &[]).await;
    for check in ["reachability", "topic", "permissions", "cleanup policy", "timestamps", "partitioner", "lag"] {
        assert_eq!(verdict(&report, check).0, Verdict::Ok, "{check}: {report:?}");
    }
    assert_eq!(verdict(&report, "security").0, Verdict::Warn);
    let (replication, text) = verdict(&report, "replication");
    assert!(replication == Verdict::Fail && text.contains("allow_unsafe_topics"), "{text}");
    let (control, text) = verdict(&report, "control");
    assert!(control == Verdict::Warn && text.contains("--create") && text.contains("control.enabled"), "{text}");
    let wrong = examine(&kafka.bootstrap, &topic, &[("partitioner", "murmur2")]).await;
    let (partitioner, text) = verdict(&wrong, "partitioner");
    assert!(partitioner == Verdict::Fail && text.contains("crc32"), "{text}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let kafka = Shared::get();
    let report = examine(&kafka.bootstrap, &unique("missing"), &[]).await;
    assert!(verdict(&report, "topic").1.contains("--create"));
    let [port] = ports::free().unwrap();
    let report = examine(&format!("127.0.0.1:{port}"), "t", &[]).await;
    let (reachability, text) = verdict(&report, "reachability");
    assert!(reachability == Verdict::Fail && text.contains(&port.to_string()), "{text}");
    assert_eq!(report.len(), 1);
}
