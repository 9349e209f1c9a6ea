//! The thread that asks the store, and tells it and the operator's hook what has changed.
//!
//! It has a connection of its own. While the store is away it goes on trying, and what it has to tell
//! waits: verdicts do not depend on it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::gatekeeper::Gatekeeper;
use super::hook::Hooks;
use super::weigher::{Wanted, Weigh};
use crate::account::class::Classes;
use crate::config::{Class, Config, Hook, quota};
use crate::daemon::clock;
use crate::daemon::message::{Message, Weighed};
use crate::daemon::service::OpenStore;
use crate::excerpt::printable;
use crate::publish::gates;
use crate::quota::rule::Rules;
use crate::quota::verdict::Change;
use crate::store::{Store, StoreError, Writer};
use crate::usage::said::{Overrides, Said, Told};

mod told;

/// How often the tables of operators are read, where anything is weighed;
const SAID_INTERVAL: Duration = Duration::from_secs(2);
/// and where nothing is.
const IDLE_SAID_INTERVAL: Duration = Duration::from_secs(5);
/// However long that takes, it is done a twentieth of the time at most.
const SAID_SHARE: u32 = 20;
/// Between two attempts at a store that is away.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often rows that are too old to matter are deleted.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3_600);
/// Rows of minutes are kept for so much longer than they are weighed: two days.
const MINUTES_KEPT: i64 = 2 * 1_440;
/// The weigher answers at once, or is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Changes are told for so long before other things are looked after.
const TELL_FOR: Duration = Duration::from_millis(500);
/// So many are noted at once.
const MOST_NOTED: usize = 256;
/// Changes that wait for the store or the hook; the oldest are dropped then.
const MAX_WAITING: usize = 100_000;
/// The percentage that stands for the way back below thresholds.
const BACK: u32 = 0;

/// What the clerk is to do.
#[derive(Debug)]
pub enum Errand {
    /// Verdicts have changed.
    Changes(Vec<Change>),
    /// All rows are wanted, now.
    Look,
    /// Another config is in force.
    Config(Arc<Config>),
    /// It is over.
    Stop,
}

/// What the clerk says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClerkReport {
    /// Quotas in force.
    pub quotas: u64,
    /// What is wrong with rows of the tables.
    pub faults: Vec<String>,
    /// When the rows were last weighed, in seconds since 1970.
    pub weighed: Option<i64>,
    /// What the store says, where it does not answer.
    pub away: Option<String>,
}

/// A change that is still to be told.
#[derive(Debug, Clone)]
struct Waiting {
    change: Change,
    noted: Noted,
}

/// Whether the store knows of a change, and whose it is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    NotYet,
    ByUs,
    ByOthers,
}

/// To the other threads.
pub(super) struct Ways {
    pub(super) weigher: SyncSender<Weigh>,
    pub(super) follower: Sender<Message>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
}

pub(super) struct Clerk {
    open: OpenStore,
    store: Option<Box<dyn Store>>,
    writer: Writer,
    node: String,
    config: Arc<Config>,
    said: Said,
    rules: Rules,
    ways: Ways,
    hooks: Option<Hooks>,
    changes: VecDeque<Waiting>,
    report: Arc<Mutex<ClerkReport>>,
    next_said: Instant,
    next_usage: Instant,
    next_prune: Instant,
    /// The oldest minute of which a row is still weighed.
    oldest_minute: Option<i64>,
    not_before: Instant,
}

impl Clerk {
    pub(super) fn new(
        open: OpenStore,
        writer: Writer,
        node: String,
        config: Arc<Config>,
        (said, rules): (Said, Rules),
        ways: Ways,
    ) -> Self {
        let now = Instant::now();
        let report = ClerkReport {
            quotas: rules.quotas.len() as u64,
            ..ClerkReport::default()
        };
        Self {
            open,
            store: None,
            writer,
            node,
            config,
            said,
            rules,
            ways,
            hooks: None,
            changes: VecDeque::new(),
            report: Arc::new(Mutex::new(report)),
            next_said: now,
            next_usage: now,
            next_prune: now + PRUNE_INTERVAL,
            oldest_minute: None,
            not_before: now,
        }
    }

    pub(super) fn report(&self) -> Arc<Mutex<ClerkReport>> {
        Arc::clone(&self.report)
    }

