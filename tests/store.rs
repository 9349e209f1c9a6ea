//! What every store promises: a batch is in it whole, once, or not at all.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chrono_tz::Tz;
use tollkeeper::account::balance::{Balance, Count};
use tollkeeper::account::delta::{Amount, Delta};
use tollkeeper::source::content::{Fingerprint, Hasher};
use tollkeeper::source::position::{Place, State};
use tollkeeper::store::sqlite::{MAX_UNPARSED_RANGES, Sqlite};
use tollkeeper::store::{Batch, Checkpoint, FlushError, Moves, Role, Store, UnparsedRange, Writer};
use tollkeeper::usage::{UsageQuery, UsageTable};

const NOW: i64 = 1_790_000_000;

struct Bench {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        Self {
            _folder: folder,
            path,
        }
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.path, Some(Tz::UTC), Tz::UTC).expect("a store")
    }
}

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).expect("a day")
}

fn delta(vhost: &str, part: &str, bytes_out: u64) -> Delta {
    Delta {
        vhost: vhost.to_owned(),
        part: part.to_owned(),
        day: day(21),
        amount: Amount {
            bytes_in: 1,
            bytes_out,
            requests: 1,
        },
    }
}

fn print(seed: u64, content: &[u8]) -> Fingerprint {
    let mut hasher = Hasher::new(seed);
    hasher.update(content);
    hasher.fingerprint()
}

fn checkpoint(moves: Moves, print: Fingerprint) -> Checkpoint {
    Checkpoint {
        moves,
        source: "s".to_owned(),
        scope: String::new(),
        path: "/log".to_owned(),
        place: Some(Place {
            device: 1,
            inode: u64::MAX,
            birth: Some(-5),
        }),
        print,
        last_day: Some(day(21)),
        state: State::Living,
        unparsed: Vec::new(),
        dropped: 0,
        reread: Vec::new(),
    }
}

fn batch(vhost: &str, bytes_out: u64, checkpoint: Checkpoint) -> Batch {
    let mut batch = Batch::default();
    batch.deltas.vhosts.push(delta(vhost, "", bytes_out));
    batch.deltas.users.push(delta(vhost, "alice", bytes_out));
    batch.checkpoints.push(checkpoint);
    let counted = Count {
        lines: 1,
        bytes: 10,
    };
    let balance = Balance {
        counted,
        ..Balance::default()
    };
    batch.balance.insert(("s".to_owned(), day(21)), balance);
    batch
}

fn rows(store: &mut Sqlite, table: UsageTable) -> Vec<(String, u64, u64, u64)> {
    let rows = store
        .rows(table, &UsageQuery::default())
        .expect("the store reads");
    rows.into_iter()
        .map(|row| (row.vhost, row.bytes_in, row.bytes_out, row.requests))
        .collect()
}

fn register(store: &mut Sqlite, node: &str, role: Role) -> Writer {
    store.register(node, role, NOW).expect("a writer")
}

#[test]
fn a_batch_is_added_and_its_position_comes_back() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let first = print(store.seed(), b"a line\n");
    let new = checkpoint(Moves::New { epoch: 0 }, first);
    let flushed = store
        .flush(&mut writer, "n", &batch("a", 5, new), NOW)
        .expect("a flush");
    let id = flushed.positions[0];

    let stored = store.living("n").expect("positions");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].print, first);
    assert_eq!(
        stored[0].place,
        Some(Place {
            device: 1,
            inode: u64::MAX,
            birth: Some(-5)
        })
    );
    assert_eq!(stored[0].last_day, Some(day(21)));

    let second = print(store.seed(), b"a line\nanother\n");
    let on = checkpoint(Moves::Stored { id, from: 7 }, second);
    store
        .flush(&mut writer, "n", &batch("a", 7, on), NOW)
        .expect("a flush");
    assert_eq!(
        rows(&mut store, UsageTable::Vhosts),
        [("a".to_owned(), 2, 12, 2)]
    );
    assert_eq!(
        rows(&mut store, UsageTable::Users),
        [("a".to_owned(), 2, 12, 2)]
    );
    let balance = store.balance(day(1), day(30)).expect("a balance");
    assert_eq!(
        balance[&("n".to_owned(), "s".to_owned(), day(21))]
            .counted
            .lines,
        2
    );
}

