use super::*;
use crate::control::record::{Lapse, Order, Proposal, Uplink};

fn info(user: &str, client: u128) -> ClientInfo {
    ClientInfo { user: user.into(), client: ClientId(client).to_string(), ..Default::default() }
}

fn kinds(entries: &[Entry]) -> String {
    let kind = |e: &Entry| serde_json::to_value(e).unwrap().as_object().unwrap().keys().next().unwrap().clone();
    entries.iter().map(kind).collect::<Vec<_>>().join(" ")
}

#[test]
fn changes_gather_until_they_are_taken_or_something_else_comes() {
    let mut outbox = Outbox::default();
    assert!(!outbox.gather() && !outbox.gathers(), "the first one is told at once");
    outbox.join("a".into(), ClientId(1), info("u", 1));
    assert!(!outbox.gathers() && outbox.gather());
    outbox.join("a".into(), ClientId(2), info("u", 2));
    assert!(outbox.gathers(), "nobody is woken for it");
    assert_eq!(outbox.next().map(|(_, entries)| entries.len()), Some(2));
    assert!(!outbox.gathers());
    outbox.join("a".into(), ClientId(3), info("u", 3));
    assert!(outbox.gather() && outbox.propose(Weighed::new(Entry::Order(Order::default())), None).is_ok());
    assert!(!outbox.gather(), "an order does not wait");
}

#[test]
fn changes_that_a_record_had_no_room_for_do_not_gather() {
    let mut outbox = Outbox::default();
    for client in 0..2 * ENTRIES_MAX as u128 + 1 {
        outbox.join("a".into(), ClientId(client), info("u", client));
    }
    for left in [true, true, false] {
        outbox.next().unwrap();
        outbox.join("b".into(), ClientId(1), info("u", 1));
        assert_eq!(outbox.gather(), !left, "the next record goes at once");
    }
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
    outbox.settle(1, &[true; 4]);
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
        outbox.propose(Weighed::new(Entry::Unknown), Some(tx)).unwrap();
        rx
    };
    let (mut yes, mut no, gone) = (ask(&mut outbox), ask(&mut outbox), ask(&mut outbox));
    drop(gone);
    assert_eq!(outbox.next().unwrap().1.len(), 2);
    let mut never = ask(&mut outbox);
    outbox.next().unwrap();
    outbox.settle(1, &[true, false]);
    assert_eq!((yes.try_recv(), no.try_recv()), (Ok(Outcome::Accepted), Ok(Outcome::Declined)));
    assert!(never.try_recv().is_err());
    outbox.settle(3, &[]);
    assert_eq!(never.try_recv(), Ok(Outcome::Declined), "a later record came without this one");
}

