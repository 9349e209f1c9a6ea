//! Packed rotations of followed logs: what of them has not been counted is read.
//!
//! A log is followed by its plain files. Of an archive something is missing only where the daemon
//! was away when the log was packed, or where it began and was packed between two looks. So an
//! archive is opened only if it was last written after the last look that is committed, or if a
//! position has lost its file; and read only once its plain sibling is gone and its own end has
//! shown that it is whole. Until then it is tried again whenever it has changed and come to rest,
//! and what was known before it appeared is not committed as known: a restart finds it again.
//!
//! One archive is read at a time, a piece each turn, so that the logs that are followed never wait.

use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod reading;

use reading::{Archive, Phase, Reading};

use super::rest::ended;
use super::siblings::Sibling;
use super::{Follower, MAX_LEDGER_ACCOUNTS, Source};
use crate::daemon::time;
use crate::daemon::tracked::Tracked;
use crate::recognise;
use crate::source::identity::before_packing;
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{State, Stored};
use crate::store::{Checkpoint, StoreError};

/// An archive that was not whole is tried again once it has not changed for so long,
const REST: Duration = Duration::from_secs(2);
/// and once this many times as long has passed as the last try took.
const PAUSE_FACTOR: u32 = 10;
/// A plain sibling that is still there is looked for again so often.
const SIBLING_INTERVAL: Duration = Duration::from_secs(1);

type Inode = (u64, u64);
/// Length and time of change.
type Look = (u64, i64, i64);
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is known of the archives.
#[derive(Default)]
pub(super) struct Archives {
    /// Noticed, and not done with.
    waiting: HashMap<Inode, Waiting>,
    /// Done with, as they looked then; only those that are no history.
    done: HashMap<Inode, Look>,
    reading: Option<Reading>,
    /// Positions that an earlier run was reading, whose files are nowhere.
    pub(super) missing: Vec<Missing>,
    /// How many archives of each log were read from their start, or are empty.
    begun: HashMap<PathBuf, usize>,
}

/// A living position whose file is nowhere: its rest may be in an archive.
pub(super) struct Missing {
    /// Index of its source.
    pub(super) source: usize,
    /// Where the log lay.
    pub(super) log: PathBuf,
    /// The position.
    pub(super) stored: Stored,
    /// It was missed at a start, else when it was looked at again.
    pub(super) was_away: bool,
    /// Whether it was looked for a second time: names change while a folder is read.
    pub(super) again: bool,
}

impl Missing {
    /// Whether nothing of this log was counted.
    fn is_of_nothing(&self, log: &Path) -> bool {
        self.stored.print.offset == 0 && self.log == log
    }
}

struct Waiting {
    sibling: Sibling,
    look: Look,
    /// What was last written before this was known, or history, when the archive was first seen.
    since: i64,
    /// Not to be tried before this.
    next: Instant,
    /// How long the last try took, and how the archive looked then, if the try failed.
    failed: Option<(Duration, Look)>,
    /// A held file and how far it had been read, which this is a copy of that holds more.
    behind: Option<(u64, u64)>,
}

impl Archives {
    /// Up to when everything is known or history: not later than what was, when the first archive
    /// appeared that is not done with.
    pub(super) fn known_since(&self, began: i64) -> i64 {
        let waiting = self.waiting.values().map(|waiting| waiting.since);
        waiting.min().map_or(began, |since| since.min(began))
    }

    /// What is to be committed of the archive that is being read, and its number in the batch.
    pub(super) fn checkpoint(&mut self, sources: &[Source]) -> Option<(u64, Checkpoint)> {
        let id = self.reading.as_ref()?.archive.id;
        let tracked = self.counted(id)?;
        // Of what has only been opened there is nothing to be known by: a restart finds it as it is.
        if tracked.hasher.offset() == 0 && tracked.ends.is_none() {
            return None;
        }
        let checkpoint = tracked.checkpoint(&sources[tracked.source].name)?;
        let place = None;
        Some((
            id,
            Checkpoint {
                place,
                ..checkpoint
            },
        ))
    }

    /// A position of nothing, missing, which the archive that is being read from its start stands for: its
    /// log was empty when it was last seen. It is to end in the batch in which the archive begins, or the
    /// next run, which knows the archive, would take what was written for lost.
    pub(super) fn begun_as(&mut self) -> Option<Missing> {
        let log = &self.reading.as_ref()?.archive.sibling.log;
        let begun = self.begun.get_mut(log).filter(|begun| **begun > 0)?;
        let is_it = |missing: &Missing| missing.again && missing.is_of_nothing(log);
        let at = self.missing.iter().position(is_it)?;
        *begun -= 1;
        Some(self.missing.swap_remove(at))
    }

