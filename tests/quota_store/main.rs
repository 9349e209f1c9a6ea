//! What every store promises to quotas: usage of one moment with the number of the batch that it has, what
//! operators say in the tables, thresholds told once, and mod_leech's table added to once.

#[path = "../support/mod.rs"]
mod support;

mod said;
mod snapshot;
mod users;
mod versions;

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

use said::{
    a_threshold_is_told_by_one_of_many, what_is_granted_and_exempted_comes_back,
    what_is_old_is_deleted_bounded_and_nothing_else,
    what_people_write_is_seen_and_what_makes_no_sense_is_named,
};
use snapshot::{
    a_row_that_cannot_take_more_stops_no_other,
    a_snapshot_is_the_sum_of_all_flushes_of_two_and_knows_its_batch,
    rows_that_make_no_sense_count_as_nothing_and_sums_do_not_break,
};
use users::{
    a_table_of_users_that_cannot_be_used_says_why, users_of_mod_leechs_table_get_their_bytes_once,
};

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

/// The database that MariaDB has for a test, and nothing else.
fn database(bench: &Bench) -> &Database<'static> {
    match bench {
        Bench::Mysql(database) => database,
        Bench::Sqlite(_) => panic!("no database"),
    }
}
