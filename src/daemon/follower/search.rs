//! Finding files: which paths there are, which position each has, what became of those that are gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Follower, Source, shown};
use crate::account::day;
use crate::config::glob::expand_vhost;
use crate::daemon::clock;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::{HEAD_BYTES, Hasher};
use crate::source::follow::AtPath;
use crate::source::identity::{
    Followed, Once, before_rotation, decide_followed, decide_once, same_log,
};
use crate::source::open::{self, Packing};
use crate::source::position::{Place, State, Stored};
use crate::store::{Checkpoint, Gap, Moves, StoreError};

/// Files whose taking up is told in the journal; of further ones only their number.
const MAX_ANNOUNCED: u64 = 20;

/// A copy that was left alone and has not changed is not looked at again for so long.
const LEAVE_INTERVAL: Duration = Duration::from_secs(30);

/// What a file is to the follower.
pub(super) enum Recognised {
    /// To be read, from here.
    Take(Taken),
    /// To be read from here; this position ends, because what it spoke of was overwritten.
    Replaces(Taken, Box<Stored>),
    /// A copy of what is read already.
    Leave,
}

impl Follower {
    /// Finds files: new ones are taken up, known ones may have moved.
    pub(super) fn search_files(&mut self) {
        let thorough = std::mem::take(&mut self.search);
        let mut folders = BTreeSet::new();
        let mut taken = BTreeSet::new();
        let known: HashMap<PathBuf, Place> = self
            .files
            .values()
            .filter(|file| file.at_path == AtPath::Ours && file.ends.is_none())
            .map(|file| (file.path.clone(), file.place))
            .collect();
        for source in 0..self.sources.len() {
            let mut paths = BTreeSet::new();
            for finder in &self.sources[source].finders {
                finder.find(&mut paths, &mut folders);
            }
            for path in paths {
                let is_as_it_was = known.get(&path).is_some_and(|place| {
                    path.metadata()
                        .is_ok_and(|there| Place::of(&there).is(place))
                });
                // The first source that finds a path has it.
                let is_first = taken.insert(path.clone());
                if is_first && !is_as_it_was {
                    self.look_at_path(source, &path);
                }
            }
        }
        self.watch.folders(folders);
        for file in self.files.values_mut() {
            if !taken.contains(&file.path) {
                file.at_path = AtPath::Other;
            }
        }
        if thorough || self.first_search {
            self.look_for_siblings(&taken);
        }
        if self.first_search {
            self.first_search = false;
            if let Err(error) = self.find_the_rest() {
                self.first_search = true;
                tracing::error!("{error}");
            }
            if self.announced > MAX_ANNOUNCED {
                tracing::info!("following {} files", self.files.len());
            }
        }
    }

