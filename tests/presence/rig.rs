//! Three nodes, the clients on them, and the truth about who is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tidegate_testkit::kafka::{Kafka, Topic};
use tidegate_testkit::node::{Node, Options, binary, command, post};
use tidegate_testkit::process::run;
use tidegate_tests::output_dir;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::connection::{Connection, Info};
use crate::witness::{Rooms, Witness};

const TOPIC: &str = "presence";
const NODES: usize = 3;
const ROOMS: usize = 5;
const MEMBERS: usize = 60;
const LEASE: Duration = Duration::from_secs(3);
/// A node looks for what has lapsed every twelfth of a lease, and says so by a record.
const MARGIN: Duration = Duration::from_secs(1);
/// For changes that wait for no lease; a client that broke off stays for `grace`.
const SETTLED_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

const CONFIG: &str = r#"
dev = true
[client.token]
hmac_secret_key = "secret"
[control]
lease = "3s"
grace = "1s"
[namespaces.rooms]
presence = true
join_leave = true
allow_subscribe_for_client = true
allow_presence_for_subscriber = true
"#;

pub(crate) struct Rig {
    /// `None` while it starts.
    nodes: Vec<Option<Node>>,
    ports: Vec<u16>,
    members: Vec<Member>,
    /// One for each node, on a connection to it.
    watchers: Vec<(Member, Witness)>,
    converged: Vec<Duration>,
    changes: u64,
    // After the nodes: it ends after them.
    _kafka: Kafka,
}

struct Member {
    user: String,
    token: String,
    rooms: Vec<String>,
    /// The node and the connection while it is there.
    at: Option<(usize, Connection)>,
}

impl Rig {
    pub(crate) async fn start() -> Result<Self> {
        let (nodes, kafka, config) = spawn_blocking(start_nodes).await??;
        let all: Vec<String> = (1..=ROOMS).map(|room| format!("rooms:{room}")).collect();
        let rooms = |number: usize| all.iter().cycle().skip(number).take(1 + number % 3).cloned().collect();
        let members = (0..MEMBERS).map(|n| Member::new(&config, format!("member-{n}"), rooms(n)));
        let mut rig = Self {
            ports: nodes.iter().map(Node::port).collect(),
            nodes: nodes.into_iter().map(Some).collect(),
            members: members.collect::<Result<_>>()?,
            watchers: Vec::new(),
            converged: Vec::new(),
            changes: 0,
            _kafka: kafka,
        };
        for at in 0..MEMBERS {
            rig.members[at].come(&rig.ports, random(NODES)).await?;
        }
        for number in 0..NODES {
            let watcher = Member::new(&config, format!("watcher-{number}"), all.clone())?;
            rig.watchers.push((watcher, Witness::default()));
        }
        rig.settle(&[true; NODES], Instant::now() + SETTLED_MAX).await?;
        for number in 0..NODES {
            rig.watch(number).await?;
        }
        Ok(rig)
    }

    /// Kills one; its clients come back elsewhere or stay away, and others come, go and break off. It starts again at once, or
    /// when it has lapsed.
    pub(crate) async fn kill_one(&mut self) -> Result<()> {
        let (victim, at_once) = (random(NODES), random(2) == 0);
        let killed = Instant::now();
        let mut node = self.nodes[victim].take().context("a node that runs")?;
        node.kill_9()?;
        let start_again = || spawn_blocking(move || node.restart().map(|()| node));
        let (starting, start_later) = if at_once { (Some(start_again()), None) } else { (None, Some(start_again)) };
        let mut live = [true; NODES];
        live[victim] = false;
        self.churn(victim).await?;
        self.settle(&live, killed + LEASE + MARGIN).await?;
        self.converged.push(killed.elapsed());
        let starting = starting.or_else(|| start_later.map(|start_again| start_again()));
        self.nodes[victim] = Some(starting.context("a start")?.await??);
        self.settle(&[true; NODES], Instant::now() + SETTLED_MAX).await.context("after its new start")?;
        self.changes += self.watchers[victim].1.changes();
        self.watch(victim).await
    }

