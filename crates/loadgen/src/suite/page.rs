//! The results as a page, and in the terminal.

use std::fmt::Write as _;

use super::OURS;
use super::case::{Bar, By, Case, Wanted};
use super::results::{Outcome, Results, Spread};
use crate::scenario::overhead;

/// Figures that the page shows where a report has them.
const SHOWN: &[&str] = &[
    "cpu_us_per_delivery",
    "cpu_us_per_publish",
    "cpu_us_per_connect",
    "cpu_us_per_handshake",
    "cpu_us_per_plain_echo",
    "cpu_us_per_tls_echo",
    "cpu_us_per_join",
    "cpu_us_per_plain_join",
    "cpu_us_per_join_net",
    "cpu_us_per_recovery",
    "cpu_us_per_round_trip",
    "idle_cpu_us_per_connection_s",
    "rss_bytes_per_connection",
    "rss_bytes_per_stream",
    "publishes_per_s",
    "deliveries_per_s",
    "connects_per_s",
    "reconnects_per_s",
    "bytes_per_delivery",
    "quiet_latency_p50_us",
    "quiet_latency_p99_us",
    "latency_p50_us",
    "latency_p99_us",
    "subscribe_us",
    "connect_p99_us",
    "reconnect_p99_us",
    "round_trip_p50_us",
    "round_trip_p99_us",
    "rss_growth_max_bytes",
    "tcp_buffers_max_bytes",
    "stalled_still_connected",
    "syn_retransmits",
    "lost",
    "duplicated",
    "reordered",
];

const METHOD: &str = "\
W is the CPU time of one plain `write` of a ready frame to one socket by a process that does nothing else, measured in
the same round (`limit-writer`; `concat:N` = N frames joined beforehand, per frame). The server runs on CPU 0, the load on
CPU 1, with a fresh server for every measurement. All servers and the probe take turns within a round; figures are medians over the
rounds, with the least and the most in parentheses, and ratios are taken within each round. Every delivery is checked for
order, number and content. Where the load, subscribers and publisher, polls (`--nap-us`) so that the server is not charged for
waking it, latencies are not those of an ordinary client.
";

/// The page of results.
pub(super) fn markdown(cases: &[&Case], results: &Results, rounds: usize) -> String {
    let mut out = String::from("# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit.\n\n");
    let _ = writeln!(out, "{METHOD}");
    let _ = writeln!(
        out,
        "Machine: {}. Rounds: {rounds}; latency through Kafka at least 5, comparisons, and what lies near its bar, 7.\n",
        machine()
    );
    out.push_str(
        "## Bars\n\n| case | figure | measured | bar (stretch) | reached |\n| --- | --- | --- | --- | --- |\n",
    );
    for case in cases {
        for bar in case.bars {
            let _ = writeln!(out, "| {} | {} | {} |", case.name, name_of(bar), judged(case, bar, results, " | "));
        }
    }
    for case in cases.iter().filter(|case| !results.servers(case.name).is_empty()) {
        details(&mut out, case, results);
    }
    out.push_str("\n## Again\n\nAll of it: `cargo build --release && cargo xtask bench`. ");
    out.push_str(
        "One case: `cargo xtask bench --scenarios NAME`. Against servers that run, with their process ids for PID and a topic of \
         Kafka for TOPIC:\n\n```\n",
    );
    for case in cases {
        let scheme = if case.tls { "wss" } else { "ws" };
        let _ = writeln!(out, "tidegate bench {} --url {scheme}://127.0.0.1:8000 --pid PID", case.typed());
    }
    out.push_str("```\n");
    out
}

/// The same for a terminal.
pub(super) fn text(cases: &[&Case], results: &Results) -> String {
    let mut out = String::new();
    for case in cases {
        let _ = writeln!(out, "{}: {}", case.name, case.title);
        for (variant, cost) in results.probes(case.name) {
            let _ = writeln!(out, "  limit {variant}: {} us", shown(cost));
        }
        for bar in case.bars {
            let _ = writeln!(out, "  {}: {}", name_of(bar), judged(case, bar, results, "; "));
        }
        for server in results.servers(case.name) {
            let figures =
                SHOWN.iter().chain(overhead::FIGURES).filter_map(|f| Some((f, results.figure(case.name, server, f)?)));
            let figures: Vec<_> = figures.map(|(name, spread)| format!("{name} {}", shown(spread))).collect();
            let _ = writeln!(out, "  {server}: {}", figures.join(", "));
        }
        for trouble in results.troubles(case.name) {
            let _ = writeln!(out, "  ! {trouble}");
        }
    }
    out
}

