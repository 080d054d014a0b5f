//! How many sessions each user has on this node: for the limit of them, and to say how many users there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// See the module docs. Clients without a user have no limit, and are one user together, as in presence.
#[derive(Debug)]
pub struct UserCounts {
    /// 0 = no limit.
    limit: usize,
    /// Only users with a session.
    counts: Mutex<HashMap<Box<str>, usize>>,
    /// Apart, so that shards that open sessions of nobody do not wait for each other.
    anonymous: AtomicUsize,
}

impl UserCounts {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, counts: Mutex::default(), anonymous: AtomicUsize::new(0) }
    }

    /// One more session is open. Whether it may be: it counts in any case, until [`UserCounts::leave`].
    pub fn come(&self, user: &str) -> bool {
        if user.is_empty() {
            self.anonymous.fetch_add(1, Relaxed);
            return true;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match counts.get_mut(user) {
            Some(count) => count,
            None => counts.entry(user.into()).or_default(),
        };
        *count += 1;
        self.limit == 0 || *count <= self.limit
    }

    /// A session has ended.
    pub fn leave(&self, user: &str) {
        if user.is_empty() {
            self.anonymous.fetch_sub(1, Relaxed);
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                counts.remove(user);
            }
        }
    }

    /// Users with a session.
    pub fn distinct(&self) -> usize {
        let named = self.counts.lock().unwrap_or_else(PoisonError::into_inner).len();
        named + usize::from(self.anonymous.load(Relaxed) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_sessions_as_the_limit_says() {
        let users = UserCounts::new(2);
        assert_eq!(["u", "v", "u", "u", ""].map(|user| users.come(user)), [true, true, true, false, true]);
        users.leave("u");
        users.leave("u");
        assert!(users.come("u") && !users.come("u"));
        users.leave("v");
        assert_eq!(users.counts.lock().unwrap().len(), 1);
        let open = UserCounts::new(0);
        assert!((0..10).all(|_| open.come("u") && open.come("")));
    }

    #[test]
    fn users_are_counted_once_and_those_without_a_name_as_one() {
        for limit in [0, 1] {
            let users = UserCounts::new(limit);
            assert_eq!(users.distinct(), 0);
            for user in ["u", "u", "v", "", ""] {
                users.come(user);
            }
            assert_eq!(users.distinct(), 3);
            for user in ["u", "v", ""] {
                users.leave(user);
            }
            assert_eq!(users.distinct(), 2, "one of u and one of nobody's are there still");
            for user in ["u", ""] {
                users.leave(user);
            }
            assert_eq!(users.distinct(), 0);
        }
    }
}
