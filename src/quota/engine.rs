//! Usage and rules into verdicts, each time that something is spent.
//!
//! Usage is what the last snapshot of the store has, and what this process has summed and that snapshot
//! does not have. A snapshot replaces rows, and everything is added up anew; what is spent in between
//! is added to the meters at once. A meter is the usage of one account of one quota.
//!
//! As long as not all usage of a quota is known, what is known can close its gates and cannot open
//! them.
//!
//! | part | does |
//! |---|---|
//! | `resolve`, `accounts` | names into quotas, rows into meters |
//! | `rows` | keeps the store's rows and our own lines, each line once |
//! | `carried` | verdicts over a change of the rules |
//! | `weighed` | a quota's place in time, and the rows that it needs |
//! | `meter`, `weigh` | usage, and which thresholds it reaches |
//! | `gates`, `overrides` | closed gates; grants, resets and exemptions |

use std::collections::HashMap;
use std::sync::Arc;

use chrono_tz::Tz;

use super::period::clock;
use super::rule::Rules;
use super::verdict::{Account, Change, Standing, Verdicts};
use crate::account::spent::Spent;
use crate::usage::said::{AllTold, Overrides};
use crate::usage::snapshot::{Key, Needs, Snapshot};

mod accounts;
mod carried;
mod gates;
mod meter;
mod overrides;
mod resolve;
mod rows;
#[cfg(test)]
mod tests;
mod weigh;
mod weighed;

use accounts::told_bits;
use gates::{Gates, subjects};
use meter::Meter;
use overrides::Index;
use resolve::{QuotaId, Resolver};
use rows::Rows;
use weighed::Weighed;

/// Accounts that have meters. A million sites that somebody has invented are no more.
const MAX_METERS: usize = 1_000_000;
/// How old the rows of a full snapshot may be.
const FULL_SECONDS: i64 = 3_600;
/// Lines are mostly read within so many minutes: what is older is only in full snapshots.
const RECENT_MINUTES: i64 = 10;

/// Weighs usage against quotas.
#[derive(Debug)]
pub struct Engine {
    zone: Tz,
    now: i64,
    rules: Rules,
    resolver: Resolver,
    /// In the order of the rules.
    quotas: Vec<Weighed>,
    meters: Vec<Meter>,
    index: HashMap<(QuotaId, Account), u32, ahash::RandomState>,
    /// The meters of each row that has some.
    cache: HashMap<Key, Arc<[u32]>, ahash::RandomState>,
    no_meters: Arc<[u32]>,
    max_meters: usize,
    unmetered: u64,
    rows: Rows,
    /// Lines were forgotten that will be read again: usage is too low until the next snapshot.
    is_stale: bool,
    /// Lines stand in the logs that nobody has summed yet.
    is_behind: bool,
    told: AllTold,
    overrides: Index,
    gates: Gates,
    /// Meters to be judged.
    touched: Vec<u32>,
    changes: Vec<Change>,
    version: u64,
    was_complete: bool,
    /// When something changes by itself.
    due: Option<i64>,
}

impl Engine {
    /// Nothing is known yet: nothing opens until a full snapshot has come. `rules`: all of them, those of
    /// the tables too, as without any quota all is known and everything open. `told`: thresholds that
    /// were told in an earlier life; they are not told again, and rolling windows among them are closed
    /// until usage is below their `reopen`.
    #[must_use]
    pub fn new(rules: Rules, told: AllTold, zone: Tz, now: i64) -> Self {
        let mut engine = Self {
            zone,
            now,
            rules: Rules::default(),
            resolver: Resolver::default(),
            quotas: Vec::new(),
            meters: Vec::new(),
            index: HashMap::default(),
            cache: HashMap::default(),
            no_meters: Arc::new([]),
            max_meters: MAX_METERS,
            unmetered: 0,
            rows: Rows::default(),
            is_stale: false,
            is_behind: false,
            told,
            overrides: Index::default(),
            gates: Gates::default(),
            touched: Vec::new(),
            changes: Vec::new(),
            version: 0,
            was_complete: true,
            due: None,
        };
        engine.set_rules(rules, now);
        engine
    }

    /// Other rules; those that stay keep their verdicts. What is needed may be more than is known:
    /// [`Engine::needs`] then asks for a full snapshot.
    pub fn set_rules(&mut self, rules: Rules, now: i64) {
        self.advance(now);
        if rules == self.rules {
            return;
        }
        let carried = self.carried();
        self.resolver = Resolver::new(&rules);
        self.rules = rules;
        let quotas = self.rules.quotas.iter().cloned();
        self.quotas = quotas
            .map(|quota| Weighed::new(quota, self.zone, now))
            .collect();
        self.meters.clear();
        self.index.clear();
        self.cache.clear();
        self.touched.clear();
        self.gates.clear();
        self.version += 1;
        self.make_named();
        self.carry(carried);
        self.rebuild();
        self.set_due();
    }

