//! Caps on first-ever names: a flood of forged hosts fills one row, not the table.
//!
//! A name that has rows, or that the operator knows, is never capped. What counts against a day's
//! cap is stored with the rows, so that a restart does not open it again.
//!
//! A layer behind the edge has a cap of its own. It knows what the edge knows, but the edge does not
//! learn from it: names that only a layer has seen take no place from the sites at the edge.
//!
//! Those who walk lines are told which days refuse names ([`FullDays`]), so that they need not keep them.
//!
//! Of what is committed whole or not at all, names are admitted on trial ([`Growth::try_out`]): where
//! it comes to nothing, they take no place in their day.

use std::collections::{BTreeMap, HashMap};

use ahash::RandomState;
use chrono::NaiveDate;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use super::day::{self, DayNumber};
use super::name::{self, Hashed};

mod full;

pub use full::FullDays;
use full::{Place, Teller};

/// First-ever names a day, unless the operator says otherwise; and the same for users of one vhost.
pub const DEFAULT_MAX_NEW_NAMES: u64 = 10_000;
/// Stands before the name of a layer, where others have a vhost.
const OF_LAYER: &str = "layer ";

/// Names that have rows already, as a store knew them when it was asked.
#[derive(Debug, Default)]
pub struct KnownNames {
    /// Vhosts that have rows.
    pub vhosts: Vec<String>,
    /// (vhost, user) that have rows.
    pub users: Vec<(String, String)>,
    /// (layer, vhost) that have rows.
    pub layers: Vec<(String, String)>,
    /// How many were new, by day and vhost ("" for vhosts, `layer NAME` for those of a layer), for the
    /// days asked about.
    pub new_names: BTreeMap<(NaiveDate, String), u64>,
}

/// What is known, and how much each day has grown.
#[derive(Debug)]
pub struct Growth {
    /// Hashes of names that have rows: eight bytes a name.
    known: HashTable<u64>,
    /// By day, and hash of the vhost that they are users of; [`VHOSTS`] for vhosts.
    grown: HashMap<Place, Grown, RandomState>,
    /// Where names were admitted since they were last taken.
    added: Vec<Place>,
    trial: Option<Trial>,
    teller: Teller,
    max_vhosts: u64,
    max_users: u64,
}

/// How many names a day has got: vhosts, or users of one vhost.
#[derive(Debug, Default)]
struct Grown {
    /// The vhost that they are users of, or "".
    of: String,
    /// All of them.
    names: u64,
    /// Those that were admitted since they were last taken.
    added: u64,
    /// Those that are on trial.
    tried: u64,
}

/// Names that may yet turn out not to be committed.
#[derive(Debug, Default)]
struct Trial {
    known: Vec<u64>,
    grown: Vec<Place>,
}

/// Stands where others have the hash of the vhost that they are users of.
const VHOSTS: u64 = 0;

impl Growth {
    /// From what the store knows. `configured` are names that are never capped.
    pub fn new(
        stored: KnownNames,
        configured: impl IntoIterator<Item = String>,
        max_vhosts: u64,
        max_users: u64,
    ) -> Self {
        let mut growth = Self {
            known: HashTable::new(),
            grown: HashMap::default(),
            added: Vec::new(),
            trial: None,
            teller: Teller::default(),
            max_vhosts,
            max_users,
        };
        let special = name::SPECIAL.map(str::to_owned);
        growth.know(configured.into_iter().chain(special));
        growth.renew(stored);
        growth
    }

    /// Which days refuse names, for one who walks lines.
    #[must_use]
    pub fn full_days(&self) -> FullDays {
        self.teller.listen()
    }

    /// These names are never capped. A pattern such as `*.example.org` admits nobody: clients can make
    /// up any number of names below it.
    pub fn know(&mut self, names: impl IntoIterator<Item = String>) {
        for vhost in names {
            self.insert(Hashed::from(vhost.as_str()).hash);
        }
    }

    /// Other caps, from now on.
    pub fn set_caps(&mut self, max_vhosts: u64, max_users: u64) {
        self.max_vhosts = max_vhosts;
        self.max_users = max_users;
        self.teller.clear();
    }