#[test]
fn a_position_that_somebody_moved_takes_the_whole_batch_back() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    let id = store
        .flush(&mut writer, "n", &batch("a", 1, new), NOW)
        .expect("a flush")
        .positions[0];

    let mut other = bench.open();
    let mut importer = register(&mut other, "n", Role::Import);
    let moved = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n"));
    other
        .flush(&mut importer, "n", &batch("b", 1, moved), NOW)
        .expect("a flush");

    let late = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n3\n"));
    let error = store
        .flush(&mut writer, "n", &batch("c", 1, late), NOW)
        .expect_err("too late");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    let vhosts: Vec<String> = rows(&mut store, UsageTable::Vhosts)
        .into_iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(vhosts, ["a", "b"]);
    // The writer's own row was rolled back with the rest: it can flush again.
    let again = checkpoint(Moves::Stored { id, from: 4 }, print(seed, b"1\n2\n3\n"));
    store
        .flush(&mut writer, "n", &batch("c", 1, again), NOW)
        .expect("a flush");
}

#[test]
fn two_that_meet_the_same_new_file_cannot_both_take_it_for_new() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.open(), bench.open());
    let mut writers = (
        register(&mut one, "n", Role::Import),
        register(&mut two, "n", Role::Import),
    );
    let (seed, epoch) = (one.seed(), one.epoch("").expect("an epoch"));
    assert_eq!(epoch, two.epoch("").expect("an epoch"));
    let new = || checkpoint(Moves::New { epoch }, print(seed, b"1\n"));
    one.flush(&mut writers.0, "n", &batch("a", 1, new()), NOW)
        .expect("a flush");
    let error = two
        .flush(&mut writers.1, "n", &batch("a", 1, new()), NOW)
        .expect_err("too late");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    assert_eq!(rows(&mut one, UsageTable::Vhosts)[0].3, 1);
}

#[test]
fn of_several_new_files_the_one_that_was_looked_up_first_decides() {
    let bench = Bench::new();
    let (mut one, mut two) = (bench.open(), bench.open());
    let mut writers = (
        register(&mut one, "n", Role::Daemon),
        register(&mut two, "n", Role::Import),
    );
    let seed = one.seed();
    let early = one.epoch("").expect("an epoch");
    let meanwhile = checkpoint(Moves::New { epoch: early }, print(seed, b"1\n"));
    two.flush(&mut writers.1, "n", &batch("a", 1, meanwhile), NOW)
        .expect("a flush");
    let late = one.epoch("").expect("an epoch");
    for epochs in [[early, late], [late, early]] {
        let mut both = batch(
            "a",
            1,
            checkpoint(Moves::New { epoch: epochs[0] }, print(seed, b"1\n")),
        );
        let other = checkpoint(Moves::New { epoch: epochs[1] }, print(seed, b"2\n"));
        both.checkpoints.push(other);
        let error = one
            .flush(&mut writers.0, "n", &both, NOW)
            .expect_err("one of them may have been counted meanwhile");
        assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    }
}

#[test]
fn a_new_daemon_takes_the_place_of_the_old() {
    let bench = Bench::new();
    let (mut old, mut new) = (bench.open(), bench.open());
    let mut old_writer = register(&mut old, "n", Role::Daemon);
    let mut elsewhere = register(&mut new, "m", Role::Daemon);
    let mut new_writer = register(&mut new, "n", Role::Daemon);
    let empty = Batch {
        gaps: vec![],
        ..Batch::default()
    };
    let error = old
        .flush(&mut old_writer, "n", &empty, NOW)
        .expect_err("replaced");
    assert!(matches!(error, FlushError::Replaced), "{error}");
    new.flush(&mut new_writer, "n", &empty, NOW)
        .expect("the new one");
    new.flush(&mut elsewhere, "m", &empty, NOW)
        .expect("another node's");
}

#[test]
fn one_row_that_cannot_take_more_does_not_stop_the_others() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let full = i64::MAX.unsigned_abs();
    let new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    let id = store
        .flush(&mut writer, "n", &batch("full", full, new), NOW)
        .expect("a flush")
        .positions[0];
    let mut both = batch(
        "full",
        5,
        checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n")),
    );
    both.deltas.vhosts.push(delta("z", "", 9));
    let flushed = store.flush(&mut writer, "n", &both, NOW).expect("a flush");
    assert_eq!(flushed.refused.len(), 2, "{:?}", flushed.refused);
    let totals: BTreeMap<String, u64> = rows(&mut store, UsageTable::Vhosts)
        .into_iter()
        .map(|row| (row.0, row.2))
        .collect();
    assert_eq!(totals["_invalid"], 5);
    assert_eq!(totals["full"], full);
    assert_eq!(totals["z"], 9);
}

