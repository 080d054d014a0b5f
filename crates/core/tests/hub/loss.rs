//! The log is made anew, or lost records under the tail: subscribers are told, and start anew.

use crate::rig::{Rig, options};

#[test]
fn a_new_epoch_voids_positions_loudly() {
    let mut rig = Rig::new(options());
    rig.log.put("job", "1");
    let start = rig.subscribe("job", None).unwrap();
    rig.log.recreate();
    let begun = std::time::Instant::now();
    while rig.invalidated == 0 {
        assert!(begun.elapsed().as_secs() < 8);
        rig.drain();
    }
    rig.log.put("job", "2");
    let old = start.position;
    let start = rig.subscribe("job", Some((old.offset.0, old.epoch.as_str()))).unwrap();
    assert!(!start.recovered);
    assert_ne!(start.position.epoch, old.epoch);
}

#[test]
fn records_lost_under_the_tail_end_the_subscriptions() {
    let mut rig = Rig::new(options());
    let seen = rig.log.put("job", "1");
    rig.subscribe("job", None).unwrap();
    for _ in 0..50 {
        rig.log.put("noise", "0");
    }
    rig.log.truncate(30);
    rig.log.lose(30);
    rig.drain();
    assert_eq!(rig.invalidated, 1);
    assert!(!rig.subscribe("job", Some((seen + 1, ""))).unwrap().recovered);
}
