//! Finding files: which paths there are, which of them are taken up, and which begin again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::known::Recognised;
use super::{Follower, THOROUGH_INTERVAL, shown};
use crate::config::glob::expand_vhost;
use crate::daemon::clock;
use crate::daemon::tracked::{Taken, Tracked};
use crate::source::content::Hasher;
use crate::source::follow::AtPath;
use crate::source::identity::{before_rotation, same_log};
use crate::source::open::{self, Packing};
use crate::source::position::{Place, State};
use crate::store::{Gap, Moves, StoreError};

/// Files whose taking up is told in the journal; of further ones only their number.
const MAX_ANNOUNCED: u64 = 20;

/// What all logs are called that cannot be taken up while the store is away.
const NEW_LOGS: &str = "new logs";

/// A copy that was left alone and has not changed is not looked at again for so long.
const LEAVE_INTERVAL: Duration = Duration::from_secs(30);

impl Follower {
    /// Finds files: new ones are taken up, known ones may have moved.
    pub(super) fn search_files(&mut self) {
        let began = clock();
        let now = Instant::now();
        let due = now.saturating_duration_since(self.last_thorough) >= THOROUGH_INTERVAL;
        let thorough = std::mem::take(&mut self.search) || self.first_search || due;
        if self.at_start
            && let Ok(Some(since)) = self.lookups.searched(&self.node)
        {
            self.since = since;
        }
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
        if thorough {
            self.last_thorough = now;
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
        // A copy that was left alone may still turn out to hold what was not read.
        if thorough && self.left.is_empty() {
            self.since = began;
            self.searched = Some(began);
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
                // At midnight a thousand of them may appear: this is said of all, and once.
                match error.downcast_ref() {
                    Some(StoreError::Unavailable { .. }) => {
                        self.say(
                            Path::new(NEW_LOGS),
                            "wait until the store answers".to_owned(),
                        );
                    }
                    _ => self.say(path, format!("not followed yet: {error}")),
                }
                return;
            }
        };
        self.said.remove(path);
        self.said.remove(Path::new(NEW_LOGS));
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

    /// Rotated files beside the followed ones that nobody has read: begun and renamed between two
    /// looks, or while tollkeeper was not running. Older ones, from before a log was followed, are
    /// not touched; nor are those that a source finds by itself.
    fn look_for_siblings(&mut self, taken: &BTreeSet<PathBuf>) {
        for (source, path) in self.siblings() {
            let is_history = path
                .symlink_metadata()
                .is_ok_and(|there| there.mtime() < self.since || there.len() == 0);
            if is_history || taken.contains(&path) {
                continue;
            }
            let Ok((file, metadata)) = open::followed(&path) else {
                continue;
            };
            let place = Place::of(&metadata);
            let is_held = self.files.values().any(|held| held.place.is(&place));
            let is_packed = !matches!(open::packing(&file), Ok(Packing::Plain));
            if !is_held && !is_packed {
                self.take_up(source, &path, file, &metadata, AtPath::Other);
            }
        }
    }

    /// The files beside the followed logs that are rotations of them by their names, each with its
    /// source.
    pub(super) fn siblings(&self) -> Vec<(usize, PathBuf)> {
        let followed = self.files.values().filter(|file| file.ends.is_none());
        let logs: BTreeMap<PathBuf, usize> = followed
            .map(|file| (before_rotation(&file.path), file.source))
            .collect();
        let folders: BTreeSet<&Path> = logs.keys().filter_map(|log| log.parent()).collect();
        let mut siblings = Vec::new();
        for folder in folders {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let log = before_rotation(&path);
                if let Some(source) = logs.get(&log).filter(|_| log != path) {
                    siblings.push((*source, path));
                }
            }
        }
        siblings.sort_unstable();
        siblings
    }

    pub(super) fn vhost_of(&self, source: usize, path: &Path) -> Option<String> {
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
                self.left.clear();
                self.search = true;
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
