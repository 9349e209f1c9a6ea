//! After a start: what an earlier run was reading, and lies no longer where it was.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Follower, Source, shown};
use crate::account::day;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::Hasher;
use crate::source::follow::AtPath;
use crate::source::identity::{Followed, Once, before_rotation, decide_followed, decide_once};
use crate::source::open::{self, Packing};
use crate::source::position::{Place, State, Stored};
use crate::store::{Checkpoint, Gap, Moves, StoreError};

impl Follower {
    /// After a start: what an earlier run was reading, and no source finds any more, was renamed, or
    /// packed; else it is gone.
    pub(super) fn find_the_rest(&mut self) -> Result<(), StoreError> {
        let living = self.lookups.living(&self.node)?;
        let mut lost = Vec::new();
        for stored in living {
            let is_taken = |moves: &Moves| moves.row() == Some(stored.id);
            let is_held = self.files.values().any(|held| is_taken(&held.moves))
                || self.ending.iter().any(|end| is_taken(&end.moves));
            // Its path may be the name that it was renamed to, which no pattern finds.
            let path = Path::new(&stored.path);
            let has = |source: &Source| source.name == stored.source;
            let finds = |source: &Source| {
                let mut finders = source.finders.iter();
                finders.any(|finder| finder.captures(path).is_some())
            };
            let source = self.sources.iter().position(has);
            let source = source.or_else(|| self.sources.iter().position(finds));
            let Some(source) = source.filter(|_| !is_held) else {
                continue;
            };
            match self.renamed(&stored, source) {
                Some(tracked) => {
                    let to = shown(&tracked.path);
                    tracing::info!("reading the rest of {} from {to}", shown(path));
                    self.track(tracked);
                }
                None => lost.push((source, stored)),
            }
        }
        let packed = match std::mem::take(&mut self.at_start) {
            true => self.read_archives(),
            false => BTreeSet::new(),
        };
        for (source, stored) in lost {
            let read = self
                .ending
                .iter()
                .any(|end| end.moves.row() == Some(stored.id));
            let begun_and_packed = stored.print.offset == 0
                && packed.contains(&before_rotation(Path::new(&stored.path)));
            if !read && !begun_and_packed {
                let reason = "not found any more after tollkeeper was not running";
                self.end_position(source, &stored, reason, State::Finished);
            }
        }
        Ok(())
    }

