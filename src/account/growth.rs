//! Caps on first-ever names: a flood of forged hosts fills one row, not the table.
//!
//! A name that has rows, or that the operator knows, is never capped. What counts against a day's
//! cap is stored with the rows, so that a restart does not open it again.
//!
//! A layer behind the edge has a cap of its own. It knows what the edge knows, but the edge does not
//! learn from it: names that only a layer has seen take no place from the sites at the edge.

use std::collections::{BTreeMap, HashSet};

use ahash::RandomState;
use chrono::NaiveDate;

use super::day::{self, DayNumber};
use super::name;

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
    /// Hashes of names that have rows: eight bytes a name, keyed afresh in each process.
    known: HashSet<u64, RandomState>,
    hasher: RandomState,
    grown: BTreeMap<(DayNumber, String), u64>,
    added: BTreeMap<(DayNumber, String), u64>,
    max_vhosts: u64,
    max_users: u64,
}

impl Growth {
    /// From what the store knows. `configured` are names that are never capped.
    pub fn new(
        stored: KnownNames,
        configured: impl IntoIterator<Item = String>,
        max_vhosts: u64,
        max_users: u64,
    ) -> Self {
        let mut growth = Self {
            known: HashSet::with_hasher(RandomState::new()),
            hasher: RandomState::new(),
            grown: BTreeMap::new(),
            added: BTreeMap::new(),
            max_vhosts,
            max_users,
        };
        let special = [name::NONE, name::INVALID, name::OTHER, name::OVERFLOW].map(str::to_owned);
        growth.know(configured.into_iter().chain(special));
        growth.renew(stored);
        growth
    }

    /// These names are never capped. A pattern such as `*.example.org` admits nobody: clients can make
    /// up any number of names below it.
    pub fn know(&mut self, names: impl IntoIterator<Item = String>) {
        for vhost in names {
            self.known.insert(self.hasher.hash_one((&vhost, "")));
        }
    }

    /// Other caps, from now on.
    pub fn set_caps(&mut self, max_vhosts: u64, max_users: u64) {
        self.max_vhosts = max_vhosts;
        self.max_users = max_users;
    }

    /// Whether any name may have been refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.grown.iter().any(|((_, of), grown)| {
            *grown
                >= if of.is_empty() || of.starts_with(OF_LAYER) {
                    self.max_vhosts
                } else {
                    self.max_users
                }
        })
    }

    /// Names that have rows by now, whoever made them.
    pub fn know_rows(&mut self, stored: &KnownNames) {
        for vhost in &stored.vhosts {
            self.known.insert(self.hasher.hash_one((vhost, "")));
        }
        for (vhost, user) in &stored.users {
            self.known.insert(self.hasher.hash_one((vhost, user)));
        }
        for (layer, vhost) in &stored.layers {
            let of = of_layer(layer);
            self.known.insert(self.hasher.hash_one((&of, vhost)));
        }
    }

    /// Takes what the store knows for the truth: a batch was rolled back, or others have added rows.
    pub fn renew(&mut self, stored: KnownNames) {
        self.know_rows(&stored);
        self.grown = stored
            .new_names
            .into_iter()
            .map(|((date, vhost), n)| ((day::number(date), vhost), n))
            .collect();
        self.added.clear();
    }

    /// The first day whose counts matter: logs of a year may be imported, and each day has its cap.
    #[must_use]
    pub fn since(now: i64) -> NaiveDate {
        day::date(i32::try_from(now.div_euclid(day::DAY_SECONDS) - 400).unwrap_or_default())
    }

    /// Whether a vhost may have a row of its own that first appears on this day.
    pub fn admits_vhost(&mut self, day: DayNumber, vhost: &str) -> bool {
        self.admits(day, "", self.max_vhosts, (vhost, ""))
    }

    /// The same for a user of a vhost.
    pub fn admits_user(&mut self, day: DayNumber, vhost: &str, user: &str) -> bool {
        user == name::OVERFLOW
            || user == name::INVALID
            || self.admits(day, vhost, self.max_users, (vhost, user))
    }

    /// The same for the vhosts of a layer behind the edge; what has a row at the edge is never capped.
    pub fn admits_in_layer(&mut self, day: DayNumber, layer: &str, vhost: &str) -> bool {
        let at_edge = self.hasher.hash_one((vhost, ""));
        if self.known.contains(&at_edge) {
            return true;
        }
        let of = of_layer(layer);
        self.admits(day, &of, self.max_vhosts, (&of, vhost))
    }

    /// What was admitted since the last call: to be stored with the rows.
    pub fn take_added(&mut self) -> BTreeMap<(DayNumber, String), u64> {
        std::mem::take(&mut self.added)
    }

    fn admits(&mut self, day: DayNumber, of: &str, most: u64, key: (&str, &str)) -> bool {
        let hash = self.hasher.hash_one(key);
        if self.known.contains(&hash) {
            return true;
        }
        let grown = self.grown.entry((day, of.to_owned())).or_default();
        if *grown >= most {
            return false;
        }
        *grown += 1;
        *self.added.entry((day, of.to_owned())).or_default() += 1;
        self.known.insert(hash);
        true
    }
}

/// The vhosts of a layer are kept as if they were users of a vhost of this name, which no vhost can
/// have: there is a space in it.
fn of_layer(layer: &str) -> String {
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
}
