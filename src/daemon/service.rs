//! The main thread while files are followed: signals, reloads, the watchdog, and who asks how it is.
//!
//! It does no work on files or rows itself, and nothing here can block the threads that do.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ask::Asker;
use super::follower::{MAX_LEDGER_ACCOUNTS, NewConfig, Snapshot};
use super::message::Message;
use super::published::Published;
use super::receiving::Receiving;
use super::socket::Socket;
use super::status::{
    BalanceStatus, Gaps, InFlight, LedgerStatus, Reload, ReloadResult, Running, Status, StoreStatus,
};
use super::weighing::Weighing;
use super::{Signals, clock, names, notify};
use crate::config::Config;
use crate::source::syslog::Inherited;
use crate::store::{Store, StoreError};

/// Opens one more connection to the store.
pub type OpenStore = Arc<dyn Fn() -> Result<Box<dyn Store>, StoreError> + Send + Sync>;
/// Reads the config again and checks it, for a daemon whose store keeps the days of a zone.
pub type ReadConfig = Arc<dyn Fn(Tz) -> Result<Config, String> + Send + Sync>;

/// Between two looks at whether everything gets on, where no watchdog asks for more.
const TICK: Duration = Duration::from_secs(5);
/// An answer of the follower is not waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// However often somebody asks, the follower is not asked more often.
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// A reload that waits for the store for longer is no longer called one.
const RELOAD_WITHIN: i64 = 10;
/// By so much the start may take longer each time that it is seen to get on.
const START_LONGER: Duration = Duration::from_secs(90);

/// How a daemon is controlled and asked.
pub struct Control {
    /// Where the spools are.
    pub state_dir: PathBuf,
    /// Sockets from systemd, until the daemon has taken them.
    pub inherited: Inherited,
    /// Where it is asked.
    pub socket: PathBuf,
    /// Its config, where it has one.
    pub config_path: Option<PathBuf>,
    /// The store, as it may be printed.
    pub store_name: String,
    /// See [`OpenStore`].
    pub open_store: OpenStore,
    /// See [`ReadConfig`].
    pub read_config: ReadConfig,
    /// Called every few seconds.
    pub housekeeping: Box<dyn Fn() + Send + Sync>,
}

/// What the main thread knows.
pub(super) struct Service {
    control: Control,
    node: String,
    zone: Tz,
    published: Arc<Published>,
    receiving: Arc<Receiving>,
    weighing: Arc<Weighing>,
    wake: Sender<Message>,
    asker: Option<Asker>,
    started: i64,
    begin: Instant,
    is_stopping: AtomicBool,
    /// A thread that has ended by itself.
    ended_thread: OnceLock<String>,
    reload: Mutex<Option<Reload>>,
    snapshot: tokio::sync::Mutex<Option<Snapshot>>,
}

/// Between two ticks.
struct Beat {
    watchdog: Option<Duration>,
    lines: u64,
    at: Instant,
    told_at: Option<Instant>,
    told: String,
}

impl Service {
    pub(super) fn new(
        control: Control,
        node: String,
        zone: Tz,
        published: Arc<Published>,
        receiving: Arc<Receiving>,
        weighing: Arc<Weighing>,
        wake: Sender<Message>,
    ) -> Self {
        let asker = Asker::start(Arc::clone(&control.open_store), node.clone());
        if let Err(error) = &asker {
            tracing::warn!("the status will not say what the store knows: {error}");
        }
        Self {
            control,
            node,
            zone,
            published,
            receiving,
            weighing,
            wake,
            asker: asker.ok(),
            started: clock(),
            begin: Instant::now(),
            is_stopping: AtomicBool::new(false),
            ended_thread: OnceLock::new(),
            reload: Mutex::new(None),
            snapshot: tokio::sync::Mutex::new(None),
        }
    }

