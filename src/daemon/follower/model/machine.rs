//! The real follower over the real embedded store, moved by hand: its time, its turns, and what
//! becomes of each batch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono_tz::Tz;

use crate::config::Config;
use crate::daemon::follower::Follower;
use crate::daemon::message::{Message, Settled};
use crate::daemon::time;
use crate::daemon::watch::{Happened, Watch};
use crate::daemon::{growth, names, rules};
use crate::source::position::{Place, State};
use crate::store::sqlite::Sqlite;
use crate::store::{Batch, FlushError, Role, Store, Writer};
use crate::usage::{UsageQuery, UsageTable};

const NODE: &str = "model";
/// Long past, so that folders whose times the model sets are never taken for just changed.
const BEGIN: i64 = 1_760_000_000;

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    /// What is on its way is not committed.
    BeforeCommit,
    /// It is, and nobody hears of it.
    AfterCommit,
}

/// A daemon that may run or not, and its store.
pub(super) struct Machine {
    config: String,
    store: PathBuf,
    begin: Instant,
    elapsed: Duration,
    /// To look into the store, whether the daemon runs or not.
    reader: Box<dyn Store>,
    running: Option<Running>,
    pub(super) commits: u64,
    pub(super) overtaken: u64,
}

struct Running {
    follower: Follower,
    batches: Receiver<Batch>,
    store: Box<dyn Store>,
    writer: Writer,
    happened: Arc<Mutex<Happened>>,
}

fn open(path: &Path) -> Box<dyn Store> {
    Box::new(Sqlite::open(path, Some(Tz::UTC), Tz::UTC).expect("a store of our own"))
}

impl Machine {
    pub(super) fn new(config: String, store: PathBuf) -> Self {
        let machine = Self {
            config,
            reader: open(&store),
            store,
            begin: Instant::now(),
            elapsed: Duration::ZERO,
            running: None,
            commits: 0,
            overtaken: 0,
        };
        machine.set_time();
        machine
    }

    /// Nanoseconds since 1970.
    pub(super) fn wall(&self) -> Duration {
        Duration::from_secs(BEGIN.cast_unsigned()) + self.elapsed
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.elapsed += time;
        self.set_time();
    }

