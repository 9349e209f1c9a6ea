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

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::quota::rule::Measure;

    fn quota(who: Who, class: Option<&str>, period: Period) -> Quota {
        Quota {
            name: String::new(),
            who,
            class: class.map(str::to_owned),
            measure: Measure::Out,
            limit: 1,
            period,
            slice_minutes: None,
            warn: Vec::new(),
            exceeded: Vec::new(),
            report_only: false,
            reopen: 95,
        }
    }

    fn minutes(minutes: u32, hour: u32) -> Period {
        let day = NaiveDate::from_ymd_opt(2024, 1, 1).expect("a day");
        let anchor = day.and_hms_opt(hour, 0, 0).expect("a time");
        Period::Minutes { minutes, anchor }
    }

    fn vhost(name: &str) -> Who {
        Who::Vhost(name.to_owned())
    }

    #[test]
    fn periods_that_begin_within_a_day() {
        for (period, expected) in [
            (Period::Day, false),
            (Period::Month { day: 31 }, false),
            (Period::Endless, false),
            (Period::Rolling { minutes: 1_440 }, true),
            (minutes(1_440, 0), false),
            (minutes(10_080, 0), false),
            (minutes(1_440, 10), true),
            (minutes(60, 0), true),
            (minutes(1_500, 0), true),
        ] {
            assert_eq!(by_minute(&period), expected, "{period:?}");
        }
    }

    #[test]
    fn whoever_has_a_quota_is_watched() {
        let on = vec!["m.example".to_owned()];
        let alice = Who::User {
            user: "alice".to_owned(),
            vhosts: on,
        };
        let mut rules = Rules {
            quotas: vec![
                quota(vhost("a.example"), None, Period::Day),
                quota(vhost("a.example"), Some("campus"), minutes(60, 0)),
                quota(vhost("*.example"), None, Period::Day),
                quota(vhost("*.long.example"), None, minutes(60, 0)),
                quota(Who::Owner("*".to_owned()), None, Period::Day),
                quota(alice, None, Period::Rolling { minutes: 60 }),
                quota(Who::Leech("*".to_owned()), None, Period::Endless),
            ],
            ..Rules::default()
        };
        let owned = vec!["o.test".to_owned()];
        rules.owners.insert("dembol".to_owned(), owned);
        let watched = rules.watched();
        let watch = |by_minute, classes_by_minute| Watch {
            told: true,
            by_minute,
            classes_by_minute,
        };
        assert_eq!(watched.vhost("a.example"), watch(false, true));
        assert_eq!(watched.vhost("b.example"), watch(false, false));
        assert_eq!(watched.vhost("c.long.example"), watch(true, false));
        assert_eq!(watched.vhost("o.test"), watch(false, false));
        assert_eq!(watched.vhost("other.test"), Watch::default());
        assert_eq!(watched.user("alice"), watch(true, false));
        assert_eq!(watched.user("bob"), watch(false, false));
        let first = watched.suffixes.first().map(|(suffix, _)| suffix.as_str());
        assert_eq!(first, Some(".long.example"));
        let mut never_capped: Vec<_> = watched.never_capped.iter().collect();
        never_capped.sort();
        assert_eq!(never_capped, ["a.example", "alice", "m.example", "o.test"]);
        assert!(Rules::default().watched().is_empty());
    }

    #[test]
    fn a_site_or_every_site() {
        let all = quota(vhost("*"), None, Period::Day);
        let rules = Rules {
            quotas: vec![all],
            ..Rules::default()
        };
        let watched = rules.watched();
        assert!(watched.vhost("any.test").told && !watched.user("alice").any());
        assert!(watched.never_capped.is_empty());
    }
}
