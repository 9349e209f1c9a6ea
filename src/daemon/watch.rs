//! Wakes the follower when something happens in the folders of the logs.
//!
//! Folders are watched, never files. What the kernel says is a hint and nothing more: events that
//! are lost, or that a network file system never sends, cost a few seconds and no line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::follower::Message;

/// The folders that are watched.
pub struct Watch {
    /// `None`: the kernel grants none; files are looked at every few seconds all the same.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    complained: bool,
}

impl Watch {
    /// Tells `wake` what happens.
    #[must_use]
    pub fn new(wake: Sender<Message>) -> Self {
        let tell = move |event: notify::Result<notify::Event>| {
            let message = match event {
                Ok(event) if event.need_rescan() => Some(Message::Search),
                Ok(event) => match event.kind {
                    EventKind::Modify(ModifyKind::Data(_)) => Some(Message::Happened(event.paths)),
                    EventKind::Create(_)
                    | EventKind::Remove(_)
                    | EventKind::Modify(ModifyKind::Name(_)) => Some(Message::Search),
                    _ => None,
                },
                Err(_) => Some(Message::Search),
            };
            if let Some(message) = message {
                // Without a follower there is nobody to tell.
                let _ = wake.send(message);
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
            watched: BTreeSet::new(),
            complained: false,
        }
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
