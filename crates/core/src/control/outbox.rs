//! What this node has announced, and what it still has to write.
//!
//! Proposals wait here while one record is on its way, and share the next. What waits is bounded: presence by the
//! subscriptions of this node, because a later word about a client in a channel takes the place of an earlier one that
//! still waits; everything else by [`COMMANDS_MAX`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tidegate_types::{ClientId, ClientInfo};
use tokio::sync::oneshot;

use super::record::{Absent, Entry, Member, Report, Snapshot};

/// Proposals other than presence that wait at the same time.
const COMMANDS_MAX: usize = 4_096;
/// Entries of one record.
const ENTRIES_MAX: usize = 512;
/// Bytes of commands after which a record takes no more.
const BYTES_MAX: usize = 256 << 10;
/// Records that were made and have not come back: no more are made until one does.
const SENT_MAX: usize = 1_024;
/// Members of one part of a snapshot.
const MEMBERS_MAX: usize = 512;

type Place = (Arc<str>, ClientId);

#[derive(Debug)]
struct Mine {
    info: Arc<ClientInfo>,
    away: bool,
}

/// Told whether a proposal was accepted.
pub(crate) type Verdict = oneshot::Sender<bool>;

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    mine: HashMap<Place, Mine, RandomState>,
    /// What is to be written, in its order.
    queue: VecDeque<Queued>,
    /// Whose change is in the queue.
    waiting: HashSet<Place, RandomState>,
    /// How many commands are in the queue.
    commands: usize,
    /// Changes ever, those that a record was made of, and those whose record came back.
    changes: u64,
    changes_made: u64,
    changes_settled: u64,
    /// Number of the last record made.
    seq: u64,
    sent: VecDeque<Sent>,
}

#[derive(Debug)]
enum Queued {
    /// The state of a client in a channel is not that of the log: what `mine` says when it is written.
    Change(Place),
    Command(Entry, Option<Verdict>),
}

/// A record that has not come back yet.
#[derive(Debug)]
struct Sent {
    seq: u64,
    changes_made: u64,
    verdicts: Vec<(usize, Verdict)>,
}

/// Nothing more is taken now.
#[derive(Debug)]
pub(crate) struct Full;

impl Outbox {
    /// A client of this node is present.
    pub(crate) fn join(&mut self, channel: Arc<str>, client: ClientId, info: ClientInfo) {
        let place = (channel, client);
        self.mine.insert(place.clone(), Mine { info: Arc::new(info), away: false });
        self.change(place);
    }

    /// It left; `away` when only its connection broke. Who has no name cannot be known again, and left in any case.
    pub(crate) fn leave(&mut self, channel: Arc<str>, client: ClientId, away: bool) {
        let place = (channel, client);
        match self.mine.get_mut(&place) {
            Some(mine) if away && !mine.info.user.is_empty() => mine.away = true,
            Some(_) => drop(self.mine.remove(&place)),
            None => return,
        }
        self.change(place);
    }

    /// It left for good: the log says so.
    pub(crate) fn left(&mut self, channel: &str, client: ClientId) {
        let place = (Arc::from(channel), client);
        if self.mine.get(&place).is_some_and(|mine| mine.away) {
            self.mine.remove(&place);
        }
    }

    fn change(&mut self, place: Place) {
        if self.waiting.insert(place.clone()) {
            self.queue.push_back(Queued::Change(place));
            self.changes += 1;
        }
    }

    /// Proposes something else.
    pub(crate) fn propose(&mut self, entry: Entry, verdict: Option<Verdict>) -> Result<(), Full> {
        if self.commands >= COMMANDS_MAX {
            return Err(Full);
        }
        self.command(entry, verdict);
        Ok(())
    }

    fn command(&mut self, entry: Entry, verdict: Option<Verdict>) {
        self.commands += 1;
        self.queue.push_back(Queued::Command(entry, verdict));
    }

