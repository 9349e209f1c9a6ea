//! Adding to the rows of days and minutes: many in a statement, and none of them in the way of the others.

use std::cmp::Ordering;

use mysql_async::Value;

use super::flush::{Flush, Stop};
use super::rows;
use super::session::{MAX_ROWS, MAX_STATEMENT_BYTES, Values};
use super::statement::{for_rows, signed, sql};
use super::trouble::Remedy;
use crate::account::delta::{Amount, Delta, Deltas, MinuteDelta};
use crate::account::name;
use crate::store::{day_row, minute_row, part_number};

/// Refused keys of one batch that are named; of further ones only their number.
const MAX_NAMED: usize = 100;

/// One of the tables of rows.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    upsert: &'static str,
    has_part: bool,
}

const VHOSTS: Table = Table {
    name: "bandwidth",
    upsert: sql!("upsert_bandwidth"),
    has_part: false,
};
const USERS: Table = Table {
    name: "bandwidth_user",
    upsert: sql!("upsert_bandwidth_user"),
    has_part: true,
};
const CLASSES: Table = Table {
    name: "bandwidth_class",
    upsert: sql!("upsert_bandwidth_class"),
    has_part: true,
};
const LAYERS: Table = Table {
    name: "bandwidth_layer",
    upsert: sql!("upsert_bandwidth_layer"),
    has_part: true,
};
const CLAIMED: Table = Table {
    name: "bandwidth_claimed",
    upsert: sql!("upsert_bandwidth_claimed"),
    has_part: true,
};
const MINUTES: Table = Table {
    name: "bandwidth_minute",
    upsert: sql!("upsert_bandwidth_minute"),
    has_part: true,
};

/// One row to add to.
trait Added: Clone {
    fn vhost(&self) -> &str;
    fn part(&self) -> &str;
    fn amount(&self) -> Amount;
    fn order(&self, other: &Self) -> Ordering;
    /// The values of its row, as the table has them.
    fn values(&self, table: Table) -> Values;
    /// As it is called where the table refuses it.
    fn named(&self) -> String;
    /// The same amount, for the vhost that takes what others do not.
    fn of_invalid_vhost(&self) -> Self;
    /// And for the user, class or layer that does.
    fn of_invalid_part(&self) -> Self;
}

impl Added for Delta {
    fn vhost(&self) -> &str {
        &self.vhost
    }

    fn part(&self) -> &str {
        &self.part
    }

    fn amount(&self) -> Amount {
        self.amount
    }

    fn order(&self, other: &Self) -> Ordering {
        (&self.vhost, &self.part, self.day).cmp(&(&other.vhost, &other.part, other.day))
    }

    fn values(&self, table: Table) -> Values {
        let mut values = vec![self.vhost().into()];
        if table.has_part {
            values.push(self.part().into());
        }
        values.push(rows::day(self.day));
        values.extend(amounts(self.amount));
        values
    }

    fn named(&self) -> String {
        day_row(self)
    }

    fn of_invalid_vhost(&self) -> Self {
        Self {
            vhost: name::INVALID.into(),
            ..self.clone()
        }
    }

    fn of_invalid_part(&self) -> Self {
        Self {
            part: name::INVALID.into(),
            ..self.clone()
        }
    }
}

impl Added for MinuteDelta {
    fn vhost(&self) -> &str {
        &self.vhost
    }

    fn part(&self) -> &str {
        &self.part
    }

    fn amount(&self) -> Amount {
        self.amount
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |row: &Self| (row.of, row.day, row.minute);
        let (ours, theirs) = (key(self), key(other));
        (&self.vhost, ours.0, &self.part, ours.1, ours.2).cmp(&(
            &other.vhost,
            theirs.0,
            &other.part,
            theirs.1,
            theirs.2,
        ))
    }

    fn values(&self, _: Table) -> Values {
        let mut values = vec![
            self.vhost().into(),
            Value::Int(part_number(self.of)),
            self.part().into(),
            rows::day(self.day),
            Value::Int(self.minute),
        ];
        values.extend(amounts(self.amount));
        values
    }

    fn named(&self) -> String {
        minute_row(self)
    }

    fn of_invalid_vhost(&self) -> Self {
        Self {
            vhost: name::INVALID.into(),
            ..self.clone()
        }
    }

    fn of_invalid_part(&self) -> Self {
        Self {
            part: name::INVALID.into(),
            ..self.clone()
        }
    }
}

