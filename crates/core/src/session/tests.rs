//! The session as a client would try it.

use super::*;
use crate::config::{CoreOptions, PersonalChannel, TokenOptions};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tidegate_protocol::Subscribe;

const NOW_MS: i64 = 1_000_000;

struct Rig {
    options: ClientOptions,
    verifier: Verifier,
    namespaces: Namespaces,
}

impl Rig {
    fn new() -> Self {
        let token = TokenOptions { hmac_secret: Some(b"s".to_vec()), ..Default::default() };
        let options = ClientOptions { allow_anonymous: true, ..Default::default() };
        let core = CoreOptions {
            default_namespace: Some(open_namespace()),
            namespaces: vec![("closed".into(), NamespaceOptions::default())],
            ..Default::default()
        };
        Self { options, verifier: Verifier::new(&token), namespaces: Namespaces::new(&core, &"log".into()) }
    }

    fn policy(&self) -> Policy<'_> {
        Policy {
            options: &self.options,
            verifier: &self.verifier,
            namespaces: &self.namespaces,
            rules: None,
            version: "test",
            now_ms: NOW_MS,
        }
    }

    fn open(&self, claims: Option<Value>) -> Session {
        let mut session = Session::default();
        let token = claims.map(|c| sign(&c)).unwrap_or_default();
        session.connect(&self.policy(), ClientId(7), &Connect { token, ..Default::default() }).unwrap();
        session
    }
}

fn sign(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(b"s")).unwrap()
}

fn open_namespace() -> NamespaceOptions {
    NamespaceOptions {
        allow_subscribe_for_client: true,
        allow_recovery: true,
        history_size: 10,
        history_ttl: std::time::Duration::from_secs(60),
        ..Default::default()
    }
}

fn subscribe(channel: &str, token: Option<Value>) -> (ChannelName, Subscribe) {
    let token = token.map(|c| sign(&c)).unwrap_or_default();
    (
        ChannelName::parse(channel).unwrap(),
        Subscribe { channel: channel.into(), token, recoverable: true, ..Default::default() },
    )
}

#[test]
fn connect_names_the_user_once() {
    let rig = Rig::new();
    let mut session = Session::default();
    assert_eq!(session.check_open(), Err(Refusal::Close(Disconnect::BAD_REQUEST)));
    let request = Connect { token: sign(&json!({"sub": "u1", "exp": 1060})), ..Default::default() };
    let (result, subscriptions) = session.connect(&rig.policy(), ClientId(1), &request).unwrap();
    assert_eq!(subscriptions, []);
    assert_eq!((result.ttl_seconds, result.ping_seconds, result.pong), (Some(60), 25, true));
    assert_eq!(session.user(), "u1");
    assert_eq!(session.close_at_ms(&rig.options), Some(1_060_000 + 25_000));
    assert_eq!(session.connect(&rig.policy(), ClientId(1), &request), Err(Disconnect::BAD_REQUEST.into()));
}

#[test]
fn bad_credentials_close_and_expired_ones_can_be_renewed() {
    let mut rig = Rig::new();
    rig.options.allow_anonymous = false;
    let connect = |token: String| {
        Session::default().connect(&rig.policy(), ClientId(1), &Connect { token, ..Default::default() })
    };
    assert_eq!(connect(String::new()), Err(Disconnect::BAD_REQUEST.into()));
    assert_eq!(connect("nonsense".into()), Err(Disconnect::INVALID_TOKEN.into()));
    for claims in [json!({"sub": "u", "exp": 999}), json!({"sub": "u", "nbf": 1001})] {
        assert_eq!(connect(sign(&claims)), Err(ErrorCode::TOKEN_EXPIRED.into()), "{claims}");
    }
}

#[test]
fn anonymous_clients_need_both_doors_open() {
    let rig = Rig::new();
    let (channel, request) = subscribe("news", None);
    let mut settings = open_namespace();
    let anonymous = rig.open(None);
    let known = rig.open(Some(json!({"sub": "u1"})));
    let denied = Err(Refusal::Error(ErrorCode::PERMISSION_DENIED));
    assert_eq!(anonymous.may_subscribe(&rig.policy(), &settings, &channel, &request).map(|_| ()), denied);
    assert!(known.may_subscribe(&rig.policy(), &settings, &channel, &request).unwrap().recoverable);
    settings.allow_subscribe_for_anonymous = true;
    assert!(anonymous.may_subscribe(&rig.policy(), &settings, &channel, &request).is_ok());
    let (private, request) = subscribe("$news", None);
    assert_eq!(known.may_subscribe(&rig.policy(), &settings, &private, &request).map(|_| ()), denied);
}

