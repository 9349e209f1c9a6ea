//! Rules into what counting has to tell: which accounts, and which of them by the minute.

use chrono::NaiveTime;

use super::rule::{Period, Quota, Rules, Who};
use crate::account::watched::{Watch, Watched};

const DAY_MINUTES: u32 = 1_440;

/// Whether a period can begin within a day, so that the rows of days do not tell what is in it.
#[must_use]
pub fn by_minute(period: &Period) -> bool {
    match period {
        Period::Day | Period::Week | Period::Month { .. } | Period::Year { .. } => false,
        Period::Minutes { minutes, anchor } => {
            !minutes.is_multiple_of(DAY_MINUTES) || anchor.time() != NaiveTime::MIN
        }
        Period::Rolling { .. } => true,
        Period::Endless => false,
    }
}

/// Everybody who has a quota. More is told than one quota may want: a site of which a class is limited
/// tells all that it spends.
#[must_use]
pub fn watched(rules: &Rules) -> Watched {
    let mut watched = Watched::default();
    for quota in &rules.quotas {
        add(&mut watched, rules, quota);
    }
    watched
        .suffixes
        .sort_by(|(one, _), (other, _)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    watched
}

impl Rules {
    /// See [`watched`].
    #[must_use]
    pub fn watched(&self) -> Watched {
        watched(self)
    }
}

fn add(watched: &mut Watched, rules: &Rules, quota: &Quota) {
    let by_minute = by_minute(&quota.period);
    let watch = Watch {
        told: true,
        by_minute: by_minute && quota.class.is_none(),
        classes_by_minute: by_minute && quota.class.is_some(),
    };
    match &quota.who {
        Who::Vhost(vhost) => site(watched, vhost, watch),
        Who::Owner(owner) => {
            for (_, vhosts) in rules
                .owners
                .iter()
                .filter(|(name, _)| owner == "*" || *name == owner)
            {
                for vhost in vhosts {
                    site(watched, vhost, watch);
                }
            }
        }
        Who::User { user: name, vhosts } => {
            user(watched, name, watch);
            watched.never_capped.extend(vhosts.iter().cloned());
        }
        Who::Leech(name) => user(watched, name, watch),
    }
}

fn site(watched: &mut Watched, vhost: &str, watch: Watch) {
    if vhost == "*" {
        watched.all_vhosts = watched.all_vhosts.and(watch);
        return;
    }
    if let Some(suffix) = vhost.strip_prefix('*') {
        match watched.suffixes.iter_mut().find(|(had, _)| had == suffix) {
            Some((_, had)) => *had = had.and(watch),
            None => watched.suffixes.push((suffix.to_owned(), watch)),
        }
        return;
    }
    let had = watched.vhosts.entry(vhost.to_owned()).or_default();
    *had = had.and(watch);
    watched.never_capped.insert(vhost.to_owned());
}

fn user(watched: &mut Watched, name: &str, watch: Watch) {
    if name == "*" {
        watched.all_users = watched.all_users.and(watch);
        return;
    }
    let had = watched.users.entry(name.to_owned()).or_default();
    *had = had.and(watch);
    watched.never_capped.insert(name.to_owned());
}
