//! The embedded store: one SQLite file, WAL, `synchronous=FULL`.
//!
//! A flush takes the write lock at once (`BEGIN IMMEDIATE`) and waits for others up to
//! [`BUSY_WAIT`]; readers never wait for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use chrono_tz::Tz;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior, params};

use super::{
    Batch, FlushError, Flushed, Gap, KEEP_FINISHED_SECONDS, Role, Store, StoreError, StoredGap,
    StoredRange, UnparsedRange, Writer,
};
use crate::account::balance::{Balance, Count};
use crate::account::day::same_clock;
use crate::account::growth::KnownNames;
use crate::source::content::Fingerprint;
use crate::source::position::{Place, State, Stored};
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};
use crate::usage::snapshot::{Needs, Snapshot};
use crate::usage::{UsageQuery, UsageRow, UsageTable};

/// How long a flush waits for another process's.
pub const BUSY_WAIT: Duration = Duration::from_secs(30);

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/sql/sqlite/",
            $name,
            ".sql"
        ))
    };
}

mod flush;
mod leech;
mod said;
mod schema;
mod usage;

use flush::{Flush, Stop};
use schema::{may_be_read, may_be_written, meta, version};

/// One connection.
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    zone: Tz,
    seed: u64,
    /// mod_leech's, where the operator has one.
    users_table: Option<String>,
    users_table_is_checked: bool,
    said: Option<said::Cached>,
}

impl Sqlite {
    /// Opens the store, making it first where there is none. `zone` is the zone that the operator
    /// named; `fallback` the one for a new store where none was named.
    ///
    /// # Errors
    /// When the file cannot be opened, is no store, is of another version, or keeps another zone's days.
    pub fn open(path: &Path, zone: Option<Tz>, fallback: Tz) -> Result<Self, StoreError> {
        let doing = || format!("store {}", path.display());
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|cause| StoreError::Unusable {
                message: format!(
                    "cannot make the state directory {}: {cause}\nchoose another one with --state DIR",
                    folder.display()
                ),
            })?;
        }
        let mut connection = Connection::open(path).map_err(|cause| StoreError::Unusable {
            message: format!(
                "cannot open {}: {cause}\nchoose another place with --state DIR or --store URL",
                doing()
            ),
        })?;
        let waits = connection.busy_timeout(BUSY_WAIT);
        waits.map_err(|cause| unavailable(doing(), &cause))?;
        version(&connection, path)?;
        prepare(&connection).map_err(|cause| unavailable(doing(), &cause))?;
        schema::initialise(&mut connection, path, zone.unwrap_or(fallback))?;
        may_be_written(&connection, path)?;
        Self::check(connection, path, zone)
    }

    /// Opens an existing store to read from. `None`: there is none yet.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open_existing(path: &Path, zone: Option<Tz>) -> Result<Option<Self>, StoreError> {
        if !path.exists() {
            return Ok(None);
        }
        let mut connection = open_to_read(path)?;
        if version(&connection, path).is_err() && !has_log(path) {
            // Whoever may not write beside a store cannot share it; but with no log beside it nobody
            // writes to it, and it can be read as it lies there.
            connection = open_unshared(path)?;
        }
        if version(&connection, path)? == 0 {
            return Ok(None);
        }
        may_be_read(&connection, path)?;
        Self::check(connection, path, zone).map(Some)
    }

    /// Makes what a store lacks that an older program has made; all of it or nothing. `show` is given
    /// each step before the first is run; if it says no to one, none is.
    ///
    /// # Errors
    /// When the file cannot be opened or is no store.
    pub fn upgrade(path: &Path, show: &mut dyn FnMut(&str) -> bool) -> Result<(), StoreError> {
        let Some(mut store) = Self::open_existing(path, None)? else {
            return Ok(());
        };
        let mut is_wanted = true;
        for step in schema::steps_from(version(&store.connection, path)?) {
            is_wanted &= show(step);
        }
        if !is_wanted {
            return Ok(());
        }
        schema::upgrade(&mut store.connection)
            .map_err(|cause| unavailable(store.doing("making tables"), &cause))
    }

    fn check(connection: Connection, path: &Path, zone: Option<Tz>) -> Result<Self, StoreError> {
        let stored = meta(&connection, path, "timezone")?;
        let Ok(stored_zone) = stored.parse::<Tz>() else {
            return Err(StoreError::Unusable {
                message: format!(
                    "store {}: its time zone {stored:?} is unknown to this program",
                    path.display()
                ),
            });
        };
        if let Some(wanted) = zone.filter(|wanted| !same_clock(*wanted, stored_zone)) {
            return Err(StoreError::Unusable {
                message: format!(
                    "store {} keeps the days of {stored_zone}, not of {wanted}: rows of two zones cannot be added up\n\
                     say timezone = \"{stored_zone}\", or begin a new store with --state DIR",
                    path.display()
                ),
            });
        }
        let seed = meta(&connection, path, "seed")?;
        let seed = u64::from_str_radix(&seed, 16).map_err(|_| StoreError::Unusable {
            message: format!("store {}: its seed {seed:?} is no number", path.display()),
        })?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            zone: stored_zone,
            seed,
            users_table: None,
            users_table_is_checked: false,
            said: None,
        })
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} in {}", self.path.display())
    }

    /// Runs a query and turns each row into a value.
    fn list<T>(
        &self,
        what: &str,
        statement: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let run = || {
            let mut prepared = self.connection.prepare_cached(statement)?;
            prepared
                .query_map(parameters, read)?
                .collect::<rusqlite::Result<Vec<T>>>()
        };
        run().map_err(|cause| unavailable(self.doing(what), &cause))
    }
}

