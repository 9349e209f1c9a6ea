//! The thread that finds, watches and reads the files, and hands over batches.
//!
//! One batch is on its way at a time. While it is, reading goes on; files are taken up only between
//! batches, so that what was looked up in the store is still true when the next one is built.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use chrono::NaiveDate;

use super::clock;
use super::message::{Message, Weighed};
use super::published::Published;
use super::time;
use super::tracked::{ACTIVE_INTERVAL, QUIET_INTERVAL, STORMY_INTERVAL, Tracked};
use super::watch::Watch;
use super::weighing::{Scales, Weighing};
use crate::account::Rules;
use crate::account::balance::Balance;
use crate::account::growth::Growth;
use crate::config::Config;
use crate::excerpt::printable;
use crate::recognise::Epochs;
use crate::source::find::Folders;
use crate::source::spool;
use crate::store::{Batch, Checkpoint, Gap, Store};
use crate::tally::Tally;

mod archives;
mod batches;
mod closed;
mod formats;
mod known;
mod reading;
mod reload;
mod rest;
mod said;
mod search;
mod siblings;
mod snapshot;
mod sources;
mod taking_up;

#[cfg(test)]
mod model;

use archives::Archives;
use batches::InFlight;
use closed::ClosedFiles;
pub use reload::NewConfig;
use said::Said;
use snapshot::Books;
pub use snapshot::Snapshot;
use sources::Source;

/// A batch is flushed early when it has so many accounts.
const MAX_BATCH_ACCOUNTS: usize = 50_000;
/// Beyond so many accounts that the store does not take, files wait where they are.
pub const MAX_LEDGER_ACCOUNTS: usize = 1_000_000;
/// Folders are searched again at least so often.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
/// However much happens, files are not looked at more often.
const TURN_INTERVAL: Duration = Duration::from_millis(20);
/// How often names are asked of the store again while a cap is reached.
const RENEW_INTERVAL: Duration = Duration::from_secs(60);
/// Folders that changed are searched for rotated files at least so often, also where nobody tells of
/// it;
const THOROUGH_INTERVAL: Duration = Duration::from_secs(60);
/// and so often where the folders look as if nothing had happened in them.
const BLIND_INTERVAL: Duration = Duration::from_secs(600);
/// However long a search takes, the next one does not wait longer for that.
const MAX_SEARCH_PAUSE: Duration = Duration::from_secs(2);
/// A batch that has been on its way for longer no longer keeps files from being taken up.
const LONG_FLIGHT: Duration = Duration::from_secs(2);
/// How long a stop goes on reading.
const MAX_DRAIN: Duration = Duration::from_secs(10);
/// How long a stop waits for the last flush.
const LAST_FLUSH: Duration = Duration::from_secs(30);

/// Why the follower ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Another daemon took over.
    #[error("another daemon runs as this node now: give each daemon a name of its own with --node")]
    Replaced,
    /// The thread with the store is gone.
    #[error("the store's thread ended")]
    NoStore,
    /// Another thread is gone.
    #[error("the thread {0} ended by itself; all that was read is flushed")]
    NoThread(String),
    /// The store did not take the last batch in time; it is read again at the next start.
    #[error(
        "the store did not take the last batch within 30 s; its lines are read again at the next start"
    )]
    NotFlushed,
}

