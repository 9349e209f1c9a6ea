//! Which gates are closed, and by which meters.

use std::collections::BTreeMap;

use super::super::rule::{Quota, Rules, Who};
use super::super::verdict::{Account, Closed, Subject};
use super::meter::Meter;
use super::weighed::Weighed;

/// Each closed gate with the numbers of the meters that close it.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<Subject, Vec<u32>>);

impl Gates {
    pub(super) fn close(&mut self, subjects: impl Iterator<Item = Subject>, meter: u32) {
        for subject in subjects {
            let by = self.0.entry(subject).or_default();
            if !by.contains(&meter) {
                by.push(meter);
            }
        }
    }

    pub(super) fn open(&mut self, subjects: impl Iterator<Item = Subject>, meter: u32) {
        for subject in subjects {
            if let Some(by) = self.0.get_mut(&subject) {
                by.retain(|had| *had != meter);
                if by.is_empty() {
                    self.0.remove(&subject);
                }
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// All of them, each with the worst of what closes it.
    pub(super) fn closed(&self, meters: &[Meter], quotas: &[Weighed]) -> BTreeMap<Subject, Closed> {
        let all = self.0.iter().filter_map(|(subject, by)| {
            let closed = by.iter().filter_map(|meter| {
                let meter = meters.get(*meter as usize)?;
                let weighed = quotas.get(meter.quota as usize)?;
                let threshold = weighed.thresholds.get(usize::from(meter.closed_by?))?;
                Some((threshold.consequence.as_ref()?, weighed))
            });
            let (consequence, weighed) = closed.reduce(worse)?;
            let closed = Closed {
                consequence: consequence.clone(),
                quota: weighed.quota.name.clone(),
                until: weighed.span.ends,
            };
            Some((subject.clone(), closed))
        });
        all.collect()
    }
}

type ClosedBy<'c> = (&'c super::super::rule::Consequence, &'c Weighed);

/// The worse of two; of equal ones the first by name.
fn worse<'c>(one: ClosedBy<'c>, other: ClosedBy<'c>) -> ClosedBy<'c> {
    if one.0 == other.0 {
        return match one.1.quota.name <= other.1.quota.name {
            true => one,
            false => other,
        };
    }
    // Two that are not alike may be as severe: then, too, the first by name.
    let (first, second) = match one.1.quota.name <= other.1.quota.name {
        true => (one, other),
        false => (other, one),
    };
    match first.0.clone().worse(second.0.clone()) == *first.0 {
        true => first,
        false => second,
    }
}

/// Whose requests the gate of an account stands before.
pub(super) fn subjects<'r>(
    rules: &'r Rules,
    quota: &'r Quota,
    account: &'r Account,
) -> Box<dyn Iterator<Item = Subject> + 'r> {
    let of_class = |vhost: &str, class: &str| Subject::Class {
        vhost: vhost.to_owned(),
        class: class.to_owned(),
    };
    match account {
        Account::Vhost(vhost) => Box::new(std::iter::once(Subject::Vhost(vhost.clone()))),
        Account::VhostClass(vhost, class) => Box::new(std::iter::once(of_class(vhost, class))),
        Account::Owner(owner) => {
            let vhosts = rules.owners.get(owner).into_iter().flatten();
            Box::new(vhosts.cloned().map(Subject::Vhost))
        }
        Account::OwnerClass(owner, class) => {
            let vhosts = rules.owners.get(owner).into_iter().flatten();
            Box::new(vhosts.map(move |vhost| of_class(vhost, class)))
        }
        Account::User(user) => {
            let of_user = |vhost: Option<String>| Subject::User {
                user: user.clone(),
                vhost,
            };
            match &quota.who {
                Who::User { vhosts, .. } if !vhosts.is_empty() => {
                    Box::new(vhosts.iter().cloned().map(Some).map(of_user))
                }
                _ => Box::new(std::iter::once(of_user(None))),
            }
        }
    }
}
