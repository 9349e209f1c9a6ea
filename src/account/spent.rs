//! What lines of watched accounts have just spent: told as they are summed, long before a flush.

use std::sync::Arc;

use super::day::DayNumber;
use super::delta::Amount;

/// Requests of one vhost, user, class and minute, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The site.
    pub vhost: Arc<str>,
    /// The user whose name a server vouches for. A name that is merely claimed is none here.
    pub user: Option<Arc<str>>,
    /// The class of the client.
    pub class: Option<Arc<str>>,
    /// The day on which the lines are billed.
    pub day: DayNumber,
    /// The minute in which they were served, since 1970.
    pub minute: i64,
    /// What was spent.
    pub amount: Amount,
}