    /// The archive of this number, if it is still being counted.
    pub(super) fn counted(&mut self, id: u64) -> Option<&mut Tracked> {
        let reading = self.reading.as_mut()?;
        match &mut reading.phase {
            _ if reading.archive.id != id => None,
            Phase::Checking { .. } => None,
            Phase::Passing { tracked, .. } | Phase::Counting { tracked, .. } => Some(tracked),
        }
    }

    /// All that it came to is committed.
    pub(super) fn committed(&mut self) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        let inode = reading.archive.inode;
        match reading.phase {
            Phase::Counting { tracked, .. } if tracked.ends == Some(State::Finished) => {
                self.close(inode);
            }
            // Its rest may be read when it has changed, or by a run with another config.
            _ => self.wait_for_change(inode, Duration::ZERO),
        }
    }

    /// Forgets what is not committed.
    pub(super) fn start_over(&mut self) {
        self.missing.clear();
        self.begun.clear();
        self.done.clear();
        self.reading = None;
        let now = time::now();
        for waiting in self.waiting.values_mut() {
            waiting.next = now;
        }
    }

    /// A new config is in force: gives each archive the source that finds its log now. What is missing
    /// is looked for anew. Returns the source, so far, and the log of the archive that is being read.
    pub(super) fn resource(
        &mut self,
        source_of: impl Fn(&Path) -> Option<usize>,
    ) -> Option<(usize, PathBuf)> {
        self.missing.clear();
        self.waiting.retain(|_, waiting| {
            let source = source_of(&waiting.sibling.log);
            waiting.sibling.source = source.unwrap_or_default();
            source.is_some()
        });
        let sibling = &self.reading.as_ref()?.archive.sibling;
        Some((sibling.source, sibling.log.clone()))
    }

    /// The archive that is being read is read for this source.
    pub(super) fn read_for(&mut self, source: usize) {
        let Some(reading) = &mut self.reading else {
            return;
        };
        reading.archive.sibling.source = source;
        if let Phase::Passing { tracked, .. } | Phase::Counting { tracked, .. } = &mut reading.phase
        {
            tracked.source = source;
        }
    }

    fn close(&mut self, inode: Inode) {
        if let Some(waiting) = self.waiting.remove(&inode) {
            self.done.insert(inode, waiting.look);
        }
    }

    fn wait_for_change(&mut self, inode: Inode, took: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&inode) {
            waiting.failed = Some((took, waiting.look));
            waiting.next = time::now() + pause_after(took);
        }
    }

    /// The logs of which a file is missing.
    pub(super) fn logs_missing(&self) -> BTreeSet<PathBuf> {
        let missing = self.missing.iter();
        missing.map(|missing| missing.log.clone()).collect()
    }

    fn concerns(&self, log: &Path) -> bool {
        let reading = self.reading.iter().map(|reading| &reading.archive.sibling);
        let waiting = self.waiting.values().map(|waiting| &waiting.sibling);
        waiting.chain(reading).any(|sibling| sibling.log == log)
    }

    fn reads(&self, row: i64) -> bool {
        match self.reading.as_ref().map(|reading| &reading.phase) {
            Some(Phase::Passing { tracked, .. } | Phase::Counting { tracked, .. }) => {
                tracked.moves.row() == Some(row)
            }
            _ => false,
        }
    }
}

/// The longer a try took, the longer until the next.
fn pause_after(took: Duration) -> Duration {
    REST.max(took * PAUSE_FACTOR)
}

