//! What a window shows, against the plain way: take everything, leave out, cut.

use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_broker::Tailed;

use super::super::{Bounds, Budget, Numbering};
use super::*;

fn record(log_offset: u64, time_ms: i64, bytes: usize) -> Tailed {
    let payload = Some(Bytes::from(format!("{log_offset:0>bytes$}")));
    Tailed { log_offset, channel_offset: None, time_ms, key: "a".into(), payload, meta: None }
}

/// A window that holds publications with these times and sizes, on a log with holes.
fn holding(published: &[(i64, usize)]) -> Window {
    let bounds = Bounds { dedup_offsets: 0, index_max: 10, budget: Arc::new(Budget::new(usize::MAX)) };
    let mut window = Window::new(Numbering::Log, &bounds);
    window.restart(0, 0, 0);
    for (at, (time_ms, bytes)) in (0..).zip(published) {
        window.apply(record(2 * at, *time_ms, *bytes), |_| true);
    }
    window
}

fn all(window: &Window) -> Vec<Arc<Publication>> {
    window.held_after(&"a".into(), Offset::ZERO).cloned().collect()
}

/// The answer from all publications that there are.
fn plainly(mut all: Vec<Arc<Publication>>, hidden: Hidden, wanted: &Wanted) -> Vec<Arc<Publication>> {
    all.retain(|p| p.time_ms >= hidden.oldest_ms && p.offset > hidden.removed);
    all.drain(..all.len().saturating_sub(hidden.size));
    if let Some(since) = wanted.since {
        all.retain(|p| if wanted.reverse { p.offset < since } else { p.offset > since });
    }
    if wanted.reverse {
        all.reverse();
    }
    all.truncate(wanted.limits.count_max);
    let mut bytes = 0;
    let fits = all.iter().take_while(|p| {
        bytes += p.payload.json().len();
        bytes <= wanted.limits.bytes_max
    });
    let count = fits.count().max(1).min(all.len());
    all.truncate(count);
    all
}

fn times() -> impl Strategy<Value = Vec<(i64, usize)>> {
    // Clocks that differ by some ms, by anything, or not at all.
    let skew = prop_oneof![Just(0_i64), 0..15_i64, Just(i64::MAX), Just(i64::MIN)];
    let one = (0..5_i64, prop_oneof![9 => Just(0_i64), 1 => skew], 1..40_usize);
    prop::collection::vec(one, 0..60).prop_map(|all| {
        let mut now = 0;
        let at = |(step, skew, bytes): (i64, i64, usize)| {
            now += step;
            (now.saturating_sub(skew), bytes)
        };
        all.into_iter().map(at).collect()
    })
}

fn some_hidden() -> impl Strategy<Value = Hidden> {
    let size = prop_oneof![1..70_usize, Just(1_000)];
    let oldest_ms = prop_oneof![-5..120_i64, Just(i64::MIN)];
    let removed = prop_oneof![Just(0_u64), 0..120_u64];
    (size, oldest_ms, removed).prop_map(|(size, oldest_ms, removed)| Hidden {
        size,
        oldest_ms,
        removed: Offset(removed),
    })
}

fn some_wanted() -> impl Strategy<Value = Wanted> {
    let count_max = prop_oneof![1..70_usize, Just(usize::MAX)];
    let bytes_max = prop_oneof![0..500_usize, Just(usize::MAX)];
    (prop::option::of(0..130_u64), any::<bool>(), count_max, bytes_max).prop_map(
        |(since, reverse, count_max, bytes_max)| Wanted {
            since: since.map(Offset),
            reverse,
            limits: ReadLimits { count_max, bytes_max },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_window_shows_what_the_plain_way_would(published in times(), hidden in some_hidden(), wanted in some_wanted()) {
        let window = holding(&published);
        let shown = window.shown(&"a".into(), hidden, &wanted);
        prop_assert_eq!(&shown.publications, &plainly(all(&window), hidden, &wanted));
        prop_assert_eq!(shown.held, published.len());
        let limits = ReadLimits { count_max: usize::MAX, bytes_max: usize::MAX };
        let everything = Wanted { since: None, reverse: false, limits };
        prop_assert_eq!(shown.count, plainly(all(&window), hidden, &everything).len());
    }

    #[test]
    fn what_was_evicted_comes_from_the_log(
        published in times(),
        evicted in 0..60_usize,
        hidden in some_hidden(),
        wanted in some_wanted(),
    ) {
        let mut window = holding(&published);
        let whole = all(&window);
        let evicted = evicted.min(published.len());
        (0..evicted).for_each(|_| window.evict_oldest());
        let floor = window.floor(&"a".into(), None);
        let shown = window.shown(&"a".into(), hidden, &wanted);
        prop_assume!(shown.held < hidden.size);
        let plain = plainly(whole.clone(), hidden, &wanted);
        let answer = match wanted.is_met_above(floor, &shown) {
            true => shown.publications,
            false => wanted.join(hidden, &whole[..evicted], &shown),
        };
        prop_assert_eq!(&answer, &plain);
    }
}

#[test]
fn a_small_read_of_a_large_window_is_small() {
    // Clocks of producers differ by 50 ms, and half of it is too old to show.
    let published: Vec<_> = (0..100_000).map(|at| (at + at % 2 * 50, 10)).collect();
    let window = holding(&published);
    let hidden = Hidden { size: 1_000_000, oldest_ms: 50_000, removed: Offset::ZERO };
    let limits = ReadLimits { count_max: 1, bytes_max: usize::MAX };
    let begun = Instant::now();
    for at in 0..1_024 {
        let since = (at % 3 == 0).then_some(Offset(150_000));
        let shown = window.shown(&"a".into(), hidden, &Wanted { since, reverse: at % 2 == 0, limits });
        assert_eq!(shown.publications.len(), 1);
    }
    // Looking at everything took 2 s, and ten times that without optimization.
    assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
}
