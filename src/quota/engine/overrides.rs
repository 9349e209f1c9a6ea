//! What operators have said of single accounts, by account and in time.

use std::collections::{BTreeSet, HashMap};

use super::super::rule::Period;
use super::super::verdict::Account;
use super::meter::Said;
use super::weighed::Weighed;
use crate::usage::said::{Exempt, Grant, GrantKind, Overrides};

/// Grants and exemptions.
#[derive(Debug, Default)]
pub(super) struct Index {
    all: Overrides,
    grants: HashMap<Account, Vec<Grant>, ahash::RandomState>,
    exempt: HashMap<Account, Vec<Exempt>, ahash::RandomState>,
    /// When some of them begin or end.
    instants: BTreeSet<i64>,
}

impl Index {
    pub(super) fn new(all: Overrides) -> Self {
        let mut index = Self::default();
        for grant in &all.grants {
            let account = grant.account.clone();
            index.grants.entry(account).or_default().push(grant.clone());
            index.instants.insert(grant.at);
            index.instants.extend(grant.until);
        }
        for exempt in &all.exempt {
            let account = exempt.account.clone();
            let of_account = index.exempt.entry(account).or_default();
            of_account.push(exempt.clone());
            index.instants.extend(exempt.until);
        }
        index.all = all;
        index
    }

    /// Whether it is made of these.
    pub(super) fn is_of(&self, all: &Overrides) -> bool {
        self.all == *all
    }

    /// When one of them begins or ends next.
    pub(super) fn next_change(&self, now: i64) -> Option<i64> {
        self.instants.range(now.saturating_add(1)..).next().copied()
    }

    /// Those who have one, whether or not it holds now.
    pub(super) fn has(&self, account: &Account) -> bool {
        self.grants.contains_key(account) || self.exempt.contains_key(account)
    }

    /// What holds now for an account of a quota.
    pub(super) fn of(&self, weighed: &Weighed, account: &Account, now: i64) -> Said {
        let mut said = Said::default();
        let name = &weighed.quota.name;
        let holds = |until: Option<i64>| until.is_none_or(|until| now < until);
        for grant in self.grants.get(account).into_iter().flatten() {
            if grant.quota != *name || grant.at > now || !holds(grant.until) {
                continue;
            }
            match (grant.kind, &weighed.quota.period) {
                (GrantKind::More(more), _) => said.granted = said.granted.saturating_add(more),
                (GrantKind::Reset(_), Period::Rolling { .. }) => {
                    let minute = grant.at.div_euclid(60);
                    said.forgiven_minute = said.forgiven_minute.max(minute);
                }
                // What another period had used is no business of this one.
                (GrantKind::Reset(_), _) if grant.at < weighed.span.begins => {}
                (GrantKind::Reset(used), _) => said.forgiven = said.forgiven.saturating_add(used),
            }
        }
        let mut exempt = self.exempt.get(account).into_iter().flatten();
        said.is_exempt = exempt.any(|exempt| {
            exempt.quota.as_ref().is_none_or(|quota| quota == name) && holds(exempt.until)
        });
        said
    }
}
