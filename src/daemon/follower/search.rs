//! Finding files: which paths there are, which of them are taken up, and which begin again.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::known::Recognised;
use super::rest;
use super::siblings::Sibling;
use super::{BLIND_INTERVAL, Follower, THOROUGH_INTERVAL, shown};
use crate::config::glob::expand_vhost;
use crate::daemon::clock;
use crate::daemon::time;
use crate::daemon::tracked::{ACTIVE_INTERVAL, QUIET_INTERVAL, Taken, Tracked};
use crate::source::content::Hasher;
use crate::source::find::{Folders, Stamp};
use crate::source::follow::AtPath;
use crate::source::identity::{before_packing, before_rotation};
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{Place, State};
use crate::source::spool;
use crate::store::{Gap, Moves, StoreError};

/// Files whose taking up is told in the journal; of further ones only their number.
const MAX_ANNOUNCED: u64 = 20;

/// Segments that are taken up at a time. When those are counted and deleted, others are: a spool may hold
/// tens of thousands of them, as when the store was away for long.
const MAX_NEW_SEGMENTS: usize = 2_000;

/// What all logs are called that cannot be taken up while the store is away.
const NEW_LOGS: &str = "new logs";

/// A copy that was left alone and has not changed is not looked at again for so long.
const LEAVE_INTERVAL: Duration = Duration::from_secs(30);

