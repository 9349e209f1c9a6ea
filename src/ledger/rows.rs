//! Entries into deltas: sorted by key, each key once, each name once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::minutes::MinuteEntry;
use super::names::{Texts, number};
use super::{Entry, NameId};
use crate::account::class::Classes;
use crate::account::day;
use crate::account::delta::{Amount, Delta, MinuteDelta};

/// Of those names that are asked about, the place of each in bytewise order.
#[derive(Debug)]
pub(super) struct Ranks {
    /// By name; [`UNRANKED`] for those that were not asked about.
    ranks: Vec<u32>,
    /// By rank.
    names: Vec<NameId>,
}

const UNRANKED: u32 = u32::MAX;

impl Ranks {
    pub(super) fn new(texts: &Texts, used: impl Iterator<Item = NameId>) -> Self {
        let mut ranks = vec![UNRANKED; texts.len()];
        // The first bytes decide nearly always, and are at hand.
        let mut order: Vec<(u64, NameId)> = Vec::new();
        for id in used {
            if let Some(rank @ &mut UNRANKED) = ranks.get_mut(id.0 as usize) {
                *rank = 0;
                order.push((prefix(text(texts, id)), id));
            }
        }
        order.sort_unstable_by(|&(a_prefix, a), &(b_prefix, b)| {
            let by_text = || text(texts, a).cmp(text(texts, b));
            a_prefix.cmp(&b_prefix).then_with(by_text)
        });
        let names: Vec<NameId> = order.into_iter().map(|(_, id)| id).collect();
        for (rank, id) in names.iter().enumerate() {
            ranks[id.0 as usize] = number(rank);
        }
        Self { ranks, names }
    }

    pub(super) fn of(&self, id: NameId) -> Option<u32> {
        let rank = self.ranks.get(id.0 as usize).copied();
        rank.filter(|rank| *rank != UNRANKED)
    }

    pub(super) fn name(&self, rank: u32) -> Option<NameId> {
        self.names.get(rank as usize).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

fn text(texts: &Texts, id: NameId) -> &str {
    texts.get(id).map_or("", |name| name.text)
}

/// The first eight bytes as a number that sorts as they do.
fn prefix(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let some = name.len().min(8);
    bytes[..some].copy_from_slice(&name.as_bytes()[..some]);
    u64::from_be_bytes(bytes)
}

/// Makes deltas of sorted entries, which hold ranks. Each name is there once.
pub(super) struct Rows<'l> {
    texts: &'l Texts,
    ranks: &'l Ranks,
    shared: Vec<Option<Arc<str>>>,
    /// Stands where there is no part.
    none: Arc<str>,
}

impl<'l> Rows<'l> {
    pub(super) fn new(texts: &'l Texts, ranks: &'l Ranks) -> Self {
        Self {
            texts,
            ranks,
            shared: vec![None; ranks.len()],
            none: "".into(),
        }
    }

    fn name(&mut self, rank: u32) -> Arc<str> {
        let Some(shared) = self.shared.get_mut(rank as usize) else {
            return Arc::clone(&self.none);
        };
        let name = shared.get_or_insert_with(|| {
            let id = self.ranks.name(rank);
            id.and_then(|id| self.texts.get(id))
                .map_or("", |name| name.text)
                .into()
        });
        Arc::clone(name)
    }

    /// Of each vhost and day, users or not.
    pub(super) fn totals(&mut self, entries: &[Entry]) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let mut days = BTreeMap::new();
        for entries in entries.chunk_by(|a, b| a.vhost == b.vhost) {
            let vhost = self.name(entries[0].vhost.0);
            for entry in entries {
                let total: &mut Amount = days.entry(entry.day).or_default();
                total.add(entry.amount);
            }
            while let Some((day, amount)) = days.pop_first() {
                deltas.push(Delta {
                    vhost: Arc::clone(&vhost),
                    part: Arc::clone(&self.none),
                    day: day::date(day),
                    amount,
                });
            }
        }
        deltas
    }

