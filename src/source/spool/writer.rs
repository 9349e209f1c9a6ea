//! Appends to a spool, whatever the disk does.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use memchr::{memchr_iter, memrchr};

use super::folder::Folder;
use super::losses::{Loss, Losses};
use super::record::{self, MAX_MESSAGE_BYTES};
use super::room::{Found, Refusal, Room, room};
use super::segment::Segment;
use crate::random::random;

/// A segment that is longer is ended,
const SEGMENT_BYTES: u64 = 64 << 20;
/// or one that is so much of what the spool may hold: what has been read can go.
const SEGMENTS_OF_A_SPOOL: u64 = 8;
/// Once there was no room, nothing is written before there is this much,
const REOPEN_BYTES: u64 = 1 << 20;
/// or so much of what the spool may hold: not each record that is read lets one in.
const REOPENINGS_OF_A_SPOOL: u64 = 64;
/// A segment that is older is ended when nothing comes any more.
const SEGMENT_SECONDS: i64 = 60;
/// The bits of a record's number that count; those above are random for each segment.
const COUNTER_BITS: u32 = 24;

const TOO_LONG: &str = "message too long";
const DELETED: &str = "segment deleted while written";
const NOT_CONFIRMED: &str = "disk did not confirm";

/// How large a spool gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What its segments may hold in all. With several writers it can be more by what they write in
    /// a second.
    pub max_spool_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_spool_bytes: 1 << 30,
        }
    }
}

impl Limits {
    fn segment_bytes(self) -> u64 {
        SEGMENT_BYTES.min(self.max_spool_bytes / SEGMENTS_OF_A_SPOOL)
    }

    fn reopen_bytes(self) -> u64 {
        REOPEN_BYTES.min(self.max_spool_bytes / REOPENINGS_OF_A_SPOOL)
    }
}

/// A writer of a spool.
///
/// Nothing here fails: what cannot be written is dropped and counted, what was dropped is written
/// down as soon as something can be, and [`Writer::refusal`] says how it is. Each message ends in
/// exactly one of three ways: as a record, in the count of a [`Loss`], or in a file that somebody
/// deletes while it is written or that the disk does not confirm, which is a loss of unknown size.
///
/// Call [`Writer::write`] after some [`Writer::append`]s, and [`Writer::tick`] once a second as long
/// as [`Writer::needs_tick`]. Times are seconds since 1970.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    limits: Limits,
    id: u64,
    /// The number of the next segment.
    sequence: u32,
    /// The number of the next record.
    number: u64,
    folder: Option<Folder>,
    segment: Option<Segment>,
    /// Records of messages that are not written yet; all of them for the same segment.
    buffer: Vec<u8>,
    losses: Losses,
    /// Bytes that may be written before the next look, and what is in the way of more.
    room: Room,
    refusal: Option<Refusal>,
    /// Nothing is tried before the next tick.
    is_shut: bool,
    /// Something came since the last tick.
    is_stirred: bool,
    now: i64,
}

impl Writer {
    /// A new writer of the spool in this folder, which is made if need be. If that cannot be done
    /// it is tried again every second.
    #[must_use]
    pub fn open(folder: &Path, limits: Limits, now: i64) -> Self {
        let mut writer = Self {
            path: folder.to_owned(),
            limits,
            id: random(),
            sequence: 0,
            number: first_number(),
            folder: None,
            segment: None,
            buffer: Vec::new(),
            losses: Losses::default(),
            room: Room {
                bytes: 0,
                then: Refusal::SpoolFull {
                    max_spool_bytes: limits.max_spool_bytes,
                },
            },
            refusal: None,
            is_shut: false,
            is_stirred: false,
            now,
        };
        writer.look();
        writer
    }

