//! Errors, each for one operation.

use std::io;
use std::path::PathBuf;

/// Why a directory cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{directory} is in use by process {holder}: one process per directory, end it or choose another directory")]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// Written by a later version, or no store at all.
    #[error("{file} is not of a format that this version reads: {what}")]
    Format {
        /// The file.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// Acknowledged data is damaged.
    #[error(
        "{file} is damaged at byte {position}: {what}. Acknowledged records follow, so nothing was cut off; restore the file from a \
         backup, or move the directory away to start anew (positions of clients are then void)"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        what: String,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

/// Why a record was not stored. Except for [`AppendError::Unknown`] it is certain that it was not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk refused: full, read-only, broken. Appending works again when it does.
    #[error("cannot write to disk: {0}")]
    Disk(String),
    /// Writing failed and so did taking back what was begun: after a restart the record may be there.
    #[error("cannot write to disk: {0}")]
    Unknown(String),
    /// More waits for the disk than the queue holds.
    #[error("the disk does not keep up: {0} appends are waiting")]
    Busy(usize),
    /// A field is longer than the format can hold.
    #[error("{0}")]
    TooLong(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// A mistake in the program ended the committer. What was under way then is [`AppendError::Unknown`].
    #[error("the log broke and stores nothing until the process is started anew: {0}")]
    Broken(String),
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It lies before what is kept.
    #[error("offset {offset} is gone, the oldest kept is {start}")]
    OutOfRange {
        /// What was asked for.
        offset: u64,
        /// The oldest kept.
        start: u64,
    },
    /// A record's checksum fails.
    #[error("{file} is damaged at byte {position}: restore it from a backup, or wait until retention deletes it")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        position: u64,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}
