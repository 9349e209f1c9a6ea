//! What the threads publish while they work, for whoever asks. Nobody waits for anybody here: each
//! lock is held for a few assignments.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::progress::Progress;
use super::status::LastFlush;

/// What is published.
#[derive(Debug)]
pub struct Published {
    /// Whether the threads get on.
    pub progress: Progress,
    store: Mutex<StoreHealth>,
    lines: AtomicU64,
    files: AtomicU64,
    searched: AtomicBool,
    /// Told when `searched` becomes true.
    has_searched: Notify,
}

/// How the store is.
#[derive(Debug, Clone)]
pub struct StoreHealth {
    /// What it says, where it does not take a batch.
    pub error: Option<String>,
    /// Since when that is so; seconds since 1970.
    pub since: i64,
    /// The last batch that it took.
    pub last_flush: Option<LastFlush>,
}

impl Published {
    /// Nothing has happened yet. `clock`: seconds since 1970.
    #[must_use]
    pub fn new(now: Instant, clock: i64) -> Self {
        Self {
            progress: Progress::new(now),
            store: Mutex::new(StoreHealth {
                error: None,
                since: clock,
                last_flush: None,
            }),
            lines: AtomicU64::new(0),
            files: AtomicU64::new(0),
            searched: AtomicBool::new(false),
            has_searched: Notify::new(),
        }
    }

    /// The store took a batch of so many rows.
    pub fn flushed(&self, rows: u64, took: Duration, clock: i64) {
        let mut store = self.store();
        if store.error.take().is_some() {
            store.since = clock;
        }
        store.last_flush = Some(LastFlush {
            at: clock,
            rows,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// The store does not answer, or did not take a batch. Returns whether that is news.
    pub fn away(&self, error: String, clock: i64) -> bool {
        let mut store = self.store();
        let is_news = store.error.is_none();
        if is_news {
            store.since = clock;
        }
        store.error = Some(error);
        is_news
    }

    /// How the store is.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        self.store().clone()
    }

    /// So many lines have been read.
    pub fn read_lines(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// How many lines have been read since the start.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// So many files are held.
    pub fn holds_files(&self, files: usize) {
        self.files.store(files as u64, Ordering::Relaxed);
    }

    /// How many files are held.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// All folders have been searched once.
    pub fn first_search_is_done(&self) {
        if !self.searched.swap(true, Ordering::Relaxed) {
            self.has_searched.notify_one();
        }
    }

    /// Whether all folders have been searched once.
    #[must_use]
    pub fn is_searched(&self) -> bool {
        self.searched.load(Ordering::Relaxed)
    }

    /// Waits until all folders have been searched once; to be awaited in one place alone.
    pub async fn searched(&self) {
        self.has_searched.notified().await;
    }

    fn store(&self) -> MutexGuard<'_, StoreHealth> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
