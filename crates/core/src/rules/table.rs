//! What is in force: a pure table. Rules go in, in the order of the log; whether a token counts, and what of a history shows,
//! comes out.
//!
//! Invariant: the outcome of the same rules is the same on every node, also where a rule is read twice.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use tidegate_types::Offset;
use tidegate_types::limits::CHANNEL_NAME_BYTES_MAX;

/// One thing that a backend decides. Times are seconds since 1970; the rule is forgotten after `until`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Nobody may be this user.
    Block {
        /// The user.
        user: String,
        /// When the rule ends.
        until: i64,
    },
    /// Somebody may again.
    Unblock {
        /// The user.
        user: String,
    },
    /// The token with this `jti` counts no more.
    Token {
        /// The `jti`.
        id: String,
        /// When the rule ends.
        until: i64,
    },
    /// Tokens of this user count no more that were made (`iat`) before a time, or do not say when.
    Before {
        /// The user.
        user: String,
        /// The first `iat` that counts.
        issued_before: i64,
        /// When the rule ends.
        until: i64,
    },
    /// The history of a channel begins anew.
    Remove {
        /// Name of the log.
        log: String,
        /// The channel's key there.
        key: String,
        /// The last offset that shows no more.
        offset: u64,
        /// The epoch that it belongs to.
        epoch: String,
        /// When nothing of that would show any more anyway.
        until: i64,
    },
}

impl Rule {
    /// A later rule with the same key takes the place of this one.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Block { user, .. } | Self::Unblock { user } => format!("user:{user}"),
            Self::Token { id, .. } => format!("token:{id}"),
            Self::Before { user, .. } => format!("before:{user}"),
            Self::Remove { log, key, epoch, .. } => format!("history:{log}:{key}:{epoch}"),
        }
    }

    /// Its key in the log, which has to be what a channel's name may be: of the same rules the same, of others another.
    pub(crate) fn log_key(&self) -> String {
        let key = self.key();
        if key.len() <= CHANNEL_NAME_BYTES_MAX && key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return key;
        }
        let kind = key.split(':').next().unwrap_or_default();
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()));
        // No key of a rule that is written out begins so.
        format!("sha256:{kind}:{hash}")
    }

    /// When it ends; `None` = it has no effect of its own.
    pub(crate) fn until(&self) -> Option<i64> {
        match self {
            Self::Block { until, .. }
            | Self::Token { until, .. }
            | Self::Before { until, .. }
            | Self::Remove { until, .. } => Some(*until),
            Self::Unblock { .. } => None,
        }
    }

    /// Whether sessions may stand on what it takes away.
    pub(crate) fn ends_sessions(&self) -> bool {
        matches!(self, Self::Block { .. } | Self::Token { .. } | Self::Before { .. })
    }
}

/// Who a token is for, and which one it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bearer<'a> {
    /// The user; empty = nobody.
    pub user: &'a str,
    /// The token's `jti`; empty = nameless.
    pub token: &'a str,
    /// Its `iat`.
    pub issued_at: Option<i64>,
}

impl Bearer<'_> {
    /// What a rule takes from whoever stands on this token.
    pub fn revoked_by(&self, rule: &Rule) -> Option<Revoked> {
        let revoked = match rule {
            Rule::Block { user, .. } => return (self.user == user).then_some(Revoked::User),
            Rule::Token { id, .. } => self.token == id,
            Rule::Before { user, issued_before, .. } => {
                self.user == user && self.issued_at.is_none_or(|at| at < *issued_before)
            }
            Rule::Unblock { .. } | Rule::Remove { .. } => false,
        };
        revoked.then_some(Revoked::Token)
    }
}

/// A token that something stands on for as long as that lasts, without its user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its `jti`; empty = nameless.
    pub id: Box<str>,
    /// Its `iat`.
    pub issued_at: Option<i64>,
}

impl Token {
    /// The token in the hands of its user.
    pub fn of<'a>(&'a self, user: &'a str) -> Bearer<'a> {
        Bearer { user, token: &self.id, issued_at: self.issued_at }
    }
}

/// Why a token does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revoked {
    /// Its user is blocked.
    User,
    /// The token is revoked, and a newer one may count.
    Token,
}

/// See the module docs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    blocked: HashMap<String, i64, RandomState>,
    tokens: HashMap<String, i64, RandomState>,
    /// The first `iat` that counts, and until when the rule goes.
    before: HashMap<String, (i64, i64), RandomState>,
    /// By log, key and epoch.
    removed: HashMap<(String, String, String), Removed, RandomState>,
}

