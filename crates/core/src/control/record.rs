//! What the control log carries: one JSON object per record, so that a person can read it and nodes of different
//! versions understand each other. A node skips entries that it does not know.

use serde::{Deserialize, Deserializer, Serialize};
use tidegate_auth::Overrides;
use tidegate_types::limits::CONTROL_RECORD_BYTES_MAX;
use tidegate_types::{ChannelName, ClientInfo};

/// One record: what one node proposes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// The node's id.
    pub(crate) node: String,
    /// Counts the records of this life of the node from 1: a record that was stored twice counts once.
    pub(crate) seq: u64,
    pub(crate) entries: Vec<Entry>,
}

/// One thing that a node proposes. Written as an object with one key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "AnyEntry")]
pub(crate) enum Entry {
    /// The node is there. Renews its lease, as every record of it does.
    Alive(Alive),
    /// Everything that the node has announced; what it announced before and is not in here lapses.
    Snapshot(Snapshot),
    /// The node goes.
    Gone(Empty),
    /// A node was silent for a whole lease: it lapses, unless it has written after `seen`.
    Lapse(Lapse),
    /// A client is present in a channel.
    Join(Box<Member>),
    /// Its connection broke: it leaves soon, unless its user is back before.
    Away(Absent),
    /// It left.
    Leave(Absent),
    /// Commands for a connection of another node.
    Uplink(Uplink),
    /// An order of a backend for connections, wherever they are.
    Order(Order),
    /// Every node says which channels it has.
    Survey(Survey),
    /// What a node has.
    Counts(Counts),
    /// Of a version that this node does not know.
    Unknown,
}

/// An entry, and how many bytes of a record it takes.
#[derive(Debug)]
pub(crate) struct Weighed {
    pub(crate) entry: Entry,
    pub(crate) bytes: usize,
}

impl Weighed {
    pub(crate) fn new(entry: Entry) -> Self {
        Self { bytes: json_bytes(&entry) + 1, entry }
    }
}

/// How long the JSON of a value is.
pub(crate) fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, written: &[u8]) -> std::io::Result<usize> {
            self.0 += written.len();
            Ok(written.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("texts and numbers serialise");
    count.0
}

/// The report of a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Alive {
    /// A life begins: nothing announced before counts any more.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) begins: bool,
    /// The others are asked to announce what they have.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) asks: bool,
    pub(crate) report: Report,
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The configured name.
    pub name: String,
    /// Version text.
    pub version: String,
    /// Open sessions.
    pub clients: u64,
    /// Users with a session, each counted once; `None` where the node is of a version that does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Channels with a subscription.
    pub channels: u64,
    /// Seconds since start.
    pub uptime_seconds: u64,
}

/// A part of what a node has announced.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    /// The first part: all members of the node that no part confirms lapse with the last one.
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) report: Report,
    /// The nodes that this one knows, so that a new one knows for whom to wait.
    pub(crate) peers: Vec<String>,
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lapse {
    pub(crate) node: String,
    /// Offset of the last record that the proposer has read of it.
    pub(crate) seen: u64,
}

/// A client in a channel.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Member {
    pub(crate) channel: String,
    pub(crate) client: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    /// JSON; empty = none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) conn_info: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) chan_info: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) away: bool,
}

/// An escaped byte of JSON at its longest, `\u0000`.
const ESCAPED: usize = 6;
/// More than keys, ids and a channel's name take.
const MEMBER_OWN_BYTES: usize = 1_024;

impl Member {
    pub(crate) fn new(channel: &str, info: &ClientInfo, away: bool) -> Self {
        let text = |json: &[u8]| String::from_utf8_lossy(json).into_owned();
        Self {
            channel: channel.to_owned(),
            client: info.client.clone(),
            user: info.user.clone(),
            conn_info: text(&info.conn_info),
            chan_info: text(&info.chan_info),
            away,
        }
    }

