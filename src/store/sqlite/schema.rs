//! The tables of the embedded store, and its versions: each step makes one of the one before.

use std::path::Path;

use chrono_tz::Tz;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction};

use super::{immediately, unavailable};
use crate::store::StoreError;

/// What makes each version of the one before. The first makes a new store.
const STEPS: [&str; 3] = [sql!("schema-1"), sql!("schema-2"), sql!("schema-3")];
/// The version of the schema that this program writes.
const SCHEMA_VERSION: i64 = STEPS.len() as i64;

/// What makes a store of this version one that this program writes.
pub(super) fn steps_from(version: i64) -> &'static [&'static str] {
    let made = usize::try_from(version).unwrap_or(0);
    STEPS.get(made..).unwrap_or_default()
}

/// Makes what is missing, unless somebody else has done so meanwhile.
pub(super) fn upgrade(connection: &mut Connection) -> rusqlite::Result<()> {
    immediately(connection, |transaction| {
        for step in steps_from(made(transaction)?) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)
    })
}

/// Refuses a store that this program cannot read.
pub(super) fn may_be_read(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection, path)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Unusable {
            message: format!(
                "store {} has schema version {found}, this program knows version {SCHEMA_VERSION}\n\
                 use the program that wrote it, or a newer one",
                path.display()
            ),
        });
    }
    Ok(())
}

/// Refuses a store that lacks something of what this program writes.
pub(super) fn may_be_written(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    may_be_read(connection, path)?;
    let found = version(connection, path)?;
    if found < SCHEMA_VERSION {
        return Err(StoreError::Unusable {
            message: format!(
                "store {} has schema version {found}, this program writes version {SCHEMA_VERSION}\n\
                 run `tollkeeper store upgrade`, which shows what it does and keeps the rows (`--dry-run` \
                 shows it alone)",
                path.display()
            ),
        });
    }
    Ok(())
}

/// Makes the tables of a new store, once, whoever comes first.
pub(super) fn initialise(
    connection: &mut Connection,
    path: &Path,
    zone: Tz,
) -> Result<(), StoreError> {
    if version(connection, path)? != 0 {
        return Ok(());
    }
    let seed = format!("{:016x}", crate::store::random());
    let make = |transaction: &Transaction<'_>| {
        if made(transaction)? != 0 {
            return Ok(false);
        }
        let tables: i64 = transaction.query_row(sql!("tables"), [], |row| row.get(0))?;
        if tables != 0 {
            return Ok(true);
        }
        for step in STEPS {
            transaction.execute_batch(step)?;
        }
        for (name, value) in [("timezone", zone.name()), ("seed", &seed)] {
            transaction.execute(sql!("meta_insert"), [name, value])?;
        }
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        Ok(false)
    };
    let is_foreign = immediately(connection, make)
        .map_err(|cause| unavailable(format!("making the tables in {}", path.display()), &cause))?;
    if is_foreign {
        return Err(StoreError::Unusable {
            message: format!(
                "{} is a database of something else\nname another file with --store sqlite:PATH",
                path.display()
            ),
        });
    }
    Ok(())
}

pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    made(connection).map_err(|cause| {
        if cause.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
            return StoreError::Unusable {
                message: format!(
                    "{} is no SQLite database\nname another file with --store sqlite:PATH",
                    path.display()
                ),
            };
        }
        unavailable(format!("reading {}", path.display()), &cause)
    })
}

pub(super) fn meta(connection: &Connection, path: &Path, name: &str) -> Result<String, StoreError> {
    let value = connection
        .query_row(sql!("meta_value"), [name], |row| row.get(0))
        .optional()
        .map_err(|cause| unavailable(format!("reading {}", path.display()), &cause))?;
    value.ok_or_else(|| StoreError::Unusable {
        message: format!(
            "{} is no store of tollkeeper: it does not say its {name}",
            path.display()
        ),
    })
}

fn made(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}
