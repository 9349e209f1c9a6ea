//! Which gates are closed, to whom, and what has changed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::rule::Consequence;
pub use crate::usage::said::Account;

/// Whose requests a gate is closed to. Names are folded vhosts and stored users: what stands in the
/// rows, not what a server may be told of without a look at its grammar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Everybody's to a site.
    Vhost(String),
    /// Those that clients of a class make to a site.
    Class {
        /// The site.
        vhost: String,
        /// The class.
        class: String,
    },
    /// A user's, at one site, or at all (`None`).
    User {
        /// The user.
        user: String,
        /// The site.
        vhost: Option<String>,
    },
}

impl Subject {
    /// The user, of a user's.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Vhost(_) | Self::Class { .. } => None,
            Self::User { user, .. } => Some(user),
        }
    }

    /// The site; `None`: all of them.
    #[must_use]
    pub fn vhost(&self) -> Option<&str> {
        match self {
            Self::Vhost(vhost) | Self::Class { vhost, .. } => Some(vhost),
            Self::User { vhost, .. } => vhost.as_deref(),
        }
    }

    /// In words; not yet safe for a terminal.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Vhost(vhost) => vhost.clone(),
            Self::Class { vhost, class } => format!("class {class} of {vhost}"),
            Self::User { user, vhost: None } => format!("user {user}"),
            Self::User {
                user,
                vhost: Some(vhost),
            } => format!("user {user} at {vhost}"),
        }
    }
}

/// A closed gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// What happens there.
    pub consequence: Consequence,
    /// The quota that closed it: the one with the worst consequence, of equal ones the first by name.
    pub quota: String,
    /// When its period ends, in seconds since 1970; not known of a rolling or endless one.
    pub until: Option<i64>,
}

/// All closed gates. An owner's are those of all its vhosts. A copy shares what it holds with the other,
/// as one is made for each change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// By subject.
    pub closed: BTreeMap<Arc<Subject>, Arc<Closed>>,
    /// Whether all usage was known when they were made. While not, what is on disk stays closed, and
    /// these are only added to it.
    pub complete: bool,
}

impl Verdicts {
    /// These gates are closed, and all usage is known.
    #[must_use]
    pub fn of(closed: impl IntoIterator<Item = (Subject, Closed)>) -> Self {
        let closed = closed.into_iter();
        Self {
            closed: closed
                .map(|(subject, closed)| (Arc::new(subject), Arc::new(closed)))
                .collect(),
            complete: true,
        }
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &Closed)> {
        let closed = self.closed.iter();
        closed.map(|(subject, closed)| (&**subject, &**closed))
    }

    /// The subjects whose gates are not as they were, in order.
    #[must_use]
    pub fn differing_from<'v>(&'v self, old: &'v Self) -> Vec<&'v Arc<Subject>> {
        let mut differing = Vec::new();
        let (mut new, mut old) = (self.closed.iter().peekable(), old.closed.iter().peekable());
        loop {
            let order = match (new.peek(), old.peek()) {
                (Some((new, _)), Some((old, _))) if Arc::ptr_eq(new, old) => Ordering::Equal,
                (Some((new, _)), Some((old, _))) => new.cmp(old),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return differing,
            };
            let is = if order.is_le() { new.next() } else { None };
            let was = if order.is_ge() { old.next() } else { None };
            let is_same = match (is, was) {
                (Some((_, is)), Some((_, was))) => Arc::ptr_eq(is, was) || is == was,
                _ => false,
            };
            if !is_same {
                differing.extend(is.or(was).map(|(subject, _)| subject));
            }
        }
    }
}

/// What the usage of an account comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Below every threshold.
    Within,
    /// Above a threshold at which somebody is to be warned; percent.
    Warned(u32),
    /// Above one that has consequences; percent.
    Exceeded(u32),
}

impl Verdict {
    /// The word for it in all JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Within => "within",
            Self::Warned(_) => "warned",
            Self::Exceeded(_) => "exceeded",
        }
    }

    /// The percentage that it is about.
    #[must_use]
    pub fn threshold(self) -> Option<u32> {
        match self {
            Self::Within => None,
            Self::Warned(percent) | Self::Exceeded(percent) => Some(percent),
        }
    }
}

/// A verdict that is not what it was, or a threshold that was reached: what a hook is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The quota.
    pub quota: String,
    /// The account: see [`Standing::account`].
    pub account: Account,
    /// When the period began, as it stands in [`crate::usage::said::Told`]; 0 for a rolling or endless
    /// one.
    pub begin: i64,
    /// Thresholds that usage has reached, of which nothing was told in this period: percent, rising.
    pub reached: Vec<u32>,
    /// Thresholds that were told and are to be forgotten, as usage is below them again: of rolling and
    /// endless quotas alone. Percent, rising.
    pub left: Vec<u32>,
    /// What it was when it was last told.
    pub from: Verdict,
    /// What it is.
    pub to: Verdict,
    /// What follows.
    pub consequence: Option<Consequence>,
    /// How it stands.
    pub standing: Standing,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// How an account stands with a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its quota.
    pub quota: String,
    /// Who.
    pub account: Account,
    /// Bytes or requests used, less what a reset has forgiven.
    pub used: u64,
    /// Of these, so many may be: the limit, or the share of it that slices have opened, and what was
    /// granted.
    pub limit: u64,
    /// What was granted of it.
    pub granted: u64,
    /// When the period began, in seconds since 1970; `None` for an endless one.
    pub begins: Option<i64>,
    /// When it ends: behind its last second. `None` for a rolling or endless one.
    pub ends: Option<i64>,
    /// When more of the limit is opened by the next slice.
    pub next_slice: Option<i64>,
    /// What it comes to.
    pub verdict: Verdict,
    /// It still counts, and closes nothing.
    pub exempt: bool,
    /// Usage that the period began with and that no row tells the minute of is not in `used`: so much.
    pub uncounted: u64,
}

impl Standing {
    /// Percent of the limit, rounded down; of a limit of nothing, 100.
    #[must_use]
    pub fn percent(&self) -> u64 {
        match self.limit {
            0 => 100,
            limit => {
                let percent = u128::from(self.used) * 100 / u128::from(limit);
                u64::try_from(percent).unwrap_or(u64::MAX)
            }
        }
    }
}
