//! Usage of one moment, with the number of the batch that it has.

use super::*;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn amount(&mut self) -> Amount {
        Amount {
            bytes_in: self.below(1_000),
            bytes_out: self.below(1 << 30) << 10,
            requests: 1 + self.below(9),
        }
    }
}

type DayRows = BTreeMap<(Key, DayNumber), Amount>;
type MinuteRows = BTreeMap<(Key, DayNumber, i64), Amount>;

/// What was flushed, as quotas may count it.
#[derive(Default)]
struct Flushed {
    days: DayRows,
    minutes: MinuteRows,
}

/// A batch of all kinds of rows. `days`: of how many days; two sites, two users, a class.
fn random_batch(random: &mut Random, days: u64, flushed: &mut Flushed) -> Batch {
    let mut batch = Batch::default();
    let deltas = &mut batch.deltas;
    let (mut claimed, mut users): (DayRows, DayRows) = Default::default();
    for _ in 0..20 {
        let vhost = ["a.example", "b.example", "żółw.example"][random.below(3) as usize];
        let user = ["alice", "bob", "Bob"][random.below(3) as usize];
        let minute = i64::from(FIRST_DAY) * MINUTES_A_DAY
            + random.below(days * MINUTES_A_DAY as u64).cast_signed();
        let day = i32::try_from(minute / MINUTES_A_DAY).expect("a day");
        let amount = random.amount();
        let mut count = |part: Part| {
            let row = flushed.days.entry((key(vhost, part), day)).or_default();
            row.add(amount);
        };
        deltas.vhosts.push(day_delta(vhost, "", day, amount));
        count(Part::All);
        let mut of = |of, part: &str, key: Key| {
            let row = minute_delta(vhost, of, part, minute, amount);
            deltas.minutes.push(row);
            flushed
                .minutes
                .entry((key, day, minute))
                .or_default()
                .add(amount);
        };
        match random.below(4) {
            0 => {}
            1 => {
                count(Part::Class("campus".into()));
                deltas.classes.push(day_delta(vhost, "campus", day, amount));
                of(
                    PartOf::Class,
                    "campus",
                    key(vhost, Part::Class("campus".into())),
                );
            }
            2 => {
                let part = Part::User(user.into());
                count(part.clone());
                users
                    .entry((key(vhost, part.clone()), day))
                    .or_default()
                    .add(amount);
                of(PartOf::User, user, key(vhost, part));
            }
            // A server wrote the name as the client said it.
            _ => {
                let part = Part::User(user.into());
                users
                    .entry((key(vhost, part.clone()), day))
                    .or_default()
                    .add(amount);
                claimed
                    .entry((key(vhost, part), day))
                    .or_default()
                    .add(amount);
            }
        }
        of(PartOf::Vhost, "", key(vhost, Part::All));
    }
    let rows = |rows: DayRows| {
        let rows = rows.into_iter().map(|((key, day), amount)| {
            let Part::User(user) = &key.part else {
                panic!("{key:?}");
            };
            day_delta(&key.vhost, user, day, amount)
        });
        rows.collect()
    };
    (deltas.users, deltas.claimed) = (rows(users), rows(claimed));
    batch
}

impl Flushed {
    /// The same by hand, from a list of single days and minutes.
    fn snapshot(&self, needs: &Needs, seq: u64) -> Snapshot {
        let mut expected = Snapshot {
            needs: needs.clone(),
            seq,
            ..Snapshot::default()
        };
        let wanted = |key: &Key| match key.part {
            Part::All => true,
            Part::User(_) => needs.users,
            Part::Class(_) => needs.classes,
        };
        let (mut sums, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for ((key, day), amount) in self.days.iter().filter(|((key, _), _)| wanted(key)) {
            let is_more = needs.full && needs.days_from.is_some_and(|from| *day >= from);
            if *day >= needs.recent_day || is_more {
                expected.days.push((key.clone(), *day, *amount));
            }
            for from in needs.sums_from.iter().filter(|_| needs.full) {
                if (*from..needs.recent_day).contains(day) {
                    let sum: &mut Amount = sums.entry((*from, key.clone())).or_default();
                    sum.add(*amount);
                }
            }
        }
        let minutes = self.minutes.iter().filter(|_| needs.by_minute);
        for ((key, day, minute), amount) in minutes.filter(|((key, ..), _)| wanted(key)) {
            if *minute >= needs.recent_minute {
                expected.minutes.push((key.clone(), *day, *minute, *amount));
            }
            for need in needs.minutes.iter().filter(|_| needs.full) {
                if (need.from..needs.recent_minute).contains(minute) {
                    let step = (*need, key.clone(), *day, minute / i64::from(need.step));
                    let sum: &mut Amount = steps.entry(step).or_default();
                    sum.add(*amount);
                }
            }
        }
        let sum = |((from, key), amount)| (from, key, amount);
        expected.sums = sums.into_iter().map(sum).collect();
        let step = |((need, key, day, step), amount)| (need, key, day, step, amount);
        expected.minute_sums = steps.into_iter().map(step).collect();
        expected
    }
}

pub(super) fn sorted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.days.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    snapshot.sums.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    snapshot
        .minutes
        .sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    snapshot
        .minute_sums
        .sort_by(|a, b| (a.0, &a.1, a.2, a.3).cmp(&(b.0, &b.1, b.2, b.3)));
    snapshot.leech.sort_by(|a, b| a.user.cmp(&b.user));
    snapshot
}