impl Store for Sqlite {
    fn zone(&self) -> Tz {
        self.zone
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn register(&mut self, node: &str, role: Role, now: i64) -> Result<Writer, StoreError> {
        let instance = format!("{:016x}{:016x}", super::random(), super::random());
        let doing = self.doing("registering");
        let register = |transaction: &Transaction<'_>| {
            if role == Role::Daemon {
                transaction.execute(sql!("writer_replace_daemon"), [node])?;
            }
            transaction
                .execute(
                    sql!("writer_insert"),
                    params![instance, node, i64::from(role == Role::Daemon), now],
                )
                .map(drop)
        };
        immediately(&mut self.connection, register).map_err(|cause| unavailable(doing, &cause))?;
        Ok(Writer { instance, seq: 0 })
    }

    fn retire(&mut self, writer: &Writer, now: i64) -> Result<(), StoreError> {
        let doing = self.doing("signing off");
        let old = now - KEEP_FINISHED_SECONDS;
        let forget = |transaction: &Transaction<'_>| {
            transaction.execute(sql!("writer_forget"), params![writer.instance, old])?;
            transaction
                .execute(sql!("positions_forget"), [old])
                .map(drop)
        };
        immediately(&mut self.connection, forget).map_err(|cause| unavailable(doing, &cause))
    }

    fn flush(
        &mut self,
        writer: &mut Writer,
        node: &str,
        batch: &Batch,
        now: i64,
    ) -> Result<Flushed, FlushError> {
        let users_table = self.checked_users_table()?;
        let doing = self.doing("flushing");
        let failed = |cause: rusqlite::Error| FlushError::Store(unavailable(doing.clone(), &cause));
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let flushed = Flush {
            transaction: &transaction,
            node,
            now,
            users_table: users_table.as_deref(),
        }
        .run(writer, batch)
        .map_err(|stop| match stop {
            Stop::Overtaken(what) => FlushError::Overtaken(what),
            Stop::Replaced => FlushError::Replaced,
            Stop::Failed(cause) => failed(cause),
        })?;
        transaction.commit().map_err(failed)?;
        writer.seq += 1;
        Ok(flushed)
    }

    fn living(&mut self, node: &str) -> Result<Vec<Stored>, StoreError> {
        self.list(
            "reading positions",
            sql!("positions_living"),
            [node],
            stored,
        )
    }

    fn at_inode(&mut self, inode: u64) -> Result<Vec<Stored>, StoreError> {
        self.list(
            "reading positions",
            sql!("positions_at_inode"),
            [inode.cast_signed()],
            stored,
        )
    }

    fn by_head(
        &mut self,
        scope: &str,
        least: u64,
        hash_of: &mut dyn FnMut(u64) -> std::io::Result<Option<u128>>,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut found = Vec::new();
        let mut length = least.saturating_sub(1).cast_signed();
        loop {
            let next = self.list(
                "reading positions",
                sql!("next_head_len"),
                params![scope, length],
                |row| row.get::<_, Option<i64>>(0),
            )?;
            let Some(Some(next)) = next.first().copied() else {
                return Ok(found);
            };
            length = next;
            let hash =
                hash_of(length.cast_unsigned()).map_err(|cause| StoreError::Unavailable {
                    doing: "reading the head of a file".to_owned(),
                    cause: cause.to_string(),
                })?;
            let Some(hash) = hash else { return Ok(found) };
            let head = hash.to_le_bytes();
            found.extend(self.list(
                "reading positions",
                sql!("positions_by_head"),
                params![scope, length, head],
                stored,
            )?);
        }
    }

    fn searched(&mut self, node: &str) -> Result<Option<i64>, StoreError> {
        let rows = self.list("reading positions", sql!("searched"), [node], |row| {
            row.get(0)
        })?;
        Ok(rows.first().copied())
    }

    fn epoch(&mut self, scope: &str) -> Result<u64, StoreError> {
        let rows = self.list("reading a scope", sql!("scope_epoch"), [scope], |row| {
            unsigned(row, 0)
        })?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    fn known_names(&mut self, since: NaiveDate) -> Result<KnownNames, StoreError> {
        let what = "reading names";
        let vhosts = self.list(what, sql!("known_vhosts"), [], |row| row.get(0))?;
        let users = self.list(what, sql!("known_users"), [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let layers = self.list(what, sql!("known_layers"), [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let new_names = self.list(what, sql!("new_names"), [since.to_string()], |row| {
            Ok(((day(row, 0)?, row.get(1)?), unsigned(row, 2)?))
        })?;
        Ok(KnownNames {
            vhosts,
            users,
            layers,
            new_names: new_names.into_iter().collect(),
        })
    }

    fn unparsed(&mut self, position: i64) -> Result<Vec<StoredRange>, StoreError> {
        self.list(
            "reading unparsed ranges",
            sql!("unparsed_ranges"),
            [position],
            |row| {
                let range = UnparsedRange {
                    start: unsigned(row, 0)?,
                    end: unsigned(row, 1)?,
                    lines: unsigned(row, 2)?,
                    day: day(row, 5)?,
                };
                Ok(StoredRange {
                    range,
                    node: row.get(3)?,
                    source: row.get(4)?,
                })
            },
        )
    }

    fn gaps(&mut self, node: &str, most: u64) -> Result<Vec<StoredGap>, StoreError> {
        let parameters = params![node, signed(most)];
        self.list("reading gaps", sql!("gaps"), parameters, |row| {
            let to: Option<i64> = row.get(3)?;
            Ok(StoredGap {
                gap: Gap {
                    source: row.get(0)?,
                    path: row.get(1)?,
                    from: unsigned(row, 2)?,
                    to: to.map(|to| u64::try_from(to).unwrap_or(0)),
                    reason: row.get(4)?,
                },
                noticed: row.get(5)?,
            })
        })
    }

    fn rows(&mut self, table: UsageTable, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let statement = match table {
            UsageTable::Vhosts => sql!("rows_vhost"),
            UsageTable::Users => sql!("rows_user"),
            UsageTable::Classes => sql!("rows_class"),
            UsageTable::Layers => {
                may_be_written(&self.connection, &self.path)?;
                sql!("rows_layer")
            }
        };
        let from = query
            .from
            .unwrap_or(NaiveDate::MIN)
            .max(first_day())
            .to_string();
        let to = query
            .to
            .unwrap_or(NaiveDate::MAX)
            .min(last_day())
            .to_string();
        let vhost = match query.vhosts.as_slice() {
            [vhost] => Some(vhost),
            _ => None,
        };
        self.list("reading rows", statement, params![from, to, vhost], |row| {
            Ok(UsageRow {
                day: day(row, 0)?,
                vhost: row.get(1)?,
                user: row.get(2)?,
                class: row.get(3)?,
                layer: row.get(4)?,
                bytes_in: unsigned(row, 5)?,
                bytes_out: unsigned(row, 6)?,
                requests: unsigned(row, 7)?,
            })
        })
    }

    fn balance(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<BTreeMap<(String, String, NaiveDate), Balance>, StoreError> {
        let rows = self.list(
            "reading the balance",
            sql!("balance_rows"),
            params![from.to_string(), to.to_string()],
            |row| {
                let count = |column: usize| -> rusqlite::Result<Count> {
                    Ok(Count {
                        lines: unsigned(row, column)?,
                        bytes: unsigned(row, column + 4)?,
                    })
                };
                let balance = Balance {
                    counted: count(3)?,
                    unparsed: count(4)?,
                    ignored: count(5)?,
                    unattributed: count(6)?,
                };
                Ok(((row.get(0)?, row.get(1)?, day(row, 2)?), balance))
            },
        )?;
        Ok(rows.into_iter().collect())
    }

    fn usage(&mut self, needs: &Needs, writer: &Writer) -> Result<Snapshot, StoreError> {
        self.read_usage(needs, writer)
    }

    fn said(&mut self) -> Result<Said, StoreError> {
        self.read_said()
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.insert_grant(grant)
    }

    fn exempt(&mut self, exempt: &Exempt, is_exempt: bool) -> Result<bool, StoreError> {
        self.change_exempt(exempt, is_exempt)
    }

    fn told(&mut self) -> Result<AllTold, StoreError> {
        self.read_told()
    }

    fn tell(&mut self, told: &Told, now: i64) -> Result<bool, StoreError> {
        self.insert_told(told, now)
    }

    fn tell_all(&mut self, told: &[Told], now: i64) -> Result<Vec<bool>, StoreError> {
        self.insert_all_told(told, now)
    }

    fn untell(&mut self, told: &Told) -> Result<(), StoreError> {
        self.delete_told(told)
    }

    fn prune(&mut self, minute: i64, now: i64) -> Result<(), StoreError> {
        self.delete_old(minute, now)
    }
}

fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let doing = || format!("opening {}", path.display());
    let writable = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let connection = writable
        .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(|cause| unavailable(doing(), &cause))?;
    let waits = connection.busy_timeout(BUSY_WAIT);
    waits.map_err(|cause| unavailable(doing(), &cause))?;
    Ok(connection)
}

/// Opens a store that nobody has open. See <https://sqlite.org/uri.html>, `immutable`.
fn open_unshared(path: &Path) -> Result<Connection, StoreError> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags)
        .map_err(|cause| unavailable(format!("opening {}", path.display()), &cause))
}

/// Whether SQLite's write-ahead log lies beside a store: somebody has it open, or was killed.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|log| log.len() > 0)
}

/// Settings of each connection that writes.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    write_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")
}

