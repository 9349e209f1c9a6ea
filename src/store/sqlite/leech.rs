//! mod_leech's table of users in the embedded store, see [`crate::store::leech`].

use rusqlite::params;

use super::flush::{Flush, Stop, is_data_error};
use super::{Sqlite, signed};
use crate::account::delta::Deltas;
use crate::store::{StoreError, leech};

/// A statement about the table.
pub(super) fn with(statement: &str, table: &str) -> String {
    statement.replace("<users>", &format!("\"{}\"", table.replace('"', "\"\"")))
}

impl Sqlite {
    /// Adds what users move to this table, too: one such as mod_leech's, in the same file.
    pub fn set_users_table(&mut self, table: &str) {
        self.users_table = Some(table.to_owned());
        self.users_table_is_checked = false;
    }

    /// Whether the table that [`Sqlite::set_users_table`] named can be used; where none was named, it can.
    ///
    /// # Errors
    /// What it lacks, and the remedy; or when the store does not answer.
    pub fn check_users_table(&mut self) -> Result<(), StoreError> {
        self.checked_users_table().map(drop)
    }

    pub(super) fn checked_users_table(&mut self) -> Result<Option<String>, StoreError> {
        let Some(table) = self.users_table.clone() else {
            return Ok(None);
        };
        if self.users_table_is_checked {
            return Ok(Some(table));
        }
        let what = "looking at the table of users";
        let columns = self.list(what, sql!("users_columns"), [&table], |row| {
            row.get::<_, String>(0)
        })?;
        let has = |name: &str| {
            columns
                .iter()
                .any(|column| column.eq_ignore_ascii_case(name))
        };
        let missing = ["user", "bytes", "maxbytes"]
            .into_iter()
            .find(|name| !has(name));
        let problem = match missing {
            _ if columns.is_empty() => {
                "is not there\ntake the line out, or make mod_leech's table in this file".to_owned()
            }
            Some(missing) => format!(
                "has no column {missing}: it is not mod_leech's\nit has the columns user, bytes and maxbytes"
            ),
            None => {
                self.users_table_is_checked = true;
                return Ok(Some(table));
            }
        };
        let path = self.path.display();
        Err(StoreError::Unusable {
            message: format!(
                "store {path}: the table {table} that [store] users_table names {problem}"
            ),
        })
    }
}

impl Flush<'_> {
    /// Adds to mod_leech's table, to rows that are there. A row that does not take it is named, and stops
    /// no other.
    pub(super) fn add_to_users(
        &self,
        deltas: &Deltas,
        refused: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let Some(table) = self.users_table else {
            return Ok(());
        };
        let statement = with(sql!("users_add"), table);
        for (user, bytes) in leech::downloaded(deltas) {
            match self.execute(&statement, params![user, signed(bytes)]) {
                Ok(_) => {}
                Err(cause) if is_data_error(&cause) => {
                    refused.push(format!("{table}: {user}, {bytes} bytes: {cause}"));
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(())
    }
}
