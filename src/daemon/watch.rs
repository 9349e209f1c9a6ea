//! Wakes the follower when something happens in the folders of the logs.
//!
//! Folders are watched, never files. What the kernel says is a hint and nothing more: events that
//! are lost, or that a network file system never sends, cost a few seconds and no line. However
//! many there are, they are gathered in a set of bounded size until the follower asks.
//!
//! Each write costs an event, which is what makes a log that was quiet seen at once, and what would
//! take a good part of a core where a server writes tens of thousands of lines a second. So a folder
//! where more than [`STORM_EVENTS`] happen in a second is not watched for a while: the follower looks
//! at its files often enough by itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::message::Message;
use crate::excerpt::printable;
use crate::source::find::Folders;

/// Paths that are gathered; beyond, all is searched.
const MAX_PATHS: usize = 10_000;
/// Folders that are watched; further ones are looked at every few seconds.
const MAX_FOLDERS: usize = 16_384;
/// A folder is stormy when so many writes happen in it in one second;
pub const STORM_EVENTS: u32 = 500;
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// it is watched again after so long, to see whether it still is.
const STORM_LASTS: Duration = Duration::from_secs(60);

/// What has happened since it was last asked.
#[derive(Debug, Default)]
pub struct Happened {
    /// Something appeared, was renamed or removed, or events were lost.
    pub search: bool,
    /// Events were lost: any file may have been written to.
    pub lost: bool,
    /// Files that were written to.
    pub paths: HashSet<PathBuf>,
    /// How often anything was, by folder.
    writes: HashMap<PathBuf, u32>,
}

impl Happened {
    fn is_empty(&self) -> bool {
        !self.search && self.paths.is_empty()
    }
}

/// The folders that are watched.
pub struct Watch {
    /// `None`: the kernel grants none; files are looked at every few seconds all the same.
    watcher: Option<RecommendedWatcher>,
    happened: Arc<Mutex<Happened>>,
    /// Each with its inode: a folder that is made anew is watched anew.
    watched: BTreeMap<PathBuf, u64>,
    complained: bool,
    /// Writes since `counted_since`, by folder.
    writes: HashMap<PathBuf, u32>,
    counted_since: Instant,
    /// Folders that are not watched until then.
    stormy: HashMap<PathBuf, Instant>,
}

impl Watch {
    /// Tells `wake` that something has happened, once until it is asked what.
    #[must_use]
    pub fn new(wake: Sender<Message>) -> Self {
        let happened = Arc::new(Mutex::new(Happened::default()));
        let gathered = Arc::clone(&happened);
        let tell = move |event| {
            let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = gathered.is_empty();
            gather(event, &mut gathered);
            if was_empty && !gathered.is_empty() {
                // Without a follower there is nobody to tell.
                let _ = wake.send(Message::Happened);
            }
        };
        let watcher = notify::recommended_watcher(tell);
        if let Err(error) = &watcher {
            tracing::warn!(
                "folders cannot be watched ({error}); looking every few seconds instead"
            );
        }
        Self {
            watcher: watcher.ok(),
            happened,
            watched: BTreeMap::new(),
            complained: false,
            writes: HashMap::new(),
            counted_since: Instant::now(),
            stormy: HashMap::new(),
        }
    }

    /// Watches nothing, and tells what is put into the other end.
    #[cfg(test)]
    pub(crate) fn fed() -> (Self, Arc<Mutex<Happened>>) {
        let happened = Arc::new(Mutex::new(Happened::default()));
        let watch = Self {
            watcher: None,
            happened: Arc::clone(&happened),
            watched: BTreeMap::new(),
            complained: false,
            writes: HashMap::new(),
            counted_since: super::time::now(),
            stormy: HashMap::new(),
        };
        (watch, happened)
    }

    /// What has happened since the last call.
    #[must_use]
    pub fn happened(&mut self, now: Instant) -> Happened {
        let mut happened =
            std::mem::take(&mut *self.happened.lock().unwrap_or_else(PoisonError::into_inner));
        for (folder, writes) in happened.writes.drain() {
            *self.writes.entry(folder).or_default() += writes;
        }
        if now.saturating_duration_since(self.counted_since) >= COUNT_INTERVAL {
            self.counted_since = now;
            for (folder, writes) in std::mem::take(&mut self.writes) {
                if writes > STORM_EVENTS && self.watched.remove(&folder).is_some() {
                    if let Some(watcher) = &mut self.watcher {
                        let _ = watcher.unwatch(&folder);
                    }
                    tracing::debug!("{} is looked at, not watched", folder.display());
                    self.stormy.insert(folder, now + STORM_LASTS);
                    // From here on nothing is told.
                    happened.search = true;
                    happened.lost = true;
                }
            }
        }
        happened
    }

    /// The folders of which nothing is told for now, because too much happens in them.
    #[must_use]
    pub fn stormy(&self) -> &HashMap<PathBuf, Instant> {
        &self.stormy
    }

