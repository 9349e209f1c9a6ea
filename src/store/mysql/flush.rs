//! The steps of one flush, inside its transaction. Each locks its rows in the order of their keys.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use mysql_async::Value;

use super::rows::{self, Columns, source_key};
use super::session::{MAX_ROWS, Session, Values};
use super::statement::{for_rows, signed, sql};
use super::trouble::Trouble;
use crate::account::balance::Balance;
use crate::store::{Batch, Checkpoint, Flushed, MAX_UNPARSED_RANGES, Moves, Writer};

/// Why a transaction was given up, before its COMMIT.
pub(super) enum Stop {
    Overtaken(String),
    /// The writer's row is not where it was left.
    Moved,
    Failed(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble)
    }
}

/// The steps of one flush.
pub(super) struct Flush<'f> {
    pub(super) session: &'f mut Session,
    pub(super) node: &'f str,
    pub(super) now: i64,
    /// The id of the first new position; the others count up from it.
    pub(super) first_id: i64,
    /// mod_leech's, where there is one.
    pub(super) users_table: Option<&'f str>,
}

impl Flush<'_> {
    /// Everything but the COMMIT.
    pub(super) async fn run(&mut self, writer: &Writer, batch: &Batch) -> Result<Flushed, Stop> {
        self.session.run(sql!("begin")).await?;
        let instance = writer.instance.as_str().into();
        let values = vec![instance, signed(writer.seq)];
        if self.session.execute(sql!("flush_writer"), values).await? != 1 {
            return Err(Stop::Moved);
        }
        self.claim_scopes(&batch.checkpoints).await?;
        let positions = self.check_positions(&batch.checkpoints).await?;
        let ranges = self.ranges(&batch.checkpoints, &positions).await?;
        self.move_positions(&batch.checkpoints, &positions, &ranges)
            .await?;
        self.keep_ranges(&batch.checkpoints, &positions, &ranges)
            .await?;
        let mut flushed = Flushed {
            positions,
            refused: Vec::new(),
        };
        self.add(&batch.deltas, &mut flushed.refused).await?;
        self.books(batch).await?;
        if !self.session.is_in_transaction() {
            let text = "the server ended the transaction by itself";
            return Err(Trouble::Away(text.into()).into());
        }
        Ok(flushed)
    }

    /// New files are new only if nobody else has met a new file in their scope since we looked: since
    /// the first of them was looked up, where they were looked up at different times.
    async fn claim_scopes(&mut self, checkpoints: &[Checkpoint]) -> Result<(), Stop> {
        let mut scopes: BTreeMap<&str, u64> = BTreeMap::new();
        for checkpoint in checkpoints {
            if let Moves::New { epoch } | Moves::Begun { epoch, .. } = checkpoint.moves {
                let first = scopes.entry(&checkpoint.scope).or_insert(epoch);
                *first = epoch.min(*first);
            }
        }
        if scopes.is_empty() {
            return Ok(());
        }
        // A scope that is not there yet is made first: only rows that are there can be locked.
        let keys = || scopes.keys().map(|scope| Value::from(*scope));
        let rows = keys().map(|scope| vec![scope]);
        self.session
            .execute_many(sql!("flush_scopes_lock"), rows)
            .await?;
        let found = self
            .session
            .select_many(sql!("flush_scopes_check"), keys())
            .await?;
        let mut stored = BTreeMap::new();
        for row in found {
            let mut row = Columns::of(row);
            stored.insert(row.text()?, row.amount()?);
        }
        if let Some((scope, _)) = scopes
            .iter()
            .find(|(scope, epoch)| stored.get(**scope) != Some(epoch))
        {
            return Err(Stop::Overtaken(format!("the scope {scope:?}")));
        }
        let rows = keys().map(|scope| vec![scope]);
        self.session
            .execute_many(sql!("flush_scopes_move"), rows)
            .await?;
        Ok(())
    }

    /// Locks the positions that are moved, and sees that they are where they were. The row of each
    /// checkpoint, in their order.
    async fn check_positions(&mut self, checkpoints: &[Checkpoint]) -> Result<Vec<i64>, Stop> {
        let mut expected: BTreeMap<i64, (i64, &str)> = BTreeMap::new();
        let mut ids = Vec::with_capacity(checkpoints.len());
        let mut next_id = self.first_id;
        for checkpoint in checkpoints {
            let (id, from) = match checkpoint.moves {
                Moves::New { .. } => {
                    ids.push(next_id);
                    next_id += 1;
                    continue;
                }
                Moves::Stored { id, from } => (id, i64::try_from(from).unwrap_or(i64::MAX)),
                Moves::Begun { id, .. } => (id, 0),
            };
            ids.push(id);
            // One row cannot be moved twice from where it was.
            if expected
                .insert(id, (from, checkpoint.path.as_str()))
                .is_some()
            {
                return Err(Stop::Overtaken(checkpoint.path.clone()));
            }
        }
        let keys = expected.keys().map(|id| Value::Int(*id));
        let found = self
            .session
            .select_many(sql!("flush_positions_check"), keys)
            .await?;
        for row in found {
            let mut row = Columns::of(row);
            let (id, offset) = (row.signed()?, row.signed()?);
            if expected.get(&id).is_some_and(|(from, _)| *from == offset) {
                expected.remove(&id);
            }
        }
        match expected.values().next() {
            Some((_, path)) => Err(Stop::Overtaken((*path).to_owned())),
            None => Ok(ids),
        }
    }

    /// How many ranges of each checkpoint find room, and the lines of those that do not. Ranges that
    /// were read again are taken out first.
    async fn ranges(
        &mut self,
        checkpoints: &[Checkpoint],
        ids: &[i64],
    ) -> Result<Vec<(usize, u64)>, Stop> {
        for (checkpoint, id) in checkpoints.iter().zip(ids) {
            for reread in checkpoint.reread.chunks(MAX_ROWS) {
                let text = for_rows(
                    sql!("flush_unparsed_delete"),
                    reread.len(),
                    self.session.dialect,
                );
                let mut values = vec![Value::Int(*id)];
                for range in reread {
                    values.extend([signed(range.start), signed(range.end)]);
                }
                if self.session.execute(&text, values).await? != reread.len() as u64 {
                    let path = &checkpoint.path;
                    return Err(Stop::Overtaken(format!("the unparsed bytes of {path}")));
                }
            }
        }
        let stored = checkpoints.iter().zip(ids).filter(|(checkpoint, _)| {
            !checkpoint.unparsed.is_empty() && checkpoint.moves.row().is_some()
        });
        let keys = stored.map(|(_, id)| Value::Int(*id));
        let found = self
            .session
            .select_many(sql!("flush_unparsed_count"), keys)
            .await?;
        let mut kept = BTreeMap::new();
        for row in found {
            let mut row = Columns::of(row);
            kept.insert(row.signed()?, row.amount()?);
        }
        let rooms = checkpoints.iter().zip(ids).map(|(checkpoint, id)| {
            let kept = kept.get(id).copied().unwrap_or(0);
            let room = usize::try_from(MAX_UNPARSED_RANGES.saturating_sub(kept)).unwrap_or(0);
            let room = room.min(checkpoint.unparsed.len());
            let beyond = checkpoint.unparsed[room..].iter();
            let dropped = checkpoint.dropped + beyond.map(|range| range.lines).sum::<u64>();
            (room, dropped)
        });
        Ok(rooms.collect())
    }

    async fn move_positions(
        &mut self,
        checkpoints: &[Checkpoint],
        ids: &[i64],
        ranges: &[(usize, u64)],
    ) -> Result<(), Stop> {
        let mut inserted = Vec::new();
        let mut moved = BTreeMap::new();
        for ((checkpoint, id), (_, dropped)) in checkpoints.iter().zip(ids).zip(ranges) {
            let row = self.position(checkpoint, *id, *dropped);
            match checkpoint.moves {
                Moves::New { .. } => inserted.push(row),
                Moves::Stored { .. } | Moves::Begun { .. } => {
                    moved.insert(*id, row);
                }
            }
        }
        self.session
            .execute_many(sql!("flush_positions_insert"), inserted)
            .await?;
        self.session
            .execute_many(sql!("flush_positions_move"), moved.into_values())
            .await?;
        Ok(())
    }

    fn position(&self, checkpoint: &Checkpoint, id: i64, dropped: u64) -> Values {
        let place = checkpoint.place;
        let print = &checkpoint.print;
        let is_new = matches!(checkpoint.moves, Moves::New { .. });
        let node = if is_new || checkpoint.follows {
            self.node
        } else {
            ""
        };
        vec![
            Value::Int(id),
            node.into(),
            checkpoint.source.as_str().into(),
            checkpoint.scope.as_str().into(),
            checkpoint.path.as_str().into(),
            rows::number_or_null(place.map(|p| p.device.cast_signed())),
            rows::number_or_null(place.map(|p| p.inode.cast_signed())),
            rows::number_or_null(place.and_then(|p| p.birth)),
            signed(print.head_len),
            rows::hash(print.head),
            signed(print.offset),
            rows::hash(print.tail),
            rows::hash(print.chain),
            rows::hash(print.content),
            checkpoint.last_day.map_or(Value::NULL, rows::day),
            rows::state(checkpoint.state),
            signed(dropped),
            Value::Int(self.now),
        ]
    }

    async fn keep_ranges(
        &mut self,
        checkpoints: &[Checkpoint],
        ids: &[i64],
        ranges: &[(usize, u64)],
    ) -> Result<(), Stop> {
        let mut kept = Vec::new();
        for ((checkpoint, id), (room, _)) in checkpoints.iter().zip(ids).zip(ranges) {
            for range in &checkpoint.unparsed[..*room] {
                kept.push(vec![
                    Value::Int(*id),
                    signed(range.start),
                    signed(range.end),
                    signed(range.lines),
                    self.node.into(),
                    checkpoint.source.as_str().into(),
                    rows::day(range.day),
                ]);
            }
        }
        self.session
            .execute_many(sql!("flush_unparsed_insert"), kept)
            .await?;
        Ok(())
    }

    /// The balance, names met for the first time, the last search, and gaps.
    async fn books(&mut self, batch: &Batch) -> Result<(), Stop> {
        let names = batch.deltas.new_names.iter();
        let names = names.map(|((day, vhost), names)| {
            vec![rows::day(*day), vhost.as_str().into(), signed(*names)]
        });
        self.session
            .execute_many(sql!("upsert_new_names"), names.collect::<Vec<_>>())
            .await?;

        let booked = batch.balance.iter();
        let booked = booked.map(|((source, day), balance)| (self.node, source, *day, balance, 1));
        let taken = batch.corrections.iter();
        let taken =
            taken.map(|((node, source, day), balance)| (node.as_str(), source, *day, balance, -1));
        let mut lines: Vec<_> = booked
            .chain(taken)
            .map(|(node, source, day, balance, sign)| {
                ((node, source, day), line(node, source, day, balance, sign))
            })
            .collect();
        lines.sort_by_key(|(key, _)| *key);
        let lines: Vec<Values> = lines.into_iter().map(|(_, line)| line).collect();
        self.session
            .execute_many(sql!("upsert_balance"), lines)
            .await?;

        if let Some(since) = batch.searched {
            let values = vec![self.node.into(), Value::Int(since)];
            self.session
                .execute(sql!("upsert_searched"), values)
                .await?;
        }
        let forgotten = batch.forgotten.iter().map(|id| vec![Value::Int(*id)]);
        self.session
            .execute_many(sql!("flush_positions_forget"), forgotten)
            .await?;
        let gaps = batch.gaps.iter().map(|gap| {
            vec![
                self.node.into(),
                gap.source.as_str().into(),
                gap.path.as_str().into(),
                signed(gap.from),
                gap.to.map_or(Value::NULL, signed),
                gap.reason.as_str().into(),
                Value::Int(self.now),
            ]
        });
        let gaps = gaps.collect::<Vec<_>>();
        self.session.execute_many(sql!("insert_gap"), gaps).await?;
        Ok(())
    }
}

fn line(node: &str, source: &str, day: NaiveDate, balance: &Balance, sign: i64) -> Values {
    let parts = [
        balance.counted,
        balance.unparsed,
        balance.ignored,
        balance.unattributed,
    ];
    let counted = |amount: u64| Value::Int(sign * i64::try_from(amount).unwrap_or(i64::MAX));
    let mut values = vec![node.into(), source_key(source), rows::day(day)];
    values.extend(parts.map(|part| counted(part.lines)));
    values.extend(parts.map(|part| counted(part.bytes)));
    values
}
