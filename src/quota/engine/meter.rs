//! What an account has used of a quota, and which thresholds that reaches.

use std::collections::BTreeMap;

use super::super::rule::Period;
use super::super::verdict::{Account, Verdict};
use super::resolve::QuotaId;
use super::weighed::Weighed;

/// A bit for each threshold of a quota, the lowest one's the lowest.
pub(super) type Bits = u64;

/// What was spent in a rolling window, by buckets.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: BTreeMap<i64, u64>,
    /// Of all buckets.
    total: u128,
}

impl Window {
    fn clear(&mut self) {
        self.buckets.clear();
        self.total = 0;
    }

    fn add(&mut self, bucket: i64, amount: u64) {
        let had = self.buckets.entry(bucket).or_default();
        let sum = had.saturating_add(amount);
        self.total += u128::from(sum - *had);
        *had = sum;
    }

    /// Forgets what lies before a bucket.
    fn slide(&mut self, first: i64) -> bool {
        let mut has_changed = false;
        while let Some(entry) = self.buckets.first_entry() {
            if *entry.key() >= first {
                break;
            }
            self.total -= u128::from(entry.remove());
            has_changed = true;
        }
        has_changed
    }
}

/// Usage of one account of one quota.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) quota: QuotaId,
    pub(super) account: Account,
    /// Its quota names it: it is there without usage.
    pub(super) is_named: bool,
    /// Of a period.
    used: u64,
    /// Of a rolling window.
    window: Option<Box<Window>>,
    /// What no row tells the minute of, on days that lie in the period in part.
    pub(super) uncounted: u64,
    /// Of a row of mod_leech's table: its limit.
    pub(super) own_limit: Option<u64>,
    /// What operators have said of it.
    pub(super) said: Said,
    /// Thresholds that are reached, or held until usage is well below them, or known.
    pub(super) held: Bits,
    /// Those that were told in this period.
    pub(super) told: Bits,
    /// The verdict that was told last.
    pub(super) told_verdict: Verdict,
    /// The threshold whose consequence a gate has.
    pub(super) closed_by: Option<u8>,
    /// It is on the list of those to be judged.
    pub(super) is_touched: bool,
}

/// What operators have said of one account, as it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) granted: u64,
    /// Of a period: so much is taken off.
    pub(super) forgiven: u64,
    /// Of a rolling window: nothing up to this minute counts.
    pub(super) forgiven_minute: i64,
    pub(super) is_exempt: bool,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            granted: 0,
            forgiven: 0,
            forgiven_minute: i64::MIN,
            is_exempt: false,
        }
    }
}

impl Meter {
    pub(super) fn new(quota: QuotaId, account: Account, weighed: &Weighed) -> Self {
        let is_rolling = matches!(weighed.quota.period, Period::Rolling { .. });
        Self {
            quota,
            account,
            is_named: false,
            used: 0,
            window: is_rolling.then(Box::default),
            uncounted: 0,
            own_limit: None,
            said: Said::default(),
            held: 0,
            told: 0,
            told_verdict: Verdict::Within,
            closed_by: None,
            is_touched: false,
        }
    }

    /// Nothing is used, until it is added again.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.uncounted = 0;
        self.own_limit = None;
        if let Some(window) = &mut self.window {
            window.clear();
        }
    }

    /// Adds to the usage of a period.
    pub(super) fn add(&mut self, amount: u64) {
        self.used = self.used.saturating_add(amount);
    }

    /// Adds to a bucket of a rolling window, unless that has left it or is forgiven.
    pub(super) fn add_bucket(&mut self, bucket: i64, amount: u64, weighed: &Weighed) {
        let (Some(window), Some(sliding)) = (&mut self.window, weighed.sliding) else {
            return;
        };
        let is_forgiven = self.said.forgiven_minute != i64::MIN
            && bucket <= sliding.bucket(self.said.forgiven_minute);
        if amount > 0 && bucket >= sliding.first_bucket && !is_forgiven {
            window.add(bucket, amount);
        }
    }

    /// Moves a rolling window on; returns whether something has left it.
    pub(super) fn slide(&mut self, first_bucket: i64) -> bool {
        let window = self.window.as_mut();
        window.is_some_and(|window| window.slide(first_bucket))
    }

    /// Whether anything counts.
    pub(super) fn is_used(&self) -> bool {
        self.used > 0 || self.window.as_ref().is_some_and(|window| window.total > 0)
    }

    /// What was used, less what is forgiven.
    pub(super) fn used(&self) -> u64 {
        match &self.window {
            Some(window) => u64::try_from(window.total).unwrap_or(u64::MAX),
            None => self.used.saturating_sub(self.said.forgiven),
        }
    }

    /// What may be used now; `None`: nothing limits it.
    pub(super) fn limit(&self, weighed: &Weighed) -> Option<u64> {
        let open = match weighed.is_leech() {
            true => self.own_limit?,
            false => weighed.opened,
        };
        Some(open.saturating_add(self.said.granted))
    }

    /// The thresholds that usage reaches, and those that it does not but that are held.
    pub(super) fn reached(&self, weighed: &Weighed) -> (Bits, Bits) {
        let limit = self.limit(weighed).map(u128::from);
        let used = u128::from(self.used());
        let reopen = u128::from(weighed.quota.reopen.min(100));
        let (mut reached, mut held) = (0, 0);
        for (bit, threshold) in weighed.thresholds.iter().enumerate() {
            let bit = 1 << bit;
            let at = u128::from(threshold.at);
            if limit.is_some_and(|limit| used * 100 >= at * limit) {
                reached |= bit;
                continue;
            }
            // Both sides are below 2^110.
            let is_near = || limit.is_some_and(|limit| used * 10_000 >= reopen * at * limit);
            let is_held = !weighed.known || self.window.is_some() && is_near();
            if is_held && self.held & bit != 0 {
                held |= bit;
            }
        }
        (reached, held)
    }
}

/// What thresholds come to, and the number of the highest.
pub(super) fn verdict(bits: Bits, weighed: &Weighed) -> (Verdict, Option<u8>) {
    // There are 64 at most.
    let all = (0..64_u8)
        .zip(&weighed.thresholds)
        .filter(|(bit, _)| bits & (1 << bit) != 0);
    let highest = all.clone().next_back();
    let mut rungs = all.filter(|(_, threshold)| threshold.consequence.is_some());
    if let Some((bit, rung)) = rungs.next_back() {
        return (Verdict::Exceeded(rung.at), Some(bit));
    }
    match highest {
        Some((bit, threshold)) => (Verdict::Warned(threshold.at), Some(bit)),
        None => (Verdict::Within, None),
    }
}
