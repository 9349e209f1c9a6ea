//! Verdicts over a change of the rules: what was closed stays so until usage says otherwise, and what was
//! told is not told again.

use std::collections::HashMap;

use super::super::verdict::{Account, Verdict};
use super::Engine;
use super::meter::{Bits, Meter};
use super::resolve::QuotaId;
use super::weighed::Weighed;

/// What a meter was known for.
pub(super) struct Carried {
    quota: String,
    account: Account,
    /// Thresholds that held: percent, and whether it closes.
    held: Vec<(u32, bool)>,
    told: Verdict,
}

impl Engine {
    /// Meters above a threshold, or of which something was told.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let is_carried = |meter: &&Meter| {
            meter.held != 0 || meter.told != 0 || meter.told_verdict != Verdict::Within
        };
        let meters = self.meters.iter().filter(is_carried);
        let carried = meters.filter_map(|meter| {
            let weighed = self.quotas.get(meter.quota as usize)?;
            let bits = weighed.thresholds.iter().enumerate();
            let held = bits
                .filter(|(bit, _)| meter.held & (1 << bit) != 0)
                .map(|(_, threshold)| (threshold.at, threshold.consequence.is_some()));
            Some(Carried {
                quota: weighed.quota.name.clone(),
                account: meter.account.clone(),
                held: held.collect(),
                told: meter.told_verdict,
            })
        });
        carried.collect()
    }

    /// Hands it to the meters of the same quotas, by name, where these are still about those accounts.
    pub(super) fn carry(&mut self, all: Vec<Carried>) {
        let quotas = (0..).zip(&self.rules.quotas);
        let numbers: HashMap<String, QuotaId> = quotas
            .map(|(number, quota)| (quota.name.clone(), number))
            .collect();
        for carried in all {
            let Some(&quota) = numbers.get(&carried.quota) else {
                continue;
            };
            if !self.resolver.applies(quota, &carried.account) {
                continue;
            }
            let meter = self.meter(quota, carried.account);
            let meter = meter.and_then(|meter| self.meters.get_mut(meter as usize));
            let (Some(meter), Some(weighed)) = (meter, self.quotas.get(quota as usize)) else {
                continue;
            };
            meter.told_verdict = carried.told;
            for (at, is_rung) in carried.held {
                meter.held |= nearest(weighed, at, is_rung);
            }
        }
    }
}

/// The threshold that stands where this one stood: the highest of its kind up to it, or the lowest.
fn nearest(weighed: &Weighed, at: u32, is_rung: bool) -> Bits {
    let of_kind = || {
        let all = weighed.thresholds.iter().enumerate();
        all.filter(|(_, threshold)| threshold.consequence.is_some() == is_rung)
    };
    let below = of_kind().rfind(|(_, threshold)| threshold.at <= at);
    below
        .or_else(|| of_kind().next())
        .map_or(0, |(bit, _)| 1 << bit)
}
