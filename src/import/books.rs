//! Keeps the books of an import: what each file's lines came to, in order, until it is committed.
//!
//! What is in the batch is covered by its checkpoints, and by nothing else; the part of a file that
//! must be committed whole waits outside the batch until the file has ended well. The caps on new names
//! hold for both as they are summed, so that no flood of names waits in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::NaiveDate;

use super::feed::{End, OpenFile, Start};
use super::{FileReport, ImportError, Input, Meter, Summary, Walked, feed};
use crate::account::balance::Balance;
use crate::account::class::Classes;
use crate::account::day::{self, DayNumber};
use crate::account::delta::Amount;
use crate::account::growth::Growth;
use crate::account::{Rules, SourceRules, Unattributed};
use crate::ledger::{Detail, Ledger};
use crate::recognise::Epochs;
use crate::source::content::Fingerprint;
use crate::store::{Batch, Checkpoint, FlushError, Moves, Store, UnparsedRange, Writer};
use crate::tally::{MAX_UNPARSED_AT_START, MAX_UNPARSED_IN_A_ROW, Progress, Tally, Unparsed};

/// The balance that imports are booked under.
pub const SOURCE: &str = "import";
/// A batch is flushed when it has so many accounts,
const MAX_BATCH_ACCOUNTS: usize = 50_000;
/// or so many files,
const MAX_BATCH_FILES: usize = 1_000;
/// or is so old.
const MAX_BATCH_AGE: Duration = Duration::from_secs(1);
/// Sums are taken in where so many names were met for the first time: a flood reaches the caps soon.
const MAX_NEW_NAMES: usize = 4_096;
/// What waits for the end of an archive is committed early only beyond so many accounts, so that no
/// archive can fill the memory.
const MAX_WAITING_ACCOUNTS: usize = 1_000_000;
/// Failures that a file's report shows.
const MAX_FAILURES: usize = 3;

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// Well, so far.
    Done,
    /// Another process moved a position: begin again with this input, from the stored positions.
    Overtaken {
        /// The first input that is not committed.
        first: usize,
        /// What was moved.
        what: String,
    },
}

/// Where the batches go.
pub struct Account<'s> {
    /// The store.
    pub store: &'s mut dyn Store,
    /// This process in it.
    pub writer: Writer,
    /// The node that it runs on.
    pub node: String,
    /// Caps on new names.
    pub growth: Growth,
}

enum Target<'s> {
    Store(Account<'s>),
    /// Nothing is stored; but what is shown is what would be.
    Nowhere(Growth),
}

impl Target<'_> {
    fn growth(&mut self) -> &mut Growth {
        match self {
            Self::Store(account) => &mut account.growth,
            Self::Nowhere(growth) => growth,
        }
    }
}

/// The books.
pub struct Books<'i, 's> {
    inputs: &'i [Input],
    target: Target<'s>,
    classes: &'s Classes,
    now: i64,
    epochs: Arc<Epochs>,
    summary: Summary,
    batch: Waiting,
    current: Option<Current>,
    flushed: Instant,
    flushes: u64,
}

/// What is not committed yet.
#[derive(Default)]
struct Waiting {
    ledger: Ledger,
    balance: BTreeMap<(String, NaiveDate), Balance>,
    checkpoints: Vec<Pending>,
    /// By input: what its report gains once this is committed.
    reports: BTreeMap<usize, Balance>,
}

struct Pending {
    index: usize,
    checkpoint: Checkpoint,
}

/// The file being read.
struct Current {
    index: usize,
    start: Start,
    stop: Arc<AtomicBool>,
    source: Arc<SourceRules>,
    fallback_day: DayNumber,
    progress: Progress,
    print: Fingerprint,
    ledger: Ledger,
    balance: BTreeMap<NaiveDate, Balance>,
    unparsed: Vec<UnparsedRange>,
    dropped: u64,
    gave_up: Option<String>,
}

impl<'i, 's> Books<'i, 's> {
    /// For these inputs.
    pub fn new(inputs: &'i [Input], account: Account<'s>, classes: &'s Classes, now: i64) -> Self {
        Self::with_target(inputs, Target::Store(account), classes, now)
    }

    /// Where nothing is stored: rows of vhosts are summed for the summary, under these caps.
    pub fn dry(inputs: &'i [Input], growth: Growth, classes: &'s Classes, now: i64) -> Self {
        Self::with_target(inputs, Target::Nowhere(growth), classes, now)
    }

    fn with_target(
        inputs: &'i [Input],
        target: Target<'s>,
        classes: &'s Classes,
        now: i64,
    ) -> Self {
        let name = |input: &Input| FileReport {
            name: feed::shown(input.path.as_ref()),
            ..FileReport::default()
        };
        Self {
            inputs,
            target,
            classes,
            now,
            epochs: Arc::default(),
            summary: Summary {
                files: inputs.iter().map(name).collect(),
                ..Summary::default()
            },
            batch: Waiting::default(),
            current: None,
            flushed: Instant::now(),
            flushes: 0,
        }
    }