    /// What a client of a channel takes of a record, where that is more than a record holds.
    pub(crate) fn too_large(channel: &ChannelName, info: &ClientInfo) -> Option<usize> {
        let plain = info.user.len() + info.conn_info.len() + info.chan_info.len();
        if plain * ESCAPED + MEMBER_OWN_BYTES <= CONTROL_RECORD_BYTES_MAX {
            return None;
        }
        let bytes = json_bytes(&Self::new(channel.as_str(), info, true)) + MEMBER_OWN_BYTES;
        (bytes > CONTROL_RECORD_BYTES_MAX).then_some(bytes)
    }
}

/// A client that is not in a channel any more.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Absent {
    pub(crate) channel: String,
    pub(crate) client: String,
    /// Only if it is away since this offset; `None` = in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<u64>,
}

/// Commands of a client whose connection is elsewhere.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Uplink {
    pub(crate) node: String,
    /// A secret of the client.
    pub(crate) session: String,
    /// Base64.
    pub(crate) data: String,
}

impl std::fmt::Debug for Uplink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Uplink to {}", self.node)
    }
}

/// A question for channels with subscribers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Survey {
    /// Of the asking node's choice.
    pub(crate) id: u64,
    pub(crate) pattern: String,
}

/// A part of a node's answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// The node that asked, and what.
    pub(crate) to: String,
    pub(crate) id: u64,
    pub(crate) last: bool,
    /// There are more than an answer may name, and none is named.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) too_many: bool,
    pub(crate) channels: Vec<(String, u32)>,
}

/// What a backend orders, and for whom.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Sessions of this user; empty = whoever the other two name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Only the session with this public id; empty = any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// Only the session with this secret; empty = any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// What is to be done.
    #[serde(deserialize_with = "known_or_nothing")]
    pub action: Action,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("user", &self.user).field("action", &self.action).finish_non_exhaustive()
    }
}

/// What is to be done with the sessions that an order names.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Close them.
    Disconnect {
        /// The code, as of a WebSocket close.
        code: u16,
        /// Why; shorter than a close frame, and no JSON.
        reason: String,
        /// Public ids of sessions that stay.
        #[serde(default)]
        whitelist: Vec<String>,
    },
    /// End their subscription to a channel.
    Unsubscribe {
        /// The channel.
        channel: String,
    },
    /// Subscribe them to a channel.
    Subscribe(Box<OrderedSubscription>),
    /// The newest session of a user is `client`: those before it are closed.
    Single {
        /// Its public id.
        client: String,
    },
    /// Set when their token expires.
    Refresh {
        /// Seconds since 1970; `None` = never.
        expire_at: Option<i64>,
        /// How they show from now on, as JSON; empty = as before.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        info: String,
    },
    /// Nothing: of a version that this node does not know.
    #[default]
    Nothing,
}

fn known_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// A subscription that a backend makes for sessions. Payloads are JSON; empty = none.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderedSubscription {
    /// The channel.
    pub channel: String,
    /// Shown to others.
    pub info: String,
    /// Data for the subscriber.
    pub data: String,
    /// What the session has of the channel already: offset and epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<(u64, String)>,
    /// When it ends, seconds since 1970; `None` = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_at: Option<i64>,
    /// What differs from the channel's settings.
    pub overrides: Overrides,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// An entry as it is read: keys that are not here are of another version.
#[derive(Deserialize, Default)]
#[serde(default)]
struct AnyEntry {
    alive: Option<Alive>,
    snapshot: Option<Snapshot>,
    gone: Option<Empty>,
    lapse: Option<Lapse>,
    join: Option<Box<Member>>,
    away: Option<Absent>,
    leave: Option<Absent>,
    uplink: Option<Uplink>,
    order: Option<Order>,
    survey: Option<Survey>,
    counts: Option<Counts>,
}

