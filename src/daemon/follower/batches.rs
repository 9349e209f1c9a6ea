//! Batches on their way: built, answered, and thrown away when others were faster.

use std::collections::BTreeSet;
use std::time::Instant;

use super::known::Recognised;
use super::rest::ended;
use super::snapshot::Books;
use super::{Ended, Follower, RENEW_INTERVAL};
use crate::account::growth::Growth;
use crate::daemon::clock;
use crate::daemon::message::Settled;
use crate::daemon::time;
use crate::daemon::tracked::Tracked;
use crate::source::follow::AtPath;
use crate::source::position::State;
use crate::store::{Batch, Moves};
use crate::tally::Tally;

/// What the batch on its way covers.
pub(super) struct InFlight {
    /// Files, each with the offset and the end that will be committed, in the order of the checkpoints.
    files: Vec<(u64, u64, Option<State>)>,
    /// Scopes that it moves on.
    scopes: Vec<String>,
    /// It retires what was truncated.
    replaces: bool,
    pub(super) since: Instant,
    /// Rows that it forgets.
    forgotten: Vec<i64>,
    /// Its lines and gaps.
    pub(super) books: Books,
}

impl InFlight {
    /// Whether it covers this file.
    pub(super) fn covers(&self, file: u64) -> bool {
        self.files.iter().any(|(id, ..)| *id == file)
    }
}

impl Follower {
    /// Hands a batch over; `false`: there is nothing to flush.
    pub(super) fn flush(&mut self, now: Instant) -> Result<bool, Ended> {
        self.next_flush = now + self.config.report_interval;
        self.renew_names(now);
        let (deltas, forgot) = self
            .tally
            .ledger
            .take(&mut self.growth, &self.rules.classes);
        if forgot {
            self.tally.forget_names();
        }
        let mut batch = Batch {
            deltas,
            balance: std::mem::take(&mut self.balance),
            gaps: std::mem::take(&mut self.gaps),
            forgotten: std::mem::take(&mut self.forgotten),
            ..Batch::default()
        };
        let mut flight = InFlight {
            files: Vec::new(),
            scopes: Vec::new(),
            replaces: false,
            since: now,
            forgotten: batch.forgotten.clone(),
            books: Books::of(&batch.balance, batch.gaps.len()),
        };
        for (id, file) in &mut self.files {
            let Some(mut checkpoint) = file.checkpoint(&self.sources[file.source].name) else {
                continue;
            };
            if let Some(epoch) = checkpoint.moves.epoch_mut() {
                *epoch = self.epochs.demand(&checkpoint.scope, *epoch);
                flight.scopes.push(checkpoint.scope.clone());
            }
            flight.files.push((*id, checkpoint.print.offset, file.ends));
            batch.checkpoints.push(checkpoint);
        }
        if let Some((id, mut checkpoint)) = self.archives.checkpoint(&self.sources) {
            if matches!(checkpoint.moves, Moves::New { .. }) {
                let missing = self.archives.begun_as();
                let ends = missing.map(|missing| ended(&missing.stored, State::Finished));
                self.ending.extend(ends);
            }
            if let Some(epoch) = checkpoint.moves.epoch_mut() {
                *epoch = self.epochs.demand(&checkpoint.scope, *epoch);
                flight.scopes.push(checkpoint.scope.clone());
            }
            let ends = self.archives.counted(id).and_then(|archive| archive.ends);
            flight.files.push((id, checkpoint.print.offset, ends));
            batch.checkpoints.push(checkpoint);
        }
        // Last, so that the answer's first rows are those of `flight.files`.
        for mut checkpoint in self.ending.drain(..) {
            if let Some(epoch) = checkpoint.moves.epoch_mut() {
                *epoch = self.epochs.demand(&checkpoint.scope, *epoch);
                flight.scopes.push(checkpoint.scope.clone());
            }
            batch.checkpoints.push(checkpoint);
        }
        let mut checkpoints = batch.checkpoints.iter();
        flight.replaces = checkpoints.any(|it| it.state == State::Replaced);
        // A file that is to be let go and has nothing to commit is let go at once.
        let flying: BTreeSet<u64> = flight.files.iter().map(|(id, ..)| *id).collect();
        self.files
            .retain(|id, file| file.ends.is_none() || flying.contains(id));
        let is_first = self.never_searched && self.searched.is_some();
        if batch.is_empty() && !is_first {
            return Ok(false);
        }
        batch.searched = self.searched.take();
        self.never_searched &= batch.searched.is_none();
        flight.scopes.sort_unstable();
        flight.scopes.dedup();
        if let Some((_, scales)) = &self.weighing {
            scales.taken();
        }
        self.in_flight = Some(flight);
        self.batches.send(batch).map_err(|_| Ended::NoStore)?;
        Ok(true)
    }

