//! The window against hand-made logs.

use super::*;
use bytes::Bytes;

const NO_LIMITS: ReadLimits = ReadLimits { count_max: usize::MAX, bytes_max: usize::MAX };

fn window(numbering: Numbering, bytes_max: usize) -> Window {
    within(numbering, &Arc::new(Budget::new(bytes_max)), 1_000)
}

fn within(numbering: Numbering, budget: &Arc<Budget>, index_max: usize) -> Window {
    Window::new(numbering, &Bounds { dedup_offsets: 100, index_max, budget: budget.clone() })
}

fn all(_: &Tailed) -> bool {
    true
}

fn record(log_offset: u64, key: &str, channel_offset: Option<u64>) -> Tailed {
    let payload = Some(Bytes::from(format!("{{\"n\":{log_offset}}}")));
    Tailed { log_offset, channel_offset, time_ms: 5, key: key.into(), payload, meta: None }
}

fn offsets(read: ReadAfter) -> Vec<u64> {
    match read {
        ReadAfter::Publications(p) => p.iter().map(|p| p.offset.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_with_holes_shows_its_own_offsets_plus_one() {
    let mut w = window(Numbering::Log, usize::MAX);
    w.restart(10, 10, 100);
    for (at, key) in [(10, "a"), (11, "b"), (13, "a"), (20, "b")] {
        w.apply(record(at, key, None), all);
    }
    let a: Key = "a".into();
    assert_eq!(w.top(&a, None), Offset(21), "the end of the partition as read");
    assert_eq!(offsets(w.read_after(&a, Offset(10), None, NO_LIMITS)), [11, 14]);
    assert_eq!(offsets(w.read_after(&a, Offset(11), None, NO_LIMITS)), [14]);
    assert_eq!(offsets(w.read_after(&a, Offset(21), None, NO_LIMITS)), [0u64; 0]);
    assert_eq!(w.read_after(&a, Offset(9), None, NO_LIMITS), ReadAfter::NeedsLog, "before the tail began");
}

#[test]
fn the_index_answers_for_quiet_keys_when_payloads_are_gone() {
    let mut w = window(Numbering::Log, 10 * (OVERHEAD_BYTES + 10));
    w.restart(0, 0, 100);
    w.apply(record(0, "quiet", None), all);
    for at in 1..200 {
        w.apply(record(at, "busy", None), all);
    }
    let (quiet, never): (Key, Key) = ("quiet".into(), "never".into());
    assert!(offsets(w.read_after(&quiet, Offset(1), None, NO_LIMITS)).is_empty(), "its last offset is known");
    assert_eq!(w.read_after(&quiet, Offset(0), None, NO_LIMITS), ReadAfter::NeedsLog);
    assert!(offsets(w.read_after(&never, Offset(50), None, NO_LIMITS)).is_empty());
    assert!(w.order.len() < 12);
}

#[test]
fn eviction_raises_the_floor_of_its_key_only_where_channels_are_numbered() {
    let mut w = window(Numbering::Channel, 3 * (OVERHEAD_BYTES + 12));
    let (a, b): (Key, Key) = ("a".into(), "b".into());
    w.apply(record(0, "a", Some(1)), all);
    for n in 0..3 {
        w.apply(record(n + 1, "b", Some(n + 7)), all);
    }
    let top = |last| Some(ChannelTop { last, first_kept: 1 });
    assert_eq!(w.read_after(&a, Offset(0), top(1), NO_LIMITS), ReadAfter::NeedsLog);
    assert!(offsets(w.read_after(&a, Offset(1), top(1), NO_LIMITS)).is_empty());
    assert_eq!(offsets(w.read_after(&b, Offset(6), top(9), NO_LIMITS)), [7, 8, 9]);
    assert_eq!(w.read_after(&b, Offset(5), top(9), NO_LIMITS), ReadAfter::NeedsLog);
}

const ONE: Listener = Listener { shard: 0, slot: 1, registration: 1 };

/// What a broker says of a channel that it does not know.
fn unknown(forgotten: u64) -> Option<ChannelTop> {
    Some(ChannelTop { last: forgotten, first_kept: forgotten + 1 })
}

#[test]
fn who_listens_to_a_channel_that_is_forgotten_misses_nothing_and_is_told_of_nothing() {
    let mut w = window(Numbering::Channel, 2 * (OVERHEAD_BYTES + 12));
    let (a, never, other): (Key, Key, Key) = ("a".into(), "never".into(), "other".into());
    w.apply(record(0, "a", Some(5)), all);
    for key in [&a, &never] {
        w.listen(key, ONE);
    }
    assert_eq!((w.begin(&a, unknown(5)), w.begin(&never, unknown(5))), (Offset(5), Offset(5)));
    for n in 0..3 {
        w.apply(record(n + 1, "b", Some(n + 1)), all);
    }
    assert!(w.newest(&a).is_none(), "its publication had to give way");
    // It is forgotten, and others with higher numbers.
    assert!(offsets(w.read_on(&a, Offset(5), unknown(90), NO_LIMITS)).is_empty());
    assert!(offsets(w.read_on(&never, Offset(5), unknown(90), NO_LIMITS)).is_empty());
    assert_eq!(w.read_on(&a, Offset(4), unknown(90), NO_LIMITS), ReadAfter::NeedsLog, "it had not got 5");
    assert_eq!(w.read_after(&a, Offset(5), unknown(90), NO_LIMITS), ReadAfter::NeedsLog, "nobody knows who comes back");
    assert_eq!(w.read_on(&other, Offset(5), unknown(90), NO_LIMITS), ReadAfter::NeedsLog, "nobody listened");
    // They come back.
    for (at, key) in [(4, "a"), (5, "never")] {
        w.apply(record(at, key, Some(91)), all);
        assert_eq!(offsets(w.read_on(&key.into(), Offset(5), unknown(90), NO_LIMITS)), [91]);
    }
    assert_eq!(w.read_on(&a, Offset(4), unknown(90), NO_LIMITS), ReadAfter::NeedsLog);
    for n in 6..9 {
        w.apply(record(n, "b", Some(n)), all);
    }
    assert_eq!(w.read_on(&a, Offset(5), unknown(95), NO_LIMITS), ReadAfter::NeedsLog, "91 is in the log alone");
    assert!(offsets(w.read_on(&a, Offset(91), unknown(95), NO_LIMITS)).is_empty());
    w.restart(20, 20, 100);
    assert_eq!(
        w.read_on(&a, Offset(91), unknown(95), NO_LIMITS),
        ReadAfter::NeedsLog,
        "a tail that begins knows nothing"
    );
}

#[test]
fn who_begins_where_the_log_is_ahead_of_the_window_gets_nothing_twice_and_misses_nothing() {
    let mut w = window(Numbering::Channel, usize::MAX);
    let a: Key = "a".into();
    w.listen(&a, ONE);
    let top = Some(ChannelTop { last: 12, first_kept: 1 });
    let cursor = w.begin(&a, top);
    assert_eq!(cursor, Offset(12));
    for n in 11..=13 {
        w.apply(record(n, "a", Some(n)), all);
    }
    assert_eq!(offsets(w.read_on(&a, cursor, top, NO_LIMITS)), [13]);
    assert_eq!(offsets(w.read_after(&a, Offset(10), top, NO_LIMITS)), [11, 12, 13]);
    assert_eq!(w.read_after(&a, Offset(9), top, NO_LIMITS), ReadAfter::NeedsLog);
}

#[test]
fn listeners_are_named_and_leave_nothing_behind() {
    let mut w = window(Numbering::Log, usize::MAX);
    let a: Key = "a".into();
    w.listen(&a, ONE);
    w.listen(&a, Listener { shard: 1, ..ONE });
    assert_eq!(w.apply(record(0, "a", None), all).publication.unwrap().1.len(), 2);
    w.unlisten(&a, ONE);
    assert_eq!(w.apply(record(1, "a", None), all).publication.unwrap().1.len(), 1);
    w.unlisten(&a, Listener { shard: 1, ..ONE });
    w.restart(5, 5, 100);
    assert!(w.keys.is_empty() && w.listeners() == 0 && w.budget.bytes() == 0);
}

#[test]
fn a_page_holds_at_least_one_publication_and_respects_its_bounds() {
    let mut w = window(Numbering::Log, usize::MAX);
    for at in 0..10 {
        w.apply(record(at, "a", None), all);
    }
    let read =
        |count_max, bytes_max| offsets(w.read_after(&"a".into(), Offset(0), None, ReadLimits { count_max, bytes_max }));
    assert_eq!(read(3, usize::MAX), [1, 2, 3]);
    assert_eq!(read(10, 1), [1]);
    assert_eq!(read(10, 21), [1, 2, 3]);
}

#[test]
fn what_lies_before_the_served_part_is_judged_only() {
    let mut w = window(Numbering::Log, usize::MAX);
    w.restart(0, 5, 100);
    for at in 0..8 {
        assert_eq!(w.apply(record(at, "a", None), all).publication.is_some(), at >= 5);
    }
    let a: Key = "a".into();
    assert_eq!(w.read_after(&a, Offset(4), None, NO_LIMITS), ReadAfter::NeedsLog);
    assert_eq!(offsets(w.read_after(&a, Offset(5), None, NO_LIMITS)), [6, 7, 8]);
}

#[test]
fn the_floor_of_a_key_is_its_newest_publication_that_is_not_held() {
    let mut w = window(Numbering::Log, 6 * (OVERHEAD_BYTES + 10));
    w.restart(0, 0, 100);
    w.apply(record(3, "a", None), all);
    for at in 10..30 {
        w.apply(record(at, "noise", None), all);
    }
    w.apply(record(40, "a", None), all);
    let (a, noise): (Key, Key) = ("a".into(), "noise".into());
    assert_eq!(w.floor(&a, None), Offset(4));
    assert_eq!(offsets(w.read_after(&a, Offset(4), None, NO_LIMITS)), [41], "however far the partition has gone");
    assert_eq!(w.read_after(&a, Offset(3), None, NO_LIMITS), ReadAfter::NeedsLog);
    assert_eq!(w.read_after(&noise, Offset(11), None, NO_LIMITS), ReadAfter::NeedsLog);
}

#[test]
fn the_index_keeps_the_keys_that_somebody_listens_to() {
    let mut w = within(Numbering::Log, &Arc::new(Budget::new(usize::MAX)), 10);
    w.restart(0, 0, 100);
    let (a, silent): (Key, Key) = ("a".into(), "silent".into());
    for (slot, key) in [(1, &a), (2, &silent)] {
        w.listen(key, Listener { shard: 0, slot, registration: 1 });
    }
    w.apply(record(0, "a", None), |_| true);
    for at in 1..500 {
        w.apply(record(at, &format!("k{at}"), None), all);
    }
    assert!(w.index.len() <= 13, "{}", w.index.len());
    assert!(
        offsets(w.read_after(&silent, Offset(0), None, NO_LIMITS)).is_empty(),
        "nothing came since it was listened to"
    );
    assert_eq!(w.index[&index_hash("a")], Offset(1));
    let gone: Key = "k1".into();
    w.keys.remove(&gone);
    assert_eq!(w.read_after(&gone, Offset(0), None, NO_LIMITS), ReadAfter::NeedsLog);
}

#[test]
fn a_window_that_is_warmed_up_late_gets_its_share() {
    let budget = Arc::new(Budget::new(100 * (OVERHEAD_BYTES + 10)));
    let mut first = within(Numbering::Log, &budget, 1_000);
    let mut second = within(Numbering::Log, &budget, 1_000);
    (0..200).for_each(|at| drop(first.apply(record(at, "a", None), all)));
    assert!(first.order.len() > 90);
    (0..30).for_each(|at| drop(second.apply(record(at, "b", None), all)));
    assert!(second.order.len() > 10, "{}", second.order.len());
    for at in 30..100 {
        second.apply(record(at, "b", None), all);
        while first.shrink(5) {}
    }
    assert!(second.order.len() > 45 && first.order.len() > 45, "{} {}", second.order.len(), first.order.len());
    assert!(budget.bytes() <= 113 * (OVERHEAD_BYTES + 10));
}

#[test]
fn what_is_refused_was_judged() {
    let mut w = window(Numbering::Log, usize::MAX);
    let with_key = |at| {
        let meta = tidegate_types::Meta { idempotency_key: Some("x".into()), ..Default::default() };
        Tailed { meta: meta.boxed(), ..record(at, "a", None) }
    };
    assert!(w.apply(with_key(0), |_| false).refused);
    assert_eq!(w.apply(with_key(1), all).verdict, Verdict::Duplicate { first: 0 });
}
