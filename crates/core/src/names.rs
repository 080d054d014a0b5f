//! Which names the channels of a namespace have: all behind `namespace:`, or those of a pattern such as `/users/:id`;
//! and of these only what an expression matches.
//!
//! Invariant: a name has one namespace on every node that has the same configuration, in whatever order it is written.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use matchit::Router;
use tidegate_types::ChannelName;
use tidegate_types::limits::CHANNEL_NAME_BYTES_MAX;

/// A pattern of names that are paths: its segments are texts, or `:variables` that stand for one segment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NamePattern(Arc<str>);

/// Why a text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NamePatternError {
    /// Only names that begin with a slash are matched.
    #[error("a pattern begins with a slash, like \"/users/:id\"")]
    NoSlash,
    /// No name could be as long.
    #[error("a pattern has {CHANNEL_NAME_BYTES_MAX} bytes at most")]
    TooLong,
    /// Two slashes together, or one at the end.
    #[error("a pattern has no empty segment: no // and no / at its end")]
    EmptySegment,
    /// A variable that cannot be referred to.
    #[error("a variable is a whole segment, a colon and then letters, digits and _, each name once: \"/users/:id\"")]
    Variable,
    /// A character that names cannot have, or that means something in them.
    #[error("the texts of a pattern are of printable ASCII without space, *, #, $, {{ and }}")]
    Text,
}

impl FromStr for NamePattern {
    type Err = NamePatternError;

    fn from_str(text: &str) -> Result<Self, NamePatternError> {
        let path = text.strip_prefix('/').ok_or(NamePatternError::NoSlash)?;
        if text.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(NamePatternError::TooLong);
        }
        let mut variables = Vec::new();
        for segment in path.split('/') {
            if segment.is_empty() {
                return Err(NamePatternError::EmptySegment);
            }
            match segment.strip_prefix(':') {
                Some(name) if is_word(name) && !variables.contains(&name) => variables.push(name),
                None if !segment.contains(':') => {
                    if !segment.bytes().all(|b| b.is_ascii_graphic() && !b"*#${}".contains(&b)) {
                        return Err(NamePatternError::Text);
                    }
                }
                _ => return Err(NamePatternError::Variable),
            }
        }
        Ok(Self(text.into()))
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NamePattern {
    /// As the router writes it.
    fn route(&self) -> String {
        let segments = self.0[1..].split('/').map(|segment| match segment.strip_prefix(':') {
            Some(name) => format!("/{{{name}}}"),
            None => format!("/{segment}"),
        });
        segments.collect()
    }
}

/// Which of several patterns a name is of. Where more than one fits, the one with a text in the first segment in which they
/// differ.
#[derive(Clone, Debug)]
pub struct NamePatterns<T>(Router<T>);

impl<T> Default for NamePatterns<T> {
    fn default() -> Self {
        Self(Router::new())
    }
}

impl<T> NamePatterns<T> {
    /// One more.
    ///
    /// # Errors
    /// When there is one already of which the same names are.
    pub fn insert(&mut self, pattern: &NamePattern, value: T) -> Result<(), SameNames> {
        self.0.insert(pattern.route(), value).map_err(|_| SameNames)
    }

    /// What the pattern of a name stands for; a leading `$` is no part of the path.
    pub(crate) fn of(&self, channel: &ChannelName) -> Option<&T> {
        self.0.at(without_dollar(channel)).ok().map(|found| found.value)
    }
}

/// Two patterns are of the same names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SameNames;

/// Whether a name is a path, which patterns are about.
pub(crate) fn is_path(channel: &ChannelName) -> bool {
    without_dollar(channel).starts_with('/')
}

fn without_dollar(channel: &ChannelName) -> &str {
    let name = channel.as_str();
    name.strip_prefix('$').unwrap_or(name)
}

/// An expression that the part of a name behind its namespace has to match, somewhere in it unless it has `^` and `$`.
#[derive(Clone, Debug)]
pub struct NameRegex(regex_lite::Regex);

impl FromStr for NameRegex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        regex_lite::Regex::new(text).map(Self).map_err(|error| format!("{text:?} is no regular expression: {error}"))
    }
}

impl NameRegex {
    /// Whether it matches. Takes time in proportion to the length of both.
    pub(crate) fn matches(&self, rest: &str) -> bool {
        self.0.is_match(rest)
    }
}

impl fmt::Display for NameRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for NameRegex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for NameRegex {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked() {
        let error = |text: &str| text.parse::<NamePattern>().unwrap_err();
        assert_eq!(error("users/:id"), NamePatternError::NoSlash);
        assert_eq!(error(&format!("/{}", "x".repeat(255))), NamePatternError::TooLong);
        for text in ["/", "//a", "/a/", "/a//b"] {
            assert_eq!(error(text), NamePatternError::EmptySegment, "{text}");
        }
        for text in ["/:", "/a:b", "/:a-b", "/:a/:a", "/::a"] {
            assert_eq!(error(text), NamePatternError::Variable, "{text}");
        }
        for text in ["/a b", "/{a}", "/a*", "/é", "/$a", "/a#b"] {
            assert_eq!(error(text), NamePatternError::Text, "{text}");
        }
    }

    #[test]
    fn a_name_has_one_pattern_in_whatever_order_they_come() {
        let texts = ["/users/:id", "/users/me", "/users/:user/files/:file", "/users/me/files/:f", "/a.b~c/:x"];
        for turn in 0..texts.len() {
            let mut patterns = NamePatterns::default();
            let turned = texts.iter().cycle().skip(turn).take(texts.len());
            turned.for_each(|text| patterns.insert(&text.parse().unwrap(), *text).unwrap());
            let of = |name: &str| patterns.of(&ChannelName::parse(name).unwrap()).copied();
            assert_eq!(of("/users/42"), Some("/users/:id"));
            assert_eq!(of("$/users/a:b,c"), Some("/users/:id"));
            assert_eq!(of("/users/me"), Some("/users/me"));
            assert_eq!(of("/users/me/files/1"), Some("/users/me/files/:f"));
            assert_eq!(of("/users/you/files/1"), Some("/users/:user/files/:file"));
            assert_eq!(of("/a.b~c/{x}"), Some("/a.b~c/:x"));
            for none in ["/users", "/users/", "/users/1/", "/users/1/2", "users/1", "/"] {
                assert_eq!(of(none), None, "{none}");
            }
        }
    }

    #[test]
    fn patterns_of_the_same_names_are_found_out() {
        let mut patterns = NamePatterns::default();
        assert_eq!(patterns.insert(&"/users/:id".parse().unwrap(), ()), Ok(()));
        assert_eq!(patterns.insert(&"/users/:name".parse().unwrap(), ()), Err(SameNames));
        assert_eq!(patterns.insert(&"/users/:name/x".parse().unwrap(), ()), Ok(()));
    }
}