/// What is known of a file by what stands in it.
pub(super) enum Told {
    /// It is a log, and to be read.
    Log,
    /// There is nothing to be read: it is still empty, or was a copy, and is let go.
    Nothing,
    /// It cannot be told now.
    Later,
}

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
    fn try_again(&mut self, source: usize, path: &Path) {
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

    /// Takes up a file that nobody holds. `names`: its path, and the one that it would have beside its
    /// log, if it lies in another folder.
    fn take_up(
        &mut self,
        source: usize,
        names: &[&Path],
        file: File,
        metadata: &Metadata,
        at_path: AtPath,
        is_history: bool,
    ) {
        let path = names[0];
        let now = time::now();
        let look = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if let Some((before, at)) = self.left.get(path)
            && *before == look
            && now.saturating_duration_since(*at) < LEAVE_INTERVAL
        {
            return;
        }
        if !self.has_room(now) {
            return;
        }
        if !self.read_related(names, |_| true) {
            self.undecided = true;
            return;
        }
        let vhost = self.vhost_of(source, names[names.len() - 1]);
        let scope = vhost.clone().unwrap_or_default();
        let taken = match self.recognise(names, &file, metadata, &scope) {
            // It is history, unless it is what an earlier run was reading.
            Ok(Recognised::Take(taken)) if is_history && taken.moves.row().is_none() => return,
            Ok(Recognised::Take(taken)) => taken,
            Ok(Recognised::Replaces(taken, stored)) => {
                let reason = "truncated or overwritten while tollkeeper was not running";
                self.end_position(source, &stored, reason, State::Replaced);
                taken
            }
            Ok(Recognised::Leave) => {
                self.leave_alone(source, path, look, at_path);
                return;
            }
            Err(error) => {
                self.cannot_tell(path, error.as_ref());
                return;
            }
        };
        self.said.forget(path);
        self.said.forget(Path::new(NEW_LOGS));
        self.left.remove(path);
        // A rotated file that has been read to its end before need not be held.
        if at_path == AtPath::Other && taken.hasher.offset() == metadata.len() {
            self.counted.insert((metadata.dev(), metadata.ino()), look);
            return;
        }
        let mut new = Tracked::new(path.to_owned(), source, vhost, file, metadata, taken);
        new.at_path = at_path;
        new.by_link = path
            .symlink_metadata()
            .is_ok_and(|there| there.is_symlink());
        // Segments come and go all the time.
        let is_log = self.sources[source].spool.is_none();
        self.announced += u64::from(is_log);
        if is_log && self.announced <= MAX_ANNOUNCED {
            tracing::info!(
                "following {} from byte {}",
                shown(path),
                new.hasher.offset()
            );
        }
        // What is taken up is committed at once, so that it is known again whatever happens.
        self.next_flush = self.next_flush.min(time::now());
        self.track(new);
    }

    /// A copy of what is read already: looked at again when it changes.
    fn leave_alone(&mut self, source: usize, path: &Path, look: (u64, i64, i64), at_path: AtPath) {
        let what = "is a copy of a log that is followed; left alone";
        self.say(path, what.to_owned());
        self.left.insert(path.to_owned(), (look, time::now()));
        // A rotated file is found again by a search, which knows whether it is history.
        if at_path == AtPath::Ours {
            self.try_again(source, path);
        }
    }

    /// It could not be found out what a file is.
    fn cannot_tell(&mut self, path: &Path, error: &(dyn std::error::Error + 'static)) {
        // At midnight a thousand of them may appear: this is said of all, and once.
        match error.downcast_ref() {
            Some(StoreError::Unavailable { .. }) => {
                let what = "wait until the store answers".to_owned();
                self.say(Path::new(NEW_LOGS), what);
                // Whoever asks for the status is told of each.
                self.said.is_news(path, "waits until the store answers");
            }
            _ => self.say(path, format!("not followed yet: {error}")),
        }
        self.undecided = true;
    }

    /// What a file is that was empty when it was taken up: a log, or a copy that had just begun.
    pub(super) fn tell_blank(&mut self, id: u64, now: Instant) -> Told {
        let Some(file) = self.files.get(&id).filter(|file| file.is_blank) else {
            return Told::Log;
        };
        let metadata = match file.file.metadata() {
            Ok(metadata) if metadata.len() > 0 => metadata,
            _ => return Told::Nothing,
        };
        // What is on its way may give it a row.
        let waits = self.in_flight.is_some() && file.moves.row().is_none();
        let may_take_up = self.may_take_up(now) && !waits;
        let Some(mut file) = self.files.remove(&id) else {
            return Told::Later;
        };
        if !may_take_up {
            file.look_again(now + ACTIVE_INTERVAL);
            self.files.insert(id, file);
            return Told::Later;
        }
        let path = file.path.clone();
        let names = [&*path];
        self.read_related(&names, |file| !file.is_blank);
        let taken = match self.recognise(&names, &file.file, &metadata, &file.scope()) {
            Ok(Recognised::Take(taken)) => taken,
            Ok(Recognised::Replaces(taken, stored)) => {
                let reason = "truncated or overwritten while tollkeeper was not running";
                self.end_position(file.source, &stored, reason, State::Replaced);
                taken
            }
            Ok(Recognised::Leave) => {
                let look = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
                self.leave_alone(file.source, &path, look, file.at_path);
                return Told::Nothing;
            }
            Err(error) => {
                self.cannot_tell(&path, error.as_ref());
                file.look_again(now + QUIET_INTERVAL);
                self.files.insert(id, file);
                return Told::Later;
            }
        };
        self.said.forget(&path);
        self.said.forget(Path::new(NEW_LOGS));
        self.files
            .insert(id, Box::new(file.taken_again(&metadata, taken)));
        Told::Log
    }

    /// Whether a file that is held is still to be told from a copy.
    fn is_untold(&self, id: u64) -> bool {
        let file = self.files.get(&id).filter(|file| file.is_blank);
        let there = file.and_then(|file| file.file.metadata().ok());
        there.is_some_and(|there| there.len() > 0)
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

    /// What is still to be read of a log is read before something is taken for its copy. `false`: of
    /// some of it, it cannot be told yet whether it is to be read. `are`: which files are meant.
    pub(super) fn read_related(&mut self, names: &[&Path], are: impl Fn(&Tracked) -> bool) -> bool {
        let now = time::now();
        let is_read = |id: &u64| {
            let held = self.files.get(id).filter(|held| are(held));
            held.is_some_and(|held| held.ends.is_none() && held.stopped.is_none())
        };
        let ids = self.held_of_log(names).into_iter();
        let ids: Vec<u64> = ids.filter(is_read).collect();
        for id in &ids {
            self.read(*id, now, false);
            let is_overwritten = |file: &Tracked| file.is_overwritten().unwrap_or(false);
            if self.files.get(id).is_some_and(|file| is_overwritten(file)) {
                // What it holds now may have been copied as well.
                let again = self.next_file;
                self.begin_again(*id);
                self.read(again, now, false);
            }
        }
        !ids.into_iter().any(|id| self.is_untold(id))
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
        if !self.may_take_up(time::now()) {
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
                new.leaving = old.leaving;
                // It is the log, whatever it is filled with.
                new.is_blank = false;
                let path = shown(&old.path);
                tracing::warn!(
                    file = path,
                    source = gap.source,
                    "{path}: {}; what was written behind byte {} and not yet read, if anything, is lost",
                    gap.reason,
                    gap.from
                );
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
