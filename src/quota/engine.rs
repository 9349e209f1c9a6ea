//! Usage and rules into verdicts, each time that something is spent.

use chrono_tz::Tz;

use super::rule::Rules;
use super::verdict::{Change, Standing, Verdicts};
use crate::account::spent::Spent;
use crate::usage::said::{AllTold, Overrides};
use crate::usage::snapshot::{Needs, Snapshot};

/// Weighs usage against quotas.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Nothing is known yet: nothing opens until a full snapshot has come. `told`: thresholds that were
    /// told in an earlier life; they are not told again, and rolling windows among them are closed until
    /// usage is below their `reopen`.
    #[must_use]
    pub fn new(rules: Rules, told: AllTold, zone: Tz, now: i64) -> Self {
        let _ = (rules, told, zone, now);
        Self {}
    }

    /// Other rules; those that stay keep their verdicts. What is needed may be more than is known:
    /// [`Engine::needs`] then asks for a full snapshot.
    pub fn set_rules(&mut self, rules: Rules, now: i64) {
        let _ = (rules, now);
    }

    /// What operators say of single accounts.
    pub fn set_overrides(&mut self, overrides: Overrides, now: i64) {
        let _ = (overrides, now);
    }

    /// Lines were summed that are in no batch yet.
    pub fn spend(&mut self, spent: Vec<Spent>, now: i64) {
        let _ = (spent, now);
    }

    /// All that was spent so far is in the batch with this number, or in earlier ones.
    pub fn taken(&mut self, seq: u64) {
        let _ = seq;
    }

    /// What was spent after the batch `seq`, which is committed, is to be forgotten: its lines are read
    /// again.
    pub fn start_over(&mut self, seq: u64, now: i64) {
        let _ = (seq, now);
    }

    /// What the next snapshot is to hold; `None`: nothing is weighed. Full once an hour, and when the
    /// last one does not cover the periods that have begun since.
    #[must_use]
    pub fn needs(&self, now: i64) -> Option<Needs> {
        let _ = now;
        None
    }

    /// The store's rows.
    pub fn snapshot(&mut self, snapshot: Snapshot, now: i64) {
        let _ = (snapshot, now);
    }

    /// Time has passed: periods end, slices open, windows slide.
    pub fn tick(&mut self, now: i64) {
        let _ = now;
    }

    /// When [`Engine::tick`] may change something next, in seconds since 1970.
    #[must_use]
    pub fn next_tick(&self) -> Option<i64> {
        None
    }

    /// A number that is another one whenever [`Engine::verdicts`] may have changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        0
    }

    /// All closed gates.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        Verdicts::default()
    }

    /// Changes since the last call that were not told in this period before.
    pub fn take_changes(&mut self) -> Vec<Change> {
        Vec::new()
    }

    /// How all accounts stand that have used something, or that a quota names; sorted by quota and
    /// account.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        Vec::new()
    }
}
