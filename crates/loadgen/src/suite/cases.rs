//! What the suite measures, each case by the command line of its scenario, and the bars.

use super::case::{Bar, By, Case, Wanted};

const fn at_most(figure: &'static str, by: By, bound: f64, stretch: Option<f64>) -> Bar {
    Bar { figure, by, wanted: Wanted::AtMost(bound), stretch }
}

/// Two runs of a server that are compared with each other differ by a tenth on a shared machine, and so do ratios that lie
/// near their bar: it takes more of them.
const COMPARED_ROUNDS: usize = 7;
const MEMORY: Option<&str> = Some("memory:");
const KAFKA: Option<&str> = Some("kafka://{kafka}");
/// Whoever subscribes is present, and is told who else comes if it asks to be.
const PRESENCE: &str = "\
[namespaces.joins]
presence = true
join_leave = true
allow_presence_for_client = true
allow_presence_for_anonymous = true
";
const PACED_PROBE: Option<&str> = Some("--clients 1000 --gap-us 50000 --deliveries 40000");
const DELIVERY: &str = "cpu_us_per_delivery";

const fn case(name: &'static str, title: &'static str, scenario: &'static str, bars: &'static [Bar]) -> Case {
    Case {
        name,
        title,
        scenario,
        probe: PACED_PROBE,
        broker: MEMORY,
        partitions: 0,
        nodes: 1,
        config: "",
        shards: "1",
        rounds_min: 1,
        tls: false,
        for_all: true,
        bars,
    }
}

/// The same case over TLS, for our server alone.
const fn tls(case: Case) -> Case {
    Case { tls: true, for_all: false, ..case }
}

