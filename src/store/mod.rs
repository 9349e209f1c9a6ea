//! Daily rows, and how far every file has been read: committed together, or not at all.
//!
//! [`Store::flush`] is one transaction. It begins by moving the writer's row on by compare-and-swap,
//! then each position, and only then adds. Any miss rolls the whole back and is told as
//! [`FlushError::Overtaken`]: somebody else has moved on, and the caller reads its lines again from
//! the stored positions. So a line is in the rows exactly once, whoever reads it, however often.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chrono_tz::Tz;

use crate::account::balance::Balance;
use crate::account::delta::{Delta, Deltas, MinuteDelta, PartOf};
use crate::account::growth::KnownNames;
use crate::random::random;
use crate::source::content::Fingerprint;
use crate::source::position::{Place, State, Stored};
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};
use crate::usage::snapshot::{Needs, Snapshot};
use crate::usage::{UsageQuery, UsageRow, UsageTable};

mod leech;
pub mod mysql;
mod repeat;
mod said;
mod snapshot;
pub mod sqlite;

/// Ranges of unparsed bytes that are kept of one file.
pub const MAX_UNPARSED_RANGES: u64 = 1_000;
/// How long the identities of finished files are kept.
const KEEP_FINISHED_SECONDS: i64 = 400 * 86_400;

/// A process that flushes, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Drawn at random.
    pub instance: String,
    /// How often it has flushed.
    pub seq: u64,
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One a node; a new one takes the place of the old.
    Daemon,
    /// Any number.
    Import,
}

/// A range of bytes of a file that did not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnparsedRange {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// Lines in it.
    pub lines: u64,
    /// The day that the balance has them on.
    pub day: NaiveDate,
}

/// A range as the store has it, with the balance that counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRange {
    /// The bytes.
    pub range: UnparsedRange,
    /// Node and source of that balance.
    pub node: String,
    /// See `node`.
    pub source: String,
}

/// What a checkpoint moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moves {
    /// A stored position, from this offset on.
    Stored {
        /// Its row.
        id: i64,
        /// Where it must still be.
        from: u64,
    },
    /// A file that the store did not know when its scope was at this epoch.
    New {
        /// As [`Store::epoch`] gave it.
        epoch: u64,
    },
    /// A file that was taken up, of which nothing is committed. What it holds may be in the rows by
    /// way of a copy, so it is as new as a [`Moves::New`] one.
    Begun {
        /// Its row.
        id: i64,
        /// As [`Store::epoch`] gave it.
        epoch: u64,
    },
}

impl Moves {
    /// The row of a position, with the epoch at which it was looked up.
    #[must_use]
    pub fn of(stored: &Stored, epoch: u64) -> Self {
        let (id, from) = (stored.id, stored.print.offset);
        if from == 0 {
            Self::Begun { id, epoch }
        } else {
            Self::Stored { id, from }
        }
    }

    /// Its row, where it has one.
    #[must_use]
    pub fn row(&self) -> Option<i64> {
        match *self {
            Self::Stored { id, .. } | Self::Begun { id, .. } => Some(id),
            Self::New { .. } => None,
        }
    }

    /// The epoch that its scope must still be at.
    pub fn epoch_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::New { epoch } | Self::Begun { epoch, .. } => Some(epoch),
            Self::Stored { .. } => None,
        }
    }
}

/// A position as it shall be committed.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What it moves.
    pub moves: Moves,
    /// Whether the writer's node follows the file from here on: the position becomes this node's, and this
    /// source's. Whoever only reads a file once moves the position of another, and leaves it to that one.
    pub follows: bool,
    /// Which source's balance its lines are in.
    pub source: String,
    /// See [`Stored::scope`].
    pub scope: String,
    /// Where the file was last seen.
    pub path: String,
    /// Where it lies.
    pub place: Option<Place>,
    /// Of the bytes that are covered.
    pub print: Fingerprint,
    /// The day of the last line that had one.
    pub last_day: Option<NaiveDate>,
    /// Whether the file is still read.
    pub state: State,
    /// Lines that did not parse since the last checkpoint.
    pub unparsed: Vec<UnparsedRange>,
    /// Lines that did not parse beyond those ranges.
    pub dropped: u64,
    /// Ranges, of those stored, that have been read again.
    pub reread: Vec<UnparsedRange>,
}

/// Bytes known to be out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Of which source.
    pub source: String,
    /// Of which file.
    pub path: String,
    /// The first byte that was not read.
    pub from: u64,
    /// Behind the last, where that is known.
    pub to: Option<u64>,
    /// Why.
    pub reason: String,
}

