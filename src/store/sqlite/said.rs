//! What operators say in the tables, what was granted, and what was told.

use rusqlite::types::ValueRef;
use rusqlite::{Row, Transaction, params};

use super::{Sqlite, immediately, may_be_written, signed, unavailable};
use crate::store::said::{self, Cell, Reading, kind, words};
use crate::store::{KEEP_FINISHED_SECONDS, StoreError};
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};

/// Rows that one statement deletes: each keeps others from writing only so long.
const MAX_DELETED: usize = 10_000;

/// What was read last, and when: SQLite's number of changes by others, and of our own.
#[derive(Debug)]
pub(super) struct Cached {
    at: (i64, u64),
    said: Said,
}

impl Sqlite {
    /// As [`crate::store::Store::said`] promises it. Where nothing was written since, nothing is read.
    pub(super) fn read_said(&mut self) -> Result<Said, StoreError> {
        let doing = self.doing("reading quotas");
        let failed = |cause: rusqlite::Error| unavailable(doing.clone(), &cause);
        let at = self.changes().map_err(failed)?;
        if let Some(cached) = self.said.as_ref().filter(|cached| cached.at == at) {
            return Ok(cached.said.clone());
        }
        may_be_written(&self.connection, &self.path)?;
        let transaction = self.connection.transaction().map_err(failed)?;
        let said = read(&transaction).map_err(failed)?;
        drop(transaction);
        // What was written between the number and the reading is read once more.
        let cached = Cached {
            at,
            said: said.clone(),
        };
        self.said = Some(cached);
        Ok(said)
    }

    fn changes(&self) -> rusqlite::Result<(i64, u64)> {
        let others = self
            .connection
            .query_row(sql!("data_version"), [], |row| row.get(0))?;
        Ok((others, self.connection.total_changes()))
    }