    /// Shared with whoever looks files up.
    #[must_use]
    pub fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs)
    }

    /// Batches committed.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// What is known of the lines so far of the file being read.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.current.as_ref().map(|current| current.progress)
    }

    /// A file begins.
    pub fn open(&mut self, file: OpenFile) {
        let report = &mut self.summary.files[file.index];
        report.notes = file.notes;
        if file.start.whole {
            self.target.growth().try_out();
        }
        self.current = Some(Current {
            index: file.index,
            stop: file.stop,
            source: file.source,
            fallback_day: file.fallback_day,
            progress: file.start.progress,
            print: file.start.print,
            start: file.start,
            ledger: Ledger::default(),
            balance: BTreeMap::new(),
            unparsed: Vec::new(),
            dropped: 0,
            gave_up: None,
        });
    }

    /// The next block of it has been walked. What it came to is booked by the next call of
    /// [`Books::take_in`]; `false`: the block is not to be counted, and neither are its sums.
    pub fn walked(&mut self, walked: &Walked, meter: &Meter) -> bool {
        let Some(current) = &mut self.current else {
            return false;
        };
        if current.gave_up.is_some() {
            return false;
        }
        let carried = current.progress.run - walked.began.run.min(current.progress.run);
        let run = carried
            + if walked.outcome.any_parsed {
                walked.outcome.leading_run
            } else {
                walked.progress.run
            };
        let most = if current.progress.fits {
            MAX_UNPARSED_IN_A_ROW
        } else {
            MAX_UNPARSED_AT_START
        };
        let report = &mut self.summary.files[current.index];
        for failure in &walked.outcome.failures {
            if report.failures.len() < MAX_FAILURES {
                let plan = current.source.plans.get(failure.format);
                let wanted = plan.map_or_else(
                    || failure.error.to_string(),
                    |plan| plan.describe(&failure.error),
                );
                report.failures.push((failure.clone(), wanted));
            }
        }
        if let Some((_, reason @ Unattributed::NoColumn(_))) = walked.outcome.unattributed {
            let note = format!("lines of it are charged to nobody: {}", reason.reason());
            if !report.notes.contains(&note) {
                report.notes.push(note);
            }
        }
        if run >= most && walked.outcome.does_not_fit.is_none() {
            // The run began in an earlier block; this one is left unread.
            current.give_up(walked.base, run);
            return false;
        }
        if let Some(start) = walked.outcome.does_not_fit {
            current.give_up(start.max(walked.base), walked.progress.run);
        }
        meter
            .lines
            .fetch_add(walked.outcome.lines(), Ordering::Relaxed);
        report.already = false;
        current.walked(walked);
        true
    }

    /// Whether the sums of a walker's ledger are to be taken in now.
    #[must_use]
    pub fn is_due(&self, ledger: &Ledger) -> bool {
        ledger.len() >= MAX_BATCH_ACCOUNTS
            || ledger.new_names() >= MAX_NEW_NAMES
            || self.flushed.elapsed() >= MAX_BATCH_AGE
    }

    /// For one who walks lines for these books; `alone`: nobody else does.
    pub fn tally(&mut self, rules: &Rules, alone: bool) -> Tally {
        let full_days = self.target.growth().full_days();
        match alone {
            true => Tally::new(rules).refusing(full_days),
            false => Tally::new(rules).refusing_for_now(full_days),
        }
    }

    /// Takes in the sums of all that was walked since the last time; `ledger` is emptied.
    ///
    /// # Errors
    /// When the store fails.
    pub fn take_in(&mut self, ledger: &mut Ledger) -> Result<Pass, ImportError> {
        self.sums(ledger);
        if let Some(current) = &self.current {
            let (whole, accounts) = (current.start.whole, current.ledger.len());
            if !whole || accounts > MAX_WAITING_ACCOUNTS {
                self.settle();
            }
            if whole && accounts > MAX_WAITING_ACCOUNTS {
                self.target.growth().try_out();
            }
        }
        self.flush_if_due()
    }

    /// All that was read so far of the stream is in the rows, by this position: what it came to is
    /// forgotten, and counting begins behind it. `ledger` holds what has not been taken in of it.
    pub fn known(&mut self, start: Start, ledger: &mut Ledger) {
        ledger.discard();
        let Some(current) = &mut self.current else {
            return;
        };
        let report = &mut self.summary.files[current.index];
        report.notes.push(super::resumed(&start));
        report.failures.clear();
        report.already = true;
        let growth = self.target.growth();
        growth.drop_trial();
        if start.whole {
            growth.try_out();
        }
        current.ledger = Ledger::default();
        current.balance.clear();
        current.unparsed.clear();
        current.dropped = 0;
        current.print = start.print;
        current.progress.last_day = start.progress.last_day;
        current.start = start;
    }

    /// The file has ended; `ledger` holds what has not been taken in of it.
    ///
    /// # Errors
    /// When the store fails.
    pub fn end(&mut self, end: End, ledger: &mut Ledger) -> Result<Pass, ImportError> {
        self.sums(ledger);
        let report = &mut self.summary.files[end.index];
        report.notes.extend(end.notes);
        report.partial = end.partial;
        report.already = end.already;
        report.error = end.error;
        report.misuse = end.misuse;
        let gave_up = self
            .current
            .as_mut()
            .and_then(|current| current.gave_up.take());
        if gave_up.is_some() {
            report.error = gave_up;
        }
        let failed = report.error.is_some();
        match &self.current {
            Some(current) if failed && current.start.whole => {}
            Some(_) => self.settle(),
            None => {}
        }
        self.current = None;
        self.target.growth().drop_trial();
        self.flush_if_due()
    }

    /// Commits all that is settled.
    ///
    /// # Errors
    /// When the store fails.
    pub fn flush(&mut self) -> Result<Pass, ImportError> {
        self.flushed = Instant::now();
        let Target::Store(account) = &mut self.target else {
            self.batch.checkpoints.clear();
            return Ok(Pass::Done);
        };
        if self.batch.checkpoints.is_empty() {
            return Ok(Pass::Done);
        }
        let mut waiting = std::mem::take(&mut self.batch);
        let (deltas, _) = waiting
            .ledger
            .take_capped(&mut account.growth, self.classes);
        // The names are kept for the next batch.
        self.batch.ledger = waiting.ledger;
        let mut total = Amount::default();
        deltas
            .vhosts
            .iter()
            .for_each(|delta| total.add(delta.amount));
        let mut batch = Batch {
            deltas,
            balance: waiting.balance,
            ..Batch::default()
        };
        let mut indexes = Vec::new();
        for pending in waiting.checkpoints {
            indexes.push(pending.index);
            batch.checkpoints.push(pending.checkpoint);
        }
        let (store, writer, node, now) = (
            &mut account.store,
            &mut account.writer,
            &account.node,
            self.now,
        );
        let result = self.epochs.flushing(|demand| {
            let mut moved = Vec::new();
            for checkpoint in &mut batch.checkpoints {
                if let Some(epoch) = checkpoint.moves.epoch_mut() {
                    *epoch = demand(&checkpoint.scope, *epoch);
                    moved.push(checkpoint.scope.clone());
                }
            }
            moved.sort_unstable();
            moved.dedup();
            store
                .flush(writer, node, &batch, now)
                .map(|flushed| (flushed, moved))
        });
        let flushed = match result {
            Ok(flushed) => flushed,
            Err(FlushError::Overtaken(what)) => return self.begin_again(indexes[0], what),
            Err(FlushError::Replaced) => return Err(ImportError::Replaced),
            Err(FlushError::Store(error)) => return Err(error.into()),
        };
        self.flushes += 1;
        self.summary.total.add(total);
        self.summary.add_layers(&batch.deltas.layers);
        self.summary.refused.extend(flushed.refused);
        for (index, balance) in waiting.reports {
            self.summary.balance.add(&balance);
            self.summary.files[index].balance.add(&balance);
        }
        if let Some(current) = &mut self.current {
            for ((index, id), checkpoint) in indexes
                .into_iter()
                .zip(flushed.positions)
                .zip(&batch.checkpoints)
            {
                if index == current.index {
                    current.start.moves = Moves::Stored {
                        id,
                        from: checkpoint.print.offset,
                    };
                    current.start.print = checkpoint.print;
                }
            }
        }
        Ok(Pass::Done)
    }

    /// What the import did.
    #[must_use]
    pub fn close(mut self) -> Summary {
        if let Target::Nowhere(growth) = &mut self.target {
            let mut waiting = std::mem::take(&mut self.batch);
            self.summary.total = waiting.ledger.total();
            let deltas = waiting.ledger.take_capped(growth, self.classes).0;
            self.summary.add_layers(&deltas.layers);
            (self.summary.rows, self.summary.layer_rows) = (deltas.vhosts, deltas.layers);
            for (index, balance) in waiting.reports {
                self.summary.balance.add(&balance);
                self.summary.files[index].balance.add(&balance);
            }
        }
        self.summary
    }

    fn flush_if_due(&mut self) -> Result<Pass, ImportError> {
        let full = self.batch.ledger.len() >= MAX_BATCH_ACCOUNTS
            || self.batch.checkpoints.len() >= MAX_BATCH_FILES;
        if full || self.flushed.elapsed() >= MAX_BATCH_AGE {
            self.flush()
        } else {
            Ok(Pass::Done)
        }
    }

    fn sums(&mut self, ledger: &mut Ledger) {
        let detail = match &self.target {
            Target::Store(_) => Detail::Users,
            Target::Nowhere(_) => Detail::Vhosts,
        };
        let sums = match &mut self.current {
            Some(current) if current.start.whole => &mut current.ledger,
            Some(_) => &mut self.batch.ledger,
            None => return,
        };
        sums.absorb_capped(ledger, self.target.growth(), detail);
    }

    /// Puts what has been read of the current file into the batch, with the position that covers it.
    fn settle(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        if current.print.offset == current.start.print.offset {
            return;
        }
        let batch = &mut self.batch;
        if current.start.whole {
            self.target.growth().keep_trial();
            if batch.ledger.is_empty() {
                std::mem::swap(&mut batch.ledger, &mut current.ledger);
            } else {
                batch.ledger.absorb(&mut current.ledger);
            }
        }
        let report = batch.reports.entry(current.index).or_default();
        for (day, balance) in std::mem::take(&mut current.balance) {
            report.add(&balance);
            batch
                .balance
                .entry((SOURCE.to_owned(), day))
                .or_default()
                .add(&balance);
        }
        let unparsed = std::mem::take(&mut current.unparsed);
        let dropped = std::mem::take(&mut current.dropped);
        let last_day = current.progress.last_day.map(day::date);
        match batch
            .checkpoints
            .last_mut()
            .filter(|pending| pending.index == current.index)
        {
            Some(Pending { checkpoint, .. }) => {
                checkpoint.print = current.print;
                checkpoint.last_day = last_day;
                checkpoint.unparsed.extend(unparsed);
                checkpoint.dropped += dropped;
            }
            None => {
                let Start {
                    moves,
                    scope,
                    path,
                    place,
                    state,
                    ..
                } = current.start.clone();
                let checkpoint = Checkpoint {
                    moves,
                    follows: false,
                    source: SOURCE.to_owned(),
                    scope,
                    path,
                    place,
                    print: current.print,
                    last_day,
                    state,
                    unparsed,
                    dropped,
                    reread: Vec::new(),
                };
                batch.checkpoints.push(Pending {
                    index: current.index,
                    checkpoint,
                });
            }
        }
    }

    /// Forgets all that is not committed, and what was known of the store.
    fn begin_again(&mut self, first: usize, what: String) -> Result<Pass, ImportError> {
        self.batch = Waiting::default();
        self.current = None;
        if let Target::Store(account) = &mut self.target {
            account
                .growth
                .renew(account.store.known_names(Growth::since(self.now))?);
        }
        for (report, input) in self.summary.files.iter_mut().zip(self.inputs).skip(first) {
            let balance = report.balance;
            *report = FileReport {
                name: feed::shown(input.path.as_ref()),
                balance,
                ..FileReport::default()
            };
        }
        Ok(Pass::Overtaken { first, what })
    }
}