    fn look_at_path(&mut self, source: usize, path: &Path) {
        let (file, metadata) = match open::followed(path) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.say(path, format!("not followed: {error}"));
                }
                return;
            }
        };
        let place = Place::of(&metadata);
        let mut is_held = false;
        for held in self.files.values_mut() {
            if held.ends == Some(State::Replaced) {
                continue;
            }
            if held.place.is(&place) {
                is_held = true;
                if held.path == path {
                    held.at_path = AtPath::Ours;
                } else if !held
                    .path
                    .symlink_metadata()
                    .is_ok_and(|there| Place::of(&there).is(&place))
                {
                    // Renamed, to a name that a source finds too.
                    held.path = path.to_owned();
                    held.at_path = AtPath::Ours;
                }
            } else if held.path == path {
                held.at_path = AtPath::Other;
            }
        }
        if is_held {
            return;
        }
        self.take_up(source, path, file, &metadata, AtPath::Ours);
    }

    /// Takes up a file that nobody holds.
    fn take_up(
        &mut self,
        source: usize,
        path: &Path,
        file: File,
        metadata: &Metadata,
        at_path: AtPath,
    ) {
        let now = Instant::now();
        let look = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if let Some((before, at)) = self.left.get(path)
            && *before == look
            && now.saturating_duration_since(*at) < LEAVE_INTERVAL
        {
            return;
        }
        // What is still to be read of a log is read before something is taken for its copy.
        let related = |held: &&u64| {
            self.files
                .get(held)
                .is_some_and(|held| same_log(&held.path, path))
        };
        let ids: Vec<u64> = self.files.keys().filter(related).copied().collect();
        for id in ids {
            if self
                .files
                .get(&id)
                .is_some_and(|held| held.ends.is_none() && held.stopped.is_none())
            {
                self.read(id, now, false);
            }
        }
        let vhost = self.vhost_of(source, path);
        let scope = vhost.clone().unwrap_or_default();
        let taken = match self.recognise(path, &file, metadata, &scope) {
            Ok(Recognised::Take(taken)) => taken,
            Ok(Recognised::Replaces(taken, stored)) => {
                let reason = "truncated or overwritten while tollkeeper was not running";
                self.end_position(source, &stored, reason, State::Replaced);
                taken
            }
            Ok(Recognised::Leave) => {
                self.say(
                    path,
                    "is a copy of a log that is followed; left alone".to_owned(),
                );
                self.left.insert(path.to_owned(), (look, now));
                return;
            }
            Err(error) => {
                self.say(path, format!("not followed yet: {error}"));
                return;
            }
        };
        self.said.remove(path);
        self.left.remove(path);
        // A rotated file that has been read to its end before need not be held.
        if at_path == AtPath::Other && taken.hasher.offset() == metadata.len() {
            return;
        }
        let mut new = Tracked::new(path.to_owned(), source, vhost, file, metadata, taken);
        new.at_path = at_path;
        self.announced += 1;
        if self.announced <= MAX_ANNOUNCED {
            tracing::info!(
                "following {} from byte {}",
                shown(path),
                new.hasher.offset()
            );
        }
        // What is taken up is committed at once, so that it is known again whatever happens.
        self.next_flush = self.next_flush.min(Instant::now());
        self.track(new);
    }

    /// Which position a file has, and where reading it begins.
    pub(super) fn recognise(
        &mut self,
        path: &Path,
        file: &File,
        metadata: &Metadata,
        scope: &str,
    ) -> Result<Recognised, Box<dyn std::error::Error>> {
        let place = Place::of(metadata);
        if self.is_earlier_state(path, file, metadata.len(), &place)? {
            return Ok(Recognised::Leave);
        }
        let store = self.lookups.as_mut();
        let seed = store.seed();
        let epoch = self.epochs.look(store, scope)?;
        let mut head = vec![0; HEAD_BYTES as usize];
        let read = open::read_full_at(file, &mut head, 0)?;
        head.truncate(read);
        let mut alike = recognise::alike(store, scope, &head, Some(place))?;
        alike.retain(|stored| stored.node == self.node || stored.state != State::Living);
        // Of a file that is held, what has been read says more than what is committed.
        let held = self.held_alike(path, scope, &mut alike);
        let at_place = alike
            .iter()
            .any(|s| s.place.is_some_and(|there| there.is(&place)));
        let mut found = if at_place && held.is_empty() {
            recognise::compare_living(seed, alike, file, metadata.len(), path, place)?
        } else {
            let mut stream = file.try_clone()?;
            stream.seek(SeekFrom::Start(0))?;
            recognise::compare(seed, alike, &mut stream, path, Some(place), true)?
        };
        for (evidence, stored) in found.evidence.iter_mut().zip(&found.stored) {
            let there = Path::new(&stored.path).metadata();
            evidence.held = held.contains(&stored.id);
            evidence.elsewhere = !evidence.same_place
                && stored
                    .place
                    .is_some_and(|place| there.is_ok_and(|there| Place::of(&there).is(&place)));
        }
        let stored = |index: usize| &found.stored[index];
        let hasher = |index: usize| {
            found.hashers[index]
                .clone()
                .unwrap_or_else(|| Hasher::new(seed))
        };
        let new = Taken {
            hasher: Hasher::new(seed),
            moves: Moves::New { epoch },
            last_day: None,
        };
        Ok(match decide_followed(&found.evidence) {
            Followed::New => Recognised::Take(new),
            Followed::Copy => Recognised::Leave,
            Followed::Continue(index) => Recognised::Take(Taken {
                hasher: hasher(index),
                moves: Moves::of(stored(index), epoch),
                last_day: stored(index).last_day.map(day::number),
            }),
            Followed::Behind(index) => Recognised::Take(Taken {
                hasher: hasher(index),
                last_day: stored(index).last_day.map(day::number),
                ..new
            }),
            Followed::Replaced(index) => Recognised::Replaces(new, Box::new(stored(index).clone())),
            Followed::Shortened(index) => {
                tracing::warn!(
                    "{}: ends before byte {}, up to which it was counted; going on from its end",
                    shown(path),
                    stored(index).print.offset
                );
                let is_held = held.contains(&stored(index).id);
                let moves = Moves::of(stored(index), epoch);
                Recognised::Take(Taken {
                    hasher: hash_whole_lines(seed, file)?,
                    moves: if is_held { new.moves } else { moves },
                    last_day: stored(index).last_day.map(day::number),
                })
            }
        })
    }

    /// Whether a file holds nothing but the beginning of a log that is followed beside it.
    fn is_earlier_state(
        &self,
        path: &Path,
        file: &File,
        length: u64,
        place: &Place,
    ) -> std::io::Result<bool> {
        for held in self.files.values() {
            let beside = held.at_path == AtPath::Ours && held.ends.is_none();
            let other = !held.place.is(place) && same_log(&held.path, path);
            let counted = length > 0 && length <= held.hasher.offset();
            if beside && other && counted && recognise::begin_alike(file, &held.file, length)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The held files that a path may be a copy of, as positions up to where they have been read;
    /// they take the place of what the store has of them. Returns how they are told from others.
    fn held_alike(&self, path: &Path, scope: &str, alike: &mut Vec<Stored>) -> Vec<i64> {
        let mut ids = Vec::new();
        for (id, held) in &self.files {
            let stored_id = held.moves.row();
            alike.retain(|stored| Some(stored.id) != stored_id);
            let related = same_log(&held.path, path) && held.scope() == scope;
            if !related {
                continue;
            }
            // No row has a negative number.
            let stand_in = -1 - i64::try_from(*id).unwrap_or(0);
            ids.push(stand_in);
            alike.push(Stored {
                id: stand_in,
                node: self.node.clone(),
                source: self.sources[held.source].name.clone(),
                scope: scope.to_owned(),
                path: held.path.to_string_lossy().into_owned(),
                place: Some(held.place),
                print: held.hasher.fingerprint(),
                last_day: held.progress.last_day.map(day::date),
                state: State::Living,
                updated: clock(),
            });
        }
        ids
    }

    /// Ends a stored position whose bytes are gone, with a gap that says so.
    fn end_position(&mut self, source: usize, stored: &Stored, reason: &str, state: State) {
        let gap = Gap {
            source: self.sources[source].name.clone(),
            path: stored.path.clone(),
            from: stored.print.offset,
            to: None,
            reason: reason.to_owned(),
        };
        tracing::warn!(
            "{}: {reason}; what was written behind byte {}, if anything, is not counted",
            gap.path,
            gap.from
        );
        self.gaps.push(gap);
        self.ending.push(Checkpoint {
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
        });
    }

    /// After a start: what an earlier run was reading, and no source finds any more, was renamed, or
    /// packed; else it is gone.
    fn find_the_rest(&mut self) -> Result<(), StoreError> {
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

    /// Rotated files beside the followed ones that nobody has read: begun and renamed between two
    /// looks, or while tollkeeper was not running. Older ones, from before a log was followed, are
    /// not touched; nor are those that a source finds by itself.
    fn look_for_siblings(&mut self, taken: &BTreeSet<PathBuf>) {
        for (source, path, since) in self.siblings() {
            if taken.contains(&path) {
                continue;
            }
            let Ok((file, metadata)) = open::followed(&path) else {
                continue;
            };
            let place = Place::of(&metadata);
            let is_held = self.files.values().any(|held| held.place.is(&place));
            let is_packed = !matches!(open::packing(&file), Ok(Packing::Plain));
            let is_history = metadata.mtime() < since || metadata.len() == 0;
            if !is_held && !is_packed && !is_history {
                self.take_up(source, &path, file, &metadata, AtPath::Other);
            }
        }
    }

    /// The files beside the followed logs that are rotations of them by their names: each with its
    /// source and the time since when its log is followed.
    fn siblings(&mut self) -> Vec<(usize, PathBuf, i64)> {
        let logs = self.logs();
        let folders: BTreeSet<&Path> = logs.keys().filter_map(|log| log.parent()).collect();
        let mut siblings = Vec::new();
        for folder in folders {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let log = before_rotation(&path);
                if let Some((source, since)) = logs.get(&log).filter(|_| log != path) {
                    siblings.push((*source, path, *since));
                }
            }
        }
        siblings.sort_unstable();
        siblings
    }

    /// Each followed log with its source, and since when it is followed, in seconds since 1970: what
    /// was last written before is history.
    fn logs(&mut self) -> BTreeMap<PathBuf, (usize, i64)> {
        if self.first_search {
            for stored in self.lookups.living(&self.node).unwrap_or_default() {
                let log = before_rotation(Path::new(&stored.path));
                let since = self.followed_since.entry(log).or_insert(stored.updated);
                *since = (*since).max(stored.updated);
            }
        }
        let mut logs = BTreeMap::new();
        for file in self.files.values().filter(|file| file.ends.is_none()) {
            let log = before_rotation(&file.path);
            let since = *self
                .followed_since
                .entry(log.clone())
                .or_insert(self.started);
            logs.insert(log, (file.source, since));
        }
        logs
    }

    /// Archives of followed logs that were packed while tollkeeper was not running: what of them has
    /// not been counted is read here and now. Returns the logs of which one was read from its start.
    fn read_archives(&mut self) -> BTreeSet<PathBuf> {
        let mut begun = BTreeSet::new();
        for (source, path, since) in self.siblings() {
            let unpacked = path.with_extension("");
            if path.extension().is_none_or(|ending| ending != "gz") || unpacked.exists() {
                continue;
            }
            match self.read_archive(source, &path, since) {
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
        since: i64,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        let (file, metadata) = open::followed(path)?;
        let packing = open::packing(&file)?;
        if packing == Packing::Plain || metadata.mtime() < since {
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
            Once::Counted(_) | Once::EarlierCopy(_) => return Ok(false),
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

    fn vhost_of(&self, source: usize, path: &Path) -> Option<String> {
        let source = &self.sources[source];
        let template = source.vhost.as_ref()?;
        let log = before_rotation(path);
        let captures = [path, &log].into_iter().find_map(|path| {
            let mut finders = source.finders.iter();
            finders.find_map(|finder| finder.captures(path))
        });
        let captures = captures.unwrap_or_default();
        expand_vhost(template, &captures)
    }

    /// A file was truncated or overwritten in place. Its position is retired; the file is read from
    /// its start, under a new one.
    pub(super) fn begin_again(&mut self, id: u64) {
        if !self.may_take_up(Instant::now()) {
            return;
        }
        let Some(mut old) = self.files.remove(&id) else {
            return;
        };
        let gap = Gap {
            source: self.sources[old.source].name.clone(),
            path: old.path.to_string_lossy().into_owned(),
            from: old.hasher.offset(),
            to: None,
            reason: "truncated or overwritten in place (copytruncate: not exact)".to_owned(),
        };
        tracing::warn!(
            "{}: {}; what was written behind byte {} and not yet read, if anything, is lost",
            gap.path,
            gap.reason,
            gap.from
        );
        let reopened = old
            .file
            .try_clone()
            .and_then(|file| Ok((file.metadata()?, file)));
        let epoch = self.epochs.look(self.lookups.as_mut(), &old.scope());
        match (reopened, epoch) {
            (Ok((metadata, file)), Ok(epoch)) => {
                let hasher = Hasher::new(self.lookups.seed());
                let taken = Taken {
                    hasher,
                    moves: Moves::New { epoch },
                    last_day: None,
                };
                let mut new = Tracked::new(
                    old.path.clone(),
                    old.source,
                    old.vhost.clone(),
                    file,
                    &metadata,
                    taken,
                );
                new.at_path = old.at_path;
                new.rules = old.rules.clone();
                old.ends = Some(State::Replaced);
                self.gaps.push(gap);
                self.files.insert(id, old);
                self.track(new);
            }
            (reopened, epoch) => {
                let error = reopened.err().map(|error| error.to_string());
                let error = error
                    .or(epoch.err().map(|error| error.to_string()))
                    .unwrap_or_default();
                self.say(&old.path.clone(), format!("cannot begin again: {error}"));
                self.files.insert(id, old);
            }
        }
    }
}

/// What a file holds, up to its last newline.
fn hash_whole_lines(seed: u64, file: &File) -> std::io::Result<Hasher> {
    let mut stream = file.try_clone()?;
    stream.seek(SeekFrom::Start(0))?;
    let mut blocks = Blocks::new(
        stream,
        Hasher::new(seed),
        LastLine::Waits,
        SMALL_BLOCK_BYTES,
    );
    let mut spare = Vec::new();
    while let Some(block) = blocks.next(spare)? {
        spare = block.into_spare();
    }
    Ok(blocks.hasher().clone())
}
