//! What this node has announced, and what it still has to write.
//!
//! Proposals wait here while one record is on its way, and share the next, up to [`CONTROL_RECORD_SHARED_BYTES`]. What
//! waits is bounded: presence by the subscriptions of this node, because a later word about a client in a channel takes
//! the place of an earlier one that still waits, and an announcement of all of it the place of one that is not written to
//! its end; everything else by number and bytes ([`COMMANDS`]). Uplinks have a queue and bounds of their own
//! ([`UPLINKS`]), because anybody may send them: everything else goes first, and they have a share of every record.
//!
//! # Invariants
//! - No record is larger than the log takes: what is larger than [`CONTROL_RECORD_BYTES_MAX`] is refused when it is
//!   proposed.
//! - A change has settled when the log says it. What was in a record that the log refused or lost, or that did not count,
//!   has not, until an announcement has said it again to its end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tidegate_broker::BrokerError;
use tidegate_types::limits::{
    CONTROL_COMMAND_BYTES_MAX, CONTROL_RECORD_BYTES_MAX, CONTROL_RECORD_SHARED_BYTES, CONTROL_UPLINK_BYTES_MAX,
};
use tidegate_types::{ClientId, ClientInfo};
use tokio::sync::oneshot;

use super::record::{Absent, Alive, Entry, Member, Report, Snapshot, Weighed, json_bytes};

/// Proposals other than presence and uplinks that wait at the same time.
const COMMANDS_MAX: usize = 4_096;
const COMMANDS: Bounds = Bounds { entries: COMMANDS_MAX, bytes: CONTROL_COMMAND_BYTES_MAX };
/// Uplinks that wait at the same time.
const UPLINKS_MAX: usize = 1_024;
const UPLINKS: Bounds = Bounds { entries: UPLINKS_MAX, bytes: CONTROL_UPLINK_BYTES_MAX };
/// Bytes of uplinks that share a record: what comes while it is written waits for no more than that. A larger one goes
/// without others.
const UPLINK_SHARE_BYTES: usize = CONTROL_RECORD_SHARED_BYTES / 2;
/// Entries of one record, uplinks not among them, of which there may be as many.
const ENTRIES_MAX: usize = 512;
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

/// What became of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Accepted,
    /// It is in the log and does not count, or will never come to be there.
    Declined,
    /// The log does not take it.
    Refused(BrokerError),
}

/// Told what became of a proposal.
pub(crate) type Verdict = oneshot::Sender<Outcome>;

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    mine: HashMap<Place, Mine, RandomState>,
    /// What is to be written, in its order.
    queue: VecDeque<Queued>,
    /// Whose change is in the queue.
    waiting: HashSet<Place, RandomState>,
    /// Somebody comes for changes at a time of his own, see [`Outbox::gather`].
    gathers: bool,
    /// The last record had no room for all that waited.
    is_backlog: bool,
    /// What others take of the queue.
    commands: Budget,
    uplinks: VecDeque<(Weighed, Option<Verdict>)>,
    /// What those take.
    uplinked: Budget,
    /// Changes ever, those that a record was made of, and those whose record came back.
    changes: u64,
    changes_made: u64,
    changes_settled: u64,
    /// Changes that were made do not count: a life begins, or the log has refused or lost them. Nothing settles until an
    /// announcement was written to its end.
    unsaid: bool,
    /// That announcement is still to be made.
    owed: Option<Owed>,
    /// Number of the last record made.
    seq: u64,
    sent: VecDeque<Sent>,
}

#[derive(Debug)]
enum Queued {
    /// The state of a client in a channel is not that of the log: what `mine` says when it is written.
    Change(Place),
    Command(Weighed, Option<Verdict>),
    Announcement(Box<Announcement>),
}

/// All that this node has announced, as far as it is not written yet. What is said of a client is what counts when its
/// part is written.
#[derive(Debug)]
struct Announcement {
    first: bool,
    report: Report,
    peers: Vec<String>,
    places: VecDeque<Place>,
    /// The changes that are said when the last part is.
    changes: u64,
}

