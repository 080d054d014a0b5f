//! Several nodes that fold one log.

use super::*;

/// A log, and what each node made of it so far.
struct Cluster {
    at: u64,
    now_us: u64,
    folds: Vec<Fold>,
    seqs: HashMap<String, u64>,
    effects: Vec<Vec<Effect>>,
}

const SECOND: u64 = 1_000_000;

impl Cluster {
    fn new(nodes: &[&str]) -> Self {
        let folds: Vec<Fold> = nodes.iter().map(|n| Fold::new((*n).into())).collect();
        let effects = folds.iter().map(|_| Vec::new()).collect();
        let mut cluster = Self { at: 0, now_us: 0, folds, seqs: HashMap::new(), effects };
        for node in nodes {
            cluster.say(node, vec![begins()]);
        }
        for fold in &mut cluster.folds {
            fold.set_whole();
        }
        cluster.effects.iter_mut().for_each(Vec::clear);
        cluster
    }

    fn say(&mut self, node: &str, entries: Vec<Entry>) {
        let seq = self.seqs.entry(node.to_owned()).or_default();
        *seq += 1;
        let seq = *seq;
        self.put(node, seq, entries);
    }

    fn put(&mut self, node: &str, seq: u64, entries: Vec<Entry>) {
        self.at += 3;
        for (fold, effects) in self.folds.iter_mut().zip(&mut self.effects) {
            let proposal = Proposal { node: node.to_owned(), seq, entries: entries.clone() };
            fold.apply(self.at, proposal, self.now_us, effects);
        }
    }

    /// What happened at every node alike, as text.
    fn told(&mut self) -> String {
        let told = |effects: &mut Vec<Effect>| {
            let changes = effects.drain(..).filter_map(|effect| match effect {
                Effect::Presence(c) => {
                    Some(format!("{}{} in {}", if c.joined { "+" } else { "-" }, c.info.user, c.channel))
                }
                _ => None,
            });
            changes.collect::<Vec<_>>().join(", ")
        };
        let mut all: Vec<String> = self.effects.iter_mut().map(told).collect();
        all.dedup();
        assert_eq!(all.len(), 1, "nodes differ: {all:?}");
        all.remove(0)
    }

    fn present(&self, channel: &str) -> Vec<(usize, usize)> {
        self.folds.iter().map(|f| f.presence.stats(channel)).collect()
    }
}

fn begins() -> Entry {
    Entry::Alive(Alive { begins: true, asks: true, report: Report::default() })
}

fn member(client: u128, user: &str) -> Member {
    Member { channel: "a".into(), client: ClientId(client).to_string(), user: user.into(), ..Default::default() }
}

fn join(client: u128, user: &str) -> Entry {
    Entry::Join(Box::new(member(client, user)))
}

fn absent(client: u128, since: Option<u64>) -> Absent {
    Absent { channel: "a".into(), client: ClientId(client).to_string(), since }
}

fn snapshot(peers: &[&str], members: Vec<Member>) -> Entry {
    let peers = peers.iter().map(|p| (*p).to_owned()).collect();
    Entry::Snapshot(Snapshot { first: true, last: true, report: Report::default(), peers, members })
}

#[test]
fn a_lapse_takes_all_that_a_node_announced_with_it_everywhere() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"]);
    cluster.say("n1", vec![join(1, "u"), join(2, "v")]);
    cluster.say("n2", vec![join(3, "w")]);
    assert_eq!(cluster.told(), "+u in a, +v in a, +w in a");
    let seen = cluster.at - 3;
    cluster.say("n3", vec![Entry::Lapse(Lapse { node: "n1".into(), seen })]);
    assert_eq!(cluster.told(), "-u in a, -v in a");
    assert_eq!(cluster.present("a"), [(1, 1); 3]);
    cluster.say("n1", vec![join(4, "x")]);
    assert_eq!((cluster.told(), cluster.present("a")), (String::new(), vec![(1, 1); 3]), "it has to begin anew");
}

#[test]
fn who_has_written_meanwhile_does_not_lapse() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u")]);
    let seen = cluster.at;
    cluster.say("n1", vec![]);
    cluster.say("n2", vec![Entry::Lapse(Lapse { node: "n1".into(), seen })]);
    assert_eq!(cluster.present("a"), [(1, 1); 2]);
}

#[test]
fn a_node_that_lapsed_learns_it_and_begins_anew_with_all_it_has() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u")]);
    cluster.told();
    let seen = cluster.at;
    cluster.say("n2", vec![Entry::Lapse(Lapse { node: "n1".into(), seen })]);
    assert!(cluster.effects[0].iter().any(|e| matches!(e, Effect::Begin)));
    assert!(!cluster.effects[1].iter().any(|e| matches!(e, Effect::Begin)));
    assert_eq!(cluster.told(), "-u in a");
    let alive = Entry::Alive(Alive { begins: true, ..Default::default() });
    cluster.say("n1", vec![alive, snapshot(&[], vec![member(1, "u"), member(2, "v")])]);
    assert_eq!(cluster.told(), "+u in a, +v in a");
}

