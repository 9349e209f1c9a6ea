//! Finding files: which paths there are, and which of them nobody holds yet.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::rest;
use super::siblings::Sibling;
use super::taking_up::MAX_ANNOUNCED;
use super::{BLIND_INTERVAL, Follower, THOROUGH_INTERVAL};
use crate::daemon::clock;
use crate::daemon::time;
use crate::daemon::tracked::Tracked;
use crate::source::find::{Folders, Stamp};
use crate::source::follow::AtPath;
use crate::source::identity::before_packing;
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{Place, State};
use crate::source::spool;

/// Segments that are taken up at a time. When those are counted and deleted, others are: a spool may hold
/// tens of thousands of them, as when the store was away for long.
const MAX_NEW_SEGMENTS: usize = 2_000;

impl Follower {
    /// Finds files: new ones are taken up, known ones may have moved.
    pub(super) fn search_files(&mut self) {
        let began = clock();
        let now = time::now();
        self.inodes.clear();
        let is_as_before = self.is_as_before();
        self.changed |= !is_as_before;
        let interval = match self.changed || !self.left.is_empty() {
            true => THOROUGH_INTERVAL,
            false => BLIND_INTERVAL,
        };
        let due = now.saturating_duration_since(self.last_thorough) >= interval;
        let again = self.first_search || self.undecided || self.unsettled;
        let thorough = std::mem::take(&mut self.search) || again || due;
        if self.at_start {
            match self.lookups.searched(&self.node) {
                Ok(Some(since)) => self.since = since,
                Ok(None) => self.never_searched = true,
                // It is asked again, as long as the first search is not done.
                Err(_) => {}
            }
        }
        if !thorough && is_as_before {
            for (path, source) in std::mem::take(&mut self.not_taken) {
                self.look_at_path(source, &path);
            }
            return;
        }
        self.index_anew();
        self.no_room = false;
        self.undecided = false;
        self.unsettled = false;
        self.not_taken.clear();
        let mut folders = Folders::new();
        let mut taken = BTreeSet::new();
        let mut archives = BTreeSet::new();
        let mut siblings = Vec::new();
        let held = self
            .files
            .values()
            .filter(|file| file.at_path == AtPath::Ours && file.ends.is_none())
            .map(|file| (&file.path, file.place));
        let closed = self.closed.iter().map(|(path, file)| (path, file.place));
        let known: HashMap<PathBuf, Place> = held
            .chain(closed)
            .map(|(path, place)| (path.clone(), place))
            .collect();
        for source in 0..self.sources.len() {
            let is_spool = self.sources[source].spool.is_some();
            let mut new_segments = 0;
            let mut paths = BTreeSet::new();
            for finder in &self.sources[source].finders {
                finder.find(&mut paths, &mut folders);
            }
            for path in paths {
                let is_as_it_was = known.get(&path).is_some_and(|place| {
                    path.metadata()
                        .is_ok_and(|there| Place::of(&there).is(place))
                });
                if before_packing(&path).is_some() {
                    archives.insert(path);
                    continue;
                }
                // The first source that finds a path has it.
                let is_first = taken.insert(path.clone());
                let name = path.file_name().and_then(|name| name.to_str());
                let is_none_of_ours = is_spool && !name.is_some_and(spool::is_segment);
                if !is_first || is_as_it_was || is_none_of_ours {
                    continue;
                }
                new_segments += usize::from(is_spool);
                if new_segments > MAX_NEW_SEGMENTS {
                    self.no_room = true;
                    continue;
                }
                self.look_at_path(source, &path);
            }
        }
        for folder in self.olddirs() {
            let stamp = Stamp::of(&folder);
            folders.entry(folder).or_insert(stamp);
        }
        self.watch.folders(&folders);
        self.folders = folders;
        for file in self.files.values_mut() {
            if !taken.contains(&file.path) {
                file.at_path = AtPath::Other;
            }
        }
        if thorough {
            // Where the clock was set back, what has been written since the last look is older than it.
            if began < self.since {
                let elapsed = now.saturating_duration_since(self.last_thorough).as_secs();
                self.since = began.saturating_sub_unsigned(elapsed);
            }
            self.last_thorough = now;
            self.changed = false;
            siblings = self.siblings();
            self.look_for_siblings(&siblings, &taken);
        }
        if !self.first_search && !self.archives.missing.is_empty() {
            self.look_again_for_missing();
        }
        // A batch on its way may have made rows that no file here is known by yet.
        if self.first_search && self.in_flight.is_none() {
            self.first_search = false;
            match self.find_the_rest() {
                // Their rest may lie in a copy.
                Ok(()) if !self.archives.missing.is_empty() => {
                    siblings = self.siblings();
                    self.look_for_siblings(&siblings, &taken);
                }
                Ok(()) => {}
                Err(error) => {
                    self.first_search = true;
                    // What can be followed is; the start is not to wait for a store.
                    if self.published.away(error.to_string(), clock()) {
                        tracing::error!("{error}; looking again until it answers");
                    }
                    self.published.first_search_is_done();
                }
            }
            if self.announced > MAX_ANNOUNCED {
                tracing::info!("following {} files", self.files.len());
            }
            self.published.first_search_is_done();
        }
        if thorough {
            self.notice_archives(siblings, &archives);
        }
        self.settle_missing();
        // A copy that was left alone may still turn out to hold what was not read; and a name that came
        // or went while the folders were read may have been missed.
        let all_is_known = !self.first_search && !self.undecided && !self.no_room;
        if thorough && self.left.is_empty() && all_is_known {
            let mut folders = self.folders.iter();
            if folders.all(|(folder, stamp)| stamp.still_holds(folder)) {
                self.since = began;
                self.searched = Some(self.archives.known_since(began));
            } else {
                self.unsettled = true;
            }
        }
        // What was last written before the first start of all is history from now on.
        let is_answered = !self.first_search && !self.undecided;
        if self.never_searched && self.searched.is_none() && is_answered {
            self.searched = Some(self.since);
            self.next_flush = self.next_flush.min(now);
        }
        self.inodes = rest::Inodes::new();
    }

