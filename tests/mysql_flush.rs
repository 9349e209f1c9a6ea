//! What happens to a flush when the database, or the way to it, fails at the worst moment: it is in the
//! store once.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use support::mariadb::{Database, MariaDb};
use support::proxy::{Harm, Proxy, When};
use support::{DEADLINE, wait_for, wait_until};
use tollkeeper::account::delta::{Amount, Delta};
use tollkeeper::source::content::Hasher;
use tollkeeper::source::position::State;
use tollkeeper::store::mysql::Mysql;
use tollkeeper::store::{
    Batch, Checkpoint, FlushError, Moves, Role, Store, StoreError, UnparsedRange, Writer,
};
use tollkeeper::usage::{UsageQuery, UsageTable};

const NOW: i64 = 1_790_000_000;
/// A statement that takes longer has no answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day")
}

fn delta(vhost: &str, part: &str, bytes_out: u64) -> Delta {
    Delta {
        vhost: vhost.into(),
        part: part.into(),
        day: day(),
        amount: Amount {
            bytes_in: 1,
            bytes_out,
            requests: 1,
        },
    }
}

/// A process that flushes, and what it has flushed.
struct Process {
    store: Mysql,
    writer: Writer,
    position: Option<(i64, u64)>,
    flushed: u64,
}

impl Process {
    fn new(mut store: Mysql) -> Self {
        let writer = store.register("n", Role::Import, NOW).expect("a writer");
        Self {
            store,
            writer,
            position: None,
            flushed: 0,
        }
    }

    /// One more line of its file, which counts for the sites.
    fn batch(&mut self, sites: &[&str]) -> Batch {
        let line = self.flushed + 1;
        let mut hasher = Hasher::new(self.store.seed());
        for number in 0..line {
            hasher.update(format!("{number:09}\n").as_bytes());
        }
        let moves = match self.position {
            Some((id, from)) => Moves::Stored { id, from },
            None => {
                let scope = &self.writer.instance.clone();
                let epoch = wait_until("the epoch is read", || self.store.epoch(scope));
                Moves::New { epoch }
            }
        };
        let mut batch = Batch::default();
        batch.checkpoints.push(Checkpoint {
            moves,
            follows: true,
            source: "s".into(),
            scope: self.writer.instance.clone(),
            path: "/log".into(),
            place: None,
            print: hasher.fingerprint(),
            last_day: Some(day()),
            state: State::Living,
            unparsed: vec![UnparsedRange {
                start: line * 10,
                end: line * 10 + 5,
                lines: 1,
                day: day(),
            }],
            dropped: 0,
            reread: Vec::new(),
        });
        for site in sites {
            batch.deltas.vhosts.push(delta(site, "", 1));
            batch.deltas.users.push(delta(site, "alice", 1));
            batch.deltas.layers.push(delta(site, "backend", 1));
        }
        let names = &mut batch.deltas.new_names;
        names.insert((day(), String::new()), 1);
        batch
    }

