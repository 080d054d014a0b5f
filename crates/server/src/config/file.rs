//! Reads the file. What is wrong with it is told by its place and never by its text, which may be a secret.

use std::path::Path;

use toml::Table;
use toml::de::{DeTable, Error};

use super::Problem;

/// The content of the file at `path`.
pub(super) fn read(path: &Path) -> Result<Table, Problem> {
    let problem = |text| Problem { path: path.display().to_string(), text };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    parse(&text).map_err(|why| problem(format!("is no TOML: {why}")))
}

fn parse(text: &str) -> Result<Table, String> {
    let failed = |error: &Error, what: &str| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("line {line}, column {column}: {what}")
    };
    // The grammar's messages name no value. What follows it only refuses numbers, and its messages hold them.
    DeTable::parse(text).map_err(|error| failed(&error, error.message()))?;
    text.parse().map_err(|error| failed(&error, "the number is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    }

    #[test]
    fn what_is_no_toml_is_told_by_its_place_alone() {
        check(
            "[client.token]\nhmac_secret_key = hunter2\n",
            "line 2, column 19: string values must be quoted, expected literal string",
        );
        check("a = 1\r\na = 2", "line 2, column 1: duplicate key");
        check("a = [\"é\", x]", "line 1, column 11: string values must be quoted, expected literal string");
        check("a = [", "line 1, column 6: unclosed array, expected `]`");
        check("\nkey = 340282366920938463463374607431768", "line 2, column 7: the number is out of range");
    }

    #[test]
    fn no_message_has_a_value() {
        for wrong in [
            "hunter2",
            "'hunter2",
            "\"hunter2",
            "\"hunter2\\q\"",
            "\"\"\"hunter2",
            "hunter2\"",
            "\"a\" hunter2",
            "[hunter2]",
            "{hunter2}",
            "{hunter2 = 1, hunter2 = 2}",
            "2020-13-45hunter2",
            "0xhunter2",
            "1hunter2",
            "tru hunter2",
            "1\nhunter2",
            "1\n[hunter2",
            "1\na.hunter2 = 2",
        ] {
            let error = parse(&format!("a = {wrong}")).unwrap_err();
            assert!(!error.contains("hunter") && error.starts_with("line "), "{wrong}: {error}");
        }
        for digits in ["9223372036854775808", "99999999999999999999", "340282366920938463463374607431768", "1e999"] {
            let error = parse(&format!("a = {digits}")).err().unwrap_or_default();
            assert!(!error.contains(digits), "{error}");
        }
    }
}
