//! What a token lets its bearer do, by patterns of channel names.
//!
//! Everything is bounded: the number of patterns, their length, what an expression may grow to, and the time of a
//! match, which is linear in the name for expressions and quadratic at worst for wildcards. Invariant: what is not
//! understood makes the token invalid, so a mistake in a capability never grants anything.

use serde::Deserialize;
use tidegate_types::limits::CHANNEL_NAME_BYTES_MAX;

/// Something that can be done with a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// `sub`: subscribe.
    Subscribe,
    /// `pub`: publish.
    Publish,
    /// `prs`: see who is there.
    Presence,
    /// `hst`: read history.
    History,
}

impl Permission {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn parse(word: &str) -> Option<Self> {
        match word {
            "sub" => Some(Self::Subscribe),
            "pub" => Some(Self::Publish),
            "prs" => Some(Self::Presence),
            "hst" => Some(Self::History),
            _ => None,
        }
    }
}

/// Capabilities in a token.
const CAPABILITIES_MAX: usize = 64;
/// Patterns in a token, over all capabilities.
const PATTERNS_MAX: usize = 256;
/// Expressions among them: they cost time and memory for as long as the session lives.
const EXPRESSIONS_MAX: usize = 32;
/// Bytes that an expression may take when it is compiled.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// Groups inside groups.
const EXPRESSION_NESTING_MAX: u32 = 16;

const REGEX: &str = "regex";

/// How a capability is written in a token.
#[derive(Deserialize)]
pub(crate) struct RawCapability {
    channels: Vec<String>,
    #[serde(default, rename = "match")]
    kind: String,
    allow: Vec<String>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    Wildcard(String),
    Expression(regex_lite::Regex),
}

impl Pattern {
    fn parse(kind: &str, text: String) -> Option<Self> {
        if text.len() > CHANNEL_NAME_BYTES_MAX {
            return None;
        }
        match kind {
            "" | "exact" => Some(Self::Exact(text)),
            "wildcard" => Some(Self::Wildcard(text)),
            // Alone first: "a)|(b" is no expression, though in brackets it would be one that leaves them.
            REGEX => expression(&text).and_then(|_| expression(&format!("^(?:{text})$"))).map(Self::Expression),
            _ => None,
        }
    }

    fn text(&self) -> (u8, &str) {
        match self {
            Self::Exact(text) => (0, text),
            Self::Wildcard(text) => (1, text),
            Self::Expression(expression) => (2, expression.as_str()),
        }
    }

    fn matches(&self, channel: &str) -> bool {
        match self {
            Self::Exact(text) => text == channel,
            Self::Wildcard(text) => wildcard(text.as_bytes(), channel.as_bytes()),
            Self::Expression(expression) => expression.is_match(channel),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Pattern {}

fn expression(text: &str) -> Option<regex_lite::Regex> {
    let mut builder = regex_lite::RegexBuilder::new(text);
    builder.size_limit(EXPRESSION_BYTES_MAX).nest_limit(EXPRESSION_NESTING_MAX).build().ok()
}

/// `*` is any run of bytes, everything else itself. Goes back to the last star alone, so no pattern is exponential.
pub fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Capability {
    patterns: Vec<Pattern>,
    /// Bits of [`Permission`].
    allow: u8,
}

/// The `caps` of a token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// Checks what a token says; `None` = it is too much, or not understood.
    pub(crate) fn parse(raw: Vec<RawCapability>) -> Option<Self> {
        let patterns: usize = raw.iter().map(|c| c.channels.len()).sum();
        let expressions: usize = raw.iter().filter(|c| c.kind == REGEX).map(|c| c.channels.len()).sum();
        if raw.len() > CAPABILITIES_MAX || patterns > PATTERNS_MAX || expressions > EXPRESSIONS_MAX {
            return None;
        }
        let capability = |RawCapability { channels, kind, allow }| {
            let patterns = channels.into_iter().map(|text| Pattern::parse(&kind, text)).collect::<Option<_>>()?;
            let mut bits = allow.iter().map(|word| Permission::parse(word).map(Permission::bit));
            let allow = bits.try_fold(0, |all, bit| Some(all | bit?))?;
            Some(Capability { patterns, allow })
        };
        raw.into_iter().map(capability).collect::<Option<_>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them allows this.
    pub fn allow(&self, permission: Permission, channel: &str) -> bool {
        self.0.iter().any(|c| c.allow & permission.bit() != 0 && c.patterns.iter().any(|p| p.matches(channel)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caps(json: &str) -> Option<Capabilities> {
        Capabilities::parse(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn each_kind_of_pattern_grants_what_it_says_and_no_more() {
        let caps = caps(
            r#"[{"channels":["news","a:1"],"allow":["sub","hst"]},
                {"channels":["chat:*:room"],"match":"wildcard","allow":["pub"]},
                {"channels":["user_[0-9]+"],"match":"regex","allow":["prs"]}]"#,
        )
        .unwrap();
        let table = [
            (Permission::Subscribe, "news", true),
            (Permission::Subscribe, "news2", false),
            (Permission::History, "a:1", true),
            (Permission::Publish, "news", false),
            (Permission::Publish, "chat:x:room", true),
            (Permission::Publish, "chat::room", true),
            (Permission::Publish, "chat:x:room2", false),
            (Permission::Subscribe, "chat:x:room", false),
            (Permission::Presence, "user_17", true),
            (Permission::Presence, "x_user_17", false),
            (Permission::Presence, "user_17\n", false),
        ];
        for (permission, channel, allowed) in table {
            assert_eq!(caps.allow(permission, channel), allowed, "{permission:?} {channel:?}");
        }
    }

    #[test]
    fn an_alternation_cannot_leave_its_anchors() {
        let caps = caps(r#"[{"channels":["a|b"],"match":"regex","allow":["sub"]}]"#).unwrap();
        assert!(caps.allow(Permission::Subscribe, "a") && caps.allow(Permission::Subscribe, "b"));
        assert!(!caps.allow(Permission::Subscribe, "ab") && !caps.allow(Permission::Subscribe, "xb"));
    }

    #[test]
    fn what_is_not_understood_or_too_much_does_not_pass() {
        let long = format!(r#"[{{"channels":["{}"],"allow":["sub"]}}]"#, "a".repeat(256));
        let many = format!(r#"[{{"channels":[{}"x"],"allow":["sub"]}}]"#, "\"x\",".repeat(256));
        let expressions = format!(r#"[{{"channels":[{}"x"],"match":"regex","allow":["sub"]}}]"#, "\"x\",".repeat(32));
        let table = [
            r#"[{"channels":["a"],"match":"glob","allow":["sub"]}]"#,
            r#"[{"channels":["a"],"allow":["all"]}]"#,
            r#"[{"channels":["("],"match":"regex","allow":["sub"]}]"#,
            r#"[{"channels":["a)|(?:.*"],"match":"regex","allow":["sub"]}]"#,
            r#"[{"channels":["((a{100}){100}){100}"],"match":"regex","allow":["sub"]}]"#,
            &long,
            &many,
            &expressions,
        ];
        for (at, json) in table.into_iter().enumerate() {
            assert_eq!(caps(json), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn wildcards_mean_what_the_expression_means(pattern in "[ab*]{0,12}", text in "[ab]{0,16}") {
            let expression = regex_lite::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(wildcard(pattern.as_bytes(), text.as_bytes()), expression.is_match(&text));
        }
    }
}