    /// Runs until the follower has ended, which it is told to when a signal says so.
    pub(super) async fn run(self: Arc<Self>, mut signals: Signals, ended: oneshot::Receiver<()>) {
        match Socket::bind(&self.control.socket) {
            Ok(socket) => drop(tokio::spawn(socket.serve(Arc::clone(&self)))),
            Err(error) => tracing::warn!(
                "nobody can ask for the status: listening on {}: {error}",
                self.control.socket.display()
            ),
        }
        tokio::pin!(ended);
        let watchdog = notify::watchdog();
        let mut beat = Beat {
            watchdog,
            lines: 0,
            at: Instant::now(),
            told_at: None,
            told: String::new(),
        };
        let often = watchdog.map_or(TICK, |watchdog| (watchdog / 4).min(TICK));
        let mut ticks = interval(often.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloading: Option<oneshot::Receiver<()>> = None;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => self.stop(),
                _ = signals.interrupt.recv() => self.stop(),
                _ = &mut ended => return,
                _ = signals.hangup.recv() => reloading = self.reload().await,
                done = done(&mut reloading) => {
                    reloading = None;
                    self.reloaded(done);
                }
                () = self.published.searched() => notify::ready(),
                _ = ticks.tick() => self.tick(&mut beat),
            }
        }
    }

    /// Ends reception, so that all that has arrived is in the spools, and then what follows them.
    fn stop(self: &Arc<Self>) {
        if !self.is_stopping.swap(true, Ordering::Relaxed) {
            notify::stopping();
            let service = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || {
                service.receiving.stop();
                // A follower that has ended by itself has nothing to stop.
                let _ = service.wake.send(Message::Stop);
            }));
        }
    }

    /// Reads the config again. Returns where to hear that it is in force.
    async fn reload(&self) -> Option<oneshot::Receiver<()>> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        tracing::info!("SIGHUP: reading the config again");
        if self.published.is_searched() {
            notify::reloading();
        }
        let (read, zone) = (Arc::clone(&self.control.read_config), self.zone);
        let receiving = Arc::clone(&self.receiving);
        let read = tokio::task::spawn_blocking(move || {
            let config = read(zone)?;
            let names = names(&config).map_err(|error| error.to_string())?;
            let received = receiving.receive(&config.syslog_sources);
            received.map_err(|error| error.to_string())?;
            Ok::<_, String>((config, names))
        });
        let read = read.await.unwrap_or_else(|error| Err(error.to_string()));
        match read {
            Ok((config, names)) => {
                self.note_reload(ReloadResult::Waiting, None);
                let (done, is_done) = oneshot::channel();
                let new = NewConfig {
                    config,
                    names,
                    done,
                };
                let _ = self.wake.send(Message::Reload(Box::new(new)));
                Some(is_done)
            }
            Err(error) => {
                tracing::error!("the config is not used, the old one stays in force:\n{error}");
                self.note_reload(ReloadResult::Refused, Some(error));
                self.reload_is_over();
                None
            }
        }
    }

    fn reloaded(&self, done: Result<(), oneshot::error::RecvError>) {
        // One that has been superseded, or that came too late, has nothing to tell.
        if done.is_ok() {
            self.note_reload(ReloadResult::Done, None);
            self.reload_is_over();
        }
    }

    fn reload_is_over(&self) {
        if self.published.is_searched() && !self.is_stopping.load(Ordering::Relaxed) {
            notify::ready();
        }
    }

    fn note_reload(&self, result: ReloadResult, error: Option<String>) {
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let at = clock();
        *reload = Some(Reload { at, result, error });
    }

    fn last_reload(&self) -> Option<Reload> {
        let reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        reload.clone()
    }

    /// Feeds the watchdog if everything gets on, and says how it is.
    fn tick(self: &Arc<Self>, beat: &mut Beat) {
        (self.control.housekeeping)();
        self.look_after_threads();
        if !notify::is_wanted() {
            return;
        }
        let now = Instant::now();
        let patience = beat.watchdog.unwrap_or(START_LONGER) / 2;
        if self.published.progress.is_alive(now, patience) {
            if beat.watchdog.is_some() {
                notify::alive();
            }
            if !self.published.is_searched() {
                notify::starting_on(START_LONGER);
            }
        }
        if beat
            .told_at
            .is_some_and(|told| now.saturating_duration_since(told) < TICK)
        {
            return;
        }
        let waits = self.last_reload().is_some_and(|reload| {
            reload.result == ReloadResult::Waiting && clock() - reload.at >= RELOAD_WITHIN
        });
        if waits {
            self.reload_is_over();
        }
        let line = self.status_line(beat, now);
        beat.told_at = Some(now);
        if line != beat.told {
            notify::status(&line);
            beat.told = line;
        }
    }

    /// Where one has panicked, the daemon ends in order, to be started anew.
    fn look_after_threads(self: &Arc<Self>) {
        if self.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let ended = self.weighing.ended_thread();
        if let Some(name) = ended.or_else(|| self.receiving.ended_thread()) {
            tracing::error!("the thread {name} has ended by itself: the daemon flushes and ends");
            let _ = self.ended_thread.set(name);
            self.stop();
        }
    }

    /// The thread for whose sake the daemon was stopped.
    pub(super) fn ended_thread(&self) -> Option<&str> {
        self.ended_thread.get().map(String::as_str)
    }

    fn status_line(&self, beat: &mut Beat, now: Instant) -> String {
        let lines = self.published.lines();
        let seconds = now.saturating_duration_since(beat.at).as_secs_f64();
        let rate = (lines - beat.lines) as f64 / seconds.max(0.001);
        (beat.lines, beat.at) = (lines, now);
        let health = self.published.store_health();
        let time = |seconds| {
            let at = DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default();
            at.with_timezone(&self.zone).format("%H:%M:%S").to_string()
        };
        let flushed = match (&health.error, &health.last_flush) {
            (Some(error), _) => format!("no rows taken since {}: {error}", time(health.since)),
            (None, Some(flush)) => format!("last flush {}, {} rows", time(flush.at), flush.rows),
            (None, None) => "nothing flushed yet".to_owned(),
        };
        let files = self.published.files();
        let doing = match self.published.is_searched() {
            true => "following",
            false => "starting with",
        };
        format!("{doing} {files} files, {rate:.0} lines/s, {flushed}")
    }

    /// Everything, as it is now.
    pub(super) async fn status(&self) -> Status {
        let snapshot = self.ask_follower().await;
        let known = match &self.asker {
            Some(asker) => asker.ask().await,
            None => Err("cannot be asked".to_owned()),
        };
        let now = Instant::now();
        let health = self.published.store_health();
        let refuses = known.as_ref().err().cloned();
        let since = |at: Instant| now.saturating_duration_since(at).as_secs();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.running(),
            pid: Some(std::process::id()),
            node: self.node.clone(),
            config: self.config_name(),
            now: clock(),
            started: Some(self.started),
            uptime_seconds: Some(since(self.begin)),
            turn_seconds: since(self.published.progress.turn_began()),
            store: StoreStatus {
                name: self.control.store_name.clone(),
                timezone: Some(self.zone.name().to_owned()),
                answers: health.error.is_none() && refuses.is_none(),
                since: Some(health.since),
                error: health.error.or(refuses),
            },
            last_flush: health.last_flush,
            ledger: LedgerStatus {
                accounts: 0,
                max_accounts: MAX_LEDGER_ACCOUNTS as u64,
            },
            reload: self.last_reload(),
            quotas: self.weighing.clerk().into(),
            gates: self.weighing.gates().into_iter().map(Into::into).collect(),
            ..Status::default()
        };
        if let Some(snapshot) = snapshot {
            status.age_seconds = since(snapshot.taken);
            status.in_flight = snapshot
                .in_flight_since
                .map(|at| InFlight { seconds: since(at) });
            status.ledger.accounts = snapshot.accounts;
            status.gaps.since_start = snapshot.gaps;
            status.sources = snapshot.sources;
            status.files = snapshot.files;
        }
        if let Some(received) = self.receiving.snapshot() {
            status.received(&received);
        }
        if let Ok(known) = known {
            for source in &mut status.sources {
                let today = known.today.get(&source.name);
                source.balance.today = Some(today.map(BalanceStatus::from).unwrap_or_default());
            }
            status.gaps = Gaps {
                recent: Some(known.gaps),
                ..status.gaps
            };
        }
        status
    }

    fn running(&self) -> Running {
        match (
            self.is_stopping.load(Ordering::Relaxed),
            self.published.is_searched(),
        ) {
            (true, _) => Running::Stopping,
            (false, true) => Running::Running,
            (false, false) => Running::Starting,
        }
    }

    fn config_name(&self) -> Option<String> {
        let path = self.control.config_path.as_ref();
        path.map(|path| path.to_string_lossy().into_owned())
    }

    /// What the follower says; what it said before, where it is busy.
    async fn ask_follower(&self) -> Option<Snapshot> {
        let mut last = self.snapshot.lock().await;
        let is_fresh = |snapshot: &Snapshot| snapshot.taken.elapsed() < ASK_INTERVAL;
        if !last.as_ref().is_some_and(is_fresh) {
            let (question, answer) = oneshot::channel();
            let _ = self.wake.send(Message::Status(question));
            if let Ok(Ok(snapshot)) = timeout(ANSWER_WITHIN, answer).await {
                *last = Some(snapshot);
            }
        }
        last.clone()
    }
}

/// Never, where nothing is waited for.
async fn done(
    waiting: &mut Option<oneshot::Receiver<()>>,
) -> Result<(), oneshot::error::RecvError> {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
