//! Usage over periods: the rows of the store that quotas are weighed by, read in one transaction.
//!
//! The store's rows and our own lines overlap by what we have flushed. So each batch has the number
//! that the writer's row has once it is committed, and a snapshot says which number it was taken at:
//! batches above it are added to it, those up to it are in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::account::day::DayNumber;
use crate::account::delta::Amount;

/// Which rows: those of a vhost, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The site.
    pub vhost: Arc<str>,
    /// Which part of it.
    pub part: Part,
}

/// A part of what a vhost had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// All of it.
    All,
    /// What a user had, as far as a server vouches for the name.
    User(Arc<str>),
    /// What a class of clients had.
    Class(Arc<str>),
}

/// What a snapshot is to hold. Days and minutes are inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Also what is before [`Needs::recent_day`] and [`Needs::recent_minute`]. Else only what is from
    /// there on, and `sums_from`, `days_from` and `minutes` do not matter.
    pub full: bool,
    /// Rows of days from here on are told day by day.
    pub recent_day: DayNumber,
    /// For each of these days, all earlier than `recent_day`: the sum of the days from it to the one
    /// before `recent_day`, for each key.
    pub sums_from: BTreeSet<DayNumber>,
    /// Also day by day: rows from here to the one before `recent_day`.
    pub days_from: Option<DayNumber>,
    /// Minutes from here on are told minute by minute, where any are needed.
    pub recent_minute: i64,
    /// Whether rows of minutes are needed at all.
    pub by_minute: bool,
    /// For each of these, what is before `recent_minute`.
    pub minutes: BTreeSet<MinuteNeed>,
    /// Whether rows of users are needed.
    pub users: bool,
    /// Whether rows of classes are needed.
    pub classes: bool,
    /// Whether the rows of mod_leech's table are needed.
    pub leech: bool,
}

/// Minutes that are added up in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinuteNeed {
    /// The first minute.
    pub from: i64,
    /// So many minutes in one sum: those with the same `minute div step`, of the same day.
    pub step: u32,
}

/// Rows of the store, and how many of our batches are in them: all read in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// What was asked.
    pub needs: Needs,
    /// The number of our last batch in it; 0: none.
    pub seq: u64,
    /// See [`Needs::sums_from`].
    pub sums: Vec<(DayNumber, Key, Amount)>,
    /// See [`Needs::recent_day`] and [`Needs::days_from`].
    pub days: Vec<(Key, DayNumber, Amount)>,
    /// See [`Needs::minutes`]: the need, the key, the day, and `minute div step`.
    pub minute_sums: Vec<(MinuteNeed, Key, DayNumber, i64, Amount)>,
    /// See [`Needs::recent_minute`].
    pub minutes: Vec<(Key, DayNumber, i64, Amount)>,
    /// mod_leech's table.
    pub leech: Vec<LeechRow>,
}

/// A row of mod_leech's table `users`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeechRow {
    /// The user, in stored form.
    pub user: Arc<str>,
    /// What it has had.
    pub bytes: u64,
    /// What it may have; `None`: no limit.
    pub max_bytes: Option<u64>,
}
