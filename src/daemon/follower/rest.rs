//! After a start: what an earlier run was reading, and lies no longer where it was.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::archives::Missing;
use super::siblings::Found;
use super::{Follower, Source, shown};
use crate::account::day;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise;
use crate::source::content::Hasher;
use crate::source::find::rotation_folder;
use crate::source::follow::AtPath;
use crate::source::identity::{Followed, before_rotation, decide_followed};
use crate::source::open;
use crate::source::position::{Place, State, Stored};
use crate::store::{Checkpoint, Gap, Moves, StoreError};

/// Folders that have been looked through: thousands of logs may have been rotated in one.
pub(super) type Inodes = HashMap<PathBuf, HashMap<u64, Vec<PathBuf>>>;

impl Follower {
    /// After a start: what an earlier run was reading, and no source finds any more, was renamed, or
    /// packed; else it is gone.
    pub(super) fn find_the_rest(&mut self) -> Result<(), StoreError> {
        let living = self.lookups.living(&self.node)?;
        let mut missing = Vec::new();
        let mut found = Found::new();
        let held = self.files.values().filter_map(|held| held.moves.row());
        let ending = self.ending.iter().filter_map(|end| end.moves.row());
        let closed = self.closed.iter().map(|(_, closed)| closed.row);
        let known: HashSet<i64> = held.chain(ending).chain(closed).collect();
        for stored in living {
            // Its path may be the name that it was renamed to, which no pattern finds.
            let path = Path::new(&stored.path);
            let has = |source: &Source| source.name == stored.source;
            let finds = |source: &Source| {
                let mut finders = source.finders.iter();
                finders.any(|finder| finder.captures(path).is_some())
            };
            let source = self.sources.iter().position(has);
            let source = source.or_else(|| self.sources.iter().position(finds));
            let Some(source) = source.filter(|_| !known.contains(&stored.id)) else {
                continue;
            };
            let log = self.log_of(source, path, &mut found);
            match self.renamed(&stored, source) {
                Some(tracked) => {
                    let to = shown(&tracked.path);
                    tracing::info!("reading the rest of {} from {to}", shown(path));
                    self.track(tracked);
                }
                None => missing.push(Missing {
                    source,
                    log,
                    stored,
                    was_away: self.at_start,
                    again: false,
                }),
            }
        }
        self.archives.missing = missing;
        self.at_start = false;
        Ok(())
    }

    /// Looks once more for what was missing at the last search.
    pub(super) fn look_again_for_missing(&mut self) {
        for mut missing in std::mem::take(&mut self.archives.missing) {
            // This search may have found it by a path.
            let row = Some(missing.stored.id);
            if self.files.values().any(|held| held.moves.row() == row) {
                continue;
            }
            match self.renamed(&missing.stored, missing.source) {
                Some(tracked) => {
                    let (path, to) = (Path::new(&missing.stored.path), shown(&tracked.path));
                    tracing::info!("reading the rest of {} from {to}", shown(path));
                    self.track(tracked);
                }
                None => {
                    missing.again = true;
                    self.archives.missing.push(missing);
                }
            }
        }
    }

    /// Where a file lies now: beside where it was, in the `olddir`, or beside what a link at its path
    /// leads to now.
    pub(super) fn lies_beside(
        &mut self,
        path: &Path,
        source: Option<usize>,
        place: Place,
    ) -> Option<PathBuf> {
        let olddir = source.and_then(|source| self.sources[source].olddir.as_ref());
        let olddir = olddir.map(|olddir| rotation_folder(olddir, &before_rotation(path)));
        let linked = path.canonicalize().ok();
        let linked = linked.and_then(|target| Some(target.parent()?.to_owned()));
        let beside = path.parent().map(Path::to_owned);
        let folders: BTreeSet<PathBuf> = [beside, olddir, linked].into_iter().flatten().collect();
        // Names may have changed since a folder was looked through: then it is done again.
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let mut is_outdated = false;
            for folder in &folders {
                let inodes = self.inodes.entry(folder.clone());
                let inodes = inodes.or_insert_with_key(|folder| inodes_in(folder));
                let paths = inodes.get(&place.inode).map_or(&[][..], Vec::as_slice);
                let is_there = |path: &&PathBuf| {
                    let there = path.symlink_metadata();
                    there.is_ok_and(|there| Place::of(&there).is(&place))
                };
                if let Some(path) = paths.iter().find(is_there) {
                    return Some(path.clone());
                }
                if paths.iter().any(|path| {
                    path.symlink_metadata()
                        .map_or(true, |there| there.ino() != place.inode)
                }) {
                    is_outdated = true;
                }
            }
            if !is_outdated {
                return None;
            }
            self.inodes.clear();
        }
        None
    }

    /// Looks for a file that lies no longer where it was, by its inode and content.
    fn renamed(&mut self, stored: &Stored, source: usize) -> Option<Tracked> {
        let place = stored.place?;
        let path = self.lies_beside(Path::new(&stored.path), Some(source), place)?;
        let (file, metadata) = open::followed(&path).ok()?;
        let seed = self.lookups.seed();
        let alike = vec![stored.clone()];
        let length = metadata.len();
        let found = recognise::compare_living(seed, alike, &file, length, &[&path], place).ok()?;
        let Followed::Continue(_) = decide_followed(&found.evidence) else {
            return None;
        };
        let hasher = found.hashers.into_iter().next().flatten();
        let epoch = self.epochs.look(self.lookups.as_mut(), &stored.scope);
        let taken = Taken {
            hasher: hasher.unwrap_or_else(|| Hasher::new(seed)),
            moves: Moves::of(stored, epoch.ok()?),
            last_day: stored.last_day.map(day::number),
        };
        let vhost = (!stored.scope.is_empty()).then(|| stored.scope.clone());
        let mut tracked = Tracked::new(path, source, vhost, file, &metadata, taken);
        tracked.at_path = AtPath::Other;
        // Nothing says yet that it is no copy.
        tracked.is_blank = stored.print.offset == 0;
        Some(tracked)
    }

    /// What is deleted and read to its end ends with this process: nobody can read it again.
    pub(super) fn let_go_of_deleted(&mut self) {
        for file in self.files.values_mut() {
            let is_read =
                |there: &Metadata| there.nlink() == 0 && there.len() == file.hasher.offset();
            if file.ends.is_none() && file.file.metadata().is_ok_and(|there| is_read(&there)) {
                file.ends = Some(State::Finished);
            }
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

/// What lies in a folder, by inode.
fn inodes_in(folder: &Path) -> HashMap<u64, Vec<PathBuf>> {
    let mut inodes: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        inodes.entry(entry.ino()).or_default().push(entry.path());
    }
    inodes
}

/// A stored position, as it is, in its last state.
pub(super) fn ended(stored: &Stored, state: State) -> Checkpoint {
    Checkpoint {
        moves: Moves::Stored {
            id: stored.id,
            from: stored.print.offset,
        },
        follows: false,
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
