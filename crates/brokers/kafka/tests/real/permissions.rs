//! What each permission is for: a consumer's ACLs suffice to read.

use tidegate_broker::{BrokerError, BrokerUrl, LogPurpose, LogSpec};
use tidegate_broker_kafka::{Verdict, doctor};
use tidegate_testkit::kafka::{Kafka, Options, Passwords, Tools};

use crate::support::{PAGE, Sink, broker, context, create_topic, open, producer, record, write};

fn grant(tools: &Tools, user: &str, operations: &[&str]) {
    let mut command = tools.command("org.apache.kafka.tools.AclCommand");
    command.args(["--add", "--allow-principal", &format!("User:{user}"), "--topic", "t"]);
    for operation in operations {
        command.args(["--operation", operation]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_consumers_suffice_to_read() {
    let passwords = Passwords::default();
    let properties = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ];
    let options = Options {
        security: Some(passwords.clone()),
        properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Options::default()
    };
    let kafka = Kafka::start_with(options).unwrap();
    create_topic(&kafka.bootstrap(), "t", 1, &[]).await;
    let settings = [
        ("properties.security.protocol", "sasl_plaintext"),
        ("properties.sasl.mechanism", "SCRAM-SHA-256"),
        ("properties.sasl.username", &passwords.scram.0),
        ("properties.sasl.password", &passwords.scram.1),
    ];
    let broker = broker(&kafka.sasl_bootstrap(), &settings).await;
    let reading = LogSpec { name: "t".into(), read_only: true, purpose: LogPurpose::Publications };

    let error = broker.open(&reading).await.map(drop).unwrap_err();
    eprintln!("no permission: {error}");
    assert!(matches!(&error, BrokerError::Refused(text) if text.contains("Read")), "{error:?}");

    grant(&kafka.tools(), &passwords.scram.0, &["Read", "Describe"]);
    let log = broker.open(&reading).await.unwrap();
    let sink = Sink::new();
    let partition = log.partition_of("k");
    let _tail = log.tail(partition, 0, sink.clone()).await.unwrap();
    write(&producer(&kafka.bootstrap(), &[]), "t", 0, &[(Some(b"k"), Some(b"v"))]);
    sink.wait_next(1);
    assert_eq!(sink.seen().payloads(), ["v"]);
    assert_eq!(log.read(partition, 0, 1, PAGE).await.unwrap().records.len(), 1);
    assert_eq!(log.bounds(partition).await.unwrap().end, 1);
    let error = log.append(record("k", "v")).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Refused(text) if text.contains("read-only")), "{error:?}");

    let url = BrokerUrl::parse(&format!("kafka://{}/t", kafka.sasl_bootstrap())).unwrap();
    let report = doctor(&url, context(&settings)).await.unwrap();
    let check = report.iter().find(|check| check.check == "permissions").unwrap();
    assert!(check.verdict == Verdict::Warn && check.text.contains("Grant Write"), "{}", check.text);

    // Publishing needs Write, and says so without being asked twice.
    let log = open(&broker, "t").await.unwrap();
    let error = log.append(record("k", "v")).await.unwrap_err();
    eprintln!("no permission to write: {error}");
    assert!(matches!(&error, BrokerError::Refused(text) if text.contains("Write")), "{error:?}");
    grant(&kafka.tools(), &passwords.scram.0, &["Write"]);
    crate::outage::until("publishes pass", async || log.append(record("k", "v")).await.is_ok()).await;
}
