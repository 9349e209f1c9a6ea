//! What an operator may limit, by how much, for how long, and what then happens.

use std::collections::BTreeMap;

use chrono::NaiveDateTime;
use ipnet::IpNet;

/// Everything that is weighed: from the config, and from the tables of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The quotas, each with a name of its own.
    pub quotas: Vec<Quota>,
    /// Owners, each with the folded names of their vhosts.
    pub owners: BTreeMap<String, Vec<String>>,
    /// Client classes: the networks of each.
    pub classes: BTreeMap<String, Vec<IpNet>>,
}

/// A limit on what an account may spend in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Names it in messages, in grants, and in what the store remembers of it; unique. Printable, at
    /// most 190 bytes.
    pub name: String,
    /// Whom it limits.
    pub who: Who,
    /// Only what clients of this class had of it; [`Who::User`] has none.
    pub class: Option<String>,
    /// What is limited.
    pub measure: Measure,
    /// Bytes, or requests, in a period. At most `i64::MAX`.
    pub limit: u64,
    /// How long.
    pub period: Period,
    /// The limit opens share by share, one each so many minutes.
    pub slice_minutes: Option<u32>,
    /// Percentages at which somebody is warned, rising.
    pub warn: Vec<u32>,
    /// What follows, by rising percentage. Empty: nothing is ever closed.
    pub exceeded: Vec<Rung>,
    /// Verdicts are told and shown, and close nothing.
    pub report_only: bool,
    /// Of a rolling window: a closed gate opens when usage is below so many percent of what closed it.
    pub reopen: u32,
}

/// Whom a quota limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A site, or each site of a pattern (`*.suffix`, or `*` for all); folded.
    Vhost(String),
    /// A user, in stored form, or each user (`*`): the sum of what its requests moved on these vhosts
    /// (folded, no patterns; empty: on all). Only what a server vouches for counts.
    User {
        /// The user, or `*`.
        user: String,
        /// Where.
        vhosts: Vec<String>,
    },
    /// All sites of an owner together, or of each owner (`*`).
    Owner(String),
    /// The user of a row of mod_leech's table: what is spent is the `bytes` of that row.
    Leech(String),
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Bytes received.
    In,
    /// Bytes sent.
    Out,
    /// Both together.
    Both,
    /// Requests.
    Requests,
}

impl Measure {
    /// The word for it in the config, in the tables, and in all JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
            Self::Requests => "requests",
        }
    }
}

/// How long a limit holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight of the store's zone.
    Day,
    /// From Monday.
    Week,
    /// From this day of each month on, 1 to 31; in shorter months from their last day on.
    Month {
        /// The billing day.
        day: u32,
    },
    /// From this date of each year on; 29 February is the 28th where there is none.
    Year {
        /// 1 to 12.
        month: u32,
        /// 1 to 31, one that the month can have.
        day: u32,
    },
    /// So many minutes, again and again, counted from the anchor. Whole days from a midnight are days
    /// of the calendar; everything else is time that passes, whatever the clock is set to.
    Minutes {
        /// At least 1.
        minutes: u32,
        /// On the clock of the store's zone.
        anchor: NaiveDateTime,
    },
    /// The last so many minutes, at every moment.
    Rolling {
        /// At least 1.
        minutes: u32,
    },
    /// For ever: whoever made the row resets it.
    Endless,
}

/// From which percentage on, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Percent of the limit that is open; at least 1.
    pub at: u32,
    /// What follows.
    pub consequence: Consequence,
}

/// What happens to the requests of an account that has spent its quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Consequence {
    /// They are slowed down: each response to so many bytes a second, at least 1.
    Slow {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// They are sent elsewhere, by a 302 that nobody stores. An absolute http or https URL of
    /// printable ASCII without blanks, quotes, backslashes, angle brackets, braces and `$ ; ^ |`, with two
    /// hexadecimal digits behind each `%`; what is said of the account is added to its query.
    Redirect {
        /// Where to.
        url: String,
    },
    /// They are refused: 429 or 503, or another status from 400 to 599 that was asked for.
    Deny {
        /// The status.
        status: u16,
    },
}

impl Consequence {
    /// Which of two is the more severe: the worse one counts where two quotas meet. Refusing is worse
    /// than sending elsewhere, and that worse than slowing down; a lower speed is worse.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.severity() > self.severity() {
            other
        } else {
            self
        }
    }

    fn severity(&self) -> (u8, u64) {
        match self {
            Self::Slow { bytes_per_second } => (0, u64::MAX - bytes_per_second),
            Self::Redirect { .. } => (1, 0),
            Self::Deny { .. } => (2, 0),
        }
    }
}
