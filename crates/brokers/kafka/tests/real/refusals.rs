//! What cannot be used says what to do.

use tidegate_broker::{BrokerError, BrokerFactory as _, BrokerUrl, BuildContext, LogPurpose, LogSpec};
use tidegate_broker_kafka::FACTORY;
use tidegate_testkit::ports;

use crate::support::{Shared, broker, context, create_topic, open, record, unique};

fn refusal(result: Result<impl Sized, BrokerError>) -> String {
    match result {
        Err(error @ BrokerError::Refused(_)) => error.to_string(),
        Err(other) => panic!("not refused but: {other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_missing_topic_names_the_command() {
    let kafka = Shared::get();
    let topic = unique("missing");
    let broker = broker(&kafka.bootstrap, &[]).await;
    let text = refusal(open(&broker, &topic).await);
    assert!(text.contains("kafka-topics") && text.contains("--create") && text.contains(&topic), "{text}");
}

#[tokio::test]
async fn development_creates_it() {
    let kafka = Shared::get();
    let topic = unique("created");
    let url = BrokerUrl::parse(&format!("kafka://{}/{topic}", kafka.bootstrap)).unwrap();
    assert_eq!(&*FACTORY.default_log(&url), topic);
    let broker = FACTORY.build(&url, BuildContext { dev: true, ..BuildContext::default() }).await.unwrap();
    let log = open(&broker, &topic).await.unwrap();
    assert_eq!(log.append(record("k", "v")).await.unwrap().log_offset, 0);
}

#[tokio::test]
async fn a_topic_of_one_copy_is_refused_unless_only_read() {
    let kafka = Shared::get();
    let topic = kafka.topic(1).await;
    let url = BrokerUrl::parse(&format!("kafka://{}/{topic}", kafka.bootstrap)).unwrap();
    let broker = FACTORY.build(&url, context(&[])).await.unwrap();
    let text = refusal(open(&broker, &topic).await);
    assert!(text.contains("allow_unsafe_topics"), "{text}");
    let spec = LogSpec { name: topic.as_str().into(), read_only: true, purpose: LogPurpose::Publications };
    let log = broker.open(&spec).await.unwrap();
    assert_eq!(log.info().partitions, 1);
}

#[tokio::test]
async fn compacted_and_time_stamping_topics_are_seen() {
    let kafka = Shared::get();
    let topic = unique("compacted");
    let config = [("cleanup.policy", "compact,delete"), ("message.timestamp.type", "LogAppendTime")];
    create_topic(&kafka.bootstrap, &topic, 1, &config).await;
    let broker = broker(&kafka.bootstrap, &[]).await;
    let info = open(&broker, &topic).await.unwrap().info();
    assert!(info.compacted && info.stamps_time);
    let plain = kafka.topic(1).await;
    let info = open(&broker, &plain).await.unwrap().info();
    assert!(!info.compacted && !info.stamps_time);
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let [port] = ports::free().unwrap();
    let broker = broker(&format!("127.0.0.1:{port}"), &[]).await;
    let error = match open(&broker, "t").await {
        Err(error) => error,
        Ok(_) => panic!("opened"),
    };
    assert!(matches!(error, BrokerError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn wrong_settings_are_named() {
    let url = BrokerUrl::parse("kafka://127.0.0.1:9/t").unwrap();
    let build = async |key, value| refusal(FACTORY.build(&url, context(&[(key, value)])).await.map(drop));
    assert!(build("partitoner", "auto").await.contains("partitioner"));
    let text = build("properties.sasl.user", "ann").await;
    assert!(text.contains("sasl.username") && !text.contains("ann"), "{text}");
    let text = build("properties.security.protocol", "hunter2").await;
    assert!(text.contains("security.protocol") && !text.contains("hunter2"), "{text}");
    build("properties.acks", "0").await;
}
