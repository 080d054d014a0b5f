//! What a backend reads is what the namespace keeps, whatever clients may have at once.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_api::{Access, Api, ErrorMode, Keys, Method};
use tidegate_broker::{BrokerFactory as _, BrokerUrl, BuildContext};
use tidegate_broker_memory::FACTORY;
use tidegate_core::Hub;
use tidegate_core::config::{CoreOptions, NamespaceOptions};

#[tokio::test]
async fn a_backend_may_have_all_that_is_kept() {
    let url = BrokerUrl::parse("memory:").unwrap();
    let broker = FACTORY.build(&url, BuildContext::default()).await.unwrap();
    let (history_size, history_ttl) = (400, Duration::from_secs(600));
    let namespace = NamespaceOptions { history_size, history_ttl, ..Default::default() };
    let options = CoreOptions { default_namespace: Some(namespace), ..Default::default() };
    let client_max = options.client.history_publications_max;
    let runtime = tokio::runtime::Handle::current();
    let hub = Hub::new(options, broker, &FACTORY.default_log(&url), Vec::new(), runtime);
    hub.open().await.unwrap();
    let api = Api::new(hub, Keys::insecure());
    let call = async |method, body: Value| -> Value {
        let answer = api.call(method, body.to_string().as_bytes(), ErrorMode::Body, &Access::full()).await;
        serde_json::from_slice(&answer.body).unwrap()
    };
    for n in 0..450 {
        let answer = call(Method::Publish, json!({"channel": "job", "data": n})).await;
        assert_eq!(answer["result"]["offset"], n + 1);
    }
    for (limit, count) in [(350, 350), (1000, 400), (-1, 400), (5, 5), (0, 0)] {
        let answer = call(Method::History, json!({"channel": "job", "limit": limit})).await;
        assert_eq!(answer["result"]["publications"].as_array().unwrap().len(), count, "limit {limit}");
    }
    assert!(client_max < 350, "a client gets fewer at once");
}