    /// Of each user, or layer, and day.
    pub(super) fn by_part(&mut self, entries: &[Entry]) -> Vec<Delta> {
        let with_part = |entry: &&Entry| entry.part.0 != 0;
        let mut deltas = Vec::with_capacity(entries.iter().filter(with_part).count());
        for same in equal_keys(entries).filter(|same| same[0].part.0 != 0) {
            deltas.push(Delta {
                vhost: self.name(same[0].vhost.0),
                part: self.name(same[0].part.0 - 1),
                day: day::date(same[0].day),
                amount: sum(same),
            });
        }
        deltas
    }

    /// The part of [`Rows::by_part`] whose users are merely claimed.
    pub(super) fn claimed(&mut self, entries: &[Entry]) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let is_claimed = |entry: &&Entry| entry.claimed && entry.part.0 != 0;
        for same in equal_keys(entries) {
            let mut claimed = same.iter().filter(is_claimed).peekable();
            if claimed.peek().is_some() {
                deltas.push(Delta {
                    vhost: self.name(same[0].vhost.0),
                    part: self.name(same[0].part.0 - 1),
                    day: day::date(same[0].day),
                    amount: sum(claimed),
                });
            }
        }
        deltas
    }

    /// Of each account and minute.
    pub(super) fn by_minute(&mut self, entries: &[MinuteEntry]) -> Vec<MinuteDelta> {
        let mut deltas: Vec<MinuteDelta> = Vec::with_capacity(entries.len());
        for same in entries.chunk_by(|a, b| a.row() == b.row()) {
            let mut amount = Amount::default();
            same.iter().for_each(|entry| amount.add(entry.amount));
            let first = &same[0];
            deltas.push(MinuteDelta {
                vhost: self.name(first.vhost.0),
                of: first.of,
                part: match first.part.0.checked_sub(1) {
                    Some(rank) => self.name(rank),
                    None => Arc::clone(&self.none),
                },
                day: day::date(first.day),
                minute: first.minute.into(),
                amount,
            });
        }
        deltas
    }

    /// Of each class and day.
    pub(super) fn by_class(&mut self, entries: &[Entry], classes: &Classes) -> Vec<Delta> {
        let mut deltas = Vec::new();
        for same in equal_keys(entries) {
            let class = u16::try_from(same[0].part.0).unwrap_or(u16::MAX);
            deltas.push(Delta {
                vhost: self.name(same[0].vhost.0),
                part: classes.name(class).into(),
                day: day::date(same[0].day),
                amount: sum(same),
            });
        }
        // Classes are sorted by number so far.
        deltas.sort_by(|a, b| (&a.vhost, &a.part, a.day).cmp(&(&b.vhost, &b.part, b.day)));
        deltas
    }
}

/// Sorted entries, those of the same row together.
fn equal_keys(entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    entries.chunk_by(|a, b| a.row() == b.row())
}

fn sum<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Amount {
    let mut total = Amount::default();
    for entry in entries {
        total.add(entry.amount);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;

    #[test]
    fn ranks_are_bytewise_and_of_the_used_names_alone() {
        let mut names = Names::default();
        let given = [
            "b",
            "a",
            "long.name.b",
            "long.name.a",
            "long.nam",
            "",
            "unused",
            "ż",
        ];
        let ids: Vec<NameId> = given
            .iter()
            .map(|name| names.intern((*name).into()))
            .collect();
        assert_eq!(names.intern("long.name.b".into()), ids[2]);
        let used = ids
            .iter()
            .chain(&ids)
            .copied()
            .filter(|id| *id != ids[6])
            .chain([NameId(u32::MAX)]);
        let ranks = Ranks::new(&names.texts, used);
        let sorted: Vec<&str> = (0..number(ranks.len()))
            .filter_map(|rank| ranks.name(rank))
            .map(|id| text(&names.texts, id))
            .collect();
        assert_eq!(
            sorted,
            ["", "a", "b", "long.nam", "long.name.a", "long.name.b", "ż"]
        );
        assert_eq!(ranks.of(ids[1]), Some(1));
        assert_eq!(ranks.of(ids[6]), None);
    }
}
