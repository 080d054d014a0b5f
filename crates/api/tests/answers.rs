//! What backends are answered by a node on the memory broker.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_api::{Access, Api, ErrorMode, Keys, Method};
use tidegate_auth::Overrides;
use tidegate_broker::{BrokerFactory as _, BrokerUrl, BuildContext};
use tidegate_broker_memory::FACTORY;
use tidegate_core::config::{ControlOptions, CoreOptions, NamespaceOptions};
use tidegate_core::{Action, Drained, Hub, Inbox, Order, OrderedSubscription, ShardEvent};

/// A node that keeps 400 publications of a channel, with a shard that nobody plays.
struct Node {
    hub: Arc<Hub>,
    api: Api,
    inbox: Arc<Inbox>,
}

impl Node {
    async fn start() -> Self {
        let url = BrokerUrl::parse("memory:").unwrap();
        let broker = FACTORY.build(&url, BuildContext::default()).await.unwrap();
        let (history_size, history_ttl) = (400, Duration::from_secs(600));
        let namespace = NamespaceOptions { history_size, history_ttl, ..Default::default() };
        let control = Some(ControlOptions::default());
        let options = CoreOptions { default_namespace: Some(namespace), control, ..Default::default() };
        let runtime = tokio::runtime::Handle::current();
        let inbox = Arc::new(Inbox::new(1_000, || {}));
        let shards = vec![(inbox.clone(), Arc::default())];
        let hub = Hub::new(options, broker, &FACTORY.default_log(&url), shards, runtime);
        hub.open().await.unwrap();
        Self { api: Api::new(hub.clone(), Keys::insecure()), hub, inbox }
    }

    /// The order that the shard was given since the last call.
    fn ordered(&self) -> Order {
        let mut drained = Drained::default();
        self.inbox.drain(&mut drained);
        let order = |event| if let ShardEvent::Order(order) = event { Some(Order::clone(&order)) } else { None };
        drained.events.into_iter().find_map(order).expect("an order")
    }

    async fn call(&self, method: Method, body: Value) -> Value {
        let answer = self.api.call(method, body.to_string().as_bytes(), ErrorMode::Body, &Access::full()).await;
        serde_json::from_slice(&answer.body).unwrap()
    }
}

#[tokio::test]
async fn a_backend_may_have_all_that_is_kept() {
    let node = Node::start().await;
    for n in 0..450 {
        let answer = node.call(Method::Publish, json!({"channel": "job", "data": n})).await;
        assert_eq!(answer["result"]["offset"], n + 1);
    }
    for (limit, count) in [(350, 350), (1000, 400), (-1, 400), (5, 5), (0, 0)] {
        let answer = node.call(Method::History, json!({"channel": "job", "limit": limit})).await;
        assert_eq!(answer["result"]["publications"].as_array().unwrap().len(), count, "limit {limit}");
    }
    let client_max = CoreOptions::default().client.history_publications_max;
    assert!(client_max < 350, "a client gets fewer at once");
}

#[tokio::test]
async fn a_batch_of_too_many_commands_carries_none_out() {
    let node = Node::start().await;
    let publish = json!({"publish": {"channel": "job", "data": 1}});
    let body = json!({ "commands": vec![publish.clone(); 1_025] });
    let answer = node.call(Method::Batch, body.clone()).await;
    assert_eq!(answer["error"]["code"], 106, "{answer}");
    let body = body.to_string();
    let answer = node.api.call(Method::Batch, body.as_bytes(), ErrorMode::Transport, &Access::full()).await;
    assert_eq!(answer.status, 413);
    let answer = node.call(Method::Batch, json!({ "commands": vec![publish; 1_024] })).await;
    let replies = answer["replies"].as_array().unwrap();
    assert_eq!((replies.len(), &replies[0]["publish"]["offset"]), (1_024, &json!(1)));
}

#[tokio::test]
async fn a_batch_ends_where_its_replies_are_too_long() {
    let node = Node::start().await;
    let data = "x".repeat(1 << 20);
    for _ in 0..5 {
        node.call(Method::Publish, json!({"channel": "job", "data": data})).await;
    }
    let history = json!({"history": {"channel": "job", "limit": -1}});
    for parallel in [false, true] {
        let commands = vec![history.clone(); 20];
        let answer = node.call(Method::Batch, json!({ "commands": commands, "parallel": parallel })).await;
        let replies = answer["replies"].as_array().unwrap();
        for (at, reply) in replies.iter().enumerate() {
            assert_eq!(reply["error"]["code"] == 106, at >= 13, "{at} of {}, parallel {parallel}", replies.len());
        }
        assert_eq!(replies.len(), 20);
    }
}

#[tokio::test]
async fn info_counts_each_user_once() {
    let node = Node::start().await;
    for user in ["u1", "u1", "u2", "", ""] {
        node.hub.users().come(user);
    }
    let answer = node.call(Method::Info, json!({})).await;
    let nodes = answer["result"]["nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &nodes[0]["num_users"]), (1, &json!(3)));
}

#[tokio::test]
async fn a_refresh_takes_any_info() {
    let node = Node::start().await;
    for info in [json!({"name": "Ann"}), json!(null), json!("text")] {
        let answer = node.call(Method::Refresh, json!({"user": "u", "info": info})).await;
        assert_eq!(answer, json!({"result": {}}));
    }
    let answer = node.call(Method::Refresh, json!({"info": {}})).await;
    assert_eq!(answer["error"]["code"], 107, "nobody is named");
}

#[tokio::test]
async fn a_subscription_is_ordered_with_all_that_is_said_of_it() {
    let node = Node::start().await;
    let subscribe = json!({
        "user": "u", "channel": "job", "info": {"a": 1}, "data": [2], "expire_at": 4_000_000_000_u64,
        "recover_since": {"offset": 7, "epoch": "e"},
        "override": {
            "presence": {"value": true}, "join_leave": {"value": false}, "force_push_join_leave": {"value": true},
            "force_recovery": {"value": false}, "force_positioning": {"value": true},
        },
    });
    assert_eq!(node.call(Method::Subscribe, subscribe).await, json!({"result": {}}));
    let overrides = Overrides {
        presence: Some(true),
        join_leave: Some(false),
        force_push_join_leave: Some(true),
        force_recovery: Some(false),
        force_positioning: Some(true),
    };
    let subscription = OrderedSubscription {
        channel: "job".into(),
        info: r#"{"a":1}"#.into(),
        data: "[2]".into(),
        since: Some((7, "e".into())),
        expire_at: Some(4_000_000_000),
        overrides,
    };
    let order = node.ordered();
    assert_eq!((&*order.user, order.action), ("u", Action::Subscribe(Box::new(subscription))));
    node.call(Method::Subscribe, json!({"session": "s", "channel": "job", "expire_at": 0})).await;
    let plain = OrderedSubscription { channel: "job".into(), ..Default::default() };
    let order = node.ordered();
    assert_eq!((&*order.session, order.action), ("s", Action::Subscribe(Box::new(plain))));
}