    /// Whether a search would find what the last one found: no name has come, gone or changed since, and
    /// no link leads elsewhere.
    fn is_as_before(&self) -> bool {
        let leads_on = |file: &Tracked| {
            let there = file.path.metadata();
            there.is_ok_and(|there| Place::of(&there).is(&file.place))
        };
        let is_link = |file: &Tracked| file.by_link && file.at_path == AtPath::Ours;
        let mut folders = self.folders.iter();
        !self.no_room
            && self.archives.missing.is_empty()
            && folders.all(|(folder, stamp)| stamp.still_holds(folder))
            && self
                .files
                .values()
                .filter(|file| is_link(file))
                .all(|file| leads_on(file))
    }

    /// A path that cannot be taken up now is tried again soon; where there are too many, at the next
    /// thorough search.
    pub(super) fn try_again(&mut self, source: usize, path: &Path) {
        const MAX_NOT_TAKEN: usize = 10_000;
        if self.not_taken.len() < MAX_NOT_TAKEN {
            self.not_taken.insert(path.to_owned(), source);
        }
    }

    pub(super) fn look_at_path(&mut self, source: usize, path: &Path) {
        self.published.progress.gets_on(time::now());
        let (file, metadata) = match open::followed(path) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.say(path, format!("not followed: {error}"));
                    self.try_again(source, path);
                }
                return;
            }
        };
        let place = Place::of(&metadata);
        let mut is_held = self.is_closed(path, &place);
        let mut renamed = None;
        for (id, held) in &mut self.files {
            if held.ends == Some(State::Replaced) {
                continue;
            }
            // Compared as bytes: paths are compared by their parts, for each of thousands of files.
            let is_same_path = held.path.as_os_str() == path.as_os_str();
            if held.place.is(&place) {
                is_held = true;
                if is_same_path {
                    held.at_path = AtPath::Ours;
                } else if !held
                    .path
                    .symlink_metadata()
                    .is_ok_and(|there| Place::of(&there).is(&place))
                {
                    // Renamed, to a name that a source finds too.
                    held.path = path.to_owned();
                    held.at_path = AtPath::Ours;
                    renamed = Some(*id);
                }
            } else if is_same_path {
                held.at_path = AtPath::Other;
            }
        }
        if let Some(id) = renamed {
            self.index(id, path);
        }
        if is_held {
            return;
        }
        if packed::packing(&file).is_ok_and(|packing| packing != Packing::Plain) {
            let what = "is an archive; if it is no rotation of a log that is followed, tollkeeper import reads it";
            self.say(path, what.to_owned());
            return;
        }
        self.take_up(source, &[path], file, &metadata, AtPath::Ours, false);
    }

    /// Rotated files beside the followed ones that nobody has read: begun and renamed between two
    /// looks, or while tollkeeper was not running. Older ones, from before a log was followed, are
    /// not touched; nor are those that a source finds by itself.
    fn look_for_siblings(&mut self, siblings: &[Sibling], taken: &BTreeSet<PathBuf>) {
        let missing = self.archives.logs_missing();
        let counted = std::mem::take(&mut self.counted);
        for sibling in siblings {
            let path = &sibling.path;
            let there = path.symlink_metadata().ok();
            if let Some(there) = &there
                && let Some(as_it_was) = counted.get(&(there.dev(), there.ino()))
                && *as_it_was == (there.len(), there.mtime(), there.mtime_nsec())
                && !missing.contains(&sibling.log)
            {
                self.counted.insert((there.dev(), there.ino()), *as_it_was);
                continue;
            }
            let is_history =
                there.is_some_and(|there| there.mtime() < self.since || there.len() == 0);
            if (is_history && !missing.contains(&sibling.log))
                || taken.contains(path)
                || before_packing(path).is_some()
            {
                continue;
            }
            let Ok((file, metadata)) = open::followed(path) else {
                continue;
            };
            let place = Place::of(&metadata);
            let is_held = self.files.values().any(|held| held.place.is(&place));
            let is_packed = !matches!(packed::packing(&file), Ok(Packing::Plain));
            if !is_held && !is_packed {
                let names = [&**path, &*sibling.beside()];
                self.take_up(
                    sibling.source,
                    &names,
                    file,
                    &metadata,
                    AtPath::Other,
                    is_history,
                );
            }
        }
    }
}
