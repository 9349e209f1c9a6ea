//! What every store promises: a batch is in it whole, once, or not at all. Each promise is tried on each
//! store.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod embedded;
mod positions;

use std::collections::BTreeMap;
use std::path::Path;

use batches::*;
use chrono::NaiveDate;
use chrono_tz::Tz;
use positions::*;
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