    pub(super) fn run(mut self, errands: &Receiver<Errand>) {
        // What is wrong with the rows that the daemon has started with is told, too.
        self.rule(false);
        loop {
            let mut due = self.next_said.min(self.next_usage);
            if !self.changes.is_empty() {
                due = self.not_before;
            }
            let due = due.max(self.not_before);
            match errands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Errand::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(errand) => self.take(errand),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Ok(errand) = errands.try_recv() {
                if matches!(errand, Errand::Stop) {
                    return;
                }
                self.take(errand);
            }
            if Instant::now() < self.not_before {
                continue;
            }
            if let Err(error) = self.work() {
                self.store = None;
                self.not_before = Instant::now() + RETRY_INTERVAL;
                self.away(Some(error.to_string()));
            } else {
                self.away(None);
            }
        }
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Changes(changes) => {
                let new = changes.into_iter().map(|change| Waiting {
                    change,
                    noted: Noted::NotYet,
                });
                self.changes.extend(new);
                let beyond = self.changes.len().saturating_sub(MAX_WAITING);
                if beyond > 0 {
                    tracing::error!(
                        "{beyond} changes of verdicts are not told: too many wait for the store or the hook"
                    );
                    self.changes.drain(..beyond);
                }
            }
            Errand::Look => self.next_usage = Instant::now(),
            Errand::Config(config) => {
                let has_other_gates = config.gates != self.config.gates;
                self.config = config;
                self.rule(has_other_gates);
            }
            Errand::Stop => {}
        }
    }

    /// What is due. What the store says first: rows are asked for by the rules that hold.
    fn work(&mut self) -> Result<(), StoreError> {
        let begin = Instant::now();
        if begin >= self.next_said {
            let said = self.store()?.said()?;
            self.hear(said);
            let took = begin.elapsed() * SAID_SHARE;
            let interval = match self.rules.quotas.is_empty() {
                true => IDLE_SAID_INTERVAL,
                false => SAID_INTERVAL,
            };
            self.next_said = Instant::now() + interval.max(took);
        }
        if Instant::now() >= self.next_usage {
            self.next_usage = begin + self.config.report_interval;
            self.weigh()?;
        }
        self.tell()?;
        if Instant::now() >= self.next_prune {
            self.next_prune = Instant::now() + PRUNE_INTERVAL;
            // Without a quota by minutes there is no telling whether another node has one.
            let minute = self.oldest_minute.map_or(0, |oldest| oldest - MINUTES_KEPT);
            self.store()?.prune(minute, clock())?;
        }
        Ok(())
    }

    fn store(&mut self) -> Result<&mut dyn Store, StoreError> {
        if self.store.is_none() {
            self.store = Some((self.open)()?);
        }
        match &mut self.store {
            Some(store) => Ok(store.as_mut()),
            None => Err(StoreError::Unusable {
                message: "the store is not open".to_owned(),
            }),
        }
    }

    /// What operators say in the tables now.
    fn hear(&mut self, said: Said) {
        if said == self.said {
            return;
        }
        let other_overrides = said.overrides != self.said.overrides;
        self.said = said;
        self.rule(false);
        if other_overrides {
            let overrides: Overrides = self.said.overrides.clone();
            let _ = self.ways.weigher.send(Weigh::Overrides(overrides));
        }
    }

    /// Makes the rules of config and tables, and passes them on where they are other ones.
    fn rule(&mut self, has_other_gates: bool) {
        let (rules, faults) = quota::rules(&self.config, &self.said);
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.quotas = rules.quotas.len() as u64;
        if report.faults != faults {
            for fault in &faults {
                tracing::error!("{}", printable(fault));
            }
            report.faults = faults;
        }
        drop(report);
        // Some gates have files of the classes' networks.
        if has_other_gates || rules.classes != self.rules.classes {
            let gates = gates(&self.config.gates, &rules.classes);
            if let Err(error) = self.ways.gatekeeper.replace(gates) {
                tracing::error!("starting the threads of the gates: {error}");
            }
        }
        if rules == self.rules {
            return;
        }
        let weighed = weighed(&rules);
        self.rules = rules.clone();
        let _ = self.ways.follower.send(Message::Weighed(Box::new(weighed)));
        let _ = self.ways.weigher.send(Weigh::Rules(Box::new(rules)));
        self.next_usage = Instant::now();
        tracing::info!("{} quotas are in force", self.rules.quotas.len());
    }

    /// Asks for the rows that are needed.
    fn weigh(&mut self) -> Result<(), StoreError> {
        let (reply, needs) = channel();
        let _ = self.ways.weigher.send(Weigh::Needs(reply));
        let Ok(Some(Wanted {
            needs,
            oldest_minute,
        })) = needs.recv_timeout(ANSWER_WITHIN)
        else {
            return Ok(());
        };
        self.oldest_minute = oldest_minute;
        let writer = self.writer.clone();
        let snapshot = self.store()?.usage(&needs, &writer)?;
        let _ = self.ways.weigher.send(Weigh::Snapshot(Box::new(snapshot)));
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.weighed = Some(clock());
        Ok(())
    }

    /// Notes in the store what has changed, and tells of what nobody has told before, on whatever node. For
    /// a while: what is left is told after what else is due.
    fn tell(&mut self) -> Result<(), StoreError> {
        let begin = Instant::now();
        while let Some(Waiting { change, noted }) = self.changes.front().cloned() {
            if begin.elapsed() > TELL_FOR {
                return Ok(());
            }
            match noted {
                Noted::NotYet => {
                    self.note()?;
                    continue;
                }
                Noted::ByOthers => {}
                Noted::ByUs => {
                    if let Some(hook) = self.config.hook.clone() {
                        let zone = self.store()?.zone();
                        let mut quotas = self.rules.quotas.iter();
                        let quota = quotas.find(|quota| quota.name == change.quota);
                        let measure = quota.map(|quota| quota.measure);
                        if !self.call(&hook, told::json(&change, measure, &self.node, zone)) {
                            self.not_before = Instant::now() + RETRY_INTERVAL;
                            return Ok(());
                        }
                    }
                }
            }
            self.changes.pop_front();
        }
        Ok(())
    }

    /// Notes the next changes, and whose they are to tell.
    fn note(&mut self) -> Result<(), StoreError> {
        let mut waiting: Vec<Change> = Vec::new();
        for next in self.changes.iter().take(MOST_NOTED) {
            // Of one that slides, one way has to be forgotten before the other is noted.
            let is_last = waiting.last().is_some_and(|change| change.begin == 0);
            if is_last || next.noted != Noted::NotYet {
                break;
            }
            waiting.push(next.change.clone());
        }
        let keys: Vec<Told> = waiting.iter().flat_map(keys).collect();
        let mut noted = self.store()?.tell_all(&keys, clock())?.into_iter();
        for (change, waiting) in waiting.iter().zip(&mut self.changes) {
            let its_own = keys_of(change);
            // Each of them is asked for: they stand in one row.
            let is_first = noted
                .by_ref()
                .take(its_own)
                .fold(false, |any, first| any | first);
            waiting.noted = match is_first {
                true => Noted::ByUs,
                false => Noted::ByOthers,
            };
            if is_first {
                told::log(change);
            }
        }
        for change in &waiting {
            forget(self.store()?, change)?;
        }
        Ok(())
    }

    fn call(&mut self, hook: &Hook, told: String) -> bool {
        if self.hooks.is_none() {
            match Hooks::start() {
                Ok(hooks) => self.hooks = Some(hooks),
                Err(error) => {
                    tracing::error!("starting a thread for the hook: {error}");
                    return false;
                }
            }
        }
        self.hooks
            .as_ref()
            .is_some_and(|hooks| hooks.call(hook, told))
    }

    fn away(&self, error: Option<String>) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if report.away.is_none()
            && let Some(error) = &error
        {
            tracing::error!("{error}; verdicts stay as they are until usage is known again");
        }
        report.away = error;
    }
}

