//! Rows and lines into meters, and meters into verdicts.

use std::collections::HashMap;

use super::super::period::clock::day_begins;
use super::super::verdict::{Account, Change, Standing, Verdict};
use super::meter::{Bits, Meter, verdict};
use super::rows::{Line, Rows};
use super::weighed::Weighed;
use super::{Engine, subjects};
use crate::account::day::DayNumber;
use crate::account::delta::Amount;
use crate::usage::snapshot::{Key, MinuteNeed};

/// What is counted, and of when.
#[derive(Clone, Copy)]
enum Counted {
    /// The row of a day.
    Day(DayNumber),
    /// The row of a day that is in the sums of days, too.
    SummedDay(DayNumber),
    /// The sum of the rows of days from this one to the one before the other.
    Days(DayNumber, DayNumber),
    /// The row of a minute.
    Minute(DayNumber, i64),
    /// The sum of rows of minutes, with its place among them.
    Minutes(MinuteNeed, DayNumber, i64),
    /// Lines of ours: as much as the row of the day and that of the minute that they will be in.
    Lines(DayNumber, i64),
}

/// Of meters and days that lie in their periods in part: the rows of the days, and those of minutes.
type PartDays = HashMap<(u32, DayNumber), (u64, u64), ahash::RandomState>;

impl Engine {
    /// Adds up everything anew.
    pub(super) fn rebuild(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        self.unmetered = 0;
        for weighed in &mut self.quotas {
            weighed.has_rows = false;
            if let Some(full) = &rows.full {
                weighed.set_rows(&full.needs);
            }
            weighed.known = weighed.has_rows && !self.is_stale && !self.is_behind;
            weighed.is_used = false;
        }
        self.meters.iter_mut().for_each(Meter::clear);
        self.add_rows(&rows);
        for (line, amount) in rows.pending() {
            self.add_line(line, amount);
        }
        self.rows = rows;
        for number in (0..).take(self.meters.len()) {
            self.judge(number);
        }
        self.touched.clear();
        self.gates.renew(&self.meters, &self.quotas);
        self.note_complete();
    }

    fn add_rows(&mut self, rows: &Rows) {
        // First those: they make meters that lines of users are counted by.
        for row in &rows.leech {
            let Some(most) = row.max_bytes else { continue };
            for quota in self.resolver.of_leech(&row.user).to_vec() {
                let meter = self.meter(quota, Account::User(row.user.to_string()));
                let meter = meter.and_then(|meter| self.meters.get_mut(meter as usize));
                let Some(meter) = meter else {
                    self.unmetered += 1;
                    continue;
                };
                meter.own_limit = Some(most);
                meter.add(row.bytes);
            }
        }
        let mut part_days = PartDays::default();
        if let Some(full) = &rows.full {
            let recent_day = full.needs.recent_day;
            for (from, key, amount) in &full.sums {
                self.count(
                    key,
                    Counted::Days(*from, recent_day),
                    amount,
                    &mut part_days,
                );
            }
            for (need, key, day, place, amount) in &full.minute_sums {
                let counted = Counted::Minutes(*need, *day, *place);
                self.count(key, counted, amount, &mut part_days);
            }
            for (key, day, amount) in &full.days {
                self.count(key, Counted::SummedDay(*day), amount, &mut part_days);
            }
        }
        for (key, day, amount) in &rows.days {
            self.count(key, Counted::Day(*day), amount, &mut part_days);
        }
        for ((key, day), amount) in &rows.late_days {
            self.count(key, Counted::Day(*day), amount, &mut part_days);
        }
        for (key, day, minute, amount) in &rows.minutes {
            let counted = Counted::Minute(*day, *minute);
            self.count(key, counted, amount, &mut part_days);
        }
        for ((key, day, minute), amount) in &rows.late_minutes {
            let counted = Counted::Minute(*day, *minute);
            self.count(key, counted, amount, &mut part_days);
        }
        self.add_rests(part_days);
    }

    /// What the rows of days have and those of minutes do not: it was spent before minutes were kept. A
    /// window takes it as spent when the day ended.
    fn add_rests(&mut self, part_days: PartDays) {
        for ((number, day), (of_day, of_minutes)) in part_days {
            let rest = of_day.saturating_sub(of_minutes);
            let Some(meter) = self.meters.get_mut(number as usize).filter(|_| rest > 0) else {
                continue;
            };
            let Some(weighed) = self.quotas.get_mut(meter.quota as usize) else {
                continue;
            };
            let Some(sliding) = weighed.sliding else {
                meter.uncounted = meter.uncounted.saturating_add(rest);
                continue;
            };
            let begins = day_begins(self.zone, day).div_euclid(60);
            // By the time of a reset minutes had been kept: so it was spent before.
            let forgiven = meter.said.forgiven_minute;
            if forgiven == i64::MIN || forgiven < begins {
                let ends = day_begins(self.zone, day.saturating_add(1)).div_euclid(60);
                meter.add_bucket(sliding.bucket(ends - 1), rest, weighed);
                weighed.is_used = true;
            }
        }
    }

    /// Adds lines of ours to all meters that count them.
    pub(super) fn add_line(&mut self, line: &Line, amount: &Amount) {
        let counted = Counted::Lines(line.day, line.minute);
        for key in line.keys() {
            self.count(&key, counted, amount, &mut PartDays::default());
        }
    }

