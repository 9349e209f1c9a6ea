//! What one ledger has summed becomes another one's: its names have other numbers here, and those
//! beyond the caps share one row.

use std::sync::atomic::{AtomicU64, Ordering};

use super::minutes::Refused;
use super::names::Texts;
use super::{Entry, Ledger, NO_USER, NameId};
use crate::account::day::DayNumber;
use crate::account::growth::Growth;
use crate::account::name::{self, Hashed};

/// Which accounts a ledger takes over from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Each user's.
    Users,
    /// Each vhost's alone, by day.
    Vhosts,
}

impl Ledger {
    /// Takes over what another ledger has summed, and leaves it empty. The numbers that the other one
    /// has handed out stay good.
    pub fn absorb(&mut self, other: &mut Self) {
        self.take_over(other, None, Detail::Users);
    }

    /// The same, where names beyond the caps share the overflow row, in the order of arrival.
    pub fn absorb_capped(&mut self, other: &mut Self, growth: &mut Growth, detail: Detail) {
        self.take_over(other, Some(growth), detail);
    }

    fn take_over(&mut self, other: &mut Self, mut growth: Option<&mut Growth>, detail: Detail) {
        let names = other.names.texts.len();
        other.renumbered.begin(self.memory, names);
        let mut refused = Refused::of(&other.minutes);
        for entry in other.accounts.entries.drain(..) {
            let (vhost, vhost_name) = self.renumber_vhost(
                &other.names.texts,
                &mut other.renumbered,
                growth.as_deref_mut(),
                (entry.day, entry.vhost),
            );
            let has_user = detail == Detail::Users && entry.part != NO_USER;
            let user = other.names.texts.get(entry.part).filter(|_| has_user);
            let mut is_admitted = true;
            let part = match user {
                None => NO_USER,
                Some(user) => {
                    is_admitted = growth.as_deref_mut().is_none_or(|growth| {
                        let vhost = vhost_name.unwrap_or_else(|| name::OVERFLOW.into());
                        growth.admits_user(entry.day, vhost, user)
                    });
                    if is_admitted {
                        self.renumber_part(user, &mut other.renumbered, entry.part)
                    } else {
                        self.overflow()
                    }
                }
            };
            refused.note(&entry, vhost_name.is_some(), is_admitted);
            self.add_entry(Entry {
                vhost,
                part,
                claimed: entry.claimed && part != NO_USER,
                ..entry
            });
        }
        for entry in other.classes.entries.drain(..) {
            let (vhost, _) = self.renumber_vhost(
                &other.names.texts,
                &mut other.renumbered,
                growth.as_deref_mut(),
                (entry.day, entry.vhost),
            );
            self.classes.add(&self.hasher, Entry { vhost, ..entry });
        }
        // After the edge: what it admits needs no place among the names of a layer.
        for entry in other.layers.entries.drain(..) {
            let texts = &other.names.texts;
            let named = |id: NameId| texts.get(id).unwrap_or(name::INVALID.into());
            let (vhost, layer) = (named(entry.vhost), named(entry.part));
            let is_admitted = growth
                .as_deref_mut()
                .is_none_or(|growth| growth.admits_in_layer(entry.day, layer, vhost));
            let vhost = if is_admitted {
                self.names.intern(vhost)
            } else {
                self.overflow()
            };
            let part = self.names.intern(layer);
            self.layers.add(
                &self.hasher,
                Entry {
                    vhost,
                    part,
                    ..entry
                },
            );
        }
        self.take_over_minutes(other, detail, &refused);
        other.clear();
        other.renumbered.end();
    }

    /// The number here of a user, or of another part of a vhost.
    pub(super) fn renumber_part(
        &mut self,
        name: Hashed<'_>,
        renumbered: &mut Renumbered,
        there: NameId,
    ) -> NameId {
        let here = &mut renumbered.names[there.0 as usize];
        if *here == NO_USER {
            *here = self.names.intern(name);
        }
        *here
    }

    /// The number here of an entry's vhost, with its name, or of the overflow.
    pub(super) fn renumber_vhost<'n>(
        &mut self,
        texts: &'n Texts,
        renumbered: &mut Renumbered,
        growth: Option<&mut Growth>,
        (day, vhost): (DayNumber, NameId),
    ) -> (NameId, Option<Hashed<'n>>) {
        let Some(name) = texts.get(vhost) else {
            return (self.name(name::INVALID), Some(name::INVALID.into()));
        };
        let here = renumbered.vhosts[vhost.0 as usize];
        if here != NO_USER {
            return (here, Some(name));
        }
        if growth.is_some_and(|growth| !growth.admits_vhost(day, name)) {
            // Another day may admit it.
            return (self.overflow(), None);
        }
        let here = self.renumber_part(name, renumbered, vhost);
        renumbered.vhosts[vhost.0 as usize] = here;
        renumbered.admitted.push(vhost);
        (here, Some(name))
    }
}

/// What a ledger calls its names by: anew after it has forgotten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory(u64);

impl Default for Memory {
    /// One that nothing else has.
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the names of another ledger are here.
#[derive(Debug, Default)]
pub(super) struct Renumbered {
    /// By the other's number; [`NO_USER`]: not known yet. Good for as long as neither forgets its names.
    names: Vec<NameId>,
    /// Whose numbers these are.
    of: Option<Memory>,
    /// The same, of those that have a row of their own, as far as a take-over has found out. It leaves
    /// nothing of them.
    vhosts: Vec<NameId>,
    admitted: Vec<NameId>,
}

impl Renumbered {
    /// A take-over into the ledger with this memory, of a ledger with so many names.
    fn begin(&mut self, into: Memory, names: usize) {
        if self.of != Some(into) {
            self.names.clear();
            self.of = Some(into);
        }
        self.names.resize(names, NO_USER);
        self.vhosts.resize(names, NO_USER);
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.vhosts.clear();
    }

    fn end(&mut self) {
        for id in self.admitted.drain(..) {
            self.vhosts[id.0 as usize] = NO_USER;
        }
    }
}