fn details(out: &mut String, case: &Case, results: &Results) {
    let servers = results.servers(case.name);
    let _ = writeln!(out, "\n## {}\n\n{}.\n\n`tidegate bench {}`\n", case.name, case.title, case.typed());
    for (variant, cost) in results.probes(case.name) {
        let _ = writeln!(out, "Limit `{variant}`: {} us.", shown(cost));
    }
    let _ = writeln!(out, "\n| figure | {} |\n| --- |{}", servers.join(" | "), " --- |".repeat(servers.len()));
    for bar in case.bars.iter().filter(|bar| !matches!(bar.by, By::One | By::Above(_))) {
        let row = servers.iter().map(|server| results.ratio(case, server, bar));
        let _ = writeln!(out, "| **{}** |{}", name_of(bar), cells(row));
    }
    for figure in SHOWN.iter().chain(overhead::FIGURES) {
        let row: Vec<_> = servers.iter().map(|server| results.figure(case.name, server, figure)).collect();
        if row.iter().any(Option::is_some) {
            let _ = writeln!(out, "| {figure} |{}", cells(row.into_iter()));
        }
    }
    for trouble in results.troubles(case.name) {
        let _ = writeln!(out, "\nNot clean: {}", trouble.replace(['\n', '|'], " "));
    }
}

fn cells(row: impl Iterator<Item = Option<Spread>>) -> String {
    row.map(|spread| format!(" {} |", spread.map_or("-".into(), shown))).collect()
}

fn name_of(bar: &Bar) -> String {
    match bar.by {
        By::One => bar.figure.to_owned(),
        By::Above(other) => format!("{} above that of {other}", bar.figure),
        By::AboveByFloor { other, floor: (floor, of) } => {
            format!("({} above that of {other}) / {of} of {floor}", bar.figure)
        }
        By::Write => format!("{} / W", bar.figure),
        By::Case(other) => format!("{} / that of {other}", bar.figure),
        By::Sum(one, other) => format!("{} / those of {one} + {other}", bar.figure),
    }
}

/// Our figure, the bar, and whether it was reached.
fn judged(case: &Case, bar: &Bar, results: &Results, between: &str) -> String {
    let measured = results.ratio(case, OURS, bar);
    let (sign, bound) = match bar.wanted {
        Wanted::AtMost(bound) => ("<=", bound),
        Wanted::AtLeast(bound) => (">=", bound),
    };
    let stretch = bar.stretch.map(|s| format!(" ({})", figure(s))).unwrap_or_default();
    let reached = match results.outcome(case, bar) {
        Outcome::Reached => "yes",
        Outcome::Missed => "**no**",
        Outcome::Unclean => "**no**, a round failed or had faults",
        Outcome::Unmeasured => "not measured",
    };
    let measured = measured.map_or("-".into(), shown);
    format!("{measured}{between}{sign} {}{stretch}{between}{reached}", figure(bound))
}

fn shown(spread: Spread) -> String {
    let (median, least, most) = (figure(spread.median), figure(spread.least), figure(spread.most));
    if least == most { median } else { format!("{median} ({least}-{most})") }
}

/// Three significant digits are as much as repeats; whole numbers stay whole.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v == v.trunc() || v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Processor and kernel, as the system names them.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cpus} x {}, Linux {}", model.map_or("unknown processor", |(_, name)| name), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Report;
    use crate::limit::Costs;

    #[test]
    fn a_page_shows_bars_and_details() {
        let case = super::super::CASES.iter().find(|c| c.name == "paced").unwrap();
        let mut results = Results::new(None).unwrap();
        let mut report = Report::new("fan-out");
        report.add("cpu_us_per_delivery", 3.3);
        results.add(case.name, OURS, 0, Ok(report.clone())).unwrap();
        results.add_probe(case.name, 0, Costs::from([("write".to_owned(), 3.0)]));
        let page = markdown(&[case], &results, 1);
        assert!(page.contains("| paced | cpu_us_per_delivery / W | 1.10 | <= 1.15 (0.85) | yes |"), "{page}");
        assert!(text(&[case], &results).contains("1.10; <= 1.15 (0.85); yes"));
        report.add("lost", 1.0);
        results.add(case.name, OURS, 1, Ok(report)).unwrap();
        let page = markdown(&[case], &results, 1);
        assert!(page.contains("| <= 1.15 (0.85) | **no**, a round failed or had faults |"), "{page}");
        assert!(page.contains("Not clean: tidegate, round 2: lost 1"), "{page}");
    }

    #[test]
    fn commands_have_nothing_left_to_fill_in_but_what_the_reader_has() {
        let cases: Vec<_> = super::super::CASES.iter().collect();
        let page = markdown(&cases, &Results::new(None).unwrap(), 1);
        assert!(!page.contains(['{', '}']), "{page}");
        let joins = "tidegate bench presence-joins --clients 10000 --rate 500 --trickle 200 --node 127.0.0.1:8001=PID \
                     --node 127.0.0.1:8002=PID --url ws://127.0.0.1:8000 --pid PID\n";
        assert!(page.contains(joins), "{page}");
    }

    #[test]
    fn figures_are_short() {
        let all = [0.123_4, 12.345, 123.45, 0.012_34, 7.0, 0.0].map(figure);
        assert_eq!(all, ["0.12", "12.3", "123", "0.012", "7", "0"]);
    }
}
