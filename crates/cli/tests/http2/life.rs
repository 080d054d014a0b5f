//! How a node leaves.

use serde_json::Value;

use crate::rig::{Connection, Node};

#[tokio::test]
async fn who_is_told_to_leave_sees_a_disconnect_the_end_of_its_streams_and_a_goaway() {
    for is_tls in [false, true] {
        let mut node = Node::start(is_tls, "");
        let mut connection = Connection::open(&node).await;
        let mut streams = [connection.listen("a").await, connection.listen("b").await];
        let idle = Connection::open(&node).await;
        let begun = std::time::Instant::now();
        node.terminate();
        for stream in &mut streams {
            let last: Value = stream.message().await;
            assert_eq!(last["disconnect"]["code"], 3001, "{last}");
            assert_eq!(stream.rest().await.unwrap().trim(), "");
        }
        connection.ended().await.expect("it ended without an error");
        idle.ended().await.expect("it ended without an error");
        assert_eq!(node.ended().await, Some(0));
        assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_reader_who_takes_nothing_does_not_keep_the_node() {
    let mut node = Node::start(false, "[node.drain]\ntimeout = \"1s\"\n");
    let mut connection = Connection::wide(&node).await;
    let stream = connection.listen("news").await;
    node.publish("news", 0..3_000, 100).await;
    let begun = std::time::Instant::now();
    node.terminate();
    assert_eq!(node.ended().await, Some(0));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    drop(stream);
}
