//! What every store promises: a batch is in it whole, once, or not at all. Each promise is tried on each
//! store.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;
use chrono_tz::Tz;
use support::mariadb::{Database, MariaDb};
use tollkeeper::account::balance::{Balance, Count};
use tollkeeper::account::delta::{Amount, Delta};
use tollkeeper::source::content::{Fingerprint, Hasher};
use tollkeeper::source::position::{Place, State};
use tollkeeper::store::mysql::Mysql;
use tollkeeper::store::sqlite::Sqlite;
use tollkeeper::store::{
    Batch, Checkpoint, FlushError, Gap, MAX_UNPARSED_RANGES, Moves, Role, Store, StoreError,
    UnparsedRange, Writer,
};
use tollkeeper::usage::{UsageQuery, UsageTable};

const NOW: i64 = 1_790_000_000;

/// A new store.
enum Bench {
    Sqlite(tempfile::TempDir),
    Mysql(Database<'static>),
}

impl Bench {
    fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    fn mariadb() -> Self {
        Self::Mysql(MariaDb::shared().database())
    }

    /// Another connection to it.
    fn open(&self) -> Box<dyn Store> {
        self.open_with(Some(Tz::UTC)).expect("a store")
    }

    fn open_with(&self, zone: Option<Tz>) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(folder) => {
                let path = folder.path().join("store.db");
                Box::new(Sqlite::open(&path, zone, Tz::UTC)?)
            }
            Self::Mysql(database) => {
                let (url, access) = (&database.url, database.access());
                Box::new(Mysql::open(url, &access, zone, Tz::UTC)?)
            }
        })
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
    a_batch_is_added_and_its_position_comes_back
    a_position_that_somebody_moved_takes_the_whole_batch_back
    a_position_is_of_the_node_that_follows_it
    positions_of_files_that_are_gone_for_good_are_forgotten
    two_that_meet_the_same_new_file_cannot_both_take_it_for_new
    of_several_new_files_the_one_that_was_looked_up_first_decides
    a_new_daemon_takes_the_place_of_the_old
    one_row_that_cannot_take_more_does_not_stop_the_others
    what_a_layer_logged_has_rows_of_its_own
    ranges_of_unparsed_bytes_are_bounded_and_read_again_once
    positions_are_found_by_head_and_by_inode
    a_store_keeps_its_zone
    what_a_batch_says_beside_its_rows_comes_back
    thousands_of_positions_are_moved_in_one_batch
    names_are_told_apart_by_their_bytes
    who_signs_off_is_forgotten_and_so_is_what_is_old
}

fn day(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, number).expect("a day")
}