fn random_needs(random: &mut Random, days: u64) -> Needs {
    let day = |random: &mut Random| FIRST_DAY + i32::try_from(random.below(days)).expect("a day");
    let recent_day = day(random);
    let minute = |random: &mut Random| {
        let minutes = random.below(days * MINUTES_A_DAY as u64);
        i64::from(FIRST_DAY) * MINUTES_A_DAY + minutes.cast_signed()
    };
    let yes = |random: &mut Random| random.below(2) == 0;
    Needs {
        full: random.below(4) > 0,
        recent_day,
        // More than go into one statement, now and then; and some that are not before the recent day.
        sums_from: (0..random.below(20)).map(|_| day(random)).collect(),
        days_from: yes(random).then(|| day(random)),
        recent_minute: minute(random),
        by_minute: yes(random),
        minutes: (0..random.below(3))
            .map(|_| MinuteNeed {
                from: minute(random),
                step: [1, 7, 150, 1_440][random.below(4) as usize],
            })
            .collect(),
        users: yes(random),
        classes: yes(random),
        leech: false,
    }
}

pub(super) fn a_snapshot_is_the_sum_of_all_flushes_of_two_and_knows_its_batch(bench: &Bench) {
    const DAYS: u64 = 25;
    let mut random = Random(7);
    let mut reader = bench.open();
    let mut stores = [bench.open(), bench.open()];
    let mut writers: Vec<Writer> = stores
        .iter_mut()
        .map(|store| store.register("n", Role::Import, NOW).expect("a writer"))
        .collect();
    let mut flushed = Flushed::default();
    for round in 0..25 {
        let who = random.below(2) as usize;
        let batch = random_batch(&mut random, DAYS, &mut flushed);
        let done = stores[who].flush(&mut writers[who], "n", &batch, NOW);
        assert_eq!(done.expect("a flush").refused, [""; 0]);
        let needs = random_needs(&mut random, DAYS);
        for writer in &writers {
            let found = reader.usage(&needs, writer).expect("usage");
            let expected = flushed.snapshot(&needs, writer.seq);
            assert_eq!(sorted(found), sorted(expected), "round {round}");
        }
    }
    // Whoever never flushed has no batch.
    let nobody = Writer {
        instance: "none".into(),
        seq: 9,
    };
    let found = reader.usage(&Needs::default(), &nobody).expect("usage");
    assert_eq!(found.seq, 0);
    assert_eq!(writers[0].seq + writers[1].seq, 25);

    // While one flushes, each snapshot has all of a batch, or nothing of it.
    let each = Amount {
        bytes_in: 1,
        bytes_out: 2,
        requests: 3,
    };
    let mut batch = Batch::default();
    for vhost in 0..50 {
        let vhost = format!("{vhost}.together");
        batch
            .deltas
            .vhosts
            .push(day_delta(&vhost, "", 30_000, each));
    }
    let needs = Needs {
        recent_day: 30_000,
        ..Needs::default()
    };
    let [mut store, _] = stores;
    let mut writer = writers.swap_remove(0);
    let (first, before) = (writer.seq, writer.clone());
    thread::scope(|scope| {
        let flushing = scope.spawn(move || {
            for _ in 0..30 {
                store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
            }
        });
        while !flushing.is_finished() {
            let found = reader.usage(&needs, &before).expect("usage");
            let times = found.seq - first;
            assert_eq!(found.days.len(), if times == 0 { 0 } else { 50 });
            assert!(
                found.days.iter().all(|day| day.2.requests == times * 3),
                "{found:?}"
            );
        }
    });
}

