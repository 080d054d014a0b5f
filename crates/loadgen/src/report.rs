//! What a run found: named figures, printable and serialisable.

use std::fmt;

use hdrhistogram::Histogram;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Figures that must be zero for a run to be good.
const FAULTS: &[&str] = &["lost", "duplicated", "reordered", "corrupted", "foreign", "publish_errors", "errors"];

/// The figures of one run, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    values: Vec<(String, f64)>,
    /// The first thing that went wrong.
    pub first_error: Option<String>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &str) -> Self {
        Self { scenario: scenario.to_owned(), ..Self::default() }
    }

    /// Adds a figure. The unit is the end of its name.
    pub fn add(&mut self, name: &str, value: f64) {
        self.values.push((name.to_owned(), value));
    }

    /// Adds the usual percentiles of a histogram of microseconds.
    pub fn add_histogram(&mut self, prefix: &str, histogram: &Histogram<u64>) {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            self.add(&format!("{prefix}_{name}_us"), histogram.value_at_quantile(quantile) as f64);
        }
    }

    /// A figure by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// All figures.
    pub fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// What should not have happened: deliveries lost, doubled, out of order or changed, and errors.
    pub fn faults(&self) -> Vec<(&'static str, f64)> {
        FAULTS.iter().filter_map(|name| self.get(name).filter(|v| *v != 0.0).map(|v| (*name, v))).collect()
    }
}

/// Three decimals are more than any of this repeats.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("scenario", &self.scenario)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, &rounded(*value))?;
        }
        if let Some(error) = &self.first_error {
            map.serialize_entry("first_error", error)?;
        }
        map.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        let width = self.values.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.values {
            writeln!(f, "  {name:width$}  {}", rounded(*value))?;
        }
        match &self.first_error {
            Some(error) => writeln!(f, "  first error: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_print_serialise_and_name_faults() {
        let mut report = Report::new("fan-out");
        report.add("delivered", 1_000.0);
        report.add("lost", 2.0);
        report.add("duplicated", 0.0);
        report.add("cpu_us_per_delivery", 1.234_567);
        assert_eq!(report.faults(), [("lost", 2.0)]);
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(
            json,
            "{\"scenario\":\"fan-out\",\"delivered\":1000.0,\"lost\":2.0,\"duplicated\":0.0,\"cpu_us_per_delivery\":1.235}"
        );
        assert!(report.to_string().contains("  delivered            1000\n"));
    }
}