/// An announcement that has to be made because the log has refused a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owed {
    /// The beginning of this node's life was refused too.
    pub(crate) begins: bool,
}

/// How much may wait.
struct Bounds {
    entries: usize,
    bytes: usize,
}

/// How much waits.
#[derive(Default, Debug)]
struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    fn has_room(&self, bytes: usize, bounds: &Bounds) -> bool {
        self.entries < bounds.entries && self.bytes + bytes <= bounds.bytes
    }

    fn take(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
    }

    fn give_back(&mut self, bytes: usize) {
        self.entries -= 1;
        self.bytes -= bytes;
    }
}

/// A record that is being made.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    bytes: usize,
    verdicts: Vec<(usize, Verdict)>,
    /// It says something of this node that has to be said.
    says: Option<Owed>,
    /// Nothing else goes with it.
    whole: bool,
}

/// A record that has not come back yet.
#[derive(Debug)]
struct Sent {
    seq: u64,
    /// The changes that have settled when it comes back.
    settles: Option<u64>,
    verdicts: Vec<(usize, Verdict)>,
    says: Option<Owed>,
}

/// Why something is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unfit {
    /// Nothing more is taken now.
    Full,
    /// No record holds so many bytes.
    TooLarge(usize),
}

impl Draft {
    fn has_room(&self, bytes: usize) -> bool {
        let shared = self.entries.len() < ENTRIES_MAX && self.bytes + bytes <= CONTROL_RECORD_SHARED_BYTES;
        !self.whole && (shared || self.entries.is_empty())
    }

    fn add(&mut self, weighed: Weighed, verdict: Option<Verdict>) {
        self.bytes += weighed.bytes;
        self.verdicts.extend(verdict.map(|verdict| (self.entries.len(), verdict)));
        self.entries.push(weighed.entry);
    }

    /// It says something that is said again should the log refuse it.
    fn says(&mut self, begins: bool) {
        self.says = Some(Owed { begins: begins || self.says.is_some_and(|said| said.begins) });
    }
}

impl Outbox {
    /// Takes back what was proposed of nodes that were silent.
    pub(crate) fn drop_lapses(&mut self) {
        let commands = &mut self.commands;
        self.queue.retain(|queued| match queued {
            Queued::Command(weighed, _) if matches!(weighed.entry, Entry::Lapse(_)) => {
                commands.give_back(weighed.bytes);
                false
            }
            _ => true,
        });
    }

    /// A client of this node is present. It must not be larger than a record ([`Member::too_large`]).
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
    pub(crate) fn propose(&mut self, weighed: Weighed, verdict: Option<Verdict>) -> Result<(), Unfit> {
        if weighed.bytes > CONTROL_RECORD_BYTES_MAX {
            return Err(Unfit::TooLarge(weighed.bytes));
        }
        match &weighed.entry {
            Entry::Uplink(_) if self.uplinked.has_room(weighed.bytes, &UPLINKS) => {
                self.uplinked.take(weighed.bytes);
                self.uplinks.push_back((weighed, verdict));
            }
            Entry::Uplink(_) => return Err(Unfit::Full),
            _ if self.commands.has_room(weighed.bytes, &COMMANDS) => self.command(weighed, verdict),
            _ => return Err(Unfit::Full),
        }
        Ok(())
    }

    fn command(&mut self, weighed: Weighed, verdict: Option<Verdict>) {
        self.commands.take(weighed.bytes);
        self.queue.push_back(Queued::Command(weighed, verdict));
    }

    /// Proposes all that this node has announced, in parts.
    pub(crate) fn announce(&mut self, begins: Option<Entry>, report: &Report, peers: &[String]) {
        // It says all that waits.
        self.queue.retain(|queued| !matches!(queued, Queued::Change(_)));
        self.waiting.clear();
        self.drop_announcement();
        self.unsaid |= begins.is_some();
        // Who asks from now on waits for the last part.
        self.changes += u64::from(self.unsaid);
        self.owed = None;
        if let Some(begins) = begins {
            self.command(Weighed::new(begins), None);
        }
        self.commands.take(0);
        self.queue.push_back(Queued::Announcement(Box::new(Announcement {
            first: true,
            report: report.clone(),
            peers: peers.to_vec(),
            places: self.mine.keys().cloned().collect(),
            changes: self.changes,
        })));
    }

