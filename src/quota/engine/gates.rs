//! Which gates are closed, and by which meters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::rule::{Quota, Rules, Who};
use super::super::verdict::{Account, Closed, Subject};
use super::meter::Meter;
use super::weighed::Weighed;

/// Closed gates, and what closes each.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// The numbers of the meters that close one.
    meters: BTreeMap<Arc<Subject>, Vec<u32>>,
    /// Each with the worst of what these close it with, as of the last [`Gates::renew`].
    closed: BTreeMap<Arc<Subject>, Arc<Closed>>,
    /// Those of which that may not hold any more;
    changed: BTreeSet<Arc<Subject>>,
    /// it may be any.
    are_all_changed: bool,
}

impl Gates {
    /// A meter closes these, or does so otherwise than before.
    pub(super) fn close(&mut self, subjects: impl Iterator<Item = Subject>, meter: u32) {
        for subject in subjects.map(Arc::new) {
            let by = self.meters.entry(Arc::clone(&subject)).or_default();
            if !by.contains(&meter) {
                by.push(meter);
            }
            self.changed.insert(subject);
        }
    }

    /// A meter does not close these.
    pub(super) fn open(&mut self, subjects: impl Iterator<Item = Subject>, meter: u32) {
        for subject in subjects {
            if let Some(by) = self.meters.get_mut(&subject) {
                by.retain(|had| *had != meter);
                if by.is_empty() {
                    self.meters.remove(&subject);
                }
                self.changed.insert(Arc::new(subject));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.meters.clear();
        self.change_all();
    }

    /// Periods have ended, or meters have other numbers.
    pub(super) fn change_all(&mut self) {
        self.changed.clear();
        self.are_all_changed = true;
    }

    /// Looks at what has changed. To be called before [`Gates::closed`], whenever anything has.
    pub(super) fn renew(&mut self, meters: &[Meter], quotas: &[Weighed]) {
        if std::mem::take(&mut self.are_all_changed) {
            self.closed = self.closed_anew(meters, quotas);
        }
        for subject in std::mem::take(&mut self.changed) {
            let by = self.meters.get(&subject);
            match by.and_then(|by| worst(by, meters, quotas)) {
                Some(closed) => self.closed.insert(subject, Arc::new(closed)),
                None => self.closed.remove(&subject),
            };
        }
    }

    /// All of them, whatever has changed.
    pub(super) fn closed_anew(
        &self,
        meters: &[Meter],
        quotas: &[Weighed],
    ) -> BTreeMap<Arc<Subject>, Arc<Closed>> {
        let all = self.meters.iter().filter_map(|(subject, by)| {
            let closed = worst(by, meters, quotas)?;
            let had = self.closed.get(subject).filter(|had| ***had == closed);
            let closed = had.map_or_else(|| Arc::new(closed), Arc::clone);
            Some((Arc::clone(subject), closed))
        });
        all.collect()
    }

    /// All of them.
    pub(super) fn closed(&self) -> BTreeMap<Arc<Subject>, Arc<Closed>> {
        self.closed.clone()
    }
}

/// The worst of what these meters close a gate with.
fn worst(by: &[u32], meters: &[Meter], quotas: &[Weighed]) -> Option<Closed> {
    let closed = by.iter().filter_map(|meter| {
        let meter = meters.get(*meter as usize)?;
        let weighed = quotas.get(meter.quota as usize)?;
        let threshold = weighed.thresholds.get(usize::from(meter.closed_by?))?;
        Some((threshold.consequence.as_ref()?, weighed))
    });
    let (consequence, weighed) = closed.reduce(worse)?;
    Some(Closed {
        consequence: consequence.clone(),
        quota: weighed.quota.name.clone(),
        until: weighed.span.ends,
    })
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
