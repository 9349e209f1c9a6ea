//! A store that keeps every line, and does what [`Needs`] says word by word.

use std::collections::BTreeMap;

use super::*;

/// A line that is committed.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) spent: Spent,
    /// It has rows of minutes.
    pub(super) by_minute: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) lines: Vec<Committed>,
    pub(super) seq: u64,
    /// Users with what they had before, and may have.
    pub(super) leech: BTreeMap<String, (u64, Option<u64>)>,
}

impl Store {
    /// Lines of another node, or of one that is no more.
    pub(super) fn commit(&mut self, spent: Spent) {
        let by_minute = true;
        self.lines.push(Committed { spent, by_minute });
    }

    /// A batch of ours.
    pub(super) fn flush(&mut self, seq: u64, lines: Vec<Spent>) {
        lines.into_iter().for_each(|spent| self.commit(spent));
        self.seq = seq;
    }

    pub(super) fn usage(&self, needs: &Needs) -> Snapshot {
        let mut sums = BTreeMap::<_, Amount>::new();
        let mut days = BTreeMap::<_, Amount>::new();
        let mut minute_sums = BTreeMap::<_, Amount>::new();
        let mut minutes = BTreeMap::<_, Amount>::new();
        let days_from = needs.days_from.filter(|_| needs.full);
        let days_from = days_from.unwrap_or(needs.recent_day);
        for Committed { spent, by_minute } in &self.lines {
            let (day, minute, amount) = (spent.day, spent.minute, spent.amount);
            for key in keys(spent, needs) {
                for from in needs.sums_from.iter().filter(|_| needs.full) {
                    if (*from..needs.recent_day).contains(&day) {
                        sums.entry((*from, key.clone())).or_default().add(amount);
                    }
                }
                if day >= days_from.min(needs.recent_day) {
                    days.entry((key.clone(), day)).or_default().add(amount);
                }
                if !needs.by_minute || !by_minute {
                    continue;
                }
                for need in needs.minutes.iter().filter(|_| needs.full) {
                    if (need.from..needs.recent_minute).contains(&minute) {
                        let place = minute.div_euclid(i64::from(need.step));
                        let at = (*need, key.clone(), day, place);
                        minute_sums.entry(at).or_default().add(amount);
                    }
                }
                if minute >= needs.recent_minute {
                    minutes.entry((key, day, minute)).or_default().add(amount);
                }
            }
        }
        let leech = self.leech.iter().filter(|_| needs.leech);
        Snapshot {
            needs: needs.clone(),
            seq: self.seq,
            sums: sums
                .into_iter()
                .map(|((from, key), sum)| (from, key, sum))
                .collect(),
            days: days
                .into_iter()
                .map(|((key, day), sum)| (key, day, sum))
                .collect(),
            minute_sums: minute_sums
                .into_iter()
                .map(|((need, key, day, place), sum)| (need, key, day, place, sum))
                .collect(),
            minutes: minutes
                .into_iter()
                .map(|((key, day, minute), sum)| (key, day, minute, sum))
                .collect(),
            leech: leech
                .map(|(user, row)| self.leech_row(user, *row))
                .collect(),
        }
    }

    fn leech_row(&self, user: &str, (had, max_bytes): (u64, Option<u64>)) -> LeechRow {
        let lines = self.lines.iter().map(|line| &line.spent);
        let of_user = lines.filter(|spent| spent.user.as_deref() == Some(user));
        let bytes = of_user.map(|spent| spent.amount.bytes_in + spent.amount.bytes_out);
        LeechRow {
            user: user.into(),
            bytes: had + bytes.sum::<u64>(),
            max_bytes,
        }
    }
}

fn keys(spent: &Spent, needs: &Needs) -> Vec<Key> {
    let user = spent.user.clone().filter(|_| needs.users).map(Part::User);
    let class = spent.class.clone().filter(|_| needs.classes);
    let parts = [Some(Part::All), user, class.map(Part::Class)];
    let key = |part| Key {
        vhost: Arc::clone(&spent.vhost),
        part,
    };
    parts.into_iter().flatten().map(key).collect()
}