#[test]
fn a_record_that_was_stored_twice_counts_once() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u")]);
    cluster.say("n1", vec![Entry::Leave(absent(1, None))]);
    cluster.put("n1", 2, vec![join(1, "u")]);
    assert_eq!(cluster.told(), "+u in a, -u in a");
    assert_eq!(cluster.present("a"), [(0, 0); 2]);
}

#[test]
fn a_snapshot_replaces_what_a_node_had_announced() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u"), join(2, "v")]);
    cluster.say("n2", vec![join(9, "z")]);
    cluster.told();
    cluster.say("n1", vec![snapshot(&["n2"], vec![member(2, "v"), member(3, "w")])]);
    assert_eq!(cluster.told(), "+w in a, -u in a");
    assert_eq!(cluster.present("a"), [(3, 3); 2]);
}

#[test]
fn a_new_node_knows_all_when_everybody_named_has_announced() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u")]);
    cluster.say("n2", vec![join(2, "v")]);
    cluster.told();
    cluster.folds.push(Fold::new("n3".into()));
    cluster.effects.push(Vec::new());
    cluster.say("n2", vec![join(4, "early")]);
    assert_eq!(cluster.folds[2].presence.total(), 0, "a part is not shown as the whole");
    cluster.say("n3", vec![begins()]);
    let asked = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Announce));
    assert_eq!(cluster.effects.iter().map(|e| asked(e)).collect::<Vec<_>>(), [true, true, false]);
    assert!(!cluster.folds[2].is_whole(5 * SECOND, SECOND / 2), "n2 was heard, and has not announced");
    cluster.say("n2", vec![snapshot(&["n1", "n2", "n3"], vec![member(2, "v"), member(4, "early")])]);
    assert!(!cluster.folds[2].is_whole(5 * SECOND, SECOND / 2), "n1 was named");
    cluster.say("n1", vec![snapshot(&["n1", "n2", "n3"], vec![member(1, "u")])]);
    assert!(cluster.folds[2].is_whole(5 * SECOND, 0));
    assert_eq!(cluster.present("a"), [(3, 3); 3]);
    let news = cluster.effects[2].iter().filter(|e| matches!(e, Effect::Presence(_))).count();
    assert_eq!(news, 0, "who was there before is no news");
}

#[test]
fn a_new_node_waits_for_nobody_who_lapses_and_for_nobody_for_long() {
    let mut fold = Fold::new("n3".into());
    let mut effects = Vec::new();
    let mut put = |fold: &mut Fold, at, node: &str, entries| {
        fold.apply(at, Proposal { node: node.into(), seq: at, entries }, 0, &mut effects);
    };
    assert!(!fold.is_whole(5 * SECOND, 10 * SECOND), "it has not read its own beginning");
    put(&mut fold, 1, "n3", vec![begins()]);
    assert!(!fold.is_whole(5 * SECOND, SECOND / 2));
    put(&mut fold, 2, "n2", vec![snapshot(&["n1", "n3"], vec![])]);
    assert!(!fold.is_whole(5 * SECOND, 4 * SECOND), "who was heard of has a lease");
    put(&mut fold, 3, "n2", vec![Entry::Lapse(Lapse { node: "n1".into(), seen: 0 })]);
    assert!(fold.is_whole(5 * SECOND, 0));
    let mut alone = Fold::new("n3".into());
    put(&mut alone, 1, "n3", vec![begins()]);
    assert!(alone.is_whole(5 * SECOND, SECOND));
}

#[test]
fn only_a_node_that_heard_nothing_for_a_lease_while_it_was_live_gives_another_up() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let lapses = |cluster: &mut Cluster, live_since, now| {
        let entries = cluster.folds[0].overdue(10 * SECOND, SECOND, live_since, now);
        entries.iter().filter(|e| matches!(e, Entry::Lapse(l) if l.node == "n2")).count()
    };
    assert_eq!(lapses(&mut cluster, 0, 9 * SECOND), 0);
    assert_eq!(lapses(&mut cluster, 5 * SECOND, 14 * SECOND), 0, "its tail was not live all the time");
    assert_eq!(lapses(&mut cluster, 5 * SECOND, 15 * SECOND), 1);
    assert_eq!(lapses(&mut cluster, 5 * SECOND, 15 * SECOND), 0, "it has just said so");
    assert_eq!(lapses(&mut cluster, 5 * SECOND, 17 * SECOND), 1);
}

#[test]
fn clients_of_a_node_that_goes_in_order_are_away_until_others_end_it() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u"), join(2, "v")]);
    cluster.told();
    cluster.say("n1", vec![Entry::Away(absent(1, None))]);
    cluster.say("n1", vec![Entry::Gone(super::super::record::Empty {})]);
    assert_eq!(cluster.told(), "-v in a", "who was not said to be away lapses");
    cluster.say("n2", vec![join(3, "u")]);
    let replaced =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Replaced { client: ClientId(1), .. }));
    assert!(cluster.effects.iter().all(|effects| replaced(effects)), "whoever had it forgets it");
    assert_eq!((cluster.told(), cluster.present("a")), (String::new(), vec![(1, 1); 2]), "u is back elsewhere");
    cluster.say("n2", vec![Entry::Away(absent(3, None))]);
    let due = cluster.folds[1].overdue(SECOND, SECOND, 0, SECOND);
    let [.., Entry::Leave(leave)] = due.as_slice() else { panic!("{due:?}") };
    assert_eq!(leave.since, Some(cluster.at));
    cluster.say("n2", due.clone());
    assert_eq!((cluster.told().as_str(), cluster.present("a")), ("-u in a", vec![(0, 0); 2]));
}

