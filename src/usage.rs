//! What the store holds, as rows: the values that reports are made of.

use chrono::NaiveDate;

/// One stored row.
///
/// A row of `bandwidth` has neither user nor class and is the whole of its vhost on its day; rows
/// of `bandwidth_user` and `bandwidth_class` name the part of it that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day on which the lines say that the requests were served, in the store's zone.
    pub day: NaiveDate,
    /// The site that is billed, folded; or one of the rows for many, such as `_none`.
    pub vhost: String,
    /// The user, in stored form.
    pub user: Option<String>,
    /// The client class.
    pub class: Option<String>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Requests served.
    pub requests: u64,
}

/// Which of the stored tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageTable {
    /// `bandwidth`: totals of vhosts.
    Vhosts,
    /// `bandwidth_user`: the part of each user.
    Users,
    /// `bandwidth_class`: the part of each client class.
    Classes,
}

/// Which rows are wanted. A store may hand out more: [`UsageQuery::wants`] is asked again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// The first day.
    pub from: Option<NaiveDate>,
    /// The last day, inclusive.
    pub to: Option<NaiveDate>,
    /// These vhosts alone; empty: all.
    pub vhosts: Vec<String>,
}

impl UsageQuery {
    /// Whether the row is wanted.
    #[must_use]
    pub fn wants(&self, row: &UsageRow) -> bool {
        self.from.is_none_or(|from| from <= row.day)
            && self.to.is_none_or(|to| row.day <= to)
            && (self.vhosts.is_empty() || self.vhosts.contains(&row.vhost))
    }
}
