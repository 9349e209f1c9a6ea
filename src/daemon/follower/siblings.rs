//! The files beside the followed logs, and in their `olddir`, that are rotations of them by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Follower, Source};
use crate::daemon::tracked::Tracked;
use crate::source::find::{Folders, rotation_folder};
use crate::source::identity::{before_rotation, same_log};

/// For sources with an `olddir`: where the rotations of each log lie, but for what is behind the
/// log's name, and the logs that they may be of.
pub(super) type Found = HashMap<usize, HashMap<PathBuf, Vec<PathBuf>>>;

/// A rotated file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sibling {
    /// Index of the source that follows its log.
    pub(super) source: usize,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// The log that it was.
    pub(super) log: PathBuf,
}

impl Sibling {
    /// What tells its log: its path, and the one that it would have beside the log.
    pub(super) fn beside(&self) -> PathBuf {
        match self.path.file_name() {
            Some(name) => self.log.with_file_name(name),
            None => self.path.clone(),
        }
    }
}

impl Follower {
    /// Has a held file found by its log: thousands may be held, and each is asked for.
    pub(super) fn index(&mut self, id: u64, path: &Path) {
        let ids = self.by_log.entry(before_rotation(path)).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    /// Forgets what is held no longer.
    pub(super) fn index_anew(&mut self) {
        self.by_log.clear();
        for (id, file) in &self.files {
            let ids = self.by_log.entry(before_rotation(&file.path)).or_default();
            ids.push(*id);
        }
    }

    /// The held files that are rotations of the same log as one of these, or that log.
    pub(super) fn held_of_log(&self, names: &[&Path]) -> BTreeSet<u64> {
        let ids = names
            .iter()
            .filter_map(|name| self.by_log.get(&before_rotation(name)));
        let is_of_log = |id: &u64| {
            let held = self.files.get(id);
            held.is_some_and(|held| names.iter().any(|name| same_log(&held.path, name)))
        };
        ids.flatten().copied().filter(is_of_log).collect()
    }

    /// All of them.
    pub(super) fn siblings(&mut self) -> Vec<Sibling> {
        let mut siblings = Vec::new();
        let mut doubtful = BTreeSet::new();
        let mut folders = self.rotation_folders();
        // A log may have begun and been rotated between two looks, so that nobody knows it.
        for folder in self.folders.keys() {
            folders.entry(folder.clone()).or_default();
        }
        for (folder, logs) in folders {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = before_rotation(&path);
                match name.file_name().and_then(|name| logs.get(name)) {
                    Some(of) if of.len() > 1 => drop(doubtful.insert(path)),
                    Some(of) => siblings.extend(of.iter().filter(|(_, log)| *log != path).map(
                        |(source, log)| Sibling {
                            source: *source,
                            log: log.clone(),
                            path: path.clone(),
                        },
                    )),
                    None if name != path => {
                        let source = self.source_of(&name);
                        siblings.extend(source.map(|source| Sibling {
                            source,
                            log: name,
                            path,
                        }));
                    }
                    None => {}
                }
            }
        }
        for path in doubtful {
            let what = "several logs of this name are rotated into this folder: nobody can tell whose it is; give each an olddir of its own, and import it with --vhost";
            self.say(&path, what.to_owned());
        }
        siblings.sort_unstable();
        siblings
    }

    /// The folders in which rotations may lie that no event of a log's own folder tells of.
    pub(super) fn olddirs(&self) -> BTreeSet<PathBuf> {
        let held = self.files.values().map(|file| (&file.path, file.source));
        let closed = self.closed.iter().map(|(path, file)| (path, file.source));
        let folders = held.chain(closed).filter_map(|(path, source)| {
            let olddir = self.sources[source].olddir.as_ref()?;
            Some(rotation_folder(olddir, &before_rotation(path)))
        });
        folders.filter(|folder| folder.is_dir()).collect()
    }

    /// The folders in which rotations may lie, each with the names of the logs and who follows them.
    fn rotation_folders(&self) -> BTreeMap<PathBuf, HashMap<OsString, Vec<(usize, PathBuf)>>> {
        let mut logs: BTreeMap<PathBuf, usize> = BTreeMap::new();
        // A log that is named without a wildcard is ours also where it is not there.
        for (index, source) in self.sources.iter().enumerate() {
            let only = source.finders.iter().filter_map(|finder| finder.only());
            logs.extend(only.map(|log| (log.to_owned(), index)));
        }
        let missing = self.archives.missing.iter();
        logs.extend(missing.map(|missing| (missing.log.clone(), missing.source)));
        let mut found = Found::new();
        // The source of a file that is being left finds nothing any more, nor its log.
        let is_ours = |file: &Tracked| file.ends.is_none() && !file.leaving;
        let held = self.files.values().filter(|file| is_ours(file));
        let held = held.map(|file| (&file.path, file.source));
        let closed = self.closed.iter().map(|(path, file)| (path, file.source));
        for (path, source) in held.chain(closed) {
            let log = self.log_of(source, path, &mut found);
            logs.insert(log, source);
        }
        let mut folders: BTreeMap<PathBuf, HashMap<OsString, Vec<(usize, PathBuf)>>> =
            BTreeMap::new();
        for (log, source) in logs {
            let (Some(folder), Some(name)) = (log.parent(), log.file_name()) else {
                continue;
            };
            let olddir = self.sources[source].olddir.as_ref();
            let olddir = olddir.map(|olddir| rotation_folder(olddir, &log));
            for folder in [folder.to_owned()].into_iter().chain(olddir) {
                let of: &mut Vec<_> = folders
                    .entry(folder)
                    .or_default()
                    .entry(name.to_owned())
                    .or_default();
                if !of.contains(&(source, log.clone())) {
                    of.push((source, log.clone()));
                }
            }
        }
        folders
    }

    /// The log that a path was rotated from, where it lies in the source's `olddir`; else as its own
    /// name tells. `found` keeps what a source finds from call to call.
    pub(super) fn log_of(&self, source: usize, path: &Path, found: &mut Found) -> PathBuf {
        let of: &Source = &self.sources[source];
        let own = before_rotation(path);
        let is_found = |log: &Path| of.finders.iter().any(|f| f.captures(log).is_some());
        let Some(olddir) = of.olddir.as_ref().filter(|_| !is_found(&own)) else {
            return own;
        };
        let logs = found.entry(source).or_insert_with(|| {
            let (mut logs, mut folders) = (BTreeSet::new(), Folders::new());
            for finder in &of.finders {
                finder.find(&mut logs, &mut folders);
                logs.extend(finder.only().map(Path::to_owned));
            }
            let mut rotated: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
            for log in logs {
                let folder = rotation_folder(olddir, &log);
                let rotation = folder.join(log.file_name().unwrap_or_default());
                rotated.entry(rotation).or_default().push(log);
            }
            rotated
        });
        match logs.get(&own).map(Vec::as_slice) {
            Some([log]) => log.clone(),
            _ => own,
        }
    }
}
