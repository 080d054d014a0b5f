//! How many sessions each user has on this node, where that is limited.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// See the module docs. Clients without a user are not counted.
#[derive(Debug)]
pub struct UserCounts {
    /// 0 = no limit, and nothing is counted.
    limit: usize,
    counts: Mutex<HashMap<Box<str>, usize>>,
}

impl UserCounts {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, counts: Mutex::default() }
    }

    /// One more session is open. Whether it may be: it counts in any case, until [`UserCounts::leave`].
    pub fn come(&self, user: &str) -> bool {
        if self.limit == 0 || user.is_empty() {
            return true;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user.into()).or_default();
        *count += 1;
        *count <= self.limit
    }

    /// A session has ended.
    pub fn leave(&self, user: &str) {
        if self.limit == 0 || user.is_empty() {
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
        assert!((0..10).all(|_| open.come("u")));
    }
}
