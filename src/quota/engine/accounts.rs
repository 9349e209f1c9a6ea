//! Rows into the meters that they are counted by. Meters of accounts that no quota names are made when
//! something of theirs is seen.

use std::sync::Arc;

use super::super::rule::Who;
use super::super::verdict::{Account, Verdict};
use super::meter::{Bits, Meter, verdict};
use super::resolve::QuotaId;
use super::weighed::Weighed;
use super::{Engine, subjects};
use crate::usage::said::{AllTold, Told};
use crate::usage::snapshot::{Key, Part};

/// Rows whose meters are remembered.
const MAX_CACHED: usize = 4_000_000;

impl Engine {
    /// The meters of a row, by number.
    pub(super) fn meters_of(&mut self, key: &Key) -> Arc<[u32]> {
        if let Some(meters) = self.cache.get(key) {
            return Arc::clone(meters);
        }
        let mut meters: Vec<u32> = Vec::new();
        let mut all_have = true;
        for (quota, account) in self.accounts_of(key) {
            let is_leech = self.weighed(quota).is_some_and(Weighed::is_leech);
            let meter = match is_leech {
                // The row of its table makes it, and nothing else.
                true => self.index.get(&(quota, account)).copied(),
                false => {
                    let meter = self.meter(quota, account);
                    all_have &= meter.is_some();
                    meter
                }
            };
            meters.extend(meter);
        }
        if !all_have {
            self.unmetered += 1;
        }
        if meters.is_empty() {
            return Arc::clone(&self.no_meters);
        }
        let meters: Arc<[u32]> = meters.into();
        if all_have {
            // Rows of one account can be many: those of a user, on sites that nobody has quotas for.
            if self.cache.len() >= MAX_CACHED {
                self.cache.clear();
            }
            self.cache.insert(key.clone(), Arc::clone(&meters));
        }
        meters
    }

    /// Whose accounts a row is part of.
    fn accounts_of(&self, key: &Key) -> Vec<(QuotaId, Account)> {
        let vhost = &*key.vhost;
        let mut accounts = Vec::new();
        let class = match &key.part {
            Part::All => None,
            Part::Class(class) => Some(&**class),
            Part::User(user) => {
                for &quota in self.resolver.of_user(user) {
                    if self.weighed(quota).is_some_and(|had| is_on(had, vhost)) {
                        accounts.push((quota, Account::User(user.to_string())));
                    }
                }
                for &quota in self.resolver.of_leech(user) {
                    accounts.push((quota, Account::User(user.to_string())));
                }
                return accounts;
            }
        };
        for &quota in self.resolver.of_vhost(vhost, class) {
            accounts.push((quota, of_vhost(vhost, class)));
        }
        for owner in self.resolver.owners_of(vhost) {
            for &quota in self.resolver.of_owner(owner, class) {
                accounts.push((quota, of_owner(owner, class)));
            }
        }
        accounts
    }

    /// Meters of accounts that their quotas name.
    pub(super) fn make_named(&mut self) {
        for (number, quota) in (0..).zip(&self.rules.quotas.clone()) {
            let class = quota.class.as_deref();
            let account = match &quota.who {
                Who::Vhost(who) if !who.starts_with('*') => of_vhost(who, class),
                Who::Owner(who) if who != "*" => of_owner(who, class),
                Who::User { user, .. } if user != "*" => Account::User(user.clone()),
                _ => continue,
            };
            let meter = self.make(number, account);
            if let Some(meter) = self.meters.get_mut(meter as usize) {
                meter.is_named = true;
            }
        }
    }

    /// The meter of an account; `None`: there are too many.
    pub(super) fn meter(&mut self, quota: QuotaId, account: Account) -> Option<u32> {
        let key = (quota, account);
        if let Some(meter) = self.index.get(&key) {
            return Some(*meter);
        }
        let (quota, account) = key;
        (self.meters.len() < self.max_meters).then(|| self.make(quota, account))
    }

    fn make(&mut self, quota: QuotaId, account: Account) -> u32 {
        let number = u32::try_from(self.meters.len()).unwrap_or(u32::MAX);
        let Some(weighed) = self.quotas.get_mut(quota as usize) else {
            return number;
        };
        weighed.meters.push(number);
        let mut meter = Meter::new(quota, account.clone(), weighed);
        meter.said = self.overrides.of(weighed, &account, self.now);
        meter.told = told_bits(&self.told, weighed, &account);
        meter.told_verdict = verdict(meter.told, weighed).0;
        if weighed.has_no_periods() {
            // What was told of these stands until usage is below it.
            meter.held = meter.told;
        }
        if weighed.is_leech() {
            // Rows of users were looked up before this meter was there.
            self.cache.clear();
        }
        self.index.insert((quota, account), number);
        self.meters.push(meter);
        number
    }

    /// Forgets meters that nothing is left of, once they are many.
    pub(super) fn drop_idle(&mut self) {
        let is_idle = |meter: &Meter| {
            !meter.is_named
                && !meter.is_used()
                && meter.held == 0
                && meter.told == 0
                && meter.told_verdict == Verdict::Within
        };
        let idle = self.meters.iter().filter(|meter| is_idle(meter)).count();
        if idle <= self.max_meters / 4 {
            return;
        }
        let meters = std::mem::take(&mut self.meters);
        self.cache.clear();
        self.index.clear();
        self.gates.clear();
        self.touched.clear();
        for weighed in &mut self.quotas {
            weighed.meters.clear();
        }
        for meter in meters.into_iter().filter(|meter| !is_idle(meter)) {
            let number = u32::try_from(self.meters.len()).unwrap_or(u32::MAX);
            if let Some(weighed) = self.quotas.get_mut(meter.quota as usize) {
                weighed.meters.push(number);
                if meter.closed_by.is_some() {
                    let subjects = subjects(&self.rules, &weighed.quota, &meter.account);
                    self.gates.close(subjects, number);
                }
            }
            let key = (meter.quota, meter.account.clone());
            self.index.insert(key, number);
            self.meters.push(meter);
        }
        self.gates.renew(&self.meters, &self.quotas);
    }

    fn weighed(&self, quota: QuotaId) -> Option<&Weighed> {
        self.quotas.get(quota as usize)
    }
}

/// The thresholds of an account that were told in this period.
pub(super) fn told_bits(told: &AllTold, weighed: &Weighed, account: &Account) -> Bits {
    if told.is_empty() {
        return 0;
    }
    let mut key: Told = (
        weighed.quota.name.clone(),
        account.clone(),
        weighed.told_begin(),
        0,
    );
    let mut bits = 0;
    for (bit, threshold) in weighed.thresholds.iter().enumerate() {
        key.3 = threshold.at;
        if told.contains(&key) {
            bits |= 1 << bit;
        }
    }
    bits
}

fn is_on(weighed: &Weighed, vhost: &str) -> bool {
    match &weighed.quota.who {
        Who::User { vhosts, .. } => vhosts.is_empty() || vhosts.iter().any(|had| had == vhost),
        _ => true,
    }
}

fn of_vhost(vhost: &str, class: Option<&str>) -> Account {
    match class {
        None => Account::Vhost(vhost.to_owned()),
        Some(class) => Account::VhostClass(vhost.to_owned(), class.to_owned()),
    }
}

fn of_owner(owner: &str, class: Option<&str>) -> Account {
    match class {
        None => Account::Owner(owner.to_owned()),
        Some(class) => Account::OwnerClass(owner.to_owned(), class.to_owned()),
    }
}
