//! Taking up files: one that was found, one that shows only later what it is, and one that begins again.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::known::Recognised;
use super::{Follower, shown};
use crate::config::glob::expand_vhost;
use crate::daemon::time;
use crate::daemon::tracked::{ACTIVE_INTERVAL, QUIET_INTERVAL, Taken, Tracked};
use crate::source::content::{HEAD_BYTES, Hasher};
use crate::source::follow::AtPath;
use crate::source::identity::before_rotation;
use crate::source::open;
use crate::source::position::State;
use crate::store::{Gap, Moves, StoreError};

/// Files whose taking up is told in the journal; of further ones only their number.
pub(super) const MAX_ANNOUNCED: u64 = 20;

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
    /// Takes up a file that nobody holds. `names`: its path, and the one that it would have beside its
    /// log, if it lies in another folder.
    pub(super) fn take_up(
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
        let taken = match self.recognise(names, &file, metadata, &scope, 0) {
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
        // What is on its way may give it a row, or says what row it has.
        let flight = self.in_flight.as_ref();
        let waits = flight.is_some_and(|flight| flight.covers(id));
        let may_take_up = self.may_take_up(now) && !waits && now >= self.no_telling_before;
        let Some(mut file) = self.files.remove(&id) else {
            return Told::Later;
        };
        let path = file.path.clone();
        let names = [&*path];
        // Less is told from a copy by the logs beside it alone, and most logs begin with less: thousands of
        // them at midnight.
        let is_short = metadata.len() < HEAD_BYTES;
        if is_short && !self.may_begin_as_one_beside(&names, &file.file) {
            file.is_blank = false;
            self.files.insert(id, file);
            return Told::Log;
        }
        if !may_take_up {
            file.look_again(now + ACTIVE_INTERVAL);
            self.files.insert(id, file);
            return Told::Later;
        }
        self.read_related(&names, |file| !file.is_blank);
        let least = if is_short { 0 } else { HEAD_BYTES };
        let scope = file.scope();
        let taken = match self.recognise(&names, &file.file, &metadata, &scope, least) {
            Ok(Recognised::Take(taken)) => taken,
            Ok(Recognised::Replaces(taken, stored)) => {
                let reason = "truncated or overwritten while tollkeeper was not running";
                self.end_position(file.source, &stored, reason, State::Replaced);
                taken
            }
            Ok(Recognised::Leave) => {
                let look = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
                // What no source finds any more is not looked for again.
                let at_path = match file.leaving {
                    true => AtPath::Other,
                    false => file.at_path,
                };
                self.leave_alone(file.source, &path, look, at_path);
                return Told::Nothing;
            }
            Err(error) => {
                self.cannot_tell(&path, error.as_ref());
                // Each try may take the store's patience.
                self.no_telling_before = time::now() + QUIET_INTERVAL;
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

    /// Whether a file of less than 1 KiB begins as a rotation of its log that is held, or that log, does; or
    /// may, because not all logs are held.
    fn may_begin_as_one_beside(&self, names: &[&Path], file: &File) -> bool {
        let all_are_found = !self.first_search && !self.undecided && self.not_taken.is_empty();
        if !all_are_found || self.no_room || self.closed.iter().next().is_some() {
            return true;
        }
        let begins_so = |held: &Tracked| {
            let start = held.hasher.start();
            let mut bytes = vec![0; start.len()];
            let read = open::read_full_at(file, &mut bytes, 0);
            read.map_or(true, |read| start[..read.min(start.len())] == bytes[..read])
        };
        let beside = self.held_of_log(names).into_iter();
        let mut beside = beside.filter_map(|id| self.files.get(&id));
        beside.any(|held| held.is_blank || begins_so(held))
    }

    fn is_overwritten(&self, id: u64) -> bool {
        let is_overwritten = |file: &Tracked| file.is_overwritten().unwrap_or(false);
        self.files.get(&id).is_some_and(|file| is_overwritten(file))
    }

    /// Whether a file that is held is still to be told from a copy.
    fn is_untold(&self, id: u64) -> bool {
        let file = self.files.get(&id).filter(|file| file.is_blank);
        let there = file.and_then(|file| file.file.metadata().ok());
        there.is_some_and(|there| there.len() > 0)
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
            // What was truncated and filled again may end alike where reading would go on.
            if !self.is_overwritten(*id) {
                self.read(*id, now, false);
            }
            if self.is_overwritten(*id) {
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
