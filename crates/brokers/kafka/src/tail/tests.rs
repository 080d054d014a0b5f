//! Tails and what is done with their ends, without a Kafka.

use std::sync::atomic::AtomicU32;

use tidegate_broker::{BrokerUrl, BuildContext};

use super::*;
use crate::context::{Context, Trouble};
use crate::properties;
use crate::settings::Settings;

/// A sink that remembers.
#[derive(Default)]
struct Sink {
    next: Mutex<u64>,
    losses: Mutex<Vec<TailLoss>>,
    /// How many of the next calls panic.
    panics: AtomicU32,
}

impl Sink {
    fn called(&self) {
        if self.panics.load(Relaxed) > 0 {
            self.panics.fetch_sub(1, Relaxed);
            panic!("a sink that a test breaks");
        }
    }
}

impl TailSink for Sink {
    fn records(&self, batch: &mut Vec<Tailed>, next: u64) {
        self.called();
        batch.clear();
        *self.next.lock().unwrap() = next;
    }

    fn lost(&self, loss: TailLoss) {
        self.called();
        self.losses.lock().unwrap().push(loss);
    }

    fn refused(&self, _: u64, _: Refused) {
        self.called();
    }
}

/// A lane whose Kafka is nowhere.
fn runner() -> Runner {
    let url = BrokerUrl::parse("kafka://127.0.0.1:1/t").unwrap();
    let settings = Settings::parse(&url, BuildContext::default()).unwrap();
    let context = Context { trouble: Arc::new(Trouble::default()), breaker: None };
    Runner {
        lane: Arc::default(),
        log: Weak::new(),
        topic: "t".into(),
        consumer: properties::consumer(&settings).create_with_context(context).unwrap(),
        tails: BTreeMap::new(),
        unsettled: BTreeSet::new(),
        asked: false,
        ask_at: Instant::now(),
    }
}

const ENDS: Option<Bounds> = Some(Bounds { start: 5, end: 10 });

impl Runner {
    /// Starts a tail that has delivered what lies before `from`.
    fn start(&mut self, from: u64) -> Arc<Sink> {
        let sink = Arc::new(Sink::default());
        let mut tail = Tail::new(Partition(0), from, sink.clone());
        tail.delivered = true;
        assert!(self.obey(Command::Start(tail)));
        sink
    }

    fn only(&mut self) -> &mut Tail {
        self.tails.get_mut(&0).unwrap()
    }

    fn answer(&mut self, asked: Asked, bounds: Option<Bounds>) {
        assert!(self.obey(Command::Bounds(vec![(asked, bounds)])));
    }
}

#[test]
fn a_tail_outside_of_its_partition_is_told() {
    for (from, start) in [(3, 5), (11, 10)] {
        let mut runner = runner();
        let sink = runner.start(from);
        let asked = runner.only().asked();
        runner.answer(asked, ENDS);
        assert_eq!(*sink.losses.lock().unwrap(), [TailLoss::Truncated { start }]);
        assert_eq!((runner.only().next, runner.only().assigned), (start, true));
        assert!(runner.unsettled.is_empty());
    }
}

#[test]
fn one_that_moved_since_the_ends_were_asked_for_is_left_alone() {
    let mut runner = runner();
    let sink = runner.start(10);
    let asked = runner.only().asked();
    runner.only().next = 12;
    runner.answer(asked, ENDS);
    assert!(sink.losses.lock().unwrap().is_empty());
    assert_eq!(runner.only().next, 12);
}

#[test]
fn ends_that_were_asked_for_another_tail_are_dropped() {
    let mut runner = runner();
    let first = runner.start(11);
    let asked = runner.only().asked();
    let (partition, stopped) = (Partition(0), runner.only().stopped());
    runner.obey(Command::Stop { partition, stopped });
    let second = runner.start(11);
    runner.answer(asked, ENDS);
    assert!(first.losses.lock().unwrap().is_empty() && second.losses.lock().unwrap().is_empty());
    assert_eq!(runner.only().next, 11);
}

#[test]
fn what_is_not_known_is_asked_for_again_until_the_tail_ends() {
    let mut runner = runner();
    runner.start(11);
    let asked = runner.only().asked();
    runner.answer(asked, None);
    assert!(runner.unsettled.contains(&0) && runner.ask_at > Instant::now());
    let (partition, stopped) = (Partition(0), runner.only().stopped());
    runner.obey(Command::Stop { partition, stopped });
    assert!(runner.unsettled.is_empty());
}

impl Tail {
    fn deliver(&mut self, next: u64) {
        (self.next, self.progressed) = (next, true);
        self.flush();
    }
}

#[test]
fn a_sink_that_panics_is_told_what_it_lost_and_goes_on() {
    let sink = Arc::new(Sink { panics: AtomicU32::new(1), ..Sink::default() });
    let mut tail = Tail::new(Partition(0), 0, sink.clone());
    tail.deliver(5);
    assert_eq!(*sink.losses.lock().unwrap(), [TailLoss::Skipped { next: 5 }]);
    tail.deliver(6);
    assert_eq!(*sink.next.lock().unwrap(), 6);
    sink.panics.store(1, Relaxed);
    tail.refused(7, Refused::NoKey);
    tail.deliver(8);
    assert_eq!((*sink.next.lock().unwrap(), sink.losses.lock().unwrap().len()), (8, 1));
}

#[test]
fn one_that_panics_over_its_loss_is_told_nothing_more() {
    let sink = Arc::new(Sink { panics: AtomicU32::new(2), ..Sink::default() });
    let mut tail = Tail::new(Partition(0), 0, sink.clone());
    tail.deliver(5);
    tail.deliver(6);
    assert_eq!((*sink.next.lock().unwrap(), sink.losses.lock().unwrap().len()), (0, 0));
}