impl Flush<'_> {
    /// Adds to all rows; keys that were refused are named.
    pub(super) async fn add(
        &mut self,
        deltas: &Deltas,
        refused: &mut Vec<String>,
    ) -> Result<(), Stop> {
        self.add_to(VHOSTS, &deltas.vhosts, refused).await?;
        self.add_to(USERS, &deltas.users, refused).await?;
        self.add_to(CLASSES, &deltas.classes, refused).await?;
        self.add_to(LAYERS, &deltas.layers, refused).await?;
        self.add_to(CLAIMED, &deltas.claimed, refused).await?;
        self.add_to(MINUTES, &deltas.minutes, refused).await?;
        self.add_to_users(deltas, refused).await?;
        if refused.len() > MAX_NAMED {
            let more = refused.len() - MAX_NAMED;
            refused.truncate(MAX_NAMED);
            refused.push(format!("and {more} more"));
        }
        Ok(())
    }

    /// Adds to the rows of one table. Where a statement is refused because of a row, it is halved until
    /// that row is found; its bytes go to `_invalid`, so that one row cannot stop all others.
    async fn add_to<D: Added>(
        &mut self,
        table: Table,
        deltas: &[D],
        refused: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let mut sorted: Vec<&D> = deltas.iter().collect();
        let order = |a: &&D, b: &&D| a.order(b);
        if !sorted.is_sorted_by(|a, b| order(a, b).is_le()) {
            sorted.sort_by(order);
        }
        // From the last to the first, so that the next one is on top.
        let mut waiting: Vec<&[&D]> = chunks(&sorted);
        waiting.reverse();
        while let Some(chunk) = waiting.pop() {
            let (text, values) = self.upsert(table, chunk.iter().copied());
            let trouble = match self.session.execute(&text, values).await {
                Ok(_) => {
                    let cut = chunk.iter().filter(|delta| !delta.amount().fits());
                    refused.extend(cut.map(|delta| {
                        let what = "more in one batch than a row can hold; what is beyond is lost";
                        format!("{}: {}: {what}", table.name, delta.named())
                    }));
                    continue;
                }
                Err(trouble) => trouble,
            };
            match chunk {
                _ if trouble.remedy() != Remedy::Row => return Err(trouble.into()),
                [delta] if delta.vhost() == name::INVALID && delta.part() == name::INVALID => {
                    return Err(trouble.into());
                }
                [delta] => {
                    refused.push(format!("{}: {}: {trouble}", table.name, delta.named()));
                    self.add_invalid(table, *delta).await?;
                }
                chunk => {
                    let (left, right) = chunk.split_at(chunk.len() / 2);
                    waiting.extend([right, left]);
                }
            }
        }
        Ok(())
    }

    /// To the row of names that the database would not take; of the same user, if that is possible.
    async fn add_invalid<D: Added>(&mut self, table: Table, delta: &D) -> Result<(), Stop> {
        let mut invalid = delta.of_invalid_vhost();
        if delta.vhost() != name::INVALID {
            let (text, values) = self.upsert(table, [&invalid]);
            match self.session.execute(&text, values).await {
                Ok(_) => return Ok(()),
                Err(trouble) if table.has_part && trouble.remedy() == Remedy::Row => {}
                Err(trouble) => return Err(trouble.into()),
            }
        }
        if table.has_part {
            invalid = invalid.of_invalid_part();
        }
        let (text, values) = self.upsert(table, [&invalid]);
        self.session.execute(&text, values).await?;
        Ok(())
    }

    fn upsert<'d, D: Added + 'd>(
        &self,
        table: Table,
        deltas: impl IntoIterator<Item = &'d D>,
    ) -> (String, Values) {
        let mut values = Values::new();
        let mut count = 0;
        for delta in deltas {
            count += 1;
            values.extend(delta.values(table));
        }
        (for_rows(table.upsert, count, self.session.dialect), values)
    }
}

fn amounts(amount: Amount) -> [Value; 3] {
    let Amount {
        bytes_in,
        bytes_out,
        requests,
    } = amount;
    [bytes_in, bytes_out, requests].map(signed)
}

/// Parts that go into one statement each: full ones, whose text is prepared once, and a remainder.
fn chunks<'s, 'd, D: Added>(deltas: &'s [&'d D]) -> Vec<&'s [&'d D]> {
    let mut chunks = Vec::new();
    for mut chunk in deltas.chunks(MAX_ROWS) {
        // Names are short; a row of the longest takes 2 KB.
        while chunk.len() > 1 {
            let bytes: usize = chunk
                .iter()
                .map(|d| d.vhost().len() + d.part().len() + 50)
                .sum();
            if bytes <= MAX_STATEMENT_BYTES {
                break;
            }
            let (left, right) = chunk.split_at(chunk.len() / 4);
            if left.is_empty() {
                break;
            }
            chunks.push(left);
            chunk = right;
        }
        chunks.push(chunk);
    }
    chunks
}
