//! Stored rows, as they come back from the store.

use chrono::NaiveDate;

/// One row of one of the three tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day in the store's zone.
    pub day: NaiveDate,
    /// The folded name of the site, or one of the special rows.
    pub vhost: String,
    /// The user, in `bandwidth_user`.
    pub user: Option<String>,
    /// The client class, in `bandwidth_class`.
    pub class: Option<String>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Requests served.
    pub requests: u64,
}