fn delta(vhost: &str, part: &str, bytes_out: u64) -> Delta {
    Delta {
        vhost: vhost.into(),
        part: part.into(),
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
        follows: true,
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

fn range(number: u64) -> UnparsedRange {
    UnparsedRange {
        start: number * 10,
        end: number * 10 + 5,
        lines: 1,
        day: day(21),
    }
}

fn rows(store: &mut Box<dyn Store>, table: UsageTable) -> Vec<(String, u64, u64, u64)> {
    let rows = store
        .rows(table, &UsageQuery::default())
        .expect("the store reads");
    rows.into_iter()
        .map(|row| (row.vhost, row.bytes_in, row.bytes_out, row.requests))
        .collect()
}

fn register(store: &mut Box<dyn Store>, node: &str, role: Role) -> Writer {
    store.register(node, role, NOW).expect("a writer")
}

fn a_batch_is_added_and_its_position_comes_back(bench: &Bench) {
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

fn a_position_that_somebody_moved_takes_the_whole_batch_back(bench: &Bench) {
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

fn a_position_is_of_the_node_that_follows_it(bench: &Bench) {
    let mut store = bench.open();
    let mut importer = register(&mut store, "elsewhere", Role::Import);
    let mut daemon = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let read_once = |moves, source: &str, content: &[u8]| Checkpoint {
        follows: false,
        state: State::Finished,
        source: source.to_owned(),
        ..checkpoint(moves, print(seed, content))
    };
    let mut flush = |writer: &mut Writer, node: &str, checkpoint| {
        let flushed = store.flush(writer, node, &batch("a", 1, checkpoint), NOW);
        let id = flushed.expect("a flush").positions[0];
        let found = store.at_inode(u64::MAX).expect("positions");
        let found = found.into_iter().find(|stored| stored.id == id);
        let found = found.expect("the position");
        (id, found.node, found.source, found.state)
    };
    let new = read_once(Moves::New { epoch: 0 }, "import", b"1\n");
    let (id, node, source, _) = flush(&mut importer, "elsewhere", new);
    assert_eq!((node.as_str(), source.as_str()), ("elsewhere", "import"));

    let followed = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n"));
    let (_, node, source, state) = flush(&mut daemon, "n", followed);
    assert_eq!((node.as_str(), source.as_str()), ("n", "s"));
    assert_eq!(state, State::Living);

    let moved = Moves::Stored { id, from: 4 };
    let moved = Checkpoint {
        state: State::Living,
        ..read_once(moved, "import", b"1\n2\n3\n")
    };
    let (_, node, source, _) = flush(&mut importer, "elsewhere", moved);
    assert_eq!((node.as_str(), source.as_str()), ("n", "s"));
}

fn positions_of_files_that_are_gone_for_good_are_forgotten(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let mut ids = Vec::new();
    for (content, state) in [
        ("1\n", State::Finished),
        ("2\n", State::Living),
        ("3\n", State::Finished),
    ] {
        let epoch = store.epoch("").expect("an epoch");
        let new = Checkpoint {
            state,
            ..checkpoint(Moves::New { epoch }, print(seed, content.as_bytes()))
        };
        let flushed = store.flush(&mut writer, "n", &batch("a", 1, new), NOW);
        ids.push(flushed.expect("a flush").positions[0]);
    }
    let forgotten = Batch {
        forgotten: ids[..2].to_vec(),
        ..Batch::default()
    };
    assert!(!forgotten.is_empty());
    let flushed = store.flush(&mut writer, "n", &forgotten, NOW);
    flushed.expect("a flush");
    let left = store.at_inode(u64::MAX).expect("positions");
    let mut left: Vec<i64> = left.iter().map(|stored| stored.id).collect();
    left.sort_unstable();
    // In a database they are drawn, and those of one second come in any order.
    ids[1..].sort_unstable();
    assert_eq!(left, ids[1..], "the living one stays");
}

fn two_that_meet_the_same_new_file_cannot_both_take_it_for_new(bench: &Bench) {
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

fn of_several_new_files_the_one_that_was_looked_up_first_decides(bench: &Bench) {
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

fn a_new_daemon_takes_the_place_of_the_old(bench: &Bench) {
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

fn one_row_that_cannot_take_more_does_not_stop_the_others(bench: &Bench) {
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

fn what_a_layer_logged_has_rows_of_its_own(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let full = i64::MAX.unsigned_abs();
    let layers = |deltas: &[(&str, &str, u64)]| -> Vec<Delta> {
        let deltas = deltas.iter();
        deltas
            .map(|(vhost, layer, out)| delta(vhost, layer, *out))
            .collect()
    };
    let mut first = batch(
        "a",
        1,
        checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n")),
    );
    first.deltas.layers = layers(&[
        ("a", "backend", 10),
        ("a", "php", 100),
        ("full", "backend", full),
        ("only-inside", "backend", 7),
    ]);
    assert_eq!(first.rows(), 6);
    let id = store
        .flush(&mut writer, "n", &first, NOW)
        .expect("a flush")
        .positions[0];

    // Somebody else has moved the position: nothing of it gets in.
    let mut late = batch(
        "a",
        1,
        checkpoint(Moves::Stored { id, from: 9 }, print(seed, b"1\n2\n")),
    );
    late.deltas.layers = layers(&[("a", "backend", 1_000)]);
    let error = store.flush(&mut writer, "n", &late, NOW);
    assert!(matches!(error, Err(FlushError::Overtaken(_))), "{error:?}");

    // A row that cannot take more is in nobody's way, and stays in its layer.
    let mut more = batch(
        "a",
        2,
        checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n")),
    );
    more.deltas.layers = layers(&[
        ("a", "backend", 20),
        ("full", "backend", 5),
        ("z", "php", 3),
    ]);
    let flushed = store.flush(&mut writer, "n", &more, NOW).expect("a flush");
    let [refused] = flushed.refused.as_slice() else {
        panic!("{:?}", flushed.refused);
    };
    assert!(
        refused.starts_with("bandwidth_layer: full backend 2026-11-21:"),
        "{refused}"
    );
    let found = |store: &mut Box<dyn Store>, query: &UsageQuery| {
        let mut rows = store.rows(UsageTable::Layers, query).expect("rows");
        rows.retain(|row| query.wants(row));
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|row| {
                assert_eq!((row.user, row.class, row.day), (None, None, day(21)));
                let layer = row.layer.expect("a layer");
                (row.vhost, layer, row.bytes_out, row.requests)
            })
            .collect();
        rows.sort();
        rows
    };
    let row = |vhost: &str, layer: &str, out, requests| {
        (vhost.to_owned(), layer.to_owned(), out, requests)
    };
    assert_eq!(
        found(&mut store, &UsageQuery::default()),
        [
            row("_invalid", "backend", 5, 1),
            row("a", "backend", 30, 2),
            row("a", "php", 100, 1),
            row("full", "backend", full, 1),
            row("only-inside", "backend", 7, 1),
            row("z", "php", 3, 1),
        ]
    );
    let of_one = UsageQuery {
        vhosts: vec!["a".to_owned()],
        layer: Some("php".to_owned()),
        ..UsageQuery::default()
    };
    assert_eq!(found(&mut store, &of_one), [row("a", "php", 100, 1)]);
    assert_eq!(
        rows(&mut store, UsageTable::Vhosts),
        [("a".to_owned(), 2, 3, 2)]
    );
    assert_eq!(
        rows(&mut store, UsageTable::Users),
        [("a".to_owned(), 2, 3, 2)]
    );
    assert_eq!(rows(&mut store, UsageTable::Classes), []);

    // What only a layer has seen is not known to the edge.
    let mut known = store.known_names(day(1)).expect("names");
    assert_eq!(known.vhosts, ["a"]);
    known.layers.sort();
    let pair = |layer: &str, vhost: &str| (layer.to_owned(), vhost.to_owned());
    assert_eq!(
        known.layers,
        [
            pair("backend", "_invalid"),
            pair("backend", "a"),
            pair("backend", "full"),
            pair("backend", "only-inside"),
            pair("php", "a"),
            pair("php", "z"),
        ]
    );
}

fn ranges_of_unparsed_bytes_are_bounded_and_read_again_once(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
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

fn positions_are_found_by_head_and_by_inode(bench: &Bench) {
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
        let found = store.by_head(scope, 0, &mut hash_of).expect("positions");
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

fn a_store_keeps_its_zone(bench: &Bench) {
    drop(bench.open());
    let other = bench.open_with(Some(Tz::Europe__Warsaw));
    let error = other.err().expect("another zone").to_string();
    assert!(
        error.contains("keeps the days of UTC, not of Europe/Warsaw"),
        "{error}"
    );
    let same = bench.open_with(None).expect("the store's own");
    assert_eq!(same.zone(), Tz::UTC);
    assert_eq!(same.seed(), bench.open().seed());
}

fn what_a_batch_says_beside_its_rows_comes_back(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    assert_eq!(store.searched("n").expect("a time"), None);
    let mut first = batch(
        "a",
        1,
        checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n")),
    );
    first.searched = Some(NOW - 5);
    let gap = |to| Gap {
        source: "s".to_owned(),
        path: "/log of a customer".to_owned(),
        from: 3,
        to,
        reason: "deleted".to_owned(),
    };
    first.gaps = vec![gap(Some(9)), gap(None)];
    let new_names = &mut first.deltas.new_names;
    new_names.insert((day(21), String::new()), 1);
    new_names.insert((day(20), String::new()), 7);
    new_names.insert((day(21), "a".to_owned()), 2);
    store.flush(&mut writer, "n", &first, NOW).expect("a flush");
    let mut second = Batch {
        searched: Some(NOW),
        ..Batch::default()
    };
    let counted = Count { lines: 1, bytes: 4 };
    let taken = Balance {
        counted,
        ..Balance::default()
    };
    let key = ("n".to_owned(), "s".to_owned(), day(21));
    second.corrections.insert(key.clone(), taken);
    let new_names = &mut second.deltas.new_names;
    new_names.insert((day(21), "a".to_owned()), 3);
    store
        .flush(&mut writer, "n", &second, NOW)
        .expect("a flush");

    assert_eq!(store.searched("n").expect("a time"), Some(NOW));
    let balance = store.balance(day(1), day(30)).expect("a balance");
    let left = Count { lines: 0, bytes: 6 };
    assert_eq!(balance[&key].counted, left);
    let names = store.known_names(day(21)).expect("names");
    assert_eq!(names.vhosts, ["a"]);
    assert_eq!(names.users, [("a".to_owned(), "alice".to_owned())]);
    let grown: Vec<_> = names.new_names.into_iter().collect();
    assert_eq!(
        grown,
        [
            ((day(21), String::new()), 1),
            ((day(21), "a".to_owned()), 5)
        ]
    );
}

fn thousands_of_positions_are_moved_in_one_batch(bench: &Bench) {
    const FILES: u64 = 2_300;
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let mut all = Batch::default();
    for file in 0..FILES {
        let mut new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
        new.scope = format!("site-{}.example", file % 1_100);
        new.path = format!("/log/{file}");
        new.unparsed = vec![range(file)];
        all.checkpoints.push(new);
    }
    let flushed = store.flush(&mut writer, "n", &all, NOW).expect("a flush");
    let mut ids = flushed.positions;
    assert_eq!(ids.len() as u64, FILES);
    let stored = store.living("n").expect("positions");
    let mut paths: BTreeMap<i64, String> = BTreeMap::new();
    for stored in stored {
        paths.insert(stored.id, stored.path);
    }
    for (file, id) in ids.iter().enumerate() {
        assert_eq!(paths[id], format!("/log/{file}"));
        assert_eq!(store.unparsed(*id).expect("ranges").len(), 1);
        if file > 20 {
            break;
        }
    }
    assert_eq!(store.epoch("site-7.example").expect("an epoch"), 1);

    for (checkpoint, id) in all.checkpoints.iter_mut().zip(&ids) {
        checkpoint.moves = Moves::Stored { id: *id, from: 2 };
        checkpoint.print = print(seed, b"1\n2\n");
        checkpoint.unparsed.clear();
    }
    store.flush(&mut writer, "n", &all, NOW).expect("a flush");
    // One of them that somebody else moved takes all back.
    for checkpoint in &mut all.checkpoints {
        checkpoint.moves = Moves::Stored {
            id: ids.pop().expect("an id"),
            from: 4,
        };
        checkpoint.print = print(seed, b"1\n2\n3\n");
    }
    if let Moves::Stored { from, .. } = &mut all.checkpoints[1_234].moves {
        *from = 3;
    }
    let error = store
        .flush(&mut writer, "n", &all, NOW)
        .expect_err("one is elsewhere");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    let stored = store.living("n").expect("positions");
    assert_eq!(stored.len() as u64, FILES);
    assert!(stored.iter().all(|stored| stored.print.offset == 4));
}

fn names_are_told_apart_by_their_bytes(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let users = [
        "Alice",
        "alice",
        "alice\\x20",
        "ali\u{301}ce",
        "alíce",
        "ALICE",
        "ß",
        "ss",
        "𝄞",
        "𝄟",
    ];
    let sites = [
        "example.org",
        "xn--strae-oqa.example",
        "strasse.example",
        "_none",
    ];
    let mut names = Batch::default();
    for (number, user) in users.iter().enumerate() {
        for site in sites {
            names.deltas.users.push(delta(site, user, 1 << number));
        }
    }
    for _ in 0..2 {
        store.flush(&mut writer, "n", &names, NOW).expect("a flush");
    }
    let rows = store
        .rows(UsageTable::Users, &UsageQuery::default())
        .expect("rows");
    assert_eq!(rows.len(), users.len() * sites.len());
    for (number, user) in users.iter().enumerate() {
        let of_user = rows.iter().filter(|row| row.user.as_deref() == Some(user));
        assert!(of_user.clone().all(|row| row.bytes_out == 2 << number));
        assert_eq!(of_user.count(), sites.len(), "{user}");
    }
    let one = UsageQuery {
        vhosts: vec!["_none".to_owned()],
        ..UsageQuery::default()
    };
    let of_one = store.rows(UsageTable::Users, &one).expect("rows");
    assert_eq!(of_one.len(), users.len());
}

fn who_signs_off_is_forgotten_and_so_is_what_is_old(bench: &Bench) {
    const YEAR: i64 = 366 * 86_400;
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let mut ids = Vec::new();
    for (state, content) in [(State::Finished, b"1\n"), (State::Living, b"2\n")] {
        let epoch = store.epoch("").expect("an epoch");
        let mut new = checkpoint(Moves::New { epoch }, print(seed, content));
        new.state = state;
        new.unparsed = vec![range(1)];
        let flushed = store.flush(&mut writer, "n", &batch("a", 1, new), NOW);
        ids.push(flushed.expect("a flush").positions[0]);
    }
    store.retire(&writer, NOW + YEAR).expect("signed off");
    assert_eq!(store.at_inode(u64::MAX).expect("positions").len(), 2);
    let error = store
        .flush(&mut writer, "n", &Batch::default(), NOW)
        .expect_err("signed off");
    assert!(matches!(error, FlushError::Replaced), "{error}");

    store.retire(&writer, NOW + 2 * YEAR).expect("signed off");
    let left = store.at_inode(u64::MAX).expect("positions");
    assert_eq!(left.len(), 1, "a living one is never forgotten");
    assert_eq!(left[0].id, ids[1]);
    assert_eq!(store.unparsed(ids[0]).expect("ranges").len(), 0);
    assert_eq!(store.unparsed(ids[1]).expect("ranges").len(), 1);
}

#[test]
fn what_is_no_embedded_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let text = path.with_file_name("notes.txt");
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
    let foreign = path.with_file_name("foreign.db");
    rusqlite::Connection::open(&foreign)
        .and_then(|other| other.execute_batch("CREATE TABLE bandwidth (vhost)"))
        .expect("a database");
    let error = Sqlite::open(&foreign, None, Tz::UTC)
        .err()
        .expect("not ours")
        .to_string();
    assert!(error.contains("is a database of something else"), "{error}");

    let none = Sqlite::open_existing(&path.with_file_name("none.db"), None);
    assert!(none.expect("no error").is_none());
}

/// What the first version of this program has made, with a row in it.
fn store_of_version_1(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("a new file");
    let filled = "INSERT INTO meta VALUES ('timezone', 'UTC'), ('seed', '00000000000000ff'); \
                  INSERT INTO bandwidth VALUES ('a', '2026-11-20', 1, 2, 3); \
                  PRAGMA user_version = 1; PRAGMA journal_mode = WAL;";
    connection
        .execute_batch(include_str!("../sql/sqlite/schema-1.sql"))
        .and_then(|()| connection.execute_batch(filled))
        .expect("a store");
}

#[test]
fn an_embedded_store_of_an_older_version_is_upgraded_when_somebody_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    store_of_version_1(&path);
    let refused = |path: &Path| {
        let opened = Sqlite::open(path, None, Tz::UTC).map(drop);
        opened.expect_err("an old store").to_string()
    };
    for needle in ["has schema version 1", "run `tollkeeper store upgrade`"] {
        assert!(refused(&path).contains(needle), "{}", refused(&path));
    }
    // It can be read all the same, but for what it has not.
    let mut old = Sqlite::open_existing(&path, None)
        .expect("readable")
        .expect("there");
    let all = UsageQuery::default();
    assert_eq!(old.rows(UsageTable::Vhosts, &all).expect("rows").len(), 1);
    let error = old.rows(UsageTable::Layers, &all).expect_err("no table");
    assert!(error.to_string().contains("store upgrade"), "{error}");

    let mut shown = String::new();
    Sqlite::upgrade(&path, &mut |step| {
        shown.push_str(step);
        false
    })
    .expect("nothing");
    assert!(shown.contains("CREATE TABLE bandwidth_layer"), "{shown}");
    assert!(!shown.contains("CREATE TABLE bandwidth ("), "{shown}");
    refused(&path);

    // While another process has it open.
    let mut steps = 0;
    let mut count = |_: &str| {
        steps += 1;
        true
    };
    Sqlite::upgrade(&path, &mut count).expect("an upgrade");
    assert_eq!(old.rows(UsageTable::Layers, &all).expect("rows").len(), 0);
    Sqlite::upgrade(&path, &mut count).expect("nothing to do");
    assert_eq!(steps, 2);
    let mut store = Sqlite::open(&path, None, Tz::UTC).expect("a store");
    assert_eq!(store.seed(), 0xff);
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    batch.deltas.layers.push(delta("a", "backend", 5));
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(store.rows(UsageTable::Vhosts, &all).expect("rows").len(), 1);
    assert_eq!(store.rows(UsageTable::Layers, &all).expect("rows").len(), 1);

    // What is made anew and what is upgraded are the same.
    let new = folder.path().join("new.db");
    drop(Sqlite::open(&new, None, Tz::UTC).expect("a store"));
    let tables = |path: &Path| -> Vec<(String, Option<String>)> {
        let connection = rusqlite::Connection::open(path).expect("a store");
        let mut statement = connection
            .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
            .expect("a query");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    };
    assert_eq!(tables(&path), tables(&new));
}

#[test]
fn many_that_upgrade_one_store_at_once_upgrade_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.db"));
        store_of_version_1(&path);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| Sqlite::upgrade(&path, &mut |_| true).expect("an upgrade"));
            }
        });
        Sqlite::open(&path, None, Tz::UTC).expect("a store");
    }
}

#[test]
fn a_store_that_is_not_ours_or_newer_is_not_upgraded() {
    let folder = tempfile::tempdir().expect("a folder");
    for (version, says) in [(1, "no such table: meta"), (99, "has schema version 99")] {
        let path = folder.path().join(format!("{version}.db"));
        let connection = rusqlite::Connection::open(&path).expect("a new file");
        connection
            .execute_batch(&format!(
                "CREATE TABLE x (y); PRAGMA user_version = {version}"
            ))
            .expect("a database");
        let error = Sqlite::upgrade(&path, &mut |step| panic!("{step}"));
        let error = error.expect_err("not ours").to_string();
        assert!(error.contains(says), "{error}");
    }
    let none = folder.path().join("none.db");
    Sqlite::upgrade(&none, &mut |step| panic!("{step}")).expect("nothing to do");
    assert!(!none.exists());
}
