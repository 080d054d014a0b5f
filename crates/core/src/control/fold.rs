//! What every node makes of the control log: who is there, who is present, and what was accepted.
//!
//! Pure: records in log order go in, with this node's clock for its own deadlines; effects for this node come out. A
//! record is a *proposal*: whether it counts is decided here, by its place in the log and what came before, so that all
//! nodes decide alike. The node that wrote it learns the verdict when it reads it back.
//!
//! # Invariants
//! - A node that is not known says nothing that counts until it begins, or announces all that it has.
//! - When a node lapses, everything it announced lapses with it, at the same place in the log for everybody.
//! - A record that was stored twice counts once.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidegate_types::{ClientId, ClientInfo};

use super::presence::{Came, Change, Named, NodeId, Presence};
use super::record::{Absent, Alive, Counts, Entry, Lapse, Member, Order, Proposal, Report, Snapshot, Survey, Uplink};

/// What this node has to do because of a record.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Commands for a connection of this node.
    Uplink { session: String, data: Bytes },
    /// An order for connections, of this node among others.
    Order(Order),
    /// Somebody joined or left.
    Presence(Change),
    /// A client of this node is gone, unseen by others: its user is back as another one, or it never came.
    Replaced { channel: String, client: ClientId },
    /// A node asks which channels this one has.
    Survey { from: NodeId, survey: Survey },
    /// A node answers such a question of this one.
    Counts { from: NodeId, counts: Counts },
    /// Another node asks what this one has announced.
    Announce,
    /// The others have given this node up: it begins anew.
    Begin,
    /// A record of this node came back: what became of its entries.
    Settled { seq: u64, accepted: Vec<bool> },
}

/// Another node as this one knows it.
#[derive(Debug)]
struct Node {
    report: Report,
    /// Offset of its last record.
    last: u64,
    /// Number of its last record.
    seq: u64,
    /// When this node read that: microseconds of its clock.
    read_us: u64,
    /// Offset of the first part of the snapshot under way.
    snapshot: Option<u64>,
    /// When this node proposed that it has lapsed.
    doubted_us: Option<u64>,
}