    /// Whether any name may have been refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.grown.values().any(|grown| {
            grown.names
                >= if grown.of.is_empty() || grown.of.starts_with(OF_LAYER) {
                    self.max_vhosts
                } else {
                    self.max_users
                }
        })
    }

    /// Names that have rows by now, whoever made them.
    pub fn know_rows(&mut self, stored: &KnownNames) {
        for vhost in &stored.vhosts {
            self.insert(Hashed::from(vhost.as_str()).hash);
        }
        for (vhost, user) in &stored.users {
            let (vhost, user) = (Hashed::from(vhost), Hashed::from(user));
            self.insert(key_of_part(vhost.hash, user.hash));
        }
        for (layer, vhost) in &stored.layers {
            let of = name_of_layer(layer);
            let (of, vhost) = (Hashed::from(of.as_str()), Hashed::from(vhost));
            self.insert(key_of_part(of.hash, vhost.hash));
        }
    }

    /// Takes what the store knows for the truth: a batch was rolled back, or others have added rows.
    pub fn renew(&mut self, stored: KnownNames) {
        self.drop_trial();
        self.know_rows(&stored);
        self.grown = stored
            .new_names
            .into_iter()
            .map(|((date, of), names)| {
                let hash = if of.is_empty() {
                    VHOSTS
                } else {
                    Hashed::from(of.as_str()).hash
                };
                let grown = Grown {
                    of,
                    names,
                    ..Grown::default()
                };
                ((day::number(date), hash), grown)
            })
            .collect();
        self.added.clear();
        self.teller.clear();
    }

    /// The first day whose counts matter: logs of a year may be imported, and each day has its cap.
    #[must_use]
    pub fn since(now: i64) -> NaiveDate {
        day::date(i32::try_from(now.div_euclid(day::DAY_SECONDS) - 400).unwrap_or_default())
    }

    /// Whether a vhost may have a row of its own that first appears on this day.
    pub fn admits_vhost<'n>(&mut self, day: DayNumber, vhost: impl Into<Hashed<'n>>) -> bool {
        let vhost = vhost.into();
        self.admits(day, (VHOSTS, ""), self.max_vhosts, vhost.hash)
    }

    /// The same for a user of a vhost.
    pub fn admits_user<'n>(
        &mut self,
        day: DayNumber,
        vhost: impl Into<Hashed<'n>>,
        user: impl Into<Hashed<'n>>,
    ) -> bool {
        let (vhost, user) = (vhost.into(), user.into());
        is_special_user(user.text)
            || self.admits(
                day,
                (vhost.hash, vhost.text),
                self.max_users,
                key_of_part(vhost.hash, user.hash),
            )
    }

    /// The same for the vhosts of a layer behind the edge; what has a row at the edge is never capped.
    pub fn admits_in_layer<'n>(
        &mut self,
        day: DayNumber,
        layer: impl Into<Hashed<'n>>,
        vhost: impl Into<Hashed<'n>>,
    ) -> bool {
        let (layer, vhost) = (layer.into(), vhost.into());
        let at_edge = self.known.find(vhost.hash, |known| *known == vhost.hash);
        if at_edge.is_some() {
            return true;
        }
        let of = name_of_layer(layer.text);
        let of = Hashed::from(of.as_str());
        self.admits(
            day,
            (of.hash, of.text),
            self.max_vhosts,
            key_of_part(of.hash, vhost.hash),
        )
    }

    /// From here on names are admitted on trial, until [`Growth::keep_trial`] or
    /// [`Growth::drop_trial`].
    pub fn try_out(&mut self) {
        self.trial.get_or_insert_default();
    }

    /// Those on trial are to be stored with the rows like all others.
    pub fn keep_trial(&mut self) {
        for place in self.trial.take().unwrap_or_default().grown {
            if let Some(grown) = self.grown.get_mut(&place) {
                if grown.added == 0 {
                    self.added.push(place);
                }
                grown.added += std::mem::take(&mut grown.tried);
            }
        }
    }

    /// Those on trial have not been seen.
    pub fn drop_trial(&mut self) {
        let trial = self.trial.take().unwrap_or_default();
        for key in trial.known {
            if let Ok(found) = self.known.find_entry(key, |known| *known == key) {
                found.remove();
            }
        }
        for place in trial.grown {
            if let Some(grown) = self.grown.get_mut(&place) {
                grown.names -= std::mem::take(&mut grown.tried);
            }
        }
    }

    /// What was admitted since the last call, but on trial: to be stored with the rows.
    pub fn take_added(&mut self) -> BTreeMap<(DayNumber, String), u64> {
        let mut added = BTreeMap::new();
        for place in std::mem::take(&mut self.added) {
            if let Some(grown) = self.grown.get_mut(&place) {
                let names = std::mem::take(&mut grown.added);
                added.insert((place.0, grown.of.clone()), names);
            }
        }
        added
    }

    /// `of`: where the name would count, and the vhost's name if it is a user.
    fn admits(&mut self, day: DayNumber, of: (u64, &str), most: u64, key: u64) -> bool {
        let Slot::Vacant(slot) = self.known.entry(key, |known| *known == key, |known| *known)
        else {
            return true;
        };
        let place = (day, of.0);
        let grown = self.grown.entry(place).or_insert_with(|| Grown {
            of: of.1.to_owned(),
            ..Grown::default()
        });
        if grown.names >= most {
            // What is on trial may come to nothing, and leave room.
            if grown.names - grown.tried >= most {
                self.teller.is_full(place, self.known.iter().copied());
            }
            return false;
        }
        slot.insert(key);
        grown.names += 1;
        match &mut self.trial {
            None => {
                if grown.added == 0 {
                    self.added.push(place);
                }
                grown.added += 1;
            }
            Some(trial) => {
                if grown.tried == 0 {
                    trial.grown.push(place);
                }
                grown.tried += 1;
                trial.known.push(key);
            }
        }
        self.tell(key);
        true
    }

    fn insert(&mut self, key: u64) {
        let slot = self.known.entry(key, |known| *known == key, |known| *known);
        if let Slot::Vacant(slot) = slot {
            slot.insert(key);
            self.tell(key);
        }
    }

    /// A name is known that was not.
    fn tell(&mut self, key: u64) {
        let known = &self.known;
        self.teller.knows(key, || known.iter().copied().collect());
    }
}

