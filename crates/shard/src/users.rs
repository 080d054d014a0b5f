//! Which connections are a user's, so that an order for a user needs no look at all the others.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

/// Connections by a hash of their user: who looks here compares the names.
#[derive(Debug, Default)]
pub(crate) struct Users {
    hasher: RandomState,
    connections: HashMap<u64, SmallVec<[u32; 2]>, RandomState>,
}

impl Users {
    /// A session of a user has opened. Those without a user are nobody's.
    pub(crate) fn add(&mut self, user: &str, index: u32) {
        if !user.is_empty() {
            self.connections.entry(self.hasher.hash_one(user)).or_default().push(index);
        }
    }

    /// It ends.
    pub(crate) fn remove(&mut self, user: &str, index: u32) {
        if user.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(user);
        let Some(connections) = self.connections.get_mut(&hash) else { return };
        if let Some(at) = connections.iter().position(|i| *i == index) {
            connections.swap_remove(at);
        }
        if connections.is_empty() {
            self.connections.remove(&hash);
        }
    }

    /// Connections that may be the user's.
    pub(crate) fn of(&self, user: &str) -> &[u32] {
        self.connections.get(&self.hasher.hash_one(user)).map_or(&[], SmallVec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_connections_that_are_open() {
        let mut users = Users::default();
        for (user, index) in [("a", 1), ("b", 2), ("a", 3), ("", 4)] {
            users.add(user, index);
        }
        users.remove("a", 1);
        users.remove("a", 7);
        assert_eq!((users.of("a"), users.of("b"), users.of("c"), users.of("")), (&[3][..], &[2][..], &[][..], &[][..]));
        users.remove("b", 2);
        assert_eq!(users.connections.len(), 1);
    }
}