#[test]
fn a_subscription_token_fits_its_channel_and_user_only() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let settings = NamespaceOptions::default();
    let check = |claims: Value, expected: Result<(), Refusal>| {
        let (channel, request) = subscribe("$news", Some(claims));
        assert_eq!(session.may_subscribe(&rig.policy(), &settings, &channel, &request).map(|_| ()), expected);
    };
    check(json!({"sub": "u1", "channel": "$news"}), Ok(()));
    check(json!({"sub": "u1", "channel": "$news", "exp": 1}), Err(ErrorCode::TOKEN_EXPIRED.into()));
    check(json!({"sub": "u1", "channel": "other"}), Err(Disconnect::INVALID_TOKEN.into()));
    check(json!({"sub": "u2", "channel": "$news"}), Err(Disconnect::INVALID_TOKEN.into()));
    check(json!({"sub": "u1"}), Err(ErrorCode::PERMISSION_DENIED.into()));
}

#[test]
fn a_subscription_is_refreshed_by_a_token_for_it() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let refresh = |token: &str| session.sub_refresh(&rig.policy(), "$news", token).map(|grant| grant.ttl_seconds);
    let with = |claims: Value| refresh(&sign(&claims));
    assert_eq!(with(json!({"sub": "u1", "channel": "$news", "exp": 1060})), Ok(Some(60)));
    assert_eq!(with(json!({"sub": "u1", "channel": "$news", "exp": 1})), Err(ErrorCode::TOKEN_EXPIRED.into()));
    assert_eq!(with(json!({"sub": "u2", "channel": "$news"})), Err(Disconnect::INVALID_TOKEN.into()));
    assert_eq!(with(json!({"sub": "u1"})), Err(Disconnect::INVALID_TOKEN.into()));
    assert_eq!(refresh("nonsense"), Err(Disconnect::INVALID_TOKEN.into()));
    assert_eq!(refresh(""), Err(ErrorCode::BAD_REQUEST.into()));
}

#[test]
fn capabilities_open_what_the_namespace_keeps_closed() {
    let rig = Rig::new();
    let caps = json!([{"channels": ["$room:*"], "match": "wildcard", "allow": ["sub", "pub"]}]);
    let mut session = rig.open(Some(json!({"sub": "u1", "caps": caps})));
    let settings =
        NamespaceOptions { history_size: 5, history_ttl: std::time::Duration::from_secs(5), ..Default::default() };
    let denied = Err(Refusal::Error(ErrorCode::PERMISSION_DENIED));
    let (inside, request) = subscribe("$room:1", None);
    let (outside, other) = subscribe("$hall:1", None);
    assert!(session.may_subscribe(&rig.policy(), &settings, &inside, &request).is_ok());
    assert_eq!(session.may_subscribe(&rig.policy(), &settings, &outside, &other).map(|_| ()), denied);
    assert_eq!(session.may_publish(&settings, &inside, false), Ok(()));
    assert_eq!(session.may_publish(&settings, &outside, false), denied);
    assert_eq!(session.may_read_history(&settings, &inside, true), denied);
    // A newer token takes them away again.
    session.refresh(&rig.policy(), &sign(&json!({"sub": "u1"}))).unwrap();
    assert_eq!(session.may_publish(&settings, &inside, false), denied);
}