    pub(super) fn settled(&mut self, settled: Settled) -> Result<(), Ended> {
        let Some(flight) = self.in_flight.take() else {
            return Ok(());
        };
        match settled {
            Settled::Flushed(flushed) => {
                if let Some((_, scales)) = &mut self.weighing {
                    scales.committed();
                }
                self.epochs.moved(flight.scopes);
                // What is committed can be closed, which makes room for those that wait.
                self.search |= self.no_room;
                self.books.add(&flight.books);
                // What was truncated is told from its copy only now that it is committed.
                if flight.replaces {
                    self.search = true;
                    self.left.clear();
                }
                for ((id, offset, ends), position) in
                    flight.files.into_iter().zip(flushed.positions)
                {
                    let archive = self.archives.counted(id);
                    let is_archive = archive.is_some();
                    let Some(file) = archive.or_else(|| self.files.get_mut(&id).map(Box::as_mut))
                    else {
                        continue;
                    };
                    file.moves = match offset {
                        0 => Moves::Begun {
                            id: position,
                            epoch: file.epoch,
                        },
                        from => Moves::Stored { id: position, from },
                    };
                    file.committed = offset;
                    // One that has ended since then is to be committed as ended first.
                    let has_ended = file.ends.is_some() && file.ends == ends;
                    if has_ended && file.hasher.offset() == offset {
                        if is_archive {
                            self.archives.committed();
                            continue;
                        }
                        // Somebody wrote into it while that was committed: it has not ended after all.
                        if ends == Some(State::Finished) && file.has_grown() {
                            file.ends = None;
                            file.look_again(time::now());
                            continue;
                        }
                        let file = self.files.remove(&id).filter(|file| file.is_segment);
                        if let Some(segment) = file.filter(|_| ends == Some(State::Finished)) {
                            self.delete(&segment, position);
                        }
                    }
                }
                Ok(())
            }
            Settled::Overtaken(what) => {
                tracing::info!(
                    "{} was moved by another process; reading on from what is stored",
                    crate::excerpt::printable(&what)
                );
                self.start_over();
                self.forgotten = flight.forgotten;
                Ok(())
            }
            Settled::Replaced => Err(Ended::Replaced),
        }
    }

    /// Deletes a segment all of which is committed, and then its row.
    fn delete(&mut self, segment: &Tracked, row: i64) {
        match std::fs::remove_file(&segment.path) {
            Ok(()) => self.forgotten.push(row),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.forgotten.push(row),
            // It is found again, at its end, and ends once more.
            Err(error) => {
                let path = segment.path.clone();
                self.say(&path, format!("is counted, and cannot be deleted: {error}"));
            }
        }
    }

    /// While a cap is reached, names that others have given rows to meanwhile are asked for.
    fn renew_names(&mut self, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at) < RENEW_INTERVAL;
        if !self.growth.is_full() || self.renewed.is_some_and(recently) {
            return;
        }
        self.renewed = Some(now);
        match self.lookups.known_names(Growth::since(clock())) {
            Ok(names) => self.growth.know_rows(&names),
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// Forgets all that is not committed, and takes up every file again from its stored position.
    fn start_over(&mut self) {
        self.tally = Tally::telling(&self.rules).refusing(self.growth.full_days());
        if let Some((_, scales)) = &mut self.weighing {
            scales.start_over();
        }
        self.balance.clear();
        self.gaps.clear();
        self.ending.clear();
        self.archives.start_over();
        self.counted.clear();
        // What the last search found is not committed.
        self.searched = None;
        self.since = match self.lookups.searched(&self.node) {
            Ok(since) => {
                self.never_searched = since.is_none();
                since.unwrap_or(self.began)
            }
            Err(_) => self.since.min(self.began),
        };
        match self.lookups.known_names(Growth::since(clock())) {
            Ok(names) => self.growth.renew(names),
            Err(error) => tracing::error!("{error}"),
        }
        for (_, old) in std::mem::take(&mut self.files) {
            let is_found_again = old.at_path == AtPath::Ours && !old.leaving;
            if old.ends == Some(State::Replaced) || is_found_again {
                continue;
            }
            // Renamed or deleted files are no longer found by path: take them up by what we hold.
            let scope = old.scope();
            let metadata = old.file.metadata();
            let taken = metadata.map_err(Into::into).and_then(|metadata| {
                let recognised = self.recognise(&[&old.path], &old.file, &metadata, &scope, 0)?;
                Ok::<_, Box<dyn std::error::Error>>((metadata, recognised))
            });
            match taken {
                Ok((metadata, Recognised::Take(taken) | Recognised::Replaces(taken, _))) => {
                    let mut again =
                        Tracked::new(old.path, old.source, old.vhost, old.file, &metadata, taken);
                    again.at_path = AtPath::Other;
                    again.leaving = old.leaving;
                    self.track(again);
                }
                Ok((_, Recognised::Leave)) => {}
                Err(error) => tracing::error!("{}: {error}", super::shown(&old.path)),
            }
        }
        self.search = true;
        self.first_search = true;
        // Until then a file that is deleted is out of reach.
        self.no_search_before = time::now();
    }
}