    /// What operators say of single accounts.
    pub fn set_overrides(&mut self, overrides: Overrides, now: i64) {
        self.advance(now);
        if self.overrides.is_of(&overrides) {
            return;
        }
        self.overrides = Index::new(overrides);
        match self.apply_overrides() {
            true => self.rebuild(),
            false => self.judge_touched(),
        }
        self.set_due();
    }

    /// Lines were summed that are in no batch yet.
    pub fn spend(&mut self, spent: Vec<Spent>, now: i64) {
        self.advance(now);
        for spent in spent {
            let (line, amount) = rows::line(spent);
            self.add_line(&line, &amount);
            self.rows.spend(line, amount);
        }
        self.judge_touched();
    }

    /// All that was spent so far is in the batch with this number, or in earlier ones.
    pub fn taken(&mut self, seq: u64) {
        if self.rows.taken(seq) {
            self.rebuild();
        }
    }

    /// What was spent after the batch `seq`, which is committed, is to be forgotten: its lines are read
    /// again. Nothing opens for that, until the next snapshot has come.
    pub fn start_over(&mut self, seq: u64, now: i64) {
        self.advance(now);
        self.rows.start_over(seq);
        self.is_stale = true;
        self.rebuild();
    }

    /// Lines stand in the logs that are still to be summed, or do so no longer. While they do, usage is too
    /// low, whatever the store knows: nothing opens.
    pub fn set_behind(&mut self, is_behind: bool, now: i64) {
        self.advance(now);
        if std::mem::replace(&mut self.is_behind, is_behind) != is_behind {
            self.rebuild();
        }
    }

    /// What the next snapshot is to hold; `None`: nothing is weighed. Full once an hour, on each new day,
    /// and when the last one does not cover the periods that have begun since.
    #[must_use]
    pub fn needs(&mut self, now: i64) -> Option<Needs> {
        self.advance(now);
        if self.quotas.is_empty() {
            return None;
        }
        let day = clock::day_of(self.zone, now);
        let is_fresh = |full: &&rows::Full| {
            let age = now.saturating_sub(full.at);
            full.day == day && (0..FULL_SECONDS).contains(&age)
        };
        let full = self.rows.full.as_ref().filter(is_fresh);
        if let Some(full) = full.filter(|_| self.quotas.iter().all(|quota| quota.has_rows)) {
            return Some(Needs {
                full: false,
                sums_from: Default::default(),
                days_from: None,
                minutes: Default::default(),
                ..full.needs.clone()
            });
        }
        let mut needs = Needs {
            full: true,
            recent_day: day.saturating_sub(1),
            recent_minute: now.div_euclid(60) - RECENT_MINUTES,
            ..Needs::default()
        };
        for quota in &self.quotas {
            quota.add_needs(&mut needs);
        }
        Some(needs)
    }

    /// The store's rows. One that is older than the last is left alone.
    pub fn snapshot(&mut self, snapshot: Snapshot, now: i64) {
        self.advance(now);
        let is_full = snapshot.needs.full;
        let day = clock::day_of(self.zone, now);
        if self.rows.take_over(snapshot, now, day) {
            self.is_stale = false;
            self.rebuild();
            if is_full {
                self.drop_idle();
            }
        }
    }

    /// Time has passed: periods end, slices open, windows slide.
    pub fn tick(&mut self, now: i64) {
        self.advance(now);
    }

    /// When [`Engine::tick`] may change something next, in seconds since 1970.
    #[must_use]
    pub fn next_tick(&self) -> Option<i64> {
        let quotas = self.quotas.iter();
        quotas
            .filter_map(|quota| quota.next_change(quota.is_used))
            .chain(self.overrides.next_change(self.now))
            .min()
    }