#[derive(Clone, Copy, Debug)]
struct Removed {
    offset: u64,
    until: i64,
}

impl Removed {
    /// With another rule for the same. What was removed stays removed: which call stands last in the log says nothing of
    /// which removed more.
    fn and(self, other: Self) -> Self {
        Self { offset: self.offset.max(other.offset), until: self.until.max(other.until) }
    }
}

impl Table {
    /// Takes a rule that is in force from here on.
    pub(crate) fn apply(&mut self, rule: Rule) {
        match rule {
            Rule::Block { user, until } => drop(self.blocked.insert(user, until)),
            Rule::Unblock { user } => drop(self.blocked.remove(&user)),
            Rule::Token { id, until } => drop(self.tokens.insert(id, until)),
            Rule::Before { user, issued_before, until } => {
                let rule = self.before.entry(user).or_insert((issued_before, until));
                *rule = (rule.0.max(issued_before), rule.1.max(until));
            }
            Rule::Remove { log, key, offset, epoch, until } => {
                let rule = Removed { offset, until };
                let place = self.removed.entry((log, key, epoch));
                place.and_modify(|before| *before = before.and(rule)).or_insert(rule);
            }
        }
    }

    /// A rule as it has to stand in the log, so that who reads nothing before it knows as much: what is taken away earlier
    /// stays taken away.
    pub(crate) fn merged(&self, rule: Rule) -> Rule {
        match rule {
            Rule::Before { user, issued_before, until } => {
                let (first, end) = self.before.get(&user).copied().unwrap_or_default();
                Rule::Before { issued_before: issued_before.max(first), until: until.max(end), user }
            }
            Rule::Remove { log, key, offset, epoch, until } => {
                let (rule, place) = (Removed { offset, until }, (log, key, epoch));
                let Removed { offset, until } = self.removed.get(&place).map_or(rule, |before| rule.and(*before));
                let (log, key, epoch) = place;
                Rule::Remove { log, key, offset, epoch, until }
            }
            other => other,
        }
    }

    /// Whether a token counts.
    pub(crate) fn check(&self, bearer: Bearer<'_>, now: i64) -> Option<Revoked> {
        let in_force = |until: Option<&i64>| until.is_some_and(|until| *until > now);
        if !bearer.user.is_empty() {
            if in_force(self.blocked.get(bearer.user)) {
                return Some(Revoked::User);
            }
            let rule = self.before.get(bearer.user).filter(|(_, until)| *until > now);
            if rule.is_some_and(|(first, _)| bearer.issued_at.is_none_or(|at| at < *first)) {
                return Some(Revoked::Token);
            }
        }
        let named = !bearer.token.is_empty();
        (named && in_force(self.tokens.get(bearer.token))).then_some(Revoked::Token)
    }

    /// Up to where the history of a channel was removed.
    pub(crate) fn removed(&self, log: &str, key: &str, epoch: &str) -> Offset {
        if self.removed.is_empty() {
            return Offset::ZERO;
        }
        let removed = self.removed.get(&(log.to_owned(), key.to_owned(), epoch.to_owned()));
        Offset(removed.map_or(0, |removed| removed.offset))
    }

    /// Rules that are kept.
    pub(crate) fn len(&self) -> usize {
        self.blocked.len() + self.tokens.len() + self.before.len() + self.removed.len()
    }

