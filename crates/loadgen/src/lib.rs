//! The load generator: workloads, clients, verification, report.