    /// Drops what is not written of an announcement.
    fn drop_announcement(&mut self) {
        let before = self.queue.len();
        self.queue.retain(|queued| !matches!(queued, Queued::Announcement(_)));
        if self.queue.len() < before {
            self.commands.give_back(0);
        }
    }

    /// The entries of the next record, and its number; `None` when nothing waits. Whoever does not wait any more for what
    /// it proposed is passed over.
    pub(crate) fn next(&mut self) -> Option<(u64, Vec<Entry>)> {
        self.gathers = false;
        if self.sent.len() >= SENT_MAX {
            return None;
        }
        let mut draft = Draft::default();
        self.is_backlog = false;
        while let Some(queued) = self.queue.pop_front() {
            if let Some(rest) = self.take(queued, &mut draft) {
                self.queue.push_front(rest);
                self.is_backlog = true;
                break;
            }
        }
        self.take_uplinks(&mut draft);
        (!draft.entries.is_empty()).then(|| self.made(draft))
    }

    /// Puts something into a record. Returns what has no room in it.
    fn take(&mut self, queued: Queued, draft: &mut Draft) -> Option<Queued> {
        match queued {
            Queued::Command(weighed, Some(verdict)) if verdict.is_closed() => self.commands.give_back(weighed.bytes),
            Queued::Command(weighed, verdict) if !draft.has_room(weighed.bytes) => {
                return Some(Queued::Command(weighed, verdict));
            }
            Queued::Command(weighed, verdict) => {
                self.commands.give_back(weighed.bytes);
                if matches!(weighed.entry, Entry::Alive(Alive { begins: true, .. })) {
                    draft.says(true);
                }
                draft.add(weighed, verdict);
            }
            Queued::Change(place) => {
                let weighed = Weighed::new(self.entry(&place));
                if !draft.has_room(weighed.bytes) {
                    return Some(Queued::Change(place));
                }
                self.changes_made += 1;
                self.waiting.remove(&place);
                draft.says(false);
                draft.add(weighed, None);
            }
            // Its parts have records of their own, so that one that is refused takes nothing else with it.
            Queued::Announcement(rest) if !draft.entries.is_empty() => return Some(Queued::Announcement(rest)),
            Queued::Announcement(mut rest) => {
                let part = self.part(&mut rest);
                let last = part.last;
                draft.says(false);
                draft.add(Weighed::new(Entry::Snapshot(part)), None);
                draft.whole = true;
                if !last {
                    return Some(Queued::Announcement(rest));
                }
                self.commands.give_back(0);
                (self.changes_made, self.unsaid) = (rest.changes, false);
            }
        }
        None
    }

    /// Fills the share of the uplinks.
    fn take_uplinks(&mut self, draft: &mut Draft) {
        let (mut entries, mut bytes) = (0, 0);
        while entries < ENTRIES_MAX
            && let Some((weighed, verdict)) = self.uplinks.pop_front()
        {
            let gone = verdict.as_ref().is_some_and(Verdict::is_closed);
            let shared = bytes == 0 || bytes + weighed.bytes <= UPLINK_SHARE_BYTES;
            let fits = shared && draft.bytes + weighed.bytes <= CONTROL_RECORD_BYTES_MAX;
            if !gone && !fits {
                self.uplinks.push_front((weighed, verdict));
                return;
            }
            self.uplinked.give_back(weighed.bytes);
            if !gone {
                entries += 1;
                bytes += weighed.bytes;
                draft.add(weighed, verdict);
            }
        }
    }

