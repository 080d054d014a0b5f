//! `[broker]` and the broker's own section, which only the broker understands: it is flattened and passed on.

use std::collections::BTreeMap;

use tidegate_broker::{BrokerUrl, BuildContext, Secret, SettingDoc};
use toml::{Table, Value};

use super::BrokerConfig;
use super::reader::Section;
use crate::registry;

const DEFAULT_URL: &str = "embedded:./tidegate-data";

pub(super) fn read(top: &mut Section<'_>, dev: bool) -> BrokerConfig {
    let (url_text, url) = top.child("broker", url);
    let mut settings = BTreeMap::new();
    for factory in registry::BROKERS {
        let name = factory.name();
        let of_section = top.child(name, |section| settings_of(section, factory.settings()));
        if name == url.scheme {
            settings = of_section;
            let context = BuildContext { dev, settings: settings.clone() };
            for mistake in factory.check(&url, &context) {
                top.problem(&mistake.path, mistake.text);
            }
        }
    }
    BrokerConfig { url, url_text, settings }
}

fn url(section: &mut Section<'_>) -> (String, BrokerUrl) {
    let doc = "The backbone: memory:, embedded:DIR or kafka://HOST:PORT,HOST:PORT/TOPIC.";
    let text = section.get("url", DEFAULT_URL.to_owned(), doc);
    let parsed = BrokerUrl::parse(&text).map_err(|e| e.to_string());
    let url = parsed.and_then(|url| registry::factory(&url.scheme).map(|_| url).map_err(|e| e.to_string()));
    match url {
        Ok(url) => (text, url),
        Err(error) => {
            section.problem("url", error);
            (text, BrokerUrl { scheme: String::new(), rest: String::new() })
        }
    }
}

fn settings_of(section: &mut Section<'_>, known: &'static [SettingDoc]) -> BTreeMap<String, Secret> {
    let (table, variables) = section.rest();
    let mut settings = BTreeMap::new();
    flatten("", table, &mut settings, section);
    for (key, value) in variables {
        // librdkafka's properties are spelled with dots, which no variable's name can have.
        let key = match key.strip_prefix("properties_") {
            Some(property) => format!("properties.{}", property.replace('_', ".")),
            None => key,
        };
        settings.insert(key, Secret(value));
    }
    for (key, value) in &settings {
        let shown = if is_secret(key) { "\"***\"".to_owned() } else { Value::String(value.0.clone()).to_string() };
        section.show(key, shown);
    }
    known.iter().filter(|doc| !settings.contains_key(doc.key)).for_each(|doc| section.describe(doc));
    settings
}

fn flatten(prefix: &str, table: Table, out: &mut BTreeMap<String, Secret>, section: &mut Section<'_>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let text = match value {
            Value::Table(table) => {
                flatten(&key, table, out, section);
                continue;
            }
            Value::String(text) => text,
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.to_string(),
            Value::Array(_) | Value::Datetime(_) => {
                section.problem(&key, format!("expected a text, a number, true or false, found {}", value.type_str()));
                continue;
            }
        };
        out.insert(key, Secret(text));
    }
}

/// Whether the value of a broker's key is better not shown.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "pem", "token", "jaas", "credential", "key"].iter().any(|word| key.contains(word))
}