    /// Looks for a file beside where it was, by its inode and content.
    fn renamed(&mut self, stored: &Stored, source: usize) -> Option<Tracked> {
        let place = stored.place?;
        let folder = Path::new(&stored.path).parent()?;
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if !path
                .symlink_metadata()
                .is_ok_and(|there| Place::of(&there).is(&place))
            {
                continue;
            }
            let Ok((file, metadata)) = open::followed(&path) else {
                continue;
            };
            let seed = self.lookups.seed();
            let alike = vec![stored.clone()];
            let Ok(found) =
                recognise::compare_living(seed, alike, &file, metadata.len(), &path, place)
            else {
                continue;
            };
            if let Followed::Continue(_) = decide_followed(&found.evidence) {
                let hasher = found.hashers.into_iter().next().flatten();
                let hasher = hasher.unwrap_or_else(|| Hasher::new(seed));
                let epoch = self
                    .epochs
                    .look(self.lookups.as_mut(), &stored.scope)
                    .ok()?;
                let taken = Taken {
                    hasher,
                    moves: Moves::of(stored, epoch),
                    last_day: stored.last_day.map(day::number),
                };
                let vhost = (!stored.scope.is_empty()).then(|| stored.scope.clone());
                let mut tracked = Tracked::new(path, source, vhost, file, &metadata, taken);
                tracked.at_path = AtPath::Other;
                return Some(tracked);
            }
        }
        None
    }

    /// Archives of followed logs that were packed while tollkeeper was not running: what of them has
    /// not been counted is read here and now. Returns the logs of which one was read from its start.
    fn read_archives(&mut self) -> BTreeSet<PathBuf> {
        let mut begun = BTreeSet::new();
        for (source, path) in self.siblings() {
            let unpacked = path.with_extension("");
            if path.extension().is_none_or(|ending| ending != "gz") || unpacked.exists() {
                continue;
            }
            match self.read_archive(source, &path) {
                Ok(true) => drop(begun.insert(before_rotation(&path))),
                Ok(false) => {}
                Err(error) => {
                    self.say(&path, format!("cannot be read, or not to its end: {error}"))
                }
            }
        }
        begun
    }

    /// Reads what is not counted of an archive; `true`: all of it was new.
    fn read_archive(
        &mut self,
        source: usize,
        path: &Path,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        let (file, metadata) = open::followed(path)?;
        let packing = open::packing(&file)?;
        if packing == Packing::Plain {
            return Ok(false);
        }
        let content = |offset| open::content(file.try_clone()?, packing, offset, Arc::default());
        let vhost = self.vhost_of(source, path);
        let scope = vhost.clone().unwrap_or_default();
        let store = self.lookups.as_mut();
        let seed = store.seed();
        let epoch = self.epochs.look(store, &scope)?;
        let head = recognise::head(&mut *content(0)?)?;
        let alike = recognise::alike(store, &scope, &head, None)?;
        let found = recognise::compare(seed, alike, &mut *content(0)?, path, None, false)?;
        let (moves, hasher, last_day) = match decide_once(found.length, &found.evidence) {
            Once::Counted(index) => {
                self.finish(&found.stored[index]);
                return Ok(false);
            }
            Once::EarlierCopy(_) => return Ok(false),
            Once::New if metadata.mtime() < self.since => return Ok(false),
            Once::New => (Moves::New { epoch }, Hasher::new(seed), None),
            Once::Continue(index) => {
                let stored = &found.stored[index];
                let is_held = self
                    .files
                    .values()
                    .any(|held| held.moves.row() == Some(stored.id));
                match found.hashers[index].clone() {
                    Some(hasher) if !is_held => (
                        Moves::of(stored, epoch),
                        hasher,
                        stored.last_day.map(day::number),
                    ),
                    _ => return Ok(false),
                }
            }
        };
        let is_new = matches!(moves, Moves::New { .. });
        tracing::info!("reading {} from byte {}", shown(path), hasher.offset());
        let stream = content(hasher.offset())?;
        let taken = Taken {
            hasher,
            moves,
            last_day,
        };
        let mut tracked = Tracked::new(path.to_owned(), source, vhost, file, &metadata, taken);
        let mut blocks = Blocks::new(
            stream,
            tracked.hasher.clone(),
            LastLine::Counts,
            SMALL_BLOCK_BYTES,
        );
        let mut spare = Vec::new();
        while let Some(block) = blocks.next(spare)? {
            self.archived(&mut tracked, &block);
            if block.lines().is_empty() {
                tracked.hasher = blocks.hasher().clone();
            }
            if tracked.stopped.is_some() {
                break;
            }
            spare = block.into_spare();
        }
        tracked.ends = Some(State::Finished);
        if let Some(checkpoint) = tracked.checkpoint(&self.sources[source].name) {
            self.ending.push(Checkpoint {
                place: None,
                ..checkpoint
            });
        }
        Ok(is_new)
    }

    /// Ends a living position, all of whose file is counted.
    fn finish(&mut self, stored: &Stored) {
        let is_held = |moves: &Moves| moves.row() == Some(stored.id);
        let held = self.files.values().any(|held| is_held(&held.moves));
        if stored.state == State::Living && stored.node == self.node && !held {
            self.ending.push(ended(stored, State::Finished));
        }
    }

    /// Ends a stored position whose bytes are gone, with a gap that says so.
    pub(super) fn end_position(
        &mut self,
        source: usize,
        stored: &Stored,
        reason: &str,
        state: State,
    ) {
        let gap = Gap {
            source: self.sources[source].name.clone(),
            path: stored.path.clone(),
            from: stored.print.offset,
            to: None,
            reason: reason.to_owned(),
        };
        let path = shown(Path::new(&gap.path));
        tracing::warn!(
            file = path,
            source = gap.source,
            "{path}: {reason}; what was written behind byte {}, if anything, is not counted",
            gap.from
        );
        self.gaps.push(gap);
        self.ending.push(ended(stored, state));
    }
}

/// A stored position, as it is, in its last state.
fn ended(stored: &Stored, state: State) -> Checkpoint {
    Checkpoint {
        moves: Moves::Stored {
            id: stored.id,
            from: stored.print.offset,
        },
        source: stored.source.clone(),
        scope: stored.scope.clone(),
        path: stored.path.clone(),
        place: stored.place,
        print: stored.print,
        last_day: stored.last_day,
        state,
        unparsed: Vec::new(),
        dropped: 0,
        reread: Vec::new(),
    }
}
