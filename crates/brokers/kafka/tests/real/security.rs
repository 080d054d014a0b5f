//! SASL and TLS, right and wrong.

use std::sync::Arc;

use tidegate_broker::BrokerError;
use tidegate_testkit::kafka::{Kafka, Options, Passwords};

use crate::support::{broker, create_topic, open, record};

async fn try_it(bootstrap: &str, settings: &[(&str, &str)]) -> Result<u64, BrokerError> {
    let broker = broker(bootstrap, settings).await;
    let log: Arc<_> = open(&broker, "t").await?;
    Ok(log.append(record("k", "v")).await?.log_offset)
}

const PROTOCOL: &str = "properties.security.protocol";
const AUTHORITY: &str = "properties.ssl.ca.location";

fn login<'a>(kind: &'a str, who: &'a (String, String), more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut settings = vec![
        ("properties.sasl.mechanism", kind),
        ("properties.sasl.username", &who.0),
        ("properties.sasl.password", &who.1),
    ];
    settings.extend(more);
    settings
}

#[tokio::test]
async fn logins_and_certificates() {
    let passwords = Passwords::default();
    let options = Options { security: Some(passwords.clone()), ..Options::default() };
    let kafka = Kafka::start_with(options).unwrap();
    create_topic(&kafka.bootstrap(), "t", 1, &[]).await;
    let ca = kafka.ca_file(0).to_string_lossy().into_owned();
    let sealed = [(PROTOCOL, "sasl_ssl"), (AUTHORITY, ca.as_str())];
    let mut stored = 0;
    for kind in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let who = if kind == "PLAIN" { &passwords.plain } else { &passwords.scram };
        let plain = login(kind, who, &[(PROTOCOL, "sasl_plaintext")]);
        assert_eq!(try_it(&kafka.sasl_bootstrap(), &plain).await.unwrap(), stored, "{kind}");
        let over_tls = login(kind, who, &sealed);
        assert_eq!(try_it(&kafka.sasl_tls_bootstrap(), &over_tls).await.unwrap(), stored + 1, "{kind} over TLS");
        stored += 2;
    }
    let tls = [(PROTOCOL, "ssl"), (AUTHORITY, ca.as_str())];
    assert_eq!(try_it(&kafka.tls_bootstrap(), &tls).await.unwrap(), stored);

    let wrong = (passwords.scram.0.clone(), "not-the-password".to_owned());
    let error = try_it(&kafka.sasl_tls_bootstrap(), &login("SCRAM-SHA-256", &wrong, &sealed)).await.unwrap_err();
    eprintln!("wrong password: {error}");
    assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("auth"), "{error}");
    assert!(!error.to_string().contains("not-the-password"));

    // A certificate, but not the one that signed the broker's.
    let other = kafka.ca_file(0).with_file_name("node.pem").to_string_lossy().into_owned();
    let wrong = login("SCRAM-SHA-256", &passwords.scram, &[(PROTOCOL, "sasl_ssl"), (AUTHORITY, &other)]);
    let error = try_it(&kafka.sasl_tls_bootstrap(), &wrong).await.unwrap_err();
    eprintln!("wrong authority: {error}");
    assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("ssl.ca.location"), "{error}");

    let untrusted = login("SCRAM-SHA-256", &passwords.scram, &[(PROTOCOL, "sasl_ssl")]);
    let error = try_it(&kafka.sasl_tls_bootstrap(), &untrusted).await.unwrap_err();
    eprintln!("unknown authority: {error}");
    assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
}
