//! Names into the quotas that apply to them.

use std::collections::HashMap;

use super::super::rule::{Rules, Who};
use super::super::verdict::Account;
use crate::account::name;

/// A number in the list of quotas.
pub(super) type QuotaId = u32;

/// Quotas of one kind and class, by whom they name.
#[derive(Debug, Default)]
struct Group {
    exact: HashMap<String, Vec<QuotaId>, ahash::RandomState>,
    /// `.suffix`
    suffixes: HashMap<String, Vec<QuotaId>, ahash::RandomState>,
    all: Vec<QuotaId>,
}

impl Group {
    fn add(&mut self, who: &str, quota: QuotaId) {
        match who.strip_prefix('*') {
            Some("") => self.all.push(quota),
            Some(suffix) => self.suffixes.entry(suffix.into()).or_default().push(quota),
            None => self.exact.entry(who.into()).or_default().push(quota),
        }
    }

    /// Those that name it most closely: by its own name, by the longest suffix, or with all others.
    fn closest(&self, name: &str) -> &[QuotaId] {
        if let Some(quotas) = self.exact.get(name) {
            return quotas;
        }
        if !self.suffixes.is_empty() {
            // The first point has the longest suffix; a suffix alone is not below itself.
            let points = name.bytes().enumerate().skip(1);
            for (at, _) in points.filter(|(_, byte)| *byte == b'.') {
                if let Some(quotas) = name.get(at..).and_then(|rest| self.suffixes.get(rest)) {
                    return quotas;
                }
            }
        }
        // The rows that stand for many names have no quotas.
        match name::is_special(name) {
            true => &[],
            false => &self.all,
        }
    }
}

/// Who is limited by what.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    vhosts: Group,
    vhost_classes: HashMap<String, Group, ahash::RandomState>,
    owners: Group,
    owner_classes: HashMap<String, Group, ahash::RandomState>,
    users: Group,
    leech: Group,
    owners_of: HashMap<String, Vec<String>, ahash::RandomState>,
}

impl Resolver {
    pub(super) fn new(rules: &Rules) -> Self {
        let mut resolver = Self::default();
        for (id, quota) in (0..).zip(&rules.quotas) {
            let (plain, classes, who) = match &quota.who {
                Who::Vhost(who) => (&mut resolver.vhosts, &mut resolver.vhost_classes, who),
                Who::Owner(who) => (&mut resolver.owners, &mut resolver.owner_classes, who),
                Who::User { user, .. } => {
                    resolver.users.add(user, id);
                    continue;
                }
                Who::Leech(user) => {
                    resolver.leech.add(user, id);
                    continue;
                }
            };
            match &quota.class {
                None => plain.add(who, id),
                Some(class) => classes.entry(class.clone()).or_default().add(who, id),
            }
        }
        for (owner, vhosts) in &rules.owners {
            for vhost in vhosts {
                let owners = resolver.owners_of.entry(vhost.clone()).or_default();
                if !owners.contains(owner) {
                    owners.push(owner.clone());
                }
            }
        }
        resolver
    }

    /// Quotas of a site; with a class, of what that had of it.
    pub(super) fn of_vhost(&self, vhost: &str, class: Option<&str>) -> &[QuotaId] {
        in_class(&self.vhosts, &self.vhost_classes, class).map_or(&[], |group| group.closest(vhost))
    }

    /// Quotas of an owner; with a class, of what that had of its sites.
    pub(super) fn of_owner(&self, owner: &str, class: Option<&str>) -> &[QuotaId] {
        in_class(&self.owners, &self.owner_classes, class).map_or(&[], |group| group.closest(owner))
    }

    /// Who owns a site.
    pub(super) fn owners_of(&self, vhost: &str) -> &[String] {
        self.owners_of.get(vhost).map_or(&[], Vec::as_slice)
    }

    /// Quotas of a user, wherever they hold: one of its own takes it out of those of all, on whichever
    /// sites either of them holds.
    pub(super) fn of_user(&self, user: &str) -> &[QuotaId] {
        self.users.closest(user)
    }

    /// Quotas of a user of mod_leech's table.
    pub(super) fn of_leech(&self, user: &str) -> &[QuotaId] {
        self.leech.closest(user)
    }

    /// Whether the quota is one of those of the account.
    pub(super) fn applies(&self, quota: QuotaId, account: &Account) -> bool {
        let has = |quotas: &[QuotaId]| quotas.contains(&quota);
        match account {
            Account::Vhost(vhost) => has(self.of_vhost(vhost, None)),
            Account::VhostClass(vhost, class) => has(self.of_vhost(vhost, Some(class))),
            Account::Owner(owner) => has(self.of_owner(owner, None)),
            Account::OwnerClass(owner, class) => has(self.of_owner(owner, Some(class))),
            Account::User(user) => has(self.of_user(user)) || has(self.of_leech(user)),
        }
    }
}

fn in_class<'g>(
    plain: &'g Group,
    classes: &'g HashMap<String, Group, ahash::RandomState>,
    class: Option<&str>,
) -> Option<&'g Group> {
    match class {
        None => Some(plain),
        Some(class) => classes.get(class),
    }
}
