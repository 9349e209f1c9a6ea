//! mod_leech's table, added to once.

use super::said::told;
use super::snapshot::sorted;
use super::*;

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

pub(super) fn users_of_mod_leechs_table_get_their_bytes_once(bench: &Bench) {
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

pub(super) fn a_table_of_users_that_cannot_be_used_says_why(bench: &Bench) {
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
