//! What the follower says of itself when it is asked: its sources and files, as they are.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::{Follower, MAX_LEDGER_ACCOUNTS};
use crate::account::balance::Balance;
use crate::daemon::status::{BalanceStatus, FileState, FileStatus, SourceStatus, SpoolStatus};
use crate::daemon::tracked::Tracked;
use crate::source::follow::AtPath;

/// Files that are not followed, of which a snapshot says why.
const MAX_NOT_FOLLOWED: usize = 1_000;

/// What the follower says.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it said so.
    pub taken: Instant,
    /// Its sources, without what the store has of them.
    pub sources: Vec<SourceStatus>,
    /// Its files.
    pub files: Vec<FileStatus>,
    /// Accounts that are summed and not yet handed over.
    pub accounts: u64,
    /// When the batch on its way was handed over.
    pub in_flight_since: Option<Instant>,
    /// Gaps met since the start.
    pub gaps: u64,
}

/// Lines and gaps since the start, by source.
#[derive(Debug, Default, Clone)]
pub(super) struct Books {
    balance: BTreeMap<String, Balance>,
    gaps: u64,
}

impl Books {
    /// Of what a batch is about to carry.
    pub(super) fn of<'b, D: 'b>(
        balance: impl IntoIterator<Item = (&'b (String, D), &'b Balance)>,
        gaps: usize,
    ) -> Self {
        let mut books = Self::default();
        for ((source, _), lines) in balance {
            books.balance.entry(source.clone()).or_default().add(lines);
        }
        books.gaps = gaps as u64;
        books
    }

    /// A batch is in the store.
    pub(super) fn add(&mut self, other: &Self) {
        for (source, lines) in &other.balance {
            self.balance.entry(source.clone()).or_default().add(lines);
        }
        self.gaps += other.gaps;
    }
}

impl Follower {
    /// Its sources and files, as they are.
    pub(super) fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let mut books = self.books.clone();
        if let Some(flight) = &self.in_flight {
            books.add(&flight.books);
        }
        books.add(&Books::of(&self.balance, self.gaps.len()));
        let is_full = self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS;
        let mut files: Vec<FileStatus> = Vec::with_capacity(self.files.len());
        for file in self.files.values().filter(|file| file.ends.is_none()) {
            files.push(self.file_status(file, is_full, now));
        }
        files.extend(self.closed_files());
        files.extend(self.not_followed());
        files.sort_by(|one, other| (&one.source, &one.path).cmp(&(&other.source, &other.path)));

        let mut sources: Vec<SourceStatus> = Vec::new();
        let mut known = HashSet::new();
        for source in &self.sources {
            if known.insert(&source.name) {
                sources.push(SourceStatus {
                    name: source.name.clone(),
                    layer: source.layer.clone(),
                    paths: source.paths.clone(),
                    spool: source.spool.map(|max_bytes| SpoolStatus {
                        max_bytes,
                        ..SpoolStatus::default()
                    }),
                    ..SourceStatus::default()
                });
            }
        }
        for source in &mut sources {
            let read = books.balance.get(&source.name);
            source.balance.since_start = read.map(BalanceStatus::from).unwrap_or_default();
            // They are sorted by their sources.
            let first = files.partition_point(|file| file.source < source.name);
            let its_own = files[first..].iter();
            for file in its_own.take_while(|file| file.source == source.name) {
                source.files += 1;
                source.attention += u64::from(file.state.needs_attention());
                source.unread_bytes += file.unread_bytes;
                if let Some(spool) = &mut source.spool {
                    spool.segments += 1;
                    spool.bytes += file.size.unwrap_or(0);
                }
                source.unread_seconds = source.unread_seconds.max(file.unread_seconds);
            }
        }
        // What the config no longer has is shown as long as something of it is read.
        let configured = self.sources.iter().filter(|source| !source.is_retired());
        let configured: HashSet<&str> = configured.map(|source| source.name.as_str()).collect();
        sources.retain(|source| source.files > 0 || configured.contains(source.name.as_str()));
        Snapshot {
            taken: now,
            sources,
            files,
            accounts: self.tally.ledger.len() as u64,
            in_flight_since: self.in_flight.as_ref().map(|flight| flight.since),
            gaps: books.gaps,
        }
    }

    fn file_status(&self, file: &Tracked, is_full: bool, now: Instant) -> FileStatus {
        let offset = file.hasher.offset();
        let metadata = file.file.metadata();
        let size = metadata.as_ref().ok().map(std::fs::Metadata::len);
        let unread = size.unwrap_or(0).saturating_sub(offset);
        let written = metadata.and_then(|metadata| metadata.modified()).ok();
        let said = self.said.of(&file.path).map(str::to_owned);
        let (state, reason) = match (&file.stopped, size) {
            (Some(why), _) => (FileState::Stopped, Some(why.clone())),
            (None, None) => (FileState::NotFollowed, said),
            (None, Some(_)) if unread > 0 && file.rules.is_none() && said.is_some() => {
                (FileState::Waiting, said)
            }
            (None, Some(_)) if unread > 0 && is_full => {
                let reason =
                    "the store does not take what is summed, and there is no room for more";
                (FileState::Waiting, Some(reason.to_owned()))
            }
            (None, Some(_)) if file.leaving => (FileState::Leaving, None),
            (None, Some(_)) if file.at_path == AtPath::Other => (FileState::Renamed, None),
            (None, Some(_)) => (FileState::Living, None),
        };
        FileStatus {
            source: self.sources[file.source].name.clone(),
            path: file.path.to_string_lossy().into_owned(),
            state,
            reason,
            offset,
            committed: file.committed,
            size,
            unread_bytes: unread,
            unread_seconds: match unread {
                0 => 0,
                _ => unread_for(now.saturating_duration_since(file.level), written).as_secs(),
            },
        }
    }

    /// Files that are followed and not held open.
    fn closed_files(&self) -> impl Iterator<Item = FileStatus> {
        self.closed.iter().map(|(path, closed)| FileStatus {
            source: self.sources[closed.source].name.clone(),
            path: path.to_string_lossy().into_owned(),
            state: FileState::Closed,
            offset: closed.offset,
            committed: closed.offset,
            size: Some(closed.size()),
            unread_bytes: closed.size().saturating_sub(closed.offset),
            ..FileStatus::default()
        })
    }

    /// Paths that a source finds, and that are not followed. Those that are gone are left out.
    fn not_followed(&self) -> Vec<FileStatus> {
        let held: HashSet<&Path> = self
            .files
            .values()
            .map(|held| held.path.as_path())
            .collect();
        let mut found = Vec::new();
        for (path, what) in self.said.all() {
            let source = self.source_of(path).filter(|_| !held.contains(path));
            let Some(source) = source else { continue };
            if found.len() >= MAX_NOT_FOLLOWED {
                break;
            }
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            found.push(FileStatus {
                source: self.sources[source].name.clone(),
                path: path.to_string_lossy().into_owned(),
                state: FileState::NotFollowed,
                reason: Some(what.to_owned()),
                size: Some(metadata.len()),
                ..FileStatus::default()
            });
        }
        found
    }
}

/// For how long the oldest unread byte has been there: at least since the file was last written to,
/// and for what has come since we had read all of it, about since then.
fn unread_for(since_level: Duration, written: Option<SystemTime>) -> Duration {
    let since_written = written.and_then(|written| written.elapsed().ok());
    since_level.max(since_written.unwrap_or_default())
}