    /// Flushes until it is settled, as the daemon does.
    fn flush(&mut self, sites: &[&str]) -> u32 {
        let batch = self.batch(sites);
        let mut tries = 0;
        let flushed = wait_until("the batch is settled", || {
            tries += 1;
            match self.store.flush(&mut self.writer, "n", &batch, NOW) {
                Ok(flushed) => Ok(flushed),
                Err(FlushError::Store(StoreError::Unavailable { doing, cause })) => {
                    Err(format!("{doing}: {cause}"))
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert_eq!(flushed.refused, [""; 0]);
        self.flushed += 1;
        let offset = batch.checkpoints[0].print.offset;
        self.position = Some((flushed.positions[0], offset));
        tries
    }
}

/// Everything that was flushed is there once.
#[track_caller]
fn assert_exact(database: &Database<'_>, sites: &[&str], flushes: u64) {
    for site in sites {
        for table in ["bandwidth", "bandwidth_user", "bandwidth_layer"] {
            let found = database.sql(&format!(
                "SELECT `in`, `out`, requests FROM {table} WHERE vhost = '{site}'"
            ));
            assert_eq!(found, format!("{flushes}\t{flushes}\t{flushes}"), "{site}");
        }
    }
    let ranges = database.sql("SELECT count(*) FROM tollkeeper_unparsed");
    assert_eq!(ranges, flushes.to_string());
    let names = database.sql("SELECT names FROM tollkeeper_new_names WHERE vhost = ''");
    assert_eq!(names, flushes.to_string());
}

/// The first flush makes the position, the second moves it: both are harmed in this way, and one follows.
fn harm_commits(harm: Harm) {
    let database = MariaDb::shared().database();
    let proxy = Proxy::start(database.server.port);
    let mut store = database.open_through(proxy.port);
    store.set_answer_limit(ANSWER_LIMIT);
    let mut process = Process::new(store);
    for flushes in 1..=2 {
        proxy.plan(When::Commit, harm);
        process.flush(&["a.example", "b.example"]);
        assert!(proxy.is_done());
        assert_exact(&database, &["a.example", "b.example"], flushes);
    }
    process.flush(&["a.example", "b.example"]);
    assert_exact(&database, &["a.example", "b.example"], 3);
    let positions = process.store.living("n").expect("positions");
    assert_eq!(positions.len(), 1);
    assert_eq!(
        Some((positions[0].id, positions[0].print.offset)),
        process.position
    );
}

#[test]
fn a_connection_cut_before_commit_takes_the_batch_back_and_it_is_sent_again() {
    harm_commits(Harm::CutBefore);
}

#[test]
fn a_connection_cut_while_commit_is_done_leaves_the_batch_in_once() {
    harm_commits(Harm::CutDuring);
}

#[test]
fn a_connection_cut_before_the_answer_to_commit_leaves_the_batch_in_once() {
    harm_commits(Harm::CutAfter);
}

#[test]
fn a_late_answer_to_commit_is_an_answer() {
    harm_commits(Harm::Delay(ANSWER_LIMIT / 4));
}

#[test]
fn an_answer_to_commit_that_comes_too_late_leaves_the_batch_in_once() {
    harm_commits(Harm::Delay(ANSWER_LIMIT * 2));
}

#[test]
fn a_swallowed_answer_to_commit_leaves_the_batch_in_once() {
    harm_commits(Harm::Swallow);
}

#[test]
fn a_commit_that_never_arrives_is_waited_for_and_the_batch_sent_again() {
    // The server has the transaction open until it learns that nobody is there any more.
    let server = MariaDb::start(&[]);
    let database = server.database();
    let proxy = Proxy::start(server.port);
    let mut store = database.open_through(proxy.port);
    store.set_answer_limit(ANSWER_LIMIT);
    let mut process = Process::new(store);
    process.flush(&["a.example"]);
    proxy.plan(When::Commit, Harm::HoldBefore);
    process.flush(&["a.example"]);
    assert_exact(&database, &["a.example"], 2);
}

/// Every command of a flush is harmed in turn, however many there are.
fn harm_each_step(harm: Harm) {
    let database = MariaDb::shared().database();
    let proxy = Proxy::start(database.server.port);
    let mut store = database.open_through(proxy.port);
    store.set_answer_limit(ANSWER_LIMIT);
    let mut steps = 0;
    let mut flushes = 0;
    // A new file is flushed anew for each step, as its first flush has the most of them.
    loop {
        let mut process = Process::new(store);
        let batch = process.batch(&["a.example", "b.example"]);
        proxy.plan(When::Nth(steps), harm);
        let flushed = wait_until("the batch is settled", || {
            process.store.flush(&mut process.writer, "n", &batch, NOW)
        });
        flushes += 1;
        let done = proxy.is_done();
        let offset = batch.checkpoints[0].print.offset;
        (process.position, process.flushed) = (Some((flushed.positions[0], offset)), 1);
        if !done {
            break;
        }
        store = process.store;
        steps += 1;
        assert_exact(&database, &["a.example", "b.example"], flushes);
    }
    assert_exact(&database, &["a.example", "b.example"], flushes);
    assert!(steps >= 10, "no more than {steps} steps were harmed");
}

#[test]
fn a_connection_cut_before_any_step_of_a_flush_harms_nothing() {
    harm_each_step(Harm::CutBefore);
}

#[test]
fn a_connection_cut_before_any_answer_of_a_flush_harms_nothing() {
    harm_each_step(Harm::CutAfter);
}

#[test]
fn another_batch_while_one_is_without_an_answer_is_refused() {
    let database = MariaDb::shared().database();
    let proxy = Proxy::start(database.server.port);
    let mut process = Process::new(database.open_through(proxy.port));
    let batch = process.batch(&["a.example"]);
    let mut flush = |batch: &Batch| process.store.flush(&mut process.writer, "n", batch, NOW);
    // It is committed, but the way to the database is gone before anybody knows.
    proxy.plan(When::Commit, Harm::CutAfter);
    proxy.refuse_after_harm(true);
    let error = flush(&batch).expect_err("no answer");
    assert!(
        matches!(error, FlushError::Store(StoreError::Unavailable { .. })),
        "{error}"
    );
    let other = Batch::default();
    let error = flush(&other).expect_err("not its turn").to_string();
    assert!(error.contains("has no answer yet"), "{error}");

    proxy.refuse_after_harm(false);
    flush(&batch).expect("it had landed");
    assert_exact(&database, &["a.example"], 1);
    flush(&other).expect("its turn");
    assert_exact(&database, &["a.example"], 1);
}

#[test]
fn several_that_add_to_the_same_rows_get_in_each_others_way_and_add_up() {
    const PROCESSES: u64 = 4;
    const FLUSHES: u64 = 40;
    let database = MariaDb::shared().database();
    let mut sites: Vec<String> = (0..60).map(|site| format!("{site}.example")).collect();
    let before = deadlocks(&database);
    thread::scope(|scope| {
        for number in 0..PROCESSES {
            // Not in the order of their keys, as somebody else's statements would come.
            sites.rotate_left(17);
            let (database, sites) = (&database, sites.clone());
            scope.spawn(move || {
                let mut process = Process::new(database.open());
                for flush in 0..FLUSHES {
                    let mut sites: Vec<&str> = sites.iter().map(String::as_str).collect();
                    sites.rotate_left(((number + flush) % 60) as usize);
                    process.flush(&sites);
                }
            });
        }
        // Somebody who takes the same locks the other way round.
        let url = &database;
        scope.spawn(move || {
            for _ in 0..FLUSHES {
                let _ = url.server.try_sql(
                    &url.name,
                    "START TRANSACTION; \
                     SELECT count(*) FROM bandwidth_user WHERE vhost LIKE '5%' FOR UPDATE; \
                     SELECT count(*) FROM bandwidth WHERE vhost LIKE '1%' FOR UPDATE; COMMIT;",
                );
            }
        });
    });
    for site in &sites {
        let found = database.sql(&format!(
            "SELECT requests FROM bandwidth WHERE vhost = '{site}'"
        ));
        assert_eq!(found, (PROCESSES * FLUSHES).to_string(), "{site}");
    }
    let met = deadlocks(&database) - before;
    assert!(met > 0, "no deadlock was met: this shows nothing");
}

fn deadlocks(database: &Database<'_>) -> u64 {
    let count = "SELECT variable_value FROM information_schema.global_status \
                 WHERE variable_name = 'innodb_deadlocks'";
    database.sql(count).parse().expect("a number")
}

#[test]
fn a_row_that_somebody_else_locks_is_waited_for() {
    let database = MariaDb::shared().database();
    let mut process = Process::new(database.open());
    process.flush(&["a.example"]);
    let held = database.server.hold(
        &database.name,
        "START TRANSACTION; UPDATE bandwidth SET requests = requests WHERE vhost = 'a.example';",
    );
    thread::scope(|scope| {
        let flushing = scope.spawn(move || {
            let began = Instant::now();
            process.flush(&["a.example"]);
            began.elapsed()
        });
        wait_for("the flush waits for the lock", || {
            let user = &database.url.user;
            let waiting = format!(
                "SELECT count(*) FROM information_schema.processlist WHERE user = '{user}' \
                 AND info LIKE 'INSERT INTO bandwidth %' AND time_ms > 200"
            );
            database.sql(&waiting) != "0"
        });
        drop(held);
        let took = flushing.join().expect("a flush");
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
    assert_exact(&database, &["a.example"], 2);
}

#[test]
fn a_poison_row_goes_to_invalid_and_all_others_where_they_belong() {
    const ROWS: u64 = 3_000;
    let database = MariaDb::shared().database();
    database.sql(
        "ALTER TABLE bandwidth ADD CONSTRAINT no_poison CHECK (vhost NOT LIKE 'poison%'); \
         ALTER TABLE bandwidth_layer ADD CONSTRAINT no_poison CHECK (vhost NOT LIKE 'poison%'); \
         ALTER TABLE bandwidth_user ADD CONSTRAINT not_him CHECK (`user` <> 'mallory');",
    );
    let mut store = database.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    for number in 0..ROWS {
        let site = format!("{number:05}.example");
        batch.deltas.vhosts.push(delta(&site, "", 1));
        batch.deltas.users.push(delta(&site, "alice", 1));
        batch.deltas.layers.push(delta(&site, "backend", 1));
    }
    let long = "x".repeat(300);
    for poison in ["poison-1", "poison-2", long.as_str()] {
        batch.deltas.vhosts.push(delta(poison, "", 7));
        batch.deltas.layers.push(delta(poison, "backend", 5));
    }
    batch.deltas.users.push(delta("a.example", "mallory", 9));
    let flushed = store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(flushed.refused.len(), 7, "{:?}", flushed.refused);
    let row = |table: &str, vhost: &str| {
        let what = format!("SELECT `out`, requests FROM {table} WHERE vhost = '{vhost}'");
        database.sql(&what)
    };
    assert_eq!(row("bandwidth", "_invalid"), "21\t3");
    assert_eq!(row("bandwidth_user", "_invalid"), "9\t1");
    let user = database.sql("SELECT `user` FROM bandwidth_user WHERE vhost = '_invalid'");
    assert_eq!(user, "_invalid");
    let rest = database.sql(
        "SELECT count(*), sum(`out`) FROM bandwidth WHERE vhost LIKE '0%' AND length(vhost) < 99",
    );
    assert_eq!(rest, format!("{ROWS}\t{ROWS}"));
    let layers = database.sql(
        "SELECT vhost = '_invalid', layer, count(*), sum(`out`) FROM bandwidth_layer GROUP BY 1, 2",
    );
    assert_eq!(
        layers,
        format!("0\tbackend\t{ROWS}\t{ROWS}\n1\tbackend\t1\t15")
    );
}

#[test]
fn of_a_flood_of_rows_that_are_refused_a_hundred_are_named() {
    let database = MariaDb::shared().database();
    database.sql("ALTER TABLE bandwidth ADD CONSTRAINT only CHECK (vhost = '_invalid')");
    let mut store = database.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    for number in 0..350 {
        let site = format!("{number:05}.example");
        batch.deltas.vhosts.push(delta(&site, "", 1));
    }
    let flushed = store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(flushed.refused.len(), 101);
    assert_eq!(flushed.refused[100], "and 250 more");
    assert_eq!(
        database.sql("SELECT vhost, `out` FROM bandwidth"),
        "_invalid\t350"
    );
}

#[test]
fn daemons_of_one_node_that_begin_at_once_replace_each_other() {
    let database = MariaDb::shared().database();
    let mut daemons: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut store = database.open();
                    let writer = wait_until("it is registered", || {
                        store.register("n", Role::Daemon, NOW)
                    });
                    (store, writer)
                })
            })
            .collect();
        let daemons = begun.into_iter().map(|daemon| daemon.join());
        daemons.map(|daemon| daemon.expect("a daemon")).collect()
    });
    let batch = Batch::default();
    let flushed = daemons.iter_mut().filter_map(|(store, writer)| {
        let flushed = store.flush(writer, "n", &batch, NOW);
        assert!(matches!(flushed, Ok(_) | Err(FlushError::Replaced)));
        flushed.ok()
    });
    assert_eq!(flushed.count(), 1);
}

