//! The Kafka harness itself. Only with `TIDEGATE_TEST_PROCESSES=1`: it downloads 55 MB and starts a virtual machine.

use tidegate_testkit::kafka::{Kafka, Topic};

fn wanted() -> bool {
    let wanted = std::env::var_os("TIDEGATE_TEST_PROCESSES").is_some();
    if !wanted {
        eprintln!("skipped: set TIDEGATE_TEST_PROCESSES=1");
    }
    wanted
}

#[test]
fn a_node_keeps_its_topics_over_a_kill() {
    if !wanted() {
        return;
    }
    let mut kafka = Kafka::start().unwrap();
    let tools = kafka.tools();
    tools.create_topic(&Topic::new("t", 2)).unwrap();
    tools.console_produce("t", &[("k".into(), "v".into())]).unwrap();
    kafka.kill_9(0).unwrap();
    kafka.restart(0).unwrap();
    tools.set_partitions("t", 3).unwrap();
    tools.delete_topic("t").unwrap();
}