#[test]
fn a_connection_is_refreshed_by_a_token_of_its_user() {
    let rig = Rig::new();
    let mut session = rig.open(Some(json!({"sub": "u1", "exp": 1060})));
    let mut refresh = |token: &str| session.refresh(&rig.policy(), token).map(|(_, ttl)| ttl);
    assert_eq!(refresh(&sign(&json!({"sub": "u1", "exp": 1120}))), Ok(Some(120)));
    assert_eq!(refresh(""), Err(Disconnect::BAD_REQUEST.into()));
    assert_eq!(refresh("nonsense"), Err(Disconnect::INVALID_TOKEN.into()));
    assert_eq!(refresh(&sign(&json!({"sub": "u2"}))), Err(Disconnect::INVALID_TOKEN.into()));
    for claims in [json!({"sub": "u1", "exp": 999}), json!({"sub": "u1", "nbf": 1001})] {
        assert_eq!(refresh(&sign(&claims)), Err(Disconnect::EXPIRED.into()), "{claims}");
    }
    assert_eq!(session.close_at_ms(&rig.options), Some(1_120_000 + 25_000));
}

#[test]
fn a_subscription_token_overrides_the_namespace() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let grant = |settings: &NamespaceOptions, overrides: Value| {
        let claims = json!({"sub": "u1", "channel": "news", "override": overrides});
        let (channel, mut request) = subscribe("news", Some(claims));
        request.recoverable = false;
        let grant = session.may_subscribe(&rig.policy(), settings, &channel, &request).unwrap();
        (grant.recoverable, grant.positioned)
    };
    let forced = NamespaceOptions { force_recovery: true, ..open_namespace() };
    assert_eq!(grant(&open_namespace(), json!({})), (false, false));
    assert_eq!(grant(&open_namespace(), json!({"force_recovery": {"value": true}})), (true, true));
    assert_eq!(grant(&open_namespace(), json!({"force_positioning": {"value": true}})), (false, true));
    assert_eq!(grant(&forced, json!({"force_recovery": {"value": false}})), (false, false));
}

#[test]
fn a_subscription_token_says_who_is_present_and_who_is_told() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let grant = |on: bool, overrides: Value| {
        let settings = NamespaceOptions { presence: on, join_leave: on, force_push_join_leave: on, ..open_namespace() };
        let overrides = overrides.as_object().unwrap().iter();
        let overrides: serde_json::Map<_, _> = overrides.map(|(k, v)| (k.clone(), json!({ "value": v }))).collect();
        let claims = json!({"sub": "u1", "channel": "news", "override": overrides});
        let (channel, request) = subscribe("news", Some(claims));
        let grant = session.may_subscribe(&rig.policy(), &settings, &channel, &request).unwrap();
        (grant.present, grant.join_leave)
    };
    assert_eq!((grant(false, json!({})), grant(true, json!({}))), ((false, false), (true, true)));
    assert_eq!(grant(false, json!({"presence": true})), (true, false));
    assert_eq!(grant(true, json!({"presence": false})), (false, true));
    assert_eq!(grant(true, json!({"join_leave": false})), (true, false));
    assert_eq!(grant(true, json!({"force_push_join_leave": false})), (true, false), "it has not asked");
    assert_eq!(grant(false, json!({"force_push_join_leave": true})), (false, false), "nobody is told there");
    assert_eq!(grant(false, json!({"join_leave": true, "force_push_join_leave": true})), (false, true));
}

#[test]
fn info_of_a_token_is_json_whatever_it_was() {
    let rig = Rig::new();
    let info = |claims: Value| rig.open(Some(claims)).info().conn_info;
    assert_eq!(info(json!({"info": {"a": 1}})), "{\"a\":1}");
    assert_eq!(info(json!({"b64info": "aGk="})), "\"hi\"");
    assert_eq!(info(json!({"sub": "u1"})), "");
}

#[test]
fn a_key_that_is_not_here_yet_decides_nothing() {
    use tidegate_auth::{Endpoint, JwksOptions, Keeping};
    let mut rig = Rig::new();
    let endpoint = Endpoint::parse("https://id.example/keys").unwrap();
    let jwks = vec![JwksOptions { endpoint, issuer: None, ca_file: None, keeping: Keeping::default() }];
    rig.verifier = Verifier::new(&TokenOptions { jwks, ..Default::default() });
    let mut session = Session::default();
    // {"alg":"EdDSA"} . {} . a signature
    let request = Connect { token: "eyJhbGciOiJFZERTQSJ9.e30.AA".into(), ..Default::default() };
    for _ in 0..2 {
        let result = session.connect(&rig.policy(), ClientId(1), &request);
        assert!(matches!(result, Err(Refusal::Later(_))), "{result:?}");
        assert!(!session.is_open());
    }
}

