//! One followed file: what is held of it, how far it has been read, what of that is committed.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollkeeper_parsers::plan::Carried;

use super::{clock, time};
use crate::account::SourceRules;
use crate::account::balance::Balance;
use crate::account::day::{self, DayNumber};
use crate::source::columns;
use crate::source::content::Hasher;
use crate::source::follow::{self, AtPath, Seen};
use crate::source::open::read_full_at;
use crate::source::position::{Place, State};
use crate::source::spool;
use crate::store::{Checkpoint, Moves, UnparsedRange};
use crate::tally::{Outcome, Progress};

/// A file that grew within this time is looked at often,
const ACTIVE: Duration = Duration::from_secs(60);
/// namely so often;
pub const ACTIVE_INTERVAL: Duration = Duration::from_millis(100);
/// the others so often, in case an event was lost or never sent (NFS),
pub const QUIET_INTERVAL: Duration = Duration::from_secs(5);
/// and so often in folders of which nothing is told, because too much happens in them.
pub const STORMY_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes read of one file before it is another's turn.
const READ_BYTES: usize = 1 << 20;
/// Room for what is appended while it is read.
const MIN_READ_BYTES: usize = 64 << 10;
/// Bytes that a line, or a run of lines that do not parse, may take before it is passed over.
const MAX_READ_BYTES: usize = 16 << 20;

/// What a file looked like that has not been looked at.
const NEVER: (u64, i64, i64) = (0, 0, 0);

/// A followed file.
pub struct Tracked {
    /// Where it was last seen.
    pub path: PathBuf,
    /// Index of its source.
    pub source: usize,
    /// The vhost that its name gives.
    pub vhost: Option<String>,
    /// Held open: it stays readable when it is renamed or deleted.
    pub file: File,
    /// Where it lies.
    pub place: Place,
    /// What its path leads to.
    pub at_path: AtPath,
    /// How its lines are read; `None` until its format is detected.
    pub rules: Option<Arc<SourceRules>>,
    /// Hashes what has been read; its offset is where the next read begins.
    pub hasher: Hasher,
    /// What is known of the lines so far.
    pub progress: Progress,
    /// What they left for the next one, where the log names its columns; `None`: to be looked for.
    pub carried: Option<Carried>,
    /// What the next checkpoint moves.
    pub moves: Moves,
    /// At which its scope was looked up.
    pub epoch: u64,
    /// Up to where it is committed.
    pub committed: u64,
    /// Why it is not read on, until the config changes.
    pub stopped: Option<String>,
    /// No source finds it any more since the config changed: read to its end, then let go.
    pub leaving: bool,
    /// What the store has of it is to be written again, though it was not read on.
    pub restate: bool,
    /// When it was last known to be read to its end.
    pub level: Instant,
    /// To be committed as this, and then let go.
    pub ends: Option<State>,
    unparsed: Vec<UnparsedRange>,
    dropped: u64,
    last_seen: (u64, i64, i64),
    grown: Instant,
    /// Since when its path is known to lead elsewhere.
    elsewhere: Option<Instant>,
    /// Until then it is looked at often.
    busy_until: Instant,
    /// The last read met other bytes than those that it was to go on from.
    pub is_doubtful: bool,
    /// Its path is a symbolic link, which can be made to point elsewhere unseen.
    pub by_link: bool,
    /// It is a segment of a spool: its lines are records, and it is deleted once all of it is committed.
    pub is_segment: bool,
    /// What it holds is in no format that could be told.
    pub is_unknown: bool,
    /// It was empty when it was taken up: only what comes to stand in it shows whether it is a log, or a
    /// copy of one.
    pub is_blank: bool,
    /// When to look at it next,
    pub next_look: Instant,
    /// and from when on, where others are looked at anyway: a daemon that wakes less often costs less.
    next_look_with_others: Instant,
    read_bytes: usize,
    fallback_day: DayNumber,
}

/// Where a file that is taken up begins.
pub struct Taken {
    /// Ready to read on.
    pub hasher: Hasher,
    /// What the first checkpoint moves.
    pub moves: Moves,
    /// The day of the last line that had one.
    pub last_day: Option<DayNumber>,
}

/// What a read brought.
pub enum Chunk {
    /// Whole lines, from the hasher's offset on: the bytes of the buffer in this range.
    Lines(Vec<u8>, Range<usize>),
    /// One line that is too long to be held: so many bytes, and the hasher behind it.
    TooLong(u64, Box<Hasher>),
    /// No whole line yet.
    Nothing,
    /// The bytes before the offset are no longer those that were read.
    Overwritten,
}

