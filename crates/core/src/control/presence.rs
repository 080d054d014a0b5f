//! Who is present where: the table that every node folds from the control log.
//!
//! Pure; a change is decided by its place in the log and by what is in the table, so all nodes decide alike. A read asks
//! nobody, and how many there are costs one look-up.
//!
//! # Invariants
//! - A client is in a channel once.
//! - What changes for others is told once: a client that is away and comes back as another client of the same user, in
//!   time, neither leaves nor joins.

use std::collections::hash_map::Entry as Place;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tidegate_types::{ClientId, ClientInfo};

/// A node's id, shared by all that it announced.
pub(crate) type NodeId = Arc<str>;

/// Somebody joined or left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub channel: Arc<str>,
    /// Who.
    pub info: Arc<ClientInfo>,
    /// Joined; otherwise left.
    pub joined: bool,
}

#[derive(Debug)]
struct Member {
    info: Arc<ClientInfo>,
    node: NodeId,
    /// Offset of the record that said that its connection broke.
    away: Option<u64>,
    /// Offset of the last record of its node that named it.
    named: u64,
}

#[derive(Debug, Default)]
struct Members {
    by_client: HashMap<ClientId, Member, RandomState>,
    /// How many clients a user has.
    by_user: HashMap<Box<str>, u32, RandomState>,
    /// Those who are away, the first to go first.
    away: Vec<ClientId>,
}

/// Somebody who is away, as it is kept to be ended in time.
#[derive(Clone, Debug)]
pub(crate) struct Away {
    pub(crate) channel: Arc<str>,
    pub(crate) client: ClientId,
    pub(crate) since: u64,
    pub(crate) node: NodeId,
    /// When this node read it: microseconds of its clock.
    pub(crate) read_us: u64,
}

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    channels: HashMap<Arc<str>, Members, RandomState>,
    /// Oldest first; who came back meanwhile is still in here.
    away: VecDeque<Away>,
    total: usize,
}

/// What a client that came is to the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// They are told that it joined.
    New(Change),
    /// Its user was away as this client, and has not left: nobody is told.
    InPlaceOf(ClientId),
    /// It was there.
    Known,
}

/// A client that a record names.
pub(crate) struct Named<'a> {
    pub(crate) channel: &'a str,
    pub(crate) client: ClientId,
    pub(crate) info: ClientInfo,
    pub(crate) node: &'a NodeId,
    pub(crate) at: u64,
}

impl Presence {
    /// Members of all channels.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Clients and users of a channel.
    pub(crate) fn stats(&self, channel: &str) -> (usize, usize) {
        self.channels.get(channel).map_or((0, 0), |m| (m.by_client.len(), m.by_user.len()))
    }

    /// Everybody in a channel.
    pub(crate) fn members(&self, channel: &str) -> Vec<Arc<ClientInfo>> {
        let members = self.channels.get(channel);
        members.map(|m| m.by_client.values().map(|member| member.info.clone()).collect()).unwrap_or_default()
    }

    /// Somebody is there.
    pub(crate) fn join(&mut self, named: Named<'_>) -> Came {
        let Named { channel, client, info, node, at } = named;
        let channel = match self.channels.get_key_value(channel) {
            Some((name, _)) => name.clone(),
            None => channel.into(),
        };
        let members = self.channels.entry(channel.clone()).or_default();
        let known = match members.by_client.entry(client) {
            Place::Occupied(mut place) => {
                let member = place.get_mut();
                member.named = at;
                member.node = node.clone();
                if *member.info != info {
                    // It came back with another token, and its leave was never written. Its user is the same.
                    member.info = Arc::new(info);
                }
                if member.away.take().is_some() {
                    members.away.retain(|id| *id != client);
                }
                return Came::Known;
            }
            Place::Vacant(place) => {
                let info = Arc::new(info);
                place.insert(Member { info: info.clone(), node: node.clone(), away: None, named: at });
                info
            }
        };
        *members.by_user.entry(known.user.as_str().into()).or_default() += 1;
        self.total += 1;
        if !known.user.is_empty()
            && let Some(replaced) = members.replaced(&known.user)
        {
            self.total -= 1;
            return Came::InPlaceOf(replaced);
        }
        Came::New(Change { channel, info: known, joined: true })
    }