    /// Proposes all that this node has announced, in parts.
    pub(crate) fn announce(&mut self, begins: Option<Entry>, report: &Report, peers: &[String]) {
        // It says all that waits.
        self.queue.retain(|queued| matches!(queued, Queued::Command(..)));
        self.waiting.clear();
        self.changes_made = self.changes;
        if let Some(begins) = begins {
            self.command(begins, None);
        }
        let members: Vec<Member> = self.mine.iter().map(|(place, mine)| member(place, mine)).collect();
        let parts = members.len().div_ceil(MEMBERS_MAX).max(1);
        let mut members = members.into_iter();
        for part in 0..parts {
            let snapshot = Snapshot {
                first: part == 0,
                last: part + 1 == parts,
                report: report.clone(),
                peers: peers.to_vec(),
                members: members.by_ref().take(MEMBERS_MAX).collect(),
            };
            self.command(Entry::Snapshot(snapshot), None);
        }
    }

    /// The entries of the next record, and its number; `None` when nothing waits. Whoever does not wait any more for what
    /// it proposed is passed over.
    pub(crate) fn next(&mut self) -> Option<(u64, Vec<Entry>)> {
        if self.sent.len() >= SENT_MAX {
            return None;
        }
        let mut entries = Vec::new();
        let mut verdicts = Vec::new();
        let mut bytes = 0;
        while entries.len() < ENTRIES_MAX
            && bytes < BYTES_MAX
            && let Some(queued) = self.queue.pop_front()
        {
            let (entry, verdict) = match queued {
                Queued::Command(entry, verdict) => {
                    self.commands -= 1;
                    (entry, verdict)
                }
                Queued::Change(place) => {
                    self.changes_made += 1;
                    self.waiting.remove(&place);
                    (self.entry(place), None)
                }
            };
            let whole = matches!(entry, Entry::Snapshot(_));
            if let Entry::Uplink(uplink) = &entry {
                bytes += uplink.data.len();
            }
            match verdict {
                Some(verdict) if verdict.is_closed() => continue,
                Some(verdict) => verdicts.push((entries.len(), verdict)),
                None => {}
            }
            entries.push(entry);
            if whole {
                // Large enough for a record of its own.
                return Some(self.made(entries, verdicts));
            }
        }
        (!entries.is_empty()).then(|| self.made(entries, verdicts))
    }

    fn made(&mut self, entries: Vec<Entry>, verdicts: Vec<(usize, Verdict)>) -> (u64, Vec<Entry>) {
        self.seq += 1;
        self.sent.push_back(Sent { seq: self.seq, changes_made: self.changes_made, verdicts });
        (self.seq, entries)
    }

    fn entry(&self, place: Place) -> Entry {
        match self.mine.get(&place) {
            Some(mine) if !mine.away => Entry::Join(Box::new(member(&place, mine))),
            found => {
                let absent = Absent { channel: place.0.to_string(), client: place.1.to_string(), since: None };
                if found.is_some() { Entry::Away(absent) } else { Entry::Leave(absent) }
            }
        }
    }

    /// The record `seq` was read back: whoever waits for it, or for one before that will never come, is told.
    pub(crate) fn settle(&mut self, seq: u64, accepted: &[bool]) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.seq <= seq) {
            self.changes_settled = sent.changes_made;
            for (at, verdict) in sent.verdicts {
                let accepted = sent.seq == seq && accepted.get(at).copied().unwrap_or_default();
                // Who gave up hears nothing.
                let _ = verdict.send(accepted);
            }
        }
    }

    /// What was written may never come back, because the log is read anew: who waits for it is told that it was not
    /// accepted.
    pub(crate) fn give_up_sent(&mut self) {
        self.settle(self.seq, &[]);
    }

    /// Whether a report waits to be written.
    pub(crate) fn is_to_report(&self) -> bool {
        self.queue.iter().any(|queued| matches!(queued, Queued::Command(Entry::Alive(_), _)))
    }

    /// Whether changes of presence wait, and nothing else.
    pub(crate) fn has_only_changes(&self) -> bool {
        self.commands == 0 && !self.queue.is_empty()
    }

    /// Names everything that was said of presence so far, for [`Outbox::has_settled`].
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether all of that came back.
    pub(crate) fn has_settled(&self, changes: u64) -> bool {
        self.changes_settled >= changes
    }
}

