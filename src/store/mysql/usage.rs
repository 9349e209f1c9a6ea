//! Usage over periods: sums made by the database, all of one moment.

use super::rows::{Columns, day};
use super::session::{Session, Values};
use super::statement::{for_rows, sql};
use super::trouble::Trouble;
use super::{Mysql, Value, leech};
use crate::account::day::{self, DayNumber};
use crate::account::delta::{Amount, PartOf};
use crate::store::snapshot::{self, Builder, date};
use crate::store::{StoreError, Writer, part_number};
use crate::usage::snapshot::{Needs, Snapshot};

impl Mysql {
    /// As [`crate::store::Store::usage`] promises it.
    pub(super) fn read_usage(
        &mut self,
        needs: &Needs,
        writer: &Writer,
    ) -> Result<Snapshot, StoreError> {
        let users_table = match needs.leech {
            true => self.checked_users_table()?,
            false => None,
        };
        let rows = users_table.map(|table| leech::with(sql!("users_rows"), &table));
        self.steadily("reading usage", async |session| {
            in_one_moment(session, async |session| {
                let mut builder = Builder::new(needs);
                read(session, needs, writer, rows.as_deref(), &mut builder).await?;
                Ok(builder.built())
            })
            .await
        })
    }
}

/// Reads in a transaction that sees everything as it was at one moment, and may take its time.
pub(super) async fn in_one_moment<T>(
    session: &mut Session,
    read: impl AsyncFnOnce(&mut Session) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    session.take_time().await?;
    let result = match begin(session).await {
        Ok(()) => read(session).await,
        Err(trouble) => Err(trouble),
    };
    // Nothing was changed.
    session.roll_back().await;
    let hurried = match session.is_usable() {
        true => session.hurry().await,
        false => Ok(()),
    };
    let read = result?;
    hurried?;
    Ok(read)
}

async fn begin(session: &mut Session) -> Result<(), Trouble> {
    session.run(sql!("usage_begin_as")).await?;
    session.run(sql!("usage_begin")).await
}

async fn read(
    session: &mut Session,
    needs: &Needs,
    writer: &Writer,
    users_table: Option<&str>,
    builder: &mut Builder,
) -> Result<(), Trouble> {
    let values = vec![writer.instance.as_str().into()];
    let row = session.select(sql!("usage_seq"), values).await?;
    if let Some(row) = row.into_iter().next() {
        builder.seq(Columns::of(row).amount()?);
    }
    let parts = snapshot::parts(needs);
    for of in parts.iter().copied() {
        days(session, needs, of, builder).await?;
        for firsts in snapshot::sums(needs) {
            sums(session, needs, of, &firsts, builder).await?;
        }
    }
    if needs.by_minute {
        let parts: Values = parts
            .iter()
            .map(|of| Value::Int(part_number(*of)))
            .collect();
        minutes(session, needs, &parts, builder).await?;
    }
    let Some(statement) = users_table else {
        return Ok(());
    };
    session
        .each(statement, Vec::new(), |mut row| {
            let (user, bytes, most) = (
                row.text_or_null()?,
                row.signed_or_null()?,
                row.signed_or_null()?,
            );
            if let Some(user) = user {
                builder.leech(&user, bytes, most);
            }
            Ok(())
        })
        .await
}

async fn days(
    session: &mut Session,
    needs: &Needs,
    of: PartOf,
    builder: &mut Builder,
) -> Result<(), Trouble> {
    let statement = match of {
        PartOf::Vhost => sql!("usage_days_vhost"),
        PartOf::User => sql!("usage_days_user"),
        PartOf::Class => sql!("usage_days_class"),
    };
    let from = day(date(snapshot::first_day(needs)));
    session
        .each(statement, vec![from], |mut row| {
            let key = builder.key(of, &row.text()?, &row.text()?);
            let date = row.day()?;
            let amount = amount(&mut row)?;
            builder.day(key, day::number(date), amount);
            Ok(())
        })
        .await
}

async fn sums(
    session: &mut Session,
    needs: &Needs,
    of: PartOf,
    firsts: &[DayNumber],
    builder: &mut Builder,
) -> Result<(), Trouble> {
    let statement = match of {
        PartOf::Vhost => sql!("usage_sums_vhost"),
        PartOf::User => sql!("usage_sums_user"),
        PartOf::Class => sql!("usage_sums_class"),
    };
    let text = for_rows(statement, firsts.len(), session.dialect);
    let mut values: Values = Vec::new();
    for first in firsts {
        values.extend(std::iter::repeat_n(day(date(*first)), 3));
    }
    // They rise.
    let first = firsts.first().copied().unwrap_or(needs.recent_day);
    values.extend([day(date(first)), day(date(needs.recent_day))]);
    session
        .each(&text, values, |mut row| {
            let key = builder.key(of, &row.text()?, &row.text()?);
            for first in firsts {
                let amount = amount(&mut row)?;
                builder.sum(*first, &key, amount);
            }
            Ok(())
        })
        .await
}

async fn minutes(
    session: &mut Session,
    needs: &Needs,
    parts: &[Value],
    builder: &mut Builder,
) -> Result<(), Trouble> {
    let text = for_rows(sql!("usage_minutes"), parts.len(), session.dialect);
    let mut values = vec![Value::Int(needs.recent_minute)];
    values.extend_from_slice(parts);
    session
        .each(&text, values, |mut row| {
            if let Some((key, day, minute)) = minute(&mut row, builder)? {
                let amount = amount(&mut row)?;
                builder.minute(key, day, minute, amount);
            }
            Ok(())
        })
        .await?;
    let text = for_rows(sql!("usage_minute_sums"), parts.len(), session.dialect);
    for need in snapshot::steps(needs) {
        let mut values = vec![
            Value::Int(i64::from(need.step.max(1))),
            Value::Int(need.from),
            Value::Int(needs.recent_minute),
        ];
        values.extend_from_slice(parts);
        session
            .each(&text, values, |mut row| {
                if let Some((key, day, step)) = minute(&mut row, builder)? {
                    let amount = amount(&mut row)?;
                    builder.step(need, key, day, step, amount);
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

type Minute = (crate::usage::snapshot::Key, DayNumber, i64);

fn minute(row: &mut Columns, builder: &mut Builder) -> Result<Option<Minute>, Trouble> {
    let (vhost, of, part) = (row.text()?, row.signed()?, row.text()?);
    let (date, minute) = (row.day()?, row.signed()?);
    let of = snapshot::part_of(of);
    Ok(of.map(|of| (builder.key(of, &vhost, &part), day::number(date), minute)))
}

fn amount(row: &mut Columns) -> Result<Amount, Trouble> {
    Ok(Amount {
        bytes_in: row.sum()?,
        bytes_out: row.sum()?,
        requests: row.sum()?,
    })
}