    /// As [`crate::store::Store::grant`] promises it.
    pub(super) fn insert_grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        let (account, name, class) = words(&grant.account);
        let (kind, amount) = kind(grant.kind);
        let row = params![
            grant.quota,
            account,
            name,
            class,
            kind,
            signed(amount),
            grant.at,
            grant.until
        ];
        let granted = self.connection.execute(sql!("grant_insert"), row);
        granted
            .map(drop)
            .map_err(|cause| unavailable(self.doing("granting"), &cause))
    }

    /// As [`crate::store::Store::exempt`] promises it.
    pub(super) fn change_exempt(
        &mut self,
        exempt: &Exempt,
        is_exempt: bool,
    ) -> Result<bool, StoreError> {
        let doing = self.doing("changing an exemption");
        let (account, name, class) = words(&exempt.account);
        let quota = exempt.quota.as_deref();
        let key = (
            name,
            account,
            class.unwrap_or_default(),
            quota.unwrap_or_default(),
        );
        let wanted = is_exempt.then_some(exempt.until);
        let change = |transaction: &Transaction<'_>| {
            let mut find = transaction.prepare_cached(sql!("exempt_find"))?;
            let found = find.query_map(key, |row| row.get(0))?;
            let found: Vec<Option<i64>> = found.collect::<rusqlite::Result<_>>()?;
            if found.iter().copied().eq(wanted) {
                return Ok(false);
            }
            transaction.execute(sql!("exempt_delete"), key)?;
            if is_exempt {
                let row = params![account, name, class, quota, exempt.until];
                transaction.execute(sql!("exempt_insert"), row)?;
            }
            Ok(true)
        };
        immediately(&mut self.connection, change).map_err(|cause| unavailable(doing, &cause))
    }

    /// As [`crate::store::Store::told`] promises it.
    pub(super) fn read_told(&mut self) -> Result<AllTold, StoreError> {
        may_be_written(&self.connection, &self.path)?;
        let rows = self.list("reading what was told", sql!("told"), [], |row| {
            let kind: String = row.get(1)?;
            let name = (kind.as_str(), row.get(2)?, row.get(3)?);
            Ok(said::told(row.get(0)?, name, (row.get(4)?, row.get(5)?)))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// As [`crate::store::Store::tell`] promises it.
    pub(super) fn insert_told(&mut self, told: &Told, now: i64) -> Result<bool, StoreError> {
        let (quota, account, begins, percent) = told;
        let (kind, name, class) = words(account);
        let class = class.unwrap_or_default();
        let row = params![quota, kind, name, class, begins, percent, now];
        let inserted = self.connection.execute(sql!("tell"), row);
        inserted
            .map(|rows| rows == 1)
            .map_err(|cause| unavailable(self.doing("noting what is told"), &cause))
    }

    /// As [`crate::store::Store::tell_all`] promises it; all or none.
    pub(super) fn insert_all_told(
        &mut self,
        told: &[Told],
        now: i64,
    ) -> Result<Vec<bool>, StoreError> {
        let doing = self.doing("noting what is told");
        let insert = |transaction: &Transaction<'_>| {
            let mut statement = transaction.prepare_cached(sql!("tell"))?;
            let insert = |(quota, account, begins, percent): &Told| {
                let (kind, name, class) = words(account);
                let class = class.unwrap_or_default();
                let row = params![quota, kind, name, class, begins, percent, now];
                Ok(statement.execute(row)? == 1)
            };
            told.iter().map(insert).collect()
        };
        immediately(&mut self.connection, insert).map_err(|cause| unavailable(doing, &cause))
    }

    /// As [`crate::store::Store::untell`] promises it.
    pub(super) fn delete_told(&mut self, told: &Told) -> Result<(), StoreError> {
        let (quota, account, begins, percent) = told;
        let (kind, name, class) = words(account);
        let key = params![
            quota,
            kind,
            name,
            class.unwrap_or_default(),
            begins,
            percent
        ];
        let deleted = self.connection.execute(sql!("untell"), key);
        deleted
            .map(drop)
            .map_err(|cause| unavailable(self.doing("forgetting what was told"), &cause))
    }

    /// As [`crate::store::Store::prune`] promises it.
    pub(super) fn delete_old(&mut self, minute: i64, now: i64) -> Result<(), StoreError> {
        let failed = |cause: rusqlite::Error| unavailable(self.doing("deleting old rows"), &cause);
        loop {
            let most = i64::try_from(MAX_DELETED).unwrap_or(i64::MAX);
            let deleted = self
                .connection
                .execute(sql!("prune_minutes"), params![minute, most])
                .map_err(failed)?;
            if deleted < MAX_DELETED {
                break;
            }
        }
        let old = now - KEEP_FINISHED_SECONDS;
        for statement in [sql!("prune_grants"), sql!("prune_told")] {
            self.connection.execute(statement, [old]).map_err(failed)?;
        }
        Ok(())
    }
}

fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Said> {
    let mut reading = Reading::default();
    for (table, statement) in [
        (said::QUOTA, sql!("said_quotas")),
        (said::OWNER, sql!("said_owners")),
        (said::CLASS, sql!("said_classes")),
        (said::GRANT, sql!("said_grants")),
        (said::EXEMPT, sql!("said_exempt")),
    ] {
        reading.begin();
        let mut prepared = transaction.prepare_cached(statement)?;
        let columns = prepared.column_count();
        let most = i64::try_from(said::MAX_ROWS + 1).unwrap_or(i64::MAX);
        let mut rows = prepared.query([most])?;
        while let Some(row) = rows.next()? {
            reading.row(table, (0..columns).map(|column| cell(row, column)));
        }
    }
    Ok(reading.said())
}

fn cell(row: &Row<'_>, column: usize) -> Cell {
    match row.get_ref(column) {
        Ok(ValueRef::Null) => Ok(None),
        Ok(ValueRef::Text(text)) => match std::str::from_utf8(text) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err("it is not UTF-8"),
        },
        Ok(ValueRef::Integer(number)) => Ok(Some(number.to_string())),
        Ok(ValueRef::Real(number)) => Ok(Some(number.to_string())),
        Ok(ValueRef::Blob(_)) => Err("it is no text"),
        Err(_) => Err("it cannot be read"),
    }
}