/// A gap as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGap {
    /// The bytes.
    pub gap: Gap,
    /// When it was noticed, in seconds since 1970.
    pub noticed: i64,
}

/// What one flush commits.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Rows to add to.
    pub deltas: Deltas,
    /// Positions that cover exactly the lines in `deltas` and `balance`.
    pub checkpoints: Vec<Checkpoint>,
    /// Every line read, counted or named, by source and day.
    pub balance: BTreeMap<(String, NaiveDate), Balance>,
    /// Balance that was booked and is now taken back, by node, source and day: lines that had not parsed and now have.
    pub corrections: BTreeMap<(String, String, NaiveDate), Balance>,
    /// Bytes out of reach.
    pub gaps: Vec<Gap>,
    /// When the last search of the log folders began, all of whose finds are committed with this.
    pub searched: Option<i64>,
    /// Rows of positions to be deleted: their files are gone for good, by our own hand.
    pub forgotten: Vec<i64>,
}

impl Batch {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty()
            && self.deltas.vhosts.is_empty()
            && self.deltas.layers.is_empty()
            && self.deltas.claimed.is_empty()
            && self.deltas.minutes.is_empty()
            && self.balance.is_empty()
            && self.gaps.is_empty()
            && self.forgotten.is_empty()
    }

    /// How many rows of traffic it adds to.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let Deltas {
            vhosts,
            users,
            classes,
            layers,
            claimed,
            minutes,
            ..
        } = &self.deltas;
        let days = [vhosts, users, classes, layers, claimed];
        (days.iter().map(|rows| rows.len()).sum::<usize>() + minutes.len()) as u64
    }
}

/// What a flush did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flushed {
    /// The rows of the checkpoints, in their order.
    pub positions: Vec<i64>,
    /// Keys that the database would not take; their bytes went to `_invalid`.
    pub refused: Vec<String>,
}

/// Why a flush did not commit.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// Somebody else moved a position: read again from the stored ones.
    #[error("{0} was moved by another process")]
    Overtaken(String),
    /// Another daemon took this node's place: stop.
    #[error("another daemon runs as this node now")]
    Replaced,
    /// The store did not take it, or nobody knows whether it did: the same batch has to be tried again,
    /// unchanged, before any other.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the store said.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Busy, full, read-only, away: may pass.
    #[error("{doing}: {cause}")]
    Unavailable {
        /// What was being done, to what.
        doing: String,
        /// The database's own words.
        cause: String,
    },
    /// Will not pass by itself.
    #[error("{message}")]
    Unusable {
        /// What is wrong and what to do.
        message: String,
    },
}

/// What `bandwidth_minute` says of what it is a row of.
fn part_number(of: PartOf) -> i64 {
    match of {
        PartOf::Vhost => 0,
        PartOf::User => 1,
        PartOf::Class => 2,
    }
}

/// How a row is called where it is refused.
fn day_row(delta: &Delta) -> String {
    format!("{} {} {}", delta.vhost, delta.part, delta.day)
}

/// How a row of a minute is called where it is refused.
fn minute_row(delta: &MinuteDelta) -> String {
    let MinuteDelta {
        vhost,
        part,
        day,
        minute,
        ..
    } = delta;
    format!("{vhost} {part} {day}, minute {minute}")
}