impl From<AnyEntry> for Entry {
    fn from(any: AnyEntry) -> Self {
        let AnyEntry { alive, snapshot, gone, lapse, join, away, leave, uplink, order, survey, counts } = any;
        let found = [
            join.map(Self::Join),
            leave.map(Self::Leave),
            away.map(Self::Away),
            alive.map(Self::Alive),
            uplink.map(Self::Uplink),
            order.map(Self::Order),
            snapshot.map(Self::Snapshot),
            lapse.map(Self::Lapse),
            gone.map(Self::Gone),
            survey.map(Self::Survey),
            counts.map(Self::Counts),
        ];
        found.into_iter().flatten().next().unwrap_or(Self::Unknown)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_readable_and_unknown_entries_are_skipped() {
        let member = Member { channel: "news".into(), client: "c1".into(), user: "u".into(), ..Default::default() };
        let proposal = Proposal { node: "n1".into(), seq: 7, entries: vec![Entry::Join(Box::new(member))] };
        let text = serde_json::to_string(&proposal).unwrap();
        assert_eq!(text, r#"{"node":"n1","seq":7,"entries":[{"join":{"channel":"news","client":"c1","user":"u"}}]}"#);
        assert_eq!(serde_json::from_str::<Proposal>(&text).unwrap(), proposal);
        let newer = r#"{"node":"n1","seq":8,"more":1,"entries":[{"vote":{"x":1}},{"gone":{}}]}"#;
        let read: Proposal = serde_json::from_str(newer).unwrap();
        assert_eq!(read.entries, [Entry::Unknown, Entry::Gone(Empty {})]);
    }

    #[test]
    fn a_member_is_too_large_by_its_json_and_not_by_its_length() {
        let channel = ChannelName::parse("news").unwrap();
        let too_large = |chan_info: String| {
            let info = ClientInfo { user: "u".into(), chan_info: chan_info.into(), ..Default::default() };
            let bytes = Member::too_large(&channel, &info);
            assert!(bytes.is_some() || json_bytes(&Member::new("news", &info, true)) < CONTROL_RECORD_BYTES_MAX);
            bytes.is_some()
        };
        assert!(!too_large("x".repeat(100_000)) && !too_large("x".repeat(CONTROL_RECORD_BYTES_MAX - 2_000)));
        assert!(
            too_large("\"".repeat(CONTROL_RECORD_BYTES_MAX / 2)) && too_large("x".repeat(CONTROL_RECORD_BYTES_MAX))
        );
    }

    #[test]
    fn an_order_of_another_version_is_nothing() {
        let order: Order = serde_json::from_str(r#"{"user":"u","action":{"dance":{"tempo":3}}}"#).unwrap();
        assert_eq!((order.user.as_str(), order.action), ("u", Action::Nothing));
    }

    #[test]
    fn a_report_of_before_users_were_counted_has_none() {
        let text = r#"{"name":"n1","version":"1","clients":3,"subscriptions":4,"channels":2,"uptime_seconds":9}"#;
        let old: Report = serde_json::from_str(text).unwrap();
        assert_eq!((old.clients, old.users), (3, None));
        assert_eq!(serde_json::to_string(&old).unwrap(), text);
        let counted = serde_json::to_string(&Report { users: Some(2), ..old }).unwrap();
        assert!(counted.contains(r#""users":2"#), "{counted}");
    }

    #[test]
    fn a_refresh_of_before_there_was_info_has_none() {
        let refresh = Action::Refresh { expire_at: Some(7), info: String::new() };
        let text = r#"{"refresh":{"expire_at":7}}"#;
        assert_eq!(serde_json::to_string(&refresh).unwrap(), text);
        assert_eq!(serde_json::from_str::<Action>(text).unwrap(), refresh);
    }

    #[test]
    fn a_session_is_not_printed() {
        let uplink = Uplink { node: "n1".into(), session: "secret".into(), data: String::new() };
        assert!(!format!("{uplink:?}").contains("secret"));
    }
}
