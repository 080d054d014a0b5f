//! The bytes that the windows of a node may hold together.
//!
//! Each window frees its own publications only, under its own lock. So that one which is warmed up late is not left
//! with nothing by those that came before, the budget is divided: who holds more than a share gives way first.
//!
//! # Invariant
//! What all windows hold is at most the bytes that were set and an eighth more, which is for those below their share
//! while the others have not given way yet.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
    /// Windows that hold something.
    holders: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0), holders: AtomicUsize::new(0) }
    }

    /// A window that held `before` takes `more`.
    pub(super) fn take(&self, before: usize, more: usize) {
        if before == 0 && more > 0 {
            self.holders.fetch_add(1, Relaxed);
        }
        self.bytes.fetch_add(more, Relaxed);
    }

    /// A window that held `before` gives `less` of it back.
    pub(super) fn give(&self, before: usize, less: usize) {
        if less == before && less > 0 {
            self.holders.fetch_sub(1, Relaxed);
        }
        self.bytes.fetch_sub(less, Relaxed);
    }

    /// Whether a window that holds `own` has to free some of it.
    pub(super) fn is_over(&self, own: usize) -> bool {
        let total = self.bytes.load(Relaxed);
        total > self.bytes_max
            && (total > self.bytes_max + self.bytes_max / 8 || own > self.bytes_max / self.holders.load(Relaxed).max(1))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_more_than_a_share_gives_way_first() {
        let budget = Budget::new(1_000);
        budget.take(0, 990);
        budget.take(0, 20);
        assert!(budget.is_over(990) && !budget.is_over(20));
        budget.give(990, 20);
        assert!(!budget.is_over(970), "there is room");
        budget.take(20, 150);
        assert!(budget.is_over(170), "the eighth is used up: everybody gives way");
        budget.give(970, 970);
        budget.give(170, 170);
        assert_eq!((budget.bytes(), budget.holders.load(Relaxed)), (0, 0));
    }
}
