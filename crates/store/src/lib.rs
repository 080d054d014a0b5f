//! The durable log on local disk. Knows nothing of brokers or clients.
//!
//! One log, appended to by one committer thread. Each record belongs to a channel and gets the next number of that
//! channel. What [`Store::append`] acknowledged is on disk; what readers and followers see is on disk; so nothing that
//! anybody saw is taken back by a crash, and no number is used twice.
//!
//! # Files of a directory (format version 2, all integers little-endian)
//!
//! | file | content |
//! | --- | --- |
//! | `LOCK` | held with `flock` while the store is open; the text is the holder's process id |
//! | `META` | `tidegate-store 2` and `epoch <16 hex digits>`, a line each; written once |
//! | `<base>.log` | a segment: 16 bytes head (`TGLOG\0\0\2`, u64 base offset), then records; 20 digits of base in the name |
//! | `<base>.idx` | of a sealed segment: where records are, and the last number of each channel in it |
//! | `<base>.state` | everything a start needs about what lies before `base`; the newest counts |
//!
//! A record is u32 length of the body, u32 CRC-32C of the body, then the body:
//!
//! | bytes | field |
//! | --- | --- |
//! | 8 | offset in the log |
//! | 8 | offset of the first record of the write that this one was part of |
//! | 8 | number in the channel: the one before it and 1 |
//! | 8 | offset of the channel's record before this one; `u64::MAX` = none |
//! | 8 | offset of an older record of the channel, by which far ones are found; `u64::MAX` = none |
//! | 8 | time, ms since 1970 |
//! | 8 | version number; 0 = none |
//! | 4, 4 | how many newest records the channel wants kept, and for how many seconds |
//! | 2, 2, 2, 4 | lengths of key, idempotency key, version epoch, meta |
//! | ... | key, idempotency key, version epoch, meta, and the payload up to the end |
//!
//! A `.state` file begins with `TGSTA\0\0\3` and holds `base`, the largest last number of forgotten channels, the
//! channels, duplicates and versions. One of a version before (`TGSTA\0\0\2`) is read as well: it knows of no forgotten
//! channels, and not how old the others are, so they count as used when it is read. Indexes and states end with a CRC-32C of
//! themselves.
//!
//! Behind the records of the newest segment there may be zeros, laid ahead because a sync is cheaper when a file stays as
//! long as it was. They are cut off when the segment is sealed, when the store is closed, and at a start.
//!
//! # Recovery
//! A start reads the newest `.state` and the segments after it, usually one. Records are taken until one is cut or its
//! checksum fails. If a whole record follows whose write began later, everything before that write had been
//! acknowledged: then data is damaged and the start fails with file and position. Otherwise it is the torn end of the
//! last write, which nobody was told of, and is cut off. A `<base>.idx` without its `.log` says what retention deleted.
//!
//! Segments before the newest state are not read at a start. Damage in one is met by whoever reads that record, as an
//! error that names the place, in the log and in [`Store::damage`]; everybody else goes on.
//!
//! # Memory
//! A channel in the table takes about 200 bytes, and 110 in every `.state` file. It stays there longer than its records: its
//! numbers go on, and a position in it must never mean another record. One of which no record is kept and whose newest is
//! older than [`Options::history_meta_ttl`] is forgotten when the next segment is sealed. What is left of all of those is one
//! number, the largest that any of them had: a channel that is not in the table begins above it, and its top says so. So no
//! number is used twice for one channel, and a position of before shows as gone.
//!
//! What the judge remembers is bounded by [`Options::dedup_records`], what waits by [`Options::queue_max`] and
//! [`Options::queue_bytes_max`]; the indexes of segments that were read take about a thousandth of the segments.

mod chain;
mod committer;
mod error;
mod follow;
mod forget;
mod format;
mod fs;
mod group;
mod judge;
mod open;
mod queue;
mod read;
mod retention;
mod seal;
mod segment;
mod state;
mod store;
mod writer;

pub use error::{AppendError, OpenError, ReadError};
pub use follow::{Follower, FollowerId};
pub use format::Entry;
pub use fs::{File, Fs, RealFs};
pub use queue::{Appended, Done};
pub use read::{ChannelPage, Page, PageLimits};
pub use store::{Append, Bounds, ChannelTop, Identity, Keep, Options, Store};
