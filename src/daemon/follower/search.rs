//! Finding files: which paths there are, which position each has, what became of those that are gone.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Follower, SEARCH_INTERVAL, Source};
use crate::account::day;
use crate::config::glob::expand_vhost;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::{HEAD_BYTES, Hasher};
use crate::source::follow::AtPath;
use crate::source::identity::{Followed, decide_followed};
use crate::source::open;
use crate::source::position::{Place, State, Stored};
use crate::store::{Checkpoint, Gap, Moves, StoreError};

/// Files whose taking up is told in the journal; of further ones only their number.
const MAX_ANNOUNCED: u64 = 20;

/// Where reading a file begins, and a position that ends because what it spoke of was overwritten,
/// with the reason.
type Recognised = (Taken, Option<(Stored, &'static str)>);

impl Follower {
    /// Finds files: new ones are taken up, known ones may have moved.
    pub(super) fn search_files(&mut self, now: Instant) {
        self.search = false;
        self.next_search = now + SEARCH_INTERVAL;
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
        if self.first_search {
            self.first_search = false;
            if self.announced > MAX_ANNOUNCED {
                tracing::info!("following {} files", self.files.len());
            }
            if let Err(error) = self.find_the_rest() {
                self.first_search = true;
                tracing::error!("{error}");
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
        let vhost = self.vhost_of(source, path);
        let scope = vhost.clone().unwrap_or_default();
        match self.recognise(path, &file, &metadata, &scope) {
            Ok((taken, gap)) => {
                self.said.remove(path);
                let new = Tracked::new(path.to_owned(), source, vhost, file, &metadata, taken);
                if let Some((stored, reason)) = gap {
                    self.end_position(source, &stored, reason, State::Replaced);
                }
                self.announced += 1;
                if self.announced <= MAX_ANNOUNCED {
                    tracing::info!(
                        "following {} from byte {}",
                        path.display(),
                        new.hasher.offset()
                    );
                }
                self.track(new);
            }
            Err(error) => self.say(path, format!("not followed yet: {error}")),
        }
    }

    /// Which position a file has, and where reading it begins. The second value is a position that
    /// ends here, because what it spoke of was overwritten while nobody looked.
    pub(super) fn recognise(
        &mut self,
        path: &Path,
        file: &File,
        metadata: &Metadata,
        scope: &str,
    ) -> Result<Recognised, Box<dyn std::error::Error>> {
        let store = self.lookups.as_mut();
        let seed = store.seed();
        let place = Place::of(metadata);
        let epoch = self.epochs.look(store, scope)?;
        let mut head = vec![0; HEAD_BYTES as usize];
        let read = open::read_full_at(file, &mut head, 0)?;
        head.truncate(read);
        let mut alike = recognise::alike(store, scope, &head, Some(place))?;
        // A position that somebody holds, or whose file still lies elsewhere, is not this file's.
        alike.retain(|stored| {
            let held = self
                .files
                .values()
                .any(|held| matches!(held.moves, Moves::Stored { id, .. } if id == stored.id));
            let elsewhere = stored.place.is_some_and(|there| {
                !there.is(&place)
                    && Path::new(&stored.path)
                        .symlink_metadata()
                        .is_ok_and(|found| Place::of(&found).is(&there))
            });
            !held && !elsewhere
        });
        let found = recognise::compare_living(seed, alike, file, metadata.len(), path, place)?;
        let new = || Taken {
            hasher: Hasher::new(seed),
            moves: Moves::New { epoch },
            last_day: None,
        };
        Ok(match decide_followed(&found.evidence) {
            Followed::New => (new(), None),
            Followed::Continue(index) => {
                let stored = &found.stored[index];
                match found.hashers[index].clone() {
                    Some(hasher) => (taken(stored, hasher), None),
                    None => (new(), None),
                }
            }
            Followed::Replaced(index) => {
                let gap = "truncated or overwritten while tollkeeper was not running";
                (new(), Some((found.stored[index].clone(), gap)))
            }
            Followed::Shortened(index) => {
                let stored = &found.stored[index];
                let hasher = hash_whole_lines(seed, file)?;
                tracing::warn!(
                    "{}: ends before byte {}, up to which it was counted; going on from its end",
                    path.display(),
                    stored.print.offset
                );
                (taken(stored, hasher), None)
            }
        })
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

    /// After a start: what an earlier run was reading, and no source finds any more, was renamed.
    fn find_the_rest(&mut self) -> Result<(), StoreError> {
        let living = self.lookups.living(&self.node)?;
        for stored in living {
            let is_held = self
                .files
                .values()
                .any(|held| matches!(held.moves, Moves::Stored { id, .. } if id == stored.id));
            let is_ending = self
                .ending
                .iter()
                .any(|end| matches!(end.moves, Moves::Stored { id, .. } if id == stored.id));
            // Its path may be the name that it was renamed to, which no pattern finds.
            let path = Path::new(&stored.path);
            let has = |source: &Source| source.name == stored.source;
            let finds = |source: &Source| {
                source
                    .finders
                    .iter()
                    .any(|finder| finder.captures(path).is_some())
            };
            let source = self.sources.iter().position(has);
            let Some(source) = source.or_else(|| self.sources.iter().position(finds)) else {
                continue;
            };
            if is_held || is_ending {
                continue;
            }
            match self.renamed(&stored, source) {
                Some(tracked) => {
                    tracing::info!(
                        "reading the rest of {} from {}",
                        stored.path,
                        tracked.path.display()
                    );
                    self.track(tracked);
                }
                None => self.end_position(
                    source,
                    &stored,
                    "not found any more after tollkeeper was not running",
                    State::Finished,
                ),
            }
        }
        Ok(())
    }

    /// Looks for a file beside where it was, by its inode and content.
    fn renamed(&self, stored: &Stored, source: usize) -> Option<Tracked> {
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
            if let (Followed::Continue(_), Some(Some(hasher))) = (
                decide_followed(&found.evidence),
                found.hashers.into_iter().next(),
            ) {
                let taken = taken(stored, hasher);
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
        let captures = source
            .finders
            .iter()
            .find_map(|finder| finder.captures(path))
            .unwrap_or_default();
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

/// Takes up a file at its stored position.
fn taken(stored: &Stored, hasher: Hasher) -> Taken {
    Taken {
        hasher,
        moves: Moves::Stored {
            id: stored.id,
            from: stored.print.offset,
        },
        last_day: stored.last_day.map(day::number),
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
    Ok(blocks.into_hasher())
}
