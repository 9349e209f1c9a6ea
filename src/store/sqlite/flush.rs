//! The steps of one flush, inside its transaction.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rusqlite::{ErrorCode, Transaction, params};

use super::{signed, unsigned};
use crate::account::balance::Balance;
use crate::account::delta::{Amount, Delta, Deltas, MinuteDelta};
use crate::account::name;
use crate::source::position::State;
use crate::store::{
    Batch, Checkpoint, Flushed, MAX_UNPARSED_RANGES, Moves, Writer, day_row, minute_row,
    part_number,
};

/// Why a transaction was given up.
pub(super) enum Stop {
    Overtaken(String),
    Replaced,
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Failed(cause)
    }
}

/// The steps of one flush, inside its transaction.
pub(super) struct Flush<'t> {
    pub(super) transaction: &'t Transaction<'t>,
    pub(super) node: &'t str,
    pub(super) now: i64,
    /// mod_leech's, where there is one.
    pub(super) users_table: Option<&'t str>,
}

impl Flush<'_> {
    pub(super) fn run(&self, writer: &Writer, batch: &Batch) -> Result<Flushed, Stop> {
        if self.execute(
            sql!("flush_writer"),
            params![writer.instance, signed(writer.seq)],
        )? != 1
        {
            return Err(Stop::Replaced);
        }
        self.claim_scopes(&batch.checkpoints)?;
        let mut flushed = Flushed::default();
        for checkpoint in &batch.checkpoints {
            flushed.positions.push(self.checkpoint(checkpoint)?);
        }
        self.add(&batch.deltas, &mut flushed.refused)?;
        for ((day, vhost), names) in &batch.deltas.new_names {
            self.execute(
                sql!("upsert_new_names"),
                params![day.to_string(), vhost, signed(*names)],
            )?;
        }
        for ((source, day), balance) in &batch.balance {
            self.book(self.node, source, *day, balance, 1)?;
        }
        for ((node, source, day), balance) in &batch.corrections {
            self.book(node, source, *day, balance, -1)?;
        }
        if let Some(since) = batch.searched {
            self.execute(sql!("upsert_searched"), params![self.node, since])?;
        }
        for id in &batch.forgotten {
            self.execute(sql!("flush_position_forget"), params![id])?;
        }
        for gap in &batch.gaps {
            let (from, to) = (signed(gap.from), gap.to.map(signed));
            self.execute(
                sql!("insert_gap"),
                params![
                    self.node, gap.source, gap.path, from, to, gap.reason, self.now
                ],
            )?;
        }
        Ok(flushed)
    }

    /// New files are new only if nobody else has met a new file in their scope since we looked: since
    /// the first of them was looked up, where they were looked up at different times.
    fn claim_scopes(&self, checkpoints: &[Checkpoint]) -> Result<(), Stop> {
        let mut scopes: BTreeMap<&str, u64> = BTreeMap::new();
        for checkpoint in checkpoints {
            if let Moves::New { epoch } | Moves::Begun { epoch, .. } = checkpoint.moves {
                let first = scopes.entry(&checkpoint.scope).or_insert(epoch);
                *first = epoch.min(*first);
            }
        }
        for (scope, epoch) in scopes {
            self.execute(sql!("flush_scope_first"), [scope])?;
            if self.execute(sql!("flush_scope"), params![scope, signed(epoch)])? != 1 {
                return Err(Stop::Overtaken(format!("the scope {scope:?}")));
            }
        }
        Ok(())
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<i64, Stop> {
        let place = checkpoint.place;
        let (device, inode) = (
            place.map(|p| p.device.cast_signed()),
            place.map(|p| p.inode.cast_signed()),
        );
        let birth = place.and_then(|p| p.birth);
        let print = &checkpoint.print;
        let (head, tail) = (print.head.to_le_bytes(), print.tail.to_le_bytes());
        let (chain, content) = (print.chain.to_le_bytes(), print.content.to_le_bytes());
        let last_day = checkpoint.last_day.map(|day| day.to_string());
        let state = match checkpoint.state {
            State::Living => 0,
            State::Finished => 1,
            State::Replaced => 2,
        };
        let id = match checkpoint.moves {
            Moves::New { .. } => {
                self.execute(
                    sql!("flush_position_insert"),
                    params![
                        self.node,
                        checkpoint.source,
                        checkpoint.scope,
                        checkpoint.path,
                        device,
                        inode,
                        birth,
                        signed(print.head_len),
                        head,
                        signed(print.offset),
                        tail,
                        chain,
                        content,
                        last_day,
                        state,
                        0,
                        self.now
                    ],
                )?;
                self.transaction.last_insert_rowid()
            }
            Moves::Stored { .. } | Moves::Begun { .. } => {
                let (id, from) = match checkpoint.moves {
                    Moves::Stored { id, from } => (id, from),
                    Moves::Begun { id, .. } => (id, 0),
                    Moves::New { .. } => (0, 0),
                };
                let moved = self.execute(
                    sql!("flush_position_update"),
                    params![
                        id,
                        signed(from),
                        checkpoint.path,
                        device,
                        inode,
                        birth,
                        signed(print.head_len),
                        head,
                        signed(print.offset),
                        tail,
                        chain,
                        content,
                        last_day,
                        state,
                        self.now,
                        checkpoint.scope,
                        if checkpoint.follows { self.node } else { "" },
                        checkpoint.source
                    ],
                )?;
                if moved != 1 {
                    return Err(Stop::Overtaken(checkpoint.path.clone()));
                }
                id
            }
        };
        self.keep_ranges(id, checkpoint)?;
        Ok(id)
    }

    fn keep_ranges(&self, id: i64, checkpoint: &Checkpoint) -> Result<(), Stop> {
        for range in &checkpoint.reread {
            if self.execute(
                sql!("flush_unparsed_delete"),
                params![id, signed(range.start), signed(range.end)],
            )? != 1
            {
                return Err(Stop::Overtaken(format!(
                    "the unparsed bytes of {}",
                    checkpoint.path
                )));
            }
        }
        if checkpoint.unparsed.is_empty() && checkpoint.dropped == 0 {
            return Ok(());
        }
        let mut kept = self
            .transaction
            .prepare_cached(sql!("flush_unparsed_count"))?
            .query_row([id], |row| unsigned(row, 0))?;
        let mut dropped = checkpoint.dropped;
        for range in &checkpoint.unparsed {
            if kept >= MAX_UNPARSED_RANGES {
                dropped += range.lines;
                continue;
            }
            kept += 1;
            self.execute(
                sql!("flush_unparsed"),
                params![
                    id,
                    signed(range.start),
                    signed(range.end),
                    signed(range.lines),
                    self.node,
                    checkpoint.source,
                    range.day.to_string()
                ],
            )?;
        }
        if dropped > 0 {
            self.execute(sql!("flush_unparsed_dropped"), params![id, signed(dropped)])?;
        }
        Ok(())
    }

    /// Adds to all rows; keys that were refused are named.
    fn add(&self, deltas: &Deltas, refused: &mut Vec<String>) -> Result<(), Stop> {
        for (table, rows) in [
            (Table::Vhosts, &deltas.vhosts),
            (Table::Users, &deltas.users),
            (Table::Classes, &deltas.classes),
            (Table::Layers, &deltas.layers),
            (Table::Claimed, &deltas.claimed),
        ] {
            for delta in rows {
                let named = || format!("{}: {}", table.name(), day_row(delta));
                let invalid = || Delta {
                    vhost: name::INVALID.into(),
                    ..delta.clone()
                };
                let add = |delta: &Delta| self.add_day(table, delta);
                settle(delta, invalid, add, delta.amount, named, refused)?;
            }
        }
        for delta in &deltas.minutes {
            let named = || format!("bandwidth_minute: {}", minute_row(delta));
            let invalid = || MinuteDelta {
                vhost: name::INVALID.into(),
                ..delta.clone()
            };
            let add = |delta: &MinuteDelta| self.add_minute(delta);
            settle(delta, invalid, add, delta.amount, named, refused)?;
        }
        self.add_to_users(deltas, refused)
    }

    fn add_day(&self, table: Table, delta: &Delta) -> rusqlite::Result<()> {
        let Amount {
            bytes_in,
            bytes_out,
            requests,
        } = delta.amount;
        let amounts = [bytes_in, bytes_out, requests].map(signed);
        let [bytes_in, bytes_out, requests] = amounts;
        let day = delta.day.to_string();
        let (vhost, part) = (&*delta.vhost, &*delta.part);
        let with_part = params![vhost, part, day, bytes_in, bytes_out, requests];
        let done = match table {
            Table::Vhosts => self.execute(
                sql!("upsert_bandwidth"),
                params![vhost, day, bytes_in, bytes_out, requests],
            ),
            Table::Users => self.execute(sql!("upsert_bandwidth_user"), with_part),
            Table::Classes => self.execute(sql!("upsert_bandwidth_class"), with_part),
            Table::Layers => self.execute(sql!("upsert_bandwidth_layer"), with_part),
            Table::Claimed => self.execute(sql!("upsert_bandwidth_claimed"), with_part),
        };
        done.map(drop)
    }

    fn add_minute(&self, delta: &MinuteDelta) -> rusqlite::Result<()> {
        let Amount {
            bytes_in,
            bytes_out,
            requests,
        } = delta.amount;
        self.execute(
            sql!("upsert_bandwidth_minute"),
            params![
                &*delta.vhost,
                part_number(delta.of),
                &*delta.part,
                delta.day.to_string(),
                delta.minute,
                signed(bytes_in),
                signed(bytes_out),
                signed(requests)
            ],
        )
        .map(drop)
    }

    fn book(
        &self,
        node: &str,
        source: &str,
        day: NaiveDate,
        balance: &Balance,
        sign: i64,
    ) -> Result<(), Stop> {
        let parts = [
            balance.counted,
            balance.unparsed,
            balance.ignored,
            balance.unattributed,
        ];
        let lines = parts.map(|part| sign * signed(part.lines));
        let bytes = parts.map(|part| sign * signed(part.bytes));
        self.execute(
            sql!("upsert_balance"),
            params![
                node,
                source,
                day.to_string(),
                lines[0],
                lines[1],
                lines[2],
                lines[3],
                bytes[0],
                bytes[1],
                bytes[2],
                bytes[3]
            ],
        )?;
        Ok(())
    }

    pub(super) fn execute(
        &self,
        statement: &str,
        parameters: impl rusqlite::Params,
    ) -> rusqlite::Result<usize> {
        self.transaction
            .prepare_cached(statement)?
            .execute(parameters)
    }
}

