//! Reading from a replica that lags.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidegate_broker::{BrokerUrl, BuildContext};

use super::*;
use crate::connect::Connection;
use crate::partitioner::Partitioner;
use crate::settings::Settings;

const PAGE: PageLimits = PageLimits { records_max: 100, bytes_max: 1 << 20 };
const LAG: Duration = Duration::from_millis(1_500);

#[test]
fn a_replica_that_lags_is_waited_for() {
    let kafka = MockCluster::new(2).unwrap();
    kafka.create_topic("t", 1, 2).unwrap();
    kafka.partition_leader("t", 0, Some(1)).unwrap();
    let bootstrap = kafka.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
    for batch in [5, 3] {
        for _ in 0..batch {
            producer.send(BaseRecord::to("t").key("k").payload("v")).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }
    kafka.partition_follower("t", 0, 2).unwrap();
    kafka.follower_watermarks("t", 0, Some(0), Some(5)).unwrap();

    let url = BrokerUrl::parse(&format!("kafka://{bootstrap}/t")).unwrap();
    let connection = Connection::open(Settings::parse(&url, BuildContext::default()).unwrap()).unwrap();
    // The mock cluster knows no stable offsets of followers.
    let consumer = connection.consumer_with_isolation("read_uncommitted").unwrap();
    let state = State::new(String::new(), 1, Partitioner::Murmur2, false, false);
    let began = Instant::now();
    let page = std::thread::scope(|scope| {
        let reading = scope.spawn(|| page(&consumer, "t", Partition(0), 0..8, PAGE, &state).unwrap());
        std::thread::sleep(LAG);
        kafka.follower_watermarks("t", 0, None, None).unwrap();
        reading.join().unwrap()
    });
    let offsets: Vec<_> = page.records.iter().map(|record| record.log_offset).collect();
    assert_eq!((offsets, page.next), ((0..8).collect(), 8));
    assert!(began.elapsed() >= LAG, "it did not lag: {:?}", began.elapsed());
}