    fn count(&mut self, key: &Key, counted: Counted, amount: &Amount, part_days: &mut PartDays) {
        let meters = self.meters_of(key);
        for &number in meters.iter() {
            let Some(meter) = self.meters.get_mut(number as usize) else {
                continue;
            };
            let Some(weighed) = self.quotas.get_mut(meter.quota as usize) else {
                continue;
            };
            let spent = weighed.measure(amount);
            if weighed.is_leech() {
                if matches!(counted, Counted::Lines(..)) {
                    meter.add(spent);
                }
            } else if weighed.sliding.is_some() {
                count_window(meter, weighed, counted, spent);
            } else if is_in_period(weighed, counted) {
                meter.add(spent);
            }
            note_part_day((number, part_days), weighed, counted, spent);
            if !meter.is_touched {
                meter.is_touched = true;
                self.touched.push(number);
            }
        }
    }

    /// Judges what has been touched since the last time.
    pub(super) fn judge_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for number in touched.drain(..) {
            self.judge(number);
        }
        self.touched = touched;
        self.gates.renew(&self.meters, &self.quotas);
    }

    /// The verdict on one meter: its gate, and what is to be told of it.
    pub(super) fn judge(&mut self, number: u32) {
        let Some(meter) = self.meters.get_mut(number as usize) else {
            return;
        };
        let Some(weighed) = self.quotas.get(meter.quota as usize) else {
            return;
        };
        meter.is_touched = false;
        let (reached, held) = meter.reached(weighed);
        meter.held = reached | held;
        let (to, highest) = verdict(meter.held, weighed);
        let closes = matches!(to, Verdict::Exceeded(_))
            && !meter.said.is_exempt
            && !weighed.quota.report_only;
        let closed_by = highest.filter(|_| closes);
        if closed_by != meter.closed_by {
            self.version += 1;
            let subjects = subjects(&self.rules, &weighed.quota, &meter.account);
            match closed_by {
                Some(_) => self.gates.close(subjects, number),
                None => self.gates.open(subjects, number),
            }
            meter.closed_by = closed_by;
        }
        let from = meter.told_verdict;
        if to < from && !weighed.known {
            // What is known is only a part.
            return;
        }
        let new = reached & !meter.told;
        let left = match weighed.has_no_periods() && weighed.known {
            true => meter.told & !meter.held,
            false => 0,
        };
        if new == 0 && left == 0 && to >= from {
            return;
        }
        meter.told = (meter.told | new) & !left;
        meter.told_verdict = to;
        let (reached, left) = (percents(new, weighed), percents(left, weighed));
        let change = Change {
            quota: weighed.quota.name.clone(),
            account: meter.account.clone(),
            begin: weighed.told_begin(),
            from,
            to,
            consequence: closed_by
                .and_then(|rung| weighed.thresholds.get(usize::from(rung)))
                .and_then(|rung| rung.consequence.clone()),
            standing: standing(meter, weighed),
            at: self.now,
            reached,
            left,
        };
        let told = |percent: u32| {
            let (quota, account) = (change.quota.clone(), change.account.clone());
            (quota, account, change.begin, percent)
        };
        self.told.extend(change.reached.iter().copied().map(told));
        for percent in &change.left {
            self.told.remove(&told(*percent));
        }
        self.changes.push(change);
    }
}

fn is_in_period(weighed: &Weighed, counted: Counted) -> bool {
    match counted {
        Counted::Day(day) => weighed.has_day(day),
        Counted::SummedDay(_) => false,
        Counted::Days(from, recent_day) => weighed.has_sum(from, recent_day),
        Counted::Minute(day, minute) => weighed.has_minute(day, minute),
        Counted::Minutes(need, day, _) => {
            weighed.minute_sums == Some(need) && weighed.has_minute(day, need.from)
        }
        Counted::Lines(day, minute) => weighed.has_day(day) || weighed.has_minute(day, minute),
    }
}

fn count_window(meter: &mut Meter, weighed: &mut Weighed, counted: Counted, spent: u64) {
    let Some(sliding) = weighed.sliding else {
        return;
    };
    let bucket = match counted {
        Counted::Day(_) | Counted::SummedDay(_) | Counted::Days(..) => return,
        Counted::Minute(_, minute) | Counted::Lines(_, minute) => sliding.bucket(minute),
        Counted::Minutes(need, _, place) => match weighed.minute_sums == Some(need) {
            true => place,
            false => return,
        },
    };
    meter.add_bucket(bucket, spent, weighed);
    weighed.is_used = true;
}

/// Lines of ours will be in both rows alike, so they say nothing here.
fn note_part_day(
    (number, part_days): (u32, &mut PartDays),
    weighed: &Weighed,
    counted: Counted,
    spent: u64,
) {
    let (day, is_day) = match counted {
        Counted::Day(day) | Counted::SummedDay(day) => (day, true),
        Counted::Minute(day, _) => (day, false),
        Counted::Minutes(need, day, _) if weighed.day_sums == Some(need) => (day, false),
        _ => return,
    };
    if weighed.part_days.contains(&day) {
        let (of_day, of_minutes) = part_days.entry((number, day)).or_default();
        let part = if is_day { of_day } else { of_minutes };
        *part = part.saturating_add(spent);
    }
}

fn percents(bits: Bits, weighed: &Weighed) -> Vec<u32> {
    let all = weighed.thresholds.iter().enumerate();
    all.filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, threshold)| threshold.at)
        .collect()
}

/// How a meter stands.
pub(super) fn standing(meter: &Meter, weighed: &Weighed) -> Standing {
    Standing {
        quota: weighed.quota.name.clone(),
        account: meter.account.clone(),
        used: meter.used(),
        limit: meter.limit(weighed).unwrap_or(u64::MAX),
        granted: meter.said.granted,
        begins: Some(weighed.span.begins).filter(|begins| *begins != i64::MIN),
        ends: weighed.span.ends,
        next_slice: weighed.next_slice,
        verdict: verdict(meter.held, weighed).0,
        exempt: meter.said.is_exempt,
        uncounted: meter.uncounted,
    }
}