fn look(metadata: &Metadata) -> Look {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn is_packed(path: &Path) -> bool {
    let packing = open::followed(path).and_then(|(file, _)| packed::packing(&file));
    packing.is_ok_and(|packing| packing != Packing::Plain)
}

impl Follower {
    /// Notices archives: those that may hold what has not been counted are waited for. `found` are
    /// those that a pattern leads to.
    pub(super) fn notice_archives(&mut self, siblings: Vec<Sibling>, found: &BTreeSet<PathBuf>) {
        let missing = self.archives.logs_missing();
        let mut seen = BTreeSet::new();
        let mut known = BTreeSet::new();
        for sibling in siblings {
            known.insert(sibling.path.clone());
            let Ok(there) = sibling.path.symlink_metadata() else {
                continue;
            };
            let inode = (there.dev(), there.ino());
            seen.insert(inode);
            if let Some(waiting) = self.archives.waiting.get_mut(&inode) {
                // The next rotation has given it another name.
                waiting.sibling = sibling;
                continue;
            }
            let may_hold_a_rest = missing.contains(&sibling.log);
            let is_done = self.archives.done.get(&inode) == Some(&look(&there));
            if is_done || (there.mtime() < self.since && !may_hold_a_rest) {
                continue;
            }
            if before_packing(&sibling.path).is_none() && !is_packed(&sibling.path) {
                continue;
            }
            let waiting = Waiting {
                sibling,
                look: look(&there),
                since: self.since,
                next: time::now(),
                failed: None,
                behind: None,
            };
            self.archives.waiting.insert(inode, waiting);
        }
        self.archives.done.retain(|inode, _| seen.contains(inode));
        // A folder that cannot be read for a moment makes nothing disappear.
        let is_gone =
            |inode: &Inode, waiting: &Waiting| match waiting.sibling.path.symlink_metadata() {
                Ok(there) => (there.dev(), there.ino()) != *inode,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        self.archives
            .waiting
            .retain(|inode, waiting| seen.contains(inode) || !is_gone(inode, waiting));
        for path in found.difference(&known) {
            let what = "is an archive, and no rotation of a log that is followed; tollkeeper import reads it";
            self.say(path, what.to_owned());
        }
    }

    /// When there is something to do next about an archive.
    pub(super) fn archives_due(&self, now: Instant) -> Option<Instant> {
        let may_look_up = self.may_take_up(now) && !self.first_search;
        if self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS {
            return None;
        }
        match self.archives.reading.as_ref().map(|reading| &reading.phase) {
            Some(Phase::Checking { ended: true, .. }) => may_look_up.then_some(now),
            // It waits for the next flush.
            Some(Phase::Counting { tracked, .. }) if tracked.ends.is_some() => None,
            Some(_) => Some(now),
            None if !may_look_up => None,
            None => {
                let waiting = self.archives.waiting.values();
                waiting.map(|waiting| waiting.next).min()
            }
        }
    }

    /// Goes on with the archives: a piece of the one that is being read, or the next one.
    pub(super) fn read_archives(&mut self, now: Instant) {
        if self.archives_due(now).is_none_or(|due| due > now) {
            return;
        }
        if self.archives.reading.is_none() {
            self.open_next_archive(now);
        }
        let Some(Reading { archive, phase }) = self.archives.reading.take() else {
            return;
        };
        match self.step(&archive, phase, now) {
            Ok(Some(phase)) => self.archives.reading = Some(Reading { archive, phase }),
            Ok(None) => self.settle_missing(),
            Err(error) => {
                let path = archive.sibling.path.clone();
                self.archive_failed(archive.inode, archive.began, &path, &*error);
            }
        }
    }

    /// Positions whose files are nowhere, and which no archive can hold any more, end with a gap.
    pub(super) fn settle_missing(&mut self) {
        for missing in std::mem::take(&mut self.archives.missing) {
            let row = missing.stored.id;
            let is_read = self.files.values().any(|it| it.moves.row() == Some(row))
                || self.ending.iter().any(|it| it.moves.row() == Some(row))
                || self.archives.reads(row);
            if is_read {
                continue;
            }
            if self.archives.concerns(&missing.log) {
                self.archives.missing.push(missing);
                continue;
            }
            if !missing.again {
                self.search = true;
                self.archives.missing.push(missing);
                continue;
            }
            // Nothing of it was counted, and its log was read from the start in an archive.
            let begun = self.archives.begun.get_mut(&missing.log);
            if missing.stored.print.offset == 0
                && let Some(begun) = begun.filter(|begun| **begun > 0)
            {
                *begun -= 1;
                self.ending.push(ended(&missing.stored, State::Finished));
                continue;
            }
            let reason = match missing.was_away {
                true => "not found any more after tollkeeper was not running",
                false => "not found any more, and was not held open",
            };
            self.end_position(missing.source, &missing.stored, reason, State::Finished);
        }
    }

    /// An archive is not whole, or cannot be read: that is said once, and it is tried again when it
    /// has changed and come to rest.
    fn archive_failed(
        &mut self,
        inode: Inode,
        began: Instant,
        path: &Path,
        error: &(dyn std::error::Error + 'static),
    ) {
        if let Some(StoreError::Unavailable { .. }) = error.downcast_ref() {
            // Nothing is wrong with the archive: it waits for the store.
            if let Some(waiting) = self.archives.waiting.get_mut(&inode) {
                waiting.next = time::now() + SIBLING_INTERVAL;
            }
            return;
        }
        let remedy =
            "nothing of it is counted until it is whole; it is tried again when it changes";
        self.say(path, format!("{error}; {remedy}"));
        self.archives
            .wait_for_change(inode, time::now().saturating_duration_since(began));
    }

    fn open_next_archive(&mut self, now: Instant) {
        let waiting = self.archives.waiting.iter();
        let mut due: Vec<(Sibling, Inode)> = waiting
            .filter(|(_, waiting)| waiting.next <= now)
            .map(|(inode, waiting)| (waiting.sibling.clone(), *inode))
            .collect();
        due.sort_unstable();
        for (sibling, inode) in due {
            match self.open_archive(&sibling, inode, now) {
                Ok(Some(reading)) => {
                    self.archives.reading = Some(reading);
                    return;
                }
                Ok(None) => {}
                Err(error) => self.archive_failed(inode, now, &sibling.path, &*error),
            }
        }
        self.settle_missing();
    }

    /// Opens an archive, if it is its time.
    fn open_archive(
        &mut self,
        sibling: &Sibling,
        inode: Inode,
        now: Instant,
    ) -> Result<Option<Reading>> {
        if !self.is_its_time(sibling, inode, now) {
            return Ok(None);
        }
        // It may stand for a log that was empty, if that is nowhere.
        let mut missing = self.archives.missing.iter();
        if missing.any(|missing| !missing.again && missing.is_of_nothing(&sibling.log)) {
            self.search = true;
            if let Some(waiting) = self.archives.waiting.get_mut(&inode) {
                waiting.next = now + SIBLING_INTERVAL;
            }
            return Ok(None);
        }
        let (file, metadata) = open::followed(&sibling.path)?;
        let packing = packed::packing(&file)?;
        if packing == Packing::Plain {
            return Err("is no archive, or not yet".into());
        }
        let head = packed::content(file.try_clone()?, packing, 0, Arc::default())
            .and_then(|mut stream| recognise::head(&mut *stream))?;
        // What is held of the log is read before something is taken for more.
        if !self.read_related(&[&sibling.path, &sibling.beside()], |_| true) {
            if let Some(waiting) = self.archives.waiting.get_mut(&inode) {
                waiting.next = now + SIBLING_INTERVAL;
            }
            return Ok(None);
        }
        let since = self
            .archives
            .waiting
            .get(&inode)
            .map_or(self.since, |it| it.since);
        let archive = Archive {
            id: self.next_file,
            inode,
            vhost: self.vhost_of(sibling.source, &sibling.log),
            sibling: sibling.clone(),
            since,
            began: now,
            file,
            metadata,
            packing,
        };
        self.next_file += 1;
        let is_empty = head.is_empty();
        let phase = self.check_archive(&archive, head)?;
        let Phase::Checking { comparison, .. } = &phase else {
            return Ok(None);
        };
        let may_have_more = |stored: &Stored| stored.id < 0 || stored.state == State::Living;
        let is_history = archive.metadata.mtime() < since;
        if is_history && !comparison.stored().iter().any(may_have_more) {
            if is_empty {
                *self.archives.begun.entry(sibling.log.clone()).or_default() += 1;
            }
            self.archives.close(inode);
            return Ok(None);
        }
        Ok(Some(Reading { archive, phase }))
    }

    /// Whether an archive is to be opened now: its plain sibling is gone, it has changed since a try
    /// that failed and come to rest, and what is held of its log is not what it was a copy of.
    fn is_its_time(&mut self, sibling: &Sibling, inode: Inode, now: Instant) -> bool {
        let Some(waiting) = self.archives.waiting.get_mut(&inode) else {
            return false;
        };
        let there = sibling.path.symlink_metadata().ok();
        let Some(there) = there.filter(|there| (there.dev(), there.ino()) == inode) else {
            // Renamed or gone: the next search tells.
            waiting.next = now + SIBLING_INTERVAL;
            self.search = true;
            return false;
        };
        let there = look(&there);
        let is_resting = std::mem::replace(&mut waiting.look, there) == there;
        let plain = before_packing(&sibling.path);
        if plain.is_some_and(|plain| plain != sibling.log && plain.exists()) {
            waiting.next = now + SIBLING_INTERVAL;
            return false;
        }
        if let Some((took, failed)) = waiting.failed
            && (failed == there || !is_resting)
        {
            waiting.next = now + pause_after(took);
            return false;
        }
        if let Some((id, offset)) = waiting.behind {
            let held = self.files.get(&id);
            if held.is_some_and(|held| held.ends.is_none() && held.hasher.offset() == offset) {
                waiting.next = now + SIBLING_INTERVAL;
                return false;
            }
        }
        true
    }
}
