//! What all rounds found, and what follows from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::OURS;
use super::case::{Bar, By, Case};
use crate::Report;
use crate::limit::Costs;

/// The name of W.
const WRITE: &str = "write";

/// Median and spread of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, most })
    }
}

/// What became of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Reached,
    Missed,
    /// A round failed, or deliveries had faults: its figures are worth nothing.
    Unclean,
    Unmeasured,
}

/// Reports by case, server and round; probes by case and round.
#[derive(Debug)]
pub(super) struct Results {
    reports: BTreeMap<(&'static str, String, usize), Result<Report, String>>,
    probes: BTreeMap<(&'static str, usize), Costs>,
    raw: Option<File>,
}

impl Results {
    pub(super) fn new(raw: Option<&Path>) -> Result<Self> {
        let raw =
            raw.map(|path| File::create(path).with_context(|| format!("create {}", path.display()))).transpose()?;
        Ok(Self { reports: BTreeMap::new(), probes: BTreeMap::new(), raw })
    }

    pub(super) fn add_probe(&mut self, case: &'static str, round: usize, costs: Costs) {
        self.probes.insert((case, round), costs);
    }

    pub(super) fn add(
        &mut self,
        case: &'static str,
        server: &str,
        round: usize,
        report: Result<Report, String>,
    ) -> Result<()> {
        if let (Some(raw), Ok(report)) = (&mut self.raw, &report) {
            let line = serde_json::json!({ "case": case, "server": server, "round": round, "report": report });
            writeln!(raw, "{line}").context("write raw reports")?;
        }
        self.reports.insert((case, server.to_owned(), round), report);
        Ok(())
    }

    /// Servers that took part in a case, ours first.
    pub(super) fn servers(&self, case: &str) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.reports.keys().filter(|(c, _, _)| *c == case).map(|(_, server, _)| server.as_str()).collect();
        names.sort_unstable_by_key(|name| (*name != OURS, *name));
        names.dedup();
        names
    }

    /// A figure over all rounds.
    pub(super) fn figure(&self, case: &str, server: &str, figure: &str) -> Option<Spread> {
        Spread::of(self.rounds(case).filter_map(|round| self.one(case, server, round, figure)).collect())
    }

    /// A figure divided by what the bar says, round by round.
    pub(super) fn ratio(&self, case: &Case, server: &str, bar: &Bar) -> Option<Spread> {
        let quotient = |round| {
            let value = self.one(case.name, server, round, bar.figure)?;
            let by = match bar.by {
                By::One => 1.0,
                By::Above(other) => return Some(value - self.one(other, server, round, bar.figure)?),
                By::AboveByFloor { other, floor: (floor, of) } => {
                    let above = value - self.one(other, server, round, bar.figure)?;
                    return Some(above / self.one(floor, OURS, round, of).filter(|floor| *floor > 0.0)?);
                }
                By::Write => self.probe(case.name, round, WRITE)?,
                By::Case(other) => self.one(other, server, round, bar.figure)?,
                By::Sum(one, other) => {
                    self.one(one, server, round, bar.figure)? + self.one(other, server, round, bar.figure)?
                }
            };
            (by > 0.0).then(|| value / by)
        };
        Spread::of(self.rounds(case.name).filter_map(quotient).collect())
    }

    /// The probe's variants in a case, each over all rounds.
    pub(super) fn probes(&self, case: &str) -> Vec<(String, Spread)> {
        let of_case = || self.probes.iter().filter(|((c, _), _)| *c == case).map(|(_, costs)| costs);
        let Some(first) = of_case().next() else { return Vec::new() };
        let spread = |name: &String| Spread::of(of_case().filter_map(|costs| costs.get(name).copied()).collect());
        first.keys().filter_map(|name| Some((name.clone(), spread(name)?))).collect()
    }

    /// What failed in a case, and faults of deliveries: one line each.
    pub(super) fn troubles(&self, case: &str) -> Vec<String> {
        let of_case = self.reports.iter().filter(|((c, _, _), _)| *c == case);
        of_case
            .filter_map(|((_, server, round), report)| {
                let what = match report {
                    Err(error) => error.clone(),
                    Ok(report) if report.faults().is_empty() => return None,
                    Ok(report) => {
                        let faults: Vec<_> = report.faults().iter().map(|(name, n)| format!("{name} {n}")).collect();
                        format!("{} ({})", faults.join(", "), report.first_error.as_deref().unwrap_or("no error"))
                    }
                };
                Some(format!("{server}, round {}: {what}", round + 1))
            })
            .collect()
    }

    /// Whether our server reached a bar, in rounds that were all clean, and so were those that it is compared with.
    pub(super) fn outcome(&self, case: &Case, bar: &Bar) -> Outcome {
        let compared = match bar.by {
            By::One | By::Write => [None; 2],
            By::Case(other) | By::Above(other) => [Some(other), None],
            By::Sum(one, other) | By::AboveByFloor { other: one, floor: (other, _) } => [Some(one), Some(other)],
        };
        let takes_part = |name: &str| name == case.name || compared.contains(&Some(name));
        let unclean = self.unclean().any(|(name, _)| takes_part(name));
        match self.ratio(case, OURS, bar) {
            _ if unclean => Outcome::Unclean,
            None => Outcome::Unmeasured,
            Some(spread) if bar.wanted.holds(spread.median) => Outcome::Reached,
            Some(_) => Outcome::Missed,
        }
    }

    /// Rounds of our own server that failed or had faults.
    fn unclean(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let is_bad = |report: &Result<Report, String>| report.as_ref().map_or(true, |r| !r.faults().is_empty());
        let ours = self.reports.iter().filter(move |((_, server, _), report)| server == OURS && is_bad(report));
        ours.map(|((case, _, round), _)| (*case, *round))
    }

    /// Fails when a run of our own server failed or had faults, or a bar was not reached; where all was to be measured
    /// (`whole`), also when one was not measured.
    pub(super) fn verdict(&self, cases: &[&Case], whole: bool) -> Result<()> {
        let mut wrong: Vec<_> =
            self.unclean().map(|(case, round)| format!("{case} (round {}) failed or had faults", round + 1)).collect();
        for case in cases {
            wrong.extend(case.bars.iter().filter_map(|bar| match self.outcome(case, bar) {
                Outcome::Missed => Some(format!("{} missed its bar of {}", case.name, bar.figure)),
                Outcome::Unmeasured if whole => Some(format!("{} of {} was not measured", bar.figure, case.name)),
                _ => None,
            }));
        }
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
    }

    fn one(&self, case: &str, server: &str, round: usize, figure: &str) -> Option<f64> {
        let mut reports = self.reports.iter().filter(|((c, s, r), _)| *c == case && s == server && *r == round);
        reports.next()?.1.as_ref().ok()?.get(figure)
    }

    fn probe(&self, case: &str, round: usize, variant: &str) -> Option<f64> {
        let mut probes = self.probes.iter().filter(|((c, r), _)| *c == case && *r == round);
        probes.next()?.1.get(variant).copied()
    }

    fn rounds(&self, case: &str) -> impl Iterator<Item = usize> {
        let last = self.reports.keys().filter(|(c, _, _)| *c == case).map(|(_, _, round)| *round).max();
        0..last.map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spread() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(vec![1.0, 2.0]).map(|s| s.median), Some(1.5));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let case = super::super::CASES.iter().find(|c| c.name == "paced").unwrap();
        let mut results = Results::new(None).unwrap();
        for (round, (cpu, write)) in [(2.0, 2.0), (9.0, 8.0), (4.0, 5.0)].into_iter().enumerate() {
            let mut report = Report::new("fan-out");
            report.add("cpu_us_per_delivery", cpu);
            results.add(case.name, OURS, round, Ok(report)).unwrap();
            results.add_probe(case.name, round, Costs::from([("write".to_owned(), write)]));
        }
        let ratio = results.ratio(case, OURS, &case.bars[0]).unwrap();
        assert_eq!(ratio, Spread { median: 1.0, least: 0.8, most: 1.125 });
        assert!(results.verdict(&[case], true).is_ok() && results.troubles(case.name).is_empty());
        results.add(case.name, OURS, 3, Err("gone".into())).unwrap();
        assert_eq!(results.troubles(case.name), ["tidegate, round 4: gone"]);
        let error = results.verdict(&[case], true).unwrap_err().to_string();
        assert_eq!(error, "paced (round 4) failed or had faults");
        assert_eq!(results.outcome(case, &case.bars[0]), Outcome::Unclean);
    }

    #[test]
    fn a_bar_that_is_missed_or_not_measured_is_no_success() {
        let case = super::super::CASES.iter().find(|c| c.name == "overhead").unwrap();
        let mut results = Results::new(None).unwrap();
        assert!(results.verdict(&[case], false).is_ok(), "only a part was asked for");
        let error = results.verdict(&[case], true).unwrap_err().to_string();
        assert_eq!(error, "protobuf_message_bytes_above of overhead was not measured");
        let mut report = Report::new("overhead");
        report.add("protobuf_message_bytes_above", 17.0);
        results.add(case.name, OURS, 0, Ok(report)).unwrap();
        let error = results.verdict(&[case], false).unwrap_err().to_string();
        assert_eq!(error, "overhead missed its bar of protobuf_message_bytes_above");
    }
}