/// The tables of daily rows.
#[derive(Clone, Copy)]
enum Table {
    Vhosts,
    Users,
    Classes,
    Layers,
    Claimed,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Vhosts => "bandwidth",
            Self::Users => "bandwidth_user",
            Self::Classes => "bandwidth_class",
            Self::Layers => "bandwidth_layer",
            Self::Claimed => "bandwidth_claimed",
        }
    }
}

/// Adds to a row. Where it will not take it, to that of `_invalid`, so that one row cannot stop all others.
fn settle<D>(
    delta: &D,
    invalid: impl Fn() -> D,
    add: impl Fn(&D) -> rusqlite::Result<()>,
    amount: Amount,
    named: impl Fn() -> String,
    refused: &mut Vec<String>,
) -> Result<(), Stop> {
    match add(delta) {
        Ok(()) if amount.fits() => {}
        Ok(()) => refused.push(format!(
            "{}: more in one batch than a row can hold; what is beyond is lost",
            named()
        )),
        Err(cause) if is_data_error(&cause) => {
            refused.push(format!("{}: {cause}", named()));
            add(&invalid())?;
        }
        Err(cause) => return Err(cause.into()),
    }
    Ok(())
}

/// Whether it is the row's own fault, and would be again at each try.
pub(super) fn is_data_error(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
