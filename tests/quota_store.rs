//! What every store promises to quotas: usage of one moment with the number of the batch that it has, what
//! operators say in the tables, thresholds told once, and mod_leech's table added to once.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use chrono_tz::Tz;
use support::mariadb::{Database, MariaDb};
use support::proxy::{Harm, Proxy, When};
use support::wait_until;
use tollkeeper::account::day::{DayNumber, date};
use tollkeeper::account::delta::{Amount, Delta, MinuteDelta, PartOf};
use tollkeeper::source::content::Hasher;
use tollkeeper::source::position::State;
use tollkeeper::store::mysql::{Mysql, users_table_grants};
use tollkeeper::store::sqlite::Sqlite;
use tollkeeper::store::{Batch, Checkpoint, FlushError, Moves, Role, Store, StoreError, Writer};
use tollkeeper::usage::said::{Account, Exempt, Grant, GrantKind, Overrides, QuotaRow, Told};
use tollkeeper::usage::snapshot::{Key, LeechRow, MinuteNeed, Needs, Part, Snapshot};
use tollkeeper::usage::{UsageQuery, UsageTable};

const NOW: i64 = 1_790_000_000;
/// 2026-11-01
const FIRST_DAY: DayNumber = 20_758;
const MINUTES_A_DAY: i64 = 1_440;

/// A new store. That in a database has exactly the rights that the program prints.
enum Bench {
    Sqlite(tempfile::TempDir),
    Mysql(Database<'static>),
}

impl Bench {
    fn sqlite() -> Self {
        let bench = Self::Sqlite(tempfile::tempdir().expect("a folder"));
        bench.open();
        bench
    }

    fn mariadb() -> Self {
        Self::Mysql(MariaDb::shared().database())
    }

    /// Another connection to it.
    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::Sqlite(_) => Box::new(self.sqlite_store()),
            Self::Mysql(database) => Box::new(database.open()),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("store.db"),
            Self::Mysql(_) => panic!("no file"),
        }
    }

    fn sqlite_store(&self) -> Sqlite {
        Sqlite::open(&self.path(), Some(Tz::UTC), Tz::UTC).expect("a store")
    }

    /// One that adds to mod_leech's table.
    fn open_with_users(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(_) => {
                let mut store = self.sqlite_store();
                store.set_users_table("users");
                store.check_users_table()?;
                Box::new(store)
            }
            Self::Mysql(database) => {
                let mut store = database.open();
                store.set_users_table("users");
                store.check_users_table()?;
                Box::new(store)
            }
        })
    }

    /// Runs statements, as whoever may do everything. Both know backticks.
    fn sql(&self, statements: &str) {
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.path()).expect("a store");
                connection
                    .busy_timeout(Duration::from_secs(10))
                    .and_then(|()| connection.execute_batch(statements))
                    .unwrap_or_else(|error| panic!("{statements}: {error}"));
            }
            Self::Mysql(database) => {
                database.sql(statements);
            }
        }
    }

    /// The numbers that a statement finds, a row a line.
    fn numbers(&self, statement: &str) -> Vec<Vec<Option<i64>>> {
        match self {
            Self::Sqlite(_) => {
                let connection = rusqlite::Connection::open(self.path()).expect("a store");
                let mut prepared = connection.prepare(statement).expect("a statement");
                let columns = prepared.column_count();
                let rows = prepared.query_map([], |row| {
                    (0..columns).map(|column| row.get(column)).collect()
                });
                let rows: rusqlite::Result<_> = rows.expect("rows").collect();
                rows.expect("numbers")
            }
            Self::Mysql(database) => {
                let text = database.sql(statement);
                let rows = text.lines();
                rows.map(|row| row.split('\t').map(|cell| cell.parse().ok()).collect())
                    .collect()
            }
        }
    }
}

/// Tests that each store has to pass, each by its name below that of the store.
macro_rules! on_each_store {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name(&super::Bench::sqlite()); })*
        }
        mod mariadb {
            $(#[test] fn $name() { super::$name(&super::Bench::mariadb()); })*
        }
    };
}

