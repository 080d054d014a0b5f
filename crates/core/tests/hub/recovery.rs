//! Recovery on a log with holes: from the window, from the index, from the log, and when it must be refused.

use tidegate_core::config::{CoreOptions, RecoveryMode};

use crate::rig::{Rig, data, options};

#[test]
fn a_new_subscriber_stands_at_the_end_of_its_partition() {
    let mut rig = Rig::new(options());
    rig.log.put("other", "1");
    let last = rig.log.put("job", "2");
    let start = rig.subscribe("job", None).unwrap();
    assert_eq!((start.position.offset.0, start.recovered), (last + 2, false), "a hole follows offset 1");
    let next = rig.log.put("job", "3");
    rig.drain();
    // What the warm-up brought lies at or before the cursor: the shard passes it over.
    rig.deliveries.retain(|(offset, _)| *offset > start.cursor.0);
    assert_eq!(rig.deliveries, [(next + 1, "3".to_owned())]);
}

#[test]
fn what_was_missed_comes_in_order_and_the_position_is_the_clients_own() {
    let mut rig = Rig::new(options());
    let first = rig.log.put("job", "1");
    for n in 2..=9 {
        rig.log.put("job", &n.to_string());
        rig.log.put("noise", "0");
    }
    let start = rig.subscribe("job", Some((first + 1, "0"))).unwrap();
    assert_eq!(data(&start), ["2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!((start.recovered, start.position.offset.0), (true, first + 1));
    assert!(start.publications.windows(2).all(|w| w[0].offset < w[1].offset));
}

#[test]
fn a_quiet_channel_in_a_busy_partition_recovers_without_reading_the_log() {
    let mut options = options();
    options.window.payload_bytes_max = 3_000;
    let mut rig = Rig::new(options);
    let position = rig.subscribe("warm-up", None).unwrap().position.offset.0;
    let quiet = rig.log.put("job", "1");
    for _ in 0..500 {
        rig.log.put("noise", "\"................................................................\"");
    }
    rig.drain();
    for since in [quiet + 1, quiet + 100] {
        let start = rig.subscribe("job", Some((since, ""))).unwrap();
        assert!(start.recovered && start.publications.is_empty());
        assert!(start.position.offset.0 > 500, "the partition's position keeps it within reach");
    }
    assert_eq!(rig.log.reads(), 0);
    let start = rig.subscribe("job", Some((position, ""))).unwrap();
    assert_eq!(data(&start), ["1"], "older than the payloads: read from the log");
    assert!(rig.log.reads() > 0);
}

#[test]
fn the_log_serves_what_lies_before_the_warm_up() {
    let mut rig = Rig::new(options());
    for n in 0..100 {
        rig.log.put("job", &n.to_string());
    }
    let start = rig.subscribe("job", Some((0, ""))).unwrap();
    assert_eq!(data(&start).len(), 100);
    assert!(start.recovered);
    assert_eq!(start.position.offset.0, 0);
}

#[test]
fn scans_have_a_bound() {
    let mut options = options();
    options.client.recovery_scan_records_max = 50;
    let mut rig = Rig::new(options);
    for n in 0..200 {
        rig.log.put(if n == 0 { "job" } else { "noise" }, &n.to_string());
    }
    let start = rig.subscribe("job", Some((0, ""))).unwrap();
    assert!(!start.recovered && start.publications.is_empty());
}

#[test]
fn what_retention_took_is_not_recovered() {
    let mut rig = Rig::new(options());
    for n in 0..100 {
        rig.log.put("job", &n.to_string());
    }
    rig.log.truncate(40);
    assert!(!rig.subscribe("job", Some((10, ""))).unwrap().recovered);
    assert!(rig.subscribe("job", Some((40, ""))).unwrap().recovered);
}

#[test]
fn a_client_ahead_of_the_node_waits_for_the_tail() {
    let mut rig = Rig::new(options());
    rig.subscribe("warm-up", None).unwrap();
    rig.log.hold_back(true);
    rig.log.put("job", "1");
    let seen = rig.log.put("job", "2");
    let log = rig.log.clone();
    let feeder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        log.put("job", "3");
        log.hold_back(false);
    });
    let start = rig.subscribe("job", Some((seen + 1, "0"))).unwrap();
    feeder.join().unwrap();
    assert_eq!((data(&start), start.recovered), (vec!["3".to_owned()], true), "1 and 2 do not come twice");
}