/// Follows files.
pub struct Follower {
    config: Config,
    sources: Vec<Source>,
    /// Where the spools are.
    state_dir: PathBuf,
    rules: Rules,
    tally: Tally,
    growth: Growth,
    balance: BTreeMap<(String, NaiveDate), Balance>,
    gaps: Vec<Gap>,
    /// Rows of segments that are deleted.
    forgotten: Vec<i64>,
    /// Positions whose files are gone, to be committed as ended.
    ending: Vec<Checkpoint>,
    lookups: Box<dyn Store>,
    node: String,
    epochs: Epochs,
    /// Boxed, as the map leaves near half of its room empty.
    files: BTreeMap<u64, Box<Tracked>>,
    /// Files that are closed, because too many would be held open: all that they held is committed.
    closed: ClosedFiles,
    max_held_files: usize,
    /// The folders that were searched last.
    folders: Folders,
    next_storm_look: Instant,
    /// Paths that could not be taken up, each with its source: tried again without a search.
    not_taken: BTreeMap<PathBuf, usize>,
    /// Files wait for others to be closed.
    no_room: bool,
    /// Of a file that the last search met, it could not be told what it is.
    undecided: bool,
    /// The store did not answer when it was asked what a file is: it is not asked again before.
    no_telling_before: Instant,
    /// While the last search went on, or shortly before it, names in the folders changed.
    unsettled: bool,
    next_file: u64,
    in_flight: Option<InFlight>,
    batches: SyncSender<Batch>,
    watch: Watch,
    /// Side files of the config, by their time of change.
    side_files: Vec<(PathBuf, Option<SystemTime>)>,
    said: Said,
    books: Books,
    published: Arc<Published>,
    /// Comes into force between two batches.
    new_config: Option<NewConfig>,
    /// The same.
    new_weighed: Option<Weighed>,
    /// Where what is spent is told, and what a reload changes.
    weighing: Option<(Arc<Weighing>, Scales)>,
    search: bool,
    next_search: Instant,
    no_search_before: Instant,
    next_flush: Instant,
    /// The living positions of an earlier run are still to be found.
    first_search: bool,
    announced: u64,
    /// Nothing has been looked for yet in this process.
    at_start: bool,
    /// When this process began, in seconds since 1970.
    began: i64,
    /// What was last written before this, in seconds since 1970, is known or history.
    since: i64,
    /// When the last thorough search began: to be committed with its finds.
    searched: Option<i64>,
    /// The store does not know of any search yet.
    never_searched: bool,
    last_thorough: Instant,
    /// A folder has changed since.
    changed: bool,
    /// Copies that were left alone: length and time of change, and when they were looked at.
    left: HashMap<PathBuf, ((u64, i64, i64), Instant)>,
    /// Rotated files all of which is counted, by device and inode: length and time of change.
    counted: HashMap<(u64, u64), (u64, i64, i64)>,
    /// Packed rotations of followed logs.
    archives: Archives,
    /// Held files by the log that their names tell, among others that are no longer.
    by_log: HashMap<PathBuf, Vec<u64>>,
    /// What lies in folders, as long as one search takes.
    inodes: rest::Inodes,
    /// When names were last asked of the store, because a cap was reached.
    renewed: Option<Instant>,
    buffer: Vec<u8>,
}

impl Follower {
    /// From a config whose formats are known to compile.
    #[must_use]
    pub fn new(
        config: Config,
        rules: Rules,
        growth: Growth,
        lookups: Box<dyn Store>,
        node: String,
        batches: SyncSender<Batch>,
        watch: Watch,
    ) -> Self {
        let now = time::now();
        Self {
            sources: Source::of(&config, Path::new("")),
            state_dir: PathBuf::new(),
            tally: Tally::telling(&rules).refusing(growth.full_days()),
            rules,
            growth,
            balance: BTreeMap::new(),
            gaps: Vec::new(),
            forgotten: Vec::new(),
            ending: Vec::new(),
            lookups,
            node,
            epochs: Epochs::default(),
            files: BTreeMap::new(),
            closed: ClosedFiles::default(),
            max_held_files: config
                .max_held_files
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(usize::MAX),
            folders: Folders::new(),
            next_storm_look: now,
            not_taken: BTreeMap::new(),
            no_room: false,
            undecided: false,
            no_telling_before: now,
            unsettled: false,
            next_file: 0,
            in_flight: None,
            batches,
            watch,
            side_files: side_files(&config),
            said: Said::default(),
            books: Books::default(),
            published: Arc::new(Published::new(now, clock())),
            new_config: None,
            new_weighed: None,
            weighing: None,
            search: true,
            next_search: now,
            no_search_before: now,
            next_flush: now + config.report_interval,
            config,
            first_search: true,
            announced: 0,
            at_start: true,
            began: clock(),
            since: clock(),
            searched: None,
            never_searched: false,
            last_thorough: now,
            changed: true,
            left: HashMap::new(),
            counted: HashMap::new(),
            archives: Archives::default(),
            by_log: HashMap::new(),
            inodes: rest::Inodes::new(),
            renewed: None,
            buffer: Vec::new(),
        }
    }

    /// Finds the spools of streams in this state directory.
    #[must_use]
    pub fn spooling(mut self, state_dir: &Path) -> Self {
        self.state_dir = state_dir.to_owned();
        self.sources = Source::of(&self.config, state_dir);
        self.make_spools();
        self
    }

    /// Makes the spools that are not there: so they are watched, and whoever writes there finds them
    /// with the daemon as their owner.
    fn make_spools(&mut self) {
        let spools = self.sources.iter().filter(|source| source.spool.is_some());
        let names: Vec<String> = spools.map(|source| source.name.clone()).collect();
        for name in names {
            if let Err(error) = spool::make(&self.state_dir, &name) {
                let folder = spool::folder(&self.state_dir, &name);
                self.say(&folder, format!("the spool cannot be made: {error}"));
            }
        }
    }

    /// Publishes what it does here.
    #[must_use]
    pub fn publishing(mut self, published: Arc<Published>) -> Self {
        self.published = published;
        self
    }