    /// Forgets what has ended.
    pub(crate) fn forget_ended(&mut self, now: i64) {
        self.blocked.retain(|_, until| *until > now);
        self.tokens.retain(|_, until| *until > now);
        self.before.retain(|_, (_, until)| *until > now);
        self.removed.retain(|_, removed| removed.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer<'a>(user: &'a str, token: &'a str, issued_at: Option<i64>) -> Bearer<'a> {
        Bearer { user, token, issued_at }
    }

    #[test]
    fn whatever_a_rule_names_its_key_in_the_log_is_that_of_a_channel() {
        let block = |user: &str| Rule::Block { user: user.into(), until: 1 };
        assert_eq!(block("u 1").log_key(), "user:u 1");
        assert_eq!(block("u").log_key(), Rule::Unblock { user: "u".into() }.log_key());
        let long = "x".repeat(1_024);
        let names = ["m\u{fc}ller", "m\u{fc}ler", "\n", "", &long, &long[1..]];
        let keys: Vec<_> = names.iter().map(|name| block(name).log_key()).collect();
        for key in &keys {
            assert!(key.len() <= CHANNEL_NAME_BYTES_MAX && key.bytes().all(|b| (0x20..0x7f).contains(&b)), "{key}");
        }
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
        assert_eq!(block(&long).log_key(), Rule::Unblock { user: long.clone() }.log_key());
        assert_ne!(block(&long).log_key(), Rule::Token { id: long, until: 1 }.log_key());
    }

    #[test]
    fn a_token_counts_until_a_rule_says_otherwise_and_again_when_that_has_ended() {
        let mut table = Table::default();
        table.apply(Rule::Token { id: "t1".into(), until: 100 });
        table.apply(Rule::Block { user: "u".into(), until: 100 });
        assert_eq!(table.check(bearer("v", "t1", None), 99), Some(Revoked::Token));
        assert_eq!(table.check(bearer("v", "t1", None), 100), None);
        assert_eq!(table.check(bearer("u", "", Some(98)), 99), Some(Revoked::User));
        assert_eq!(table.check(bearer("v", "t2", None), 99), None);
        assert_eq!(table.check(bearer("", "", None), 99), None);
        table.apply(Rule::Unblock { user: "u".into() });
        assert_eq!(table.check(bearer("u", "", None), 99), None);
        table.forget_ended(100);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn tokens_made_before_a_time_do_not_count_and_no_rule_makes_that_earlier() {
        let mut table = Table::default();
        for issued_before in [50, 40] {
            table.apply(Rule::Before { user: "u".into(), issued_before, until: 100 });
        }
        let check = |at| table.check(bearer("u", "t", at), 60);
        assert_eq!((check(Some(49)), check(None)), (Some(Revoked::Token), Some(Revoked::Token)));
        assert_eq!((check(Some(50)), table.check(bearer("v", "t", Some(1)), 60)), (None, None));
    }

    #[test]
    fn a_removed_history_is_of_one_epoch() {
        let mut table = Table::default();
        let rule = |offset| Rule::Remove { log: "l".into(), key: "c".into(), offset, epoch: "e".into(), until: 100 };
        // A slower call stands behind a later one in the log.
        table.apply(rule(9));
        table.apply(rule(7));
        let removed = |table: &Table, epoch| table.removed("l", "c", epoch).0;
        assert_eq!((removed(&table, "e"), removed(&table, "f"), table.removed("k", "c", "e").0), (9, 0, 0));
        table.forget_ended(100);
        assert_eq!(removed(&table, "e"), 0);
    }

    #[test]
    fn a_merged_rule_says_as_much_alone_as_all_before_it() {
        let before = |issued_before, until| Rule::Before { user: "u".into(), issued_before, until };
        let (mut table, mut late) = (Table::default(), Table::default());
        table.apply(before(50, 90));
        let merged = table.merged(before(40, 100));
        assert_eq!(merged, before(50, 100));
        table.apply(merged.clone());
        late.apply(merged);
        let check = |table: &Table| table.check(bearer("u", "t", Some(45)), 95);
        assert_eq!((check(&table), check(&late)), (Some(Revoked::Token), Some(Revoked::Token)));
    }

    #[test]
    fn a_removal_that_comes_late_takes_nothing_back_also_where_it_alone_is_kept() {
        let rule = |offset, epoch: &str, until| {
            let (log, key, epoch) = ("l".into(), "c".into(), epoch.into());
            Rule::Remove { log, key, offset, epoch, until }
        };
        let (mut table, mut late) = (Table::default(), Table::default());
        table.apply(rule(9, "e", 90));
        table.apply(rule(7, "e", 100));
        let merged = table.merged(rule(7, "e", 100));
        assert_eq!(merged, rule(9, "e", 100));
        late.apply(merged);
        table.forget_ended(95);
        assert_eq!((table.removed("l", "c", "e").0, late.removed("l", "c", "e").0), (9, 9));
        assert_eq!(table.merged(rule(3, "f", 50)), rule(3, "f", 50), "another life of the stream");
        table.apply(rule(3, "f", 50));
        table.apply(rule(2, "e", 50));
        assert_eq!((table.removed("l", "c", "e").0, table.removed("l", "c", "f").0), (9, 3), "also when it comes late");
    }

    #[test]
    fn rules_are_readable_and_replace_each_other_by_key() {
        let rule = Rule::Before { user: "u".into(), issued_before: 5, until: 9 };
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(text, r#"{"before":{"user":"u","issued_before":5,"until":9}}"#);
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
        assert_eq!(Rule::Block { user: "u".into(), until: 1 }.key(), Rule::Unblock { user: "u".into() }.key());
    }
}
