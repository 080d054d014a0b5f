//! Deltas as one would make and take them.

use proptest::prelude::*;
use tidegate_delta::{DeltaError, apply, create};

const MAX: usize = 1 << 20;

/// What applying gives, and how long the delta is; `None` where there is no delta.
fn round_trip(base: &[u8], target: &[u8]) -> Option<usize> {
    let delta = create(base, target)?;
    assert!(delta.len() < target.len());
    assert_eq!(apply(base, &delta, MAX).as_deref(), Ok(target), "{:?}", String::from_utf8_lossy(&delta));
    Some(delta.len())
}

#[test]
fn a_small_change_is_a_small_delta() {
    let base = format!("{{\"price\":100,\"history\":[{}]}}", "1.25,".repeat(400));
    let target = base.replace("100", "101").replacen("1.25,1.25,1.25", "1.25,9.75,1.25", 1);
    assert!(round_trip(base.as_bytes(), target.as_bytes()).unwrap() < 60);
    assert_eq!(round_trip(base.as_bytes(), base.as_bytes()).map(|n| n < 20), Some(true));
}

#[test]
fn pieces_are_found_wherever_they_went() {
    let line = |n: u32| format!("line {n}: {:x}\n", u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let base: String = (0..200).map(line).collect();
    let moved: String = (100..200).chain(0..100).map(line).collect();
    assert!(round_trip(base.as_bytes(), moved.as_bytes()).unwrap() < 40);
    let inserted: String =
        (0..200).map(|n| if n % 40 == 7 { format!("new {n}\n{}", line(n)) } else { line(n) }).collect();
    assert!(round_trip(base.as_bytes(), inserted.as_bytes()).unwrap() < 200);
    let deleted: String = (0..200).filter(|n| n % 40 != 7).map(line).collect();
    assert!(round_trip(base.as_bytes(), deleted.as_bytes()).unwrap() < 100);
}

#[test]
fn where_nothing_is_the_same_there_is_no_delta() {
    assert_eq!(create(b"", b""), None);
    assert_eq!(create(b"abc", b""), None);
    assert_eq!(create(b"", b"a target"), None);
    assert_eq!(create(b"0123456789", b"abcdefghijklmnopqrstuvwxyz"), None);
}

#[test]
fn the_format_is_that_of_fossil() {
    let base = b"The quick brown fox jumps over the lazy dog and goes on";
    let target = b"The quick brown cat jumps over the lazy dog and goes on";
    let delta = create(base, target).unwrap();
    // 55 bytes: 16 from the beginning, "cat", 36 from place 19.
    let text = String::from_utf8(delta).unwrap();
    assert!(text.starts_with("s\nG@0,3:cat_@J,") && text.ends_with(';'), "{text:?}");
}

#[test]
fn what_is_no_delta_or_for_another_base_is_told() {
    let (base, target) = ([b'a'; 100], [b'a'; 90]);
    let delta = create(&base, &target).unwrap();
    assert!(matches!(apply(&base[..10], &delta, MAX), Err(DeltaError::WrongBase(_))));
    assert!(matches!(apply(&[b'b'; 100], &delta, MAX), Err(DeltaError::WrongBase(_))));
    assert_eq!(apply(&base, &delta, 89), Err(DeltaError::TooLarge(90)));
    for wrong in
        ["", "\n", "1", "1\n", "1\n1", "1\n1:", "1\n1@", "1\n1@0", "1\n1@0,", "1\n2:ab0;", "1\n1!a", "zzzzzzz\n"]
    {
        assert!(apply(&base, wrong.as_bytes(), MAX).is_err(), "{wrong:?}");
    }
}

/// Texts that have something in common: a base, and a target made of its pieces and others.
fn related() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let base = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..2_000);
    let pieces = prop::collection::vec(
        (any::<bool>(), any::<u16>(), 0..200usize, prop::collection::vec(any::<u8>(), 0..20)),
        0..20,
    );
    (base, pieces).prop_map(|(base, pieces)| {
        let mut target = Vec::new();
        for (copied, from, length, new) in pieces {
            if copied && !base.is_empty() {
                let from = usize::from(from) % base.len();
                target.extend_from_slice(&base[from..(from + length).min(base.len())]);
            } else {
                target.extend_from_slice(&new);
            }
        }
        (base, target)
    })
}

proptest! {
    #[test]
    fn every_delta_makes_its_target((base, target) in related()) {
        round_trip(&base, &target);
    }

    #[test]
    fn no_bytes_panic(base in prop::collection::vec(any::<u8>(), 0..100), delta in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = apply(&base, &delta, MAX);
    }

    #[test]
    fn no_change_of_a_delta_panics((base, target) in related(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        if let Some(mut delta) = create(&base, &target) {
            let at = at.index(delta.len());
            delta[at] = byte;
            let _ = apply(&base, &delta, MAX);
        }
    }
}
