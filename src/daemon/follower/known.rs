//! Which position a file has that nobody holds: what speaks for each, gathered for
//! [`decide_followed`].

use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use super::{Follower, shown};
use crate::account::day;
use crate::daemon::clock;
use crate::daemon::tracked::Taken;
use crate::recognise;
use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
use crate::source::content::{HEAD_BYTES, Hasher};
use crate::source::follow::AtPath;
use crate::source::identity::{Followed, decide_followed, same_log};
use crate::source::open;
use crate::source::position::{Place, State, Stored};
use crate::store::Moves;

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
