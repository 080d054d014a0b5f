//! Values as they are written: `"30s"`, `"64KiB"`, `true`, lists, secrets.
//!
//! A value of a file has its TOML type; one of the environment or a flag is a text, and is read as the type asked for.

use std::time::{Duration, UNIX_EPOCH};

use tidegate_broker::Secret;
use tidegate_core::config::{DataFormat, NamePattern, NameRegex, OnLag, RecoveryMode};
use toml::Value;

use super::TlsVersion;

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// What it is, for the reference.
    const KIND: &'static str;

    /// Reads it. `text` = the value came as a text from outside a file.
    fn read(value: &Value, text: bool) -> Result<Self, String>;

    /// As one would write it in the file; secrets as `***`.
    fn show(&self) -> String;
}

fn wrong<T>(kind: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {kind}, found {value}"))
}

impl Setting for bool {
    const KIND: &'static str = "true or false";

    fn read(value: &Value, text: bool) -> Result<Self, String> {
        match value {
            Value::Boolean(b) => Ok(*b),
            Value::String(s) if text && matches!(s.as_str(), "true" | "1") => Ok(true),
            Value::String(s) if text && matches!(s.as_str(), "false" | "0") => Ok(false),
            _ => wrong(Self::KIND, value),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const KIND: &'static str = "a whole number";

            fn read(value: &Value, text: bool) -> Result<Self, String> {
                let number = match value {
                    Value::Integer(n) => Some(*n),
                    Value::String(s) if text => s.replace('_', "").parse().ok(),
                    _ => None,
                };
                match number.map(<$type>::try_from) {
                    Some(Ok(number)) => Ok(number),
                    Some(Err(_)) => Err(format!("{value} is out of range")),
                    None => wrong(Self::KIND, value),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers!(u32, u64, usize);

impl Setting for String {
    const KIND: &'static str = "a text";

    fn read(value: &Value, _: bool) -> Result<Self, String> {
        value.as_str().map(str::to_owned).map_or_else(|| wrong(Self::KIND, value), Ok)
    }

    fn show(&self) -> String {
        Value::String(self.clone()).to_string()
    }
}

impl Setting for Secret {
    const KIND: &'static str = "a secret text";

    fn read(value: &Value, _: bool) -> Result<Self, String> {
        match value {
            Value::String(s) if !s.is_empty() => Ok(Self(s.clone())),
            Value::String(_) => Err("the secret is empty".to_owned()),
            other => Err(format!("expected {}, found {}", Self::KIND, other.type_str())),
        }
    }

    fn show(&self) -> String {
        "\"***\"".to_owned()
    }
}

/// What is written as a text and checked when it is read.
macro_rules! parsed_texts {
    ($($type:ty: $kind:literal),* $(,)?) => {$(
        impl Setting for $type {
            const KIND: &'static str = $kind;

            fn read(value: &Value, _: bool) -> Result<Self, String> {
                let Some(text) = value.as_str() else { return wrong(Self::KIND, value) };
                text.parse().map_err(|error: <$type as std::str::FromStr>::Err| error.to_string())
            }

            fn show(&self) -> String {
                Value::String(self.to_string()).to_string()
            }
        }
    )*};
}

parsed_texts!(NamePattern: "a pattern of names, like \"/users/:id\"", NameRegex: "a regular expression");

/// A list; in the environment its items are separated by commas.
impl<T: Setting> Setting for Vec<T> {
    const KIND: &'static str = "a list";

    fn read(value: &Value, text: bool) -> Result<Self, String> {
        match value {
            Value::Array(items) => items.iter().map(|v| T::read(v, text)).collect(),
            Value::String(s) if text => {
                let items = s.split(',').map(str::trim).filter(|s| !s.is_empty());
                items.map(|item| T::read(&Value::String(item.to_owned()), true)).collect()
            }
            other => Err(format!("expected {}, found {}", Self::KIND, other.type_str())),
        }
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(Setting::show).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A text, or a list of texts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Texts(pub(super) Vec<String>);

impl Setting for Texts {
    const KIND: &'static str = "a text or a list of texts";

    fn read(value: &Value, text: bool) -> Result<Self, String> {
        match value {
            Value::String(one) if !text => Ok(Self(vec![one.clone()])),
            Value::String(_) | Value::Array(_) => Vec::read(value, text).map(Self),
            _ => wrong(Self::KIND, value),
        }
    }

    fn show(&self) -> String {
        match self.0.as_slice() {
            [one] => one.show(),
            _ => self.0.show(),
        }
    }
}

/// The last second that the notation has.
const YEAR_9999: i64 = 253_402_300_799;

/// A point in time, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Time(pub(super) i64);

impl Setting for Time {
    const KIND: &'static str = "a time like \"2026-12-31T12:00:00Z\" or seconds since 1970";

    fn read(value: &Value, text: bool) -> Result<Self, String> {
        let seconds = match value {
            Value::Integer(seconds) => Some(*seconds),
            Value::String(s) if text && s.parse::<i64>().is_ok() => s.parse().ok(),
            Value::String(s) => timestamp(s),
            Value::Datetime(time) => timestamp(&time.to_string()),
            _ => None,
        };
        seconds.filter(|s| (1..=YEAR_9999).contains(s)).map(Self).map_or_else(|| wrong(Self::KIND, value), Ok)
    }

    fn show(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(self.0.unsigned_abs());
        format!("\"{}\"", humantime::format_rfc3339_seconds(time))
    }
}

fn timestamp(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

impl Setting for Duration {
    const KIND: &'static str = "a duration like \"30s\", \"5m\" or \"1h 30m\"";

    fn read(value: &Value, _: bool) -> Result<Self, String> {
        let Value::String(text) = value else { return wrong(Self::KIND, value) };
        if text == "0" {
            return Ok(Self::ZERO);
        }
        humantime::parse_duration(text).or_else(|_| wrong(Self::KIND, value))
    }

    fn show(&self) -> String {
        format!("\"{}\"", humantime::format_duration(*self))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bytes(pub(super) usize);

/// Larger ones first, so that a size shows in the largest unit that divides it.
const UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
    ("", 1),
];

impl Setting for Bytes {
    const KIND: &'static str = "a size like \"64KiB\", \"10MB\" or a number of bytes";

    fn read(value: &Value, _: bool) -> Result<Self, String> {
        let bytes = match value {
            Value::Integer(n) => u64::try_from(*n).ok(),
            Value::String(text) => size(text),
            _ => None,
        };
        bytes.and_then(|b| usize::try_from(b).ok()).map(Self).map_or_else(|| wrong(Self::KIND, value), Ok)
    }

    fn show(&self) -> String {
        let bytes = self.0 as u64;
        let fits = |(_, size): &&(&str, u64)| bytes != 0 && size.is_power_of_two() && bytes.is_multiple_of(*size);
        let (unit, size) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        format!("\"{}{unit}\"", bytes / size)
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
    let (number, unit) = text.split_at(digits);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(*size)
}

macro_rules! choices {
    ($type:ty, $kind:literal, $($word:literal => $value:path),*) => {
        impl Setting for $type {
            const KIND: &'static str = $kind;

            fn read(value: &Value, _: bool) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok($value),)*
                    _ => wrong(Self::KIND, value),
                }
            }

            fn show(&self) -> String {
                match self {
                    $($value => concat!("\"", $word, "\"").to_owned(),)*
                }
            }
        }
    };
}

choices!(OnLag, "\"deliver\" or \"disconnect\"", "deliver" => Self::Deliver, "disconnect" => Self::Disconnect);
choices!(RecoveryMode, "\"stream\" or \"cache\"", "stream" => Self::Stream, "cache" => Self::Cache);
choices!(TlsVersion, "\"1.2\" or \"1.3\"", "1.2" => Self::V12, "1.3" => Self::V13);
choices!(DataFormat, "\"any\" or \"json\"", "any" => Self::Any, "json" => Self::Json);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Value {
        Value::String(s.to_owned())
    }

    #[test]
    fn sizes_are_read_and_shown() {
        let read = |s: &str| Bytes::read(&text(s), false).map(|b| (b.0, b.show()));
        assert_eq!(read("64KiB"), Ok((65_536, "\"64KiB\"".to_owned())));
        assert_eq!(read("10 MB"), Ok((10_000_000, "\"10000000B\"".to_owned())));
        assert_eq!(read("1_000"), Ok((1_000, "\"1000B\"".to_owned())));
        assert_eq!(Bytes::read(&Value::Integer(7), false).map(|b| b.0), Ok(7));
        for bad in ["", "KiB", "12 apples", "-1", "99999999999999999999", "17179869185GiB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Bytes::read(&Value::Integer(-1), false).is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        let read = |s: &str| Duration::read(&text(s), false);
        assert_eq!(read("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(read("0"), Ok(Duration::ZERO));
        assert_eq!(read("30").unwrap_err(), "expected a duration like \"30s\", \"5m\" or \"1h 30m\", found \"30\"");
        assert!(Duration::read(&Value::Integer(30), false).is_err());
        assert_eq!(Duration::from_secs(90).show(), "\"1m 30s\"");
    }

    #[test]
    fn texts_from_outside_become_what_is_asked_for() {
        assert_eq!(bool::read(&text("true"), true), Ok(true));
        assert!(bool::read(&text("true"), false).is_err());
        assert_eq!(u32::read(&text("10_000"), true), Ok(10_000));
        assert!(u32::read(&Value::Integer(-1), true).is_err());
        assert_eq!(Vec::<String>::read(&text("a, b,"), true), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        let spelled = "time = 2026-12-31T12:00:00Z".parse::<toml::Table>().unwrap();
        for value in [text("2026-12-31T12:00:00Z"), Value::Integer(1_798_718_400), spelled["time"].clone()] {
            assert_eq!(Time::read(&value, false), Ok(Time(1_798_718_400)), "{value}");
        }
        assert_eq!(Time::read(&text("1798718400"), true), Ok(Time(1_798_718_400)));
        assert_eq!(Time(1_798_718_400).show(), "\"2026-12-31T12:00:00Z\"");
        assert!(Time::read(&text("tomorrow"), false).is_err() && Time::read(&Value::Integer(-1), false).is_err());
    }

    #[test]
    fn one_text_is_a_list_of_one() {
        assert_eq!(Texts::read(&text("a, b"), false).unwrap().0, ["a, b"]);
        assert_eq!(Texts::read(&text("a, b"), true).unwrap().0, ["a", "b"]);
        assert_eq!(Texts(vec!["a".into()]).show(), "\"a\"");
        assert!(Texts::read(&Value::Integer(1), false).is_err());
    }

    #[test]
    fn secrets_never_show() {
        let secret = Secret::read(&text("hunter2"), false).unwrap();
        assert_eq!(secret.show(), "\"***\"");
        let error = Secret::read(&Value::Integer(4711), false).unwrap_err();
        assert!(!error.contains("4711"), "{error}");
    }
}
