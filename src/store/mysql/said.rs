//! What operators say in the tables, what was granted, and what was told.

use mysql_async::Value;

use super::rows::{Columns, number_or_null};
use super::session::{Session, Values};
use super::statement::{signed, sql};
use super::trouble::Trouble;
use super::usage::in_one_moment;
use super::{DUPLICATE, Mysql};
use crate::store::said::{self, Reading, kind, words};
use crate::store::{KEEP_FINISHED_SECONDS, StoreError};
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};

/// Rows that one statement deletes: each holds its locks only so long.
const MAX_DELETED: u64 = 10_000;

impl Mysql {
    /// As [`crate::store::Store::said`] promises it.
    pub(super) fn read_said(&mut self) -> Result<Said, StoreError> {
        self.steadily("reading quotas", async |session| {
            in_one_moment(session, async |session| {
                let mut reading = Reading::default();
                for (table, statement) in [
                    (said::QUOTA, sql!("said_quotas")),
                    (said::OWNER, sql!("said_owners")),
                    (said::CLASS, sql!("said_classes")),
                    (said::GRANT, sql!("said_grants")),
                    (said::EXEMPT, sql!("said_exempt")),
                ] {
                    reading.begin();
                    let most = vec![Value::UInt(said::MAX_ROWS as u64 + 1)];
                    session
                        .each(statement, most, |row| {
                            reading.row(table, row.cells());
                            Ok(())
                        })
                        .await?;
                }
                Ok(reading.said())
            })
            .await
        })
    }

    /// As [`crate::store::Store::grant`] promises it; once, however often it has to be tried.
    pub(super) fn insert_grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        let mark = mark();
        let (account, name, class) = words(&grant.account);
        let (kind, amount) = kind(grant.kind);
        let values: Values = vec![
            grant.quota.as_str().into(),
            account.into(),
            name.into(),
            class.map_or(Value::NULL, Value::from),
            kind.into(),
            signed(amount),
            Value::Int(grant.at),
            number_or_null(grant.until),
            mark,
        ];
        self.steadily("granting", async |session| {
            insert_once(session, sql!("grant_insert"), values.clone()).await
        })
    }

    /// As [`crate::store::Store::exempt`] promises it.
    pub(super) fn change_exempt(
        &mut self,
        exempt: &Exempt,
        is_exempt: bool,
    ) -> Result<bool, StoreError> {
        let (account, name, class) = words(&exempt.account);
        let quota = exempt.quota.as_deref();
        let key: Values = vec![
            name.into(),
            account.into(),
            class.unwrap_or_default().into(),
            quota.unwrap_or_default().into(),
        ];
        let row: Values = vec![
            account.into(),
            name.into(),
            class.map_or(Value::NULL, Value::from),
            quota.map_or(Value::NULL, Value::from),
            number_or_null(exempt.until),
        ];
        let wanted = is_exempt.then_some(exempt.until);
        let changed = std::cell::Cell::new(false);
        self.transact("changing an exemption", async |session| {
            let found = session.select(sql!("exempt_find"), key.clone()).await?;
            let found = found
                .into_iter()
                .map(|row| Columns::of(row).signed_or_null());
            let found: Vec<Option<i64>> = found.collect::<Result<_, _>>()?;
            if found.iter().copied().eq(wanted) {
                return Ok(());
            }
            changed.set(true);
            session.execute(sql!("exempt_delete"), key.clone()).await?;
            if is_exempt {
                session.execute(sql!("exempt_insert"), row.clone()).await?;
            }
            Ok(())
        })?;
        Ok(changed.get())
    }

    /// As [`crate::store::Store::told`] promises it.
    pub(super) fn read_told(&mut self) -> Result<AllTold, StoreError> {
        let what = "reading what was told";
        let rows = self.list_all(what, sql!("told"), Vec::new(), |mut row| {
            let (quota, kind) = (row.text()?, row.text()?);
            let (name, class) = (row.text()?, row.text()?);
            let numbers = (row.signed()?, row.signed()?);
            Ok(said::told(quota, (&kind, name, class), numbers))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// As [`crate::store::Store::tell`] promises it. Whose mark the row has tells of it, so that an answer
    /// which is lost costs nothing.
    pub(super) fn insert_told(&mut self, told: &Told, now: i64) -> Result<bool, StoreError> {
        let mark = mark();
        let key = told_key(told);
        let mut row = key.clone();
        row.extend([Value::Int(now), mark.clone()]);
        self.steadily("noting what is told", async |session| {
            insert_once(session, sql!("tell"), row.clone()).await?;
            let found = session.select(sql!("tell_who"), key.clone()).await?;
            let found = found.into_iter().next();
            Ok(found.is_some_and(|row| row.unwrap().first() == Some(&mark)))
        })
    }

    /// As [`crate::store::Store::untell`] promises it.
    pub(super) fn delete_told(&mut self, told: &Told) -> Result<(), StoreError> {
        let key = told_key(told);
        self.steadily("forgetting what was told", async |session| {
            let deleted = session.execute(sql!("untell"), key.clone()).await;
            deleted.map(drop)
        })
    }

    /// As [`crate::store::Store::prune`] promises it.
    pub(super) fn delete_old(&mut self, minute: i64, now: i64) -> Result<(), StoreError> {
        let what = "deleting old rows";
        let old = now - KEEP_FINISHED_SECONDS;
        loop {
            let deleted = self.steadily(what, async |session| {
                let values = vec![Value::Int(minute), Value::UInt(MAX_DELETED)];
                session.execute(sql!("prune_minutes"), values).await
            })?;
            if deleted < MAX_DELETED {
                break;
            }
        }
        self.steadily(what, async |session| {
            for statement in [sql!("prune_grants"), sql!("prune_told")] {
                session.execute(statement, vec![Value::Int(old)]).await?;
            }
            Ok(())
        })
    }
}

/// Inserts a row that has a key of its own: if it is there already, an earlier try has landed.
async fn insert_once(
    session: &mut Session,
    statement: &str,
    values: Values,
) -> Result<(), Trouble> {
    match session.execute(statement, values).await {
        Err(trouble) if trouble.code() == Some(DUPLICATE) => Ok(()),
        inserted => inserted.map(drop),
    }
}

/// Drawn at random.
fn mark() -> Value {
    let mark = format!(
        "{:016x}{:016x}",
        crate::store::random(),
        crate::store::random()
    );
    mark.into()
}

fn told_key((quota, account, begins, percent): &Told) -> Values {
    let (kind, name, class) = words(account);
    vec![
        quota.as_str().into(),
        kind.into(),
        name.into(),
        class.unwrap_or_default().into(),
        Value::Int(*begins),
        Value::Int(i64::from(*percent)),
    ]
}
