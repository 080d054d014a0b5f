//! Harness for tests: nodes, wire clients, real brokers as processes.
