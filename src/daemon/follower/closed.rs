//! Files that are followed and not held open.
//!
//! A file that is held open stays readable when it is renamed or deleted, so files are held open as
//! long as there is room. When there is none, the quietest ones are closed, first of all those of the
//! folder that holds most, so that whoever makes thousands of logs does so at the expense of his own. All
//! of a closed file that was there is committed; when it changes it is taken up again from its stored
//! position, and when its path leads elsewhere it is looked for as after a start.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Follower;
use crate::daemon::tracked::Tracked;
use crate::source::follow::AtPath;
use crate::source::position::{Place, State};

/// While files wait for others to be closed, batches are flushed so often.
const CROWDED_FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What is remembered of a file that is closed.
pub(super) struct Closed {
    /// Index of its source.
    pub(super) source: usize,
    /// Its position.
    pub(super) row: i64,
    /// Where it lies.
    pub(super) place: Place,
    /// Up to where it is committed.
    pub(super) offset: u64,
    /// Length and time of change when it was closed.
    look: (u64, i64, i64),
    /// When to look at it next.
    pub(super) next_look: Instant,
}

impl Closed {
    /// How long it was when it was closed.
    pub(super) fn size(&self) -> u64 {
        self.look.0
    }
}

/// All of them, by path.
#[derive(Default)]
pub(super) struct ClosedFiles {
    by_path: HashMap<PathBuf, Closed>,
    by_inode: HashMap<u64, PathBuf>,
}

impl ClosedFiles {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Closed)> {
        self.by_path.iter()
    }

    /// Looks at those again that are meant, and at once.
    pub(super) fn look_at(&mut self, now: Instant, is_meant: impl Fn(&Path) -> bool) {
        for (path, closed) in &mut self.by_path {
            if is_meant(path) {
                closed.next_look = now;
            }
        }
    }

    fn get(&self, path: &Path) -> Option<&Closed> {
        self.by_path.get(path)
    }

    fn insert(&mut self, path: PathBuf, closed: Closed) {
        self.by_inode.insert(closed.place.inode, path.clone());
        self.by_path.insert(path, closed);
    }

    fn remove(&mut self, path: &Path) {
        let Some(closed) = self.by_path.remove(path) else {
            return;
        };
        let inode = closed.place.inode;
        if self.by_inode.get(&inode).is_some_and(|by| by == path) {
            self.by_inode.remove(&inode);
        }
    }
}

impl Follower {
    /// Looks at the closed files that are due.
    pub(super) fn look_at_closed(&mut self, now: Instant) {
        if self.closed.by_path.is_empty() || !self.may_take_up(now) {
            return;
        }
        let due = |(_, closed): &(&PathBuf, &Closed)| closed.next_look <= now;
        let due: Vec<PathBuf> = self
            .closed
            .iter()
            .filter(due)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            let there = path.metadata();
            let interval = self.quiet_interval(&path);
            let Some(closed) = self.closed.by_path.get_mut(&path) else {
                continue;
            };
            match there {
                Ok(there) if Place::of(&there).is(&closed.place) => {
                    let look = (there.size(), there.mtime(), there.mtime_nsec());
                    closed.next_look = now + interval;
                    let source = closed.source;
                    if look != closed.look && self.has_room(now) {
                        self.closed.remove(&path);
                        self.look_at_path(source, &path);
                    }
                }
                _ => self.has_moved(&path),
            }
        }
    }

    /// Whether what lies at a path is a file that is closed. A closed file whose path leads elsewhere is
    /// forgotten.
    pub(super) fn is_closed(&mut self, path: &Path, place: &Place) -> bool {
        let is_it = |closed: &Closed| closed.place.is(place);
        match self.closed.get(path) {
            Some(closed) if is_it(closed) => return true,
            Some(_) => self.has_moved(path),
            None => {}
        }
        // By another name, that of a hard link.
        let Some(other) = self.closed.by_inode.get(&place.inode) else {
            return false;
        };
        let leads_there = |path: &Path| path.metadata().is_ok_and(|it| Place::of(&it).is(place));
        self.closed.get(other).is_some_and(is_it) && leads_there(other)
    }

    /// It was renamed, packed or deleted: looked for as after a start.
    fn has_moved(&mut self, path: &Path) {
        self.closed.remove(path);
        self.search = true;
        self.first_search = true;
    }

    /// Whether one more file can be held open; if need be, quiet ones are closed.
    pub(super) fn has_room(&mut self, now: Instant) -> bool {
        if self.files.len() < self.max_held_files {
            return true;
        }
        if self.no_room {
            return false;
        }
        self.close_quiet(now);
        if self.files.len() < self.max_held_files {
            return true;
        }
        self.close_busy(now);
        let has_room = self.files.len() < self.max_held_files;
        if !has_room {
            // Only what is committed can be closed.
            self.next_flush = self.next_flush.min(now + CROWDED_FLUSH_INTERVAL);
            tracing::debug!("{} log files are held open; others wait", self.files.len());
            self.no_room = true;
        }
        has_room
    }

    /// Closes quiet files, down to half of what may be held open.
    fn close_quiet(&mut self, now: Instant) {
        let held = self.held_by_folder();
        let quiet = self.files.iter().filter(|(_, file)| !file.is_busy(now));
        let mut quiet: Vec<(usize, u64)> = quiet
            .filter(|(_, file)| file.at_rest().is_some())
            .map(|(id, file)| (held.get(folder(&file.path)).copied().unwrap_or(0), *id))
            .collect();
        quiet.sort_unstable_by(|a, b| b.cmp(a));
        let surplus = self.files.len() - self.files.len().min(self.max_held_files / 2);
        for (_, id) in quiet.into_iter().take(surplus) {
            self.close(id, now);
        }
    }

    /// All are busy: of the folder that holds most, those that have not grown for longest make room.
    fn close_busy(&mut self, now: Instant) {
        let held = self.held_by_folder();
        let count = |file: &Tracked| held.get(folder(&file.path)).copied().unwrap_or(0);
        let candidates = self
            .files
            .iter()
            .filter(|(_, file)| file.at_rest().is_some());
        let mut candidates: Vec<_> = candidates
            .map(|(id, file)| ((count(file), Reverse(file.grown())), *id))
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        // Some at once, so that a search does not come to this point for each file that it finds.
        let some = self.max_held_files.div_ceil(8);
        for (_, id) in candidates.into_iter().take(some) {
            self.close(id, now);
        }
    }

    fn held_by_folder(&self) -> HashMap<&Path, usize> {
        let mut held = HashMap::new();
        for file in self.files.values() {
            *held.entry(folder(&file.path)).or_insert(0) += 1;
        }
        held
    }

    fn close(&mut self, id: u64, now: Instant) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        if file.at_path == AtPath::Other {
            // What has been written to it since the last look is read first: perhaps no name of its
            // would tell what it is.
            let there = file.file.metadata();
            let look = there.map(|there| (there.size(), there.mtime(), there.mtime_nsec()));
            if look.ok() != file.at_rest() {
                file.look_at(now);
                return;
            }
            // A rotated file is finished early. Should an old worker write into it after all, it is found
            // as one that was rotated between two looks.
            file.ends = Some(State::Finished);
            return;
        }
        let (Some(look), Some(row)) = (file.at_rest(), file.moves.row()) else {
            return;
        };
        let Some(file) = self.files.remove(&id) else {
            return;
        };
        let closed = Closed {
            source: file.source,
            row,
            place: file.place,
            offset: file.committed,
            look,
            next_look: now + self.quiet_interval(&file.path),
        };
        self.closed.insert(file.path, closed);
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