on_each_store! {
    a_snapshot_is_the_sum_of_all_flushes_of_two_and_knows_its_batch
    rows_that_make_no_sense_count_as_nothing_and_sums_do_not_break
    a_row_that_cannot_take_more_stops_no_other
    a_threshold_is_told_by_one_of_many
    what_people_write_is_seen_and_what_makes_no_sense_is_named
    what_is_granted_and_exempted_comes_back
    what_is_old_is_deleted_bounded_and_nothing_else
    users_of_mod_leechs_table_get_their_bytes_once
    a_table_of_users_that_cannot_be_used_says_why
}

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

fn key(vhost: &str, part: Part) -> Key {
    Key {
        vhost: vhost.into(),
        part,
    }
}

fn day_delta(vhost: &str, part: &str, day: DayNumber, amount: Amount) -> Delta {
    Delta {
        vhost: vhost.into(),
        part: part.into(),
        day: date(day),
        amount,
    }
}

fn minute_delta(vhost: &str, of: PartOf, part: &str, minute: i64, amount: Amount) -> MinuteDelta {
    MinuteDelta {
        vhost: vhost.into(),
        of,
        part: part.into(),
        day: date(i32::try_from(minute / MINUTES_A_DAY).expect("a day")),
        minute,
        amount,
    }
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

fn sorted(mut snapshot: Snapshot) -> Snapshot {
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

fn a_snapshot_is_the_sum_of_all_flushes_of_two_and_knows_its_batch(bench: &Bench) {
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

fn rows_that_make_no_sense_count_as_nothing_and_sums_do_not_break(bench: &Bench) {
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

fn a_row_that_cannot_take_more_stops_no_other(bench: &Bench) {
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

fn told(account: Account, begins: i64) -> Told {
    ("vhost a out 1G".to_owned(), account, begins, 80)
}

fn a_threshold_is_told_by_one_of_many(bench: &Bench) {
    let accounts = [
        Account::Vhost("a".into()),
        Account::Vhost("A".into()),
        Account::VhostClass("a".into(), "a".into()),
        Account::Owner("a".into()),
        Account::OwnerClass("a".into(), "ż".into()),
        Account::User("a".into()),
    ];
    let all: BTreeSet<Told> = accounts
        .iter()
        .flat_map(|account| [0, NOW].map(|begins| told(account.clone(), begins)))
        .collect();
    let telling = |_: usize| {
        let mut store = bench.open();
        let all = &all;
        move || {
            let told = all
                .iter()
                .filter(|one| store.tell(one, NOW).expect("an answer"));
            told.count()
        }
    };
    let told: usize = thread::scope(|scope| {
        let tellers: Vec<_> = (0..4).map(telling).map(|tell| scope.spawn(tell)).collect();
        tellers
            .into_iter()
            .map(|t| t.join().expect("a count"))
            .sum()
    });
    assert_eq!(told, all.len(), "each by exactly one");
    let mut store = bench.open();
    assert_eq!(store.told().expect("what was told"), all);
    let one = all.first().expect("one");
    assert!(!store.tell(one, NOW).expect("an answer"));
    store.untell(one).expect("forgotten");
    store.untell(one).expect("forgotten already");
    assert_eq!(store.told().expect("what was told").len(), all.len() - 1);
    assert!(store.tell(one, NOW).expect("an answer"));
    // What somebody else wrote there is none of ours.
    let table = match bench {
        Bench::Sqlite(_) => "told",
        Bench::Mysql(_) => "tollkeeper_told",
    };
    bench.sql(&format!(
        "UPDATE {table} SET account_kind = 'x' WHERE account_kind = 'user'"
    ));
    assert_eq!(store.told().expect("what was told").len(), all.len() - 2);
}

fn what_people_write_is_seen_and_what_makes_no_sense_is_named(bench: &Bench) {
    let mut store = bench.open();
    assert_eq!(store.said().expect("nothing"), Default::default());
    bench.sql(
        "INSERT INTO quota (vhost, amount, period, billing_day, warn) VALUES ('example.org', '100G', 'month', 15, '80, 95'); \
         INSERT INTO quota (`user`, vhosts, class, amount, rolling, report_only, exceeded) \
             VALUES ('ąlice', 'a b', '', ' 1G ', '30D', 1, NULL); \
         INSERT INTO owner VALUES ('carol', 'example.org'), ('carol', ''); \
         INSERT INTO class VALUES ('campus', '2001:db8::/32'); \
         INSERT INTO quota_grant (quota, account_kind, name, kind, amount, `at`) \
             VALUES ('q', 'Vhost', 'a', 'more', 5, 0), ('q', 'site', 'a', 'more', 5, 0), ('q', 'user', 'a', 'reset', -5, 0); \
         INSERT INTO quota_exempt (account_kind, name, class, quota) VALUES ('owner', 'carol', 'campus', ''), ('user', 'a', 'b', NULL);",
    );
    let text = |text: &str| Some(text.to_owned());
    let said = store.said().expect("what is said");
    let month = QuotaRow {
        id: 1,
        vhost: text("example.org"),
        amount: text("100G"),
        period: text("month"),
        billing_day: text("15"),
        warn: text("80, 95"),
        ..QuotaRow::default()
    };
    let rolling = QuotaRow {
        id: 2,
        user: text("ąlice"),
        vhosts: text("a b"),
        amount: text("1G"),
        rolling: text("30D"),
        report_only: true,
        ..QuotaRow::default()
    };
    assert_eq!(said.quotas, [month.clone(), rolling.clone()]);
    assert_eq!(said.owners, [("carol".into(), "example.org".into())]);
    assert_eq!(said.classes, [("campus".into(), "2001:db8::/32".into())]);
    let [grant] = said.overrides.grants.as_slice() else {
        panic!("{:?}", said.overrides);
    };
    assert_eq!(grant.account, Account::Vhost("a".into()));
    assert_eq!((grant.kind, grant.until), (GrantKind::More(5), None));
    let exempt = Exempt {
        account: Account::OwnerClass("carol".into(), "campus".into()),
        quota: None,
        until: None,
    };
    assert_eq!(said.overrides.exempt, [exempt]);
    let faults = [
        "table owner, row carol, column vhost: it is empty",
        "table quota_grant, row 2, column account_kind: \"site\" is none of vhost, user and owner",
        "table quota_grant, row 3, column amount: -5 is less than nothing",
        "table quota_exempt, row 2, column class: a user has none",
    ];
    assert_eq!(said.faults, faults);
    assert_eq!(store.said().expect("the same"), said);

    // By others, and by ourselves.
    bench.sql("UPDATE quota SET amount = '200G' WHERE id = 1; DELETE FROM quota WHERE id = 2");
    let amount = text("200G");
    assert_eq!(
        store.said().expect("the new").quotas,
        [QuotaRow { amount, ..month }]
    );
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    store
        .flush(&mut writer, "n", &Batch::default(), NOW)
        .expect("a flush");
    store.grant(&grant.clone()).expect("a grant");
    assert_eq!(store.said().expect("the new").overrides.grants.len(), 2);
}

fn what_is_granted_and_exempted_comes_back(bench: &Bench) {
    let mut store = bench.open();
    let mut grants = Vec::new();
    for (account, kind, until) in [
        (
            Account::Vhost("a".into()),
            GrantKind::More(1 << 40),
            Some(NOW),
        ),
        (
            Account::VhostClass("a".into(), "c".into()),
            GrantKind::Reset(0),
            None,
        ),
        (
            Account::User("\\x5finvalid".into()),
            GrantKind::Reset(i64::MAX as u64),
            Some(-1),
        ),
    ] {
        let grant = Grant {
            quota: "sql:1".into(),
            account,
            kind,
            at: NOW - 5,
            until,
        };
        store.grant(&grant).expect("a grant");
        grants.push(grant);
    }
    let exempt = |quota: Option<&str>, until| Exempt {
        account: Account::Owner("carol".into()),
        quota: quota.map(str::to_owned),
        until,
    };
    let mut change = |exempt: &Exempt, is| store.exempt(exempt, is).expect("an answer");
    assert!(change(&exempt(None, None), true));
    assert!(!change(&exempt(None, None), true), "it was so already");
    assert!(change(&exempt(None, Some(NOW)), true), "another end");
    assert!(change(&exempt(Some("q"), None), true), "of one quota alone");
    let expected = Overrides {
        grants,
        exempt: vec![exempt(None, Some(NOW)), exempt(Some("q"), None)],
    };
    let mut other = bench.open();
    let mut overrides = || other.said().expect("what is said").overrides;
    assert_eq!(overrides(), expected);
    assert!(change(&exempt(None, None), false), "whatever its end");
    assert!(!change(&exempt(None, None), false), "it was gone already");
    assert_eq!(overrides().exempt, [exempt(Some("q"), None)]);
}

fn what_is_old_is_deleted_bounded_and_nothing_else(bench: &Bench) {
    const YEAR: i64 = 400 * 86_400;
    let mut store = bench.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    // More than one statement deletes.
    for minute in 30_000_000..30_020_005 {
        let row = minute_delta("a", PartOf::Vhost, "", minute, Amount::default());
        batch.deltas.minutes.push(row);
    }
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    for until in [None, Some(NOW), Some(NOW + 1)] {
        let grant = Grant {
            quota: "q".into(),
            account: Account::User("u".into()),
            kind: GrantKind::More(1),
            at: 0,
            until,
        };
        store.grant(&grant).expect("a grant");
    }
    for begins in [0, 1, 2] {
        let at = NOW + i64::from(begins == 2);
        store
            .tell(&told(Account::User("u".into()), begins), at)
            .expect("told");
    }
    store.prune(30_020_003, NOW + 1 + YEAR).expect("deleted");
    let left = bench.numbers("SELECT minute FROM bandwidth_minute ORDER BY minute");
    assert_eq!(left, [vec![Some(30_020_003)], vec![Some(30_020_004)]]);
    let grants = store.said().expect("what is said").overrides.grants;
    let untils: Vec<_> = grants.iter().map(|grant| grant.until).collect();
    assert_eq!(untils, [None, Some(NOW + 1)]);
    let begins: Vec<_> = store
        .told()
        .expect("told")
        .iter()
        .map(|told| told.2)
        .collect();
    assert_eq!(begins, [0, 2], "a window without a begin is not over");
}

/// As mod_leech's page has it, with some rows.
const MOD_LEECH: &str = "CREATE TABLE users (`user` varchar(32) not null primary key, logins bigint, bytes bigint, \
                         maxlogins bigint, maxbytes bigint);";

fn make_users(bench: &Bench, create: &str) {
    bench.sql(&format!(
        "{create} INSERT INTO users VALUES ('alice', 1, NULL, 2, 100), ('bob', 1, 5, 2, 0), \
         ('carol', NULL, 7, NULL, NULL), ('_overflow', 0, 0, 0, 0)"
    ));
    may_use_users(bench);
}

/// What the program prints for this table, and no more.
fn may_use_users(bench: &Bench) {
    if let Bench::Mysql(database) = bench {
        database.sql(&users_table_grants(&database.url, "users"));
    }
}

fn users_batch(moves: Moves, seed: u64) -> Batch {
    let amount = |bytes_out| Amount {
        bytes_in: 1,
        bytes_out,
        requests: 1,
    };
    let mut batch = Batch::default();
    let deltas = &mut batch.deltas;
    for vhost in ["a", "b"] {
        for (user, bytes) in [
            ("_overflow", 50),
            ("alice", 10),
            ("bob", 20),
            ("nobody", 30),
        ] {
            deltas
                .users
                .push(day_delta(vhost, user, FIRST_DAY, amount(bytes)));
        }
        deltas
            .claimed
            .push(day_delta(vhost, "bob", FIRST_DAY, amount(20)));
    }
    let mut hasher = Hasher::new(seed);
    hasher.update(b"a line\n");
    batch.checkpoints.push(Checkpoint {
        moves,
        follows: true,
        source: "s".into(),
        scope: String::new(),
        path: "/log".into(),
        place: None,
        print: hasher.fingerprint(),
        last_day: None,
        state: State::Living,
        unparsed: Vec::new(),
        dropped: 0,
        reread: Vec::new(),
    });
    batch
}

#[track_caller]
fn assert_users(bench: &Bench, flushes: i64) {
    let rows =
        bench.numbers("SELECT logins, bytes, maxlogins, maxbytes FROM users ORDER BY hex(`user`)");
    let alice = (flushes > 0).then_some(flushes * 20);
    let expected = [
        vec![Some(0); 4],
        vec![Some(1), alice, Some(2), Some(100)],
        vec![Some(1), Some(5), Some(2), Some(0)],
        vec![None, Some(7), None, None],
    ];
    assert_eq!(rows, expected);
}

fn users_of_mod_leechs_table_get_their_bytes_once(bench: &Bench) {
    make_users(bench, MOD_LEECH);
    let mut store = bench.open_with_users().expect("a store");
    let seed = store.seed();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let batch = users_batch(Moves::New { epoch: 0 }, seed);
    let done = store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(done.refused, [""; 0]);
    assert_users(bench, 1);
    // Whoever comes late takes all of it back.
    let id = done.positions[0];
    for moves in [Moves::New { epoch: 0 }, Moves::Stored { id, from: 5 }] {
        let late = users_batch(moves, seed);
        let error = store.flush(&mut writer, "n", &late, NOW).expect_err("late");
        assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
        assert_users(bench, 1);
    }
    let next = users_batch(Moves::Stored { id, from: 7 }, seed);
    store.flush(&mut writer, "n", &next, NOW).expect("a flush");
    assert_users(bench, 2);

    let needs = Needs {
        leech: true,
        ..Needs::default()
    };
    let row = |user: &str, bytes, max_bytes| LeechRow {
        user: user.into(),
        bytes,
        max_bytes,
    };
    let found = sorted(store.usage(&needs, &writer).expect("usage"));
    let expected = [
        row("_overflow", 0, None),
        row("alice", 40, Some(100)),
        row("bob", 5, None),
        row("carol", 7, None),
    ];
    assert_eq!((found.leech.as_slice(), found.seq), (&expected[..], 2));
    // Without the table in the config there are none.
    let found = bench.open().usage(&needs, &writer).expect("usage");
    assert_eq!(found.leech, []);
}

fn a_table_of_users_that_cannot_be_used_says_why(bench: &Bench) {
    let refused = || {
        let error = bench.open_with_users().map(drop).expect_err("unusable");
        assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
        error.to_string()
    };
    let error = refused();
    assert!(
        error.contains("[store] users_table names is not there"),
        "{error}"
    );
    bench.sql("CREATE TABLE users (`user` varchar(32), bytes bigint, maxlogins bigint)");
    if let Bench::Mysql(database) = bench {
        let user = &database.url.user;
        database.sql(&format!(
            "GRANT SELECT, UPDATE ON users TO {user}@localhost"
        ));
    }
    let error = refused();
    assert!(error.contains("maxbytes"), "{error}");
    assert!(error.contains("user, bytes and maxbytes"), "{error}");
    bench.sql("ALTER TABLE users ADD maxbytes bigint");
    bench.open_with_users().expect("a store");
}

/// The database that MariaDB has for a test, and nothing else.
fn database(bench: &Bench) -> &Database<'static> {
    match bench {
        Bench::Mysql(database) => database,
        Bench::Sqlite(_) => panic!("no database"),
    }
}

#[test]
fn a_table_of_users_without_transactions_is_refused_and_a_narrow_one_adopted() {
    let bench = Bench::mariadb();
    make_users(
        &bench,
        &format!("{} ENGINE = MyISAM;", MOD_LEECH.trim_end_matches(';')),
    );
    let error = bench
        .open_with_users()
        .map(drop)
        .expect_err("MyISAM")
        .to_string();
    let mend = "ALTER TABLE `users` ENGINE = InnoDB";
    assert!(error.contains(mend) && error.contains("MyISAM"), "{error}");
    database(&bench).sql(mend);
    // As it may have been made: unsigned, narrow, and with names of which case does not matter.
    database(&bench).sql(
        "ALTER TABLE users MODIFY bytes int unsigned NULL, MODIFY maxbytes mediumint NULL, CONVERT TO CHARACTER SET latin1",
    );
    let mut store = bench.open_with_users().expect("a store");
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    let amount = |bytes_out| Amount {
        bytes_in: 0,
        bytes_out,
        requests: 1,
    };
    // More than go into one statement, among them two spellings of one, and one that does not fit.
    for number in 0..120 {
        let user = format!("user {number}");
        batch
            .deltas
            .users
            .push(day_delta("a", &user, FIRST_DAY, amount(1)));
    }
    for (user, bytes) in [
        ("ALICE", 3),
        ("alice", 4),
        ("bob", 1 << 33),
        ("carol", 5),
        ("żółw", 1),
    ] {
        batch
            .deltas
            .users
            .push(day_delta("a", user, FIRST_DAY, amount(bytes)));
    }
    let done = store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    let [refused] = done.refused.as_slice() else {
        panic!("{:?}", done.refused);
    };
    assert!(
        refused.starts_with("users: bob, 8589934592 bytes: Out of range"),
        "{refused}"
    );
    let rows = bench.numbers("SELECT bytes FROM users ORDER BY hex(`user`)");
    assert_eq!(rows, [0, 7, 5, 12].map(|bytes| vec![Some(bytes)]));
    // A name that its characters can write is found, whatever they are.
    database(&bench).sql(
        "ALTER TABLE users CONVERT TO CHARACTER SET latin2; INSERT INTO users (`user`) VALUES ('żółw')",
    );
    batch.deltas.users.retain(|delta| !delta.part.is_ascii());
    batch
        .deltas
        .users
        .push(day_delta("a", "żółw 漢", FIRST_DAY, amount(1)));
    let done = store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(done.refused, [""; 0]);
    let zolw = bench.numbers("SELECT bytes FROM users WHERE hex(`user`) = 'BFF3B377'");
    assert_eq!(zolw, [[Some(1)]]);
    let users = bench.numbers("SELECT count(*), sum(`out`) FROM bandwidth_user");
    assert_eq!(users, [[Some(126), Some(120 + 15 + (1 << 33))]]);
}

#[test]
fn whatever_becomes_of_the_connection_users_get_their_bytes_and_grants_are_given_once() {
    const ANSWER_LIMIT: Duration = Duration::from_secs(1);
    let bench = Bench::mariadb();
    make_users(&bench, MOD_LEECH);
    let database = database(&bench);
    let proxy = Proxy::start(database.server.port);
    let mut store: Mysql = database.open_through(proxy.port);
    store.set_answer_limit(ANSWER_LIMIT);
    store.set_users_table("users");
    let seed = store.seed();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut flushes = 0;
    let mut position = None;
    let steps = (0..).map(|step| (When::Nth(step), Harm::CutAfter));
    let commits = [
        Harm::CutBefore,
        Harm::CutDuring,
        Harm::CutAfter,
        Harm::Swallow,
    ];
    let commits = commits.map(|harm| (When::Commit, harm));
    for (when, harm) in commits.into_iter().chain(steps) {
        let moves = position.map_or(Moves::New { epoch: 0 }, |id| Moves::Stored { id, from: 7 });
        let batch = users_batch(moves, seed);
        proxy.plan(when, harm);
        let done = wait_until("the batch is settled", || {
            store.flush(&mut writer, "n", &batch, NOW)
        });
        flushes += 1;
        position = Some(done.positions[0]);
        assert_users(&bench, flushes);
        if !proxy.is_done() {
            break;
        }
    }
    assert!(flushes > 10, "no more than {flushes} flushes were harmed");

    let mut given = 0;
    for harm in [Harm::CutAfter, Harm::CutDuring, Harm::CutBefore] {
        for step in 0.. {
            let grant = Grant {
                quota: "q".into(),
                account: Account::User("u".into()),
                kind: GrantKind::More(1),
                at: 0,
                until: None,
            };
            proxy.plan(When::Nth(step), harm);
            store.grant(&grant).expect("a grant");
            given += 1;
            let first = told(Account::Vhost(format!("{harm:?} {step}")), 0);
            let was_harmed = proxy.is_done();
            // One that was cut after its answer is found to be so by whoever asks next.
            wait_until("there is a connection", || store.said());
            proxy.plan(When::Nth(step), harm);
            assert!(
                store.tell(&first, NOW).expect("an answer"),
                "{harm:?} {step}"
            );
            if !was_harmed && !proxy.is_done() {
                break;
            }
        }
    }
    proxy.plan(When::Nth(u32::MAX), Harm::CutAfter);
    assert_eq!(store.said().expect("said").overrides.grants.len(), given);
}

#[test]
fn a_store_of_the_version_before_keeps_its_rows_and_gets_the_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let connection = rusqlite::Connection::open(&path).expect("a new file");
    let filled = "INSERT INTO meta VALUES ('timezone', 'UTC'), ('seed', '00000000000000ff'); \
                  INSERT INTO bandwidth VALUES ('a', '2026-11-01', 1, 2, 3); \
                  INSERT INTO bandwidth_user VALUES ('a', 'u', '2026-11-01', 1, 2, 3); \
                  PRAGMA user_version = 2; PRAGMA journal_mode = WAL;";
    connection
        .execute_batch(include_str!("../sql/sqlite/schema-1.sql"))
        .and_then(|()| connection.execute_batch(include_str!("../sql/sqlite/schema-2.sql")))
        .and_then(|()| connection.execute_batch(filled))
        .expect("a store");
    drop(connection);
    let help = "run `tollkeeper store upgrade`";
    let error = Sqlite::open(&path, None, Tz::UTC)
        .map(drop)
        .expect_err("old");
    assert!(error.to_string().contains(help), "{error}");
    // Who only reads is told what there is not.
    let mut old = Sqlite::open_existing(&path, None)
        .expect("readable")
        .expect("there");
    let nobody = Writer {
        instance: String::new(),
        seq: 0,
    };
    let needs = Needs {
        recent_day: FIRST_DAY,
        users: true,
        ..Needs::default()
    };
    for error in [
        old.usage(&needs, &nobody).map(drop).expect_err("old"),
        old.said().map(drop).expect_err("old"),
        old.told().map(drop).expect_err("old"),
    ] {
        assert!(error.to_string().contains(help), "{error}");
    }
    Sqlite::upgrade(&path, &mut |_| true).expect("an upgrade");
    assert_eq!(old.usage(&needs, &nobody).expect("usage").days.len(), 2);
    assert_eq!(old.said().expect("nothing"), Default::default());
    let rows = old
        .rows(UsageTable::Users, &UsageQuery::default())
        .expect("rows");
    assert_eq!((rows.len(), rows[0].requests), (1, 3));
}

#[test]
fn a_database_of_the_version_before_keeps_its_rows_and_gets_the_tables() {
    let bench = Bench::mariadb();
    let database = database(&bench);
    database.sql(
        "INSERT INTO bandwidth VALUES ('a', '2026-11-01', 1, 2, 3); \
         DROP TABLE bandwidth_claimed, bandwidth_minute, quota, owner, class, quota_grant, quota_exempt, tollkeeper_told",
    );
    let open = || Mysql::open(&database.url, &database.access(), None, Tz::UTC);
    // Its user may count, and no more.
    let error = open().map(drop).expect_err("old").to_string();
    assert!(error.contains("run `tollkeeper store init`"), "{error}");
    let existing = Mysql::open_existing(&database.url, &database.access(), None);
    let mut old = existing.expect("readable").expect("there");
    let error = old.said().expect_err("old").to_string();
    assert!(error.contains("`tollkeeper store init`"), "{error}");

    database.may_change_tables();
    // A panel has taken one of the names.
    database.sql("CREATE TABLE class (id int PRIMARY KEY, title text)");
    let error = open().map(drop).expect_err("foreign").to_string();
    assert!(
        error.contains("the table class has no column class"),
        "{error}"
    );
    database.sql("DROP TABLE class");
    let mut shown = String::new();
    let mut show = |statement: &str| {
        shown.push_str(statement);
        true
    };
    Mysql::upgrade(&database.url, &database.access(), &mut show).expect("an upgrade");
    assert_eq!(
        shown.matches("CREATE TABLE IF NOT EXISTS").count(),
        8,
        "{shown}"
    );
    database.may_count();
    let mut store = open().expect("a store");
    assert_eq!(store.said().expect("nothing"), Default::default());
    let rows = store
        .rows(UsageTable::Vhosts, &UsageQuery::default())
        .expect("rows");
    assert_eq!((rows.len(), rows[0].requests), (1, 3));
}
