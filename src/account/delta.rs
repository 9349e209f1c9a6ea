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
    /// Names seen for the first time: (day, the vhost that they are users of or "", or `layer NAME`) to
    /// how many.
    pub new_names: BTreeMap<(NaiveDate, String), u64>,
}