/// What the server subscribes a session to, by what its token and its request say.
fn server_side(rig: &Rig, claims: &Value, wishes: Vec<Subscribe>) -> Result<Vec<(String, Grant)>, Refusal> {
    let request = Connect { token: sign(claims), subscriptions: wishes, ..Default::default() };
    let (_, subscriptions) = Session::default().connect(&rig.policy(), ClientId(1), &request)?;
    Ok(subscriptions.into_iter().map(|s| (s.channel.to_string(), s.grant)).collect())
}

fn names(subscriptions: Result<Vec<(String, Grant)>, Refusal>) -> Vec<String> {
    subscriptions.unwrap().into_iter().map(|(name, _)| name).collect()
}

fn wish(channel: &str) -> Subscribe {
    Subscribe { channel: channel.into(), recoverable: true, ..Default::default() }
}

#[test]
fn a_token_a_request_and_a_user_bring_subscriptions() {
    let mut rig = Rig::new();
    let claims = json!({"sub": "u1", "channels": ["closed:a", "$b"], "subs": {"c": {"data": {"x": 1}}}});
    let found = server_side(&rig, &claims, vec![wish("news"), wish("closed:no"), wish("$no"), wish("c")]);
    let found = found.unwrap();
    let channels: Vec<_> = found.iter().map(|(name, grant)| (name.as_str(), grant.recoverable)).collect();
    // What the token names needs no other permission; what the request names and may not have is left out.
    assert_eq!(channels, [("$b", false), ("c", true), ("closed:a", false), ("news", true)]);
    assert_eq!(found[1].1.data, r#"{"x":1}"#);
    rig.options.personal_channel = Some(PersonalChannel::default());
    assert_eq!(names(server_side(&rig, &json!({"sub": "u1"}), vec![])), ["#u1"]);
    assert_eq!(names(server_side(&rig, &json!({}), vec![])), [""; 0], "nobody's channel");
    rig.options.personal_channel = Some(PersonalChannel { namespace: Some("closed".into()), single_connection: false });
    assert_eq!(names(server_side(&rig, &json!({"sub": "u1"}), vec![])), ["closed:#u1"]);
}

#[test]
fn subscriptions_of_a_connect_that_cannot_be_close_it() {
    let mut rig = Rig::new();
    let unknown = json!({"sub": "u", "channels": ["other:a"]});
    assert_eq!(server_side(&rig, &unknown, vec![]), Err(Disconnect::BAD_REQUEST.into()));
    assert_eq!(server_side(&rig, &json!({}), vec![wish("other:a")]), Err(Disconnect::BAD_REQUEST.into()));
    assert_eq!(server_side(&rig, &json!({}), vec![wish("")]), Err(Disconnect::BAD_REQUEST.into()));
    rig.options.channel_limit = 1;
    let two = json!({"sub": "u", "channels": ["a", "b"]});
    assert_eq!(server_side(&rig, &two, vec![]), Err(Disconnect::CHANNEL_LIMIT.into()));
}

#[test]
fn a_client_goes_on_where_its_transport_says() {
    let rig = Rig::new();
    let mut id = String::new();
    tidegate_protocol::Positions::write([("a", 7, "e"), ("b", 3, "e")].into_iter(), &mut id);
    let resume = tidegate_protocol::Positions::parse(&id);
    let token = sign(&json!({"sub": "u", "channels": ["a"]}));
    let request = Connect { token, subscriptions: vec![wish("b"), wish("c")], resume, ..Default::default() };
    let (_, found) = Session::default().connect(&rig.policy(), ClientId(1), &request).unwrap();
    let since: Vec<_> = found.iter().map(|s| s.grant.since.as_ref().map(|s| s.offset)).collect();
    assert_eq!(since, [Some(7), Some(3), None]);
}

#[test]
fn a_channel_may_be_for_the_users_in_its_name() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let mut settings = open_namespace();
    let may = |settings: &NamespaceOptions, session: &Session, name: &str| {
        let (channel, request) = subscribe(name, None);
        session.may_subscribe(&rig.policy(), settings, &channel, &request).is_ok()
    };
    assert!(may(&settings, &session, "dialog#u2"), "a name like others");
    settings.allow_user_limited_channels = true;
    assert!(may(&settings, &session, "dialog#u1,u2"));
    assert!(!may(&settings, &session, "dialog#u2,u11") && !may(&settings, &session, "$dialog#u1"));
    assert!(!may(&settings, &rig.open(None), "dialog#"), "who has no name is nobody");
    settings.allow_subscribe_for_client = false;
    assert!(may(&settings, &session, "dialog#u1"));
}