impl Current {
    fn give_up(&mut self, from: u64, run: u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.gave_up = Some(format!(
            "its format does not fit from byte {from} on: {run} lines in a row do not parse\n\
             what stands before is kept; name the format with --format and import it again to go on from there"
        ));
    }

    fn walked(&mut self, walked: &Walked) {
        let outcome = &walked.outcome;
        let undated = self
            .progress
            .last_day
            .or(outcome.first_day)
            .unwrap_or(self.fallback_day);
        for (day, balance) in &outcome.balance {
            let day = day::date(day.unwrap_or(undated));
            self.balance.entry(day).or_default().add(balance);
        }
        for range in &outcome.unparsed {
            push_range(&mut self.unparsed, range, undated);
        }
        self.dropped += outcome.dropped;
        self.print = walked.print;
        let carried = self.progress.run - walked.began.run.min(self.progress.run);
        self.progress = Progress {
            last_day: walked.progress.last_day.or(self.progress.last_day),
            fits: self.progress.fits || outcome.any_parsed,
            run: if outcome.any_parsed {
                walked.progress.run
            } else {
                carried + walked.progress.run
            },
        };
    }
}

fn push_range(ranges: &mut Vec<UnparsedRange>, range: &Unparsed, undated: DayNumber) {
    let day = day::date(range.day.unwrap_or(undated));
    match ranges.last_mut() {
        Some(last) if last.end == range.start && last.day == day => {
            last.end = range.end;
            last.lines += range.lines;
        }
        _ => ranges.push(UnparsedRange {
            start: range.start,
            end: range.end,
            lines: range.lines,
            day,
        }),
    }
}
