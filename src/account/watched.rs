//! Which accounts are weighed: what their lines spend is told line by line, not only summed by day.

use std::collections::{HashMap, HashSet};

use super::growth::Growth;

/// Sites and users that have quotas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Every site.
    pub all_vhosts: Watch,
    /// Single sites, folded.
    pub vhosts: HashMap<String, Watch>,
    /// `.suffix` of sites, the longest first. A site is watched as all that fits it says together.
    pub suffixes: Vec<(String, Watch)>,
    /// Every user whose name a server vouches for.
    pub all_users: Watch,
    /// Single users, in stored form.
    pub users: HashMap<String, Watch>,
    /// Names that are never capped: those that a quota names itself.
    pub never_capped: HashSet<String>,
}

/// What is told of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    /// What it spends is told as soon as it is summed.
    pub told: bool,
    /// It also has a row for each minute.
    pub by_minute: bool,
    /// Each class of its clients has, too.
    pub classes_by_minute: bool,
}

impl Watch {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            told: self.told || other.told,
            by_minute: self.by_minute || other.by_minute,
            classes_by_minute: self.classes_by_minute || other.classes_by_minute,
        }
    }

    /// Whether there is anything to tell.
    #[must_use]
    pub fn any(self) -> bool {
        self.told || self.by_minute || self.classes_by_minute
    }
}

impl Watched {
    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all_vhosts.any()
            && self.vhosts.is_empty()
            && self.suffixes.is_empty()
            && !self.all_users.any()
            && self.users.is_empty()
    }

    /// What is told of a site.
    #[must_use]
    pub fn vhost(&self, vhost: &str) -> Watch {
        let exact = self.vhosts.get(vhost).copied().unwrap_or_default();
        let under = |suffix: &str| vhost.len() > suffix.len() && vhost.ends_with(suffix);
        self.suffixes
            .iter()
            .filter(|(suffix, _)| under(suffix))
            .fold(self.all_vhosts.and(exact), |all, (_, watch)| {
                all.and(*watch)
            })
    }

    /// What is told of a user.
    #[must_use]
    pub fn user(&self, user: &str) -> Watch {
        let exact = self.users.get(user).copied().unwrap_or_default();
        self.all_users.and(exact)
    }

    /// Lets the names in that are never capped: to be called wherever other accounts are watched from
    /// now on, and where a [`Growth`] is made.
    pub fn let_in(&self, growth: &mut Growth) {
        growth.know(self.never_capped.iter().cloned());
    }
}
