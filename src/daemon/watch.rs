//! Wakes the follower when something happens in the folders of the logs.
//!
//! Folders are watched, never files. What the kernel says is a hint and nothing more: events that
//! are lost, or that a network file system never sends, cost a few seconds and no line. However
//! many there are, they are gathered in a set of bounded size until the follower asks.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::message::Message;

/// Paths that are gathered; beyond, all is searched.
const MAX_PATHS: usize = 10_000;

/// What has happened since it was last asked.
#[derive(Debug, Default)]
pub struct Happened {
    /// Something appeared, was renamed or removed, or events were lost.
    pub search: bool,
    /// Files that were written to.
    pub paths: HashSet<PathBuf>,
}

/// The folders that are watched.
pub struct Watch {
    /// `None`: the kernel grants none; files are looked at every few seconds all the same.
    watcher: Option<RecommendedWatcher>,
    happened: Arc<Mutex<Happened>>,
    watched: BTreeSet<PathBuf>,
    complained: bool,
}

impl Watch {
    /// Tells `wake` that something has happened, once until it is asked what.
    #[must_use]
    pub fn new(wake: Sender<Message>) -> Self {
        let happened = Arc::new(Mutex::new(Happened::default()));
        let gathered = Arc::clone(&happened);
        let tell = move |event| {
            let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            let was_empty = !gathered.search && gathered.paths.is_empty();
            gather(event, &mut gathered);
            let is_empty = !gathered.search && gathered.paths.is_empty();
            if was_empty && !is_empty {
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
            watched: BTreeSet::new(),
            complained: false,
        }
    }

    /// What has happened since the last call.
    #[must_use]
    pub fn happened(&self) -> Happened {
        std::mem::take(&mut *self.happened.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Watches exactly these.
    pub fn folders(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&folders) {
            let _ = watcher.unwatch(gone);
        }
        let mut watched: BTreeSet<PathBuf> = self.watched.intersection(&folders).cloned().collect();
        for folder in folders.difference(&self.watched) {
            if !folder.is_dir() {
                continue;
            }
            match watcher.watch(Path::new(folder), RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder.clone())),
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!(
                        "{} cannot be watched ({error}); looking every few seconds instead",
                        folder.display()
                    );
                }
                Err(_) => {}
            }
        }
        self.watched = watched;
    }
}

fn gather(event: notify::Result<notify::Event>, gathered: &mut Happened) {
    let Ok(event) = event else {
        gathered.search = true;
        return;
    };
    if event.need_rescan() {
        gathered.search = true;
        return;
    }
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) if gathered.paths.len() < MAX_PATHS => {
            gathered.paths.extend(event.paths);
        }
        EventKind::Modify(ModifyKind::Data(_))
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_)) => gathered.search = true,
        _ => {}
    }
}
