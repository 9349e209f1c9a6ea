//! Asks the store which of its positions a file is: gathers the evidence that
//! [`identity`](crate::source::identity) decides on.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::source::content::{HEAD_BYTES, Hasher, hash};
use crate::source::identity::{Evidence, same_log};
use crate::source::open::{read_full_at, read_is_done};
use crate::source::position::{Place, Stored};
use crate::store::{Store, StoreError};

/// Which state of each scope this process has seen.
///
/// A new file is committed only if nobody else has met a new file in its scope since we looked.
/// Our own flushes move the scope on too; they are told apart by counting them here.
#[derive(Debug, Default)]
pub struct Epochs {
    own: Mutex<HashMap<String, u64>>,
}

impl Epochs {
    /// What others have moved the scope on to; to be asked before looking positions up.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn look(&self, store: &mut dyn Store, scope: &str) -> Result<u64, StoreError> {
        let own = self.lock();
        let epoch = store.epoch(scope)?;
        Ok(epoch.wrapping_sub(own.get(scope).copied().unwrap_or(0)))
    }

    /// The epoch to demand in a flush for what was looked up at an epoch.
    #[must_use]
    pub fn demand(&self, scope: &str, looked: u64) -> u64 {
        looked.wrapping_add(self.lock().get(scope).copied().unwrap_or(0))
    }

    /// A flush of ours has moved these scopes on. To be called before anything else is looked up.
    pub fn moved(&self, scopes: impl IntoIterator<Item = String>) {
        let mut own = self.lock();
        for scope in scopes {
            *own.entry(scope).or_default() += 1;
        }
    }

    /// Runs a flush, during which nobody looks anything up. `flush` returns the scopes that it has
    /// moved on.
    ///
    /// # Errors
    /// Those of `flush`.
    pub fn flushing<T, E>(
        &self,
        flush: impl FnOnce(&dyn Fn(&str, u64) -> u64) -> Result<(T, Vec<String>), E>,
    ) -> Result<T, E> {
        let mut own = self.lock();
        let demand =
            |scope: &str, looked: u64| looked.wrapping_add(own.get(scope).copied().unwrap_or(0));
        let (value, moved) = flush(&demand)?;
        for scope in moved {
            *own.entry(scope).or_default() += 1;
        }
        Ok(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Positions that a file may be, with what speaks for each.
#[derive(Debug, Default)]
pub struct Candidates {
    /// As the store has them.
    pub stored: Vec<Stored>,
    /// In the same order.
    pub evidence: Vec<Evidence>,
    /// Where the content was the same: ready to read on from there.
    pub hashers: Vec<Option<Hasher>>,
    /// Bytes of the content, as far as they count: for a plain file up to its last newline.
    pub length: u64,
    /// All bytes of the content.
    pub read: u64,
}

/// The head of a file, for looking it up.
///
/// # Errors
/// What reading says.
pub fn head(stream: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES as usize);
    stream.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// The positions in a scope whose head, of at least so many bytes, this file begins with, and those at its
/// place.
///
/// # Errors
/// When the store does not answer.
pub fn alike(
    store: &mut dyn Store,
    scope: &str,
    head: &[u8],
    least: u64,
    place: Option<Place>,
) -> Result<Vec<Stored>, StoreError> {
    let seed = store.seed();
    let mut hash_of = |length: u64| Ok(head.get(..length as usize).map(|start| hash(seed, start)));
    let mut found = store.by_head(scope, least, &mut hash_of)?;
    if let Some(place) = place {
        for stored in store.at_inode(place.inode)? {
            let known = found.iter().any(|other| other.id == stored.id);
            if !known && stored.scope == scope && stored.place.is_some_and(|other| other.is(&place))
            {
                found.push(stored);
            }
        }
    }
    Ok(found)
}

/// Reads all of a file's content once, and compares it with each candidate. `names` are the path of
/// the file, and others that tell what it is a rotation of.
///
/// # Errors
/// What reading says: an archive that is cut short, for instance.
pub fn compare(
    seed: u64,
    stored: Vec<Stored>,
    stream: &mut dyn Read,
    names: &[&Path],
    place: Option<Place>,
    ends_with_newline: bool,
) -> io::Result<Candidates> {
    let mut comparison = Comparison::new(seed, stored);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let came_back = stream.read(&mut buffer);
        read_is_done();
        match came_back {
            Ok(0) => return Ok(comparison.finish(names, place, ends_with_newline)),
            Ok(read) => comparison.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file's content on its way past the candidates.
#[derive(Debug)]
pub struct Comparison {
    seed: u64,
    stored: Vec<Stored>,
    hashers: Vec<Option<Hasher>>,
    /// Candidates by rising offset, from the first on whose offset has not been reached.
    next: std::iter::Peekable<std::vec::IntoIter<usize>>,
    hasher: Hasher,
    head: Vec<u8>,
    /// Up to behind the last newline.
    whole: u64,
}

impl Comparison {
    /// At the start of the content.
    #[must_use]
    pub fn new(seed: u64, stored: Vec<Stored>) -> Self {
        let mut order: Vec<usize> = (0..stored.len()).collect();
        order.sort_by_key(|&index| stored[index].print.offset);
        Self {
            seed,
            hashers: vec![None; stored.len()],
            stored,
            next: order.into_iter().peekable(),
            hasher: Hasher::new(seed),
            head: Vec::new(),
            whole: 0,
        }
    }

    /// What it is compared with.
    #[must_use]
    pub fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// Takes the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        let wanted = HEAD_BYTES as usize - self.head.len();
        self.head
            .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        if let Some(newline) = memchr::memrchr(b'\n', bytes) {
            self.whole = self.hasher.offset() + newline as u64 + 1;
        }
        let mut rest = bytes;
        let (stored, hasher) = (&self.stored, &mut self.hasher);
        while let Some(index) = self
            .next
            .next_if(|&index| stored[index].print.offset <= hasher.offset() + rest.len() as u64)
        {
            let (before, after) =
                rest.split_at((stored[index].print.offset - hasher.offset()) as usize);
            hasher.update(before);
            rest = after;
            if hasher.fingerprint().content == stored[index].print.content {
                self.hashers[index] = Some(hasher.clone());
            }
        }
        hasher.update(rest);
    }

    /// The content has ended.
    #[must_use]
    pub fn finish(
        mut self,
        names: &[&Path],
        place: Option<Place>,
        ends_with_newline: bool,
    ) -> Candidates {
        // Positions of which nothing is committed are reached also where there is no byte.
        self.update(&[]);
        let length = self.hasher.offset();
        let evidence = self
            .stored
            .iter()
            .zip(&self.hashers)
            .map(|(position, same)| {
                let shorter = position.print.offset > length;
                let same_content = (!shorter).then_some(same.is_some());
                evidence(self.seed, position, same_content, &self.head, names, place)
            })
            .collect();
        Candidates {
            stored: self.stored,
            evidence,
            hashers: self.hashers,
            length: if ends_with_newline {
                self.whole
            } else {
                length
            },
            read: length,
        }
    }
}

/// Compares a living file with the candidates by their heads and the last block before each offset:
/// cheap, however long the file.
///
/// # Errors
/// What reading says.
pub fn compare_living(
    seed: u64,
    stored: Vec<Stored>,
    file: &File,
    length: u64,
    names: &[&Path],
    place: Place,
) -> io::Result<Candidates> {
    let mut head = vec![0; HEAD_BYTES as usize];
    let read = read_full_at(file, &mut head, 0)?;
    head.truncate(read);
    let mut candidates = Candidates {
        length,
        read: length,
        ..Candidates::default()
    };
    for position in stored {
        let print = &position.print;
        let mut hasher = None;
        if print.offset <= length && print.head_len <= head.len() as u64 {
            let mut recent = vec![0; (print.offset - print.resume_start()) as usize];
            let read = read_full_at(file, &mut recent, print.resume_start())?;
            recent.truncate(read);
            hasher = Hasher::resume(seed, print, &head[..print.head_len as usize], &recent);
        }
        let same_content = (print.offset <= length).then_some(hasher.is_some());
        candidates.evidence.push(evidence(
            seed,
            &position,
            same_content,
            &head,
            names,
            Some(place),
        ));
        candidates.stored.push(position);
        candidates.hashers.push(hasher);
    }
    Ok(candidates)
}

/// Whether two files begin with the same bytes, so many of them.
///
/// # Errors
/// What reading says.
pub fn begin_alike(one: &File, other: &File, length: u64) -> io::Result<bool> {
    let mut buffers = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < length {
        let wanted = (length - at).min(buffers.0.len() as u64) as usize;
        let (ours, theirs) = (&mut buffers.0[..wanted], &mut buffers.1[..wanted]);
        let read = read_full_at(one, ours, at)?;
        if read != wanted || read_full_at(other, theirs, at)? != wanted || ours != theirs {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

fn evidence(
    seed: u64,
    position: &Stored,
    same_content: Option<bool>,
    head: &[u8],
    names: &[&Path],
    place: Option<Place>,
) -> Evidence {
    let theirs = Path::new(&position.path);
    let print = &position.print;
    let start = head.get(..print.head_len as usize);
    Evidence {
        offset: print.offset,
        same_place: matches!((position.place, place), (Some(theirs), Some(ours)) if theirs.is(&ours)),
        same_log: names.iter().any(|name| same_log(theirs, name)),
        same_content,
        same_head: print.head_len > 0 && start.is_some_and(|start| hash(seed, start) == print.head),
        state: position.state,
        same_path: names.contains(&theirs),
        same_folder: names.iter().any(|name| theirs.parent() == name.parent()),
        elsewhere: false,
        another: false,
        held: false,
    }
}