    fn set_time(&self) {
        let clock = self.wall().as_secs().cast_signed();
        time::set::to(Some((self.begin + self.elapsed, clock)));
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn start(&mut self) {
        if self.is_running() {
            return;
        }
        let config = Config::parse(&self.config, "model.toml").expect("a good config");
        let (mut store, mut lookups) = (open(&self.store), open(&self.store));
        let names = names(&config).expect("no side files");
        let rules = rules(&config, &names, Tz::UTC);
        let growth = growth(&config, &names, lookups.as_mut()).expect("the store answers");
        let writer = store.register(NODE, Role::Daemon, time::clock());
        let (batches, taken) = sync_channel(1);
        let (watch, happened) = Watch::fed();
        let node = NODE.to_owned();
        self.running = Some(Running {
            follower: Follower::new(config, rules, growth, lookups, node, batches, watch),
            batches: taken,
            store,
            writer: writer.expect("the store answers"),
            happened,
        });
    }

    /// One turn of the daemon, if it runs.
    pub(super) fn turn(&mut self) {
        if let Some(running) = &mut self.running {
            running.follower.turn(time::now()).expect("it goes on");
        }
    }

    /// The kernel tells that something has happened, all of it.
    pub(super) fn tell(&mut self) {
        if let Some(running) = &mut self.running {
            let mut happened = running.happened.lock().expect("nobody panicked");
            happened.search = true;
            happened.lost = true;
        }
    }

    /// What is on its way is committed, and the daemon hears of it.
    pub(super) fn commit(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if let Some(settled) = running.flush() {
            match settled {
                Settled::Flushed(_) => self.commits += 1,
                _ => self.overtaken += 1,
            }
            running.follower.settled(settled).expect("it goes on");
        }
    }

    /// What is on its way is not committed, because another process was faster.
    pub(super) fn overtake(&mut self) {
        if let Some(running) = &mut self.running
            && running.batches.try_recv().is_ok()
        {
            self.overtaken += 1;
            let settled = Settled::Overtaken("a position".to_owned());
            running.follower.settled(settled).expect("it goes on");
        }
    }

    pub(super) fn kill(&mut self, when: Kill) {
        if let Some(mut running) = self.running.take()
            && when == Kill::AfterCommit
        {
            running.flush();
        }
    }

    /// A stop in order; `kill`: it is killed when it hands over the batch after so many others. Returns
    /// whether it ended by itself.
    pub(super) fn stop(&mut self, kill: Option<(usize, Kill)>) -> bool {
        let Some(running) = self.running.take() else {
            return true;
        };
        let Running {
            mut follower,
            batches,
            mut store,
            mut writer,
            ..
        } = running;
        let (answers, messages) = channel();
        let clock = time::clock();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0.. {
                    let Ok(batch) = batches.recv() else { return };
                    let killed = kill.filter(|(at, _)| *at <= number).map(|(_, kill)| kill);
                    if killed == Some(Kill::BeforeCommit) {
                        return;
                    }
                    let settled = settle(store.as_mut(), &mut writer, &batch, clock);
                    if killed.is_some() || answers.send(Message::Settled(settled)).is_err() {
                        return;
                    }
                }
            });
            let stopped = follower.stop(&messages);
            assert!(
                stopped.is_ok() || kill.is_some(),
                "a stop in order: {stopped:?}"
            );
            drop(follower);
            stopped.is_ok()
        })
    }

    /// Whether the daemon holds this file open and reads it.
    pub(super) fn holds(&self, place: &Place) -> bool {
        let files = self
            .running
            .iter()
            .flat_map(|it| it.follower.files.values());
        files
            .filter(|file| file.ends.is_none())
            .any(|file| file.place.is(place))
    }

    /// Whether the daemon is about to let this file go, to make room.
    pub(super) fn ends(&self, place: &Place) -> bool {
        let files = self
            .running
            .iter()
            .flat_map(|it| it.follower.files.values());
        files
            .filter(|file| file.ends.is_some())
            .any(|file| file.place.is(place))
    }

    /// Whether the store knows this file as one that is read.
    pub(super) fn knows(&mut self, place: &Place) -> bool {
        let stored = self.reader.at_inode(place.inode);
        let mut stored = stored.expect("the store answers").into_iter();
        stored.any(|it| it.state == State::Living && it.place.is_some_and(|there| there.is(place)))
    }

    /// Requests by user: each line has one of its own.
    pub(super) fn counted(&mut self) -> BTreeMap<String, u64> {
        let rows = self.reader.rows(UsageTable::Users, &UsageQuery::default());
        let mut counted = BTreeMap::new();
        for row in rows.expect("the store answers") {
            let key = format!("{} {}", row.vhost, row.user.unwrap_or_default());
            *counted.entry(key).or_default() += row.requests;
        }
        counted
    }

    /// Bytes sent and requests, by vhost.
    pub(super) fn totals(&mut self) -> BTreeMap<String, (u64, u64)> {
        let rows = self.reader.rows(UsageTable::Vhosts, &UsageQuery::default());
        let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for row in rows.expect("the store answers") {
            let total = totals.entry(row.vhost).or_default();
            total.0 += row.bytes_out;
            total.1 += row.requests;
        }
        totals
    }

    /// Lines that were counted, and those that were not.
    pub(super) fn balance(&mut self) -> (u64, u64) {
        let day = |year| chrono::NaiveDate::from_ymd_opt(year, 1, 1).expect("a day");
        let (from, to) = (day(1), day(9999));
        let balance = self.reader.balance(from, to).expect("the store answers");
        let mut lines = (0, 0);
        for balance in balance.values() {
            lines.0 += balance.counted.lines;
            lines.1 += balance.read().lines - balance.counted.lines;
        }
        lines
    }

    /// The positions, and the files that are held, for whoever reads of a failure.
    pub(super) fn positions(&mut self) -> String {
        let living = self.reader.living(NODE).expect("the store answers");
        let mut positions = String::new();
        for stored in living {
            let inode = stored.place.map_or(0, |place| place.inode);
            let (row, offset) = (stored.id, stored.print.offset);
            positions += &format!("row {row} to {offset}, inode {inode}: {}\n", stored.path);
        }
        for file in self
            .running
            .iter()
            .flat_map(|it| it.follower.files.values())
        {
            let (moves, offset) = (&file.moves, file.hasher.offset());
            let (inode, at_path, ends) = (file.place.inode, file.at_path, file.ends);
            let path = file.path.display();
            positions += &format!(
                "held: {moves:?} to {offset}, {at_path:?} {ends:?}, inode {inode}: {path}\n"
            );
        }
        positions
    }

    pub(super) fn gaps(&mut self) -> Vec<String> {
        let gaps = self.reader.gaps(NODE, 1_000).expect("the store answers");
        gaps.into_iter().map(|gap| format!("{gap:?}")).collect()
    }
}

impl Running {
    fn flush(&mut self) -> Option<Settled> {
        let batch = self.batches.try_recv().ok()?;
        let (store, writer) = (self.store.as_mut(), &mut self.writer);
        Some(settle(store, writer, &batch, time::clock()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        time::set::to(None);
    }
}

fn settle(store: &mut dyn Store, writer: &mut Writer, batch: &Batch, clock: i64) -> Settled {
    match store.flush(writer, NODE, batch, clock) {
        Ok(flushed) => Settled::Flushed(flushed),
        Err(FlushError::Overtaken(what)) => Settled::Overtaken(what),
        Err(FlushError::Replaced) => Settled::Replaced,
        Err(FlushError::Store(error)) => panic!("our own store: {error}"),
    }
}
