//! Clients whose tokens expire while their node is killed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testkit::node::Node;

use crate::Cluster;
use tidegate_tests::client::{ANSWER_MAX, Client, call, now, token};

const CONFIG: &str = r#"
[client.token]
hmac_secret_key = "secret"
[namespaces.news]
history_size = 10000
history_ttl = "10m"
force_recovery = true
allow_subscribe_for_client = true
"#;

/// Between two publications.
const PAUSE: Duration = Duration::from_millis(10);
/// Clients of the node that is killed, and of the other one.
const CLIENTS: usize = 8;

/// A reader of `news:1` and of `$news:2`, for which it has a token of its own. All tokens of it expire at the same time.
struct Reader {
    user: String,
    client: Client,
    expire_at: u64,
    /// Where it stands in each channel.
    at: [(String, Value, Value); 2],
    seen: [Vec<u64>; 2],
}

impl Reader {
    fn tokens(user: &str, expire_at: u64) -> Result<[String; 2]> {
        let connection = token(&json!({ "sub": user, "exp": expire_at }))?;
        Ok([connection, token(&json!({ "sub": user, "exp": expire_at, "channel": "$news:2" }))?])
    }

    fn open(port: u16, user: String, expire_at: u64) -> Result<Self> {
        let [connection, subscription] = Self::tokens(&user, expire_at)?;
        let mut client = Client::connect(port, &connection)?;
        let mut at = Vec::new();
        for (channel, token) in [("news:1", ""), ("$news:2", &subscription)] {
            let answer = client.ask("subscribe", json!({ "channel": channel, "token": token }))?;
            let result = &answer["subscribe"];
            ensure!(result["recoverable"] == true, "{answer}");
            let offset = if result["offset"].is_null() { json!(0) } else { result["offset"].clone() };
            at.push((channel.to_owned(), offset, result["epoch"].clone()));
        }
        let at = at.try_into().map_err(|_| anyhow::anyhow!("two channels"))?;
        Ok(Self { user, client, expire_at, at, seen: Default::default() })
    }

    fn take(&mut self, channel: usize, publication: &Value) -> Result<()> {
        self.at[channel].1 = publication["offset"].clone();
        self.seen[channel].push(publication["data"]["n"].as_u64().context("a number")?);
        Ok(())
    }

    /// Reads until it has everything up to `total`, which is 0 until it is known, or its connection ends.
    fn read(&mut self, total: &AtomicU64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(push) = self.client.push()? {
                let channel = self.at.iter().position(|(name, ..)| push["channel"] == **name);
                self.take(channel.context("a channel of its own")?, &push["pub"])?;
                continue;
            }
            let total = total.load(Relaxed);
            if total > 0 && self.seen.iter().all(|seen| seen.last() == Some(&total)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < 4 * ANSWER_MAX, "{} stands at {:?}", self.user, self.at);
        }
    }

    /// Its node is gone: it goes to another one with the tokens that it has, learns that they have expired, and goes on with
    /// new ones where it stood.
    fn move_to(&mut self, port: u16) -> Result<()> {
        let [connection, subscription] = Self::tokens(&self.user, self.expire_at)?;
        while now() <= self.expire_at {
            thread::sleep(Duration::from_millis(20));
        }
        let refused = Client::open(port)?.ask("connect", json!({ "token": connection }))?;
        ensure!(refused["error"]["code"] == 109 && refused["error"]["message"] == "token expired", "{refused}");
        let [connection, renewed] = Self::tokens(&self.user, now() + 600)?;
        self.client = Client::connect(port, &connection)?;
        for (channel, (name, offset, epoch)) in self.at.clone().into_iter().enumerate() {
            let wish = json!({ "channel": name, "recover": true, "offset": offset, "epoch": epoch });
            let with = |token: &str| {
                let mut wish = wish.clone();
                wish["token"] = token.into();
                wish
            };
            let answer = if channel == 0 {
                self.client.ask("subscribe", wish)?
            } else {
                let refused = self.client.ask("subscribe", with(&subscription))?;
                ensure!(refused["error"]["code"] == 109, "{refused}");
                self.client.ask("subscribe", with(&renewed))?
            };
            ensure!(answer["subscribe"]["recovered"] == true, "{answer}");
            for publication in answer["subscribe"]["publications"].as_array().into_iter().flatten() {
                self.take(channel, publication)?;
            }
        }
        Ok(())
    }
}

/// Publishes numbers to both channels until told to stop, and says then how many. What fails is tried at the other node.
fn publish(ports: [u16; 2], stop: &AtomicBool, total: &AtomicU64) -> Result<()> {
    let mut n = 0;
    while !stop.load(Relaxed) {
        n += 1;
        for channel in ["news:1", "$news:2"] {
            let request = json!({ "channel": channel, "data": { "n": n }, "idempotency_key": n.to_string() });
            let begun = Instant::now();
            let mut turns = ports.iter().cycle();
            while let Some(Err(error)) = turns.next().map(|port| call(*port, "publish", &request)) {
                ensure!(begun.elapsed() < ANSWER_MAX, "cannot publish: {error:#}");
                thread::sleep(PAUSE);
            }
        }
        thread::sleep(PAUSE);
    }
    total.store(n, Relaxed);
    Ok(())
}

#[test]
fn tokens_that_expire_while_their_node_dies_cost_nothing() -> Result<()> {
    let mut cluster = Cluster::start("cluster-expiry", true, CONFIG)?;
    let [dying, other] = cluster.nodes.each_ref().map(Node::port);
    let expire_at = now() + 4;
    let open = |port, expire_at| move |n: usize| Reader::open(port, format!("user-{port}-{n}"), expire_at);
    let movers = (0..CLIENTS).map(open(dying, expire_at)).collect::<Result<Vec<_>>>()?;
    let stayers = (0..CLIENTS).map(open(other, now() + 600)).collect::<Result<Vec<_>>>()?;
    let (stop, total, moved) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (stop, total, moved) = (&stop, &total, &moved);
        let publisher = scope.spawn(move || publish([dying, other], stop, total));
        let readers: Vec<_> = (movers.into_iter().map(|mover| (mover, true)))
            .chain(stayers.into_iter().map(|stayer| (stayer, false)))
            .map(|(mut reader, moves)| {
                scope.spawn(move || {
                    if moves {
                        ensure!(reader.read(total).is_err(), "the node lives on");
                        reader.move_to(other)?;
                        moved.fetch_add(1, Relaxed);
                    }
                    reader.read(total)?;
                    anyhow::Ok(reader)
                })
            })
            .collect();
        // The last second of the tokens: they are still good here, and no more elsewhere.
        while now() < expire_at - 1 {
            thread::sleep(PAUSE);
        }
        let killed = cluster.nodes[0].kill_9();
        let begun = Instant::now();
        while moved.load(Relaxed) < CLIENTS && begun.elapsed() < 2 * ANSWER_MAX {
            thread::sleep(PAUSE);
        }
        stop.store(true, Relaxed);
        killed?;
        publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
        let expected: Vec<u64> = (1..=total.load(Relaxed)).collect();
        for reader in readers {
            let reader = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            for (channel, seen) in reader.seen.iter().enumerate() {
                ensure!(*seen == expected, "{} in channel {channel}: {seen:?}", reader.user);
            }
        }
        Ok(())
    })
}