    /// Ends the storms that may be over; `true`: there were some, whose folders are to be watched again,
    /// and what happened in them before was not told.
    pub fn calm(&mut self, now: Instant) -> bool {
        let before = self.stormy.len();
        self.stormy.retain(|_, until| *until > now);
        before != self.stormy.len()
    }

    /// Watches exactly these.
    pub fn folders(&mut self, folders: &Folders) {
        self.stormy.retain(|folder, _| folders.contains_key(folder));
        let inode = |folder: &Path| folders.get(folder).and_then(|stamp| stamp.inode());
        let gone = |(folder, watched): &(&PathBuf, &u64)| inode(folder) != Some(**watched);
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(gone)
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in gone {
            self.watched.remove(&folder);
            if let Some(watcher) = &mut self.watcher {
                let _ = watcher.unwatch(&folder);
            }
        }
        for (folder, stamp) in folders {
            let Some(inode) = stamp.inode() else { continue };
            if !self.watched.contains_key(folder) && !self.stormy.contains_key(folder) {
                self.watch(folder, inode);
            }
        }
    }

    fn watch(&mut self, folder: &Path, inode: u64) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let watched = match self.watched.len() < MAX_FOLDERS {
            true => watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(|error| error.to_string()),
            false => Err(format!("{MAX_FOLDERS} others are")),
        };
        match watched {
            Ok(()) => drop(self.watched.insert(folder.to_owned(), inode)),
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(
                    "{} cannot be watched ({error}); looking every few seconds instead",
                    printable(&folder.to_string_lossy())
                );
            }
            Err(_) => {}
        }
    }
}

fn gather(event: notify::Result<notify::Event>, gathered: &mut Happened) {
    let lost = |gathered: &mut Happened| {
        gathered.search = true;
        gathered.lost = true;
    };
    let Ok(event) = event else {
        return lost(gathered);
    };
    if event.need_rescan() {
        return lost(gathered);
    }
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) if gathered.paths.len() < MAX_PATHS => {
            for path in event.paths {
                count(gathered, &path);
                if !gathered.paths.contains(&path) {
                    gathered.paths.insert(path);
                }
            }
        }
        EventKind::Modify(ModifyKind::Data(_)) => lost(gathered),
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            gathered.search = true
        }
        _ => {}
    }
}

fn count(gathered: &mut Happened, path: &Path) {
    let Some(folder) = path.parent() else { return };
    match gathered.writes.get_mut(folder) {
        Some(writes) => *writes += 1,
        None => drop(gathered.writes.insert(folder.to_owned(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::find::Stamp;
    use notify::event::{CreateKind, DataChange, Flag};

    fn written(name: &str) -> notify::Result<notify::Event> {
        let kind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        Ok(notify::Event::new(kind).add_path(Path::new("/logs").join(name)))
    }

    #[test]
    fn what_is_gathered_is_bounded_and_what_is_lost_is_known() {
        let mut happened = Happened::default();
        for number in 0..MAX_PATHS {
            gather(written(&number.to_string()), &mut happened);
        }
        assert!(!happened.lost && happened.paths.len() == MAX_PATHS);
        gather(written("one more"), &mut happened);
        assert!(happened.lost && happened.paths.len() == MAX_PATHS);

        let mut happened = Happened::default();
        let overflow = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        gather(Ok(overflow), &mut happened);
        assert!(happened.lost && happened.search);

        let mut happened = Happened::default();
        let created = EventKind::Create(CreateKind::File);
        gather(Ok(notify::Event::new(created)), &mut happened);
        assert!(happened.search && !happened.lost && happened.paths.is_empty());
    }

    #[test]
    fn storms_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let (wake, _messages) = std::sync::mpsc::channel();
        let mut watch = Watch::new(wake);
        let mut folders = Folders::new();
        folders.insert(folder.path().to_owned(), Stamp::of(folder.path()));
        watch.folders(&folders);
        assert!(watch.watched.contains_key(folder.path()));

        let start = watch.counted_since;
        let writes = |watch: &Watch, count: u32| {
            let mut happened = watch.happened.lock().expect("nobody panicked");
            happened.writes.insert(folder.path().to_owned(), count);
        };
        writes(&watch, STORM_EVENTS);
        assert!(!watch.happened(start + COUNT_INTERVAL).lost);
        assert!(watch.stormy().is_empty(), "so many a second are fine");
        writes(&watch, STORM_EVENTS + 1);
        assert!(watch.happened(start + COUNT_INTERVAL * 2).lost);
        assert!(watch.stormy().contains_key(folder.path()));
        assert!(watch.watched.is_empty());
        watch.folders(&folders);
        assert!(watch.watched.is_empty(), "not as long as the storm lasts");

        assert!(!watch.calm(start + COUNT_INTERVAL * 3));
        assert!(watch.calm(start + COUNT_INTERVAL * 2 + STORM_LASTS));
        watch.folders(&folders);
        assert!(watch.watched.contains_key(folder.path()));
    }
}
