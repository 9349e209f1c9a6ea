//! The thread that finds, watches and reads the files, and hands over batches.
//!
//! One batch is on its way at a time. While it is, reading goes on; files are taken up only between
//! batches, so that what was looked up in the store is still true when the next one is built.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use chrono::NaiveDate;
use tollkeeper_parsers::format::Spec;

use super::clock;
use super::flusher::Settled;
use super::tracked::{Chunk, Taken, Tracked};
use super::watch::Watch;
use crate::account::balance::Balance;
use crate::account::day;
use crate::account::growth::Growth;
use crate::account::{Rules, SourceRules};
use crate::config::Config;
use crate::config::glob::expand_vhost;
use crate::import::feed;
use crate::recognise::{self, Epochs};
use crate::source::content::Hasher;
use crate::source::find::Finder;
use crate::source::follow::{AtPath, Step};
use crate::source::identity::{Followed, decide_followed};
use crate::source::open;
use crate::source::position::{Place, State, Stored};
use crate::store::{Batch, Checkpoint, Gap, Moves, Store, StoreError};
use crate::tally::{Outcome, Tally};

/// A batch is flushed early when it has so many accounts.
const MAX_BATCH_ACCOUNTS: usize = 50_000;
/// Beyond so many accounts that the store does not take, files wait where they are.
const MAX_LEDGER_ACCOUNTS: usize = 1_000_000;
/// Folders are searched again at least so often.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stop waits for the last flush.
const LAST_FLUSH: Duration = Duration::from_secs(30);

/// What the follower is told.
#[derive(Debug)]
pub enum Message {
    /// Something happened to these paths; none: look everywhere.
    Happened(Vec<PathBuf>),
    /// Something appeared, or was renamed or removed.
    Search,
    /// A batch is settled.
    Settled(Settled),
    /// Read what is there, flush, and end.
    Stop,
}

/// Why the follower ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Another daemon took over.
    #[error("another daemon runs as this node now: give each daemon a name of its own with --node")]
    Replaced,
    /// The thread with the store is gone.
    #[error("the store's thread ended")]
    NoStore,
    /// The store did not take the last batch in time; it is read again at the next start.
    #[error(
        "the store did not take the last batch within 30 s; its lines are read again at the next start"
    )]
    NotFlushed,
}

struct Source {
    name: String,
    finders: Vec<Finder>,
    formats: Vec<Spec>,
    users: Option<crate::config::Users>,
    vhost: Option<String>,
}