    /// Tells here what is spent.
    #[must_use]
    pub fn weighing(mut self, weighing: Arc<Weighing>, scales: Scales) -> Self {
        self.weighing = Some((weighing, scales));
        self
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// See [`Ended`].
    pub fn run(&mut self, messages: &Receiver<Message>) -> Result<(), Ended> {
        loop {
            let mut due = self.due();
            // What happens in bursts is gathered until the next turn may come.
            let earliest = time::now() + TURN_INTERVAL;
            loop {
                let wait = due.saturating_duration_since(time::now());
                match messages.recv_timeout(wait) {
                    Ok(Message::Stop) => return self.stop(messages),
                    Ok(Message::Happened) => due = due.min(earliest),
                    Ok(Message::Status(asked)) => drop(asked.send(self.snapshot())),
                    Ok(Message::Reload(new)) => {
                        self.new_config = Some(*new);
                        due = due.min(earliest);
                    }
                    Ok(Message::Weighed(weighed)) => {
                        self.new_weighed = Some(*weighed);
                        due = due.min(earliest);
                    }
                    Ok(Message::Settled(settled)) => {
                        self.settled(settled)?;
                        due = due.min(earliest);
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Err(Ended::NoStore),
                }
            }
            self.turn(time::now())?;
        }
    }

    /// One turn: search, look, read, flush, as far as each is due.
    fn turn(&mut self, now: Instant) -> Result<(), Ended> {
        self.published.progress.turn(now);
        self.reload(now)?;
        self.hear(now);
        if self.may_take_up(now)
            && ((self.search && now >= self.no_search_before) || now >= self.next_search)
        {
            self.reread_side_files();
            self.search_files();
            // However often something appears, looking for it takes a twentieth of the time at most.
            let took = time::now().saturating_duration_since(now);
            self.next_search = time::now() + SEARCH_INTERVAL;
            self.no_search_before = time::now() + (took * 20).min(MAX_SEARCH_PAUSE);
        }
        self.look_at_files(now);
        self.look_at_closed(now);
        self.leave_files(now);
        self.read_archives(now);
        self.tell_level(now);
        self.published.holds_files(self.files.len());
        let full = self.tally.ledger.len() >= MAX_BATCH_ACCOUNTS;
        if self.in_flight.is_none() && (full || now >= self.next_flush) {
            self.flush(now)?;
        }
        Ok(())
    }

    /// Tells, once, that all is summed that stood in the logs at the start, or when what had been summed
    /// was thrown away.
    fn tell_level(&mut self, now: Instant) {
        let Some((_, scales)) = &self.weighing else {
            return;
        };
        if scales.is_level() || self.first_search {
            return;
        }
        // One that waits for its end may wait for ever.
        if self.archives_due(now).is_some_and(|due| due <= now) {
            return;
        }
        if self.files.values().any(|file| file.may_be_behind()) {
            return;
        }
        if let Some((_, scales)) = &mut self.weighing {
            scales.level();
        }
    }

    /// Whether files may be taken up. While a batch is on its way, what is looked up may be outdated
    /// when it lands, and everything would begin again; but nobody waits for long.
    fn may_take_up(&self, now: Instant) -> bool {
        let flight = self.in_flight.as_ref();
        flight.is_none_or(|flight| now.saturating_duration_since(flight.since) > LONG_FLIGHT)
    }

    /// When there is something to do next, if nothing happens before.
    fn due(&self) -> Instant {
        let mut due = match &self.in_flight {
            Some(flight) => self.next_search.max(flight.since + LONG_FLIGHT),
            None if self.search => self.no_search_before.min(self.next_flush),
            None => self.next_search.min(self.next_flush),
        };
        if let Some(archive) = self.archives_due(time::now()) {
            due = due.min(archive);
        }
        if self.tally.ledger.len() < MAX_LEDGER_ACCOUNTS {
            for file in self.files.values() {
                if file.ends.is_none() {
                    due = due.min(file.next_look);
                }
            }
            if self.may_take_up(time::now()) {
                for (_, closed) in self.closed.iter() {
                    due = due.min(closed.next_look);
                }
            }
        }
        if !self.watch.stormy().is_empty() {
            due = due.min(self.next_storm_look);
        }
        due
    }

    /// What has happened in the folders since the last turn.
    fn hear(&mut self, now: Instant) {
        let happened = self.watch.happened(now);
        let calm = self.watch.calm(now);
        self.search |= happened.search || calm || self.moved_in_storm(now);
        let lost = happened.lost || calm;
        if happened.paths.is_empty() && !lost {
            return;
        }
        for file in self.files.values_mut() {
            // A busy file is looked at soon enough anyway.
            if file.next_look > now + ACTIVE_INTERVAL
                && (lost || happened.paths.contains(&file.path))
            {
                file.look_at(now);
            }
        }
        self.closed
            .look_at(now, |path| lost || happened.paths.contains(path));
    }

    /// Whether names came, went or changed in a folder that is not watched for now.
    fn moved_in_storm(&mut self, now: Instant) -> bool {
        if self.watch.stormy().is_empty() || now < self.next_storm_look {
            return false;
        }
        self.next_storm_look = now + ACTIVE_INTERVAL;
        let differs = |folder: &PathBuf| {
            let stamp = self.folders.get(folder);
            stamp.is_some_and(|stamp| stamp.differs(folder))
        };
        self.watch.stormy().keys().any(differs)
    }

    /// How often a quiet file is looked at.
    fn quiet_interval(&self, path: &Path) -> Duration {
        let stormy = self.watch.stormy();
        let is_stormy = !stormy.is_empty()
            && path
                .parent()
                .is_some_and(|folder| stormy.contains_key(folder));
        match is_stormy {
            true => STORMY_INTERVAL,
            false => QUIET_INTERVAL,
        }
    }

    /// Reads all that is there, flushes it, and waits for the answer.
    fn stop(&mut self, messages: &Receiver<Message>) -> Result<(), Ended> {
        let deadline = time::now() + LAST_FLUSH;
        let mut drained = false;
        loop {
            if self.in_flight.is_none() {
                let now = time::now();
                // Segments by the thousand are left to the next start.
                let has_time = deadline.saturating_duration_since(now) > LAST_FLUSH / 2;
                if !drained || (self.search && has_time) {
                    self.search_files();
                }
                self.drain();
                self.let_go_of_deleted();
                if !self.flush(now)? && drained {
                    return Ok(());
                }
                drained = true;
                if self.in_flight.is_none() {
                    continue;
                }
            }
            match messages.recv_timeout(deadline.saturating_duration_since(time::now())) {
                Ok(Message::Settled(settled)) => self.settled(settled)?,
                Ok(Message::Status(asked)) => drop(asked.send(self.snapshot())),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Ended::NotFlushed),
                Err(RecvTimeoutError::Disconnected) => return Err(Ended::NoStore),
            }
        }
    }

    /// Reads every file to its end, as far as time and the ledger allow; the rest is read at the next
    /// start.
    fn drain(&mut self) {
        let begin = time::now();
        // One that has ended is to be committed as it is.
        for file in self.files.values_mut().filter(|file| file.ends.is_none()) {
            file.look_again(begin);
        }
        loop {
            let now = time::now();
            self.look_at_files(now);
            self.published.progress.turn(now);
            let more = self.files.values().any(|file| file.is_due(now));
            let full = self.tally.ledger.len() >= MAX_BATCH_ACCOUNTS;
            if !more || full || now.saturating_duration_since(begin) > MAX_DRAIN {
                return;
            }
        }
    }

    fn track(&mut self, mut file: Tracked) {
        file.is_segment = self.sources[file.source].spool.is_some();
        // It begins with a record, if with anything.
        file.is_blank &= !file.is_segment;
        self.index(self.next_file, &file.path);
        self.files.insert(self.next_file, Box::new(file));
        self.next_file += 1;
    }

    /// Known names and aliases may stand in files of their own, which panels rewrite.
    fn reread_side_files(&mut self) {
        let now: Vec<_> = self
            .side_files
            .iter()
            .map(|(path, _)| (path.clone(), changed(path)))
            .collect();
        if now == self.side_files {
            return;
        }
        self.side_files = now;
        match super::names(&self.config) {
            Ok(names) => {
                if let Some((weighing, _)) = &self.weighing {
                    weighing.reload(&self.config, names.hosts);
                }
                self.rules.folding = names.folding;
                self.growth.know(names.known);
                self.tally.forget_names();
                for file in self.files.values_mut() {
                    file.rules = None;
                }
                tracing::info!("names of sites read again");
            }
            Err(error) => tracing::error!("{error}\nthe names that were read before stay in force"),
        }
    }

    /// Says something about a path, once: again only when there is something else to say.
    fn say(&mut self, path: &Path, what: String) {
        if self.said.is_news(path, &what) {
            let kind: String = what
                .chars()
                .take_while(|c| !":;".contains(*c))
                .take(60)
                .collect();
            tracing::warn!(
                file = shown(path),
                kind,
                "{}: {}",
                shown(path),
                printable(&what)
            );
        }
    }
}

/// A path as it may be printed: customers choose the names of files.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// The side files of a config, as they are now.
fn side_files(config: &Config) -> Vec<(PathBuf, Option<SystemTime>)> {
    let paths = [&config.vhosts.known_file, &config.vhosts.aliases_file];
    let paths = paths.into_iter().flatten();
    paths.map(|path| (path.clone(), changed(path))).collect()
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}
