//! History on a log with holes.

use std::time::Duration;

use tidegate_core::HubError;
use tidegate_core::config::DataFormat;
use tidegate_protocol::{History, HistoryResult, Since};

use tidegate_testkit::hole_log::HoleLog;

use crate::rig::{Rig, options};

fn history(rig: &Rig, change: impl FnOnce(&mut History)) -> Result<HistoryResult, HubError> {
    let mut query = History { channel: "job".into(), limit: -1, ..Default::default() };
    change(&mut query);
    rig.runtime.block_on(rig.hub.history(&query))
}

fn data(result: &HistoryResult) -> Vec<String> {
    result.publications.iter().map(|p| String::from_utf8(p.payload.json().to_vec()).unwrap()).collect()
}

#[test]
fn pages_go_both_ways_and_limits_hold() {
    let mut options = options();
    options.default_namespace.as_mut().unwrap().history_size = 5;
    let rig = Rig::new(options);
    for n in 0..60 {
        rig.log.put(if n % 2 == 0 { "job" } else { "noise" }, &n.to_string());
    }
    let all = history(&rig, |_| {}).unwrap();
    assert_eq!(data(&all), ["50", "52", "54", "56", "58"], "history_size hides what the log still keeps");
    assert_eq!(data(&history(&rig, |q| q.limit = 2).unwrap()), ["50", "52"]);
    assert_eq!(data(&history(&rig, |q| (q.limit, q.reverse) = (2, true)).unwrap()), ["58", "56"]);
    assert!(history(&rig, |q| q.limit = 0).unwrap().publications.is_empty());
    let since = |offset| Some(Since { offset, epoch: String::new() });
    let after = all.publications[2].offset.0;
    assert_eq!(data(&history(&rig, |q| q.since = since(after)).unwrap()), ["56", "58"]);
    assert_eq!(data(&history(&rig, |q| (q.since, q.reverse) = (since(after), true)).unwrap()), ["52", "50"]);
}

#[test]
fn what_is_too_old_proves_that_nothing_older_shows() {
    let mut options = options();
    let namespace = options.default_namespace.as_mut().unwrap();
    (namespace.history_size, namespace.history_ttl) = (10, Duration::from_millis(50));
    options.client.recovery_scan_records_max = 100;
    let log = HoleLog::default();
    // More than may be searched lies before what the channel has.
    (0..200).for_each(|_| _ = log.put("noise", "0"));
    (0..20).for_each(|n| _ = log.put("job", &n.to_string()));
    std::thread::sleep(Duration::from_millis(100));
    options.window.payload_bytes_max = 1;
    let rig = Rig::over(log, options);
    assert_eq!(data(&history(&rig, |_| {}).unwrap()), Vec::<String>::new());
}

#[test]
fn bytes_make_pages_that_together_are_everything() {
    let rig = Rig::new(options());
    // The first ones are on the log alone: the window begins later.
    for n in 0..120 {
        let wide = if n % 7 == 0 { 90 } else { 9 };
        rig.log.put(if n % 2 == 0 { "job" } else { "noise" }, &format!("{n:0>wide$}"));
    }
    for reverse in [false, true] {
        let all = history(&rig, |q| q.reverse = reverse).unwrap();
        assert_eq!(all.publications.len(), 60);
        let (mut paged, mut since) = (Vec::new(), None);
        loop {
            let query = History { channel: "job".into(), limit: -1, since: since.take(), reverse };
            let page = rig.runtime.block_on(rig.hub.history_within(&query, 50)).unwrap();
            assert_eq!(page.top, all.top);
            let bytes: usize = page.publications.iter().map(|p| p.payload.json().len()).sum();
            assert!(bytes <= 50 || page.publications.len() == 1, "{bytes} bytes");
            let Some(last) = page.publications.last() else { break };
            since = Some(Since { offset: last.offset.0, epoch: String::new() });
            paged.extend(page.publications);
        }
        assert_eq!(paged, all.publications);
    }
}

