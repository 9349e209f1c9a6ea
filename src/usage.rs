//! What the store holds, as rows: the values that reports are made of.

use chrono::NaiveDate;

pub mod said;
pub mod snapshot;

/// One stored row.
///
/// A row of `bandwidth` has neither user nor class and is the whole of its vhost on its day; rows
/// of `bandwidth_user` and `bandwidth_class` name the part of it that they are. Rows of
/// `bandwidth_layer` name the layer, and are no part of it: behind the edge the same requests are
/// logged once more.
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
    /// The layer behind the edge; `None`: the edge.
    pub layer: Option<String>,
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
    /// `bandwidth_layer`: what the servers behind the edge logged.
    Layers,
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
    /// This layer behind the edge alone.
    pub layer: Option<String>,
}

impl UsageQuery {
    /// Whether the row is wanted.
    #[must_use]
    pub fn wants(&self, row: &UsageRow) -> bool {
        self.from.is_none_or(|from| from <= row.day)
            && self.to.is_none_or(|to| row.day <= to)
            && (self.vhosts.is_empty() || self.vhosts.contains(&row.vhost))
            && (self.layer.is_none() || self.layer == row.layer)
    }
}
