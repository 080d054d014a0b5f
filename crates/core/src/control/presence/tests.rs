//! The table by itself.

use super::*;

struct Rig {
    presence: Presence,
    at: u64,
    node: NodeId,
}

impl Rig {
    fn new() -> Self {
        Self { presence: Presence::default(), at: 0, node: "n1".into() }
    }

    /// Whether it is told, and in whose place it came.
    fn join(&mut self, client: u128, user: &str) -> (bool, Option<u128>) {
        self.at += 1;
        let info = ClientInfo { user: user.into(), client: ClientId(client).to_string(), ..Default::default() };
        let named = Named { channel: "a", client: ClientId(client), info, node: &self.node, at: self.at };
        match self.presence.join(named) {
            Came::New(change) => (change.joined, None),
            Came::InPlaceOf(other) => (false, Some(other.0)),
            Came::Known => (false, None),
        }
    }

    fn away(&mut self, client: u128) -> u64 {
        self.at += 1;
        self.presence.away("a", ClientId(client), self.at, self.at);
        self.at
    }

    fn leave(&mut self, client: u128, since: Option<u64>) -> bool {
        self.at += 1;
        self.presence.leave("a", ClientId(client), since).is_some_and(|c| !c.joined)
    }
}

#[test]
fn clients_and_users_are_counted_once() {
    let mut rig = Rig::new();
    assert_eq!(rig.join(1, "u"), (true, None));
    assert_eq!(rig.join(1, "u"), (false, None), "named again");
    assert_eq!(rig.join(2, "u"), (true, None));
    assert_eq!(rig.join(3, ""), (true, None));
    assert_eq!((rig.presence.stats("a"), rig.presence.total()), ((3, 2), 3));
    assert_eq!(rig.presence.members("a").len(), 3);
    assert!(rig.leave(1, None) && !rig.leave(1, None));
    assert_eq!(rig.presence.stats("a"), (2, 2));
    assert!(rig.leave(2, None) && rig.leave(3, None));
    assert_eq!((rig.presence.stats("a"), rig.presence.total()), ((0, 0), 0));
    assert!(rig.presence.channels.is_empty(), "an empty channel takes no room");
}

#[test]
fn who_comes_back_in_time_neither_leaves_nor_joins() {
    let mut rig = Rig::new();
    rig.join(1, "u");
    rig.join(2, "v");
    let since = rig.away(1);
    assert_eq!(rig.join(3, "u"), (false, Some(1)));
    assert!(!rig.leave(1, Some(since)));
    assert_eq!((rig.presence.stats("a"), rig.presence.total()), ((2, 2), 2));
    assert_eq!(rig.join(4, "u"), (true, None), "nobody is away any more");
}

#[test]
fn nobody_takes_the_place_of_a_nameless_client() {
    let mut rig = Rig::new();
    rig.join(1, "");
    rig.away(1);
    assert_eq!(rig.join(2, ""), (true, None));
    assert_eq!(rig.presence.stats("a"), (2, 1));
}

#[test]
fn a_late_end_of_an_absence_does_not_end_a_later_one() {
    let mut rig = Rig::new();
    rig.join(1, "u");
    let first = rig.away(1);
    assert_eq!(rig.join(1, "u"), (false, None), "the same client is back");
    let second = rig.away(1);
    assert!(!rig.leave(1, Some(first)));
    assert!(rig.leave(1, Some(second)));
}

#[test]
fn absences_end_in_time_and_those_of_others_later() {
    let mut rig = Rig::new();
    rig.join(1, "u");
    rig.node = "n2".into();
    rig.join(2, "v");
    let (one, _) = (rig.away(1), rig.away(2));
    let overdue =
        |rig: &mut Rig, now| -> Vec<u128> { rig.presence.overdue("n1", 100, now).iter().map(|a| a.client.0).collect() };
    assert_eq!(overdue(&mut rig, one + 50), [0; 0]);
    assert_eq!(overdue(&mut rig, one + 110), [1]);
    assert_eq!(overdue(&mut rig, one + 120), [0; 0], "not asked for again at once");
    assert_eq!(overdue(&mut rig, one + 220), [1, 2], "nothing became of the first, and the other node did nothing");
    rig.leave(1, None);
    rig.leave(2, None);
    assert_eq!(overdue(&mut rig, one + 500), [0; 0]);
    assert!(rig.presence.away.is_empty());
}

#[test]
fn a_node_lapses_with_all_it_named() {
    let mut rig = Rig::new();
    rig.join(1, "u");
    rig.join(2, "v");
    rig.node = "n2".into();
    rig.join(3, "w");
    rig.node = "n1".into();
    let mark = rig.at + 1;
    rig.join(2, "v");
    let left = |changes: Vec<Change>| -> Vec<String> { changes.iter().map(|c| c.info.user.clone()).collect() };
    assert_eq!(left(rig.presence.lapse("n1", mark, false)), ["u"], "2 was named again");
    rig.away(2);
    assert_eq!(left(rig.presence.lapse("n1", u64::MAX, true)), [""; 0]);
    assert_eq!(left(rig.presence.lapse("n1", u64::MAX, false)), ["v"]);
    assert_eq!(rig.presence.stats("a"), (1, 1));
}
