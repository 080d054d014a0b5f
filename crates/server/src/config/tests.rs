//! What a person reads when a configuration is wrong, and what comes out when it is right.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_core::config::{DataFormat, OnLag};

use super::reader::Reader;
use super::{Config, Sources, reference, render};

/// On the memory broker, unless the file names another.
fn sources(file: &str) -> Sources {
    let mut sources = Sources { file: file.parse().unwrap(), ..Sources::default() };
    if !file.contains("[broker]") {
        sources.flags = map(&[("broker.url", "memory:")]);
    }
    sources
}

fn load(file: &str) -> Config {
    Config::load(sources(file)).unwrap_or_else(|e| panic!("{e}"))
}

fn problems(sources: Sources) -> Vec<String> {
    Config::load(sources).unwrap_err().problems.iter().map(ToString::to_string).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn with_a_file_nothing_is_open() {
    let config = load("");
    assert!(!config.dev && !config.demo && !config.api.insecure && !config.core.client.allow_anonymous);
    assert_eq!((config.core.default_namespace, config.core.namespaces.len()), (None, 0));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert!(config.shards >= 1);
    assert_eq!(config.core.node_name, crate::host::name().unwrap());
    assert!(config.broker.settings.is_empty());
    assert_eq!(config.core.client, tidegate_core::config::ClientOptions::default());
    assert_eq!(config.core.window, tidegate_core::config::WindowOptions::default());
}

#[test]
fn development_mode_is_open_on_loopback() {
    let config = load("dev = true");
    assert!(config.demo && config.api.insecure && config.core.client.allow_anonymous);
    assert_eq!(config.core.namespaces, [("progress".to_owned(), config.core.default_namespace.clone().unwrap())]);
    let open = config.core.default_namespace.unwrap();
    assert_eq!((open.history_size, open.history_ttl), (1_000, Duration::from_secs(3_600)));
    assert!(open.force_recovery && open.allow_publish_for_anonymous && open.allow_history_for_anonymous);
    let refused = problems(sources("dev = true\nlisten = \"0.0.0.0:80\""));
    assert_eq!(
        refused,
        [
            "listen: development mode is open to everybody and serves loopback only: listen on 127.0.0.1, or leave it: give a \
             configuration file (--config) without dev = true"
        ]
    );
}

#[test]
fn the_demo_outside_of_development_mode_needs_a_key_and_its_namespace() {
    assert_eq!(
        problems(sources("demo = true")),
        [
            "demo: its jobs publish by the server API: set api.keys",
            "demo: its jobs publish to progress:NAME: configure [namespaces.progress]",
        ]
    );
    assert!(load("demo = true\n[api]\nkeys = [\"k\"]\n[namespaces.progress]").demo);
}

#[test]
fn a_whole_file_is_read() {
    let config = load(
        r#"
        listen = ":9000"
        shards = 3
        [broker]
        url = "memory:"
        [client]
        allow_anonymous = true
        allowed_origins = ["https://*.example.com"]
        ping_interval = "10s"
        message_bytes_max = "128KiB"
        [client.token]
        hmac_secret_key = "s3cret"
        leeway = "2s"
        [client.recovery]
        bytes_max = 1000
        [api]
        keys = ["one", "two"]
        [window]
        payload_bytes_max = "64MiB"
        [node]
        name = "n1"
        [node.drain]
        rate = 5
        [channel.without_namespace]
        allow_subscribe_for_client = true
        [namespaces.progress]
        log = "jobs"
        read_only = true
        history_size = 10
        history_ttl = "5m"
        force_recovery = true
        on_lag = "disconnect"
        publication_data_format = "json"
        "#,
    );
    assert_eq!((config.listen.to_string().as_str(), config.shards), ("0.0.0.0:9000", 3));
    assert_eq!(config.core.client.ping_interval, Duration::from_secs(10));
    assert_eq!(config.core.client.message_bytes_max, 128 << 10);
    assert_eq!(config.core.client.recovery_bytes_max, 1_000);
    assert_eq!(config.core.token.hmac_secret.as_deref(), Some(&b"s3cret"[..]));
    assert_eq!(config.core.window.payload_bytes_max, 64 << 20);
    assert_eq!((config.core.node_name.as_str(), config.drain.rate), ("n1", 5));
    assert!(config.core.default_namespace.unwrap().allow_subscribe_for_client);
    let [(name, progress)] = <[_; 1]>::try_from(config.core.namespaces).unwrap();
    assert_eq!((name.as_str(), progress.log.as_deref()), ("progress", Some("jobs")));
    assert!(progress.read_only && progress.force_recovery);
    assert_eq!((progress.on_lag, progress.data_format), (OnLag::Disconnect, DataFormat::Json));
}

#[test]
fn all_errors_are_told_at_once_with_their_paths() {
    let found = problems(sources(
        r#"
        lisen = "127.0.0.1:1"
        shards = -1
        [client]
        ping_intervall = "10s"
        pong_timeout = "60s"
        [client.token]
        hmac_secret_key = 5
        [namespaces.progress]
        history_size = 5
        allow_history_for_anonymous = true
        on_lag = "explode"
        [namespaces."x!"]
        [redis]
        url = "a"
        "#,
    ));
    let expected = [
        "shards: -1 is out of range",
        "client.pong_timeout: must be above zero and shorter than ping_interval",
        "client.token.hmac_secret_key: expected a secret text, found integer",
        "client.ping_intervall: no such setting, did you mean \"ping_interval\"?",
        "namespaces.progress.on_lag: expected \"deliver\" or \"disconnect\", found \"explode\"",
        "namespaces.progress.history_ttl: must be set beside history_size: without it nothing is kept",
        "namespaces.progress.allow_history_for_anonymous: has no effect without allow_history_for_client",
        "namespaces.x!: a namespace's name has two or more of a-z, A-Z, 0-9, - and _",
        "lisen: no such setting, did you mean \"listen\"?",
        "redis: no such setting",
    ];
    for text in expected {
        assert!(found.iter().any(|p| p == text), "{text} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn the_environment_goes_before_the_file_and_flags_before_both() {
    let mut sources = sources("shards = 1\n[client]\nping_interval = \"9s\"\n[namespaces.progress]\nlog = \"a\"");
    sources.environment = map(&[
        ("TIDEGATE_SHARDS", "2"),
        ("TIDEGATE_CLIENT_PING_INTERVAL", "11s"),
        ("TIDEGATE_CLIENT_ALLOWED_ORIGINS", "https://a, https://b"),
        ("TIDEGATE_NAMESPACES_PROGRESS_LOG", "b"),
        ("TIDEGATE_CHANNEL_WITHOUT_NAMESPACE_ALLOW_SUBSCRIBE_FOR_CLIENT", "true"),
        ("TIDEGATE_SERVICE_HOST", "10.0.0.1"),
        ("TIDEGATE_PORT", "tcp://10.0.0.1:80"),
        ("HOME", "/root"),
    ]);
    sources.flags = map(&[("shards", "4"), ("broker.url", "memory:")]);
    let config = Config::load(sources).unwrap();
    assert_eq!((config.shards, config.broker.url.scheme.as_str()), (4, "memory"));
    assert_eq!(config.core.client.ping_interval, Duration::from_secs(11));
    assert_eq!(config.core.client.allowed_origins, ["https://a", "https://b"]);
    assert_eq!(config.core.namespaces[0].1.log.as_deref(), Some("b"));
    assert!(config.core.default_namespace.unwrap().allow_subscribe_for_client);
}

#[test]
fn unknown_variables_are_errors() {
    let environment = map(&[("TIDEGATE_CLIENT_PING_INTERVALL", "1s"), ("TIDEGATE_SHARDS", "many")]);
    let found = problems(Sources { environment, ..sources("") });
    assert_eq!(
        found,
        [
            "shards: expected a whole number, found \"many\"",
            "TIDEGATE_CLIENT_PING_INTERVALL: no such setting, did you mean \"TIDEGATE_CLIENT_PING_INTERVAL\"?",
        ]
    );
}

#[test]
fn a_brokers_section_is_passed_on_flat() {
    let mut sources = sources(
        "[broker]\nurl = \"memory:\"\n[memory]\na = 1\n[memory.properties]\n\"sasl.username\" = \"u\"\nsasl.password = \"p\"",
    );
    sources.environment = map(&[("TIDEGATE_MEMORY_PROPERTIES_SSL_CA_LOCATION", "/ca"), ("TIDEGATE_MEMORY_B_C", "x")]);
    let (broker, reader) = Reader::run(sources, |top| super::broker::read(top, false));
    let settings: Vec<_> = broker.settings.iter().map(|(k, v)| format!("{k}={}", v.0)).collect();
    assert_eq!(
        settings,
        ["a=1", "b_c=x", "properties.sasl.password=p", "properties.sasl.username=u", "properties.ssl.ca.location=/ca"]
    );
    let shown = render(&reader.entries, false);
    assert!(shown.contains("\"properties.sasl.password\" = \"***\""), "{shown}");
    assert!(!format!("{broker:?}").contains("\"p\""));
}

#[test]
fn what_a_broker_would_refuse_is_told_with_the_rest() {
    let file = "listen = \"x\"\n[broker]\nurl = \"embedded:\"\n[embedded]\nretention_agee = \"7d\"\nsegment_bytes = \"banana\"";
    let found = problems(sources(file));
    let paths: Vec<_> = found.iter().map(|problem| problem.split(": ").next().unwrap()).collect();
    assert_eq!(paths, ["listen", "embedded.retention_agee", "embedded.segment_bytes", "broker.url"], "{found:?}");
    let found = problems(sources("[memory]\npartitions = 0"));
    assert_eq!(found, ["memory.partitions: \"0\" is no number above 0"]);
}

#[cfg(feature = "kafka")]
#[test]
fn what_kafka_would_refuse_is_told_with_the_rest() {
    let file = "[broker]\nurl = \"kafka://127.0.0.1:1/t\"\n[kafka]\npartitoner = \"x\"\n[kafka.properties]\n\"sasl.passwort\" = \"hunter2\"";
    let found = problems(sources(file));
    assert_eq!(found[0], "kafka.partitoner: no such setting, did you mean kafka.partitioner?");
    assert!(found[1].contains("did you mean sasl.password?") && !found[1].contains("hunter2"), "{found:?}");
}

#[test]
fn a_wrong_broker_lists_the_right_ones() {
    let found = problems(sources("[broker]\nurl = \"kafak://a/b\""));
    assert!(found[0].starts_with("broker.url: no broker \"kafak\""), "{found:?}");
    let found = problems(sources("[broker]\nurl = \"somewhere\""));
    assert!(found[0].starts_with("broker.url: broker \"somewhere\" is no URL"), "{found:?}");
}

#[test]
fn what_is_shown_can_be_read_again_and_holds_no_secret() {
    let file =
        "listen = \"127.0.0.1:1\"\n[client.token]\nhmac_secret_key = \"hunter2\"\n[namespaces.ab]\nread_only = true";
    let config = load(file);
    let shown = render(&config.entries, false);
    assert_eq!(
        shown,
        "listen = \"127.0.0.1:1\"\n\n[broker]\nurl = \"memory:\"\n\n[client.token]\nhmac_secret_key = \"***\"\n\n[namespaces.ab]\nread_only = true\n"
    );
    let all = render(&config.entries, true);
    assert!(all.contains("ping_interval = \"25s\"  # default"), "{all}");
    assert!(!all.contains("hunter2"));
    load(&all);
}

#[test]
fn the_reference_is_a_file_that_sets_nothing() {
    let text = reference();
    assert!(text.contains("# ping_interval = \"25s\""), "{text}");
    assert!(text.contains("# url = \"embedded:./tidegate-data\""), "{text}");
    assert!(text.contains("# [namespaces.\"<name>\"]") && text.contains("# pattern is not set by default"), "{text}");
    assert!(text.contains("# [api.scoped.\"<name>\"]"), "{text}");
    let table: toml::Table = text.parse().unwrap();
    assert!(table["client"].as_table().unwrap().values().all(toml::Value::is_table));
    let (from_it, from_nothing) = (load(&text), load("[broker]\n"));
    assert_eq!((from_it.core, from_it.listen), (from_nothing.core, from_nothing.listen));
}

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";

#[test]
fn keys_and_key_sets_of_tokens_are_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PUBLIC_KEY).unwrap();
    let text = format!(
        r#"
        [client.token]
        hmac_secret_key = "new"
        previous_hmac_secret_key = "old"
        previous_hmac_secret_key_valid_until = 2026-12-31T12:00:00Z
        public_key = ["""{PUBLIC_KEY}""", "{}"]
        audience = "app"
        issuer = ["a", "b"]
        user_id_claim = "email"
        jwks_url = "https://id.example/all"
        jwks_ttl = "10m"
        [client.token.jwks.one]
        url = "https://one.example/keys"
        issuer = "https://one.example"
        [client.subscription_token]
        hmac_secret_key = "subs"
        algorithms = "HS512"
        "#,
        file.path().display()
    );
    let token = load(&text).core.token;
    assert_eq!(token.previous_hmac_valid_until, Some(1_798_718_400));
    assert_eq!((token.public_keys.len(), token.audience.len(), token.issuer.len()), (2, 1, 2));
    assert_eq!(token.public_keys[0], token.public_keys[1]);
    let sets: Vec<_> = token.jwks.iter().map(|s| (s.issuer.as_deref(), s.endpoint.to_string())).collect();
    let one = (Some("https://one.example"), "https://one.example/keys".to_owned());
    assert_eq!(sets, [one, (None, "https://id.example/all".to_owned())]);
    assert!(token.jwks.iter().all(|s| s.keeping.ttl == Duration::from_secs(600)));
    let subscription = token.subscription.unwrap();
    assert_eq!(subscription.hmac_secret.as_deref(), Some(&b"subs"[..]));
    assert_eq!(subscription.algorithms.len(), 1);
    let shown = render(&load(&text).entries, false);
    for secret in ["\"new\"", "\"old\"", "\"subs\""] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(load(&shown.replace("***", "x")).core.token.jwks, token.jwks);
    assert!(load("[client.token]\nhmac_secret_key = \"a\"").core.token.subscription.is_none());
    assert!(reference().contains("[client.subscription_token]"));
}

#[test]
fn wrong_keys_and_key_sets_are_told() {
    let found = problems(sources(
        r#"
        [client.token]
        previous_hmac_secret_key_valid_until = "soon"
        public_key = ["/nowhere/key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
        algorithms = ["ES512"]
        jwks_url = "http://id.example/keys"
        jwks_timeout = "1ms"
        jwks_ca_file = "/nowhere/ca.pem"
        [client.token.jwks.one]
        issuer = "a"
        [client.token.jwks.two]
        url = "https://two.example/keys"
        [client.token.jwks.three]
        url = "https://three.example:84430/keys"
        issuer = "c"
        [client.subscription_token]
        audience = "x"
        "#,
    ));
    let expected = [
        "client.token.previous_hmac_secret_key_valid_until: expected a time like \"2026-12-31T12:00:00Z\" or seconds since 1970, found \"soon\"",
        "client.token.public_key: cannot read /nowhere/key.pem: No such file or directory (os error 2)",
        "client.token.public_key: this is a private key: give the public one (openssl pkey -in KEY -pubout), and keep this one away from servers",
        "client.token.algorithms: \"ES512\" is not verified here: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA are",
        "client.token.jwks_url: must be https: http is for this machine (127.0.0.1, localhost) only",
        "client.token.jwks.one.url: must be set",
        "client.token.jwks.two.issuer: must be set: a set for every issuer is jwks_url",
        "client.token.jwks.three.url: the port must be a number up to 65535",
        "client.token.jwks_ca_file: cannot be read: No such file or directory (os error 2)",
        "client.token.jwks_timeout: must be at least \"1s\"",
        "client.subscription_token: has no key: give it one, or leave it out to have the keys of client.token",
    ];
    for text in expected {
        assert!(found.iter().any(|p| p == text), "{text} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn an_algorithm_that_no_key_has_is_told() {
    let found = problems(sources("[client.token]\nhmac_secret_key = \"s\"\nalgorithms = [\"RS256\"]"));
    assert_eq!(
        found,
        [
            "client.token.algorithms: leaves out all of hmac_secret_key: add HS256, HS384 or HS512, or take the secret away"
        ]
    );
}

#[test]
fn tls_is_off_from_files_or_made_for_the_run() {
    use super::{TlsSource, TlsVersion};
    assert_eq!(load("").tls, None);
    let files = load(
        "[tls]\ncertificate = \"Cargo.toml\"\nkey = \"src/lib.rs\"\nmin_version = \"1.3\"\nreload_interval = \"1m\"",
    );
    let tls = files.tls.unwrap();
    assert_eq!(tls.source, TlsSource::Files { certificate: "Cargo.toml".into(), key: "src/lib.rs".into() });
    assert_eq!((tls.min_version, tls.reload_interval), (TlsVersion::V13, Duration::from_secs(60)));
    let made = load("[tls]\nself_signed = true").tls.unwrap();
    assert_eq!((made.source, made.min_version), (TlsSource::SelfSigned, TlsVersion::V12));
    let table = [
        ("certificate = \"c\"", "tls.key: is missing: name the file with the private key of tls.certificate"),
        ("key = \"k\"", "tls.certificate: is missing: name the file with the certificate of tls.key"),
        (
            "key = \"k\"\nself_signed = true",
            "tls.self_signed: contradicts tls.certificate and tls.key: take one or the other away",
        ),
        ("self_signed = true\nmin_version = \"1.1\"", "tls.min_version: expected \"1.2\" or \"1.3\", found \"1.1\""),
        ("self_signed = true\nreload_interval = \"0\"", "tls.reload_interval: must be at least \"100ms\""),
        ("enabled = true", "tls.enabled: no such setting"),
        (
            "min_version = \"1.3\"",
            "tls.certificate: is missing, so no TLS is spoken: name the files of tls.certificate and tls.key, or take the \
             section away",
        ),
        (
            "certificate = \"Cargo.toml\"\nkey = \"none.pem\"",
            "tls.key: cannot read none.pem: No such file or directory (os error 2)",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(problems(sources(&format!("[tls]\n{text}"))), [expected]);
    }
}

#[test]
fn a_user_header_needs_proxies_to_trust() {
    let text = "[client]\nuser_id_http_header = \"X-User-Id\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]";
    let header = load(text).core.client.user_header.unwrap();
    let trusts = |ip: &str| header.trusts(ip.parse().unwrap());
    assert!(trusts("10.1.2.3") && trusts("::ffff:10.1.2.3") && trusts("::1") && !trusts("11.0.0.1") && !trusts("::2"));
    for (text, why) in [
        ("[client]\nuser_id_http_header = \"X-User-Id\"", "needs trusted_proxies"),
        ("[client]\ntrusted_proxies = [\"10.0.0.0/8\"]", "has no effect without user_id_http_header"),
        ("[client]\nuser_id_http_header = \"X\"\ntrusted_proxies = [\"10.0.0.0/99\"]", "is no address and no network"),
        ("[client]\nuser_id_http_header = \"a b\"\ntrusted_proxies = [\"::1\"]", "is no name of a header"),
    ] {
        let problems = problems(sources(text));
        assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?}");
    }
}

#[test]
fn a_scoped_key_says_what_it_is_for() {
    let scoped = |text: &str| problems(sources(&format!("[api.scoped.a]\n{text}"))).join(" | ");
    let config = load("[api.scoped.a]\nkey = \"k\"\nmethods = [\"publish\"]\nchannels = [\"chat:*\"]");
    let (_, scope) = &config.api.scoped[0];
    assert_eq!((scope.name.as_str(), scope.methods.len(), scope.channels.len()), ("a", 1, 1));
    assert!(!render(&config.entries, true).contains("\"k\""), "keys are not shown");
    assert!(scoped("methods = [\"publish\"]").contains("a scope is of a key"));
    assert!(scoped("key = \"k\"").contains("a key for everything stands in api.keys"));
    assert!(scoped("key = \"k\"\nmethods = [\"dance\"]").contains("\"dance\" is no method: there are publish"));
}

#[test]
fn names_are_of_one_pattern() {
    let config = load("[namespaces.users]\npattern = \"/users/:id\"\nchannel_regex = \"^/users/[0-9]+$\"\n");
    let (_, users) = &config.core.namespaces[0];
    assert_eq!(users.pattern.as_ref().unwrap().to_string(), "/users/:id");
    assert_eq!(users.channel_regex.as_ref().unwrap().to_string(), "^/users/[0-9]+$");
    assert_eq!(
        problems(sources("[namespaces.aa]\npattern = \"/a/:x\"\n[namespaces.bb]\npattern = \"/a/:y\"\n")),
        [
            "namespaces.bb.pattern: the names of \"/a/:y\" are those of another namespace's pattern too: make one of them \
          differ in a text"
        ]
    );
    assert_eq!(
        problems(sources("[namespaces.aa]\npattern = \"users/:id\"\nchannel_regex = \"(\"\n")),
        [
            "namespaces.aa.pattern: a pattern begins with a slash, like \"/users/:id\"",
            "namespaces.aa.channel_regex: \"(\" is no regular expression: found open group without closing ')'",
        ]
    );
    let personal =
        "[client.subscribe_to_user_personal_channel]\nenabled = true\npersonal_channel_namespace = \"users\"\n";
    let personal = problems(sources(&format!("{personal}[namespaces.users]\npattern = \"/users/:id\"\n")));
    assert_eq!(
        personal,
        [
            "client.subscribe_to_user_personal_channel.enabled: its channels need a [namespaces.users] without a pattern: \
          their names are users:#USER"
        ]
    );
}

#[test]
fn http_2_is_on_and_bounded() {
    let http2 = load("").http2.unwrap();
    assert_eq!((http2.connections_max, http2.streams_per_connection_max), (4_096, 128));
    let http2 = load("[http2]\nconnections_max = 10\nstreams_per_connection_max = 20").http2.unwrap();
    assert_eq!((http2.connections_max, http2.streams_per_connection_max), (10, 20));
    assert_eq!(load("[http2]\nenabled = false").http2, None);
    let most = problems(sources("[http2]\nconnections_max = 9000000000000000000"));
    assert_eq!(most, ["http2.connections_max: must be at most 10000000"]);
    let found = problems(sources("[http2]\nconnections_max = 0\nstreams_per_connection_max = 0"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("http2.connections_max") && found[1].contains("between 1 and"), "{found:?}");
}