#[test]
fn who_was_gone_before_anybody_knew_is_forgotten_by_its_node() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let forgotten =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Replaced { client: ClientId(1), .. }));
    cluster.say("n1", vec![Entry::Away(absent(1, None))]);
    assert!(forgotten(&cluster.effects[0]) && !forgotten(&cluster.effects[1]));
    assert_eq!((cluster.told(), cluster.present("a")), (String::new(), vec![(0, 0); 2]));
    cluster.say("n1", vec![join(2, "u")]);
    cluster.say("n1", vec![Entry::Away(absent(2, None))]);
    assert!(!cluster.effects.iter().any(|effects| forgotten(effects)), "this one is awaited");
    // Also in a channel that others are in.
    cluster.say("n1", vec![Entry::Away(absent(1, None))]);
    assert!(forgotten(&cluster.effects[0]));
}

#[test]
fn who_comes_again_with_another_info_has_it_on_every_node() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let again = Member { chan_info: "2".into(), ..member(1, "u") };
    cluster.say("n1", vec![join(1, "u"), Entry::Join(Box::new(again))]);
    for fold in &cluster.folds {
        let members = fold.presence.members("a");
        assert_eq!(members.iter().map(|info| &info.chan_info[..]).collect::<Vec<_>>(), [b"2"]);
    }
    assert_eq!(cluster.told(), "+u in a");
}

#[test]
fn commands_reach_their_node_alone_and_nobody_when_it_is_unknown() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let uplink =
        |node: &str| Entry::Uplink(Uplink { node: node.into(), session: "s".into(), data: STANDARD.encode("hi") });
    cluster.say("n1", vec![uplink("n2"), uplink("n3"), Entry::Unknown]);
    let [Effect::Settled { seq: 2, accepted }] = cluster.effects[0].as_slice() else { panic!("{:?}", cluster.effects) };
    assert_eq!(accepted, &[true, false, false]);
    let [Effect::Uplink { session, data }] = cluster.effects[1].as_slice() else { panic!("{:?}", cluster.effects) };
    assert_eq!((session.as_str(), &data[..]), ("s", &b"hi"[..]));
}

#[test]
fn a_node_that_has_lapsed_carries_no_commands_out_that_their_sender_believes_lost() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let uplink = Uplink { node: "n2".into(), session: "s".into(), data: STANDARD.encode("hi") };
    let seen = cluster.at;
    cluster.say("n1", vec![Entry::Lapse(Lapse { node: "n2".into(), seen }), Entry::Uplink(uplink)]);
    let [.., Effect::Settled { accepted, .. }] = cluster.effects[0].as_slice() else { panic!("{:?}", cluster.effects) };
    assert_eq!(accepted, &[true, false]);
    assert!(!cluster.effects[1].iter().any(|effect| matches!(effect, Effect::Uplink { .. })), "{:?}", cluster.effects);
}

#[test]
fn a_new_node_does_not_believe_itself_whole_by_what_others_say_that_know_no_more() {
    let whole = |entries: Vec<Entry>| {
        let mut fold = Fold::new("n3".into());
        let mut effects = Vec::new();
        fold.apply(1, Proposal { node: "n1".into(), seq: 1, entries }, 0, &mut effects);
        fold.apply(2, Proposal { node: "n3".into(), seq: 1, entries: vec![begins()] }, 0, &mut effects);
        (fold.is_whole(5 * SECOND, SECOND / 2), fold.is_whole(5 * SECOND, SECOND))
    };
    // It began just before, and did not know anybody.
    assert_eq!(whole(vec![begins(), snapshot(&[], vec![])]), (false, true));
    // The first part of it was before the tail.
    let last =
        Snapshot { first: false, last: true, report: Report::default(), peers: vec!["n3".into()], members: vec![] };
    assert_eq!(whole(vec![begins(), Entry::Snapshot(last)]), (false, false));
    assert_eq!(whole(vec![begins(), snapshot(&["n1", "n3"], vec![])]), (true, true));
}

#[test]
fn after_a_hole_who_is_announced_comes_as_all_have_left() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    cluster.say("n1", vec![join(1, "u")]);
    assert_eq!(cluster.told(), "+u in a");
    let mut effects = Vec::new();
    cluster.folds[1].forget(&mut effects);
    assert!(effects.iter().any(|e| matches!(e, Effect::Presence(change) if !change.joined)));
    cluster.say("n1", vec![snapshot(&["n1", "n2"], vec![member(1, "u")])]);
    let told = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Presence(c) if c.joined)).count();
    assert_eq!((told(&cluster.effects[0]), told(&cluster.effects[1])), (0, 1));
}
