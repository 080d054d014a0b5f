//! Subscriptions that begin while other things do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_core::{Drained, Hub, PublishOptions, ReplyTo, ShardEvent, Start, Ticket};

use crate::rig::{Node, name, shared, until};

fn reply_to(connection: u32) -> ReplyTo {
    ReplyTo { shard: 0, ticket: Ticket { connection, generation: 0, command: 1 } }
}

async fn publish(hub: Arc<Hub>) {
    hub.publish(&name("job"), "1".into(), PublishOptions::default()).await.unwrap();
}

#[test]
fn what_comes_while_the_tail_begins_is_before_a_subscription_or_delivered_to_it() {
    let broker = shared();
    let node = Node::start("one", &broker);
    for _ in 0..10 {
        node.wait(publish(node.hub.clone()));
    }
    assert!(node.hub.partitions().iter().all(|partition| !partition.warm));
    // Between the question where the channel stands and the look at the window something is published, and another
    // subscriber has the tail begin behind it.
    let hub = node.hub.clone();
    broker.after_next_top(move || {
        let published = std::thread::spawn({
            let hub = hub.clone();
            move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(publish(hub))
        });
        published.join().unwrap();
        let channel = hub.channel(&name("job")).unwrap();
        hub.listen(&channel, 0, 1, 1);
        hub.subscribe(&channel, None, reply_to(1));
        until("warm", || hub.partitions().iter().any(|partition| partition.warm));
    });
    let channel = node.hub.channel(&name("job")).unwrap();
    node.hub.listen(&channel, 0, 2, 2);
    let (mut start, mut delivered) = (node.hub.subscribe(&channel, None, reply_to(2)), Vec::new());
    node.wait(publish(node.hub.clone()));
    let begun = Instant::now();
    let mut drained = Drained::default();
    let position = loop {
        assert!(begun.elapsed() < Duration::from_secs(20), "{start:?}, {delivered:?}");
        node.inbox.drain(&mut drained);
        delivered.extend(drained.deliveries.iter().filter(|d| d.slot == 2).map(|d| d.publication.offset.0));
        start = start.or_else(|| drained.events.drain(..).find_map(started));
        let position = start.as_ref().map(|start| start.position.offset.0);
        if let Some(position) = position.filter(|position| delivered.last().unwrap_or(position).max(position) == &12) {
            break position;
        }
    };
    delivered.retain(|offset| *offset > position);
    assert_eq!(delivered, (position + 1..=12).collect::<Vec<_>>());
}

/// Where the second subscriber begins.
fn started(event: ShardEvent) -> Option<Start> {
    match event {
        ShardEvent::Started { ticket, result } if ticket.connection == 2 => Some(result.unwrap()),
        _ => None,
    }
}