#[test]
fn records_that_do_not_come_back_are_bounded() {
    let mut outbox = Outbox::default();
    let mut made = 0;
    for _ in 0..2 * SENT_MAX {
        outbox.propose(Weighed::new(Entry::Unknown), None).unwrap();
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
        outbox.propose(Weighed::new(Entry::Unknown), None).unwrap();
    }
    assert!(outbox.propose(Weighed::new(Entry::Unknown), None).is_err());
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

fn order(bytes: usize) -> Weighed {
    Weighed::new(Entry::Order(Order { user: "x".repeat(bytes), ..Default::default() }))
}

fn record_bytes(entries: &[Entry]) -> usize {
    json_bytes(&Proposal { node: ClientId(7).to_string(), seq: u64::MAX, entries: entries.to_vec() })
}

#[test]
fn records_are_cut_by_their_bytes() {
    let mut outbox = Outbox::default();
    for bytes in [60_000, 60_000, 60_000, 700_000, 10, 60_000] {
        outbox.propose(order(bytes), None).unwrap();
    }
    let mut much = info("u", 1);
    much.chan_info = "\"".repeat(50_000).into();
    outbox.join("a".into(), ClientId(1), much);
    let mut counts = Vec::new();
    while let Some((_, entries)) = outbox.next() {
        assert!(entries.len() == 1 || record_bytes(&entries) < CONTROL_RECORD_SHARED_BYTES + 100);
        counts.push(entries.len());
    }
    assert_eq!(counts, [2, 1, 1, 2, 1], "a large one goes alone, and in its turn");
}

#[test]
fn what_no_record_holds_is_refused_when_it_is_proposed() {
    let mut outbox = Outbox::default();
    let Err(Unfit::TooLarge(bytes)) = outbox.propose(order(CONTROL_RECORD_BYTES_MAX), None) else { panic!("taken") };
    assert!(bytes > CONTROL_RECORD_BYTES_MAX && outbox.next().is_none());
    outbox.propose(order(CONTROL_RECORD_BYTES_MAX - 100), None).unwrap();
    assert!(record_bytes(&outbox.next().unwrap().1) < 1_000_000);
}

#[test]
fn an_announcement_is_cut_by_its_bytes() {
    let mut outbox = Outbox::default();
    for client in 0..200_u128 {
        let chan_info = "x".repeat(1_900).into();
        outbox.join("a".into(), ClientId(client), ClientInfo { chan_info, ..info("u", client) });
    }
    let chan_info = "x".repeat(CONTROL_RECORD_BYTES_MAX - 2_000).into();
    outbox.join("a".into(), ClientId(500), ClientInfo { chan_info, ..info("u", 500) });
    outbox.announce(None, &Report::default(), &[]);
    let (mut named, mut lasts) = (0, Vec::new());
    while let Some((_, entries)) = outbox.next() {
        let [Entry::Snapshot(part)] = entries.as_slice() else { panic!("{entries:?}") };
        let bytes = record_bytes(&entries);
        assert!(bytes < CONTROL_RECORD_SHARED_BYTES + 100 || (part.members.len() == 1 && bytes < 1_000_000));
        named += part.members.len();
        lasts.push(part.last);
    }
    assert_eq!((named, lasts.pop()), (201, Some(true)));
    assert!(lasts.len() >= 3 && !lasts.contains(&true));
}

#[test]
fn what_the_log_refuses_is_answered_and_said_again() {
    let mut outbox = Outbox::default();
    let why = BrokerError::Refused("no".into());
    let (tx, mut rx) = oneshot::channel();
    outbox.propose(order(1), Some(tx)).unwrap();
    outbox.next().unwrap();
    outbox.refuse(1, &why);
    assert_eq!((rx.try_recv(), outbox.owed()), (Ok(Outcome::Refused(why.clone())), None), "an order is not said again");
    outbox.join("a".into(), ClientId(1), info("u", 1));
    let said = outbox.changes();
    outbox.next().unwrap();
    outbox.refuse(2, &why);
    assert_eq!(outbox.owed(), Some(Owed { begins: false }));
    outbox.propose(order(1), None).unwrap();
    outbox.next().unwrap();
    outbox.settle(3, &[true]);
    assert!(!outbox.has_settled(said), "what came back later does not say it");
    outbox.announce(None, &Report::default(), &[]);
    assert_eq!((outbox.next().unwrap().0, outbox.owed()), (4, None));
    outbox.settle(4, &[true]);
    assert!(outbox.has_settled(said) && outbox.has_settled(outbox.changes()));
}

#[test]
fn an_announcement_of_which_a_part_is_refused_is_owed_as_a_whole() {
    let mut outbox = Outbox::default();
    let begins = Entry::Alive(Alive { begins: true, ..Default::default() });
    for client in 0..2 * MEMBERS_MAX as u128 {
        outbox.join("a".into(), ClientId(client), info("u", client));
    }
    outbox.announce(Some(begins), &Report::default(), &[]);
    assert_eq!(kinds(&outbox.next().unwrap().1), "alive", "it is not lost with what comes after it");
    outbox.next().unwrap();
    outbox.refuse(2, &BrokerError::Refused("no".into()));
    assert_eq!(outbox.owed(), Some(Owed { begins: false }));
    outbox.refuse(1, &BrokerError::Refused("no".into()));
    assert_eq!(outbox.owed(), Some(Owed { begins: true }));
    assert!(outbox.next().is_none() && !outbox.gather(), "the last part would end those of the first");
}

fn uplink(bytes: usize) -> Weighed {
    Weighed::new(Entry::Uplink(Uplink { node: "n2".into(), data: "x".repeat(bytes), ..Default::default() }))
}

#[test]
fn a_flood_of_uplinks_has_its_own_bounds_and_others_go_first() {
    let mut outbox = Outbox::default();
    let mut taken = 0;
    while outbox.propose(uplink(100_000), None).is_ok() {
        taken += 1;
        assert!(taken * 100_000 <= CONTROL_UPLINK_BYTES_MAX);
    }
    assert!(taken >= CONTROL_UPLINK_BYTES_MAX / 110_000);
    outbox.propose(order(10), None).unwrap();
    outbox.join("a".into(), ClientId(1), info("u", 1));
    assert!(!outbox.gather());
    assert_eq!(kinds(&outbox.next().unwrap().1), "order join uplink");
    outbox.propose(order(CONTROL_RECORD_BYTES_MAX - 1_000), None).unwrap();
    assert_eq!(kinds(&outbox.next().unwrap().1), "order", "together they were too large");
    outbox.announce(None, &Report::default(), &[]);
    assert_eq!(kinds(&outbox.next().unwrap().1), "snapshot uplink");
    assert_eq!(kinds(&outbox.next().unwrap().1), "uplink", "more would make the next record wait");
    outbox.propose(uplink(100_000), None).unwrap();
}

#[test]
fn small_uplinks_share_a_part_of_a_record_and_are_counted() {
    let mut outbox = Outbox::default();
    for _ in 0..UPLINKS_MAX {
        outbox.propose(uplink(300), None).unwrap();
    }
    assert_eq!(outbox.propose(uplink(1), None), Err(Unfit::Full));
    assert_eq!(outbox.propose(order(1), None), Ok(()));
    let (mut carried, mut records) = (0, 0);
    while let Some((_, entries)) = outbox.next() {
        assert!(record_bytes(&entries) < UPLINK_SHARE_BYTES + 200);
        carried += entries.iter().filter(|entry| matches!(entry, Entry::Uplink(_))).count();
        records += 1;
    }
    assert!(records < 10, "{records}");
    assert_eq!(carried, UPLINKS_MAX);
    outbox.propose(uplink(1), None).unwrap();
}

#[test]
fn what_waits_is_bounded_in_bytes_until_it_is_made_or_nobody_waits_for_it() {
    let mut outbox = Outbox::default();
    let mut waiting = Vec::new();
    loop {
        let (tx, rx) = oneshot::channel();
        match outbox.propose(order(500_000), Some(tx)) {
            Ok(()) => waiting.push(rx),
            Err(unfit) => break assert_eq!(unfit, Unfit::Full),
        }
    }
    assert_eq!(waiting.len(), CONTROL_COMMAND_BYTES_MAX / 500_100);
    outbox.next().unwrap();
    outbox.propose(order(500_000), None).unwrap();
    drop(waiting);
    outbox.next().unwrap();
    assert_eq!((outbox.commands.entries, outbox.commands.bytes, outbox.next().is_none()), (0, 0, true));
}

#[test]
fn what_an_announcement_says_has_settled_with_its_last_part() {
    let mut outbox = Outbox::default();
    for client in 0..=MEMBERS_MAX as u128 {
        outbox.join("a".into(), ClientId(client), info("u", client));
    }
    outbox.propose(order(1), None).unwrap();
    let said = outbox.changes();
    outbox.announce(None, &Report::default(), &[]);
    assert_eq!(outbox.changes(), said, "nobody else waits for it");
    outbox.join("a".into(), ClientId(7), info("v", 7));
    let later = outbox.changes();
    let mut settled = Vec::new();
    while let Some((seq, entries)) = outbox.next() {
        outbox.settle(seq, &[true]);
        settled.push((kinds(&entries), outbox.has_settled(said), outbox.has_settled(later)));
    }
    let expected =
        [("order", false, false), ("snapshot", false, false), ("snapshot", true, false), ("join", true, true)];
    assert_eq!(settled, expected.map(|(kinds, said, later)| (kinds.to_owned(), said, later)));
}

#[test]
fn an_announcement_in_place_of_another_says_what_both_were_to_say() {
    let mut outbox = Outbox::default();
    for client in 0..=MEMBERS_MAX as u128 {
        outbox.join("a".into(), ClientId(client), info("u", client));
    }
    outbox.announce(None, &Report::default(), &[]);
    outbox.next().unwrap();
    outbox.leave("a".into(), ClientId(0), false);
    let said = outbox.changes();
    outbox.announce(None, &Report::default(), &[]);
    let mut parts = Vec::new();
    while let Some((seq, entries)) = outbox.next() {
        assert!(!outbox.has_settled(said));
        outbox.settle(seq, &[true]);
        let [Entry::Snapshot(part)] = entries.as_slice() else { panic!("{entries:?}") };
        parts.push((part.first, part.last, part.members.len()));
    }
    assert_eq!((parts, outbox.has_settled(said)), (vec![(true, true, MEMBERS_MAX)], true));
    assert_eq!(outbox.commands.entries, 0);
}

#[test]
fn what_does_not_count_has_not_settled_and_a_new_life_says_it_again() {
    let mut outbox = Outbox::default();
    outbox.join("a".into(), ClientId(1), info("u", 1));
    let said = outbox.changes();
    outbox.next().unwrap();
    outbox.settle(1, &[false]);
    assert!(!outbox.has_settled(said), "the others took this node for dead");
    let begins = Entry::Alive(Alive { begins: true, ..Default::default() });
    outbox.announce(Some(begins), &Report::default(), &[]);
    let asked_since = outbox.changes();
    outbox.next().unwrap();
    outbox.settle(2, &[true]);
    assert!(!outbox.has_settled(said), "nobody is there yet");
    outbox.next().unwrap();
    outbox.settle(3, &[true]);
    assert!(outbox.has_settled(said) && outbox.has_settled(asked_since));
    outbox.join("a".into(), ClientId(2), info("u", 2));
    let said = outbox.changes();
    outbox.next().unwrap();
    outbox.give_up_sent();
    assert!(!outbox.has_settled(said), "a log that was made anew says nothing");
}

fn lapse(node: &str) -> Weighed {
    Weighed::new(Entry::Lapse(Lapse { node: node.into(), seen: 7 }))
}

#[test]
fn lapses_that_wait_are_taken_back_and_nothing_else() {
    let mut outbox = Outbox::default();
    outbox.propose(order(10), None).unwrap();
    let others = (outbox.commands.entries, outbox.commands.bytes);
    for node in ["n2", "n3"] {
        outbox.propose(lapse(node), None).unwrap();
    }
    outbox.join("a".into(), ClientId(1), info("u", 1));
    outbox.propose(uplink(10), None).unwrap();
    outbox.drop_lapses();
    assert_eq!((outbox.commands.entries, outbox.commands.bytes), others, "their room is free");
    assert_eq!(kinds(&outbox.next().unwrap().1), "order join uplink");
    outbox.propose(lapse("n2"), None).unwrap();
    assert_eq!(kinds(&outbox.next().unwrap().1), "lapse", "it may be proposed again");
}
