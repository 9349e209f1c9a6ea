//! Lines of watched accounts: added up by minute while a chunk is walked, then put into the ledger's
//! minutes, and told.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use tollkeeper_parsers::time::Time;

use crate::account::Rules;
use crate::account::class::Classes;
use crate::account::day::DayNumber;
use crate::account::delta::{Amount, PartOf};
use crate::account::growth::Growth;
use crate::account::minute::{MinuteNumber, Minutes};
use crate::account::name;
use crate::account::spent::Spent;
use crate::account::watched::{Watch, Watched};
use crate::ledger::{Ledger, NO_USER, NameId};

/// Names that are told again without being copied; beyond, all are forgotten.
const MAX_SHARED_NAMES: usize = 65_536;

/// What is watched, and what its lines came to.
#[derive(Debug)]
pub(super) struct Watching {
    watched: Arc<Watched>,
    vhosts: Marks,
    users: Marks,
    minutes: Minutes,
    /// Of the chunk that is being walked.
    sums: Sums,
    /// Names that have been told.
    shared: HashMap<NameId, Arc<str>, RandomState>,
    /// What has not been taken yet. `None`: nobody asks for it.
    spent: Option<Vec<Spent>>,
}

impl Watching {
    pub(super) fn new(rules: &Rules, tells: bool) -> Self {
        Self {
            watched: Arc::clone(&rules.watched),
            vhosts: Marks::default(),
            users: Marks::default(),
            minutes: Minutes::new(rules.zone),
            sums: Sums::default(),
            shared: HashMap::default(),
            spent: tells.then(Vec::new),
        }
    }

    /// Whether anything is watched by these rules, which hold from here on.
    pub(super) fn follow(&mut self, rules: &Rules) -> bool {
        if !Arc::ptr_eq(&self.watched, &rules.watched) {
            self.watched = Arc::clone(&rules.watched);
            self.vhosts = Marks::default();
            self.users = Marks::default();
        }
        !self.watched.is_empty()
    }

    /// The numbers of names are void.
    pub(super) fn forget_names(&mut self) {
        self.vhosts = Marks::default();
        self.users = Marks::default();
        self.shared.clear();
    }

    /// A request that has been charged. `user`: one that a server vouches for, or [`NO_USER`].
    pub(super) fn note(
        &mut self,
        ledger: &Ledger,
        (day, time): (DayNumber, Option<Time>),
        (vhost, user, class): (NameId, NameId, Option<u16>),
        amount: Amount,
    ) {
        let watched = &self.watched;
        let of_vhost = self.vhosts.of(ledger, vhost, |name| watched.vhost(name));
        let of_user = match user {
            NO_USER => Watch::default(),
            user => self.users.of(ledger, user, |name| watched.user(name)),
        };
        if !of_vhost.any() && !of_user.any() {
            return;
        }
        let Some(minute) = time.and_then(|time| self.minutes.of(time)) else {
            return;
        };
        let key = Key {
            minute,
            day,
            vhost,
            user: if of_user.any() { user } else { NO_USER },
            class,
        };
        self.sums.add(key, amount);
    }

    /// The chunk has ended: what its lines came to goes to the ledger's minutes, and to those that are
    /// told.
    pub(super) fn settle(&mut self, ledger: &mut Ledger, classes: &Classes) {
        let mut sums = std::mem::take(&mut self.sums);
        for (key, amount) in sums.drain() {
            let of_vhost = self.vhosts.known(key.vhost);
            let of_user = self.users.known(key.user);
            let class = key.class.map(|class| ledger.name(classes.name(class)));
            let at = (key.day, key.minute);
            let mut add = |of, part| ledger.add_minute(at, key.vhost, (of, part), amount);
            if of_vhost.by_minute {
                add(PartOf::Vhost, NO_USER);
            }
            if let Some(class) = class
                && of_vhost.classes_by_minute
            {
                add(PartOf::Class, class);
            }
            if of_user.by_minute {
                add(PartOf::User, key.user);
            }
            if self.spent.is_some() && (of_vhost.told || of_user.told) {
                let spent = Spent {
                    vhost: self.shared(ledger, key.vhost),
                    user: of_user.told.then(|| self.shared(ledger, key.user)),
                    class: class.map(|class| self.shared(ledger, class)),
                    day: key.day,
                    minute: key.minute.into(),
                    amount,
                };
                self.spent.get_or_insert_default().push(spent);
            }
        }
        self.sums = sums;
    }