#[test]
fn a_position_beyond_the_logs_end_is_unrecoverable_and_a_stuck_tail_ends_with_an_error() {
    let mut rig = Rig::new(options());
    rig.log.put("job", "1");
    assert!(!rig.subscribe("job", Some((1_000, "0"))).unwrap().recovered);
    rig.log.hold_back(true);
    let seen = rig.log.put("job", "2");
    let error = rig.subscribe("job", Some((seen + 1, "0"))).unwrap_err();
    assert_eq!(error.code, 100);
}

#[test]
fn a_client_ahead_of_a_tail_that_has_ended_waits_for_another() {
    let mut rig = Rig::new(options());
    rig.subscribe("warm-up", None).unwrap();
    rig.log.hold_back(true);
    rig.log.put("job", "1");
    let seen = rig.log.put("job", "2");
    let log = rig.log.clone();
    rig.log.after_next_bounds(move || {
        log.lose(0);
        log.hold_back(false);
    });
    let start = rig.subscribe("job", Some((seen + 1, "0"))).unwrap();
    assert_eq!((data(&start), start.recovered), (Vec::<String>::new(), true));
}

fn by_cache() -> CoreOptions {
    let mut options = options();
    let namespace = options.default_namespace.as_mut().unwrap();
    (namespace.recovery_mode, namespace.history_size) = (RecoveryMode::Cache, 10);
    options
}

#[test]
fn in_cache_mode_too_a_client_ahead_of_the_node_gets_nothing_twice() {
    let mut rig = Rig::new(by_cache());
    rig.log.put("job", "1");
    rig.subscribe("job", None).unwrap();
    rig.log.hold_back(true);
    let seen = rig.log.put("job", "2");
    let log = rig.log.clone();
    let feeder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        log.hold_back(false);
    });
    let start = rig.subscribe("job", Some((seen + 1, "0"))).unwrap();
    feeder.join().unwrap();
    assert_eq!((data(&start), start.recovered), (Vec::<String>::new(), true));
    assert!(start.cursor.0 > seen, "what it has seen is not delivered again");
    // Beyond the log's end it has seen nothing that counts.
    let start = rig.subscribe("job", Some((u64::MAX, "0"))).unwrap();
    assert_eq!(data(&start), ["2"]);
}

#[test]
fn in_cache_mode_the_newest_of_a_quiet_channel_is_enough_and_one_too_far_back_is_none() {
    let mut options = by_cache();
    options.client.recovery_scan_records_max = 400;
    options.window.payload_bytes_max = 1;
    let mut rig = Rig::new(options);
    let noise = |rig: &Rig, count| {
        for _ in 0..count {
            rig.log.put("noise", "0");
        }
    };
    noise(&rig, 300);
    rig.log.put("job", "1");
    rig.log.put("job", "2");
    rig.subscribe("noise", None).unwrap();
    noise(&rig, 100);
    let start = rig.subscribe("job", Some((0, "0"))).unwrap();
    assert_eq!((data(&start), start.recovered), (vec!["2".to_owned()], true), "two of ten are found");
    noise(&rig, 2_000);
    let mut later = Rig::over(rig.log.clone(), {
        let mut o = by_cache();
        o.client.recovery_scan_records_max = 400;
        o
    });
    let start = later.subscribe("job", Some((0, "0"))).unwrap();
    assert_eq!((data(&start), start.recovered), (Vec::new(), false), "it is no error");
}
