//! No body makes the API panic, and what is no request is told as such.

use std::sync::Arc;

use proptest::prelude::*;
use tidegate_api::{Access, Api, ErrorMode, Keys, Method};
use tidegate_broker::{BrokerFactory as _, BrokerUrl, BuildContext};
use tidegate_broker_memory::FACTORY;
use tidegate_core::Hub;
use tidegate_core::config::{CoreOptions, NamespaceOptions};

struct Node {
    runtime: tokio::runtime::Runtime,
    api: Api,
}

impl Node {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = BrokerUrl::parse("memory:").unwrap();
        let broker = runtime.block_on(FACTORY.build(&url, BuildContext::default())).unwrap();
        let options = CoreOptions { default_namespace: Some(NamespaceOptions::default()), ..CoreOptions::default() };
        let hub: Arc<Hub> = {
            let _inside = runtime.enter();
            Hub::new(options, broker, &FACTORY.default_log(&url), Vec::new(), runtime.handle().clone())
        };
        runtime.block_on(hub.open()).unwrap();
        Self { runtime, api: Api::new(hub, Keys::insecure()) }
    }

    fn call(&self, method: Method, body: &[u8]) -> (u16, serde_json::Value) {
        let answer = self.runtime.block_on(self.api.call(method, body, ErrorMode::Body, &Access::full()));
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }
}

thread_local! {
    static NODE: Node = Node::new();
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer_that_is_json(at in 0..Method::ALL.len(), body in prop::collection::vec(any::<u8>(), 0..100)) {
        let (status, _) = NODE.with(|node| node.call(Method::ALL[at], &body));
        prop_assert!(matches!(status, 200 | 400));
    }

    #[test]
    fn any_strings_get_an_answer_that_is_json(channel in any::<String>(), key in any::<String>(), tag in any::<String>()) {
        let request = serde_json::json!({
            "channel": channel, "data": tag, "idempotency_key": key, "tags": { tag.clone(): key },
        });
        let (status, answer) = NODE.with(|node| node.call(Method::Publish, request.to_string().as_bytes()));
        prop_assert_eq!(status, 200);
        prop_assert!(answer["result"]["offset"].is_u64() || answer["error"]["code"] == 107 || answer["error"]["code"] == 102);
    }
}

#[test]
fn wrong_types_are_named() {
    NODE.with(|node| {
        for body in
            [r#"{"channel":1}"#, r#"{"channel":"a","tags":[]}"#, r#"{"channel":"a","version":-1}"#, "[]", "", "{"]
        {
            let (status, answer) = node.call(Method::Publish, body.as_bytes());
            let message = answer["error"]["message"].as_str().unwrap();
            assert!(status == 400 && message.starts_with("the body is no publish request: "), "{body}: {message}");
        }
    });
}