#[test]
fn names_of_other_letters_and_an_adversarys_text_are_stored_as_they_are() {
    let database = MariaDb::shared().database();
    let mut store = database.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let names = [
        "'; DROP TABLE bandwidth; --",
        "%",
        "_",
        "\\x00",
        "\u{202e}abc",
        "😀",
        "{?}",
    ];
    let mut batch = Batch::default();
    for name in names {
        batch.deltas.users.push(delta("a.example", name, 5));
    }
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    let rows = store
        .rows(UsageTable::Users, &UsageQuery::default())
        .expect("rows");
    let mut found: Vec<_> = rows.into_iter().filter_map(|row| row.user).collect();
    let mut expected = names.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_server_that_replicates_statements_is_written_to() {
    let server = MariaDb::start(&["--log-bin", "--binlog-format=STATEMENT", "--server-id=1"]);
    let database = server.database();
    let mut process = Process::new(database.open());
    for _ in 0..2 {
        process.flush(&["a.example"]);
    }
    assert_exact(&database, &["a.example"], 2);
}

#[test]
fn one_that_would_make_other_tables_makes_ours() {
    let server = MariaDb::start(&["--default-storage-engine=Aria", "--sql-mode="]);
    let database = server.database();
    let mut process = Process::new(database.open());
    process.flush(&["a.example"]);
    assert_exact(&database, &["a.example"], 1);
    let engines =
        "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = database()";
    assert_eq!(database.sql(engines), "InnoDB");
}

#[test]
fn who_reads_the_rows_is_not_starved_by_a_hundred_thousand_that_are_flushed() {
    const SITES: u64 = 50_000;
    let database = MariaDb::shared().database();
    let mut store = database.open();
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    for number in 0..SITES {
        let site = format!("{number:05}.example");
        batch.deltas.vhosts.push(delta(&site, "", 1));
        batch.deltas.users.push(delta(&site, "alice", 1));
    }
    // The rows are there: what readers meet is updates.
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    let one = UsageQuery {
        vhosts: vec!["49999.example".to_owned()],
        ..UsageQuery::default()
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut store = database.open();
            let (mut reads, mut longest) = (0, Duration::ZERO);
            let began = Instant::now();
            while !done.load(Ordering::Relaxed) && began.elapsed() < DEADLINE {
                let began = Instant::now();
                let rows = store.rows(UsageTable::Vhosts, &one).expect("rows");
                // All of a flush, or nothing of it.
                assert!(rows[0].requests >= 1 && rows[0].requests <= 4);
                longest = longest.max(began.elapsed());
                reads += 1;
            }
            (reads, longest)
        });
        for _ in 0..3 {
            store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
        }
        done.store(true, Ordering::Relaxed);
        let (reads, longest) = reading.join().expect("a reader");
        assert!(reads > 20, "{reads} reads");
        assert!(longest < Duration::from_secs(1), "{longest:?}");
    });
    let sum =
        database.sql("SELECT sum(requests), min(requests), max(requests) FROM bandwidth_user");
    assert_eq!(sum, format!("{}\t4\t4", 4 * SITES));
}