    pub(crate) async fn finish(mut self) -> Result<()> {
        self.settle(&[true; NODES], Instant::now() + SETTLED_MAX).await?;
        for node in self.nodes.iter_mut().flatten() {
            node.check_alive()?;
        }
        self.converged.sort_unstable();
        let (median, max) =
            (self.converged[self.converged.len() / 2], self.converged.last().copied().unwrap_or_default());
        let changes: u64 = self.changes + self.watchers.iter().map(|(_, witness)| witness.changes()).sum::<u64>();
        eprintln!(
            "{} kills: presence exact after {median:.1?} in the middle, {max:.1?} at most, with a lease of {LEASE:?}; \
             {changes} joins and leaves told, none contradicted",
            self.converged.len()
        );
        Ok(())
    }

    async fn churn(&mut self, victim: usize) -> Result<()> {
        if let Some((_, connection)) = self.watchers[victim].0.at.take() {
            ensure_ends(&connection).await?;
        }
        for member in &mut self.members {
            // One of the two that live.
            let other = (victim + 1 + random(NODES - 1)) % NODES;
            match (member.at.take(), random(8)) {
                (Some((node, connection)), chance) if node == victim => {
                    ensure_ends(&connection).await?;
                    if chance > 1 {
                        member.come(&self.ports, other).await?;
                    }
                }
                (Some((_, connection)), 0) => connection.close().await?,
                // Cut: it comes back in time, or not.
                (Some(cut), 1) => {
                    drop(cut);
                    member.come(&self.ports, other).await?;
                }
                (Some(cut), 2) => drop(cut),
                (None, 0..4) => member.come(&self.ports, other).await?,
                (there, _) => member.at = there,
            }
        }
        Ok(())
    }

    /// Who is there.
    fn truth(&self) -> Rooms {
        let mut rooms = Rooms::new();
        for member in self.members.iter().chain(self.watchers.iter().map(|(watcher, _)| watcher)) {
            let Some((_, connection)) = &member.at else { continue };
            for room in &member.rooms {
                let info = Info { user: member.user.clone(), client: connection.client.clone() };
                rooms.entry(room.clone()).or_default().insert(info);
            }
        }
        rooms
    }

    /// Waits until every live node, and everybody who is told, knows who is there.
    async fn settle(&self, live: &[bool; NODES], until: Instant) -> Result<()> {
        let truth = self.truth();
        loop {
            let Err(difference) = self.compare(&truth, live).await else { break };
            ensure!(Instant::now() < until, "not in time: {difference:#}");
            sleep(POLL).await;
        }
        let there = self.members.iter().chain(self.watchers.iter().map(|(watcher, _)| watcher));
        for (member, (node, connection)) in there.filter_map(|member| Some((member, member.at.as_ref()?))) {
            ensure!(connection.is_open(), "{} was cut by node-{}", member.user, node + 1);
        }
        self.watchers.iter().try_for_each(|(_, witness)| witness.check())
    }

    async fn compare(&self, truth: &Rooms, live: &[bool; NODES]) -> Result<()> {
        for (number, _) in live.iter().enumerate().filter(|(_, live)| **live) {
            let (port, rooms) = (self.ports[number], truth.keys().cloned().collect::<Vec<_>>());
            let node = format!("node-{}", number + 1);
            let seen = spawn_blocking(move || presence(port, &rooms)).await?.with_context(|| node.clone())?;
            let (missing, wrong) = (difference(truth, &seen), difference(&seen, truth));
            ensure!(
                missing.is_empty() && wrong.is_empty(),
                "{node} misses {missing:?} and has {wrong:?} who are not there"
            );
        }
        let watching = self.watchers.iter().filter(|(watcher, _)| watcher.at.is_some());
        for (watcher, witness) in watching {
            witness.agrees(truth).with_context(|| watcher.user.clone())?;
        }
        Ok(())
    }

    /// Has somebody listen on a node, from a moment when nothing changes.
    async fn watch(&mut self, number: usize) -> Result<()> {
        let witness = Witness::new(&self.truth());
        let watcher = &mut self.watchers[number].0;
        let told = Some(witness.told());
        let connection = Connection::open(self.ports[number], &watcher.token, &watcher.rooms, told).await?;
        watcher.at = Some((number, connection));
        self.watchers[number].1 = witness;
        self.settle(&[true; NODES], Instant::now() + SETTLED_MAX)
            .await
            .context("somebody who is told of joins and leaves")
    }
}

