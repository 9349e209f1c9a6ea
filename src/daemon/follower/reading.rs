//! Looks at files and reads what is new in them: lines into the ledger and the balance, what was lost
//! into gaps.

use std::time::Instant;

use tollkeeper_parsers::plan::{Carried, Plan};

use super::taking_up::Told;
use super::{Follower, MAX_BATCH_ACCOUNTS, MAX_LEDGER_ACCOUNTS, shown};
use crate::account::{Unattributed, day};
use crate::daemon::clock;
use crate::daemon::tracked::{Chunk, QUIET_INTERVAL, Tracked};
use crate::source::blocks::Block;
use crate::source::follow::Step;
use crate::source::position::State;
use crate::store::Gap;
use crate::tally::{Outcome, Tally};

/// Bytes of one file that are read before it is another's turn, and a batch may be flushed.
const TURN_BYTES: u64 = 64 << 20;

impl Follower {
    /// Looks at each file that is due, and does what it shows.
    pub(super) fn look_at_files(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .files
            .iter()
            .filter(|(_, file)| file.is_due(now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS {
                return;
            }
            let Some(file) = self.files.get(&id) else {
                continue;
            };
            let quiet_interval = self.quiet_interval(&file.path);
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            let step = match file.look(now, quiet_interval) {
                Ok(step) => step,
                Err(error) => {
                    let path = file.path.clone();
                    self.say(&path, format!("cannot look at it: {error}"));
                    continue;
                }
            };
            let is_stopped = file.stopped.is_some();
            let length = file.length_seen();
            match step {
                Step::Wait => {}
                Step::Read if is_stopped => {}
                Step::Read => drop(self.read_on(id, now, false, Some(length))),
                // It waits for a config with a format that fits: nobody else has what is in it.
                Step::Retire if self.is_kept(id) => {}
                Step::Retire => {
                    let is_done = is_stopped || self.read(id, now, true);
                    if is_done && !self.is_kept(id) {
                        self.let_go(id);
                    }
                }
                Step::BeginAgain => self.begin_again(id),
            }
        }
    }

    /// Whether it is a segment with lines that cannot be read by any format that it has so far.
    fn is_kept(&self, id: u64) -> bool {
        let file = self.files.get(&id).filter(|file| file.is_segment);
        file.is_some_and(|file| file.stopped.is_some() || file.is_unknown)
    }

    /// A renamed file has been quiet for long: its position is finished. What could not be read of it,
    /// because no format fits, is a gap.
    pub(super) fn let_go(&mut self, id: u64) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.ends = Some(State::Finished);
        let size = file.file.metadata().map_or(0, |metadata| metadata.len());
        let read = file.hasher.offset();
        if file.is_segment && read < size {
            let what = format!(
                "{} bytes of a record that was not written to its end",
                size - read
            );
            if let Some(file) = self.files.remove(&id) {
                self.book_loss(&file, &what);
                self.files.insert(id, file);
            }
            return;
        }
        if file.rules.is_some() && file.stopped.is_none() || read >= size {
            return;
        }
        // A line that was never finished is none.
        let rest = file.read(Vec::new(), None);
        if file.stopped.is_none() && matches!(rest, Ok(Chunk::Nothing)) {
            return;
        }
        let reason = "no format fits it".to_owned();
        tracing::warn!(
            file = shown(&file.path),
            source = self.sources[file.source].name,
            "{}: {reason}; byte {read} to {size} are not counted",
            shown(&file.path)
        );
        self.gaps.push(Gap {
            source: self.sources[file.source].name.clone(),
            path: file.path.to_string_lossy().into_owned(),
            from: read,
            to: Some(size),
            reason,
        });
    }

    /// Reads one file to its end, or as long as there is room in the ledger; `false`: not to its end.
    pub(super) fn read(&mut self, id: u64, now: Instant, is_last: bool) -> bool {
        self.read_on(id, now, is_last, None)
    }

    /// The same. `length`: of the file, where it has been looked at just now.
    fn read_on(&mut self, id: u64, now: Instant, is_last: bool, mut length: Option<u64>) -> bool {
        match self.tell_blank(id, now) {
            Told::Log => {}
            Told::Nothing => return true,
            Told::Later => return false,
        }
        let mut budget = TURN_BYTES;
        let mut is_done = true;
        loop {
            let buffer = std::mem::take(&mut self.buffer);
            let Some(mut file) = self.files.remove(&id) else {
                return true;
            };
            let more = match file.read(buffer, length.take()) {
                Ok(Chunk::Lines(buffer, lines)) => {
                    let more = self.lines(&mut file, &buffer[lines], is_last);
                    self.buffer = buffer;
                    more
                }
                Ok(Chunk::Overwritten) => {
                    file.is_doubtful = true;
                    is_done = false;
                    file.look_again(now);
                    false
                }
                Ok(Chunk::TooLong(bytes, hasher)) => {
                    let outcome = Tally::pass_over(&file.progress, file.hasher.offset(), bytes);
                    file.hasher = *hasher;
                    let (outcome, _) = file.walked(&[], outcome, false);
                    self.book(&file, &outcome);
                    true
                }
                Ok(Chunk::Nothing) => false,
                Err(error) => {
                    let path = file.path.clone();
                    self.say(&path, format!("cannot read it: {error}"));
                    file.look_again(now + QUIET_INTERVAL);
                    false
                }
            };
            budget = budget.saturating_sub(self.buffer.len() as u64);
            let full = self.tally.ledger.len() >= MAX_BATCH_ACCOUNTS || budget == 0;
            if more && full {
                file.look_again(now);
            } else if !more {
                file.level = now;
            }
            self.files.insert(id, file);
            if !more || full {
                return is_done && !(more && full);
            }
        }
    }