fn member(place: &Place, mine: &Mine) -> Member {
    let text = |json: &[u8]| String::from_utf8_lossy(json).into_owned();
    Member {
        channel: place.0.to_string(),
        client: mine.info.client.clone(),
        user: mine.info.user.clone(),
        conn_info: text(&mine.info.conn_info),
        chan_info: text(&mine.info.chan_info),
        away: mine.away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(user: &str, client: u128) -> ClientInfo {
        ClientInfo { user: user.into(), client: ClientId(client).to_string(), ..Default::default() }
    }

    fn kinds(entries: &[Entry]) -> String {
        let kind = |e: &Entry| serde_json::to_value(e).unwrap().as_object().unwrap().keys().next().unwrap().clone();
        entries.iter().map(kind).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_waits_shares_a_record_and_the_last_word_counts() {
        let mut outbox = Outbox::default();
        assert!(outbox.next().is_none());
        for client in 1..=3 {
            outbox.join("a".into(), ClientId(client), info("u", client));
        }
        outbox.join("a".into(), ClientId(4), info("", 4));
        outbox.leave("a".into(), ClientId(4), true);
        outbox.leave("a".into(), ClientId(2), false);
        outbox.leave("a".into(), ClientId(3), true);
        outbox.leave("b".into(), ClientId(3), true);
        let said = outbox.changes();
        assert!(!outbox.has_settled(said));
        let (seq, entries) = outbox.next().unwrap();
        assert_eq!((seq, kinds(&entries).as_str()), (1, "join leave away leave"), "nothing was announced of b");
        assert!(outbox.next().is_none() && !outbox.has_settled(said));
        outbox.settle(1, &[]);
        assert!(outbox.has_settled(said));
        outbox.left("a", ClientId(1));
        outbox.left("a", ClientId(3));
        assert_eq!(outbox.mine.len(), 1, "who is not away has not left");
    }

    #[test]
    fn verdicts_reach_who_waits() {
        let mut outbox = Outbox::default();
        let ask = |outbox: &mut Outbox| {
            let (tx, rx) = oneshot::channel();
            outbox.propose(Entry::Unknown, Some(tx)).unwrap();
            rx
        };
        let (mut yes, mut no, gone) = (ask(&mut outbox), ask(&mut outbox), ask(&mut outbox));
        drop(gone);
        assert_eq!(outbox.next().unwrap().1.len(), 2);
        let mut never = ask(&mut outbox);
        outbox.next().unwrap();
        outbox.settle(1, &[true, false]);
        assert_eq!((yes.try_recv(), no.try_recv()), (Ok(true), Ok(false)));
        assert!(never.try_recv().is_err());
        outbox.settle(3, &[]);
        assert_eq!(never.try_recv(), Ok(false), "a later record came without this one");
    }

    #[test]
    fn records_that_do_not_come_back_are_bounded() {
        let mut outbox = Outbox::default();
        let mut made = 0;
        for _ in 0..2 * SENT_MAX {
            outbox.propose(Entry::Unknown, None).unwrap();
            made += usize::from(outbox.next().is_some());
        }
        assert_eq!(made, SENT_MAX);
        outbox.give_up_sent();
        assert_eq!(outbox.next().unwrap().1.len(), ENTRIES_MAX, "what waits goes on");
    }

    #[test]
    fn proposals_are_bounded() {
        let mut outbox = Outbox::default();
        for _ in 0..COMMANDS_MAX {
            outbox.propose(Entry::Unknown, None).unwrap();
        }
        assert!(outbox.propose(Entry::Unknown, None).is_err());
    }

    #[test]
    fn an_announcement_comes_in_parts_and_says_what_waits() {
        let mut outbox = Outbox::default();
        let count = MEMBERS_MAX + 1;
        for client in 0..count as u128 {
            outbox.join("a".into(), ClientId(client), info("u", client));
        }
        outbox.announce(None, &Report::default(), &["n2".into()]);
        let mut named = 0;
        for (first, last) in [(true, false), (false, true)] {
            let (_, entries) = outbox.next().unwrap();
            let [Entry::Snapshot(part)] = entries.as_slice() else { panic!("{entries:?}") };
            assert_eq!((part.first, part.last), (first, last));
            named += part.members.len();
        }
        assert_eq!((named, outbox.next().is_none()), (count, true));
    }
}
