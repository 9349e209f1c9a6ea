//! What is added to the rows: bytes and requests of one account on one day.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;

/// Bytes and requests, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Requests served.
    pub requests: u64,
}

impl Amount {
    /// Whether a row can hold it: totals are signed in every database.
    #[must_use]
    pub fn fits(&self) -> bool {
        let most = i64::MAX.unsigned_abs();
        [self.bytes_in, self.bytes_out, self.requests]
            .iter()
            .all(|part| *part <= most)
    }

    /// Adds, stopping at the end of 64 bits: a ledger is flushed long before.
    pub fn add(&mut self, other: Self) {
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.requests = self.requests.saturating_add(other.requests);
    }
}

/// One row to add to. `part` is the user, the class or the layer, in the tables that
/// have one. Names are shared:
/// a batch may have a million rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The site.
    pub vhost: Arc<str>,
    /// The user, the class or the layer; empty in the table of vhosts.
    pub part: Arc<str>,
    /// The day.
    pub day: NaiveDate,
    /// What is added.
    pub amount: Amount,
}

/// One row of `bandwidth_minute` to add to. Rows are sorted by (vhost, of, part, day, minute).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteDelta {
    /// The site.
    pub vhost: Arc<str>,
    /// Of which part of it.
    pub of: PartOf,
    /// The user or the class; empty for all of it.
    pub part: Arc<str>,
    /// The day on which the lines are billed.
    pub day: NaiveDate,
    /// The minute in which they were served, since 1970.
    pub minute: i64,
    /// What is added.
    pub amount: Amount,
}

/// What a row of a minute is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartOf {
    /// A whole vhost.
    Vhost,
    /// A user whose name a server vouches for.
    User,
    /// A client class.
    Class,
}

/// Deltas, each list sorted by key: fewer pages touched, fewer deadlocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deltas {
    /// For `bandwidth`.
    pub vhosts: Vec<Delta>,
    /// For `bandwidth_user`.
    pub users: Vec<Delta>,
    /// For `bandwidth_class`.
    pub classes: Vec<Delta>,
    /// For `bandwidth_layer`: what is no part of the others.
    pub layers: Vec<Delta>,
    /// For `bandwidth_claimed`: the part of `users` whose names no server vouches for.
    pub claimed: Vec<Delta>,
    /// For `bandwidth_minute`: the same once more, by minute, of accounts that are weighed so.
    pub minutes: Vec<MinuteDelta>,
    /// Names seen for the first time: (day, the vhost that they are users of or "", or `layer NAME`) to
    /// how many.
    pub new_names: BTreeMap<(NaiveDate, String), u64>,
}