    /// The next part of an announcement: as many members as share a record.
    fn part(&self, rest: &mut Announcement) -> Snapshot {
        let (report, peers) = (rest.report.clone(), rest.peers.clone());
        let mut part = Snapshot { first: rest.first, last: false, report, peers, members: Vec::new() };
        let mut bytes = json_bytes(&part);
        while part.members.len() < MEMBERS_MAX
            && let Some(place) = rest.places.front()
        {
            if let Some(mine) = self.mine.get(place) {
                let member = Member::new(&place.0, &mine.info, mine.away);
                bytes += json_bytes(&member) + 1;
                if bytes > CONTROL_RECORD_SHARED_BYTES && !part.members.is_empty() {
                    break;
                }
                part.members.push(member);
            }
            rest.places.pop_front();
        }
        rest.first = false;
        part.last = rest.places.is_empty();
        part
    }

    fn made(&mut self, draft: Draft) -> (u64, Vec<Entry>) {
        self.seq += 1;
        let settles = (!self.unsaid).then_some(self.changes_made);
        self.sent.push_back(Sent { seq: self.seq, settles, verdicts: draft.verdicts, says: draft.says });
        (self.seq, draft.entries)
    }

    fn entry(&self, place: &Place) -> Entry {
        match self.mine.get(place) {
            Some(mine) if !mine.away => Entry::Join(Box::new(Member::new(&place.0, &mine.info, false))),
            found => {
                let absent = Absent { channel: place.0.to_string(), client: place.1.to_string(), since: None };
                if found.is_some() { Entry::Away(absent) } else { Entry::Leave(absent) }
            }
        }
    }

    /// The record `seq` was read back: whoever waits for it, or for one before that will never come, is told.
    pub(crate) fn settle(&mut self, seq: u64, accepted: &[bool]) {
        while let Some(sent) = self.sent.pop_front_if(|sent| sent.seq <= seq) {
            let accepted = if sent.seq == seq { accepted } else { &[] };
            // Where nothing counts, this node was taken for dead when it said it.
            if let Some(settles) = sent.settles.filter(|_| accepted.contains(&true)) {
                self.changes_settled = settles;
            }
            for (at, verdict) in sent.verdicts {
                let accepted = accepted.get(at).copied().unwrap_or_default();
                // Who gave up hears nothing.
                let _ = verdict.send(if accepted { Outcome::Accepted } else { Outcome::Declined });
            }
        }
    }

    /// The log does not take the record `seq`, and never will: whoever waits for what is in it is told why, and what it
    /// says of this node is owed.
    pub(crate) fn refuse(&mut self, seq: u64, why: &BrokerError) {
        // Otherwise it was read back: a try before the one that was refused has stored it.
        let Some(at) = self.sent.iter().rposition(|sent| sent.seq == seq) else { return };
        let Some(sent) = self.sent.remove(at) else { return };
        for (_, verdict) in sent.verdicts {
            // Who gave up hears nothing.
            let _ = verdict.send(Outcome::Refused(why.clone()));
        }
        let Some(Owed { begins }) = sent.says else { return };
        // The other parts of an announcement would be taken for all of it.
        self.drop_announcement();
        self.unsaid = true;
        self.owed = Some(Owed { begins: begins || self.owed.is_some_and(|owed| owed.begins) });
    }

    /// What has to be announced because the log refused it.
    pub(crate) fn owed(&self) -> Option<Owed> {
        self.owed
    }

    /// What was written may never come back, because the log is read anew: who waits for it is told that it was not
    /// accepted.
    pub(crate) fn give_up_sent(&mut self) {
        self.unsaid = true;
        self.settle(self.seq, &[]);
    }

    /// Whether a report waits to be written.
    pub(crate) fn is_to_report(&self) -> bool {
        let reports = |queued: &Queued| matches!(queued, Queued::Command(Weighed { entry: Entry::Alive(_), .. }, _));
        self.queue.iter().any(reports)
    }

    /// Whether changes of presence wait, and nothing else, and the last record had room for all that waited then. If so,
    /// more of them may come without a word, until [`Outbox::next`] takes them.
    pub(crate) fn gather(&mut self) -> bool {
        let only_changes = self.commands.entries == 0 && self.uplinks.is_empty() && !self.queue.is_empty();
        self.gathers = only_changes && !self.is_backlog;
        self.gathers
    }

    /// Whether somebody comes for changes by himself.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers
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

#[cfg(test)]
mod tests;
