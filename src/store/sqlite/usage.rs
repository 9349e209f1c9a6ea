//! Usage over periods: sums made by the database, all of one moment.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, Transaction, params_from_iter};

use super::{Sqlite, leech, may_be_written, unavailable, unsigned};
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, PartOf};
use crate::store::repeat::repeated;
use crate::store::snapshot::{self, Builder, clamped, date};
use crate::store::{StoreError, Writer, part_number};
use crate::usage::snapshot::{Key, Needs, Snapshot};

impl Sqlite {
    /// As [`crate::store::Store::usage`] promises it.
    pub(super) fn read_usage(
        &mut self,
        needs: &Needs,
        writer: &Writer,
    ) -> Result<Snapshot, StoreError> {
        may_be_written(&self.connection, &self.path)?;
        let users_table = match needs.leech {
            true => self.checked_users_table()?,
            false => None,
        };
        let doing = self.doing("reading usage");
        let mut builder = Builder::new(needs);
        // Its first statement fixes the moment that all of it sees.
        let read = self.connection.transaction().and_then(|transaction| {
            let mut reading = Reading {
                transaction: &transaction,
                needs,
                builder: &mut builder,
            };
            reading.all(writer, users_table.as_deref())
        });
        read.map_err(|cause| unavailable(doing, &cause))?;
        Ok(builder.built())
    }
}

struct Reading<'r> {
    transaction: &'r Transaction<'r>,
    needs: &'r Needs,
    builder: &'r mut Builder,
}

impl Reading<'_> {
    fn all(&mut self, writer: &Writer, users_table: Option<&str>) -> rusqlite::Result<()> {
        let mut seq = self.transaction.prepare_cached(sql!("usage_seq"))?;
        let seq = seq.query_row([&writer.instance], |row| unsigned(row, 0));
        self.builder.seq(seq.optional()?.unwrap_or(0));
        let parts = snapshot::parts(self.needs);
        for of in parts.iter().copied() {
            self.days(of)?;
            for firsts in snapshot::sums(self.needs) {
                self.sums(of, &firsts)?;
            }
        }
        if self.needs.by_minute {
            self.minutes(&parts)?;
        }
        let Some(table) = users_table else {
            return Ok(());
        };
        let statement = leech::with(sql!("users_rows"), table);
        self.each(&statement, Vec::new(), |row, builder| {
            let user: Option<String> = row.get(0)?;
            if let Some(user) = user {
                builder.leech(&user, row.get(1)?, row.get(2)?);
            }
            Ok(())
        })
    }

    fn days(&mut self, of: PartOf) -> rusqlite::Result<()> {
        let statement = match of {
            PartOf::Vhost => sql!("usage_days_vhost"),
            PartOf::User => sql!("usage_days_user"),
            PartOf::Class => sql!("usage_days_class"),
        };
        let from = text(snapshot::first_day(self.needs));
        self.each(statement, vec![from], |row, builder| {
            let Some(day) = day_number(row, 2)? else {
                return Ok(());
            };
            let key = builder.key(of, str(row, 0)?, str(row, 1)?);
            builder.day(key, day, amount(row, 3)?);
            Ok(())
        })
    }

    fn sums(&mut self, of: PartOf, firsts: &[DayNumber]) -> rusqlite::Result<()> {
        /// Two halves of each of three amounts.
        const COLUMNS: usize = 6;
        let statement = match of {
            PartOf::Vhost => sql!("usage_sums_vhost"),
            PartOf::User => sql!("usage_sums_user"),
            PartOf::Class => sql!("usage_sums_class"),
        };
        let mut values = Vec::new();
        for first in firsts {
            values.extend(std::iter::repeat_n(text(*first), COLUMNS));
        }
        // They rise.
        let first = firsts.first().copied().unwrap_or(self.needs.recent_day);
        values.extend([text(first), text(self.needs.recent_day)]);
        let statement = repeated(statement, firsts.len());
        self.each(&statement, values, |row, builder| {
            let key = builder.key(of, str(row, 0)?, str(row, 1)?);
            for (number, first) in firsts.iter().enumerate() {
                builder.sum(*first, &key, halves(row, 2 + number * COLUMNS)?);
            }
            Ok(())
        })
    }

    fn minutes(&mut self, parts: &[PartOf]) -> rusqlite::Result<()> {
        let parts = || {
            parts
                .iter()
                .map(|of| Value::Integer(part_number(*of)))
                .collect::<Vec<_>>()
        };
        let recent = self.needs.recent_minute;
        let mut values = vec![Value::Integer(recent)];
        values.extend(parts());
        let statement = repeated(sql!("usage_minutes"), parts().len());
        self.each(&statement, values, |row, builder| {
            if let Some((key, day, minute)) = minute(row, builder)? {
                builder.minute(key, day, minute, amount(row, 5)?);
            }
            Ok(())
        })?;
        let statement = repeated(sql!("usage_minute_sums"), parts().len());
        for need in snapshot::steps(self.needs) {
            let step = i64::from(need.step.max(1));
            let mut values: Vec<Value> = [step, need.from, recent].map(Value::Integer).to_vec();
            values.extend(parts());
            self.each(&statement, values, |row, builder| {
                if let Some((key, day, step)) = minute(row, builder)? {
                    builder.step(need, key, day, step, halves(row, 5)?);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn each(
        &mut self,
        statement: &str,
        values: Vec<Value>,
        mut take: impl FnMut(&Row<'_>, &mut Builder) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut prepared = self.transaction.prepare_cached(statement)?;
        let mut rows = prepared.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            take(row, self.builder)?;
        }
        Ok(())
    }
}

fn str<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<&'r str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn text(day: DayNumber) -> Value {
    Value::Text(date(day).to_string())
}

/// `None`: somebody wrote what is no day.
fn day_number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DayNumber>> {
    Ok(str(row, column)?.parse().ok().map(day::number))
}

fn minute(row: &Row<'_>, builder: &mut Builder) -> rusqlite::Result<Option<(Key, DayNumber, i64)>> {
    let (of, day) = (snapshot::part_of(row.get(1)?), day_number(row, 3)?);
    let (Some(of), Some(day)) = (of, day) else {
        return Ok(None);
    };
    let key = builder.key(of, str(row, 0)?, str(row, 2)?);
    Ok(Some((key, day, row.get(4)?)))
}

fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<Amount> {
    Ok(Amount {
        bytes_in: unsigned(row, column)?,
        bytes_out: unsigned(row, column + 1)?,
        requests: unsigned(row, column + 2)?,
    })
}

/// A sum that was made of halves of 32 bits.
fn halves(row: &Row<'_>, column: usize) -> rusqlite::Result<Amount> {
    let sum = |column: usize| -> rusqlite::Result<u64> {
        let (high, low): (i64, i64) = (row.get(column)?, row.get(column + 1)?);
        Ok(clamped((i128::from(high) << 32) + i128::from(low)))
    };
    Ok(Amount {
        bytes_in: sum(column)?,
        bytes_out: sum(column + 2)?,
        requests: sum(column + 4)?,
    })
}