impl Tracked {
    /// Takes up a file.
    #[must_use]
    pub fn new(
        path: PathBuf,
        source: usize,
        vhost: Option<String>,
        file: File,
        metadata: &Metadata,
        taken: Taken,
    ) -> Self {
        let now = time::now();
        let changed = chrono::DateTime::from_timestamp(metadata.mtime(), 0).unwrap_or_default();
        Self {
            path,
            source,
            vhost,
            place: Place::of(metadata),
            file,
            at_path: AtPath::Ours,
            rules: None,
            epoch: taken.moves.clone().epoch_mut().map_or(0, |epoch| *epoch),
            committed: taken.hasher.offset(),
            hasher: taken.hasher,
            progress: Progress {
                last_day: taken.last_day,
                fits: taken.last_day.is_some(),
                run: 0,
            },
            carried: None,
            moves: taken.moves,
            stopped: None,
            leaving: false,
            restate: false,
            level: now,
            ends: None,
            unparsed: Vec::new(),
            dropped: 0,
            last_seen: NEVER,
            grown: now,
            elsewhere: None,
            busy_until: match clock() - metadata.mtime() {
                0.. if clock() - metadata.mtime() >= ACTIVE.as_secs().cast_signed() => now,
                _ => now + ACTIVE,
            },
            is_doubtful: false,
            by_link: false,
            is_segment: false,
            is_unknown: false,
            is_blank: metadata.len() == 0,
            next_look: now,
            next_look_with_others: now,
            read_bytes: READ_BYTES,
            fallback_day: day::number(changed.date_naive()),
        }
    }

    /// The same file, taken up once more.
    #[must_use]
    pub fn taken_again(self, metadata: &Metadata, taken: Taken) -> Self {
        let Self {
            path,
            source,
            vhost,
            file,
            ..
        } = self;
        Self {
            at_path: self.at_path,
            by_link: self.by_link,
            leaving: self.leaving,
            ..Self::new(path, source, vhost, file, metadata, taken)
        }
    }

    /// Looks at the file, and says what to do. Where it is quiet, `quiet_interval` is when to look again.
    ///
    /// # Errors
    /// As the system says.
    pub fn look(&mut self, now: Instant, quiet_interval: Duration) -> io::Result<follow::Step> {
        // Asked before its length: what was over then does not grow any more.
        let is_over = self.is_segment && spool::is_over(&self.file)?;
        let metadata = self.file.metadata()?;
        let seen_now = (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        let changed = seen_now != self.last_seen;
        let is_first = self.last_seen == NEVER;
        if metadata.size() != self.last_seen.0 && !is_first {
            self.grown = now;
            self.busy_until = now + ACTIVE;
        }
        if metadata.size() == self.hasher.offset() {
            self.level = now;
        }
        // A worker may write to what was quiet long before it was renamed.
        self.elsewhere = match self.at_path {
            AtPath::Ours => None,
            AtPath::Other => self.elsewhere.or(Some(now)),
        };
        let quiet_since = self.elsewhere.map_or(self.grown, |at| at.max(self.grown));
        let quiet = now.saturating_duration_since(quiet_since);
        if self.is_busy(now) {
            self.look_at(now + ACTIVE_INTERVAL);
        } else {
            self.look_at(now + quiet_interval);
            self.next_look_with_others = now + quiet_interval * 4 / 5;
        }
        // Where it is read on, the read compares the last bytes.
        let is_read_on = metadata.size() > self.hasher.offset() && self.stopped.is_none();
        let tail_is_ours = match (changed, is_read_on && !self.is_doubtful) {
            (false, _) => true,
            (true, true) => self.holds(self.hasher.start(), 0)?,
            (true, false) => self.tail_is_ours()?,
        };
        self.is_doubtful = false;
        let seen = Seen {
            at_path: self.at_path,
            size: metadata.size(),
            offset: self.hasher.offset(),
            changed,
            tail_is_ours,
            quiet,
            is_over,
        };
        let step = follow::decide(&seen);
        // A file that is to begin again is still to do so when it is looked at again.
        if step != follow::Step::BeginAgain {
            self.last_seen = seen_now;
        }
        Ok(step)
    }

    /// Whether what was read of it has been truncated or overwritten.
    ///
    /// # Errors
    /// As the system says.
    pub fn is_overwritten(&self) -> io::Result<bool> {
        self.tail_is_ours().map(|is_ours| !is_ours)
    }

    /// How long it was at the last look.
    #[must_use]
    pub fn length_seen(&self) -> u64 {
        self.last_seen.0
    }

    /// Whether it is longer than it was at the last look.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|metadata| metadata.size() > self.last_seen.0)
    }