/// Whether users share this name, so that it takes no place.
fn is_special_user(user: &str) -> bool {
    user == name::OVERFLOW || user == name::INVALID
}

/// Of the hashes of a vhost and its user. Both are secret, so nobody can choose names whose sum is that of
/// others.
fn key_of_part(vhost: u64, user: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    (vhost.wrapping_mul(ODD).rotate_left(29) ^ user).wrapping_mul(ODD)
}

/// The vhosts of a layer are kept as if they were users of a vhost of this name, which no vhost can
/// have: there is a space in it.
fn name_of_layer(layer: &str) -> String {
    format!("{OF_LAYER}{layer}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_does_not_push_a_real_site_off_its_row() {
        let stored = KnownNames {
            vhosts: vec!["old.example".to_owned()],
            ..KnownNames::default()
        };
        let mut growth = Growth::new(stored, ["configured.example".to_owned()], 2, 2);
        assert!(growth.admits_vhost(1, "a.example"));
        assert!(growth.admits_vhost(1, "b.example"));
        assert!(!growth.admits_vhost(1, "c.example"));
        assert!(
            growth.admits_vhost(1, "a.example"),
            "admitted once, known from then on"
        );
        assert!(growth.admits_vhost(1, "old.example"));
        assert!(growth.admits_vhost(1, "configured.example"));
        assert!(growth.admits_vhost(2, "c.example"), "another day");
        assert_eq!(
            growth.take_added().into_iter().collect::<Vec<_>>(),
            [((1, String::new()), 2), ((2, String::new()), 1)]
        );
    }

    #[test]
    fn the_count_survives_a_restart() {
        let mut stored = KnownNames::default();
        stored.new_names.insert((day::date(1), String::new()), 2);
        let mut growth = Growth::new(stored, [], 2, 2);
        assert!(!growth.admits_vhost(1, "c.example"));
    }

    #[test]
    fn users_are_capped_per_vhost() {
        let mut growth = Growth::new(KnownNames::default(), [], 9, 1);
        assert!(growth.admits_user(1, "a.example", "alice"));
        assert!(!growth.admits_user(1, "a.example", "bob"));
        assert!(growth.admits_user(1, "b.example", "bob"));
    }

    #[test]
    fn a_flood_behind_the_edge_takes_nothing_from_the_edge() {
        let mut stored = KnownNames {
            vhosts: vec!["edge.example".to_owned()],
            layers: vec![("backend".to_owned(), "old.example".to_owned())],
            ..KnownNames::default()
        };
        stored
            .new_names
            .insert((day::date(1), "layer php".to_owned()), 2);
        let mut growth = Growth::new(stored, [], 2, 9);
        for vhost in ["a.example", "b.example"] {
            assert!(growth.admits_in_layer(1, "backend", vhost));
        }
        assert!(growth.is_full());
        assert!(!growth.admits_in_layer(1, "backend", "c.example"));
        for known in ["edge.example", "old.example", name::NONE, "a.example"] {
            assert!(growth.admits_in_layer(1, "backend", known), "{known}");
        }
        assert!(
            !growth.admits_in_layer(1, "php", "a.example"),
            "its day is full"
        );
        assert_eq!(
            growth.take_added().into_iter().collect::<Vec<_>>(),
            [((1, "layer backend".to_owned()), 2)]
        );
        // The edge has not heard of any of them, and has all of its day left.
        assert!(growth.admits_vhost(1, "c.example"));
        assert!(growth.admits_vhost(1, "a.example"));
        assert!(!growth.admits_vhost(1, "old.example"));
        // What the edge admits the layer takes as well.
        assert!(growth.admits_in_layer(1, "backend", "c.example"));
    }

    #[test]
    fn what_is_on_trial_counts_only_once_it_is_kept() {
        let mut growth = Growth::new(KnownNames::default(), [], 2, 2);
        assert!(growth.admits_vhost(1, "a.example"));
        growth.try_out();
        assert!(growth.admits_vhost(1, "a.example"));
        assert!(growth.admits_vhost(1, "b.example"));
        assert!(!growth.admits_vhost(1, "c.example"), "the day is full");
        assert_eq!(
            growth.take_added().into_iter().collect::<Vec<_>>(),
            [((1, String::new()), 1)]
        );
        growth.drop_trial();
        growth.try_out();
        assert!(growth.admits_vhost(1, "c.example"));
        assert!(!growth.admits_vhost(1, "b.example"));
        growth.keep_trial();
        assert_eq!(
            growth.take_added().into_iter().collect::<Vec<_>>(),
            [((1, String::new()), 1)]
        );
        growth.drop_trial();
        assert!(growth.admits_vhost(1, "c.example"));
        assert!(growth.take_added().is_empty());
    }
}
