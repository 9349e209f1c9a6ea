//! Reading one archive: is it whole, what of it is counted, and the rest.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::rest::ended;
use super::super::siblings::Sibling;
use super::super::{Follower, shown};
use super::{Inode, Result, SIBLING_INTERVAL};
use crate::account::day;
use crate::daemon::time;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise::{self, Comparison};
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::Hasher;
use crate::source::identity::{Once, decide_once};
use crate::source::packed::{self, Packing};
use crate::source::position::{State, Stored};
use crate::store::Moves;

/// Bytes of unpacked content that are read before it is the followed files' turn.
const TURN_BYTES: u64 = 8 << 20;

type Stream = Box<dyn Read + Send>;

/// The archive that is being read.
pub(super) struct Reading {
    pub(super) archive: Archive,
    pub(super) phase: Phase,
}

/// An archive that was opened.
pub(super) struct Archive {
    /// Among the files of a batch.
    pub(super) id: u64,
    pub(super) inode: Inode,
    pub(super) sibling: Sibling,
    pub(super) since: i64,
    pub(super) began: Instant,
    pub(super) file: File,
    pub(super) metadata: Metadata,
    pub(super) packing: Packing,
    pub(super) vhost: Option<String>,
}

/// How far it has come.
pub(super) enum Phase {
    /// Is it whole, and what of it has been counted?
    Checking {
        stream: Stream,
        comparison: Box<Comparison>,
        head: Vec<u8>,
        epoch: u64,
        ended: bool,
    },
    /// Unpacks what has been counted.
    Passing {
        stream: Stream,
        left: u64,
        tracked: Box<Tracked>,
    },
    /// Counts the rest; when that has ended, waits until it is committed.
    Counting {
        blocks: Box<Blocks<Stream>>,
        tracked: Box<Tracked>,
        spare: Vec<u8>,
    },
}

impl Follower {
    /// Begins to look through an archive, with all that it may be.
    pub(super) fn check_archive(&mut self, archive: &Archive, head: Vec<u8>) -> Result<Phase> {
        let (stored, epoch) = self.alike_archive(archive, &head)?;
        let file = archive.file.try_clone()?;
        let stream = packed::content_ahead(file, archive.packing, 0, Arc::default())?;
        Ok(Phase::Checking {
            stream,
            comparison: Box::new(Comparison::new(self.lookups.seed(), stored)),
            head,
            epoch,
            ended: false,
        })
    }

    /// The positions that an archive may be, held files among them, and the epoch of its scope.
    fn alike_archive(&mut self, archive: &Archive, head: &[u8]) -> Result<(Vec<Stored>, u64)> {
        let scope = archive.vhost.as_deref().unwrap_or_default();
        let sibling = &archive.sibling;
        let beside = self.held_beside(&[&sibling.path, &sibling.beside()], scope, head);
        let epoch = self.epochs.look(self.lookups.as_mut(), scope)?;
        let mut alike = recognise::alike(self.lookups.as_mut(), scope, head, 0, None)?;
        self.apply_ends(&mut alike);
        self.held_alike(&beside, scope, &mut alike);
        Ok((alike, epoch))
    }

    /// A piece of the work; `None`: it is done.
    pub(super) fn step(
        &mut self,
        archive: &Archive,
        phase: Phase,
        now: Instant,
    ) -> Result<Option<Phase>> {
        let mut budget = TURN_BYTES;
        let phase = match phase {
            Phase::Checking {
                mut stream,
                mut comparison,
                head,
                epoch,
                mut ended,
            } => {
                let mut buffer = vec![0; 256 << 10];
                while !ended && budget > 0 {
                    let read = read_some(&mut stream, &mut buffer)?;
                    comparison.update(&buffer[..read]);
                    budget = budget.saturating_sub(read as u64);
                    ended = read == 0;
                }
                if ended && self.may_take_up(now) && !self.first_search {
                    return self.decide_archive(archive, *comparison, head, epoch);
                }
                Phase::Checking {
                    stream,
                    comparison,
                    head,
                    epoch,
                    ended,
                }
            }
            Phase::Passing {
                mut stream,
                left,
                tracked,
            } => {
                let now = left.min(budget);
                if io::copy(&mut (&mut stream).take(now), &mut io::sink())? < now {
                    return Err("has become shorter while it was read".into());
                }
                let left = left - now;
                if left == 0 {
                    Self::count(stream, tracked)
                } else {
                    Phase::Passing {
                        stream,
                        left,
                        tracked,
                    }
                }
            }
            Phase::Counting {
                mut blocks,
                mut tracked,
                mut spare,
            } => {
                while budget > 0 && tracked.ends.is_none() {
                    match blocks.next(std::mem::take(&mut spare)) {
                        Ok(Some(block)) => {
                            budget = budget.saturating_sub(block.covers);
                            self.archived(&mut tracked, &block);
                            let is_too_long = block.lines().is_empty();
                            if is_too_long {
                                tracked.hasher = blocks.hasher().clone();
                            }
                            spare = block.into_spare();
                            // What was counted of it is committed; the rest waits.
                            let has_no_format = tracked.rules.is_none() && !is_too_long;
                            if tracked.stopped.is_some() || has_no_format {
                                tracked.ends = Some(State::Living);
                            }
                        }
                        Ok(None) => tracked.ends = Some(State::Finished),
                        Err(error) => {
                            self.say(&archive.sibling.path, format!("has changed: {error}"));
                            tracked.ends = Some(State::Living);
                        }
                    }
                }
                let nothing_more = tracked.hasher.offset() == tracked.committed;
                if tracked.ends == Some(State::Living) && nothing_more {
                    let archives = &mut self.archives;
                    archives.wait_for_change(archive.inode, Duration::ZERO);
                    return Ok(None);
                }
                if tracked.ends.is_some() {
                    self.next_flush = self.next_flush.min(now);
                }
                Phase::Counting {
                    blocks,
                    tracked,
                    spare,
                }
            }
        };
        Ok(Some(phase))
    }

