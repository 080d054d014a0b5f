//! A timer wheel: deadlines in ticks of [`TICK_MS`], a few bytes each.
//!
//! Entries are not cancelled: who set one keeps the tick that counts and ignores the others.

use crate::slab::Place;

/// Milliseconds of one tick.
pub(crate) const TICK_MS: u64 = 250;
const SLOTS: usize = 512;

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<(u32, Place)>>,
    now: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], now: 0 }
    }

    /// The tick of a time in milliseconds, rounded up; later than now.
    pub(crate) fn tick_at(&self, ms: u64) -> u32 {
        u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX).max(self.now + 1)
    }

    /// Sets an alarm for a tick in the future.
    pub(crate) fn set(&mut self, tick: u32, who: Place) {
        self.slots[tick as usize % SLOTS].push((tick, who));
    }

    /// Moves on to `ms` and puts what is due into `due`, with the ticks.
    pub(crate) fn advance(&mut self, ms: u64, due: &mut Vec<(u32, Place)>) {
        let to = u32::try_from(ms / TICK_MS).unwrap_or(u32::MAX);
        if to <= self.now {
            return;
        }
        let steps = (to - self.now).min(SLOTS as u32);
        for step in 0..steps {
            let slot = &mut self.slots[(to - step) as usize % SLOTS];
            let before = due.len();
            due.extend(slot.iter().filter(|(tick, _)| *tick <= to));
            if due.len() > before {
                slot.retain(|(tick, _)| *tick > to);
                if slot.is_empty() {
                    *slot = Vec::new();
                }
            }
        }
        self.now = to;
    }

    /// Milliseconds from `ms` to the next tick.
    pub(crate) fn until_next(ms: u64) -> u64 {
        TICK_MS - ms % TICK_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_ring_once_and_in_time_also_when_ticks_are_skipped() {
        let mut wheel = Wheel::new();
        let who = |index| Place { index, generation: 0 };
        let deadlines = [1, 249, 250, 251, 1000, 130_000, 200_000, 400_000];
        for (i, ms) in deadlines.iter().enumerate() {
            wheel.set(wheel.tick_at(*ms), who(u32::try_from(i).unwrap()));
        }
        let mut rung = Vec::new();
        for now in [100, 250, 500, 900, 1000, 129_000, 130_000, 401_000] {
            let mut due = Vec::new();
            wheel.advance(now, &mut due);
            for (_, place) in due {
                assert!(deadlines[place.index as usize] <= now);
                rung.push(place.index);
            }
        }
        rung.sort_unstable();
        assert_eq!(rung, (0..8).collect::<Vec<_>>());
    }
}