    /// The connection of somebody broke. `false`: nobody knows it, so there is nothing to wait for.
    pub(crate) fn away(&mut self, channel: &str, client: ClientId, at: u64, now_us: u64) -> bool {
        let Some((name, _)) = self.channels.get_key_value(channel) else { return false };
        let name = name.clone();
        let Some(members) = self.channels.get_mut(channel) else { return false };
        let Some(member) = members.by_client.get_mut(&client) else { return false };
        if member.away.replace(at).is_none() {
            members.away.push(client);
        }
        let node = member.node.clone();
        self.away.push_back(Away { channel: name, client, since: at, node, read_us: now_us });
        true
    }

    /// Somebody left; with `since`, only if it is away since then. Returns the leave that others are to be told.
    pub(crate) fn leave(&mut self, channel: &str, client: ClientId, since: Option<u64>) -> Option<Change> {
        let (name, _) = self.channels.get_key_value(channel)?;
        let name = name.clone();
        let members = self.channels.get_mut(channel)?;
        let member = members.by_client.get(&client)?;
        if since.is_some() && member.away != since {
            return None;
        }
        let info = members.remove(client)?;
        self.total -= 1;
        if members.by_client.is_empty() {
            self.channels.remove(channel);
        }
        Some(Change { channel: name, info, joined: false })
    }

    /// Everybody of a node leaves whom it has not named since offset `named`; those who are away stay until their time
    /// is over, if `keep_away`. In an order that is the same on every node.
    pub(crate) fn lapse(&mut self, node: &str, named: u64, keep_away: bool) -> Vec<Change> {
        let mut gone: Vec<(Arc<str>, ClientId)> = Vec::new();
        for (channel, members) in &self.channels {
            let lapsed = members
                .by_client
                .iter()
                .filter(|(_, m)| *m.node == *node && m.named < named && !(keep_away && m.away.is_some()));
            gone.extend(lapsed.map(|(client, _)| (channel.clone(), *client)));
        }
        gone.sort_unstable_by(|a, b| (&a.0, a.1.0).cmp(&(&b.0, b.1.0)));
        gone.into_iter().filter_map(|(channel, client)| self.leave(&channel, client, None)).collect()
    }

    /// Those whose time away is over for `node`: its own after `grace_us`, those of others after twice that, because
    /// their own node may have gone. Whoever is returned comes again after as long, should nothing have become of it.
    pub(crate) fn overdue(&mut self, node: &str, grace_us: u64, now_us: u64) -> Vec<Away> {
        let mut overdue = Vec::new();
        for _ in 0..self.away.len() {
            let due = |a: &mut Away| now_us.saturating_sub(a.read_us) >= grace_us;
            let Some(away) = self.away.pop_front_if(due) else { break };
            let member = self.channels.get(&away.channel).and_then(|m| m.by_client.get(&away.client));
            if member.is_none_or(|m| m.away != Some(away.since)) {
                continue;
            }
            if *away.node == *node {
                overdue.push(away.clone());
            }
            self.away.push_back(Away { node: node.into(), read_us: now_us, ..away });
        }
        overdue
    }
}

impl Members {
    /// The client of a user who is away and whose place one that came takes: the one that was first goes.
    fn replaced(&mut self, user: &str) -> Option<ClientId> {
        let is_users = |id: &&ClientId| self.by_client.get(*id).is_some_and(|m| m.info.user == user);
        let first = self.away.iter().find(is_users).copied()?;
        self.remove(first).map(|_| first)
    }

    fn remove(&mut self, client: ClientId) -> Option<Arc<ClientInfo>> {
        let gone = self.by_client.remove(&client)?;
        if gone.away.is_some() {
            self.away.retain(|id| *id != client);
        }
        if let Some(count) = self.by_user.get_mut(gone.info.user.as_str()) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(gone.info.user.as_str());
            }
        }
        Some(gone.info)
    }
}

#[cfg(test)]
mod tests;