pub(super) fn rows_that_make_no_sense_count_as_nothing_and_sums_do_not_break(bench: &Bench) {
    bench.sql(
        "INSERT INTO bandwidth VALUES ('a', '2026-11-01', 9223372036854775807, -5, 1), \
                                      ('a', '2026-11-02', 9223372036854775807, 3, 1); \
         INSERT INTO bandwidth_user VALUES ('a', 'u', '2026-11-01', 5, 5, 5), \
                                           ('a', 'u', '2026-11-03', -9223372036854775807, 8, 8); \
         INSERT INTO bandwidth_claimed VALUES ('a', 'u', '2026-11-01', 7, 1, 0), \
                                              ('a', 'u', '2026-11-03', 9223372036854775807, 1, 0), \
                                              ('b', 'v', '2026-11-01', 7, 7, 7); \
         INSERT INTO bandwidth_minute VALUES ('a', 0, '', '2026-11-01', 29891520, 9223372036854775807, -1, 1), \
                                             ('a', 0, '', '2026-11-01', 29891521, 9223372036854775807, 0, 1), \
                                             ('a', 7, '', '2026-11-01', 29891521, 1, 1, 1);",
    );
    let needs = Needs {
        full: true,
        recent_day: FIRST_DAY + 2,
        sums_from: BTreeSet::from([FIRST_DAY]),
        recent_minute: 30_000_000,
        by_minute: true,
        minutes: BTreeSet::from([MinuteNeed { from: 0, step: 60 }]),
        users: true,
        ..Needs::default()
    };
    let nobody = Writer {
        instance: String::new(),
        seq: 0,
    };
    let found = bench.open().usage(&needs, &nobody).expect("usage");
    let most = 2 * (u64::MAX / 2);
    let amount = |bytes_in, bytes_out, requests| Amount {
        bytes_in,
        bytes_out,
        requests,
    };
    let user = || key("a", Part::User("u".into()));
    let found = sorted(found);
    assert_eq!(
        found.sums,
        [
            (FIRST_DAY, key("a", Part::All), amount(most, 0, 2)),
            (FIRST_DAY, user(), amount(0, 4, 5)),
        ]
    );
    assert_eq!(found.days, [(user(), FIRST_DAY + 2, amount(0, 7, 8))]);
    assert_eq!(found.minute_sums.len(), 1);
    assert_eq!(found.minute_sums[0].4, amount(most, 0, 2));
}

pub(super) fn a_row_that_cannot_take_more_stops_no_other(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let minute = i64::from(FIRST_DAY) * MINUTES_A_DAY;
    let batch = |bytes_out: u64| {
        let amount = Amount {
            bytes_in: 1,
            bytes_out,
            requests: 1,
        };
        let mut batch = Batch::default();
        for vhost in ["a", "full", "z"] {
            let bytes_out = if vhost == "full" { bytes_out } else { 1 };
            let amount = Amount {
                bytes_out,
                ..amount
            };
            let deltas = &mut batch.deltas;
            deltas
                .claimed
                .push(day_delta(vhost, "u", FIRST_DAY, amount));
            let row = minute_delta(vhost, PartOf::User, "u", minute, amount);
            deltas.minutes.push(row);
        }
        batch
    };
    let full = batch(u64::MAX / 2 - 5);
    store.flush(&mut writer, "n", &full, NOW).expect("a flush");
    let mut refused = store
        .flush(&mut writer, "n", &batch(100), NOW)
        .expect("a flush")
        .refused;
    refused.sort();
    assert_eq!(refused.len(), 2, "{refused:?}");
    for (refused, says) in refused.iter().zip([
        "bandwidth_claimed: full u 2026-11-01: ",
        "bandwidth_minute: full u 2026-11-01, minute 29891520: ",
    ]) {
        assert!(refused.starts_with(says), "{refused}");
    }
    for table in ["bandwidth_claimed", "bandwidth_minute"] {
        let rows = bench.numbers(&format!("SELECT `out` FROM {table} ORDER BY vhost"));
        let full = i64::MAX - 5;
        let expected = [100, 2, full, 2].map(|bytes| vec![Some(bytes)]);
        assert_eq!(rows, expected, "{table}");
    }
}
