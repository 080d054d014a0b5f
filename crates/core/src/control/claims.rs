//! Sessions that have claimed to be their user's only one. A claim counts once: one that was written twice, because its
//! first outcome was unknown, may come after that of a newer session and must not close it.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// Claims that are remembered, at least; twice as many at most. A claim is written again within seconds or never.
const REMEMBERED: usize = 50_000;

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Claims {
    new: HashSet<String, RandomState>,
    old: HashSet<String, RandomState>,
}

impl Claims {
    /// Whether this is the first claim of a session.
    pub(super) fn is_first(&mut self, client: &str) -> bool {
        if self.old.contains(client) || !self.new.insert(client.to_owned()) {
            return false;
        }
        if self.new.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.new);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_once_and_memory_is_bounded() {
        let mut claims = Claims::default();
        for client in 0..3 * REMEMBERED {
            assert!(claims.is_first(&client.to_string()));
            assert!(!claims.is_first(&client.to_string()));
        }
        assert!(claims.new.len() + claims.old.len() <= 2 * REMEMBERED);
    }
}