    /// Takes a message, to be written with the next [`Writer::write`]. A newline in it becomes a
    /// space.
    #[inline]
    pub fn append(&mut self, origin: Option<IpAddr>, message: &[u8]) {
        self.is_stirred = true;
        if message.len() > MAX_MESSAGE_BYTES {
            self.lose(self.now / 60, Some(1), TOO_LONG);
        } else if let (true, Some(refusal)) = (self.is_shut, &self.refusal) {
            let reason = refusal.reason();
            self.lose(self.now / 60, Some(1), reason);
        } else {
            record::message(&mut self.buffer, self.number, origin, message);
            self.number = self.number.wrapping_add(1);
        }
    }

    /// How much waits to be written. A caller writes before this gets large.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Books a loss: so many messages of this minute (since 1970) did not get here. The reason is a
    /// few words.
    pub fn lose(&mut self, minute: i64, messages: Option<u64>, reason: &'static str) {
        self.is_stirred = true;
        self.losses.add(&Loss {
            minute,
            messages,
            reason,
        });
    }

    /// Why nothing is written, or was not the last time.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Whether there is anything to do at the next tick if nothing comes.
    #[must_use]
    pub fn needs_tick(&self) -> bool {
        self.segment.is_some()
            || self.refusal.is_some()
            || !self.buffer.is_empty()
            || !self.losses.is_empty()
    }

