//! Statements from `sql/mysql/`, made to fit the number of rows and the server.
//!
//! What stands in braces is repeated for each row, see [`repeated`]. New values in `ON DUPLICATE KEY UPDATE` are written
//! as `VALUES(column)`, which MariaDB wants; MySQL deprecates that in favour of a row alias, which
//! MariaDB does not know.

use std::borrow::Cow;

use mysql_async::Value;

use crate::store::repeat::repeated;

macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/sql/mysql/",
            $name,
            ".sql"
        ))
    };
}
pub(super) use sql;

/// How new values are named in `ON DUPLICATE KEY UPDATE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `VALUES(column)`
    Values,
    /// `new.column`, MySQL from 8.0.20 on.
    Alias,
}

/// A statement for so many rows.
pub(super) fn for_rows(statement: &str, rows: usize, dialect: Dialect) -> String {
    let mut text = repeated(statement, rows);
    if dialect == Dialect::Alias
        && let Some(update) = text.find("ON DUPLICATE KEY UPDATE")
    {
        let mut aliased = String::with_capacity(text.len());
        aliased.push_str(&text[..update]);
        aliased.push_str("AS new ");
        let mut rest = &text[update..];
        while let Some((before, after)) = rest.split_once("VALUES(") {
            let (column, after) = after.split_once(')').unwrap_or((after, ""));
            aliased.push_str(before);
            aliased.push_str("new.");
            aliased.push_str(column);
            rest = after;
        }
        aliased.push_str(rest);
        text = aliased;
    }
    text
}

/// The statement without the comment above it, for a log or for people.
pub(super) fn bare(statement: &str) -> String {
    let lines = statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A name as an identifier.
pub(super) fn identifier(name: &str) -> Cow<'_, str> {
    format!("`{}`", name.replace('`', "``")).into()
}

/// An amount; what is beyond 63 bits is cut, see [`crate::account::delta::Amount::fits`].
pub(super) fn signed(amount: u64) -> Value {
    Value::Int(i64::try_from(amount).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_repeated_and_new_values_named_as_the_server_wants() {
        let statement = "INSERT INTO t (a, b) VALUES {(?, ?)}\n\
                         ON DUPLICATE KEY UPDATE a = t.a + VALUES(a), `b` = VALUES(`b`)";
        assert_eq!(
            for_rows(statement, 2, Dialect::Values),
            "INSERT INTO t (a, b) VALUES (?, ?), (?, ?)\n\
             ON DUPLICATE KEY UPDATE a = t.a + VALUES(a), `b` = VALUES(`b`)"
        );
        assert_eq!(
            for_rows(statement, 1, Dialect::Alias),
            "INSERT INTO t (a, b) VALUES (?, ?)\n\
             AS new ON DUPLICATE KEY UPDATE a = t.a + new.a, `b` = new.`b`"
        );
        assert_eq!(
            for_rows("SELECT 1 WHERE a IN ({?})", 3, Dialect::Alias),
            "SELECT 1 WHERE a IN (?, ?, ?)"
        );
    }

    #[test]
    fn names_stay_names() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(bare("-- why\nSELECT 1\n  -- and\n"), "SELECT 1");
    }
}
