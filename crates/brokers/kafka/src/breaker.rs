//! The circuit breaker in front of the cluster: while it is away, publishes fail at once instead of after a timeout.
//!
//! It opens when no broker can be reached, or when publishes failed in a row. It heals without any publish: a
//! cluster that answers again closes it if it was away, and half-opens it if publishes failed while it was there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidegate_broker::{Breaker as State, Health};

/// Failed publishes in a row that open it.
const FAILURES_MAX: u32 = 5;

/// See the module's docs.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    // Guards the state; held for a few instructions.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    failures: u32,
    /// It opened because nobody was there, not because publishes failed.
    away: bool,
    /// The one request of the half-open state is on its way.
    trying: bool,
    trouble: String,
    /// All connections are closed: because nobody used them, or because nobody is there.
    unconnected: bool,
    /// Nothing heals it any more.
    closed_down: bool,
}

impl Breaker {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a publish may be tried; the text says why not.
    pub(crate) fn admit(&self) -> Result<(), String> {
        let mut inner = self.lock();
        match inner.state {
            State::Closed => Ok(()),
            State::HalfOpen if !inner.trying => {
                inner.trying = true;
                Ok(())
            }
            State::HalfOpen | State::Open => Err(inner.trouble.clone()),
        }
    }

    /// A publish that was admitted never reached the cluster: what it tried to find out is open still.
    pub(crate) fn withdrawn(&self) {
        self.lock().trying = false;
    }

    /// A publish was stored.
    pub(crate) fn stored(&self) {
        let mut inner = self.lock();
        if inner.closed_down {
            return;
        }
        if inner.state != State::Closed {
            tracing::info!("Kafka stores again, publishes go on");
        }
        *inner = Inner::default();
    }

    /// A publish failed, and not by its own fault.
    pub(crate) fn failed(&self, why: &str) {
        let mut inner = self.lock();
        inner.failures += 1;
        inner.trying = false;
        if inner.state == State::HalfOpen || inner.failures >= FAILURES_MAX {
            open(&mut inner, why, false);
        }
    }

    /// A client has no connection left. Brokers close idle ones, so that alone says nothing.
    pub(crate) fn unconnected(&self) {
        self.lock().unconnected = true;
    }

    /// A connection could not be made. Without any other one the cluster is away.
    pub(crate) fn not_connected(&self, why: &str) {
        let mut inner = self.lock();
        if inner.unconnected {
            open(&mut inner, why, true);
        }
    }

    /// The cluster answered something.
    pub(crate) fn reachable(&self) {
        let mut inner = self.lock();
        inner.unconnected = false;
        if inner.state != State::Open || inner.closed_down {
            return;
        }
        if inner.away {
            tracing::info!("Kafka is back, publishes go on");
            *inner = Inner::default();
        } else {
            inner.state = State::HalfOpen;
            inner.trying = false;
        }
    }

    /// Opens it for good.
    pub(crate) fn close_down(&self, why: &str) {
        let mut inner = self.lock();
        why.clone_into(&mut inner.trouble);
        inner.state = State::Open;
        inner.closed_down = true;
    }

    /// Whether publishes fail at once.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().state == State::Open
    }

    /// Whether nobody is there, so that no question will be answered.
    pub(crate) fn is_away(&self) -> bool {
        let inner = self.lock();
        inner.state == State::Open && inner.away
    }

    /// For the metric.
    pub(crate) fn health(&self) -> Health {
        let inner = self.lock();
        Health { breaker: inner.state, trouble: inner.trouble.clone() }
    }
}

fn open(inner: &mut Inner, why: &str, away: bool) {
    if inner.state != State::Open {
        tracing::warn!("publishes to Kafka fail at once until it is back: {why}");
    }
    why.clone_into(&mut inner.trouble);
    inner.away = away;
    inner.state = State::Open;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_away_opens_and_being_back_closes() {
        let breaker = Breaker::default();
        breaker.unconnected();
        breaker.not_connected("gone");
        assert_eq!(breaker.admit(), Err("gone".to_owned()));
        breaker.reachable();
        assert_eq!(breaker.admit(), Ok(()));
        assert_eq!(breaker.health(), Health::default());
    }

    #[test]
    fn closed_connections_are_no_outage_until_one_cannot_be_made() {
        let breaker = Breaker::default();
        breaker.not_connected("one of three is down");
        breaker.unconnected();
        assert_eq!(breaker.admit(), Ok(()));
        breaker.stored();
        breaker.not_connected("one of three is down");
        assert_eq!(breaker.admit(), Ok(()));
        breaker.unconnected();
        breaker.not_connected("refused");
        assert_eq!(breaker.admit(), Err("refused".to_owned()));
        breaker.reachable();
        assert_eq!(breaker.admit(), Ok(()));
    }

    #[test]
    fn failures_in_a_row_open_and_one_success_closes() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            assert_eq!(breaker.admit(), Ok(()));
            breaker.failed("not enough replicas");
        }
        assert!(breaker.is_open());
        breaker.reachable();
        assert_eq!(breaker.health().breaker, State::HalfOpen);
        assert_eq!(breaker.admit(), Ok(()), "the one that tries");
        assert!(breaker.admit().is_err(), "the others wait");
        breaker.failed("still not");
        assert!(breaker.is_open());
        breaker.reachable();
        assert_eq!(breaker.admit(), Ok(()));
        breaker.stored();
        assert_eq!(breaker.admit(), Ok(()));
        assert_eq!(breaker.admit(), Ok(()));
    }
}