    /// Whether it grew of late.
    #[must_use]
    pub fn is_busy(&self, now: Instant) -> bool {
        now < self.busy_until
    }

    /// When it was last seen to have grown.
    #[must_use]
    pub fn grown(&self) -> Instant {
        self.grown
    }

    /// Whether what stands in it may still be to be read: it has not been looked at since it was taken up,
    /// or since there was more in it than was read in one turn.
    #[must_use]
    pub fn may_be_behind(&self) -> bool {
        self.ends.is_none() && self.stopped.is_none() && self.last_seen == NEVER
    }

    /// Whether it is to be looked at now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.ends.is_none() && (self.next_look <= now || self.next_look_with_others <= now)
    }

    /// Looks at it then.
    pub fn look_at(&mut self, when: Instant) {
        (self.next_look, self.next_look_with_others) = (when, when);
    }

    /// Looks again at once: not all that is there has been read.
    pub fn look_again(&mut self, now: Instant) {
        self.last_seen = NEVER;
        self.look_at(now);
    }

    /// Whether all of it that was there at the last look is read and committed, so that nothing is lost
    /// when it is closed; and what it looked like then: length and time of change.
    #[must_use]
    pub fn at_rest(&self) -> Option<(u64, i64, i64)> {
        let is_committed = matches!(self.moves, Moves::Stored { .. } | Moves::Begun { .. })
            && self.committed == self.hasher.offset()
            && self.unparsed.is_empty()
            && self.dropped == 0;
        // A segment stays open, so that its end is seen.
        let is_read_on = self.ends.is_none() && self.stopped.is_none() && !self.is_segment;
        (is_read_on && is_committed && self.last_seen != NEVER).then_some(self.last_seen)
    }

    /// Reads on. Each read begins with the last bytes of the one before. `length`: of the file, where it
    /// has been looked at just now.
    ///
    /// # Errors
    /// As the system says.
    pub fn read(&mut self, buffer: Vec<u8>, length: Option<u64>) -> io::Result<Chunk> {
        let mut buffer = buffer;
        let tail = self.hasher.tail().len();
        let from = self.hasher.offset() - tail as u64;
        let length = match length {
            Some(length) => length,
            None => self.file.metadata()?.size(),
        };
        // Of thousands of files most are short, and those that are not are mostly read to their end.
        let there = length.saturating_sub(from);
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        buffer.resize(there.clamp(MIN_READ_BYTES, tail + self.read_bytes), 0);
        let read = read_full_at(&self.file, &mut buffer, from)?;
        if buffer[..read.min(tail)] != *self.hasher.tail() {
            return Ok(Chunk::Overwritten);
        }
        let is_full = read == tail + self.read_bytes;
        match memchr::memrchr(b'\n', &buffer[tail..read]) {
            Some(last) => Ok(Chunk::Lines(buffer, tail..tail + last + 1)),
            None if !is_full => Ok(Chunk::Nothing),
            None if self.read_more() => self.read(buffer, None),
            None => self.pass_over(buffer),
        }
    }

    /// What the lines so far left for the next one, for a log that names its columns.
    ///
    /// # Errors
    /// As the system says.
    pub fn columns(&mut self) -> io::Result<Carried> {
        match self.carried.take() {
            Some(carried) => Ok(carried),
            None => columns::at(&self.file, self.hasher.offset()),
        }
    }

    /// Takes a walked chunk into the books of this file. `true`: more may be there to read at once.
    pub fn walked(&mut self, bytes: &[u8], mut outcome: Outcome, is_last: bool) -> (Outcome, bool) {
        let base = self.hasher.offset();
        let full = bytes.len() >= self.read_bytes / 2;
        let run = outcome
            .held
            .as_ref()
            .map(|held| (held.start, held.balance.unparsed.lines));
        let covers = match (outcome.does_not_fit, run) {
            (Some(start), _) => {
                self.stopped = Some(format!(
                    "format does not fit: {} lines in a row, from byte {start} on, do not parse",
                    self.progress.run
                ));
                (start - base) as usize
            }
            // The run fills all that can be held back: it is taken for what clients have done.
            (None, Some((start, _))) if is_last || (start == base && full && !self.read_more()) => {
                outcome.accept_held(self.progress.last_day);
                bytes.len()
            }
            (None, Some((start, _))) => (start - base) as usize,
            (None, None) => bytes.len(),
        };
        outcome.held = None;
        // What stands behind is read again.
        outcome
            .losses
            .retain(|loss| loss.offset < base + covers as u64);
        if covers < bytes.len() {
            // These lines are read again once more has come, as part of the run that they begin.
            self.progress.run = 0;
        } else {
            self.read_bytes = READ_BYTES;
        }
        self.hasher.update(&bytes[..covers]);
        let undated = self.undated(&outcome);
        for range in &outcome.unparsed {
            let day = day::date(range.day.unwrap_or(undated));
            self.unparsed.push(UnparsedRange {
                start: range.start,
                end: range.end,
                lines: range.lines,
                day,
            });
        }
        self.dropped += outcome.dropped;
        (outcome, full && self.stopped.is_none())
    }

    /// The balance of an outcome by day.
    pub fn dated(&self, outcome: &Outcome) -> Vec<(DayNumber, Balance)> {
        let undated = self.undated(outcome);
        outcome
            .balance
            .iter()
            .map(|(day, balance)| (day.unwrap_or(undated), *balance))
            .collect()
    }

    /// The checkpoint that covers all that was read; `None`: there is nothing to commit.
    pub fn checkpoint(&mut self, source: &str) -> Option<Checkpoint> {
        let print = self.hasher.fingerprint();
        let moved = print.offset != self.committed;
        // A new file is committed as soon as it is taken up, so that it is known again.
        let is_new = matches!(self.moves, Moves::New { .. });
        let restate = std::mem::take(&mut self.restate);
        if !moved && !is_new && !restate && self.ends.is_none() {
            return None;
        }
        let (mut unparsed, mut dropped) = (
            std::mem::take(&mut self.unparsed),
            std::mem::take(&mut self.dropped),
        );
        // Nobody can read them again once the segment is deleted.
        if self.is_segment {
            (unparsed, dropped) = (Vec::new(), 0);
        }
        Some(Checkpoint {
            moves: self.moves.clone(),
            follows: true,
            source: source.to_owned(),
            scope: self.scope(),
            path: self.path.to_string_lossy().into_owned(),
            place: Some(self.place),
            print,
            last_day: self.progress.last_day.map(day::date),
            state: self.ends.unwrap_or(State::Living),
            unparsed,
            dropped,
            reread: Vec::new(),
        })
    }

    /// See [`crate::source::position::Stored::scope`].
    #[must_use]
    pub fn scope(&self) -> String {
        self.vhost.clone().unwrap_or_default()
    }

    fn undated(&self, outcome: &Outcome) -> DayNumber {
        let known = self
            .progress
            .last_day
            .filter(|_| outcome.first_day.is_none());
        known.or(outcome.first_day).unwrap_or(self.fallback_day)
    }

    /// Whether the first and the last bytes that were read are still there. The last ones alone would
    /// not tell: lines of one length can end alike, each with the same user agent.
    fn tail_is_ours(&self) -> io::Result<bool> {
        let tail = self.hasher.tail();
        let tail_at = self.hasher.offset() - tail.len() as u64;
        Ok(self.holds(tail, tail_at)? && self.holds(self.hasher.start(), 0)?)
    }

    fn holds(&self, expected: &[u8], at: u64) -> io::Result<bool> {
        let mut bytes = vec![0; expected.len()];
        let read = read_full_at(&self.file, &mut bytes, at)?;
        Ok(bytes[..read] == *expected)
    }

    /// Asks for more at the next read; `false`: it is enough.
    fn read_more(&mut self) -> bool {
        let more = self.read_bytes < MAX_READ_BYTES;
        if more {
            self.read_bytes *= 4;
        }
        more
    }

    /// Looks for the end of a line that is too long to be held.
    fn pass_over(&mut self, mut buffer: Vec<u8>) -> io::Result<Chunk> {
        let mut hasher = self.hasher.clone();
        loop {
            buffer.resize(READ_BYTES, 0);
            let read = read_full_at(&self.file, &mut buffer, hasher.offset())?;
            buffer.truncate(read);
            if let Some(end) = memchr::memchr(b'\n', &buffer) {
                hasher.update(&buffer[..=end]);
                self.read_bytes = READ_BYTES;
                return Ok(Chunk::TooLong(
                    hasher.offset() - self.hasher.offset(),
                    Box::new(hasher),
                ));
            }
            if read == 0 {
                return Ok(Chunk::Nothing);
            }
            hasher.update(&buffer);
        }
    }
}