/// Turns the write-ahead log on. Of several processes that make one store at once, all but the first
/// are told that it is busy, without the wait that SQLite otherwise has.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    let begin = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begin.elapsed() < BUSY_WAIT =>
            {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn immediately<T>(
    connection: &mut Connection,
    body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = body(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let optional = |column: usize| row.get::<_, Option<i64>>(column);
    let place = match (optional(5)?, optional(6)?) {
        (Some(device), Some(inode)) => Some(Place {
            device: device.cast_unsigned(),
            inode: inode.cast_unsigned(),
            birth: optional(7)?,
        }),
        _ => None,
    };
    let hash = |column: usize| row.get::<_, [u8; 16]>(column).map(u128::from_le_bytes);
    let last_day = row.get::<_, Option<String>>(14)?;
    Ok(Stored {
        id: row.get(0)?,
        node: row.get(1)?,
        source: row.get(2)?,
        scope: row.get(3)?,
        path: row.get(4)?,
        place,
        print: Fingerprint {
            offset: unsigned(row, 10)?,
            head_len: unsigned(row, 8)?,
            head: hash(9)?,
            tail: hash(11)?,
            chain: hash(12)?,
            content: hash(13)?,
        },
        last_day: last_day.and_then(|day| day.parse().ok()),
        state: match row.get::<_, i64>(15)? {
            0 => State::Living,
            2 => State::Replaced,
            _ => State::Finished,
        },
        updated: row.get(16)?,
    })
}

fn day(row: &Row<'_>, column: usize) -> rusqlite::Result<NaiveDate> {
    let text: String = row.get(column)?;
    text.parse().map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(cause),
        )
    })
}

/// Days are compared as text, which is right for years of four digits.
fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(0, 1, 1).unwrap_or_default()
}

fn last_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default()
}

/// Amounts are never negative; a table that somebody edited may be, and counts as nothing.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

/// One batch cannot reach 63 bits: a line claims at most 2^50, and a flush comes long before 2^13 such.
fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn unavailable(doing: String, cause: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable {
        doing,
        cause: cause.to_string(),
    }
}
