//! Adding to the daily rows: many in a statement, and none of them in the way of the others.

use super::flush::{Flush, Stop};
use super::rows;
use super::session::{MAX_ROWS, MAX_STATEMENT_BYTES, Values};
use super::statement::{for_rows, signed, sql};
use super::trouble::Remedy;
use crate::account::delta::{Amount, Delta, Deltas};
use crate::account::name;

/// Refused keys of one batch that are named; of further ones only their number.
const MAX_NAMED: usize = 100;

/// One of the tables of daily rows.
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
        if refused.len() > MAX_NAMED {
            let more = refused.len() - MAX_NAMED;
            refused.truncate(MAX_NAMED);
            refused.push(format!("and {more} more"));
        }
        Ok(())
    }

    /// Adds to the rows of one table. Where a statement is refused because of a row, it is halved until
    /// that row is found; its bytes go to `_invalid`, so that one row cannot stop all others.
    async fn add_to(
        &mut self,
        table: Table,
        deltas: &[Delta],
        refused: &mut Vec<String>,
    ) -> Result<(), Stop> {
        let mut sorted: Vec<&Delta> = deltas.iter().collect();
        let order =
            |a: &&Delta, b: &&Delta| (&a.vhost, &a.part, a.day).cmp(&(&b.vhost, &b.part, b.day));
        if !sorted.is_sorted_by(|a, b| order(a, b).is_le()) {
            sorted.sort_by(order);
        }
        // From the last to the first, so that the next one is on top.
        let mut waiting: Vec<&[&Delta]> = chunks(&sorted);
        waiting.reverse();
        while let Some(chunk) = waiting.pop() {
            let (text, values) = self.upsert(table, chunk.iter().copied());
            let trouble = match self.session.execute(&text, values).await {
                Ok(_) => {
                    let cut = chunk.iter().filter(|delta| !delta.amount.fits());
                    refused.extend(cut.map(|delta| {
                        let what = "more in one batch than a row can hold; what is beyond is lost";
                        format!("{}: {what}", named(table, delta))
                    }));
                    continue;
                }
                Err(trouble) => trouble,
            };
            match chunk {
                _ if trouble.remedy() != Remedy::Row => return Err(trouble.into()),
                [delta] if &*delta.vhost == name::INVALID && &*delta.part == name::INVALID => {
                    return Err(trouble.into());
                }
                [delta] => {
                    refused.push(format!("{}: {trouble}", named(table, delta)));
                    self.add_invalid(table, delta).await?;
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
    async fn add_invalid(&mut self, table: Table, delta: &Delta) -> Result<(), Stop> {
        let mut invalid = Delta {
            vhost: name::INVALID.into(),
            ..delta.clone()
        };
        if &*delta.vhost != name::INVALID {
            let (text, values) = self.upsert(table, [&invalid]);
            match self.session.execute(&text, values).await {
                Ok(_) => return Ok(()),
                Err(trouble) if table.has_part && trouble.remedy() == Remedy::Row => {}
                Err(trouble) => return Err(trouble.into()),
            }
        }
        if table.has_part {
            invalid.part = name::INVALID.into();
        }
        let (text, values) = self.upsert(table, [&invalid]);
        self.session.execute(&text, values).await?;
        Ok(())
    }

    fn upsert<'d>(
        &self,
        table: Table,
        deltas: impl IntoIterator<Item = &'d Delta>,
    ) -> (String, Values) {
        let mut values = Values::new();
        let mut count = 0;
        for delta in deltas {
            count += 1;
            values.push((&*delta.vhost).into());
            if table.has_part {
                values.push((&*delta.part).into());
            }
            let Amount {
                bytes_in,
                bytes_out,
                requests,
            } = delta.amount;
            values.push(rows::day(delta.day));
            values.extend([bytes_in, bytes_out, requests].map(signed));
        }
        (for_rows(table.upsert, count, self.session.dialect), values)
    }
}

/// Parts that go into one statement each: full ones, whose text is prepared once, and a remainder.
fn chunks<'s, 'd>(deltas: &'s [&'d Delta]) -> Vec<&'s [&'d Delta]> {
    let mut chunks = Vec::new();
    for mut chunk in deltas.chunks(MAX_ROWS) {
        // Names are short; a row of the longest takes 2 KB.
        while chunk.len() > 1 {
            let bytes: usize = chunk
                .iter()
                .map(|d| d.vhost.len() + d.part.len() + 40)
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

fn named(table: Table, delta: &Delta) -> String {
    format!(
        "{}: {} {} {}",
        table.name, delta.vhost, delta.part, delta.day
    )
}