/// For whom a node that has just begun waits, before it knows all that others announced.
#[derive(Debug, Default)]
struct Awaited {
    named: HashSet<String>,
    announced: HashSet<String>,
    /// Somebody has announced who knows of this node: what it names are all that were there.
    met: bool,
    /// Everybody was told to have left: who is announced has come.
    news: bool,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct Fold {
    me: NodeId,
    nodes: HashMap<NodeId, Node>,
    pub(crate) presence: Presence,
    /// `None` once all that others had announced is known.
    awaited: Option<Awaited>,
    /// When this node read its own beginning.
    began_us: Option<u64>,
}

/// A new node that hears nobody for this part of a lease is alone: others answer at once.
const ALONE_PART: u64 = 5;
/// Between two proposals that the same node has lapsed.
const DOUBT_AGAIN_US: u64 = 1_000_000;

impl Fold {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            nodes: HashMap::new(),
            presence: Presence::default(),
            awaited: Some(Awaited::default()),
            began_us: None,
        }
    }

    /// Takes the next record, which lies at `at`.
    pub(crate) fn apply(&mut self, at: u64, proposal: Proposal, now_us: u64, effects: &mut Vec<Effect>) {
        let Proposal { node: name, seq, entries } = proposal;
        let own = *name == *self.me;
        let introduces = |e: &Entry| matches!(e, Entry::Alive(Alive { begins: true, .. }) | Entry::Snapshot(_));
        if let Some(awaited) = &mut self.awaited
            && !own
        {
            awaited.named.insert(name.clone());
        }
        if !self.nodes.contains_key(name.as_str()) {
            if !entries.iter().any(introduces) {
                if own {
                    effects.push(Effect::Settled { seq, accepted: vec![false; entries.len()] });
                }
                return;
            }
            let (report, doubted_us) = (Report::default(), None);
            let node = Node { report, last: at, seq: 0, read_us: now_us, snapshot: None, doubted_us };
            self.nodes.insert(name.as_str().into(), node);
        }
        let Some(id) = self.nodes.get_key_value(name.as_str()).map(|(id, _)| id.clone()) else { return };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        (node.last, node.read_us, node.doubted_us) = (at, now_us, None);
        if seq <= node.seq {
            return;
        }
        node.seq = seq;
        let accepted = entries.into_iter().map(|entry| self.entry(at, &id, entry, now_us, effects)).collect();
        if own {
            effects.push(Effect::Settled { seq, accepted });
        }
    }

    fn entry(&mut self, at: u64, from: &NodeId, entry: Entry, now_us: u64, effects: &mut Vec<Effect>) -> bool {
        match entry {
            Entry::Alive(alive) => self.alive(at, from, alive, now_us, effects),
            Entry::Snapshot(snapshot) => self.snapshot(at, from, snapshot, now_us, effects),
            Entry::Gone(_) => self.remove(from, true, effects),
            Entry::Lapse(lapse) => return self.lapse(&lapse, effects),
            Entry::Join(member) => {
                effects.extend(self.member(at, from, *member, now_us));
            }
            Entry::Away(Absent { channel, client, .. }) => {
                let Some(client) = ClientId::parse(&client) else { return false };
                if !self.presence.away(&channel, client, at, now_us) && *from == self.me {
                    // It was gone before anybody was told that it came.
                    effects.push(Effect::Replaced { channel, client });
                }
            }
            Entry::Leave(Absent { channel, client, since }) => {
                let Some(client) = ClientId::parse(&client) else { return false };
                effects.extend(self.presence.leave(&channel, client, since).map(Effect::Presence));
            }
            Entry::Order(order) => effects.push(Effect::Order(order)),
            Entry::Uplink(uplink) => return self.uplink(uplink, effects),
            Entry::Survey(survey) => effects.push(Effect::Survey { from: from.clone(), survey }),
            Entry::Counts(counts) if *counts.to == *self.me => {
                effects.push(Effect::Counts { from: from.clone(), counts });
            }
            Entry::Counts(_) => {}
            Entry::Unknown => return false,
        }
        true
    }

    fn alive(&mut self, at: u64, from: &NodeId, alive: Alive, now_us: u64, effects: &mut Vec<Effect>) {
        let own = *from == self.me;
        if alive.begins {
            effects.extend(self.presence.lapse(from, at, false).into_iter().map(Effect::Presence));
            if own {
                self.began_us = Some(now_us);
            }
        }
        if alive.asks && !own {
            effects.push(Effect::Announce);
        }
        if let Some(node) = self.nodes.get_mut(from) {
            node.report = alive.report;
        }
    }

    fn snapshot(&mut self, at: u64, from: &NodeId, snapshot: Snapshot, now_us: u64, effects: &mut Vec<Effect>) {
        let known = self.awaited.as_ref().is_none_or(|awaited| awaited.news);
        for member in snapshot.members {
            // What was there before this node began is no news.
            let effect = self.member(at, from, member, now_us);
            effects.extend(effect.filter(|effect| known || !matches!(effect, Effect::Presence(_))));
        }
        let Some(node) = self.nodes.get_mut(from) else { return };
        node.report = snapshot.report;
        if snapshot.first {
            node.snapshot = Some(at);
        }
        if !snapshot.last {
            return;
        }
        // Without its first part it is not all.
        let Some(first) = node.snapshot.take() else { return };
        effects.extend(self.presence.lapse(from, first, false).into_iter().map(Effect::Presence));
        if let Some(awaited) = &mut self.awaited {
            let me = &*self.me;
            awaited.met |= *from != self.me && snapshot.peers.iter().any(|peer| peer == me);
            awaited.named.extend(snapshot.peers.into_iter().filter(|peer| peer != me));
            awaited.announced.insert(from.to_string());
        }
    }

    fn member(&mut self, at: u64, node: &NodeId, member: Member, now_us: u64) -> Option<Effect> {
        let client = ClientId::parse(&member.client)?;
        let Member { channel, client: text, user, conn_info, chan_info, away } = member;
        let info = ClientInfo { user, client: text, conn_info: conn_info.into(), chan_info: chan_info.into() };
        let came = self.presence.join(Named { channel: &channel, client, info, node, at });
        if away {
            self.presence.away(&channel, client, at, now_us);
        }
        match came {
            Came::New(change) => Some(Effect::Presence(change)),
            Came::InPlaceOf(client) => Some(Effect::Replaced { channel, client }),
            Came::Known => None,
        }
    }

    fn lapse(&mut self, lapse: &Lapse, effects: &mut Vec<Effect>) -> bool {
        let Some((id, node)) = self.nodes.get_key_value(lapse.node.as_str()) else {
            if let Some(awaited) = &mut self.awaited {
                awaited.named.remove(&lapse.node);
            }
            return false;
        };
        if node.last > lapse.seen {
            return false;
        }
        let id = id.clone();
        self.remove(&id, false, effects);
        if id == self.me {
            effects.push(Effect::Begin);
        }
        true
    }

    /// A node is there no more. Those who are away stay until their time is over when it went in order: their clients
    /// are on their way to other nodes.
    fn remove(&mut self, id: &NodeId, in_order: bool, effects: &mut Vec<Effect>) {
        self.nodes.remove(id);
        effects.extend(self.presence.lapse(id, u64::MAX, in_order).into_iter().map(Effect::Presence));
        if let Some(awaited) = &mut self.awaited {
            awaited.named.remove(&**id);
        }
    }

    fn uplink(&self, uplink: Uplink, effects: &mut Vec<Effect>) -> bool {
        let Ok(data) = STANDARD.decode(&uplink.data) else { return false };
        // One that the others take for gone carries nothing out, though it may not know of its end yet.
        let is_there = self.nodes.contains_key(uplink.node.as_str());
        if is_there && *uplink.node == *self.me {
            effects.push(Effect::Uplink { session: uplink.session, data: data.into() });
        }
        is_there
    }

    /// What this node proposes because time has passed. `live_since_us` is since when its own tail has been live: whoever
    /// was silent before may have been heard by others.
    pub(crate) fn overdue(&mut self, lease_us: u64, grace_us: u64, live_since_us: u64, now_us: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (id, node) in self.nodes.iter_mut().filter(|(id, _)| **id != self.me) {
            let silent_us = now_us.saturating_sub(node.read_us.max(live_since_us));
            let asked = node.doubted_us.is_some_and(|at| now_us.saturating_sub(at) < DOUBT_AGAIN_US);
            if silent_us >= lease_us && !asked {
                node.doubted_us = Some(now_us);
                entries.push(Entry::Lapse(Lapse { node: id.to_string(), seen: node.last }));
            }
        }
        for away in self.presence.overdue(&self.me, grace_us, now_us) {
            let (channel, client) = (away.channel.to_string(), away.client.to_string());
            entries.push(Entry::Leave(Absent { channel, client, since: Some(away.since) }));
        }
        entries
    }

    /// Whether all that others had announced when this node began is known by now: everybody who was named has announced
    /// it. Who is named and says nothing for a lease is dead, and who alone was heard for a part of one is alone; if not,
    /// what others say then is news.
    pub(crate) fn is_whole(&mut self, lease_us: u64, now_us: u64) -> bool {
        let (Some(awaited), Some(began_us)) = (&self.awaited, self.began_us) else { return self.awaited.is_none() };
        let all_announced = awaited.named.is_subset(&awaited.announced);
        // Others that began just now know no more than this one, and somebody who does answers at once.
        let heard = awaited.met && all_announced;
        let wait_us = if all_announced { lease_us / ALONE_PART } else { lease_us };
        if heard || now_us.saturating_sub(began_us) >= wait_us {
            self.awaited = None;
        }
        self.awaited.is_none()
    }

    /// Nobody but this node will ever write.
    pub(crate) fn set_whole(&mut self) {
        self.awaited = None;
    }

    /// Forgets everything, because the log was made anew or has a hole.
    pub(crate) fn forget(&mut self, effects: &mut Vec<Effect>) {
        let all: Vec<NodeId> = self.nodes.keys().cloned().collect();
        for id in all {
            self.remove(&id, false, effects);
        }
        self.presence = Presence::default();
        (self.awaited, self.began_us) = (Some(Awaited { news: true, ..Awaited::default() }), None);
    }

    /// The nodes that are there, with how they are.
    pub(crate) fn nodes(&self) -> Vec<(NodeId, Report)> {
        let mut nodes: Vec<_> = self.nodes.iter().map(|(id, n)| (id.clone(), n.report.clone())).collect();
        nodes.sort_by(|a, b| (&a.1.name, &a.0).cmp(&(&b.1.name, &b.0)));
        nodes
    }

    /// Whether a node is there.
    pub(crate) fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// The ids of the nodes that are there.
    pub(crate) fn peers(&self) -> Vec<String> {
        self.nodes.keys().map(|id| id.to_string()).collect()
    }
}

#[cfg(test)]
mod tests;