#[test]
fn recovery_needs_history() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let (channel, mut request) = subscribe("news", None);
    request.recover = Some(Since::default());
    let settings = NamespaceOptions { history_size: 0, ..open_namespace() };
    let grant = session.may_subscribe(&rig.policy(), &settings, &channel, &request).unwrap();
    assert!(!grant.recoverable && grant.since.is_none());
}

#[test]
fn who_may_read_history_may_recover_and_have_positions() {
    let rig = Rig::new();
    let caps = json!([{"channels": ["news"], "allow": ["hst"]}]);
    let (plain, reader, nobody) =
        (rig.open(Some(json!({"sub": "u1"}))), rig.open(Some(json!({"sub": "u1", "caps": caps}))), rig.open(None));
    let closed = NamespaceOptions { allow_recovery: false, allow_subscribe_for_anonymous: true, ..open_namespace() };
    let subscribers = NamespaceOptions { allow_history_for_subscriber: true, ..closed.clone() };
    let clients = NamespaceOptions { allow_history_for_client: true, ..closed.clone() };
    let anybody = NamespaceOptions { allow_history_for_anonymous: true, ..subscribers.clone() };
    let kept_nowhere = NamespaceOptions { history_size: 0, ..subscribers.clone() };
    let granted = |session: &Session, settings: &NamespaceOptions| {
        let (channel, wish) = subscribe("news", None);
        let wish = Subscribe { recover: Some(Since::default()), ..wish };
        let recovery = session.may_subscribe(&rig.policy(), settings, &channel, &wish).unwrap();
        assert_eq!(recovery.since.is_some(), recovery.recoverable);
        let wish = Subscribe { positioned: true, recoverable: false, ..wish };
        let positions = session.may_subscribe(&rig.policy(), settings, &channel, &wish).unwrap();
        (recovery.recoverable, positions.positioned)
    };
    assert_eq!(granted(&plain, &closed), (false, false));
    assert_eq!(granted(&plain, &subscribers), (true, true));
    assert_eq!(granted(&plain, &clients), (true, true));
    assert_eq!(granted(&reader, &closed), (true, true), "its token says so");
    assert_eq!(granted(&nobody, &subscribers), (false, false));
    assert_eq!(granted(&nobody, &anybody), (true, true));
    assert_eq!(granted(&plain, &kept_nowhere), (false, false));
    let (channel, wish) = subscribe("news", None);
    let unasked = Subscribe { recoverable: false, ..wish };
    let grant = plain.may_subscribe(&rig.policy(), &subscribers, &channel, &unasked).unwrap();
    assert!(!grant.recoverable && !grant.positioned, "nobody asked");
}

#[test]
fn pongs_come_only_when_asked_for() {
    let mut session = Rig::new().open(None);
    assert!(session.ponged().is_err());
    session.pinged();
    assert!(session.awaits_pong());
    assert_eq!(session.ponged(), Ok(()));
    assert!(!session.awaits_pong());
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
}

#[test]
fn who_shows_more_than_a_record_holds_is_refused_where_it_would_be_present() {
    let rig = Rig::new();
    let session = rig.open(Some(json!({"sub": "u1"})));
    let claims = json!({"sub": "u1", "channel": "news", "info": "\"".repeat(300_000)});
    let (channel, request) = subscribe("news", Some(claims));
    let mut settings = open_namespace();
    assert!(session.may_subscribe(&rig.policy(), &settings, &channel, &request).is_ok());
    settings.presence = true;
    let refused = session.may_subscribe(&rig.policy(), &settings, &channel, &request).map(|_| ());
    assert_eq!(refused, Err(ErrorCode::BAD_REQUEST.into()));
}
