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

#[test]
fn a_list_is_no_object_wherever_it_stands() {
    NODE.with(|node| {
        for (method, body) in [
            (Method::Publish, r#" ["a",1]"#),
            (Method::Info, "[]"),
            (Method::Info, "1"),
            (Method::Batch, r#"[[{"info":{}}]]"#),
            (Method::Batch, r#"{"commands":[["publish",{}]]}"#),
            (Method::History, r#"{"channel":"a","since":[5,"e"]}"#),
            (Method::Disconnect, r#"{"user":"u","disconnect":[3000,"r"]}"#),
            (Method::Subscribe, r#"{"user":"u","channel":"a","recover_since":[5,"e"]}"#),
            (Method::Subscribe, r#"{"user":"u","channel":"a","override":[]}"#),
            (Method::Subscribe, r#"{"user":"u","channel":"a","override":{"presence":[true]}}"#),
        ] {
            let (status, answer) = node.call(method, body.as_bytes());
            assert!(status == 400 && answer["error"]["code"] == 107, "{body}: {answer}");
            if method != Method::Batch && body != "1" {
                let command = format!("{{\"commands\":[{{\"{}\":{body}}}]}}", method.name());
                let (_, answer) = node.call(Method::Batch, command.as_bytes());
                assert_eq!(answer["replies"][0]["error"]["code"], 107, "{command}: {answer}");
            }
        }
        for body in [r#"{"channel":"a","since":null}"#, r#"{"channel":"a","since":{"offset":0,"epoch":null}}"#] {
            assert_eq!(
                node.call(Method::History, body.as_bytes()).1["error"]["code"],
                108,
                "{body}: read, none is kept"
            );
        }
        let body = r#"{"user":"u","channel":"a","override":{"presence":{"value":true,"more":1},"join_leave":null}}"#;
        assert_eq!(node.call(Method::Subscribe, body.as_bytes()).1["error"]["code"], 108, "read, no control log");
        for body in ["", " ", "{}", r#"{"any":1}"#] {
            assert!(node.call(Method::Info, body.as_bytes()).1["result"]["nodes"].is_array(), "{body:?}");
        }
    });
}

#[test]
fn a_command_of_a_batch_is_one_method_once() {
    NODE.with(|node| {
        let reply = |command: &str| {
            let (_, answer) = node.call(Method::Batch, format!("{{\"commands\":[{command}]}}").as_bytes());
            answer["replies"][0].clone()
        };
        for (command, why) in [
            (
                r#"{"publish":{"channel":"one","data":1},"history":{"channel":"one"}}"#,
                "a command has the methods publish, history: send one command for each",
            ),
            (
                r#"{"publish":{"channel":"one","data":1},"batch":{}}"#,
                "a command has the methods publish, batch: send one command for each",
            ),
            (
                r#"{"publish":{"channel":"one","data":1},"publish":{"channel":"one","data":2}}"#,
                "publish stands twice in a command: send it once",
            ),
        ] {
            assert_eq!(reply(command)["error"]["message"], why, "{command}");
        }
        for command in [r#"{}"#, r#"{"publish":null}"#, r#"{"batch":{}}"#, r#"{"rpc":{}}"#] {
            let message = reply(command)["error"]["message"].as_str().unwrap().to_owned();
            assert!(
                message.starts_with("a command is an object with one of the keys publish, "),
                "{command}: {message}"
            );
        }
        let reply = reply(r#"{"id":1,"history":null,"publish":{"channel":"one","data":1}}"#);
        assert_eq!(reply["publish"]["offset"], 1, "nothing was published before: {reply}");
    });
}
