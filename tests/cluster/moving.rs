//! A user who moves between nodes while a backend subscribes it to channels.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tidegate_testkit::node::Node;

use crate::Cluster;
use tidegate_tests::client::{ANSWER_MAX, Client, call, token};

const CONFIG: &str = r#"
[client.token]
hmac_secret_key = "secret"
[namespaces.room]
"#;

/// Between two orders.
const PAUSE: Duration = Duration::from_millis(10);

/// Sessions of a user that come and go, on another node each time.
struct Mover<'t> {
    ports: [u16; 2],
    token: &'t str,
    lives: usize,
}

impl Mover<'_> {
    /// Lives until `done`, and checks that it gets what it was subscribed to, once each, and nothing else.
    fn live(&mut self, done: impl Fn(&BTreeSet<String>) -> bool) -> Result<()> {
        self.lives += 1;
        let mut client = Client::connect(self.ports[self.lives % 2], self.token)?;
        let (mut subscribed, mut heard) = (BTreeSet::new(), BTreeSet::new());
        let begun = Instant::now();
        while !done(&subscribed) {
            ensure!(begun.elapsed() < ANSWER_MAX, "subscribed to {subscribed:?} alone");
            let Some(push) = client.push()? else { continue };
            let channel = push["channel"].as_str().context("a channel")?.to_owned();
            if push["subscribe"].is_object() {
                ensure!(subscribed.insert(channel.clone()), "{channel} twice");
            } else {
                ensure!(subscribed.contains(&channel), "{push} without a subscription");
                ensure!(heard.insert(channel), "{push} twice");
            }
        }
        Ok(())
    }
}

/// Has a user subscribed to channels one after the other, and checks that a session which stays where it is gets each
/// subscription, and what is published from then on.
fn subscribe_all(ports: [u16; 2], stays: &mut Client, count: usize) -> Result<()> {
    let rooms: BTreeSet<String> = (0..count).map(|n| format!("room:{n}")).collect();
    // The answer says that the order is in the log; the subscription follows.
    for (n, room) in rooms.iter().enumerate() {
        call(ports[n % 2], "subscribe", &json!({ "user": "u", "channel": room }))?;
        thread::sleep(PAUSE);
    }
    ensure!(pushed(stays, "subscribe", count)? == rooms, "subscribed to others than was ordered");
    for (n, room) in rooms.iter().enumerate() {
        call(ports[n % 2], "publish", &json!({ "channel": room, "data": n }))?;
    }
    ensure!(pushed(stays, "pub", count)? == rooms, "heard of others than was published");
    Ok(())
}

/// The channels of the next pushes, which are all of one kind and of different channels.
fn pushed(client: &mut Client, kind: &str, count: usize) -> Result<BTreeSet<String>> {
    let mut channels = BTreeSet::new();
    let begun = Instant::now();
    while channels.len() < count {
        ensure!(begun.elapsed() < ANSWER_MAX, "{kind} of {channels:?} alone");
        let Some(push) = client.push()? else { continue };
        ensure!(push[kind].is_object(), "{push} among {kind}");
        let channel = push["channel"].as_str().context("a channel")?;
        ensure!(channels.insert(channel.to_owned()), "{kind} of {channel} twice");
    }
    Ok(channels)
}

#[test]
fn a_backend_subscribes_a_user_who_is_moving_between_nodes() -> Result<()> {
    const ROOMS: usize = 60;
    let cluster = Cluster::start("cluster-moving", true, CONFIG)?;
    let ports = cluster.nodes.each_ref().map(Node::port);
    let (moving, bystander) = (token(&json!({ "sub": "u" }))?, token(&json!({ "sub": "v" }))?);
    let mut stays = Client::connect(ports[1], &moving)?;
    let mut other = Client::connect(ports[0], &bystander)?;
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ended = &ended;
        let mut mover = Mover { ports, token: &moving, lives: 0 };
        let moves = scope.spawn(move || {
            while !ended.load(Relaxed) {
                let begun = Instant::now();
                let long = Duration::from_millis(10 + 7 * (mover.lives as u64 % 9));
                mover.live(|_| begun.elapsed() > long)?;
            }
            anyhow::Ok(mover)
        });
        let done = subscribe_all(ports, &mut stays, ROOMS);
        ended.store(true, Relaxed);
        let mut mover = moves.join().map_err(|_| anyhow::anyhow!("the mover panicked"))??;
        done?;
        ensure!(mover.lives > 4, "it moved {} times", mover.lives);
        eprintln!("{} sessions while {ROOMS} channels were subscribed to", mover.lives);

        // A session that is there when the order is given is subscribed, on either node.
        for n in 0..6 {
            let room = format!("room:there-{n}");
            let opened = AtomicBool::new(false);
            thread::scope(|scope| {
                let lives = scope.spawn(|| {
                    mover.live(|subscribed| {
                        opened.store(true, Relaxed);
                        subscribed.contains(&room)
                    })
                });
                while !opened.load(Relaxed) && !lives.is_finished() {
                    thread::sleep(Duration::from_millis(1));
                }
                call(ports[n % 2], "subscribe", &json!({ "user": "u", "channel": room }))?;
                lives.join().map_err(|_| anyhow::anyhow!("the mover panicked"))?
            })?;
        }
        Ok(())
    })?;
    // Nothing is left of sessions that went, and nobody else was meant.
    let begun = Instant::now();
    loop {
        let channels = call(ports[0], "channels", &json!({ "pattern": "room:*" }))?["channels"].take();
        let counts: BTreeSet<u64> =
            channels.as_object().into_iter().flatten().filter_map(|(_, c)| c["num_clients"].as_u64()).collect();
        if counts == BTreeSet::from([1]) {
            break;
        }
        ensure!(begun.elapsed() < ANSWER_MAX, "{channels}");
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(other.push()?.is_none(), "another user heard of it");
    ensure!(other.ask("rpc", json!({}))?["error"]["code"] == 108, "another user goes on");
    Ok(())
}
