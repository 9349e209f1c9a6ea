//! Which position a file has that nobody holds: what speaks for each, gathered for
//! [`decide_followed`].

use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use super::rest::ended;
use super::{Follower, shown};
use crate::account::day;
use crate::daemon::clock;
use crate::daemon::tracked::{Taken, Tracked};
use crate::recognise;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::{HEAD_BYTES, Hasher, hash};
use crate::source::follow::AtPath;
use crate::source::identity::{Followed, before_rotation, decide_followed};
use crate::source::open;
use crate::source::position::{Place, State, Stored};
use crate::store::{Gap, Moves, StoreError};

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
    /// Which position a file has, and where reading it begins. `names`: its path, and others that tell
    /// what it is a rotation of. `least`: of positions elsewhere only those are asked for whose head has so
    /// many bytes.
    pub(super) fn recognise(
        &mut self,
        names: &[&Path],
        file: &File,
        metadata: &Metadata,
        scope: &str,
        least: u64,
    ) -> Result<Recognised, Box<dyn std::error::Error>> {
        let place = Place::of(metadata);
        let mut head = vec![0; HEAD_BYTES as usize];
        let read = open::read_full_at(file, &mut head, 0)?;
        head.truncate(read);
        let beside = self.held_beside(names, scope, &head);
        if self.is_earlier_state(&beside, file, metadata.len(), &place)? {
            if !self.left.contains_key(names[0]) {
                self.leave_blank(place)?;
            }
            return Ok(Recognised::Leave);
        }
        let store = self.lookups.as_mut();
        let seed = store.seed();
        let epoch = self.epochs.look(store, scope)?;
        let mut alike = recognise::alike(store, scope, &head, least, Some(place))?;
        // What this node follows there is the same file, whatever vhost it was read for before the
        // config changed.
        for stored in store.at_inode(place.inode)? {
            let is_ours = stored.state == State::Living && stored.node == self.node;
            let is_there = stored.place.is_some_and(|there| there.is(&place));
            if is_ours && is_there && alike.iter().all(|other| other.id != stored.id) {
                alike.push(stored);
            }
        }
        // What another node follows is its own, but for this very file: then it was this machine that
        // had the other name, or both follow one file system.
        let is_this = |stored: &Stored| {
            let there = stored.place.filter(|there| there.birth.is_some());
            there.is_some_and(|there| there.is(&place))
        };
        alike.retain(|stored| {
            stored.node == self.node || stored.state != State::Living || is_this(stored)
        });
        self.apply_ends(&mut alike);
        if self.is_earlier_state_of(&alike, names, file, metadata.len(), &place)? {
            self.leave_blank(place)?;
            return Ok(Recognised::Leave);
        }
        // Of a file that is held, what has been read says more than what is committed.
        let held = self.held_alike(&beside, scope, &mut alike);
        let at_place = alike
            .iter()
            .any(|s| s.place.is_some_and(|there| there.is(&place)));
        let mut found = if at_place && held.is_empty() {
            recognise::compare_living(seed, alike, file, metadata.len(), names, place)?
        } else {
            let mut stream = file.try_clone()?;
            stream.seek(SeekFrom::Start(0))?;
            recognise::compare(seed, alike, &mut stream, names, Some(place), true)?
        };
        for (evidence, stored) in found.evidence.iter_mut().zip(&found.stored) {
            let there = Path::new(&stored.path).metadata();
            evidence.held = held.contains(&stored.id);
            evidence.elsewhere = !evidence.same_place
                && stored
                    .place
                    .is_some_and(|place| there.is_ok_and(|there| Place::of(&there).is(&place)));
            let may_be = !evidence.same_place
                && evidence.offset < HEAD_BYTES
                && evidence.same_content == Some(true);
            evidence.another = may_be && self.is_another(stored, names, file, metadata.len());
        }
        let decision = decide_followed(&found.evidence);
        if let Followed::Continue(index) = decision {
            // It does not end after all: it goes on as this file.
            let id = found.stored[index].id;
            self.ending.retain(|end| end.moves.row() != Some(id));
        }
        let goes_on = match decision {
            Followed::Continue(index) => Some(found.stored[index].id),
            _ => None,
        };
        self.end_blank(&found.stored, place, goes_on);
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
        Ok(match decision {
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
                let hasher = hash_whole_lines(seed, file)?;
                let path_of = stored(index).path.clone();
                self.gaps.push(Gap {
                    source: stored(index).source.clone(),
                    path: path_of,
                    from: stored(index).print.offset.min(metadata.len()),
                    to: None,
                    reason: "ends before what was counted of it; lines written into it since then, if any, are not told apart".to_owned(),
                });
                tracing::warn!(
                    file = shown(names[0]),
                    source = stored(index).source,
                    "{}: ends before byte {}, up to which it was counted; going on from its end",
                    shown(names[0]),
                    stored(index).print.offset
                );
                let is_held = held.contains(&stored(index).id);
                let moves = Moves::of(stored(index), epoch);
                Recognised::Take(Taken {
                    hasher,
                    moves: if is_held { new.moves } else { moves },
                    last_day: stored(index).last_day.map(day::number),
                })
            }
        })
    }

    /// A file that may have been taken up while it was empty is a copy.
    fn leave_blank(&mut self, place: Place) -> Result<(), StoreError> {
        let mut there = self.lookups.at_inode(place.inode)?;
        self.apply_ends(&mut there);
        self.end_blank(&there, place, None);
        Ok(())
    }

    /// Ends the position by which this file was taken up while it was empty, where it goes on by another
    /// one, or is a copy.
    fn end_blank(&mut self, there: &[Stored], place: Place, goes_on: Option<i64>) {
        let is_blank = |stored: &&Stored| {
            let is_ours = stored.state == State::Living && stored.node == self.node;
            let is_there = stored.place.is_some_and(|there| there.is(&place));
            stored.print.offset == 0 && is_ours && is_there && Some(stored.id) != goes_on
        };
        let blank = there.iter().filter(is_blank);
        // A file that is held stands here with a number below 0, and has no row.
        let blank = blank.filter(|stored| stored.id >= 0);
        let ended: Vec<_> = blank.map(|it| ended(it, State::Finished)).collect();
        self.ending.extend(ended);
    }

    /// Whether a file that begins with what was committed of a short one is another log, and no copy:
    /// the short one lies beside it and still holds what it did, and either by another name than it
    /// had, or this is the log that it was rotated from, or holds more.
    fn is_another(&mut self, stored: &Stored, names: &[&Path], file: &File, length: u64) -> bool {
        let theirs = Path::new(&stored.path);
        let source = self.sources.iter().position(|it| it.name == stored.source);
        let there = stored
            .place
            .and_then(|place| self.lies_beside(theirs, source, place));
        let Some(there) = there else { return false };
        let Ok((other, metadata)) = open::followed(&there) else {
            return false;
        };
        // What was truncated holds something else by now, and this may be its copy.
        if !still_holds(self.lookups.seed(), &there, &other, &metadata, stored) {
            return false;
        }
        let is_next = theirs != names[0] && before_rotation(theirs) == names[0];
        let holds_more = || recognise::begin_alike(file, &other, length).is_ok_and(|alike| !alike);
        there != theirs || is_next || holds_more()
    }

    /// What is about to be committed as ended is ended.
    pub(super) fn apply_ends(&self, alike: &mut [Stored]) {
        for stored in alike {
            let mut ending = self.ending.iter();
            let end = ending.find(|end| end.moves.row() == Some(stored.id));
            stored.state = end.map_or(stored.state, |end| end.state);
        }
    }

    /// The held files that a file may be a copy of: rotations of the same log, and files in the same
    /// folder whose first 1 KiB is the same.
    pub(super) fn held_beside(&self, names: &[&Path], scope: &str, head: &[u8]) -> Vec<u64> {
        let seed = self.lookups.seed();
        let ours = (head.len() as u64 == HEAD_BYTES).then(|| hash(seed, head));
        let mut beside = self.held_of_log(names);
        beside.retain(|id| self.files.get(id).is_some_and(|held| held.scope() == scope));
        let Some(ours) = ours else {
            return beside.into_iter().collect();
        };
        let folders: Vec<_> = names.iter().filter_map(|name| name.parent()).collect();
        let folders: Vec<_> = folders.iter().map(|folder| folder.as_os_str()).collect();
        let begins_so = |held: &Tracked| {
            let folder = held.path.parent().map(Path::as_os_str);
            held.hasher.head() == Some(ours)
                && held.scope() == scope
                && folder.is_some_and(|folder| folders.contains(&folder))
        };
        let files = self.files.iter();
        beside.extend(files.filter(|(_, held)| begins_so(held)).map(|(id, _)| *id));
        beside.into_iter().collect()
    }

    /// Whether a file holds nothing but the beginning of a log that is followed beside it.
    fn is_earlier_state(
        &self,
        beside: &[u64],
        file: &File,
        length: u64,
        place: &Place,
    ) -> std::io::Result<bool> {
        for held in beside.iter().filter_map(|id| self.files.get(id)) {
            let lies_there = held.at_path == AtPath::Ours && held.ends.is_none();
            let counted = length > 0 && length <= held.hasher.offset();
            if lies_there
                && counted
                && !held.place.is(place)
                && recognise::begin_alike(file, &held.file, length)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of a log that was followed by an earlier run, lies where it did, and is still to be found.
    fn is_earlier_state_of(
        &self,
        alike: &[Stored],
        names: &[&Path],
        file: &File,
        length: u64,
        place: &Place,
    ) -> std::io::Result<bool> {
        for stored in alike {
            let theirs = Path::new(&stored.path);
            let is_beside = names.iter().any(|name| theirs.parent() == name.parent());
            let print = &stored.print;
            let is_long = print.head_len == HEAD_BYTES && length >= HEAD_BYTES;
            let is_followed = stored.state == State::Living && stored.node == self.node;
            let is_it = |there: &Place| stored.place.is_some_and(|it| it.is(there));
            let is_held = |id: i64| self.files.values().any(|held| held.moves.row() == Some(id));
            if !is_beside || !is_long || !is_followed || is_it(place) || is_held(stored.id) {
                continue;
            }
            let Ok((other, metadata)) = open::followed(theirs) else {
                continue;
            };
            if length <= print.offset
                && is_it(&Place::of(&metadata))
                && still_holds(self.lookups.seed(), theirs, &other, &metadata, stored)
                && recognise::begin_alike(file, &other, length)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The held files that a path may be a copy of, as positions up to where they have been read;
    /// they take the place of what the store has of them. Returns how they are told from others.
    pub(super) fn held_alike(
        &self,
        beside: &[u64],
        scope: &str,
        alike: &mut Vec<Stored>,
    ) -> Vec<i64> {
        let mut ids = Vec::new();
        for (id, held) in &self.files {
            let stored_id = held.moves.row();
            alike.retain(|stored| Some(stored.id) != stored_id);
            if !beside.contains(id) {
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
                state: held.ends.unwrap_or(State::Living),
                updated: clock(),
            });
        }
        ids
    }
}

/// Whether a file begins with what was committed of it.
fn still_holds(seed: u64, path: &Path, file: &File, metadata: &Metadata, stored: &Stored) -> bool {
    let (alike, place) = (vec![stored.clone()], Place::of(metadata));
    let compared = recognise::compare_living(seed, alike, file, metadata.len(), &[path], place);
    compared.is_ok_and(|found| found.hashers.iter().any(Option::is_some))
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