/// Where reading a file begins, and a position that ends because what it spoke of was overwritten,
/// with the reason.
type Recognised = (Taken, Option<(Stored, &'static str)>);

/// Follows files.
pub struct Follower {
    config: Config,
    sources: Vec<Source>,
    rules: Rules,
    tally: Tally,
    growth: Growth,
    balance: BTreeMap<(String, NaiveDate), Balance>,
    gaps: Vec<Gap>,
    /// Positions whose files are gone, to be committed as ended.
    ending: Vec<Checkpoint>,
    lookups: Box<dyn Store>,
    node: String,
    epochs: Epochs,
    files: BTreeMap<u64, Tracked>,
    next_file: u64,
    in_flight: Option<InFlight>,
    batches: SyncSender<Batch>,
    watch: Watch,
    /// Side files of the config, by their time of change.
    side_files: Vec<(PathBuf, Option<SystemTime>)>,
    said: HashMap<PathBuf, String>,
    search: bool,
    next_search: Instant,
    next_flush: Instant,
    /// The living positions of an earlier run are still to be found.
    first_search: bool,
    buffer: Vec<u8>,
}

struct InFlight {
    files: Vec<(u64, u64)>,
    scopes: Vec<String>,
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
        let sources = config
            .file_sources
            .iter()
            .map(|source| Source {
                name: source.name.clone(),
                finders: source
                    .paths
                    .iter()
                    .filter_map(|pattern| Finder::new(pattern))
                    .collect(),
                formats: source.formats.clone(),
                users: source.users,
                vhost: source.vhost.clone(),
            })
            .collect();
        let side_files = [&config.vhosts.known_file, &config.vhosts.aliases_file];
        let side_files = side_files
            .into_iter()
            .flatten()
            .map(|path| (path.clone(), changed(path)))
            .collect();
        let now = Instant::now();
        Self {
            sources,
            tally: Tally::new(&rules),
            rules,
            growth,
            balance: BTreeMap::new(),
            gaps: Vec::new(),
            ending: Vec::new(),
            lookups,
            node,
            epochs: Epochs::default(),
            files: BTreeMap::new(),
            next_file: 0,
            in_flight: None,
            batches,
            watch,
            side_files,
            said: HashMap::new(),
            search: true,
            next_search: now,
            next_flush: now + config.report_interval,
            config,
            first_search: true,
            buffer: Vec::new(),
        }
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// See [`Ended`].
    pub fn run(&mut self, messages: &Receiver<Message>) -> Result<(), Ended> {
        loop {
            let now = Instant::now();
            let due = self.due();
            match messages.recv_timeout(due.saturating_duration_since(now)) {
                Ok(Message::Stop) => return self.stop(messages),
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Ended::NoStore),
            }
            while let Ok(message) = messages.try_recv() {
                if let Message::Stop = message {
                    return self.stop(messages);
                }
                self.take(message)?;
            }
            self.turn(Instant::now())?;
        }
    }

    /// One turn: search, look, read, flush, as far as each is due.
    fn turn(&mut self, now: Instant) -> Result<(), Ended> {
        if self.in_flight.is_none() && (self.search || now >= self.next_search) {
            self.reread_side_files();
            self.search_files(now);
        }
        self.look_at_files(now);
        let full = self.tally.ledger.len() >= MAX_BATCH_ACCOUNTS;
        if self.in_flight.is_none() && (full || now >= self.next_flush) {
            self.flush(now)?;
        }
        Ok(())
    }

    fn due(&self) -> Instant {
        let mut due = self.next_search;
        if self.in_flight.is_none() {
            due = due.min(self.next_flush);
        }
        for file in self.files.values() {
            if file.ends.is_none() && file.stopped.is_none() {
                due = due.min(file.next_look);
            }
        }
        due
    }

    fn take(&mut self, message: Message) -> Result<(), Ended> {
        match message {
            Message::Happened(paths) => {
                let now = Instant::now();
                for file in self.files.values_mut() {
                    // A busy file is looked at soon enough anyway.
                    if file.next_look > now + super::tracked::ACTIVE_INTERVAL
                        && paths.contains(&file.path)
                    {
                        file.next_look = now;
                    }
                }
            }
            Message::Search => self.search = true,
            Message::Settled(settled) => self.settled(settled)?,
            Message::Stop => {}
        }
        Ok(())
    }

    /// Reads all that is there, flushes it, and waits for the answer.
    fn stop(&mut self, messages: &Receiver<Message>) -> Result<(), Ended> {
        let deadline = Instant::now() + LAST_FLUSH;
        let mut drained = false;
        loop {
            if self.in_flight.is_none() {
                let now = Instant::now();
                if !drained {
                    self.search_files(now);
                }
                self.drain();
                if !self.flush(now)? && drained {
                    return Ok(());
                }
                drained = true;
                if self.in_flight.is_none() {
                    continue;
                }
            }
            match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Message::Settled(settled)) => self.settled(settled)?,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Ended::NotFlushed),
                Err(RecvTimeoutError::Disconnected) => return Err(Ended::NoStore),
            }
        }
    }

    /// Reads every file up to where it ended when the stop began.
    fn drain(&mut self) {
        let now = Instant::now();
        for file in self.files.values_mut() {
            file.look_again(now);
        }
        self.look_at_files(now);
    }

    fn look_at_files(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .files
            .iter()
            .filter(|(_, file)| {
                file.next_look <= now && file.ends.is_none() && file.stopped.is_none()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS {
                return;
            }
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            let step = match file.look(now) {
                Ok(step) => step,
                Err(error) => {
                    let path = file.path.clone();
                    self.say(&path, format!("cannot look at it: {error}"));
                    continue;
                }
            };
            match step {
                Step::Wait => {}
                Step::Read => self.read(id, now, false),
                Step::Retire => {
                    self.read(id, now, true);
                    if let Some(file) = self.files.get_mut(&id) {
                        file.ends = Some(State::Finished);
                    }
                }
                Step::BeginAgain => self.begin_again(id),
            }
        }
    }

    /// Reads one file to its end, or as long as there is room in the ledger.
    fn read(&mut self, id: u64, now: Instant, is_last: bool) {
        loop {
            let buffer = std::mem::take(&mut self.buffer);
            let Some(mut file) = self.files.remove(&id) else {
                return;
            };
            let more = match file.read(buffer) {
                Ok(Chunk::Lines(bytes)) => {
                    let more = self.lines(&mut file, &bytes, is_last);
                    self.buffer = bytes;
                    more
                }
                Ok(Chunk::TooLong(bytes, hasher)) => {
                    let outcome = Tally::pass_over(&file.progress, file.hasher.offset(), bytes);
                    file.hasher = *hasher;
                    let (outcome, _) = file.walked(&[], outcome, false);
                    self.book(&file, &outcome);
                    true
                }
                Ok(Chunk::Nothing) => false,
                Err(error) => {
                    let path = file.path.clone();
                    self.say(&path, format!("cannot read it: {error}"));
                    false
                }
            };
            let full = self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS;
            if more && full {
                file.look_again(now + super::tracked::ACTIVE_INTERVAL);
            }
            self.files.insert(id, file);
            if !more || full {
                return;
            }
        }
    }

    /// Walks the lines of a chunk; `true`: there may be more to read at once.
    fn lines(&mut self, file: &mut Tracked, bytes: &[u8], is_last: bool) -> bool {
        let Some(rules) = self.rules_of(file, bytes) else {
            return false;
        };
        let base = file.hasher.offset();
        let mut progress = file.progress;
        let outcome = self
            .tally
            .read(&self.rules, &rules, &mut progress, bytes, base, clock());
        file.progress = progress;
        for failure in outcome.failures.iter().take(1) {
            let wanted = rules
                .plans
                .get(failure.format)
                .map(|plan| plan.describe(&failure.error));
            tracing::debug!(path = %file.path.display(), offset = failure.offset, ?wanted, "a line does not parse");
        }
        let (outcome, more) = file.walked(bytes, outcome, is_last);
        self.book(file, &outcome);
        if let Some(why) = file.stopped.clone() {
            let remedy =
                "reading it stops there until tollkeeper is started with a format that fits";
            self.say(&file.path.clone(), format!("{why}; {remedy}"));
        }
        more
    }

    /// How a file's lines are read: detected from these, where the operator left it to us.
    fn rules_of(&mut self, file: &mut Tracked, bytes: &[u8]) -> Option<Arc<SourceRules>> {
        if let Some(rules) = &file.rules {
            return Some(Arc::clone(rules));
        }
        let source = &self.sources[file.source];
        let mut formats = source.formats.clone();
        let mut why = String::new();
        for spec in formats.iter_mut().filter(|spec| matches!(spec, Spec::Auto)) {
            match feed::detect(bytes) {
                Ok((detected, note)) => {
                    *spec = detected;
                    why = note;
                }
                Err(error) => {
                    self.say(&file.path.clone(), error);
                    return None;
                }
            }
        }
        let rules = SourceRules::new(
            &formats,
            source.users,
            file.vhost.as_deref(),
            &self.rules.folding,
        );
        match rules {
            Ok(rules) => {
                let from = file.hasher.offset();
                let why = if why.is_empty() {
                    String::new()
                } else {
                    format!(", {why}")
                };
                tracing::info!("following {} from byte {from}{why}", file.path.display());
                let rules = Arc::new(rules);
                file.rules = Some(Arc::clone(&rules));
                Some(rules)
            }
            Err((_, error)) => {
                self.say(
                    &file.path.clone(),
                    format!("its format cannot be used: {error}"),
                );
                None
            }
        }
    }

    fn book(&mut self, file: &Tracked, outcome: &Outcome) {
        let source = &self.sources[file.source].name;
        for (day, balance) in file.dated(outcome) {
            self.balance
                .entry((source.clone(), day::date(day)))
                .or_default()
                .add(&balance);
        }
    }

    /// A file was truncated or overwritten in place. Its position is retired; the file is read from
    /// its start, under a new one.
    fn begin_again(&mut self, id: u64) {
        if self.in_flight.is_some() {
            return;
        }
        let Some(mut old) = self.files.remove(&id) else {
            return;
        };
        let gap = Gap {
            source: self.sources[old.source].name.clone(),
            path: old.path.to_string_lossy().into_owned(),
            from: old.hasher.offset(),
            to: None,
            reason: "truncated or overwritten in place (copytruncate: not exact)".to_owned(),
        };
        tracing::warn!(
            "{}: {}; what was written behind byte {} and not yet read, if anything, is lost",
            gap.path,
            gap.reason,
            gap.from
        );
        let reopened = old
            .file
            .try_clone()
            .and_then(|file| Ok((file.metadata()?, file)));
        let epoch = self.epochs.look(self.lookups.as_mut(), &old.scope());
        match (reopened, epoch) {
            (Ok((metadata, file)), Ok(epoch)) => {
                let hasher = Hasher::new(self.lookups.seed());
                let taken = Taken {
                    hasher,
                    moves: Moves::New { epoch },
                    last_day: None,
                };
                let mut new = Tracked::new(
                    old.path.clone(),
                    old.source,
                    old.vhost.clone(),
                    file,
                    &metadata,
                    taken,
                );
                new.at_path = old.at_path;
                new.rules = old.rules.clone();
                old.ends = Some(State::Replaced);
                self.gaps.push(gap);
                self.files.insert(id, old);
                self.track(new);
            }
            (reopened, epoch) => {
                let error = reopened.err().map(|error| error.to_string());
                let error = error
                    .or(epoch.err().map(|error| error.to_string()))
                    .unwrap_or_default();
                self.say(&old.path.clone(), format!("cannot begin again: {error}"));
                self.files.insert(id, old);
            }
        }
    }

    fn track(&mut self, file: Tracked) {
        self.files.insert(self.next_file, file);
        self.next_file += 1;
    }

    /// Finds files: new ones are taken up, known ones may have moved.
    fn search_files(&mut self, now: Instant) {
        self.search = false;
        self.next_search = now + SEARCH_INTERVAL;
        let mut folders = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for source in 0..self.sources.len() {
            let mut paths = BTreeSet::new();
            for finder in &self.sources[source].finders {
                finder.find(&mut paths, &mut folders);
            }
            for path in paths {
                // The first source that finds a path has it.
                if taken.insert(path.clone()) {
                    self.look_at_path(source, &path);
                }
            }
        }
        self.watch.folders(folders);
        for file in self.files.values_mut() {
            if !taken.contains(&file.path) {
                file.at_path = AtPath::Other;
            }
        }
        if self.first_search {
            self.first_search = false;
            if let Err(error) = self.find_the_rest() {
                self.first_search = true;
                tracing::error!("{error}");
            }
        }
    }

    fn look_at_path(&mut self, source: usize, path: &Path) {
        let (file, metadata) = match open::followed(path) {
            Ok(opened) => opened,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.say(path, format!("not followed: {error}"));
                }
                return;
            }
        };
        let place = Place::of(&metadata);
        let mut is_held = false;
        for held in self.files.values_mut() {
            if held.ends == Some(State::Replaced) {
                continue;
            }
            if held.place.is(&place) {
                is_held = true;
                if held.path == path {
                    held.at_path = AtPath::Ours;
                } else if !held
                    .path
                    .symlink_metadata()
                    .is_ok_and(|there| Place::of(&there).is(&place))
                {
                    // Renamed, to a name that a source finds too.
                    held.path = path.to_owned();
                    held.at_path = AtPath::Ours;
                }
            } else if held.path == path {
                held.at_path = AtPath::Other;
            }
        }
        if is_held {
            return;
        }
        let vhost = self.vhost_of(source, path);
        let scope = vhost.clone().unwrap_or_default();
        match self.recognise(path, &file, &metadata, &scope) {
            Ok((taken, gap)) => {
                self.said.remove(path);
                let new = Tracked::new(path.to_owned(), source, vhost, file, &metadata, taken);
                if let Some((stored, reason)) = gap {
                    self.end_position(source, &stored, reason, State::Replaced);
                }
                self.track(new);
            }
            Err(error) => self.say(path, format!("not followed yet: {error}")),
        }
    }

    /// Which position a file has, and where reading it begins. The second value is a position that
    /// ends here, because what it spoke of was overwritten while nobody looked.
    fn recognise(
        &mut self,
        path: &Path,
        file: &std::fs::File,
        metadata: &std::fs::Metadata,
        scope: &str,
    ) -> Result<Recognised, Box<dyn std::error::Error>> {
        let store = self.lookups.as_mut();
        let seed = store.seed();
        let place = Place::of(metadata);
        let epoch = self.epochs.look(store, scope)?;
        let mut head = vec![0; crate::source::content::HEAD_BYTES as usize];
        let read = open::read_full_at(file, &mut head, 0)?;
        head.truncate(read);
        let mut alike = recognise::alike(store, scope, &head, Some(place))?;
        // A position that somebody holds, or whose file still lies elsewhere, is not this file's.
        alike.retain(|stored| {
            let held = self
                .files
                .values()
                .any(|held| matches!(held.moves, Moves::Stored { id, .. } if id == stored.id));
            let elsewhere = stored.place.is_some_and(|there| {
                !there.is(&place)
                    && Path::new(&stored.path)
                        .symlink_metadata()
                        .is_ok_and(|found| Place::of(&found).is(&there))
            });
            !held && !elsewhere
        });
        let found = recognise::compare_living(seed, alike, file, metadata.len(), path, place)?;
        let new = || Taken {
            hasher: Hasher::new(seed),
            moves: Moves::New { epoch },
            last_day: None,
        };
        Ok(match decide_followed(&found.evidence) {
            Followed::New => (new(), None),
            Followed::Continue(index) => {
                let stored = &found.stored[index];
                match found.hashers[index].clone() {
                    Some(hasher) => {
                        let moves = Moves::Stored {
                            id: stored.id,
                            from: stored.print.offset,
                        };
                        (
                            Taken {
                                hasher,
                                moves,
                                last_day: stored.last_day.map(day::number),
                            },
                            None,
                        )
                    }
                    None => (new(), None),
                }
            }
            Followed::Replaced(index) => {
                let gap = "truncated or overwritten while tollkeeper was not running";
                (new(), Some((found.stored[index].clone(), gap)))
            }
            Followed::Shortened(index) => {
                let stored = &found.stored[index];
                let hasher = hash_whole_lines(seed, file)?;
                let moves = Moves::Stored {
                    id: stored.id,
                    from: stored.print.offset,
                };
                tracing::warn!(
                    "{}: ends before byte {}, up to which it was counted; going on from its end",
                    path.display(),
                    stored.print.offset
                );
                (
                    Taken {
                        hasher,
                        moves,
                        last_day: stored.last_day.map(day::number),
                    },
                    None,
                )
            }
        })
    }

    /// Ends a stored position whose bytes are gone, with a gap that says so.
    fn end_position(&mut self, source: usize, stored: &Stored, reason: &str, state: State) {
        let gap = Gap {
            source: self.sources[source].name.clone(),
            path: stored.path.clone(),
            from: stored.print.offset,
            to: None,
            reason: reason.to_owned(),
        };
        tracing::warn!(
            "{}: {reason}; what was written behind byte {}, if anything, is not counted",
            gap.path,
            gap.from
        );
        self.gaps.push(gap);
        self.ending.push(Checkpoint {
            moves: Moves::Stored {
                id: stored.id,
                from: stored.print.offset,
            },
            source: stored.source.clone(),
            scope: stored.scope.clone(),
            path: stored.path.clone(),
            place: stored.place,
            print: stored.print,
            last_day: stored.last_day,
            state,
            unparsed: Vec::new(),
            dropped: 0,
            reread: Vec::new(),
        });
    }

    /// After a start: what an earlier run was reading, and no source finds any more, was renamed.
    fn find_the_rest(&mut self) -> Result<(), StoreError> {
        let living = self.lookups.living(&self.node)?;
        for stored in living {
            let is_held = self
                .files
                .values()
                .any(|held| matches!(held.moves, Moves::Stored { id, .. } if id == stored.id));
            let is_ending = self
                .ending
                .iter()
                .any(|end| matches!(end.moves, Moves::Stored { id, .. } if id == stored.id));
            let path = Path::new(&stored.path);
            let finds = |source: &Source| {
                source
                    .finders
                    .iter()
                    .any(|finder| finder.captures(path).is_some())
            };
            let Some(source) = self.sources.iter().position(finds) else {
                continue;
            };
            if is_held || is_ending {
                continue;
            }
            match self.renamed(&stored, source) {
                Some(tracked) => {
                    tracing::info!(
                        "reading the rest of {} from {}",
                        stored.path,
                        tracked.path.display()
                    );
                    self.track(tracked);
                }
                None => self.end_position(
                    source,
                    &stored,
                    "not found any more after tollkeeper was not running",
                    State::Finished,
                ),
            }
        }
        Ok(())
    }

    /// Looks for a file beside where it was, by its inode and content.
    fn renamed(&self, stored: &Stored, source: usize) -> Option<Tracked> {
        let place = stored.place?;
        let folder = Path::new(&stored.path).parent()?;
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if !path
                .symlink_metadata()
                .is_ok_and(|there| Place::of(&there).is(&place))
            {
                continue;
            }
            let Ok((file, metadata)) = open::followed(&path) else {
                continue;
            };
            let seed = self.lookups.seed();
            let alike = vec![stored.clone()];
            let Ok(found) =
                recognise::compare_living(seed, alike, &file, metadata.len(), &path, place)
            else {
                continue;
            };
            if let (Followed::Continue(_), Some(Some(hasher))) = (
                decide_followed(&found.evidence),
                found.hashers.into_iter().next(),
            ) {
                let moves = Moves::Stored {
                    id: stored.id,
                    from: stored.print.offset,
                };
                let taken = Taken {
                    hasher,
                    moves,
                    last_day: stored.last_day.map(day::number),
                };
                let vhost = (!stored.scope.is_empty()).then(|| stored.scope.clone());
                let mut tracked = Tracked::new(path, source, vhost, file, &metadata, taken);
                tracked.at_path = AtPath::Other;
                return Some(tracked);
            }
        }
        None
    }

    fn vhost_of(&self, source: usize, path: &Path) -> Option<String> {
        let source = &self.sources[source];
        let template = source.vhost.as_ref()?;
        let captures = source
            .finders
            .iter()
            .find_map(|finder| finder.captures(path))
            .unwrap_or_default();
        expand_vhost(template, &captures)
    }

    /// Hands a batch over; `false`: there is nothing to flush.
    fn flush(&mut self, now: Instant) -> Result<bool, Ended> {
        self.next_flush = now + self.config.report_interval;
        let (deltas, forgot) = self
            .tally
            .ledger
            .take(&mut self.growth, &self.rules.classes);
        if forgot {
            self.tally.forget_names();
        }
        let mut batch = Batch {
            deltas,
            balance: std::mem::take(&mut self.balance),
            gaps: std::mem::take(&mut self.gaps),
            ..Batch::default()
        };
        let mut flight = InFlight {
            files: Vec::new(),
            scopes: Vec::new(),
        };
        for (id, file) in &mut self.files {
            let Some(mut checkpoint) = file.checkpoint(&self.sources[file.source].name) else {
                continue;
            };
            if let Moves::New { epoch } = &mut checkpoint.moves {
                *epoch = self.epochs.demand(&checkpoint.scope, *epoch);
                flight.scopes.push(checkpoint.scope.clone());
            }
            flight.files.push((*id, checkpoint.print.offset));
            batch.checkpoints.push(checkpoint);
        }
        // Last, so that the answer's first rows are those of `flight.files`.
        batch.checkpoints.append(&mut self.ending);
        // A file that is to be let go and has nothing to commit is let go at once.
        let flying: BTreeSet<u64> = flight.files.iter().map(|(id, _)| *id).collect();
        self.files
            .retain(|id, file| file.ends.is_none() || flying.contains(id));
        if batch.is_empty() {
            return Ok(false);
        }
        flight.scopes.sort_unstable();
        flight.scopes.dedup();
        self.in_flight = Some(flight);
        self.batches.send(batch).map_err(|_| Ended::NoStore)?;
        Ok(true)
    }

    fn settled(&mut self, settled: Settled) -> Result<(), Ended> {
        let Some(flight) = self.in_flight.take() else {
            return Ok(());
        };
        match settled {
            Settled::Flushed(flushed) => {
                self.epochs.moved(flight.scopes);
                for ((id, offset), position) in flight.files.into_iter().zip(flushed.positions) {
                    let Some(file) = self.files.get_mut(&id) else {
                        continue;
                    };
                    file.moves = Moves::Stored {
                        id: position,
                        from: offset,
                    };
                    file.committed = offset;
                    if file.ends.is_some() && file.hasher.offset() == offset {
                        self.files.remove(&id);
                    }
                }
                Ok(())
            }
            Settled::Overtaken(what) => {
                tracing::info!(
                    "{what} was moved by another process; reading on from what is stored"
                );
                self.start_over();
                Ok(())
            }
            Settled::Replaced => Err(Ended::Replaced),
        }
    }

    /// Forgets all that is not committed, and takes up every file again from its stored position.
    fn start_over(&mut self) {
        self.tally = Tally::new(&self.rules);
        self.balance.clear();
        self.gaps.clear();
        self.ending.clear();
        match self.lookups.known_names(Growth::since(clock())) {
            Ok(names) => self.growth.renew(names),
            Err(error) => tracing::error!("{error}"),
        }
        for (_, old) in std::mem::take(&mut self.files) {
            if old.ends == Some(State::Replaced) || old.at_path == AtPath::Ours {
                continue;
            }
            // Renamed or deleted files are no longer found by path: take them up by what we hold.
            let scope = old.scope();
            let metadata = old.file.metadata();
            let taken = metadata.map_err(Into::into).and_then(|metadata| {
                let (taken, _) = self.recognise(&old.path, &old.file, &metadata, &scope)?;
                Ok::<_, Box<dyn std::error::Error>>((metadata, taken))
            });
            match taken {
                Ok((metadata, taken)) => {
                    let mut again =
                        Tracked::new(old.path, old.source, old.vhost, old.file, &metadata, taken);
                    again.at_path = AtPath::Other;
                    self.track(again);
                }
                Err(error) => tracing::error!("{}: {error}", old.path.display()),
            }
        }
        self.search = true;
        self.first_search = true;
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
        match super::folding(&self.config) {
            Ok(folding) => {
                self.rules.folding = folding;
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
        const MAX_SAID: usize = 10_000;
        if self.said.get(path) == Some(&what) || self.said.len() >= MAX_SAID {
            return;
        }
        tracing::warn!("{}: {what}", path.display());
        self.said.insert(path.to_owned(), what);
    }
}

fn hash_whole_lines(seed: u64, file: &std::fs::File) -> std::io::Result<Hasher> {
    use crate::source::blocks::{Blocks, LastLine, SMALL_BLOCK_BYTES};
    use std::io::{Seek as _, SeekFrom};
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
    Ok(blocks.into_hasher())
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}