    fn count(stream: Stream, tracked: Box<Tracked>) -> Phase {
        let hasher = tracked.hasher.clone();
        let blocks = Blocks::new(stream, hasher, LastLine::Counts, SMALL_BLOCK_BYTES);
        Phase::Counting {
            blocks: Box::new(blocks),
            tracked,
            spare: Vec::new(),
        }
    }

    /// An archive is whole, and what it holds is known: what of it is to be counted?
    fn decide_archive(
        &mut self,
        archive: &Archive,
        comparison: Comparison,
        head: Vec<u8>,
        epoch: u64,
    ) -> Result<Option<Phase>> {
        // What has come to be known of it meanwhile is to be compared as well.
        let key = |all: &[Stored]| {
            let key = |it: &Stored| {
                (
                    it.id,
                    (it.id > 0).then_some((it.print.offset, it.state as u8)),
                )
            };
            all.iter().map(key).collect::<BTreeSet<_>>()
        };
        let (again, _) = self.alike_archive(archive, &head)?;
        if key(&again) != key(comparison.stored()) {
            return self.check_archive(archive, head).map(Some);
        }
        let seed = self.lookups.seed();
        let sibling = &archive.sibling;
        let found = comparison.finish(&[&sibling.path, &sibling.beside()], None, false);
        let (moves, hasher, last_day) = match decide_once(found.length, &found.evidence) {
            Once::Counted(index) => {
                self.finish(&found.stored[index]);
                self.archives.close(archive.inode);
                return Ok(None);
            }
            Once::Continue(index) if found.stored[index].id < 0 => {
                let id = (-1 - found.stored[index].id).cast_unsigned();
                let waiting = self.archives.waiting.get_mut(&archive.inode);
                if let (Some(waiting), Some(held)) = (waiting, self.files.get(&id)) {
                    waiting.behind = Some((id, held.hasher.offset()));
                    waiting.next = time::now() + SIBLING_INTERVAL;
                }
                return Ok(None);
            }
            Once::New if archive.metadata.mtime() >= archive.since => {
                *self.archives.begun.entry(sibling.log.clone()).or_default() += 1;
                (Moves::New { epoch }, Hasher::new(seed), None)
            }
            Once::Continue(index) => {
                let stored = &found.stored[index];
                let missing = &mut self.archives.missing;
                missing.retain(|missing| missing.stored.id != stored.id);
                let hasher = found.hashers[index].clone();
                let hasher = hasher.unwrap_or_else(|| Hasher::new(seed));
                let last_day = stored.last_day.map(day::number);
                (Moves::of(stored, epoch), hasher, last_day)
            }
            Once::EarlierCopy(_) | Once::New => {
                self.archives.close(archive.inode);
                return Ok(None);
            }
        };
        tracing::info!(
            "reading {} from byte {}",
            shown(&sibling.path),
            hasher.offset()
        );
        let left = hasher.offset();
        let taken = Taken {
            hasher,
            moves,
            last_day,
        };
        let (file, metadata) = (archive.file.try_clone()?, &archive.metadata);
        let stream = packed::content_ahead(file.try_clone()?, archive.packing, 0, Arc::default())?;
        let (path, vhost) = (sibling.path.clone(), archive.vhost.clone());
        let tracked = Tracked::new(path, sibling.source, vhost, file, metadata, taken);
        let tracked = Box::new(tracked);
        Ok(Some(Phase::Passing {
            stream,
            left,
            tracked,
        }))
    }

    /// Ends a living position, all of whose file is counted.
    fn finish(&mut self, stored: &Stored) {
        let is_held = stored.id < 0;
        if stored.state == State::Living && stored.node == self.node && !is_held {
            self.ending.push(ended(stored, State::Finished));
        }
    }
}

fn read_some(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