    /// A number that is another one whenever [`Engine::verdicts`] may have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All closed gates.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        Verdicts {
            closed: self.gates.closed(),
            complete: self.is_complete(),
        }
    }

    /// Changes since the last call that were not told in this period before.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// How all accounts stand that have used something, or that a quota names; sorted by quota and
    /// account.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let meters = self.meters.iter().filter_map(|meter| {
            let weighed = self.quotas.get(meter.quota as usize)?;
            // A row of mod_leech's table may be gone, or have no limit any more.
            let is_shown = meter.limit(weighed).is_some()
                && (meter.is_named || meter.is_used() || weighed.is_leech());
            is_shown.then(|| weigh::standing(meter, weighed))
        });
        let mut standings: Vec<_> = meters.collect();
        standings
            .sort_by(|one, other| (&one.quota, &one.account).cmp(&(&other.quota, &other.account)));
        standings
    }

    /// How those accounts stand whose period began with usage that is not counted.
    pub fn left_out(&self) -> impl Iterator<Item = Standing> + '_ {
        let meters = self.meters.iter().filter(|meter| meter.uncounted > 0);
        meters.filter_map(|meter| {
            let weighed = self.quotas.get(meter.quota as usize)?;
            Some(weigh::standing(meter, weighed))
        })
    }

    /// Rows, and lines of ours, of accounts that have no meter because there are too many accounts: so
    /// many since everything was last added up.
    #[must_use]
    pub fn unmetered(&self) -> u64 {
        self.unmetered
    }

    /// The first minute since 1970 whose rows a quota may still need; `None`: there is no such quota.
    #[must_use]
    pub fn oldest_minute(&self) -> Option<i64> {
        let quotas = self.quotas.iter();
        quotas.filter_map(Weighed::oldest_minute).min()
    }

    /// Moves on in time, or back: a clock may be set. One that is set back by less than a minute is waited
    /// for.
    fn advance(&mut self, now: i64) {
        let is_little = (1..60).contains(&self.now.saturating_sub(now));
        let now = if is_little { self.now } else { now };
        let was = std::mem::replace(&mut self.now, now);
        let is_due = self.due.is_some_and(|due| due <= now);
        if !is_due && was <= now {
            return;
        }
        let has_gone_back = now < was;
        let mut must_rebuild = has_gone_back;
        let mut is_other_period = false;
        for weighed in &mut self.quotas {
            let opened = weighed.opened;
            let is_other = weighed.set_now(self.zone, now);
            is_other_period |= is_other;
            if is_other {
                for meter in &weighed.meters {
                    if let Some(meter) = self.meters.get_mut(*meter as usize) {
                        meter.told = told_bits(&self.told, weighed, &meter.account);
                    }
                }
                forget_told(&mut self.told, weighed);
            }
            slide(weighed, &mut self.meters, &mut self.touched);
            if opened != weighed.opened {
                touch(&weighed.meters, &mut self.meters, &mut self.touched);
            }
        }
        must_rebuild |= is_other_period;
        let has_override = self.overrides.next_change(was).is_some_and(|at| at <= now);
        if must_rebuild || has_override {
            must_rebuild |= self.apply_overrides();
        }
        match must_rebuild {
            true => {
                // When gates open again is another moment now.
                self.gates.change_all();
                self.version += 1;
                self.rebuild();
            }
            false => self.judge_touched(),
        }
        self.set_due();
    }

    fn set_due(&mut self) {
        let quotas = self.quotas.iter();
        self.due = quotas
            .filter_map(|quota| quota.next_change(true))
            .chain(self.overrides.next_change(self.now))
            .min();
    }

    /// What operators have said, as it holds now. Returns whether usage has to be added up anew.
    fn apply_overrides(&mut self) -> bool {
        let mut must_rebuild = false;
        for (number, meter) in (0..).zip(&mut self.meters) {
            let has_none = meter.said == meter::Said::default();
            if has_none && !self.overrides.has(&meter.account) {
                continue;
            }
            let Some(weighed) = self.quotas.get(meter.quota as usize) else {
                continue;
            };
            let said = self.overrides.of(weighed, &meter.account, self.now);
            if said == meter.said {
                continue;
            }
            must_rebuild |= said.forgiven_minute != meter.said.forgiven_minute;
            meter.said = said;
            if !meter.is_touched {
                meter.is_touched = true;
                self.touched.push(number);
            }
        }
        must_rebuild
    }

    fn is_complete(&self) -> bool {
        self.quotas.iter().all(|quota| quota.known)
    }

    fn note_complete(&mut self) {
        let is_complete = self.is_complete();
        if is_complete != self.was_complete {
            self.was_complete = is_complete;
            self.version += 1;
        }
    }
}

/// Periods that are over are not told of any more.
fn forget_told(told: &mut AllTold, weighed: &Weighed) {
    let (name, begin) = (&weighed.quota.name, weighed.told_begin());
    let first = (name.clone(), Account::Vhost(String::new()), i64::MIN, 0);
    let of_quota = told.range(first..).take_while(|(quota, ..)| quota == name);
    let over: Vec<_> = of_quota.filter(|told| told.2 < begin).cloned().collect();
    for key in over {
        told.remove(&key);
    }
}

fn slide(weighed: &mut Weighed, meters: &mut [Meter], touched: &mut Vec<u32>) {
    let Some(sliding) = weighed.sliding.filter(|_| weighed.is_used) else {
        return;
    };
    weighed.is_used = false;
    for &number in &weighed.meters {
        let Some(meter) = meters.get_mut(number as usize) else {
            continue;
        };
        if meter.slide(sliding.first_bucket) && !meter.is_touched {
            meter.is_touched = true;
            touched.push(number);
        }
        weighed.is_used |= meter.is_used();
    }
}

fn touch(numbers: &[u32], meters: &mut [Meter], touched: &mut Vec<u32>) {
    for &number in numbers {
        if let Some(meter) = meters
            .get_mut(number as usize)
            .filter(|had| !had.is_touched)
        {
            meter.is_touched = true;
            touched.push(number);
        }
    }
}