    /// Walks a block of an archive.
    pub(super) fn archived(&mut self, file: &mut Tracked, block: &Block) {
        if block.lines().is_empty() {
            let outcome = Tally::pass_over(&file.progress, block.base, block.covers);
            let (outcome, _) = file.walked(&[], outcome, false);
            self.book(file, &outcome);
        } else {
            self.lines(file, block.lines(), true);
        }
    }

    /// Walks the lines of a chunk; `true`: there may be more to read at once.
    fn lines(&mut self, file: &mut Tracked, bytes: &[u8], is_last: bool) -> bool {
        let rules = self.rules_of(file, bytes);
        file.is_unknown = rules.is_none();
        let Some(rules) = rules else {
            return false;
        };
        // What stands before the first line of the source's format in this segment is noise.
        file.progress.fits |= self.sources[file.source].has_fit;
        let base = file.hasher.offset();
        let is_columnar = rules.plans.iter().any(Plan::is_columnar);
        let mut carried = Carried::default();
        if is_columnar {
            carried = match file.columns() {
                Ok(carried) => carried,
                Err(error) => {
                    let path = file.path.clone();
                    self.say(&path, format!("cannot look for its #Fields line: {error}"));
                    // As if its format could not be told: it is tried again.
                    file.rules = None;
                    file.look_again(crate::daemon::time::now() + QUIET_INTERVAL);
                    return false;
                }
            };
            self.tally.carried = carried.clone();
        }
        let mut progress = file.progress;
        let outcome = self
            .tally
            .read(&self.rules, &rules, &mut progress, bytes, base, clock());
        file.progress = progress;
        if let Some((_, scales)) = &self.weighing {
            scales.spent(self.tally.take_spent(&mut self.growth));
        }
        if outcome.any_parsed && file.is_segment {
            self.has_fit(file.source);
        }
        for failure in outcome.failures.iter().take(1) {
            let wanted = rules
                .plans
                .get(failure.format)
                .map(|plan| plan.describe(&failure.error));
            tracing::debug!(path = %shown(&file.path), offset = failure.offset, ?wanted, "a line does not parse");
        }
        if let Some((_, reason @ Unattributed::NoColumn(_))) = outcome.unattributed {
            let what = format!("lines of it are charged to nobody: {}", reason.reason());
            self.say(&file.path.clone(), what);
        }
        let (outcome, more) = file.walked(bytes, outcome, is_last);
        // Lines that are held back are read again, with what those before them left.
        carried.pass(&bytes[..(file.hasher.offset() - base) as usize]);
        file.carried = is_columnar.then_some(carried);
        self.book(file, &outcome);
        for lost in &outcome.losses {
            self.book_loss(file, &lost.what);
        }
        if let Some(why) = file.stopped.clone() {
            let remedy = "reading it stops there until a format that fits stands in the config and tollkeeper reloads it";
            self.say(&file.path.clone(), format!("{why}; {remedy}"));
        }
        more
    }

    /// The format of a stream is the right one: what does not parse in its other segments is noise.
    fn has_fit(&mut self, source: usize) {
        if std::mem::replace(&mut self.sources[source].has_fit, true) {
            return;
        }
        let now = crate::daemon::time::now();
        let files = self.files.values_mut();
        for file in files.filter(|file| file.source == source && file.is_segment) {
            if file.stopped.take().is_some() {
                file.progress.run = 0;
                file.look_again(now);
            }
        }
    }

    fn book(&mut self, file: &Tracked, outcome: &Outcome) {
        let source = &self.sources[file.source].name;
        for (day, balance) in file.dated(outcome) {
            self.published.read_lines(balance.read().lines);
            self.balance
                .entry((source.clone(), day::date(day)))
                .or_default()
                .add(&balance);
        }
    }

    /// Books what a spool says was lost before it, as a gap of its source.
    fn book_loss(&mut self, file: &Tracked, what: &str) {
        let source = &self.sources[file.source].name;
        let spool = file.path.parent().unwrap_or(&file.path);
        tracing::warn!(source, "{}: {what}", shown(spool));
        self.gaps.push(Gap {
            source: source.clone(),
            path: spool.to_string_lossy().into_owned(),
            from: 0,
            to: None,
            reason: what.to_owned(),
        });
    }
}