impl Member {
    fn new(config: &Path, user: String, rooms: Vec<String>) -> Result<Self> {
        let mut token = command(binary()?);
        token.arg("token").arg("--config").arg(config).args(["--user", &user]);
        let token = run(&mut token)?.trim().to_owned();
        Ok(Self { user, token, rooms, at: None })
    }

    async fn come(&mut self, ports: &[u16], node: usize) -> Result<()> {
        let connection = Connection::open(ports[node], &self.token, &self.rooms, None).await;
        self.at = Some((node, connection.with_context(|| format!("{} to node-{}", self.user, node + 1))?));
        Ok(())
    }
}

fn start_nodes() -> Result<(Vec<Node>, Kafka, PathBuf)> {
    let output = output_dir("presence")?;
    let config = output.join("tidegate.toml");
    std::fs::write(&config, CONFIG)?;
    let kafka = Kafka::start()?;
    kafka.tools().create_topic(&Topic::new(TOPIC, 8))?;
    let broker = format!("kafka://{}/{TOPIC}", kafka.bootstrap());
    let start = |number: usize| {
        let arguments = vec!["--config".into(), config.clone().into()];
        Node::start(Options { arguments, dev: false, ..Options::dev(&format!("node-{number}"), &broker, &output) })
    };
    Ok(((1..=NODES).map(start).collect::<Result<_>>()?, kafka, config))
}

/// A node that was killed answers nobody.
async fn ensure_ends(connection: &Connection) -> Result<()> {
    let began = Instant::now();
    while connection.is_open() {
        ensure!(began.elapsed() < SETTLED_MAX, "a connection to a killed node does not end");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Replies {
    replies: Vec<Reply>,
}

#[derive(Deserialize)]
struct Reply {
    presence: Option<Members>,
    presence_stats: Option<Stats>,
}

#[derive(Deserialize)]
struct Members {
    presence: std::collections::BTreeMap<String, Info>,
}

#[derive(Deserialize)]
struct Stats {
    num_clients: usize,
    num_users: usize,
}

/// Who is in these rooms, as one node says.
fn presence(port: u16, rooms: &[String]) -> Result<Rooms> {
    let ask = |room: &String| {
        let channel = serde_json::json!({ "channel": room });
        [serde_json::json!({ "presence": channel }), serde_json::json!({ "presence_stats": channel })]
    };
    let commands: Vec<_> = rooms.iter().flat_map(ask).collect();
    let response = post(port, "/api/batch", &serde_json::json!({ "commands": commands }).to_string())?;
    let body = response.split_once("\r\n\r\n").with_context(|| response.clone())?.1;
    let answer: Replies = serde_json::from_str(body).with_context(|| response.clone())?;
    let mut seen = Rooms::new();
    for (room, pair) in rooms.iter().zip(answer.replies.chunks(2)) {
        let [Reply { presence: Some(members), .. }, Reply { presence_stats: Some(stats), .. }] = pair else {
            anyhow::bail!("{response}");
        };
        let infos: BTreeSet<Info> = members.presence.values().cloned().collect();
        let users = infos.iter().map(|info| &info.user).collect::<BTreeSet<_>>().len();
        // Both were read one after the other; while somebody comes they may differ.
        ensure!(
            (stats.num_clients, stats.num_users) == (infos.len(), users),
            "the stats of {room} do not fit its presence"
        );
        seen.insert(room.clone(), infos);
    }
    Ok(seen)
}

/// What is in the first and not in the second.
fn difference<'a>(of: &'a Rooms, without: &Rooms) -> Vec<(&'a str, &'a Info)> {
    let all = of.iter().flat_map(|(room, infos)| infos.iter().map(move |info| (&**room, info)));
    all.filter(|(room, info)| !without.get(*room).is_some_and(|infos| infos.contains(*info))).collect()
}

/// A random number below `below`.
fn random(below: usize) -> usize {
    let mut bytes = [0; 4];
    // Without random numbers it is always the first, and the test a weaker one.
    let _ = getrandom::fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % below
}