    fn shared(&mut self, ledger: &Ledger, id: NameId) -> Arc<str> {
        if self.shared.len() >= MAX_SHARED_NAMES && !self.shared.contains_key(&id) {
            self.shared.clear();
        }
        let make = || ledger.text(id).unwrap_or(name::INVALID).into();
        Arc::clone(self.shared.entry(id).or_insert_with(make))
    }

    /// What was spent since the last call, in the order of arrival. Names are asked about as the ledger
    /// will ask: a vhost beyond its day's cap is not told, but what a user spends there is.
    pub(super) fn take_spent(&mut self, growth: &mut Growth) -> Vec<Spent> {
        let mut all = self.spent.as_mut().map(std::mem::take).unwrap_or_default();
        all.retain_mut(|spent| {
            let has_row = growth.admits_vhost(spent.day, &*spent.vhost);
            if !has_row {
                spent.vhost = name::OVERFLOW.into();
            }
            let user = spent.user.as_deref();
            let refused = |user| !growth.admits_user(spent.day, &*spent.vhost, user);
            if user.is_some_and(refused) {
                spent.user = None;
                let is_special = name::is_special(&spent.vhost);
                return !is_special && self.watched.vhost(&spent.vhost).told;
            }
            has_row || user.is_some()
        });
        all
    }
}

/// What is told of names, by their numbers.
#[derive(Debug, Default)]
struct Marks(Vec<Option<Watch>>);

impl Marks {
    fn of(&mut self, ledger: &Ledger, id: NameId, look: impl FnOnce(&str) -> Watch) -> Watch {
        if let Some(Some(watch)) = self.0.get(id.index()) {
            return *watch;
        }
        let name = ledger.text(id).filter(|name| !name::is_special(name));
        let watch = name.map(look).unwrap_or_default();
        if id.index() >= self.0.len() {
            self.0.resize(id.index() + 1, None);
        }
        self.0[id.index()] = Some(watch);
        watch
    }

    fn known(&self, id: NameId) -> Watch {
        let watch = self.0.get(id.index()).copied();
        watch.flatten().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    minute: MinuteNumber,
    day: DayNumber,
    vhost: NameId,
    user: NameId,
    class: Option<u16>,
}

/// Sums of one chunk, in the order of arrival.
#[derive(Debug, Default)]
struct Sums {
    entries: Vec<(Key, Amount)>,
    by_key: HashTable<u32>,
    hasher: RandomState,
}

impl Sums {
    fn add(&mut self, key: Key, amount: Amount) {
        let entries = &mut self.entries;
        if let Some((last, sum)) = entries.last_mut()
            && *last == key
        {
            sum.add(amount);
            return;
        }
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        let is_same = |&at: &u32| entries[at as usize].0 == key;
        if let Some(&at) = self.by_key.find(hash, is_same) {
            entries[at as usize].1.add(amount);
            return;
        }
        // A chunk has far fewer lines than 2^32.
        let at = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let rehash = |&at: &u32| hasher.hash_one(entries[at as usize].0);
        self.by_key.insert_unique(hash, at, rehash);
        entries.push((key, amount));
    }

    /// All of them; their memory is kept.
    fn drain(&mut self) -> impl Iterator<Item = (Key, Amount)> {
        self.by_key.clear();
        self.entries.drain(..)
    }
}