/// What all stores do. Calls block; each store is owned by one thread.
pub trait Store: Send {
    /// The zone whose days the rows are.
    fn zone(&self) -> Tz;
    /// The secret with which contents are hashed in this store.
    fn seed(&self) -> u64;
    /// Registers a process; a daemon takes the place of the node's last one. `now`: seconds since 1970.
    ///
    /// # Errors
    /// When the store does not answer.
    fn register(&mut self, node: &str, role: Role, now: i64) -> Result<Writer, StoreError>;
    /// Takes a process off, and forgets what is too old to matter.
    ///
    /// # Errors
    /// When the store does not answer.
    fn retire(&mut self, writer: &Writer, now: i64) -> Result<(), StoreError>;
    /// Commits a batch, all of it or nothing, and moves `writer` on. `now`: seconds since 1970.
    ///
    /// # Errors
    /// See [`FlushError`]. After `Overtaken` and `Replaced` nothing of the batch is in the store. After
    /// `Store` all of it may be, where a COMMIT was not answered, and may even get there later: call this
    /// again with the same writer and the same batch, unchanged, until it says something else. It finds
    /// out, and the batch is never added twice.
    fn flush(
        &mut self,
        writer: &mut Writer,
        node: &str,
        batch: &Batch,
        now: i64,
    ) -> Result<Flushed, FlushError>;
    /// The positions that a node still reads.
    ///
    /// # Errors
    /// When the store does not answer.
    fn living(&mut self, node: &str) -> Result<Vec<Stored>, StoreError>;
    /// Positions with this inode, of any node and scope.
    ///
    /// # Errors
    /// When the store does not answer.
    fn at_inode(&mut self, inode: u64) -> Result<Vec<Stored>, StoreError>;
    /// Positions in a scope whose head, of at least so many bytes, the given function recognises: it is
    /// asked, for each length of head that the store has, for the hash of so many bytes (`None`: the file
    /// is shorter).
    ///
    /// # Errors
    /// When the store does not answer, or reading the file fails.
    fn by_head(
        &mut self,
        scope: &str,
        least: u64,
        hash_of: &mut dyn FnMut(u64) -> std::io::Result<Option<u128>>,
    ) -> Result<Vec<Stored>, StoreError>;
    /// When a node's last committed search of its log folders began, in seconds since 1970.
    ///
    /// # Errors
    /// When the store does not answer.
    fn searched(&mut self, node: &str) -> Result<Option<i64>, StoreError>;
    /// How often a scope has met a new file.
    ///
    /// # Errors
    /// When the store does not answer.
    fn epoch(&mut self, scope: &str) -> Result<u64, StoreError>;
    /// Names that have rows, and how many were new since `since`.
    ///
    /// # Errors
    /// When the store does not answer.
    fn known_names(&mut self, since: NaiveDate) -> Result<KnownNames, StoreError>;
    /// Ranges of a file that did not parse.
    ///
    /// # Errors
    /// When the store does not answer.
    fn unparsed(&mut self, position: i64) -> Result<Vec<StoredRange>, StoreError>;
    /// The gaps of a node, the latest first, at most so many.
    ///
    /// # Errors
    /// When the store does not answer.
    fn gaps(&mut self, node: &str, most: u64) -> Result<Vec<StoredGap>, StoreError>;
    /// Rows of a table; more than the query wants, perhaps.
    ///
    /// # Errors
    /// When the store does not answer.
    fn rows(&mut self, table: UsageTable, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError>;
    /// Usage over periods, in one transaction with the number of the last batch of this writer.
    ///
    /// # Errors
    /// When the store does not answer.
    fn usage(&mut self, needs: &Needs, writer: &Writer) -> Result<Snapshot, StoreError>;
    /// What operators have said in the tables.
    ///
    /// # Errors
    /// When the store does not answer.
    fn said(&mut self) -> Result<Said, StoreError>;
    /// Grants more, or forgives.
    ///
    /// # Errors
    /// When the store does not answer.
    fn grant(&mut self, grant: &Grant) -> Result<(), StoreError>;
    /// Exempts an account; `false`: takes the exemption back. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the store does not answer.
    fn exempt(&mut self, exempt: &Exempt, is_exempt: bool) -> Result<bool, StoreError>;
    /// Thresholds that were told of.
    ///
    /// # Errors
    /// When the store does not answer.
    fn told(&mut self) -> Result<AllTold, StoreError>;
    /// Notes that a threshold is told of, by this process alone: `false` where somebody, on whatever
    /// node, has noted it before. `now`: seconds since 1970.
    ///
    /// # Errors
    /// When the store does not answer.
    fn tell(&mut self, told: &Told, now: i64) -> Result<bool, StoreError>;
    /// [`Store::tell`], of many: where a store can, at the cost of one.
    ///
    /// # Errors
    /// When the store does not answer. Some may be noted then, as told by this process: nobody else will
    /// tell of them.
    fn tell_all(&mut self, told: &[Told], now: i64) -> Result<Vec<bool>, StoreError> {
        told.iter().map(|told| self.tell(told, now)).collect()
    }
    /// Forgets that a threshold was told of: the account is below it again.
    ///
    /// # Errors
    /// When the store does not answer.
    fn untell(&mut self, told: &Told) -> Result<(), StoreError>;
    /// Deletes rows of minutes before `minute`, and what is too old to matter of grants and thresholds.
    ///
    /// # Errors
    /// When the store does not answer.
    fn prune(&mut self, minute: i64, now: i64) -> Result<(), StoreError>;
    /// The balance by node, source and day.
    ///
    /// # Errors
    /// When the store does not answer.
    fn balance(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<BTreeMap<(String, String, NaiveDate), Balance>, StoreError>;
}