/// What is noted of a change: each threshold that was reached, or else that it is back below.
fn keys(change: &Change) -> Vec<Told> {
    match change.reached.as_slice() {
        [] => vec![key(change, BACK)],
        reached => reached
            .iter()
            .map(|percent| key(change, *percent))
            .collect(),
    }
}

/// How many that are.
fn keys_of(change: &Change) -> usize {
    change.reached.len().max(1)
}

/// Of windows that slide, which have no periods to tell apart, each way is armed again by the other.
fn forget(store: &mut dyn Store, change: &Change) -> Result<(), StoreError> {
    for percent in &change.left {
        store.untell(&key(change, *percent))?;
    }
    if !change.reached.is_empty() && change.begin == 0 {
        store.untell(&key(change, BACK))?;
    }
    Ok(())
}

fn key(change: &Change, percent: u32) -> Told {
    let (quota, account) = (change.quota.clone(), change.account.clone());
    (quota, account, change.begin, percent)
}

/// What the follower has to tell of, and which classes there are.
#[must_use]
pub fn weighed(rules: &Rules) -> Weighed {
    let classes: Vec<Class> = rules
        .classes
        .iter()
        .map(|(name, networks)| Class {
            name: name.clone(),
            networks: networks.clone(),
        })
        .collect();
    Weighed {
        watched: Arc::new(rules.watched()),
        classes: Classes::new(&classes),
    }
}
