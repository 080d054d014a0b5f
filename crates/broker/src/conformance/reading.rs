//! Reading ranges by pages.

use super::{Harness, PAGE, append_numbers};
use crate::{BrokerError, PageLimits, Partition};

pub(super) async fn run(harness: &dyn Harness) {
    let log = harness.log(1).await;
    let offsets = append_numbers(&log, "a", 0..40).await;
    let bounds = log.bounds(Partition(0)).await.expect("bounds");

    let limits = PageLimits { records_max: 7, bytes_max: usize::MAX };
    let (mut at, mut seen) = (bounds.start, Vec::new());
    while at < bounds.end {
        let page = log.read(Partition(0), at, bounds.end, limits).await.expect("read");
        assert!(page.next > at, "a page goes on");
        assert!(page.records.len() <= 7, "a page keeps to its limits");
        assert!(page.records.iter().all(|r| (at..page.next).contains(&r.log_offset)), "records lie within the page");
        seen.extend(page.records.iter().map(|r| r.log_offset));
        at = page.next;
    }
    assert_eq!(seen, offsets, "pages together skip nothing");

    let page = log.read(Partition(0), offsets[10], offsets[20], PAGE).await.expect("read");
    let read: Vec<_> = page.records.iter().map(|r| r.log_offset).collect();
    assert_eq!((read.as_slice(), page.next), (&offsets[10..20], offsets[20]), "the end of a range is exclusive");

    let tiny = PageLimits { records_max: 100, bytes_max: 1 };
    let page = log.read(Partition(0), bounds.start, bounds.end, tiny).await.expect("read");
    assert_eq!(page.records.len(), 1, "a page holds at least one record");

    let page = log.read(Partition(0), bounds.end, bounds.end, PAGE).await.expect("read at the end");
    assert_eq!((page.records.len(), page.next), (0, bounds.end), "there is nothing at the end");

    let missing = Partition(log.info().partitions + 7);
    assert!(
        matches!(log.bounds(missing).await, Err(BrokerError::Refused(_))),
        "a partition that is not there is refused"
    );
}