#[test]
fn the_log_is_read_only_for_what_the_window_does_not_hold() {
    let mut rig = Rig::new(options());
    for n in 0..60 {
        rig.log.put("job", &n.to_string());
    }
    rig.subscribe("job", None).unwrap();
    for n in 60..70 {
        rig.log.put("job", &n.to_string());
    }
    rig.drain();
    let offset = rig.deliveries.iter().find(|(_, data)| data == "64").unwrap().0;
    let since = Some(Since { offset, epoch: String::new() });
    let reads = rig.log.reads();
    assert_eq!(data(&history(&rig, |q| q.since = since).unwrap()), ["65", "66", "67", "68", "69"]);
    assert_eq!(data(&history(&rig, |q| (q.limit, q.reverse) = (2, true)).unwrap()), ["69", "68"]);
    assert_eq!(rig.log.reads(), reads);
    assert_eq!(data(&history(&rig, |q| q.limit = 2).unwrap()), ["0", "1"]);
    assert!(rig.log.reads() > reads);
}

#[test]
fn a_history_that_waits_for_a_tail_that_has_ended_has_another_begun() {
    let rig = Rig::new(options());
    rig.log.put("job", "1");
    assert_eq!(data(&history(&rig, |_| {}).unwrap()), ["1"]);
    rig.log.hold_back(true);
    rig.log.put("job", "2");
    let log = rig.log.clone();
    // When it has been told how far it has to read. Nobody listens, who would have a tail begun.
    rig.log.after_next_bounds(move || {
        log.lose(0);
        log.hold_back(false);
    });
    assert_eq!(data(&history(&rig, |_| {}).unwrap()), ["1", "2"]);
}

#[test]
fn wrong_positions_are_errors() {
    let rig = Rig::new(options());
    rig.log.put("job", "1");
    let foreign = Some(Since { offset: 1, epoch: "other".into() });
    assert_eq!(history(&rig, |q| q.since = foreign).unwrap_err().code().code, 112);
    let zero = Some(Since::default());
    assert_eq!(history(&rig, |q| (q.since, q.reverse) = (zero, true)).unwrap_err().code().code, 107);
}

#[test]
fn a_search_that_meets_its_bound_is_an_error_and_never_a_shorter_list() {
    let mut options = options();
    options.client.recovery_scan_records_max = 30;
    let rig = Rig::new(options);
    for n in 0..200 {
        rig.log.put(if n < 3 { "job" } else { "noise" }, &n.to_string());
    }
    let error = history(&rig, |_| {}).unwrap_err();
    assert_eq!(error.code().code, 112);
    assert!(error.to_string().contains("recovery_scan_records_max"));
}

#[test]
fn what_the_window_shows_is_not_searched_for() {
    let mut options = options();
    options.default_namespace.as_mut().unwrap().history_size = 40;
    // Every third place of the log holds no record.
    options.client.recovery_scan_records_max = 45;
    let rig = Rig::new(options);
    (0..200).for_each(|_| _ = rig.log.put("noise", "0"));
    (0..40).for_each(|n| _ = rig.log.put("job", &n.to_string()));
    assert!(history(&rig, |q| q.limit = 0).unwrap().top.offset.0 > 240);
    (40..60).for_each(|n| _ = rig.log.put("job", &n.to_string()));
    let expected: Vec<_> = (20..60).map(|n: u32| n.to_string()).collect();
    assert_eq!(data(&history(&rig, |_| {}).unwrap()), expected, "20 are held, and 30 may be searched");
    assert!(rig.log.reads() > 0);
}

#[test]
fn what_a_namespace_does_not_take_is_in_neither_the_live_stream_nor_the_log() {
    let mut options = options();
    options.default_namespace.as_mut().unwrap().data_format = DataFormat::Json;
    let mut rig = Rig::new(options);
    for n in 0..60 {
        rig.log.put("job", if n % 2 == 0 { "1" } else { "no JSON" });
    }
    let recovered = rig.subscribe("job", Some((0, ""))).unwrap();
    assert!(recovered.recovered && recovered.publications.iter().all(|p| &p.payload.json()[..] == b"1"));
    assert_eq!(recovered.publications.len(), 30, "of the window and of the log");
    assert!(rig.log.reads() > 0);
    rig.log.put("job", "neither");
    rig.log.put("job", "2");
    rig.drain();
    assert_eq!(rig.deliveries.last().unwrap().1, "2");
    assert_eq!(data(&history(&rig, |_| {}).unwrap()).len(), 31);
}