    /// Writes what was appended, in one write if the system takes it.
    pub fn write(&mut self, now: i64) {
        self.now = now;
        if self.buffer.is_empty() {
            return;
        }
        let mut records = std::mem::take(&mut self.buffer);
        let fits = whole_records(&records, self.room.bytes);
        let (written, mut refusal) = match fits {
            0 => (0, None),
            fits => self.put(&records[..fits], true),
        };
        if refusal.is_none() && fits < records.len() {
            refusal = Some(self.room.then.clone());
        }
        match refusal {
            Some(refusal) => {
                let dropped = memchr_iter(b'\n', &records[written..]).count() as u64;
                self.number = self.number.wrapping_sub(dropped);
                self.lose(now / 60, Some(dropped), refusal.reason());
                self.shut(refusal);
            }
            None => self.refusal = None,
        }
        records.clear();
        self.buffer = records;
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.bytes >= self.limits.segment_bytes())
        {
            self.end_segment();
        }
    }

    /// What is to be done every second: writes, makes it durable, looks how much room there is,
    /// writes down what was lost, and ends a segment that is old while nothing comes.
    pub fn tick(&mut self, now: i64) {
        self.write(now);
        self.confirm();
        if self.is_stirred || self.refusal.is_some() {
            self.look();
        }
        // They are small, and nobody else can say that anything is lost: one a minute is written
        // whatever the limits.
        if !self.is_shut || self.losses.before(now / 60) {
            self.write_losses();
        }
        let is_old = |segment: &Segment| !(0..SEGMENT_SECONDS).contains(&(now - segment.begun));
        if !self.is_stirred && self.segment.as_ref().is_some_and(is_old) {
            self.end_segment();
        }
        self.is_stirred = false;
    }

    /// Writes what there is and ends. Returns the losses that could not be written down.
    #[must_use]
    pub fn close(mut self, now: i64) -> Vec<Loss> {
        self.write(now);
        self.confirm();
        self.write_losses();
        self.end_segment();
        self.losses.list()
    }

    /// Appends records to the segment, or to a new one. Returns how many bytes of whole records are
    /// in it, and why not all are.
    fn put(&mut self, records: &[u8], are_messages: bool) -> (usize, Option<Refusal>) {
        let segment = match self.segment() {
            Ok(segment) => segment,
            Err(error) => {
                let doing = format!("begin a segment in {}", self.path.display());
                // It may be another folder by now.
                self.folder = None;
                return (0, Some(Refusal::system(&doing, &error)));
            }
        };
        let appended = segment.append(records);
        segment.has_messages |= are_messages && appended.bytes > 0;
        if appended.is_torn {
            self.end_segment();
        }
        self.room.bytes = self.room.bytes.saturating_sub(appended.bytes as u64);
        let refusal = appended.error.map(|error| {
            let doing = format!("write to a segment in {}", self.path.display());
            Refusal::system(&doing, &error)
        });
        (appended.bytes, refusal)
    }

    fn segment(&mut self) -> io::Result<&mut Segment> {
        if let Some(ref mut segment) = self.segment {
            return Ok(segment);
        }
        let name = super::segment_name(self.id, self.sequence);
        let now = self.now;
        let segment = match Segment::begin(self.folder()?, name.clone(), now) {
            // The folder that we had was deleted: there may be another, or can be.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.folder = None;
                Segment::begin(self.folder()?, name, now)?
            }
            begun => begun?,
        };
        self.sequence += 1;
        Ok(self.segment.insert(segment))
    }

    fn folder(&mut self) -> io::Result<&Folder> {
        match self.folder {
            Some(ref folder) => Ok(folder),
            None => Ok(self.folder.insert(Folder::enter(&self.path)?)),
        }
    }

    fn end_segment(&mut self) {
        let (Some(segment), Some(folder)) = (self.segment.take(), &self.folder) else {
            return;
        };
        self.number = first_number();
        if segment.end(folder).is_err() {
            self.lose(self.now / 60, None, NOT_CONFIRMED);
        }
    }

    /// Makes durable what was written, if it is still there.
    fn confirm(&mut self) {
        let (Some(segment), Some(folder)) = (&mut self.segment, &self.folder) else {
            return;
        };
        let lost = if segment.is_deleted() {
            self.folder = None;
            DELETED
        } else if let Err(error) = segment.sync(folder) {
            let doing = format!("sync a segment in {}", self.path.display());
            self.refusal = Some(Refusal::system(&doing, &error));
            NOT_CONFIRMED
        } else {
            return;
        };
        self.segment = None;
        self.number = first_number();
        self.lose(self.now / 60, None, lost);
    }

    /// Finds out how much room there is.
    fn look(&mut self) {
        match self.found() {
            Ok(found) => {
                self.room = room(found, self.limits.max_spool_bytes);
                let least = match self.is_shut {
                    true => self.limits.reopen_bytes(),
                    false => 1,
                };
                if self.room.bytes < least {
                    return self.shut(self.room.then.clone());
                }
                self.is_shut = false;
                // Whether the system has changed its mind shows at the next write.
                if !matches!(self.refusal, Some(Refusal::System { .. })) {
                    self.refusal = None;
                }
            }
            Err(error) => {
                let doing = format!("use the spool {}", self.path.display());
                self.folder = None;
                self.shut(Refusal::system(&doing, &error));
            }
        }
    }

    fn found(&mut self) -> io::Result<Found> {
        let (disk_bytes, free_bytes) = self.folder()?.disk()?;
        let segments = super::segments(&self.path)?;
        Ok(Found {
            spool_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            disk_bytes,
            free_bytes,
        })
    }

    /// Tries nothing until the next tick. A segment with messages is ended, so that it can go once
    /// it has been read: nothing else makes room.
    fn shut(&mut self, refusal: Refusal) {
        self.is_shut = true;
        self.refusal = Some(refusal);
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.has_messages)
        {
            self.end_segment();
        }
    }

    fn write_losses(&mut self) {
        for loss in self.losses.list() {
            let mut record = Vec::new();
            record::lost(
                &mut record,
                self.number,
                loss.minute,
                loss.messages,
                loss.reason,
            );
            if let (_, Some(refusal)) = self.put(&record, false) {
                self.shut(refusal);
                return;
            }
            self.number = self.number.wrapping_add(1);
            self.losses.remove(&loss);
        }
    }
}

/// How many bytes of records there are in so many bytes.
fn whole_records(records: &[u8], most: u64) -> usize {
    match usize::try_from(most) {
        Ok(most) if most < records.len() => {
            memrchr(b'\n', &records[..most]).map_or(0, |newline| newline + 1)
        }
        _ => records.len(),
    }
}

fn first_number() -> u64 {
    random() >> COUNTER_BITS << COUNTER_BITS
}

#[cfg(test)]
mod tests;
