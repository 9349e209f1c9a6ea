//! mod_leech's table of users, see [`crate::store::leech`].

use super::flush::{Flush, Stop};
use super::rows::Columns;
use super::session::{Session, Values};
use super::statement::{for_rows, identifier, signed, sql};
use super::trouble::{Remedy, Trouble};
use super::{Mysql, Value};
use crate::account::delta::Deltas;
use crate::store::{StoreError, leech};

/// Users in a statement: each row that it meets is compared with all of them.
const MAX_USERS: usize = 50;
/// The server's numbers for a table and a column that are not there.
const NO_SUCH_TABLE: u16 = 1146;
const NO_SUCH_COLUMN: u16 = 1054;
/// And for a name that the characters of the column cannot write: no row can have it.
const NO_SUCH_NAME: [u16; 3] = [1267, 1270, 1271];
/// And for what may not be read, which it says of what is not there to whoever may not know.
const DENIED: [u16; 2] = [1142, 1143];

/// A statement about the table.
pub(super) fn with(statement: &str, table: &str) -> String {
    statement.replace("<users>", &identifier(table))
}

impl Mysql {
    /// Adds what users move to this table, too: mod_leech's, in the same database.
    pub fn set_users_table(&mut self, table: &str) {
        self.users_table = Some(table.to_owned());
        self.users_table_is_checked = false;
    }

    /// Whether the table that [`Mysql::set_users_table`] named can be used; where none was named, it can.
    ///
    /// # Errors
    /// What it lacks, and the remedy; or when the server does not answer.
    pub fn check_users_table(&mut self) -> Result<(), StoreError> {
        self.checked_users_table().map(drop)
    }

    pub(super) fn checked_users_table(&mut self) -> Result<Option<String>, StoreError> {
        let Some(table) = self.users_table.clone() else {
            return Ok(None);
        };
        if !self.users_table_is_checked {
            let problem = self.steadily("looking at the table of users", async |session| {
                problem(session, &table).await
            })?;
            if let Some(problem) = problem {
                let message = format!("store {}: {problem}", self.url);
                return Err(StoreError::Unusable { message });
            }
            self.users_table_is_checked = true;
        }
        Ok(Some(table))
    }
}

/// What is wrong with the table.
async fn problem(session: &mut Session, table: &str) -> Result<Option<String>, Trouble> {
    let named = identifier(table);
    let is_ours = |rest: &str| format!("the table {named} that [store] users_table names {rest}");
    let read = session.run(&with(sql!("users_columns"), table)).await;
    match read {
        Ok(()) => {}
        Err(trouble) if trouble.code() == Some(NO_SUCH_TABLE) => {
            return Ok(Some(is_ours(
                "is not there\ntake the line out, or name mod_leech's table in the same database",
            )));
        }
        Err(trouble) if trouble.code() == Some(NO_SUCH_COLUMN) => {
            return Ok(Some(is_ours(&format!(
                "is not mod_leech's: {trouble}\nit has the columns user, bytes and maxbytes"
            ))));
        }
        Err(trouble) if trouble.code().is_some_and(|code| DENIED.contains(&code)) => {
            return Ok(Some(is_ours(&format!(
                "is not there, or this user may not use it: {trouble}\n\
                 grant what `tollkeeper store grants` prints"
            ))));
        }
        Err(trouble) => return Err(trouble),
    }
    let rows = session
        .select(sql!("users_table"), vec![table.into()])
        .await?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let mut row = Columns::of(row);
    let (kind, engine) = (row.text()?, row.text_or_null()?);
    if !kind.eq_ignore_ascii_case("BASE TABLE") {
        return Ok(Some(is_ours(
            "is a view\nname the table that it is made of",
        )));
    }
    if !row.text()?.eq_ignore_ascii_case("YES") {
        let engine = engine.unwrap_or_else(|| "no engine".to_owned());
        return Ok(Some(is_ours(&format!(
            "is kept by {engine}, which has no transactions: what was counted could be lost, or counted \
             twice\nmend it with: ALTER TABLE {named} ENGINE = InnoDB"
        ))));
    }
    Ok(None)
}

impl Flush<'_> {
    /// Adds to mod_leech's table, to rows that are there. A row that does not take it is named, and stops
    /// no other.
    pub(super) async fn add_to_users(
        &mut self,
        deltas: &Deltas,
        refused: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let Some(table) = self.users_table else {
            return Ok(());
        };
        let statement = with(sql!("users_add"), table);
        let moved: Vec<(&str, u64)> = leech::downloaded(deltas).into_iter().collect();
        let mut waiting: Vec<&[(&str, u64)]> = moved.chunks(MAX_USERS).rev().collect();
        while let Some(chunk) = waiting.pop() {
            let text = for_rows(&statement, chunk.len(), self.session.dialect);
            let mut values: Values = Vec::with_capacity(chunk.len() * 3);
            for (user, bytes) in chunk {
                values.extend([Value::from(*user), signed(*bytes)]);
            }
            values.extend(chunk.iter().map(|(user, _)| Value::from(*user)));
            let trouble = match self.session.execute(&text, values).await {
                Ok(_) => continue,
                Err(trouble) => trouble,
            };
            let is_no_name = trouble
                .code()
                .is_some_and(|code| NO_SUCH_NAME.contains(&code));
            match chunk {
                _ if trouble.remedy() != Remedy::Row && !is_no_name => return Err(trouble.into()),
                [_] if is_no_name => {}
                [(user, bytes)] => {
                    refused.push(format!("{table}: {user}, {bytes} bytes: {trouble}"));
                }
                chunk => {
                    let (left, right) = chunk.split_at(chunk.len() / 2);
                    waiting.extend([right, left]);
                }
            }
        }
        Ok(())
    }
}