#[test]
fn ranges_of_unparsed_bytes_are_bounded_and_read_again_once() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let range = |number: u64| UnparsedRange {
        start: number * 10,
        end: number * 10 + 5,
        lines: 1,
        day: day(21),
    };
    let mut first = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    first.unparsed = (0..MAX_UNPARSED_RANGES + 5).map(range).collect();
    let flush = batch("a", 1, first);
    let id = store
        .flush(&mut writer, "n", &flush, NOW)
        .expect("a flush")
        .positions[0];
    let kept = store.unparsed(id).expect("ranges");
    assert_eq!(kept.len() as u64, MAX_UNPARSED_RANGES);
    assert_eq!(kept[0].range, range(0));

    let mut reread = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n"));
    reread.reread = vec![range(0), range(1)];
    let flush = batch("a", 1, reread);
    store.flush(&mut writer, "n", &flush, NOW).expect("a flush");
    assert_eq!(
        store.unparsed(id).expect("ranges").len() as u64,
        MAX_UNPARSED_RANGES - 2
    );
    let error = store
        .flush(&mut writer, "n", &flush, NOW)
        .expect_err("they are gone");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
}

#[test]
fn positions_are_found_by_head_and_by_inode() {
    let bench = Bench::new();
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let long = vec![b'x'; 5_000];
    for (scope, content) in [
        ("", &b"short\n"[..]),
        ("", &long),
        ("other.example", b"short\n"),
    ] {
        let epoch = store.epoch(scope).expect("an epoch");
        let mut new = checkpoint(Moves::New { epoch }, print(seed, content));
        new.scope = scope.to_owned();
        store
            .flush(&mut writer, "n", &batch("a", 1, new), NOW)
            .expect("a flush");
    }
    let mut found = |scope: &str, content: &[u8]| {
        let mut hash_of = |length: u64| {
            let start = content.get(..length as usize);
            Ok(start.map(|start| tollkeeper::source::content::hash(seed, start)))
        };
        let found = store.by_head(scope, &mut hash_of).expect("positions");
        found
            .iter()
            .map(|stored| stored.print.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(found("", b"short\nand more\n"), [6]);
    assert_eq!(found("", &long), [5_000]);
    assert_eq!(found("", &[b'x'; 1_023]), [0_u64; 0]);
    assert_eq!(found("other.example", b"short\n"), [6]);
    assert_eq!(found("unknown.example", b"short\n"), [0_u64; 0]);
    assert_eq!(store.at_inode(u64::MAX).expect("positions").len(), 3);
    assert_eq!(store.at_inode(1).expect("positions").len(), 0);
}

#[test]
fn a_store_keeps_its_zone_and_says_what_is_wrong() {
    let bench = Bench::new();
    drop(bench.open());
    let other = Sqlite::open(&bench.path, Some(Tz::Europe__Warsaw), Tz::UTC);
    let error = other.err().expect("another zone").to_string();
    assert!(
        error.contains("keeps the days of UTC, not of Europe/Warsaw"),
        "{error}"
    );
    let same = Sqlite::open(&bench.path, None, Tz::Europe__Warsaw).expect("the store's own");
    assert_eq!(same.zone(), Tz::UTC);

    let text = bench.path.with_file_name("notes.txt");
    std::fs::write(
        &text,
        "this is no database, however long it may be. ".repeat(50),
    )
    .expect("a file");
    let error = Sqlite::open(&text, None, Tz::UTC)
        .err()
        .expect("no database")
        .to_string();
    assert!(error.contains("is no SQLite database"), "{error}");
    let foreign = bench.path.with_file_name("foreign.db");
    rusqlite::Connection::open(&foreign)
        .and_then(|other| other.execute_batch("CREATE TABLE bandwidth (vhost)"))
        .expect("a database");
    let error = Sqlite::open(&foreign, None, Tz::UTC)
        .err()
        .expect("not ours")
        .to_string();
    assert!(error.contains("is a database of something else"), "{error}");

    let none = Sqlite::open_existing(&bench.path.with_file_name("none.db"), None);
    assert!(none.expect("no error").is_none());
}