/// What a connect costs more over TLS, by what a full handshake costs without a server.
const EXTRA_OF_TLS: By = By::AboveByFloor { other: "storm", floor: ("handshake-bare", "cpu_us_per_handshake") };

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "paced",
            "1 channel, 1,000 subscribers, 20 publications/s",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 1.15, Some(0.85))],
        )
    },
    Case {
        probe: Some("--clients 10000 --gap-us 500000 --deliveries 80000"),
        ..case(
            "paced10k",
            "1 channel, 10,000 subscribers, 2 publications/s",
            "fan-out --clients 10000 --rate 2 --seconds 6 --settle 2 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 1.15, Some(0.85))],
        )
    },
    Case {
        shards: "2",
        rounds_min: COMPARED_ROUNDS,
        for_all: false,
        ..case(
            "paced-2-shards",
            "paced, with two shards on the one CPU",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Case("paced"), 1.10, None)],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "paced-protobuf",
            "paced, in Protobuf over WebSocket",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200 --protobuf",
            &[at_most(DELIVERY, By::Write, 1.15, None)],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "paced-http-stream",
            "paced, over HTTP streaming",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200 --transport http-stream",
            &[at_most(DELIVERY, By::Write, 1.15, None)],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "paced-sse",
            "paced, over server-sent events",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200 --transport sse",
            &[at_most(DELIVERY, By::Write, 1.15, None)],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..tls(case(
            "paced-tls",
            "paced, over TLS",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 1.30, Some(1.15))],
        ))
    },
    Case {
        probe: None,
        rounds_min: COMPARED_ROUNDS,
        for_all: false,
        ..case(
            "paced-2k",
            "paced, with 2 KiB of JSON of which 1 % changes",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200 --size 2048 --document",
            &[],
        )
    },
    Case {
        probe: None,
        rounds_min: COMPARED_ROUNDS,
        for_all: false,
        ..case(
            "paced-2k-delta",
            "the same to subscribers with deltas",
            "fan-out --clients 1000 --rate 20 --seconds 4 --nap-us 200 --size 2048 --document --delta",
            &[
                at_most(DELIVERY, By::Case("paced-2k"), 1.2, None),
                at_most("bytes_per_delivery", By::Case("paced-2k"), 0.1, None),
            ],
        )
    },
    Case {
        probe: Some("--clients 1000 --gap-us 100000 --deliveries 160000 --variants write,concat:8"),
        ..case(
            "burst8",
            "1,000 subscribers, 10 bursts/s of 8 single publishes",
            "fan-out --clients 1000 --rate 80 --burst 8 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 0.26, Some(0.18))],
        )
    },
    Case {
        probe: Some("--clients 1000 --gap-us 100000 --deliveries 160000 --variants write,concat:8"),
        ..tls(case(
            "burst8-tls",
            "the same over TLS",
            "fan-out --clients 1000 --rate 80 --burst 8 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 0.32, Some(0.18))],
        ))
    },
    Case {
        probe: Some("--clients 1000 --gap-us 100000 --deliveries 640000 --variants write,concat:32"),
        ..case(
            "burst32",
            "1,000 subscribers, 10 bursts/s of 32 single publishes",
            "fan-out --clients 1000 --rate 320 --burst 32 --seconds 4 --nap-us 200",
            &[at_most(DELIVERY, By::Write, 0.16, Some(0.10))],
        )
    },
    Case {
        probe: None,
        ..case(
            "idle",
            "10,000 connections with one recoverable subscription each",
            "idle --clients 10000 --seconds 3 --window 64",
            &[at_most("rss_bytes_per_connection", By::One, 1_024.0, Some(512.0))],
        )
    },
    Case {
        probe: None,
        ..case(
            "idle-http-stream",
            "idle, over HTTP streaming",
            "idle --clients 10000 --seconds 3 --window 64 --transport http-stream",
            &[at_most("rss_bytes_per_connection", By::One, 1_024.0, None)],
        )
    },
    Case {
        probe: None,
        ..case(
            "idle-sse",
            "idle, over server-sent events",
            "idle --clients 10000 --seconds 3 --window 64 --transport sse",
            &[at_most("rss_bytes_per_connection", By::One, 1_024.0, None)],
        )
    },
    Case {
        probe: None,
        ..tls(case(
            "idle-tls",
            "idle, over TLS",
            "idle --clients 10000 --seconds 3 --window 64",
            &[at_most("rss_bytes_per_connection", By::Above("idle"), 4_500.0, Some(1_500.0))],
        ))
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "storm",
            "5,000 clients connect and subscribe at once, 256 on the way",
            "storm --clients 5000",
            &[at_most("cpu_us_per_connect", By::Write, 8.0, Some(6.0)), at_most("syn_retransmits", By::One, 0.0, None)],
        )
    },
    Case {
        probe: None,
        broker: None,
        rounds_min: COMPARED_ROUNDS,
        for_all: false,
        ..case(
            "handshake-bare",
            "full TLS handshakes with an echo each, by a loop with the same library and no server around it",
            "handshake-bare --clients 5000 --cpu 0",
            &[],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..tls(case(
            "storm-tls",
            "the same over TLS, with a full handshake each",
            "storm --clients 5000",
            &[at_most("cpu_us_per_connect", EXTRA_OF_TLS, 1.15, None), at_most("syn_retransmits", By::One, 0.0, None)],
        ))
    },
    case(
        "recover",
        "1,000 clients come back, 100 publications missed each",
        "recover --clients 1000 --publications 100",
        &[at_most("cpu_us_per_recovery", By::Write, 14.0, None)],
    ),
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "many",
            "2,000 clients with 10 of 5,000 channels each, 1,000 publications/s",
            "many-channels --clients 2000 --each 10 --channels 5000 --rate 1000 --seconds 4",
            &[at_most(DELIVERY, By::Write, 3.8, Some(3.3))],
        )
    },
    Case {
        rounds_min: COMPARED_ROUNDS,
        ..case(
            "http-publish",
            "64 keep-alive HTTP connections publish as fast as they are answered, 1 subscriber per channel",
            "http-publish --connections 64 --channels 64 --seconds 4",
            &[at_most("cpu_us_per_publish", By::Write, 6.0, None)],
        )
    },
    Case {
        broker: Some("embedded:{dir}/data"),
        rounds_min: COMPARED_ROUNDS,
        for_all: false,
        ..case(
            "http-publish-embedded",
            "the same on the embedded log with fsync",
            "http-publish --connections 64 --channels 64 --seconds 4",
            &[Bar {
                figure: "publishes_per_s",
                by: By::Case("http-publish"),
                wanted: Wanted::AtLeast(0.7),
                stretch: None,
            }],
        )
    },
    Case {
        broker: KAFKA,
        partitions: 8,
        for_all: false,
        ..case(
            "http-publish-kafka",
            "the same through Kafka, 8 partitions",
            "http-publish --connections 64 --channels 64 --seconds 4",
            &[at_most("cpu_us_per_publish", By::Write, 11.0, None)],
        )
    },
    Case {
        rounds_min: 5,
        probe: None,
        broker: None,
        partitions: 8,
        for_all: false,
        ..case(
            "kafka-bare",
            "Kafka alone, 1,000/s, from a producer to a consumer",
            "kafka-bare --rate 1000 --seconds 30 {kafka}",
            &[],
        )
    },
    Case {
        rounds_min: 5,
        probe: None,
        for_all: false,
        ..case(
            "deliver",
            "1,000/s by HTTP through the memory broker, publish -> deliver",
            "deliver --rate 1000 --seconds 30",
            &[],
        )
    },
    Case {
        rounds_min: 5,
        probe: None,
        broker: KAFKA,
        partitions: 8,
        for_all: false,
        ..case(
            "kafka-latency",
            "the same through Kafka, 8 partitions",
            "deliver --rate 1000 --seconds 30",
            &[
                at_most("latency_p50_us", By::Sum("kafka-bare", "deliver"), 1.5, None),
                at_most("latency_p99_us", By::Sum("kafka-bare", "deliver"), 1.5, None),
            ],
        )
    },
    Case {
        probe: None,
        broker: KAFKA,
        partitions: 1,
        for_all: false,
        ..case(
            "kafka-warm-up",
            "the first subscription in a partition of Kafka that gets 10,000 records/s",
            "kafka-warm-up --rate 10000 {kafka}",
            &[at_most("subscribe_us", By::One, 1e6, None)],
        )
    },
    // Every node folds every join, and has to let in its share of the clients before, which is no join.
    Case {
        rounds_min: 3,
        probe: None,
        broker: KAFKA,
        partitions: 8,
        nodes: 3,
        config: PRESENCE,
        for_all: false,
        ..case(
            "presence-joins",
            "10,000 clients join one channel at 500/s on 3 nodes, all on the one CPU, over Kafka, beside 200 publications/s. \
             CPU is that of a node, with connect and subscribe; `_net` of it is what is above the same clients at the same pace \
             in a channel without presence",
            "presence-joins --clients 10000 --rate 500 --trickle 200 {nodes}",
            &[
                at_most("cpu_us_per_join", By::One, 60.0, None),
                at_most("latency_p50_by_quiet", By::One, 1.2, None),
                at_most("latency_p99_by_quiet", By::One, 2.0, None),
            ],
        )
    },
    Case {
        probe: None,
        ..case(
            "readers",
            "1,000 readers, 4 KiB at 50/s for 60 s, nobody stalled",
            "slow-readers --clients 1000 --stalled-percent 0 --seconds 60",
            &[],
        )
    },
    Case {
        probe: None,
        ..case(
            "slow-readers",
            "the same, 10 % of them never read (SO_RCVBUF 4 KiB)",
            "slow-readers --clients 1000 --stalled-percent 10 --seconds 60",
            &[
                at_most(DELIVERY, By::Case("readers"), 1.1, None),
                at_most("latency_p50_us", By::Case("readers"), 1.2, None),
                at_most("latency_p99_us", By::Case("readers"), 1.5, None),
            ],
        )
    },
    Case {
        probe: None,
        ..case(
            "ping-pong",
            "one client, publish and delivery on its own channel in turns",
            "ping-pong --clients 1 --seconds 3",
            &[],
        )
    },
    Case {
        for_all: false,
        ..case(
            "http2-sse",
            "paced, over server-sent events, 20 of them on each HTTP/2 connection",
            "http2-streams --streams 1000 --per-connection 20 --rate 20 --seconds 4 --nap-us 200",
            &[],
        )
    },
    Case {
        for_all: false,
        ..case(
            "http2-sse-alone",
            "paced, over server-sent events, each on an HTTP/2 connection of its own",
            "http2-streams --streams 1000 --per-connection 1 --rate 20 --seconds 4 --nap-us 200",
            &[],
        )
    },
    Case {
        probe: None,
        for_all: false,
        ..case(
            "overhead",
            "Bytes of a delivery on the socket: 128 of payload, 6 of channel name, offsets to 50; at 2^31, as a partition of \
             Kafka may have it, computed. TLS adds 22 to what is sent at once",
            "overhead --publications 50",
            &[at_most("protobuf_message_bytes_above", By::One, 16.0, None)],
        )
    },
];

#[cfg(test)]
mod tests {
    use super::super::case::{parse_scenario, parse_writer};
    use super::*;

    #[test]
    fn every_case_is_a_command_line() {
        for case in CASES {
            if cfg!(feature = "kafka") || case.partitions == 0 {
                parse_scenario(&case.typed().replace("PID", "7")).unwrap();
            }
            if let Some(options) = case.probe {
                parse_writer(options).unwrap();
            }
        }
    }

    fn is_case(name: &str) -> bool {
        CASES.iter().any(|case| case.name == name)
    }

    #[test]
    fn bars_name_what_is_measured_in_the_same_round() {
        for case in CASES {
            for bar in case.bars {
                match bar.by {
                    By::Write => assert!(case.probe.is_some(), "{}", case.name),
                    By::Case(other) | By::Above(other) => assert!(is_case(other), "{other}"),
                    By::Sum(one, other) | By::AboveByFloor { other: one, floor: (other, _) } => {
                        assert!(is_case(one) && is_case(other), "{one}, {other}");
                    }
                    By::One => {}
                }
            }
        }
    }
}
